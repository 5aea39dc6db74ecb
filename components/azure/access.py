"""Who may use a workspace: people, groups and service principals, and what each may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_azure_native as azure_native

from components import naming
from components.azure.roles import PRINCIPAL_TYPES, role_definition_id


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who is given a role: an Entra object id, and what kind of object it is of."""

    object_id: str
    type: str  # user, group or service_principal

    def __post_init__(self) -> None:
        if self.type not in PRINCIPAL_TYPES:
            raise ValueError(
                f"type is {self.type!r}; it must be one of {', '.join(PRINCIPAL_TYPES)}"
            )


@dataclass(frozen=True, kw_only=True)
class AccessArgs:
    """Who may do what. The ids are of resources; the names make the grants' own names stable."""

    subscription_id: str
    workspace_id: pulumi.Input[str]
    workspace_name: str
    storage_account_id: pulumi.Input[str]
    data_scientists: Sequence[Principal] = ()
    compute_operators: Sequence[Principal] = ()
    readers: Sequence[Principal] = ()
    # Compute instances keep their owners' notebooks in the account's file share.
    has_compute_instances: bool = False


class Access(pulumi.ComponentResource):
    """Roles on the workspace, each for the principals it names. Free.

    A data scientist is given the blobs of the storage account as well: it has no keys, so that code
    and data go up, and results come down, as oneself.
    https://learn.microsoft.com/azure/machine-learning/how-to-disable-local-auth-storage
    """

    def __init__(
        self, name: str, args: AccessArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:Access", name, {}, opts)
        on_data = ["Storage Blob Data Contributor"]
        if args.has_compute_instances:
            on_data.append("Storage File Data Privileged Contributor")
        grants = [
            ("AzureML Data Scientist", args.workspace_id, args.data_scientists),
            *((role, args.storage_account_id, args.data_scientists) for role in on_data),
            ("AzureML Compute Operator", args.workspace_id, args.compute_operators),
            ("Reader", args.workspace_id, args.readers),
        ]
        for role, scope, principals in grants:
            for principal in principals:
                azure_native.authorization.RoleAssignment(
                    f"{name}-{role.lower().replace(' ', '-')}-{principal.object_id}",
                    role_assignment_name=naming.role_assignment_name(
                        args.subscription_id, args.workspace_name, role, principal.object_id
                    ),
                    role_definition_id=role_definition_id(args.subscription_id, role),
                    scope=scope,
                    principal_id=principal.object_id,
                    principal_type=PRINCIPAL_TYPES[principal.type],
                    opts=pulumi.ResourceOptions(parent=self),
                )
        self.register_outputs({})
