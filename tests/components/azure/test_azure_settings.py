"""Azure's settings: what is refused, in words that help, and that whatever passes builds."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components import naming
from infra import azure_stack
from infra.azure_settings import AzureSettings
from infra.azure_types import SYSTEM_DATASTORES
from infra.common_settings import CommonSettings

LEAST: dict[str, Any] = {
    "subscription_id": "11111111-2222-3333-4444-555555555555",
    "tenant_id": "99999999-0000-0000-0000-000000000000",
    "location": "westeurope",
}
USER = "0b1f6471-1bf0-4dda-aec3-111122223333"
COMMON = CommonSettings(project="trainstack", stack="dev", environment="dev", owner="ml")


def refusals(**more: Any) -> dict[str, str]:
    """Return what is refused: path below the section -> message."""
    try:
        settings = AzureSettings.model_validate(LEAST | more)
    except ValidationError as error:
        return {
            ".".join(str(part) for part in detail["loc"]): detail["msg"].removeprefix(
                "Value error, "
            )
            for detail in error.errors()
        }
    return {
        ".".join(str(part) for part in problem.location): problem.message
        for problem in settings.problems(COMMON)
    }


def cluster(**more: Any) -> dict[str, Any]:
    return {"name": "cpu", "size": "Standard_DS3_v2"} | more


def instance(**more: Any) -> dict[str, Any]:
    return {"name": "alice", "size": "Standard_DS3_v2", "assigned_user_object_id": USER} | more


def test_a_subscription_a_tenant_and_a_location_are_enough():
    assert refusals() == {}


def test_the_defaults_cost_nothing_that_is_not_used():
    settings = AzureSettings.model_validate(LEAST | {"compute_clusters": [cluster()]})
    assert settings.compute_clusters[0].min_instances == 0
    assert settings.compute_clusters[0].idle_time_before_scale_down == 120
    assert settings.container_registry.sku == "Basic"
    assert settings.virtual_network is None
    assert settings.private_endpoints is None
    assert settings.managed_network.outbound_rules == ()


@pytest.mark.parametrize(
    "size",
    [
        "Standard_Big",
        "ml.m5.large",
        "Standard_B2s",
        "DS3_v2",
        "Standard_DS3_v2 ",
        "Standard_",
        "Standard_v2",
        "",
    ],
)
def test_what_is_no_vm_size_is_refused(size):
    message = refusals(compute_clusters=[cluster(size=size)])["compute_clusters.0.size"]
    assert message.endswith("such as Standard_DS3_v2")


@pytest.mark.parametrize(
    "size",
    [
        "Standard_DS3_v2",
        "STANDARD_DS3_V2",
        "Standard_D16s_v5",
        "Standard_E4-2s_v5",
        "Standard_F72s_v2",
        "Standard_FX4mds",
        "Standard_HB120-16rs_v3",
        "Standard_M128ms",
        "Standard_NC4as_T4_v3",
        "Standard_NC80adis_H100_v5",
        "Standard_ND96isr_MI300X_v5",
        "Standard_NV72ads_A10_v5",
    ],
)
def test_sizes_of_every_shape_are_taken(size):
    assert refusals(compute_clusters=[cluster(size=size)]) == {}


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86_400), (300, 300)]
)
def test_a_duration_is_read_in_any_unit(written, seconds):
    settings = AzureSettings.model_validate(
        LEAST | {"compute_clusters": [cluster(idle_time_before_scale_down=written)]}
    )
    assert settings.compute_clusters[0].idle_time_before_scale_down == seconds


@pytest.mark.parametrize("written", ["5 minutes", "2d", "0s", 10, True, 1.5, None, "PT2M"])
def test_what_is_no_duration_or_out_of_bounds_is_refused_with_the_bounds(written):
    found = refusals(compute_clusters=[cluster(idle_time_before_scale_down=written)])
    assert found["compute_clusters.0.idle_time_before_scale_down"] == (
        "it must be a duration of 30s to 1d, such as 90s, 5m, 2h or 1d"
    )


def test_more_nodes_at_least_than_at_most_are_refused():
    found = refusals(compute_clusters=[cluster(min_instances=3, max_instances=2)])
    assert found == {"compute_clusters.0.min_instances": "it must be max_instances (2) or less"}


def test_one_name_for_two_computes_is_refused_whatever_their_kind():
    found = refusals(compute_clusters=[cluster(), cluster()], compute_instances=[instance()])
    assert list(found) == ["compute_clusters.1.name"]
    found = refusals(compute_clusters=[cluster(name="alice")], compute_instances=[instance()])
    assert list(found) == ["compute_instances.0.name"]


def test_every_problem_is_found_and_not_only_the_first():
    found = refusals(
        compute_clusters=[cluster(min_instances=2), cluster(subnet="nowhere")],
        workspace={"image_build_compute": "gpu"},
        budget={"monthly_usd": 10},
    )
    assert sorted(found) == [
        "budget.contacts",
        "compute_clusters.0.min_instances",
        "compute_clusters.1.name",
        "compute_clusters.1.subnet",
        "workspace.image_build_compute",
    ]


def test_a_name_too_long_once_prefixed_is_refused():
    found = refusals(compute_instances=[instance(name="a-name-of-18-chars")])
    assert "the limit is 24" in found["compute_instances.0.name"]


def test_a_workspace_whose_name_would_be_too_long_is_refused():
    common = COMMON.model_copy(update={"stack": "a-very-long-stack-name"})
    problems = list(AzureSettings.model_validate(LEAST).problems(common))
    assert [problem.location for problem in problems] == [("workspace",)]
    assert "the limit is 33" in problems[0].message


@pytest.mark.parametrize("value", ["alice@example.com", "0b1f6471", "", "{" + USER + "}"])
def test_a_user_that_is_no_guid_is_refused(value):
    found = refusals(compute_instances=[instance(assigned_user_object_id=value)])
    assert found["compute_instances.0.assigned_user_object_id"].startswith("it must be a GUID")


@pytest.mark.parametrize("role", ["data_scientist", "compute_operator", "reader"])
def test_a_principal_that_has_a_role_twice_is_refused(role):
    found = refusals(roles={role: [{"object_id": USER}, {"object_id": USER.upper()}]})
    assert found == {f"roles.{role}.1.object_id": "it must be there once only"}


def test_a_principal_of_no_known_type_is_refused():
    found = refusals(roles={"reader": [{"object_id": USER, "type": "robot"}]})
    assert "'user', 'group' or 'service_principal'" in found["roles.reader.0.type"]


@pytest.mark.parametrize("cron", ["every day", "0 8 * *", "0 8 * * 1-5 2026", "$(x) 8 * * *"])
def test_what_is_no_cron_expression_is_refused(cron):
    found = refusals(compute_instances=[instance(schedules=[{"action": "stop", "cron": cron}])])
    assert "five fields" in found["compute_instances.0.schedules.0.cron"]


def test_compute_that_azure_could_not_reach_is_refused():
    found = refusals(
        managed_network={"isolation_mode": "disabled"},
        compute_clusters=[cluster()],
        compute_instances=[instance()],
    )
    assert sorted(found) == [
        "compute_clusters.0.enable_node_public_ip",
        "compute_instances.0.enable_node_public_ip",
    ]


def test_compute_with_no_network_at_all_is_taken_with_public_addresses_alone():
    assert not refusals(
        managed_network={"isolation_mode": "disabled"},
        compute_clusters=[cluster(enable_node_public_ip=True)],
    )


def test_a_subnet_within_a_managed_network_is_refused():
    network = {
        "address_prefix": "10.40.0.0/16",
        "subnets": [{"name": "training", "address_prefix": "10.40.0.0/22"}],
    }
    found = refusals(
        virtual_network=network,
        compute_clusters=[cluster(subnet="training")],
        serverless={"subnet": "training"},
    )
    assert sorted(found) == ["compute_clusters.0.subnet", "serverless.subnet"]
    assert "isolation_mode is disabled" in found["serverless.subnet"]


def test_kubernetes_beside_a_managed_network_is_refused():
    compute = {
        "name": "onprem",
        "resource_id": f"/subscriptions/{USER}/resourceGroups/k8s/providers"
        "/Microsoft.Kubernetes/connectedClusters/onprem",
    }
    assert list(refusals(kubernetes_computes=[compute])) == ["kubernetes_computes.0.name"]


@pytest.mark.parametrize(
    "resource_id", ["onprem", "/subscriptions/x", f"/subscriptions/{USER}/resourceGroups/k8s"]
)
def test_a_kubernetes_id_that_is_none_is_refused(resource_id):
    found = refusals(kubernetes_computes=[{"name": "k8s", "resource_id": resource_id}])
    assert "the ARM id of an AKS or Arc cluster" in found["kubernetes_computes.0.resource_id"]


def test_subnets_that_overlap_or_leave_their_network_or_are_too_small_are_refused():
    found = refusals(
        virtual_network={
            "address_prefix": "10.40.0.0/16",
            "subnets": [
                {"name": "one", "address_prefix": "10.40.0.0/22"},
                {"name": "two", "address_prefix": "10.40.2.0/24"},
                {"name": "far", "address_prefix": "10.41.0.0/24"},
                {"name": "tiny", "address_prefix": "10.40.9.0/30"},
            ],
        }
    )
    at = "virtual_network.subnets"
    assert found == {
        f"{at}.1.address_prefix": "it must not overlap 10.40.0.0/22 of subnet 'one'",
        f"{at}.2.address_prefix": "it must lie within the network's 10.40.0.0/16",
        f"{at}.3.address_prefix": (
            "it must be a /29 or larger: Azure keeps five addresses of each subnet"
        ),
    }


def test_a_network_of_approved_destinations_needs_a_registry_that_can_have_an_endpoint():
    approved = {"managed_network": {"isolation_mode": "allow_only_approved_outbound"}}
    message = refusals(**approved)["container_registry.sku"]
    assert message.startswith("it must be Premium with isolation_mode allow_only_approved_outbound")
    assert refusals(**approved, container_registry={"sku": "Premium"}) == {}


def test_private_endpoints_need_a_registry_that_can_and_a_cluster_that_builds():
    found = refusals(private_endpoints={"subnet": "nowhere"})
    assert sorted(found) == [
        "container_registry.sku",
        "private_endpoints.subnet",
        "workspace.image_build_compute",
    ]


@pytest.mark.parametrize(
    ("mode", "type_", "allowed"),
    [
        ("allow_internet_outbound", "fqdn", "private_endpoint"),
        ("allow_internet_outbound", "service_tag", "private_endpoint"),
        ("disabled", "fqdn", "absent"),
    ],
)
def test_an_outbound_rule_that_the_mode_has_not_is_refused(mode, type_, allowed):
    rule = {"name": "packages", "type": type_, "destination": "packages.example.com"}
    found = refusals(managed_network={"isolation_mode": mode, "outbound_rules": [rule]})
    assert found["managed_network.outbound_rules.0.type"].endswith(f"it must be {allowed}")


def test_a_private_outbound_rule_needs_an_id_and_a_part_of_it():
    rule = {"name": "data", "type": "private_endpoint", "destination": "othersaccount"}
    found = refusals(managed_network={"outbound_rules": [rule]})
    assert sorted(found) == [
        "managed_network.outbound_rules.0.destination",
        "managed_network.outbound_rules.0.subresource_target",
    ]


@pytest.mark.parametrize("name", ["AzureML-sklearn", "Microsoft.x", "-x", "a b", ""])
def test_an_environments_name_that_azure_refuses_is_refused(name):
    assert "environments.0.name" in refusals(environments=[{"name": name, "image": "i"}])


def test_an_environment_of_nothing_or_of_two_things_is_refused():
    build = {"context_uri": "https://github.com/example/images"}
    assert list(refusals(environments=[{"name": "a"}])) == ["environments.0.image"]
    assert list(refusals(environments=[{"name": "a", "image": "i", "build": build}])) == [
        "environments.0.image"
    ]


def test_a_build_context_with_a_token_in_it_is_refused():
    uri = "https://acct.blob.core.windows.net/c?sv=2024&sig=secret"
    found = refusals(environments=[{"name": "a", "build": {"context_uri": uri}}])
    assert "no token" in found["environments.0.build.context_uri"]


def test_a_conda_file_is_read_from_the_project_or_taken_in_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text("dependencies:\n- python=3.11\n")
    given_as = ["train.yaml", "dependencies:\n- python=3.11\n", {"dependencies": ["python=3.11"]}]
    texts = [
        AzureSettings.model_validate(
            LEAST | {"environments": [{"name": "a", "image": "i", "conda_file": conda}]}
        )
        .environments[0]
        .conda_file
        for conda in given_as
    ]
    assert texts == ["dependencies:\n- python=3.11\n"] * 3


@pytest.mark.parametrize("conda", ["missing.yaml", "name: x\n", "a:\n\t- b\n", {"name": "x"}, []])
def test_what_is_no_conda_file_is_refused(conda):
    found = refusals(environments=[{"name": "a", "image": "i", "conda_file": conda}])
    assert "it must be a conda file" in found["environments.0.conda_file"]


@pytest.mark.parametrize("name", [*SYSTEM_DATASTORES, "Training", "a-b", "1a"])
def test_a_datastores_name_that_azure_keeps_or_refuses_is_refused(name):
    found = refusals(datastores=[{"name": name, "container_name": "data"}])
    assert "datastores.0.name" in found


@pytest.mark.parametrize("path", ["./digits", "s3://bucket/x", "azureml://datastores/x", ""])
def test_a_data_assets_path_that_azure_cannot_read_is_refused(path):
    found = refusals(data_assets=[{"name": "d", "version": "1", "path": path}])
    assert "azureml://datastores/" in found["data_assets.0.path"]


def test_the_same_version_twice_is_refused():
    twice = [{"name": "a", "version": "1", "image": "i"}] * 2
    assert list(refusals(environments=twice)) == ["environments.1.version"]


def test_a_budget_that_starts_within_a_month_is_refused():
    found = refusals(
        budget={"monthly_usd": 5, "contacts": ["a@b.example"], "start_date": "2026-11-02"}
    )
    assert "first day of a month" in found["budget.start_date"]


def test_an_unknown_key_is_refused_wherever_it_stands():
    assert "compute_clusters.0.sise" in refusals(compute_clusters=[cluster(sise="x")])
    assert "worksapce" in refusals(worksapce={})


# --- Whatever passes, builds ---

SHORT_NAMES = st.from_regex(r"[a-z](-?[a-z0-9]){1,8}", fullmatch=True)
SIZES = st.sampled_from(["Standard_DS3_v2", "Standard_D4s_v5", "Standard_NC4as_T4_v3"])
GUIDS = st.uuids().map(str)
PRINCIPALS = st.lists(
    st.fixed_dictionaries(
        {"object_id": GUIDS, "type": st.sampled_from(["user", "group", "service_principal"])}
    ),
    max_size=3,
    unique_by=lambda item: item["object_id"],
)


@st.composite
def clusters(draw: st.DrawFn, name: str) -> dict[str, Any]:
    least = draw(st.integers(0, 5))
    return {
        "name": name,
        "size": draw(SIZES),
        "tier": draw(st.sampled_from(["dedicated", "low_priority"])),
        "min_instances": least,
        "max_instances": draw(st.integers(max(1, least), 50)),
        "idle_time_before_scale_down": draw(st.integers(30, 86_400)),
    }


@st.composite
def networks(draw: st.DrawFn, cluster_names: list[str]) -> dict[str, Any]:
    """Each way that compute may be placed; with a cluster to build images, privately too."""
    mode = draw(st.sampled_from(["allow_internet_outbound", "allow_only_approved_outbound"]))
    sections: dict[str, Any] = {"managed_network": {"isolation_mode": mode}}
    if mode == "allow_only_approved_outbound":
        sections["container_registry"] = {"sku": "Premium"}
    if cluster_names and draw(st.booleans()):
        sections |= {
            "workspace": {"image_build_compute": draw(st.sampled_from(cluster_names))},
            "container_registry": {"sku": "Premium"},
            "private_endpoints": {
                "subnet": "endpoints",
                "private_dns_zones": draw(st.booleans()),
            },
            "virtual_network": {
                "address_prefix": "10.40.0.0/16",
                "subnets": [{"name": "endpoints", "address_prefix": "10.40.4.0/26"}],
                "nat_gateway": draw(st.booleans()),
            },
        }
    return sections


@st.composite
def valid_settings(draw: st.DrawFn) -> AzureSettings:
    names = draw(st.lists(SHORT_NAMES, max_size=5, unique=True))
    split = draw(st.integers(0, len(names)))
    instances = [
        {
            "name": name,
            "size": draw(SIZES),
            "assigned_user_object_id": draw(GUIDS),
            "idle_time_before_shutdown": draw(st.integers(900, 259_200)),
        }
        for name in names[split:]
    ]
    assets = st.from_regex(r"[b-l][A-Za-z0-9._-]{0,40}", fullmatch=True)
    return AzureSettings.model_validate(
        {
            "subscription_id": draw(GUIDS),
            "tenant_id": draw(GUIDS),
            "location": draw(st.sampled_from(["westeurope", "eastus2", "germanywestcentral"])),
            "compute_clusters": [draw(clusters(name)) for name in names[:split]],
            "compute_instances": instances,
            **draw(networks(names[:split])),
            "diagnostic_settings": draw(st.booleans()),
            "environments": [
                {"name": name, "image": "python:3.11"}
                for name in draw(st.lists(assets, max_size=2, unique_by=str.lower))
            ],
            "data_assets": [
                {
                    "name": draw(assets),
                    "version": "1",
                    "type": draw(st.sampled_from(["uri_file", "uri_folder", "mltable"])),
                    "path": "azureml://datastores/workspaceblobstore/paths/x",
                }
            ],
            "roles": {
                "data_scientist": draw(PRINCIPALS),
                "compute_operator": draw(PRINCIPALS),
                "reader": draw(PRINCIPALS),
            },
            "budget": {
                "monthly_usd": draw(st.floats(0.01, 1e6)),
                "contacts": ["ml@example.com"],
                "alert_percentages": draw(
                    st.lists(st.integers(1, 1000), min_size=1, max_size=5, unique=True)
                ),
            },
        }
    )


@given(
    azure=valid_settings(),
    environment=st.sampled_from(["dev", "prod"]),
    stack=st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
    today=st.dates(datetime.date(2026, 1, 1), datetime.date(2030, 1, 1)),
)
@hypothesis_settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
def test_any_valid_settings_build_with_every_name_unique(record, azure, environment, stack, today):
    common = CommonSettings(project="trainstack", stack=stack, environment=environment, owner="ml")
    assert not list(azure.problems(common))
    cloud = record(lambda provider: azure_stack.build(azure, common, provider, today=today))
    registered = [(item.type, item.name) for item in cloud.resources]
    assert len(set(registered)) == len(registered)
    computes = [item.inputs["computeName"] for item in cloud.of("machinelearningservices:Compute")]
    assert len(set(computes)) == len(azure.compute_clusters) + len(azure.compute_instances)
    grants = [
        item.inputs["roleAssignmentName"] for item in cloud.of("authorization:RoleAssignment")
    ]
    assert len(set(grants)) == len(grants)
    assert all(uuid.UUID(name) for name in grants)
    account = cloud.only("storage:StorageAccount").inputs["accountName"]
    assert account == naming.storage_account_name(
        common.scope(account=azure.subscription_id, region=azure.location), "ml"
    )
    assert 3 <= len(account) <= 24
    assert account.isalnum()
    assert account == account.lower()
