"""Nested values between Pulumi's names and an API's, by the SDK's classes and botocore's shapes.

Terraform's providers rename little: ``idleTimeoutInMinutes`` is ``IdleTimeoutInMinutes``, a list
of one is written as its one element, a list of tags as a map, and plurals differ. That is all
there is here; anything else is written by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lab.providers.aws.kind import tag_list, tag_map
from lab.providers.sdk_types import Shape


def to_api(value: Any, shape: Any) -> Any:
    """Return a value as an API wants it.

    Raises ValueError for a property that the API does not have.
    """
    if shape.type_name == "structure" and isinstance(value, Mapping):
        converted = {}
        for name, inner in value.items():
            if inner is None or name.startswith("__"):
                continue
            member = _member(name, shape)
            if member is None:
                raise ValueError(f"{name!r} is no part of {shape.name} in the installed botocore")
            converted[member] = to_api(inner, shape.members[member])
        return converted
    if shape.type_name == "list":
        if isinstance(value, Mapping) and _is_tag(shape.member):
            return tag_list(value)
        items = value if isinstance(value, list) else [value]
        return [to_api(item, shape.member) for item in items]
    if shape.type_name in ("integer", "long") and value is not None:
        return int(value)
    if shape.type_name == "string" and isinstance(value, int | float):
        return str(value)
    return value


def from_api(value: Any, shape: Shape) -> Any:
    """Return an API's value as Pulumi has it: the properties that the SDK knows, and no empty
    ones.
    """
    if value is None or shape.kind == "any":
        return value
    if shape.kind == "object":
        first = (value[0] if value else None) if isinstance(value, list) else value
        if not isinstance(first, Mapping):
            return first
        by_name = {_key(name): inner for name, inner in first.items()}
        found = {}
        for name, spec in shape.properties.items():
            inner = next((by_name[key] for key in _keys(name) if key in by_name), None)
            converted = from_api(inner, spec.shape)
            if converted not in (None, [], {}):
                found[name] = converted
        return found
    if shape.kind == "map":
        return tag_map(value) if isinstance(value, list) else dict(value)
    if shape.kind == "array":
        items = value if isinstance(value, list) else [value]
        return [from_api(item, shape.element) for item in items] if shape.element else items
    if isinstance(value, list):
        return from_api(value[0], shape) if value else None
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if shape.kind == "string" and not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def _member(name: str, shape: Any) -> str | None:
    by_name = {_key(member): member for member in shape.members}
    return next((by_name[key] for key in _keys(name) if key in by_name), None)


def _key(name: str) -> str:
    return name.lower()


def _keys(name: str) -> tuple[str, ...]:
    """Return how the other side may spell a name: as it is, in the plural, in the singular."""
    key = _key(name)
    return (key, f"{key}s", key.removesuffix("s"))


def _is_tag(shape: Any) -> bool:
    return shape.type_name == "structure" and set(shape.members) == {"Key", "Value"}
