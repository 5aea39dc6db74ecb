"""The key vault of a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class KeyVaultArgs:
    """What a key vault is made of."""

    vault_name: str
    resource_group_name: pulumi.Input[str]
    location: str
    tenant_id: str
    # Nobody, not even Microsoft, can purge it before its retention ends. Cannot be undone.
    purge_protection: bool = False
    # Days; fixed once the vault exists.
    soft_delete_retention_in_days: int = 7
    public_network_access: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 7 <= self.soft_delete_retention_in_days <= 90:
            raise ValueError(
                f"soft_delete_retention_in_days is {self.soft_delete_retention_in_days}; "
                "it must be 7 to 90"
            )


class KeyVault(pulumi.ComponentResource):
    """Key vault opened by Azure roles alone, with soft delete.

    A deleted vault keeps its name until its retention ends. To make it again before that, recover
    it (``az keyvault recover``), or purge it where it has no purge protection (``az keyvault
    purge``). Billed by the operation; an idle one costs nothing.
    https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview
    """

    vault_id: pulumi.Output[str]
    vault_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: KeyVaultArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:KeyVault", name, {}, opts)
        keyvault = azure_native.keyvault
        vault = azure_native.keyvault.Vault(
            f"{name}-vault",
            vault_name=args.vault_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            properties=keyvault.VaultPropertiesArgs(
                tenant_id=args.tenant_id,
                sku=keyvault.SkuArgs(family=keyvault.SkuFamily.A, name=keyvault.SkuName.STANDARD),
                enable_rbac_authorization=True,
                enable_soft_delete=True,
                soft_delete_retention_in_days=args.soft_delete_retention_in_days,
                # The API takes true or nothing: false is refused, as it cannot be turned off.
                enable_purge_protection=args.purge_protection or None,
                public_network_access="Enabled" if args.public_network_access else "Disabled",
                network_acls=keyvault.NetworkRuleSetArgs(
                    bypass=keyvault.NetworkRuleBypassOptions.AZURE_SERVICES,
                    default_action=(
                        keyvault.NetworkRuleAction.ALLOW
                        if args.public_network_access
                        else keyvault.NetworkRuleAction.DENY
                    ),
                ),
            ),
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.vault_id = vault.id
        self.vault_name = vault.name
        self.register_outputs({"vault_id": self.vault_id, "vault_name": self.vault_name})
