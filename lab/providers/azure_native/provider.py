"""The lab's azure-native provider: Pulumi's provider protocol over Resource Manager, by real calls.

The semantics are the real provider's: names are made up in check, a diff holds old inputs against new ones, a url's
parts
replace, nested create-only properties are planned as updates (which the service then refuses).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from pulumi.provider.experimental import provider as protocol
from pulumi.provider.experimental.property_value import PropertyValue

from lab.azure.resource_id import parse_path
from lab.home import CLIENT_ID, SUBSCRIPTION_ID, TENANT_ID
from lab.providers.azure_native import wire
from lab.providers.azure_native.arm_client import ArmClient, AzureNativeError
from lab.providers.azure_native.kind import Kind, kind_of
from lab.providers.sdk_types import UNKNOWN, Shape, problems
from lab.providers.values import plain_map, wrapped

VERSION = "3.29.0"
Values = dict[str, Any]
_INPUTS = "__inputs"
_CREATE_FIRST = "__createBeforeDelete"
_API_VERSION = "azureApiVersion"
_SAME_SKUS = ({"basic", "base"}, {"paid", "standard"})
_Kinds = protocol.PropertyDiffKind


class AzureNativeProvider(protocol.Provider):
    """Deploys the stack's Azure resources to the lab."""

    def __init__(self) -> None:
        self._client: ArmClient | None = None
        self._subscription = os.environ.get("ARM_SUBSCRIPTION_ID") or SUBSCRIPTION_ID
        self._tenant = os.environ.get("ARM_TENANT_ID") or TENANT_ID
        self._location = os.environ.get("ARM_LOCATION", "")

    # --- configuration

    async def check_config(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        """Refuse what would make the provider act elsewhere than in the lab."""
        config = plain_map(request.new_inputs)
        failures = [
            protocol.CheckFailure(name, "the lab has one Azure and one identity; leave it out")
            for name in ("clientCertificatePath", "msiEndpoint", "oidcToken", "auxiliaryTenantIds")
            if config.get(name)
        ]
        return protocol.CheckResponse(inputs=request.new_inputs, failures=failures)

    async def diff_config(self, request: protocol.DiffRequest) -> protocol.DiffResponse:
        """Another subscription or tenant is another place: everything in it is replaced."""
        old, new = plain_map(request.old_state), plain_map(request.new_inputs)
        moved = [
            name
            for name in ("subscriptionId", "tenantId")
            if name in old and old.get(name) != new.get(name)
        ]
        changed = sorted(
            name
            for name in {*old, *new}
            if old.get(name) != new.get(name) and not name.startswith("__")
        )
        # `changes` stays unset: the SDK sends a bool where the engine reads an enumeration
        return protocol.DiffResponse(replaces=moved, diffs=changed)

    async def configure(self, request: protocol.ConfigureRequest) -> protocol.ConfigureResponse:
        """Take the subscription, the tenant and the location."""
        config = plain_map(request.args)
        self._subscription = config.get("subscriptionId") or self._subscription
        self._tenant = config.get("tenantId") or self._tenant
        self._location = config.get("location") or self._location
        return protocol.ConfigureResponse(
            accept_secrets=True, supports_preview=True, accept_resources=False, accept_outputs=False
        )

    # --- planning

    async def check(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        """Fill in what the real provider fills in, and refuse what the SDK's types or the service's names refuse."""
        kind = kind_of(request.type)
        inputs, old = plain_map(request.new_inputs), plain_map(request.old_inputs)
        given = {name: value for name, value in inputs.items() if name != _API_VERSION}
        filled = self._filled(kind, given, old, request)
        failures = [
            protocol.CheckFailure(each.path, each.reason)
            for each in problems(_known(filled), kind.shape.inputs)
        ]
        name = filled.get(kind.name_property)
        if (
            kind.arm
            and isinstance(name, str)
            and name != UNKNOWN
            and not re.match(kind.arm.name_pattern, name)
        ):
            failures.append(
                protocol.CheckFailure(
                    kind.name_property,
                    f"{name!r} does not match expression '{kind.arm.name_pattern}': it must be {kind.arm.name_rule}",
                )
            )
        if failures:
            return protocol.CheckResponse(inputs=request.new_inputs, failures=failures)
        return protocol.CheckResponse(inputs=wrapped(filled, request.new_inputs))

    def _filled(
        self, kind: Kind, inputs: Values, old: Values, request: protocol.CheckRequest
    ) -> Values:
        filled = dict(inputs)
        if kind.name_property not in filled:
            filled[kind.name_property] = old.get(kind.name_property) or _automatic_name(
                kind, request.name, request.random_seed
            )
            if kind.naming == "random":
                filled[_CREATE_FIRST] = True
        if kind.has_location and "location" not in filled:
            location = old.get("location") or self._location
            if location:
                filled["location"] = location
        filled[_API_VERSION] = kind.api_version
        return filled

    async def diff(self, request: protocol.DiffRequest) -> protocol.DiffResponse:
        """Hold old inputs against new ones: what was changed by hand shows after a refresh only."""
        kind = kind_of(request.type)
        state = plain_map(request.old_state)
        old = state.get(_INPUTS)
        if old is None:
            old = {name: value for name, value in state.items() if name in kind.shape.inputs}
        new = plain_map(request.new_inputs)
        detailed: dict[str, protocol.PropertyDiff] = {}
        replaces: list[str] = []
        for path, change, after in _differences("", _compared(old), _compared(new)):
            head = re.split(r"[.\[]", path, maxsplit=1)[0]
            replaced = head in kind.replace_on
            if replaced and change == "ADD" and state.get(head) == after:
                replaced = False  # it is what the resource has already
            if replaced:
                replaces.append(path)
            detailed[path] = protocol.PropertyDiff(
                _Kinds[f"{change}_REPLACE" if replaced else change], input_diff=True
            )
        heads = {re.split(r"[.\[]", path, maxsplit=1)[0] for path in replaces}
        return protocol.DiffResponse(
            changes=bool(detailed),
            replaces=sorted(replaces),
            stables=sorted(kind.replace_on - heads),
            delete_before_replace=bool(replaces) and not new.get(_CREATE_FIRST),
            diffs=sorted({re.split(r"[.\[]", path, maxsplit=1)[0] for path in detailed}),
            detailed_diff=detailed,
        )

    # --- doing

    async def create(self, request: protocol.CreateRequest) -> protocol.CreateResponse:
        """Create a resource; one of that id that is there already is an error."""
        kind, inputs = kind_of(request.type), plain_map(request.properties)
        if request.preview:
            return protocol.CreateResponse(
                properties=wrapped(_expected(kind, inputs), request.properties)
            )

        def create() -> tuple[str, Values]:
            client, path = self._arm(), kind.path(inputs, self._subscription)
            if not kind.is_always_there and client.get(path, kind.api_version) is not None:
                raise AzureNativeError(f"cannot create already existing resource '{path}'")
            return self._write(kind, path, inputs)

        with _explained("create", request.urn):
            id_, outputs = await asyncio.to_thread(create)
        return protocol.CreateResponse(id_, _state(outputs, request.properties))

    async def read(self, request: protocol.ReadRequest) -> protocol.ReadResponse:
        """Read a resource for a refresh; a missing one comes back with no id, to an import it is an error."""
        kind = kind_of(request.type)
        with _explained("read", request.urn):
            document = await asyncio.to_thread(
                lambda: self._arm().get(request.resource_id, kind.api_version)
            )
        if document is None and not request.properties:
            # The SDK's server sends a property map always, which an import takes for a resource.
            raise AzureNativeError(f"resource '{request.resource_id}' does not exist")
        if document is None:
            return protocol.ReadResponse(resource_id="")
        outputs = wire.to_outputs(kind, document)
        found = {
            **wire.to_inputs(kind, document, request.resource_id),
            _API_VERSION: kind.api_version,
        }
        known = plain_map(request.inputs) or plain_map(request.properties).get(_INPUTS) or {}
        inputs = (
            {name: _refreshed(value, found.get(name)) for name, value in known.items()}
            if known
            else found
        )
        secrets = {**request.properties, **request.inputs}
        read_inputs = wrapped(inputs, secrets)
        return protocol.ReadResponse(
            document["id"], _state(outputs, read_inputs, like=secrets), read_inputs
        )

    async def update(self, request: protocol.UpdateRequest) -> protocol.UpdateResponse:
        """Put the new inputs over the resource."""
        kind, inputs = kind_of(request.type), plain_map(request.news)
        if request.preview:
            old = {
                name: value for name, value in plain_map(request.olds).items() if name != _INPUTS
            }
            return protocol.UpdateResponse(wrapped(_expected(kind, inputs, old), request.news))
        with _explained("update", request.urn):
            _, outputs = await asyncio.to_thread(self._write, kind, request.resource_id, inputs)
        return protocol.UpdateResponse(_state(outputs, request.news))

    async def delete(self, request: protocol.DeleteRequest) -> None:
        """Delete a resource; one that is gone is deleted already."""
        kind = kind_of(request.type)

        def delete() -> None:
            client = self._arm()
            if not kind.is_always_there:
                client.delete(request.resource_id, kind.api_version)
            elif client.get(request.resource_id, kind.api_version) is not None:
                client.put(request.resource_id, kind.api_version, {"properties": {}}, {})

        with _explained("delete", request.urn):
            await asyncio.to_thread(delete)

    async def invoke(self, request: protocol.InvokeRequest) -> protocol.InvokeResponse:
        """Answer getClientConfig, getClientToken, and the get function of every type that the provider deploys."""
        arguments = plain_map(request.args)
        module, _, function = request.tok.removeprefix("azure-native:").partition(":")
        if function == "getClientConfig":
            result: Values = {
                "clientId": os.environ.get("AZURE_CLIENT_ID") or CLIENT_ID,
                "objectId": self._object_id(),
                "subscriptionId": self._subscription,
                "tenantId": self._tenant,
            }
            return protocol.InvokeResponse(wrapped(result, {}))
        if function == "getClientToken":
            token = await asyncio.to_thread(self._arm().token)
            return protocol.InvokeResponse({"token": PropertyValue(token, is_secret=True)})
        if not function.startswith("get"):
            raise AzureNativeError(
                f"the lab's azure-native provider has no function {request.tok!r}"
            )
        kind = kind_of(f"azure-native:{module}:{function[3:]}")
        with _explained("invoke", f"::{request.tok}"):
            path = kind.path(arguments, self._subscription)
            document = await asyncio.to_thread(lambda: self._arm().get(path, kind.api_version))
            if document is None:
                raise AzureNativeError(f"there is no resource '{path}'")
        return protocol.InvokeResponse(
            wrapped({**wire.to_outputs(kind, document), "id": document["id"]}, {})
        )

    def _write(self, kind: Kind, path: str, inputs: Values) -> tuple[str, Values]:
        client = self._arm()
        query = {name: str(inputs[name]).lower() for name in kind.query_names if name in inputs}
        client.put(path, kind.api_version, wire.to_body(kind, inputs), query)
        document = client.get(path, kind.api_version)
        if document is None:
            raise AzureNativeError(f"'{path}' was written, and then it was not there")
        return document["id"], wire.to_outputs(kind, document)

    def _arm(self) -> ArmClient:
        if self._client is None:
            self._client = ArmClient()
        return self._client

    def _object_id(self) -> str:
        payload = self._arm().token().split(".")[1]
        import base64

        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["oid"])


def _automatic_name(kind: Kind, name: str, seed: bytes) -> str:
    digest = hashlib.sha256(seed).digest() if seed else os.urandom(32)
    if kind.naming == "uuid":
        return str(uuid.UUID(bytes=digest[:16], version=4))
    return f"{name}{digest.hex()[:8]}" if kind.naming == "random" else name


# --- what changes


def _known(values: Values) -> Values:
    return {name: value for name, value in values.items() if name != _API_VERSION}


def _compared(values: Values) -> Values:
    return {
        name: value
        for name, value in values.items()
        if not name.startswith("__") and name != _API_VERSION
    }


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield (path, ADD | DELETE | UPDATE, new value) of every difference."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            here = _path(path, key)
            if key not in new:
                yield here, "DELETE", None
            elif key not in old:
                yield here, "ADD", new[key]
            else:
                yield from _differences(here, old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            here = f"{path}[{index}]"
            if index >= len(new):
                yield here, "DELETE", None
            elif index >= len(old):
                yield here, "ADD", new[index]
            else:
                yield from _differences(here, old[index], new[index])
    elif not _is_same(path, old, new):
        yield path, "UPDATE", new


def _is_same(path: str, old: Any, new: Any) -> bool:
    if old == new:
        return True
    if isinstance(old, str) and isinstance(new, str) and UNKNOWN not in (old, new):
        if path == "location":
            return old.replace(" ", "").lower() == new.replace(" ", "").lower()
        if path in ("sku.name", "sku.tier"):
            return {old.lower(), new.lower()} in _SAME_SKUS
    return False


def _path(path: str, key: str) -> str:
    if not re.fullmatch(r"\w+", key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def _refreshed(known: Any, found: Any) -> Any:
    """Return an input as the cloud has it now; what the cloud does not tell, or writes otherwise, stays as it was."""
    if found is None:
        return known
    if isinstance(known, Mapping) and isinstance(found, Mapping):
        return {key: _refreshed(value, _at(found, key)) for key, value in known.items()}
    if isinstance(known, list) and isinstance(found, Mapping):
        found = list(found)
    if isinstance(known, list) and isinstance(found, list):
        if len(known) != len(found):
            return found
        if all(isinstance(item, str) for item in (*known, *found)):
            same = {item.lower() for item in known} == {item.lower() for item in found}
            return known if same else found
        return [_refreshed(one, other) for one, other in zip(known, found, strict=True)]
    if isinstance(known, str) and isinstance(found, str):
        return known if _plainly(known) == _plainly(found) else found
    return found


def _plainly(text: str) -> str:
    return text.replace(" ", "").lower()


def _at(found: Mapping[str, Any], key: str) -> Any:
    if key in found:
        return found[key]
    return next((value for name, value in found.items() if name.lower() == key.lower()), None)


# --- outputs


def _expected(kind: Kind, inputs: Values, old: Values | None = None) -> Values:
    """Return what a preview can tell: inputs echo where inputs and outputs are alike, the rest is unknown."""
    expected: Values = {}
    for name, spec in kind.shape.outputs.items():
        given = kind.shape.inputs.get(name)
        if name in inputs and given and _is_alike(given.shape, spec.shape):
            expected[name] = inputs[name]
        elif old and name in old and name not in inputs:
            expected[name] = old[name]
        elif spec.required or name in inputs:
            expected[name] = UNKNOWN
    path = parse_path(kind.template)
    if not old and isinstance(inputs.get(kind.name_property), str):
        expected["name"] = inputs[kind.name_property]
    if path and path.segments:
        expected["type"] = "/".join((path.namespace, *path.segments[0::2]))
    expected[_API_VERSION] = kind.api_version
    return expected


def _is_alike(one: Shape, other: Shape) -> bool:
    if one.kind != other.kind:
        return False
    if one.kind == "object":
        # what the cloud adds inside is not known, so neither is the whole
        return {*one.properties} == {*other.properties} and all(
            _is_alike(spec.shape, other.properties[name].shape)
            for name, spec in one.properties.items()
        )
    if one.element and other.element:
        return _is_alike(one.element, other.element)
    return one.kind != "any"


def _state(
    outputs: Values,
    inputs: Mapping[str, PropertyValue],
    like: Mapping[str, PropertyValue] | None = None,
) -> dict[str, PropertyValue]:
    """Return outputs with the inputs beside them, as the real provider keeps them: secret, for the next diff."""
    state = wrapped(outputs, like or inputs)
    state[_INPUTS] = PropertyValue(dict(inputs), is_secret=True)
    return state


class _explained:
    """Turns a refused call into one line: which resource, what was done, what the cloud said."""

    def __init__(self, action: str, urn: str) -> None:
        self._what = f"{action} {urn.rpartition('::')[2]}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, AzureNativeError) and not str(error).startswith(self._what):
            raise AzureNativeError(f"{self._what}: {error}") from None
        if isinstance(error, KeyError):
            raise AzureNativeError(f"{self._what}: the property {error} is missing") from None
