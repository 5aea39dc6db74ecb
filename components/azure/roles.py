"""Azure's built-in roles that the stack gives out.

https://learn.microsoft.com/azure/role-based-access-control/built-in-roles (GUIDs as of 2026-11, the
same in every tenant).
"""

from __future__ import annotations

BUILT_IN_ROLES = {
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "AcrPush": "8311e382-0749-4cb8-b61a-304f252e45ec",
    "AzureML Compute Operator": "e503ece1-11d0-4e8e-8e2c-7a6c3bf38815",
    "AzureML Data Scientist": "f6c7c914-8db3-469d-8ca1-694a8f32e121",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage File Data Privileged Contributor": "69566ab7-960f-475b-8e7c-b3118f30c6bd",
}
# ``User`` is the API's default; a managed identity given as one is not found while it is new.
PRINCIPAL_TYPES = {"user": "User", "group": "Group", "service_principal": "ServicePrincipal"}


def role_definition_id(subscription_id: str, role: str) -> str:
    """Return a built-in role's id. Raises ValueError where the stack gives out no such role."""
    if role not in BUILT_IN_ROLES:
        raise ValueError(f"role is {role!r}; it must be one of {', '.join(sorted(BUILT_IN_ROLES))}")
    return (
        f"/subscriptions/{subscription_id}/providers/Microsoft.Authorization/roleDefinitions/"
        f"{BUILT_IN_ROLES[role]}"
    )
