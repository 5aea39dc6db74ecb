"""The lab's clock: real time plus what was added to it by hand, so that a test need not wait for a cluster to idle."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from lab.azure.store import Store


class Clock:
    """Time for idle nodes, job timeouts and soft delete. Tokens and signatures use real time.

    What was added survives a restart, or a cluster that had scaled down would be up again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._added_seconds = float((store.get("clock", "added") or {}).get("seconds", 0.0))
        self._changed = threading.Condition()

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time() + self._added_seconds

    def timestamp(self) -> str:
        """Return the time as Azure writes it."""
        return iso(self.now())

    def advance(self, seconds: float) -> None:
        """Move the clock on and wake whatever waits for it. Raises ValueError where seconds is below 0."""
        if seconds < 0:
            raise ValueError(f"advance_seconds is {seconds}; the lab's clock only moves forward")
        with self._changed:
            self._added_seconds += seconds
            self._store.put("clock", "added", {"seconds": self._added_seconds})
            self._changed.notify_all()

    def wake(self) -> None:
        """Wake whatever waits: something happened that may change what is due."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, timeout_seconds: float) -> None:
        """Return after the real timeout, or sooner when the clock was moved or woken."""
        with self._changed:
            self._changed.wait(timeout_seconds)


def iso(seconds: float) -> str:
    """Return seconds since the epoch as an Azure timestamp (UTC, microseconds)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
