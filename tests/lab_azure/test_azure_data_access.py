"""A workspace with no account keys: jobs read and write as an identity, by the roles that it has."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from lab.home import SUBSCRIPTION_ID
from tests.lab_azure.azure_server import (
    IDENTITY,
    STORAGE,
    WORKSPACE,
    Jobs,
    Server,
    deploy,
    put_cluster,
)

CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
OUTPUT = {"out": {"jobOutputType": "uri_folder"}}


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("keyless") / "azure")
    deploy(server, by_identity=True)
    put_cluster(
        server,
        "as-identity",
        identity={"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
    )
    yield server
    server.stop()


def grant(server: Server, role: str) -> None:
    principal = server.call("GET", IDENTITY, version="2023-01-31").json["properties"]["principalId"]
    definition = (
        f"/subscriptions/{SUBSCRIPTION_ID}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    )
    body = {
        "properties": {
            "principalId": principal,
            "roleDefinitionId": definition,
            "principalType": "ServicePrincipal",
        }
    }
    path = f"{STORAGE}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    server.put(path, body, version="2022-04-01")


def test_a_job_reads_and_writes_only_what_its_roles_allow(keyless: Server) -> None:
    jobs = Jobs(keyless)
    refused = jobs.submit("echo x > ${{outputs.out}}/x", compute="as-identity", outputs=OUTPUT)
    assert jobs.wait(refused) == "Failed"
    message = jobs.details(refused)["error"]["error"]["message"]
    assert "AuthorizationPermissionMismatch" in message
    assert "Storage Blob Data Contributor" in message, "the error says what to give"
    grant(keyless, READER)
    still = jobs.submit("echo x > ${{outputs.out}}/x", compute="as-identity", outputs=OUTPUT)
    assert jobs.wait(still) == "Failed", "a reader does not write"
    grant(keyless, CONTRIBUTOR)
    allowed = jobs.submit("echo x > ${{outputs.out}}/x", compute="as-identity", outputs=OUTPUT)
    assert jobs.wait(allowed) == "Completed"


def test_a_cluster_without_identity_uses_the_workspaces(keyless: Server) -> None:
    jobs = Jobs(keyless)
    name = jobs.submit("echo x > ${{outputs.out}}/x", outputs=OUTPUT)
    assert jobs.wait(name) == "Completed"


def test_a_keyless_workspace_hands_out_no_key(keyless: Server) -> None:
    answer = keyless.call("POST", f"{WORKSPACE}/datastores/workspaceblobstore/listSecrets", {})
    assert (answer.status, answer.code) == (400, "UserError")
    datastore = keyless.call("GET", f"{WORKSPACE}/datastores/workspaceblobstore").json["properties"]
    assert datastore["credentials"] == {"credentialsType": "None"}
