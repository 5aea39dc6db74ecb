"""CloudWatch log group that SageMaker writes training logs to."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.execution_role import TRAINING_LOG_GROUP

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731,
    1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingLogGroupArgs:
    """What the log group is made of."""

    retention_days: int = 30
    # None encrypts with CloudWatch's own key.
    kms_key_arn: pulumi.Input[str] | None = None
    # Leave the group and its logs when the stack is destroyed.
    keep_on_destroy: bool = False

    def __post_init__(self) -> None:
        if self.retention_days not in RETENTION_DAYS:
            raise ValueError(
                f"retention_days is {self.retention_days}; it must be one of "
                f"{', '.join(map(str, RETENTION_DAYS))}"
            )


class TrainingLogGroup(pulumi.ComponentResource):
    """Log group of every training job of the account and region, whose logs expire.

    SageMaker fixes its name. Left to itself it makes the group at the first job and keeps logs for
    good; this makes it first. Only one stack of an account and region can own it. Billed by what is
    written and kept; idle, it is free.
    https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
    """

    log_group_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: TrainingLogGroupArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:TrainingLogGroup", name, {}, opts)
        group = aws.cloudwatch.LogGroup(
            f"{name}-log-group",
            name=TRAINING_LOG_GROUP,
            retention_in_days=args.retention_days,
            kms_key_id=args.kms_key_arn,
            skip_destroy=args.keep_on_destroy,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.log_group_name = group.name
        self.register_outputs({"log_group_name": self.log_group_name})
