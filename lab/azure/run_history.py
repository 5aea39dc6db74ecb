"""Run history, the data plane that resolves job outputs, and the part of MLflow's REST interface that scripts log "
"with."""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from lab.azure import data_path
from lab.azure.data_path import OUTPUT_ASSET
from lab.azure.errors import ArmError
from lab.azure.http import Answer, Call
from lab.azure.job_run import ARTIFACT_STORE
from lab.azure.machine_learning import NAMESPACE
from lab.azure.resource_id import ResourceId, parse_path
from lab.azure.signature import user_delegation_sas

if TYPE_CHECKING:
    from lab.azure.plane import Plane

_SERVICE = re.compile(
    r"^/(?P<service>history|data|dataset|mlflow|execution|artifact)/v\d+\.\d+(?P<workspace>/subscriptions/[^/]+/resourcegroups/[^/]+/providers/"
    r"Microsoft\.MachineLearningServices/workspaces/[^/]+)(?P<rest>/.*)?$",
    re.IGNORECASE,
)
_LOG_LIFETIME_SECONDS = 3600.0
_MLFLOW_STATES = {
    "Completed": "FINISHED",
    "Failed": "FAILED",
    "Canceled": "KILLED",
    "NotStarted": "SCHEDULED",
    "Queued": "SCHEDULED",
}


class RunHistory:
    """Reads jobs' records as runs, and keeps what scripts log."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def answer(self, call: Call) -> Answer | None:
        """Answer a data-plane request; None for a path that is not one."""
        match = _SERVICE.match(call.path)
        if match is None:
            return None
        path = parse_path(match["workspace"])
        if path is None:
            return None
        workspace = path.resource()
        self._plane.resources.get(workspace)
        rest = match["rest"] or ""
        service = match["service"].lower()
        writes = call.method in ("PATCH", "PUT") or (
            service == "mlflow" and call.method == "POST" and "search" not in rest
        )
        action = f"{NAMESPACE}/workspaces/experiments/runs/{'write' if writes else 'read'}"
        self._plane.authorization.require(call.principal, action, str(workspace))
        if service == "mlflow":
            return self._answer_mlflow(call, workspace, rest)
        if service in ("data", "dataset"):
            return self._answer_data(call, workspace, rest)
        return self._answer_history(call, workspace, rest)

    # --- history

    def _answer_history(self, call: Call, workspace: ResourceId, rest: str) -> Answer:
        details = re.match(r"^(?:/experiments/[^/]+)?/runs/([^/]+)/details$", rest)
        if details:
            return Answer(200, self._details(call, workspace, details[1]))
        if rest == "/rundata" and call.method == "POST":
            run = self._run(workspace, str(call.json().get("runId", "")))
            return Answer(
                200,
                {
                    "runMetadata": run,
                    "runDefinition": {},
                    "jobSpecification": None,
                    "systemSettings": None,
                },
            )
        if re.match(r"^/runs/[^/]+/children$", rest):
            return Answer(200, {"value": []})
        one = re.match(r"^(?:/experiments/[^/]+)?/runs/([^/]+)$", rest)
        if one and call.method == "GET":
            return Answer(200, self._run(workspace, one[1]))
        if one and call.method in ("PATCH", "PUT"):
            return Answer(200, self._change(call, workspace, one[1]))
        raise ArmError(404, "NotFound", f"The lab has nothing at {call.path}.")

    def _details(self, call: Call, workspace: ResourceId, name: str) -> dict[str, Any]:
        record = self._plane.jobs.get(workspace, name)
        properties = record["arm"]["properties"]
        compute = str(properties.get("computeId") or "serverless").rsplit("/", 1)[-1]
        return {
            "runId": name,
            "target": compute,
            "status": self._plane.jobs.shown_status(record),
            "startTimeUtc": record["start"],
            "endTimeUtc": record["end"],
            "properties": properties["properties"],
            "inputDatasets": [],
            "outputDatasets": [],
            "runDefinition": {},
            "logFiles": {log: self._log_url(call, workspace, name, log) for log in record["logs"]},
            "warnings": [],
            "error": record["error"],
            "revision": 1,
            "submittedBy": record["by"],
        }

    def _log_url(self, call: Call, workspace: ResourceId, name: str, log: str) -> str:
        """A url that opens one log for an hour: clients fetch it with no token."""
        path = data_path.in_datastore(
            self._plane, workspace, ARTIFACT_STORE, f"ExperimentRun/dcid.{name}/{log}"
        )
        account = self._plane.accounts.find(path.account)
        if account is None:
            raise ArmError(404, "NotFound", f"The storage account '{path.account}' is gone.")
        signature = user_delegation_sas(
            path.account,
            path.container,
            name=path.path,
            permissions="r",
            object_id=call.principal.object_id,
            delegation_key=account.delegation_key,
            lifetime_seconds=_LOG_LIFETIME_SECONDS,
        )
        return f"{call.urls.blob(path.account)}/{path.container}/{path.path}?{signature}"

    def _run(self, workspace: ResourceId, name: str) -> dict[str, Any]:
        record = self._plane.jobs.get(workspace, name)
        properties = record["arm"]["properties"]
        return {
            "runId": name,
            "runNumber": record["number"],
            "rootRunId": name,
            "experimentId": _experiment_id(workspace, properties["experimentName"]),
            "status": record["status"],
            "createdUtc": record["created"],
            "startTimeUtc": record["start"],
            "endTimeUtc": record["end"],
            "tags": properties["tags"],
            "properties": properties["properties"],
            "displayName": properties["displayName"],
            "description": properties.get("description"),
            "runType": "azureml.commandjob",
            "outputs": record["outputs"],
            "dataContainerId": f"dcid.{name}",
            "hidden": properties["isArchived"],
            "error": record["error"],
        }

    def _change(self, call: Call, workspace: ResourceId, name: str) -> dict[str, Any]:
        body = call.json()
        with self._plane.lock:
            record = self._plane.jobs.get(workspace, name)
            properties = record["arm"]["properties"]
            for field in ("tags", "properties"):
                for key, value in (body.get(field) or {}).items():
                    properties[field][key] = value
            for field in ("displayName", "description"):
                if body.get(field) is not None:
                    properties[field] = body[field]
            if body.get("hidden") is not None:
                properties["isArchived"] = bool(body["hidden"])
            self._plane.jobs.change(record["key"], arm=record["arm"])
        return self._run(workspace, name)

    # --- data

    def _answer_data(self, call: Call, workspace: ResourceId, rest: str) -> Answer:
        if rest != "/dataversion/batchGetResolvedUris" or call.method != "POST":
            raise ArmError(404, "NotFound", f"The lab has nothing at {call.path}.")
        values = {}
        for asset in call.json().get("values") or ():
            found = OUTPUT_ASSET.search(asset)
            if found:
                record = self._plane.jobs.get(workspace, found[1])
                output = record["arm"]["properties"]["outputs"].get(found[2])
                if output is None:
                    raise ArmError(
                        404, "UserError", f"Job '{found[1]}' has no output '{found[2]}'."
                    )
                uri, kind = output["uri"], output["jobOutputType"]
            else:
                id = data_path.asset_id(self._plane, workspace, asset)
                if id is None:
                    raise ArmError(404, "UserError", f"There is no data asset '{asset}'.")
                properties = self._plane.resources.get(id)["properties"]
                uri, kind = properties["dataUri"], properties["dataType"]
            values[asset] = {"uri": _long_uri(workspace, uri), "type": _data_type(kind)}
        return Answer(200, {"values": values})

    # --- MLflow

    def _answer_mlflow(self, call: Call, workspace: ResourceId, rest: str) -> Answer:
        endpoint = re.sub(r"^/api/2\.0/(preview/)?mlflow/", "", rest)
        body = call.json() if call.method != "GET" else dict(call.query)
        if endpoint == "experiments/get-by-name":
            return Answer(
                200, {"experiment": _experiment(workspace, str(body.get("experiment_name")))}
            )
        if endpoint == "experiments/get":
            return Answer(
                200,
                {"experiment": self._experiment_by_id(workspace, str(body.get("experiment_id")))},
            )
        if endpoint == "experiments/create":
            name = str(body.get("name"))
            return Answer(200, {"experiment_id": _experiment_id(workspace, name)})
        if endpoint == "metrics/get-history":
            run, key = str(body.get("run_id") or body.get("run_uuid")), str(body.get("metric_key"))
            self._run_record(workspace, run)
            rows = self._metrics(workspace, run, key)
            return Answer(200, {"metrics": rows})
        if endpoint == "runs/search":
            records = self._plane.jobs.all_of(workspace)
            return Answer(
                200, {"runs": [self._mlflow_run(workspace, record) for record in records]}
            )
        run = str(body.get("run_id") or body.get("run_uuid") or "")
        handlers = {
            "runs/get": lambda: {
                "run": self._mlflow_run(workspace, self._run_record(workspace, run))
            },
            "runs/update": lambda: {
                "run_info": self._mlflow_run(workspace, self._run_record(workspace, run))["info"]
            },
            "runs/log-metric": lambda: self._log(workspace, run, metrics=[body]),
            "runs/log-parameter": lambda: self._log(workspace, run, params=[body]),
            "runs/set-tag": lambda: self._log(workspace, run, tags=[body]),
            "runs/log-batch": lambda: self._log(
                workspace,
                run,
                metrics=body.get("metrics") or (),
                params=body.get("params") or (),
                tags=body.get("tags") or (),
            ),
        }
        handler = handlers.get(endpoint)
        if handler is None:
            raise _mlflow_error(
                404,
                "ENDPOINT_NOT_FOUND",
                f"The lab's MLflow has no '{endpoint}'; it logs metrics, parameters and tags of jobs.",
            )
        return Answer(200, handler())

    def _run_record(self, workspace: ResourceId, name: str) -> dict[str, Any]:
        try:
            return self._plane.jobs.get(workspace, name)
        except ArmError as error:
            raise _mlflow_error(
                404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={name} not found"
            ) from error

    def _log(
        self,
        workspace: ResourceId,
        run: str,
        *,
        metrics: Any = (),
        params: Any = (),
        tags: Any = (),
    ) -> dict[str, Any]:
        with self._plane.lock, self._plane.store.transaction():
            record = self._run_record(workspace, run)
            rows = []
            for metric in metrics:
                value = metric.get("value")
                if metric.get("key") is None or not isinstance(value, int | float | str):
                    raise _mlflow_error(
                        400,
                        "INVALID_PARAMETER_VALUE",
                        f"The metric {metric!r} needs a key and a value.",
                    )
                stamp = int(metric.get("timestamp") or time.time() * 1000)
                rows.append(
                    (
                        record["key"],
                        metric["key"],
                        float(value),
                        stamp,
                        int(metric.get("step") or 0),
                    )
                )
            self._plane.store.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?)", rows)
            if params or tags:
                known = record.setdefault("params", {})
                for entry in params:
                    if known.get(entry["key"], str(entry["value"])) != str(entry["value"]):
                        raise _mlflow_error(
                            400,
                            "INVALID_PARAMETER_VALUE",
                            f"Changing param values is not allowed. Param with key='{entry['key']}' was already "
                            f"logged with value='{known[entry['key']]}'.",
                        )
                    known[entry["key"]] = str(entry["value"])
                for entry in tags:
                    record["arm"]["properties"]["tags"][entry["key"]] = str(entry["value"])
                self._plane.jobs.change(record["key"], params=known, arm=record["arm"])
        return {}

    def _metrics(
        self, workspace: ResourceId, run: str, key: str | None = None
    ) -> list[dict[str, Any]]:
        record = self._run_record(workspace, run)
        rows = self._plane.store.execute(
            "SELECT key, value, timestamp, step FROM metrics WHERE run = ? AND (? IS NULL OR key = ?) ORDER BY rowid",
            (record["key"], key, key),
        )
        return [
            {"key": k, "value": value, "timestamp": stamp, "step": step}
            for k, value, stamp, step in rows
        ]

    def _mlflow_run(self, workspace: ResourceId, record: dict[str, Any]) -> dict[str, Any]:
        properties = record["arm"]["properties"]
        latest = {metric["key"]: metric for metric in self._metrics(workspace, record["name"])}
        store = data_path.in_datastore(self._plane, workspace, ARTIFACT_STORE, "")
        artifacts = f"{store.container}/ExperimentRun/dcid.{record['name']}"
        return {
            "info": {
                "run_id": record["name"],
                "run_uuid": record["name"],
                "run_name": properties["displayName"],
                "experiment_id": _experiment_id(workspace, properties["experimentName"]),
                "user_id": record["by"],
                "status": _MLFLOW_STATES.get(record["status"], "RUNNING"),
                "start_time": _millis(record["start"]),
                "end_time": _millis(record["end"]),
                "artifact_uri": f"azureml://artifacts/{artifacts}",
                "lifecycle_stage": "deleted" if properties["isArchived"] else "active",
            },
            "data": {
                "metrics": list(latest.values()),
                "params": [
                    {"key": key, "value": value} for key, value in record.get("params", {}).items()
                ],
                "tags": [
                    {"key": key, "value": str(value)} for key, value in properties["tags"].items()
                ],
            },
        }

    def _experiment_by_id(self, workspace: ResourceId, id: str) -> dict[str, Any]:
        names = {
            record["arm"]["properties"]["experimentName"]
            for record in self._plane.jobs.all_of(workspace)
        }
        for name in names:
            if _experiment_id(workspace, name) == id:
                return _experiment(workspace, name)
        raise _mlflow_error(404, "RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={id} exists")


class _MlflowError(ArmError):
    def body(self) -> dict[str, Any]:
        return {"error_code": self.code, "message": self.message}


def _mlflow_error(status: int, code: str, message: str) -> _MlflowError:
    return _MlflowError(status, code, message)


def _experiment_id(workspace: ResourceId, name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{workspace.key}/experiments/{name}"))


def _experiment(workspace: ResourceId, name: str) -> dict[str, Any]:
    return {
        "experiment_id": _experiment_id(workspace, name),
        "name": name,
        "artifact_location": "",
        "lifecycle_stage": "active",
        "tags": [],
    }


def _long_uri(workspace: ResourceId, uri: str) -> str:
    match = re.match(r"^azureml://datastores/(.*)$", uri)
    if match is None:
        return uri
    subscription = workspace.scope.split("/")[2]
    return f"azureml://subscriptions/{subscription}/resourcegroups/{workspace.resource_group}/workspaces/{workspace.name}/datastores/{match[1]}"


def _data_type(kind: str) -> str:
    return {"uri_folder": "UriFolder", "uri_file": "UriFile", "mltable": "MLTable"}.get(kind, kind)


def _millis(timestamp: str | None) -> int | None:
    from datetime import datetime

    return (
        int(datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp() * 1000)
        if timestamp
        else None
    )
