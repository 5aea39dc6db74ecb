"""Fixtures of the engine's tests: a provider in memory, and programs that are functions."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.provider.experimental import provider as sdk
from pulumi.provider.experimental.property_value import PropertyValue

from lab.engine import api
from lab.engine.events import Event

HERE = Path(__file__).parent
PROJECT = "proj"
STACK = "dev"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def load(name: str) -> Any:
    """Load a module that lies beside this one."""
    known = f"lab_engine_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        spec.loader.exec_module(module)
    return sys.modules[known]


def plain(value: Any) -> Any:
    inner = value.value if isinstance(value, PropertyValue) else value
    if hasattr(inner, "items"):
        return {key: plain(item) for key, item in inner.items()}
    if isinstance(inner, (list, tuple)):
        return [plain(item) for item in inner]
    return inner


@dataclass
class Cloud:
    """What exists, and what the engine asked of the provider."""

    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    details: list[tuple[Any, ...]] = field(default_factory=list)
    # (call, name) that fail.
    failing: set[tuple[str, str]] = field(default_factory=set)
    # The (call, name) at which the user presses Ctrl-C.
    interrupting: tuple[str, str] | None = None
    serial: int = 0

    def names(self) -> list[str]:
        return sorted(thing["name"] for thing in self.things.values())


class MemoryProvider(sdk.Provider):
    """Keeps resources in a Cloud. An input whose name starts with ``r`` replaces; ``dbr`` deletes first."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def _note(self, call: str, urn: str, *details: Any) -> str:
        name = urn.rsplit("::", 1)[-1]
        self._cloud.calls.append((call, name))
        self._cloud.details.append((call, name, *details))
        return name

    def _do(self, call: str, name: str) -> None:
        if (call, name) in self._cloud.failing:
            raise RuntimeError(f"{call} of {name} refused")
        if (call, name) == self._cloud.interrupting:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)  # the main thread takes the signal; this call is still under way

    async def check_config(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        self._note("check_config", request.urn)
        return sdk.CheckResponse(inputs=request.new_inputs)

    async def diff_config(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        self._note("diff_config", request.urn)
        old, new = plain(request.old_state), plain(request.new_inputs)
        return sdk.DiffResponse(
            replaces=["region"] if old.get("region") != new.get("region") else []
        )

    async def configure(self, request: sdk.ConfigureRequest) -> sdk.ConfigureResponse:
        self._note("configure", "", plain(request.args))
        return sdk.ConfigureResponse(
            accept_secrets=True, supports_preview=True, accept_resources=True, accept_outputs=True
        )

    async def check(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        inputs = plain(request.new_inputs)
        self._note("check", request.urn, plain(request.old_inputs), inputs)
        failures = [sdk.CheckFailure("bad", "it is bad")] if "bad" in inputs else []
        return sdk.CheckResponse(inputs=request.new_inputs, failures=failures)

    async def diff(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        old, new = plain(request.old_state), plain(request.new_inputs)
        self._note("diff", request.urn, old, new)
        keys = sorted(
            key
            for key in {*old, *new} - {"out", "dbr", "control"}
            if old.get(key) != new.get(key) and key not in request.ignore_changes
        )
        return sdk.DiffResponse(
            changes=bool(keys),
            diffs=keys,
            replaces=[key for key in keys if key.startswith("r")],
            detailed_diff={
                key: sdk.PropertyDiff(
                    sdk.PropertyDiffKind.UPDATE_REPLACE
                    if key.startswith("r")
                    else sdk.PropertyDiffKind.UPDATE,
                    True,
                )
                for key in keys
            },
            delete_before_replace=bool(new.get("dbr")),
        )

    def _outputs(self, name: str, inputs: Any, serial: int) -> dict[str, PropertyValue]:
        return {**inputs, "out": PropertyValue(f"{name}-{serial}")}

    async def create(self, request: sdk.CreateRequest) -> sdk.CreateResponse:
        name = self._note("create", request.urn, plain(request.properties), request.preview)
        if request.preview:
            return sdk.CreateResponse(
                properties={**request.properties, "out": PropertyValue(UNKNOWN)}
            )
        self._do("create", name)
        self._cloud.serial += 1
        id_ = f"{name}-{self._cloud.serial}"
        self._cloud.things[id_] = {
            "name": name,
            "inputs": plain(request.properties),
            "serial": self._cloud.serial,
        }
        outputs = self._outputs(name, request.properties, self._cloud.serial)
        return sdk.CreateResponse(resource_id=id_, properties=outputs)

    async def read(self, request: sdk.ReadRequest) -> sdk.ReadResponse:
        name = self._note("read", request.urn)
        self._do("read", name)
        thing = self._cloud.things.get(request.resource_id)
        if thing is None:
            return sdk.ReadResponse(resource_id="", properties={}, inputs={})
        inputs = {
            key: PropertyValue(float(value) if isinstance(value, int) else value)
            for key, value in thing["inputs"].items()
        }
        return sdk.ReadResponse(
            resource_id=request.resource_id,
            properties=self._outputs(thing["name"], inputs, thing["serial"]),
            inputs=inputs,
        )

    async def update(self, request: sdk.UpdateRequest) -> sdk.UpdateResponse:
        name = self._note("update", request.urn, plain(request.news), request.preview)
        thing = self._cloud.things[request.resource_id]
        if not request.preview:
            self._do("update", name)
            thing["inputs"] = plain(request.news)
        return sdk.UpdateResponse(properties=self._outputs(name, request.news, thing["serial"]))

    async def delete(self, request: sdk.DeleteRequest) -> None:
        name = self._note("delete", request.urn)
        self._do("delete", name)
        self._cloud.things.pop(request.resource_id, None)

    async def invoke(self, request: sdk.InvokeRequest) -> sdk.InvokeResponse:
        self._note("invoke", request.tok)
        return sdk.InvokeResponse(return_value={"found": PropertyValue("yes")})


@dataclass
class Ran:
    """One operation's result with the steps it took."""

    result: api.Result
    steps: list[tuple[str, str]]
    events: list[Event]

    @property
    def errors(self) -> list[str]:
        return [item.message for item in self.result.errors]

    def ops(self) -> list[str]:
        return [f"{op} {name}" for op, name in self.steps]


class Lab:
    """A stack of the lab with a provider in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cloud = Cloud()
        self.state_path = folder / "dev.json"

    def run(self, kind: api.Kind, program: Callable[[], Any] | None = None, **options: Any) -> Ran:
        self.cloud.calls.clear()
        self.cloud.details.clear()
        events: list[Event] = []
        result = api.run(
            api.Operation(
                kind=kind,
                program_dir=self.folder,
                stack=STACK,
                state_path=self.state_path,
                project=PROJECT,
                providers={"mem": lambda: MemoryProvider(self.cloud)},
                program=program or (lambda: None),
                on_event=events.append,
                passphrase="test",
                **options,
            )
        )
        steps = [
            (event.metadata.op, event.metadata.urn.rsplit("::", 1)[-1])
            for event in events
            if event.kind == "resourcePreEvent"
            and event.metadata is not None
            and not event.internal
        ]
        return Ran(result, [step for step in steps if step[1] != f"{PROJECT}-{STACK}"], events)

    def up(self, program: Callable[[], Any], **options: Any) -> Ran:
        return self.run("up", program, **options)

    def resources(self) -> list[dict[str, Any]]:
        """Return the state's own resources: neither the stack nor its default providers."""
        found = api.read_state(self.state_path)["deployment"].get("resources") or []
        return [
            item
            for item in found
            if item["type"] != "pulumi:pulumi:Stack" and "::default" not in item["urn"]
        ]

    def resource(self, name: str) -> dict[str, Any]:
        (found,) = (r for r in self.resources() if r["urn"].endswith(f"::{name}"))
        return found

    def urn(self, name: str) -> str:
        return f"urn:pulumi:{STACK}::{PROJECT}::mem:index:Thing::{name}"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(scope="session")
def make_lab() -> Callable[[Path], Lab]:
    return Lab


@pytest.fixture(scope="session")
def thing() -> Any:
    """The class of the resources in the programs."""

    class Thing(pulumi.CustomResource):
        out: pulumi.Output[str]

        def __init__(
            self,
            name: str,
            props: dict[str, Any] | None = None,
            opts: pulumi.ResourceOptions | None = None,
        ) -> None:
            super().__init__("mem:index:Thing", name, {"out": None, **(props or {})}, opts)

    return Thing


@pytest.fixture(scope="session")
def engines() -> Any:
    return load("engines")
