"""Where the lab keeps its data, and how the rest finds its endpoints.

``.trainstack/lab/endpoints.json`` holds {"aws": url, "azure": url, "proxy": url, "ca": path},
written by the supervisor once every part is healthy and removed when it stops.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Made-up identities that no real cloud takes. The account is the one of AWS's own examples.
ACCOUNT_ID = "123456789012"
ACCESS_KEY_ID = "lab"
SECRET_ACCESS_KEY = "lab-secret"  # noqa: S105 - opens nothing but the lab
AWS_REGION = "us-east-1"
SUBSCRIPTION_ID = "11111111-2222-3333-4444-555555555555"
TENANT_ID = "99999999-0000-0000-0000-000000000000"
CLIENT_ID = "22222222-3333-4444-5555-666666666666"
CLIENT_SECRET = "lab-secret"  # noqa: S105


class LabError(Exception):
    """The lab cannot do what was asked. The message says what to do."""


def home() -> Path:
    """Return the lab's data folder: $TRAINSTACK_LAB_HOME, else .trainstack/lab in this folder."""
    return Path(os.environ.get("TRAINSTACK_LAB_HOME") or ".trainstack/lab").absolute()


def is_running(home: Path) -> bool:
    """Tell whether a supervisor runs the lab in a folder.

    Its lock is the truth: a pid may be another process's by now.
    """
    try:
        with (home / "supervisor.lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    except FileNotFoundError:
        return False


def endpoints() -> dict[str, Any]:
    """Return the running lab's endpoints. Raises LabError where no lab is running."""
    folder = home()
    # A supervisor that was killed could not take its file away.
    with contextlib.suppress(FileNotFoundError):
        if is_running(folder):
            return json.loads((folder / "endpoints.json").read_text(encoding="utf-8"))
    raise LabError("no lab is running here. Start it with: trainstack lab start")


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


def environment() -> dict[str, str]:
    """Return what a process needs so that unmodified SDKs and command lines reach the running lab.

    AWS clients go straight to the front. Azure's SDKs have their host names built in, so they go
    through the lab's
    CONNECT proxy, which answers for those names with the lab's own certificate authority and
    refuses all others. Raises LabError where no lab is running.
    """
    found = endpoints()
    return {
        "AWS_ENDPOINT_URL": require_loopback(found["aws"]),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_SESSION_TOKEN": "",
        "AWS_DEFAULT_REGION": AWS_REGION,
        "AWS_PROFILE": "",
        "AWS_EC2_METADATA_DISABLED": "true",
        # ModelTrainer refuses a role that may not use every VPC and metric, whether the job does or not.
        "SAGEMAKER_VALIDATE_ROLE": "false",
        "ARM_ENDPOINT": require_loopback(found["azure"]),
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION_ID,
        "AZURE_TENANT_ID": TENANT_ID,
        "AZURE_CLIENT_ID": CLIENT_ID,
        "AZURE_CLIENT_SECRET": CLIENT_SECRET,
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        "HTTPS_PROXY": require_loopback(found["proxy"]),
        "https_proxy": found["proxy"],
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "REQUESTS_CA_BUNDLE": found["ca"],
        "SSL_CERT_FILE": found["ca"],
        "AWS_CA_BUNDLE": found["ca"],
    }
