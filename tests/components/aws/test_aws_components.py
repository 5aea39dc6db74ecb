"""Each AWS component on a recorder: safe by default, each option changes what it says."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from components.aws.artifact_bucket import ArtifactBucket, ArtifactBucketArgs
from components.aws.budget import Budget, BudgetArgs
from components.aws.container_repository import ContainerRepository, ContainerRepositoryArgs
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.execution_role import ExecutionRole, ExecutionRoleArgs
from components.aws.failed_job_alarm import FailedJobAlarm, FailedJobAlarmArgs
from components.aws.studio import Studio, StudioArgs
from components.aws.submitter_policy import SubmitterPolicy, SubmitterPolicyArgs
from components.aws.training_log_group import TrainingLogGroup, TrainingLogGroupArgs
from components.aws.training_network import TrainingNetwork, TrainingNetworkArgs
from tests.recorder import ACCOUNT_ID, REGION, Recorder, run

KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/own"


def build(make: Callable[[pulumi.ResourceOptions], Any]) -> Recorder:
    """Build one component with an explicit provider; return what was registered."""

    def program() -> None:
        provider = aws.Provider("aws", region=REGION)
        make(pulumi.ResourceOptions(providers=[provider]))

    return run(program)


def bucket(**options: Any) -> Recorder:
    args = ArtifactBucketArgs(bucket_name="stack-artifacts", region=REGION, **options)
    return build(lambda opts: ArtifactBucket("artifacts", args, opts))


def repository(**options: Any) -> Recorder:
    args = ContainerRepositoryArgs(
        repository_name="trainstack/dev/train", account_id=ACCOUNT_ID, **options
    )
    return build(lambda opts: ContainerRepository("train", args, opts))


def network(**options: Any) -> Recorder:
    values: dict[str, Any] = {
        "cidr_block": "10.20.0.0/16",
        "subnets": {"us-east-1a": "10.20.0.0/20", "us-east-1b": "10.20.16.0/20"},
        "account_id": ACCOUNT_ID,
        "region": REGION,
        "jobs_security_group_name": "jobs",
        "endpoints_security_group_name": "endpoints",
    }
    args = TrainingNetworkArgs(**(values | options))
    return build(lambda opts: TrainingNetwork("network", args, opts))


def studio(**options: Any) -> Recorder:
    values: dict[str, Any] = {
        "domain_name": "stack-studio",
        "role_name": "stack-studio-role",
        "account_id": ACCOUNT_ID,
        "region": REGION,
        "vpc_id": "vpc-1",
        "subnet_ids": ["subnet-a"],
        "security_group_ids": ["sg-1"],
        "submitter_policy_arn": "arn:aws:iam::123456789012:policy/submitter",
        "user_profiles": ["anna", "ben"],
    }
    args = StudioArgs(**(values | options))
    return build(lambda opts: Studio("studio", args, opts))


def submitter(**options: Any) -> Recorder:
    args = SubmitterPolicyArgs(
        policy_name="stack-submitter",
        account_id=ACCOUNT_ID,
        region=REGION,
        bucket_name="stack-artifacts",
        role_arns=["arn:aws:iam::123456789012:role/training"],
        **options,
    )
    return build(lambda opts: SubmitterPolicy("submitter", args, opts))


def alarm(**options: Any) -> Recorder:
    args = FailedJobAlarmArgs(
        rule_name="rule", topic_name="topic", role_arns=["arn:aws:iam::1:role/r"], **options
    )
    return build(lambda opts: FailedJobAlarm("failed", args, opts))


KINDS = (
    ArtifactBucket, Budget, ContainerRepository, EncryptionKey, ExecutionRole, FailedJobAlarm,
    Studio, SubmitterPolicy, TrainingLogGroup, TrainingNetwork,
)  # fmt: skip

BUILDERS: dict[str, Callable[[], Recorder]] = {
    "bucket": bucket,
    "repository": repository,
    "network": lambda: network(interface_endpoints=["ecr.api"]),
    "studio": studio,
    "submitter": lambda: submitter(attach_to_roles=["DataScientist"]),
    "alarm": lambda: alarm(contacts=["a@example.com"]),
    "key": lambda: build(
        lambda opts: EncryptionKey(
            "key",
            EncryptionKeyArgs(alias_name="alias/a", account_id=ACCOUNT_ID, region=REGION),
            opts,
        )
    ),
    "role": lambda: build(
        lambda opts: ExecutionRole(
            "training",
            ExecutionRoleArgs(
                role_name="training", account_id=ACCOUNT_ID, region=REGION, bucket_name="b"
            ),
            opts,
        )
    ),
    "logs": lambda: build(lambda opts: TrainingLogGroup("logs", TrainingLogGroupArgs(), opts)),
    "budget": lambda: build(
        lambda opts: Budget(
            "budget",
            BudgetArgs(
                budget_name="b",
                monthly_usd=100,
                tag=("stack", "trainstack/dev"),
                alert_percentages=[50, 100],
                contacts=["a@example.com"],
            ),
            opts,
        )
    ),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_all_that_a_component_makes_is_its_child_and_uses_the_given_provider(name: str) -> None:
    recorder = BUILDERS[name]()
    (component,) = recorder.components
    assert recorder.resources
    for resource in recorder.resources:
        assert resource.parent_type == component.type, resource.name
        assert "::aws::" in resource.provider, resource.name
        assert resource.name.startswith(f"{component.name}-")


@pytest.mark.parametrize("name", BUILDERS)
def test_a_component_declares_the_outputs_that_it_registers(name: str) -> None:
    recorder = BUILDERS[name]()
    (component,) = recorder.components
    kind = next(kind for kind in KINDS if component.type == f"trainstack:aws:{kind.__name__}")
    declared = set(inspect.get_annotations(kind))
    assert declared == set(recorder.outputs[component.name])


# The bucket


def test_the_bucket_is_private_in_every_way_that_there_is() -> None:
    recorder = bucket()
    access = recorder.only("BucketPublicAccessBlock").inputs
    assert [access[flag] for flag in (
        "blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets",
    )] == [True] * 4  # fmt: skip
    ownership = recorder.only("BucketOwnershipControls").inputs
    assert ownership["rule"]["objectOwnership"] == "BucketOwnerEnforced"
    assert recorder.only("Bucket").inputs["forceDestroy"] is False
    assert "acl" not in recorder.only("Bucket").inputs


def test_the_bucket_keeps_versions_and_encrypts_with_kms_at_no_fixed_cost() -> None:
    recorder = bucket()
    versioning = recorder.only("BucketVersioning").inputs
    assert versioning["versioningConfiguration"]["status"] == "Enabled"
    (rule,) = recorder.only("BucketServerSideEncryptionConfiguration").inputs["rules"]
    assert rule["bucketKeyEnabled"] is True
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "aws:kms"}


def test_the_bucket_takes_a_key_of_the_stacks_own() -> None:
    recorder = bucket(kms_key_arn=KEY_ARN)
    (rule,) = recorder.only("BucketServerSideEncryptionConfiguration").inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"] == KEY_ARN


def lifecycle(**options: Any) -> dict[str, dict[str, Any]]:
    rules = bucket(**options).only("BucketLifecycleConfiguration").inputs["rules"]
    return {rule["id"]: rule for rule in rules}


def test_the_bucket_cleans_up_after_itself_by_default() -> None:
    rules = lifecycle()
    abort = rules["abort-unfinished-uploads"]["abortIncompleteMultipartUpload"]
    assert abort["daysAfterInitiation"] == 7
    expiry = rules["expire-old-versions"]["noncurrentVersionExpiration"]
    assert expiry["noncurrentDays"] == 30
    assert rules["tier-old-objects"]["transitions"] == [{"days": 90, "storageClass": "STANDARD_IA"}]
    assert not [rule for rule in rules.values() if "expiration" in rule], "no object is deleted"


def test_each_day_of_the_lifecycle_comes_from_its_option() -> None:
    rules = lifecycle(
        abort_multipart_after_days=2,
        expire_noncurrent_after_days=11,
        infrequent_access_after_days=40,
        archive_after_days=200,
    )
    abort = rules["abort-unfinished-uploads"]["abortIncompleteMultipartUpload"]
    assert abort["daysAfterInitiation"] == 2
    expiry = rules["expire-old-versions"]["noncurrentVersionExpiration"]
    assert expiry["noncurrentDays"] == 11
    assert [move["days"] for move in rules["tier-old-objects"]["transitions"]] == [40, 200]
    never = lifecycle(infrequent_access_after_days=None)
    assert "tier-old-objects" not in never


@pytest.mark.parametrize(
    "option",
    ["abort_multipart_after_days", "expire_noncurrent_after_days", "infrequent_access_after_days"],
)
def test_a_bucket_with_no_sense_of_time_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is 0; it must be at least"):
        bucket(**{option: 0})


# The key


def test_the_key_rotates_and_waits_before_it_is_gone() -> None:
    recorder = BUILDERS["key"]()
    key = recorder.only("Key").inputs
    assert (key["enableKeyRotation"], key["rotationPeriodInDays"]) == (True, 365)
    assert key["deletionWindowInDays"] == 30
    assert recorder.only("Alias").inputs["name"] == "alias/a"


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [("rotation_period_days", 89, "90 to 2560"), ("deletion_window_days", 3, "7 to 30")],
)
def test_a_key_out_of_range_is_refused(option: str, value: int, allowed: str) -> None:
    values: dict[str, Any] = {option: value}
    with pytest.raises(ValueError, match=f"{option} is {value}; it must be {allowed}"):
        EncryptionKeyArgs(alias_name="alias/a", account_id=ACCOUNT_ID, region=REGION, **values)


# The repository


def test_the_repositorys_tags_never_move_and_pushes_are_scanned() -> None:
    made = repository().only("Repository").inputs
    assert made["imageTagMutability"] == "IMMUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    assert made["encryptionConfigurations"] == [{"encryptionType": "AES256"}]
    assert made["forceDelete"] is False


def test_the_repository_forgets_old_images() -> None:
    rules = repository(keep_images=7, expire_untagged_after_days=3).only("LifecyclePolicy")
    untagged, count = rules.policy()["rules"]
    assert untagged["selection"]["tagStatus"] == "untagged"
    assert untagged["selection"]["countNumber"] == 3
    assert (count["selection"]["countType"], count["selection"]["countNumber"]) == (
        "imageCountMoreThan",
        7,
    )


def test_the_repository_takes_a_key_of_the_stacks_own() -> None:
    made = repository(kms_key_arn=KEY_ARN).only("Repository").inputs
    assert made["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": KEY_ARN}]


# Roles and policies


def test_the_role_has_one_inline_policy_and_nothing_of_amazons() -> None:
    recorder = BUILDERS["role"]()
    assert recorder.of("RolePolicyAttachment") == []
    assert "managedPolicyArns" not in recorder.only("Role").inputs
    assert recorder.only("RolePolicy").inputs["role"] == "training"


def test_the_submitter_policy_is_attached_to_the_roles_named_and_no_other() -> None:
    assert submitter().of("RolePolicyAttachment") == []
    attached = submitter(attach_to_roles=["DataScientist", "Notebooks"]).of("RolePolicyAttachment")
    assert [item.inputs["role"] for item in attached] == ["DataScientist", "Notebooks"]


# The network


def test_the_network_has_no_way_in_or_out_and_nothing_that_costs_by_the_hour() -> None:
    recorder = network()
    assert sorted(item.type.rpartition(":")[2] for item in recorder.resources) == [
        "RouteTable", "RouteTableAssociation", "RouteTableAssociation", "SecurityGroup", "Subnet",
        "Subnet", "Vpc", "VpcEndpoint",
    ]  # fmt: skip
    assert recorder.only("VpcEndpoint").inputs["vpcEndpointType"] == "Gateway"
    assert all(item.inputs["mapPublicIpOnLaunch"] is False for item in recorder.of("Subnet"))
    assert "routes" not in recorder.only("RouteTable").inputs


def test_jobs_reach_each_other_and_s3_and_nothing_else() -> None:
    group = network().only("SecurityGroup").inputs
    (inside,) = group["ingress"]
    assert inside["self"] is True
    assert "cidrBlocks" not in inside
    own, s3 = group["egress"]
    assert own["self"] is True
    assert s3["prefixListIds"] == ["pl-63a5400a"]
    assert "0.0.0.0/0" not in json.dumps(group)


def test_interface_endpoints_are_made_only_where_asked_and_let_in_jobs_alone() -> None:
    recorder = network(interface_endpoints=["ecr.api", "sts"])
    names = [item.inputs["serviceName"] for item in recorder.of("VpcEndpoint")]
    assert names == [
        "com.amazonaws.us-east-1.ecr.api",
        "com.amazonaws.us-east-1.s3",
        "com.amazonaws.us-east-1.sts",
    ]
    interface = recorder.of("VpcEndpoint")[0].inputs
    assert interface["privateDnsEnabled"] is True
    assert len(interface["subnetIds"]) == 2
    endpoints = next(
        item for item in recorder.of("SecurityGroup") if item.name.endswith("endpoints")
    )
    (rule,) = endpoints.inputs["ingress"]
    assert rule["securityGroups"] == ["network-jobs-id"]
    assert (rule["fromPort"], rule["toPort"]) == (443, 443)


# Watching


def test_logs_expire_and_the_group_has_the_name_that_sagemaker_fixed() -> None:
    group = BUILDERS["logs"]().only("LogGroup").inputs
    assert group["name"] == "/aws/sagemaker/TrainingJobs"
    assert group["retentionInDays"] == 30
    with pytest.raises(ValueError, match="retention_days is 31; it must be one of 1, 3, 5"):
        TrainingLogGroupArgs(retention_days=31)


def test_a_failed_job_of_the_stacks_roles_is_mailed_without_its_data() -> None:
    recorder = alarm(contacts=["a@example.com", "b@example.com"])
    pattern = recorder.only("EventRule").policy("eventPattern")
    assert pattern["detail"] == {
        "TrainingJobStatus": ["Failed"],
        "RoleArn": ["arn:aws:iam::1:role/r"],
    }
    target = recorder.only("EventTarget").inputs
    assert set(target["inputTransformer"]["inputPaths"]) == {"job", "region", "time"}
    mails = [item.inputs["endpoint"] for item in recorder.of("TopicSubscription")]
    assert mails == ["a@example.com", "b@example.com"]
    assert alarm().of("TopicSubscription") == []


def test_the_budget_counts_by_the_stacks_tag_and_mails_at_each_percentage() -> None:
    made = BUILDERS["budget"]().only("budgets/budget:Budget").inputs
    assert made["costFilters"] == [{"name": "TagKeyValue", "values": ["user:stack$trainstack/dev"]}]
    assert (made["limitAmount"], made["limitUnit"]) == ("100.00", "USD")
    assert [each["threshold"] for each in made["notifications"]] == [50, 100]
    assert all(
        each["subscriberEmailAddresses"] == ["a@example.com"] for each in made["notifications"]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"monthly_usd": 0}, "monthly_usd is 0; it must be above 0"),
        ({"contacts": []}, "contacts is empty; it must name whom to mail"),
    ],
)
def test_a_budget_of_nothing_or_for_nobody_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    values: dict[str, Any] = {
        "budget_name": "b",
        "monthly_usd": 1,
        "tag": ("a", "b"),
        "alert_percentages": [50],
        "contacts": ["a@example.com"],
    }
    with pytest.raises(ValueError, match=message):
        BudgetArgs(**(values | changes))


# Studio


def test_studio_apps_shut_down_when_idle_and_a_user_cannot_lengthen_it() -> None:
    domain = studio(idle_timeout_minutes=90).only("Domain").inputs
    for app in ("jupyterLabAppSettings", "codeEditorAppSettings"):
        settings = domain["defaultUserSettings"][app]
        idle = settings["appLifecycleManagement"]["idleSettings"]
        assert idle["lifecycleManagement"] == "ENABLED"
        assert (idle["idleTimeoutInMinutes"], idle["maxIdleTimeoutInMinutes"]) == (90, 90)
        assert settings["defaultResourceSpec"]["instanceType"] == "ml.t3.medium"


def test_studio_is_in_the_vpc_only_and_keeps_the_homes_unless_told_otherwise() -> None:
    domain = studio().only("Domain").inputs
    assert domain["appNetworkAccessType"] == "VpcOnly"
    assert domain["retentionPolicy"] == {"homeEfsFileSystem": "Retain"}
    changed = studio(app_network_access_type="PublicInternetOnly", retain_home=False)
    assert changed.only("Domain").inputs["retentionPolicy"] == {"homeEfsFileSystem": "Delete"}


def test_each_data_scientist_has_a_profile_and_the_rights_of_a_submitter() -> None:
    recorder = studio()
    assert [item.inputs["userProfileName"] for item in recorder.of("UserProfile")] == [
        "anna",
        "ben",
    ]
    attached = recorder.only("RolePolicyAttachment").inputs
    assert attached["policyArn"] == "arn:aws:iam::123456789012:policy/submitter"


def test_an_idle_time_that_studio_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="idle_timeout_minutes is 5; it must be 60 to 525600"):
        studio(idle_timeout_minutes=5)
