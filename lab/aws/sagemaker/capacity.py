"""How many instances run at once on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Capacity:
    """The machine's instances; jobs beyond them wait, first come first served."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used: dict[str, int] = {}
        self._queue: list[str] = []
        self._changed = threading.Condition()

    def take(
        self, job: str, count: int, say: Callable[[str], None], is_stopped: Callable[[], bool]
    ) -> bool:
        """Wait for ``count`` instances; False where the job was stopped meanwhile."""
        with self._changed:
            self._queue.append(job)
            told = False
            try:
                # A job larger than the machine runs alone rather than never.
                while self._queue[0] != job or (
                    self._used and sum(self._used.values()) + count > self.limit
                ):
                    if is_stopped():
                        return False
                    if not told:
                        told = True
                        used = sum(self._used.values())
                        say(f"Waiting for {count} instances: {used} of {self.limit} are in use")
                    self._changed.wait()
                self._used[job] = count
                return True
            finally:
                self._queue.remove(job)
                self._changed.notify_all()

    def give_back(self, job: str) -> None:
        """Free a job's instances."""
        with self._changed:
            self._used.pop(job, None)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those that wait look whether they were stopped."""
        with self._changed:
            self._changed.notify_all()

    def set_limit(self, limit: int) -> None:
        """Change the limit."""
        with self._changed:
            self.limit = limit
            self._changed.notify_all()
