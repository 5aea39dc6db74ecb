"""``trainstack wait``: wait for a job's end."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import job_options


@click.command(short_help="Wait for a job to end.")
@job_options
@click.option(
    "--timeout", metavar="TIME", help="Give up after, such as 30m; exit code 124. The job goes on."
)
def wait(
    job: str,
    cloud: str | None,
    stack: str | None,
    outputs: Path | None,
    output_format: str,
    timeout: str | None,
) -> None:
    """Wait for JOB to end. Exit code 0 where it succeeded, 1 where it did not. Ctrl-C leaves it running."""
    from cli.follow import follow_job
    from cli.target import load_target
    from training.find import find_job
    from training.job import parse_duration

    try:
        seconds = None if timeout is None else parse_duration(timeout)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from error
    backend, handle = find_job(job, load_target(stack, outputs), cloud)
    follow_job(
        backend, handle, show_logs=False, output_format=output_format, timeout_seconds=seconds
    )
