"""A provider whose cloud is a folder of JSON files: one a resource. It notes each call in a log.

$FILE_CLOUD names the folder, $FILE_CALLS the log. What a resource's inputs say steers it: an input whose name starts
with ``r`` replaces, ``dbr`` deletes first, ``bad`` fails the check, ``fail`` names the call that fails.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pulumi.provider.experimental import provider as sdk
from pulumi.provider.experimental.property_value import PropertyValue

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
OUTPUTS = ("out", "token")
CONTROL = ("fail", "dbr", "unsure", "hide")


def plain(value: PropertyValue) -> Any:
    inner: Any = value.value
    if inner is None or isinstance(inner, (str, bool, float)):
        return inner
    if hasattr(inner, "items"):
        return {key: plain(item) for key, item in inner.items()}
    if isinstance(inner, (list, tuple)):
        return [plain(item) for item in inner]
    return str(inner)


def rich(value: Any) -> PropertyValue:
    if isinstance(value, dict):
        return PropertyValue({key: rich(item) for key, item in value.items()})
    if isinstance(value, list):
        return PropertyValue([rich(item) for item in value])
    return PropertyValue(value)


def plain_map(values: Any) -> dict[str, Any]:
    return {key: plain(values[key]) for key in sorted(values)}


def secret_keys(values: Any) -> list[str]:
    return sorted(key for key, value in values.items() if value.contains_secret())


class FileProvider(sdk.Provider):
    """Create, read, update and delete are files written, read, rewritten and removed."""

    @property
    def _cloud(self) -> Path:
        path = Path(os.environ["FILE_CLOUD"])
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _log(self, *entry: Any) -> None:
        if path := os.environ.get("FILE_CALLS"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def _path(self, id_: str) -> Path:
        return self._cloud / f"{id_}.json"

    def _new_id(self, name: str) -> str:
        counter = self._cloud / f".{name}"
        number = int(counter.read_text()) + 1 if counter.exists() else 0
        counter.write_text(str(number))
        return f"{name}-{number}"

    def _outputs(self, name: str, inputs: dict[str, PropertyValue]) -> dict[str, PropertyValue]:
        outputs = {key: value for key, value in inputs.items() if key != "hide"}
        return {**outputs, "out": PropertyValue(f"out-{name}")}

    async def check_config(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        old, new = plain_map(request.old_inputs), plain_map(request.new_inputs)
        self._log("check_config", request.urn, old, new)
        return sdk.CheckResponse(inputs=request.new_inputs)

    async def diff_config(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        old, new = plain_map(request.old_state), plain_map(request.new_inputs)
        self._log("diff_config", request.urn, old, new)
        return sdk.DiffResponse(
            replaces=["region"] if old.get("region") != new.get("region") else []
        )

    async def configure(self, request: sdk.ConfigureRequest) -> sdk.ConfigureResponse:
        args = plain_map(request.args)
        self._log("configure", "", args, dict(request.variables))
        return sdk.ConfigureResponse(
            accept_secrets=not args.get("plain"),
            supports_preview=True,
            accept_resources=True,
            accept_outputs=True,
        )

    async def check(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        old, new = plain_map(request.old_inputs), plain_map(request.new_inputs)
        self._log("check", request.urn, old, new, secret_keys(request.new_inputs))
        failures = [sdk.CheckFailure("bad", "is bad")] if "bad" in new else []
        inputs = dict(request.new_inputs)
        if new.get("auto"):
            inputs["name"] = request.old_inputs.get("name") or PropertyValue(
                f"{request.urn.rsplit('::', 1)[1]}-auto"
            )
        return sdk.CheckResponse(inputs=inputs, failures=failures)

    async def diff(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        old, new = plain_map(request.old_state), plain_map(request.new_inputs)
        self._log("diff", request.urn, request.resource_id, old, new, list(request.ignore_changes))
        if new.get("unsure"):
            return sdk.DiffResponse()
        keys = [
            key
            for key in sorted({*old, *new})
            if key not in OUTPUTS and key not in CONTROL and old.get(key) != new.get(key)
        ]
        replaces = [key for key in keys if key.startswith("r")]
        kind = sdk.PropertyDiffKind
        detailed = {
            key: sdk.PropertyDiff(kind.UPDATE_REPLACE if key in replaces else kind.UPDATE, True)
            for key in keys
        }
        return sdk.DiffResponse(
            changes=bool(keys),
            replaces=replaces,
            diffs=keys,
            detailed_diff=detailed,
            delete_before_replace=bool(new.get("dbr")),
        )

    async def create(self, request: sdk.CreateRequest) -> sdk.CreateResponse:
        inputs = plain_map(request.properties)
        self._log(
            "create",
            request.urn,
            inputs,
            request.preview,
            request.timeout,
            secret_keys(request.properties),
        )
        name = request.urn.rsplit("::", 1)[1]
        if request.preview:
            outputs = self._outputs(name, request.properties)
            return sdk.CreateResponse(properties={**outputs, "out": PropertyValue(UNKNOWN)})
        if inputs.get("fail") == "create":
            raise RuntimeError(f"cannot create {name}")
        id_ = self._new_id(name)
        self._path(id_).write_text(json.dumps({"urn": request.urn, "inputs": inputs}))
        return sdk.CreateResponse(
            resource_id=id_, properties=self._outputs(name, request.properties)
        )

    async def read(self, request: sdk.ReadRequest) -> sdk.ReadResponse:
        self._log(
            "read",
            request.urn,
            request.resource_id,
            plain_map(request.properties),
            plain_map(request.inputs),
        )
        path = self._path(request.resource_id)
        if not path.exists():
            return sdk.ReadResponse(resource_id="", properties={}, inputs={})
        inputs = {k: rich(v) for k, v in json.loads(path.read_text())["inputs"].items()}
        name = request.urn.rsplit("::", 1)[1]
        return sdk.ReadResponse(
            resource_id=request.resource_id, properties=self._outputs(name, inputs), inputs=inputs
        )

    async def update(self, request: sdk.UpdateRequest) -> sdk.UpdateResponse:
        old, new = plain_map(request.olds), plain_map(request.news)
        self._log("update", request.urn, request.resource_id, old, new, request.preview)
        if not request.preview:
            if new.get("fail") == "update":
                raise RuntimeError("cannot update")
            self._path(request.resource_id).write_text(
                json.dumps({"urn": request.urn, "inputs": new})
            )
        name = request.urn.rsplit("::", 1)[1]
        return sdk.UpdateResponse(properties=self._outputs(name, dict(request.news)))

    async def delete(self, request: sdk.DeleteRequest) -> None:
        old = plain_map(request.properties)
        self._log("delete", request.urn, request.resource_id, old)
        if old.get("fail") == "delete" and not (self._cloud / ".mended").exists():
            raise RuntimeError("cannot delete")
        self._path(request.resource_id).unlink(missing_ok=True)

    async def invoke(self, request: sdk.InvokeRequest) -> sdk.InvokeResponse:
        self._log("invoke", request.tok, plain_map(request.args))
        if request.tok.endswith("broken"):
            raise RuntimeError("cannot look up")
        return sdk.InvokeResponse(
            return_value={"args": PropertyValue(dict(request.args)), "found": PropertyValue("yes")}
        )


if __name__ == "__main__":
    from pulumi.provider.experimental.server import main

    main(sys.argv[1:], "1.0.0", FileProvider())
