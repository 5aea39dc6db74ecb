"""The outputs contract: the one thing that crosses from the stack to the training module.

A stack exports a flat mapping; its keys are cloud first, in snake_case. Standard library only, so
that a data scientist's notebook reads it with no Pulumi installed. Nothing in it is a secret.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

OUTPUTS_VERSION = 1


class StackOutputsError(ValueError):
    """The outputs cannot be used: one is missing, of a wrong type, or of a newer version."""


@dataclass(frozen=True, kw_only=True)
class StackOutputs:
    """What a training job needs to know of a stack. Times are seconds, money is US dollars.

    A cloud that the stack does not use is not in ``clouds``, and its fields are None or empty.
    """

    outputs_version: int = OUTPUTS_VERSION
    stack_name: str
    environment: str
    owner: str
    clouds: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    # The most that one job may cost at worst (price x instances x longest run); None is no cap.
    job_price_cap_usd: float | None = None

    azure_subscription_id: str | None = None
    azure_tenant_id: str | None = None
    azure_location: str | None = None
    azure_resource_group_name: str | None = None
    azure_workspace_name: str | None = None
    azure_workspace_id: str | None = None
    azure_storage_account_name: str | None = None
    azure_container_registry_login_server: str | None = None
    azure_identity_id: str | None = None
    azure_identity_client_id: str | None = None
    # name -> {size, tier: dedicated|low_priority, min_instances, max_instances,
    #          idle_time_before_scale_down_seconds}
    azure_compute_clusters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # name -> {size}
    azure_compute_instances: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # name -> {resource_id, namespace}
    azure_kubernetes_computes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # name -> {version, id}; the stack's own environments, newest version in config
    azure_environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # name -> {version, id}
    azure_data_assets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # name -> {container_name, account_name}
    azure_datastores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    azure_serverless_enabled: bool = False
    azure_max_runtime_seconds: int | None = None

    aws_account_id: str | None = None
    aws_region: str | None = None
    aws_bucket_name: str | None = None
    aws_kms_key_arn: str | None = None
    # The execution role a job takes when it names none, and all of them by name.
    aws_role_arn: str | None = None
    aws_role_arns: Mapping[str, str] = field(default_factory=dict)
    # name -> registry/name, with no tag
    aws_repository_urls: Mapping[str, str] = field(default_factory=dict)
    aws_submitter_policy_arn: str | None = None
    aws_subnet_ids: tuple[str, ...] = ()
    aws_security_group_ids: tuple[str, ...] = ()
    aws_studio_domain_id: str | None = None
    # Empty allows every type that SageMaker trains on.
    aws_allowed_instance_types: tuple[str, ...] = ()
    aws_max_runtime_seconds: int | None = None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read what ``pulumi stack output --json`` prints (or the same, saved).

        Unknown keys are ignored: a stack may export more. Raises StackOutputsError naming the
        output at fault.
        """
        version = mapping.get("outputs_version")
        if version is None:
            raise StackOutputsError(
                "output 'outputs_version' is missing: this is no trainstack stack, or it was never "
                "deployed. Run: pulumi up"
            )
        if not isinstance(version, int | float) or isinstance(version, bool) or version < 1:
            raise StackOutputsError(
                f"output 'outputs_version' is {version!r}; it must be a whole number from 1 on. "
                "Deploy the stack again: pulumi up"
            )
        if version > OUTPUTS_VERSION:
            raise StackOutputsError(
                f"output 'outputs_version' is {version:g}; this trainstack reads up to "
                f"{OUTPUTS_VERSION}. Update trainstack"
            )
        hints = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        for spec in dataclasses.fields(cls):
            if spec.name not in mapping:
                if _is_required(spec):
                    raise StackOutputsError(
                        f"output {spec.name!r} is missing from the stack. "
                        "Deploy it again: pulumi up"
                    )
                continue
            values[spec.name] = _typed(spec.name, mapping[spec.name], hints[spec.name])
        return cls(**values)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a saved ``outputs.json``. Raises StackOutputsError where it cannot be read."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StackOutputsError(
                f"outputs file {str(path)!r} cannot be read: {error.strerror}. "
                "Save one with: pulumi stack output --json > outputs.json"
            ) from error
        except ValueError as error:
            raise StackOutputsError(f"outputs file {str(path)!r} is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise StackOutputsError(f"outputs file {str(path)!r} holds no JSON object")
        return cls.from_mapping(document)

    def as_exports(self) -> dict[str, Any]:
        """Return the mapping the stack exports: plain JSON types, every field present."""
        return {spec.name: _plain(getattr(self, spec.name)) for spec in dataclasses.fields(self)}

    def require(self, name: str) -> Any:
        """Return one output, or raise StackOutputsError where the stack has none."""
        value = getattr(self, name)
        if value in (None, "", (), {}):
            raise StackOutputsError(
                f"output {name!r} of stack {self.stack_name!r} is empty; its clouds are "
                f"{', '.join(self.clouds) or 'none'}. Enable it in "
                f"stacks/Pulumi.{self.stack_name}.yaml and run: pulumi up"
            )
        return value


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the exported mapping."""
    hints = typing.get_type_hints(StackOutputs)
    fields = dataclasses.fields(StackOutputs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trainstack stack outputs",
        "type": "object",
        "properties": {spec.name: _schema_of(hints[spec.name]) for spec in fields},
        "required": [spec.name for spec in fields if _is_required(spec)] + ["outputs_version"],
    }


def _is_required(spec: dataclasses.Field[Any]) -> bool:
    return spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return a value as its field's type has it, whole numbers and tuples as Python writes them."""
    kind, items, is_optional = _kind(hint)
    if kind is Any or (value is None and is_optional):
        return value
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # Pulumi's numbers are floats
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    accepted = {tuple: list | tuple, Mapping: Mapping}.get(kind, kind)
    if not isinstance(value, accepted) or (kind is int and isinstance(value, bool)):
        raise StackOutputsError(
            f"output {name!r} is {value!r}; it must be {_KIND_NAMES[kind]}. "
            "Deploy the stack again: pulumi up"
        )
    if kind is tuple:
        return tuple(_typed(f"{name}[{index}]", item, items) for index, item in enumerate(value))
    if kind is Mapping:
        return {key: _typed(f"{name}.{key}", item, items) for key, item in value.items()}
    return value


def _kind(hint: Any) -> tuple[Any, Any, bool]:
    """Return a field's plain type, what its items are, and whether it may be None."""
    is_optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        is_optional, hint = True, members[0]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return tuple, arguments[0], is_optional
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Mapping, arguments[1], is_optional
    return hint, None, is_optional


_KIND_NAMES = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list",
    Mapping: "an object",
}
_SCHEMA_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _schema_of(hint: Any) -> dict[str, Any]:
    kind, items, is_optional = _kind(hint)
    schema: dict[str, Any]
    if kind is tuple:
        schema = {"type": "array", "items": _schema_of(items)}
    elif kind is Mapping:
        schema = {"type": "object", "additionalProperties": _schema_of(items)}
    else:
        schema = {"type": _SCHEMA_NAMES[kind]} if kind in _SCHEMA_NAMES else {}
    return {"anyOf": [schema, {"type": "null"}]} if is_optional else schema
