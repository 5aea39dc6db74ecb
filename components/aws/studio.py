"""SageMaker Studio: a domain in the training network and a profile a data scientist."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from components.aws.arn import partition
from components.aws.execution_role import trust_policy


@dataclass(frozen=True, kw_only=True)
class StudioArgs:
    """What Studio is made of."""

    domain_name: str
    role_name: str
    account_id: str
    region: str
    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_ids: pulumi.Input[Sequence[str]]
    # What a submitter may do, a Studio user may do.
    submitter_policy_arn: pulumi.Input[str]
    user_profiles: Sequence[str]
    instance_type: str = "ml.t3.medium"
    # What a user may choose besides; empty: nothing dearer.
    other_instance_types: Sequence[str] = ()
    idle_timeout_minutes: int = 60
    app_network_access_type: Literal["VpcOnly", "PublicInternetOnly"] = "VpcOnly"
    kms_key_arn: pulumi.Input[str] | None = None
    retain_home: bool = True

    def __post_init__(self) -> None:
        if not 60 <= self.idle_timeout_minutes <= 525_600:
            raise ValueError(
                f"idle_timeout_minutes is {self.idle_timeout_minutes}; it must be 60 to 525600"
            )


class Studio(pulumi.ComponentResource):
    """Studio domain whose apps shut down when idle, and user profiles that may submit jobs.

    Profiles share one role: the submitter policy, and their own apps and spaces, on the instance
    types that are given and no others. An app is billed while it runs, a profile's home file system
    by what it holds. Deleting the domain fails while apps run; the homes are kept unless told
    otherwise.
    https://docs.aws.amazon.com/sagemaker/latest/dg/studio-updated-idle-shutdown.html
    """

    domain_id: pulumi.Output[str]
    role_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: StudioArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:Studio", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-role",
            name=args.role_name,
            description="SageMaker Studio apps run as this role.",
            assume_role_policy=json.dumps(trust_policy(args.account_id)),
            opts=child,
        )
        aws.iam.RolePolicy(
            f"{name}-policy",
            name="studio",
            role=role.name,
            policy=pulumi.Output.from_input(args.kms_key_arn).apply(
                lambda arn: json.dumps(studio_policy(args, arn))
            ),
            opts=child,
        )
        aws.iam.RolePolicyAttachment(
            f"{name}-submitter", role=role.name, policy_arn=args.submitter_policy_arn, opts=child
        )
        domain = aws.sagemaker.Domain(
            f"{name}-domain",
            domain_name=args.domain_name,
            auth_mode="IAM",
            vpc_id=args.vpc_id,
            subnet_ids=args.subnet_ids,
            app_network_access_type=args.app_network_access_type,
            kms_key_id=args.kms_key_arn,
            tag_propagation="ENABLED",  # an app's cost carries the stack's tags
            default_user_settings=user_settings(args, role.arn),
            retention_policy=aws.sagemaker.DomainRetentionPolicyArgs(
                home_efs_file_system="Retain" if args.retain_home else "Delete"
            ),
            # The name is fixed and AWS keeps it unique: the new domain cannot be made beside the old one.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        for profile in args.user_profiles:
            aws.sagemaker.UserProfile(
                f"{name}-{profile}",
                domain_id=domain.id,
                user_profile_name=profile,
                opts=child,
            )
        self.domain_id = domain.id
        self.role_arn = role.arn
        self.register_outputs({"domain_id": self.domain_id, "role_arn": self.role_arn})


def user_settings(
    args: StudioArgs, role_arn: pulumi.Input[str]
) -> aws.sagemaker.DomainDefaultUserSettingsArgsDict:
    """Return the settings of every profile: its apps shut down when idle."""
    app: Any = {
        "default_resource_spec": {"instance_type": args.instance_type},
        "app_lifecycle_management": {
            "idle_settings": {
                "lifecycle_management": "ENABLED",
                "idle_timeout_in_minutes": args.idle_timeout_minutes,
                "min_idle_timeout_in_minutes": 60,
                # A user may shorten it, not lengthen it.
                "max_idle_timeout_in_minutes": args.idle_timeout_minutes,
            }
        },
    }
    return {
        "execution_role": role_arn,
        "security_groups": args.security_group_ids,
        "jupyter_lab_app_settings": app,
        "code_editor_app_settings": app,
    }


def studio_policy(args: StudioArgs, kms_key_arn: str | None) -> dict[str, Any]:
    """Return what a Studio user may do besides submitting jobs: run their own apps.

    https://docs.aws.amazon.com/sagemaker/latest/dg/security_iam_id-based-policy-examples.html
    """
    here = f"arn:{partition(args.region)}:sagemaker:{args.region}:{args.account_id}"
    own = f"{here}:user-profile/${{sagemaker:DomainId}}/${{sagemaker:UserProfileName}}"
    apps = [
        f"{here}:app/${{sagemaker:DomainId}}/*",
        f"{here}:space/${{sagemaker:DomainId}}/*",
    ]
    own_private: dict[str, Any] = {
        "ArnLike": {"sagemaker:OwnerUserProfileArn": own},
        "StringEquals": {"sagemaker:SpaceSharingType": "Private"},
    }
    statements: list[dict[str, Any]] = [
        {
            "Sid": "SeeStudio",
            "Effect": "Allow",
            "Action": [
                "sagemaker:DescribeApp",
                "sagemaker:DescribeDomain",
                "sagemaker:DescribeSpace",
                "sagemaker:DescribeUserProfile",
            ],
            "Resource": f"{here}:*",
        },
        {
            "Sid": "ListStudio",
            "Effect": "Allow",
            "Action": [
                "sagemaker:ListApps",
                "sagemaker:ListDomains",
                "sagemaker:ListSpaces",
                "sagemaker:ListUserProfiles",
            ],
            "Resource": "*",  # these actions know no resources
        },
        {
            "Sid": "RunOwnPrivateApps",
            "Effect": "Allow",
            "Action": ["sagemaker:CreateApp", "sagemaker:CreateSpace", "sagemaker:UpdateSpace"],
            "Resource": apps,
            "Condition": own_private
            | {
                # `system` is what an app's own server runs on, free of charge.
                "ForAllValues:StringEquals": {
                    "sagemaker:InstanceTypes": [
                        args.instance_type,
                        *args.other_instance_types,
                        "system",
                    ]
                },
            },
        },
        {
            "Sid": "RemoveOwnPrivateApps",
            "Effect": "Allow",
            "Action": ["sagemaker:DeleteApp", "sagemaker:DeleteSpace"],
            "Resource": apps,
            "Condition": own_private,
        },
        {
            "Sid": "TagAppsAtCreation",
            "Effect": "Allow",
            "Action": "sagemaker:AddTags",
            "Resource": apps,
            # The domain hands its tags on to them.
            "Condition": {
                "StringEquals": {"sagemaker:TaggingAction": ["CreateApp", "CreateSpace"]}
            },
        },
        {
            "Sid": "OpenOwnProfile",
            "Effect": "Allow",
            "Action": "sagemaker:CreatePresignedDomainUrl",
            "Resource": own,
        },
    ]
    if kms_key_arn is not None:
        statements += [
            {
                "Sid": "LendKeyToHomes",
                "Effect": "Allow",
                "Action": "kms:CreateGrant",
                "Resource": kms_key_arn,
                "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
            },
            {
                "Sid": "UseKeyForHomes",
                "Effect": "Allow",
                "Action": ["kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"],
                "Resource": kms_key_arn,
            },
        ]
    return {"Version": "2012-10-17", "Statement": statements}
