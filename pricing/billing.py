"""What a job was billed, from what the service says of it, against what it was estimated to cost at worst."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pricing.catalog import Catalog, Price, load_catalog

if TYPE_CHECKING:
    from infra.outputs import StackOutputs
    from training.backends.base import JobStatus

# The tag in which a submission leaves its worst case.
ESTIMATE_TAG = "trainstack-estimate-usd"


@dataclass(frozen=True, kw_only=True)
class Billed:
    """A job's compute cost in US dollars at list price. None where a figure is not known, and ``notes`` say why."""

    handle: str
    instance: str | None
    instances: int | None
    # What is billed an instance: SageMaker's billable seconds; on Azure ML the run's duration.
    seconds: float | None
    usd: Decimal | None
    estimate_usd: Decimal | None
    # Nodes that idle after the job, at most: another job may take them first.
    tail_usd: Decimal | None = None
    # Managed spot: what part of the training time was not billed.
    saving_percent: float | None = None
    notes: tuple[str, ...] = ()
    source: str = ""
    as_of: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "job": self.handle,
            "instance": self.instance,
            "instances": self.instances,
            "billed_seconds": self.seconds,
            "billed_usd": _number(self.usd),
            "estimate_usd": _number(self.estimate_usd),
            "tail_usd": _number(self.tail_usd),
            "saving_percent": self.saving_percent,
            "notes": list(self.notes),
            "source": self.source,
            "as_of": self.as_of,
        }


def billed(
    status: JobStatus,
    outputs: StackOutputs,
    *,
    estimate_usd: Decimal | None = None,
    catalog: Catalog | None = None,
) -> Billed:
    """Return what a job has cost so far.

    SageMaker bills ``BillableTimeInSeconds x InstanceCount``
    (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html); Azure ML bills the
    nodes while they run, so the run's duration is the least and the idle tail comes after it.
    """
    prices = catalog or load_catalog()
    tagged = status.tags.get(ESTIMATE_TAG)
    if estimate_usd is None and tagged is not None:
        estimate_usd = _decimal(tagged)
    notes: list[str] = []
    is_aws = status.handle.cloud == "aws"
    seconds: float | None = status.billable_seconds if is_aws else status.duration_seconds
    tail_seconds = 0
    is_low_priority = False
    instance = status.compute
    if not is_aws:
        cluster = outputs.azure_compute_clusters.get(status.compute or "")
        if cluster is not None:
            instance = str(cluster.get("size"))
            is_low_priority = cluster.get("tier") == "low_priority"
            tail_seconds = int(cluster.get("idle_time_before_scale_down_seconds") or 0)
        elif status.compute in outputs.azure_compute_instances:
            instance = str(outputs.azure_compute_instances[status.compute or ""].get("size"))
            notes.append("A compute instance is billed while it runs, with a job or without.")
    if seconds is None:
        notes.append(
            "The service gives no billable time yet: the job has not ended."
            if not status.state.is_terminal
            else "The service gives no billable time for this job."
        )
    region = outputs.aws_region if is_aws else outputs.azure_location
    region = region.lower().replace(" ", "") if region else None
    found = prices.find("aws" if is_aws else "azure", instance) if instance else None
    price = found.price(region) if found else None
    hourly = None
    if price is None:
        notes.append(
            prices.why_absent("aws" if is_aws else "azure", instance, region)
            if instance
            else "The service does not say what the job ran on."
        )
    else:
        hourly = price.spot if is_low_priority and price.spot is not None else price.on_demand
        if is_low_priority and price.spot is None:
            notes.append(
                f"No low-priority price of {instance} in {region}: counted at the on-demand price."
            )
    count = status.instances or 1
    total = _cost(hourly, count, seconds)
    saving = None
    if (
        is_aws
        and status.is_spot
        and status.billable_seconds is not None
        and status.duration_seconds
    ):
        saving = round((1 - status.billable_seconds / status.duration_seconds) * 100, 1)
    if tail_seconds:
        notes.append(
            f"After it its nodes idle {tail_seconds} s unless another job takes them; that is the stack's setting."
        )
    return Billed(
        handle=str(status.handle),
        instance=instance,
        instances=count,
        seconds=seconds,
        usd=total,
        estimate_usd=estimate_usd,
        tail_usd=_cost(hourly, count, tail_seconds) if tail_seconds else None,
        saving_percent=saving,
        notes=tuple(notes),
        source=price.source if price else "",
        as_of=_date(price, is_low_priority),
    )


def _date(price: Price | None, is_low_priority: bool) -> str:
    if price is None:
        return ""
    return price.spot_as_of if is_low_priority and price.spot is not None else price.as_of


def _cost(hourly: Decimal | None, count: int, seconds: float | None) -> Decimal | None:
    if hourly is None or seconds is None:
        return None
    return hourly * count * Decimal(str(seconds)) / 3600


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except ArithmeticError:
        return None


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(round(value, 6))
