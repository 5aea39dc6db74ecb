"""What a workspace knows by name, who may use it, and what watches over it."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from components.azure.access import Access, AccessArgs, Principal
from components.azure.budget import Budget, BudgetArgs
from components.azure.data_asset import DataAsset, DataAssetArgs
from components.azure.datastore import Datastore, DatastoreArgs
from components.azure.diagnostic_settings import Source
from components.azure.environment import Environment, EnvironmentArgs, content_version
from components.azure.private_endpoint import PrivateEndpointArgs
from components.azure.roles import BUILT_IN_ROLES

SUBSCRIPTION_ID = "11111111-2222-3333-4444-555555555555"
IN_WORKSPACE: dict[str, Any] = {"resource_group_name": "rg", "workspace_name": "ws"}
TODAY = datetime.date(2026, 11, 22)


def environment_args(**more) -> EnvironmentArgs:
    return EnvironmentArgs(environment_name="train", **IN_WORKSPACE, **more)


def test_an_environment_of_an_image_has_no_conda_file_and_no_build(build, cloud):
    build(lambda _: Environment("e", environment_args(image="python:3.11", version="3")))
    inputs = cloud.only("machinelearningservices:EnvironmentVersion").inputs
    assert (inputs["name"], inputs["version"]) == ("train", "3")
    assert inputs["properties"]["image"] == "python:3.11"
    assert "condaFile" not in inputs["properties"]
    assert "build" not in inputs["properties"]


def test_an_environment_of_an_image_and_conda_packages_has_both(build, cloud):
    text = "dependencies:\n- python=3.11\n"
    build(lambda _: Environment("e", environment_args(image="ubuntu", conda_file=text)))
    properties = cloud.only("machinelearningservices:EnvironmentVersion").inputs["properties"]
    assert properties["condaFile"] == text


def test_an_environment_of_a_build_context_names_its_dockerfile(build, cloud):
    uri = "https://github.com/example/images#main:train"
    args = environment_args(build_context_uri=uri, dockerfile_path="gpu.Dockerfile")
    build(lambda _: Environment("e", args))
    properties = cloud.only("machinelearningservices:EnvironmentVersion").inputs["properties"]
    assert properties["build"] == {"contextUri": uri, "dockerfilePath": "gpu.Dockerfile"}
    assert "image" not in properties


@pytest.mark.parametrize(
    "other",
    [
        {"image": "python:3.12"},
        {"image": "python:3.11", "conda_file": "dependencies: [numpy]"},
        {"build_context_uri": "https://example.com/x"},
    ],
)
def test_other_content_is_another_version(other):
    version = content_version(environment_args(image="python:3.11"))
    assert version == content_version(environment_args(image="python:3.11", description="words"))
    assert version != content_version(environment_args(**other))


def test_a_version_whose_content_changes_is_replaced_and_not_updated(build, cloud):
    build(lambda _: Environment("e", environment_args(image="python:3.11", version="3")))
    registered = cloud.only("machinelearningservices:EnvironmentVersion")
    assert {"properties.image", "properties.condaFile", "properties.build"} <= set(
        registered.replace_on_changes
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "exactly one must be given"),
        ({"image": "i", "build_context_uri": "https://x"}, "exactly one must be given"),
        ({"build_context_uri": "https://x", "conda_file": "c"}, "'train' has a conda_file beside"),
    ],
)
def test_an_environment_refuses_a_content_that_is_none_or_two(more, message):
    with pytest.raises(ValueError, match=message):
        environment_args(**more)


def test_a_datastore_keeps_no_credential(build, cloud):
    args = DatastoreArgs(
        datastore_name="data", account_name="acct", container_name="c", **IN_WORKSPACE
    )
    build(lambda _: Datastore("d", args))
    properties = cloud.only("machinelearningservices:Datastore").inputs["properties"]
    assert properties["credentials"] == {"credentialsType": "None"}
    assert properties["datastoreType"] == "AzureBlob"
    assert properties["protocol"] == "https"


@pytest.mark.parametrize("type_", ["uri_file", "uri_folder", "mltable"])
def test_a_data_asset_is_registered_as_what_it_is(build, cloud, type_):
    args = DataAssetArgs(asset_name="a", version="1", path="p", type=type_, **IN_WORKSPACE)
    build(lambda _: DataAsset("a", args))
    registered = cloud.only("machinelearningservices:DataVersion")
    assert registered.inputs["properties"]["dataType"] == type_
    assert registered.inputs["properties"]["dataUri"] == "p"
    assert "properties.dataUri" in registered.replace_on_changes


def test_a_data_asset_refuses_what_is_no_type():
    with pytest.raises(ValueError, match="type is 'table'; it must be one of uri_file"):
        DataAssetArgs(asset_name="a", version="1", path="p", type="table", **IN_WORKSPACE)


ALICE = Principal(object_id="alice", type="user")
TEAM = Principal(object_id="team", type="group")


def access_args(**more) -> AccessArgs:
    return AccessArgs(
        subscription_id=SUBSCRIPTION_ID,
        workspace_id="/workspace",
        workspace_name="ws",
        storage_account_id="/storage",
        **more,
    )


def granted(cloud) -> set[tuple[str, str, str, str]]:
    names = {guid: role for role, guid in BUILT_IN_ROLES.items()}
    return {
        (
            names[item.inputs["roleDefinitionId"].rpartition("/")[2]],
            item.inputs["scope"],
            item.inputs["principalId"],
            item.inputs["principalType"],
        )
        for item in cloud.of("authorization:RoleAssignment")
    }


def test_a_data_scientist_may_submit_and_reach_the_data_but_not_make_compute(build, cloud):
    build(lambda _: Access("a", access_args(data_scientists=[TEAM])))
    assert granted(cloud) == {
        ("AzureML Data Scientist", "/workspace", "team", "Group"),
        ("Storage Blob Data Contributor", "/storage", "team", "Group"),
    }


def test_a_data_scientist_reaches_the_file_share_where_there_are_instances(build, cloud):
    args = access_args(data_scientists=[ALICE], has_compute_instances=True)
    build(lambda _: Access("a", args))
    assert (
        "Storage File Data Privileged Contributor",
        "/storage",
        "alice",
        "User",
    ) in granted(cloud)


def test_an_operator_and_a_reader_get_one_role_each_and_no_data(build, cloud):
    robot = Principal(object_id="robot", type="service_principal")
    build(lambda _: Access("a", access_args(compute_operators=[ALICE], readers=[robot])))
    assert granted(cloud) == {
        ("AzureML Compute Operator", "/workspace", "alice", "User"),
        ("Reader", "/workspace", "robot", "ServicePrincipal"),
    }


def test_each_grant_has_a_name_of_its_own(build, cloud):
    args = access_args(
        data_scientists=[ALICE, TEAM], compute_operators=[ALICE, TEAM], readers=[ALICE]
    )
    build(lambda _: Access("a", args))
    names = [item.inputs["roleAssignmentName"] for item in cloud.of("authorization:RoleAssignment")]
    assert len(set(names)) == len(names) == 7


def test_a_principal_refuses_what_is_no_type():
    with pytest.raises(ValueError, match="type is 'robot'; it must be one of user, group"):
        Principal(object_id="x", type="robot")


def budget_args(**more: Any) -> BudgetArgs:
    given: dict[str, Any] = {
        "budget_name": "b",
        "scope": "/group",
        "monthly_amount": 100.0,
        "contact_emails": ["a@example.com"],
        "month_of_creation": TODAY,
    }
    return BudgetArgs(**given | more)


def test_a_budget_mails_at_each_percentage_and_on_a_forecast(build, cloud):
    build(lambda _: Budget("b", budget_args()))
    inputs = cloud.only("consumption:Budget").inputs
    assert (inputs["amount"], inputs["timeGrain"], inputs["category"]) == (100, "Monthly", "Cost")
    mails = {
        (item["thresholdType"], item["threshold"]): item["contactEmails"]
        for item in inputs["notifications"].values()
    }
    assert mails == {
        ("Actual", 50): ["a@example.com"],
        ("Actual", 80): ["a@example.com"],
        ("Actual", 100): ["a@example.com"],
        ("Forecasted", 100): ["a@example.com"],
    }
    assert all(item["enabled"] for item in inputs["notifications"].values())


def test_a_budget_with_azures_five_percentages_has_no_forecast(build, cloud):
    build(lambda _: Budget("b", budget_args(alert_percentages=(10, 20, 30, 40, 50))))
    assert len(cloud.only("consumption:Budget").inputs["notifications"]) == 5


def test_a_budget_with_a_start_date_is_replaced_when_that_changes(build, cloud):
    build(lambda _: Budget("b", budget_args(start_date=datetime.date(2026, 9, 1))))
    budget = cloud.only("consumption:Budget")
    assert budget.inputs["timePeriod"] == {"startDate": "2026-09-01T00:00:00Z"}
    assert budget.replace_on_changes == ("timePeriod.startDate",)
    assert budget.ignore_changes == ()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"monthly_amount": 0}, "monthly_amount is 0; it must be more than 0"),
        ({"contact_emails": []}, "contact_emails is empty"),
        ({"alert_percentages": ()}, "Azure takes 1 to 5"),
    ],
)
def test_a_budget_refuses_what_azure_would(more, message):
    with pytest.raises(ValueError, match=message):
        budget_args(**more)


def test_a_log_source_refuses_what_is_no_group():
    with pytest.raises(ValueError, match="category_group is 'all'; it must be one of audit"):
        Source(resource_id="/x", category_group="all")


def test_a_private_endpoint_refuses_a_group_whose_zones_are_unknown():
    with pytest.raises(ValueError, match="group is 'queue'; it must be one of amlworkspace"):
        PrivateEndpointArgs(
            endpoint_name="e",
            resource_group_name="rg",
            location="westeurope",
            subnet_id="/s",
            target_id="/t",
            group="queue",
        )
