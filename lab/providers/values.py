"""Plain values and those of the provider protocol, into one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulumi.provider.experimental.property_value import Computed, PropertyValue

from lab.providers.sdk_types import UNKNOWN


def plain_map(values: Mapping[str, PropertyValue], *, keep_internal: bool = True) -> dict[str, Any]:
    """Return plain values: secrets opened, unknown ones as UNKNOWN, whole numbers as int, nulls left out.

    Without ``keep_internal``, keys that begin with two underscores are left out at any depth.
    """
    return {
        name: plain
        for name, value in values.items()
        if (keep_internal or not name.startswith("__"))
        and (plain := _plain(value, keep_internal)) is not None
    }


def _plain(value: PropertyValue, keep_internal: bool) -> Any:
    inner = value.value
    if isinstance(inner, Mapping):
        return plain_map(inner, keep_internal=keep_internal)
    if isinstance(inner, tuple):
        return [_plain(item, keep_internal) for item in inner]
    if isinstance(inner, Computed):
        return UNKNOWN
    if isinstance(inner, float) and inner.is_integer():
        return int(inner)
    return inner


def wrapped(
    values: Mapping[str, Any], like: Mapping[str, PropertyValue]
) -> dict[str, PropertyValue]:
    """Return values for the protocol; what was secret in ``like`` stays secret."""
    return {
        name: wrap(value).with_secret(name in like and like[name].contains_secret())
        for name, value in values.items()
        if value is not None
    }


def wrap(value: Any) -> PropertyValue:
    """Return one value for the protocol."""
    if isinstance(value, Mapping):
        return PropertyValue({key: wrap(item) for key, item in value.items() if item is not None})
    if isinstance(value, list | tuple):
        return PropertyValue([wrap(item) for item in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    return PropertyValue(value)
