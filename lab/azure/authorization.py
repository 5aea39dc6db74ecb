"""Role-based access control: which principal may do what, from the role assignments that the stack made.

Built-in roles are those a training stack assigns, with the actions that Microsoft documents for them.
https://learn.microsoft.com/azure/role-based-access-control/built-in-roles (read 2026-11)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lab.azure.errors import ArmError
from lab.azure.login import Principal
from lab.azure.store import Store

_ML = "Microsoft.MachineLearningServices"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
_DELEGATION_KEY = "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"
_OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
_NOT_BY_CONTRIBUTOR = (
    "Microsoft.Authorization/*/Delete",
    "Microsoft.Authorization/*/Write",
    "Microsoft.Authorization/elevateAccess/Action",
)


@dataclass(frozen=True)
class Role:
    """A role's name and what it allows."""

    name: str
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    def allows(self, action: str, *, is_data: bool) -> bool:
        """Whether the role allows an action. A ``notAction`` takes from this role only."""
        allowed, denied = (
            (self.data_actions, self.not_data_actions)
            if is_data
            else (self.actions, self.not_actions)
        )
        return any(_matches(pattern, action) for pattern in allowed) and not any(
            _matches(pattern, action) for pattern in denied
        )


BUILT_IN: Mapping[str, Role] = {
    _OWNER: Role("Owner", ("*",)),
    "b24988ac-6180-42a0-ab88-20f7382dd24c": Role("Contributor", ("*",), _NOT_BY_CONTRIBUTOR),
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": Role("Reader", ("*/read",)),
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": Role(
        "User Access Administrator", ("*/read", "Microsoft.Authorization/*")
    ),
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168": Role(
        "Role Based Access Control Administrator",
        (
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "*/read",
        ),
    ),
    "f6c7c914-8db3-469d-8ca1-694a8f32e121": Role(
        "AzureML Data Scientist",
        (
            f"{_ML}/workspaces/*/read",
            f"{_ML}/workspaces/*/action",
            f"{_ML}/workspaces/*/delete",
            f"{_ML}/workspaces/*/write",
        ),
        (
            f"{_ML}/workspaces/delete",
            f"{_ML}/workspaces/write",
            f"{_ML}/workspaces/computes/*/write",
            f"{_ML}/workspaces/computes/*/delete",
            # what Microsoft means by the two before: "except for creating or deleting compute resources"
            f"{_ML}/workspaces/computes/write",
            f"{_ML}/workspaces/computes/delete",
            f"{_ML}/workspaces/computes/listKeys/action",
            f"{_ML}/workspaces/listKeys/action",
            f"{_ML}/workspaces/hubs/write",
            f"{_ML}/workspaces/hubs/delete",
            f"{_ML}/workspaces/featurestores/write",
            f"{_ML}/workspaces/featurestores/delete",
        ),
    ),
    "e503ece1-11d0-4e8e-8e2c-7a6c3bf38815": Role(
        "AzureML Compute Operator",
        (f"{_ML}/workspaces/computes/*", f"{_ML}/workspaces/notebooks/vm/*"),
    ),
    "635dd51f-9968-44d3-b7fb-6d9a6bd613ae": Role(
        "AzureML Metrics Writer (preview)", (f"{_ML}/workspaces/metrics/*/write",)
    ),
    "1823dd4f-9b8c-4ab6-ab4e-7397a3684615": Role(
        "AzureML Registry User", (f"{_ML}/registries/read", f"{_ML}/registries/assets/*")
    ),
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": Role(
        "Storage Blob Data Owner",
        (f"{_CONTAINERS}/*", _DELEGATION_KEY),
        (),
        (f"{_BLOBS}/*",),
    ),
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": Role(
        "Storage Blob Data Contributor",
        (
            f"{_CONTAINERS}/delete",
            f"{_CONTAINERS}/read",
            f"{_CONTAINERS}/write",
            _DELEGATION_KEY,
        ),
        (),
        (
            f"{_BLOBS}/delete",
            f"{_BLOBS}/read",
            f"{_BLOBS}/write",
            f"{_BLOBS}/move/action",
            f"{_BLOBS}/add/action",
        ),
    ),
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": Role(
        "Storage Blob Data Reader",
        (f"{_CONTAINERS}/read", _DELEGATION_KEY),
        (),
        (f"{_BLOBS}/read",),
    ),
    "17d1049b-9a84-46fb-8f53-869881c3d3ab": Role(
        "Storage Account Contributor", ("*/read", "Microsoft.Storage/storageAccounts/*")
    ),
    "69566ab7-960f-475b-8e7c-b3118f30c6bd": Role(
        "Storage File Data Privileged Contributor",
        (),
        (),
        ("Microsoft.Storage/storageAccounts/fileServices/*",),
    ),
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": Role(
        "AcrPull", ("Microsoft.ContainerRegistry/registries/pull/read",)
    ),
    "8311e382-0749-4cb8-b61a-304f252e45ec": Role(
        "AcrPush",
        (
            "Microsoft.ContainerRegistry/registries/pull/read",
            "Microsoft.ContainerRegistry/registries/push/write",
        ),
    ),
    "f1a07417-d97a-45cb-824c-7a7467783830": Role(
        "Managed Identity Operator",
        (
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/read",
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
        ),
    ),
    "00482a5a-887f-4fb3-b363-3b7fe8e74483": Role(
        "Key Vault Administrator",
        ("Microsoft.KeyVault/*/read",),
        (),
        ("Microsoft.KeyVault/vaults/*",),
    ),
    "f25e0fa2-a7c8-4377-a976-54943a77a395": Role(
        "Key Vault Contributor",
        ("Microsoft.KeyVault/*",),
        ("Microsoft.KeyVault/locations/deletedVaults/purge/action",),
    ),
    "4633458b-17de-408a-b874-0445c86b69e6": Role(
        "Key Vault Secrets User",
        (),
        (),
        (
            "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
        ),
    ),
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": Role(
        "Key Vault Secrets Officer",
        ("Microsoft.KeyVault/*/read",),
        (),
        ("Microsoft.KeyVault/vaults/secrets/*",),
    ),
    "14b46e9e-c2b7-41b4-b07b-48a6ebf60603": Role(
        "Key Vault Crypto Officer",
        ("Microsoft.KeyVault/*/read",),
        (),
        ("Microsoft.KeyVault/vaults/keys/*",),
    ),
    "12338af0-0e69-4776-bea7-57ae8d297424": Role(
        "Key Vault Crypto User", (), (), ("Microsoft.KeyVault/vaults/keys/*",)
    ),
    "e147488a-f6f5-4113-8e2d-b22465e65bf6": Role(
        "Key Vault Crypto Service Encryption User",
        ("Microsoft.EventGrid/eventSubscriptions/*",),
        (),
        ("Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/wrap/action"),
    ),
    "92aaf0da-9dab-42b6-94a3-d43ce8d16293": Role(
        "Log Analytics Contributor", ("*/read", "Microsoft.OperationalInsights/*")
    ),
    "73c42c96-874c-492b-b04d-ab87d138a893": Role("Log Analytics Reader", ("*/read",)),
    "749f88d5-cbae-40b8-bcfc-e573ddc772fa": Role(
        "Monitoring Contributor", ("*/read", "Microsoft.Insights/*")
    ),
    "43d0d8ad-25c7-4714-9337-8ba259a9fe05": Role("Monitoring Reader", ("*/read",)),
    "3913510d-42f4-4e42-8a64-420c390055eb": Role(
        "Monitoring Metrics Publisher", (), (), ("Microsoft.Insights/Metrics/Write",)
    ),
    "4d97b98b-1d4f-4787-a291-c67834d212e7": Role("Network Contributor", ("Microsoft.Network/*",)),
    "72fafb9e-0641-4937-9268-a91bfd8191a3": Role(
        "Cost Management Reader",
        ("Microsoft.Consumption/*/read", "Microsoft.CostManagement/*/read"),
    ),
    "434105ed-43f6-45c7-a02f-909b2ba83430": Role(
        "Cost Management Contributor", ("Microsoft.Consumption/*", "Microsoft.CostManagement/*")
    ),
}


class Authorization:
    """Decides by the role assignments in the store. The lab's own principal owns the subscription."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def require(self, principal: Principal, action: str, scope: str) -> None:
        """Raise ArmError 403 unless the principal may do the action at the scope."""
        if not self.allows(principal, action, scope):
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client '{principal.client_id}' with object id '{principal.object_id}' does not have "
                "authorization "
                f"to perform action '{action}' over scope '{scope}' or the scope is invalid. "
                "If access was recently granted, please refresh your credentials.",
            )

    def allows(
        self, principal: Principal, action: str, scope: str, *, is_data: bool = False
    ) -> bool:
        """Whether a role assigned at the scope or above it allows the action."""
        if principal.is_root:
            return True
        return any(
            role.allows(action, is_data=is_data) for role in self._roles(principal, scope.lower())
        )

    def permissions(self, principal: Principal, scope: str) -> list[dict[str, list[str]]]:
        """Return what a principal may do at a scope, one entry a role, as the permissions API gives it."""
        roles = (
            [BUILT_IN[_OWNER]] if principal.is_root else list(self._roles(principal, scope.lower()))
        )
        return [
            {
                "actions": list(role.actions),
                "notActions": list(role.not_actions),
                "dataActions": list(role.data_actions),
                "notDataActions": list(role.not_data_actions),
            }
            for role in roles
        ]

    def role(self, definition_id: str) -> Role | None:
        """Return a built-in role, or one that was made here, by its id or its GUID."""
        guid = definition_id.rsplit("/", 1)[-1].lower()
        if guid in BUILT_IN:
            return BUILT_IN[guid]
        fragment = f"/providers/microsoft.authorization/roledefinitions/{guid}"
        for _, document in self._store.containing("resource", fragment):
            return _custom(document)
        return None

    def _roles(self, principal: Principal, scope: str) -> Iterable[Role]:
        assignments = "/providers/microsoft.authorization/roleassignments/"
        for key, document in self._store.containing("resource", assignments):
            at = key.partition(assignments)[0]
            if not (scope == at or scope.startswith(f"{at}/")):
                continue
            properties = document["properties"]
            if properties["principalId"].lower() != principal.object_id.lower():
                continue
            role = self.role(properties["roleDefinitionId"])
            if role:
                yield role


def _custom(document: Mapping[str, Any]) -> Role:
    permission = (document["properties"].get("permissions") or [{}])[0]
    return Role(
        document["properties"].get("roleName", ""),
        tuple(permission.get("actions") or ()),
        tuple(permission.get("notActions") or ()),
        tuple(permission.get("dataActions") or ()),
        tuple(permission.get("notDataActions") or ()),
    )


@lru_cache(maxsize=4096)
def _matches(pattern: str, action: str) -> bool:
    """Whether an action matches a pattern, in which ``*`` stands for anything, slashes too."""
    expression = ".*".join(re.escape(part) for part in pattern.lower().split("*"))
    return re.fullmatch(expression, action.lower()) is not None
