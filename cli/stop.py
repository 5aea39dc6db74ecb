"""``trainstack stop``: ask a job to stop."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import job_options


@click.command(short_help="Stop a job.")
@job_options
@click.option("--wait", "is_waiting", is_flag=True, help="Wait until it has stopped.")
def stop(
    job: str,
    cloud: str | None,
    stack: str | None,
    outputs: Path | None,
    output_format: str,
    is_waiting: bool,
) -> None:
    """Stop JOB; one that has ended stays as it is. The script gets SIGTERM and time to save its work."""
    from cli.output import job_json, print_json, say
    from cli.target import load_target
    from training.find import find_job
    from training.waiting import wait

    backend, handle = find_job(job, load_target(stack, outputs), cloud)
    backend.stop(handle)
    found = wait(backend, handle) if is_waiting else backend.status(handle)
    if output_format == "json":
        print_json(job_json(found))
    else:
        say(f"{handle.name}: {found.state}")
