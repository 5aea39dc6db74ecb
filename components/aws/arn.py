"""ARNs that follow from names, so that a policy is readable at preview, before anything exists."""

from __future__ import annotations


def partition(region: str) -> str:
    """Return the partition of a region.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
    """
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def dns_suffix(region: str) -> str:
    """Return the domain of a region's endpoints and registries."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def bucket_arn(region: str, bucket_name: str) -> str:
    """Return the ARN of a bucket."""
    return f"arn:{partition(region)}:s3:::{bucket_name}"


def role_arn(region: str, account_id: str, role_name: str) -> str:
    """Return the ARN of a role without a path."""
    return f"arn:{partition(region)}:iam::{account_id}:role/{role_name}"


def repository_arn(region: str, account_id: str, repository_name: str) -> str:
    """Return the ARN of an ECR repository."""
    return f"arn:{partition(region)}:ecr:{region}:{account_id}:repository/{repository_name}"
