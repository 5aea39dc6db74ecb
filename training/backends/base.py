"""The contract that both clouds' backends keep, and the types that cross it."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from training.handle import JobHandle
from training.job import JobSpec
from training.package import Package


class JobState(enum.StrEnum):
    """Where a job is in its life, in the same words on both clouds."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_terminal(self) -> bool:
        """Whether the job will change no more."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Local content that a request needs in the cloud, at a place that its content decides.

    Uploading it again is harmless; a backend looks whether it is there already.
    """

    package: Package
    destination: str  # the URI that the body names


@dataclass(frozen=True, kw_only=True)
class Push:
    """An image of this machine that a request needs in the stack's registry."""

    image_uri: str  # where the body expects it
    local: str | None  # an image that exists here, or
    dockerfile: Path | None  # one to build
    context: Path | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call that goes before the job's own, and that may be repeated: its body decides its address."""

    operation: str
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """Exactly what a submission sends: ``body`` goes over the wire as it stands."""

    handle: JobHandle
    operation: str  # such as "CreateTrainingJob", or "PUT https://management..."
    body: Mapping[str, Any]
    uploads: tuple[Upload, ...] = ()
    push: Push | None = None
    before: tuple[Call, ...] = ()
    key: str = ""  # what makes a submission one and the same when it is tried again


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """One reading of a job. Times are aware datetimes; None is not known (yet)."""

    handle: JobHandle
    state: JobState
    cloud_state: str  # the cloud's own word
    reason: str | None = None  # the cloud's own words on why it failed or stopped
    display_name: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    compute: str | None = None  # an instance type, a cluster
    instances: int | None = None
    is_spot: bool = False
    billable_seconds: int | None = None  # of each instance, as the cloud counts them
    model: str | None = None  # the URI of the trained model
    url: str | None = None  # the console's or the studio's page
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from the start (or the creation, where the start is not known) to the end."""
        start = self.started or self.created
        if start is None or self.ended is None:
            return None
        return (self.ended - start).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One value that a job logged."""

    name: str
    value: float
    step: int | None = None
    time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of ``trainstack doctor``."""

    name: str
    result: Literal["ok", "failed", "unknown"]
    detail: str
    fix: str | None = None


class Backend(Protocol):
    """One cloud's training service, seen through one stack's outputs."""

    name: ClassVar[str]  # "aws" or "azure"

    def plan(self, spec: JobSpec, key: str | None = None) -> JobRequest:
        """Return the exact request for this job. Pure: reads local files, makes no call, sends nothing.

        The same spec, files, outputs and ``key`` give the same request; without a key each plan is a new submission.
        Raises UnsupportedError, UsageError or PackageError naming every problem.
        """
        ...

    def submit(self, request: JobRequest) -> JobHandle:
        """Upload what is not there yet and start the job; return once it is accepted.

        Safe to repeat with the same request: a second job is never started. Raises AuthError, RejectedError or
        UnavailableError.
        """
        ...

    def status(self, handle: JobHandle) -> JobStatus:
        """Return the job's state now. Raises UnknownJobError."""
        ...

    def tags(self, handle: JobHandle) -> Mapping[str, str]:
        """Return the job's tags. Raises UnknownJobError."""
        ...

    def stop(self, handle: JobHandle) -> None:
        """Ask the job to stop; does not wait. Stopping one that has ended or is stopping changes nothing."""
        ...

    def logs(
        self, handle: JobHandle, *, follow: bool = False, tail: int | None = None
    ) -> Iterator[str]:
        """Yield the job's log a line at a time; ``follow`` goes on until the job has ended."""
        ...

    def metrics(self, handle: JobHandle) -> Sequence[Metric]:
        """Return the metrics that the job logged, as the service has them."""
        ...

    def outputs(self, handle: JobHandle) -> dict[str, str]:
        """Return what the job left: name (``model``, ``output``) -> URI."""
        ...

    def download(self, handle: JobHandle, folder: Path) -> Sequence[Path]:
        """Download the model and the outputs into a folder and return the files written. Raises JobError
        before the end.
        """
        ...

    def list(self, *, limit: int = 20, name_contains: str | None = None) -> Sequence[JobStatus]:
        """Return jobs, newest first."""
        ...

    def check(self) -> Sequence[Check]:
        """Return what ``doctor`` says of this cloud: who am I, what is reachable, which rights are missing."""
        ...
