"""Where the lab keeps its data, and how the rest finds its endpoints.

``.trainstack/lab/endpoints.json`` holds {"aws": url, "azure": url, "proxy": url, "ca": path, ...}, written atomically by the
supervisor once every part is healthy.
"""

from __future__ import annotations

import ipaddress
import json
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ACCOUNT_ID = "123456789012"  # the lab's AWS account; AWS's own documentation account
SUBSCRIPTION_ID = "11111111-2222-3333-4444-555555555555"
TENANT_ID = "99999999-0000-0000-0000-000000000000"


class LabError(Exception):
    """The lab cannot do what was asked. The message says what to do."""


def home() -> Path:
    """Return the lab's data folder: $TRAINSTACK_LAB_HOME, else .trainstack/lab below the working directory."""
    return Path(os.environ.get("TRAINSTACK_LAB_HOME") or Path.cwd() / ".trainstack" / "lab")


def endpoints() -> dict[str, Any]:
    """Return the running lab's endpoints. Raises LabError where no lab is running."""
    path = home() / "endpoints.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError("no lab is running here. Start it with: trainstack lab start") from None


def require_loopback(url: str) -> str:
    """Return the url, or raise LabError where its host is not this machine."""
    host = urlsplit(url).hostname or ""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise LabError(f"endpoint {url!r} is not on this machine; the lab talks to 127.0.0.1 only")
    return url


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader or a kill sees the old text or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
