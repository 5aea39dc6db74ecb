"""A kill -9 at any moment loses nothing: the next run goes on from what was done.

The cloud takes the repeat of a create for the first one, as a PUT does: what the engine owes is to note before each
call that it is under way, to ask again for what it does not know, and to forget nothing that it was told.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
from pulumi.provider.experimental import provider as sdk
from pulumi.provider.experimental.property_value import PropertyValue

from lab.engine import api, state

KILLS = 50
# Counts what happens in a run: the run is killed when it comes to the chosen number.
_moments = {"left": -1}


def _moment() -> None:
    _moments["left"] -= 1
    if _moments["left"] == 0:
        os.kill(os.getpid(), signal.SIGKILL)


class FolderProvider(sdk.Provider):
    """Things are files; before and after each change there is a moment at which the run can be killed."""

    folder = Path()

    def _plain(self, values: Any) -> dict[str, Any]:
        return {key: values[key].value for key in sorted(values)}

    async def check_config(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        return sdk.CheckResponse(inputs=request.new_inputs)

    async def diff_config(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        return sdk.DiffResponse()

    async def configure(self, request: sdk.ConfigureRequest) -> sdk.ConfigureResponse:
        return sdk.ConfigureResponse(accept_secrets=True, supports_preview=True)

    async def check(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        return sdk.CheckResponse(inputs=request.new_inputs)

    async def diff(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        old, new = self._plain(request.old_state), self._plain(request.new_inputs)
        keys = sorted(key for key in {*old, *new} - {"out"} if old.get(key) != new.get(key))
        return sdk.DiffResponse(
            changes=bool(keys),
            diffs=keys,
            replaces=[key for key in keys if key.startswith("r")],
            delete_before_replace=bool(new.get("dbr")),
        )

    async def create(self, request: sdk.CreateRequest) -> sdk.CreateResponse:
        _moment()
        inputs = self._plain(request.properties)
        thing = {"urn": request.urn, "inputs": inputs}
        for path in sorted(self.folder.iterdir()):
            if json.loads(path.read_text()) == thing:
                break
        else:
            path = self.folder / f"{len(list(self.folder.parent.glob('log-*')))}"
            (self.folder.parent / f"log-{path.name}").touch()
            path.write_text(json.dumps(thing))
        _moment()
        outputs = {**request.properties, "out": PropertyValue(path.name)}
        return sdk.CreateResponse(resource_id=path.name, properties=outputs)

    async def update(self, request: sdk.UpdateRequest) -> sdk.UpdateResponse:
        _moment()
        thing = {"urn": request.urn, "inputs": self._plain(request.news)}
        (self.folder / request.resource_id).write_text(json.dumps(thing))
        _moment()
        outputs = {**request.news, "out": PropertyValue(request.resource_id)}
        return sdk.UpdateResponse(properties=outputs)

    async def delete(self, request: sdk.DeleteRequest) -> None:
        _moment()
        (self.folder / request.resource_id).unlink(missing_ok=True)
        _moment()


def _program(phase: int, thing: Any) -> Callable[[], None]:
    def program() -> None:
        last = None
        for number in range(3):
            props: dict[str, Any] = {"value": phase, "r1": phase // 2 if number else 0}
            if number == 2:
                props["dbr"] = True
            if last is not None:
                props["needs"] = last.out
            last = thing(f"thing{number}", props)
        thing(f"phase{phase}", {"value": 1})
        pulumi.export("secret", pulumi.Output.secret(phase))

    return program


def test_a_run_killed_at_any_moment_is_finished_by_the_next(
    tmp_path: Path, thing: Any, monkeypatch: Any
) -> None:
    cloud = tmp_path / "cloud"
    cloud.mkdir()
    FolderProvider.folder = cloud
    path = tmp_path / "dev.json"
    append = state.Journal._append

    def append_with_moments(self: Any, entry: Any, durable: bool = True) -> None:
        _moment()
        append(self, entry, durable)
        _moment()

    monkeypatch.setattr(state.Journal, "_append", append_with_moments)

    def run(phase: int) -> api.Result:
        return api.run(
            api.Operation(
                kind="up",
                program_dir=tmp_path,
                stack="dev",
                state_path=path,
                project="proj",
                providers={"mem": FolderProvider},
                program=_program(phase, thing),
                passphrase="test",
            )
        )

    def check(result: api.Result, phase: int) -> None:
        assert result.ok, result.errors
        deployment = api.read_state(path)["deployment"]
        owned = [r["id"] for r in deployment["resources"] if r["type"] == "mem:index:Thing"]
        assert sorted(owned) == sorted(item.name for item in cloud.iterdir())
        names = sorted(
            json.loads(item.read_text())["urn"].rsplit("::", 1)[-1] for item in cloud.iterdir()
        )
        assert names == [f"phase{phase}", "thing0", "thing1", "thing2"]

    check(run(0), 0)
    chance = random.Random(7)
    killed = 0
    for number in range(KILLS):
        phase = (number + 1) % 5
        child = os.fork()
        if child == 0:
            _moments["left"] = chance.randint(1, 40)
            run(phase)
            os._exit(0)
        chance.randint(1, 40)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        check(run(phase), phase)
    assert killed > KILLS // 2
    again = run(KILLS % 5)
    assert set(again.changes) == {"same"}
