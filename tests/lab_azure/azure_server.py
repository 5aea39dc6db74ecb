"""A whole Azure plane on a free port of this machine, and clients that reach it as people do."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import uvicorn

from lab.azure.app import application
from lab.azure.plane import Plane
from lab.home import CLIENT_ID, CLIENT_SECRET, SUBSCRIPTION_ID, TENANT_ID

GROUP = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/rg"
STORAGE = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/labaccount"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/lab-vault"
INSIGHTS = f"{GROUP}/providers/Microsoft.Insights/components/insights"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/jobs"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/workspace"


@dataclasses.dataclass
class Response:
    status: int
    headers: dict[str, str]
    text: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.text) if self.text else None

    @property
    def code(self) -> str:
        return self.json["error"]["code"]

    @property
    def message(self) -> str:
        return self.json["error"]["message"]


class Server:
    """A plane that serves in a thread of this process, over real http."""

    def __init__(self, home: Path) -> None:
        self.plane = Plane(home)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.plane.start(self.url)
        config = uvicorn.Config(
            application(self.plane), log_level="warning", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        self._thread.start()
        self._tokens: dict[str, str] = {}
        while not self._server.started:
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)

    def token(
        self,
        audience: str = "https://management.azure.com",
        client: tuple[str, str] = (CLIENT_ID, CLIENT_SECRET),
    ) -> str:
        key = f"{audience}|{client[0]}"
        if key not in self._tokens:
            form = urllib.parse.urlencode(
                {
                    "grant_type": "client_credentials",
                    "client_id": client[0],
                    "client_secret": client[1],
                    "scope": f"{audience}/.default",
                }
            )
            url = f"{self.url}/{TENANT_ID}/oauth2/v2.0/token"
            answer = send(http_request(url, data=form.encode(), method="POST"))
            assert answer.status == 200, answer.text
            self._tokens[key] = answer.json["access_token"]
        return self._tokens[key]

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str | None = "2025-12-01",
        headers: dict[str, str] | None = None,
        token: str | None = None,
    ) -> Response:
        url = self.url + urllib.parse.quote(path, safe="/?&=$:%,")
        if version:
            url += f"{'&' if '?' in path else '?'}api-version={version}"
        sent = {"Content-Type": "application/json", **(headers or {})}
        sent.setdefault("Authorization", f"Bearer {token or self.token()}")
        data = json.dumps(body).encode() if body is not None else None
        return send(http_request(url, data=data, method=method, headers=sent))

    def put(self, path: str, body: Any, **options: Any) -> Response:
        answer = self.call("PUT", path, body, **options)
        assert answer.status in (200, 201), (path, answer.text)
        return answer

    def control(self, path: str, body: Any = None) -> Response:
        """The lab's own controls."""
        data = json.dumps(body or {}).encode()
        return send(http_request(f"{self.url}/_lab/{path}", data=data, method="POST"))


def http_request(url: str, **options: Any) -> urllib.request.Request:
    return urllib.request.Request(url, **options)  # noqa: S310 - the urls are the plane's own


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def send(request: urllib.request.Request) -> Response:
    try:
        with _OPENER.open(request, timeout=30) as answer:
            return Response(
                answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
            )
    except urllib.error.HTTPError as error:
        with error:
            return Response(
                error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
            )


def deploy(server: Server, *, by_identity: bool = False) -> None:
    """Make a resource group with a workspace, its linked resources and a cluster of two nodes."""
    server.put(GROUP, {"location": "eastus"}, version="2024-03-01")
    account = {
        "location": "eastus",
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
        "properties": {"allowSharedKeyAccess": not by_identity, "minimumTlsVersion": "TLS1_2"},
    }
    server.put(STORAGE, account, version="2024-01-01")
    vault = {
        "tenantId": TENANT_ID,
        "sku": {"family": "A", "name": "standard"},
        "accessPolicies": [],
    }
    server.put(VAULT, {"location": "eastus", "properties": vault})
    server.put(
        INSIGHTS,
        {"location": "eastus", "kind": "web", "properties": {"Application_Type": "web"}},
        version="2020-02-02",
    )
    server.put(IDENTITY, {"location": "eastus"}, version="2023-01-31")
    server.put(
        WORKSPACE,
        {
            "location": "eastus",
            "identity": {"type": "SystemAssigned"},
            "properties": {
                "storageAccount": STORAGE,
                "keyVault": VAULT,
                "applicationInsights": INSIGHTS,
                **({"systemDatastoresAuthMode": "identity"} if by_identity else {}),
            },
        },
    )
    put_cluster(server, "cpu", high=2)
    server.put(
        f"{WORKSPACE}/environments/base/versions/1", {"properties": {"image": "python:3.11"}}
    )


def put_cluster(
    server: Server,
    name: str,
    *,
    low: int = 0,
    high: int = 2,
    idle: str = "PT120S",
    priority: str = "Dedicated",
    identity: dict[str, Any] | None = None,
    size: str = "Standard_DS3_v2",
) -> Response:
    scale = {"minNodeCount": low, "maxNodeCount": high, "nodeIdleTimeBeforeScaleDown": idle}
    body: dict[str, Any] = {
        "location": "eastus",
        "properties": {
            "computeType": "AmlCompute",
            "properties": {"vmSize": size, "vmPriority": priority, "scaleSettings": scale},
        },
    }
    if identity:
        body["identity"] = identity
    return server.call("PUT", f"{WORKSPACE}/computes/{name}", body)


class Jobs:
    """Submits command jobs over REST and waits for them."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def submit(
        self, command: str, *, name: str | None = None, compute: str | None = "cpu", **fields: Any
    ) -> str:
        name = name or f"job-{uuid.uuid4().hex[:12]}"
        answer = self.try_submit(command, name=name, compute=compute, **fields)
        assert answer.status in (200, 201), answer.text
        return name

    def try_submit(
        self, command: str, *, name: str, compute: str | None = "cpu", **fields: Any
    ) -> Response:
        properties = {
            "jobType": "Command",
            "command": command,
            "environmentId": f"{WORKSPACE}/environments/base/versions/1",
            **({"computeId": f"{WORKSPACE}/computes/{compute}"} if compute else {}),
            **fields,
        }
        return self.server.call("PUT", f"{WORKSPACE}/jobs/{name}", {"properties": properties})

    def status(self, name: str) -> str:
        return self.server.call("GET", f"{WORKSPACE}/jobs/{name}").json["properties"]["status"]

    def wait(self, name: str, *states: str, timeout: float = 30.0) -> str:
        """Wait until the job is in one of the states (default: ended) and return it."""
        wanted = states or ("Completed", "Failed", "Canceled")
        end = time.monotonic() + timeout
        while (status := self.status(name)) not in wanted:
            assert time.monotonic() < end, f"{name} is still {status}: {self.log(name)}"
            time.sleep(0.02)
        return status

    def details(self, name: str) -> dict[str, Any]:
        return self.server.call(
            "GET", f"/history/v1.0{WORKSPACE}/runs/{name}/details", version="v1.0"
        ).json

    def log(self, name: str, file: str = "user_logs/std_log.txt") -> str:
        url = self.details(name)["logFiles"].get(file)
        if not url:
            return ""
        answer = send(http_request(url))
        return answer.text.decode() if answer.status == 200 else ""

    def blob(self, container: str, name: str) -> bytes:
        return self.server.plane.blobs.get("labaccount", container, name).read()
