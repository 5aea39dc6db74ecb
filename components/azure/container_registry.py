"""The container registry of a workspace: the images that its environments are built into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class ContainerRegistryArgs:
    """What a container registry is made of."""

    registry_name: str
    resource_group_name: pulumi.Input[str]
    location: str
    sku: str = "Basic"
    public_network_access: bool = True
    protect: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.public_network_access and self.sku != "Premium":
            raise ValueError(
                f"sku is {self.sku!r}; it must be Premium to close the registry's public endpoint"
            )


class ContainerRegistry(pulumi.ComponentResource):
    """Container registry with no admin user and no anonymous pull.

    Billed by the day, used or not; Basic is the least of the three. Deleting it takes all its
    images; ``protect`` makes Pulumi refuse to.
    https://learn.microsoft.com/azure/container-registry/container-registry-skus
    """

    registry_id: pulumi.Output[str]
    login_server: pulumi.Output[str]

    def __init__(
        self, name: str, args: ContainerRegistryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:ContainerRegistry", name, {}, opts)
        registry = azure_native.containerregistry.Registry(
            f"{name}-registry",
            registry_name=args.registry_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            sku=azure_native.containerregistry.SkuArgs(name=args.sku),
            admin_user_enabled=False,
            anonymous_pull_enabled=False,
            public_network_access="Enabled" if args.public_network_access else "Disabled",
            # The workspace's own image builds count as Azure services.
            network_rule_bypass_options="AzureServices",
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        self.registry_id = registry.id
        self.login_server = registry.login_server
        self.register_outputs({"registry_id": self.registry_id, "login_server": self.login_server})
