"""IAM policy for the people who submit training jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.arn import bucket_arn, partition, repository_arn
from components.aws.execution_role import TRAINING_LOG_GROUP


@dataclass(frozen=True, kw_only=True)
class SubmitterPolicyArgs:
    """What submitters may do: with which roles, stores and images, and how large a job."""

    policy_name: str
    account_id: str
    region: str
    bucket_name: str
    role_arns: Sequence[str]
    repository_names: Sequence[str] = ()
    # Empty allows every type.
    instance_types: Sequence[str] = ()
    max_runtime_seconds: int = 86_400
    kms_key_arn: pulumi.Input[str] | None = None
    # Where given, a job must run in these subnets and security groups.
    subnet_ids: pulumi.Input[Sequence[str]] = ()
    security_group_ids: pulumi.Input[Sequence[str]] = ()
    # The data scientists' own roles, which exist already.
    attach_to_roles: Sequence[str] = ()


class SubmitterPolicy(pulumi.ComponentResource):
    """Managed policy with which a data scientist submits, watches and stops training jobs.

    A job must run as one of the stack's roles, on the allowed instance types, for no longer than
    the limit, with no warm pool that is billed after it; in the stack's network where it has one.
    Code and data go to the stack's bucket; logs, metrics, quotas and images may be read. It is free.
    """

    policy_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: SubmitterPolicyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:SubmitterPolicy", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        known = pulumi.Output.all(
            kms_key_arn=args.kms_key_arn,
            subnet_ids=args.subnet_ids,
            security_group_ids=args.security_group_ids,
        )
        policy = aws.iam.Policy(
            f"{name}-policy",
            name=args.policy_name,
            description="Submit, watch and stop training jobs of this stack.",
            # Compact: IAM takes 6,144 characters.
            policy=known.apply(
                lambda arns: json.dumps(submitter_policy(args, **arns), separators=(",", ":"))
            ),
            opts=child,
        )
        for role in args.attach_to_roles:
            aws.iam.RolePolicyAttachment(
                f"{name}-attached-{role}", role=role, policy_arn=policy.arn, opts=child
            )
        self.policy_arn = policy.arn
        self.register_outputs({"policy_arn": self.policy_arn})


def submitter_policy(
    args: SubmitterPolicyArgs,
    *,
    kms_key_arn: str | None = None,
    subnet_ids: Sequence[str] = (),
    security_group_ids: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what a submitter may do.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
    """
    here = f"arn:{partition(args.region)}"
    jobs = f"{here}:sagemaker:{args.region}:{args.account_id}:training-job/*"
    bucket = bucket_arn(args.region, args.bucket_name)
    log_group = f"{here}:logs:{args.region}:{args.account_id}:log-group:{TRAINING_LOG_GROUP}"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "CreateJobsWithinLimits",
            "Effect": "Allow",
            "Action": "sagemaker:CreateTrainingJob",
            "Resource": jobs,
            "Condition": job_conditions(args, subnet_ids, security_group_ids),
        },
        {
            "Sid": "TagJobsAtCreation",
            "Effect": "Allow",
            "Action": "sagemaker:AddTags",
            "Resource": jobs,
            "Condition": {"StringEquals": {"sagemaker:TaggingAction": "CreateTrainingJob"}},
        },
        {
            "Sid": "WatchAndStopJobs",
            "Effect": "Allow",
            "Action": [
                "sagemaker:DescribeTrainingJob",
                "sagemaker:ListTags",
                "sagemaker:StopTrainingJob",
            ],
            "Resource": jobs,
        },
        {
            "Sid": "LookAround",
            "Effect": "Allow",
            "Action": [
                "sagemaker:ListTrainingJobs",
                "cloudwatch:GetMetricData",
                "cloudwatch:ListMetrics",
                "servicequotas:GetServiceQuota",
                "servicequotas:ListServiceQuotas",
            ],
            "Resource": "*",  # these actions know no resources, or quotas that have no names
        },
        {
            "Sid": "PassExecutionRoles",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": list(args.role_arns),
            "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        },
        {
            "Sid": "ListBucket",
            "Effect": "Allow",
            "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
            "Resource": bucket,
        },
        {
            "Sid": "UseObjects",
            "Effect": "Allow",
            "Action": ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
            "Resource": f"{bucket}/*",
        },
        {
            "Sid": "ReadLogs",
            "Effect": "Allow",
            "Action": ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"],
            "Resource": [log_group, f"{log_group}:*"],
        },
    ]
    if args.repository_names:
        statements += _image_statements(args)
    if kms_key_arn is not None:
        statements.append(
            {
                "Sid": "UseKeyThroughS3",
                "Effect": "Allow",
                "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                "Resource": kms_key_arn,
                "Condition": {
                    "StringEquals": {"kms:ViaService": f"s3.{args.region}.amazonaws.com"}
                },
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def job_conditions(
    args: SubmitterPolicyArgs, subnet_ids: Sequence[str], security_group_ids: Sequence[str]
) -> Mapping[str, Mapping[str, Any]]:
    """Return what a job must be like.

    ForAllValues is true of no values at all, so each such key must be there as well (Null: false).
    """
    lists = {
        "sagemaker:InstanceTypes": list(args.instance_types),
        "sagemaker:VpcSubnets": list(subnet_ids),
        "sagemaker:VpcSecurityGroupIds": list(security_group_ids),
    }
    limited = {key: values for key, values in lists.items() if values}
    conditions: dict[str, Mapping[str, Any]] = {
        "NumericLessThanEquals": {"sagemaker:MaxRuntimeInSeconds": str(args.max_runtime_seconds)},
        # A warm pool is billed after its job, which no limit of ours would count.
        "NumericLessThanEqualsIfExists": {"sagemaker:KeepAlivePeriod": "0"},
    }
    if limited:
        conditions["ForAllValues:StringEquals"] = limited
        conditions["Null"] = dict.fromkeys(limited, "false")
    return conditions


def _image_statements(args: SubmitterPolicyArgs) -> list[dict[str, Any]]:
    return [
        {
            "Sid": "SignInToRegistry",
            "Effect": "Allow",
            "Action": "ecr:GetAuthorizationToken",
            "Resource": "*",  # the action knows no resources
        },
        {
            "Sid": "PushAndPullImages",
            "Effect": "Allow",
            "Action": [
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:CompleteLayerUpload",
                "ecr:DescribeImages",
                "ecr:DescribeRepositories",
                "ecr:GetDownloadUrlForLayer",
                "ecr:InitiateLayerUpload",
                "ecr:ListImages",
                "ecr:PutImage",
                "ecr:UploadLayerPart",
            ],
            "Resource": [
                repository_arn(args.region, args.account_id, name) for name in args.repository_names
            ],
        },
    ]
