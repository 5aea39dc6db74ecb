"""Customer-managed KMS key for what the stack stores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.arn import dns_suffix, partition


@dataclass(frozen=True, kw_only=True)
class EncryptionKeyArgs:
    """What a key is made of."""

    alias_name: str
    account_id: str
    region: str
    rotation_period_days: int = 365
    deletion_window_days: int = 30
    # Pulumi refuses to delete the key until it is unprotected by hand.
    protect: bool = False

    def __post_init__(self) -> None:
        if not self.alias_name.startswith("alias/"):
            raise ValueError(f"alias_name is {self.alias_name!r}; it must start with alias/")
        for name, least, most in (
            ("rotation_period_days", 90, 2560),
            ("deletion_window_days", 7, 30),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}; it must be {least} to {most}")


class EncryptionKey(pulumi.ComponentResource):
    """KMS key that rotates by itself and that only the account's IAM policies give out.

    A deleted key is kept for the deletion window; what it encrypted is lost after that. It is
    billed by the month, and again for each rotation kept, up to two.
    https://aws.amazon.com/kms/pricing/
    """

    key_arn: pulumi.Output[str]
    alias_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: EncryptionKeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:EncryptionKey", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = aws.kms.Key(
            f"{name}-key",
            description="Training data, artifacts, images and logs.",
            enable_key_rotation=True,
            rotation_period_in_days=args.rotation_period_days,
            deletion_window_in_days=args.deletion_window_days,
            policy=json.dumps(key_policy(args.account_id, args.region)),
            # The key alone: its alias may move.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        alias = aws.kms.Alias(
            f"{name}-alias", name=args.alias_name, target_key_id=key.key_id, opts=child
        )
        self.key_arn = key.arn
        self.alias_name = alias.name
        self.register_outputs({"key_arn": self.key_arn, "alias_name": self.alias_name})


def key_policy(account_id: str, region: str) -> dict[str, Any]:
    """Return who may use the key: whom the account's IAM policies say, and CloudWatch Logs.

    Logs may use it for the account's own log groups only.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
    """
    here = f"arn:{partition(region)}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AccountDecidesByIam",
                "Effect": "Allow",
                "Principal": {"AWS": f"{here}:iam::{account_id}:root"},
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Sid": "EncryptLogGroups",
                "Effect": "Allow",
                "Principal": {"Service": f"logs.{region}.{dns_suffix(region)}"},
                "Action": [
                    "kms:Encrypt*",
                    "kms:Decrypt*",
                    "kms:ReEncrypt*",
                    "kms:GenerateDataKey*",
                ],
                "Resource": "*",
                "Condition": {
                    "ArnLike": {
                        "kms:EncryptionContext:aws:logs:arn": (
                            f"{here}:logs:{region}:{account_id}:log-group:*"
                        )
                    }
                },
            },
        ],
    }
