"""The azure-native provider plans as the real one does, and deploys by real calls to the local Resource Manager."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pulumi.provider.experimental import provider as protocol
from pulumi.provider.experimental.property_value import PropertyValue

from lab.home import SUBSCRIPTION_ID, TENANT_ID, LabError
from lab.providers.azure_native import AzureNativeProvider
from lab.providers.azure_native.kind import kind_of
from lab.providers.sdk_types import UNKNOWN, UnknownTypeError
from lab.providers.values import plain_map, wrap
from tests.lab_azure.azure_server import GROUP, IDENTITY, STORAGE, Server

KINDS = protocol.PropertyDiffKind


class Driver:
    """Calls a provider as an engine does, with plain values."""

    def __init__(self) -> None:
        self.provider = AzureNativeProvider()
        config = {"subscriptionId": SUBSCRIPTION_ID, "tenantId": TENANT_ID, "location": "eastus"}
        asyncio.run(
            self.provider.configure(protocol.ConfigureRequest({}, wrapped(config), True, True))
        )

    def check(
        self,
        token: str,
        inputs: Mapping[str, Any],
        old: Mapping[str, Any] | None = None,
        *,
        name: str = "thing",
    ) -> dict[str, Any]:
        response = self.checked(token, inputs, old, name=name)
        assert not response.failures, [(each.property, each.reason) for each in response.failures]
        return plain_map(response.inputs or {})

    def checked(
        self,
        token: str,
        inputs: Mapping[str, Any],
        old: Mapping[str, Any] | None = None,
        *,
        name: str = "thing",
    ) -> protocol.CheckResponse:
        request = protocol.CheckRequest(
            urn(token, name), wrapped(old or {}), wrapped(inputs), b"seed"
        )
        return asyncio.run(self.provider.check(request))

    def create(
        self, token: str, inputs: Mapping[str, Any], *, preview: bool = False
    ) -> tuple[str, dict[str, Any]]:
        checked = self.check(token, inputs)
        request = protocol.CreateRequest(urn(token), wrapped(checked), 60, preview)
        response = asyncio.run(self.provider.create(request))
        return response.resource_id or "", plain_map(response.properties)

    def diff(
        self, token: str, id_: str, state: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> protocol.DiffResponse:
        new = self.check(token, inputs, state.get("__inputs"))
        request = protocol.DiffRequest(urn(token), id_, wrapped(state), wrapped(new), [])
        return asyncio.run(self.provider.diff(request))

    def update(
        self, token: str, id_: str, state: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        new = self.check(token, inputs, state.get("__inputs"))
        request = protocol.UpdateRequest(
            urn(token), id_, wrapped(state), wrapped(new), 60, [], False
        )
        return plain_map(asyncio.run(self.provider.update(request)).properties)

    def read(
        self, token: str, id_: str, state: Mapping[str, Any] | None = None
    ) -> protocol.ReadResponse:
        inputs = (state or {}).get("__inputs") or {}
        return asyncio.run(
            self.provider.read(
                protocol.ReadRequest(urn(token), id_, wrapped(state or {}), wrapped(inputs))
            )
        )

    def delete(self, token: str, id_: str) -> None:
        asyncio.run(self.provider.delete(protocol.DeleteRequest(urn(token), id_, {}, 60)))


def urn(token: str, name: str = "thing") -> str:
    return f"urn:pulumi:dev::project::azure-native:{token}::{name}"


def wrapped(values: Mapping[str, Any]) -> dict[str, PropertyValue]:
    return {name: wrap(value) for name, value in values.items()}


@pytest.fixture(scope="module")
def deployed(shared: Server) -> Server:
    return shared


@pytest.fixture
def driver(deployed: Server, monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.setenv("ARM_ENDPOINT", deployed.url)
    return Driver()


STORAGE_INPUTS: dict[str, Any] = {
    "resourceGroupName": "rg",
    "kind": "StorageV2",
    "sku": {"name": "Standard_LRS"},
    "enableHttpsTrafficOnly": True,
    "networkRuleSet": {"defaultAction": "Deny", "bypass": "AzureServices"},
}
CLUSTER: dict[str, Any] = {
    "resourceGroupName": "rg",
    "workspaceName": "workspace",
    "computeName": "provided",
    "location": "eastus",
    "identity": {"type": "UserAssigned", "userAssignedIdentities": [IDENTITY]},
    "properties": {
        "computeType": "AmlCompute",
        "properties": {
            "vmSize": "Standard_DS3_v2",
            "scaleSettings": {
                "minNodeCount": 0,
                "maxNodeCount": 2,
                "nodeIdleTimeBeforeScaleDown": "PT120S",
            },
        },
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    import copy

    inputs = copy.deepcopy(CLUSTER)
    *parents, last = path.split(".")
    inner = inputs
    for step in parents:
        inner = inner[step]
    inner[last] = value
    return inputs


# --- check


def test_a_name_is_made_of_the_logical_name_and_the_seed(driver: Driver) -> None:
    first = driver.check("storage:StorageAccount", STORAGE_INPUTS, name="data")
    assert first["accountName"].startswith("data")
    assert len(first["accountName"]) == len("data") + 8
    assert first["__createBeforeDelete"] is True
    again = driver.check("storage:StorageAccount", STORAGE_INPUTS, first, name="data")
    assert again["accountName"] == first["accountName"], "an automatic name is kept"


def test_children_are_named_as_they_are_and_role_assignments_by_uuid(driver: Driver) -> None:
    inputs = {key: value for key, value in CLUSTER.items() if key != "computeName"}
    assert (
        driver.check("machinelearningservices:Compute", inputs, name="cpu")["computeName"] == "cpu"
    )
    grant = {"scope": STORAGE, "principalId": "p", "roleDefinitionId": "r", "principalType": "User"}
    name = driver.check("authorization:RoleAssignment", grant)["roleAssignmentName"]
    assert len(name) == 36


def test_api_version_and_location_are_filled_in(driver: Driver) -> None:
    checked = driver.check("storage:StorageAccount", {**STORAGE_INPUTS, "accountName": "abc"})
    assert checked["azureApiVersion"] == kind_of("azure-native:storage:StorageAccount").api_version
    assert checked["location"] == "eastus"
    assert "__createBeforeDelete" not in checked


@pytest.mark.parametrize(
    ("inputs", "property_name"),
    [
        ({**STORAGE_INPUTS, "accountName": "Has-Dash"}, "accountName"),
        ({**STORAGE_INPUTS, "typo": 1}, "typo"),
        ({"resourceGroupName": "rg", "kind": "StorageV2", "accountName": "abc"}, "sku"),
        (
            {**STORAGE_INPUTS, "accountName": "abc", "enableHttpsTrafficOnly": "yes"},
            "enableHttpsTrafficOnly",
        ),
    ],
)
def test_wrong_inputs_fail_the_check_by_name(
    driver: Driver, inputs: dict, property_name: str
) -> None:
    failures = driver.checked("storage:StorageAccount", inputs).failures or []
    assert [each.property for each in failures] == [property_name]


def test_an_unknown_type_is_refused_by_name(driver: Driver) -> None:
    with pytest.raises(UnknownTypeError, match="azure-native:web:WebApp"):
        driver.check("web:WebApp", {})


# --- create, read, update, delete


def test_flattened_properties_find_their_place(driver: Driver, deployed: Server) -> None:
    id_, outputs = driver.create(
        "storage:StorageAccount", {**STORAGE_INPUTS, "accountName": "provided"}
    )
    document = deployed.call("GET", id_, version="2024-01-01").json
    assert document["properties"]["supportsHttpsTrafficOnly"] is True
    assert document["properties"]["networkAcls"]["defaultAction"] == "Deny"
    assert outputs["enableHttpsTrafficOnly"] is True
    assert outputs["networkRuleSet"]["defaultAction"] == "Deny"
    assert outputs["name"] == "provided"
    driver.delete("storage:StorageAccount", id_)
    driver.delete("storage:StorageAccount", id_)
    assert driver.read("storage:StorageAccount", id_, outputs).resource_id == ""


def test_an_import_of_what_is_not_there_is_an_error(driver: Driver) -> None:
    with pytest.raises(LabError, match="storageAccounts/nothing' does not exist"):
        driver.read("storage:StorageAccount", STORAGE.replace("labaccount", "nothing"))


def test_pascal_case_properties_find_their_place(driver: Driver, deployed: Server) -> None:
    inputs = {
        "resourceGroupName": "rg",
        "resourceName": "component",
        "kind": "web",
        "applicationType": "web",
        "retentionInDays": 60,
    }
    id_, outputs = driver.create("applicationinsights:Component", inputs)
    properties = deployed.call("GET", id_, version="2020-02-02").json["properties"]
    assert (properties["Application_Type"], properties["RetentionInDays"]) == ("web", 60)
    assert outputs["applicationType"] == "web"


def test_what_is_there_already_is_not_created(driver: Driver) -> None:
    with pytest.raises(LabError, match="cannot create already existing resource"):
        driver.create("storage:StorageAccount", {**STORAGE_INPUTS, "accountName": "labaccount"})


def test_a_refusal_of_the_service_is_one_line(driver: Driver) -> None:
    inputs = {
        **CLUSTER,
        "computeName": "odd",
        "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Nope"}},
    }
    with pytest.raises(LabError, match=r'^create thing: Status=400 Code="BadRequest" Message="'):
        driver.create("machinelearningservices:Compute", inputs)


def test_identities_are_a_list_in_and_a_map_out(driver: Driver) -> None:
    id_, outputs = driver.create("machinelearningservices:Compute", CLUSTER)
    assert outputs["identity"]["userAssignedIdentities"][IDENTITY]["clientId"]
    response = driver.read("machinelearningservices:Compute", id_, outputs)
    assert plain_map(response.inputs)["identity"]["userAssignedIdentities"] == [IDENTITY]
    driver.delete("machinelearningservices:Compute", id_)


def test_drift_made_by_hand_shows_after_a_read(driver: Driver, deployed: Server) -> None:
    token = "machinelearningservices:Compute"
    inputs = {**CLUSTER, "computeName": "drifting"}
    id_, state = driver.create(token, inputs)
    same = driver.read(token, id_, state)
    assert plain_map(same.inputs) == state["__inputs"], "an untouched resource reads as it was made"
    patch = {
        "properties": {
            "computeType": "AmlCompute",
            "properties": {"scaleSettings": {"maxNodeCount": 9}},
        }
    }
    assert deployed.call("PATCH", id_, patch).status == 200
    found = plain_map(driver.read(token, id_, state).inputs)
    assert found["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 9
    driver.update(token, id_, state, inputs)
    document = deployed.call("GET", id_).json
    assert document["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 2


def test_an_import_reads_the_inputs_that_would_make_it(driver: Driver) -> None:
    response = driver.read("storage:StorageAccount", STORAGE)
    inputs = plain_map(response.inputs)
    assert inputs["accountName"] == "labaccount"
    assert inputs["resourceGroupName"] == "rg"
    assert inputs["sku"] == {"name": "Standard_LRS"}
    assert "provisioningState" not in inputs
    checked = driver.checked("storage:StorageAccount", inputs)
    assert not checked.failures


def test_a_singleton_is_made_with_its_parent(driver: Driver, deployed: Server) -> None:
    inputs = {
        "resourceGroupName": "rg", "accountName": "labaccount", "blobServicesName": "default",
        "deleteRetentionPolicy": {"enabled": True, "days": 7},
    }  # fmt: skip
    token = "storage:BlobServiceProperties"
    id_, _ = driver.create(token, inputs)
    assert (
        deployed.call("GET", id_, version="2024-01-01").json["properties"]["deleteRetentionPolicy"][
            "days"
        ]
        == 7
    )
    driver.delete(token, id_)
    assert deployed.call("GET", id_, version="2024-01-01").status == 200
    assert deployed.call("GET", f"{id_}/containers/azureml", version="2024-01-01").status == 200


# --- diff


@pytest.mark.parametrize(
    ("path", "value", "kind", "replaces"),
    [
        ("properties.properties.scaleSettings.maxNodeCount", 5, KINDS.UPDATE, False),
        ("properties.properties.vmSize", "Standard_DS4_v2", KINDS.UPDATE, False),
        ("computeName", "renamed", KINDS.UPDATE_REPLACE, True),
        ("workspaceName", "elsewhere", KINDS.UPDATE_REPLACE, True),
        ("workspaceName", UNKNOWN, KINDS.UPDATE_REPLACE, True),
        ("location", "westeurope", KINDS.UPDATE_REPLACE, True),
        ("tags", {"a": "b"}, KINDS.ADD, False),
    ],
)
def test_paths_replace_and_nested_properties_are_planned_as_updates(
    driver: Driver, path: str, value: Any, kind: protocol.PropertyDiffKind, replaces: bool
) -> None:
    state = {"__inputs": driver.check("machinelearningservices:Compute", CLUSTER)}
    response = driver.diff("machinelearningservices:Compute", "id", state, changed(path, value))
    assert {each: diff.kind for each, diff in response.detailed_diff.items()} == {path: kind}
    assert all(diff.input_diff for diff in response.detailed_diff.values())
    assert response.replaces == ([path] if replaces else [])
    assert response.delete_before_replace is replaces, (
        "a fixed name is free only once the old one is gone"
    )


def test_nothing_changed_is_no_difference(driver: Driver) -> None:
    state = {"__inputs": driver.check("machinelearningservices:Compute", CLUSTER)}
    again = changed("location", "East US")
    assert driver.diff("machinelearningservices:Compute", "id", state, again).changes is False


def test_an_automatic_name_is_replaced_create_first(driver: Driver) -> None:
    state = {"__inputs": driver.check("storage:StorageAccount", STORAGE_INPUTS, name="data")}
    moved = driver.diff(
        "storage:StorageAccount", "id", state, {**STORAGE_INPUTS, "location": "westeurope"}
    )
    assert moved.replaces == ["location"]
    assert moved.delete_before_replace is False


def test_a_role_assignment_is_replaced_with_its_principal(driver: Driver) -> None:
    token = "authorization:RoleAssignment"
    grant = {
        "scope": STORAGE,
        "principalId": "a",
        "roleDefinitionId": "r",
        "principalType": "User",
        "roleAssignmentName": "n",
    }
    state = {"__inputs": {**driver.check(token, grant)}}
    assert driver.diff(token, "id", state, {**grant, "principalId": "b"}).replaces == [
        "principalId"
    ]
    assert driver.diff(token, "id", state, {**grant, "roleDefinitionId": "s"}).replaces == []


# --- preview, secrets, functions


def test_a_preview_echoes_inputs_and_leaves_the_rest_unknown(
    driver: Driver, deployed: Server
) -> None:
    id_, outputs = driver.create(
        "machinelearningservices:Compute", {**CLUSTER, "computeName": "never"}, preview=True
    )
    assert id_ == ""
    assert outputs["location"] == "eastus"
    assert outputs["name"] == "never"
    assert outputs["systemData"] == UNKNOWN
    assert outputs["identity"] == UNKNOWN, "the cloud adds a principal inside"
    assert (
        deployed.call(
            "GET",
            f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/workspace/computes/never",
        ).status
        == 404
    )


def test_a_secret_input_stays_secret(driver: Driver) -> None:
    token = "machinelearningservices:Datastore"
    credentials = {
        "credentialsType": "AccountKey",
        "secrets": {"secretsType": "AccountKey", "key": "c2VjcmV0"},
    }
    inputs = {
        "resourceGroupName": "rg", "workspaceName": "workspace", "name": "keyed", "skipValidation": True,
        "properties": {
            "datastoreType": "AzureBlob", "accountName": "labaccount", "containerName": "azureml",
            "credentials": credentials,
        },
    }  # fmt: skip
    values = wrapped(driver.check(token, inputs))
    values["properties"] = values["properties"].with_secret(True)
    response = asyncio.run(
        driver.provider.create(protocol.CreateRequest(urn(token), values, 60, False))
    )
    assert response.properties["properties"].contains_secret()
    assert response.properties["__inputs"].is_secret
    assert "c2VjcmV0" not in str(plain_map({"p": response.properties["properties"]})), (
        "the service never gives it back"
    )


def test_functions_answer(driver: Driver) -> None:
    def invoke(token: str, arguments: dict[str, Any]) -> dict[str, Any]:
        request = protocol.InvokeRequest(token, wrapped(arguments))
        return plain_map(asyncio.run(driver.provider.invoke(request)).return_value or {})

    config = invoke("azure-native:authorization:getClientConfig", {})
    assert (config["subscriptionId"], config["tenantId"]) == (SUBSCRIPTION_ID, TENANT_ID)
    account = invoke(
        "azure-native:storage:getStorageAccount",
        {"resourceGroupName": "rg", "accountName": "labaccount"},
    )
    assert account["sku"]["name"] == "Standard_LRS"
    with pytest.raises(LabError, match="no function"):
        invoke("azure-native:storage:listStorageAccountKeys", {})


def test_the_provider_talks_to_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARM_ENDPOINT", "https://management.azure.com")
    with pytest.raises(LabError, match="not on this machine"):
        Driver().read("storage:StorageAccount", STORAGE)
    monkeypatch.delenv("ARM_ENDPOINT")
    with pytest.raises(LabError, match="ARM_ENDPOINT is not set"):
        Driver().read("storage:StorageAccount", STORAGE)


def test_every_type_in_the_table_has_an_api_version_and_a_place_in_the_lab() -> None:
    from lab.providers.azure_native.kind import _PATHS

    for token in _PATHS:
        kind = kind_of(f"azure-native:{token}")
        assert kind.api_version
        assert set(kind.path_names) <= set(kind.shape.inputs), token
        assert kind.arm or token == "resources:ResourceGroup", token
