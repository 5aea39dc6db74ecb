"""The Azure half of a stack's settings, in Azure Machine Learning's own terms.

A field alone is checked where it is declared; what two fields say together is checked in
``AzureSettings.problems``, which finds every problem rather than the first.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, StringConstraints

from components import naming
from infra.azure_types import (
    BuildContextUri,
    CondaFile,
    ContainerName,
    Cron,
    DataPath,
    DatastoreName,
    Description,
    EnvironmentName,
    FirstOfMonth,
    Guid,
    Location,
    RunTime,
    ScaleDownTime,
    ShutdownTime,
    SubnetReference,
    Version,
    VmSize,
    is_arm_id,
)
from infra.common_settings import (
    HOUR_SECONDS,
    BudgetSettings,
    CommonSettings,
    PrivateCidr,
    Problem,
    SettingsModel,
    ShortName,
    below,
    matching,
    misfit,
    repeated,
)


class ManagedNetworkRule(SettingsModel):
    """One more destination that training may reach."""

    name: ShortName
    type: Literal["fqdn", "service_tag", "private_endpoint"] = Field(
        description="An fqdn rule puts an Azure Firewall in the network, which costs while idle."
    )
    destination: Annotated[str, StringConstraints(min_length=3, max_length=400)] = Field(
        description="A host name (packages.example.com), a service tag (DataFactory) or a resource's ARM id."
    )
    subresource_target: str | None = Field(
        default=None, description="For private_endpoint: the part reached, such as blob."
    )
    protocol: Literal["TCP", "UDP", "ICMP", "*"] = Field(
        default="TCP", description="For service_tag."
    )
    port_ranges: Annotated[
        str, matching(r"\d+(-\d+)?(, ?\d+(-\d+)?)*", "ports such as 80, 443")
    ] = Field(default="443", description="For service_tag.")


class ManagedNetworkSettings(SettingsModel):
    """The network that Azure ML keeps for the workspace's compute.

    It is on by default: without it a node needs a public address or a subnet of one's own. It is
    free of itself; private endpoints and a firewall in it are not. allow_only_approved_outbound
    makes endpoints to the storage account, vault and registry by itself, allow_internet_outbound
    only where those are closed to the public. Once on, it cannot be turned off, nor approved
    outbound turned on later. https://learn.microsoft.com/azure/machine-learning/how-to-managed-network
    """

    isolation_mode: Literal[
        "allow_internet_outbound", "allow_only_approved_outbound", "disabled"
    ] = "allow_internet_outbound"
    outbound_rules: tuple[ManagedNetworkRule, ...] = ()


class SubnetSettings(SettingsModel):
    """One subnet of the stack's own virtual network."""

    name: ShortName
    address_prefix: PrivateCidr


class VirtualNetworkSettings(SettingsModel):
    """A virtual network of the stack's own: for private endpoints, or for compute where the managed
    network is disabled."""

    address_prefix: PrivateCidr = Field(description="The network's whole range.")
    subnets: tuple[SubnetSettings, ...] = Field(min_length=1)
    nat_gateway: bool = Field(
        default=False,
        description=(
            "A way out to the internet for nodes with no public address. It is billed by the hour, "
            "used or not."
        ),
    )


class PrivateEndpointSettings(SettingsModel):
    """Reach the workspace and all it stores in from this subnet only; the public way is closed."""

    subnet: SubnetReference
    private_dns_zones: bool = Field(
        default=True,
        description="Make the zones and link them. False where a hub network has them already.",
    )


class WorkspaceSettings(SettingsModel):
    """The Azure ML workspace."""

    friendly_name: Annotated[str, StringConstraints(max_length=200)] | None = None
    description: Description | None = None
    image_build_compute: ShortName | None = Field(
        default=None,
        description=(
            "The cluster that builds images. Needed where the registry is reached privately; "
            "otherwise the registry builds them."
        ),
    )


class StorageAccountSettings(SettingsModel):
    """The workspace's storage account."""

    sku: Literal["Standard_LRS", "Standard_ZRS", "Standard_GRS", "Standard_RAGRS"] = Field(
        default="Standard_LRS", description="Standard_LRS is the cheapest: three copies, one site."
    )
    delete_retention_days: Annotated[int, Field(ge=1, le=365)] = Field(
        default=7, description="How long a deleted blob or container can be brought back."
    )


class KeyVaultSettings(SettingsModel):
    """The workspace's key vault."""

    purge_protection: bool | None = Field(
        default=None,
        description=(
            "Nobody can purge it before its retention ends; cannot be turned off again. "
            "Not given: on where the environment is prod."
        ),
    )
    soft_delete_retention_in_days: Annotated[int, Field(ge=7, le=90)] | None = Field(
        default=None,
        description=(
            "How long a deleted vault keeps its name. Fixed once the vault exists. "
            "Not given: 90 where the environment is prod, else 7."
        ),
    )


class ContainerRegistrySettings(SettingsModel):
    """The workspace's container registry; billed by the day, used or not."""

    sku: Literal["Basic", "Standard", "Premium"] = Field(
        default="Basic",
        description="Basic is the cheapest. Private endpoints need Premium.",
    )


class LogAnalyticsSettings(SettingsModel):
    """Where the workspace's logs go; billed by what is written."""

    retention_in_days: Annotated[int, Field(ge=30, le=730)] = Field(
        default=30, description="30 days are within the price of writing."
    )
    daily_quota_gb: PositiveFloat = Field(
        default=1.0, description="Writing stops for the day at this many gigabytes."
    )


class ComputeClusterSettings(SettingsModel):
    """A cluster that grows with its jobs' queue and shrinks to min_instances when idle."""

    name: ShortName = Field(examples=["example"])
    size: VmSize = Field(
        description="The nodes' VM size. A change replaces the cluster.",
        examples=["Standard_DS3_v2"],
    )
    tier: Literal["dedicated", "low_priority"] = Field(
        default="dedicated",
        description=(
            "low_priority is cheaper and may be taken away at any time. "
            "A change replaces the cluster."
        ),
    )
    min_instances: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="Nodes that stay, and are billed, with no job. 0 costs nothing idle."
    )
    max_instances: Annotated[int, Field(ge=1, le=1000)] = 1
    idle_time_before_scale_down: ScaleDownTime = Field(
        default=120,
        description="How long a node waits for the next job, billed: 120 seconds, Azure's default.",
    )
    subnet: SubnetReference | None = Field(
        default=None,
        description=("Nodes of a disabled managed network go here. A change replaces the cluster."),
    )
    enable_node_public_ip: bool = Field(
        default=False,
        description=(
            "Nodes with public addresses, for a workspace with neither network. "
            "A change replaces the cluster."
        ),
    )
    description: Description | None = None


class ScheduleSettings(SettingsModel):
    """When a compute instance starts or stops."""

    action: Literal["start", "stop"]
    cron: Cron
    time_zone: Annotated[str, StringConstraints(min_length=2, max_length=60)] = Field(
        default="UTC", description="A Windows time zone, such as W. Europe Standard Time."
    )


class ComputeInstanceSettings(SettingsModel):
    """One person's workstation for notebooks. It is billed while it runs, and its disk always."""

    name: ShortName = Field(examples=["example"])
    size: VmSize = Field(examples=["Standard_DS3_v2"])
    assigned_user_object_id: Guid = Field(
        description="The Entra object id of its only user.",
        examples=["00000000-0000-0000-0000-000000000000"],
    )
    idle_time_before_shutdown: ShutdownTime = Field(
        default=HOUR_SECONDS, description="Azure allows 15m to 3d."
    )
    schedules: tuple[ScheduleSettings, ...] = ()
    subnet: SubnetReference | None = None
    enable_node_public_ip: bool = False
    description: Description | None = None


class ServerlessSettings(SettingsModel):
    """Compute that a job asks for by VM size, with no cluster. Costs nothing idle."""

    enabled: bool = Field(
        default=True, description="False: submit refuses a job that names no cluster."
    )
    subnet: SubnetReference | None = Field(
        default=None,
        description="For a disabled managed network: nodes go here, with no public IP.",
    )


class KubernetesComputeSettings(SettingsModel):
    """A Kubernetes cluster with the Azure ML extension, attached by its resource id."""

    name: ShortName
    resource_id: Annotated[
        str,
        matching(
            r"(?i)/subscriptions/[0-9a-f-]{36}/resourceGroups/[^/]+/providers/"
            r"(Microsoft\.ContainerService/managedClusters|Microsoft\.Kubernetes/connectedClusters)"
            r"/[^/]+",
            "the ARM id of an AKS or Arc cluster: /subscriptions/<guid>/resourceGroups/<group>"
            "/providers/Microsoft.ContainerService/managedClusters/<name>",
        ),
    ]
    namespace: Annotated[
        str,
        matching(r"[a-z0-9](-?[a-z0-9]){0,62}", "a Kubernetes namespace, such as azureml"),
    ] = "default"
    default_instance_type: str | None = Field(
        default=None, description="The InstanceType a job gets that names none."
    )


class BuildContextSettings(SettingsModel):
    """A Dockerfile and what it copies, fetched by Azure ML."""

    context_uri: BuildContextUri
    dockerfile_path: str = "Dockerfile"


class EnvironmentSettings(SettingsModel):
    """An environment of the stack's own: an image, an image with conda packages, or a build.

    A version never changes its content. Leave it out and it is made from the content, so that a
    change is a new version that replaces the old.
    """

    name: EnvironmentName
    version: Version | None = None
    image: Annotated[str, matching(r"\S{1,300}", "a Docker image, such as python:3.11")] | None = (
        None
    )
    conda_file: CondaFile | None = Field(
        default=None, description="A file below the folder of Pulumi.yaml, or its content."
    )
    build: BuildContextSettings | None = None
    description: Description | None = None


class CuratedEnvironmentSettings(SettingsModel):
    """An environment that Azure keeps in a registry; jobs refer to it, nothing is created."""

    name: Annotated[str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", "an environment's name")]
    version: Version
    registry: Annotated[str, matching(r"[A-Za-z0-9][A-Za-z0-9_-]{1,32}", "a registry's name")] = (
        "azureml"
    )


class DatastoreSettings(SettingsModel):
    """A blob container under a name. It holds no credential: a job reads as its own identity."""

    name: DatastoreName
    container_name: ContainerName
    account_name: (
        Annotated[str, matching(r"[a-z0-9]{3,24}", "3-24 lower case letters and digits")] | None
    ) = Field(
        default=None,
        description=(
            "An account outside the stack, which must grant the stack's identity access. "
            "Not given: a container made in the stack's own account, and deleted with this entry "
            "unless the environment is prod."
        ),
    )
    description: Description | None = None


class DataAssetSettings(SettingsModel):
    """A version of a data set under a name. Its path never changes: change the version with it."""

    name: EnvironmentName
    version: Version
    type: Literal["uri_file", "uri_folder", "mltable"] = "uri_folder"
    path: DataPath
    description: Description | None = None


class PrincipalSettings(SettingsModel):
    """Who a role is given to."""

    object_id: Guid = Field(description="The Entra object id: az ad user show --id NAME --query id")
    type: Literal["user", "group", "service_principal"] = "group"


class RoleSettings(SettingsModel):
    """Who may do what in the workspace."""

    data_scientist: tuple[PrincipalSettings, ...] = Field(
        default=(),
        description=(
            "AzureML Data Scientist on the workspace, with the data roles on its storage account "
            "that submitting needs."
        ),
    )
    compute_operator: tuple[PrincipalSettings, ...] = Field(
        default=(), description="AzureML Compute Operator: start, stop and make compute."
    )
    reader: tuple[PrincipalSettings, ...] = Field(
        default=(), description="Reader: see the workspace and its jobs, and no data."
    )


class AzureBudgetSettings(BudgetSettings):
    """A monthly budget on the resource group, in the subscription's billing currency."""

    start_date: FirstOfMonth | None = Field(
        default=None,
        description=(
            "The first of a month; Azure takes none before the current month at creation, and "
            "never moves it. Not given: the month of the first deployment."
        ),
    )


class AzureSettings(SettingsModel):
    """What the stack has on Azure. Every default is private, and costs least while idle."""

    subscription_id: Guid = Field(
        description="The subscription that the stack may deploy to.",
        examples=["00000000-0000-0000-0000-000000000000"],
    )
    tenant_id: Guid = Field(
        description="The Entra tenant of that subscription.",
        examples=["00000000-0000-0000-0000-000000000000"],
    )
    location: Location = Field(description="Where everything is.", examples=["westeurope"])
    workspace: WorkspaceSettings = WorkspaceSettings()
    storage_account: StorageAccountSettings = StorageAccountSettings()
    key_vault: KeyVaultSettings = KeyVaultSettings()
    container_registry: ContainerRegistrySettings = ContainerRegistrySettings()
    log_analytics: LogAnalyticsSettings = LogAnalyticsSettings()
    diagnostic_settings: bool = Field(
        default=True, description="Send audit and job logs to Log Analytics."
    )
    managed_network: ManagedNetworkSettings = ManagedNetworkSettings()
    virtual_network: VirtualNetworkSettings | None = None
    private_endpoints: PrivateEndpointSettings | None = None
    compute_clusters: tuple[ComputeClusterSettings, ...] = ()
    compute_instances: tuple[ComputeInstanceSettings, ...] = ()
    serverless: ServerlessSettings = ServerlessSettings()
    kubernetes_computes: tuple[KubernetesComputeSettings, ...] = ()
    environments: tuple[EnvironmentSettings, ...] = ()
    curated_environments: tuple[CuratedEnvironmentSettings, ...] = ()
    datastores: tuple[DatastoreSettings, ...] = ()
    data_assets: tuple[DataAssetSettings, ...] = ()
    roles: RoleSettings = RoleSettings()
    budget: AzureBudgetSettings | None = None
    max_runtime: RunTime | None = Field(
        default=None, description="The longest run that submit lets a job ask for."
    )

    @property
    def has_managed_network(self) -> bool:
        """Whether compute runs in the network that Azure ML keeps."""
        return self.managed_network.isolation_mode != "disabled"

    def problems(self, common: CommonSettings) -> Iterator[Problem]:
        """Yield what is wrong between fields, and every name too long once prefixed."""
        yield from self._duplicates()
        yield from self._clusters()
        yield from self._environments()
        yield from self._networks()
        yield from self._names(common)
        if self.budget:
            yield from below("budget", self.budget.problems(common))

    def _duplicates(self) -> Iterator[Problem]:
        computes = (
            [("compute_clusters", i, c.name) for i, c in enumerate(self.compute_clusters)]
            + [("compute_instances", i, c.name) for i, c in enumerate(self.compute_instances)]
            + [("kubernetes_computes", i, c.name) for i, c in enumerate(self.kubernetes_computes)]
        )
        seen: set[str] = set()
        for field, index, name in computes:
            if name in seen:
                yield Problem(
                    location=(field, index, "name"),
                    value=name,
                    message="it must be the name of one compute only, of whatever kind",
                )
            seen.add(name)
        versions = [(item.name, item.version) for item in self.environments]
        yield from repeated(("environments",), versions, key="version")
        own = {item.name for item in self.environments}
        for index, curated in enumerate(self.curated_environments):
            if curated.name in own:
                yield Problem(
                    location=("curated_environments", index, "name"),
                    value=curated.name,
                    message="it must not be the name of one of the stack's own environments",
                )
        for section in ("curated_environments", "datastores"):
            names = [item.name for item in getattr(self, section)]
            yield from repeated((section,), names, key="name")
        versions = [(item.name, item.version) for item in self.data_assets]
        yield from repeated(("data_assets",), versions, key="version")
        for role in RoleSettings.model_fields:
            principals = [item.object_id for item in getattr(self.roles, role)]
            yield from repeated(("roles", role), principals, key="object_id")

    def _clusters(self) -> Iterator[Problem]:
        for index, cluster in enumerate(self.compute_clusters):
            at = ("compute_clusters", index)
            if cluster.min_instances > cluster.max_instances:
                yield Problem(
                    location=(*at, "min_instances"),
                    value=cluster.min_instances,
                    message=f"it must be max_instances ({cluster.max_instances}) or less",
                )
            yield from self._placement(at, cluster)
        for index, instance in enumerate(self.compute_instances):
            yield from self._placement(("compute_instances", index), instance)
        if self.serverless.subnet:
            yield from self._subnet(("serverless", "subnet"), self.serverless.subnet)
            if self.has_managed_network:
                yield _needs_no_managed_network(("serverless", "subnet"), self.serverless.subnet)
        if self.has_managed_network:
            for index, compute in enumerate(self.kubernetes_computes):
                yield _needs_no_managed_network(
                    ("kubernetes_computes", index, "name"), compute.name
                )
        builder = self.workspace.image_build_compute
        names = [cluster.name for cluster in self.compute_clusters]
        if builder and builder not in names:
            yield Problem(
                location=("workspace", "image_build_compute"),
                value=builder,
                message=f"it must be one of the compute_clusters: {', '.join(names) or 'none yet'}",
            )

    def _placement(
        self,
        at: tuple[str | int, ...],
        compute: ComputeClusterSettings | ComputeInstanceSettings,
    ) -> Iterator[Problem]:
        if compute.subnet:
            yield from self._subnet((*at, "subnet"), compute.subnet)
            if self.has_managed_network:
                yield _needs_no_managed_network((*at, "subnet"), compute.subnet)
        elif not self.has_managed_network and not compute.enable_node_public_ip:
            yield Problem(
                location=(*at, "enable_node_public_ip"),
                value=False,
                message=(
                    "it must be true where managed_network.isolation_mode is disabled and the "
                    "compute has no subnet: Azure ML could not reach the node"
                ),
            )

    def _environments(self) -> Iterator[Problem]:
        for index, environment in enumerate(self.environments):
            if (environment.image is None) == (environment.build is None):
                yield Problem(
                    location=("environments", index, "image"),
                    value=environment.image,
                    message="it must be given, or build, and not both",
                )
            if environment.build and environment.conda_file:
                yield Problem(
                    location=("environments", index, "conda_file"),
                    value="a conda file",
                    message="it must go with image; a build installs its packages itself",
                )

    def _networks(self) -> Iterator[Problem]:
        if self.virtual_network:
            yield from _subnet_problems(self.virtual_network)
        for index, rule in enumerate(self.managed_network.outbound_rules):
            yield from self._outbound_rule(("managed_network", "outbound_rules", index), rule)
        rules = [rule.name for rule in self.managed_network.outbound_rules]
        yield from repeated(("managed_network", "outbound_rules"), rules, key="name")
        # A network of approved destinations only makes private endpoints by itself, whether or not
        # the resources are public.
        is_approved_only = self.managed_network.isolation_mode == "allow_only_approved_outbound"
        if (
            self.private_endpoints or is_approved_only
        ) and self.container_registry.sku != "Premium":
            reason = "isolation_mode allow_only_approved_outbound"
            yield Problem(
                location=("container_registry", "sku"),
                value=self.container_registry.sku,
                message=f"it must be Premium with {reason if is_approved_only else 'private_endpoints'}"
                ": no other has a private endpoint",
            )
        if self.private_endpoints is None:
            return
        yield from self._subnet(("private_endpoints", "subnet"), self.private_endpoints.subnet)
        if self.workspace.image_build_compute is None:
            yield Problem(
                location=("workspace", "image_build_compute"),
                value=None,
                message=(
                    "it must name a cluster with private_endpoints: the registry cannot build "
                    "images that it is asked for privately"
                ),
            )

    def _outbound_rule(
        self, at: tuple[str | int, ...], rule: ManagedNetworkRule
    ) -> Iterator[Problem]:
        mode = self.managed_network.isolation_mode
        allowed = {
            "disabled": (),
            "allow_internet_outbound": ("private_endpoint",),
            "allow_only_approved_outbound": ("fqdn", "service_tag", "private_endpoint"),
        }[mode]
        if rule.type not in allowed:
            yield Problem(
                location=(*at, "type"),
                value=rule.type,
                message=f"with isolation_mode {mode} it must be {' or '.join(allowed) or 'absent'}",
            )
        if rule.type == "private_endpoint" and not rule.destination.startswith("/subscriptions/"):
            yield Problem(
                location=(*at, "destination"),
                value=rule.destination,
                message="it must be a resource's ARM id: /subscriptions/<guid>/resourceGroups/...",
            )
        if (rule.type == "private_endpoint") != (rule.subresource_target is not None):
            yield Problem(
                location=(*at, "subresource_target"),
                value=rule.subresource_target,
                message="it must be given with type private_endpoint, such as blob, and only then",
            )

    def _subnet(self, at: tuple[str | int, ...], reference: str) -> Iterator[Problem]:
        names = (
            [subnet.name for subnet in self.virtual_network.subnets] if self.virtual_network else []
        )
        if not is_arm_id(reference) and reference not in names:
            yield Problem(
                location=at,
                value=reference,
                message=(
                    "it must be a subnet's ARM id or one of virtual_network.subnets: "
                    f"{', '.join(names) or 'none yet'}"
                ),
            )

    def _names(self, common: CommonSettings) -> Iterator[Problem]:
        scope = common.scope(account=self.subscription_id, region=self.location)
        workspace = partial(naming.workspace_name, scope, "ml")
        yield from misfit(("workspace",), f"{scope.slug}-ml", workspace)
        for index, instance in enumerate(self.compute_instances):
            at = ("compute_instances", index, "name")
            name = partial(naming.compute_instance_name, scope, instance.name)
            yield from misfit(at, instance.name, name)


def _needs_no_managed_network(at: tuple[str | int, ...], value: str) -> Problem:
    return Problem(
        location=at,
        value=value,
        message=(
            "it must be absent unless managed_network.isolation_mode is disabled: a managed "
            "network takes no other"
        ),
    )


def _subnet_problems(network: VirtualNetworkSettings) -> Iterator[Problem]:
    whole = ipaddress.IPv4Network(network.address_prefix)
    ranges = [ipaddress.IPv4Network(subnet.address_prefix) for subnet in network.subnets]
    at = ("virtual_network", "subnets")
    yield from repeated(at, [subnet.name for subnet in network.subnets], key="name")
    for index, part in enumerate(ranges):
        if not part.subnet_of(whole):
            yield Problem(
                location=(*at, index, "address_prefix"),
                value=str(part),
                message=f"it must lie within the network's {whole}",
            )
        elif part.prefixlen > 29:
            yield Problem(
                location=(*at, index, "address_prefix"),
                value=str(part),
                message="it must be a /29 or larger: Azure keeps five addresses of each subnet",
            )
    for (first, one), (second, other) in itertools.combinations(enumerate(ranges), 2):
        if one.overlaps(other):
            yield Problem(
                location=(*at, second, "address_prefix"),
                value=str(other),
                message=(f"it must not overlap {one} of subnet {network.subnets[first].name!r}"),
            )
