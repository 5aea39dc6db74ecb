"""ministack, kept on disk: a script that the Python of ministack's own environment runs.

It imports nothing of the lab.

ministack saves its state only when it is stopped by SIGTERM, so a kill would lose everything since
the start. Here a service's state is on disk before the answer to a call that changed it is sent;
only where saving has grown slow (many log events) is it done a second later, and what a kill then
loses is named at the next start.

It also tells the front, on loopback, whose an access key is: the front guards the services that
ministack does not have.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import contextvars
import json
import os
import runpy
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from hypercorn.asyncio import serve  # ty: ignore[import-not-found] - in ministack's own environment
from hypercorn.config import Config  # ty: ignore[import-not-found]
from ministack import app as ministack  # ty: ignore[import-not-found]
from ministack.core import iam_evaluator, persistence  # ty: ignore[import-not-found]
from ministack.services import ecr, eventbridge, iam  # ty: ignore[import-not-found]

# Above this a save no longer fits into the answer to a call.
SLOW_SAVE_SECONDS = 0.05
DEFERRED_SAVE_SECONDS = 1.0
_READS = ("Get", "List", "Describe", "Head", "Batch", "Filter", "Lookup", "Simulate", "Test")

# Whether the request that is being served was made with the lab's root key.
_FROM_ROOT = contextvars.ContextVar("from_root", default=False)
# The host that the client sent it to.
_HOST = contextvars.ContextVar("host", default="")


class Saver:
    """Saves the state of services that changed."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal  # names the services whose change is acknowledged but not saved
        self._seconds: dict[str, float] = {}
        self._unsaved: set[str] = set()
        self._wake = asyncio.Event()
        self.lost: list[str] = []
        if journal.exists():
            self.lost = json.loads(journal.read_text(encoding="utf-8"))
            journal.unlink()

    def changed(self, service: str) -> None:
        """Save the service now, or soon where that is slow."""
        if self._seconds.get(service, 0.0) < SLOW_SAVE_SECONDS:
            self._save(service)
        elif service not in self._unsaved:
            self._note({*self._unsaved, service})
        self._wake.set()

    async def run(self) -> None:
        """Save what was put off, and what a call changed in other services than its own."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(DEFERRED_SAVE_SECONDS)
            self._wake.clear()
            for service in list(ministack._build_persistence_save_dict()):
                self._save(service)
                await asyncio.sleep(0)
            self._note(set())

    def _note(self, unsaved: set[str]) -> None:
        self._unsaved = unsaved
        if unsaved:
            temporary = self._journal.with_suffix(".tmp")
            temporary.write_text(json.dumps(sorted(unsaved)), encoding="utf-8")
            temporary.replace(self._journal)
        else:
            self._journal.unlink(missing_ok=True)

    def _save(self, service: str) -> None:
        get_state = ministack._build_persistence_save_dict().get(service)
        if get_state is None:
            return
        started = time.perf_counter()
        persistence.save_all({service: get_state})
        self._seconds[service] = time.perf_counter() - started


def application(saver: Saver) -> Any:
    """Return ministack's ASGI application with saving and the lab's own paths around it."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await ministack.app(scope, receive, send)
            return
        if scope["path"].startswith("/_lab/"):
            await _answer(send, *_own_path(scope["path"], saver))
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        root = f"Credential={os.environ['AWS_ACCESS_KEY_ID']}/"
        _FROM_ROOT.set(root in headers.get(b"authorization", ""))
        _HOST.set(headers.get(b"host", ""))
        start = b""

        async def receive_noting() -> dict[str, Any]:
            nonlocal start
            message = await receive()
            start = start or message.get("body", b"")[:4096]
            return message

        async def send_saved(message: dict[str, Any]) -> None:
            if (
                message["type"] == "http.response.start"
                and message["status"] < 400
                and _is_change(scope["method"], headers, start)
            ):
                saver.changed(_service(scope, headers))
            await send(message)

        await ministack.app(scope, receive_noting, send_saved)

    return app


def _take_roles_as_a_service_does() -> None:
    """Add to the root's sts:AssumeRole what AWS's services send with theirs.

    No request comes from a service principal here: the SageMaker plane takes a job's role with the
    root's key, and a trust policy that names the service may want to know for which account.
    """
    evaluate = iam_evaluator.evaluate_trust_policy

    def evaluate_with_source(document: Any, caller: str, context: Any = None) -> bool:
        if context is not None and caller.endswith(":root"):
            account = context.principal_account
            source = f"arn:aws:sagemaker:{context.region}:{account}:training-job/lab"
            context.service_context.setdefault("aws:sourceaccount", account)
            context.service_context.setdefault("aws:sourcearn", source)
        return evaluate(document, caller, context)

    iam_evaluator.evaluate_trust_policy = evaluate_with_source


def _publish_as_a_service_does() -> None:
    """Let the root publish events of ``aws.sagemaker``: they come from the lab's own plane."""
    put_events = eventbridge._put_events

    def put_events_of_services(data: Any, allow_aws_source: bool = False) -> Any:
        return put_events(data, allow_aws_source=allow_aws_source or _FROM_ROOT.get())

    eventbridge._put_events = put_events_of_services


def _name_the_registry_that_is_reached() -> None:
    """Let ECR send who asked it on loopback to its registry there: a docker daemon knows no other name."""
    get_token = ecr._get_authorization_token

    def get_token_of_loopback(data: Any) -> Any:
        status, headers, body = get_token(data)
        if _HOST.get().startswith("127.0.0.1:"):
            told = json.loads(body)
            told["authorizationData"][0]["proxyEndpoint"] = f"http://{_HOST.get()}"
            body = json.dumps(told).encode()
        return status, headers, body

    ecr._get_authorization_token = get_token_of_loopback


def _know_managed_policies_as_aws_does() -> None:
    """Give IAM the documents of AWS's managed policies: those that moto brings, when first asked for.

    ministack takes any name of one, and then lets it allow nothing.
    """
    lookup = iam._lookup_policy
    documents: dict[str, Any] = {}

    def lookup_with_documents(arn: str) -> Any:
        found = lookup(arn)
        if found is not None or not iam._is_aws_managed_arn(arn):
            return found
        if not documents:
            module = runpy.run_path(os.environ["LAB_MANAGED_POLICIES"])
            documents.update(json.loads(module["aws_managed_policies_data"]))
        path_and_name = arn.partition(":policy/")[2]
        known = documents.get(path_and_name.rpartition("/")[2])
        if known is None or known["Path"].strip("/") != path_and_name.rpartition("/")[0]:
            return None
        record = iam._make_aws_managed_record(path_and_name, json.dumps(known["Document"]))
        iam._aws_managed_policies[arn] = record
        return record

    iam._lookup_policy = lookup_with_documents


def _is_change(method: str, headers: dict[bytes, str], body: bytes) -> bool:
    """Say whether a call may have changed something: by its operation, or in REST protocols by its
    method.
    """
    _, _, action = headers.get(b"x-amz-target", "").rpartition(".")
    if not action and "urlencoded" in headers.get(b"content-type", ""):
        action = "".join(parse_qs(body.decode("utf-8", "replace")).get("Action", []))
    if action:
        return not action.startswith(_READS)
    return method not in ("GET", "HEAD", "OPTIONS")


def _service(scope: dict[str, Any], headers: dict[bytes, str]) -> str:
    """Return the name under which ministack keeps the state of the service that a request is
    signed for.
    """
    signed = headers.get(b"authorization", "") or unquote(scope["query_string"].decode("latin-1"))
    _, found, rest = signed.partition("Credential=")
    parts = rest.split("/")
    name = "ecr" if scope["path"].startswith("/v2/") else "s3"
    if found and len(parts) > 4:
        name = ministack.SERVICE_NAME_ALIASES.get(parts[3], parts[3])
    config = ministack.SERVICE_REGISTRY.get(name, {})
    return config.get("state_key") or config.get("module", name)


def _own_path(path: str, saver: Saver) -> tuple[int, dict[str, Any]]:
    if path == "/_lab/health":
        return 200, {"status": "ok", "lost": saver.lost}
    if path.startswith("/_lab/credential/"):
        account = os.environ["MINISTACK_ACCOUNT_ID"]
        found = iam_evaluator.resolve_credential(path.rpartition("/")[2], account)
        if isinstance(found, iam_evaluator.ResolvedCredential):
            return 200, {
                "arn": found.principal_arn,
                "secret": found.secret_access_key,
                "token": found.session_token,
            }
    return 404, {}


async def _answer(send: Any, status: int, body: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def _serve(port: int, state: Path) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    # the front keeps connections open; without this a stop waits for them
    config.graceful_timeout = 1
    config.shutdown_timeout = 5
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    saver = Saver(state / "unsaved.journal")
    if saver.lost:
        print(
            f"the last run was killed before {', '.join(saver.lost)} were saved: "
            "find what is missing with a refresh, and repair it with up",
            flush=True,
        )
    saving = asyncio.create_task(saver.run())
    await serve(application(saver), config, shutdown_trigger=stop.wait)
    saving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await saving
    saver._note(set())  # the shutdown has saved everything


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    state = Path(os.environ["STATE_DIR"])
    state.mkdir(parents=True, exist_ok=True)
    _take_roles_as_a_service_does()
    _publish_as_a_service_does()
    _name_the_registry_that_is_reached()
    _know_managed_policies_as_aws_does()
    asyncio.run(_serve(port, state))


if __name__ == "__main__":
    main()
