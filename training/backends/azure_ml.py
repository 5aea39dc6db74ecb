"""Azure Machine Learning command jobs.

Calls go through ``MLClient``'s own clients, with the planned body as it stands; run history, which MLClient
only prints from,
is read over its REST API. The SDK's retries are off: see ``training.retry``.
"""

from __future__ import annotations

import functools
import io
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from infra.outputs import StackOutputs
from training.backends.azure_plan import DATASTORE, METRICS_PROPERTY, plan, workspace_id
from training.backends.base import Check, JobRequest, JobState, JobStatus, Metric, Upload
from training.container import Login, push
from training.errors import (
    AuthError,
    JobError,
    RejectedError,
    UnavailableError,
    UnknownJobError,
)
from training.extraction import replacing, safe_path
from training.handle import JobHandle
from training.job import JobSpec
from training.log_metric import metrics_in
from training.retry import Ladder, TransientError, retry_after_seconds

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

T = TypeVar("T")

# azure.ai.ml's JobStatus, and what run history adds to it.
_STATES = {
    "NotStarted": JobState.QUEUED,
    "Scheduled": JobState.QUEUED,
    "Starting": JobState.QUEUED,
    "Provisioning": JobState.QUEUED,
    "Preparing": JobState.QUEUED,
    "Queued": JobState.QUEUED,
    "Paused": JobState.QUEUED,
    "Running": JobState.RUNNING,
    "NotResponding": JobState.RUNNING,
    "Finalizing": JobState.RUNNING,
    "CancelRequested": JobState.STOPPING,
    "Completed": JobState.SUCCEEDED,
    "Failed": JobState.FAILED,
    "Canceled": JobState.STOPPED,
}
_LOG_FILES = re.compile(r"user_logs/std_log[^/]*\.txt")
_NO_RETRIES: dict[str, Any] = {
    "retry_total": 0,
    "retry_connect": 0,
    "retry_read": 0,
    "retry_status": 0,
}


class AzureML:
    """Jobs of one workspace, against one stack's outputs."""

    name: ClassVar[str] = "azure"

    def __init__(
        self,
        outputs: StackOutputs,
        credential: TokenCredential | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stack = outputs
        self.workspace: str = outputs.require("azure_workspace_name")
        self._credential_given = credential
        self._ladder = Ladder(sleep)
        self._sleep = sleep

    def plan(self, spec: JobSpec, key: str | None = None) -> JobRequest:
        """Return the exact PUT of the job; see Backend.plan."""
        return plan(spec, self._stack, key)

    # Acting.

    def submit(self, request: JobRequest) -> JobHandle:
        """Upload what the workspace lacks and create the job; see Backend.submit. Two calls where the code is there."""
        if request.push is not None:
            image = request.push.image_uri
            push(request.push, lambda: self._registry_login(image))
        for call in request.before:
            self._put_environment(call.operation, call.body)
        for upload in request.uploads:
            if upload.destination.startswith("azureml://"):
                self._upload_data(upload)
            else:
                self._upload_code(upload)
        self._put_job(request)
        return request.handle

    def _put_job(self, request: JobRequest) -> None:
        name = request.handle.name
        headers = self._user_token(request)
        is_first = True

        def put() -> None:
            nonlocal is_first
            if not is_first and self._is_taken(request):
                return  # the answer was lost, not the request
            is_first = False
            self._jobs.create_or_update(
                self._group, self.workspace, name, dict(request.body), headers=headers
            )

        try:
            self._run(put)
        except RejectedError:
            # An existing job cannot be changed; where it is this one, it was accepted.
            if not self._is_taken(request):
                raise

    def _is_taken(self, request: JobRequest) -> bool:
        """Whether a job of this name is there and is this very request."""
        try:
            job = _translated(
                lambda: self._jobs.get(self._group, self.workspace, request.handle.name)
            )
        except RejectedError as error:
            if error.code in _NOT_FOUND:
                return False
            raise
        there, sent = _plain(job)["properties"], request.body["properties"]
        return all(
            str(there.get(key, "")).lower() == str(sent.get(key, "")).lower()
            for key in ("command", "codeId", "environmentId", "computeId")
            if key in sent
        )

    def _user_token(self, request: JobRequest) -> dict[str, str]:
        """Return the header by which a job acts as the person: their token for Azure ML."""
        if request.body["properties"].get("identity", {}).get("identityType") != "UserIdentity":
            return {}
        return {
            "x-azureml-token": self._credential.get_token("https://ml.azure.com/.default").token
        }

    def _put_environment(self, operation: str, body: Mapping[str, Any]) -> None:
        name, version = operation.rsplit("/", 3)[-3], operation.rsplit("/", 1)[-1]
        self._run(
            lambda: self._arm.environment_versions.create_or_update(
                self._group, self.workspace, name, version, dict(body)
            )
        )

    def _upload_code(self, upload: Upload) -> None:
        """Register the source as a code version, which is named by its content."""
        name = upload.destination.rsplit("/", 3)[-3]
        versions = self._arm.code_versions
        where = (self._group, self.workspace, name, "1")
        try:
            self._run(lambda: versions.get(*where))
        except RejectedError as error:
            if error.code not in _NOT_FOUND:
                raise
        else:
            return
        pending = _plain(
            self._run(
                lambda: versions.create_or_get_start_pending_upload(
                    *where, {"pendingUploadType": "TemporaryBlobReference"}
                )
            )
        )["blobReferenceForConsumption"]
        from azure.storage.blob import ContainerClient

        container = ContainerClient.from_container_url(
            pending["credential"]["sasUri"], **_NO_RETRIES
        )
        folder = upload.package.digest
        with container:
            self._upload_files(container, folder, upload)
        body = {
            "properties": {
                "codeUri": f"{pending['blobUri']}/{folder}",
                "isAnonymous": True,
                "properties": {"trainstack.sha256": folder},
            }
        }
        self._run(lambda: versions.create_or_update(*where, body))

    def _upload_data(self, upload: Upload) -> None:
        container, path = self._container_of(upload.destination)
        marker = f"{path.rstrip('/')}.json"
        with container:
            if self._run(lambda: container.get_blob_client(marker).exists()):
                return
            self._upload_files(container, path.rstrip("/"), upload)
            # Written last: whoever finds it finds all the files.
            listing = {file.path: file.sha256 for file in upload.package.files}
            self._run(lambda: container.upload_blob(marker, json.dumps(listing), overwrite=True))

    def _upload_files(self, container: Any, folder: str, upload: Upload) -> None:
        for file in upload.package.files:

            def send(file: Any = file) -> None:
                with file.source.open("rb") as content:
                    container.upload_blob(f"{folder}/{file.path}", content, overwrite=True)

            self._run(send)

    def status(self, handle: JobHandle) -> JobStatus:
        """See Backend.status."""
        job = self._job(handle)
        return self._status_of(job, self._details(handle.name))

    def tags(self, handle: JobHandle) -> Mapping[str, str]:
        """See Backend.tags."""
        return self.status(handle).tags

    def stop(self, handle: JobHandle) -> None:
        """See Backend.stop."""
        status = self._status_of(self._job(handle))
        if status.state.is_terminal or status.state is JobState.STOPPING:
            return
        try:
            self._run(
                lambda: self._jobs.begin_cancel(
                    self._group, self.workspace, handle.name, polling=False
                )
            )
        except RejectedError:
            if not self._status_of(self._job(handle)).state.is_terminal:  # it ended meanwhile
                raise

    def logs(
        self, handle: JobHandle, *, follow: bool = False, tail: int | None = None
    ) -> Iterator[str]:
        """See Backend.logs. With several log files each line begins with the process."""
        self._job(handle)
        files: dict[str, _LogFile] = {}
        details = self._details(handle.name)
        yield from deque(self._new_lines(details, files), maxlen=tail)
        while follow and not _is_over(details):
            self._sleep(2.0)
            # The state first: what is logged until then is read after it, so that the end is not cut off.
            details = self._details(handle.name)
            yield from self._new_lines(details, files)

    def _new_lines(self, details: Mapping[str, Any], files: dict[str, _LogFile]) -> Iterator[str]:
        urls = {
            name: url
            for name, url in sorted(details.get("logFiles", {}).items())
            if _LOG_FILES.fullmatch(name)
        }
        for name, url in urls.items():
            file = files.setdefault(name, _LogFile())
            instance = re.sub(r"user_logs/std_log_?|\.txt", "", name)
            prefix = f"{instance} | " if len(urls) > 1 else ""
            content, is_whole = self._run(lambda url=url, file=file: self._read_log(url, file.size))
            for line in file.take(content, is_whole, is_last=_is_over(details)):
                yield prefix + line

    def _read_log(self, url: str, offset: int) -> tuple[bytes, bool]:
        """Return what the log has from the offset on, and whether the server sent all of it instead."""
        from azure.core.rest import HttpRequest

        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._web.send_request(HttpRequest("GET", url, headers=headers))
        if response.status_code in (404, 416):  # not there yet; nothing new
            return b"", False
        response.raise_for_status()
        return response.read(), response.status_code == 200

    def metrics(self, handle: JobHandle) -> Sequence[Metric]:
        """Return each metric's last value, read from the log by the job's own expressions."""
        job = self._job(handle)
        written = job["properties"].get("properties", {}).get(METRICS_PROPERTY)
        if not written:
            return []
        return metrics_in(self.logs(handle), json.loads(written))

    def outputs(self, handle: JobHandle) -> dict[str, str]:
        """See Backend.outputs."""
        found = self._job(handle)["properties"].get("outputs") or {}
        return {name: output["uri"] for name, output in found.items() if output.get("uri")}

    def download(self, handle: JobHandle, folder: Path) -> Sequence[Path]:
        """See Backend.download: ``folder/model`` and, where the job wrote some, ``folder/output``."""
        status = self.status(handle)
        if not status.state.is_terminal:
            raise JobError(f"job {handle} is {status.state}; wait for it: trainstack wait {handle}")
        written: list[Path] = []
        places = self.outputs(handle)
        for name in ("model", "output"):
            if name in places:
                written += self._download_folder(places[name], folder / name)
        if not written:
            raise JobError(f"job {handle} ended as {status.state} and left no model")
        return written

    def _download_folder(self, uri: str, folder: Path) -> Sequence[Path]:
        container, path = self._container_of(uri)
        prefix = path.rstrip("/") + "/"
        with container:
            names = self._run(lambda: [*container.list_blob_names(name_starts_with=prefix)])
            places = {
                name: safe_path(folder, name.removeprefix(prefix))
                for name in names
                if name != prefix
            }
            if not places:
                return []
            with replacing(folder) as temporary:
                for name, place in places.items():
                    target = temporary / place.relative_to(folder)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(self._run(lambda name=name: _fetch(container, name)))
        return list(places.values())

    def list(self, *, limit: int = 20, name_contains: str | None = None) -> Sequence[JobStatus]:
        """Return the workspace's jobs, newest first. Of each only what the list itself tells."""
        found: list[JobStatus] = []

        def collect() -> None:
            found.clear()
            pages = self._jobs.list(self._group, self.workspace, list_view_type="ActiveOnly")
            for job in pages:
                plain = _plain(job)
                if name_contains and name_contains not in plain["name"]:
                    continue
                found.append(self._status_of(plain))
                if len(found) >= limit:
                    return

        self._run(collect)
        return sorted(found, key=lambda job: (job.created is not None, job.created), reverse=True)

    def check(self) -> Sequence[Check]:
        """See Backend.check."""
        from training.backends.azure_check import check

        return check(self._stack, self._credential, self._arm, self._web, self._run)

    # One job's description.

    def _job(self, handle: JobHandle) -> dict[str, Any]:
        if handle.cloud != "azure" or handle.place != self.workspace:
            raise UnknownJobError(
                f"job {handle} is not in this stack's workspace {self.workspace!r}"
            )
        try:
            job = self._run(lambda: self._jobs.get(self._group, self.workspace, handle.name))
        except RejectedError as error:
            if error.code in _NOT_FOUND:
                raise UnknownJobError(
                    f"there is no job {str(handle)!r}. List them with: trainstack list --on azure"
                ) from error
            raise
        return _plain(job)

    def _details(self, name: str) -> dict[str, Any]:
        """Return run history's record: times, the error, the logs' addresses. Empty before there is one."""
        from azure.core.rest import HttpRequest

        url = f"{self._history}/history/v1.0{workspace_id(self._stack)}/runs/{name}/details?api-version=v1.0"

        def get() -> dict[str, Any]:
            response = self._data_plane.send_request(HttpRequest("GET", url))
            if response.status_code == 404:
                return {}
            response.raise_for_status()
            return response.json()

        return self._run(get)

    def _status_of(
        self, job: Mapping[str, Any], details: Mapping[str, Any] | None = None
    ) -> JobStatus:
        properties = job["properties"]
        details = details or {}
        cloud_state = str(properties.get("status") or details.get("status") or "Unknown")
        error = (details.get("error") or {}).get("error") or {}
        compute = str(properties.get("computeId") or "").rpartition("/")[2]
        resources = properties.get("resources") or {}
        services = properties.get("services") or {}
        return JobStatus(
            handle=JobHandle("azure", self.workspace, job["name"]),
            state=_STATES.get(cloud_state, JobState.UNKNOWN),
            cloud_state=cloud_state,
            reason=error.get("message"),
            display_name=properties.get("displayName"),
            created=_time((job.get("systemData") or {}).get("createdAt")),
            started=_time(details.get("startTimeUtc")),
            ended=_time(details.get("endTimeUtc")),
            compute=compute or resources.get("instanceType"),
            instances=resources.get("instanceCount"),
            is_spot=self._is_spot(compute, properties),
            model=((properties.get("outputs") or {}).get("model") or {}).get("uri"),
            url=(services.get("Studio") or {}).get("endpoint"),
            tags=properties.get("tags") or {},
        )

    def _is_spot(self, compute: str, properties: Mapping[str, Any]) -> bool:
        tier = self._stack.azure_compute_clusters.get(compute, {}).get("tier")
        return (
            tier == "low_priority"
            or (properties.get("queueSettings") or {}).get("jobTier") == "Spot"
        )

    # Clients and calls.

    @property
    def _group(self) -> str:
        return self._stack.require("azure_resource_group_name")

    @functools.cached_property
    def _credential(self) -> TokenCredential:
        if self._credential_given is not None:
            return self._credential_given
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()

    @functools.cached_property
    def _arm(self) -> Any:
        """MLClient's client of one API version: its requests and answers are data."""
        from azure.ai.ml import MLClient

        client = MLClient(
            self._credential,
            self._stack.require("azure_subscription_id"),
            self._group,
            self.workspace,
            enable_telemetry=False,
            show_progress=False,
            **_NO_RETRIES,
        )
        return client.jobs.service_client_01_2025_preview

    @property
    def _jobs(self) -> Any:
        return self._arm.jobs

    @functools.cached_property
    def _web(self) -> Any:
        """A client with no credential, for addresses that carry their own."""
        from azure.core import PipelineClient

        return PipelineClient("", **_NO_RETRIES)

    @functools.cached_property
    def _data_plane(self) -> Any:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy

        policies = [
            RetryPolicy(**_NO_RETRIES),
            BearerTokenCredentialPolicy(self._credential, "https://ml.azure.com/.default"),
        ]
        return PipelineClient(self._history, policies=policies)

    @functools.cached_property
    def _history(self) -> str:
        """The base URL of the workspace's data plane, found as the SDK finds it."""
        from azure.core.rest import HttpRequest

        workspace = self._run(lambda: self._arm.workspaces.get(self._group, self.workspace))
        url = _plain(workspace)["properties"]["discoveryUrl"]

        def discover() -> str:
            response = self._web.send_request(HttpRequest("GET", url))
            response.raise_for_status()
            return response.json()["api"].rstrip("/")

        return self._run(discover)

    @functools.cached_property
    def _datastore(self) -> dict[str, Any]:
        store = self._run(lambda: self._arm.datastores.get(self._group, self.workspace, DATASTORE))
        return _plain(store)["properties"]

    def _container_of(self, uri: str) -> tuple[Any, str]:
        """Return the blob container and the path that a URI of our datastore names."""
        match = re.fullmatch(r"azureml:.*/?datastores/([^/]+)/paths/(.+)", uri)
        if match is None or match[1] != DATASTORE:
            raise JobError(
                f"{uri!r} is not in the datastore {DATASTORE!r}; read it with: az ml job download"
            )
        from azure.storage.blob import ContainerClient

        store = self._datastore
        account = (
            f"https://{store['accountName']}.blob.{store.get('endpoint') or 'core.windows.net'}"
        )
        container = ContainerClient(
            account, store["containerName"], credential=self._credential, **_NO_RETRIES
        )
        return container, match[2]

    def _registry_login(self, image_uri: str) -> Login:
        """Exchange the person's token for one of the registry's.

        https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
        """
        from azure.core.rest import HttpRequest

        server = image_uri.partition("/")[0]
        token = self._credential.get_token("https://management.azure.com/.default").token
        form = {"grant_type": "access_token", "service": server, "access_token": token}
        request = HttpRequest("POST", f"https://{server}/oauth2/exchange", data=form)

        def exchange() -> str:
            response = self._web.send_request(request)
            response.raise_for_status()
            return response.json()["refresh_token"]

        return Login(
            f"https://{server}", "00000000-0000-0000-0000-000000000000", self._run(exchange)
        )

    def _run(self, call: Callable[[], T]) -> T:
        try:
            return self._ladder.run(lambda: _translated(call))
        except TransientError as error:
            raise UnavailableError(
                f"Azure did not answer as it should after {self._ladder.tries} tries: {error}"
            ) from error.__cause__


class _LogFile:
    """How far one log has been read."""

    def __init__(self) -> None:
        self.size = 0
        self._rest = b""

    def take(self, content: bytes, is_whole: bool, is_last: bool) -> Iterator[str]:
        """Add bytes (all of the file, or those after ``size``) and yield the lines that became complete."""
        new = content[self.size :] if is_whole else content
        self.size += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        if is_last and self._rest:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")


_NOT_FOUND = {"NotFound", "ResourceNotFound", "UserError/NotFound", "404", "BlobNotFound"}


def _is_over(details: Mapping[str, Any]) -> bool:
    return _STATES.get(str(details.get("status")), JobState.UNKNOWN).is_terminal


def _plain(model: Any) -> dict[str, Any]:
    return model if isinstance(model, dict) else model.as_dict()


def _time(value: Any) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


def _fetch(container: Any, name: str) -> bytes:
    content = io.BytesIO()
    container.download_blob(name).readinto(content)
    return content.getvalue()


def _translated(call: Callable[[], T]) -> T:
    """Run one call and turn what azure.core raises into our errors; unknown ones pass."""
    from azure.core import exceptions as core

    try:
        return call()
    except core.ClientAuthenticationError as error:
        raise AuthError(f"{_first_line(error.message)}. Sign in with: az login") from error
    except core.HttpResponseError as error:
        raise _meaning(error) from error
    except (core.ServiceRequestError, core.ServiceResponseError) as error:
        raise TransientError(_first_line(str(error))) from error


def _meaning(error: Any) -> Exception:
    status = error.status_code or 0
    code = str(getattr(error.error, "code", None) or getattr(error, "error_code", None) or "")
    message = _first_line(str(getattr(error.error, "message", None) or error.message))
    if status in (408, 429) or status >= 500:
        header = error.response.headers.get("Retry-After") if error.response else None
        return TransientError(f"{message} ({code or status})", retry_after_seconds(header))
    if status in (401, 403):
        return AuthError(
            f"{message} ({code or status}). See who you are and which rights are missing: trainstack doctor"
        )
    return RejectedError("NotFound" if status == 404 else code or str(status), message)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".")
