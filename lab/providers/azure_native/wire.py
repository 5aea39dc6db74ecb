"""Between Pulumi's properties and Resource Manager's bodies.

Pulumi flattens a body's ``properties`` and names what is in it as the azure-mgmt SDKs do, so the official models
tell where a
property belongs: ``enableHttpsTrafficOnly`` is the model's ``enable_https_traffic_only``, on the wire
``properties.supportsHttpsTrafficOnly``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from lab.azure import schema
from lab.azure.schema import Rules
from lab.providers.azure_native.kind import Kind
from lab.providers.sdk_types import Shape

_TOP = (
    "location",
    "tags",
    "identity",
    "sku",
    "kind",
    "extendedLocation",
    "zones",
    "managedBy",
    "eTag",
    "etag",
    "plan",
)
_Path = tuple[str, ...]


def to_body(kind: Kind, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a PUT."""
    left_out = {*kind.path_names, *kind.query_names, "azureApiVersion"}
    values = {k: v for k, v in inputs.items() if k not in left_out and not k.startswith("__")}
    # a path parameter that the body wants too, as a role assignment's principal is not, a budget's scope neither
    if kind.arm is None or kind.arm.model is None:
        return _unmodelled(values)
    body = _to_wire(schema.load(kind.arm.model), values)
    return body


def to_outputs(kind: Kind, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as Pulumi's outputs."""
    model = schema.load(kind.arm.model) if kind.arm and kind.arm.model else None
    outputs: dict[str, Any] = {}
    for name, spec in kind.shape.outputs.items():
        value = _find(model, document, name)
        if value is not None:
            outputs[name] = _from_wire(_rules_at(model, document, name), spec.shape, value)
    outputs["azureApiVersion"] = kind.api_version
    return outputs


def to_inputs(kind: Kind, document: Mapping[str, Any], id: str) -> dict[str, Any]:
    """Return the inputs that would make a document, for an import: what may be set and is set."""
    model = schema.load(kind.arm.model) if kind.arm and kind.arm.model else None
    settable = schema.writable(model, document) if model else dict(document)
    inputs: dict[str, Any] = dict(kind.names_in(id))
    for name, spec in kind.shape.inputs.items():
        if name in inputs:
            continue
        value = _find(model, settable, name)
        if value not in (None, {}, []):
            found = _from_wire(_rules_at(model, settable, name), spec.shape, value)
            if spec.shape.kind == "array" and isinstance(found, Mapping):
                found = list(found)
            inputs[name] = _as_input(found, spec.shape)
    return inputs


def _as_input(value: Any, shape: Shape) -> Any:
    """A map whose keys are all that is asked (identities by id) is a list in inputs."""
    if shape.kind == "object" and isinstance(value, Mapping):
        return {
            name: list(item)
            if name in shape.properties
            and shape.properties[name].shape.kind == "array"
            and isinstance(item, Mapping)
            else _as_input(item, shape.properties[name].shape)
            if name in shape.properties
            else item
            for name, item in value.items()
            if not shape.properties or name in shape.properties
        }
    return value


# --- to the wire


def _to_wire(model: type, values: Mapping[str, Any]) -> dict[str, Any]:
    model = schema.subclass_of(model, values)
    result: dict[str, Any] = {}
    index = _index(model)
    for name, value in values.items():
        path, rules = index.get(_normal(name), ((name,), Rules("any")))
        _put(result, path, _value_to_wire(rules, value))
    return result


def _value_to_wire(rules: Rules, value: Any) -> Any:
    if rules.kind == "model" and rules.model and isinstance(value, Mapping):
        return _to_wire(rules.model, value)
    if rules.kind == "list" and isinstance(value, list):
        return [_value_to_wire(rules.element or Rules("any"), item) for item in value]
    if rules.kind == "map":
        if isinstance(value, list):
            return {str(item): {} for item in value}
        return {
            key: _value_to_wire(rules.element or Rules("any"), item) for key, item in value.items()
        }
    return value


def _unmodelled(values: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value in values.items():
        _put(body, (name,) if name in _TOP else ("properties", name), value)
    return body


# --- from the wire


def _from_wire(rules: Rules, shape: Shape, value: Any) -> Any:
    model = rules.model if rules.kind == "model" else None
    if shape.kind == "object" and isinstance(value, Mapping):
        if model:
            model = schema.subclass_of(model, value)
        found = {}
        for name, spec in shape.properties.items():
            item = _find(model, value, name)
            if item is not None:
                found[name] = _from_wire(_rules_at(model, value, name), spec.shape, item)
        return found
    if shape.kind == "array" and isinstance(value, list):
        element = rules.element or Rules("any")
        return [_from_wire(element, shape.element or Shape("any"), item) for item in value]
    if shape.kind == "map" and isinstance(value, Mapping):
        element = rules.element or Rules("any")
        return {
            key: _from_wire(element, shape.element or Shape("any"), item)
            for key, item in value.items()
        }
    return value


def _find(model: type | None, document: Mapping[str, Any], name: str) -> Any:
    """Return the value of a Pulumi name in a document."""
    paths: list[_Path] = []
    if model is not None:
        known = _index(schema.subclass_of(model, document)).get(_normal(name))
        if known:
            paths.append(known[0])
    paths += [(name,), ("properties", name)]
    for path in paths:
        value: Any = document
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def _rules_at(model: type | None, document: Mapping[str, Any], name: str) -> Rules:
    if model is None:
        return Rules("any")
    known = _index(schema.subclass_of(model, document)).get(_normal(name))
    return known[1] if known else Rules("any")


@functools.cache
def _index(model: type) -> Mapping[str, tuple[_Path, Rules]]:
    """Return where each property is, by its Pulumi name in lower case. What is flattened gives way to what is not."""
    index: dict[str, tuple[_Path, Rules]] = {}
    fields = schema.fields_of(model)
    nested = fields.get("properties")
    if nested and nested.rules.kind == "model" and nested.rules.model:
        for item in schema.fields_of(nested.rules.model).values():
            for name in (item.attribute, item.name):
                index[_normal(name)] = (("properties", *item.path), item.rules)
    for item in fields.values():
        for name in (item.attribute, item.name):
            index[_normal(name)] = (item.path, item.rules)
    return index


def _normal(name: str) -> str:
    return name.replace("_", "").lower()


def _put(body: dict[str, Any], path: _Path, value: Any) -> None:
    for step in path[:-1]:
        body = body.setdefault(step, {})
    body[path[-1]] = value
