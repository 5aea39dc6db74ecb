"""A job's log: kept in memory, uploaded while it grows."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from lab.azure.data_path import DataPath

if TYPE_CHECKING:
    from lab.azure.plane import Plane

_TAIL_LINES = 20


class JobLog:
    """A log that is uploaded while it grows."""

    def __init__(self, plane: Plane, name: str, target: DataPath, *, keep: bool) -> None:
        self.name = name
        self._plane = plane
        self._target = target
        self._lock = threading.Lock()
        self._text = bytearray()
        self._uploaded = -1
        self._uploaded_at = 0.0
        if keep:
            before = plane.blobs.find(target.account, target.container, target.path)
            if before:
                self._text += before.read()

    def line(self, text: str) -> None:
        with self._lock:
            self._text += text.encode() + b"\n"

    def flush(self, *, final: bool = False) -> None:
        """Upload what is new. A long log is uploaded less often, or its cost would grow with its square."""
        pause = 0.2 + len(self._text) / 10_000_000
        if not final and time.monotonic() - self._uploaded_at < pause:
            return
        with self._lock:
            if len(self._text) == self._uploaded:
                return
            data = bytes(self._text)
        self._plane.blobs.put(
            self._target.account,
            self._target.container,
            self._target.path,
            data,
            content_type="text/plain",
        )
        self._uploaded, self._uploaded_at = len(data), time.monotonic()

    def tail(self) -> str:
        with self._lock:
            lines = self._text.decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])
