"""One attempt of a job: its files, its processes, its log, and what it leaves in storage.

The script finds what Azure ML's common runtime gives it: the code as working folder, inputs as files, outputs as
folders that
are kept, ``./outputs`` and ``./logs`` uploaded, and the environment variables of a run.
https://learn.microsoft.com/azure/machine-learning/how-to-train-model
https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import executor
from lab.azure import data_path, environment
from lab.azure.data_path import DataPath
from lab.azure.distribution import Process, addresses, plan
from lab.azure.duration import seconds
from lab.azure.errors import ArmError, run_error
from lab.azure.job_log import JobLog
from lab.azure.login import Principal
from lab.azure.resource_id import ResourceId, parse_id
from lab.azure.urls import Urls
from lab.home import SUBSCRIPTION_ID, TENANT_ID, LabError

if TYPE_CHECKING:
    from lab.azure.plane import Plane

# How long a script has after SIGTERM: a spot machine's notice is 30 s, a cancel's is not documented.
_PREEMPT_GRACE_SECONDS = 30.0
_CANCEL_GRACE_SECONDS = 10.0
_SYNC_SECONDS = 1.0
_PIP_TIMEOUT_SECONDS = 300.0
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
ARTIFACT_STORE = "workspaceartifactstore"


class _UserError(Exception):
    """The job cannot run, by the user's doing; its message is the run's error."""


class JobRun:
    """Runs a job once, in threads of its own. start() returns at once; the end is told to lab.azure.jobs."""

    def __init__(
        self,
        plane: Plane,
        key: str,
        record: dict[str, Any],
        compute: ResourceId | None,
        nodes: Sequence[str],
    ) -> None:
        self._plane = plane
        self._key = key
        self._record = record
        self._name: str = record["name"]
        self._job: dict[str, Any] = record["arm"]["properties"]
        self._compute = compute
        self._nodes = list(nodes)
        self._workspace = _required_id(record["workspace"])
        self._folder = (
            plane.jobs.folder
            / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}-{record['attempt']}"
        )
        self._processes: list[executor.Running] = []
        self._logs: dict[str, JobLog] = {}
        self._synced: dict[Path, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._ending: str | None = None  # Canceled | Preempted | TimedOut | Abandoned
        self._changed = threading.Event()
        self._deadline: float | None = None
        self._port = _free_port()  # where the first node's processes meet the others
        self._identity_secret = secrets.token_urlsafe(24)
        self._thread = threading.Thread(target=self._run, name=f"job-{self._name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    @property
    def is_low_priority(self) -> bool:
        document = self._plane.document(self._compute) if self._compute else None
        if document is None:
            tier = (self._job.get("queueSettings") or {}).get("jobTier", "")
            return str(tier).lower() == "spot"
        inner = document["properties"].get("properties") or {}
        return str(inner.get("vmPriority", "")).lower() == "lowpriority"

    def cancel(self) -> None:
        self._end("Canceled")

    def preempt(self) -> None:
        if self._compute:
            self._plane.computes.preempt(self._compute, self._name)
        self._end("Preempted")

    def abandon(self) -> None:
        """The plane stops: kill the processes, leave the record."""
        self._end("Abandoned")
        for process in self._processes:
            process.kill()

    def check_deadline(self) -> float | None:
        """Cancel the job where its time is up; return when (on the lab's clock) it will be."""
        if self._deadline is None or self._ending:
            return None
        if self._plane.clock.now() >= self._deadline:
            self._end("TimedOut")
            return None
        return self._deadline

    def token(self, header: str, resource: str) -> str | None:
        """Return a token of the job's managed identity for one who knows the job's secret."""
        principal = self._principal()
        if not secrets.compare_digest(header, self._identity_secret) or principal is None:
            return None
        return self._plane.login.issue(principal, resource)

    def _end(self, reason: str) -> None:
        with self._lock:
            if self._ending is None:
                self._ending = reason
        self._changed.set()

    # --- the thread

    def _run(self) -> None:
        status, error = "Failed", None
        try:
            status, error = self._attempt()
        except _UserError as problem:
            error = run_error("UserError", str(problem))
        except (ArmError, LabError, OSError) as problem:
            error = run_error("SystemError", str(problem))
        except Exception as problem:  # a job's record must never be left as running
            error = run_error("SystemError", f"{type(problem).__name__}: {problem}")
            raise
        finally:
            for process in self._processes:
                process.kill()
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._compute:
                self._plane.computes.release(self._compute, self._name)
            self._plane.jobs.ended(self._key, self, status, error)

    def _attempt(self) -> tuple[str, dict[str, Any] | None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        main_log = self._log(self._log_names()[0])
        if self._record["attempt"]:
            main_log.line(
                f"The job was preempted and starts again: attempt {self._record['attempt'] + 1}."
            )
        inputs = {
            name: self._bring(name, value)
            for name, value in (self._job.get("inputs") or {}).items()
            if value
        }
        outputs = {name: self._open(name, value) for name, value in self._job["outputs"].items()}
        instances = self._instances(inputs, outputs)
        self._install(main_log, [instance for instance, _ in instances])
        if self._ending:
            return self._verdict(None)
        if self._compute:
            self._plane.computes.ready(self._compute, self._name)
        timeout = (self._job.get("limits") or {}).get("timeout")
        if timeout:
            self._deadline = self._plane.clock.now() + seconds(timeout, "properties.limits.timeout")
        self._plane.jobs.set_status(self._key, "Running")
        for instance, log in instances:
            self._processes.append(executor.start(instance, self._log(log).line))
        self._plane.clock.wake()
        failed = self._wait()
        self._plane.jobs.set_status(self._key, "Finalizing")
        self._sync(final=True)
        self._register_outputs(outputs)
        return self._verdict(failed)

    def _wait(self) -> executor.Running | None:
        """Wait for the processes; return the first that failed. Files are uploaded meanwhile."""
        synced = time.monotonic()
        while True:
            if self._ending:
                grace = (
                    _PREEMPT_GRACE_SECONDS if self._ending == "Preempted" else _CANCEL_GRACE_SECONDS
                )
                self._stop(grace)
                return None
            codes = [process.poll() for process in self._processes]
            failed = next(
                (process for process, code in zip(self._processes, codes, strict=True) if code),
                None,
            )
            if failed:
                for process in self._processes:
                    process.kill()
                for process in self._processes:
                    process.wait(10.0)
                return failed
            if all(code == 0 for code in codes):
                return None
            pending = next(
                process
                for process, code in zip(self._processes, codes, strict=True)
                if code is None
            )
            if len(self._processes) == 1:
                self._wait_for(pending, 0.1)
            else:
                self._changed.wait(0.05)
            for log in self._logs.values():
                log.flush()
            if time.monotonic() - synced > _SYNC_SECONDS:
                self._sync()
                synced = time.monotonic()

    def _wait_for(self, process: executor.Running, timeout: float) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end and not self._ending:
            if process.wait(0.02) is not None:
                return

    def _stop(self, grace: float) -> None:
        if self._ending != "Abandoned":
            for process in self._processes:
                process.terminate()
            end = time.monotonic() + grace
            for process in self._processes:
                while (
                    process.poll() is None
                    and time.monotonic() < end
                    and self._ending != "Abandoned"
                ):
                    process.wait(0.05)
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(10.0)

    def _verdict(self, failed: executor.Running | None) -> tuple[str, dict[str, Any] | None]:
        if self._ending == "Preempted":
            return "Queued", None
        if self._ending == "TimedOut":
            timeout = self._job["limits"]["timeout"]
            return "Canceled", run_error(
                "UserError",
                f"The run was canceled because it exceeded the maximum run duration of {timeout}.",
            )
        if self._ending:
            return "Canceled", None
        if failed is None:
            return "Completed", None
        index = self._processes.index(failed)
        log = list(self._logs.values())[min(index, len(self._logs) - 1)]
        program = Path(re.split(r"\s+", self._job["command"].strip())[0]).name
        return "Failed", run_error(
            "UserError",
            f"Execution failed. User process '{program}' exited with status code {failed.returncode}. Please check "
            "log file "
            f"'{log.name}' for error details. Error: {log.tail()}",
        )

    # --- files

    def _bring(self, name: str, value: dict[str, Any]) -> str:
        """Put an input where the script finds it; return its value in the command."""
        if value.get("jobInputType") == "literal":
            return str(value.get("value", ""))
        if value.get("mode") == "Direct":
            return str(value["uri"])
        source = data_path.resolve(self._plane, self._workspace, value["uri"])
        self._require_access(source, "read", f"input '{name}'")
        folder = self._folder / "in" / name
        folder.mkdir(parents=True)
        is_file = value.get("jobInputType") == "uri_file"
        found = self._download(source, folder, is_file=is_file)
        if not found:
            raise _UserError(
                f"Input '{name}': there is nothing at {value['uri']} (container '{source.container}', path "
                f"'{source.path}')."
            )
        return f"{self._inside}/cap/data-capability/wd/INPUT_{name}" + (
            f"/{found}" if is_file else ""
        )

    def _open(self, name: str, value: dict[str, Any]) -> tuple[DataPath, Path]:
        """Make an output's folder, with what an attempt before left in it."""
        target = data_path.resolve(self._plane, self._workspace, value["uri"])
        self._require_access(target, "write", f"output '{name}'")
        folder = self._folder / "out" / name
        folder.mkdir(parents=True)
        if value["jobOutputType"] != "uri_file":
            self._download(target, folder, is_file=False)
            for path in _files(folder):
                self._synced[path] = _stamp(path)
        return target, folder

    def _download(self, source: DataPath, folder: Path, *, is_file: bool) -> str:
        """Copy blobs into a folder; return the name of the first file, or nothing."""
        if is_file:
            blob = self._plane.blobs.find(source.account, source.container, source.path)
            if blob is None:
                return ""
            name = source.path.rsplit("/", 1)[-1]
            shutil.copyfile(blob.path, folder / name)
            return name
        prefix = f"{source.path}/" if source.path else ""
        first = ""
        for blob in self._plane.blobs.below(source.account, source.container, prefix):
            target = (folder / blob.name[len(prefix) :]).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise _UserError(f"The blob '{blob.name}' would be written outside of its folder.")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blob.path, target)
            first = first or target.name
        if not first:
            # a folder's input may name a single file
            return self._download(source, folder, is_file=True) if prefix else ""
        return first

    def _sync(self, *, final: bool = False) -> None:
        """Upload what the script wrote since the last time: outputs, ./outputs, ./logs, and the log."""
        for name, value in self._job["outputs"].items():
            target = data_path.resolve(self._plane, self._workspace, value["uri"])
            folder = self._folder / "out" / name
            if value["jobOutputType"] == "uri_file":
                path = folder / name
                if path.is_file():
                    self._upload(path, target.account, target.container, target.path, final=final)
                continue
            self._upload_folder(folder, target, final=final, is_mirror=value["mode"] != "Upload")
        artifacts = data_path.in_datastore(
            self._plane, self._workspace, ARTIFACT_STORE, f"ExperimentRun/dcid.{self._name}"
        )
        # all nodes write to one place; where they write the same name, the first node's file stays
        for node in reversed(range(len(self._nodes))):
            for kind in ("outputs", "logs"):
                below = DataPath(artifacts.account, artifacts.container, f"{artifacts.path}/{kind}")
                self._upload_folder(self._folder / f"node-{node}" / kind, below, final=final)
        for log in self._logs.values():
            log.flush(final=final)

    def _upload_folder(
        self, folder: Path, target: DataPath, *, final: bool, is_mirror: bool = False
    ) -> None:
        if not folder.is_dir() or (not final and not is_mirror):
            return
        prefix = f"{target.path}/" if target.path else ""
        present = set()
        for path in _files(folder):
            present.add(path)
            self._upload(
                path,
                target.account,
                target.container,
                prefix + path.relative_to(folder).as_posix(),
                final=final,
            )
        if is_mirror:  # what the script deleted in a mounted output is gone from storage too
            for path in [
                path for path in self._synced if path.is_relative_to(folder) and path not in present
            ]:
                del self._synced[path]
                with contextlib.suppress(ArmError):
                    self._plane.blobs.delete(
                        target.account,
                        target.container,
                        prefix + path.relative_to(folder).as_posix(),
                    )

    def _upload(self, path: Path, account: str, container: str, name: str, *, final: bool) -> None:
        try:
            stamp = _stamp(path)
            # A file that is being written right now is taken the next time.
            fresh = time.time_ns() - stamp[0] < 50_000_000
            if self._synced.get(path) == stamp or (fresh and not final):
                return
            self._plane.blobs.put(account, container, name, path)
            self._synced[path] = stamp
        except FileNotFoundError:
            return

    def _register_outputs(self, outputs: Mapping[str, tuple[DataPath, Path]]) -> None:
        """Tell run history what the job made; a named output becomes a data asset too."""
        document = self._plane.document(self._workspace) or {"location": "", "properties": {}}
        workspace = f"locations/{document['location']}/workspaces/{document['properties'].get('workspaceId')}"
        made = {}
        for name in outputs:
            value = self._job["outputs"][name]
            made[name] = {
                "assetId": f"azureml://{workspace}/data/azureml_{self._name}_output_{name}/versions/1",
                "type": value["jobOutputType"],
            }
            if value.get("assetName") and not self._ending:
                container = self._workspace.child("data", value["assetName"])
                known = self._plane.resources.children(container.scope, container, "versions")
                version = value.get("assetVersion") or str(len(known) + 1)
                self._plane.resources.write(
                    container.child("versions", version),
                    {"properties": {"dataUri": value["uri"], "dataType": value["jobOutputType"]}},
                    by=self._record["by"],
                )
        self._plane.jobs.change(self._key, outputs=made)

    def _log_names(self) -> list[str]:
        count = len(self._plan())
        if count == 1:
            return ["user_logs/std_log.txt"]
        return [f"user_logs/std_log_process_{index}.txt" for index in range(count)]

    def _log(self, name: str) -> JobLog:
        if name not in self._logs:
            artifacts = data_path.in_datastore(
                self._plane,
                self._workspace,
                ARTIFACT_STORE,
                f"ExperimentRun/dcid.{self._name}/{name}",
            )
            self._logs[name] = JobLog(
                self._plane, name, artifacts, keep=bool(self._record["attempt"])
            )
            record = self._plane.jobs.record(self._key)
            if name not in record["logs"]:
                self._plane.jobs.change(self._key, logs=[*record["logs"], name])
        return self._logs[name]

    # --- who the job is

    def _principal(self) -> Principal | None:
        """The identity that the job's own calls carry."""
        kind = str((self._job.get("identity") or {}).get("identityType", ""))
        if kind == "UserIdentity":
            return Principal(self._record["by"], "", "submitter")
        identities = self._identities()
        wanted = str((self._job.get("identity") or {}).get("clientId") or "").lower()
        for principal in identities:
            if not wanted or principal.client_id.lower() == wanted:
                return principal
        return None

    def _identities(self) -> list[Principal]:
        """The managed identities of the compute; a serverless job has the workspace's user-assigned one."""
        document = (
            self._plane.document(self._compute)
            if self._compute
            else self._plane.document(self._workspace)
        )
        identity = (document or {}).get("identity") or {}
        assigned = identity.get("userAssignedIdentities") or {}
        found = [
            Principal(value["principalId"], value["clientId"], id.rsplit("/", 1)[-1])
            for id, value in assigned.items()
        ]
        if identity.get("principalId") and self._compute:
            found.append(Principal(identity["principalId"], "", (document or {})["name"]))
        return found

    def _require_access(self, path: DataPath, verb: str, what: str) -> None:
        """Raise where the job's data access would be refused by the storage account."""
        account = self._plane.accounts.find(path.account)
        if account is None:
            raise _UserError(f"The storage account '{path.account}' of {what} does not exist.")
        credentials = "None"
        if path.datastore:
            document = self._plane.resources.get(path.datastore)
            credentials = (
                document["properties"].get("credentials", {}).get("credentialsType", "None")
            )
        allows_keys = (self._plane.document(account.id) or {})["properties"].get(
            "allowSharedKeyAccess", True
        )
        if credentials != "None":
            if not allows_keys:
                raise _UserError(
                    f"Data access failed for {what}: KeyBasedAuthenticationNotPermitted. Key based authentication "
                    "is not permitted on this storage account."
                )
            return
        principal = self._principal()
        workspace = self._plane.document(self._workspace) or {}
        if principal is None:
            identity = workspace.get("identity") or {}
            if (
                "SystemAssigned" in identity.get("type", "")
                and account.id.lower() == workspace["properties"]["storageAccount"].lower()
            ):
                return  # the service itself gives a workspace's system identity access to the workspace's storage
            principal = Principal(
                str(identity.get("principalId") or ""), "", workspace.get("name", "")
            )
        scope = f"{account.id}/blobServices/default/containers/{path.container}"
        if not self._plane.authorization.allows(principal, f"{_BLOBS}/{verb}", scope, is_data=True):
            raise _UserError(
                f"Data access failed for {what}: AuthorizationPermissionMismatch. This request is not authorized "
                "to perform this operation "
                f"using this permission. The identity '{principal.name or principal.object_id}' (object id "
                f"{principal.object_id}) has no role on "
                f"'{account.name}' that allows '{verb}' of blobs; give it Storage Blob Data "
                f"{'Contributor' if verb == 'write' else 'Reader'}."
            )

    # --- processes

    @property
    def _inside(self) -> str:
        """The job's folder as the script sees it; the real one where the machine allows no mounts."""
        if executor.best_isolation() == "none":
            return str(self._folder)
        return f"/mnt/azureml/cr/j/{hashlib.sha256(self._key.encode()).hexdigest()[:32]}"

    def _instances(
        self, inputs: Mapping[str, str], outputs: Mapping[str, tuple[DataPath, Path]]
    ) -> list[tuple[executor.Instance, str]]:
        code = self._folder / "code"
        code.mkdir()
        self._bring_code(code)
        values = {
            name: f"{self._inside}/cap/data-capability/wd/{name}"
            + (f"/{name}" if self._job["outputs"][name]["jobOutputType"] == "uri_file" else "")
            for name in outputs
        }
        command = _substituted(self._job["command"], inputs, values)
        variables = self._variables(inputs, values)
        found = addresses(self._key, len(self._nodes))
        hosts = {f"node-{index}": address for index, address in enumerate(found)}
        instances = []
        for process, log in zip(self._plan(), self._log_names(), strict=True):
            node = self._folder / f"node-{process.node}"
            if not node.exists():
                shutil.copytree(code, node, symlinks=True)
                for kind in ("outputs", "logs"):
                    (node / kind).mkdir(exist_ok=True)
            mounts, cwd = self._mounts(node, outputs)
            instances.append(
                (
                    executor.Instance(
                        argv=["bash", "-c", command],
                        env={
                            **variables,
                            **self._node_variables(process.node, found),
                            **process.env,
                            **_user(self._job),
                        },
                        cwd=cwd,
                        mounts=mounts,
                        read_only_mounts=self._read_only_mounts(inputs),
                        hostname=f"node-{process.node}",
                        hosts=hosts,
                        scratch=self._folder / f"scratch-{process.node}",
                    ),
                    log,
                )
            )
        return instances

    def _mounts(
        self, node: Path, outputs: Mapping[str, tuple[DataPath, Path]]
    ) -> tuple[dict[str, Path], str]:
        if executor.best_isolation() == "none":
            # the folders are named as they are; links give inputs and outputs their usual place
            place = self._folder / "cap" / "data-capability" / "wd"
            place.mkdir(parents=True, exist_ok=True)
            for name, (_, folder) in outputs.items():
                _link(place / name, folder)
            for path in (self._folder / "in").glob("*"):
                _link(place / f"INPUT_{path.name}", path)
            return {}, str(node)
        cwd = f"{self._inside}/exe/wd"
        mounts = {cwd: node}
        for name, (_, folder) in outputs.items():
            mounts[f"{self._inside}/cap/data-capability/wd/{name}"] = folder
        return mounts, cwd

    def _read_only_mounts(self, inputs: Mapping[str, str]) -> dict[str, Path]:
        if executor.best_isolation() == "none":
            return {}
        return {
            f"{self._inside}/cap/data-capability/wd/INPUT_{name}": self._folder / "in" / name
            for name in inputs
            if (self._folder / "in" / name).is_dir()
        }

    def _bring_code(self, folder: Path) -> None:
        if not self._job.get("codeId"):
            return
        code = self._plane.resources.get(_required_id(self._job["codeId"]))
        source = data_path.resolve(self._plane, self._workspace, code["properties"]["codeUri"])
        if not self._download(source, folder, is_file=False):
            raise _UserError(f"The code snapshot at {code['properties']['codeUri']} is empty.")

    def _plan(self) -> list[Process]:
        """Return the processes of the job's distribution, in the order of their rank."""
        nodes = addresses(self._key, len(self._nodes))
        return plan(self._job.get("distribution") or {}, nodes, self._port)

    def _variables(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> dict[str, str]:
        """What Azure ML puts into every job's environment."""
        document = self._plane.document(self._workspace) or {}
        urls = Urls(self._plane.own_url)
        submitter = Principal(self._record["by"], "", "run")
        token = self._plane.login.issue(submitter, "https://ml.azure.com")
        variables = {
            "AZUREML_RUN_ID": self._name,
            "AZUREML_ROOT_RUN_ID": self._name,
            "AZUREML_EXPERIMENT_NAME": self._job["experimentName"],
            "AZUREML_ARM_SUBSCRIPTION": SUBSCRIPTION_ID,
            "AZUREML_ARM_RESOURCEGROUP": self._workspace.resource_group or "",
            "AZUREML_ARM_WORKSPACE_NAME": self._workspace.name,
            "AZUREML_ARM_PROJECT_NAME": self._job["experimentName"],
            "AZUREML_WORKSPACE_ID": document.get("properties", {}).get("workspaceId", ""),
            "AZUREML_WORKSPACE_SCOPE": self._record["workspace"],
            "AZUREML_SERVICE_ENDPOINT": urls.machine_learning(document.get("location", "")),
            "AZUREML_RUN_TOKEN": token,
            "AZUREML_CR_EXECUTION_WORKING_DIR_PATH": f"{self._inside}/exe/wd",
            "AZUREML_NODE_COUNT": str(len(self._nodes)),
            "MLFLOW_TRACKING_URI": urls.mlflow_tracking(
                document.get("location", ""), self._record["workspace"]
            ),
            "MLFLOW_TRACKING_TOKEN": token,
            "MLFLOW_RUN_ID": self._name,
            "MLFLOW_EXPERIMENT_NAME": self._job["experimentName"],
            **{f"AZURE_ML_INPUT_{name}": value for name, value in inputs.items()},
            **{f"AZURE_ML_OUTPUT_{name}": value for name, value in outputs.items()},
        }
        principal = self._principal()
        if (
            principal
            and str((self._job.get("identity") or {}).get("identityType", "Managed")) == "Managed"
        ):
            variables["DEFAULT_IDENTITY_CLIENT_ID"] = principal.client_id
            variables["AZURE_TENANT_ID"] = TENANT_ID
            variables["IDENTITY_ENDPOINT"] = f"{self._plane.own_url}/_lab/identity/{self._name}"
            variables["IDENTITY_HEADER"] = self._identity_secret
            variables["MSI_ENDPOINT"] = variables["IDENTITY_ENDPOINT"]
            variables["MSI_SECRET"] = self._identity_secret
        return variables

    def _node_variables(self, node: int, nodes: Sequence[str]) -> dict[str, str]:
        """Where the other nodes are, as Azure Batch tells its tasks."""
        return {
            "AZ_BATCH_NODE_LIST": ";".join(nodes),
            "AZ_BATCH_HOST_LIST": ",".join(nodes),
            "AZ_BATCH_MASTER_NODE": f"{nodes[0]}:{self._port}",
            "AZ_BATCHAI_MPI_MASTER_NODE": nodes[0],
            "AZ_BATCHAI_WORKER_HOSTS": ",".join(nodes),
            "AZ_BATCHAI_TASK_INDEX": str(node),
            "AZ_BATCH_NODE_ID": self._nodes[node],
        }

    def _install(self, log: JobLog, instances: Sequence[executor.Instance]) -> None:
        """Install what the environment asks for and the lab's Python lacks."""
        _, properties = environment.resolve(
            self._plane, self._workspace, self._job["environmentId"]
        )
        if properties.get("build"):
            log.line(
                "trainstack lab: the environment's Dockerfile is not built here; the job runs on the lab's Python"
            )
        absent, remarks = environment.missing(environment.requirements(properties))
        for remark in remarks:
            log.line(f"trainstack lab: {remark}")
        if not absent:
            return
        log.line(f"trainstack lab: installing {', '.join(absent)}")
        for scratch in dict.fromkeys(instance.scratch for instance in instances):
            argv = ["pip", "install", "--quiet", "--retries", "1", *absent]
            pip = executor.start(executor.Instance(argv=argv, scratch=scratch), log.line)
            code = pip.wait(_PIP_TIMEOUT_SECONDS)
            if code is None:
                pip.kill()
            if code != 0:
                log.line(
                    f"trainstack lab: could not install {', '.join(absent)}; the script will not find it"
                )
                return


def _substituted(command: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """Fill a command: ``${{inputs.x}}``, and ``$[[ ... ]]`` which goes where its input was not given."""

    def optional(match: re.Match[str]) -> str:
        wanted = re.findall(r"\$\{\{inputs\.(\w+)\}\}", match[1])
        return match[1] if all(name in inputs for name in wanted) else ""

    command = re.sub(r"\$\[\[(.*?)\]\]", optional, command, flags=re.DOTALL)
    for kind, values in (("inputs", inputs), ("outputs", outputs)):
        for name, value in values.items():
            command = command.replace(f"${{{{{kind}.{name}}}}}", value)
    return command


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _user(job: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in (job.get("environmentVariables") or {}).items()}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _link(at: Path, target: Path) -> None:
    if not at.exists():
        at.symlink_to(target)


def _required_id(text: str) -> ResourceId:
    found = parse_id(text)
    if found is None:
        raise ValueError(f"{text!r} is no resource id")
    return found
