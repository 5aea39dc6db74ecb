"""Asks the clouds for the quotas that a stack needs: for ``doctor`` and for ``review --quota``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.outputs import StackOutputs
    from review.quota import QuotaFinding
    from training.backends.base import Check


class QuotaError(Exception):
    """A cloud's quotas cannot be read. The message says why, and the way out."""


def ask_quotas(outputs: StackOutputs) -> list[QuotaFinding]:
    """Compare what a stack allows with both clouds' quotas. Raises QuotaError, such as for lack of credentials."""
    from azure.core.exceptions import AzureError
    from botocore.exceptions import BotoCoreError, ClientError

    found: list[QuotaFinding] = []
    for cloud, ask in (("aws", _ask_aws), ("azure", _ask_azure)):
        try:
            found += ask(outputs)
        except (AzureError, BotoCoreError, ClientError) as error:
            raise QuotaError(
                f"the quotas on {cloud} cannot be read: {str(error).splitlines()[0]}. Sign in with rights to read "
                "them, or leave out --quota; see: trainstack doctor"
            ) from error
    return found


def ask_where_signed_in(outputs: StackOutputs) -> list[QuotaFinding]:
    """Compare with the quotas of the clouds whose credentials the environment names; a cloud that refuses is said.

    Only the environment is looked at, as in a pull request's run: a review on somebody's desk makes no call.
    """
    signed_in = [
        (cloud, ask)
        for cloud, ask, names in (
            ("aws", _ask_aws, ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")),
            ("azure", _ask_azure, ("AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE")),
        )
        if any(os.environ.get(name) for name in names)
    ]
    if not signed_in:
        return []
    import click
    from azure.core.exceptions import AzureError
    from botocore.exceptions import BotoCoreError, ClientError

    found: list[QuotaFinding] = []
    for cloud, ask in signed_in:
        try:
            found += ask(outputs)
        except (AzureError, BotoCoreError, ClientError) as error:
            reason = str(error).splitlines()[0]
            click.echo(f"the quotas on {cloud} were not checked: {reason}", err=True)
    return found


def quota_check(cloud: str, outputs: StackOutputs) -> Check:
    """Return one line of ``doctor``. A right to read quotas that is missing is no failure."""
    from azure.core.exceptions import AzureError
    from botocore.exceptions import BotoCoreError, ClientError

    from training.backends.base import Check

    name = f"{cloud}: quotas"
    try:
        findings = _ask_aws(outputs) if cloud == "aws" else _ask_azure(outputs)
    except (AzureError, BotoCoreError, ClientError) as error:
        detail = str(error).splitlines()[0]
        return Check(name=name, result="unknown", detail=f"they cannot be read: {detail}")
    if not findings:
        return Check(name=name, result="ok", detail="the stack's maximum is within them")
    return Check(name=name, result="failed", detail=" ".join(finding.text for finding in findings))


def _ask_aws(outputs: StackOutputs) -> list[QuotaFinding]:
    from review.quota import fetch_sagemaker, sagemaker_findings

    if not outputs.aws_region or not outputs.aws_allowed_instance_types:
        return []
    import boto3

    client = boto3.client("service-quotas", region_name=outputs.aws_region)
    wanted = dict.fromkeys(outputs.aws_allowed_instance_types, 1)
    return sagemaker_findings(wanted, fetch_sagemaker(client))


def _ask_azure(outputs: StackOutputs) -> list[QuotaFinding]:
    from review.quota import azure_findings, fetch_azure

    if not outputs.azure_location or not outputs.azure_compute_clusters:
        return []
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    client = MLClient(
        DefaultAzureCredential(),
        outputs.require("azure_subscription_id"),
        outputs.require("azure_resource_group_name"),
        outputs.require("azure_workspace_name"),
    )
    sizes, usages = fetch_azure(client, outputs.azure_location)
    return azure_findings(outputs.azure_compute_clusters, sizes, usages)
