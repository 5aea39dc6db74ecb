"""Where a workspace's logs and metrics go: Log Analytics, and Application Insights on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """What the monitoring of a workspace is made of."""

    log_analytics_name: str
    application_insights_name: str
    resource_group_name: pulumi.Input[str]
    location: str
    # Days; up to 30 are within the price of writing.
    retention_in_days: int = 30
    # Gigabytes a day; writing stops there until the next day, so that no loop runs up a bill.
    daily_quota_gb: float = 1.0
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 30 <= self.retention_in_days <= 730:
            raise ValueError(f"retention_in_days is {self.retention_in_days}; it must be 30 to 730")
        if self.daily_quota_gb <= 0:
            raise ValueError(f"daily_quota_gb is {self.daily_quota_gb}; it must be more than 0")


class Monitoring(pulumi.ComponentResource):
    """Log Analytics with a daily limit, and Application Insights kept in it, by identity only.

    Billed by the gigabyte written; silence costs nothing. A deleted Log Analytics workspace keeps
    its name for 14 days, and comes back with its data if made again in that time.
    """

    log_analytics_id: pulumi.Output[str]
    application_insights_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:Monitoring", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        logs = azure_native.operationalinsights.Workspace(
            f"{name}-logs",
            workspace_name=args.log_analytics_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            sku=azure_native.operationalinsights.WorkspaceSkuArgs(name="PerGB2018"),
            retention_in_days=args.retention_in_days,
            workspace_capping=azure_native.operationalinsights.WorkspaceCappingArgs(
                daily_quota_gb=args.daily_quota_gb
            ),
            # Shared keys off: agents and readers sign in.
            features=azure_native.operationalinsights.WorkspaceFeaturesArgs(
                disable_local_auth=True, enable_log_access_using_only_resource_permissions=True
            ),
            tags=args.tags,
            opts=child,
        )
        self.log_analytics_id = logs.id
        insights = azure_native.applicationinsights.Component(
            f"{name}-insights",
            resource_name_=args.application_insights_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            kind="web",
            application_type="web",
            ingestion_mode="LogAnalytics",
            workspace_resource_id=logs.id,
            tags=args.tags,
            opts=child,
        )
        self.application_insights_id = insights.id
        self.register_outputs(
            {
                "log_analytics_id": self.log_analytics_id,
                "application_insights_id": self.application_insights_id,
            }
        )
