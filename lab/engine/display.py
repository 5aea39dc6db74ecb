"""What a person sees of a run: a tree of its resources with what changes in them, or a document for programs.

Secrets are shown as [secret] everywhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from lab.engine import urn as urns
from lab.engine.display_json import Digest
from lab.engine.events import Event, StepMetadata, strip_tags
from lab.engine.step import REPLACEMENT_OPS
from lab.engine.values import (
    Computed,
    Secret,
    ValueDiff,
    diff_maps,
    format_path,
    parse_path,
    to_plain,
)

if TYPE_CHECKING:
    from lab.engine.api import Result

SYMBOLS = {
    "same": " ",
    "create": "+",
    "update": "~",
    "delete": "-",
    "replace": "+-",
    "create-replacement": "++",
    "delete-replaced": "--",
    "read": ">",
    "read-replacement": ">>",
    "refresh": "~",
    "discard": "<",
    "discard-replaced": "<<",
    "import": "=",
    "import-replacement": "=>",
    "remove-pending-replace": "~",
}
COLOURS = {
    "create": "green",
    "create-replacement": "green",
    "import": "green",
    "update": "yellow",
    "refresh": "yellow",
    "replace": "magenta",
    "delete": "red",
    "delete-replaced": "red",
    "discard": "red",
    "read": "cyan",
}
_DOING = {
    "create": "creating",
    "update": "updating",
    "delete": "deleting",
    "replace": "replacing",
    "create-replacement": "creating replacement",
    "delete-replaced": "deleting original",
    "read": "reading",
    "refresh": "refreshing",
    "import": "importing",
    "discard": "discarding",
}
_DONE = {
    "create": "created",
    "update": "updated",
    "delete": "deleted",
    "replace": "replaced",
    "create-replacement": "created replacement",
    "delete-replaced": "deleted original",
    "read": "read",
    "refresh": "refreshed",
    "import": "imported",
    "discard": "discarded",
}
_SUMMARY_ORDER = ("create", "update", "delete", "replace", "import", "read", "discard", "same")
_TITLES = {
    ("preview", True): "Previewing update",
    ("up", False): "Updating",
    ("refresh", False): "Refreshing",
    ("refresh", True): "Previewing refresh",
    ("import", False): "Importing",
    ("destroy", False): "Destroying",
    ("destroy", True): "Previewing destroy",
}
_MISSING = object()


class Display(Protocol):
    """Takes the events of a run and, at the end, its result."""

    def __call__(self, event: Event) -> None: ...

    def finish(self, result: Result, *, show_secrets: bool = False) -> None: ...


def choose(
    *, kind: str, stack: str, as_json: bool, diff: bool, stream: TextIO, is_preview: bool = False
) -> Display:
    """Return the display for the options: a document, a live one on a terminal, else plain lines."""
    if as_json:
        return Digest(stream)
    is_preview = is_preview or kind == "preview"
    title = _TITLES.get((kind, is_preview), kind)
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return LiveDisplay(f"{title} ({stack}):", stream, is_preview=is_preview, diff=diff)
    return PlainDisplay(f"{title} ({stack}):", stream, is_preview=is_preview, diff=diff)


# --- what changes


@dataclass(frozen=True)
class PropertyChange:
    """One property that differs. ``kind`` is add, delete or update; -replace is added where it replaces."""

    path: str
    kind: str
    old: Any
    new: Any

    def __str__(self) -> str:
        symbol = {"add": "+", "delete": "-", "update": "~"}[self.kind.removesuffix("-replace")]
        if symbol == "~":
            text = f"{show(self.old)} => {show(self.new)}"
        else:
            text = show(self.new if symbol == "+" else self.old)
        replaces = "  (replaces)" if self.kind.endswith("-replace") else ""
        return f"{symbol} {self.path}: {text}{replaces}"


def show(value: Any) -> str:
    """Return a value for reading, cut where it is long."""
    if isinstance(value, Secret):
        return "[secret]"
    if isinstance(value, Computed) or value is _MISSING:
        return "(known after up)"
    text = json.dumps(to_plain(value), ensure_ascii=False)
    text = text.replace('"output<string>"', "(known after up)")
    return text if len(text) <= 160 else f"{text[:150]}...{text[-6:]}"


def property_changes(metadata: StepMetadata) -> list[PropertyChange]:
    """Return what differs between a step's old and new state: what the provider says, else the inputs."""
    old, new = metadata.old, metadata.new
    if old is None or new is None:
        return []
    inputs = old.inputs or {}
    if metadata.detailed_diff:
        found = []
        for path, item in sorted(metadata.detailed_diff.items()):
            before = inputs if item.input_diff else (old.outputs or {})
            old_value = _at(before, path)
            if old_value is _MISSING and not item.input_diff:
                old_value = _at(inputs, path)
            found.append(PropertyChange(path, item.kind, old_value, _at(new.inputs or {}, path)))
        return found
    difference = diff_maps(inputs, new.inputs or {})
    return [] if difference is None else list(_flatten([], ValueDiff(object=difference)))


def _at(values: Any, path: str) -> Any:
    try:
        elements = parse_path(path)
    except ValueError:
        elements = [path]
    for element in elements:
        if isinstance(values, Secret):
            return values
        if isinstance(values, dict) and element in values:
            values = values[element]  # type: ignore[index]
        elif isinstance(values, list) and isinstance(element, int) and element < len(values):
            values = values[element]
        else:
            return _MISSING
    return values


def _flatten(path: list[str | int], diff: ValueDiff) -> Iterator[PropertyChange]:
    parts = diff.object or diff.array
    if parts is None:
        yield PropertyChange(format_path(path), "update", diff.old, diff.new)
        return
    for key, value in parts.adds.items():
        yield PropertyChange(format_path([*path, key]), "add", None, value)
    for key, value in parts.deletes.items():
        yield PropertyChange(format_path([*path, key]), "delete", value, None)
    for key, below in parts.updates.items():
        yield from _flatten([*path, key], below)


# --- the rows of the tree


@dataclass
class Row:
    """One resource of the run."""

    urn: str
    parent: str
    op: str
    metadata: StepMetadata
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    is_done: bool = False
    is_failed: bool = False

    @property
    def type(self) -> str:
        return urns.type_of(self.urn)

    @property
    def name(self) -> str:
        return urns.name(self.urn)

    def is_shown(self) -> bool:
        if self.op != "same":
            return True
        old, new = self.metadata.old, self.metadata.new
        return old is not None and new is not None and old.protect != new.protect


class Tree:
    """What the events say of each resource."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.diagnostics: list[tuple[str, str, str]] = []
        self.output_changes: list[PropertyChange] = []
        self._refreshing: set[str] = set()

    def take(self, event: Event) -> Row | None:
        """Note an event. Returns the row that it changed."""
        if event.kind == "diagnosticEvent":
            body = event.body
            text = strip_tags(body["message"]).rstrip()
            self.diagnostics.append((body["severity"], body.get("urn", ""), text))
            return None
        metadata = event.metadata
        if metadata is None or event.internal:
            return None
        row = self.rows.get(metadata.urn)
        if event.kind == "resourcePreEvent":
            state = metadata.new or metadata.old
            parent = state.parent if state is not None else ""
            if row is None:
                row = self.rows[metadata.urn] = Row(metadata.urn, parent, metadata.op, metadata)
            elif (
                metadata.op not in REPLACEMENT_OPS
                or metadata.op == "replace"
                or (row.op in ("same", "refresh"))
            ):
                row.op, row.metadata, row.is_done = metadata.op, metadata, False
            return row
        if row is None:
            return None
        if event.kind == "resOpFailedEvent":
            row.is_failed = row.is_done = True
        elif event.kind == "resOutputsEvent":
            if row.op == "refresh":
                row.op, row.metadata = metadata.op, metadata
            row.is_done = True
            if urns.is_root_stack(metadata.urn) and metadata.new is not None:
                self._note_outputs(metadata)
        row.seconds = time.monotonic() - row.started
        return row

    def _note_outputs(self, metadata: StepMetadata) -> None:
        old = (metadata.old.outputs or {}) if metadata.old is not None else {}
        new = (metadata.new.outputs or {}) if metadata.new is not None else {}
        difference = diff_maps(old, new)
        self.output_changes = (
            [] if difference is None else list(_flatten([], ValueDiff(object=difference)))
        )

    def walk(self) -> Iterator[tuple[str, Row]]:
        """Yield the rows to show, with the lines of the tree before each."""
        children: dict[str, list[Row]] = {}
        needed: set[str] = set()
        for row in self.rows.values():
            parent = row.parent if row.parent in self.rows else ""
            children.setdefault(parent, []).append(row)
            if row.is_shown() or row.is_failed:
                current: str = row.urn
                while current and current not in needed:
                    needed.add(current)
                    above = self.rows.get(current)
                    current = (
                        above.parent if above is not None and above.parent in self.rows else ""
                    )

        def below(parent: str, indent: str) -> Iterator[tuple[str, Row]]:
            rows = [row for row in children.get(parent, ()) if row.urn in needed]
            for index, row in enumerate(rows):
                is_last = index == len(rows) - 1
                if not parent:
                    yield "", row
                    yield from below(row.urn, "")
                else:
                    yield indent + ("└─ " if is_last else "├─ "), row
                    yield from below(row.urn, indent + ("   " if is_last else "│  "))

        yield from below("", "")


# --- the displays


class PlainDisplay:
    """Lines: progress as it happens, the tree at the end."""

    def __init__(self, title: str, stream: TextIO, *, is_preview: bool, diff: bool) -> None:
        self._stream = stream
        self._is_preview = is_preview
        self._diff = diff
        self.tree = Tree()
        self._say(title)

    def __call__(self, event: Event) -> None:
        row = self.tree.take(event)
        if event.kind == "diagnosticEvent":
            severity, _, text = self.tree.diagnostics[-1]
            if severity in ("info", "info#err"):
                self._say(f"    {text}")
            return
        if row is None or self._is_preview or event.metadata is None or event.metadata.op == "same":
            return
        op = event.metadata.op
        symbol = SYMBOLS.get(op, " ")
        if event.kind == "resourcePreEvent":
            if op != "replace":
                self._say(f" {symbol:<2} {row.type} {row.name} {_DOING.get(op, op)}")
        elif event.kind == "resOpFailedEvent":
            self._say(f" {symbol:<2} {row.type} {row.name} failed ({row.seconds:.1f}s)")
        elif op != "replace" and event.metadata.type != urns.ROOT_STACK_TYPE:
            self._say(
                f" {symbol:<2} {row.type} {row.name} {_DONE.get(op, op)} ({row.seconds:.1f}s)"
            )

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def finish(self, result: Result, *, show_secrets: bool = False) -> None:
        for line, _ in report(
            self.tree,
            result,
            is_preview=self._is_preview,
            diff=self._diff,
            show_secrets=show_secrets,
        ):
            self._say(line)


class LiveDisplay:
    """What is under way, redrawn on a terminal; the tree at the end."""

    def __init__(self, title: str, stream: TextIO, *, is_preview: bool, diff: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._is_preview = is_preview
        self._diff = diff
        self.tree = Tree()
        # The stream is kept: the program's own output is caught while it runs.
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._console.print(title, style="bold")
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def __call__(self, event: Event) -> None:
        self.tree.take(event)
        if event.kind == "cancelEvent":
            self._live.stop()
        if event.kind == "diagnosticEvent":
            severity, _, text = self.tree.diagnostics[-1]
            if severity in ("info", "info#err"):
                self._console.print(f"    {text}", markup=False)

    def _render(self) -> Any:
        from rich.text import Text

        rows = list(self.tree.rows.values())
        text = Text()
        busy = [row for row in rows if not row.is_done and row.op not in ("same", "replace")]
        for row in busy[:20]:
            seconds = time.monotonic() - row.started
            line = f" {SYMBOLS.get(row.op, ' '):<2} {row.type} {row.name} "
            line += f"{_DOING.get(row.op, row.op)} ({seconds:.0f}s)\n"
            text.append(line, style=COLOURS.get(row.op, ""))
        done = sum(row.is_done for row in rows)
        text.append(f"    {done} of {len(rows)} resources done", style="dim")
        return text

    def finish(self, result: Result, *, show_secrets: bool = False) -> None:
        self._live.stop()
        for line, style in report(
            self.tree,
            result,
            is_preview=self._is_preview,
            diff=self._diff,
            show_secrets=show_secrets,
        ):
            self._console.print(line, style=style or None, markup=False)


def report(
    tree: Tree, result: Result, *, is_preview: bool, diff: bool, show_secrets: bool
) -> Iterator[tuple[str, str]]:
    """Yield the lines of the final report, each with its style."""
    rows = list(tree.walk())
    width = max((len(lead) + len(row.type) for lead, row in rows), default=0)
    names = max((len(row.name) for _, row in rows), default=0)
    for lead, row in rows:
        symbol = SYMBOLS.get(row.op, " ")
        status = "" if row.op == "same" else (row.op if is_preview else _status(row))
        head = f" {symbol:<2} {lead + row.type:<{width}}  {row.name:<{names}}  {status}"
        yield head.rstrip(), "red" if row.is_failed else COLOURS.get(row.op, "")
        indent = " " * (8 + len(lead))
        for change in _changes(row, diff):
            yield f"{indent}{change}", ""
    errors = [item for item in tree.diagnostics if item[0] in ("error", "warning")]
    if errors:
        yield "Diagnostics:", "bold"
        for severity, urn, text in errors:
            where = f"{urns.type_of(urn)} ({urns.name(urn)}): " if urns.is_valid(urn) else ""
            first, *rest = text.splitlines() or [""]
            yield f"  {where}{severity}: {first}", "red" if severity == "error" else "yellow"
            for line in rest:
                yield f"    {line}", ""
    yield from _outputs(tree, result, show_secrets)
    yield from _summary(result, is_preview)


def _status(row: Row) -> str:
    if row.is_failed:
        return f"{row.op} failed"
    word = (_DONE if row.is_done else _DOING).get(row.op, row.op)
    return f"{word} ({row.seconds:.1f}s)" if row.is_done else word


def _changes(row: Row, diff: bool) -> list[str]:
    metadata = row.metadata
    if row.op in ("update", "replace", "refresh", "create-replacement", "import-replacement"):
        changes = [str(item) for item in property_changes(metadata)]
        if not changes and metadata.keys:
            changes = [f"replaced because of: {', '.join(metadata.keys)}"]
        return changes
    if not diff:
        return []
    state = metadata.new or metadata.old
    if state is None or row.op == "same":
        return []
    symbol = "-" if row.op.startswith("delete") else "+"
    inputs = state.inputs or {}
    return [
        f"{symbol} {key}: {show(inputs[key])}"
        for key in sorted(inputs)
        if not key.startswith("__") and inputs[key] is not None
    ]


def _outputs(tree: Tree, result: Result, show_secrets: bool) -> Iterator[tuple[str, str]]:
    if not result.outputs and not tree.output_changes:
        return
    yield "Outputs:", "bold"
    changed = {parse_path(item.path)[0]: item for item in tree.output_changes}
    for key, value in sorted(result.plain_outputs(show_secrets=show_secrets).items()):
        item = changed.get(key)
        symbol = {"add": "+", "update": "~"}.get(item.kind, "~") if item is not None else " "
        text = json.dumps(value, ensure_ascii=False).replace('"output<string>"', "(known after up)")
        yield f"  {symbol} {key}: {text}", "green" if symbol == "+" else ""
    for item in tree.output_changes:
        if item.kind == "delete" and item.path not in result.outputs:
            yield f"  {item}", "red"


def _summary(result: Result, is_preview: bool) -> Iterator[tuple[str, str]]:
    yield "Resources:", "bold"
    words = {"same": "unchanged"}
    counts = {op: count for op, count in result.changes.items() if count}
    for op in (*_SUMMARY_ORDER, *sorted(set(counts) - set(_SUMMARY_ORDER))):
        if op not in counts:
            continue
        if op == "same":
            yield f"    {counts[op]} unchanged", ""
        else:
            word = f"to {op}" if is_preview else _DONE.get(op, words.get(op, op))
            yield f"    {SYMBOLS.get(op, ' ')} {counts[op]} {word}", COLOURS.get(op, "")
    if not counts:
        yield "    no resources", ""
    elif set(counts) <= {"same"} and result.ok:
        yield "    no changes", ""
    yield f"Duration: {result.duration_seconds:.1f}s", ""
    if not result.ok:
        yield f"The {'preview' if is_preview else 'update'} {result.result}.", "red"
