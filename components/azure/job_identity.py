"""The identity that training jobs run as, with what a job needs and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native

from components import naming
from components.azure.roles import role_definition_id


@dataclass(frozen=True, kw_only=True)
class JobIdentityArgs:
    """What a job identity is made of, and the resources that it may use."""

    identity_name: str
    resource_group_name: pulumi.Input[str]
    location: str
    subscription_id: str
    storage_account_id: pulumi.Input[str]
    container_registry_id: pulumi.Input[str]
    # Only where a cluster builds the workspace's images does a job's identity push one.
    can_push_images: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


class JobIdentity(pulumi.ComponentResource):
    """User-assigned identity that may read and write blobs and pull images. Free.

    Each role is on one resource: the workspace's storage account or registry. It has none on the
    vault: only datastores that keep a key need that, and the stack's are opened by identity. A
    replaced identity is a new principal, so its roles are replaced with it.
    https://learn.microsoft.com/azure/machine-learning/how-to-identity-based-service-authentication
    """

    identity_id: pulumi.Output[str]
    client_id: pulumi.Output[str]
    principal_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: JobIdentityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:JobIdentity", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        identity = azure_native.managedidentity.UserAssignedIdentity(
            f"{name}-identity",
            resource_name_=args.identity_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            tags=args.tags,
            opts=child,
        )
        self.identity_id = identity.id
        self.client_id = identity.client_id
        self.principal_id = identity.principal_id

        grants = [
            ("Storage Blob Data Contributor", args.storage_account_id),
            ("AcrPull", args.container_registry_id),
        ]
        if args.can_push_images:
            grants.append(("AcrPush", args.container_registry_id))
        for role, scope in grants:
            azure_native.authorization.RoleAssignment(
                f"{name}-{role.lower().replace(' ', '-')}",
                role_assignment_name=naming.role_assignment_name(
                    args.subscription_id, args.identity_name, role
                ),
                role_definition_id=role_definition_id(args.subscription_id, role),
                scope=scope,
                principal_id=identity.principal_id,
                # The API's default, User, is not found while a managed identity is new.
                principal_type=azure_native.authorization.PrincipalType.SERVICE_PRINCIPAL,
                opts=child,
            )
        self.register_outputs(
            {
                "identity_id": self.identity_id,
                "client_id": self.client_id,
                "principal_id": self.principal_id,
            }
        )
