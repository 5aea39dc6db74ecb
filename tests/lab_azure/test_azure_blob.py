"""The blob endpoint, driven by the unmodified azure-storage-blob client; Azurite gives the same answers where it "
"is installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobServiceClient,
    ContainerClient,
    generate_blob_sas,
    generate_container_sas,
)

from tests.lab_azure.azure_server import GROUP, STORAGE, Server, http_request, send

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def code_of(caught: pytest.ExceptionInfo[HttpResponseError]) -> Any:
    return vars(caught.value).get("error_code")


class Endpoint:
    """A blob endpoint, and how to sign in to it with the account's key."""

    def __init__(self, url: str, account: str, key: str) -> None:
        self.url, self.account, self.key = url, account, key
        self.service = BlobServiceClient(
            url, credential={"account_name": self._signer(), "account_key": key}
        )

    def _signer(self) -> str:
        # the client signs with the account it finds in a local url's path
        return self.url.split("/", 3)[3]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("blob") / "azure")
    server.put(GROUP, {"location": "eastus"}, version="2024-03-01")
    body = {"location": "eastus", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
    server.put(STORAGE, body, version="2024-01-01")
    yield server
    server.stop()


def _azurite(folder: Path) -> Iterator[Endpoint]:
    program = os.environ.get("AZURITE_BLOB") or shutil.which("azurite-blob")
    if not program:
        pytest.skip("azurite-blob is not on PATH: npm install -g azurite (3.35 or later)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            program,
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            str(port),
            "--inMemoryPersistence",
            "--skipApiVersionCheck",
            "--silent",
        ],
        env={**os.environ, "AZURITE_ACCOUNTS": f"labaccount:{KEY}"},
        cwd=folder,
    )
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Endpoint(f"http://127.0.0.1:{port}/labaccount", "labaccount", KEY)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module", params=["lab", "azurite"])
def endpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    if request.param == "azurite":
        yield from _azurite(tmp_path_factory.mktemp("azurite"))
        return
    server: Server = request.getfixturevalue("lab")
    account = server.plane.accounts.find("labaccount")
    assert account is not None
    yield Endpoint(f"{server.url}/_blob/labaccount", "labaccount", account.keys[0])  # noqa: PT022


@pytest.fixture(scope="module")
def container(endpoint: Endpoint) -> ContainerClient:
    return endpoint.service.create_container("conformance")


def test_a_blob_comes_back_as_it_went(container: ContainerClient) -> None:
    container.upload_blob("a/b é #1.txt", b"hello", metadata={"k": "v"})
    blob = container.get_blob_client("a/b é #1.txt")
    assert blob.download_blob().readall() == b"hello"
    properties = blob.get_blob_properties()
    assert (properties.size, properties.metadata, properties.blob_type) == (
        5,
        {"k": "v"},
        "BlockBlob",
    )


def test_an_empty_blob_is_read(container: ContainerClient) -> None:
    container.upload_blob("empty", b"")
    assert container.download_blob("empty").readall() == b""


def test_a_blob_is_not_overwritten_unasked(container: ContainerClient) -> None:
    container.upload_blob("once", b"1")
    with pytest.raises(ResourceExistsError):
        container.upload_blob("once", b"2")
    container.upload_blob("once", b"3", overwrite=True)
    assert container.download_blob("once").readall() == b"3"


def test_ranges_are_served(container: ContainerClient) -> None:
    container.upload_blob("range", bytes(range(100)))
    assert container.download_blob("range", offset=10, length=5).readall() == bytes(range(10, 15))
    with pytest.raises(HttpResponseError) as caught:
        container.download_blob("range", offset=200, length=5).readall()
    assert caught.value.status_code == 416


def test_a_large_file_goes_by_blocks(container: ContainerClient, endpoint: Endpoint) -> None:
    data = os.urandom(1 << 20) * 9
    service = BlobServiceClient(
        endpoint.url,
        credential=endpoint.service.credential,
        max_single_put_size=1 << 20,
        max_block_size=1 << 20,
    )
    service.get_blob_client("conformance", "large").upload_blob(data)
    read = container.download_blob("large").readall()
    assert hashlib.sha256(read).digest() == hashlib.sha256(data).digest()


def test_a_block_that_was_not_staged_is_refused(container: ContainerClient) -> None:
    with pytest.raises(HttpResponseError) as caught:
        container.get_blob_client("blocks").commit_block_list([BlobBlock(block_id="nope")])
    assert code_of(caught) == "InvalidBlockList"


def test_lists_have_prefixes_folders_pages_and_metadata(container: ContainerClient) -> None:
    for name in ("l/1", "l/2", "l/x/3", "m"):
        container.upload_blob(name, b"", metadata={"n": name[-1]})
    assert [blob.name for blob in container.list_blobs(name_starts_with="l/")] == [
        "l/1",
        "l/2",
        "l/x/3",
    ]
    assert {item.name for item in container.walk_blobs("l/", delimiter="/")} == {
        "l/1",
        "l/2",
        "l/x/",
    }
    pages = list(container.list_blobs(name_starts_with="l/", results_per_page=2).by_page())
    assert [len(list(page)) for page in pages] == [2, 1]
    found = {blob.name: blob.metadata for blob in container.list_blobs("l/", include=["metadata"])}
    assert found["l/1"] == {"n": "1"}


def test_conditions_hold(container: ContainerClient) -> None:
    blob = container.upload_blob("etag", b"1")
    etag = blob.get_blob_properties().etag
    blob.upload_blob(b"2", overwrite=True)
    with pytest.raises(ResourceModifiedError):
        blob.upload_blob(
            b"3", overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified
        )


def test_what_is_not_there_is_not_found(container: ContainerClient, endpoint: Endpoint) -> None:
    with pytest.raises(ResourceNotFoundError) as caught:
        container.download_blob("nope")
    assert code_of(caught) == "BlobNotFound"
    with pytest.raises(ResourceNotFoundError) as caught:
        endpoint.service.get_blob_client("nope", "x").upload_blob(b"")
    assert code_of(caught) == "ContainerNotFound"
    with pytest.raises(ResourceExistsError):
        endpoint.service.create_container("conformance")


def test_a_deleted_blob_is_gone(container: ContainerClient) -> None:
    container.upload_blob("gone", b"").delete_blob()
    assert not container.get_blob_client("gone").exists()


def test_a_signature_opens_what_it_names_and_no_more(
    container: ContainerClient, endpoint: Endpoint
) -> None:
    container.upload_blob("signed", b"1")
    container.upload_blob("unsigned", b"2")
    options: dict[str, Any] = {
        "account_key": endpoint.key,
        "permission": "r",
        "expiry": datetime.now(UTC) + timedelta(hours=1),
    }
    signature = generate_blob_sas(endpoint.account, "conformance", "signed", **options)
    url = f"{endpoint.url}/conformance"
    assert BlobClient.from_blob_url(f"{url}/signed?{signature}").download_blob().readall() == b"1"
    with pytest.raises(HttpResponseError):
        BlobClient.from_blob_url(f"{url}/unsigned?{signature}").download_blob()
    with pytest.raises(HttpResponseError):
        BlobClient.from_blob_url(f"{url}/signed?{signature}").delete_blob()
    expired = generate_container_sas(
        endpoint.account,
        "conformance",
        account_key=endpoint.key,
        permission="r",
        expiry=datetime.now(UTC) - timedelta(hours=1),
    )
    with pytest.raises(HttpResponseError):
        BlobClient.from_blob_url(f"{url}/signed?{expired}").download_blob()


def test_a_wrong_key_is_refused(container: ContainerClient, endpoint: Endpoint) -> None:
    del container
    wrong = BlobServiceClient(
        endpoint.url, credential={"account_name": endpoint._signer(), "account_key": "d3Jvbmc="}
    )
    with pytest.raises(HttpResponseError) as caught:
        wrong.get_blob_client("conformance", "x").upload_blob(b"")
    assert caught.value.status_code == 403


# --- of the lab alone


def test_an_account_without_key_access_takes_tokens_only(lab: Server) -> None:
    account = STORAGE.replace("labaccount", "keyless")
    body = {
        "location": "eastus",
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
        "properties": {"allowSharedKeyAccess": False},
    }
    lab.put(account, body, version="2024-01-01")
    lab.put(
        f"{account}/blobServices/default/containers/data", {"properties": {}}, version="2024-01-01"
    )
    found = lab.plane.accounts.find("keyless")
    assert found is not None
    service = BlobServiceClient(
        f"{lab.url}/_blob/keyless",
        credential={"account_name": "_blob/keyless", "account_key": found.keys[0]},
    )
    with pytest.raises(HttpResponseError) as caught:
        service.get_blob_client("data", "x").upload_blob(b"")
    assert code_of(caught) == "KeyBasedAuthenticationNotPermitted"
    url = f"{lab.url}/_blob/keyless/data/x"
    owner = {
        "Authorization": f"Bearer {lab.token('https://storage.azure.com')}",
        "x-ms-blob-type": "BlockBlob",
    }
    assert send(http_request(url, data=b"1", method="PUT", headers=owner)).status == 201
    made = lab.control("principals", {"name": "nobody"}).json
    token = lab.token("https://storage.azure.com", client=(made["clientId"], made["clientSecret"]))
    refused = send(http_request(url, headers={"Authorization": f"Bearer {token}"}))
    assert refused.status == 403
    assert refused.headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"
    assert send(http_request(url)).headers["x-ms-error-code"] == "NoAuthenticationInformation"
    wrong = {"Authorization": f"Bearer {lab.token('https://vault.azure.net')}"}
    assert send(http_request(url, headers=wrong)).status == 401


@pytest.mark.parametrize("query", ["comp=snapshot", "comp=lease", "comp=tier"])
def test_what_the_lab_does_not_do_is_refused_by_name(lab: Server, query: str) -> None:
    headers = {"Authorization": f"Bearer {lab.token('https://storage.azure.com')}"}
    url = f"{lab.url}/_blob/labaccount/conformance/x?{query}"
    answer = send(http_request(url, data=b"", method="PUT", headers=headers))
    assert (answer.status, answer.headers["x-ms-error-code"]) == (501, "NotImplemented")
