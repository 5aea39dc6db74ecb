"""``trainstack metrics``: what a job measured."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import job_options


@click.command(short_help="Show the metrics a job logged.")
@job_options
def metrics(
    job: str, cloud: str | None, stack: str | None, outputs: Path | None, output_format: str
) -> None:
    """Show the last value of each metric that JOB's file defines, as its log has them."""
    from cli.output import print_json, print_table, say
    from cli.target import load_target
    from training.find import find_job

    backend, handle = find_job(job, load_target(stack, outputs), cloud)
    found = backend.metrics(handle)
    if output_format == "json":
        print_json(
            {"handle": str(handle), "metrics": {metric.name: metric.value for metric in found}}
        )
        return
    print_table(("metric", "value"), [(metric.name, f"{metric.value:g}") for metric in found])
    if not found:
        say(
            "the job has logged no metric. Define some in the job file: metrics: {loss: 'loss=([0-9.]+)'}"
        )
