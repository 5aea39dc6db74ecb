"""IAM role that SageMaker training jobs run as, with the rights that this stack's jobs need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.arn import bucket_arn, partition, repository_arn

# SageMaker names the log group of training jobs, for the whole account and region.
# https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
TRAINING_LOG_GROUP = "/aws/sagemaker/TrainingJobs"


@dataclass(frozen=True, kw_only=True)
class ExecutionRoleArgs:
    """What jobs of the role may use: names and ARNs, so that the policy is readable at preview."""

    role_name: str
    account_id: str
    region: str
    bucket_name: str
    repository_names: Sequence[str] = ()
    read_buckets: Sequence[str] = ()
    write_buckets: Sequence[str] = ()
    # The stack's key may be new, so its ARN may come later; those of other buckets are known.
    kms_key_arn: pulumi.Input[str] | None = None
    other_kms_key_arns: Sequence[str] = ()
    # The network that its jobs run in, where the stack has one.
    subnet_ids: pulumi.Input[Sequence[str]] = ()
    security_group_ids: pulumi.Input[Sequence[str]] = ()


class ExecutionRole(pulumi.ComponentResource):
    """Role that only SageMaker may assume, and only for this account.

    A job that runs as it may read and write the stack's bucket, pull the stack's images and those
    that Amazon shares, write training logs and metrics, use the stack's key, and put instances into
    the stack's subnets. Nothing more: no AmazonSageMakerFullAccess, no other bucket unless given, no
    further role to pass. It is free.
    """

    role_name: pulumi.Output[str]
    role_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: ExecutionRoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:ExecutionRole", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-role",
            name=args.role_name,
            description="SageMaker training jobs run as this role.",
            assume_role_policy=json.dumps(trust_policy(args.account_id)),
            opts=child,
        )
        known = pulumi.Output.all(
            kms_key_arn=args.kms_key_arn,
            subnet_ids=args.subnet_ids,
            security_group_ids=args.security_group_ids,
        )
        aws.iam.RolePolicy(
            f"{name}-policy",
            name="training",
            role=role.name,
            policy=known.apply(lambda arns: json.dumps(job_policy(args, **arns))),
            opts=child,
        )
        self.role_name = role.name
        self.role_arn = role.arn
        self.register_outputs({"role_name": self.role_name, "role_arn": self.role_arn})


def trust_policy(account_id: str) -> dict[str, Any]:
    """Return who may assume the role: SageMaker, acting for this account and no other.

    https://docs.aws.amazon.com/sagemaker/latest/dg/security-confused-deputy-prevention.html
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
            }
        ],
    }


def job_policy(
    args: ExecutionRoleArgs,
    *,
    kms_key_arn: str | None = None,
    subnet_ids: Sequence[str] = (),
    security_group_ids: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what a training job may do.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html#sagemaker-roles-createtrainingjob-perms
    """
    here = f"arn:{partition(args.region)}"
    written = [bucket_arn(args.region, name) for name in (args.bucket_name, *args.write_buckets)]
    read = [bucket_arn(args.region, name) for name in args.read_buckets]
    log_group = f"{here}:logs:{args.region}:{args.account_id}:log-group:{TRAINING_LOG_GROUP}"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "ListBuckets",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
            "Resource": written + read,
        },
        {
            "Sid": "ReadObjects",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": [f"{arn}/*" for arn in written + read],
        },
        {
            "Sid": "WriteObjects",
            "Effect": "Allow",
            # No s3:DeleteObjectVersion: what a job overwrites or deletes can be had back.
            "Action": ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": [f"{arn}/*" for arn in written],
        },
        {
            "Sid": "WriteLogs",
            "Effect": "Allow",
            "Action": [
                "logs:CreateLogGroup",
                "logs:CreateLogStream",
                "logs:DescribeLogStreams",
                "logs:PutLogEvents",
            ],
            "Resource": [log_group, f"{log_group}:*"],
        },
        {
            "Sid": "WriteMetrics",
            "Effect": "Allow",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",  # the action knows no resources; the namespace limits it
            "Condition": {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
        },
    ]
    statements += _image_statements(args)
    kms_key_arns = [*([kms_key_arn] if kms_key_arn else []), *args.other_kms_key_arns]
    if kms_key_arns:
        statements += _key_statements(kms_key_arns)
    if subnet_ids:
        statements += _network_statements(args, subnet_ids, security_group_ids)
    return {"Version": "2012-10-17", "Statement": statements}


_PULL = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


def _image_statements(args: ExecutionRoleArgs) -> list[dict[str, Any]]:
    """Return what pulls a job's image: the stack's own repositories, and SageMaker's images.

    Amazon keeps those in accounts of its own, others in each region; without the right to pull from
    them a job of a framework or built-in algorithm fails, and they in turn let every account in.
    https://github.com/aws/deep-learning-containers/issues/759
    """
    statements: list[dict[str, Any]] = [
        {
            "Sid": "SignInToRegistry",
            "Effect": "Allow",
            "Action": "ecr:GetAuthorizationToken",
            "Resource": "*",  # the action knows no resources
        },
        {
            "Sid": "PullSharedImages",
            "Effect": "Allow",
            "Action": _PULL,
            "Resource": f"arn:{partition(args.region)}:ecr:{args.region}:*:repository/*",
            # This account's other images stay out of reach.
            "Condition": {"StringNotEquals": {"aws:ResourceAccount": args.account_id}},
        },
    ]
    if args.repository_names:
        own = [repository_arn(args.region, args.account_id, name) for name in args.repository_names]
        statements.append(
            {"Sid": "PullImages", "Effect": "Allow", "Action": _PULL, "Resource": own}
        )
    return statements


def _key_statements(kms_key_arns: Sequence[str]) -> list[dict[str, Any]]:
    """Return what encrypted buckets, outputs and volumes need.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html#sagemaker-roles-createtrainingjob-perms
    """
    return [
        {
            "Sid": "UseKeys",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"],
            "Resource": list(kms_key_arns),
        },
        {
            "Sid": "LendKeysToVolumes",
            "Effect": "Allow",
            "Action": "kms:CreateGrant",
            "Resource": list(kms_key_arns),
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        },
    ]


def _network_statements(
    args: ExecutionRoleArgs, subnet_ids: Sequence[str], security_group_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what SageMaker needs to put a job's instances into the network, and no other.

    The user's code has these rights as well, and an interface in another subnet would be a way
    there. https://docs.aws.amazon.com/sagemaker/latest/dg/train-vpc.html
    """
    ec2 = f"arn:{partition(args.region)}:ec2:{args.region}:{args.account_id}"
    subnets = [f"{ec2}:subnet/{subnet_id}" for subnet_id in subnet_ids]
    groups = [f"{ec2}:security-group/{group_id}" for group_id in security_group_ids]
    return [
        {
            "Sid": "LookAtNetwork",
            "Effect": "Allow",
            "Action": [
                "ec2:DescribeDhcpOptions",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
            ],
            "Resource": "*",  # describe actions know no resources
        },
        {
            "Sid": "MakeInterfaces",
            "Effect": "Allow",
            "Action": "ec2:CreateNetworkInterface",
            "Resource": [f"{ec2}:network-interface/*", *subnets, *groups],
        },
        {
            "Sid": "LendAndRemoveInterfaces",
            "Effect": "Allow",
            "Action": [
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
            ],
            "Resource": f"{ec2}:network-interface/*",
            "Condition": {"ArnEquals": {"ec2:Subnet": subnets}},
        },
    ]
