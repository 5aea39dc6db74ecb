"""Physical names: one function a kind of name, each within its service's length and characters.

A name reads ``<project>-<stack>-<role>-<digest>``. The digest is six hex digits of what the name
was made from, so that two stacks whose parts join to the same text still differ, and the same stack
gets the same name on every run. Names are fixed rather than random: they are known at preview, and
policies can name them.

A name that everyone on a cloud shares (bucket, storage account, vault, registry) is cut to fit and
keeps a longer digest, into which the account goes. Every other name that is too long raises
NameTooLongError: a silent cut would hide which is which.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass


class NameTooLongError(ValueError):
    """A name does not fit its service's limit."""


@dataclass(frozen=True, kw_only=True)
class NameScope:
    """What sets the names of one stack apart:

    ``account`` is the AWS account or the Azure subscription.
    """

    project: str
    stack: str
    account: str
    region: str

    @property
    def slug(self) -> str:
        """``<project>-<stack>`` in lower case letters, digits and single dashes."""
        return _slug(f"{self.project}-{self.stack}")


# --- AWS ------------------------------------------------------------------------------------------


def bucket_name(scope: NameScope, role: str) -> str:
    """S3 bucket: 3-63, shared by all accounts.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    return _shared(scope, role, limit=63, separator="-")


def iam_role_name(scope: NameScope, role: str) -> str:
    """IAM role:

    up to 64. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    return _joined("IAM role", scope, role, limit=64)


def iam_policy_name(scope: NameScope, role: str) -> str:
    """IAM managed policy:

    up to 128. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    return _joined("IAM policy", scope, role, limit=128)


def kms_alias_name(scope: NameScope, role: str) -> str:
    """KMS alias:

    up to 256 with ``alias/``.
    https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html
    """
    return _fitting("KMS alias", f"alias/{_path(scope, role)}", 256)


def repository_name(scope: NameScope, name: str) -> str:
    """ECR repository, ``<project>/<stack>/<name>``: 2-256.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
    """
    return _fitting("ECR repository", _path(scope, name), 256)


def event_rule_name(scope: NameScope, role: str) -> str:
    """EventBridge rule:

    up to 64. https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
    """
    return _joined("EventBridge rule", scope, role, limit=64)


def topic_name(scope: NameScope, role: str) -> str:
    """SNS topic: up to 256. https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html"""
    return _joined("SNS topic", scope, role, limit=256)


def aws_budget_name(scope: NameScope, role: str) -> str:
    """AWS budget: up to 100.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_Budget.html
    """
    return _joined("AWS budget", scope, role, limit=100)


def security_group_name(scope: NameScope, role: str) -> str:
    """EC2 security group: up to 255, not starting with ``sg-``.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html
    """
    return _joined("security group", scope, role, limit=255)


def studio_domain_name(scope: NameScope, role: str) -> str:
    """SageMaker domain: up to 63.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateDomain.html
    """
    return _joined("SageMaker domain", scope, role, limit=63)


# --- Azure ----------------------------------------------------------------------------------------
# Limits: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules


def resource_group_name(scope: NameScope, role: str) -> str:
    """Resource group: 1-90."""
    return _joined("resource group", scope, role, limit=90)


def storage_account_name(scope: NameScope, role: str) -> str:
    """Storage account: 3-24 lower case letters and digits, shared by all subscriptions."""
    return _shared(scope, role, limit=24, separator="")


def key_vault_name(scope: NameScope, role: str) -> str:
    """Key vault: 3-24 letters, digits and dashes, from a letter on, shared by all subscriptions."""
    return _shared(scope, role, limit=24, separator="-")


def container_registry_name(scope: NameScope, role: str) -> str:
    """Container registry: 5-50 letters and digits, shared by all subscriptions."""
    return _shared(scope, role, limit=50, separator="")


def workspace_name(scope: NameScope, role: str) -> str:
    """Azure ML workspace: 3-33."""
    return _joined("Azure ML workspace", scope, role, limit=33)


def log_analytics_name(scope: NameScope, role: str) -> str:
    """Log Analytics workspace: 4-63."""
    return _joined("Log Analytics workspace", scope, role, limit=63)


def application_insights_name(scope: NameScope, role: str) -> str:
    """Application Insights component: up to 260."""
    return _joined("Application Insights", scope, role, limit=260)


def identity_name(scope: NameScope, role: str) -> str:
    """User-assigned identity: 3-128."""
    return _joined("user-assigned identity", scope, role, limit=128)


def virtual_network_name(scope: NameScope, role: str) -> str:
    """Virtual network: 2-64."""
    return _joined("virtual network", scope, role, limit=64)


def network_security_group_name(scope: NameScope, role: str) -> str:
    """Network security group: 1-80."""
    return _joined("network security group", scope, role, limit=80)


def nat_gateway_name(scope: NameScope, role: str) -> str:
    """NAT gateway: 1-80."""
    return _joined("NAT gateway", scope, role, limit=80)


def public_ip_address_name(scope: NameScope, role: str) -> str:
    """Public IP address: 1-80."""
    return _joined("public IP address", scope, role, limit=80)


def private_dns_link_name(scope: NameScope, role: str) -> str:
    """Link of a private DNS zone to a virtual network: 1-80."""
    return _joined("private DNS link", scope, role, limit=80)


def private_endpoint_name(scope: NameScope, role: str) -> str:
    """Private endpoint: 2-64."""
    return _joined("private endpoint", scope, role, limit=64)


def azure_budget_name(scope: NameScope, role: str) -> str:
    """Consumption budget: 1-63."""
    return _joined("budget", scope, role, limit=63)


def diagnostic_setting_name(scope: NameScope, role: str) -> str:
    """Diagnostic setting: 1-260."""
    return _joined("diagnostic setting", scope, role, limit=260)


def compute_cluster_name(name: str) -> str:
    """Azure ML compute cluster or attached compute: 2-32, named as in config; its workspace keeps
    it apart.

    https://learn.microsoft.com/azure/machine-learning/how-to-create-attach-compute-cluster
    """
    return _fitting("compute cluster", name, 32)


def compute_instance_name(scope: NameScope, name: str) -> str:
    """Azure ML compute instance: 3-24, shared by a whole region, hence the digest.

    https://learn.microsoft.com/azure/machine-learning/how-to-create-compute-instance
    """
    digest = _digest(scope.project, scope.stack, scope.account, scope.region, name)[:6]
    return _fitting("compute instance", f"{_slug(name)}-{digest}", 24)


def role_assignment_name(*parts: str) -> str:
    """Role assignment: a GUID, the same for the same (scope, role, principal) on every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(parts)))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _digest(*parts: str) -> str:
    # NUL between the parts: ("a", "bc") and ("ab", "c") differ.
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _joined(kind: str, scope: NameScope, role: str, *, limit: int) -> str:
    digest = _digest(scope.project, scope.stack, scope.account, scope.region, role)[:6]
    return _fitting(kind, f"{scope.slug}-{_slug(role)}-{digest}", limit)


def _path(scope: NameScope, name: str) -> str:
    """Slashes are in none of the parts, so that no digest is needed unless a part had to be
    rewritten.
    """
    path = f"{_slug(scope.project)}/{_slug(scope.stack)}/{_slug(name)}"
    if path == f"{scope.project}/{scope.stack}/{name}":
        return path
    return f"{path}-{_digest(scope.project, scope.stack, name)[:6]}"


def _shared(scope: NameScope, role: str, *, limit: int, separator: str) -> str:
    digest = _digest(scope.project, scope.stack, scope.account, scope.region, role)[:10]
    base = f"{scope.slug}-{_slug(role)}".replace("-", separator)
    kept = base[: limit - len(digest) - len(separator)].rstrip("-")
    return f"{kept}{separator}{digest}"


def _fitting(kind: str, name: str, limit: int) -> str:
    if len(name) > limit:
        raise NameTooLongError(
            f"the {kind} name {name!r} has {len(name)} characters; the limit is {limit}. "
            "Shorten it, the stack's name or the project's"
        )
    return name
