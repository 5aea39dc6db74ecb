"""Compute: clusters, instances, attached Kubernetes."""

from __future__ import annotations

from typing import Any

import pytest

from components.azure.compute_cluster import ComputeCluster, ComputeClusterArgs
from components.azure.compute_instance import ComputeInstance, ComputeInstanceArgs, Schedule
from components.azure.kubernetes_compute import KubernetesCompute, KubernetesComputeArgs

IN_WORKSPACE: dict[str, Any] = {
    "resource_group_name": "rg",
    "location": "westeurope",
    "workspace_name": "ws",
}


def cluster_args(**more: Any) -> ComputeClusterArgs:
    given: dict[str, Any] = {"size": "Standard_DS3_v2"} | IN_WORKSPACE | more
    return ComputeClusterArgs(compute_name="cpu", identity_id="/identity", **given)


@pytest.fixture
def cluster(build, cloud):
    def run(**more):
        build(lambda _: ComputeCluster("cpu", cluster_args(**more)))
        return cloud.only("machinelearningservices:Compute")

    return run


def test_a_cluster_costs_nothing_idle_and_nobody_reaches_its_nodes(cluster):
    properties = cluster().inputs["properties"]
    assert properties["computeType"] == "AmlCompute"
    assert properties["disableLocalAuth"] is True
    assert properties["properties"] == {
        "vmSize": "Standard_DS3_v2",
        "vmPriority": "Dedicated",
        "osType": "Linux",
        "scaleSettings": {
            "minNodeCount": 0,
            "maxNodeCount": 1,
            "nodeIdleTimeBeforeScaleDown": "PT120S",
        },
        "enableNodePublicIp": False,
        "remoteLoginPortPublicAccess": "Disabled",
    }


def test_each_option_of_a_cluster_changes_what_it_says(cluster):
    inputs = cluster(
        size="Standard_NC4as_T4_v3",
        tier="low_priority",
        min_instances=1,
        max_instances=8,
        idle_time_before_scale_down_seconds=600,
        subnet_id="/subnet",
        enable_node_public_ip=True,
        description="GPUs",
    ).inputs["properties"]
    properties = inputs["properties"]
    assert inputs["description"] == "GPUs"
    assert properties["vmSize"] == "Standard_NC4as_T4_v3"
    assert properties["vmPriority"] == "LowPriority"
    assert properties["scaleSettings"] == {
        "minNodeCount": 1,
        "maxNodeCount": 8,
        "nodeIdleTimeBeforeScaleDown": "PT600S",
    }
    assert properties["subnet"] == {"id": "/subnet"}
    assert properties["enableNodePublicIp"] is True


@pytest.mark.parametrize(
    "path",
    [
        "properties.properties.vmSize",
        "properties.properties.vmPriority",
        "properties.properties.subnet",
        "properties.properties.enableNodePublicIp",
    ],
)
def test_what_the_service_refuses_to_change_replaces_the_cluster(cluster, path):
    registered = cluster()
    assert path in registered.replace_on_changes
    assert registered.delete_before_replace, "the new cluster has the old one's name"


def test_the_number_of_instances_and_the_idle_time_change_in_place(cluster):
    paths = cluster().replace_on_changes
    assert not any("properties.properties.scaleSettings".startswith(path) for path in paths)
    assert "identity" not in paths


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tier": "spot"}, "tier is 'spot'; it must be one of dedicated, low_priority"),
        ({"min_instances": 3, "max_instances": 2}, "min_instances is 3; it must be 0 to"),
        ({"min_instances": -1}, "min_instances is -1; it must be 0 to"),
        ({"max_instances": 0}, "max_instances is 0; it must be at least 1"),
        ({"idle_time_before_scale_down_seconds": 0}, "it must be at least 1"),
    ],
)
def test_a_cluster_refuses_what_azure_would(more, message):
    with pytest.raises(ValueError, match=message):
        cluster_args(**more)


def instance_args(**more) -> ComputeInstanceArgs:
    return ComputeInstanceArgs(
        compute_name="alice",
        size="Standard_DS3_v2",
        tenant_id="tenant",
        assigned_user_object_id="alice-object-id",
        **IN_WORKSPACE,
        **more,
    )


@pytest.fixture
def instance(build, cloud):
    def run(**more):
        build(lambda _: ComputeInstance("alice", instance_args(**more)))
        return cloud.only("machinelearningservices:Compute")

    return run


def test_an_instance_is_one_persons_stops_itself_and_nobody_else_reaches_it(instance):
    properties = instance().inputs["properties"]
    assert properties["disableLocalAuth"] is True
    assert properties["properties"] == {
        "vmSize": "Standard_DS3_v2",
        "applicationSharingPolicy": "Personal",
        "computeInstanceAuthorizationType": "personal",
        "personalComputeInstanceSettings": {
            "assignedUser": {"objectId": "alice-object-id", "tenantId": "tenant"}
        },
        "idleTimeBeforeShutdown": "PT60M",
        "sshSettings": {"sshPublicAccess": "Disabled"},
        "enableNodePublicIp": False,
        "enableSSO": True,
    }


def test_an_instances_schedules_start_and_stop_it(instance):
    schedules = (
        Schedule(action="start", cron="0 8 * * 1-5", time_zone="W. Europe Standard Time"),
        Schedule(action="stop", cron="0 19 * * 1-5"),
    )
    properties = instance(schedules=schedules).inputs["properties"]["properties"]
    assert properties["schedules"]["computeStartStop"] == [
        {
            "action": "Start",
            "triggerType": "Cron",
            "status": "Enabled",
            "cron": {"expression": "0 8 * * 1-5", "timeZone": "W. Europe Standard Time"},
        },
        {
            "action": "Stop",
            "triggerType": "Cron",
            "status": "Enabled",
            "cron": {"expression": "0 19 * * 1-5", "timeZone": "UTC"},
        },
    ]


def test_each_other_option_of_an_instance_changes_what_it_says(instance):
    inputs = instance(
        idle_time_before_shutdown_seconds=1800,
        subnet_id="/subnet",
        enable_node_public_ip=True,
        description="Alice's",
    ).inputs["properties"]
    assert inputs["description"] == "Alice's"
    assert inputs["properties"]["idleTimeBeforeShutdown"] == "PT30M"
    assert inputs["properties"]["subnet"] == {"id": "/subnet"}
    assert inputs["properties"]["enableNodePublicIp"] is True


def test_any_change_of_an_instance_replaces_it(instance):
    registered = instance()
    assert registered.replace_on_changes == ("properties",)
    assert registered.delete_before_replace


@pytest.mark.parametrize("seconds", [60, 4 * 86_400])
def test_an_instance_refuses_an_idle_time_that_azure_has_not(seconds):
    with pytest.raises(ValueError, match=f"idle_time_before_shutdown_seconds is {seconds}"):
        instance_args(idle_time_before_shutdown_seconds=seconds)


def test_a_schedule_refuses_what_is_no_action():
    with pytest.raises(ValueError, match="action is 'pause'; it must be start or stop"):
        Schedule(action="pause", cron="0 8 * * *")


KUBERNETES_ID = "/subscriptions/s/resourceGroups/k8s/providers/Microsoft.Kubernetes/x/onprem"


def test_a_kubernetes_cluster_is_attached_by_its_id_and_runs_jobs_as_the_identity(build, cloud):
    args = KubernetesComputeArgs(
        compute_name="onprem",
        identity_id="/identity",
        resource_id=KUBERNETES_ID,
        namespace="azureml",
        default_instance_type="gpu",
        **IN_WORKSPACE,
    )
    build(lambda _: KubernetesCompute("onprem", args))
    registered = cloud.only("machinelearningservices:Compute")
    assert registered.inputs["identity"]["userAssignedIdentities"] == ["/identity"]
    properties = registered.inputs["properties"]
    assert properties["computeType"] == "Kubernetes"
    assert properties["resourceId"] == KUBERNETES_ID
    assert properties["properties"]["namespace"] == "azureml"
    assert properties["properties"]["defaultInstanceType"] == "gpu"
    assert "properties.resourceId" in registered.replace_on_changes


def test_a_kubernetes_compute_refuses_what_is_no_id():
    with pytest.raises(ValueError, match="resource_id is 'onprem'; it must be the ARM id"):
        KubernetesComputeArgs(
            compute_name="o", identity_id="/i", resource_id="onprem", **IN_WORKSPACE
        )
