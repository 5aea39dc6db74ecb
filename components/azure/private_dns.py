"""Private DNS zones: how a resource's usual name leads to its private endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class PrivateDnsArgs:
    """The zones that are made, and the network that finds them."""

    resource_group_name: pulumi.Input[str]
    network_id: pulumi.Input[str]
    link_name: str
    zone_names: Sequence[str]
    tags: Mapping[str, str] = field(default_factory=dict)


class PrivateDns(pulumi.ComponentResource):
    """Private DNS zones, linked to one network. Each zone is billed by the month."""

    zone_ids: Mapping[str, pulumi.Output[str]]

    def __init__(
        self, name: str, args: PrivateDnsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:PrivateDns", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.zone_ids = {}
        for zone_name in args.zone_names:
            zone = azure_native.privatedns.PrivateZone(
                f"{name}-{zone_name}",
                private_zone_name=zone_name,
                resource_group_name=args.resource_group_name,
                location="global",
                tags=args.tags,
                opts=child,
            )
            azure_native.privatedns.VirtualNetworkLink(
                f"{name}-{zone_name}-link",
                virtual_network_link_name=args.link_name,
                private_zone_name=zone.name,
                resource_group_name=args.resource_group_name,
                location="global",
                registration_enabled=False,
                virtual_network=azure_native.privatedns.SubResourceArgs(id=args.network_id),
                tags=args.tags,
                opts=child,
            )
            self.zone_ids[zone_name] = zone.id
        self.register_outputs({"zone_ids": self.zone_ids})
