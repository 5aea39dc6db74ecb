"""The resource group that everything of a stack on Azure lives in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class ResourceGroupArgs:
    """What a resource group is made of. A change of name or location replaces all that is in it."""

    resource_group_name: str
    location: str
    tags: Mapping[str, str] = field(default_factory=dict)


class ResourceGroup(pulumi.ComponentResource):
    """A resource group. Free. Deleting it deletes everything in it, also what no stack made."""

    resource_group_name: pulumi.Output[str]
    resource_group_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: ResourceGroupArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:ResourceGroup", name, {}, opts)
        group = azure_native.resources.ResourceGroup(
            f"{name}-group",
            resource_group_name=args.resource_group_name,
            location=args.location,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.resource_group_name = group.name
        self.resource_group_id = group.id
        self.register_outputs(
            {
                "resource_group_name": self.resource_group_name,
                "resource_group_id": self.resource_group_id,
            }
        )
