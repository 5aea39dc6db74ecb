"""Following a job to its end, from ``submit`` and ``wait`` alike."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from training.backends.base import Backend, JobStatus
    from training.handle import JobHandle


def follow_job(
    backend: Backend,
    handle: JobHandle,
    *,
    show_logs: bool,
    output_format: str,
    timeout_seconds: float | None = None,
) -> None:
    """Wait for the end, with the log where asked, and print the result. Raises JobFailedError unless it succeeded.

    With JSON the log goes to stderr. Ctrl-C leaves the job running, says how to come back, and exits with 130.
    """
    from cli.output import job_json, print_json, say, seconds_text
    from training.errors import JobFailedError
    from training.waiting import wait

    def on_change(status: JobStatus) -> None:
        if not status.state.is_terminal:
            say(f"{status.handle.name}: {status.state} ({status.cloud_state})")

    try:
        if show_logs:
            for line in backend.logs(handle, follow=True):
                click.echo(line, err=output_format == "json")
        status = wait(backend, handle, on_change=on_change, timeout_seconds=timeout_seconds)
    except KeyboardInterrupt:
        say(
            f"\nthe job goes on. Come back: trainstack logs -f {handle.name}    "
            f"stop it: trainstack stop {handle.name}"
        )
        sys.exit(130)
    if output_format == "json":
        print_json(job_json(status))
    if status.state != "SUCCEEDED":
        raise JobFailedError(status)
    if output_format == "table":
        took = seconds_text(status.duration_seconds)
        say(f"{handle.name}: {status.state}{f' in {took}' if took else ''}")
        say(f"get the model: trainstack download {handle.name}")
