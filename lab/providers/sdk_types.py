"""The shapes of resources, read from the installed Pulumi SDK's own classes.

Nothing is retyped by hand: a new version of pulumi-aws or pulumi-azure-native brings its own
names, required properties, types and enumerations. Names here are Pulumi's (camelCase), as they
cross the provider protocol.
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Output
from pulumi import _types as pulumi_types

_PACKAGES = {"aws": "pulumi_aws", "azure-native": "pulumi_azure_native"}
_SCALARS = {str: "string", bool: "boolean", int: "integer", float: "number"}


class UnknownTypeError(LookupError):
    """The installed SDK has no resource of this type."""


@dataclass(frozen=True)
class Shape:
    """What a value may be.

    ``kind`` is string, boolean, integer, number, array, map, object or any.
    """

    kind: str
    element: Shape | None = None  # of an array or a map
    type_name: str = ""  # of an object: the SDK's class
    enum_values: tuple[str, ...] = ()  # known values; the SDKs accept any other string too
    members: tuple[Shape, ...] = ()  # of "any": the alternatives of a union
    _object: type | None = None

    @property
    def properties(self) -> Mapping[str, Property]:
        """The properties of an object; empty for anything else."""
        return _properties(self._object) if self._object else {}


@dataclass(frozen=True)
class Property:
    """One property. In outputs, ``required`` says that the cloud always gives a value."""

    name: str
    shape: Shape
    required: bool


@dataclass(frozen=True)
class ResourceType:
    """A resource type's inputs and outputs by name."""

    token: str
    inputs: Mapping[str, Property]
    outputs: Mapping[str, Property]


@dataclass(frozen=True)
class Problem:
    """What is wrong with one property: where, and why."""

    path: str
    reason: str


@functools.cache
def resource_type(token: str) -> ResourceType:
    """Return the shape of ``aws:s3/bucket:Bucket``.

    Raises UnknownTypeError where the SDK has none.
    """
    package, module, name = token.split(":")
    namespace = module.split("/")[0] if package == "aws" else module.replace("/", ".")
    try:
        root = _PACKAGES[package]
        sdk = importlib.import_module(root if namespace == "index" else f"{root}.{namespace}")
        resource = getattr(sdk, name)
        home = importlib.import_module(resource.__module__)
        # NameArgs, or NameInitArgs where a nested type has that name; __all__ holds it and the resource
        arguments = getattr(home, next(each for each in home.__all__ if each != name))
    except (KeyError, ImportError, AttributeError, StopIteration):
        raise UnknownTypeError(
            f"the installed Pulumi SDKs have no resource type {token!r}"
        ) from None
    return ResourceType(token, _properties(arguments), _properties(resource))


def problems(
    values: Mapping[str, Any], properties: Mapping[str, Property], at: str = ""
) -> Iterator[Problem]:
    """Yield what is wrong with plain values: unknown, missing and wrongly typed properties.

    A value that is not known yet is an ``UNKNOWN`` string to the protocol and is accepted anywhere.
    """
    for name, value in values.items():
        if name.startswith("__"):
            continue
        path = f"{at}.{name}" if at else name
        if name not in properties:
            known = ", ".join(sorted(properties)) or "none"
            yield Problem(path, f"there is no such property; known are {known}")
        elif value is not None:
            yield from _value_problems(value, properties[name].shape, path)
    for name, spec in properties.items():
        if spec.required and values.get(name) is None:
            yield Problem(f"{at}.{name}" if at else name, "a value is required")


UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # how the protocol writes a value not known yet


def _value_problems(value: Any, shape: Shape, path: str) -> Iterator[Problem]:
    if value == UNKNOWN or shape.kind == "any":
        return
    accepted: dict[str, Any] = {
        "string": str,
        "boolean": bool,
        "integer": int | float,
        "number": int | float,
        "array": Sequence,
        "map": Mapping,
        "object": Mapping,
    }
    is_number = shape.kind in ("integer", "number")
    if (
        not isinstance(value, accepted[shape.kind])
        or (is_number and isinstance(value, bool))
        or (shape.kind == "array" and isinstance(value, str))
        or (shape.kind == "integer" and value != int(value))
    ):
        yield Problem(path, f"{value!r} is not of type {shape.kind}")
    elif shape.kind == "object":
        yield from problems(value, shape.properties, path)
    elif shape.kind == "array" and shape.element:
        for index, item in enumerate(value):
            yield from _value_problems(item, shape.element, f"{path}[{index}]")
    elif shape.kind == "map" and shape.element:
        for key, item in value.items():
            yield from _value_problems(item, shape.element, f"{path}.{key}")


# pulumi.Input[T] holds the forward reference "Output[T]", which only pulumi's own module can
# resolve.
_INPUT_ALIAS_NAMES = {"Output": Output, "T": Any}


@functools.cache
def _properties(cls: type) -> Mapping[str, Property]:
    """Read an Args class's, an output class's or a resource's properties from its getters."""
    required = _required_arguments(cls) if pulumi_types.is_input_type(cls) else None
    found: dict[str, Property] = {}
    for python_name, name, getter in pulumi_types._py_properties(cls):
        hint = typing.get_type_hints(getter.fget, localns=_INPUT_ALIAS_NAMES)["return"]
        plain, optional = _plain(hint)
        is_required = not optional if required is None else python_name in required
        found[name] = Property(name, _shape(plain), is_required)
    return types.MappingProxyType(found)


def _required_arguments(cls: type) -> set[str]:
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {
        parameter.name
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    }


def _plain(hint: Any) -> tuple[Any, bool]:
    """Strip Input, Output, Awaitable and Optional; say whether the value may be absent."""
    if typing.get_origin(hint) is Output:
        return _plain(typing.get_args(hint)[0])
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    members = typing.get_args(hint)
    optional = type(None) in members
    kept = []
    for member in members:
        origin = typing.get_origin(member)
        if member is type(None) or origin in (Output, collections.abc.Awaitable):
            continue
        inner, inner_optional = _plain(member)
        optional = optional or inner_optional
        kept.append(inner)
    kept = list(dict.fromkeys(kept))
    return (kept[0] if len(kept) == 1 else tuple(kept)), optional


def _shape(plain: Any) -> Shape:
    if isinstance(plain, tuple):
        return _union(plain)
    if plain in _SCALARS:
        return Shape(_SCALARS[plain])
    origin = typing.get_origin(plain)
    if origin in (collections.abc.Sequence, list):
        return Shape("array", element=_shape(_plain(typing.get_args(plain)[0])[0]))
    if origin in (collections.abc.Mapping, dict):
        return Shape("map", element=_shape(_plain(typing.get_args(plain)[1])[0]))
    if isinstance(plain, type):
        if issubclass(plain, enum.Enum):
            return Shape("string", enum_values=tuple(str(member.value) for member in plain))
        if pulumi_types.is_input_type(plain) or pulumi_types.is_output_type(plain):
            return Shape("object", type_name=re.sub("Args$", "", plain.__name__), _object=plain)
    return Shape("any")


def _union(members: tuple[Any, ...]) -> Shape:
    """A string or one of an enumeration is a string; any other union is left to the cloud to
    check.
    """
    shapes = tuple(_shape(member) for member in members)
    if all(shape.kind == "string" for shape in shapes):
        return Shape("string", enum_values=sum((shape.enum_values for shape in shapes), ()))
    return Shape("any", members=shapes)
