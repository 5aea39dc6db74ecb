"""ECR repository for training images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class ContainerRepositoryArgs:
    """What a repository is made of."""

    repository_name: str
    account_id: str
    keep_images: int = 50
    expire_untagged_after_days: int = 14
    # None encrypts with ECR's own key. Fixed at creation: a change replaces the repository.
    kms_key_arn: pulumi.Input[str] | None = None
    # Delete the images with the repository.
    force_delete: bool = False
    # Pulumi refuses to delete the repository until it is unprotected by hand.
    protect: bool = False

    def __post_init__(self) -> None:
        for name in ("keep_images", "expire_untagged_after_days"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


class ContainerRepository(pulumi.ComponentResource):
    """ECR repository whose tags never move, that scans what is pushed and forgets old images.

    SageMaker may pull from it for this account's jobs. Billed by what it holds; empty, it is free.
    """

    repository_url: pulumi.Output[str]
    repository_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: ContainerRepositoryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:ContainerRepository", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        repository = aws.ecr.Repository(
            f"{name}-repository",
            name=args.repository_name,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(
                scan_on_push=True
            ),
            encryption_configurations=[
                aws.ecr.RepositoryEncryptionConfigurationArgs(
                    encryption_type="AES256" if args.kms_key_arn is None else "KMS",
                    kms_key=args.kms_key_arn,
                )
            ],
            force_delete=args.force_delete,
            # The repository alone: an edited lifecycle policy is a replacement.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        aws.ecr.LifecyclePolicy(
            f"{name}-lifecycle",
            repository=repository.name,
            policy=json.dumps(lifecycle_policy(args.keep_images, args.expire_untagged_after_days)),
            opts=child,
        )
        aws.ecr.RepositoryPolicy(
            f"{name}-policy",
            repository=repository.name,
            policy=json.dumps(repository_policy(args.account_id)),
            opts=child,
        )
        self.repository_url = repository.repository_url
        self.repository_name = repository.name
        self.register_outputs(
            {"repository_url": self.repository_url, "repository_name": self.repository_name}
        )


def repository_policy(account_id: str) -> dict[str, Any]:
    """Return the right of SageMaker to pull, when it acts for this account."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "PullForTraining",
                "Effect": "Allow",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": [
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:BatchGetImage",
                    "ecr:GetDownloadUrlForLayer",
                ],
                "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
            }
        ],
    }


def lifecycle_policy(keep_images: int, expire_untagged_after_days: int) -> dict[str, Any]:
    """Return the rules, of which the lower priority goes first.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
    """
    return {
        "rules": [
            {
                "rulePriority": 1,
                "description": f"Untagged images go after {expire_untagged_after_days} days.",
                "selection": {
                    "tagStatus": "untagged",
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": expire_untagged_after_days,
                },
                "action": {"type": "expire"},
            },
            {
                "rulePriority": 2,
                "description": f"The newest {keep_images} images stay.",
                "selection": {
                    "tagStatus": "any",
                    "countType": "imageCountMoreThan",
                    "countNumber": keep_images,
                },
                "action": {"type": "expire"},
            },
        ]
    }
