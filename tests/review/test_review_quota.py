"""Quotas: the comparison by hand, and the fetchers over objects of the SDKs' shapes."""

from __future__ import annotations

from types import SimpleNamespace

import boto3
import pytest
from botocore.stub import Stubber

from cli import quota
from review.quota import (
    Usage,
    VmSize,
    azure_findings,
    fetch_azure,
    fetch_sagemaker,
    sagemaker_findings,
)
from tests.review.conftest import CLUSTER, OUTPUTS, cluster_inputs

SIZES = [
    VmSize(name="Standard_DS3_v2", family="standardDSv2Family", vcpus=4),
    VmSize(name="Standard_NC6s_v3", family="standardNCSv3Family", vcpus=6),
]


def cluster(size="Standard_DS3_v2", most=4, tier="dedicated"):
    return {"size": size, "max_instances": most, "tier": tier}


def test_clusters_of_one_family_are_added_up():
    usages = [Usage(name="standardDSv2Family", used=0, limit=24)]
    assert azure_findings({"a": cluster(most=4)}, SIZES, usages) == []  # 16 of 24
    (finding,) = azure_findings(
        {"a": cluster(most=4), "b": cluster(most=3)}, SIZES, usages
    )  # 16 + 12 = 28
    assert (finding.needed, finding.limit) == (28, 24)
    assert "need 28 vCPUs at their maximum (a 16, b 12) and the quota is 24" in finding.text


def test_the_services_long_name_is_the_same_quota():
    usages = [Usage(name="Standard NCSv3 Family Cluster Dedicated vCPUs", used=0, limit=0)]
    (finding,) = azure_findings({"gpu": cluster("STANDARD_NC6S_V3", 1)}, SIZES, usages)
    assert finding.needed == 6


def test_low_priority_counts_across_families():
    usages = [
        Usage(name="Total Low Priority Cores", used=0, limit=20),
        Usage(name="standardDSv2Family", used=0, limit=0),
    ]
    clusters = {
        "a": cluster(most=3, tier="low_priority"),
        "b": cluster("Standard_NC6s_v3", 2, "low_priority"),
    }
    (finding,) = azure_findings(clusters, SIZES, usages)  # 3 x 4 + 2 x 6 = 24
    assert (finding.quota, finding.needed) == ("Total Low Priority Cores", 24)


def test_a_size_that_the_region_does_not_offer_is_found():
    (finding,) = azure_findings({"x": cluster("Standard_X1")}, SIZES, [])
    assert "is not offered in this region" in finding.text


def test_no_limit_is_no_finding():
    assert (
        azure_findings(
            {"a": cluster(most=99)}, SIZES, [Usage(name="standardDSv2Family", used=0, limit=-1)]
        )
        == []
    )


def test_a_training_quota_of_none_is_found():
    quotas = [
        Usage(name="ml.m5.large for training job usage", used=0, limit=4),
        Usage(name="ml.g5.xlarge for training job usage", used=0, limit=0),
        Usage(name="ml.m5.large for spot training job usage", used=0, limit=0),
    ]
    assert sagemaker_findings({"ml.m5.large": 4, "ml.unknown": 1}, quotas) == []
    (finding,) = sagemaker_findings({"ml.g5.xlarge": 1}, quotas)
    assert "is 0: SageMaker refuses the job" in finding.text
    assert len(sagemaker_findings({"ml.m5.large": 1}, quotas, spot=True)) == 1


def test_azures_sizes_and_usages_are_read():
    compute = SimpleNamespace(
        list_sizes=lambda *, location: [
            SimpleNamespace(name="Standard_DS3_v2", family="standardDSv2Family", v_cp_us=4)
        ],
        list_usage=lambda *, location: [
            SimpleNamespace(
                name=SimpleNamespace(value="standardDSv2Family"), current_value=2, limit=24
            ),
            SimpleNamespace(name=SimpleNamespace(value="x"), current_value=None, limit=None),
        ],
    )
    sizes, usages = fetch_azure(SimpleNamespace(compute=compute), "eastus")
    assert sizes == SIZES[:1]
    assert usages == [
        Usage(name="standardDSv2Family", used=2, limit=24),
        Usage(name="x", used=0, limit=-1),
    ]


def test_service_quotas_are_read_page_by_page():
    client = boto3.client(
        "service-quotas", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stub:
        for token, name in (
            ("more", "ml.m5.large for training job usage"),
            (None, "ml.m5.large for endpoint usage"),
        ):
            page = {"Quotas": [{"QuotaName": name, "Value": 3.0}]}
            expected = {"ServiceCode": "sagemaker"}
            if token:
                page["NextToken"] = token
            else:
                expected["NextToken"] = "more"
            stub.add_response("list_service_quotas", page, expected)
        assert fetch_sagemaker(client) == [
            Usage(name="ml.m5.large for training job usage", used=0, limit=3.0)
        ]


def test_a_review_asks_for_the_quota_of_what_is_planned(digest):
    from review.report import review_previews

    asked = []
    digest.step("same", "pulumi:pulumi:Stack", "s", {}, {}, old_outputs=OUTPUTS.as_exports())
    digest.step("update", CLUSTER, "cpu", cluster_inputs(most=4), cluster_inputs(most=9))
    review_previews([digest.preview()], quota=lambda outputs: asked.append(outputs) or [])
    assert asked[0].azure_compute_clusters["cpu"]["max_instances"] == 9


def test_quotas_that_cannot_be_read_are_one_line_with_the_way_out(monkeypatch):
    from botocore.exceptions import NoCredentialsError

    from cli import quota

    def ask(_outputs):
        raise NoCredentialsError

    monkeypatch.setattr(quota, "_ask_aws", ask)
    with pytest.raises(quota.QuotaError) as caught:
        quota.ask_quotas(OUTPUTS)
    assert str(caught.value) == (
        "the quotas on aws cannot be read: Unable to locate credentials. Sign in with rights to read them, or leave "
        "out --quota; see: trainstack doctor"
    )


def test_a_review_without_credentials_asks_no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "_ask_aws", lambda outputs: pytest.fail("nobody is signed in"))
    assert quota.ask_where_signed_in(OUTPUTS) == []


def test_a_cloud_that_refuses_the_quotas_is_said_and_the_review_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "lab")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "lab")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # nothing listens there
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert quota.ask_where_signed_in(OUTPUTS) == []
    assert "the quotas on aws were not checked" in capsys.readouterr().err
