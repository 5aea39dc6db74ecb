"""Drives the provider as an engine does, through the SDK's own provider server and its marshalling."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format, struct_pb2
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime.proto import provider_pb2

from lab.providers.aws import VERSION, AwsProvider

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def to_struct(values: dict[str, Any]) -> Any:
    struct = struct_pb2.Struct()  # ty: ignore[missing-attribute] - made at import
    struct.update(values)
    return struct


def to_values(struct: Any) -> dict[str, Any]:
    return json_format.MessageToDict(struct)


@dataclass
class Diff:
    kinds: dict[str, str]
    replaces: list[str]
    delete_first: bool

    @property
    def is_empty(self) -> bool:
        return not self.kinds


@dataclass
class Driver:
    """One configured provider."""

    config: dict[str, Any] = field(default_factory=lambda: {"region": "us-east-1"})

    def __post_init__(self) -> None:
        self._servicer = ProviderServicer([], VERSION, AwsProvider(), "")
        self._call(
            "Configure",
            provider_pb2.ConfigureRequest(args=to_struct(self.config), acceptSecrets=True),
        )

    def _call(self, method: str, request: Any) -> Any:
        return asyncio.run(getattr(self._servicer, method)(request, None))

    def check(
        self,
        type_: str,
        inputs: dict[str, Any],
        *,
        name: str = "thing",
        old: dict[str, Any] | None = None,
        seed: bytes = b"seed",
    ) -> tuple[dict[str, Any], dict[str, str]]:
        request = provider_pb2.CheckRequest(
            urn=urn(type_, name), news=to_struct(inputs), olds=to_struct(old or {}), randomSeed=seed
        )
        answer = self._call("Check", request)
        return to_values(answer.inputs), {each.property: each.reason for each in answer.failures}

    def checked(self, type_: str, inputs: dict[str, Any], **options: Any) -> dict[str, Any]:
        filled, failures = self.check(type_, inputs, **options)
        assert failures == {}, failures
        return filled

    def diff(self, type_: str, id_: str, old: dict[str, Any], new: dict[str, Any]) -> Diff:
        request = provider_pb2.DiffRequest(
            urn=urn(type_), id=id_, olds=to_struct(old), news=to_struct(new)
        )
        answer = self._call("Diff", request)
        names = provider_pb2.PropertyDiff.Kind.Name
        kinds = {path: names(each.kind) for path, each in answer.detailedDiff.items()}
        some = provider_pb2.DiffResponse.DIFF_SOME
        assert (answer.changes == some) is bool(kinds)
        return Diff(kinds, list(answer.replaces), answer.deleteBeforeReplace)

    def create(
        self, type_: str, inputs: dict[str, Any], *, preview: bool = False
    ) -> tuple[str, dict[str, Any]]:
        request = provider_pb2.CreateRequest(
            urn=urn(type_), properties=to_struct(inputs), preview=preview
        )
        answer = self._call("Create", request)
        return answer.id, to_values(answer.properties)

    def read(
        self,
        type_: str,
        id_: str,
        state: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        request = provider_pb2.ReadRequest(
            urn=urn(type_),
            id=id_,
            properties=to_struct(state or {}),
            inputs=to_struct(inputs or {}),
        )
        answer = self._call("Read", request)
        return answer.id, to_values(answer.properties), to_values(answer.inputs)

    def update(
        self,
        type_: str,
        id_: str,
        old: dict[str, Any],
        new: dict[str, Any],
        *,
        preview: bool = False,
    ) -> dict[str, Any]:
        request = provider_pb2.UpdateRequest(
            urn=urn(type_), id=id_, olds=to_struct(old), news=to_struct(new), preview=preview
        )
        return to_values(self._call("Update", request).properties)

    def delete(self, type_: str, id_: str, state: dict[str, Any]) -> None:
        self._call(
            "Delete",
            provider_pb2.DeleteRequest(urn=urn(type_), id=id_, properties=to_struct(state)),
        )

    def invoke(self, token: str, arguments: dict[str, Any]) -> dict[str, Any]:
        request = provider_pb2.InvokeRequest(tok=token, args=to_struct(arguments))
        return to_values(getattr(self._call("Invoke", request), "return"))

    def made(
        self, type_: str, inputs: dict[str, Any], **options: Any
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Check and create; return the id, the outputs and the checked inputs."""
        checked = self.checked(type_, inputs, **options)
        id_, outputs = self.create(type_, checked)
        return id_, outputs, checked


def urn(type_: str, name: str = "thing") -> str:
    return f"urn:pulumi:test::trainstack::{type_}::{name}"
