"""Brings prices from the clouds' public price lists into the catalogue's files, each with its source and today's date.

No account is needed. SageMaker: the price list files, https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-the-aws-price-list-bulk-api.html.
Azure: https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices. A file is
replaced as a whole, once everything has come in; rows of other regions stay as they are.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pricing.catalog import AWS_FILE, AZURE_FILE, DATA, PriceError, read_rows

AWS_BASE = "https://pricing.us-east-1.amazonaws.com"
AZURE_BASE = "https://prices.azure.com"
_AZURE_API = "2023-01-01-preview"
# A region's SageMaker price list is tens of MB; an answer larger than this is none.
_SIZE_LIMIT = 512 * 1024 * 1024
_PAGE_LIMIT = 2000


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What came of a refresh."""

    file: Path
    region: str
    # Types that have a price now, and those of them that had another or none before.
    priced: int
    changed: int


def refresh_aws(
    region: str,
    *,
    today: str,
    folder: Path = DATA,
    base: str = AWS_BASE,
    timeout_seconds: float = 60,
) -> Refreshed:
    """Fill one region's SageMaker training prices. Raises PriceError where the price list cannot be had or read."""
    index = _get_json(
        f"{base}/offers/v1.0/aws/AmazonSageMaker/current/region_index.json", timeout_seconds
    )
    entry = _dig(index, "regions", region, "currentVersionUrl")
    if not isinstance(entry, str):
        known = ", ".join(sorted(index.get("regions") or {})) or "none"
        raise PriceError(
            f"AWS's price list has no SageMaker prices of region {region!r}; it has {known}"
        )
    offer = _get_json(urllib.parse.urljoin(base + "/", entry.lstrip("/")), timeout_seconds)
    prices = _aws_prices(offer)
    if not prices:
        raise PriceError(
            f"AWS's price list of {region} holds no training price; nothing was changed"
        )
    published = str(offer.get("publicationDate") or today)[:10]
    source = f"AWS Price List bulk API AmazonSageMaker {region}, version {offer.get('version')}"
    return _merge(
        folder / AWS_FILE,
        key="instance_type",
        region=region,
        prices={name: {"usd_per_hour": str(price)} for name, price in prices.items()},
        source=f"price: {source}",
        as_of=published,
    )


def refresh_azure(
    region: str,
    *,
    today: str,
    folder: Path = DATA,
    base: str = AZURE_BASE,
    timeout_seconds: float = 60,
) -> Refreshed:
    """Fill one region's Linux pay-as-you-go and Low Priority prices of the sizes that the catalogue has.

    Raises PriceError.
    """
    sizes = {row["vm_size"] for row in read_rows(folder / AZURE_FILE)}
    prices: dict[str, dict[str, str]] = {}
    doubtful: set[str] = set()
    for item in _azure_items(region, base, timeout_seconds):
        size = str(item.get("armSkuName"))
        column = _azure_column(item)
        if size not in sizes or column is None:
            continue
        price = _money(item.get("retailPrice"))
        known = prices.setdefault(size, {})
        if column in known and known[column] != str(price):
            doubtful.add(size)  # two meters that both look right: neither is taken
        known[column] = str(price)
    for size in doubtful:
        del prices[size]
    prices = {size: found for size, found in prices.items() if "usd_per_hour" in found}
    if not prices:
        raise PriceError(
            f"Azure's price list holds no price of these sizes in region {region!r}; nothing was changed"
        )
    return _merge(
        folder / AZURE_FILE,
        key="vm_size",
        region=region,
        prices=prices,
        source=f"Azure Retail Prices API {_AZURE_API}, {region}",
        as_of=today,
    )


def _aws_prices(offer: dict[str, Any]) -> dict[str, Decimal]:
    """Return training prices by type, of usage types ``<REGION>-Train:<TYPE>``: no spot, warm pools or hosting."""
    prices: dict[str, Decimal] = {}
    terms = _dig(offer, "terms", "OnDemand") or {}
    for sku, product in (offer.get("products") or {}).items():
        usage = str(_dig(product, "attributes", "usagetype") or "")
        prefix, _, name = usage.partition(":")
        if not name.startswith("ml.") or not (prefix == "Train" or prefix.endswith("-Train")):
            continue
        for term in (terms.get(sku) or {}).values():
            for dimension in (term.get("priceDimensions") or {}).values():
                value = _dig(dimension, "pricePerUnit", "USD")
                if value is not None and str(dimension.get("unit", "")).lower() in (
                    "hrs",
                    "hour",
                    "hours",
                ):
                    prices[name] = _trim(_money(value))
    return prices


def _azure_items(region: str, base: str, timeout_seconds: float) -> Iterator[dict[str, Any]]:
    query = urllib.parse.urlencode(
        {
            "api-version": _AZURE_API,
            "$filter": f"serviceName eq 'Virtual Machines' and armRegionName eq '{region}' "
            "and priceType eq 'Consumption'",
        }
    )
    url: str | None = f"{base}/api/retail/prices?{query}"
    for _ in range(_PAGE_LIMIT):
        if not url:
            return
        # Next links are the service's own: another host in one is not followed.
        if urllib.parse.urlsplit(url).netloc != urllib.parse.urlsplit(base).netloc:
            raise PriceError(
                f"Azure's price list goes on at another host, {url!r}; nothing was changed"
            )
        page = _get_json(url, timeout_seconds)
        yield from (item for item in page.get("Items") or () if isinstance(item, dict))
        url = page.get("NextPageLink")
    raise PriceError(f"Azure's price list has over {_PAGE_LIMIT} pages; nothing was changed")


def _azure_column(item: dict[str, Any]) -> str | None:
    product, meter, sku = (str(item.get(k) or "") for k in ("productName", "meterName", "skuName"))
    if (
        item.get("type", "Consumption") != "Consumption"
        or item.get("currencyCode", "USD") != "USD"
        or product.endswith("Windows")
        or "CloudServices" in product.replace(" ", "")
        or sku.endswith(" Spot")
        or meter.endswith(" Spot")
    ):
        return None
    if meter.endswith("Low Priority") or sku.endswith("Low Priority"):
        return "low_priority_usd_per_hour"
    return "usd_per_hour"


def _merge(
    path: Path, *, key: str, region: str, prices: dict[str, dict[str, str]], source: str, as_of: str
) -> Refreshed:
    rows = read_rows(path)
    columns = list(rows[0]) if rows else []
    known = {(row[key], row["region"]): row for row in rows}
    facts = {row[key]: row for row in reversed(rows)}
    changed = 0
    for name, values in sorted(prices.items()):
        row = known.get((name, region))
        if row is None and (name, "") in known and not known[(name, "")]["usd_per_hour"]:
            row = known[(name, "")]  # the row that held only what is the same in every region
        if row is None:
            if name not in facts:
                continue  # a type that botocore's model does not have: its size is not known
            row = {**facts[name], "usd_per_hour": ""}
            if "low_priority_usd_per_hour" in row:
                row["low_priority_usd_per_hour"] = ""
            rows.append(row)
        if any(row.get(column) != value for column, value in values.items()):
            changed += 1
        size_source = row["source"].partition("type: ")[2] or row["source"].partition("size: ")[2]
        kept = (
            f"; {'type' if 'type: ' in row['source'] else 'size'}: {size_source}"
            if size_source
            else ""
        )
        if not kept and "botocore" in row["source"]:
            kept = f"; type: {row['source']}"
        row.update({**values, "region": region, "as_of": as_of, "source": f"{source}{kept}"})
    rows.sort(key=lambda row: _order(row, key, facts))
    _write_atomically(path, rows, columns)
    return Refreshed(file=path, region=region, priced=len(prices), changed=changed)


def _order(row: dict[str, str], key: str, facts: dict[str, dict[str, str]]) -> tuple[int, str]:
    """Keep the file's order of types, and a type's regions together."""
    return (
        (list(facts)[::-1].index(row[key]), row["region"])
        if row[key] in facts
        else (len(facts), "")
    )


def _write_atomically(path: Path, rows: Iterable[dict[str, str]], columns: list[str]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _get_json(url: str, timeout_seconds: float) -> dict[str, Any]:
    if not url.startswith(("https://", "http://")):
        raise PriceError(f"price list {url!r} is no http address")
    headers = {"Accept": "application/json", "User-Agent": "trainstack"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:  # noqa: S310 - checked above
            data = answer.read(_SIZE_LIMIT + 1)
    except urllib.error.HTTPError as error:
        raise PriceError(f"price list {url!r} answered {error.code}; try again later") from error
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise PriceError(
            f"price list {url!r} cannot be reached: {reason}. Nothing was changed"
        ) from error
    if len(data) > _SIZE_LIMIT:
        raise PriceError(
            f"price list {url!r} is over {_SIZE_LIMIT // 1024**2} MiB; nothing was changed"
        )
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PriceError(
            f"price list {url!r} answered what is no JSON; nothing was changed"
        ) from error
    if not isinstance(document, dict):
        raise PriceError(f"price list {url!r} answered no JSON object; nothing was changed")
    return document


def _money(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise PriceError(
            f"the price list holds {value!r} where a price must be; nothing was changed"
        )
    return amount


def _trim(amount: Decimal) -> Decimal:
    """``0.1150000000`` -> ``0.115``."""
    text = f"{amount:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
