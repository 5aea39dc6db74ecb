"""The dated catalogue of instance types of both clouds: size, purpose, price by region, each with its source.

A price that no source states is absent, and whoever asks is told so; nothing here guesses one.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

Cloud = Literal["aws", "azure"]
CLOUDS: tuple[Cloud, ...] = ("aws", "azure")

DATA = Path(__file__).parent / "data"
AZURE_FILE = "azure_vm_sizes.csv"
AWS_FILE = "sagemaker_training_instances.csv"
RATES_FILE = "monthly_rates.csv"
# A month as both clouds' calculators count it.
HOURS_A_MONTH = 730


class PriceError(ValueError):
    """A catalogue file or a question to it is wrong. The message says which value, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one instance costs an hour in one region, in US dollars. None where no source says."""

    region: str
    on_demand: Decimal | None
    # Azure ML's low-priority meter. SageMaker's managed spot has no price in advance.
    spot: Decimal | None
    source: str
    as_of: str
    # The low-priority price may be from another source, of another day.
    spot_as_of: str = ""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance type or VM size."""

    cloud: Cloud
    name: str
    vcpus: int | None
    memory_gib: float | None
    gpu_name: str
    gpu_count: int
    # Whether the cloud's training service takes it.
    trains: bool
    purpose: str
    prices: Mapping[str, Price] = field(default_factory=dict)

    def price(self, region: str | None) -> Price | None:
        """Return the price in a region, or None where the catalogue has none there."""
        price = self.prices.get(region or "")
        return price if price is not None and price.on_demand is not None else None


# Family -> purpose. The first pattern that matches the name decides.
# https://learn.microsoft.com/azure/virtual-machines/sizes/overview, https://aws.amazon.com/sagemaker/ai/pricing/
_FAMILIES: tuple[tuple[str, str], ...] = (
    (r"^Standard_ND", "gpu-cluster"),
    (r"^Standard_NC", "gpu"),
    (r"^Standard_NV", "graphics"),
    (r"^Standard_F", "compute"),
    (r"^Standard_(E|M|D\d*1\d_v2|DS1\d_v2|D1\d_v2)", "memory"),
    (r"^Standard_D", "general"),
    (r"^ml\.(trn)", "trainium"),
    (r"^ml\.(inf)", "inferentia"),
    (r"^ml\.(p4|p5|p6|p3dn)", "gpu-cluster"),
    (r"^ml\.(p2|p3|g\d)", "gpu"),
    (r"^ml\.(c\d)", "compute"),
    (r"^ml\.(r\d|x\d)", "memory"),
    (r"^ml\.(t\d)", "burstable"),
    (r"^ml\.(m\d)", "general"),
)
# Purpose -> what it is typically used for.
PURPOSES: Mapping[str, str] = {
    "general": "scikit-learn and XGBoost on tables, data preparation",
    "compute": "CPU-bound training: many threads, little memory",
    "memory": "tables and features that must fit in memory",
    "burstable": "trying a script out; not for long training",
    "gpu": "deep learning on one or a few GPUs, fine-tuning",
    "gpu-cluster": "large models on eight GPUs and several machines, fast interconnect",
    "graphics": "light GPU work and rendering; a part of a GPU",
    "trainium": "deep learning compiled for AWS Trainium",
    "inferentia": "inference compiled for AWS Inferentia",
    "other": "",
}


def purpose_of(name: str) -> str:
    """Return what an instance type's family is meant for; ``other`` for a family that the table lacks."""
    return next((purpose for pattern, purpose in _FAMILIES if re.match(pattern, name)), "other")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What something costs by existing: a key a month, an endpoint an hour."""

    item: str
    usd: Decimal
    unit: str
    source: str
    as_of: str

    @property
    def usd_per_month(self) -> Decimal:
        factor = {
            "month": Decimal(1),
            "hour": Decimal(HOURS_A_MONTH),
            "day": Decimal(HOURS_A_MONTH) / 24,
        }
        return self.usd * factor[self.unit]


@dataclass(frozen=True)
class Catalog:
    """Every instance type of both clouds, by name."""

    instances: Mapping[tuple[Cloud, str], Instance]
    rates: Mapping[str, Rate]

    def find(self, cloud: Cloud, name: str) -> Instance | None:
        """Return an instance type; Azure's sizes are found in any case, as ARM takes them."""
        found = self.instances.get((cloud, name))
        if found is None and cloud == "azure":
            found = self._azure_by_lower_name.get(name.lower())
        return found

    @functools.cached_property
    def _azure_by_lower_name(self) -> dict[str, Instance]:
        return {
            name.lower(): item for (cloud, name), item in self.instances.items() if cloud == "azure"
        }

    def of(self, cloud: Cloud) -> list[Instance]:
        return [item for (of, _), item in sorted(self.instances.items()) if of == cloud]

    def regions(self, cloud: Cloud) -> list[str]:
        """Return the regions for which at least one price is there."""
        return sorted({region for item in self.of(cloud) for region in item.prices if region})

    def why_absent(self, cloud: Cloud, name: str, region: str | None) -> str:
        """Say why there is no price: the type is not known, or has none there; and what to do."""
        title = "Azure VM size" if cloud == "azure" else "SageMaker instance type"
        refresh = f"trainstack prices refresh --cloud {cloud}" + (
            f" --region {region}" if region else ""
        )
        instance = self.find(cloud, name)
        if instance is None:
            return f"the catalogue has no {title} {name!r}; fill it with: {refresh}"
        elsewhere = sorted(r for r, p in instance.prices.items() if r and p.on_demand is not None)
        known = f" (it has one in {', '.join(elsewhere)})" if elsewhere else ""
        where = region or "an unknown region"
        return f"the catalogue has no price of {name} in {where}{known}; fill it with: {refresh}"


@functools.cache
def load_catalog(folder: Path = DATA) -> Catalog:
    """Read the catalogue's files. Raises PriceError naming the file and the line at fault."""
    instances: dict[tuple[Cloud, str], Instance] = {}
    for cloud, file in (("azure", AZURE_FILE), ("aws", AWS_FILE)):
        for instance in _read(folder / file, cloud):
            known = instances.get((cloud, instance.name))
            prices = {**known.prices, **instance.prices} if known else instance.prices
            merged = known or instance
            instances[(cloud, instance.name)] = Instance(
                cloud=merged.cloud,
                name=merged.name,
                vcpus=merged.vcpus,
                memory_gib=merged.memory_gib,
                gpu_name=merged.gpu_name,
                gpu_count=merged.gpu_count,
                trains=merged.trains,
                purpose=merged.purpose,
                prices=prices,
            )
    return Catalog(instances, {rate.item: rate for rate in _read_rates(folder / RATES_FILE)})


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return a catalogue file's rows. Raises PriceError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PriceError(
            f"price file {str(path)!r} cannot be read: {error}. Get it back with: git checkout -- {path}"
        ) from error


def _read(path: Path, cloud: Cloud) -> Iterable[Instance]:
    key = "vm_size" if cloud == "azure" else "instance_type"
    for line, row in enumerate(read_rows(path), 2):
        where = f"price file {str(path)!r}, line {line}"
        try:
            name = row[key]
            spot_date = re.search(r"low priority: [^;]*\((\d{4}-\d\d-\d\d)\)", row["source"])
            price = Price(
                region=row["region"],
                on_demand=_money(row["usd_per_hour"]),
                spot=_money(row.get("low_priority_usd_per_hour", "")),
                source=row["source"],
                as_of=row["as_of"],
                spot_as_of=spot_date[1] if spot_date else row["as_of"],
            )
            yield Instance(
                cloud=cloud,
                name=name,
                vcpus=int(row["vcpus"]) if row["vcpus"] else None,
                memory_gib=float(row["memory_gib"]) if row["memory_gib"] else None,
                gpu_name=row["gpu_name"],
                gpu_count=int(row["gpu_count"] or 0),
                trains=row.get("trains", "true") == "true",
                purpose=purpose_of(name),
                prices={price.region: price},
            )
        except (KeyError, TypeError) as error:
            raise PriceError(f"{where} lacks the column {error}") from error
        except (ValueError, InvalidOperation) as error:
            raise PriceError(f"{where} holds no number where one must be: {error}") from error


def _read_rates(path: Path) -> Iterable[Rate]:
    for row in read_rows(path):
        yield Rate(
            item=row["item"],
            usd=Decimal(row["usd"]),
            unit=row["unit"],
            source=row["source"],
            as_of=row["as_of"],
        )


def _money(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def usd(value: Decimal | float | None) -> str:
    """Return an amount as it is always shown: cents, or four decimals below one cent."""
    if value is None:
        return "no price"
    amount = Decimal(str(value))
    if amount and abs(amount) < Decimal("0.01"):
        return f"{amount:.4f}"
    return f"{amount:,.2f}"
