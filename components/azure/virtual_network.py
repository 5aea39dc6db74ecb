"""A virtual network of the stack's own, with its subnets."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class VirtualNetworkArgs:
    """What a virtual network is made of; ``subnets`` is name to IPv4 range."""

    network_name: str
    security_group_name: str
    resource_group_name: pulumi.Input[str]
    location: str
    address_prefix: str
    subnets: Mapping[str, str]
    # Both names are used only with the gateway.
    nat_gateway_name: str | None = None
    public_ip_name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = ipaddress.IPv4Network(self.address_prefix)
        for name, prefix in self.subnets.items():
            if not ipaddress.IPv4Network(prefix).subnet_of(whole):
                raise ValueError(f"subnet {name!r} is {prefix}; it must lie within {whole}")


class VirtualNetwork(pulumi.ComponentResource):
    """Virtual network whose subnets let nothing in from outside it.

    Free, but for the NAT gateway and its address, which are billed by the hour, used or not.
    Without the gateway its machines reach Azure and the internet by no way of their own.
    """

    network_id: pulumi.Output[str]
    subnet_ids: Mapping[str, pulumi.Output[str]]

    def __init__(
        self, name: str, args: VirtualNetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:VirtualNetwork", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        # Its default rules already refuse what comes from outside the network.
        security_group = azure_native.network.NetworkSecurityGroup(
            f"{name}-security-group",
            network_security_group_name=args.security_group_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            tags=args.tags,
            opts=child,
        )
        gateway = self._nat_gateway(name, args) if args.nat_gateway_name else None
        network = azure_native.network.VirtualNetwork(
            f"{name}-network",
            virtual_network_name=args.network_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            address_space=azure_native.network.AddressSpaceArgs(
                address_prefixes=[args.address_prefix]
            ),
            tags=args.tags,
            opts=child,
        )
        self.network_id = network.id
        self.subnet_ids = {}
        previous: list[pulumi.Resource] = []
        for subnet_name, prefix in args.subnets.items():
            subnet = azure_native.network.Subnet(
                f"{name}-{subnet_name}",
                subnet_name=subnet_name,
                virtual_network_name=network.name,
                resource_group_name=args.resource_group_name,
                address_prefix=prefix,
                network_security_group=azure_native.network.NetworkSecurityGroupArgs(
                    id=security_group.id
                ),
                nat_gateway=azure_native.network.SubResourceArgs(id=gateway.id)
                if gateway
                else None,
                # Off, or Azure ML refuses nodes with no public address here.
                private_endpoint_network_policies="Disabled",
                private_link_service_network_policies="Disabled",
                default_outbound_access=False,
                # One at a time: a network that is being changed refuses another change.
                opts=pulumi.ResourceOptions(parent=self, depends_on=previous),
            )
            previous = [subnet]
            self.subnet_ids[subnet_name] = subnet.id
        self.register_outputs({"network_id": self.network_id, "subnet_ids": self.subnet_ids})

    def _nat_gateway(self, name: str, args: VirtualNetworkArgs) -> azure_native.network.NatGateway:
        child = pulumi.ResourceOptions(parent=self)
        address = azure_native.network.PublicIPAddress(
            f"{name}-nat-address",
            public_ip_address_name=args.public_ip_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            sku=azure_native.network.PublicIPAddressSkuArgs(name="Standard"),
            public_ip_allocation_method="Static",
            tags=args.tags,
            opts=child,
        )
        return azure_native.network.NatGateway(
            f"{name}-nat-gateway",
            nat_gateway_name=args.nat_gateway_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            sku=azure_native.network.NatGatewaySkuArgs(name="Standard"),
            public_ip_addresses=[azure_native.network.SubResourceArgs(id=address.id)],
            tags=args.tags,
            opts=child,
        )
