"""The plane's HTTP side: SageMaker's JSON 1.1 protocol, and the lab's own paths beside it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from lab.aws.sagemaker import model
from lab.aws.sagemaker.admission import QUOTA_KIND
from lab.aws.sagemaker.authorization import authorize
from lab.aws.sagemaker.errors import ServiceError
from lab.aws.sagemaker.jobs import TrainingJobs
from lab.aws.sagemaker.resources import Resources
from lab.aws.sagemaker.settings import Clock, Settings
from lab.aws.sagemaker.store import Store
from lab.aws.sagemaker.tags import Tags

Handler = Callable[[dict[str, Any], str | None], dict[str, Any] | None]
# Who calls, as the front has found by the signature; absent, it is the lab's root.
CALLER_HEADER = "x-lab-caller-arn"


class Plane:
    """The whole service: its operations and its state."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.store = Store(settings.home / "sagemaker.sqlite")
        self.tags = Tags(self.store)
        self.jobs = TrainingJobs(settings, self.store, self.clock, self.tags)
        self._handlers: dict[str, Handler] = {
            "CreateTrainingJob": self.jobs.create_training_job,
            "DescribeTrainingJob": self.jobs.describe_training_job,
            "ListTrainingJobs": self.jobs.list_training_jobs,
            "StopTrainingJob": self.jobs.stop_training_job,
            "UpdateTrainingJob": self.jobs.update_training_job,
            "DeleteTrainingJob": self.jobs.delete_training_job,
            "Search": self.jobs.search,
            "AddTags": self.tags.add_tags,
            "ListTags": self.tags.list_tags,
            "DeleteTags": self.tags.delete_tags,
            **Resources(settings, self.store, self.clock, self.tags).handlers(),
        }

    def call(self, name: str, request: Any, caller: str | None) -> dict[str, Any]:
        """Run one operation. Raises ServiceError."""
        operation = model.operation(name)
        handler = self._handlers.get(name)
        if handler is None:
            raise ServiceError(
                "UnknownOperationException",
                f"{name} is an operation of SageMaker that the lab does not have. It has "
                f"{', '.join(sorted(self._handlers))}.",
            )
        model.check(operation.input_shape, request)
        authorize(name, request, caller, self.settings, self.tags)
        return model.render(operation.output_shape, handler(request, caller) or {})


def application(plane: Plane) -> Starlette:
    """Return the ASGI application."""

    async def api(request: Request) -> Response:
        identity = str(uuid.uuid4())
        try:
            name, parsed = _parse(request.headers.get("x-amz-target", ""), await request.body())
            caller = request.headers.get(CALLER_HEADER)
            answer = await run_in_threadpool(plane.call, name, parsed, caller)
        except ServiceError as error:
            return _answer({"__type": error.code, "message": error.message}, identity, error.status)
        return _answer(answer, identity)

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def credentials(request: Request) -> Response:
        session = plane.jobs.role_session(request.headers.get("authorization", ""))
        if session is None:
            return JSONResponse({"message": "no running job has this token"}, 403)
        return JSONResponse(await run_in_threadpool(session.container_credentials))

    async def interrupt(request: Request) -> Response:
        return await _lab(lambda: plane.jobs.interrupt(request.path_params["job"]))

    async def clock(request: Request) -> Response:
        body = await _body(request)
        return await _lab(lambda: plane.jobs.advance_clock(float(body["advance_seconds"])))

    async def capacity(request: Request) -> Response:
        body = await _body(request)
        return await _lab(lambda: plane.jobs.capacity.set_limit(int(body["instances"])))

    async def quotas(request: Request) -> Response:
        body = await _body(request) if request.method == "POST" else {}

        def change() -> None:
            for name, value in body.items():
                if value is None:
                    plane.store.remove(QUOTA_KIND, name)
                else:
                    plane.store.put(QUOTA_KIND, name, {"name": name, "value": int(value)})

        answer = await _lab(change)
        if answer.status_code >= 400:
            return answer
        return JSONResponse({q["name"]: q["value"] for q in plane.store.all(QUOTA_KIND)})

    return Starlette(
        routes=[
            Route("/", api, methods=["POST"]),
            Route("/_lab/health", health),
            Route("/_lab/credentials", credentials),
            Route("/_lab/interrupt/{job}", interrupt, methods=["POST"]),
            Route("/_lab/clock", clock, methods=["POST"]),
            Route("/_lab/capacity", capacity, methods=["POST"]),
            Route("/_lab/quotas", quotas, methods=["GET", "POST"]),
        ]
    )


def _parse(target: str, body: bytes) -> tuple[str, Any]:
    """Return the operation's name and its request."""
    service, _, name = target.partition(".")
    if service != "SageMaker":
        raise ServiceError(
            "UnknownOperationException", f"X-Amz-Target {target!r} is no SageMaker operation"
        )
    try:
        return name, json.loads(body or b"{}")
    except ValueError:
        raise ServiceError("SerializationException", "The request is no JSON") from None


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


async def _lab(action: Callable[[], None]) -> Response:
    try:
        await run_in_threadpool(action)
    except ServiceError as error:
        return PlainTextResponse(error.message, error.status)
    except (KeyError, TypeError, ValueError) as error:
        return PlainTextResponse(f"the body is wrong: {error!r}", 400)
    return Response(status_code=204)


def _answer(body: Any, identity: str, status: int = 200) -> Response:
    return Response(
        json.dumps(body),
        status,
        {"x-amzn-requestid": identity},
        media_type="application/x-amz-json-1.1",
    )
