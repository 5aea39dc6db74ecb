"""The catalogue: dated facts, and nothing where no source says."""

from __future__ import annotations

import csv
from decimal import Decimal

import pytest

from pricing.catalog import (
    AWS_FILE,
    AZURE_FILE,
    DATA,
    PURPOSES,
    RATES_FILE,
    PriceError,
    load_catalog,
    purpose_of,
    usd,
)
from pricing.compare import compare


def test_every_row_names_its_source_and_its_date():
    for file in (AWS_FILE, AZURE_FILE, RATES_FILE):
        with (DATA / file).open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                assert row["source"], row
                assert len(row["as_of"]) == 10, row


def test_a_price_is_had_for_its_own_region_only():
    large = load_catalog().find("aws", "ml.m5.large")
    assert large is not None
    price = large.price("us-east-1")
    assert price is not None
    assert (price.on_demand, price.as_of) == (Decimal("0.115"), "2026-08-11")
    assert large.price("eu-west-1") is None
    assert large.price(None) is None


def test_a_missing_price_says_so_and_what_to_do():
    catalog = load_catalog()
    assert catalog.why_absent("aws", "ml.m5.large", "eu-west-1") == (
        "the catalogue has no price of ml.m5.large in eu-west-1 (it has one in us-east-1); "
        "fill it with: trainstack prices refresh --cloud aws --region eu-west-1"
    )
    assert "has no SageMaker instance type 'ml.none'" in catalog.why_absent(
        "aws", "ml.none", "us-east-1"
    )


def test_azure_sizes_are_found_in_any_case():
    catalog = load_catalog()
    assert catalog.find("azure", "STANDARD_ds3_v2") is catalog.find("azure", "Standard_DS3_v2")


def test_every_type_that_trains_has_a_purpose():
    catalog = load_catalog()
    for cloud in ("aws", "azure"):
        for item in catalog.of(cloud):
            assert item.purpose in PURPOSES
            if item.trains:
                assert item.purpose != "other", item.name


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("Standard_DS3_v2", "general"), ("Standard_DS12_v2", "memory"), ("Standard_E4s_v5", "memory"),
        ("Standard_F8s_v2", "compute"), ("Standard_NC6s_v3", "gpu"), ("Standard_ND96isr_H100_v5", "gpu-cluster"),
        ("Standard_NV6ads_A10_v5", "graphics"), ("ml.m5.large", "general"), ("ml.c5.xlarge", "compute"),
        ("ml.r5.xlarge", "memory"), ("ml.g5.xlarge", "gpu"), ("ml.p4d.24xlarge", "gpu-cluster"),
        ("ml.trn1.2xlarge", "trainium"), ("ml.t3.medium", "burstable"), ("ml.z9.big", "other"),
    ],
)  # fmt: skip
def test_the_family_tells_the_purpose(name, purpose):
    assert purpose_of(name) == purpose


def test_a_type_that_does_not_train_says_so():
    item = load_catalog().find("aws", "ml.t2.medium")
    assert item is not None
    assert not item.trains


def test_a_broken_file_is_named_with_its_line(tmp_path):
    for file in (AWS_FILE, AZURE_FILE, RATES_FILE):
        (tmp_path / file).write_bytes((DATA / file).read_bytes())
    text = (tmp_path / AZURE_FILE).read_text().splitlines()
    text[2] = text[2].replace(",2,", ",two,", 1)
    (tmp_path / AZURE_FILE).write_text("\n".join(text))
    with pytest.raises(PriceError, match=r"azure_vm_sizes.csv', line 3 holds no number"):
        load_catalog(tmp_path)


def test_the_nearest_instance_has_the_same_purpose_and_gpus():
    pairs = {
        pair.azure.name: pair
        for pair in compare(load_catalog(), azure_region="eastus", aws_region="us-east-1")
    }
    names = {name: pair.aws.name for name, pair in pairs.items() if pair.aws}
    assert names["Standard_NC6s_v3"] == "ml.p3.2xlarge"
    assert names["Standard_D2s_v3"] == "ml.m5.large"
    assert names["Standard_ND96isr_H100_v5"].startswith("ml.p5")
    assert pairs["Standard_NC48ads_A100_v4"].aws is None, "SageMaker trains on no two A100s"
    for pair in pairs.values():
        if pair.aws is not None:
            assert pair.aws.trains
            assert pair.aws.gpu_count == pair.azure.gpu_count


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (Decimal("1234.5"), "1,234.50"),
        (0.004, "0.0040"),
        (None, "no price"),
        (0.015, "0.02"),
    ],
)
def test_money_is_always_written_alike(value, text):
    assert usd(value) == text
