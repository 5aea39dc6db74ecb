"""The AWS half of the stack: which components there are, and what each is given."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_aws as aws

from components import naming
from components.aws.artifact_bucket import ArtifactBucket, ArtifactBucketArgs
from components.aws.execution_role import ExecutionRole, ExecutionRoleArgs
from infra.aws_settings import AwsSettings
from infra.common_settings import CommonSettings


def build(settings: AwsSettings, common: CommonSettings, provider: aws.Provider) -> dict[str, Any]:
    """Register the AWS components and return the ``aws_*`` fields of StackOutputs."""
    opts = pulumi.ResourceOptions(providers=[provider])
    scope = common.scope(account=settings.account_id, region=settings.region)
    bucket_name = naming.bucket_name(scope, "artifacts")
    bucket = ArtifactBucket(
        "artifacts",
        ArtifactBucketArgs(
            bucket_name=bucket_name, region=settings.region, **settings.bucket.model_dump()
        ),
        opts,
    )
    roles = {
        role.name: ExecutionRole(
            f"{role.name}-execution",
            ExecutionRoleArgs(
                role_name=naming.iam_role_name(scope, role.name),
                account_id=settings.account_id,
                region=settings.region,
                bucket_name=bucket_name,
                read_buckets=role.read_buckets,
                write_buckets=role.write_buckets,
                other_kms_key_arns=role.kms_key_arns,
            ),
            opts,
        )
        for role in settings.execution_roles
    }
    return {
        "aws_account_id": settings.account_id,
        "aws_region": settings.region,
        "aws_bucket_name": bucket.bucket_name,
        "aws_role_arn": roles[settings.execution_roles[0].name].role_arn,
        "aws_role_arns": {name: role.role_arn for name, role in roles.items()},
        "aws_allowed_instance_types": settings.limits.instance_types,
        "aws_max_runtime_seconds": settings.limits.max_runtime_seconds,
    }
