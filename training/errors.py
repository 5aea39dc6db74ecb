"""Every error the training module raises on purpose.

TrainingError
├── UsageError            the person or the stack: fix and try again
│   ├── JobFileError      the job file, with every problem in it
│   ├── PackageError      the source tree cannot be packaged
│   └── UnsupportedError  the job asks for what that cloud does not do
├── JobError
│   ├── UnknownJobError · AmbiguousJobError · MalformedHandleError · JobFailedError
└── BackendError          the cloud
    ├── AuthError · RejectedError · UnavailableError
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.backends.base import JobStatus


class TrainingError(Exception):
    """Base of all: its message is one or two sentences for the person who ran the command."""


class UsageError(TrainingError):
    """Something the person can put right."""


class PackageError(UsageError):
    """The source tree cannot be packaged: it holds a likely secret, or is not there."""


class UnsupportedError(UsageError):
    """The job asks for something that this cloud, or this stack, does not do."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a job file."""

    path: str  # dotted, as --set takes it; empty for the file as a whole
    message: str
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{self.path} " if self.path else ""
        return f"{place}: {subject}{self.message}" if place else f"{subject}{self.message}"


class JobFileError(UsageError):
    """The job file is wrong. ``problems`` holds all of them, in the order of the file; the message is a line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class JobError(TrainingError):
    """About one job that exists, or should."""


class MalformedHandleError(JobError):
    """The text is no job handle."""


class UnknownJobError(JobError):
    """The cloud knows no such job."""


class AmbiguousJobError(JobError):
    """More than one job begins with the text given."""


class JobFailedError(JobError):
    """The job ended and did not succeed. ``status`` is how."""

    def __init__(self, status: JobStatus) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        reason = f": {self.status.reason}" if self.status.reason else ""
        return f"job {self.status.handle} ended as {self.status.state}{reason}"


class BackendError(TrainingError):
    """The cloud answered with an error, or not at all."""


class AuthError(BackendError):
    """No credentials, expired ones, or ones without the right to do this."""


class RejectedError(BackendError):
    """The cloud refused the request as it stands. ``code`` is the cloud's own error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.code})" if self.code else self.message


class UnavailableError(BackendError):
    """The cloud could not be reached, or kept answering that it is busy, for as long as we tried."""
