"""``trainstack drill``: interrupt a job's script here and see whether it resumes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from cli.options import output_option, set_option


class NotResumedError(Exception):
    """The script would start over. Exit code 3."""

    exit_code = 3


@click.command(short_help="Interrupt a job's script here and see whether it resumes.")
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--after",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="When to interrupt. [default: at the first checkpoint]",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="From SIGTERM to SIGKILL.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="The longest that each run may take.",
)
@set_option
@output_option
def drill(
    job: Path,
    after: float | None,
    grace: float,
    timeout: float,
    overrides: tuple[str, ...],
    output_format: str,
) -> None:
    """Run JOB's script on this machine, interrupt it with SIGTERM, start it again over the same checkpoint folder.

    Needs the script's own packages in this Python, and its data on this machine. No cloud, no account. Exit
    code 3 where it starts over.
    """
    from review.drill import drill as run_drill
    from review.spot import lint
    from training.job import load_job

    spec = load_job(job, overrides)

    def show(number: int, line: str) -> None:
        # Data goes to stdout, words to stderr.
        click.echo(f"run {number} | {line}", err=output_format == "json")

    for warning in lint(spec):
        click.echo(f"warning: {warning.message}. {warning.fix}", err=True)
    result = run_drill(
        spec, after_seconds=after, grace_seconds=grace, timeout_seconds=timeout, on_line=show
    )
    sys.stdout.flush()
    if output_format == "json":
        runs = [result.first, *([result.second] if result.second else [])]
        body = {
            "has_resumed": result.has_resumed,
            "verdict": result.verdict,
            "runs": [{**vars(run), "lines": len(run.lines)} for run in runs],
        }
        click.echo(json.dumps(body, indent=2))
    else:
        click.echo(result.verdict)
    if not result.has_resumed:
        raise NotResumedError("not shown to resume")
