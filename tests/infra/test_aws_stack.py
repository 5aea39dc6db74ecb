"""The AWS half as a whole: whatever settings pass also build, with names that fit and stay apart."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra import aws_stack, providers
from infra.aws_settings import EndpointService, instance_types
from infra.settings import SettingsError, check
from tests.recorder import Recorder, run

AWS = {"account_id": "123456789012", "region": "us-east-1"}

short_names = st.from_regex(r"[a-z](-?[a-z0-9]){1,23}", fullmatch=True)
buckets = st.from_regex(r"[a-z0-9][a-z0-9-]{1,40}[a-z0-9]", fullmatch=True)
emails = st.sampled_from(["a@example.com", "ml-team@example.co.uk"])
zones = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)
training_types = st.sampled_from(sorted(instance_types("TrainingInstanceType")))
ENDPOINTS = EndpointService.__args__


def by_name(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    items = st.fixed_dictionaries({"name": short_names}, optional=fields)
    return st.lists(items, min_size=1, max_size=3, unique_by=lambda item: item["name"])


networks = st.fixed_dictionaries(
    {
        "availability_zones": zones.map(lambda letters: [f"us-east-1{each}" for each in letters]),
        "cidr_block": st.sampled_from(["10.0.0.0/16", "172.16.8.0/22", "192.168.4.0/24"]),
    },
    optional={"interface_endpoints": st.lists(st.sampled_from(ENDPOINTS), unique=True)},
)
sections = st.fixed_dictionaries(
    {
        "execution_roles": by_name(
            read_buckets=st.lists(buckets, max_size=2), write_buckets=st.lists(buckets, max_size=2)
        )
    },
    optional={
        "repositories": by_name(keep_images=st.integers(1, 1000), use_encryption_key=st.booleans()),
        "encryption_key": st.just({}),
        "bucket": st.fixed_dictionaries(
            {},
            optional={
                "infrequent_access_after_days": st.none() | st.integers(30, 60),
                "archive_after_days": st.none() | st.integers(90, 400),
            },
        ),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "instance_types": st.lists(training_types, max_size=60, unique=True),
                "max_runtime": st.integers(60, 2_419_200),
            },
        ),
        "network": networks,
        "studio": st.fixed_dictionaries(
            {
                "user_profiles": st.lists(short_names, min_size=1, max_size=3, unique=True),
                "app_network_access_type": st.sampled_from(["VpcOnly", "PublicInternetOnly"]),
            }
        ),
        "budget": st.fixed_dictionaries({"monthly_usd": st.integers(1, 10_000)}),
        "logs": st.fixed_dictionaries({"manage_group": st.booleans()}),
        "submitter_roles": st.lists(st.sampled_from(["DataScientist", "Notebooks"]), unique=True),
    },
)


def build(section: dict[str, Any], **common: Any) -> tuple[Recorder, dict[str, Any]]:
    """Build the AWS half alone; return what it registers and its outputs."""
    stack = common.pop("stack", "dev")
    raw = {"environment": "dev", "owner": "ml", "contacts": ["a@example.com"], **common}
    made = check({**raw, "aws": AWS | section}, project="trainstack", stack=stack)
    outputs: dict[str, Any] = {}

    def program() -> None:
        assert made.aws is not None
        fields = aws_stack.build(made.aws, made, providers.aws_provider(made.aws, made))
        pulumi.Output.from_input(fields).apply(outputs.update)

    return run(program, stack=stack), outputs


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(section=sections, contacts=st.lists(emails, min_size=1, max_size=2))
def test_whatever_settings_pass_also_build(section: dict[str, Any], contacts: list[str]) -> None:
    refusals: tuple[str, ...] = ()
    try:
        recorder, outputs = build(section, contacts=contacts)
    except SettingsError as refused:
        refusals = refused.problems
    # An option that needs another one: the only reason for which these sections are refused.
    assert all(
        "use_encryption_key" in line or "app_network_access_type" in line or "aws.network" in line
        for line in refusals
    ), refusals
    if refusals:
        return
    assert (
        outputs["aws_role_arn"] == outputs["aws_role_arns"][section["execution_roles"][0]["name"]]
    )
    urns = [(item.type, item.name) for item in recorder.seen]
    assert len(urns) == len(set(urns))
    names = [
        (item.type, item.inputs["name"]) for item in recorder.resources if "name" in item.inputs
    ]
    named = [each for each in names if "RolePolicy" not in each[0]]  # inline: named in their role
    assert len(named) == len(set(named)), "two resources of a type share a physical name"
    (policy,) = recorder.of("iam/policy:Policy")
    assert len(policy.inputs["policy"]) <= 6144


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_only_production_protects_its_stores_and_keeps_its_logs(environment: str) -> None:
    section = {"encryption_key": {}, "repositories": [{"name": "train"}]}
    recorder, _ = build(section, environment=environment)
    is_prod = environment == "prod"
    protected = {item.type for item in recorder.resources if item.protect}
    stores = {"aws:s3/bucket:Bucket", "aws:kms/key:Key", "aws:ecr/repository:Repository"}
    # Not what is set on them: an edited ECR lifecycle policy is a replacement.
    assert protected == (stores if is_prod else set())
    assert recorder.only("LogGroup").inputs["skipDestroy"] is is_prod


def test_the_least_settings_make_nothing_that_costs_while_idle() -> None:
    recorder, _ = build({})
    types = {item.type.rpartition(":")[2] for item in recorder.resources}
    assert types == {
        "Bucket", "BucketLifecycleConfiguration", "BucketOwnershipControls", "BucketPolicy",
        "BucketPublicAccessBlock", "BucketServerSideEncryptionConfiguration", "BucketVersioning",
        "EventRule", "EventTarget", "LogGroup", "Policy", "Role", "RolePolicy", "Topic",
        "TopicPolicy", "TopicSubscription",
    }  # fmt: skip


def test_the_policies_are_whole_at_preview() -> None:
    """A policy of ARNs that are not known yet could not be reviewed before it is deployed."""
    recorder, _ = build({"repositories": [{"name": "train"}]})
    statements = recorder.only("iam/policy:Policy").policy()["Statement"]
    passed = next(each["Resource"] for each in statements if each["Sid"] == "PassExecutionRoles")
    role = recorder.only("iam/role:Role").inputs["name"]
    assert passed == [f"arn:aws:iam::123456789012:role/{role}"]
    bucket = recorder.only("s3/bucket:Bucket").inputs["bucket"]
    assert f"arn:aws:s3:::{bucket}/*" in json.dumps(recorder.only("RolePolicy").policy())


def test_a_log_group_that_is_there_already_can_be_left_alone() -> None:
    recorder, _ = build({"logs": {"manage_group": False}})
    assert recorder.of("LogGroup") == []


def test_the_network_is_what_jobs_are_told_and_held_to() -> None:
    section = {"network": {"availability_zones": ["us-east-1a", "us-east-1b"]}}
    recorder, outputs = build(section)
    assert outputs["aws_subnet_ids"] == [
        "network-subnet-us-east-1a-id",
        "network-subnet-us-east-1b-id",
    ]
    assert outputs["aws_security_group_ids"] == ["network-jobs-id"]
    statements = recorder.only("iam/policy:Policy").policy()["Statement"]
    create = next(each for each in statements if each["Sid"] == "CreateJobsWithinLimits")
    allowed = create["Condition"]["ForAllValues:StringEquals"]["sagemaker:VpcSubnets"]
    assert allowed == outputs["aws_subnet_ids"]


def test_a_key_is_used_by_all_that_stores() -> None:
    section = {
        "encryption_key": {"rotation_period_days": 90},
        "repositories": [{"name": "train", "use_encryption_key": True}, {"name": "open"}],
    }
    recorder, outputs = build(section)
    key = outputs["aws_kms_key_arn"]
    assert recorder.only("LogGroup").inputs["kmsKeyId"] == key
    by_name = {item.name: item.inputs for item in recorder.of("ecr/repository:Repository")}
    encrypted = by_name["train-images-repository"]["encryptionConfigurations"]
    assert encrypted == [{"encryptionType": "KMS", "kmsKey": key}]
    assert by_name["open-images-repository"]["encryptionConfigurations"] == [
        {"encryptionType": "AES256"}
    ]
    assert recorder.only("kms/key:Key").inputs["rotationPeriodInDays"] == 90


def test_in_china_and_govcloud_the_arns_are_of_that_partition() -> None:
    recorder, _ = build({"region": "cn-north-1"})
    assert "arn:aws:" not in recorder.only("RolePolicy").inputs["policy"]
    assert "arn:aws-cn:s3:::" in recorder.only("RolePolicy").inputs["policy"]
