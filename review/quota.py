"""Whether quotas allow what a stack or a job may ask for.

A job over quota waits for ever on Azure ML and is refused by SageMaker.

The comparison is pure. The two fetchers take a client that the caller made, and one call each; no SDK is imported here.
https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
https://docs.aws.amazon.com/general/latest/gr/sagemaker.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# How the services name the quota of all low-priority cores, which has no family.
_LOW_PRIORITY_NAMES = frozenset(
    {"lowprioritycores", "totallowprioritycores", "totallowpriorityvcpus"}
)


@dataclass(frozen=True, kw_only=True)
class QuotaFinding:
    """One quota that is too small. Units are vCPUs on Azure, instances on SageMaker."""

    cloud: str
    quota: str
    needed: float
    limit: float
    used: float
    text: str

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Usage:
    """One quota of a region: what is used of it, and its limit. A limit below 0 is none."""

    name: str
    used: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class VmSize:
    """A VM size as Azure ML offers it in a region: its family, by which quotas count, and vCPUs."""

    name: str
    family: str
    vcpus: int


def azure_findings(
    clusters: Mapping[str, Mapping[str, Any]], sizes: Iterable[VmSize], usages: Iterable[Usage]
) -> list[QuotaFinding]:
    """Compare clusters at their maximum with a region's quotas, by VM family; low priority counts together.

    ``clusters`` is as StackOutputs has it: name -> {size, tier, max_instances}. Cores that the clusters use
    already are part of what is used, so only the limit is compared: all clusters at their maximum must fit
    below it.
    """
    by_size = {size.name.lower(): size for size in sizes}
    limits = {_key(usage.name): usage for usage in usages}
    needs: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
    found: list[QuotaFinding] = []
    for name, cluster in sorted(clusters.items()):
        size = by_size.get(str(cluster.get("size")).lower())
        most = int(cluster.get("max_instances") or 0)
        if size is None:
            text = f"cluster {name!r}: size {cluster.get('size')} is not offered in this region. Choose another size."
            found.append(
                QuotaFinding(cloud="azure", quota="size", needed=most, limit=0, used=0, text=text)
            )
            continue
        is_low = cluster.get("tier") == "low_priority"
        needs["low priority" if is_low else size.family].append(
            (name, most * size.vcpus, size.name)
        )
    for family, items in sorted(needs.items()):
        usage = (
            next((limits[key] for key in _LOW_PRIORITY_NAMES if key in limits), None)
            if family == "low priority"
            else limits.get(_key(family))
        )
        if usage is None or usage.limit < 0:
            continue
        needed = sum(cores for _, cores, _ in items)
        if needed > usage.limit:
            asked = ", ".join(f"{name} {cores}" for name, cores, _ in items)
            text = (
                f"clusters of family {family} need {needed} vCPUs at their maximum ({asked}) and the quota is "
                f"{usage.limit:g}: jobs will wait for ever. Lower max_instances or ask for quota {usage.name!r}."
            )
            found.append(
                QuotaFinding(
                    cloud="azure",
                    quota=usage.name,
                    needed=needed,
                    limit=usage.limit,
                    used=usage.used,
                    text=text,
                )
            )
    return found


def sagemaker_findings(
    wanted: Mapping[str, int], quotas: Iterable[Usage], *, spot: bool = False
) -> list[QuotaFinding]:
    """Compare instances wanted by type (``{"ml.m5.large": 2}``) with the account's training quotas."""
    purpose = "spot training job usage" if spot else "training job usage"
    limits = {usage.name: usage for usage in quotas}
    found = []
    for type_, count in sorted(wanted.items()):
        name = f"{type_} for {purpose}"
        usage = limits.get(name)
        if usage is None or usage.limit >= count:
            continue
        text = (
            f"{count} x {type_} and the quota {name!r} is {usage.limit:g}: SageMaker refuses the job. "
            "Ask for more in Service Quotas, or use another type."
        )
        found.append(
            QuotaFinding(
                cloud="aws", quota=name, needed=count, limit=usage.limit, used=usage.used, text=text
            )
        )
    return found


def fetch_azure(client: Any, location: str) -> tuple[list[VmSize], list[Usage]]:
    """Read a region's sizes and usages through an ``azure.ai.ml.MLClient``. Raises what the SDK raises."""
    sizes = [
        VmSize(name=item.name, family=item.family or "", vcpus=int(item.v_cp_us or 0))
        for item in client.compute.list_sizes(location=location)
    ]
    usages = [
        Usage(
            name=str(getattr(item.name, "value", item.name) or ""),
            used=float(item.current_value or 0),
            limit=float(item.limit if item.limit is not None else -1),
        )
        for item in client.compute.list_usage(location=location)
    ]
    return sizes, usages


def fetch_sagemaker(client: Any) -> list[Usage]:
    """Read the training quotas through a boto3 ``service-quotas`` client. Raises what botocore raises."""
    quotas = []
    for page in client.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker"):
        quotas += [
            Usage(name=item["QuotaName"], used=0, limit=float(item.get("Value", 0)))
            for item in page["Quotas"]
            if "training job usage" in item["QuotaName"]
        ]
    return quotas


def _key(name: str) -> str:
    """``Standard DSv2 Family Cluster Dedicated vCPUs`` and ``standardDSv2Family`` are one quota."""
    text = "".join(name.lower().split())
    return text.removesuffix("clusterdedicatedvcpus")
