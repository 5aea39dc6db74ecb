"""``trainstack cost``: what a job was billed, against its estimate."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(short_help="Show what a job was billed against its estimate.")
@click.argument("handle", metavar="JOB")
@click.option(
    "--job",
    "job_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The job file, to estimate anew where the job carries no estimate.",
)
@click.option("--stack", metavar="NAME", help="The stack that the job ran in.")
@click.option(
    "--outputs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The same outputs, saved.",
)
@click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def cost(
    handle: str, job_file: Path | None, stack: str | None, outputs: Path | None, output: str
) -> None:
    """Show what JOB (a handle such as aws-sagemaker://us-east-1/digits-1a2b3c) was billed at list price."""
    from cli.target import load_target

    from pricing.billing import billed
    from pricing.catalog import usd
    from pricing.estimate import estimate_job
    from training import connect, load_job
    from training.handle import JobHandle

    target = load_target(stack, outputs)
    job = JobHandle.parse(handle)
    status = connect(job.cloud, target).status(job)
    worst = estimate_job(load_job(job_file), target, job.cloud).worst_case_usd if job_file else None
    bill = billed(status, target, estimate_usd=worst)
    if output == "json":
        click.echo(json.dumps(bill.as_json(), indent=2))
        return
    seconds = "?" if bill.seconds is None else f"{bill.seconds:g}"
    click.echo(f"{bill.handle}: {status.state}")
    click.echo(
        f"  billed      {usd(bill.usd):>10} USD   {bill.instances} x {bill.instance} x {seconds} s"
    )
    click.echo(
        f"  estimated   {usd(bill.estimate_usd) if bill.estimate_usd is not None else 'not known':>10}"
        + (" USD   at worst" if bill.estimate_usd is not None else "; give the job file with --job")
    )
    if bill.tail_usd is not None:
        click.echo(f"  idle after  {usd(bill.tail_usd):>10} USD   at most")
    if bill.saving_percent is not None:
        click.echo(f"  spot saved  {bill.saving_percent:>9}%")
    for note in bill.notes:
        click.echo(f"  {note}")
    if bill.source:
        click.echo(f"  list price of {bill.as_of}: {bill.source}")
