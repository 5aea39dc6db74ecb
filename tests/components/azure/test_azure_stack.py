"""The Azure half as a whole: what a stack's settings make."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest

from infra import azure_stack
from infra.azure_settings import AzureSettings
from infra.common_settings import CommonSettings
from infra.outputs import StackOutputs

TODAY = datetime.date(2026, 11, 22)
USER = "0b1f6471-1bf0-4dda-aec3-111122223333"
SUBNET_ID = (
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/hub/providers"
    "/Microsoft.Network/virtualNetworks/hub/subnets/ml"
)


def settings(**more: Any) -> AzureSettings:
    return AzureSettings.model_validate(
        {
            "subscription_id": "11111111-2222-3333-4444-555555555555",
            "tenant_id": "99999999-0000-0000-0000-000000000000",
            "location": "westeurope",
        }
        | more
    )


def common(environment: str = "dev", **more: Any) -> CommonSettings:
    return CommonSettings(
        project="trainstack", stack="dev", environment=environment, owner="ml-platform", **more
    )


@pytest.fixture
def stack(build: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    def run(environment: str = "dev", today: datetime.date = TODAY, **more: Any) -> dict[str, Any]:
        azure, shared = settings(**more), common(environment)
        assert not list(azure.problems(shared)), "the test's own settings are wrong"
        return build(lambda provider: azure_stack.build(azure, shared, provider, today=today))

    return run


CLUSTER = {"name": "cpu", "size": "Standard_DS3_v2"}
PRIVATE = {
    "private_endpoints": {"subnet": SUBNET_ID},
    "container_registry": {"sku": "Premium"},
    "workspace": {"image_build_compute": "cpu"},
    "compute_clusters": [CLUSTER],
}


def test_a_stack_with_no_options_has_a_workspace_and_what_it_needs_and_nothing_more(stack, cloud):
    stack()
    assert sorted({item.type.removeprefix("azure-native:") for item in cloud.resources}) == [
        "applicationinsights:Component",
        "authorization:RoleAssignment",
        "containerregistry:Registry",
        "keyvault:Vault",
        "machinelearningservices:Workspace",
        "managedidentity:UserAssignedIdentity",
        "monitor:DiagnosticSetting",
        "operationalinsights:Workspace",
        "resources:ResourceGroup",
        "storage:BlobServiceProperties",
        "storage:StorageAccount",
    ]


def test_every_resource_has_a_component_as_parent_and_the_stacks_own_provider(stack, cloud):
    stack(**EVERYTHING)
    for item in cloud.resources:
        assert item.parent_type.startswith("trainstack:azure:"), item.name
        assert "providers:azure-native::azure::" in item.provider, (
            f"{item.name} would be made in whatever subscription the shell is signed in to"
        )


def test_every_resource_that_takes_tags_carries_the_stacks(stack, cloud):
    stack(**EVERYTHING)
    untagged = {item.type for item in cloud.resources if "tags" not in item.inputs}
    assert untagged == {
        "azure-native:authorization:RoleAssignment",
        "azure-native:consumption:Budget",
        "azure-native:machinelearningservices:DataVersion",
        "azure-native:machinelearningservices:Datastore",
        "azure-native:machinelearningservices:EnvironmentVersion",
        "azure-native:monitor:DiagnosticSetting",
        "azure-native:network:PrivateDnsZoneGroup",
        "azure-native:network:Subnet",
        "azure-native:storage:BlobContainer",
        "azure-native:storage:BlobServiceProperties",
    }


def test_every_name_on_azure_is_set_and_none_is_left_to_chance(stack, cloud):
    stack(**EVERYTHING)
    for item in cloud.resources:
        own = [key for key in item.inputs if key == "name" or key.endswith("Name")]
        assert own, f"{item.name} would be given a random name"


def test_the_outputs_are_those_of_the_contract_and_hold_no_unknown_name(stack):
    outputs = stack(**EVERYTHING)
    fields = {name for name in StackOutputs.__dataclass_fields__ if name.startswith("azure_")}
    assert set(outputs) == fields
    mapping = outputs | {
        "outputs_version": 1,
        "stack_name": "dev",
        "environment": "dev",
        "owner": "ml",
        "clouds": ["azure"],
    }
    read = StackOutputs.from_mapping(json.loads(json.dumps(mapping)))
    assert read.azure_compute_clusters["gpu"]["tier"] == "low_priority"
    assert read.azure_max_runtime_seconds == 86_400


def test_no_output_and_no_input_holds_a_key_or_a_password(stack, cloud):
    outputs = stack(**EVERYTHING)
    text = json.dumps([outputs, [item.inputs for item in cloud.resources]], default=str).lower()
    for word in ("accountkey", "password", "sastoken", "connectionstring", "instrumentationkey"):
        assert word not in text


def test_production_keeps_what_holds_data_from_being_deleted(stack, cloud):
    stack("prod", datastores=[{"name": "data", "container_name": "data"}])
    protected = {item.type.split(":", 1)[1] for item in cloud.resources if item.protect}
    assert protected == {
        "containerregistry:Registry",
        "machinelearningservices:Workspace",
        "storage:BlobContainer",
        "storage:StorageAccount",
    }
    properties = cloud.only("keyvault:Vault").inputs["properties"]
    assert properties["enablePurgeProtection"] is True
    assert properties["softDeleteRetentionInDays"] == 90


def test_outside_production_a_stack_can_be_torn_down_and_its_vault_purged(stack, cloud):
    stack("dev")
    assert not [item.name for item in cloud.resources if item.protect]
    properties = cloud.only("keyvault:Vault").inputs["properties"]
    assert "enablePurgeProtection" not in properties
    assert properties["softDeleteRetentionInDays"] == 7


def test_purge_protection_can_be_turned_on_outside_production(stack, cloud):
    stack("dev", key_vault={"purge_protection": True})
    assert cloud.only("keyvault:Vault").inputs["properties"]["enablePurgeProtection"] is True


def test_clusters_run_as_the_identity_that_has_the_data_roles(stack, cloud):
    stack(compute_clusters=[CLUSTER])
    identity = cloud.only("machinelearningservices:Compute").inputs["identity"]
    assert identity == {
        "type": "UserAssigned",
        "userAssignedIdentities": ["jobs-identity-id"],
    }


def test_only_a_cluster_that_builds_images_lets_jobs_push_them(stack, cloud):
    stack(compute_clusters=[CLUSTER])
    assert "jobs-acrpush" not in [item.name for item in cloud.resources]


def test_a_cluster_that_builds_images_is_named_to_the_workspace_and_may_push(stack, cloud):
    stack(compute_clusters=[CLUSTER], workspace={"image_build_compute": "cpu"})
    assert "jobs-acrpush" in [item.name for item in cloud.resources]
    workspace = cloud.only("machinelearningservices:Workspace")
    assert workspace.inputs["imageBuildCompute"] == "cpu"


def test_private_endpoints_close_every_public_one(stack, cloud):
    stack(**PRIVATE)
    vault = cloud.only("keyvault:Vault").inputs["properties"]
    storage = cloud.only("storage:StorageAccount").inputs
    assert storage["publicNetworkAccess"] == "Disabled"
    assert storage["networkRuleSet"] == {"bypass": "AzureServices", "defaultAction": "Deny"}
    assert vault["publicNetworkAccess"] == "Disabled"
    assert vault["networkAcls"] == {"bypass": "AzureServices", "defaultAction": "Deny"}
    for type_ in ("containerregistry:Registry", "machinelearningservices:Workspace"):
        assert cloud.only(type_).inputs["publicNetworkAccess"] == "Disabled"
    groups = [
        item.inputs["privateLinkServiceConnections"][0]["groupIds"]
        for item in cloud.of("network:PrivateEndpoint")
    ]
    assert sorted(groups) == [["amlworkspace"], ["blob"], ["file"], ["registry"], ["vault"]]


def test_private_endpoints_are_found_through_zones_linked_to_their_network(stack, cloud):
    stack(**PRIVATE)
    zones = {item.inputs["privateZoneName"] for item in cloud.of("privatedns:PrivateZone")}
    assert "privatelink.api.azureml.ms" in zones
    assert "privatelink.notebooks.azure.net" in zones
    network = SUBNET_ID.split("/subnets/")[0]
    links = cloud.of("privatedns:VirtualNetworkLink")
    assert {item.inputs["virtualNetwork"]["id"] for item in links} == {network}
    assert len(cloud.of("network:PrivateDnsZoneGroup")) == 5


def test_a_hub_network_that_has_the_zones_is_given_none(stack, cloud):
    stack(**PRIVATE | {"private_endpoints": {"subnet": SUBNET_ID, "private_dns_zones": False}})
    assert len(cloud.of("network:PrivateEndpoint")) == 5
    assert not cloud.of("privatedns:PrivateZone")
    assert not cloud.of("network:PrivateDnsZoneGroup")


def test_compute_of_a_network_of_ones_own_is_put_into_its_subnet(stack, cloud):
    stack(
        managed_network={"isolation_mode": "disabled"},
        virtual_network={
            "address_prefix": "10.40.0.0/16",
            "subnets": [{"name": "training", "address_prefix": "10.40.0.0/22"}],
        },
        compute_clusters=[CLUSTER | {"subnet": "training"}],
        serverless={"subnet": "training"},
    )
    properties = cloud.only("machinelearningservices:Compute").inputs["properties"]["properties"]
    assert properties["subnet"] == {"id": "network-training-id"}
    assert properties["enableNodePublicIp"] is False
    workspace = cloud.only("machinelearningservices:Workspace").inputs
    assert workspace["managedNetwork"]["isolationMode"] == "Disabled"
    assert workspace["serverlessComputeSettings"] == {
        "serverlessComputeCustomSubnet": "network-training-id",
        "serverlessComputeNoPublicIP": True,
    }


def test_diagnostic_settings_can_be_left_out(stack, cloud):
    stack(diagnostic_settings=False)
    assert not cloud.of("monitor:DiagnosticSetting")


def test_diagnostic_settings_keep_audit_logs_and_the_workspaces_own(stack, cloud):
    stack()
    logs = {
        item.inputs["resourceUri"]: item.inputs["logs"]
        for item in cloud.of("monitor:DiagnosticSetting")
    }
    audit = [{"categoryGroup": "audit", "enabled": True}]
    assert logs == {
        "workspace-workspace-id": [{"categoryGroup": "allLogs", "enabled": True}],
        "storage-blobs-id": audit,
        "vault-vault-id": audit,
        "registry-registry-id": audit,
    }


def test_a_budget_counts_the_resource_group_from_the_month_of_its_creation_on(stack, cloud):
    stack(budget={"monthly_usd": 500, "contacts": ["ml-team@example.com"]})
    budget = cloud.only("consumption:Budget")
    assert budget.inputs["scope"] == "group-group-id"
    assert budget.inputs["timePeriod"] == {"startDate": "2026-11-01T00:00:00Z"}
    assert budget.ignore_changes == ("timePeriod",), "the next month would change the budget"


def test_a_compute_instance_is_in_the_outputs_by_the_name_that_a_job_submits_to(stack, cloud):
    instance = {"name": "alice", "size": "Standard_DS3_v2", "assigned_user_object_id": USER}
    outputs = stack(compute_instances=[instance])
    name = cloud.only("machinelearningservices:Compute").inputs["computeName"]
    assert outputs["azure_compute_instances"] == {name: {"size": "Standard_DS3_v2"}}
    assert name.startswith("alice-")


def test_of_two_versions_of_an_environment_both_stay_and_the_last_is_the_output(stack, cloud):
    outputs = stack(
        environments=[
            {"name": "train", "version": "1", "image": "python:3.10"},
            {"name": "train", "version": "2", "image": "python:3.11"},
        ]
    )
    versions = [
        item.inputs["version"] for item in cloud.of("machinelearningservices:EnvironmentVersion")
    ]
    assert sorted(versions) == ["1", "2"]
    assert outputs["azure_environments"]["train"]["version"] == "2"


def test_a_curated_environment_is_referred_to_and_not_created(stack, cloud):
    outputs = stack(curated_environments=[{"name": "sklearn-1.5", "version": "33"}])
    assert not cloud.of("machinelearningservices:EnvironmentVersion")
    assert outputs["azure_environments"]["sklearn-1.5"] == {
        "version": "33",
        "id": "azureml://registries/azureml/environments/sklearn-1.5/versions/33",
    }


def test_a_datastore_in_the_stacks_account_gets_its_container(stack, cloud):
    outputs = stack(datastores=[{"name": "training_data", "container_name": "training-data"}])
    container = cloud.only("storage:BlobContainer").inputs
    assert container["containerName"] == "training-data"
    assert container["publicAccess"] == "None"
    assert outputs["azure_datastores"]["training_data"] == {
        "account_name": container["accountName"],
        "container_name": "training-data",
    }


def test_a_datastore_in_another_account_makes_no_container(stack, cloud):
    stack(
        datastores=[{"name": "shared", "container_name": "images", "account_name": "othersaccount"}]
    )
    assert not cloud.of("storage:BlobContainer")
    properties = cloud.only("machinelearningservices:Datastore").inputs["properties"]
    assert properties["accountName"] == "othersaccount"


def test_the_same_settings_make_the_same_names_in_any_month(build, cloud):
    def names(today: datetime.date) -> list[dict[str, Any]]:
        start = len(cloud.seen)
        build(
            lambda provider: azure_stack.build(
                settings(**EVERYTHING), common(contacts=["a@example.com"]), provider, today=today
            )
        )
        return sorted(
            (
                item.inputs | {"timePeriod": None}
                for item in cloud.seen[start:]
                if item.type.startswith("azure-native:")
            ),
            key=str,
        )

    assert names(TODAY) == names(datetime.date(2027, 2, 3)), "a second `up` would change something"


EVERYTHING: dict[str, Any] = {
    "workspace": {"friendly_name": "Training", "image_build_compute": "cpu"},
    "storage_account": {"sku": "Standard_ZRS", "delete_retention_days": 30},
    "container_registry": {"sku": "Premium"},
    "log_analytics": {"retention_in_days": 90, "daily_quota_gb": 5},
    "managed_network": {"isolation_mode": "disabled"},
    "virtual_network": {
        "address_prefix": "10.40.0.0/16",
        "subnets": [
            {"name": "training", "address_prefix": "10.40.0.0/22"},
            {"name": "endpoints", "address_prefix": "10.40.4.0/26"},
        ],
        "nat_gateway": True,
    },
    "private_endpoints": {"subnet": "endpoints"},
    "compute_clusters": [
        {"name": "cpu", "size": "Standard_DS3_v2", "subnet": "training", "max_instances": 4},
        {
            "name": "gpu",
            "size": "Standard_NC4as_T4_v3",
            "tier": "low_priority",
            "max_instances": 2,
            "idle_time_before_scale_down": "5m",
            "subnet": "training",
        },
    ],
    "compute_instances": [
        {
            "name": "alice",
            "size": "Standard_DS3_v2",
            "assigned_user_object_id": USER,
            "idle_time_before_shutdown": "30m",
            "schedules": [{"action": "stop", "cron": "0 19 * * 1-5"}],
            "subnet": "training",
        }
    ],
    "serverless": {"subnet": "training"},
    "kubernetes_computes": [
        {
            "name": "onprem",
            "resource_id": (
                "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/k8s/providers"
                "/Microsoft.Kubernetes/connectedClusters/onprem"
            ),
            "namespace": "azureml",
        }
    ],
    "environments": [
        {"name": "train", "image": "python:3.11", "conda_file": {"dependencies": ["python=3.11"]}},
        {
            "name": "built",
            "version": "1",
            "build": {"context_uri": "https://github.com/example/images#main:train"},
        },
    ],
    "curated_environments": [{"name": "sklearn-1.5", "version": "33"}],
    "datastores": [{"name": "training_data", "container_name": "training-data"}],
    "data_assets": [
        {
            "name": "digits",
            "version": "1",
            "path": "azureml://datastores/training_data/paths/digits/",
        }
    ],
    "roles": {
        "data_scientist": [{"object_id": USER, "type": "user"}],
        "compute_operator": [{"object_id": "0b1f6471-1bf0-4dda-aec3-444455556666"}],
        "reader": [
            {
                "object_id": "0b1f6471-1bf0-4dda-aec3-777788889999",
                "type": "service_principal",
            }
        ],
    },
    "budget": {"monthly_usd": 500, "contacts": ["ml-team@example.com"]},
    "max_runtime": "24h",
}
