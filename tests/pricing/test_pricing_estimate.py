"""Sums, against those worked by hand from the catalogue's own rows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from infra.outputs import StackOutputs
from pricing.billing import ESTIMATE_TAG, billed
from pricing.estimate import estimate_job
from pricing.stack_cost import Resource, duration_seconds, scheduled_hours_a_week, stack_cost
from training.backends.base import JobState, JobStatus
from training.handle import JobHandle
from training.job import load_job

OUTPUTS = StackOutputs(
    stack_name="dev",
    environment="dev",
    owner="o",
    clouds=("aws", "azure"),
    aws_region="us-east-1",
    azure_location="eastus",
    azure_compute_clusters={
        "cpu": {
            "size": "Standard_DS3_v2",
            "tier": "dedicated",
            "max_instances": 4,
            "idle_time_before_scale_down_seconds": 120,
        },
        "spot": {
            "size": "Standard_DS3_v2",
            "tier": "low_priority",
            "max_instances": 4,
            "idle_time_before_scale_down_seconds": 120,
        },
    },
)


@pytest.fixture
def job(tmp_path):
    (tmp_path / "train.py").write_text("")

    def make(**changes):
        document = {
            "name": "j",
            "source": str(tmp_path),
            "entry": "train.py",
            "framework": {"name": "sklearn", "version": "1.4"},
            "compute": {
                "instances": 2,
                "aws": {"instance_type": "ml.m5.large"},
                "azure": {"cluster": "cpu"},
            },
            "max_runtime": "90m",
        }
        return load_job({**document, **changes})

    return make


def compute(**changes):
    return {
        "instances": 2,
        "aws": {"instance_type": "ml.m5.large"},
        "azure": {"cluster": "cpu"},
        **changes,
    }


def test_a_job_on_sagemaker_costs_price_times_instances_times_max_runtime(job):
    estimate = estimate_job(job(), OUTPUTS, "aws")
    assert estimate.worst_case_usd == Decimal("0.345")  # 0.115 x 2 x 1.5 h
    assert estimate.as_of == "2026-08-11"


def test_a_spot_job_is_counted_for_all_it_may_wait(job):
    estimate = estimate_job(job(spot={"enabled": True, "max_wait": "4h"}), OUTPUTS, "aws")
    assert estimate.worst_case_usd == Decimal(
        "0.92"
    )  # 0.115 x 2 x 4 h: spot has no price in advance
    assert estimate.spot_usd is None
    assert "on-demand price" in estimate.reason


def test_a_job_on_a_dedicated_cluster(job):
    estimate = estimate_job(job(), OUTPUTS, "azure")
    assert estimate.worst_case_usd == Decimal("0.879")  # 0.293 x 2 x 1.5 h
    assert estimate.tail_usd == Decimal("0.293") * 2 * 120 / 3600


def test_a_job_on_a_low_priority_cluster(job):
    estimate = estimate_job(job(compute=compute(azure={"cluster": "spot"})), OUTPUTS, "azure")
    assert estimate.worst_case_usd == Decimal("0.1755")  # 0.0585 x 2 x 1.5 h
    assert estimate.on_demand_usd == Decimal("0.879")


def test_a_cluster_is_picked_by_tier(job):
    by_tier = compute(azure={"tier": "low_priority"})
    assert estimate_job(job(compute=by_tier), OUTPUTS, "azure").spot_usd == Decimal("0.1755")


def test_serverless_is_priced_by_its_size(job):
    estimate = estimate_job(
        job(compute=compute(azure={"instance_type": "Standard_NC6s_v3"})), OUTPUTS, "azure"
    )
    assert estimate.worst_case_usd == Decimal("9.18")  # 3.06 x 2 x 1.5 h


def test_a_warm_pool_is_told_beside_the_worst_case(job):
    warm = compute(aws={"instance_type": "ml.m5.large", "keep_alive": "30m"})
    estimate = estimate_job(job(compute=warm), OUTPUTS, "aws")
    assert estimate.tail_usd == Decimal("0.115")  # 0.115 x 2 x 0.5 h
    assert estimate.worst_case_usd == Decimal("0.345")


@pytest.mark.parametrize(
    ("cloud", "changes", "words"),
    [
        (
            "aws",
            {"aws": {"instance_type": "ml.m5.24xlarge"}},
            "no price of ml.m5.24xlarge in us-east-1",
        ),
        ("aws", {"aws": None}, "names no compute.aws.instance_type"),
        ("azure", {"azure": {"cluster": "none"}}, "has no cluster 'none'; it has cpu, spot"),
        (
            "azure",
            {"azure": {"size": "Standard_F2s_v2"}},
            "has no dedicated cluster of size Standard_F2s_v2",
        ),
        ("azure", {"azure": {"kubernetes": "k", "instance_type": "i"}}, "not billed by the job"),
    ],
)
def test_without_a_price_there_is_a_reason_and_no_figure(job, cloud, changes, words):
    estimate = estimate_job(job(compute=compute(**changes)), OUTPUTS, cloud)
    assert estimate.worst_case_usd is None
    assert words in estimate.reason
    assert not estimate.is_over(0.01)
    assert "not known" in str(estimate)


def test_a_cap_is_held_to_the_cent(job):
    estimate = estimate_job(job(), OUTPUTS, "aws")
    assert estimate.is_over(0.34)
    assert not estimate.is_over(0.345)
    assert not estimate.is_over(None)


def test_two_estimates_give_the_same_bytes(job):
    texts = {json.dumps(estimate_job(job(), OUTPUTS, "azure").as_json()) for _ in range(2)}
    assert len(texts) == 1


def cluster(name="cpu", low=0, high=4, size="Standard_DS3_v2", priority="Dedicated"):
    settings = {
        "vmSize": size,
        "vmPriority": priority,
        "scaleSettings": {
            "minNodeCount": low,
            "maxNodeCount": high,
            "nodeIdleTimeBeforeScaleDown": "PT120S",
        },
    }
    body = {"computeType": "AmlCompute", "properties": settings}
    return Resource(
        urn=f"urn::{name}",
        type="azure-native:machinelearningservices:Compute",
        name=name,
        inputs={"location": "East US", "properties": body},
    )


def instance(**settings):
    body = {
        "computeType": "ComputeInstance",
        "properties": {"vmSize": "Standard_DS3_v2", **settings},
    }
    return Resource(
        urn="urn::ci",
        type="azure-native:machinelearningservices:Compute",
        name="ci",
        inputs={"location": "eastus", "properties": body},
    )


def test_a_cluster_costs_its_minimum_to_its_maximum_of_730_hours():
    change = stack_cost([cluster(low=0, high=4)], [cluster(low=1, high=6)], is_whole=True)
    assert (change.floor_before_usd, change.floor_after_usd) == (0.0, 213.89)  # 0.293 x 730
    assert (change.ceiling_before_usd, change.ceiling_after_usd) == (855.56, 1283.34)  # x 4, x 6
    assert change.ceiling_change_usd == 427.78
    assert any(
        "0.0098 USD a node, at most 0.06" in note for note in change.notes
    )  # 0.293 x 120 s / 3600, x 6
    assert change.total_name == "Total"


def test_a_low_priority_cluster_is_counted_at_its_own_price():
    change = stack_cost([], [cluster(high=2, priority="LowPriority")], is_whole=False)
    assert change.ceiling_after_usd == 85.41  # 0.0585 x 2 x 730
    assert "2025-03-02" in change.source, (
        "the low-priority price has a source and a date of its own"
    )
    assert change.total_name == "Total of what changes"


def test_an_absent_price_is_said_and_never_nought():
    change = stack_cost(
        [], [cluster(size="Standard_D4s_v5", priority="LowPriority")], is_whole=True
    )
    assert change.lines[0].ceiling_after is None
    assert change.new_unpriced == ("cpu",)
    assert any(
        "no low-priority price of Standard_D4s_v5 in eastus" in note for note in change.notes
    )


def test_an_instance_with_neither_schedule_nor_shutdown_always_runs():
    change = stack_cost([], [instance()], is_whole=True)
    assert (change.floor_after_usd, change.ceiling_after_usd) == (213.89, 213.89)


def test_an_instance_that_stops_when_idle_may_cost_nothing():
    change = stack_cost([], [instance(idleTimeBeforeShutdown="PT30M")], is_whole=True)
    assert (change.floor_after_usd, change.ceiling_after_usd) == (0.0, 213.89)


def test_a_schedule_is_the_floor():
    schedules = {
        "computeStartStop": [
            {"action": "Start", "triggerType": "Cron", "cron": {"expression": "0 8 * * 1-5"}},
            {"action": "Stop", "triggerType": "Cron", "cron": {"expression": "0 18 * * 1-5"}},
        ]
    }
    change = stack_cost([], [instance(schedules=schedules)], is_whole=True)
    assert change.floor_after_usd == 63.66  # 0.293 x 50 h x 730 / 168
    assert change.ceiling_after_usd == 213.89


@pytest.mark.parametrize(
    ("entries", "hours"),
    [
        ([("Start", "0 8 * * 1-5"), ("Stop", "0 18 * * 1-5")], 50),
        ([("Start", "0 8 * * MON"), ("Stop", "0 8 * * FRI")], 96),
        ([("Start", "0 22 * * 6"), ("Stop", "0 2 * * 0")], 4),
        ([("Stop", "0 18 * * *")], None),
        ([("Start", "0 8 * * *")], None),
        ([("Start", "*/5 8 * * *"), ("Stop", "0 18 * * *")], None),
        ([], None),
    ],
)
def test_hours_a_week_are_read_from_cron(entries, hours):
    schedules = [{"action": action, "cron": {"expression": cron}} for action, cron in entries]
    assert scheduled_hours_a_week(schedules) == hours


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT120S", 120),
        ("PT2M30S", 150),
        ("P1DT1H", 90_000),
        ("PT", None),
        (None, None),
        ("2m", None),
    ],
)
def test_durations_are_read(text, seconds):
    assert duration_seconds(text) == seconds


def test_keys_endpoints_and_registries_cost_by_existing():
    resources = [
        Resource(urn="1", type="aws:kms/key:Key", name="key", inputs={}),
        Resource(urn="2", type="azure-native:network:PrivateEndpoint", name="endpoint", inputs={}),
        Resource(
            urn="3",
            type="azure-native:containerregistry:Registry",
            name="basic",
            inputs={"sku": {"name": "Basic"}},
        ),
        Resource(
            urn="4",
            type="azure-native:containerregistry:Registry",
            name="premium",
            inputs={"sku": {"name": "Premium"}},
        ),
        Resource(urn="5", type="aws:s3/bucket:Bucket", name="bucket", inputs={}),
    ]
    change = stack_cost([], resources, is_whole=True)
    assert {line.name: line.floor_after for line in change.lines} == {
        "key": 1.0,
        "endpoint": 7.3,
        "basic": 5.08,
        "premium": None,  # 0.01 x 730; 0.167 x 730 / 24
    }
    assert change.new_unpriced == ("premium",)
    assert any("S3 storage and requests" in note for note in change.notes)


def test_budgets_stand_beside_the_cost():
    def budget(amount):
        return Resource(
            urn="b",
            type="aws:budgets/budget:Budget",
            name="monthly",
            inputs={"limitAmount": amount, "limitUnit": "USD", "timeUnit": "MONTHLY"},
        )

    assert (
        "Budget `monthly`: 100 USD monthly until now, 50 USD monthly after."
        in stack_cost([budget("100")], [budget("50")], is_whole=True).notes
    )
    assert (
        "Budget `monthly`: 100 USD monthly."
        in stack_cost([budget("100")], [budget("100")], is_whole=True).notes
    )


START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def status(cloud="aws", **changes):
    handle = (
        JobHandle("aws", "us-east-1", "j-1") if cloud == "aws" else JobHandle("azure", "w", "j-1")
    )
    ended = JobStatus(
        handle=handle,
        state=JobState.SUCCEEDED,
        cloud_state="Completed",
        started=START,
        ended=START + timedelta(seconds=1000),
        compute="ml.m5.large" if cloud == "aws" else "cpu",
        instances=2,
    )
    return replace(ended, **changes)


def test_sagemaker_bills_billable_seconds_times_instances():
    bill = billed(status(billable_seconds=360, is_spot=True, tags={ESTIMATE_TAG: "0.92"}), OUTPUTS)
    assert bill.usd == Decimal("0.023")  # 0.115 x 2 x 360 / 3600
    assert bill.saving_percent == 64.0
    assert bill.estimate_usd == Decimal("0.92")


def test_azure_bills_the_run_and_the_idle_tail_after_it():
    bill = billed(status("azure"), OUTPUTS)
    assert bill.usd == Decimal("0.293") * 2 * Decimal("1000.0") / 3600
    assert bill.tail_usd == Decimal("0.293") * 2 * 120 / 3600
    assert bill.instance == "Standard_DS3_v2"


def test_a_job_that_has_not_ended_has_no_bill_yet():
    bill = billed(status(state=JobState.RUNNING, billable_seconds=None), OUTPUTS)
    assert bill.usd is None
    assert "has not ended" in bill.notes[0]
