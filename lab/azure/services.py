"""What the lab's supervisor runs for Azure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from lab.part import Part


def parts(home: Path, free_port: Callable[[], int]) -> list[Part]:
    """Return the Azure plane: Resource Manager, Azure ML, run history and blobs on one port, in plain http."""
    port = free_port()
    argv = [sys.executable, "-m", "lab.azure", "--port", str(port), "--home", str(home / "azure")]
    # Jobs are told to end and their output is kept; that is not hurried.
    return [Part(name="azure", argv=argv, port=port, stop_timeout_seconds=20.0)]
