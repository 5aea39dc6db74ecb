"""Waiting for a job, over ``status`` alone, for any backend."""

from __future__ import annotations

import time
from collections.abc import Callable

from training.backends.base import Backend, JobStatus
from training.errors import JobFailedError, TrainingError
from training.handle import JobHandle

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0


class WaitTimeoutError(TrainingError):
    """The job had not ended when the time was up. ``status`` is the last reading; the job goes on."""

    exit_code = 124  # as timeout(1)

    def __init__(self, status: JobStatus, timeout_seconds: float) -> None:
        super().__init__(status, timeout_seconds)
        self.status = status
        self.timeout_seconds = timeout_seconds

    def __str__(self) -> str:
        return (
            f"job {self.status.handle} is still {self.status.state} after {self.timeout_seconds:g} s; it goes on. "
            f"Wait again: trainstack wait {self.status.handle}"
        )


def wait(
    backend: Backend,
    handle: JobHandle,
    *,
    timeout_seconds: float | None = None,
    on_change: Callable[[JobStatus], None] = lambda _: None,
    raise_on_failure: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> JobStatus:
    """Poll until the job has ended and return its last status; pauses grow from 1 s to 15 s.

    ``on_change`` hears each new state. Raises WaitTimeoutError, and JobFailedError if asked to.
    """
    deadline = None if timeout_seconds is None else clock() + timeout_seconds
    pause = FIRST_PAUSE_SECONDS
    seen: tuple[str, str] | None = None
    while True:
        status = backend.status(handle)
        if (status.state, status.cloud_state) != seen:
            seen = (status.state, status.cloud_state)
            on_change(status)
        if status.state.is_terminal:
            if raise_on_failure and status.state != "SUCCEEDED":
                raise JobFailedError(status)
            return status
        if deadline is not None and clock() >= deadline:
            raise WaitTimeoutError(status, timeout_seconds or 0)
        sleep(pause if deadline is None else min(pause, max(deadline - clock(), 0.05)))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
