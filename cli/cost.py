"""``trainstack cost``: what a job was billed, against its estimate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from cli.options import job_options


@click.command(short_help="Show what a job was billed against its estimate.")
@job_options
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The job file, to estimate anew where the job carries no estimate.",
)
def cost(
    job: str,
    cloud: str | None,
    stack: str | None,
    outputs: Path | None,
    output_format: str,
    file: Path | None,
) -> None:
    """Show what JOB (a handle, a name, or the beginning of a name) was billed, at list price."""
    from cli.output import print_json, print_table, say
    from cli.target import load_target
    from pricing.billing import billed
    from pricing.catalog import usd
    from pricing.estimate import estimate_job
    from training.find import find_job
    from training.job import load_job

    target = load_target(stack, outputs)
    backend, handle = find_job(job, target, cloud)
    worst = estimate_job(load_job(file), target, handle.cloud).worst_case_usd if file else None
    status = backend.status(handle)
    if worst is None:
        status = replace(status, tags=backend.tags(handle))
    bill = billed(status, target, estimate_usd=worst)
    if output_format == "json":
        print_json(bill.as_json())
        return
    seconds = "?" if bill.seconds is None else f"{bill.seconds:g}"
    estimated = (
        "not known: the job carries none; give --file"
        if bill.estimate_usd is None
        else usd(bill.estimate_usd)
    )
    rows = [
        ("job", bill.handle),
        ("billed, USD", f"{usd(bill.usd)} = {bill.instances} x {bill.instance} x {seconds} s"),
        ("estimated at worst", estimated),
        ("idle after it, at most", usd(bill.tail_usd) if bill.tail_usd is not None else None),
        ("saved by spot", f"{bill.saving_percent}%" if bill.saving_percent is not None else None),
        ("list price of", bill.as_of or None),
    ]
    print_table(("", ""), [row for row in rows if row[1] is not None])
    for note in bill.notes:
        say(note)
