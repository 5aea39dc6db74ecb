"""Resource Manager's rules: what it asks of a request, what it refuses and in which words, what a delete leaves."""

from __future__ import annotations

import time
import uuid
from typing import Any

import jwt
import pytest

from lab.home import SUBSCRIPTION_ID, TENANT_ID
from tests.lab_azure.azure_server import (
    GROUP,
    IDENTITY,
    INSIGHTS,
    STORAGE,
    VAULT,
    WORKSPACE,
    Server,
    deploy,
    http_request,
    put_cluster,
    send,
)

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
DATA_SCIENTIST = "f6c7c914-8db3-469d-8ca1-694a8f32e121"
STORAGE_BODY: dict[str, Any] = {
    "location": "eastus",
    "kind": "StorageV2",
    "sku": {"name": "Standard_LRS"},
}


def role(guid: str) -> str:
    return (
        f"/subscriptions/{SUBSCRIPTION_ID}/providers/Microsoft.Authorization/roleDefinitions/{guid}"
    )


def assignment(scope: str, name: str | None = None) -> str:
    return f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name or uuid.uuid4()}"


# --- who calls, and how


def test_a_call_without_a_token_is_not_answered(shared: Server) -> None:
    answer = send(http_request(f"{shared.url}{GROUP}?api-version=2024-03-01"))
    assert (answer.status, answer.code) == (401, "AuthenticationFailed")
    assert "Bearer" in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1}, "ExpiredAuthenticationToken"),
        ({"tid": str(uuid.uuid4())}, "InvalidAuthenticationTokenTenant"),
        ({"aud": "https://vault.azure.net"}, "InvalidAuthenticationTokenAudience"),
        (None, "InvalidAuthenticationToken"),
    ],
)
def test_a_token_must_be_of_this_tenant_for_this_audience_and_in_time(
    shared: Server, claims: dict | None, code: str
) -> None:
    good = jwt.decode(shared.token(), options={"verify_signature": False})
    key = (
        shared.plane.login._key if claims is not None else "another key that is long enough for it"
    )
    token = jwt.encode({**good, **(claims or {})}, key, algorithm="HS256")
    answer = shared.call("GET", GROUP, version="2024-03-01", token=token)
    assert (answer.status, answer.code) == (401, code)


def test_a_wrong_secret_gets_no_token(shared: Server) -> None:
    body = b"grant_type=client_credentials&client_id=22222222-3333-4444-5555-666666666666&client_secret=x"
    answer = send(
        http_request(f"{shared.url}/{TENANT_ID}/oauth2/v2.0/token", data=body, method="POST")
    )
    assert answer.status == 401
    assert answer.json["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("path", "version", "status", "code"),
    [
        (GROUP, None, 400, "MissingApiVersionParameter"),
        (GROUP, "newest", 400, "InvalidApiVersionParameter"),
        (
            f"/subscriptions/{uuid.UUID(int=7)}/resourceGroups/rg",
            "2024-03-01",
            404,
            "SubscriptionNotFound",
        ),
        (f"{GROUP}x", "2024-03-01", 404, "ResourceGroupNotFound"),
        (
            f"{GROUP}x/providers/Microsoft.KeyVault/vaults/v",
            "2024-11-01",
            404,
            "ResourceGroupNotFound",
        ),
        (
            f"{GROUP}/providers/Microsoft.KeyVault/vaults/nope",
            "2024-11-01",
            404,
            "ResourceNotFound",
        ),
        (
            f"{GROUP}/providers/Microsoft.Nope/things/x",
            "2024-11-01",
            404,
            "InvalidResourceNamespace",
        ),
        (f"{GROUP}/providers/Microsoft.Storage/things/x", "2024-11-01", 404, "InvalidResourceType"),
    ],
)
def test_errors_have_resource_managers_shape(
    shared: Server, path: str, version: str | None, status: int, code: str
) -> None:
    answer = shared.call("GET", path, version=version)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["x-ms-request-id"]


def test_ids_compare_without_case(shared: Server) -> None:
    answer = shared.call(
        "GET",
        WORKSPACE.replace("resourceGroups", "resourcegroups")
        .upper()
        .replace("/SUBSCRIPTIONS", "/subscriptions"),
    )
    assert answer.status == 200
    assert answer.json["id"] == WORKSPACE


# --- bodies


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({**STORAGE_BODY, "sku": {"name": "Nope"}}, "'Nope' is not an allowed value"),
        ({"location": "eastus", "kind": "StorageV2"}, "Required property 'sku' not found"),
        ({**STORAGE_BODY, "properties": {"typo": 1}}, "Could not find member 'typo'"),
        ({**STORAGE_BODY, "properties": {"allowSharedKeyAccess": "no"}}, "Could not convert 'no'"),
        ({**STORAGE_BODY, "location": "mars"}, "'mars' is not available"),
    ],
)
def test_a_body_that_the_service_refuses_is_refused(shared: Server, body: dict, words: str) -> None:
    answer = shared.call("PUT", STORAGE.replace("labaccount", "other"), body, version="2024-01-01")
    assert answer.status == 400
    assert words in answer.message


def test_a_body_that_does_not_say_what_it_is_is_told_so(shared: Server) -> None:
    path = f"{WORKSPACE}/computes/untold"
    settings = {"vmSize": "Standard_DS3_v2", "scaleSettings": {"maxNodeCount": 1}}
    cluster = {"computeType": "AmlCompute", "properties": settings}
    shared.put(path, {"location": "eastus", "properties": cluster})
    patch = {"properties": {"properties": {"scaleSettings": {"maxNodeCount": 9}}}}
    answer = shared.call("PATCH", path, patch)
    assert answer.status == 400
    assert "'computeType' is missing beside it" in answer.message


def test_read_only_properties_are_dropped(shared: Server) -> None:
    body = {
        **STORAGE_BODY,
        "properties": {"provisioningState": "Failed", "primaryLocation": "mars"},
    }
    answer = shared.put(STORAGE.replace("labaccount", "readonly"), body, version="2024-01-01")
    assert answer.json["properties"]["provisioningState"] == "Succeeded"
    assert answer.json["properties"]["primaryLocation"] == "eastus"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (STORAGE.replace("labaccount", "Has-Dash"), STORAGE_BODY),
        (VAULT.replace("lab-vault", "-x"), {"location": "eastus"}),
        (WORKSPACE.replace("workspaces/workspace", "workspaces/w"), {"location": "eastus"}),
    ],
)
def test_a_name_that_the_service_refuses_is_refused(shared: Server, path: str, body: dict) -> None:
    answer = shared.call("PUT", path, body)
    assert (answer.status, answer.code) == (400, "InvalidResourceName")


# --- resources


def test_put_get_patch_list_head_delete(shared: Server) -> None:
    path = STORAGE.replace("labaccount", "lifecycle")
    made = shared.call("PUT", path, {**STORAGE_BODY, "tags": {"a": "1"}}, version="2024-01-01")
    assert made.status == 201
    assert (
        shared.call("PUT", path, {**STORAGE_BODY, "tags": {"a": "1"}}, version="2024-01-01").status
        == 200
    )
    patched = shared.call(
        "PATCH",
        path,
        {"tags": {"b": "2"}, "properties": {"minimumTlsVersion": "TLS1_2"}},
        version="2024-01-01",
    )
    assert patched.json["tags"] == {"b": "2"}
    assert patched.json["properties"]["minimumTlsVersion"] == "TLS1_2"
    assert patched.json["properties"]["accessTier"] == "Hot", "a PATCH keeps the rest"
    listed = shared.call("GET", f"{GROUP}/providers/Microsoft.Storage/storageAccounts").json[
        "value"
    ]
    assert "lifecycle" in [each["name"] for each in listed]
    assert shared.call("HEAD", path).status == 204
    assert shared.call("DELETE", path).status == 200
    assert shared.call("DELETE", path).status == 204, "a delete of what is gone succeeds"
    assert shared.call("GET", path).status == 404


def test_a_child_needs_its_parent(shared: Server) -> None:
    answer = shared.call(
        "PUT", f"{WORKSPACE}x/computes/cpu", {"properties": {"computeType": "AmlCompute"}}
    )
    assert (answer.status, answer.code) == (404, "ParentResourceNotFound")


def test_a_long_operation_is_polled(shared: Server) -> None:
    answer = put_cluster(shared, "polled")
    assert answer.status == 201
    assert answer.json["properties"]["provisioningState"] == "Creating"
    url = answer.headers["azure-asyncoperation"]
    status = send(http_request(url, headers={"Authorization": f"Bearer {shared.token()}"}))
    assert status.json["status"] == "Succeeded"
    gone = shared.call("DELETE", f"{WORKSPACE}/computes/polled")
    assert gone.status == 202
    assert shared.call("GET", f"{WORKSPACE}/computes/polled").status == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": "Standard_DS4_v2"}, "vmSize"),
        ({"priority": "LowPriority"}, "vmPriority"),
        ({"low": 3, "high": 2}, "minNodeCount is 3"),
        ({"idle": "2 minutes"}, "ISO 8601"),
    ],
)
def test_a_cluster_refuses_what_the_service_refuses(
    shared: Server, change: dict, words: str
) -> None:
    answer = put_cluster(shared, "cpu", **change)
    assert answer.status == 400
    assert words in answer.message


def test_an_unknown_vm_size_is_refused(shared: Server) -> None:
    answer = put_cluster(shared, "odd", size="Standard_Nope")
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert "'Standard_Nope' was not found or is not supported" in answer.message


def test_a_caller_is_told_what_it_may_do(shared: Server) -> None:
    path = f"{WORKSPACE}/providers/Microsoft.Authorization/permissions"
    assert shared.call("GET", path, version="2022-04-01").json["value"][0]["actions"] == ["*"]


def test_a_cluster_takes_another_scale(shared: Server) -> None:
    put_cluster(shared, "rescaled", high=1)
    answer = put_cluster(shared, "rescaled", high=4)
    assert answer.status == 200
    assert answer.json["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 4


def test_a_location_does_not_change(shared: Server) -> None:
    answer = shared.call(
        "PUT", STORAGE, {**STORAGE_BODY, "location": "westeurope"}, version="2024-01-01"
    )
    assert (answer.status, answer.code) == (409, "InvalidResourceLocation")
    same = shared.call(
        "PUT", STORAGE, {**STORAGE_BODY, "location": "East US"}, version="2024-01-01"
    )
    assert same.status == 200


def test_an_environment_version_is_immutable(shared: Server) -> None:
    path = f"{WORKSPACE}/environments/fixed/versions/1"
    shared.put(path, {"properties": {"image": "python:3.11"}})
    assert (
        shared.call(
            "PUT", path, {"properties": {"image": "python:3.11", "tags": {"a": "b"}}}
        ).status
        == 200
    )
    answer = shared.call("PUT", path, {"properties": {"image": "python:3.12"}})
    assert (answer.status, answer.code) == (409, "UserError")
    shared.put(
        f"{WORKSPACE}/environments/fixed/versions/2", {"properties": {"image": "python:3.12"}}
    )
    container = shared.call("GET", f"{WORKSPACE}/environments/fixed").json["properties"]
    assert (container["latestVersion"], container["nextVersion"]) == ("2", "3")


def test_linked_resources_must_exist(shared: Server) -> None:
    body = {
        "location": "eastus",
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "storageAccount": f"{STORAGE}x",
            "keyVault": VAULT,
            "applicationInsights": INSIGHTS,
        },
    }
    answer = shared.call("PUT", f"{WORKSPACE}-linked", body)
    assert answer.status == 404
    assert f"{STORAGE}x" in answer.message


def test_a_storage_accounts_name_is_taken_everywhere(shared: Server) -> None:
    shared.put(f"{GROUP}-two", {"location": "eastus"}, version="2024-03-01")
    answer = shared.call(
        "PUT", STORAGE.replace(GROUP, f"{GROUP}-two"), STORAGE_BODY, version="2024-01-01"
    )
    assert (answer.status, answer.code) == (409, "StorageAccountAlreadyTaken")


def test_a_lock_holds_a_delete(shared: Server) -> None:
    path = STORAGE.replace("labaccount", "locked")
    shared.put(path, STORAGE_BODY, version="2024-01-01")
    lock = f"{path}/providers/Microsoft.Authorization/locks/keep"
    shared.put(lock, {"properties": {"level": "CanNotDelete"}})
    assert shared.call("DELETE", path).code == "ScopeLocked"
    shared.plane.store.delete("resource", lock.lower())
    assert shared.call("DELETE", path).status == 200


# --- roles


def test_role_assignments_have_the_services_rules(shared: Server) -> None:
    principal = shared.call("GET", IDENTITY, version="2023-01-31").json["properties"]["principalId"]
    first = assignment(WORKSPACE)
    body = {
        "properties": {
            "principalId": principal,
            "roleDefinitionId": role(READER),
            "principalType": "ServicePrincipal",
        }
    }
    shared.put(first, body, version="2022-04-01")
    twice = shared.call("PUT", assignment(WORKSPACE), body, version="2022-04-01")
    assert (twice.status, twice.code) == (409, "RoleAssignmentExists")
    changed = {"properties": {**body["properties"], "roleDefinitionId": role(DATA_SCIENTIST)}}
    assert (
        shared.call("PUT", first, changed, version="2022-04-01").code
        == "RoleAssignmentUpdateNotPermitted"
    )
    as_user = {"properties": {**changed["properties"], "principalType": "User"}}
    assert (
        shared.call("PUT", assignment(WORKSPACE), as_user, version="2022-04-01").code
        == "UnmatchedPrincipalType"
    )
    unknown = {"properties": {**body["properties"], "roleDefinitionId": role(str(uuid.uuid4()))}}
    assert (
        shared.call("PUT", assignment(WORKSPACE), unknown, version="2022-04-01").code
        == "RoleDefinitionDoesNotExist"
    )
    assert (
        shared.call("PUT", assignment(WORKSPACE, "no-guid"), body, version="2022-04-01").code
        == "InvalidRoleAssignmentId"
    )


def test_a_data_scientist_may_submit_and_not_change_computes(shared: Server) -> None:
    made = shared.control("principals", {"name": "scientist"}).json
    token = shared.token(client=(made["clientId"], made["clientSecret"]))
    refused = shared.call("GET", WORKSPACE, token=token)
    assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert made["objectId"] in refused.message
    body = {
        "properties": {
            "principalId": made["objectId"],
            "roleDefinitionId": role(DATA_SCIENTIST),
            "principalType": "ServicePrincipal",
        }
    }
    shared.put(assignment(WORKSPACE), body, version="2022-04-01")
    job = {
        "properties": {
            "jobType": "Command",
            "command": "true",
            "environmentId": f"{WORKSPACE}/environments/base/versions/1",
            "computeId": f"{WORKSPACE}/computes/cpu",
        }
    }
    assert shared.call("PUT", f"{WORKSPACE}/jobs/scientists-job", job, token=token).status == 201
    assert shared.call("GET", f"{WORKSPACE}/jobs", token=token).status == 200
    assert (
        shared.call("DELETE", f"{WORKSPACE}/computes/cpu", token=token).code
        == "AuthorizationFailed"
    )
    assert (
        shared.call("PUT", WORKSPACE, {"location": "eastus"}, token=token).code
        == "AuthorizationFailed"
    )
    assert (
        shared.call("GET", STORAGE, version="2024-01-01", token=token).code == "AuthorizationFailed"
    )


# --- what a delete leaves


def test_a_deleted_vault_keeps_its_name_until_it_is_purged(shared: Server) -> None:
    path = VAULT.replace("lab-vault", "soft-vault")
    properties = {
        "tenantId": TENANT_ID,
        "sku": {"family": "A", "name": "standard"},
        "accessPolicies": [],
    }
    body = {"location": "eastus", "properties": properties}
    shared.put(path, body)
    shared.call("DELETE", path)
    assert shared.call("PUT", path, body).code == "ConflictError"
    recovered = {"location": "eastus", "properties": {**properties, "createMode": "recover"}}
    shared.put(path, recovered)
    shared.call("DELETE", path)
    deleted = f"/subscriptions/{SUBSCRIPTION_ID}/providers/Microsoft.KeyVault/locations/eastus/deletedVaults/soft-vault"
    assert shared.call("GET", deleted).status == 200
    assert shared.call("POST", f"{deleted}/purge").status == 202
    shared.put(path, body)


def test_purge_protection_holds_until_the_retention_ends(server: Server) -> None:
    server.put(GROUP, {"location": "eastus"}, version="2024-03-01")
    properties = {
        "tenantId": TENANT_ID, "sku": {"family": "A", "name": "standard"}, "accessPolicies": [],
        "enablePurgeProtection": True, "softDeleteRetentionInDays": 7,
    }  # fmt: skip
    body = {"location": "eastus", "properties": properties}
    server.put(VAULT, body)
    off = {"location": "eastus", "properties": {**properties, "enablePurgeProtection": False}}
    assert "cannot be set to false" in server.call("PUT", VAULT, off).message
    server.call("DELETE", VAULT)
    deleted = f"/subscriptions/{SUBSCRIPTION_ID}/providers/Microsoft.KeyVault/locations/eastus/deletedVaults/lab-vault"
    assert server.call("POST", f"{deleted}/purge").code == "MethodNotAllowed"
    server.control("clock", {"advance_seconds": 8 * 86_400})
    server.put(VAULT, body)


def test_a_deleted_workspace_blocks_its_name_unless_purged(server: Server) -> None:
    deploy(server)
    document = server.call("GET", WORKSPACE).json
    body = {
        "location": "eastus",
        "identity": {"type": "SystemAssigned"},
        "properties": {
            name: document["properties"][name]
            for name in ("storageAccount", "keyVault", "applicationInsights")
        },
    }
    server.call("DELETE", WORKSPACE)
    blocked = server.call("PUT", WORKSPACE, body)
    assert blocked.code == "BadRequest"
    assert "Soft-deleted workspace exists" in blocked.message
    server.call("DELETE", f"{WORKSPACE}?forceToPurge=true")
    server.put(WORKSPACE, body)
    server.call("DELETE", WORKSPACE)
    assert server.control("purge").json["purged"] == [WORKSPACE]
    server.put(WORKSPACE, body)


def test_a_deleted_log_workspace_comes_back_with_its_data(server: Server) -> None:
    server.put(GROUP, {"location": "eastus"}, version="2024-03-01")
    path = f"{GROUP}/providers/Microsoft.OperationalInsights/workspaces/logs"
    first = server.put(path, {"location": "eastus"}).json["properties"]["customerId"]
    server.call("DELETE", path)
    assert server.put(path, {"location": "eastus"}).json["properties"]["customerId"] == first
    server.call("DELETE", f"{path}?force=true")
    assert server.put(path, {"location": "eastus"}).json["properties"]["customerId"] != first


def test_deleting_a_group_takes_everything_inside(server: Server) -> None:
    deploy(server)
    answer = server.call("DELETE", GROUP, version="2024-03-01")
    assert answer.status == 202
    poll = send(
        http_request(
            answer.headers["location"], headers={"Authorization": f"Bearer {server.token()}"}
        )
    )
    assert poll.status == 200
    assert server.call("GET", GROUP, version="2024-03-01").code == "ResourceGroupNotFound"
    assert server.plane.store.below("resource", "") == []
    assert server.plane.accounts.find("labaccount") is None
    assert not list((server.plane.home / "blobs").rglob("*/*"))


# --- the lab itself


def test_a_callers_host_name_decides_the_urls_in_answers(shared: Server) -> None:
    direct = shared.call("GET", WORKSPACE).json["properties"]
    assert direct["discoveryUrl"].startswith(shared.url)
    named = shared.call("GET", WORKSPACE, headers={"Host": "management.azure.com"}).json[
        "properties"
    ]
    assert named["discoveryUrl"] == "https://eastus.api.azureml.ms/discovery"
    account = shared.call(
        "GET", STORAGE, version="2024-01-01", headers={"Host": "management.azure.com"}
    ).json
    assert (
        account["properties"]["primaryEndpoints"]["blob"]
        == "https://labaccount.blob.core.windows.net/"
    )


def test_the_clock_only_moves_forward(shared: Server) -> None:
    assert shared.control("clock", {"advance_seconds": -1}).status == 400


def test_a_bad_json_body_is_told(shared: Server) -> None:
    request = http_request(
        f"{shared.url}{STORAGE}?api-version=2024-01-01",
        data=b"{",
        method="PUT",
        headers={"Authorization": f"Bearer {shared.token()}"},
    )
    assert send(request).code == "InvalidRequestContent"


def test_time_is_written_as_azure_writes_it(shared: Server) -> None:
    created = shared.call("GET", WORKSPACE).json["systemData"]["createdAt"]
    assert time.strptime(created, "%Y-%m-%dT%H:%M:%S.%fZ").tm_year >= 2024
