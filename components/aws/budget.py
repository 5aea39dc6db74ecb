"""Monthly AWS budget of what carries the stack's tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class BudgetArgs:
    """How much, counted over which tag, and who is told at which percentages."""

    budget_name: str
    monthly_usd: float
    tag: tuple[str, str]
    alert_percentages: Sequence[int]
    contacts: Sequence[str]

    def __post_init__(self) -> None:
        if self.monthly_usd <= 0:
            raise ValueError(f"monthly_usd is {self.monthly_usd}; it must be above 0")
        if not self.contacts:
            raise ValueError("contacts is empty; it must name whom to mail")


class Budget(pulumi.ComponentResource):
    """Monthly cost budget that mails its contacts; it stops nothing.

    It counts by tag, so the tag has to be activated once as a cost allocation tag in the account
    that pays, and jobs have to carry the stack's tags, as the training module's do. It is free.
    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html
    """

    budget_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: BudgetArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:Budget", name, {}, opts)
        key, value = args.tag
        budget = aws.budgets.Budget(
            f"{name}-budget",
            name=args.budget_name,
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{args.monthly_usd:.2f}",
            limit_unit="USD",
            cost_filters=[
                aws.budgets.BudgetCostFilterArgs(name="TagKeyValue", values=[f"user:{key}${value}"])
            ],
            notifications=[
                aws.budgets.BudgetNotificationArgs(
                    comparison_operator="GREATER_THAN",
                    notification_type="ACTUAL",
                    threshold=float(percentage),
                    threshold_type="PERCENTAGE",
                    subscriber_email_addresses=list(args.contacts),
                )
                for percentage in args.alert_percentages
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.budget_name = budget.name
        self.register_outputs({"budget_name": self.budget_name})
