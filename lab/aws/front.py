"""The one AWS endpoint of the lab. Runs as ``python -m lab.aws.front --port N --home DIR --ministack URL ...``.

A request goes to the service that it is signed for, as AWS's own SDKs sign it; unsigned ones go by
their host name. It is passed on byte for byte, so that its signature stays valid. What no service
of the lab would do right is refused here, or done here (``rules``); a service that the lab does
not have is refused by name, in the error shape of its protocol.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import hmac
import json
import logging
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from lab.aws import rules
from lab.aws.encryption import Encryption, object_request
from lab.aws.identity import Guard, Identity, verify
from lab.aws.services import REGION, ROOT_CREDENTIALS
from lab.aws.wire import Caller, Refusal, caller_of, error, form, operation_of, service_of
from lab.home import require_loopback

# By signing name. ministack knows more, but those are not checked against AWS, and a call to a
# service that it does not know at all costs 400 MB there.
MINISTACK_SERVICES = (
    *("budgets", "ecr", "ecr-registry", "events", "iam", "kms", "logs", "monitoring"),
    *("s3", "sns", "sqs", "sts", "tagging"),
)
OWN_SERVICES = ("pricing", "servicequotas")
SERVICES = tuple(sorted((*MINISTACK_SERVICES, *OWN_SERVICES, "ec2", "sagemaker")))

# How AWS's own access keys look.
_REAL_KEY = re.compile(r"^(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}$")
_HOP_BY_HOP = {
    *("connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization"),
    *("te", "trailers", "transfer-encoding", "upgrade"),
}
# The SageMaker plane asks the policies of this caller itself: only it knows a call's resources.
# Only the front sets it; a client's own is dropped.
CALLER_HEADER = "x-lab-caller-arn"
# Presigned URLs of the older signature.
_SIGNED_OTHERWISE = {"AWSAccessKeyId", "X-Amz-Credential"}
_IDENTITY_SECONDS = 5.0
_ROOT_KEY = ROOT_CREDENTIALS["AWS_ACCESS_KEY_ID"]

AnswerCheck = Callable[[Mapping[str, str]], None]


class Front:
    """Routes requests to the services behind it."""

    def __init__(self, backends: Mapping[str, str]) -> None:
        self._backends = {name: require_loopback(url) for name, url in backends.items()}
        self._identities: dict[str, tuple[float, Identity | None]] = {}
        self._session: aiohttp.ClientSession | None = None
        guard = Guard(lambda: self._root_client("iam"))
        self._services = rules.Services(self._root_client, guard, self._quota_values)
        self._encryption = Encryption(self._root_client, guard)

    @functools.cache  # noqa: B019 - there is one front in a process
    def _root_client(self, service: str) -> Any:
        """Return a client of ministack with the lab's root key."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self._backends["ministack"],
            region_name=REGION,
            aws_access_key_id=ROOT_CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ROOT_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def _quota_values(self) -> Mapping[str, float]:
        """Return the quotas that someone set in the SageMaker plane, which holds jobs to them."""
        url = f"{self._backends['sagemaker']}/_lab/quotas"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
                return json.loads(answer.read())
        except OSError:
            return {}  # the plane is starting

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=2**40)
        app.router.add_get("/_lab/health", self._health)
        app.router.add_route("*", "/_lab/{path:.*}", self._handle_lab)
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.cleanup_ctx.append(self._client)
        return app

    async def _client(self, _: web.Application):
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as session:
            self._session = session
            yield

    async def _health(self, _: web.Request) -> web.Response:
        """Answer the supervisor, and tell what ministack lost when it was last killed."""
        assert self._session  # noqa: S101 - set before the first request
        try:
            async with self._session.get(f"{self._backends['ministack']}/_lab/health") as answer:
                lost = (await answer.json())["lost"]
        except aiohttp.ClientError:
            lost = []  # it is starting; the supervisor asks it as well
        return web.json_response({"status": "ok", "services": SERVICES, "lost": lost})

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        caller = caller_of(request.headers, request.query)
        service = service_of(request.host, request.path, caller)
        if caller is None and "urlencoded" in request.headers.get("Content-Type", ""):
            service = service_of(request.host, request.path, None, form(await request.read()))
        try:
            return await self._route(request, service, caller)
        except Refusal as refusal:
            known = refusal
        except ConnectionResetError:
            raise  # the client went away
        except Exception:
            logging.getLogger(__name__).exception("%s %s", request.method, request.path)
            message = "the lab's front failed. See: trainstack lab logs"
            known = Refusal("InternalFailure", message, status=500)
        status, headers, body = error(known, service, request.headers)
        return web.Response(status=status, headers=headers, body=body)

    async def _handle_lab(self, request: web.Request) -> web.StreamResponse:
        """Pass on what moves the lab itself: interrupt a job, advance the clock, set quotas."""
        try:
            return await self._pass_on(request, "sagemaker")
        except Refusal as refusal:
            return web.Response(status=refusal.status, text=refusal.message)

    async def _route(
        self, request: web.Request, service: str, caller: Caller | None
    ) -> web.StreamResponse:
        if service not in SERVICES:
            raise Refusal(
                "UnknownServiceException",
                f"the lab has no AWS service {service!r}; it has {', '.join(SERVICES)}",
            )
        if caller:
            await self._refuse_real_key(caller)
        elif service == "s3" and not request.query.keys() & _SIGNED_OTHERWISE:
            raise Refusal("AccessDenied", "Access Denied: the request is not signed", status=403)
        elif service == "ecr-registry":
            await self._require_registry_password(request.headers.get("Authorization", ""))
        is_streamed = service in ("s3", "ecr-registry")
        body = b"" if is_streamed else await request.read()
        operation = operation_of(request.headers, body)
        rule = rules.rule_for(service, operation, request.method, request.query)
        # ministack guards its services itself, but takes the root's key without its secret
        is_verified_here = (
            service not in MINISTACK_SERVICES
            or operation.startswith("Simulate")
            or (caller and caller.access_key_id == _ROOT_KEY and "Authorization" in request.headers)
        )
        identity = await self._signer(request, caller, body) if is_verified_here else None
        if rule:
            answer = await self._apply(rule, request, service, operation, caller, identity)
            if answer:
                return web.Response(body=answer.body, content_type=answer.content_type)
        if service in MINISTACK_SERVICES:
            # Loopback counts as TLS, or every bucket that denies plain http would be shut to jobs.
            # A client that says by the same header that it came by http is denied, as is meant.
            tls = {} if "X-Forwarded-Proto" in request.headers else {"X-Forwarded-Proto": "https"}
            check = await self._object_check(request, caller) if service == "s3" else None
            return await self._pass_on(request, "ministack", tls, check)
        assert identity  # noqa: S101 - _signer has raised otherwise
        if service == "ec2":
            await asyncio.to_thread(self._services.guard.require, identity, f"ec2:{operation}")
        return await self._pass_on(request, service, {CALLER_HEADER: identity.arn})

    async def _object_check(
        self, request: web.Request, caller: Caller | None
    ) -> AnswerCheck | None:
        """Ask the key of an object that is written; return what asks the key of one that is read."""
        identity = await self._identity(caller.access_key_id) if caller else None
        wanted = object_request(
            request.method,
            request.host,
            request.path,
            request.query,
            request.headers,
            caller.region if caller else REGION,
        )
        if identity is None or wanted is None:
            return None
        if wanted.is_write:
            await asyncio.to_thread(self._encryption.before_write, wanted, identity)
            return None
        return functools.partial(self._encryption.before_answer, wanted, identity)

    async def _signer(self, request: web.Request, caller: Caller | None, body: bytes) -> Identity:
        """Return who signed; raises Refusal where the signature is not theirs."""
        identity = await self._identity(caller.access_key_id) if caller else None
        url = f"http://{request.host}{request.raw_path}"
        return verify(identity, caller, request.method, url, request.headers, body)

    async def _apply(
        self,
        rule: rules.Rule,
        request: web.Request,
        service: str,
        operation: str,
        caller: Caller | None,
        identity: Identity | None,
    ) -> rules.Answer | None:
        call = rules.Call(
            service=service,
            operation=operation,
            method=request.method,
            path=request.path,
            query=request.query,
            body=await request.read(),
            region=caller.region if caller else "us-east-1",
            identity=identity,
        )
        return await asyncio.to_thread(rule, call, self._services)

    async def _refuse_real_key(self, caller: Caller) -> None:
        """Refuse a key in AWS's format that the lab did not issue.

        Never say more of it than its start.
        """
        if _REAL_KEY.match(caller.access_key_id) and not await self._identity(caller.access_key_id):
            raise Refusal(
                "InvalidClientTokenId",
                f"access key {caller.access_key_id[:8]}... is not one that this lab issued; it "
                "looks like a real one, and the lab wants none. Set the lab's own with: eval $(trainstack lab env)",
                status=403,
            )

    async def _require_registry_password(self, authorization: str) -> None:
        """Take the password that ECR gives, and no other. Docker asks without one first."""
        ecr = self._root_client("ecr")
        given = await asyncio.to_thread(ecr.get_authorization_token)
        token = given["authorizationData"][0]["authorizationToken"]
        if not hmac.compare_digest(authorization.encode(), f"Basic {token}".encode()):
            raise Refusal("UNAUTHORIZED", "sign in with: aws ecr get-login-password", status=401)

    async def _identity(self, access_key_id: str) -> Identity | None:
        """Return whose a key is, as ministack knows it; remembered for a few seconds."""
        remembered = self._identities.get(access_key_id)
        if remembered and time.monotonic() - remembered[0] < _IDENTITY_SECONDS:
            return remembered[1]
        assert self._session  # noqa: S101 - set before the first request
        url = f"{self._backends['ministack']}/_lab/credential/{access_key_id}"
        async with self._session.get(url) as answer:
            identity = Identity(**await answer.json()) if answer.status == 200 else None
        self._identities[access_key_id] = (time.monotonic(), identity)
        return identity

    async def _pass_on(
        self,
        request: web.Request,
        backend: str,
        extra: Mapping[str, str] | None = None,
        check: AnswerCheck | None = None,
    ) -> web.StreamResponse:
        """Send a request to a backend as it came, and its answer back, both as streams.

        ``check`` sees the answer's headers before the client does, and may raise Refusal.
        """
        assert self._session  # noqa: S101 - set before the first request
        headers = [
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in (*_HOP_BY_HOP, CALLER_HEADER)
        ]
        body = request.content if request.body_exists else None
        if request._read_bytes is not None:
            body = request._read_bytes
        url = URL(self._backends[backend] + request.raw_path, encoded=True)
        try:
            answer = await self._session.request(
                request.method,
                url,
                headers=[*headers, *(extra or {}).items()],
                data=body,
                allow_redirects=False,
                skip_auto_headers=("Content-Type", "User-Agent", "Accept", "Accept-Encoding"),
            )
        except aiohttp.ClientConnectionError as gone:
            raise Refusal(
                "ServiceUnavailable",
                f"the lab's {backend} is not answering. See: trainstack lab status",
                status=503,
            ) from gone
        async with answer:
            if check and answer.status < 300:
                await asyncio.to_thread(check, answer.headers)
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


async def serve(port: int, backends: Mapping[str, str]) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    runner = web.AppRunner(
        Front(backends).application(), auto_decompress=False, access_log=None, shutdown_timeout=1
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    for backend in ("ministack", "ec2", "sagemaker"):
        parser.add_argument(f"--{backend}", required=True)
    arguments = parser.parse_args()
    backends = {name: getattr(arguments, name) for name in ("ministack", "ec2", "sagemaker")}
    asyncio.run(serve(arguments.port, backends))


if __name__ == "__main__":
    main()
