"""The web application: takes a request, finds which service of Azure it is for, and writes the answer.

The Host header says for whom a request is when it came through the lab's proxy; directly, the path does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from lab.azure.blob import BlobError
from lab.azure.blob_service import BlobService
from lab.azure.errors import ArmError
from lab.azure.http import Answer, Call
from lab.azure.login import openid_configuration
from lab.azure.machine_learning import MachineLearning
from lab.azure.plane import Plane
from lab.azure.run_history import RunHistory
from lab.azure.storage import Storage
from lab.azure.urls import Urls
from lab.home import TENANT_ID

_LOG = logging.getLogger("lab.azure")
_METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]


def application(plane: Plane) -> Starlette:
    """Return the ASGI application of a plane."""
    service = _Service(plane)

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(service.respond, request, body)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        del app
        yield
        await run_in_threadpool(plane.close)

    return Starlette(routes=[Route("/{path:path}", endpoint, methods=_METHODS)], lifespan=lifespan)


class _Service:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._blobs = BlobService(plane)
        self._learning = MachineLearning(plane)
        self._history = RunHistory(plane)
        self._storage = Storage(plane)

    def respond(self, request: Request, body: bytes) -> Response:
        host = request.headers.get("host", "")
        call = Call(
            method=request.method,
            host=host,
            path=request.scope["path"],
            raw_path=request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0],
            query=dict(parse_qsl(request.url.query, keep_blank_values=True)),
            headers={key.lower(): value for key, value in request.headers.items()},
            body=body,
            urls=Urls.for_host(host),
        )
        try:
            answer = self._answer(call)
        except BlobError as error:
            answer = Answer(
                error.status,
                _blob_error_xml(error) if error.status != 304 else "",
                error.headers,
                "application/xml",
            )
        except ArmError as error:
            answer = Answer(
                error.status, error.body(), {"x-ms-error-code": error.code, **error.headers}
            )
        except Exception:
            _LOG.exception("%s %s", call.method, call.path)
            message = "The lab failed to answer; see its log: trainstack lab logs"
            answer = Answer(500, {"error": {"code": "InternalServerError", "message": message}})
        return _response(call, answer)

    def _answer(self, call: Call) -> Answer:
        if call.path.startswith("/_lab/"):
            return self._control(call)
        if call.host.endswith(".azurecr.io"):
            raise ArmError(
                400,
                "UNSUPPORTED",
                f"The lab keeps no images for {call.host}: its Azure runs jobs in environments, and images of one's "
                "own only on the lab's AWS.",
            )
        found = self._open(call)
        if found is None and (found := self._blobs.answer(call)) is None:
            is_data_plane = not call.path.lower().startswith("/subscriptions")
            principal = self._plane.login.authenticate(
                call.headers.get("authorization", ""), "ml" if is_data_plane else "management"
            )
            call = replace(call, principal=principal)
            found = (
                self._history.answer(call)
                or self._learning.answer_registry(call)
                or self._learning.answer(call)
                or self._storage.answer(call)
            )
            if found is None and not is_data_plane:
                found = self._plane.resources.answer(call)
        if found is None:
            raise ArmError(
                404, "NotFound", f"The lab's Azure has nothing at {call.host}{call.path}."
            )
        return found

    def _open(self, call: Call) -> Answer | None:
        """What is answered without a token: sign-in, cloud metadata, discovery."""
        path = call.path
        if path.endswith("/.well-known/openid-configuration"):
            return Answer(200, openid_configuration(call.urls.login))
        if path == "/common/discovery/instance":
            endpoint = f"{call.urls.login}/{TENANT_ID}/v2.0/.well-known/openid-configuration"
            return Answer(
                200, {"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": []}
            )
        if path.endswith(("/oauth2/v2.0/token", "/oauth2/token")) and call.method == "POST":
            return Answer(200, self._plane.login.grant(dict(parse_qsl(call.body.decode()))))
        if path == "/metadata/endpoints":
            return Answer(200, [_cloud_metadata(call.urls)])
        if path.startswith("/discovery"):
            base = call.urls.direct or f"https://{call.host}"
            return Answer(
                200,
                {
                    "api": base,
                    "history": base,
                    "experimentation": base,
                    "catalog": base,
                    "studio": call.urls.studio,
                },
            )
        return None

    def _control(self, call: Call) -> Answer:
        """The lab's own controls, which Azure does not have. They need no token: the plane listens on loopback only."""
        if call.path == "/_lab/health":
            return Answer(200, {"status": "ok"})
        if call.path.startswith("/_lab/identity/"):
            return self._job_identity(call)
        if call.path == "/_lab/clock":
            if call.method == "POST":
                try:
                    self._plane.clock.advance(float(call.json().get("advance_seconds", 0)))
                except (TypeError, ValueError) as error:
                    raise ArmError(400, "BadRequest", str(error)) from error
            return Answer(200, {"now": self._plane.clock.timestamp()})
        if call.path == "/_lab/principals" and call.method == "POST":
            return Answer(
                201, self._plane.login.create_principal(str(call.json().get("name", "principal")))
            )
        if call.path.startswith("/_lab/interrupt/") and call.method == "POST":
            return Answer(202, self._plane.jobs.interrupt(call.path.rsplit("/", 1)[-1]))
        if call.path == "/_lab/purge" and call.method == "POST":
            return Answer(200, {"purged": self._plane.purge_deleted()})
        raise ArmError(404, "NotFound", f"The lab has no control {call.path}.")

    def _job_identity(self, call: Call) -> Answer:
        """A job's managed-identity endpoint, as App Service and Azure ML give it to azure-identity."""
        name = call.path.rsplit("/", 1)[-1]
        run = self._plane.jobs.running(name)
        header = call.headers.get("x-identity-header") or call.headers.get("secret") or ""
        resource = call.query.get("resource", "")
        token = run.token(header, resource) if run else None
        if token is None:
            raise ArmError(
                400,
                "invalid_request",
                f"The job '{name}' has no managed identity, or the header is wrong.",
            )
        return Answer(
            200,
            {
                "access_token": token,
                "expires_on": "4102444800",
                "resource": resource,
                "token_type": "Bearer",
            },
        )


def _response(call: Call, answer: Answer) -> Response:
    headers = {
        "x-ms-request-id": str(uuid.uuid4()),
        "x-ms-correlation-request-id": call.headers.get("x-ms-correlation-request-id")
        or str(uuid.uuid4()),
        **answer.headers,
    }
    if call.headers.get("x-ms-client-request-id"):
        headers["x-ms-client-request-id"] = call.headers["x-ms-client-request-id"]
    body: Any = answer.body
    if isinstance(body, Iterator):
        return StreamingResponse(body, answer.status, headers, answer.media_type)
    if answer.is_json:
        content = json.dumps(body, separators=(",", ":")).encode()
        return Response(
            content if call.method != "HEAD" else b"", answer.status, headers, "application/json"
        )
    response = Response(body or b"", answer.status, headers, answer.media_type)
    if call.method == "HEAD" and "Content-Length" in answer.headers:
        response.headers["Content-Length"] = answer.headers["Content-Length"]
    return response


def _blob_error_xml(error: BlobError) -> str:
    code, message = escape(error.code), escape(error.message)
    return f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'


def _cloud_metadata(urls: Urls) -> dict[str, Any]:
    manager = f"{urls.resource_manager}/"
    return {
        "name": "TrainstackLab" if urls.direct else "AzureCloud",
        "portal": "https://portal.azure.com/",
        "resourceManager": manager,
        "authentication": {
            "loginEndpoint": f"{urls.login}/",
            "audiences": [manager],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "suffixes": {
            "storage": "core.windows.net",
            "keyVaultDns": "vault.azure.net",
            "acrLoginServer": "azurecr.io",
        },
        "media": "",
    }
