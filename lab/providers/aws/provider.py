"""The lab's AWS provider: Pulumi's provider protocol over the kinds of resources, by real calls.

The semantics are the real provider's (a bridged Terraform provider): defaults and names are filled
in by check, and a diff holds old outputs against new inputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Generator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pulumi.provider.experimental import provider as protocol
from pulumi.provider.experimental.property_value import PropertyValue

from lab.home import LabError
from lab.providers.aws import functions, kinds
from lab.providers.aws.kind import Cloud, Kind, Values, is_gone
from lab.providers.sdk_types import UNKNOWN, Property, Shape, UnknownTypeError, problems
from lab.providers.values import plain_map, wrapped

DEFAULTS = "__defaults"
VERSION = "7.51.1"
Kinds = protocol.PropertyDiffKind


class AwsProviderError(LabError):
    """The provider was asked for what it does not do, or the lab's AWS refused a call."""


class AwsProvider(protocol.Provider):
    """Deploys the stack's AWS resources to the lab."""

    def __init__(self) -> None:
        self._region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
        self._default_tags: dict[str, str] = {}

    # -- configuration

    async def check_config(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        """Require a region, and refuse what would make the provider act as someone else."""
        config = _config(request.new_inputs)
        failures = []
        if not (config.get("region") or self._region):
            failures.append(
                protocol.CheckFailure("region", "a region is required, such as us-east-1")
            )
        failures += [
            protocol.CheckFailure(name, "the lab has one account and one identity")
            for name in ("assumeRoles", "assumeRoleWithWebIdentity", "accessKey", "secretKey")
            if config.get(name)
        ]
        return protocol.CheckResponse(inputs=request.new_inputs, failures=failures)

    async def configure(self, request: protocol.ConfigureRequest) -> protocol.ConfigureResponse:
        """Take region, default tags and account guards; a profile is the real clouds' business."""
        config = _config(request.args)
        self._region = config.get("region") or self._region
        self._default_tags = dict((config.get("defaultTags") or {}).get("tags") or {})
        account_ids = config.get("allowedAccountIds")
        if account_ids:
            account_id = await asyncio.to_thread(lambda: Cloud(self._region).account_id)
            if account_id not in account_ids:
                raise AwsProviderError(
                    f"the lab's AWS account is {account_id}, which allowedAccountIds "
                    f"({', '.join(account_ids)}) leaves out"
                )
        return protocol.ConfigureResponse(
            accept_secrets=True, supports_preview=True, accept_resources=False, accept_outputs=False
        )

    # -- planning

    async def check(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        """Fill in what the real provider fills in, and refuse what it or the service would."""
        kind = _kind(request.type)
        inputs = _plain_map(request.new_inputs)
        found = list(problems(inputs, kind.type.inputs))
        filled: Values = {}
        if not found:
            old = _plain_map(request.old_inputs, keep_internal=True)
            filled = self._filled(kind, inputs, old, request)
            found = list(kind.check(filled))
        if found:
            failures = [protocol.CheckFailure(each.path, each.reason) for each in found]
            return protocol.CheckResponse(inputs=request.new_inputs, failures=failures)
        marked = _with_defaults_key(filled, kind.type.inputs, sorted(set(filled) - set(inputs)))
        return protocol.CheckResponse(inputs=wrapped(marked, request.new_inputs))

    def _filled(
        self, kind: Kind, inputs: Values, old: Values, request: protocol.CheckRequest
    ) -> Values:
        """Return the inputs with schema defaults, automatic name, all tags and region, in this
        order.
        """
        filled = dict(inputs)
        for name, value in kind.defaults.items():
            filled.setdefault(name, value)
        auto = kind.auto_name
        if auto and auto.property not in filled and not filled.get(auto.prefix_property):
            kept = old.get(auto.property) if auto.property in (old.get(DEFAULTS) or ()) else None
            filled[auto.property] = kept or _automatic_name(
                request.name, auto.max_length, auto.shaped, request.random_seed
            )
        if "tags" in kind.type.inputs and "tagsAll" in kind.type.outputs:
            tags = inputs.get("tags") or {}
            merged = UNKNOWN if tags == UNKNOWN else {**self._default_tags, **tags}
            if merged:
                filled["tagsAll"] = merged
        if "region" in kind.type.inputs:
            filled.setdefault("region", self._region)
        return filled

    async def diff(self, request: protocol.DiffRequest) -> protocol.DiffResponse:
        """Hold the old outputs against the new inputs, as the real provider does."""
        kind = _kind(request.type)
        old, new = _plain_map(request.old_state), _plain_map(request.new_inputs)
        filled_names = _plain_map(request.new_inputs, keep_internal=True).get(DEFAULTS) or []
        detailed: dict[str, protocol.PropertyDiff] = {}
        replaces: list[str] = []
        for path, change, before, after in _changes(kind, old, new):
            replaced = kind.is_replaced(re.sub(r"\[[^]]*\]", "", path), before, after)
            if replaced:
                replaces.append(path)
            if path in detailed:  # another element of a set had this place before
                change = "UPDATE"
            diff_kind = Kinds[f"{change}_REPLACE" if replaced else change]
            detailed[path] = protocol.PropertyDiff(diff_kind, input_diff=False)
        auto = kind.auto_name
        has_fixed_name = bool(auto and auto.property in new and auto.property not in filled_names)
        return protocol.DiffResponse(
            changes=bool(detailed),
            replaces=sorted(replaces),
            stables=sorted(kind.replace_on - {_head(path) for path in replaces}),
            delete_before_replace=bool(replaces) and (kind.delete_first or has_fixed_name),
            diffs=sorted({_head(path) for path in detailed}),
            detailed_diff=detailed,
        )

    # -- doing

    async def create(self, request: protocol.CreateRequest) -> protocol.CreateResponse:
        """Create a resource; one that cannot be set up as asked is deleted again, so that none is
        orphaned.
        """
        kind, inputs = _kind(request.type), _plain_map(request.properties)
        if request.preview:
            return protocol.CreateResponse(
                properties=wrapped(_expected(kind, inputs, {}), request.properties)
            )
        with _explained("create", request.urn):
            id_, outputs = await asyncio.to_thread(self._create, kind, inputs)
        return protocol.CreateResponse(id_, wrapped(outputs, request.properties))

    def _create(self, kind: Kind, inputs: Values) -> tuple[str, Values]:
        cloud = self._cloud(inputs)
        inputs = _named(kind, inputs, {})
        id_ = kind.create(cloud, inputs)
        try:
            kind.update(cloud, id_, {}, inputs)
            outputs = kind.read(cloud, id_, inputs)
        except Exception:
            kind.delete(cloud, id_, inputs)
            raise
        if outputs is None:
            raise AwsProviderError(f"{id_} was created, and then it was not there")
        return id_, _settled(kind, outputs, inputs)

    async def read(self, request: protocol.ReadRequest) -> protocol.ReadResponse:
        """Read a resource, for a refresh or an import; a missing one comes back with no id."""
        kind = _kind(request.type)
        state, inputs = _plain_map(request.properties), _plain_map(request.inputs)
        with _explained("read", request.urn):
            outputs = await asyncio.to_thread(self._read, kind, request.resource_id, state)
        if outputs is None and not state:
            # The SDK's server sends a property map always, which an import takes for a resource.
            raise AwsProviderError(f"resource {request.resource_id!r} does not exist")
        if outputs is None:
            return protocol.ReadResponse(resource_id="")
        # of an import, what the cloud does not tell is taken to be as the provider fills it in
        outputs = _settled(kind, outputs, state or dict(kind.defaults))
        kept = _plain_map(request.inputs, keep_internal=True)
        if inputs:
            read_inputs = {
                name: kept[name]
                if _is_same_input(kind, name, outputs.get(name), old)
                else outputs[name]
                for name, old in inputs.items()
                if not _is_empty(outputs.get(name)) or _is_empty(old)
            }
            filled = kept.get(DEFAULTS) or []
        else:
            read_inputs = {
                name: outputs[name]
                for name in kind.type.inputs.keys() - kind.not_done
                if not _is_unset(outputs.get(name))
                or (outputs.get(name) is False and kind.defaults.get(name))
            }
            filled = []
        read_inputs = _with_defaults_key(read_inputs, kind.type.inputs, filled)
        secrets = {**request.properties, **request.inputs}
        return protocol.ReadResponse(
            request.resource_id, wrapped(outputs, secrets), wrapped(read_inputs, secrets)
        )

    def _read(self, kind: Kind, id_: str, state: Values) -> Values | None:
        try:
            return kind.read(self._cloud(state), id_, state)
        except ClientError as error:
            if is_gone(error):
                return None
            raise

    async def update(self, request: protocol.UpdateRequest) -> protocol.UpdateResponse:
        """Update a resource in place."""
        kind = _kind(request.type)
        old, new = _plain_map(request.olds), _plain_map(request.news)
        if request.preview:
            expected = _expected(kind, new, old)
            return protocol.UpdateResponse(wrapped(expected, request.news))

        def update() -> Values:
            cloud = self._cloud(new)
            named = _named(kind, new, old)
            kind.update(cloud, request.resource_id, old, named)
            outputs = kind.read(cloud, request.resource_id, named)
            if outputs is None:
                raise AwsProviderError(
                    "it is gone from the cloud. Find what else is, with: trainstack lab refresh"
                )
            return _settled(kind, outputs, new)

        with _explained("update", request.urn):
            outputs = await asyncio.to_thread(update)
        return protocol.UpdateResponse(wrapped(outputs, request.news))

    async def delete(self, request: protocol.DeleteRequest) -> None:
        """Delete a resource; one that is gone is deleted already."""
        kind, state = _kind(request.type), _plain_map(request.properties)

        def delete() -> None:
            try:
                kind.delete(self._cloud(state), request.resource_id, state)
            except ClientError as error:
                if not is_gone(error):
                    raise

        with _explained("delete", request.urn):
            await asyncio.to_thread(delete)

    async def invoke(self, request: protocol.InvokeRequest) -> protocol.InvokeResponse:
        """Answer a function of the SDK."""
        arguments = _plain_map(request.args)
        function = functions.FUNCTIONS.get(request.tok)
        if function is None:
            raise AwsProviderError(
                f"the lab's AWS provider has no function {request.tok!r}; it has "
                f"{', '.join(sorted(functions.FUNCTIONS))}"
            )
        with _explained("invoke", f"::{request.tok}::"):
            result = await asyncio.to_thread(function, self._cloud(arguments), arguments)
        return protocol.InvokeResponse(return_value=wrapped(result, {}))

    def _cloud(self, values: Values) -> Cloud:
        region = values.get("region")
        return Cloud(region if region and region != UNKNOWN else self._region, self._default_tags)


def _kind(qualified_type: str) -> Kind:
    """Return the kind of a URN's type, which has the types of its parents in front."""
    token = qualified_type.rpartition("$")[2]
    kind = kinds.KINDS.get(token)
    if kind is None:
        raise UnknownTypeError(
            f"the lab's AWS provider has no resource type {token!r}; it has "
            f"{', '.join(sorted(kinds.KINDS))}"
        )
    return kind


def _named(kind: Kind, inputs: Values, state: Values) -> Values:
    """Return the inputs with the name that a prefix asks for: the state's, or the prefix and 26 digits."""
    auto = kind.auto_name
    if auto is None or auto.property in inputs:
        return inputs
    moment = f"{datetime.now(UTC):%Y%m%d%H%M%S%f}{secrets.randbelow(10**6):06d}"
    made = f"{inputs.get(auto.prefix_property, '')}{moment}"
    return {**inputs, auto.property: state.get(auto.property) or made}


def _automatic_name(name: str, max_length: int, shaped: Any, seed: bytes) -> str:
    """Return the logical name and seven hexadecimal digits; the name is cut where the whole is too
    long.
    """
    digits = hashlib.sha256(seed).hexdigest() if seed else os.urandom(16).hex()
    return shaped(f"{name[: max_length - 8]}-{digits[:7]}")


# -- what changes


def _changes(kind: Kind, old: Values, new: Values) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield (path, ADD | DELETE | UPDATE, before, after) of every difference."""
    names = [*kind.type.inputs, *(["tagsAll"] if "tagsAll" in kind.type.outputs else [])]
    for name in names:
        spec = kind.type.inputs.get(name) or kind.type.outputs[name]
        output = kind.type.outputs.get(name)
        before, after = old.get(name), new.get(name)
        if after is None:
            # What the cloud always gives keeps its value where the program says nothing.
            is_cleared = not _is_unset(before) and kind.unset.get(name) != before
            if output and (not output.required or name == "tagsAll") and is_cleared:
                yield from _gone(name, before, output.shape)
        elif not kind.is_same(name, before, after):
            shape = output.shape if output else spec.shape
            yield from _differences(kind, _path("", name), before, after, shape)


def _gone(path: str, before: Any, shape: Shape) -> Iterator[tuple[str, str, Any, Any]]:
    if shape.kind == "map":
        for key, value in before.items():
            yield _path(path, key), "DELETE", value, None
    else:
        yield path, "DELETE", before, None


def _differences(
    kind: Kind, path: str, before: Any, after: Any, shape: Shape | None
) -> Iterator[tuple[str, str, Any, Any]]:
    if after == UNKNOWN:
        yield path, "ADD" if before is None else "UPDATE", before, after
    elif isinstance(after, Mapping) and (isinstance(before, Mapping) or before is None):
        specs = shape.properties if shape and shape.kind == "object" else {}
        if before is None:
            yield from (
                (_path(path, key), "ADD", None, value)
                for key, value in after.items()
                if not _is_empty(value)
            )
            return
        for key in [*before, *(key for key in after if key not in before)]:
            old, new = before.get(key), after.get(key)
            spec: Property | None = specs.get(key)
            if new is None and key in before:
                if not _is_unset(old) and not (spec and spec.required):
                    yield _path(path, key), "DELETE", old, None
            else:
                element = spec.shape if spec else (shape.element if shape else None)
                yield from _differences(kind, _path(path, key), old, new, element)
    elif isinstance(after, list) and (isinstance(before, list) or before is None):
        yield from _list_differences(kind, path, before or [], after, shape)
    elif not _is_same_value(before, after):
        yield path, "ADD" if before is None else "UPDATE", before, after


def _list_differences(
    kind: Kind, path: str, before: list[Any], after: list[Any], shape: Shape | None
) -> Iterator[tuple[str, str, Any, Any]]:
    """Compare a list, or a set: in a set, elements that are in both are left out whatever their
    place.
    """
    element = shape.element if shape else None

    def same(one: Any, other: Any) -> bool:
        return not any(_differences(kind, path, one, other, element))

    if _head(path) in kind.ordered:
        shared = min(len(before), len(after))
        for index in range(shared):
            yield from _differences(kind, f"{path}[{index}]", before[index], after[index], element)
        old_left = list(enumerate(before))[shared:]
        new_left = list(enumerate(after))[shared:]
    else:
        old_left, new_left = list(enumerate(before)), []
        for index, item in enumerate(after):
            twin = next((each for each in old_left if same(each[1], item)), None)
            if twin:
                old_left.remove(twin)
            else:
                new_left.append((index, item))
        if len(old_left) == len(new_left) == 1 and isinstance(new_left[0][1], Mapping):
            (index, old), (_, new) = old_left.pop(), new_left.pop()
            yield from _differences(kind, f"{path}[{index}]", old, new, element)
    for index, item in old_left:
        yield f"{path}[{index}]", "DELETE", item, None
    for index, item in new_left:
        yield f"{path}[{index}]", "ADD", None, item


def _is_same_value(before: Any, after: Any) -> bool:
    if isinstance(before, bool) or isinstance(after, bool):
        return str(before).lower() == str(after).lower() or (before is None and after is False)
    if before is None:
        return after in ("", 0) and not isinstance(after, list)
    return before == after or str(before) == str(after)


def _is_same_input(kind: Kind, name: str, output: Any, old_input: Any) -> bool:
    if kind.is_same(name, output, old_input):
        return True
    spec = kind.type.outputs.get(name)
    return not any(_differences(kind, name, output, old_input, spec.shape if spec else None))


def _is_empty(value: Any) -> bool:
    return value is None or value == [] or value == {}


def _is_unset(value: Any) -> bool:
    return _is_empty(value) or value in ("", False, 0)


def _path(path: str, key: str) -> str:
    """Join a property path as Pulumi writes it: a key that is no plain word is quoted in brackets."""
    if not re.fullmatch(r"\w+", key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def _head(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0]


# -- outputs


def _expected(kind: Kind, inputs: Values, old: Values) -> Values:
    """Return the outputs that a preview can tell: inputs echo, the cloud's own are old or unknown."""
    expected = dict(inputs)
    for name, spec in kind.type.outputs.items():
        if (
            name not in expected and (spec.required or name in old) and name not in kind.type.inputs
        ) or (name not in expected and spec.required):
            expected[name] = old.get(name, UNKNOWN)
    return expected


def _settled(kind: Kind, outputs: Values, known: Values) -> Values:
    """Return what the cloud told, and from inputs or state what it does not tell.

    A document that means the same keeps the program's text.
    """
    told = {name: value for name, value in outputs.items() if value is not None}
    merged = {
        name: value
        for name, value in known.items()
        if name not in outputs and name in (kind.type.outputs.keys() | kind.type.inputs.keys())
    }
    for name in kind.documents & told.keys() & known.keys():
        if kind.is_same(name, told[name], known[name]):
            told[name] = known[name]
    return {**merged, **told}


@contextlib.contextmanager
def _explained(action: str, urn: str) -> Generator[None]:
    """Turn a failed call into one line: which resource, what was done, what the cloud said."""
    what = f"{action} {urn.rpartition('::')[2] or urn.strip(':')}"
    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        raise AwsProviderError(
            f"{what}: {error.operation_name} was refused: {told.get('Code')}: {told.get('Message')}"
        ) from None
    except BotoCoreError as error:
        raise AwsProviderError(f"{what}: {error}") from None


# -- values


def _config(values: Mapping[str, PropertyValue]) -> Values:
    """Return a provider's configuration: nested values come as JSON text."""
    config = {}
    for name, value in _plain_map(values).items():
        if isinstance(value, str) and value[:1] in ("{", "["):
            config[name] = json.loads(value)
        else:
            config[name] = value
    return config


def _plain_map(values: Mapping[str, PropertyValue], *, keep_internal: bool = False) -> Values:
    return plain_map(values, keep_internal=keep_internal)


def _with_defaults_key(
    values: Values, properties: Mapping[str, Property], filled: list[str]
) -> Values:
    """Name in every object which of its keys the provider filled in, as the real provider does."""

    def marked(value: Any, shape: Shape | None) -> Any:
        if isinstance(value, Mapping) and shape and shape.kind == "object":
            return _with_defaults_key(dict(value), shape.properties, [])
        if isinstance(value, list) and shape:
            return [marked(item, shape.element) for item in value]
        return value

    shapes = {name: spec.shape for name, spec in properties.items()}
    inner = {name: marked(value, shapes.get(name)) for name, value in values.items()}
    return {**inner, DEFAULTS: [name for name in filled if name != "tagsAll"]}
