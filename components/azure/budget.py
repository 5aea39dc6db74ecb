"""The monthly budget of a resource group."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class BudgetArgs:
    """What a budget is made of. The amount is in the subscription's billing currency."""

    budget_name: str
    # The ARM id of what it counts: a resource group.
    scope: pulumi.Input[str]
    monthly_amount: float
    contact_emails: Sequence[str]
    alert_percentages: Sequence[int] = (50, 80, 100)
    # Fixed by config: a change replaces the budget. None starts with ``month_of_creation``.
    start_date: datetime.date | None = None
    # Counts when the budget is created, and never again.
    month_of_creation: datetime.date

    def __post_init__(self) -> None:
        if self.monthly_amount <= 0:
            raise ValueError(f"monthly_amount is {self.monthly_amount}; it must be more than 0")
        if not self.contact_emails:
            raise ValueError("contact_emails is empty; it must name whom to mail")
        # https://learn.microsoft.com/rest/api/consumption/budgets/create-or-update
        if not 1 <= len(self.alert_percentages) <= 5:
            raise ValueError(
                f"alert_percentages is {tuple(self.alert_percentages)}; Azure takes 1 to 5"
            )


class Budget(pulumi.ComponentResource):
    """Monthly budget that mails when the month's cost passes a percentage, and when it is forecast
    to pass all of it. Free. It stops nothing, and a day or so may pass before a cost is seen.
    """

    budget_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: BudgetArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:Budget", name, {}, opts)
        start = args.start_date or args.month_of_creation.replace(day=1)
        # Azure takes no start before the month of creation, and never moves it afterwards.
        options = pulumi.ResourceOptions(parent=self, ignore_changes=["timePeriod"])
        if args.start_date is not None:
            options = pulumi.ResourceOptions(
                parent=self,
                replace_on_changes=["timePeriod.startDate"],
                delete_before_replace=True,
            )
        budget = azure_native.consumption.Budget(
            f"{name}-budget",
            budget_name=args.budget_name,
            scope=args.scope,
            category=azure_native.consumption.CategoryType.COST,
            time_grain=azure_native.consumption.TimeGrainType.MONTHLY,
            amount=args.monthly_amount,
            time_period=azure_native.consumption.BudgetTimePeriodArgs(
                start_date=f"{start.isoformat()}T00:00:00Z"
            ),
            notifications=notifications(args),
            opts=options,
        )
        self.budget_id = budget.id
        self.register_outputs({"budget_id": self.budget_id})


def notifications(args: BudgetArgs) -> dict[str, azure_native.consumption.NotificationArgs]:
    """Return a mail for each percentage, and, where one of Azure's five is left, a forecast."""
    kinds = [(percentage, "Actual") for percentage in args.alert_percentages]
    if len(kinds) < 5:
        kinds.append((100, "Forecasted"))
    return {
        f"{kind.lower()}-{percentage}": azure_native.consumption.NotificationArgs(
            enabled=True,
            operator=azure_native.consumption.OperatorType.GREATER_THAN_OR_EQUAL_TO,
            threshold=percentage,
            threshold_type=kind,
            contact_emails=list(args.contact_emails),
        )
        for percentage, kind in kinds
    }
