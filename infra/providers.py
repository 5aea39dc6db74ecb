"""Explicit providers: which account, region and subscription a stack deploys to.

Every resource is given one of these. Ambient default providers are off (Pulumi.yaml says so), so
nothing lands in whatever account a shell happens to be signed in to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.aws_settings import AwsSettings
from infra.azure_settings import AzureSettings
from infra.common_settings import CommonSettings

if TYPE_CHECKING:  # each SDK takes a while to import, and a stack may use one cloud only
    import pulumi_aws as aws
    import pulumi_azure_native as azure_native


def azure_provider(settings: AzureSettings) -> azure_native.Provider:
    """Return the provider of the stack's Azure subscription, in the stack's tenant."""
    import pulumi_azure_native as azure_native

    return azure_native.Provider(
        "azure",
        subscription_id=settings.subscription_id,
        tenant_id=settings.tenant_id,
        location=settings.location,
    )


def aws_provider(settings: AwsSettings, common: CommonSettings) -> aws.Provider:
    """Return the provider of the stack's AWS account; another account's credentials are refused.

    It gives every resource the stack's tags.
    """
    import pulumi_aws as aws

    return aws.Provider(
        "aws",
        region=settings.region,
        profile=settings.profile,
        allowed_account_ids=[settings.account_id],
        default_tags=aws.ProviderDefaultTagsArgs(tags=dict(common.all_tags)),
    )
