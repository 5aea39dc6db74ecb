"""One training job, from Starting to its terminal state."""

from __future__ import annotations

import secrets
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lab import executor
from lab.aws.sagemaker import images, objects, registry
from lab.aws.sagemaker.container import Container, Host
from lab.aws.sagemaker.keys import KeyGuard
from lab.aws.sagemaker.logs import JobLogs
from lab.aws.sagemaker.session import RoleSession, service_client
from lab.home import LabError

if TYPE_CHECKING:
    from lab.aws.sagemaker.jobs import TrainingJobs

# What the instances of a job get to end in, when another one of them has failed.
_FAILURE_GRACE_SECONDS = 5.0


class JobFailedError(Exception):
    """The job ends as Failed; the message is its FailureReason."""


@dataclass
class Attempt:
    """One life of the job's instances; a spot interruption ends it and begins the next."""

    number: int
    hosts: list[Host]
    running: list[executor.Running] = field(default_factory=list)
    # Why it was ended from outside, if it was.
    ended_by: str | None = None
    # The instance that failed first; the others were ended because of it.
    failed: int | None = None
    # An own image's name in the machine's container engine, where it has one.
    reference: str | None = None


class Run:
    """Runs one job in a thread of its own."""

    def __init__(self, jobs: TrainingJobs, name: str, slot: int) -> None:
        self._jobs = jobs
        self._settings = jobs.settings
        self._clock = jobs.clock
        self.name = name
        self.slot = slot
        document = jobs.document(name)
        self._request: dict[str, Any] = document["request"]
        arn: str = document["describe"]["TrainingJobArn"]
        self._container = Container(self._request, arn, jobs.settings, slot)
        self._stop = bool(document["internal"].get("stop_requested"))
        self._interrupt = False
        self._wake = threading.Event()
        self._over = False
        self.token = secrets.token_urlsafe(24)
        self.role: RoleSession | None = None
        self._trained_seconds = 0.0
        self._logs: JobLogs | None = None
        self._folder = self._settings.jobs_folder / name
        self._thread = threading.Thread(target=self._main, name=f"job-{name}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the job to stop: SIGTERM, the grace, SIGKILL, and what it saved is uploaded."""
        self._stop = True
        self._wake.set()
        self._jobs.capacity.wake()

    def interrupt(self) -> None:
        """Take the spot instances away, with the notice that EC2 gives."""
        self._interrupt = True
        self._wake.set()

    def wake(self) -> None:
        """Look at the clock again."""
        self._wake.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout)

    @property
    def _role(self) -> RoleSession:
        assert self.role is not None  # noqa: S101 - taken before anything needs it
        return self.role

    @property
    def _checkpoint_uri(self) -> str | None:
        return (self._request.get("CheckpointConfig") or {}).get("S3Uri")

    # --- the job's life

    def _main(self) -> None:
        try:
            self._run()
        except JobFailedError as error:
            self._finish("Failed", "Training job failed", "Failed", FailureReason=str(error))
        except Exception as error:
            traceback.print_exc()
            reason = f"InternalServerError: {type(error).__name__}: {error}"
            self._finish("Failed", "Training job failed", "Failed", FailureReason=reason[:1024])
        finally:
            self._over = True
            if self._logs:
                self._logs.close()
            self._jobs.ended(self.name)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        began = self._clock.now()
        count = self._container.count
        if not self._jobs.capacity.take(
            self.name, count, lambda text: self._say("Starting", text), lambda: self._stop
        ):
            self._stopped_early()
            return
        try:
            role = RoleSession(self._request["RoleArn"], self._settings.region)
        except (ClientError, BotoCoreError) as error:
            raise JobFailedError(
                f"ClientError: Could not assume role {self._request['RoleArn']}: {error}"
            ) from error
        KeyGuard(self._request["RoleArn"], self._settings.region).attach(role.client("s3"))
        self.role = role
        image = images.resolve(
            self._request["AlgorithmSpecification"],
            self._request.get("HyperParameters") or {},
            self._settings.account_id,
        )
        number = 0
        while True:
            attempt = self._prepare(number, image)
            if attempt is None:
                self._stopped_early()
                return
            self._train(attempt, image, began)
            if attempt.ended_by != "interrupt":
                break
            shutil.rmtree(attempt.hosts[0].folder.parent, ignore_errors=True)
            number += 1
            if self._stop:
                self._stopped_early()
                return
            self._say("Starting", "Preparing the instances for training")
        self._close(attempt)

    def _stopped_early(self) -> None:
        self._finish("Stopped", "Training job stopped", "Stopped")

    def _prepare(self, number: int, image: images.Image) -> Attempt | None:
        """Fetch what the job reads; None where it was stopped meanwhile."""
        hosts = self._container.hosts(self._folder / str(number))
        self._say("Downloading", "Downloading input data")
        s3 = self._role.client("s3")
        channels: dict[str, Any] = {}
        for channel in self._request.get("InputDataConfig") or []:
            channels[channel["ChannelName"]] = self._fetch_channel(s3, channel, hosts)
        if uri := self._checkpoint_uri:
            for host in hosts:
                self._restore(s3, uri, self._container.checkpoints(host))
        reference = None
        for host in hosts:
            self._container.write_config(host, hosts, channels)
            if image.kind == "own":
                self._say("Downloading", "Downloading the training image")
                try:
                    reference = registry.pull(image, host.rootfs, self._settings, self._role)
                except registry.PullError as error:
                    raise JobFailedError(f"ClientError: {error}") from error
        return None if self._stop else Attempt(number, hosts, reference=reference)

    def _fetch_channel(
        self, s3: Any, channel: dict[str, Any], hosts: Sequence[Host]
    ) -> dict[str, Any]:
        name, source = channel["ChannelName"], channel["DataSource"]["S3DataSource"]
        default = self._request["AlgorithmSpecification"]["TrainingInputMode"]
        mode = channel.get("InputMode", default)
        distribution = source.get("S3DataDistributionType", "FullyReplicated")
        try:
            found = objects.list_channel(
                s3, source, self._request["RoleArn"], self._settings.region
            )
            for index, host in enumerate(hosts):
                part = objects.shard(found, distribution, index, len(hosts))
                folder = host.channels
                if mode == "Pipe":
                    self._stream(s3, part, folder, name, channel)
                    continue
                (folder / name).mkdir()
                objects.download(s3, part, folder / name)
        except objects.DownloadError as error:
            raise JobFailedError(str(error)) from error
        described = {
            "TrainingInputMode": "File" if mode == "FastFile" else mode,
            "S3DistributionType": distribution,
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
        if channel.get("ContentType"):
            described["ContentType"] = channel["ContentType"]
        return described

    def _stream(
        self, s3: Any, part: Sequence[objects.S3Object], folder: Path, name: str, channel: Any
    ) -> None:
        first = folder / f"{name}_0"
        threading.Thread(
            target=objects.stream,
            args=(s3, part, folder, name, channel, lambda: self._over or not folder.exists()),
            daemon=True,
        ).start()
        waiting = threading.Event()
        while not first.exists():
            waiting.wait(0.005)

    def _restore(self, s3: Any, uri: str, folder: Path) -> None:
        try:
            found = list(objects.list_prefix(s3, f"{uri.rstrip('/')}/"))
            objects.download(s3, found, folder)
        except objects.DownloadError as error:
            raise JobFailedError(str(error)) from error
        except (ClientError, BotoCoreError) as error:
            raise JobFailedError(
                f"ClientError: Cannot read the checkpoints at {uri}: {error}"
            ) from error

    # --- training

    def _train(self, attempt: Attempt, image: images.Image, began: float) -> None:
        """Run the attempt's instances until they end or are ended."""
        if self._logs is None:
            self._logs = JobLogs(
                self.name,
                self._role.client("logs"),
                service_client("cloudwatch", self._settings.region),
                self._request["AlgorithmSpecification"].get("MetricDefinitions")
                or image.metric_definitions,
                self._settings.home / "logs" / self.name,
            )
        self._say("Training", "Training image download completed. Training in progress.")
        started = time.time()
        self._jobs.note(self.name, TrainingStartTime=started, once=True)
        self._wake.clear()
        try:
            for host in attempt.hosts:
                self._start_host(attempt, host, image, int(started))
        except LabError as error:
            for running in attempt.running:
                running.kill()
            raise JobFailedError(f"InternalServerError: {error}") from error
        syncing = threading.Event()
        syncer = threading.Thread(
            target=self._sync_checkpoints, args=(attempt, syncing), daemon=True
        )
        syncer.start()
        self._watch(attempt, began, self._clock.now())
        self._trained_seconds += time.time() - started
        syncing.set()
        syncer.join()

    def _start_host(self, attempt: Attempt, host: Host, image: images.Image, epoch: int) -> None:
        assert self._logs is not None  # noqa: S101
        logs, stream = self._logs, f"{host.name}-{epoch}"
        if image.notice:
            logs.line(stream, image.notice)
        peer = attempt.running[0] if attempt.running else None
        instance = self._container.instance(
            host, attempt.hosts, image, self.token, peer, attempt.reference
        )
        running = executor.start(instance, lambda text: logs.line(stream, text))
        attempt.running.append(running)

        def tell() -> None:
            running.wait()
            self._wake.set()

        threading.Thread(target=tell, daemon=True).start()

    def _watch(self, attempt: Attempt, began: float, started: float) -> None:
        """Wait for the instances; end them on a stop, an interruption, a limit or a failure."""
        condition = self._request["StoppingCondition"]
        earlier = self._trained_seconds
        deadlines = [
            ("max_runtime", started + condition.get("MaxRuntimeInSeconds", 86400) - earlier)
        ]
        if "MaxWaitTimeInSeconds" in condition:
            deadlines.append(("max_wait", began + condition["MaxWaitTimeInSeconds"]))
        kill_at: float | None = None
        while any(running.poll() is None for running in attempt.running):
            now = self._clock.now()
            if attempt.ended_by is None:
                attempt.ended_by = self._reason_to_end(attempt, deadlines, now)
                if attempt.ended_by:
                    self._announce_end(attempt.ended_by)
                    for running in attempt.running:
                        running.terminate()
                    kill_at = now + self._grace(attempt.ended_by)
            elif kill_at is not None and now >= kill_at:
                for running in attempt.running:
                    running.kill()
                kill_at = None
            pending = (
                [at for _, at in deadlines] if attempt.ended_by is None else [kill_at or now + 1]
            )
            self._wake.wait(max(0.0, min(*pending, now + 60) - now))
            self._wake.clear()

    def _reason_to_end(
        self, attempt: Attempt, deadlines: Sequence[tuple[str, float]], now: float
    ) -> str | None:
        if self._stop:
            return "stop"
        if self._interrupt:
            self._interrupt = False
            return "interrupt"
        attempt.failed = _first_failed(attempt)
        if attempt.failed is not None:
            return "failure"
        return next((reason for reason, at in deadlines if now >= at), None)

    def _grace(self, reason: str) -> float:
        """Return the seconds between SIGTERM and SIGKILL."""
        if reason == "failure":
            return _FAILURE_GRACE_SECONDS
        return self._settings.spot_grace if reason == "interrupt" else self._settings.stop_grace

    def _announce_end(self, reason: str) -> None:
        if reason == "stop":
            self._say("Stopping", "Stopping the training job", "Stopping")
        elif reason == "interrupt":
            self._say("Interrupted", "Training job interrupted: the spot instances are reclaimed")
        elif reason in ("max_runtime", "max_wait"):
            self._say("Stopping", "Stopping the training job", "Stopping")

    def _sync_checkpoints(self, attempt: Attempt, over: threading.Event) -> None:
        uri = self._checkpoint_uri
        if not uri:
            return
        extra = objects.encryption(self._request["OutputDataConfig"].get("KmsKeyId"))
        s3 = self._role.client("s3")
        folders = [self._container.checkpoints(host) for host in attempt.hosts]
        seen: list[dict[str, tuple[int, int]]] = [_signatures(folder) for folder in folders]
        last = False
        while not last:
            last = over.wait(self._settings.checkpoint_sync_interval)
            for folder, known in zip(folders, seen, strict=True):
                try:
                    objects.upload_folder(s3, folder, uri, extra, known)
                except objects.UploadError as error:
                    print(f"{self.name}: checkpoint not uploaded: {error}", file=sys.stderr)

    # --- the end

    def _close(self, attempt: Attempt) -> None:
        """Upload what the job made, deliver its logs and set its terminal state."""
        self._say("Uploading", "Uploading generated training model")
        if attempt.failed is None:
            attempt.failed = _first_failed(attempt)
        failed, ended_by = attempt.failed, attempt.ended_by
        keep_model = failed is None or ended_by in ("stop", "max_runtime", "max_wait")
        try:
            artifacts = self._upload(attempt, keep_model)
        except (objects.UploadError, OSError) as error:
            uri = self._request["OutputDataConfig"]["S3OutputPath"]
            raise JobFailedError(
                f"ClientError: Failed to upload the model or output to {uri} with the role "
                f"{self._request['RoleArn']}: {error}"
            ) from error
        if self._logs:
            self._logs.close()
        if ended_by == "stop":
            self._finish("Stopped", "Training job stopped", "Stopped", **artifacts)
        elif ended_by == "max_runtime":
            message = "Training job runtime exceeded MaxRuntimeInSeconds provided"
            self._finish("MaxRuntimeExceeded", message, "Stopped", **artifacts)
        elif ended_by == "max_wait":
            message = "Training job exceeded MaxWaitTimeInSeconds provided"
            self._finish("MaxWaitTimeExceeded", message, "Stopped", **artifacts)
        elif failed is not None:
            reason = self._failure_reason(attempt)
            self._finish("Failed", "Training job failed", "Failed", FailureReason=reason)
        else:
            self._finish("Completed", "Training job completed", "Completed", **artifacts)

    def _upload(self, attempt: Attempt, keep_model: bool) -> dict[str, Any]:
        s3, output = self._role.client("s3"), self._request["OutputDataConfig"]
        base = f"{output['S3OutputPath'].rstrip('/')}/{self.name}/output"
        extra = objects.encryption(output.get("KmsKeyId"))
        plain = output.get("CompressionType", "GZIP") == "NONE"
        data = [host.ml / "output" / "data" for host in attempt.hosts]
        models = [host.ml / "model" for host in attempt.hosts]
        artifacts: dict[str, Any] = {}
        if keep_model:
            if plain:
                for folder in reversed(models):
                    objects.upload_folder(s3, folder, f"{base}/model", extra, {})
            else:
                objects.upload_archive(s3, models, f"{base}/model.tar.gz", extra)
            suffix = "model/" if plain else "model.tar.gz"
            artifacts["ModelArtifacts"] = {"S3ModelArtifacts": f"{base}/{suffix}"}
        if not all(objects.is_empty(folder) for folder in data):
            if plain:
                for folder in reversed(data):
                    objects.upload_folder(s3, folder, f"{base}/data", extra, {})
            else:
                objects.upload_archive(s3, data, f"{base}/output.tar.gz", extra)
        return artifacts

    def _failure_reason(self, attempt: Attempt) -> str:
        """Return AlgorithmError with the failure file of the first that failed, or its last words."""
        assert attempt.failed is not None  # noqa: S101 - that is why it is asked
        file = attempt.hosts[attempt.failed].ml / "output" / "failure"
        text = ""
        if file.exists():
            text = file.read_text(encoding="utf-8", errors="replace")[:1024]
        if not text.strip() and self._logs:
            text = _last_traceback(self._logs.tail)
        code = attempt.running[attempt.failed].returncode
        return f"AlgorithmError: {text.strip()}, exit code: {code}"

    def _finish(self, secondary: str, message: str, status: str, **fields: Any) -> None:
        if self._trained_seconds:
            # What really ran, also for spot jobs: a discount is a price, and prices are not
            # measured.
            seconds = max(1, round(self._trained_seconds))
            fields |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
        if self._logs:
            self._logs.close()
            fields["FinalMetricDataList"] = [
                {"MetricName": name, "Value": value, "Timestamp": when}
                for name, (value, when) in self._logs.final.items()
            ]
        self._jobs.transition(self.name, secondary, message, status, **fields)

    def _say(self, secondary: str, message: str, status: str | None = None) -> None:
        self._jobs.transition(self.name, secondary, message, status)


def _signatures(folder: Path) -> dict[str, tuple[int, int]]:
    """What was restored is there already."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def _first_failed(attempt: Attempt) -> int | None:
    return next((i for i, running in enumerate(attempt.running) if running.returncode), None)


def _last_traceback(lines: Sequence[str]) -> str:
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call")]
    chosen = lines[starts[-1] :] if starts else lines[-5:]
    return "\n".join(chosen)[-1024:]
