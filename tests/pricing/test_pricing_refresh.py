"""Refreshing prices from a local server that answers in the shape of the clouds' public price lists."""

from __future__ import annotations

import json
import shutil
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from cli.prices import prices
from pricing.catalog import AWS_FILE, AZURE_FILE, DATA, RATES_FILE, PriceError, load_catalog
from pricing.refresh import refresh_aws, refresh_azure


def product(sku, usage, price, unit="Hrs"):
    return (
        {
            sku: {
                "sku": sku,
                "productFamily": "ML Instance",
                "attributes": {"usagetype": usage, "regionCode": "eu-west-1"},
            }
        },
        {
            sku: {
                f"{sku}.T": {
                    "priceDimensions": {
                        f"{sku}.T.D": {"unit": unit, "pricePerUnit": {"USD": price}}
                    }
                }
            }
        },
    )


def offer(*products):
    found, terms = {}, {}
    for one, other in products:
        found |= one
        terms |= other
    return {
        "formatVersion": "v1.0",
        "offerCode": "AmazonSageMaker",
        "version": "20261120",
        "publicationDate": "2026-11-20T00:00:00Z",
        "products": found,
        "terms": {"OnDemand": terms},
    }


OFFER = offer(
    product("A", "EU-Train:ml.m5.large", "0.1280000000"),
    product("B", "EU-Train:ml.m5.xlarge", "0.2570000000"),
    product("C", "EU-Host:ml.m5.large", "9.0000000000"),
    product("D", "EU-SpotTrain:ml.m5.large", "0.0100000000"),
    product("E", "EU-Train:VolumeUsage.gp2", "0.1500000000", "GB-Mo"),
    product("F", "EU-Train:ml.brand.new", "5.0000000000"),
)


def meter(size, price, meter_name, product_name="Virtual Machines DSv2 Series", sku="DS3 v2"):
    return {
        "currencyCode": "USD",
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": "northeurope",
        "meterName": meter_name,
        "productName": product_name,
        "skuName": sku,
        "serviceName": "Virtual Machines",
        "type": "Consumption",
        "armSkuName": size,
        "unitOfMeasure": "1 Hour",
    }


PAGES = [
    [
        meter("Standard_DS3_v2", 0.252, "D3 v2/DS3 v2"),
        meter("Standard_DS3_v2", 0.46, "D3 v2/DS3 v2", "Virtual Machines DSv2 Series Windows"),
        meter("Standard_DS3_v2", 0.05, "D3 v2/DS3 v2 Low Priority", sku="DS3 v2 Low Priority"),
    ],
    [
        meter("Standard_DS3_v2", 0.04, "D3 v2/DS3 v2 Spot", sku="DS3 v2 Spot"),
        meter("Standard_NC6s_v3", 3.4, "NC6s v3", "Virtual Machines NCSv3 Series", "NC6s v3"),
        meter("Standard_D4s_v5", 0.2, "D4s v5", "Virtual Machines Dsv5 Series", "D4s v5"),
        meter("Standard_D4s_v5", 0.3, "D4s v5", "Virtual Machines Dsv5 Series Other", "D4s v5"),
        meter("Standard_Unknown", 1.0, "X"),
    ],
]


@pytest.fixture
def server():
    """Answers by path; what a test puts into `answers` replaces the usual answer."""
    answers: dict[str, tuple[int, bytes]] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            parts = urlsplit(self.path)
            status, body = answers.get(parts.path) or usual(parts)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    def usual(parts):
        if parts.path.endswith("region_index.json"):
            url = "/offers/v1.0/aws/AmazonSageMaker/20261120/eu-west-1/index.json"
            return 200, json.dumps(
                {"regions": {"eu-west-1": {"regionCode": "eu-west-1", "currentVersionUrl": url}}}
            ).encode()
        if parts.path.endswith("eu-west-1/index.json"):
            return 200, json.dumps(OFFER).encode()
        if parts.path == "/api/retail/prices":
            page = int(parse_qs(parts.query).get("$skip", ["0"])[0])
            more = f"{base}/api/retail/prices?$skip={page + 1}" if page + 1 < len(PAGES) else None
            return 200, json.dumps(
                {"Items": PAGES[page], "NextPageLink": more, "Count": 3}
            ).encode()
        return 404, b"{}"

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield base, answers, asked
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path):
    for file in (AWS_FILE, AZURE_FILE, RATES_FILE):
        shutil.copy(DATA / file, tmp_path / file)
    return tmp_path


def price_of(folder, cloud, name, region):
    load_catalog.cache_clear()
    instance = load_catalog(folder).find(cloud, name)
    assert instance is not None
    price = instance.price(region)
    assert price is not None, f"{name} has no price in {region}"
    return price


def test_sagemaker_training_prices_are_filled_and_no_other_meters(server, folder):
    base, _, _ = server
    done = refresh_aws("eu-west-1", today="2026-11-22", folder=folder, base=base)
    assert (done.priced, done.changed) == (
        3,
        1,
    )  # a new type is priced and not known; m5.xlarge has the price it had
    assert price_of(folder, "aws", "ml.m5.large", "eu-west-1").on_demand == Decimal("0.128")
    assert price_of(folder, "aws", "ml.m5.large", "us-east-1").on_demand == Decimal("0.115"), (
        "other regions stay"
    )
    price = price_of(folder, "aws", "ml.m5.large", "eu-west-1")
    assert price.as_of == "2026-11-20"
    assert "AWS Price List bulk API AmazonSageMaker eu-west-1, version 20261120" in price.source


def test_azure_prices_are_filled_page_by_page_for_linux_only(server, folder):
    base, _, asked = server
    done = refresh_azure("northeurope", today="2026-11-22", folder=folder, base=base)
    assert done.priced == 2
    price = price_of(folder, "azure", "Standard_DS3_v2", "northeurope")
    assert (price.on_demand, price.spot, price.as_of) == (
        Decimal("0.252"),
        Decimal("0.05"),
        "2026-11-22",
    )
    assert price_of(folder, "azure", "Standard_NC6s_v3", "northeurope").on_demand == Decimal("3.4")
    disputed = load_catalog(folder).find("azure", "Standard_D4s_v5")
    assert disputed is not None
    assert disputed.price("northeurope") is None, "two meters disagree: neither is taken"
    assert price_of(folder, "azure", "Standard_DS3_v2", "eastus").on_demand == Decimal("0.293")
    assert "armRegionName+eq+%27northeurope%27" in asked[0]
    assert len(asked) == 2


def test_a_second_refresh_gives_the_same_bytes(server, folder):
    base, _, _ = server
    texts = []
    for _ in range(2):
        refresh_aws("eu-west-1", today="2026-11-22", folder=folder, base=base)
        refresh_azure("northeurope", today="2026-11-22", folder=folder, base=base)
        texts.append((folder / AWS_FILE).read_bytes() + (folder / AZURE_FILE).read_bytes())
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, b"", "answered 503"),
        (200, b"<html>", "no JSON"),
        (200, b"[]", "no JSON object"),
        (200, json.dumps(offer()).encode(), "no training price"),
        (
            200,
            json.dumps(offer(product("A", "EU-Train:ml.m5.large", "free"))).encode(),
            "where a price must be",
        ),
    ],
)
def test_a_bad_answer_changes_nothing(server, folder, status, body, words):
    base, answers, _ = server
    before = (folder / AWS_FILE).read_bytes()
    answers["/offers/v1.0/aws/AmazonSageMaker/20261120/eu-west-1/index.json"] = (status, body)
    with pytest.raises(PriceError, match=words):
        refresh_aws("eu-west-1", today="2026-11-22", folder=folder, base=base)
    assert (folder / AWS_FILE).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [AWS_FILE, AZURE_FILE, RATES_FILE]
    )


def test_a_next_page_at_another_host_is_not_followed(server, folder):
    base, answers, _ = server
    page = {"Items": PAGES[0], "NextPageLink": "http://127.0.0.2:9/x"}
    answers["/api/retail/prices"] = (200, json.dumps(page).encode())
    with pytest.raises(PriceError, match="another host"):
        refresh_azure("northeurope", today="2026-11-22", folder=folder, base=base)


def test_an_unknown_region_names_those_there_are(server, folder):
    base, _, _ = server
    with pytest.raises(PriceError, match="of region 'mars-1'; it has eu-west-1"):
        refresh_aws("mars-1", today="2026-11-22", folder=folder, base=base)


def test_a_list_that_cannot_be_reached_says_so(folder):
    with pytest.raises(PriceError, match="cannot be reached"):
        refresh_aws("eu-west-1", today="2026-11-22", folder=folder, base="http://127.0.0.1:1")


def test_the_command_refreshes_one_region(server, folder):
    base, _, _ = server
    arguments = [
        "refresh",
        "--cloud",
        "aws",
        "--region",
        "eu-west-1",
        "--folder",
        str(folder),
        "--aws-url",
        base,
    ]
    result = CliRunner().invoke(prices, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "aws eu-west-1: 3 priced, 1 changed" in result.output


def test_the_command_lists_and_compares(folder):
    listed = CliRunner().invoke(
        prices, ["list", "--cloud", "aws", "--output", "json"], catch_exceptions=False
    )
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["ml.m5.large"]["usd_per_hour"] == 0.115
    assert rows["ml.m5.large"]["as_of"] == "2026-08-11"
    assert "ml.m5.24xlarge" not in rows, "a type without a price is left out unless asked for"
    compared = CliRunner().invoke(prices, ["compare", "--purpose", "gpu"], catch_exceptions=False)
    assert "ml.p3.2xlarge" in compared.output
    assert "no price" in compared.output
    wrong = CliRunner().invoke(prices, ["compare", "--purpose", "x"])
    assert wrong.exit_code == 2
    assert "none of general" in wrong.output
