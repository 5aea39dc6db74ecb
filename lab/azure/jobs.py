"""Command jobs: what is asked, in which state they are, and when they run.

A job is accepted, waits for nodes of its compute in the order of arrival, and runs in a thread (lab.azure.job_run).
Its record is in the store at every change of state; one that ran when the lab was stopped or killed is marked failed
at the next start.
"""

from __future__ import annotations

import copy
import re
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.azure import data_path, environment, schema
from lab.azure.compute import vm_sizes
from lab.azure.duration import seconds
from lab.azure.errors import ArmError, run_error
from lab.azure.job_run import JobRun
from lab.azure.resource_id import ResourceId, parse_id
from lab.azure.resource_type import workspace_of

if TYPE_CHECKING:
    from lab.azure.plane import Plane

TERMINAL = ("Completed", "Failed", "Canceled")
_STARTED = ("Preparing", "Running", "Finalizing", "CancelRequested")
_NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}$")
# A run that ended just now is shown as Finalizing to the first who asks, or ``stream`` would print none of its log.
_FRESH_SECONDS = 60.0
_MUTABLE = ("description", "tags", "displayName", "properties", "isArchived")
_SERVERLESS_DEFAULT = "Standard_DS3_v2"


class Jobs:
    """All jobs of all workspaces."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._running: dict[str, JobRun] = {}
        # What waits for nodes, in the order of arrival; looked through at every event, unlike all jobs there ever were.
        self._waiting: dict[str, None] = {}
        self._stopping = threading.Event()
        self._scheduler: threading.Thread | None = None

    def start(self) -> None:
        """Mark what a killed lab left as failed, and begin to schedule."""
        for key, record in self._plane.store.below("job", ""):
            if record["status"] in _STARTED:
                canceled = record["status"] == "CancelRequested"
                record["error"] = (
                    None
                    if canceled
                    else run_error(
                        "SystemError",
                        "The lab was stopped while the job was running; its processes are gone. Submit it again.",
                    )
                )
                self._finish(key, record, "Canceled" if canceled else "Failed")
            elif record["status"] not in TERMINAL:
                self._waiting[key] = None
        self._scheduler = threading.Thread(target=self._schedule, name="azure-jobs", daemon=True)
        self._scheduler.start()

    def close(self) -> None:
        """End every running job and wait for its threads. The records stay as they are, for the next start."""
        self._stopping.set()
        self._plane.clock.wake()
        runs = list(self._running.values())
        for run in runs:
            run.abandon()
        for run in runs:
            run.join(10.0)
        if self._scheduler:
            self._scheduler.join(10.0)

    # --- requests

    def submit(
        self, workspace: ResourceId, name: str, body: Mapping[str, Any], by: str
    ) -> tuple[dict[str, Any], bool]:
        """Accept a job; return its record and whether it is new.

        The same body under the same name is the same job. Raises ArmError for a job that the service would refuse.
        """
        if not _NAME.match(name):
            raise ArmError(
                400,
                "UserError",
                f"The job name '{name}' is invalid: 1 to 255 letters, digits, dashes and underscores, the first a "
                "letter or digit.",
            )
        asked = schema.clean(
            f"{schema.MACHINE_LEARNING}:JobBase", {"properties": body.get("properties") or {}}
        )["properties"]
        if not body.get("properties"):
            raise ArmError(
                400,
                "UserError",
                "Required property 'properties' not found in JSON. Path 'properties'.",
            )
        key = job_key(workspace, name)
        with self._plane.lock:
            record = self._plane.store.get("job", key)
            if record is not None:
                return self._update(key, record, asked), False
            properties = self._complete(workspace, name, copy.deepcopy(asked))
            record = self._record(workspace, name, properties, asked, by)
            self._plane.store.put("job", key, record)
            self._waiting[key] = None
        self._plane.clock.wake()
        return record, True

    def get(self, workspace: ResourceId, name: str) -> dict[str, Any]:
        """Return a job's record. Raises ArmError 404."""
        record = self._plane.store.get("job", job_key(workspace, name))
        if record is None:
            raise ArmError(
                404,
                "UserError",
                f"The job {name} in workspace {workspace.name} was not found. RunId: {name}",
            )
        return record

    def all_of(self, workspace: ResourceId) -> list[dict[str, Any]]:
        """Return the jobs of a workspace, newest first."""
        found = self._plane.store.below("job", job_key(workspace, ""))
        return [record for _, record in reversed(found)]

    def find(self, name: str) -> tuple[str, dict[str, Any]]:
        """Return a job of any workspace by its name. Raises ArmError 404."""
        for key, record in self._plane.store.containing("job", f"/jobs/{name.lower()}"):
            if record["name"].lower() == name.lower():
                return key, record
        raise ArmError(404, "UserError", f"There is no job '{name}'.")

    def cancel(self, workspace: ResourceId, name: str) -> None:
        """Ask a job to end. Cancelling one that has ended changes nothing."""
        with self._plane.lock:
            record = self.get(workspace, name)
            key = job_key(workspace, name)
            if record["status"] in TERMINAL:
                return
            run = self._running.get(key)
            if run is None:
                self._finish(key, record, "Canceled")
                return
            self.set_status(key, "CancelRequested")
        run.cancel()

    def cancel_all(self, workspace: ResourceId) -> None:
        """The workspace goes: its jobs end and are forgotten."""
        for key, _ in self._plane.store.below("job", job_key(workspace, "")):
            run = self._running.get(key)
            if run:
                run.abandon()
            self._plane.store.delete("job", key)

    def compute_removed(self, compute: ResourceId) -> None:
        """The compute goes: its jobs are canceled."""
        for _, record in self._plane.store.below("job", job_key(workspace_of(compute), "")):
            if (
                str(record["arm"]["properties"].get("computeId", "")).lower() == compute.key
                and record["status"] not in TERMINAL
            ):
                self.cancel(workspace_of(compute), record["name"])

    def delete(self, workspace: ResourceId, name: str) -> None:
        """Delete a job's record. Raises ArmError 409 while it runs."""
        record = self.get(workspace, name)
        if record["status"] not in TERMINAL:
            raise ArmError(
                409,
                "Conflict",
                f"The job {name} is {record['status']}; cancel it before it is deleted.",
            )
        self._plane.store.delete("job", job_key(workspace, name))

    def interrupt(self, name: str) -> dict[str, Any]:
        """Take a low-priority job's nodes away, as Azure does. Raises ArmError 409 where nothing can be preempted."""
        key, record = self.find(name)
        run = self._running.get(key)
        if run is None or record["status"] != "Running":
            raise ArmError(
                409,
                "Conflict",
                f"Job '{record['name']}' is {record['status']}; only a running job is preempted.",
            )
        if not run.is_low_priority:
            raise ArmError(
                409,
                "Conflict",
                f"Job '{record['name']}' runs on dedicated nodes; Azure only preempts low-priority ones. Use a "
                "cluster with tier low_priority.",
            )
        run.preempt()
        return {"name": record["name"], "compute": record["arm"]["properties"].get("computeId")}

    def running(self, name: str) -> JobRun | None:
        """Return the run of a job that is running, by the job's name."""
        for key, run in list(self._running.items()):
            if key.endswith(f"/jobs/{name.lower()}"):
                return run
        return None

    # --- for runs

    def record(self, key: str) -> dict[str, Any]:
        found = self._plane.store.get("job", key)
        if found is None:
            raise KeyError(key)
        return found

    def change(self, key: str, **changes: Any) -> dict[str, Any] | None:
        """Change fields of a record; return it, or None where the job was deleted meanwhile."""
        with self._plane.lock:
            record = self._plane.store.get("job", key)
            if record is None:
                return None
            record.update(changes)
            self._plane.store.put("job", key, record)
            return record

    def set_status(self, key: str, status: str) -> None:
        """Change a job's state. A requested cancel is not overwritten by a state before the end."""
        with self._plane.lock:
            record = self._plane.store.get("job", key)
            if record is None or record["status"] in TERMINAL:
                return
            if record["status"] == "CancelRequested" and status not in TERMINAL:
                return
            record["status"] = record["arm"]["properties"]["status"] = status
            if status == "Running" and not record.get("start"):
                record["start"] = self._plane.clock.timestamp()
            self._plane.store.put("job", key, record)

    def ended(self, key: str, run: JobRun, status: str, error: Mapping[str, Any] | None) -> None:
        """A run is over; ``Queued`` puts the job back, as after a preemption."""
        with self._plane.lock:
            self._running.pop(key, None)
            record = self._plane.store.get("job", key)
            if record is not None and not self._stopping.is_set():
                if status == "Queued":
                    record["status"] = record["arm"]["properties"]["status"] = "Queued"
                    record["attempt"] += 1
                    self._plane.store.put("job", key, record)
                    self._waiting = {key: None, **self._waiting}  # a preempted job goes first
                else:
                    record["error"] = error
                    self._finish(key, record, status)
        self._plane.clock.wake()

    def shown_status(self, record: dict[str, Any]) -> str:
        """Return the state that run history shows, see _FRESH_SECONDS."""
        key = record["key"]
        ended = record.get("ended_at")
        if ended and not record.get("watched") and time.time() - ended < _FRESH_SECONDS:
            self.change(key, watched=True)
            return "Finalizing"
        if not ended and record["status"] in _STARTED and not record.get("watched"):
            self.change(key, watched=True)
        return str(record["status"])

    # --- inside

    def _schedule(self) -> None:
        while not self._stopping.is_set():
            with self._plane.lock:
                due = self._plane.computes.sweep()
                self._start_queued()
                for run in list(self._running.values()):
                    deadline = run.check_deadline()
                    due = min(filter(None, (due, deadline)), default=None)
            left = 3600.0 if due is None else max(0.02, due - self._plane.clock.now())
            self._plane.clock.wait(left)

    def _start_queued(self) -> None:
        full: set[str] = set()
        for key in list(self._waiting):
            record = self._plane.store.get("job", key)
            if record is None or record["status"] in TERMINAL:
                del self._waiting[key]
                continue
            compute = str(record["arm"]["properties"].get("computeId") or "").lower()
            # The order of arrival holds: a small job does not overtake a large one.
            if compute not in full and self._start(key, record):
                del self._waiting[key]
                continue
            full.add(compute)
            if record["status"] == "NotStarted":
                self.set_status(key, "Queued")

    def _start(self, key: str, record: dict[str, Any]) -> bool:
        properties = record["arm"]["properties"]
        count = (properties.get("resources") or {}).get("instanceCount") or 1
        compute = parse_id(properties.get("computeId") or "")
        if compute is None:
            run = JobRun(self._plane, key, record, None, [uuid.uuid4().hex for _ in range(count)])
        else:
            document = self._plane.document(compute)
            if document is None:
                record["error"] = run_error(
                    "UserError", f"AzureMLCompute cluster {compute.name} does not exist"
                )
                self._finish(key, record, "Failed")
                return True
            nodes = self._plane.computes.acquire(compute, document, record["name"], count)
            if nodes is None:
                return False
            run = JobRun(self._plane, key, record, compute, nodes)
        self._running[key] = run
        self.set_status(key, "Preparing")
        run.start()
        return True

    def _finish(self, key: str, record: dict[str, Any], status: str) -> None:
        record["status"] = record["arm"]["properties"]["status"] = status
        record["end"] = self._plane.clock.timestamp()
        record["ended_at"] = time.time()
        self._plane.store.put("job", key, record)

    def _update(self, key: str, record: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        """A PUT on a job that is there: the same again, or a change of what may change."""
        fixed = {name: value for name, value in asked.items() if name not in _MUTABLE}
        before = {name: value for name, value in record["asked"].items() if name not in _MUTABLE}
        if fixed != before:
            changed = sorted(
                name for name in {*fixed, *before} if fixed.get(name) != before.get(name)
            )
            raise ArmError(
                400,
                "UserError",
                "A job with this name already exists. If you are trying to create a new job, use a different name. "
                "If you are trying "
                f"to update an existing job, the existing job's {', '.join(changed)} cannot be changed. Only "
                "description, tags, "
                "displayName, properties, and isArchived can be updated.",
            )
        properties = record["arm"]["properties"]
        for name in _MUTABLE:
            if name in asked and asked[name] != record["asked"].get(name):
                properties[name] = (
                    {**(properties.get(name) or {}), **asked[name]}
                    if name == "properties"
                    else asked[name]
                )
                record["asked"][name] = asked[name]
        self._plane.store.put("job", key, record)
        return record

    def _complete(
        self, workspace: ResourceId, name: str, properties: dict[str, Any]
    ) -> dict[str, Any]:
        """Check every reference of a job, and fill what the service fills."""
        if properties.get("jobType") != "Command":
            raise ArmError(
                400,
                "UserError",
                f"The lab runs jobs of type 'Command' only; this is '{properties.get('jobType')}'.",
            )
        environment_id, _ = environment.resolve(self._plane, workspace, properties["environmentId"])
        properties["environmentId"] = environment_id
        if properties.get("codeId"):
            code = parse_id(properties["codeId"])
            if code is None or self._plane.document(code) is None:
                raise ArmError(
                    404, "UserError", f"The code '{properties['codeId']}' was not found."
                )
        self._check_compute(workspace, properties)
        inputs = properties.get("inputs") or {}
        for key, value in inputs.items():
            if value and value.get("jobInputType") != "literal":
                try:
                    data_path.resolve(self._plane, workspace, value.get("uri") or "")
                except ArmError as error:
                    raise ArmError(
                        error.status, error.code, f"Input '{key}': {error.message}"
                    ) from error
        for key, value in (properties.get("outputs") or {}).items():
            if value and value.get("uri"):
                try:
                    data_path.resolve(self._plane, workspace, value["uri"])
                except ArmError as error:
                    raise ArmError(
                        error.status, error.code, f"Output '{key}': {error.message}"
                    ) from error
        # what stands in $[[ ]] goes where its input is not given
        command = re.sub(r"\$\[\[.*?\]\]", "", properties["command"], flags=re.DOTALL)
        for kind, group in (("inputs", inputs), ("outputs", properties.get("outputs") or {})):
            pattern = rf"\$\{{\{{{kind}\.([A-Za-z0-9_]+)\}}\}}"
            for wanted in re.findall(pattern, command):
                if wanted not in group:
                    raise ArmError(
                        400,
                        "UserError",
                        f"The command uses '${{{{{kind}.{wanted}}}}}', but the job has no such {kind[:-1]}; it has "
                        f"{', '.join(group) or 'none'}.",
                    )
        timeout = (properties.get("limits") or {}).get("timeout")
        if timeout:
            seconds(timeout, "properties.limits.timeout")
        properties.setdefault("experimentName", "Default")
        properties.setdefault("displayName", name)
        properties["tags"] = properties.get("tags") or {}
        properties["outputs"] = {
            key: dict(value or {}) for key, value in (properties.get("outputs") or {}).items()
        }
        properties["inputs"] = inputs
        for key, value in properties["outputs"].items():
            value.setdefault("jobOutputType", "uri_folder")
            value.setdefault("mode", "ReadWriteMount")
            value.setdefault(
                "uri", f"azureml://datastores/workspaceblobstore/paths/azureml/{name}/{key}/"
            )
        return properties

    def _check_compute(self, workspace: ResourceId, properties: dict[str, Any]) -> None:
        reference = properties.get("computeId")
        resources = properties.get("resources") or {}
        count = resources.get("instanceCount") or 1
        if count < 1:
            raise ArmError(
                400, "UserError", f"resources.instanceCount is {count}; it must be at least 1."
            )
        if not reference:
            size = resources.setdefault("instanceType", _SERVERLESS_DEFAULT)
            if size.lower() not in vm_sizes():
                raise ArmError(
                    400,
                    "UserError",
                    f"The instance type '{size}' was not found or is not supported in this region for serverless "
                    "compute.",
                )
            properties["resources"] = resources
            return
        name = reference.rsplit("/", 1)[-1].removeprefix("azureml:")
        id = parse_id(reference) or workspace.child("computes", name)
        document = self._plane.document(id)
        if document is None:
            raise ArmError(400, "UserError", f"Unknown compute target '{name}'.")
        properties["computeId"] = document["id"]
        kind = document["properties"]["computeType"]
        limit = 1 if kind == "ComputeInstance" else None
        if kind == "AmlCompute":
            limit = document["properties"]["properties"]["scaleSettings"]["maxNodeCount"]
        if limit is not None and count > limit:
            raise ArmError(
                400,
                "UserError",
                f"Requested {count} nodes but AzureMLCompute cluster only has {limit} maximum nodes. Please ask "
                "for fewer nodes or increase the maximum in the cluster.",
            )

    def _record(
        self,
        workspace: ResourceId,
        name: str,
        properties: dict[str, Any],
        asked: dict[str, Any],
        by: str,
    ) -> dict[str, Any]:
        now = self._plane.clock.timestamp()
        has_compute = properties.get("computeId")
        properties["properties"] = {
            **(properties.get("properties") or {}),
            "_azureml.ComputeTargetType": "amlctrain" if has_compute else "serverless",
            "ContentSnapshotId": str(uuid.uuid4()),
        }
        properties.update(status="NotStarted", parameters={}, isArchived=False)
        document = self._plane.document(workspace) or {}
        return {
            "key": job_key(workspace, name),
            "name": name,
            "workspace": str(document.get("id") or workspace),
            "status": "NotStarted",
            "asked": asked,
            "by": by,
            "created": now,
            "start": None,
            "end": None,
            "error": None,
            "logs": [],
            "outputs": {},
            "attempt": 0,
            "number": self._plane.store.count("job", job_key(workspace, "")) + 1,
            "arm": {
                "id": f"{document.get('id') or workspace}/jobs/{name}",
                "name": name,
                "type": "Microsoft.MachineLearningServices/workspaces/jobs",
                "systemData": {"createdAt": now, "createdBy": by, "createdByType": "Application"},
                "properties": properties,
            },
        }

    @property
    def folder(self) -> Path:
        """Where running jobs have their files."""
        return self._plane.home / "jobs"


def job_key(workspace: ResourceId, name: str) -> str:
    return f"{workspace}/jobs/{name}".lower()
