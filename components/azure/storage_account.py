"""The storage account of a workspace: jobs' code, inputs, logs and models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class StorageAccountArgs:
    """What a storage account is made of."""

    account_name: str
    resource_group_name: pulumi.Input[str]
    location: str
    sku: str = "Standard_LRS"
    # Days that a deleted blob or container can be brought back.
    delete_retention_days: int = 7
    # Containers beside those that the workspace makes for itself.
    container_names: tuple[str, ...] = ()
    # False closes the public endpoint: only private endpoints and Azure's own services reach it.
    public_network_access: bool = True
    protect: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.delete_retention_days <= 365:
            raise ValueError(
                f"delete_retention_days is {self.delete_retention_days}; it must be 1 to 365"
            )
        if len(set(self.container_names)) != len(self.container_names):
            raise ValueError(
                f"container_names is {self.container_names}; each must be there once only"
            )


class StorageAccount(pulumi.ComponentResource):
    """Storage account that is reached by identity only, over TLS 1.2, with nothing public.

    It has no shared keys, so no key or account SAS can leak: whoever reads it needs a role on it.
    https://learn.microsoft.com/azure/machine-learning/how-to-disable-local-auth-storage
    Deleting it takes all its data at once, and deleting a container that container's, for good after
    ``delete_retention_days``; ``protect`` makes Pulumi refuse both. Billed by what is stored; an
    empty one costs nothing.
    """

    account_name: pulumi.Output[str]
    account_id: pulumi.Output[str]
    # What diagnostic settings of the blobs are attached to.
    blob_service_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: StorageAccountArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:StorageAccount", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        storage = azure_native.storage
        account = azure_native.storage.StorageAccount(
            f"{name}-account",
            account_name=args.account_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            kind=storage.Kind.STORAGE_V2,
            sku=storage.SkuArgs(name=args.sku),
            access_tier=storage.AccessTier.HOT,
            allow_shared_key_access=False,
            default_to_o_auth_authentication=True,
            allow_blob_public_access=False,
            allow_cross_tenant_replication=False,
            is_local_user_enabled=False,
            enable_https_traffic_only=True,
            minimum_tls_version=storage.MinimumTlsVersion.TLS1_2,
            public_network_access=_enabled(args.public_network_access),
            network_rule_set=storage.NetworkRuleSetArgs(
                default_action=(
                    storage.DefaultAction.ALLOW
                    if args.public_network_access
                    else storage.DefaultAction.DENY
                ),
                bypass=storage.Bypass.AZURE_SERVICES,
            ),
            tags=args.tags,
            # The data goes with the account, at once and for good.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        self.account_name = account.name
        self.account_id = account.id

        retention = storage.DeleteRetentionPolicyArgs(enabled=True, days=args.delete_retention_days)
        blobs = azure_native.storage.BlobServiceProperties(
            f"{name}-blobs",
            account_name=account.name,
            blob_services_name="default",
            resource_group_name=args.resource_group_name,
            delete_retention_policy=retention,
            container_delete_retention_policy=retention,
            opts=child,
        )
        self.blob_service_id = blobs.id
        for container_name in args.container_names:
            azure_native.storage.BlobContainer(
                f"{name}-{container_name}",
                container_name=container_name,
                account_name=account.name,
                resource_group_name=args.resource_group_name,
                public_access=storage.PublicAccess.NONE,
                # A datastore taken out of config would take its data along.
                opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
            )
        self.register_outputs(
            {
                "account_name": self.account_name,
                "account_id": self.account_id,
                "blob_service_id": self.blob_service_id,
            }
        )


def _enabled(is_enabled: bool) -> str:
    return "Enabled" if is_enabled else "Disabled"
