"""SageMaker's API, as botocore's service model describes its requests and answers.

Nothing about a shape is typed in by hand, so that a newer botocore brings newer operations and
instance types.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from lab.aws.sagemaker.errors import ServiceError, validation

API_VERSION = "2017-07-24"


@functools.cache
def service() -> ServiceModel:
    """Return the model of ``sagemaker`` 2017-07-24."""
    return ServiceModel(
        Loader().load_service_model("sagemaker", "service-2", API_VERSION), "sagemaker"
    )


def operation(name: str) -> OperationModel:
    """Return the operation. Raises ServiceError for a name that is none."""
    if name not in _names():
        raise ServiceError("UnknownOperationException", f"Unknown operation {name!r}")
    return service().operation_model(name)


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(service().operation_names)


def check(shape: Shape | None, value: Any) -> None:
    """Hold a request against its shape. Raises ValidationException with every fault."""
    if shape is None:
        return
    faults = list(_faults(shape, value, ""))
    if not faults:
        return
    plural = "s" if len(faults) > 1 else ""
    raise validation(f"{len(faults)} validation error{plural} detected: {'; '.join(faults)}")


def render(shape: Shape | None, value: Any) -> Any:
    """Return what of ``value`` the shape has; times stay seconds since 1970."""
    if shape is None or value is None:
        return value
    if isinstance(shape, StructureShape):
        return {
            name: render(member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        return [render(shape.member, item) for item in value]
    if isinstance(shape, MapShape):
        return {key: render(shape.value, item) for key, item in value.items()}
    return value


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (int, float),
    "blob": (str,),
}


def _faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    kinds = _JSON_TYPES.get(shape.type_name, (object,))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ServiceError(
            "SerializationException",
            f"{type(value).__name__} value at {path or 'the request'!r} cannot be converted to "
            f"{shape.type_name}",
        )
    yield from _constraints(shape, value, path)
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            if value.get(name) is None:
                yield _fault("null", _join(path, name), "Member must not be null")
        for name, item in value.items():
            if name not in shape.members:
                yield (
                    f"Unknown member {name!r} at {path or 'the request'!r}; "
                    f"allowed are {', '.join(shape.members)}"
                )
            elif item is not None:
                yield from _faults(shape.members[name], item, _join(path, name))
    elif isinstance(shape, ListShape):
        for number, item in enumerate(value, start=1):
            yield from _faults(shape.member, item, f"{path}.{number}.member")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from _faults(shape.key, key, f"{path}.{key}.key")
            yield from _faults(shape.value, item, f"{path}.{key}.value")


def _constraints(shape: Shape, value: Any, path: str) -> Iterator[str]:
    metadata = shape.metadata
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    size = value if is_number else len(value) if isinstance(value, str | list | dict) else None
    noun = "value" if is_number else "length"
    shown = _show(value)
    if size is not None and shape.type_name != "timestamp":
        if "min" in metadata and size < metadata["min"]:
            yield _fault(
                shown, path, f"Member must have {noun} greater than or equal to {metadata['min']}"
            )
        if "max" in metadata and size > metadata["max"]:
            yield _fault(
                shown, path, f"Member must have {noun} less than or equal to {metadata['max']}"
            )
    if not isinstance(value, str):
        return
    if metadata.get("enum") and value not in metadata["enum"]:
        allowed = ", ".join(metadata["enum"])
        yield _fault(shown, path, f"Member must satisfy enum value set: [{allowed}]")
    pattern = metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield _fault(shown, path, f"Member must satisfy regular expression pattern: {pattern}")


def _fault(value: str, path: str, constraint: str) -> str:
    shown = value if value == "null" else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}={_show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_show(item) for item in value) + "]"
    return str(value)


def _join(path: str, name: str) -> str:
    name = name[:1].lower() + name[1:]
    return f"{path}.{name}" if path else name


# Java's Unicode classes, as near as Python's re comes to them inside a set.
_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{Alnum}": "a-zA-Z0-9",
    r"\p{N}": r"\d",
    r"\p{Z}": r"\s",
    r"\p{M}": "",
    r"\p{S}": "",
    r"\p{P}": r"!-/:-@\[-`{-~",
}


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of the model; one that Python cannot express lets everything through."""
    for java, python in _CLASSES.items():
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        return re.compile(".*", re.DOTALL)
