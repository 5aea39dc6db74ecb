"""A request and an answer, apart from the web server that carries them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.azure.errors import ArmError
from lab.azure.login import Principal
from lab.azure.urls import Urls

_NOBODY = Principal("", "")


@dataclass(frozen=True)
class Call:
    """A request. ``path`` is decoded, ``raw_path`` as it was sent; header names are in lower case."""

    method: str
    host: str
    path: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    urls: Urls
    principal: Principal = _NOBODY

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raises ArmError 400."""
        if not self.body.strip():
            return {}
        try:
            document = json.loads(self.body)
        except ValueError as error:
            raise ArmError(
                400,
                "InvalidRequestContent",
                f"The request content was invalid and could not be deserialized: '{error}'.",
            ) from error
        if not isinstance(document, dict):
            raise ArmError(
                400,
                "InvalidRequestContent",
                "The request content was invalid: it must be a JSON object.",
            )
        return document


@dataclass(frozen=True)
class Answer:
    """An answer: JSON, text, bytes or a stream of bytes."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str | None = None

    @property
    def is_json(self) -> bool:
        return self.body is not None and not isinstance(self.body, str | bytes | Iterator)
