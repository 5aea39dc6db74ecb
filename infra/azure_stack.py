"""The Azure half of the stack: which components there are, and what each is given."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_azure_native as azure_native

from components import naming
from components.azure.access import Access, AccessArgs, Principal
from components.azure.budget import Budget, BudgetArgs
from components.azure.compute_cluster import ComputeCluster, ComputeClusterArgs
from components.azure.compute_instance import ComputeInstance, ComputeInstanceArgs, Schedule
from components.azure.container_registry import ContainerRegistry, ContainerRegistryArgs
from components.azure.data_asset import DataAsset, DataAssetArgs
from components.azure.datastore import Datastore, DatastoreArgs
from components.azure.diagnostic_settings import (
    DiagnosticSettings,
    DiagnosticSettingsArgs,
    Source,
)
from components.azure.environment import Environment, EnvironmentArgs
from components.azure.job_identity import JobIdentity, JobIdentityArgs
from components.azure.key_vault import KeyVault, KeyVaultArgs
from components.azure.kubernetes_compute import KubernetesCompute, KubernetesComputeArgs
from components.azure.monitoring import Monitoring, MonitoringArgs
from components.azure.private_dns import PrivateDns, PrivateDnsArgs
from components.azure.private_endpoint import DNS_ZONES, PrivateEndpoint, PrivateEndpointArgs
from components.azure.resource_group import ResourceGroup, ResourceGroupArgs
from components.azure.storage_account import StorageAccount, StorageAccountArgs
from components.azure.virtual_network import VirtualNetwork, VirtualNetworkArgs
from components.azure.workspace import OutboundRule, Workspace, WorkspaceArgs
from infra.azure_settings import AzureSettings, EnvironmentSettings, PrincipalSettings
from infra.azure_types import is_arm_id
from infra.common_settings import CommonSettings


def build(
    settings: AzureSettings,
    common: CommonSettings,
    provider: azure_native.Provider,
    *,
    today: datetime.date | None = None,
) -> dict[str, Any]:
    """Register the Azure components and return the ``azure_*`` fields of StackOutputs.

    ``today`` counts only for the first month of a budget that is not there yet.
    """
    return _AzureStack(settings, common, provider, today or datetime.date.today()).build()


class _AzureStack:
    """What the components of one stack share: where they go, and how they are named and tagged."""

    def __init__(
        self,
        settings: AzureSettings,
        common: CommonSettings,
        provider: azure_native.Provider,
        today: datetime.date,
    ) -> None:
        self.settings = settings
        self.common = common
        self.today = today
        self.scope = common.scope(account=settings.subscription_id, region=settings.location)
        self.opts = pulumi.ResourceOptions(providers=[provider])
        self.group = ResourceGroup(
            "group",
            ResourceGroupArgs(
                resource_group_name=naming.resource_group_name(self.scope, "ml"),
                location=settings.location,
                tags=common.all_tags,
            ),
            self.opts,
        )
        # What nearly every component is given.
        self.in_group: dict[str, Any] = {
            "resource_group_name": self.group.resource_group_name,
            "location": settings.location,
            "tags": common.all_tags,
        }
        self.is_public = settings.private_endpoints is None

    def build(self) -> dict[str, Any]:
        settings = self.settings
        subnet_ids = self._subnet_ids()
        storage = self._storage_account()
        vault = self._key_vault()
        registry = self._container_registry()
        monitoring = Monitoring(
            "monitoring",
            MonitoringArgs(
                log_analytics_name=naming.log_analytics_name(self.scope, "ml"),
                application_insights_name=naming.application_insights_name(self.scope, "ml"),
                retention_in_days=settings.log_analytics.retention_in_days,
                daily_quota_gb=settings.log_analytics.daily_quota_gb,
                **self.in_group,
            ),
            self.opts,
        )
        identity = JobIdentity(
            "jobs",
            JobIdentityArgs(
                identity_name=naming.identity_name(self.scope, "jobs"),
                subscription_id=settings.subscription_id,
                storage_account_id=storage.account_id,
                container_registry_id=registry.registry_id,
                can_push_images=settings.workspace.image_build_compute is not None,
                **self.in_group,
            ),
            self.opts,
        )
        workspace = self._workspace(storage, vault, registry, monitoring, subnet_ids)
        in_workspace = self.in_group | {"workspace_name": workspace.workspace_name}
        self._computes(in_workspace, identity, subnet_ids)
        self._access(workspace, storage)
        self._budget()
        self._diagnostic_settings(monitoring, workspace, storage, vault, registry)
        self._private_endpoints(workspace, storage, vault, registry, subnet_ids)
        return {
            "azure_subscription_id": settings.subscription_id,
            "azure_tenant_id": settings.tenant_id,
            "azure_location": settings.location,
            "azure_resource_group_name": self.group.resource_group_name,
            "azure_workspace_name": workspace.workspace_name,
            "azure_workspace_id": workspace.workspace_id,
            "azure_storage_account_name": storage.account_name,
            "azure_container_registry_login_server": registry.login_server,
            "azure_identity_id": identity.identity_id,
            "azure_identity_client_id": identity.client_id,
            "azure_compute_clusters": {
                cluster.name: {
                    "size": cluster.size,
                    "tier": cluster.tier,
                    "min_instances": cluster.min_instances,
                    "max_instances": cluster.max_instances,
                    "idle_time_before_scale_down_seconds": cluster.idle_time_before_scale_down,
                }
                for cluster in settings.compute_clusters
            },
            "azure_compute_instances": {
                naming.compute_instance_name(self.scope, instance.name): {"size": instance.size}
                for instance in settings.compute_instances
            },
            "azure_kubernetes_computes": {
                compute.name: {
                    "resource_id": compute.resource_id,
                    "namespace": compute.namespace,
                }
                for compute in settings.kubernetes_computes
            },
            "azure_environments": self._environments(in_workspace),
            "azure_data_assets": self._data_assets(in_workspace),
            "azure_datastores": self._datastores(in_workspace, storage),
            "azure_serverless_enabled": settings.serverless.enabled,
            "azure_max_runtime_seconds": settings.max_runtime,
        }

    def _subnet_ids(self) -> Mapping[str, pulumi.Output[str]]:
        network = self.settings.virtual_network
        if network is None:
            return {}
        has_gateway = network.nat_gateway
        return VirtualNetwork(
            "network",
            VirtualNetworkArgs(
                network_name=naming.virtual_network_name(self.scope, "ml"),
                security_group_name=naming.network_security_group_name(self.scope, "ml"),
                address_prefix=network.address_prefix,
                subnets={subnet.name: subnet.address_prefix for subnet in network.subnets},
                nat_gateway_name=naming.nat_gateway_name(self.scope, "ml") if has_gateway else None,
                public_ip_name=(
                    naming.public_ip_address_name(self.scope, "nat") if has_gateway else None
                ),
                **self.in_group,
            ),
            self.opts,
        ).subnet_ids

    def _storage_account(self) -> StorageAccount:
        settings = self.settings
        own = {
            datastore.container_name
            for datastore in settings.datastores
            if datastore.account_name is None
        }
        return StorageAccount(
            "storage",
            StorageAccountArgs(
                account_name=naming.storage_account_name(self.scope, "ml"),
                sku=settings.storage_account.sku,
                delete_retention_days=settings.storage_account.delete_retention_days,
                container_names=tuple(sorted(own)),
                public_network_access=self.is_public,
                protect=self.common.is_production,
                **self.in_group,
            ),
            self.opts,
        )

    def _key_vault(self) -> KeyVault:
        vault = self.settings.key_vault
        is_production = self.common.is_production
        purge_protection = vault.purge_protection
        retention = vault.soft_delete_retention_in_days
        return KeyVault(
            "vault",
            KeyVaultArgs(
                vault_name=naming.key_vault_name(self.scope, "ml"),
                tenant_id=self.settings.tenant_id,
                purge_protection=is_production if purge_protection is None else purge_protection,
                soft_delete_retention_in_days=retention or (90 if is_production else 7),
                public_network_access=self.is_public,
                **self.in_group,
            ),
            self.opts,
        )

    def _container_registry(self) -> ContainerRegistry:
        return ContainerRegistry(
            "registry",
            ContainerRegistryArgs(
                registry_name=naming.container_registry_name(self.scope, "ml"),
                sku=self.settings.container_registry.sku,
                public_network_access=self.is_public,
                protect=self.common.is_production,
                **self.in_group,
            ),
            self.opts,
        )

    def _workspace(
        self,
        storage: StorageAccount,
        vault: KeyVault,
        registry: ContainerRegistry,
        monitoring: Monitoring,
        subnet_ids: Mapping[str, pulumi.Output[str]],
    ) -> Workspace:
        settings = self.settings
        return Workspace(
            "workspace",
            WorkspaceArgs(
                workspace_name=naming.workspace_name(self.scope, "ml"),
                storage_account_id=storage.account_id,
                key_vault_id=vault.vault_id,
                application_insights_id=monitoring.application_insights_id,
                container_registry_id=registry.registry_id,
                friendly_name=settings.workspace.friendly_name,
                description=settings.workspace.description,
                isolation_mode=settings.managed_network.isolation_mode,
                outbound_rules=[
                    OutboundRule(**rule.model_dump())
                    for rule in settings.managed_network.outbound_rules
                ],
                public_network_access=self.is_public,
                image_build_compute=settings.workspace.image_build_compute,
                serverless_subnet_id=_subnet_id(settings.serverless.subnet, subnet_ids),
                protect=self.common.is_production,
                **self.in_group,
            ),
            self.opts,
        )

    def _computes(
        self,
        in_workspace: Mapping[str, Any],
        identity: JobIdentity,
        subnet_ids: Mapping[str, pulumi.Output[str]],
    ) -> None:
        for cluster in self.settings.compute_clusters:
            ComputeCluster(
                f"{cluster.name}-cluster",
                ComputeClusterArgs(
                    compute_name=naming.compute_cluster_name(cluster.name),
                    identity_id=identity.identity_id,
                    size=cluster.size,
                    tier=cluster.tier,
                    min_instances=cluster.min_instances,
                    max_instances=cluster.max_instances,
                    idle_time_before_scale_down_seconds=cluster.idle_time_before_scale_down,
                    subnet_id=_subnet_id(cluster.subnet, subnet_ids),
                    enable_node_public_ip=cluster.enable_node_public_ip,
                    description=cluster.description,
                    **in_workspace,
                ),
                self.opts,
            )
        for instance in self.settings.compute_instances:
            ComputeInstance(
                f"{instance.name}-instance",
                ComputeInstanceArgs(
                    compute_name=naming.compute_instance_name(self.scope, instance.name),
                    size=instance.size,
                    tenant_id=self.settings.tenant_id,
                    assigned_user_object_id=instance.assigned_user_object_id,
                    idle_time_before_shutdown_seconds=instance.idle_time_before_shutdown,
                    schedules=[
                        Schedule(**schedule.model_dump()) for schedule in instance.schedules
                    ],
                    subnet_id=_subnet_id(instance.subnet, subnet_ids),
                    enable_node_public_ip=instance.enable_node_public_ip,
                    description=instance.description,
                    **in_workspace,
                ),
                self.opts,
            )
        for compute in self.settings.kubernetes_computes:
            KubernetesCompute(
                f"{compute.name}-kubernetes",
                KubernetesComputeArgs(
                    compute_name=naming.compute_cluster_name(compute.name),
                    identity_id=identity.identity_id,
                    resource_id=compute.resource_id,
                    namespace=compute.namespace,
                    default_instance_type=compute.default_instance_type,
                    **in_workspace,
                ),
                self.opts,
            )

    def _access(self, workspace: Workspace, storage: StorageAccount) -> None:
        roles = self.settings.roles
        if not (roles.data_scientist or roles.compute_operator or roles.reader):
            return
        Access(
            "access",
            AccessArgs(
                subscription_id=self.settings.subscription_id,
                workspace_id=workspace.workspace_id,
                workspace_name=naming.workspace_name(self.scope, "ml"),
                storage_account_id=storage.account_id,
                data_scientists=_principals(roles.data_scientist),
                compute_operators=_principals(roles.compute_operator),
                readers=_principals(roles.reader),
                has_compute_instances=bool(self.settings.compute_instances),
            ),
            self.opts,
        )

    def _budget(self) -> None:
        budget = self.settings.budget
        if budget is None:
            return
        Budget(
            "budget",
            BudgetArgs(
                budget_name=naming.azure_budget_name(self.scope, "monthly"),
                scope=self.group.resource_group_id,
                monthly_amount=budget.monthly_usd,
                alert_percentages=budget.alert_percentages,
                contact_emails=budget.contacts or self.common.contacts,
                start_date=budget.start_date,
                month_of_creation=self.today,
            ),
            self.opts,
        )

    def _diagnostic_settings(
        self,
        monitoring: Monitoring,
        workspace: Workspace,
        storage: StorageAccount,
        vault: KeyVault,
        registry: ContainerRegistry,
    ) -> None:
        if not self.settings.diagnostic_settings:
            return
        DiagnosticSettings(
            "diagnostics",
            DiagnosticSettingsArgs(
                setting_name=naming.diagnostic_setting_name(self.scope, "audit"),
                log_analytics_id=monitoring.log_analytics_id,
                sources={
                    "workspace": Source(
                        resource_id=workspace.workspace_id, category_group="allLogs"
                    ),
                    "blobs": Source(resource_id=storage.blob_service_id),
                    "vault": Source(resource_id=vault.vault_id),
                    "registry": Source(resource_id=registry.registry_id),
                },
            ),
            self.opts,
        )

    def _private_endpoints(
        self,
        workspace: Workspace,
        storage: StorageAccount,
        vault: KeyVault,
        registry: ContainerRegistry,
        subnet_ids: Mapping[str, pulumi.Output[str]],
    ) -> None:
        private = self.settings.private_endpoints
        if private is None:
            return
        subnet_id = _subnet_id(private.subnet, subnet_ids)
        assert subnet_id is not None  # noqa: S101 - for the type: the field is required
        targets = {
            "amlworkspace": workspace.workspace_id,
            "blob": storage.account_id,
            "file": storage.account_id,
            "vault": vault.vault_id,
            "registry": registry.registry_id,
        }
        zone_ids: Mapping[str, pulumi.Output[str]] = {}
        if private.private_dns_zones:
            zone_ids = PrivateDns(
                "dns",
                PrivateDnsArgs(
                    resource_group_name=self.group.resource_group_name,
                    network_id=pulumi.Output.from_input(subnet_id).apply(
                        lambda text: text.split("/subnets/")[0]
                    ),
                    link_name=naming.private_dns_link_name(self.scope, "ml"),
                    zone_names=[zone for group in targets for zone in DNS_ZONES[group]],
                    tags=self.common.all_tags,
                ),
                self.opts,
            ).zone_ids
        for group, target_id in targets.items():
            PrivateEndpoint(
                group,
                PrivateEndpointArgs(
                    endpoint_name=naming.private_endpoint_name(self.scope, group),
                    subnet_id=subnet_id,
                    target_id=target_id,
                    group=group,
                    zone_ids=zone_ids,
                    **self.in_group,
                ),
                self.opts,
            )

    def _environments(self, in_workspace: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        outputs: dict[str, dict[str, Any]] = {}
        for environment in self.settings.environments:
            version = self._environment(environment, in_workspace)
            # Of several versions the one listed last is the newest.
            outputs[environment.name] = {
                "version": version.version,
                "id": version.environment_id,
            }
        for curated in self.settings.curated_environments:
            outputs[curated.name] = {
                "version": curated.version,
                "id": f"azureml://registries/{curated.registry}/environments/{curated.name}"
                f"/versions/{curated.version}",
            }
        return outputs

    def _environment(
        self, environment: EnvironmentSettings, in_workspace: Mapping[str, Any]
    ) -> Environment:
        build = environment.build
        suffix = f"-{environment.version}" if environment.version else ""
        return Environment(
            f"{environment.name}{suffix}-environment",
            EnvironmentArgs(
                environment_name=environment.name,
                version=environment.version,
                image=environment.image,
                conda_file=environment.conda_file,
                build_context_uri=build.context_uri if build else None,
                dockerfile_path=build.dockerfile_path if build else "Dockerfile",
                description=environment.description,
                workspace_name=in_workspace["workspace_name"],
                resource_group_name=in_workspace["resource_group_name"],
            ),
            self.opts,
        )

    def _data_assets(self, in_workspace: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        outputs: dict[str, dict[str, Any]] = {}
        for asset in self.settings.data_assets:
            registered = DataAsset(
                f"{asset.name}-{asset.version}-data",
                DataAssetArgs(
                    asset_name=asset.name,
                    version=asset.version,
                    path=asset.path,
                    type=asset.type,
                    description=asset.description,
                    workspace_name=in_workspace["workspace_name"],
                    resource_group_name=in_workspace["resource_group_name"],
                ),
                self.opts,
            )
            outputs[asset.name] = {"version": asset.version, "id": registered.asset_id}
        return outputs

    def _datastores(
        self, in_workspace: Mapping[str, Any], storage: StorageAccount
    ) -> dict[str, dict[str, Any]]:
        outputs: dict[str, dict[str, Any]] = {}
        for datastore in self.settings.datastores:
            account_name = datastore.account_name or storage.account_name
            Datastore(
                f"{datastore.name}-datastore",
                DatastoreArgs(
                    datastore_name=datastore.name,
                    account_name=account_name,
                    container_name=datastore.container_name,
                    description=datastore.description,
                    workspace_name=in_workspace["workspace_name"],
                    resource_group_name=in_workspace["resource_group_name"],
                ),
                self.opts,
            )
            outputs[datastore.name] = {
                "account_name": account_name,
                "container_name": datastore.container_name,
            }
        return outputs


def _subnet_id(
    reference: str | None, subnet_ids: Mapping[str, pulumi.Output[str]]
) -> pulumi.Input[str] | None:
    if reference is None:
        return None
    return reference if is_arm_id(reference) else subnet_ids[reference]


def _principals(principals: tuple[PrincipalSettings, ...]) -> list[Principal]:
    return [Principal(object_id=item.object_id, type=item.type) for item in principals]
