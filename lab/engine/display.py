"""What a person sees of a run."""

from __future__ import annotations

import json
from typing import Any, Protocol, TextIO

from lab.engine.events import Event, strip_tags


class Display(Protocol):
    """Takes the events of a run and, at the end, its result."""

    def __call__(self, event: Event) -> None: ...

    def finish(self, result: Any, *, show_secrets: bool = False) -> None: ...


def choose(*, kind: str, stack: str, as_json: bool, diff: bool, stream: TextIO) -> Display:
    """Return the display for the options and the stream."""
    return Lines(stream)


class Lines:
    """Plain lines, one a step."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        if event.internal:
            return
        if event.kind == "resourcePreEvent" and event.metadata is not None:
            print(event.metadata.op, event.metadata.urn, file=self._stream)
        elif event.kind == "diagnosticEvent":
            print(
                event.body["severity"],
                strip_tags(event.body["message"]).rstrip(),
                file=self._stream,
            )

    def finish(self, result: Any, *, show_secrets: bool = False) -> None:
        print(
            json.dumps(result.plain_outputs(show_secrets=show_secrets), indent=2), file=self._stream
        )
        print(result.changes, file=self._stream)
