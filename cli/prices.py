"""``trainstack prices``: list, compare and refresh the dated catalogue of instance types."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.table import Table

    from pricing.catalog import Instance, Price

_AWS_REGION = "us-east-1"
_AZURE_REGION = "eastus"


@click.group(short_help="List, compare or refresh instance prices.")
def prices() -> None:
    """List prices in US dollars an hour, each with its source and date. A price that no source states is absent."""


@prices.command("list")
@click.option("--cloud", type=click.Choice(["aws", "azure"]), help="One cloud only.")
@click.option("--region", help="One region only; a cloud's usual one otherwise.")
@click.option("--purpose", help="Such as general, memory, gpu.")
@click.option(
    "--all", "show_all", is_flag=True, help="Also types that do not train, and types with no price."
)
@click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def list_prices(
    cloud: str | None, region: str | None, purpose: str | None, show_all: bool, output: str
) -> None:
    """List instance types: vCPUs, memory, GPUs, price, purpose, source and date."""
    from pricing.catalog import CLOUDS, PURPOSES, load_catalog

    _check_purpose(purpose, PURPOSES)
    catalog = load_catalog()
    rows = []
    for name in CLOUDS:
        if cloud not in (None, name):
            continue
        where = region or (_AWS_REGION if name == "aws" else _AZURE_REGION)
        for item in catalog.of(name):
            price = item.price(where)
            if purpose and item.purpose != purpose:
                continue
            if not show_all and (not item.trains or price is None):
                continue
            rows.append((item, where, price))
    if output == "json":
        click.echo(
            json.dumps(
                [
                    {
                        "cloud": item.cloud,
                        "name": item.name,
                        "vcpus": item.vcpus,
                        "memory_gib": item.memory_gib,
                        "gpu_name": item.gpu_name or None,
                        "gpu_count": item.gpu_count,
                        "trains": item.trains,
                        "purpose": item.purpose,
                        "typical_use": PURPOSES[item.purpose] or None,
                        "region": where,
                        "usd_per_hour": _dollars(price.on_demand if price else None),
                        "spot_usd_per_hour": _dollars(price.spot if price else None),
                        "source": price.source if price else None,
                        "as_of": price.as_of if price else None,
                    }
                    for item, where, price in rows
                ],
                indent=2,
            )
        )
        return
    from rich.table import Table

    table = Table(box=None, title="US dollars an hour, list price", title_justify="left")
    for heading in (
        "type",
        "vCPU",
        "GiB",
        "GPU",
        "region",
        "on-demand",
        "low priority",
        "as of",
        "purpose",
    ):
        table.add_column(
            heading,
            justify="right" if heading in ("vCPU", "GiB", "on-demand", "low priority") else "left",
            no_wrap=True,
        )
    for item, where, price in rows:
        gpu = f"{item.gpu_count} x {item.gpu_name}" if item.gpu_count else ""
        table.add_row(
            item.name,
            str(item.vcpus or "?"),
            f"{item.memory_gib:g}" if item.memory_gib else "?",
            gpu,
            where,
            _rate(price),
            f"{price.spot:f}" if price and price.spot is not None else "",
            price.as_of if price else "",
            item.purpose,
        )
    _print(table)
    if not show_all:
        click.echo(
            "Types with no price there are left out: --all shows them, `trainstack prices refresh` fills them.",
            err=True,
        )
    click.echo(
        "Sources: pricing/data/README.md. No tax, discount or free tier is counted.", err=True
    )


@prices.command("compare")
@click.option("--purpose", help="Such as general, memory, gpu.")
@click.option("--azure-region", default=_AZURE_REGION, show_default=True)
@click.option("--aws-region", default=_AWS_REGION, show_default=True)
@click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def compare_prices(purpose: str | None, azure_region: str, aws_region: str, output: str) -> None:
    """Show the two clouds' nearest instances side by side: purpose, size, price, typical use."""
    from pricing.catalog import PURPOSES, load_catalog
    from pricing.compare import compare

    _check_purpose(purpose, PURPOSES)
    pairs = compare(
        load_catalog(), azure_region=azure_region, aws_region=aws_region, purpose=purpose
    )
    if output == "json":
        click.echo(
            json.dumps(
                [
                    {
                        "purpose": pair.purpose,
                        "typical_use": PURPOSES[pair.purpose],
                        "azure": pair.azure.name,
                        "aws": pair.aws.name if pair.aws else None,
                        "azure_usd_per_hour": _dollars(
                            pair.azure_price.on_demand if pair.azure_price else None
                        ),
                        "aws_usd_per_hour": _dollars(
                            pair.aws_price.on_demand if pair.aws_price else None
                        ),
                        "azure_as_of": pair.azure_price.as_of if pair.azure_price else None,
                        "aws_as_of": pair.aws_price.as_of if pair.aws_price else None,
                    }
                    for pair in pairs
                ],
                indent=2,
            )
        )
        return
    from rich.table import Table

    click.echo(
        f"Nearest instances: Azure ML in {azure_region}, SageMaker in {aws_region}. US dollars an hour."
    )
    for name in dict.fromkeys(pair.purpose for pair in pairs):
        table = Table(
            box=None, title=f"{name}: {PURPOSES[name]}", title_justify="left", title_style="bold"
        )
        for heading in ("Azure", "vCPU/GiB/GPU", "price", "SageMaker", "vCPU/GiB/GPU", "price"):
            table.add_column(
                heading, justify="right" if heading == "price" else "left", no_wrap=True
            )
        for pair in pairs:
            if pair.purpose == name:
                table.add_row(
                    pair.azure.name,
                    _shape(pair.azure),
                    _rate(pair.azure_price),
                    pair.aws.name if pair.aws else "none alike",
                    _shape(pair.aws) if pair.aws else "",
                    _rate(pair.aws_price) if pair.aws else "",
                )
        _print(table)
    dates = sorted({p.as_of for pair in pairs for p in (pair.azure_price, pair.aws_price) if p})
    if dates:
        click.echo(
            f"list prices of {dates[0]} to {dates[-1]}; sources: pricing/data/README.md", err=True
        )


@prices.command("refresh")
@click.option("--cloud", type=click.Choice(["aws", "azure"]), help="One cloud only.")
@click.option(
    "--region",
    "regions",
    multiple=True,
    help="May be repeated. [default: the regions that the catalogue has]",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the files are. [default: the project's own]",
)
@click.option(
    "--aws-url", envvar="TRAINSTACK_AWS_PRICES_URL", help="Another base of AWS's price list."
)
@click.option(
    "--azure-url", envvar="TRAINSTACK_AZURE_PRICES_URL", help="Another base of Azure's price list."
)
def refresh_prices(
    cloud: str | None,
    regions: tuple[str, ...],
    folder: Path | None,
    aws_url: str | None,
    azure_url: str | None,
) -> None:
    """Bring today's prices from AWS's and Azure's public price lists. No account is needed.

    With --region, give --cloud too. Each file is replaced as a whole; other regions' rows stay.
    """
    import datetime

    from pricing.catalog import CLOUDS, DATA, load_catalog
    from pricing.refresh import AWS_BASE, AZURE_BASE, refresh_aws, refresh_azure

    if regions and cloud is None:
        raise click.UsageError("--region needs --cloud: the two clouds name regions differently")
    where = folder or DATA
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    catalog = load_catalog(where)
    for name in CLOUDS:
        if cloud not in (None, name):
            continue
        for region in regions or catalog.regions(name):
            if name == "aws":
                done = refresh_aws(
                    region, today=today, folder=where, base=(aws_url or AWS_BASE).rstrip("/")
                )
            else:
                done = refresh_azure(
                    region, today=today, folder=where, base=(azure_url or AZURE_BASE).rstrip("/")
                )
            click.echo(
                f"{name} {done.region}: {done.priced} priced, {done.changed} changed, in {done.file}"
            )
            load_catalog.cache_clear()


def _check_purpose(purpose: str | None, known: Mapping[str, str]) -> None:
    if purpose is not None and purpose not in known:
        raise click.BadParameter(
            f"{purpose!r} is none of {', '.join(known)}", param_hint="--purpose"
        )


def _shape(item: Instance) -> str:
    gpu = f"/{item.gpu_count}x{item.gpu_name}" if item.gpu_count else ""
    return f"{item.vcpus}/{item.memory_gib:g}{gpu}"


def _rate(price: Price | None) -> str:
    if price is None or price.on_demand is None:
        return "no price"
    return f"{price.on_demand:f}"


def _dollars(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout)
    # A pipe has no width to fit to.
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=200)
    console.print(table)
