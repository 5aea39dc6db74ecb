"""What the plane is told at its start, and the clock that tests move."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lab.home import ACCOUNT_ID


class Clock:
    """Wall time plus what a test has added. Limits follow it; measured durations never do."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._moved = threading.Condition()

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Let time jump forward; whoever waits on the clock looks again at once."""
        with self._moved:
            self._offset += seconds
            self._moved.notify_all()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The plane's settings. Times are seconds."""

    home: Path
    port: int
    region: str = "us-east-1"
    account_id: str = ACCOUNT_ID
    # What SageMaker gives a container between SIGTERM and SIGKILL when a job is stopped:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
    stop_grace: float = 120.0
    # A spot instance's notice is two minutes too.
    spot_grace: float = 120.0
    # Instances that run at once on this machine; further jobs wait in Starting.
    capacity: int = 8
    checkpoint_sync_interval: float = 1.0

    @property
    def endpoint(self) -> str:
        """Where this plane listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def jobs_folder(self) -> Path:
        """Where running jobs have their files."""
        return self.home / "jobs"

    def arn(self, resource: str) -> str:
        """Return the ARN of one of the account's resources, such as ``training-job/x``."""
        return f"arn:aws:sagemaker:{self.region}:{self.account_id}:{resource}"


def data_endpoint() -> str | None:
    """Return where the lab's other AWS services are, for the jobs' own environment."""
    return os.environ.get("AWS_ENDPOINT_URL")
