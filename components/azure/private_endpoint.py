"""Private endpoints: a resource's address within a virtual network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native

# The zones that each kind of endpoint is found by.
# https://learn.microsoft.com/azure/private-link/private-endpoint-dns (public cloud, as of 2026-11)
DNS_ZONES = {
    "amlworkspace": ("privatelink.api.azureml.ms", "privatelink.notebooks.azure.net"),
    "blob": ("privatelink.blob.core.windows.net",),
    "file": ("privatelink.file.core.windows.net",),
    "vault": ("privatelink.vaultcore.azure.net",),
    "registry": ("privatelink.azurecr.io",),
}


@dataclass(frozen=True, kw_only=True)
class PrivateEndpointArgs:
    """What a private endpoint is made of; ``group`` is the part of the target it leads to."""

    endpoint_name: str
    resource_group_name: pulumi.Input[str]
    location: str
    subnet_id: pulumi.Input[str]
    target_id: pulumi.Input[str]
    group: str
    # The ids of the group's zones; empty where a hub network looks after DNS.
    zone_ids: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.group not in DNS_ZONES:
            raise ValueError(f"group is {self.group!r}; it must be one of {', '.join(DNS_ZONES)}")


class PrivateEndpoint(pulumi.ComponentResource):
    """A resource's private address in a subnet, found by its usual name. Billed by the hour."""

    endpoint_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: PrivateEndpointArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:PrivateEndpoint", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        network = azure_native.network
        endpoint = azure_native.network.PrivateEndpoint(
            f"{name}-endpoint",
            private_endpoint_name=args.endpoint_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            subnet=network.SubnetArgs(id=args.subnet_id),
            private_link_service_connections=[
                network.PrivateLinkServiceConnectionArgs(
                    name=args.endpoint_name,
                    private_link_service_id=args.target_id,
                    group_ids=[args.group],
                )
            ],
            tags=args.tags,
            opts=child,
        )
        self.endpoint_id = endpoint.id
        if args.zone_ids:
            azure_native.network.PrivateDnsZoneGroup(
                f"{name}-zones",
                private_dns_zone_group_name="default",
                private_endpoint_name=endpoint.name,
                resource_group_name=args.resource_group_name,
                private_dns_zone_configs=[
                    network.PrivateDnsZoneConfigArgs(
                        name=zone.replace(".", "-"), private_dns_zone_id=args.zone_ids[zone]
                    )
                    for zone in DNS_ZONES[args.group]
                ],
                opts=child,
            )
        self.register_outputs({"endpoint_id": self.endpoint_id})
