"""Amazon SageMaker AI training jobs.

Submitting goes through ``sagemaker.core``'s typed TrainingJob; what only reads a job uses boto3 alone, which
imports in a
fifth of the time.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from infra.outputs import StackOutputs
from training.backends.base import (
    Check,
    JobRequest,
    JobState,
    JobStatus,
    Metric,
    Push,
    Upload,
)
from training.backends.sagemaker_plan import plan
from training.container import Login, push
from training.errors import (
    AuthError,
    JobError,
    RejectedError,
    UnavailableError,
    UnknownJobError,
)
from training.extraction import extract, replacing
from training.handle import JobHandle
from training.job import JobSpec
from training.retry import Ladder, TransientError, retry_after_seconds

if TYPE_CHECKING:
    import boto3

T = TypeVar("T")

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_NAME_PART = re.compile(r"[a-zA-Z0-9-]{1,63}")

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
_STATES = {
    "InProgress": JobState.RUNNING,
    "Completed": JobState.SUCCEEDED,
    "Failed": JobState.FAILED,
    "Stopping": JobState.STOPPING,
    "Stopped": JobState.STOPPED,
}
# Secondary states of InProgress in which the script does not run (yet, or for now).
_WAITING = {
    "Starting", "Pending", "LaunchingMLInstances", "PreparingTraining", "PreparingTrainingStack",
    "DownloadingTrainingImage", "Interrupted",
}  # fmt: skip

_AUTH_CODES = {
    "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException",
    "InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "OptInRequired", "AuthFailure",
    "InvalidAccessKeyId", "NotAuthorized",
}  # fmt: skip
_THROTTLING_CODES = {
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
    "TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "BandwidthLimitExceeded",
    "PriorRequestNotComplete", "TransactionInProgressException", "RequestTimeout", "RequestTimeoutException",
}  # fmt: skip


class SageMaker:
    """Training jobs of one account and region, against one stack's outputs."""

    name: ClassVar[str] = "aws"

    def __init__(
        self,
        outputs: StackOutputs,
        session: boto3.Session | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stack = outputs
        self.region: str = outputs.require("aws_region")
        self._session = session
        self._ladder = Ladder(sleep)
        self._sleep = sleep

    def plan(self, spec: JobSpec, key: str | None = None) -> JobRequest:
        """Return the exact CreateTrainingJob request; see Backend.plan."""
        return plan(spec, self._stack, key)

    # Acting.

    def submit(self, request: JobRequest) -> JobHandle:
        """Upload what S3 lacks and create the job; see Backend.submit. Two calls where the code is there."""
        if request.push is not None:
            self._push(request.push)
        for upload in request.uploads:
            self._upload(upload)
        try:
            self._run(lambda: _create(request.body, self._boto_session(), self.region))
        except RejectedError as error:
            if error.code != "ResourceInUse" or not self._is_same_job(request):
                raise
        return request.handle

    def _push(self, image: Push) -> None:
        """Push an image that ECR lacks. Its tag is its content, and an immutable repository takes a tag once."""
        host, _, path = image.image_uri.partition("/")
        name, _, tag = path.rpartition(":")
        account = host.partition(".")[0]
        ecr = self._client("ecr")
        found = self._run(
            lambda: ecr.batch_get_image(
                registryId=account, repositoryName=name, imageIds=[{"imageTag": tag}]
            )
        )
        if not found["images"]:
            push(image, lambda: self._registry_login(account))

    def _is_same_job(self, request: JobRequest) -> bool:
        """Whether the job of this name is this very request, taken earlier: then it was accepted, not refused."""
        described = self._describe(request.handle)
        return all(
            _contains(described.get(key), value)
            for key, value in request.body.items()
            if key != "Tags"  # a description has none
        )

    def _upload(self, upload: Upload) -> None:
        bucket, key = _split(upload.destination)
        s3 = self._client("s3")
        is_folder = key.endswith("/")
        marker = f"{key.rstrip('/')}.json" if is_folder else key
        if self._exists(bucket, marker):
            return
        if not is_folder:
            archive = io.BytesIO()
            upload.package.write_archive(archive)
            self._run(lambda: s3.put_object(Bucket=bucket, Key=key, Body=archive.getvalue()))
            return
        for file in upload.package.files:
            # upload_file sends large files in parts; it retries each part by itself.
            self._run(
                lambda file=file: s3.upload_file(str(file.source), bucket, f"{key}{file.path}")
            )
        # Written last: whoever finds it finds all the files. It stands beside the folder, which is the job's input.
        listing = {file.path: file.sha256 for file in upload.package.files}
        self._run(
            lambda: s3.put_object(Bucket=bucket, Key=marker, Body=json.dumps(listing).encode())
        )

    def _exists(self, bucket: str, key: str) -> bool:
        s3 = self._client("s3")
        try:
            self._run(lambda: s3.head_object(Bucket=bucket, Key=key))
        except RejectedError as error:
            if error.code in ("404", "NoSuchKey", "NotFound"):
                return False
            raise
        return True

    def status(self, handle: JobHandle) -> JobStatus:
        """See Backend.status."""
        return self._status_of(handle, self._describe(handle))

    def tags(self, handle: JobHandle) -> Mapping[str, str]:
        """See Backend.tags. A description of a training job has none, so they are asked for."""
        arn = self._describe(handle)["TrainingJobArn"]
        client = self._client("sagemaker")
        listed = self._run(lambda: client.list_tags(ResourceArn=arn, MaxResults=50))["Tags"]
        return {item["Key"]: item["Value"] for item in listed}

    def stop(self, handle: JobHandle) -> None:
        """See Backend.stop."""
        client = self._client("sagemaker")
        try:
            self._run(lambda: client.stop_training_job(TrainingJobName=handle.name))
        except RejectedError:
            # Refused: it is unknown (status says so), or has ended, or is stopping.
            state = self.status(handle).state
            if not state.is_terminal and state is not JobState.STOPPING:
                raise

    def logs(
        self, handle: JobHandle, *, follow: bool = False, tail: int | None = None
    ) -> Iterator[str]:
        """See Backend.logs. With several instances each line begins with the instance's name."""
        status = self.status(handle)
        tokens: dict[str, str] = {}
        kept: deque[str] = deque(self._new_lines(handle, status, tokens), maxlen=tail)
        yield from kept
        while follow and not status.state.is_terminal:
            self._sleep(2.0)
            # The state first: what is logged until then is read after it, so that the end is not cut off.
            status = self.status(handle)
            yield from self._new_lines(handle, status, tokens)

    def _new_lines(
        self, handle: JobHandle, status: JobStatus, tokens: dict[str, str]
    ) -> Iterator[str]:
        logs = self._client("logs")
        for stream in self._streams(handle):
            instance = stream.partition("/")[2].rpartition("-")[0]
            prefix = f"{instance} | " if (status.instances or 1) > 1 else ""
            while True:
                arguments = {"nextToken": tokens[stream]} if stream in tokens else {}
                page = self._run(
                    lambda stream=stream, arguments=arguments: logs.get_log_events(
                        logGroupName=LOG_GROUP,
                        logStreamName=stream,
                        startFromHead=True,
                        **arguments,
                    )
                )
                for event in page["events"]:
                    yield prefix + event["message"].rstrip("\n")
                is_end = page["nextForwardToken"] == tokens.get(stream)
                tokens[stream] = page["nextForwardToken"]
                if is_end or not page["events"]:
                    break

    def _streams(self, handle: JobHandle) -> Sequence[str]:
        logs = self._client("logs")
        streams: list[str] = []
        token: dict[str, str] = {}
        while True:
            try:
                page = self._run(
                    lambda token=token: logs.describe_log_streams(
                        logGroupName=LOG_GROUP, logStreamNamePrefix=f"{handle.name}/", **token
                    )
                )
            except RejectedError as error:
                if error.code == "ResourceNotFoundException":  # no job has logged anything yet
                    return []
                raise
            streams += [stream["logStreamName"] for stream in page["logStreams"]]
            if "nextToken" not in page:
                return sorted(streams, key=lambda name: (name.rpartition("-")[2], name))
            token = {"nextToken": page["nextToken"]}

    def metrics(self, handle: JobHandle) -> Sequence[Metric]:
        """Return each metric's last value, as SageMaker read it from the log."""
        return [
            Metric(name=item["MetricName"], value=item["Value"], time=item.get("Timestamp"))
            for item in self._describe(handle).get("FinalMetricDataList", ())
        ]

    def outputs(self, handle: JobHandle) -> dict[str, str]:
        """See Backend.outputs."""
        described = self._describe(handle)
        found = {}
        model = described.get("ModelArtifacts", {}).get("S3ModelArtifacts")
        if model:
            found["model"] = model
            found["output"] = f"{model.rpartition('/')[0]}/output.tar.gz"
        if "CheckpointConfig" in described:
            found["checkpoints"] = described["CheckpointConfig"]["S3Uri"]
        return found

    def download(self, handle: JobHandle, folder: Path) -> Sequence[Path]:
        """See Backend.download: ``folder/model`` and, where the job wrote some, ``folder/output``."""
        status = self.status(handle)
        if not status.state.is_terminal:
            raise JobError(f"job {handle} is {status.state}; wait for it: trainstack wait {handle}")
        written: list[Path] = []
        for name, uri in self.outputs(handle).items():
            bucket, key = _split(uri)
            if name == "checkpoints" or (name == "output" and not self._exists(bucket, key)):
                continue
            archive = io.BytesIO()
            try:
                self._run(
                    lambda bucket=bucket, key=key, archive=archive: _fetch(
                        self._client("s3"), bucket, key, archive
                    )
                )
            except RejectedError as error:
                if error.code in ("404", "NoSuchKey"):
                    raise JobError(f"job {handle} left no {name} at {uri}") from error
                raise
            archive.seek(0)
            with replacing(folder / name) as temporary:
                files = extract(archive, temporary)
                written += [folder / name / file.relative_to(temporary) for file in files]
        if not written:
            raise JobError(f"job {handle} ended as {status.state} and left no model")
        return written

    def list(self, *, limit: int = 20, name_contains: str | None = None) -> Sequence[JobStatus]:
        """Return the region's training jobs, newest first. Of each only what the list itself tells."""
        if name_contains and not _NAME_PART.fullmatch(name_contains):
            return []  # no job here has such a name, and the service would refuse the question
        client = self._client("sagemaker")
        arguments: dict[str, Any] = {"SortBy": "CreationTime", "SortOrder": "Descending"}
        if name_contains:
            arguments["NameContains"] = name_contains
        found: list[JobStatus] = []
        while len(found) < limit:
            arguments["MaxResults"] = min(limit - len(found), 100)
            page = self._run(lambda: client.list_training_jobs(**arguments))
            for item in page["TrainingJobSummaries"]:
                handle = JobHandle("aws", self.region, item["TrainingJobName"])
                found.append(self._status_of(handle, item))
            if not page.get("NextToken"):
                break
            arguments["NextToken"] = page["NextToken"]
        return found

    def check(self) -> Sequence[Check]:
        """See Backend.check."""
        from training.backends.sagemaker_check import check

        return check(self._stack, self._client, self._run)

    # One job's description.

    def _describe(self, handle: JobHandle) -> dict[str, Any]:
        if handle.cloud != "aws" or handle.place != self.region:
            raise UnknownJobError(f"job {handle} is not in this stack's region {self.region!r}")
        client = self._client("sagemaker")
        try:
            return self._run(lambda: client.describe_training_job(TrainingJobName=handle.name))
        except RejectedError as error:
            if error.code == "ResourceNotFound" or "not found" in error.message.lower():
                raise UnknownJobError(
                    f"there is no job {str(handle)!r}. List them with: trainstack list --on aws"
                ) from error
            raise

    def _status_of(self, handle: JobHandle, described: Mapping[str, Any]) -> JobStatus:
        cloud_state = described["TrainingJobStatus"]
        secondary = described.get("SecondaryStatus", "")
        state = _STATES.get(cloud_state, JobState.UNKNOWN)
        if state is JobState.RUNNING and secondary in _WAITING:
            state = JobState.QUEUED
        reason = described.get("FailureReason")
        transitions = described.get("SecondaryStatusTransitions") or [{}]
        if reason is None and secondary in (
            "MaxRuntimeExceeded",
            "MaxWaitTimeExceeded",
            "Interrupted",
        ):
            reason = f"{secondary}: {transitions[-1].get('StatusMessage', '')}".rstrip(": ")
        resources = described.get("ResourceConfig", {})
        return JobStatus(
            handle=handle,
            state=state,
            cloud_state=f"{cloud_state}/{secondary}" if secondary else cloud_state,
            reason=reason,
            created=described.get("CreationTime"),
            started=described.get("TrainingStartTime"),
            ended=described.get("TrainingEndTime"),
            compute=resources.get("InstanceType"),
            instances=resources.get("InstanceCount"),
            is_spot=described.get("EnableManagedSpotTraining", False),
            billable_seconds=described.get("BillableTimeInSeconds"),
            model=described.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
            url=f"https://{self.region}.console.aws.amazon.com/sagemaker/home?region={self.region}#/jobs/{handle.name}",
        )

    # Clients and calls.

    def _boto_session(self) -> boto3.Session:
        if self._session is None:
            import boto3
            import botocore.session

            core = botocore.session.Session()
            # One try a call: Ladder does the rest, so that pauses are ours and calls can be counted.
            core.set_config_variable("max_attempts", 1)
            self._session = boto3.Session(botocore_session=core, region_name=self.region)
        return self._session

    @functools.cache  # noqa: B019 - one backend lives as long as its command
    def _client(self, service: str) -> Any:
        from botocore.config import Config

        config = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
        return self._boto_session().client(service, region_name=self.region, config=config)

    def _run(self, call: Callable[[], T]) -> T:
        try:
            return self._ladder.run(functools.partial(_translated, call))
        except TransientError as error:
            raise UnavailableError(
                f"AWS in {self.region} did not answer as it should after {self._ladder.tries} tries: {error}"
            ) from error.__cause__

    def _registry_login(self, account: str) -> Login:
        """Return how to sign in to an account's ECR for twelve hours."""
        import base64

        ecr = self._client("ecr")
        answer = self._run(lambda: ecr.get_authorization_token(registryIds=[account]))
        answer = answer["authorizationData"][0]
        user, _, password = base64.b64decode(answer["authorizationToken"]).decode().partition(":")
        return Login(answer["proxyEndpoint"], user, password)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _contains(described: Any, sent: Any) -> bool:
    """Whether a description says all that was sent; the service adds defaults of its own."""
    if isinstance(sent, Mapping):
        return isinstance(described, Mapping) and all(
            _contains(described.get(key), value) for key, value in sent.items()
        )
    if isinstance(sent, list):
        return (
            isinstance(described, list)
            and len(described) == len(sent)
            and all(map(_contains, described, sent))
        )
    return described == sent


# Calls.


def _create(body: Mapping[str, Any], session: boto3.Session, region: str) -> None:
    """Send CreateTrainingJob through the SDK's typed resource: one call, checked against its shapes."""
    from sagemaker.core.resources import TrainingJob
    from sagemaker.core.utils.code_injection.codec import transform

    class Submission(TrainingJob):
        """``create`` ends with a describe of the new job; a submission needs none."""

        @classmethod
        def get(cls, training_job_name: Any, **_: Any) -> Any:
            return training_job_name

    typed = transform(body, "CreateTrainingJobRequest")
    with _one_try():
        Submission.create(**typed, session=session, region=region)


@contextmanager
def _one_try() -> Generator[None]:
    """Have ``sagemaker.core`` make its client without the ten tries that it sets where the environment says nothing.

    It looks at the environment when it makes the client, and offers no argument for it.
    """
    with _environment_lock:
        before = os.environ.get("AWS_MAX_ATTEMPTS")
        os.environ["AWS_MAX_ATTEMPTS"] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ["AWS_MAX_ATTEMPTS"]
            else:
                os.environ["AWS_MAX_ATTEMPTS"] = before


_environment_lock = threading.Lock()


def _fetch(s3: Any, bucket: str, key: str, file: io.BytesIO) -> None:
    file.seek(0)
    file.truncate()
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    for chunk in body.iter_chunks(1024 * 1024):
        file.write(chunk)


def _translated(call: Callable[[], T]) -> T:
    """Run one call and turn what botocore raises into our errors; unknown ones pass."""
    import botocore.exceptions as core
    from boto3.exceptions import S3UploadFailedError
    from pydantic import ValidationError

    try:
        return call()
    except core.ClientError as error:
        raise _meaning(error) from error
    except S3UploadFailedError as error:
        if isinstance(error.__context__, core.ClientError):
            raise _meaning(error.__context__) from error
        raise
    except (
        core.NoCredentialsError,
        core.PartialCredentialsError,
        core.CredentialRetrievalError,
        core.TokenRetrievalError,
        core.SSOError,
    ) as error:
        raise AuthError(
            f"no AWS credentials: {error}. Sign in with: aws sso login (or set AWS_PROFILE)"
        ) from error
    except core.ProfileNotFound as error:
        raise AuthError(
            f"{error}. Set AWS_PROFILE to one of: aws configure list-profiles"
        ) from error
    except (core.HTTPClientError, core.ConnectionError) as error:
        raise TransientError(str(error)) from error
    except core.ParamValidationError as error:
        raise RejectedError("ParamValidation", str(error)) from error
    except ValidationError as error:  # sagemaker.core's shapes are pydantic's
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RejectedError("ParamValidation", f"{place}: {first['msg']}") from error


def _meaning(error: Any) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = str(error.response.get("Error", {}).get("Message", "")) or str(error)
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    if code in _THROTTLING_CODES or status == 429 or status >= 500:
        header = metadata.get("HTTPHeaders", {}).get("retry-after")
        return TransientError(f"{message} ({code})", retry_after_seconds(header))
    if code in _AUTH_CODES or status in (401, 403):
        return AuthError(
            f"{message} ({code}). See who you are and which rights are missing: trainstack doctor"
        )
    return RejectedError(code, message)
