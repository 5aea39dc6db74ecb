"""One ladder of tries for every call to a cloud.

Throttling, 5xx and lost connections are tried again with growing pauses, or after as long as the cloud asks in
Retry-After.
The SDKs' own retries are off, so that calls can be counted and pauses do not multiply.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

T = TypeVar("T")

MAX_TRIES = 6
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 300.0


class TransientError(Exception):
    """What a backend raises inside the ladder for an answer worth another try; it never leaves the ladder.

    ``retry_after_seconds`` is what the cloud asked for, if it did.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class Ladder:
    """Runs calls until one is answered. ``sleep`` is a seam for tests."""

    sleep: Callable[[float], None] = time.sleep
    tries: int = MAX_TRIES

    def run(self, call: Callable[[], T]) -> T:
        """Return the call's result; re-raise the last TransientError once the tries are spent."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(self.tries),
            wait=_pause,
            sleep=self.sleep,
            reraise=True,
        )(call)


_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_SECONDS)


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, TransientError) and error.retry_after_seconds is not None:
        return min(max(error.retry_after_seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)
    return _backoff(state)


def retry_after_seconds(header: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds a Retry-After header asks for: a number, or an HTTP date. None where it says nothing.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    if not header:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime

    try:
        return max(parsedate_to_datetime(header).timestamp() - now(), 0.0)
    except ValueError:
        return None
