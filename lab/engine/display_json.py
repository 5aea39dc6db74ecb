"""The preview as a document, exactly as ``pulumi preview --json`` prints it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from lab.engine import urn as urns
from lab.engine.events import Event, StepMetadata, strip_tags
from lab.engine.state import ResourceState
from lab.engine.step import REPLACEMENT_OPS
from lab.engine.values import mask_secrets

if TYPE_CHECKING:
    from lab.engine.api import Result


class Digest:
    """Collects events into the digest, which is printed at the end."""

    def __init__(self, stream: TextIO, *, show_sames: bool = False) -> None:
        self._stream = stream
        self._show_sames = show_sames
        self._config: dict[str, str] = {}
        self._steps: list[dict[str, Any]] = []
        self._diagnostics: list[dict[str, str]] = []
        self._summary: dict[str, Any] = {}
        self._refreshed: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        if event.internal:
            return
        if event.kind == "preludeEvent":
            self._config = event.body["config"]
        elif event.kind == "diagnosticEvent":
            self._note_diagnostic(event.body)
        elif event.kind == "summaryEvent":
            self._summary = event.body
        elif event.metadata is not None and self._is_shown(event.metadata):
            if event.kind == "resourcePreEvent":
                self._refreshed[event.metadata.urn] = event.metadata.op
                self._steps.append(_step(event.metadata))
            elif event.kind == "resOutputsEvent":
                self._note_refresh(event.metadata)

    def _note_diagnostic(self, body: dict[str, Any]) -> None:
        if body.get("ephemeral") or body["severity"] == "debug":
            return
        item = {"urn": body["urn"]} if body.get("urn") else {}
        item["message"] = strip_tags(body.get("prefix", "") + body["message"])
        item["severity"] = body["severity"]
        self._diagnostics.append(item)

    def _note_refresh(self, metadata: StepMetadata) -> None:
        """Show what a refresh found in place of the refresh."""
        if self._refreshed.get(metadata.urn) != "refresh":
            return
        if (metadata.op == "update" and metadata.detailed_diff is not None) or (
            metadata.op == "delete"
        ):
            step = _step(metadata)
            self._steps = [step if item["urn"] == metadata.urn else item for item in self._steps]

    def _is_shown(self, metadata: StepMetadata) -> bool:
        if urns.is_root_stack(metadata.urn):
            return True
        if metadata.op == "same":
            old, new = metadata.old, metadata.new
            if old is not None and new is not None and old.protect != new.protect:
                return True
            return self._show_sames
        return metadata.logical or metadata.op not in REPLACEMENT_OPS

    def finish(self, result: Result, *, show_secrets: bool = False) -> None:
        print(self.dumps(result.duration_seconds), file=self._stream)

    def document(self, duration_seconds: float) -> dict[str, Any]:
        """Return the digest; ``duration`` in it is in nanoseconds."""
        found: dict[str, Any] = {
            "config": self._config,
            "steps": self._steps,
            "diagnostics": self._diagnostics,
            "duration": int(duration_seconds * 1e9),
            "changeSummary": self._summary.get("resourceChanges") or {},
            "maybeCorrupt": self._summary.get("maybeCorrupt") or False,
        }
        return {key: value for key, value in found.items() if value}

    def dumps(self, duration_seconds: float) -> str:
        return json.dumps(self.document(duration_seconds), indent=4, ensure_ascii=False)


def _step(metadata: StepMetadata) -> dict[str, Any]:
    step: dict[str, Any] = {"op": metadata.op, "urn": metadata.urn}
    if metadata.provider:
        step["provider"] = metadata.provider
    if metadata.old is not None:
        step["oldState"] = _state(metadata.old)
    if metadata.new is not None:
        step["newState"] = _state(metadata.new)
    if metadata.diffs:
        step["diffReasons"] = metadata.diffs
    if metadata.keys:
        step["replaceReasons"] = metadata.keys
    step["detailedDiff"] = None
    if metadata.detailed_diff is not None:
        step["detailedDiff"] = {
            path: {"kind": item.kind, "inputDiff": item.input_diff}
            for path, item in sorted(metadata.detailed_diff.items())
        }
    return step


def _state(state: ResourceState) -> dict[str, Any]:
    shown = state.copy()
    shown.inputs = mask_secrets(state.inputs or {})
    shown.outputs = mask_secrets(state.outputs or {})
    return shown.to_json(None)
