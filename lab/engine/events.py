"""Engine events: what a run tells its displays and its event log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.engine.providers import PropertyDiff
from lab.engine.state import ResourceState
from lab.engine.values import Archive, Asset, to_json

_ANSI = re.compile(r"\x1b\[[0-9;]*[mK]")
_TAG = re.compile(r"<\{%.*?%\}>")
_SEVERITY_PREFIX = {"debug": "debug: ", "warning": "warning: ", "error": "error: "}


@dataclass(frozen=True)
class StepMetadata:
    """A step as it was when the event was made."""

    op: str
    urn: str
    type: str
    old: ResourceState | None
    new: ResourceState | None
    keys: list[str] | None
    diffs: list[str] | None
    detailed_diff: dict[str, PropertyDiff] | None
    logical: bool
    provider: str

    def to_json(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "op": self.op,
            "urn": self.urn,
            "type": self.type,
            "old": _state_json(self.old),
            "new": _state_json(self.new),
        }
        if self.keys:
            result["keys"] = self.keys
        if self.diffs:
            result["diffs"] = self.diffs
        result["detailedDiff"] = None
        if self.detailed_diff is not None:
            result["detailedDiff"] = {
                path: {"diffKind": item.kind, "inputDiff": item.input_diff}
                for path, item in sorted(self.detailed_diff.items())
            }
        if self.logical:
            result["logical"] = True
        result["provider"] = self.provider
        return result


def _state_json(state: ResourceState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    result: dict[str, Any] = {"type": state.type, "urn": state.urn}
    for key, value in (("custom", state.custom), ("delete", state.delete)):
        if value:
            result[key] = True
    result |= {"id": state.id, "parent": state.parent}
    for key, value in (
        ("protect", state.protect),
        ("taint", state.taint),
        ("external", state.external),
        ("retainOnDelete", state.retain_on_delete),
    ):
        if value:
            result[key] = True
    result["inputs"] = to_json(_elide(state.inputs or {}))
    result["outputs"] = to_json(_elide(state.outputs or {}))
    result["provider"] = state.provider
    if state.init_errors:
        result["initErrors"] = state.init_errors
    if state.hide_diff:
        result["hideDiffs"] = state.hide_diff
    return result


def _elide(value: Any) -> Any:
    """Return a value without the texts of assets, which can be long."""
    if isinstance(value, dict):
        return {key: _elide(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_elide(item) for item in value]
    if isinstance(value, Asset) and not (value.path or value.uri):
        return Asset(hash=value.hash, text="<contents elided>")
    if isinstance(value, Archive) and value.assets is not None:
        return Archive(hash=value.hash, assets=_elide(value.assets))
    return value


@dataclass(frozen=True)
class Event:
    """One event. ``kind`` is the key of Pulumi's event log."""

    kind: str
    metadata: StepMetadata | None = None
    # The rest of the event, in the event log's form.
    body: dict[str, Any] = field(default_factory=dict)
    # Steps of default providers and the like: not for displays.
    internal: bool = False

    def to_json(self, sequence: int) -> dict[str, Any]:
        body: dict[str, Any] = {}
        if self.metadata is not None:
            body["metadata"] = self.metadata.to_json()
        body |= self.body
        return {"sequence": sequence, "timestamp": int(time.time()), self.kind: body}


@dataclass(frozen=True)
class Diagnostic:
    """A message of the run: of the engine, a provider or the program."""

    severity: str  # debug, info, info#err, warning, error
    message: str
    urn: str = ""
    ephemeral: bool = False


class Emitter:
    """Hands events to whoever listens, one at a time."""

    def __init__(self, listeners: list[Callable[[Event], None]]) -> None:
        import threading

        self._listeners = listeners
        self._lock = threading.Lock()
        self.diagnostics: list[Diagnostic] = []
        # Texts that must not be shown: the values of secret config.
        self.hidden: list[str] = []

    def emit(self, event: Event) -> None:
        with self._lock:
            for listener in self._listeners:
                listener(event)

    def step(
        self,
        kind: str,
        step: Any,
        *,
        op: str | None = None,
        internal: bool = False,
        **body: Any,
    ) -> None:
        old, new = step.old, step.new
        metadata = StepMetadata(
            op=op or step.op,
            urn=step.urn,
            type=step.type,
            old=old.copy() if old is not None else None,
            new=new.copy() if new is not None else None,
            keys=getattr(step, "keys", None),
            diffs=getattr(step, "diffs", None),
            detailed_diff=getattr(step, "detailed_diff", None),
            logical=step.logical,
            provider=step.provider,
        )
        self.emit(
            Event(kind, metadata, {k: v for k, v in body.items() if v is not False}, internal)
        )

    def diagnostic(
        self, severity: str, message: str, urn: str = "", *, ephemeral: bool = False
    ) -> None:
        for text in self.hidden:
            message = message.replace(text, "[secret]")
        self.diagnostics.append(Diagnostic(severity, message.rstrip("\n"), urn, ephemeral))
        body: dict[str, Any] = {}
        if urn:
            body["urn"] = urn
        if prefix := _SEVERITY_PREFIX.get(severity):
            body["prefix"] = prefix
        body["message"] = f"{_ANSI.sub('', message)}\n"
        body["color"] = "never"  # as where the output is no terminal
        body["severity"] = severity
        if ephemeral:
            body["ephemeral"] = True
        self.emit(Event("diagnosticEvent", body=body))

    def error(self, message: str, urn: str = "") -> None:
        self.diagnostic("error", message, urn)

    def warning(self, message: str, urn: str = "") -> None:
        self.diagnostic("warning", message, urn)

    def info(self, message: str, urn: str = "") -> None:
        self.diagnostic("info", message, urn)


def strip_tags(text: str) -> str:
    """Return a message without colour tags."""
    return _TAG.sub("", text)
