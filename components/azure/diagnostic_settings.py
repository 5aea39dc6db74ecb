"""What a workspace and its neighbours write to Log Analytics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_azure_native as azure_native

CATEGORY_GROUPS = ("audit", "allLogs")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A resource whose logs are kept; ``audit`` says who did what, ``allLogs`` all there is."""

    resource_id: pulumi.Input[str]
    category_group: str = "audit"

    def __post_init__(self) -> None:
        if self.category_group not in CATEGORY_GROUPS:
            raise ValueError(
                f"category_group is {self.category_group!r}; "
                f"it must be one of {', '.join(CATEGORY_GROUPS)}"
            )


@dataclass(frozen=True, kw_only=True)
class DiagnosticSettingsArgs:
    """Whose logs go where; ``sources`` by a short name of each."""

    setting_name: str
    log_analytics_id: pulumi.Input[str]
    sources: Mapping[str, Source]


class DiagnosticSettings(pulumi.ComponentResource):
    """One diagnostic setting a source. Billed by the gigabyte written, within the daily limit.

    https://learn.microsoft.com/azure/azure-monitor/platform/diagnostic-settings
    """

    def __init__(
        self, name: str, args: DiagnosticSettingsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:DiagnosticSettings", name, {}, opts)
        for source_name, source in args.sources.items():
            azure_native.monitor.DiagnosticSetting(
                f"{name}-{source_name}",
                name=args.setting_name,
                resource_uri=source.resource_id,
                workspace_id=args.log_analytics_id,
                logs=[
                    azure_native.monitor.DiagnosticsLogSettingsArgs(
                        category_group=source.category_group, enabled=True
                    )
                ],
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
