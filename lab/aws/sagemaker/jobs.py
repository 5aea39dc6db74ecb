"""The training-job operations, and what becomes of jobs at a restart."""

from __future__ import annotations

import base64
import itertools
import json
import sys
import threading
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lab import executor
from lab.aws.sagemaker import admission
from lab.aws.sagemaker.capacity import Capacity
from lab.aws.sagemaker.errors import ServiceError, in_use, validation
from lab.aws.sagemaker.run import Run
from lab.aws.sagemaker.session import service_client
from lab.aws.sagemaker.settings import Clock, Settings
from lab.aws.sagemaker.store import Store
from lab.aws.sagemaker.tags import Tags

KIND = "training-job"
_TERMINAL = {"Completed", "Failed", "Stopped"}
# A job in one of these loses nothing when it is started once more.
_NOTHING_RUNS = {"Starting", "Downloading", "Interrupted", "Restarting"}


class TrainingJobs:
    """Every training job of the account, and the threads that run them."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, tags: Tags) -> None:
        self.settings = settings
        self.clock = clock
        self.capacity = Capacity(settings.capacity)
        self._store = store
        self._tags = tags
        self._runs: dict[str, Run] = {}
        self._lock = threading.RLock()
        self._closing = False

    # --- operations

    def create_training_job(self, request: dict[str, Any], _caller: str | None) -> dict[str, Any]:
        """Check the request as the service does, keep it and start the job."""
        name = request["TrainingJobName"]
        arn = self.settings.arn(f"training-job/{name}")
        admission.check(request, self.settings)
        with self._store.transaction():
            if taken := self._store.get(KIND, name):
                raise in_use(
                    "Training job names must be unique within an AWS account and region, and a "
                    "training job with this name already exists "
                    f"({taken['describe']['TrainingJobArn']})"
                )
            admission.check_quota(request, self._running_requests(), self._store, self.settings)
            self._store.put(KIND, name, self._new_document(request, arn))
        self._tags.add(arn, request.get("Tags") or [])
        self._launch(name)
        self._publish(name)
        return {"TrainingJobArn": arn}

    def describe_training_job(self, request: dict[str, Any], _caller: str | None) -> dict[str, Any]:
        """Return all that is known of a job."""
        described = self.document(request["TrainingJobName"])["describe"]
        return described | self._warm_pool(described)

    def stop_training_job(self, request: dict[str, Any], _caller: str | None) -> None:
        """Ask a running job to stop; it gets SIGTERM, and 120 s to save its work."""
        name = request["TrainingJobName"]
        with self._lock:
            status = self.document(name)["describe"]["TrainingJobStatus"]
            if status in _TERMINAL:
                raise validation(
                    f"The request was rejected because the training job is in status {status}."
                )
            if status == "InProgress":
                self.transition(name, "Stopping", "Stopping the training job", "Stopping")
            self._store.change(KIND, name, lambda d: d["internal"].update(stop_requested=True))
            if run := self._runs.get(name):
                run.stop()

    def update_training_job(self, request: dict[str, Any], _caller: str | None) -> dict[str, Any]:
        """Change the keep-alive of a warm pool; the lab refuses the other updates."""
        name = request["TrainingJobName"]
        others = set(request) - {"TrainingJobName", "ResourceConfig"}
        if others:
            raise validation(
                f"The lab does not update {', '.join(sorted(others))} of a training job."
            )
        described = self.document(name)["describe"]
        keep = (request.get("ResourceConfig") or {}).get("KeepAlivePeriodInSeconds")
        if keep is not None:
            if "KeepAlivePeriodInSeconds" not in described["ResourceConfig"]:
                raise validation(
                    "The request was rejected because the training job has no warm pool to update."
                )
            self._store.change(
                KIND,
                name,
                lambda d: d["describe"]["ResourceConfig"].update(KeepAlivePeriodInSeconds=keep),
            )
        return {"TrainingJobArn": described["TrainingJobArn"]}

    def delete_training_job(self, request: dict[str, Any], _caller: str | None) -> None:
        """Forget a job that has ended."""
        name = request["TrainingJobName"]
        described = self.document(name)["describe"]
        if described["TrainingJobStatus"] not in _TERMINAL:
            raise in_use(
                f"Training job {name} is in status {described['TrainingJobStatus']}; stop it first."
            )
        self._store.remove(KIND, name)
        self._tags.forget(described["TrainingJobArn"])

    def list_training_jobs(self, request: dict[str, Any], _caller: str | None) -> dict[str, Any]:
        """Return summaries that match the filters, a page at a time."""
        found = [d["describe"] for d in self._store.all(KIND)]
        found = [job for job in found if self._matches(job, request)]
        fields = {"Name": "TrainingJobName", "Status": "TrainingJobStatus"}
        field = fields.get(request.get("SortBy", ""), "CreationTime")
        found.sort(
            key=lambda job: (job[field], job["TrainingJobName"]),
            reverse=request.get("SortOrder", "Descending") == "Descending",
        )
        page, token = paginate(found, request)
        return {"TrainingJobSummaries": [job | self._warm_pool(job) for job in page], **token}

    def search(self, request: dict[str, Any], _caller: str | None) -> dict[str, Any]:
        """Search training jobs by simple filters; the lab has no more of Search."""
        if request["Resource"] != "TrainingJob":
            raise validation(f"The lab searches TrainingJob, not {request['Resource']}.")
        expression = request.get("SearchExpression") or {}
        unknown = set(expression) - {"Filters", "Operator"}
        if unknown:
            raise validation(f"The lab's Search does not do {', '.join(sorted(unknown))}.")
        combine = any if expression.get("Operator") == "Or" else all
        found = [
            job
            for job in (d["describe"] for d in self._store.all(KIND))
            if combine(self._holds(job, rule) for rule in expression.get("Filters") or [])
        ]
        found.sort(
            key=lambda job: str(job.get(request.get("SortBy", "CreationTime"), "")),
            reverse=request.get("SortOrder", "Descending") == "Descending",
        )
        page, token = paginate(found, request)
        results = [
            {"TrainingJob": job | {"Tags": self._tags.of(job["TrainingJobArn"])}} for job in page
        ]
        return {"Results": results, **token}

    def interrupt(self, name: str) -> None:
        """Reclaim a spot job's instances. Raises ServiceError; its status is 404 for no job."""
        document = self._store.get(KIND, name)
        if document is None:
            raise ServiceError("ResourceNotFound", f"no training job is called {name}", 404)
        if not document["request"].get("EnableManagedSpotTraining"):
            raise validation(f"Training job {name} does not use managed spot training.")
        run = self._runs.get(name)
        if run is None or document["describe"]["SecondaryStatus"] != "Training":
            state = document["describe"]["SecondaryStatus"]
            raise validation(f"Training job {name} is in {state}; it has no spot instances now.")
        run.interrupt()

    # --- what runs use

    def document(self, name: str) -> dict[str, Any]:
        """Return a job's document. Raises ValidationException, as the service, for none."""
        document = self._store.get(KIND, name)
        if document is None:
            raise validation("Requested resource not found.")
        return document

    def transition(
        self, name: str, secondary: str, message: str, status: str | None = None, **fields: Any
    ) -> None:
        """Move a job to its next state. One that has ended stays as it is."""

        def edit(document: dict[str, Any]) -> None:
            described = document["describe"]
            if described["TrainingJobStatus"] in _TERMINAL:
                return
            now = self.clock.now()
            steps = described["SecondaryStatusTransitions"]
            if steps and "EndTime" not in steps[-1]:
                if steps[-1]["Status"] == secondary:
                    steps[-1]["StatusMessage"] = message
                else:
                    steps[-1]["EndTime"] = now
            if not steps or steps[-1]["Status"] != secondary or "EndTime" in steps[-1]:
                steps.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
            described.update(SecondaryStatus=secondary, LastModifiedTime=now, **fields)
            if status:
                described["TrainingJobStatus"] = status
            if status in _TERMINAL:
                steps[-1]["EndTime"] = now
                described["TrainingEndTime"] = now

        self._store.change(KIND, name, edit)
        self._publish(name)

    def note(self, name: str, *, once: bool = False, **fields: Any) -> None:
        """Set fields of a job; with ``once`` only those that are not set."""

        def edit(document: dict[str, Any]) -> None:
            described = document["describe"]
            described.update({k: v for k, v in fields.items() if not (once and k in described)})

        self._store.change(KIND, name, edit)

    def ended(self, name: str) -> None:
        """A run's last word: its instances are free again, or kept warm."""
        with self._lock:
            self._runs.pop(name, None)
        self.capacity.give_back(name)

    def role_session(self, token: str) -> Any:
        """Return the role session of the running job that has this token, or None."""
        with self._lock:
            runs = list(self._runs.values())
        return next((run.role for run in runs if run.role and run.token == token), None)

    # --- the plane's own life

    def resume(self) -> None:
        """After a restart: start what had not begun, retry what may be, and say what was lost."""
        if self.settings.jobs_folder.exists():
            executor.remove_containers(self.settings.jobs_folder)
        for document in self._store.all(KIND):
            described, internal = document["describe"], document["internal"]
            name = described["TrainingJobName"]
            if described["TrainingJobStatus"] in _TERMINAL:
                continue
            retries = (document["request"].get("RetryStrategy") or {}).get(
                "MaximumRetryAttempts", 0
            )
            if described["SecondaryStatus"] in _NOTHING_RUNS:
                self._launch(name)
            elif described["TrainingJobStatus"] == "Stopping":
                self.transition(name, "Stopped", "Training job stopped", "Stopped")
            elif internal["retries"] < retries:
                self._store.change(
                    KIND,
                    name,
                    lambda d: d["internal"].update(retries=d["internal"]["retries"] + 1),
                )
                self.transition(name, "Restarting", "Restarting after an internal error")
                self._launch(name)
            else:
                reason = (
                    "InternalServerError: the lab was stopped while the job ran, and its processes "
                    "ended with it. A RetryStrategy lets such a job start again."
                )
                self.transition(
                    name, "Failed", "Training job failed", "Failed", FailureReason=reason
                )

    def advance_clock(self, seconds: float) -> None:
        """Move the clock and let every job look at its limits."""
        self.clock.advance(seconds)
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.wake()

    # --- inside

    def _new_document(self, request: dict[str, Any], arn: str) -> dict[str, Any]:
        now = self.clock.now()
        described = {key: value for key, value in request.items() if key != "Tags"}
        described.setdefault("EnableNetworkIsolation", False)
        described.setdefault("EnableInterContainerTrafficEncryption", False)
        described.setdefault("EnableManagedSpotTraining", False)
        described["StoppingCondition"] = {
            "MaxRuntimeInSeconds": 86400,
            **request["StoppingCondition"],
        }
        described |= {
            "TrainingJobArn": arn,
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "CreationTime": now,
            "LastModifiedTime": now,
            "SecondaryStatusTransitions": [
                {
                    "Status": "Starting",
                    "StartTime": now,
                    "StatusMessage": "Preparing the instances for training",
                }
            ],
        }
        if checkpoint := request.get("CheckpointConfig"):
            described["CheckpointConfig"] = {"LocalPath": "/opt/ml/checkpoints", **checkpoint}
        request = {**request, "StoppingCondition": described["StoppingCondition"]}
        return {"request": request, "describe": described, "internal": {"retries": 0}}

    def _launch(self, name: str) -> None:
        with self._lock:
            if self._closing:
                return
            used = {run.slot for run in self._runs.values()}
            slot = next(number for number in itertools.count(1) if number not in used)
            run = Run(self, name, slot)
            self._runs[name] = run
        run.start()

    def _running_requests(self) -> list[dict[str, Any]]:
        return [
            document["request"]
            for document in self._store.all(KIND)
            if document["describe"]["TrainingJobStatus"] not in _TERMINAL
        ]

    def _matches(self, job: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
        checks = (
            ("StatusEquals", lambda wanted: job["TrainingJobStatus"] == wanted),
            ("NameContains", lambda wanted: wanted in job["TrainingJobName"]),
            ("CreationTimeAfter", lambda wanted: job["CreationTime"] >= wanted),
            ("CreationTimeBefore", lambda wanted: job["CreationTime"] <= wanted),
            ("LastModifiedTimeAfter", lambda wanted: job["LastModifiedTime"] >= wanted),
            ("LastModifiedTimeBefore", lambda wanted: job["LastModifiedTime"] <= wanted),
            (
                "WarmPoolStatusEquals",
                lambda wanted: (
                    self._warm_pool(job).get("WarmPoolStatus", {}).get("Status") == wanted
                ),
            ),
        )
        return all(check(request[key]) for key, check in checks if request.get(key) is not None)

    def _holds(self, job: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
        name, wanted = rule["Name"], rule.get("Value", "")
        if name.startswith("Tags."):
            tags = {t["Key"]: t["Value"] for t in self._tags.of(job["TrainingJobArn"])}
            value: Any = tags.get(name.removeprefix("Tags."))
        else:
            value = job
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
        kind = rule.get("Operator", "Equals")
        if kind == "Exists":
            return value is not None
        if kind == "NotExists":
            return value is None
        if kind == "Equals":
            return str(value) == wanted
        if kind == "NotEquals":
            return str(value) != wanted
        if kind == "Contains":
            return wanted in str(value)
        raise validation(f"The lab's Search has no operator {kind}.")

    def _warm_pool(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state of the instances that a finished job keeps alive, by the clock."""
        keep = job["ResourceConfig"].get("KeepAlivePeriodInSeconds")
        if not keep:
            return {}
        if job["TrainingJobStatus"] not in _TERMINAL:
            return {"WarmPoolStatus": {"Status": "InUse"}}
        if job["TrainingJobStatus"] != "Completed":
            return {"WarmPoolStatus": {"Status": "Terminated"}}
        billed = min(self.clock.now() - job["TrainingEndTime"], keep)
        status = "Available" if billed < keep else "Terminated"
        return {
            "WarmPoolStatus": {
                "Status": status,
                "ResourceRetainedBillableTimeInSeconds": int(billed),
            }
        }

    def _publish(self, name: str) -> None:
        """Send the service's state-change event, which rules for failed jobs listen to."""
        document = self._store.get(KIND, name)
        if document is None:
            return
        described = document["describe"]
        detail = {
            key: int(value * 1000) if key.endswith("Time") else value
            for key, value in described.items()
        }
        detail["Tags"] = {t["Key"]: t["Value"] for t in self._tags.of(described["TrainingJobArn"])}
        try:
            answer = service_client("events", self.settings.region).put_events(
                Entries=[
                    {
                        "Source": "aws.sagemaker",
                        "DetailType": "SageMaker Training Job State Change",
                        "Resources": [described["TrainingJobArn"]],
                        "Detail": json.dumps(detail),
                    }
                ]
            )
        except (ClientError, BotoCoreError) as error:
            print(f"{name}: no event sent: {error}", file=sys.stderr)
            return
        if answer.get("FailedEntryCount"):
            print(f"{name}: no event sent: {answer['Entries']}", file=sys.stderr)


def paginate(
    items: list[dict[str, Any]], request: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return one page and the token for the next, if there is one."""
    start = 0
    if token := request.get("NextToken"):
        try:
            start = int(base64.urlsafe_b64decode(token).decode())
        except ValueError:
            raise validation("The NextToken that was given is not valid.") from None
    end = start + request.get("MaxResults", 100)
    if end >= len(items):
        return items[start:], {}
    return items[start:end], {"NextToken": base64.urlsafe_b64encode(str(end).encode()).decode()}
