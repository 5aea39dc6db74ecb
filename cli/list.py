"""``trainstack list``: jobs of the stack's clouds, newest first."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import cloud_option, output_option, target_options


@click.command("list", short_help="List jobs, newest first.")
@cloud_option
@target_options
@click.option("--limit", "-n", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--name", "name_contains", metavar="TEXT", help="Only jobs whose name holds this.")
@output_option
def list_jobs(
    cloud: str | None,
    stack: str | None,
    outputs: Path | None,
    limit: int,
    name_contains: str | None,
    output_format: str,
) -> None:
    """List jobs on all of the stack's clouds, newest first. A cloud that does not answer is said and left out."""
    from cli.output import job_json, print_json, print_table, say, seconds_text, state_text
    from cli.target import load_target
    from training.backends import connect
    from training.backends.base import JobStatus
    from training.errors import BackendError

    target = load_target(stack, outputs)
    found: list[JobStatus] = []
    is_whole = True
    for name in [cloud] if cloud else target.clouds:
        try:
            found += connect(name, target).list(limit=limit, name_contains=name_contains)
        except BackendError as error:
            say(f"{name}: {error}")
            is_whole = False
    found.sort(key=lambda job: job.created.timestamp() if job.created else 0.0, reverse=True)
    found = found[:limit]
    if output_format == "json":
        print_json([job_json(job) for job in found])
    elif found:
        print_table(
            ("job", "cloud", "state", "created", "took"),
            [
                (job.handle.name, job.handle.cloud, state_text(job.state), job.created,
                 seconds_text(job.duration_seconds))
                for job in found
            ],
        )  # fmt: skip
    elif is_whole:
        say("no jobs yet. Submit one: trainstack submit examples/digits/job.yaml --on aws")
    if not is_whole:
        raise click.exceptions.Exit(1)
