"""``trainstack logs``: a job's log."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli.options import job_options


@click.command(short_help="Print a job's logs; -f follows them.")
@job_options
@click.option(
    "--follow", "-f", is_flag=True, help="Go on until the job ends. Ctrl-C leaves it running."
)
@click.option("--tail", "-n", type=click.IntRange(0), help="Begin with the last N lines.")
def logs(
    job: str,
    cloud: str | None,
    stack: str | None,
    outputs: Path | None,
    output_format: str,
    follow: bool,
    tail: int | None,
) -> None:
    """Print the log of JOB: a handle, a name, or the beginning of a name. With json, one object a line."""
    import json

    from cli.output import say
    from cli.target import load_target
    from training.find import find_job

    backend, handle = find_job(job, load_target(stack, outputs), cloud)
    try:
        for line in backend.logs(handle, follow=follow, tail=tail):
            click.echo(json.dumps({"line": line}) if output_format == "json" else line)
    except KeyboardInterrupt:
        if not follow:
            raise
        say(
            f"\nthe job goes on. Come back: trainstack logs -f {handle.name}    "
            f"stop it: trainstack stop {handle.name}"
        )
        sys.exit(130)
