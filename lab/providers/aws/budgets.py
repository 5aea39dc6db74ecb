"""AWS Budgets. They are the account's, in no region."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lab.providers.aws.convert import to_api
from lab.providers.aws.kind import (
    AutoName,
    Cloud,
    Kind,
    Values,
    all_tags,
    change_tags,
    facts,
    names,
    present,
    tag_list,
    tag_map,
    tag_outputs,
)

_TIME = "%Y-%m-%d_%H:%M"
_NEVER = "2087-06-15_00:00"


class Budget(Kind):
    """A budget and its notifications. Its id is account:name."""

    urn_type = "aws:budgets/budget:Budget"
    auto_name = AutoName("name", 100)
    defaults = facts(timePeriodEnd=_NEVER)
    allowed = facts(timeUnit=("DAILY", "MONTHLY", "QUARTERLY", "ANNUALLY", "CUSTOM"))
    replace_on = names("name namePrefix accountId")
    not_done = names("autoAdjustData billingViewArn filterExpression metrics plannedLimits")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        account = inputs.get("accountId") or cloud.account_id
        cloud.client("budgets").create_budget(
            AccountId=account,
            Budget=self._budget(cloud, inputs),
            **present(ResourceTags=tag_list(all_tags(inputs))),
        )
        return f"{account}:{inputs['name']}"

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        account, _, name = id_.partition(":")
        budgets = cloud.client("budgets")
        if old:
            budgets.update_budget(AccountId=account, NewBudget=self._budget(cloud, new))
        before, after = (
            [_notification(each) for each in values.get("notifications") or []]
            for values in (old, new)
        )
        where = {"AccountId": account, "BudgetName": name}
        for notification, subscribers in before:
            if (notification, subscribers) not in after:
                budgets.delete_notification(**where, Notification=notification)
        for notification, subscribers in after:
            if (notification, subscribers) not in before:
                budgets.create_notification(
                    **where, Notification=notification, Subscribers=subscribers
                )
        arn = _arn(cloud, account, name)
        change_tags(
            old,
            new,
            lambda tags: budgets.tag_resource(ResourceARN=arn, ResourceTags=tag_list(tags)),
            lambda keys: budgets.untag_resource(ResourceARN=arn, ResourceTagKeys=keys),
        )

    def _budget(self, cloud: Cloud, inputs: Values) -> dict[str, Any]:
        shape = cloud.client("budgets").meta.service_model.shape_for("Budget")
        budget: dict[str, Any] = {
            "BudgetName": inputs["name"],
            "BudgetType": inputs["budgetType"],
            "TimeUnit": inputs["timeUnit"],
        }
        if inputs.get("limitAmount"):
            budget["BudgetLimit"] = {
                "Amount": inputs["limitAmount"],
                "Unit": inputs.get("limitUnit", "USD"),
            }
        if inputs.get("costFilters"):
            budget["CostFilters"] = {each["name"]: each["values"] for each in inputs["costFilters"]}
        if inputs.get("costTypes"):
            budget["CostTypes"] = to_api(inputs["costTypes"], shape.members["CostTypes"])
        period = {
            edge: datetime.strptime(inputs[name], _TIME).replace(tzinfo=UTC)
            for edge, name in (("Start", "timePeriodStart"), ("End", "timePeriodEnd"))
            if inputs.get(name)
        }
        return {**budget, "TimePeriod": period}

    def is_same(self, name: str, old: Any, new: Any) -> bool:
        if name == "limitAmount" and old and new:
            try:
                return float(old) == float(new)
            except ValueError:
                return old == new
        return super().is_same(name, old, new)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        account, _, name = id_.partition(":")
        budgets = cloud.client("budgets")
        where = {"AccountId": account, "BudgetName": name}
        budget = budgets.describe_budget(**where)["Budget"]
        notifications = []
        for found in budgets.describe_notifications_for_budget(**where).get("Notifications", []):
            subscribers = budgets.describe_subscribers_for_notification(
                **where, Notification={k: v for k, v in found.items() if k != "NotificationState"}
            ).get("Subscribers", [])
            notifications.append(
                present(
                    comparisonOperator=found["ComparisonOperator"],
                    notificationType=found["NotificationType"],
                    threshold=found["Threshold"],
                    thresholdType=found.get("ThresholdType", "PERCENTAGE"),
                    subscriberEmailAddresses=_addresses(subscribers, "EMAIL"),
                    subscriberSnsTopicArns=_addresses(subscribers, "SNS"),
                )
            )
        arn = _arn(cloud, account, name)
        tags = budgets.list_tags_for_resource(ResourceARN=arn).get("ResourceTags", [])
        limit, period = budget.get("BudgetLimit", {}), budget.get("TimePeriod", {})
        amount = limit.get("Amount")
        given = state.get("limitAmount")
        filters = budget.get("CostFilters") or {}
        return {
            "arn": arn,
            "accountId": account,
            "name": name,
            "namePrefix": state.get("namePrefix", ""),
            "budgetType": budget["BudgetType"],
            "timeUnit": budget["TimeUnit"],
            "limitAmount": given if self.is_same("limitAmount", amount, given) else amount,
            "limitUnit": limit.get("Unit"),
            "costFilters": [
                {"name": key, "values": values} for key, values in sorted(filters.items())
            ],
            **({"notifications": notifications} if notifications else {}),
            "timePeriodStart": _moment(period.get("Start")),
            "timePeriodEnd": _moment(period.get("End")),
            **tag_outputs(cloud, tag_map(tags), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        account, _, name = id_.partition(":")
        cloud.client("budgets").delete_budget(AccountId=account, BudgetName=name)


def _arn(cloud: Cloud, account: str, name: str) -> str:
    return f"arn:{cloud.partition}:budgets::{account}:budget/{name}"


def _moment(value: Any) -> str | None:
    return value.astimezone(UTC).strftime(_TIME) if value else None


def _notification(given: Values) -> tuple[dict[str, Any], list[dict[str, str]]]:
    notification = {
        "ComparisonOperator": given["comparisonOperator"],
        "NotificationType": given["notificationType"],
        "Threshold": float(given["threshold"]),
        "ThresholdType": given["thresholdType"],
    }
    subscribers = [
        {"SubscriptionType": kind, "Address": address}
        for kind, name in (
            ("EMAIL", "subscriberEmailAddresses"),
            ("SNS", "subscriberSnsTopicArns"),
        )
        for address in sorted(given.get(name) or [])
    ]
    return notification, subscribers


def _addresses(subscribers: list[dict[str, str]], kind: str) -> list[str]:
    return [each["Address"] for each in subscribers if each["SubscriptionType"] == kind]


KINDS: tuple[Kind, ...] = (Budget(),)
