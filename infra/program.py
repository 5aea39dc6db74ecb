"""The Pulumi program: settings in, components for each cloud, StackOutputs out."""

from __future__ import annotations

from typing import Any

import pulumi

from infra import settings as stack_settings
from infra.outputs import StackOutputs


def main() -> None:
    """Deploy what the running stack's settings say, and export its outputs."""
    settings = stack_settings.load()
    for name, value in build(settings).as_exports().items():
        pulumi.export(name, value)


def build(settings: stack_settings.Settings) -> StackOutputs:
    """Register every component of the settings' clouds. Fields may still be pulumi.Output.

    A cloud's SDK is imported only where the stack uses that cloud: each takes a while.
    """
    fields: dict[str, Any] = {}
    if settings.azure is not None and "azure" in settings.active_clouds:
        from infra import azure_stack, providers

        azure = providers.azure_provider(settings.azure)
        fields |= azure_stack.build(settings.azure, settings, azure)
    if settings.aws is not None and "aws" in settings.active_clouds:
        from infra import aws_stack, providers

        aws = providers.aws_provider(settings.aws, settings)
        fields |= aws_stack.build(settings.aws, settings, aws)
    return StackOutputs(
        stack_name=settings.stack,
        environment=settings.environment,
        owner=settings.owner,
        clouds=settings.active_clouds,
        tags=settings.all_tags,
        job_price_cap_usd=settings.job_price_cap_usd,
        **fields,
    )
