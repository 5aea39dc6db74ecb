"""What a job costs at worst: price x instances x the longest that it may run or wait, from the dated catalogue."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pricing.catalog import Catalog, Cloud, load_catalog, usd

if TYPE_CHECKING:
    from infra.outputs import StackOutputs
    from training.job import JobSpec


@dataclass(frozen=True, kw_only=True)
class JobEstimate:
    """A job's cost on one cloud, in US dollars.

    A figure is None where the catalogue has no price, and ``reason`` says why.

    ``worst_case_usd`` is what a cap is held against: on-demand price (low-priority where the job takes that and
    it is known) x instances x max_wait for spot, else max_runtime. What is billed after the job ends is
    ``tail_usd``, beside it.
    """

    cloud: Cloud
    instance: str | None
    instances: int
    region: str | None
    # The longest that is billed: max_wait of a spot job that gives one, else max_runtime.
    hours: Decimal
    is_spot: bool
    on_demand_usd: Decimal | None = None
    spot_usd: Decimal | None = None
    worst_case_usd: Decimal | None = None
    # A warm pool kept, or a cluster's nodes idling before they go.
    tail_usd: Decimal | None = None
    tail: str = ""
    # Why a figure is absent, or how it was taken; empty where all is plain.
    reason: str = ""
    source: str = ""
    as_of: str = ""

    def is_over(self, cap_usd: float | None) -> bool:
        """Say whether the worst case is over a cap. An absent price is not: the caller decides what absence means."""
        return (
            cap_usd is not None
            and self.worst_case_usd is not None
            and self.worst_case_usd > Decimal(str(cap_usd))
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "cloud": self.cloud,
            "instance": self.instance,
            "instances": self.instances,
            "region": self.region,
            "hours": float(self.hours),
            "is_spot": self.is_spot,
            "on_demand_usd": _cents(self.on_demand_usd),
            "spot_usd": _cents(self.spot_usd),
            "worst_case_usd": _cents(self.worst_case_usd),
            "tail_usd": _cents(self.tail_usd),
            "tail": self.tail,
            "reason": self.reason,
            "source": self.source,
            "as_of": self.as_of,
        }

    def __str__(self) -> str:
        if self.worst_case_usd is None:
            return f"{self.cloud}: worst case not known: {self.reason}"
        return (
            f"{self.cloud}: at worst {usd(self.worst_case_usd)} USD: {self.instances} x {self.instance} for "
            f"{_hours(self.hours)} h in {self.region}, prices of {self.as_of}"
        )


@dataclass(frozen=True)
class _Place:
    """What a job would run on."""

    instance: str | None
    is_low_priority: bool = False
    idle_seconds: int = 0
    reason: str = ""


def estimate_job(
    spec: JobSpec, outputs: StackOutputs, cloud: Cloud, *, catalog: Catalog | None = None
) -> JobEstimate:
    """Return what a job costs at worst on a cloud, for the stack's region. Pure: no network call, no clock."""
    prices = catalog or load_catalog()
    place = _aws_place(spec) if cloud == "aws" else _azure_place(spec, outputs)
    region = outputs.aws_region if cloud == "aws" else outputs.azure_location
    region = region.lower().replace(" ", "") if region else None
    is_spot = spec.spot.enabled if cloud == "aws" else place.is_low_priority
    seconds = spec.max_runtime_seconds
    if is_spot and spec.spot.max_wait_seconds is not None and cloud == "aws":
        seconds = spec.spot.max_wait_seconds
    hours = Decimal(seconds) / 3600
    base = JobEstimate(
        cloud=cloud,
        instance=place.instance,
        instances=spec.compute.instances,
        region=region,
        hours=hours,
        is_spot=is_spot,
        reason=place.reason,
    )
    if place.instance is None:
        return base
    instance = prices.find(cloud, place.instance)
    price = instance.price(region) if instance else None
    if price is None or price.on_demand is None:
        return replace(base, reason=prices.why_absent(cloud, place.instance, region))
    count = Decimal(spec.compute.instances)
    on_demand = price.on_demand * count * hours
    spot = price.spot * count * hours if price.spot is not None and cloud == "azure" else None
    # What goes on being billed is billed at the tier's own price.
    hourly = price.spot if is_spot and price.spot is not None else price.on_demand
    tail_seconds, tail = _tail(spec, place, cloud)
    reason = ""
    if is_spot and spot is None:
        reason = (
            "AWS gives no price for managed spot in advance; the worst case is counted at the on-demand price"
            if cloud == "aws"
            else f"the catalogue has no low-priority price of {place.instance} in {region}; the worst case is counted "
            "at the on-demand price"
        )
    return replace(
        base,
        on_demand_usd=on_demand,
        spot_usd=spot,
        worst_case_usd=spot if is_spot and spot is not None else on_demand,
        tail_usd=hourly * count * Decimal(tail_seconds) / 3600 if tail_seconds else None,
        tail=tail,
        reason=reason,
        source=price.source,
        as_of=price.spot_as_of if is_spot and spot is not None else price.as_of,
    )


def _aws_place(spec: JobSpec) -> _Place:
    aws = spec.compute.aws
    if aws is None:
        return _Place(None, reason="the job file names no compute.aws.instance_type")
    return _Place(aws.instance_type)


def _azure_place(spec: JobSpec, outputs: StackOutputs) -> _Place:
    azure = spec.compute.azure
    clusters = outputs.azure_compute_clusters
    if azure is not None and azure.kubernetes:
        return _Place(
            None, reason=f"Kubernetes compute {azure.kubernetes!r} is not billed by the job"
        )
    if azure is not None and azure.instance_type:
        return _Place(azure.instance_type, is_low_priority=spec.spot.enabled)
    if azure is not None and azure.compute_instance:
        found = outputs.azure_compute_instances.get(azure.compute_instance)
        if found is None:
            return _Place(
                None, reason=_unknown("compute instance", azure.compute_instance, outputs)
            )
        return _Place(str(found.get("size")))
    if azure is not None and azure.cluster:
        cluster = clusters.get(azure.cluster)
        if cluster is None:
            return _Place(None, reason=_unknown("cluster", azure.cluster, outputs))
        return _of_cluster(cluster)
    tier = azure.tier if azure is not None else None
    tier = tier or ("low_priority" if spec.spot.enabled else "dedicated")
    size = azure.size.lower() if azure is not None and azure.size else None
    for _, cluster in sorted(clusters.items()):
        if cluster.get("tier", "dedicated") == tier and (
            size is None or str(cluster.get("size", "")).lower() == size
        ):
            return _of_cluster(cluster)
    wanted = f"{tier} cluster" + (
        f" of size {azure.size}" if azure is not None and azure.size else ""
    )
    return _Place(None, reason=f"stack {outputs.stack_name!r} has no {wanted}")


def _of_cluster(cluster: Any) -> _Place:
    return _Place(
        str(cluster.get("size")),
        is_low_priority=cluster.get("tier") == "low_priority",
        idle_seconds=int(cluster.get("idle_time_before_scale_down_seconds") or 0),
    )


def _unknown(kind: str, name: str, outputs: StackOutputs) -> str:
    known = outputs.azure_compute_clusters if kind == "cluster" else outputs.azure_compute_instances
    return f"stack {outputs.stack_name!r} has no {kind} {name!r}; it has {', '.join(sorted(known)) or 'none'}"


def _tail(spec: JobSpec, place: _Place, cloud: Cloud) -> tuple[int, str]:
    if cloud == "aws":
        kept = spec.compute.aws.keep_alive_seconds if spec.compute.aws else None
        return (kept, f"warm pool kept {kept} s after the job") if kept else (0, "")
    if place.idle_seconds:
        return place.idle_seconds, f"nodes idle {place.idle_seconds} s after the job before they go"
    return 0, ""


def _cents(value: Decimal | None) -> float | None:
    return None if value is None else float(round(value, 4))


def _hours(value: Decimal) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
