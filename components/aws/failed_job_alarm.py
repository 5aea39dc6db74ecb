"""Mail when a training job fails, by EventBridge and SNS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class FailedJobAlarmArgs:
    """Whom to tell, and about which jobs: those that run as one of these roles."""

    rule_name: str
    topic_name: str
    role_arns: Sequence[str]
    contacts: Sequence[str] = ()


class FailedJobAlarm(pulumi.ComponentResource):
    """EventBridge rule on failed training jobs of the stack's roles, and the SNS topic it tells.

    A mail has the job's name, when and where, and nothing of its data or hyperparameters. Each
    contact confirms the subscription once, by a link in a mail from AWS. Costs nothing while no
    job fails.
    https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
    """

    topic_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: FailedJobAlarmArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:FailedJobAlarm", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        topic = aws.sns.Topic(f"{name}-topic", name=args.topic_name, opts=child)
        rule = aws.cloudwatch.EventRule(
            f"{name}-rule",
            name=args.rule_name,
            description="A training job of this stack failed.",
            event_pattern=json.dumps(event_pattern(args.role_arns)),
            opts=child,
        )
        aws.sns.TopicPolicy(
            f"{name}-topic-policy",
            arn=topic.arn,
            policy=pulumi.Output.all(topic.arn, rule.arn).apply(
                lambda arns: json.dumps(topic_policy(topic_arn=arns[0], rule_arn=arns[1]))
            ),
            opts=child,
        )
        aws.cloudwatch.EventTarget(
            f"{name}-target",
            rule=rule.name,
            target_id="mail",
            arn=topic.arn,
            input_transformer=aws.cloudwatch.EventTargetInputTransformerArgs(
                input_paths={
                    "job": "$.detail.TrainingJobName",
                    "region": "$.region",
                    "time": "$.time",
                },
                input_template=json.dumps(
                    "Training job <job> in <region> failed at <time>. See why with: "
                    "trainstack status aws-sagemaker://<region>/<job>"
                ),
            ),
            opts=child,
        )
        for index, contact in enumerate(args.contacts):
            aws.sns.TopicSubscription(
                f"{name}-mail-{index}",
                topic=topic.arn,
                protocol="email",
                endpoint=contact,
                opts=child,
            )
        self.topic_arn = topic.arn
        self.register_outputs({"topic_arn": self.topic_arn})


def event_pattern(role_arns: Sequence[str]) -> dict[str, Any]:
    """Return which events count: failures of jobs that run as one of the roles."""
    return {
        "source": ["aws.sagemaker"],
        "detail-type": ["SageMaker Training Job State Change"],
        "detail": {"TrainingJobStatus": ["Failed"], "RoleArn": list(role_arns)},
    }


def topic_policy(*, topic_arn: str, rule_arn: str) -> dict[str, Any]:
    """Return who may publish: EventBridge for this rule, over TLS.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "PublishFromRule",
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sns:Publish",
                "Resource": topic_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}},
            },
            {
                "Sid": "RefuseUnencryptedTransport",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sns:Publish",
                "Resource": topic_arn,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }
