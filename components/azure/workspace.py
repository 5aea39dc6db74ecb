"""The Azure Machine Learning workspace, which ties a stack's storage, vault, registry and logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native

ISOLATION_MODES = {
    "disabled": "Disabled",
    "allow_internet_outbound": "AllowInternetOutbound",
    "allow_only_approved_outbound": "AllowOnlyApprovedOutbound",
}


@dataclass(frozen=True, kw_only=True)
class OutboundRule:
    """One more destination of a managed network; ``type`` says what ``destination`` is."""

    name: str
    type: str  # fqdn, service_tag or private_endpoint
    destination: str
    subresource_target: str | None = None
    protocol: str = "TCP"
    port_ranges: str = "443"


@dataclass(frozen=True, kw_only=True)
class WorkspaceArgs:
    """What a workspace is made of. The four resource ids are fixed once it exists."""

    workspace_name: str
    resource_group_name: pulumi.Input[str]
    location: str
    storage_account_id: pulumi.Input[str]
    key_vault_id: pulumi.Input[str]
    application_insights_id: pulumi.Input[str]
    container_registry_id: pulumi.Input[str]
    friendly_name: str | None = None
    description: str | None = None
    isolation_mode: str = "allow_internet_outbound"
    outbound_rules: Sequence[OutboundRule] = ()
    public_network_access: bool = True
    image_build_compute: str | None = None
    # Where serverless nodes go in a network of one's own; they get no public address there.
    serverless_subnet_id: pulumi.Input[str] | None = None
    protect: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.isolation_mode not in ISOLATION_MODES:
            raise ValueError(
                f"isolation_mode is {self.isolation_mode!r}; "
                f"it must be one of {', '.join(ISOLATION_MODES)}"
            )
        if self.serverless_subnet_id is not None and self.isolation_mode != "disabled":
            raise ValueError(
                f"isolation_mode is {self.isolation_mode!r}; it must be disabled for "
                "serverless_subnet_id: a managed network takes no other"
            )


class Workspace(pulumi.ComponentResource):
    """Azure ML workspace whose datastores are opened by identity, in a network that Azure keeps.

    The managed network is what lets compute run with no public address and no subnet of one's own;
    it is made with the first compute. Its system-assigned identity is given its roles by Azure.
    Free: what it ties together is billed. A deleted workspace keeps its name for 14 days; to make it
    again before that, delete it for good (``az ml workspace delete --permanently-delete``).
    https://learn.microsoft.com/azure/machine-learning/how-to-managed-network
    """

    workspace_id: pulumi.Output[str]
    workspace_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: WorkspaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:Workspace", name, {}, opts)
        ml = azure_native.machinelearningservices
        workspace = azure_native.machinelearningservices.Workspace(
            f"{name}-workspace",
            workspace_name=args.workspace_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            kind="Default",
            sku=ml.SkuArgs(name="Basic", tier=ml.SkuTier.BASIC),
            identity=ml.ManagedServiceIdentityArgs(
                type=ml.ManagedServiceIdentityType.SYSTEM_ASSIGNED
            ),
            storage_account=args.storage_account_id,
            key_vault=args.key_vault_id,
            application_insights=args.application_insights_id,
            container_registry=args.container_registry_id,
            friendly_name=args.friendly_name,
            description=args.description,
            # The storage account has no keys to hand out.
            system_datastores_auth_mode=ml.SystemDatastoresAuthMode.IDENTITY,
            managed_network=ml.ManagedNetworkSettingsArgs(
                isolation_mode=ISOLATION_MODES[args.isolation_mode],
                outbound_rules={rule.name: _outbound_rule(rule) for rule in args.outbound_rules}
                or None,
            ),
            public_network_access="Enabled" if args.public_network_access else "Disabled",
            image_build_compute=args.image_build_compute,
            serverless_compute_settings=_serverless(args),
            v1_legacy_mode=False,
            tags=args.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=args.protect,
                # The service refuses to change these, and the provider would plan an update.
                replace_on_changes=["storageAccount", "keyVault"],
            ),
        )
        self.workspace_id = workspace.id
        self.workspace_name = workspace.name
        self.register_outputs(
            {"workspace_id": self.workspace_id, "workspace_name": self.workspace_name}
        )


def _serverless(
    args: WorkspaceArgs,
) -> azure_native.machinelearningservices.ServerlessComputeSettingsArgs | None:
    if args.serverless_subnet_id is None:
        return None
    return azure_native.machinelearningservices.ServerlessComputeSettingsArgs(
        serverless_compute_custom_subnet=args.serverless_subnet_id,
        serverless_compute_no_public_ip=True,
    )


def _outbound_rule(
    rule: OutboundRule,
) -> (
    azure_native.machinelearningservices.FqdnOutboundRuleArgs
    | azure_native.machinelearningservices.PrivateEndpointOutboundRuleArgs
    | azure_native.machinelearningservices.ServiceTagOutboundRuleArgs
):
    ml = azure_native.machinelearningservices
    if rule.type == "fqdn":
        return ml.FqdnOutboundRuleArgs(
            type="FQDN", category="UserDefined", destination=rule.destination
        )
    if rule.type == "service_tag":
        return ml.ServiceTagOutboundRuleArgs(
            type="ServiceTag",
            category="UserDefined",
            destination=ml.ServiceTagDestinationArgs(
                action="Allow",
                service_tag=rule.destination,
                protocol=rule.protocol,
                port_ranges=rule.port_ranges,
            ),
        )
    return ml.PrivateEndpointOutboundRuleArgs(
        type="PrivateEndpoint",
        category="UserDefined",
        destination=ml.PrivateEndpointDestinationArgs(
            service_resource_id=rule.destination, subresource_target=rule.subresource_target
        ),
    )
