"""Request bodies held against the official SDKs' own models, so that what the lab takes the real service would take.

Two generations of generated models are read: msrest's (``_attribute_map`` and ``_validation``) and the newer
``rest_field`` classes. Checked: unknown, missing and wrongly typed properties, enumerations, patterns, lengths and
ranges. Read-only properties are dropped, as services do. Some services ignore a property they do not know; the lab
refuses it everywhere, because a typo that is ignored is found only when it has done harm.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import importlib
import importlib.util
import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.azure.errors import ArmError


@dataclass(frozen=True)
class Rules:
    """What a value must be. ``kind`` is str, int, float, bool, any, list, map, enum or model."""

    kind: str
    element: Rules | None = None
    values: tuple[str, ...] = ()
    model: type | None = None
    pattern: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None


@dataclass(frozen=True)
class Field:
    """One property of a model, by its name on the wire."""

    name: str
    rules: Rules
    required: bool = False
    read_only: bool = False
    # A flattened msrest property stands below others: ``properties.workspaceResourceId``.
    path: tuple[str, ...] = field(default=())
    # What the SDK calls it, which is also what Pulumi's name for it is made of.
    attribute: str = ""


class _Problems:
    def __init__(self, *, allow_unknown: bool = False) -> None:
        self.found: list[tuple[str, str]] = []
        self.allow_unknown = allow_unknown

    def add(self, path: str, message: str) -> None:
        self.found.append((path, message))


def clean(
    model: str, body: Mapping[str, Any], *, is_partial: bool = False, allow_unknown: bool = False
) -> dict[str, Any]:
    """Return the body without read-only properties. Raises ArmError 400 naming each property at fault.

    model is ``module:Class``. A partial body (PATCH) may lack required properties. A preview API version has properties
    that the models do not have: with allow_unknown they are taken as they are.
    """
    problems = _Problems(allow_unknown=allow_unknown)
    result = _object(load(model), body, "", problems, is_partial=is_partial)
    if problems.found:
        message = " ".join(text for _, text in problems.found)
        raise ArmError(
            400,
            "InvalidRequestContent",
            f"The request content was invalid and could not be deserialized: {message}",
            details=[
                {"code": "InvalidRequestContent", "target": path, "message": text}
                for path, text in problems.found
            ]
            if len(problems.found) > 1
            else (),
            target=problems.found[0][0] or None,
        )
    return result


def without_answers(model: str, read_model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body without what only the answers of a service have, one level deep and below ``properties``."""
    asked, answered = fields_of(load(model)), fields_of(load(read_model))
    result = {name: value for name, value in body.items() if name in asked or name not in answered}
    inner, inner_answered = asked.get("properties"), answered.get("properties")
    if isinstance(body.get("properties"), Mapping) and inner and inner_answered:
        known = fields_of(inner.rules.model) if inner.rules.model else {}
        told = fields_of(inner_answered.rules.model) if inner_answered.rules.model else {}
        result["properties"] = {
            name: value
            for name, value in body["properties"].items()
            if name in known or name not in told
        }
    return result


def writable(model: type, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without what only the service sets."""
    return _object(model, document, "", _Problems(), is_partial=True)


@functools.cache
def load(model: str) -> type:
    """Import ``module:Class``."""
    module, _, name = model.partition(":")
    loaded = (
        _machine_learning_models()
        if module == MACHINE_LEARNING
        else importlib.import_module(module)
    )
    return getattr(loaded, name)


MACHINE_LEARNING = "azure.ai.ml._restclient.arm_ml_service.models"


@functools.cache
def _machine_learning_models() -> types.ModuleType:
    """Import Azure ML's models for API version 2025-12-01, which the stack's provider speaks.

    azure-mgmt-machinelearningservices 1.0.1 stops at 2023-10-01 and lacks properties that the stack sets; azure-ai-ml
    brings the newer ones. They are loaded by path, because ``import azure.ai.ml`` takes a second and 100 MB.
    """
    specification = importlib.util.find_spec("azure.ai.ml")
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError("azure-ai-ml is not installed. Run: make setup")
    folder = Path(specification.origin).parent / "_restclient" / "arm_ml_service"
    name = "_lab_arm_ml_service"
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    return importlib.import_module(f"{name}.models")


def _object(
    model: type, body: Any, path: str, problems: _Problems, *, is_partial: bool
) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        problems.add(path, f"Error converting value to type '{model.__name__}'. Path '{path}'.")
        return {}
    model = _concrete(model, body, path, problems)
    fields = fields_of(model)
    result: dict[str, Any] = {}
    if not fields:
        return dict(body)
    nested = {item.path[0] for item in fields.values() if len(item.path) > 1}
    kinds, kind_name = _discriminator(model)
    lacks_kind = bool(kinds) and body.get(kind_name) is None
    for name, value in body.items():
        here = f"{path}.{name}" if path else name
        if name in nested and isinstance(value, Mapping):
            result[name] = _flattened(model, fields, name, value, here, problems)
            continue
        item = fields.get(name)
        if item is None and problems.allow_unknown:
            result[name] = value
        elif item is None and lacks_kind:
            problems.add(
                here,
                f"Could not find member '{name}' on object of type '{model.__name__}', as '{kind_name}' is missing "
                f"beside it, which says what the object is: {', '.join(sorted(kinds))}. Path '{here}'.",
            )
        elif item is None:
            problems.add(
                here,
                f"Could not find member '{name}' on object of type '{model.__name__}'. Path '{here}'.",
            )
        elif not item.read_only and value is not None:
            result[name] = _value(item.rules, value, here, problems, is_partial=is_partial)
    if not is_partial:
        for item in fields.values():
            if item.required and not item.read_only and _at(body, item.path) is None:
                here = ".".join((*([path] if path else []), *item.path))
                problems.add(
                    here,
                    f"Required property '{item.path[-1]}' not found in JSON. Path '{here}'.",
                )
    return result


def _flattened(
    model: type,
    fields: Mapping[str, Field],
    top: str,
    body: Mapping[str, Any],
    path: str,
    problems: _Problems,
) -> dict[str, Any]:
    """Check the object below which msrest flattened properties."""
    below = {
        item.path[1]: item
        for item in fields.values()
        if len(item.path) == 2 and item.path[0] == top
    }
    result = {}
    for name, value in body.items():
        here = f"{path}.{name}"
        if name not in below:
            problems.add(
                here,
                f"Could not find member '{name}' on object of type '{model.__name__}'. Path '{here}'.",
            )
        elif not below[name].read_only and value is not None:
            result[name] = _value(below[name].rules, value, here, problems, is_partial=False)
    return result


_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "list": (list,),
    "map": (dict,),
}


def _value(rules: Rules, value: Any, path: str, problems: _Problems, *, is_partial: bool) -> Any:
    if rules.kind == "model" and rules.model:
        return _object(rules.model, value, path, problems, is_partial=is_partial)
    if rules.kind == "any":
        return value
    if rules.kind == "int" and isinstance(value, float) and value.is_integer():
        return _value(rules, int(value), path, problems, is_partial=is_partial)
    expected = _KINDS["str" if rules.kind == "enum" else rules.kind]
    if not isinstance(value, expected) or (bool not in expected and isinstance(value, bool)):
        problems.add(path, f"Could not convert {value!r} to type '{rules.kind}'. Path '{path}'.")
        return value
    if rules.kind == "list":
        element = rules.element or Rules("any")
        return [
            _value(element, item, f"{path}[{index}]", problems, is_partial=is_partial)
            for index, item in enumerate(value)
        ]
    if rules.kind == "map":
        return {
            key: _element(
                rules.element or Rules("any"),
                item,
                f"{path}.{key}",
                problems,
                is_partial=is_partial,
            )
            for key, item in value.items()
            if item is not None
        }
    if rules.kind == "enum":
        known = {member.lower(): member for member in rules.values}
        if value.lower() not in known:
            problems.add(
                path,
                f"'{value}' is not an allowed value; allowed are {', '.join(rules.values)}. Path '{path}'.",
            )
        return known.get(value.lower(), value)
    _limits(rules, value, path, problems)
    return value


def _element(rules: Rules, value: Any, path: str, problems: _Problems, *, is_partial: bool) -> Any:
    """Check a map's value. In a map of strings a number is taken: azure-ai-ml sends one, and the service reads it."""
    if rules.kind == "str" and isinstance(value, int | float):
        return value
    return _value(rules, value, path, problems, is_partial=is_partial)


def _limits(rules: Rules, value: Any, path: str, problems: _Problems) -> None:
    if isinstance(value, str):
        if rules.pattern and not re.search(rules.pattern, value):
            problems.add(path, f"'{value}' does not match '{rules.pattern}'. Path '{path}'.")
        if rules.max_length is not None and len(value) > rules.max_length:
            problems.add(path, f"'{value}' is longer than {rules.max_length}. Path '{path}'.")
        if rules.min_length is not None and len(value) < rules.min_length:
            problems.add(path, f"'{value}' is shorter than {rules.min_length}. Path '{path}'.")
        return
    if rules.minimum is not None and value < rules.minimum:
        problems.add(path, f"{value} is below the least value {rules.minimum}. Path '{path}'.")
    if rules.maximum is not None and value > rules.maximum:
        problems.add(path, f"{value} is above the greatest value {rules.maximum}. Path '{path}'.")


def _at(body: Any, path: Sequence[str]) -> Any:
    for step in path:
        if not isinstance(body, Mapping) or step not in body:
            return None
        body = body[step]
    return body


# --- the two generations of models


@functools.cache
def fields_of(model: type) -> Mapping[str, Field]:
    """Return a model's properties by their name on the wire (of a flattened one: by its path)."""
    if hasattr(model, "_attribute_map"):
        return _msrest_fields(model)
    return _rest_fields(model)


def subclass_of(model: type, body: Mapping[str, Any]) -> type:
    """Return the class that a body's discriminator names, or the model itself."""
    return _concrete(model, body, "", _Problems())


def _concrete(model: type, body: Mapping[str, Any], path: str, problems: _Problems) -> type:
    mapping, name = _discriminator(model)
    if not mapping or name is None:
        return model
    value = body.get(name)
    if value is None:
        return model
    if value not in mapping:
        if any(value == known for known in _own_discriminator(model)):
            return model
        here = f"{path}.{name}" if path else name
        problems.add(
            here,
            f"'{value}' is not an allowed value; allowed are {', '.join(sorted(mapping))}. Path '{here}'.",
        )
        return model
    found = mapping[value]
    return model if found is model else _concrete(found, body, path, problems)


def _discriminator(model: type) -> tuple[Mapping[str, type], str | None]:
    subtypes = model.__dict__.get("_subtype_map")
    if subtypes:
        attribute, by_value = next(iter(subtypes.items()))
        module = sys.modules[model.__module__]
        return (
            {value: getattr(module, name) for value, name in by_value.items()},
            vars(model)["_attribute_map"][attribute]["key"],
        )
    mapping = model.__dict__.get("__mapping__")
    if mapping:
        for attribute in _rest_attributes(model).values():
            if attribute._is_discriminator:
                return {
                    str(getattr(k, "value", k)): v for k, v in mapping.items()
                }, attribute._rest_name
    return {}, None


def _own_discriminator(model: type) -> list[str]:
    return [
        str(getattr(value, "value", value))
        for hint in inspect.get_annotations(model).values()
        for value in typing.get_args(hint)
    ]


def _msrest_fields(model: Any) -> Mapping[str, Field]:
    found = {}
    for attribute, entry in model._attribute_map.items():
        checks = model._validation.get(attribute, {})
        path = tuple(step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", entry["key"]))
        item = Field(
            name=path[-1],
            rules=_msrest_rules(model, entry["type"], checks),
            required=bool(checks.get("required")),
            read_only=bool(checks.get("readonly")),
            path=path,
            attribute=attribute,
        )
        found[".".join(path)] = item
    return found


def _msrest_rules(model: type, text: str, checks: Mapping[str, Any]) -> Rules:
    if text.startswith("["):
        return Rules("list", element=_msrest_rules(model, text[1:-1], {}))
    if text.startswith("{"):
        return Rules("map", element=_msrest_rules(model, text[1:-1], {}))
    simple = {"str": "str", "int": "int", "long": "int", "float": "float", "bool": "bool"}
    if text in simple:
        return Rules(
            simple[text],
            pattern=checks.get("pattern"),
            minimum=checks.get("minimum"),
            maximum=checks.get("maximum"),
            min_length=checks.get("min_length"),
            max_length=checks.get("max_length"),
            **_msrest_enum(model, checks),
        )
    target = getattr(importlib.import_module(model.__module__.rpartition(".")[0]), text, None)
    if isinstance(target, type):
        return _class_rules(target)
    return Rules("str" if text in ("iso-8601", "duration", "date", "rfc-1123") else "any")


def _msrest_enum(model: type, checks: Mapping[str, Any]) -> dict[str, Any]:
    del model, checks  # msrest keeps an extensible enumeration as a plain str
    return {}


def _class_rules(target: type) -> Rules:
    if issubclass(target, enum.Enum):
        return Rules("enum", values=tuple(str(member.value) for member in target))
    if hasattr(target, "_attribute_map") or getattr(target, "_is_model", False):
        return Rules("model", model=target)
    plain = {str: "str", bool: "bool", int: "int", float: "float", decimal.Decimal: "float"}
    if target in plain:
        return Rules(plain[target])
    times = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, bytes)
    return Rules("str" if target in times else "any")


def _rest_attributes(model: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cls in reversed(model.__mro__):
        for name, value in vars(cls).items():
            if hasattr(value, "_rest_name_input") and name in inspect.get_annotations(cls):
                found[name] = value
    return found


def _rest_fields(model: type) -> Mapping[str, Field]:
    found = {}
    hints: dict[str, Any] = {}
    for cls in reversed(model.__mro__):
        module = sys.modules.get(cls.__module__)
        if module is None or not inspect.get_annotations(cls):
            continue
        package = importlib.import_module(cls.__module__.rpartition(".")[0])
        scope = {**vars(module), "_models": package, "_types": _AnyNames()}
        for name, hint in inspect.get_annotations(cls).items():
            hints[name] = _resolved(hint, scope)
    for name, attribute in _rest_attributes(model).items():
        # without an explicit name the wire's is the attribute's own
        wire = attribute._rest_name_input or name
        rules, optional = _hint_rules(hints.get(name, Any))
        found[wire] = Field(
            name=wire,
            rules=rules,
            required=not optional,
            read_only=attribute._visibility == ["read"],
            path=(wire,),
            attribute=name,
        )
    return found


class _AnyNames:
    """Stands for type aliases that a model's module only has while it is type-checked."""

    def __getattr__(self, name: str) -> Any:
        return Any


def _resolved(hint: Any, scope: dict[str, Any]) -> Any:
    holder = types.SimpleNamespace(__annotations__={"hint": hint})
    try:
        return typing.get_type_hints(holder, scope, scope)["hint"]
    except NameError:
        return Any


def _hint_rules(hint: Any) -> tuple[Rules, bool]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        optional = type(None) in arguments
        members = [member for member in arguments if member is not type(None)]
        rules = [_hint_rules(member)[0] for member in members]
        enumerations = [rule for rule in rules if rule.kind == "enum"]
        if enumerations:
            return enumerations[0], optional
        return (rules[0] if len(rules) == 1 else Rules("any")), optional
    if origin in (list, Sequence):
        return Rules("list", element=_hint_rules(arguments[0])[0]), False
    if origin in (dict, Mapping):
        return Rules("map", element=_hint_rules(arguments[1])[0]), False
    if origin is typing.Literal:
        return Rules("enum", values=tuple(str(getattr(v, "value", v)) for v in arguments)), False
    if isinstance(hint, type):
        return _class_rules(hint), False
    return Rules("any"), True
