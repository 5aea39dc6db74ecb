"""What a stack costs a month: a floor that is paid with nobody using it, and a ceiling with everything at its maximum.

Only what exists by itself is counted: clusters, compute instances, keys, registries, endpoints. What is billed
by use (bytes stored, jobs run on SageMaker, logs taken in) is named as not counted. The inputs are resources as
Pulumi has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pricing.catalog import HOURS_A_MONTH, Catalog, load_catalog, usd

_COMPUTE = "azure-native:machinelearningservices:Compute"
_WEEKS_A_MONTH = Decimal(HOURS_A_MONTH) / (24 * 7)

# Billed by use or by a meter that the catalogue lacks: said, never counted.
_BY_USE: Mapping[str, str] = {
    "aws:s3/bucket:Bucket": "S3 storage and requests",
    "aws:ecr/repository:Repository": "ECR storage",
    "aws:cloudwatch/logGroup:LogGroup": "CloudWatch logs taken in and kept",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "CloudWatch alarms",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "VPC interface endpoints, by the hour and zone",
    "aws:sagemaker/domain:Domain": "Studio apps while they run, and home folders (EFS)",
    "aws:sagemaker/notebookInstance:NotebookInstance": "notebook instances",
    "aws:ec2/natGateway:NatGateway": "NAT gateways",
    "azure-native:storage:StorageAccount": "Azure storage and requests",
    "azure-native:keyvault:Vault": "Key Vault operations",
    "azure-native:operationalinsights:Workspace": "Log Analytics data",
    "azure-native:applicationinsights:Component": "Application Insights data",
    "azure-native:insights:Component": "Application Insights data",
}


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource as far as its cost goes: its type without API version, logical name and inputs."""

    urn: str
    type: str
    name: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Monthly:
    """A resource's floor and ceiling a month in US dollars; None where the catalogue has no price."""

    floor: Decimal | None
    ceiling: Decimal | None
    detail: str = ""
    # What a job leaves behind, and what is not counted.
    note: str = ""
    source: str = ""
    as_of: str = ""


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One resource, before and after a change."""

    name: str
    detail: str
    floor_before: float | None
    floor_after: float | None
    ceiling_before: float | None
    ceiling_after: float | None


@dataclass(frozen=True, kw_only=True)
class CostChange:
    """A stack's cost a month before and after. Totals count what is priced; ``notes`` say what is not."""

    lines: tuple[CostLine, ...]
    total_name: str
    floor_before_usd: float
    floor_after_usd: float
    ceiling_before_usd: float
    ceiling_after_usd: float
    notes: tuple[str, ...]
    # New or changed resources that should have a price and have none.
    new_unpriced: tuple[str, ...]
    source: str

    @property
    def ceiling_change_usd(self) -> float:
        return round(self.ceiling_after_usd - self.ceiling_before_usd, 2)

    def as_json(self) -> dict[str, Any]:
        return {
            "lines": [vars(line) for line in self.lines],
            "floor_before_usd": self.floor_before_usd,
            "floor_after_usd": self.floor_after_usd,
            "ceiling_before_usd": self.ceiling_before_usd,
            "ceiling_after_usd": self.ceiling_after_usd,
            "ceiling_change_usd": self.ceiling_change_usd,
            "notes": list(self.notes),
            "new_unpriced": list(self.new_unpriced),
            "source": self.source,
        }


def stack_cost(
    before: Iterable[Resource],
    after: Iterable[Resource],
    *,
    is_whole: bool,
    default_location: str | None = None,
    catalog: Catalog | None = None,
) -> CostChange:
    """Compare what two sets of resources cost a month.

    ``is_whole`` says that unchanged resources are in both sets; else the totals are of the changed ones only, and are
    called so. ``default_location`` is the Azure region of a resource that names none.
    """
    prices = catalog or load_catalog()
    old = {item.urn: item for item in before}
    new = {item.urn: item for item in after}
    lines: list[CostLine] = []
    notes: list[str] = []
    unpriced: list[str] = []
    dates: set[str] = set()
    totals = [Decimal(0)] * 4
    by_use: set[str] = set()
    for urn in sorted({*old, *new}):
        one, other = old.get(urn), new.get(urn)
        was = monthly(one, prices, default_location) if one else None
        becomes = monthly(other, prices, default_location) if other else None
        any_resource = other or one
        if any_resource is not None and any_resource.type in _BY_USE:
            by_use.add(_BY_USE[any_resource.type])
        notes += _budget(one, other)
        if was is None and becomes is None:
            continue
        name = any_resource.name if any_resource else urn
        cells = [
            _amount(was, "floor"),
            _amount(becomes, "floor"),
            _amount(was, "ceiling"),
            _amount(becomes, "ceiling"),
        ]
        lines.append(
            CostLine(
                name=name,
                detail=_detail(was, becomes),
                floor_before=_round(cells[0]),
                floor_after=_round(cells[1]),
                ceiling_before=_round(cells[2]),
                ceiling_after=_round(cells[3]),
            )
        )
        totals = [total + (cell or Decimal(0)) for total, cell in zip(totals, cells, strict=True)]
        shown = becomes or was
        if shown is not None and shown.note:
            notes.append(f"`{name}`: {shown.note}")
        if becomes is not None and becomes.ceiling is None and was != becomes:
            unpriced.append(name)
        dates.update(item.as_of for item in (was, becomes) if item is not None and item.as_of)
    if by_use:
        notes.append(f"Not counted, billed by use: {'; '.join(sorted(by_use))}.")
    if any(resource.type.startswith("aws:") for resource in (*old.values(), *new.values())):
        notes.append("SageMaker jobs are billed by the job: see `trainstack estimate`.")
    return CostChange(
        lines=tuple(sorted(lines, key=lambda line: (-_span(line), line.name))),
        total_name="Total" if is_whole else "Total of what changes",
        floor_before_usd=float(round(totals[0], 2)),
        floor_after_usd=float(round(totals[1], 2)),
        ceiling_before_usd=float(round(totals[2], 2)),
        ceiling_after_usd=float(round(totals[3], 2)),
        notes=tuple(dict.fromkeys(notes)),
        new_unpriced=tuple(unpriced),
        source=_source(dates),
    )


def monthly(
    resource: Resource, catalog: Catalog | None = None, default_location: str | None = None
) -> Monthly | None:
    """Return what one resource costs a month by existing, or None where that is nothing or is billed by use."""
    prices = catalog or load_catalog()
    if resource.type == _COMPUTE:
        return _compute(resource, prices, default_location)
    if resource.type == "aws:kms/key:Key":
        return _rated(prices, "aws_kms_key", "KMS key, first year; each rotated version adds to it")
    if resource.type == "azure-native:network:PrivateEndpoint":
        return _rated(prices, "azure_private_endpoint", "private endpoint, without data processed")
    if resource.type == "azure-native:containerregistry:Registry":
        sku = str(_dig(resource.inputs, "sku", "name") or "")
        return _rated(prices, f"azure_container_registry_{sku.lower()}", f"registry, {sku} tier")
    return None


def _rated(prices: Catalog, item: str, detail: str) -> Monthly:
    rate = prices.rates.get(item)
    if rate is None:
        return Monthly(
            floor=None, ceiling=None, detail=detail, note="the catalogue has no dated rate for it"
        )
    amount = rate.usd_per_month
    return Monthly(
        floor=amount, ceiling=amount, detail=detail, source=rate.source, as_of=rate.as_of
    )


def _compute(resource: Resource, prices: Catalog, default_location: str | None) -> Monthly | None:
    body = resource.inputs.get("properties")
    kind = _dig(body, "computeType")
    if kind not in ("AmlCompute", "ComputeInstance"):
        return None
    settings = _dig(body, "properties")
    size = str(_dig(settings, "vmSize") or "")
    region = str(
        _dig(body, "computeLocation") or resource.inputs.get("location") or default_location or ""
    )
    region = region.lower().replace(" ", "")
    instance = prices.find("azure", size)
    price = instance.price(region) if instance else None
    if kind == "ComputeInstance":
        return _instance(settings, size, price, prices.why_absent("azure", size, region))
    return _cluster(settings, size, price, prices.why_absent("azure", size, region))


def _cluster(settings: Any, size: str, price: Any, absent: str) -> Monthly:
    scale = _dig(settings, "scaleSettings")
    low, high = _number(_dig(scale, "minNodeCount")), _number(_dig(scale, "maxNodeCount"))
    is_low_priority = str(_dig(settings, "vmPriority") or "").lower() == "lowpriority"
    tier = "low priority" if is_low_priority else "dedicated"
    detail = f"{low}-{high} x {size}, {tier}"
    hourly = (price.spot if is_low_priority else price.on_demand) if price else None
    if hourly is None:
        if price is not None:
            absent = f"the catalogue has no low-priority price of {size} in {price.region}"
        floor = Decimal(0) if low == 0 else None
        return Monthly(floor=floor, ceiling=None, detail=detail, note=absent)
    idle = duration_seconds(_dig(scale, "nodeIdleTimeBeforeScaleDown"))
    tail = ""
    if idle is not None:
        one = hourly * idle / 3600
        tail = (
            f"after a job its nodes idle {idle} s before they go: {usd(one)} USD a node, at most "
            f"{usd(one * high)}"
        )
    return Monthly(
        floor=hourly * low * HOURS_A_MONTH,
        ceiling=hourly * high * HOURS_A_MONTH,
        detail=detail,
        note=tail,
        source=price.source,
        as_of=price.spot_as_of if is_low_priority else price.as_of,
    )


def _instance(settings: Any, size: str, price: Any, absent: str) -> Monthly:
    detail = f"compute instance {size}"
    if price is None:
        return Monthly(floor=None, ceiling=None, detail=detail, note=absent)
    hours = scheduled_hours_a_week(_dig(settings, "schedules", "computeStartStop"))
    shutdown = duration_seconds(_dig(settings, "idleTimeBeforeShutdown"))
    ceiling = price.on_demand * HOURS_A_MONTH
    if hours is not None:
        floor = price.on_demand * hours * _WEEKS_A_MONTH
        note = f"the floor is its schedule, {hours:g} h a week; the ceiling is never stopped"
    elif shutdown is not None:
        floor = Decimal(0)
        note = f"it stops after {shutdown} s idle; the ceiling is never stopped"
    else:
        floor, note = (
            ceiling,
            "it has no schedule and no idle shutdown, so it runs until someone stops it",
        )
    return Monthly(
        floor=floor,
        ceiling=ceiling,
        detail=detail,
        note=note,
        source=price.source,
        as_of=price.as_of,
    )


def duration_seconds(value: Any) -> int | None:
    """Return the seconds of an ISO 8601 duration such as ``PT2M30S``, or None where it is none."""
    match = re.fullmatch(
        r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?", str(value or "")
    )
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds


def scheduled_hours_a_week(entries: Any) -> Decimal | None:
    """Return how long a compute instance runs a week by its start and stop schedules, or None where they do not say.

    Read: cron expressions of fixed minutes, hours and week days (``0 8 * * 1-5``), and weekly recurrences. From
    each start to the next stop counts.
    """
    moments: list[tuple[int, str]] = []
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, Mapping) or entry.get("status") == "Disabled":
            continue
        action = str(entry.get("action") or "")
        if action not in ("Start", "Stop"):
            continue
        minutes = _moments(entry)
        if minutes is None:
            return None
        moments += [(minute, action) for minute in minutes]
    starts = [minute for minute, action in moments if action == "Start"]
    if not starts or len(starts) == len(moments):
        return None
    ordered = sorted(moments, key=lambda item: (item[0], item[1] == "Start"))
    week = 7 * 24 * 60
    running = 0
    is_on = ordered[-1][1] == "Start"
    last = ordered[-1][0] - week
    for minute, action in ordered:
        if is_on:
            running += minute - last
        is_on, last = action == "Start", minute
    return Decimal(running) / 60


def _moments(entry: Mapping[str, Any]) -> list[int] | None:
    """Return the minutes of the week at which a schedule fires, 0 being Sunday midnight."""
    if entry.get("triggerType") == "Recurrence" or (
        entry.get("recurrence") and not entry.get("cron")
    ):
        recurrence = entry.get("recurrence")
        schedule = _dig(recurrence, "schedule")
        days = _dig(schedule, "weekDays") or list(_DAYS)
        hours, minutes = _dig(schedule, "hours") or [], _dig(schedule, "minutes") or [0]
        if _number(_dig(recurrence, "interval") or 1) != 1 or not hours:
            return None
        days_of_week = [_DAYS[str(day)] for day in days if str(day) in _DAYS]
        return [
            day * 1440 + _number(hour) * 60 + _number(minute)
            for day in days_of_week
            for hour in hours
            for minute in minutes
        ]
    fields = str(_dig(entry, "cron", "expression") or "").split()
    if len(fields) != 5 or fields[2] != "*" or fields[3] != "*":
        return None
    minutes, hours, days = (
        _cron(fields[0], 59),
        _cron(fields[1], 23),
        _cron(fields[4], 7),
    )
    if minutes is None or hours is None or days is None:
        return None
    return sorted(
        {
            (day % 7) * 1440 + hour * 60 + minute
            for day in days
            for hour in hours
            for minute in minutes
        }
    )


_DAYS = {
    "Sunday": 0,
    "Monday": 1,
    "Tuesday": 2,
    "Wednesday": 3,
    "Thursday": 4,
    "Friday": 5,
    "Saturday": 6,
}


def _cron(text: str, last: int) -> list[int] | None:
    if text == "*":
        return list(range(last + 1)) if last != 7 else list(range(7))
    names = {name[:3].upper(): str(number) for name, number in _DAYS.items()}
    found: list[int] = []
    for part in text.upper().split(","):
        for name, number in names.items():
            part = part.replace(name, number)
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            return None
        first, end = int(match[1]), int(match[2] or match[1])
        if not first <= end <= last:
            return None
        found += range(first, end + 1)
    return found


def _budget(before: Resource | None, after: Resource | None) -> list[str]:
    was, becomes = _budget_amount(before), _budget_amount(after)
    shown = after or before
    name = shown.name if shown else ""
    if was == becomes:
        return [f"Budget `{name}`: {becomes}."] if becomes else []
    return [f"Budget `{name}`: {was or 'none'} until now, {becomes or 'none'} after."]


def _budget_amount(resource: Resource | None) -> str | None:
    if resource is None:
        return None
    if resource.type == "aws:budgets/budget:Budget":
        unit = resource.inputs.get("limitUnit") or "USD"
        every = str(resource.inputs.get("timeUnit") or "MONTHLY").lower()
        return f"{_plain(resource.inputs.get('limitAmount'))} {unit} {every}"
    if resource.type == "azure-native:consumption:Budget":
        every = str(resource.inputs.get("timeGrain") or "Monthly").lower()
        return f"{_plain(resource.inputs.get('amount'))} (subscription's currency) {every}"
    return None


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _detail(was: Monthly | None, becomes: Monthly | None) -> str:
    if was is None or becomes is None or was.detail == becomes.detail:
        shown = becomes or was
        return shown.detail if shown else ""
    return f"{was.detail} → {becomes.detail}"


def _amount(item: Monthly | None, key: str) -> Decimal | None:
    """An absent resource costs nothing; an absent price is not nothing."""
    return Decimal(0) if item is None else getattr(item, key)


def _round(value: Decimal | None) -> float | None:
    return None if value is None else float(round(value, 2))


def _span(line: CostLine) -> float:
    return abs((line.ceiling_after or 0) - (line.ceiling_before or 0))


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _source(dates: set[str]) -> str:
    if not dates:
        return "No price was used."
    shown = min(dates) if len(dates) == 1 else f"{min(dates)} to {max(dates)}"
    return (
        f"List prices of {shown}, {HOURS_A_MONTH} hours a month; sources in pricing/data/README.md."
    )
