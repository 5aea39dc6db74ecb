"""Reads what ``pulumi preview --json`` prints, of any provider, into steps.

The digest has no version and every key of it is optional, so nothing is required but what makes a step a step: its
operation and its URN. An operation that this module does not know counts as a change. The engine's event stream
(one JSON object a line) is read too. Shape: https://github.com/pulumi/pulumi/blob/master/pkg/display/json.go
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from review.mask import mask_text

# A preview of 1,000 resources is 2 to 5 MB.
SIZE_LIMIT_MIB = 64
_DEPTH_LIMIT = 100

# Steps that change nothing: `refresh` only reads, `read` reads what the stack does not own.
_NO_CHANGE = frozenset({"same", "read", "refresh"})
# One half of a replacement; `replace` stands for both.
_HALVES = frozenset(
    {
        "create-replacement",
        "delete-replaced",
        "import-replacement",
        "read-replacement",
        "discard-replaced",
        "remove-pending-replace",
    }
)
# What `changeSummary` counts and the default digest lists, one step each.
_COUNTED = ("create", "update", "delete", "replace", "import")


class PreviewError(ValueError):
    """A preview cannot be read. The message says which, why, and how to make a good one."""


@dataclass(frozen=True, kw_only=True)
class State:
    """One side of a step: a resource as the state has it, or as the program wants it."""

    type: str
    # False for a component, which exists in the state alone.
    is_custom: bool = True
    id: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""
    property_dependencies: Mapping[str, Any] = field(default_factory=dict)
    secret_outputs: frozenset[str] = frozenset()
    protect: bool = False
    retain_on_delete: bool = False
    external: bool = False
    # The old half of a replacement: gone after the new one exists, or before.
    is_delete: bool = False
    is_pending_replacement: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """Return an input, or where the program gave none the output of that name."""
        value = self.inputs.get(name)
        return value if value is not None else self.outputs.get(name, default)


@dataclass(frozen=True, kw_only=True)
class Diff:
    """One entry of ``detailedDiff``."""

    path: str
    kind: str
    # True: old inputs against new inputs. False: old outputs against new inputs.
    is_input: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the engine would do to one resource."""

    op: str
    urn: str
    type: str
    name: str
    old: State | None = None
    new: State | None = None
    diffs: tuple[Diff, ...] = ()
    diff_reasons: tuple[str, ...] = ()
    replace_reasons: tuple[str, ...] = ()

    @property
    def is_change(self) -> bool:
        return self.op not in _NO_CHANGE

    @property
    def is_component(self) -> bool:
        """It groups other resources and is nothing in a cloud."""
        state = self.new or self.old
        return state is not None and not state.is_custom

    @property
    def is_removal(self) -> bool:
        """The resource that exists now is gone afterwards, whether or not another takes its place."""
        return self.op in ("delete", "replace", "delete-replaced", "discard-replaced")


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    severity: str
    message: str
    urn: str = ""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """One stack's planned changes. ``steps`` are sorted by URN: the engine's own order varies between runs."""

    source: str
    stack: str
    project: str
    steps: tuple[Step, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    # What makes this preview less than whole, one sentence each.
    warnings: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.is_change)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(item for item in self.diagnostics if item.severity == "error")

    @property
    def unchanged(self) -> int:
        """How many resources stay as they are. The default digest counts them and lists none."""
        listed = sum(1 for step in self.steps if step.op == "same" and not _is_stack(step))
        stack = sum(1 for step in self.steps if step.op == "same" and _is_stack(step))
        return max(self.counts.get("same", 0) - stack, listed)

    @property
    def is_whole(self) -> bool:
        """Every resource of the stack is listed, the unchanged ones too (``--show-sames``)."""
        listed = sum(1 for step in self.steps if step.op == "same" and not _is_stack(step))
        return listed >= self.unchanged

    def resources_before(self) -> dict[str, State]:
        """Return what exists now, by URN, as far as the preview lists it."""
        return {step.urn: step.old for step in self.steps if step.old is not None}

    def resources_after(self) -> dict[str, State]:
        """Return what will exist, by URN, as far as the preview lists it."""
        return {
            step.urn: step.new
            for step in self.steps
            if step.new is not None and step.op not in ("delete", "discard")
        }


def load_preview(path: str | Path, *, size_limit_mib: int = SIZE_LIMIT_MIB) -> Preview:
    """Read a preview from a file, or from standard input where the path is ``-``. Raises PreviewError."""
    limit = size_limit_mib * 1024 * 1024
    source = "standard input" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise PreviewError(
            f"preview {source!r} cannot be read: {error.strerror}. "
            "Make one with: pulumi preview --json > preview.json"
        ) from error
    if len(data) > limit:
        raise PreviewError(
            f"preview {source!r} is over {size_limit_mib} MiB. Preview one stack at a time or a part of it "
            "(--target), or raise the limit with --max-size"
        )
    return parse_preview(data, source=source)


def parse_preview(data: bytes | str, *, source: str = "preview") -> Preview:
    """Read a digest or an event stream. Raises PreviewError for what is neither."""
    text = data if isinstance(data, str) else _decode(data, source)
    if not text.strip():
        raise PreviewError(
            f"preview {source!r} is empty: pulumi stopped before it planned anything. "
            "Run it again and read what it says on standard error"
        )
    document = _parse(text, source)
    if isinstance(document, list):
        return _from_events(document, source)
    return _from_digest(document, source)


def parse_urn(urn: str) -> tuple[str, str, str, str]:
    """Return stack, project, type and name of a URN. A name may hold ``::`` itself; parents' types are dropped."""
    parts = urn.split("::", 3)
    if len(parts) != 4 or not parts[0].startswith("urn:pulumi:"):
        raise ValueError(urn)
    return parts[0].removeprefix("urn:pulumi:"), parts[1], parts[2].rpartition("$")[2], parts[3]


def canonical_type(type_: str) -> str:
    """Return a type token without an API version and without the ``V2`` that aws 6 carried.

    ``azure-native:storage/v20240101:StorageAccount`` -> ``azure-native:storage:StorageAccount``,
    ``aws:s3/bucketV2:BucketV2`` -> ``aws:s3/bucket:Bucket``.
    """
    if type_.startswith("azure-native"):
        return re.sub(r"[/_]v\d{8}(preview|privatepreview)?(?=:)", "", type_)
    if type_.startswith("aws:"):
        return re.sub(r"^(aws:[^/]+/\w+?)V\d:(\w+?)V\d$", r"\1:\2", type_)
    return type_


def _decode(data: bytes, source: str) -> str:
    # PowerShell's `>` writes UTF-16.
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise PreviewError(
            f"preview {source!r} is no text: byte {error.start} is not {encoding.upper()}. "
            "Make one with: pulumi preview --json > preview.json"
        ) from error


def _parse(text: str, source: str) -> dict[str, Any] | list[dict[str, Any]]:
    try:
        document = json.loads(text)
    except RecursionError:
        raise _too_deep(source) from None
    except ValueError as error:
        events = _parse_lines(text, source)
        if events is not None:
            return events
        raise PreviewError(_why_not_json(text, error, source)) from error
    if _is_event(document):
        document = [document]
    if isinstance(document, list) and document and all(_is_event(item) for item in document):
        _check_depth(document, source)
        return document
    if not isinstance(document, dict):
        raise PreviewError(
            f"preview {source!r} holds {_kind(document)}, not a JSON object. "
            "Make one with: pulumi preview --json > preview.json"
        )
    _check_depth(document, source)
    return document


def _parse_lines(text: str, source: str) -> list[dict[str, Any]] | None:
    """Return the events of a stream, or None where the text is none. The last line may be cut: a kill does that."""
    lines = [line for line in text.splitlines() if line.strip()]
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
        except RecursionError:
            raise _too_deep(source) from None
        except ValueError:
            if not events:
                return None
            if number == len(lines):
                break
            raise PreviewError(
                f"preview {source!r}: line {number} of the event stream is not JSON"
            ) from None
        if not _is_event(event):
            if not events:
                return None
            continue
        events.append(event)
    _check_depth(events, source)
    return events


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and any(key.endswith("Event") for key in value)


def _why_not_json(text: str, error: ValueError, source: str) -> str:
    position = getattr(error, "pos", 0)
    line = getattr(error, "lineno", 1)
    start = text.lstrip()[:1]
    if start not in ("{", "["):
        return (
            f"preview {source!r} is not JSON: it starts with {mask_text(text.strip()[:200])[:40]!r}. "
            "Was `--json` left out? Make one with: pulumi preview --json > preview.json"
        )
    if position >= len(text.rstrip()) - 1 or "Unterminated" in str(error):
        return (
            f"preview {source!r} ends in the middle (line {line}): it was cut, or pulumi was stopped. "
            "Make it again with: pulumi preview --json > preview.json"
        )
    return (
        f"preview {source!r} is not JSON at line {line}, column {getattr(error, 'colno', 1)}: "
        f"{getattr(error, 'msg', error)}. Keep standard error out of the file: pulumi preview --json > preview.json"
    )


def _too_deep(source: str) -> PreviewError:
    return PreviewError(
        f"preview {source!r} nests deeper than {_DEPTH_LIMIT} levels; no preview of pulumi does"
    )


def _check_depth(document: Any, source: str) -> None:
    pending: list[tuple[Any, int]] = [(document, 0)]
    while pending:
        value, depth = pending.pop()
        if depth > _DEPTH_LIMIT:
            raise _too_deep(source)
        if isinstance(value, dict):
            pending.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            pending.extend((item, depth + 1) for item in value)


def _from_digest(document: Mapping[str, Any], source: str) -> Preview:
    if "deployment" in document or "checkpoint" in document:
        raise PreviewError(
            f"preview {source!r} is a stack's state, not a preview. "
            "Make one with: pulumi preview --json > preview.json"
        )
    if "resources" in document and "steps" not in document:
        raise PreviewError(
            f"preview {source!r} is the short form of `--output json`, which has no values. "
            "Make one with: pulumi preview --json > preview.json"
        )
    known = {"config", "steps", "diagnostics", "duration", "changeSummary", "maybeCorrupt"}
    if document and not known & set(document):
        raise PreviewError(
            f"preview {source!r} is some other JSON: it has {_listed(document)}, and none of 'steps' and "
            "'changeSummary'. Make one with: pulumi preview --json > preview.json"
        )
    steps = [
        _step(item, f"steps[{index}]", source)
        for index, item in enumerate(_list(document, "steps", source))
    ]
    diagnostics = [
        Diagnostic(
            severity=str(item.get("severity") or "info"),
            message=_clean(str(item.get("message") or "")),
            urn=str(item.get("urn") or ""),
        )
        for item in _list(document, "diagnostics", source)
        if isinstance(item, dict)
    ]
    return _preview(
        source,
        steps,
        counts=_counts(document.get("changeSummary")),
        diagnostics=diagnostics,
        config=document.get("config"),
        is_corrupt=bool(document.get("maybeCorrupt")),
    )


def _from_events(events: list[dict[str, Any]], source: str) -> Preview:
    events = sorted(events, key=lambda event: _number(event.get("sequence")))
    steps: list[Step] = []
    diagnostics: list[Diagnostic] = []
    config: Any = None
    summary: Mapping[str, Any] | None = None
    for event in events:
        if isinstance(body := event.get("preludeEvent"), dict):
            config = body.get("config")
        elif isinstance(body := event.get("resourcePreEvent"), dict):
            metadata = body.get("metadata")
            if isinstance(metadata, dict):
                steps.append(_step(_as_digest_step(metadata), "resourcePreEvent.metadata", source))
        elif isinstance(body := event.get("diagnosticEvent"), dict):
            severity = str(body.get("severity") or "info")
            if not body.get("ephemeral") and severity != "debug":
                text = _clean(f"{body.get('prefix') or ''}{body.get('message') or ''}")
                diagnostics.append(
                    Diagnostic(severity=severity, message=text, urn=str(body.get("urn") or ""))
                )
        elif isinstance(body := event.get("summaryEvent"), dict):
            summary = body
    counts = _counts((summary or {}).get("resourceChanges"))
    preview = _preview(
        source,
        steps,
        counts=counts,
        diagnostics=diagnostics,
        config=config,
        is_corrupt=bool((summary or {}).get("maybeCorrupt")),
    )
    if summary is None:
        cut = "The event stream has no summary: the preview was stopped, and changes may be missing here."
        preview = replace(preview, warnings=(*preview.warnings, cut))
    return preview


def _as_digest_step(metadata: Mapping[str, Any]) -> dict[str, Any]:
    detailed = metadata.get("detailedDiff")
    if isinstance(detailed, dict):
        detailed = {
            path: {**entry, "kind": entry.get("diffKind")}
            for path, entry in detailed.items()
            if isinstance(entry, dict)
        }
    return {
        "op": metadata.get("op"),
        "urn": metadata.get("urn"),
        "oldState": metadata.get("old"),
        "newState": metadata.get("new"),
        "replaceReasons": metadata.get("keys"),
        "diffReasons": metadata.get("diffs"),
        "detailedDiff": detailed,
    }


def _preview(
    source: str,
    steps: list[Step],
    *,
    counts: Mapping[str, int],
    diagnostics: list[Diagnostic],
    config: Any,
    is_corrupt: bool,
) -> Preview:
    stacks = Counter(parse_urn(step.urn)[:2] for step in steps)
    stack, project = stacks.most_common(1)[0][0] if stacks else ("", "")
    folded = _fold_replacements(steps)
    warnings = []
    if is_corrupt:
        warnings.append("Pulumi says that this stack's state may be corrupt.")
    listed = Counter(step.op for step in folded)
    for op in _COUNTED:
        if listed[op] < counts.get(op, 0):
            warnings.append(
                f"The preview counts {counts[op]} of {op} and lists {listed[op]}: it was cut, "
                "and changes are missing here."
            )
    config_texts = (
        {str(key): str(value) for key, value in config.items()} if isinstance(config, dict) else {}
    )
    return Preview(
        source=source,
        stack=stack,
        project=project,
        steps=tuple(sorted(folded, key=lambda step: (step.urn, step.op))),
        counts=counts
        or {op: count for op, count in listed.items() if op not in ("read", "refresh")},
        diagnostics=tuple(diagnostics),
        config=config_texts,
        warnings=tuple(warnings),
    )


def _fold_replacements(steps: Iterable[Step]) -> list[Step]:
    """Make one ``replace`` of a replacement's steps, with the reasons of whichever of them has any."""
    folded: list[Step] = []
    groups: dict[str, list[Step]] = {}
    for step in steps:
        if step.op == "replace" or step.op in _HALVES:
            groups.setdefault(step.urn, []).append(step)
        else:
            folded.append(step)
    for group in groups.values():
        logical = next((step for step in group if step.op == "replace"), None)
        old = next((step.old for step in [logical, *group] if step and step.old), None)
        new = next((step.new for step in [logical, *group] if step and step.new), None)
        if logical is None and (old is None or new is None):
            # Half a replacement: what an earlier, failed update left over.
            half = group[0]
            folded.append(replace(half, op="delete" if new is None else "create"))
            continue
        folded.append(
            replace(
                logical or group[0],
                op="replace",
                old=old,
                new=new,
                diffs=next((step.diffs for step in group if step.diffs), ()),
                diff_reasons=next((s.diff_reasons for s in group if s.diff_reasons), ()),
                replace_reasons=next((s.replace_reasons for s in group if s.replace_reasons), ()),
            )
        )
    return folded


def _step(item: Any, where: str, source: str) -> Step:
    if not isinstance(item, dict):
        raise PreviewError(f"preview {source!r}: {where} is {_kind(item)}, not an object")
    op, urn = item.get("op"), item.get("urn")
    if not isinstance(op, str) or not op:
        raise PreviewError(f"preview {source!r}: {where}.op is {op!r}; it must name an operation")
    try:
        _, _, type_, name = parse_urn(urn if isinstance(urn, str) else "")
    except ValueError:
        raise PreviewError(
            f"preview {source!r}: {where}.urn is {urn[:80] if isinstance(urn, str) else urn!r}; a URN has the form "
            "urn:pulumi:STACK::PROJECT::TYPE::NAME"
        ) from None
    detailed = item.get("detailedDiff")
    diffs = tuple(
        Diff(
            path=path,
            kind=str(entry.get("kind") or "update"),
            is_input=bool(entry.get("inputDiff")),
        )
        for path, entry in (detailed.items() if isinstance(detailed, dict) else ())
        if isinstance(entry, dict)
    )
    return Step(
        op=op,
        urn=str(urn),
        type=type_,
        name=name,
        old=_state(item.get("oldState"), type_),
        new=_state(item.get("newState"), type_),
        diffs=diffs,
        diff_reasons=_strings(item.get("diffReasons")),
        replace_reasons=_strings(item.get("replaceReasons")),
    )


def _state(value: Any, type_: str) -> State | None:
    if not isinstance(value, dict):
        return None
    return State(
        type=str(value.get("type") or type_),
        is_custom=value.get("custom") is not False,
        id=str(value.get("id") or ""),
        inputs=_mapping(value.get("inputs")),
        outputs=_mapping(value.get("outputs")),
        parent=str(value.get("parent") or ""),
        property_dependencies=_mapping(value.get("propertyDependencies")),
        secret_outputs=frozenset(_strings(value.get("additionalSecretOutputs"))),
        protect=bool(value.get("protect")),
        retain_on_delete=bool(value.get("retainOnDelete")),
        external=bool(value.get("external")),
        is_delete=bool(value.get("delete")),
        is_pending_replacement=bool(value.get("pendingReplacement")),
    )


def read_states(document: Mapping[str, Any], *, source: str = "state") -> dict[str, State]:
    """Return a stack's resources by URN from ``pulumi stack export`` or a checkpoint file. Raises PreviewError."""
    body: Any = document.get("deployment")
    if body is None and isinstance(checkpoint := document.get("checkpoint"), dict):
        body = checkpoint.get("latest")
    if not isinstance(body, dict) or not isinstance(body.get("resources", []), list):
        raise PreviewError(
            f"state {source!r} has no deployment. Make one with: pulumi stack export > state.json"
        )
    states = {}
    for item in body.get("resources", []):
        if isinstance(item, dict) and isinstance(item.get("urn"), str) and not item.get("delete"):
            states[item["urn"]] = _state(item, str(item.get("type") or ""))
    return {urn: state for urn, state in states.items() if state is not None}


def _is_stack(step: Step) -> bool:
    return step.type == "pulumi:pulumi:Stack"


def _list(document: Mapping[str, Any], key: str, source: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise PreviewError(f"preview {source!r}: {key!r} is {_kind(value)}, not a list")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _counts(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {str(op): int(_number(count)) for op, count in value.items()}


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and value == value else 0


_COLOUR_TAG = re.compile(r"<\{%[^%]*%\}>")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def _clean(message: str) -> str:
    return _ANSI.sub("", _COLOUR_TAG.sub("", message)).strip()


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")


def _listed(document: Mapping[str, Any]) -> str:
    return ", ".join(repr(key) for key in list(document)[:3])
