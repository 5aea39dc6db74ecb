"""``trainstack estimate``: what a job costs at worst, on both clouds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.options import cloud_option, output_option, set_option, target_options


@click.command(short_help="Show what a job costs at worst.")
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@cloud_option
@target_options
@set_option
@output_option
def estimate(
    job: Path,
    cloud: str | None,
    stack: str | None,
    outputs: Path | None,
    overrides: tuple[str, ...],
    output_format: str,
) -> None:
    """Show the worst case of JOB: price x instances x max_runtime, or max_wait of a spot job.

    Exit code 3 where it is over the stack's cap. Prices are list prices of the dated catalogue.
    """
    from cli.target import load_target
    from pricing.catalog import usd
    from pricing.estimate import estimate_job
    from training.job import load_job

    target = load_target(stack, outputs)
    spec = load_job(job, overrides)
    clouds = (
        [cloud] if cloud else [name for name in target.clouds if getattr(spec.compute, name, None)]
    )
    found = [
        estimate_job(spec, target, "aws" if name == "aws" else "azure")
        for name in (clouds or target.clouds)
    ]
    cap = target.job_price_cap_usd
    over = [item for item in found if item.is_over(cap)]
    if output_format == "json":
        body = {
            "job": spec.name,
            "cap_usd": cap,
            "estimates": [item.as_json() for item in found],
            "is_over_cap": bool(over),
        }
        click.echo(json.dumps(body, indent=2))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(
            box=None, title=f"{spec.name}: US dollars at list price", title_justify="left"
        )
        for heading in (
            "cloud",
            "instances",
            "hours",
            "on-demand",
            "spot",
            "worst case",
            "after it ends",
        ):
            table.add_column(
                heading, justify="left" if heading in ("cloud", "instances") else "right"
            )
        for item in found:
            table.add_row(
                item.cloud,
                f"{item.instances} x {item.instance or '?'}",
                f"{float(item.hours):.2f}",
                usd(item.on_demand_usd),
                usd(item.spot_usd),
                usd(item.worst_case_usd),
                usd(item.tail_usd) if item.tail else "",
            )
        console = Console(soft_wrap=True)
        console.print(table)
        for item in found:
            for note in filter(None, (item.reason, item.tail)):
                console.print(f"{item.cloud}: {note}", markup=False, highlight=False)
            if item.source:
                console.print(
                    f"{item.cloud}: prices in {item.region} of {item.as_of}",
                    markup=False,
                    highlight=False,
                )
        if cap is not None:
            console.print(f"cap of the stack: {usd(cap)}", markup=False, highlight=False)
    if over:
        raise OverCapError(
            f"{', '.join(item.cloud for item in over)}: the worst case is over the stack's cap of {usd(cap)} USD. "
            "Lower max_runtime or compute.instances, or submit with --over-cap and a reason"
        )


class OverCapError(Exception):
    """The worst case is over the stack's cap. Exit code 3."""

    exit_code = 3
