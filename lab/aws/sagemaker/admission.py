"""What CreateTrainingJob refuses at once: structure, role, image, spot rules, quota."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from lab.aws import policy
from lab.aws.quotas import LAB_QUOTA
from lab.aws.sagemaker import images
from lab.aws.sagemaker.errors import limit_exceeded, validation
from lab.aws.sagemaker.session import service_client
from lab.aws.sagemaker.settings import Settings
from lab.aws.sagemaker.store import Store

QUOTA_KIND = "quota"


def check(request: Mapping[str, Any], settings: Settings) -> None:
    """Raise what the service would for a request that can never run."""
    _check_structure(request)
    _check_channels(request.get("InputDataConfig") or [], request)
    images.resolve(
        request["AlgorithmSpecification"],
        request.get("HyperParameters") or {},
        settings.account_id,
    )
    _check_metric_definitions(request["AlgorithmSpecification"].get("MetricDefinitions") or [])
    check_role(request["RoleArn"], settings)
    if network := request.get("VpcConfig"):
        _check_network(network, settings)


def _check_structure(request: Mapping[str, Any]) -> None:
    for field in ("DebugHookConfig", "DebugRuleConfigurations", "ProfilerRuleConfigurations"):
        if request.get(field):
            raise validation(f"The lab does not do {field}.")
    for field in ("ServerlessJobConfig", "ModelPackageConfig", "SessionChainingConfig"):
        if request.get(field):
            raise validation(f"The lab does not do {field}.")
    algorithm = request.get("AlgorithmSpecification")
    resources = request.get("ResourceConfig")
    condition = request.get("StoppingCondition")
    for name, value in (
        ("algorithmSpecification", algorithm),
        ("resourceConfig", resources),
        ("stoppingCondition", condition),
    ):
        if value is None:
            raise validation(
                f"1 validation error detected: Value null at '{name}' failed to satisfy "
                "constraint: Member must not be null"
            )
    assert algorithm is not None  # noqa: S101 - checked above
    assert resources is not None  # noqa: S101
    assert condition is not None  # noqa: S101
    if bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")):
        raise validation(
            "You must specify either TrainingImage or AlgorithmName in AlgorithmSpecification, "
            "and not both."
        )
    groups = resources.get("InstanceGroups")
    single = resources.get("InstanceType"), resources.get("InstanceCount")
    if groups and any(value is not None for value in single):
        raise validation(
            "InstanceType and InstanceCount must not be specified when InstanceGroups is."
        )
    if not groups and any(value is None for value in single):
        raise validation(
            "ResourceConfig must have InstanceType and InstanceCount, or InstanceGroups."
        )
    if any(group["InstanceCount"] < 1 for group in groups or [resources]):
        raise validation("InstanceCount must be at least 1.")
    names = [group["InstanceGroupName"] for group in groups or []]
    if len(set(names)) < len(names):
        raise validation("InstanceGroupName must be unique within InstanceGroups.")
    if resources.get("VolumeSizeInGB") is None:
        raise validation(
            "1 validation error detected: Value null at 'resourceConfig.volumeSizeInGB' failed to "
            "satisfy constraint: Member must not be null"
        )
    _check_spot(request, condition)
    if not request["OutputDataConfig"]["S3OutputPath"].startswith("s3://"):
        raise validation(
            f"S3OutputPath {request['OutputDataConfig']['S3OutputPath']} must begin with s3://."
        )


def _check_spot(request: Mapping[str, Any], condition: Mapping[str, Any]) -> None:
    spot = request.get("EnableManagedSpotTraining")
    longest = condition.get("MaxWaitTimeInSeconds")
    if not spot:
        if longest is not None:
            raise validation(
                "Invalid MaxWaitTimeInSeconds. It must only be present when "
                "EnableManagedSpotTraining is true"
            )
        return
    if longest is None or longest < condition.get("MaxRuntimeInSeconds", 86400):
        raise validation(
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
            "MaxRuntimeInSeconds"
        )
    if request["ResourceConfig"].get("KeepAlivePeriodInSeconds"):
        raise validation("KeepAlivePeriodInSeconds is not supported with managed spot training.")


def _check_channels(channels: Iterable[Mapping[str, Any]], request: Mapping[str, Any]) -> None:
    seen: set[str] = set()
    for channel in channels:
        name = channel["ChannelName"]
        if name in seen:
            raise validation(f"Channel name {name} is not unique in InputDataConfig.")
        seen.add(name)
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            raise validation(
                f"Channel {name}: the lab reads S3DataSource, not "
                f"{', '.join(channel['DataSource']) or 'an empty DataSource'}."
            )
        mode = channel.get("InputMode", request["AlgorithmSpecification"]["TrainingInputMode"])
        if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
            raise validation(
                f"Channel {name}: the lab reads S3Prefix and ManifestFile, not "
                f"{source['S3DataType']}."
            )
        if mode != "Pipe" and channel.get("CompressionType", "None") != "None":
            raise validation(
                f"CompressionType Gzip of channel {name} is supported in Pipe mode only."
            )
        if mode != "Pipe" and channel.get("RecordWrapperType", "None") != "None":
            raise validation(
                f"RecordWrapperType RecordIO of channel {name} is supported in Pipe mode only."
            )
        if mode == "FastFile" and source["S3DataType"] != "S3Prefix":
            raise validation(f"FastFile mode of channel {name} is supported with S3Prefix only.")


def _check_metric_definitions(definitions: Iterable[Mapping[str, str]]) -> None:
    for definition in definitions:
        try:
            groups = re.compile(definition["Regex"]).groups
        except re.error as error:
            raise validation(
                f"Invalid regex {definition['Regex']!r} of metric {definition['Name']}: {error}"
            ) from None
        if groups < 1:
            raise validation(
                f"The regex {definition['Regex']!r} of metric {definition['Name']} needs a group "
                "that captures the value."
            )


def _check_network(network: Mapping[str, Any], settings: Settings) -> None:
    """The subnets and security groups must be there, in one VPC."""
    ec2 = service_client("ec2", settings.region)
    try:
        subnets = ec2.describe_subnets(SubnetIds=network["Subnets"])["Subnets"]
        groups = ec2.describe_security_groups(GroupIds=network["SecurityGroupIds"])
    except ClientError as error:
        raise validation(error.response.get("Error", {}).get("Message", str(error))) from None
    places = {found["VpcId"] for found in (*subnets, *groups["SecurityGroups"])}
    if len(places) > 1:
        raise validation(
            "The subnets and security groups of VpcConfig must be in one VPC; they are in "
            f"{', '.join(sorted(places))}."
        )


def check_role(role_arn: str, settings: Settings) -> None:
    """The role must exist and let SageMaker, for this account, assume it."""
    refused = validation(
        f"Could not assume role {role_arn}. Please ensure that the role exists and allows "
        "principal 'sagemaker.amazonaws.com' to assume the role."
    )
    if f":{settings.account_id}:role/" not in role_arn:
        raise validation(
            f"Cross-account pass role is not allowed: {role_arn} is not of account "
            f"{settings.account_id}."
        )
    name = role_arn.rpartition("/")[2]
    try:
        role = service_client("iam", settings.region).get_role(RoleName=name)["Role"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchEntity":
            raise refused from None
        raise
    context = {
        "aws:SourceAccount": settings.account_id,
        "aws:SourceArn": settings.arn("training-job/lab"),
    }
    document = role["AssumeRolePolicyDocument"]
    if role["Arn"] != role_arn or not policy.trusts(document, "sagemaker.amazonaws.com", context):
        raise refused


# --- quotas


def instances_by_type(request: Mapping[str, Any]) -> dict[str, int]:
    """Return how many instances of each type a job takes."""
    resources = request["ResourceConfig"]
    counts: dict[str, int] = {}
    for group in resources.get("InstanceGroups") or [resources]:
        kind = group["InstanceType"]
        counts[kind] = counts.get(kind, 0) + group["InstanceCount"]
    return counts


def check_quota(
    request: Mapping[str, Any],
    running: Iterable[Mapping[str, Any]],
    store: Store,
    settings: Settings,
) -> None:
    """Raise ResourceLimitExceeded where the job would go above the account's quota.

    The lab's own capacity is another matter: it makes jobs wait.
    """
    spot = bool(request.get("EnableManagedSpotTraining"))
    usage = "spot training job usage" if spot else "training job usage"
    for kind, wanted in instances_by_type(request).items():
        quota = store.get(QUOTA_KIND, f"{kind} for {usage}")
        limit = LAB_QUOTA if quota is None else quota["value"]
        used = sum(
            instances_by_type(other).get(kind, 0)
            for other in running
            if bool(other.get("EnableManagedSpotTraining")) == spot
        )
        if used + wanted > limit:
            raise limit_exceeded(
                f"The account-level service limit '{kind} for {usage}' is {limit:g} "
                f"Instances, with current utilization of {used} Instances and a request delta of "
                f"{wanted} Instances. Please use AWS Service Quotas to request an increase for "
                "this quota. If AWS Service Quotas is not available, contact AWS support to "
                "request an increase for this quota."
            )
