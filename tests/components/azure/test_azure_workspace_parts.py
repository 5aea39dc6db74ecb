"""The workspace and what it needs: storage, vault, registry, logs, identity, network."""

from __future__ import annotations

from typing import Any

import pytest

from components.azure.container_registry import ContainerRegistry, ContainerRegistryArgs
from components.azure.job_identity import JobIdentity, JobIdentityArgs
from components.azure.key_vault import KeyVault, KeyVaultArgs
from components.azure.monitoring import Monitoring, MonitoringArgs
from components.azure.roles import BUILT_IN_ROLES, role_definition_id
from components.azure.storage_account import StorageAccount, StorageAccountArgs
from components.azure.virtual_network import VirtualNetwork, VirtualNetworkArgs
from components.azure.workspace import OutboundRule, Workspace, WorkspaceArgs

SUBSCRIPTION_ID = "11111111-2222-3333-4444-555555555555"
IN_GROUP: dict[str, Any] = {"resource_group_name": "rg", "location": "westeurope"}
IDS: dict[str, Any] = {
    "storage_account_id": "/storage",
    "key_vault_id": "/vault",
    "application_insights_id": "/insights",
    "container_registry_id": "/registry",
}


def test_a_storage_account_has_no_keys_nothing_public_and_tls_1_2(build, cloud):
    build(lambda _: StorageAccount("s", StorageAccountArgs(account_name="acct", **IN_GROUP)))
    inputs = cloud.only("storage:StorageAccount").inputs
    assert inputs["allowSharedKeyAccess"] is False
    assert inputs["allowBlobPublicAccess"] is False
    assert inputs["allowCrossTenantReplication"] is False
    assert inputs["isLocalUserEnabled"] is False
    assert inputs["enableHttpsTrafficOnly"] is True
    assert inputs["minimumTlsVersion"] == "TLS1_2"
    assert inputs["sku"] == {"name": "Standard_LRS"}, "the cheapest is the default"


def test_a_deleted_blob_or_container_can_be_brought_back(build, cloud):
    args = StorageAccountArgs(account_name="acct", delete_retention_days=30, **IN_GROUP)
    build(lambda _: StorageAccount("s", args))
    inputs = cloud.only("storage:BlobServiceProperties").inputs
    assert inputs["deleteRetentionPolicy"] == {"enabled": True, "days": 30}
    assert inputs["containerDeleteRetentionPolicy"] == {"enabled": True, "days": 30}


def test_a_storage_account_makes_only_the_containers_it_is_told_of(build, cloud):
    args = StorageAccountArgs(account_name="acct", container_names=("data", "models"), **IN_GROUP)
    build(lambda _: StorageAccount("s", args))
    containers = cloud.of("storage:BlobContainer")
    assert {item.inputs["containerName"] for item in containers} == {"data", "models"}


@pytest.mark.parametrize("days", [0, 366])
def test_a_storage_account_refuses_a_retention_that_azure_has_not(days):
    with pytest.raises(ValueError, match=f"delete_retention_days is {days}; it must be 1 to 365"):
        StorageAccountArgs(account_name="a", delete_retention_days=days, **IN_GROUP)


def test_a_storage_account_refuses_the_same_container_twice():
    with pytest.raises(ValueError, match="container_names is"):
        StorageAccountArgs(account_name="a", container_names=("x", "x"), **IN_GROUP)


def test_a_vault_is_opened_by_roles_and_has_soft_delete(build, cloud):
    build(lambda _: KeyVault("v", KeyVaultArgs(vault_name="v", tenant_id="t", **IN_GROUP)))
    properties = cloud.only("keyvault:Vault").inputs["properties"]
    assert properties["enableRbacAuthorization"] is True
    assert properties["enableSoftDelete"] is True
    assert "accessPolicies" not in properties
    assert "enablePurgeProtection" not in properties, "the API refuses false"


def test_a_vault_refuses_a_retention_that_azure_has_not():
    with pytest.raises(ValueError, match="soft_delete_retention_in_days is 5; it must be 7 to 90"):
        KeyVaultArgs(vault_name="v", tenant_id="t", soft_delete_retention_in_days=5, **IN_GROUP)


def test_a_registry_has_no_admin_and_no_anonymous_pull_and_is_the_cheapest(build, cloud):
    build(lambda _: ContainerRegistry("r", ContainerRegistryArgs(registry_name="r", **IN_GROUP)))
    inputs = cloud.only("containerregistry:Registry").inputs
    assert inputs["adminUserEnabled"] is False
    assert inputs["anonymousPullEnabled"] is False
    assert inputs["sku"] == {"name": "Basic"}


def test_a_registry_refuses_to_be_private_where_its_sku_cannot():
    with pytest.raises(ValueError, match="sku is 'Basic'; it must be Premium"):
        ContainerRegistryArgs(registry_name="r", public_network_access=False, **IN_GROUP)


def test_logs_have_a_daily_limit_and_application_insights_is_kept_in_them(build, cloud):
    args = MonitoringArgs(log_analytics_name="l", application_insights_name="i", **IN_GROUP)
    build(lambda _: Monitoring("m", args))
    logs = cloud.only("operationalinsights:Workspace").inputs
    assert logs["workspaceCapping"] == {"dailyQuotaGb": 1}
    assert logs["retentionInDays"] == 30
    assert logs["features"]["disableLocalAuth"] is True
    insights = cloud.only("applicationinsights:Component").inputs
    assert insights["workspaceResourceId"] == "m-logs-id"
    assert insights["ingestionMode"] == "LogAnalytics"


@pytest.mark.parametrize(
    ("field", "value"), [("retention_in_days", 7), ("daily_quota_gb", 0), ("daily_quota_gb", -1)]
)
def test_logs_refuse_limits_that_azure_has_not(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}; it must be"):
        MonitoringArgs(
            log_analytics_name="l", application_insights_name="i", **IN_GROUP, **{field: value}
        )


def identity_args(**more) -> JobIdentityArgs:
    return JobIdentityArgs(
        identity_name="jobs",
        subscription_id=SUBSCRIPTION_ID,
        storage_account_id="/storage",
        container_registry_id="/registry",
        **IN_GROUP,
        **more,
    )


def granted(cloud) -> dict[str, str]:
    names = {guid: role for role, guid in BUILT_IN_ROLES.items()}
    return {
        names[item.inputs["roleDefinitionId"].rpartition("/")[2]]: item.inputs["scope"]
        for item in cloud.of("authorization:RoleAssignment")
    }


def test_jobs_may_use_blobs_and_pull_images_and_no_more(build, cloud):
    build(lambda _: JobIdentity("jobs", identity_args()))
    assert granted(cloud) == {
        "Storage Blob Data Contributor": "/storage",
        "AcrPull": "/registry",
    }


def test_jobs_may_push_images_only_when_told_to(build, cloud):
    build(lambda _: JobIdentity("jobs", identity_args(can_push_images=True)))
    assert granted(cloud)["AcrPush"] == "/registry"


def test_a_managed_identity_is_granted_roles_as_a_service_principal(build, cloud):
    build(lambda _: JobIdentity("jobs", identity_args()))
    kinds = {item.inputs["principalType"] for item in cloud.of("authorization:RoleAssignment")}
    assert kinds == {"ServicePrincipal"}, "the API's default, User, is not found while it is new"


def test_role_assignments_are_named_alike_on_every_run_and_apart_from_each_other(build, cloud):
    build(lambda _: JobIdentity("jobs", identity_args()))
    build(lambda _: JobIdentity("jobs", identity_args()))
    names = [item.inputs["roleAssignmentName"] for item in cloud.of("authorization:RoleAssignment")]
    assert len(names) == 4
    assert len(set(names)) == 2


def test_the_built_in_roles_have_azures_own_ids():
    from lab.azure.authorization import BUILT_IN

    assert {role: BUILT_IN[guid].name for role, guid in BUILT_IN_ROLES.items()} == {
        role: role for role in BUILT_IN_ROLES
    }, "two tables, written apart from each other, must agree"


def test_a_role_that_the_stack_does_not_give_out_is_refused():
    with pytest.raises(ValueError, match="role is 'Owner'; it must be one of AcrPull"):
        role_definition_id(SUBSCRIPTION_ID, "Owner")


def workspace_args(**more) -> WorkspaceArgs:
    return WorkspaceArgs(workspace_name="ws", **IDS, **IN_GROUP, **more)


def test_a_workspace_opens_its_datastores_by_identity_in_a_managed_network(build, cloud):
    build(lambda _: Workspace("w", workspace_args()))
    inputs = cloud.only("machinelearningservices:Workspace").inputs
    assert inputs["systemDatastoresAuthMode"] == "Identity"
    assert inputs["identity"] == {"type": "SystemAssigned"}
    assert inputs["managedNetwork"]["isolationMode"] == "AllowInternetOutbound", (
        "compute with no public address and no subnet needs the managed network"
    )
    assert "outboundRules" not in inputs["managedNetwork"]
    assert "serverlessComputeSettings" not in inputs
    assert inputs["v1LegacyMode"] is False


def test_a_workspace_is_replaced_where_the_service_would_refuse_the_change(build, cloud):
    build(lambda _: Workspace("w", workspace_args()))
    workspace = cloud.only("machinelearningservices:Workspace")
    assert {"storageAccount", "keyVault"} <= set(workspace.replace_on_changes)


def test_a_workspaces_outbound_rules_reach_it_by_kind(build, cloud):
    rules = (
        OutboundRule(name="packages", type="fqdn", destination="packages.example.com"),
        OutboundRule(name="adf", type="service_tag", destination="DataFactory", port_ranges="80"),
        OutboundRule(
            name="data", type="private_endpoint", destination="/other", subresource_target="blob"
        ),
    )
    args = workspace_args(isolation_mode="allow_only_approved_outbound", outbound_rules=rules)
    build(lambda _: Workspace("w", args))
    network = cloud.only("machinelearningservices:Workspace").inputs["managedNetwork"]
    assert network["isolationMode"] == "AllowOnlyApprovedOutbound"
    assert network["outboundRules"] == {
        "packages": {
            "type": "FQDN",
            "category": "UserDefined",
            "destination": "packages.example.com",
        },
        "adf": {
            "type": "ServiceTag",
            "category": "UserDefined",
            "destination": {
                "action": "Allow",
                "serviceTag": "DataFactory",
                "protocol": "TCP",
                "portRanges": "80",
            },
        },
        "data": {
            "type": "PrivateEndpoint",
            "category": "UserDefined",
            "destination": {"serviceResourceId": "/other", "subresourceTarget": "blob"},
        },
    }


def test_a_workspace_refuses_an_isolation_mode_that_is_none():
    with pytest.raises(ValueError, match="isolation_mode is 'private'; it must be one of disabled"):
        workspace_args(isolation_mode="private")


def test_a_workspace_refuses_a_subnet_beside_its_managed_network():
    with pytest.raises(ValueError, match="it must be disabled for serverless_subnet_id"):
        workspace_args(serverless_subnet_id="/subnet")


def network_args(**more) -> VirtualNetworkArgs:
    return VirtualNetworkArgs(
        network_name="vnet",
        security_group_name="nsg",
        address_prefix="10.40.0.0/16",
        subnets={"training": "10.40.0.0/22", "endpoints": "10.40.4.0/26"},
        **IN_GROUP,
        **more,
    )


def test_subnets_have_a_security_group_and_no_way_out_of_their_own(build, cloud):
    build(lambda _: VirtualNetwork("n", network_args()))
    for subnet in cloud.of("network:Subnet"):
        assert subnet.inputs["networkSecurityGroup"] == {"id": "n-security-group-id"}
        assert subnet.inputs["defaultOutboundAccess"] is False
        assert "natGateway" not in subnet.inputs
    assert "securityRules" not in cloud.only("network:NetworkSecurityGroup").inputs
    assert not cloud.of("network:PublicIPAddress"), "an address is billed by the hour"


def test_a_nat_gateway_is_made_only_when_named(build, cloud):
    build(lambda _: VirtualNetwork("n", network_args(nat_gateway_name="nat", public_ip_name="ip")))
    assert cloud.only("network:NatGateway").inputs["publicIpAddresses"] == [
        {"id": "n-nat-address-id"}
    ]
    for subnet in cloud.of("network:Subnet"):
        assert subnet.inputs["natGateway"] == {"id": "n-nat-gateway-id"}


def test_a_network_refuses_a_subnet_outside_it():
    with pytest.raises(ValueError, match=r"subnet 'x' is 10\.50\.0\.0/24; it must lie within"):
        VirtualNetworkArgs(
            network_name="v",
            security_group_name="n",
            address_prefix="10.40.0.0/16",
            subnets={"x": "10.50.0.0/24"},
            **IN_GROUP,
        )
