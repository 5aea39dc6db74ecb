"""Which instance of the other cloud is nearest: same purpose, same accelerators, then vCPUs and memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pricing.catalog import Catalog, Instance, Price


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A VM size of Azure and the SageMaker training type nearest to it, with their prices where there are any."""

    purpose: str
    azure: Instance
    aws: Instance | None
    azure_price: Price | None
    aws_price: Price | None


# Cards of one generation and use, which the two clouds name apart.
_SAME_CARD = {"A10": "A10", "A10G": "A10", "A100-80GB": "A100", "A100-40GB": "A100", "A100": "A100"}


def compare(
    catalog: Catalog, *, azure_region: str, aws_region: str, purpose: str | None = None
) -> list[Pair]:
    """Return every Azure size with its nearest SageMaker training type, by purpose, then size.

    Nearest: the same purpose and the same GPUs (card and count) where it has any; among those the least
    distance in vCPUs and memory, each counted in doublings. A size with no counterpart is listed with none. A
    type with a price in the region is preferred among equally near ones.
    """
    types = [item for item in catalog.of("aws") if item.trains and item.vcpus and item.memory_gib]
    pairs = []
    for size in catalog.of("azure"):
        if purpose is not None and size.purpose != purpose:
            continue
        nearest = min(
            (item for item in types if _is_alike(size, item)),
            key=lambda item: (
                _distance(size, item),
                item.price(aws_region) is None,
                not _has_price(item),
                item.name,
            ),
            default=None,
        )
        pairs.append(
            Pair(
                purpose=size.purpose,
                azure=size,
                aws=nearest,
                azure_price=size.price(azure_region),
                aws_price=nearest.price(aws_region) if nearest else None,
            )
        )
    return sorted(
        pairs,
        key=lambda pair: (
            pair.purpose,
            pair.azure.gpu_count,
            pair.azure.vcpus or 0,
            pair.azure.memory_gib or 0,
            pair.azure.name,
        ),
    )


def _is_alike(size: Instance, item: Instance) -> bool:
    if size.gpu_count:
        # A part of a card has no counterpart.
        return (
            item.gpu_count == size.gpu_count
            and _card(item) == _card(size)
            and item.purpose in ("gpu", "gpu-cluster")
        )
    return not item.gpu_count and item.purpose == size.purpose


def _card(instance: Instance) -> str:
    return _SAME_CARD.get(instance.gpu_name, instance.gpu_name)


def _distance(one: Instance, other: Instance) -> float:
    """In doublings. Rounded: equal distances must compare equal on every machine."""
    vcpus = math.log2((one.vcpus or 1) / (other.vcpus or 1))
    memory = math.log2((one.memory_gib or 1) / (other.memory_gib or 1))
    return round(abs(vcpus) + abs(memory), 6)


def _has_price(item: Instance) -> bool:
    return any(price.on_demand is not None for price in item.prices.values())
