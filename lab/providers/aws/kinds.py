"""Every AWS resource type that the lab has, by its token."""

from __future__ import annotations

from lab.providers.aws import budgets, cloudwatch, ec2, ecr, iam, kms, s3, sagemaker, sns
from lab.providers.aws.kind import Kind

_MODULES = (budgets, cloudwatch, ec2, ecr, iam, kms, s3, sagemaker, sns)

KINDS: dict[str, Kind] = {kind.urn_type: kind for module in _MODULES for kind in module.KINDS}
