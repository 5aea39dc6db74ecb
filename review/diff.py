"""What changes in one resource, by property: path, old value, new value, and whether it forces a replacement."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from review.mask import SECRET, is_secret_name, mask_value, named_pair
from review.preview import Diff, State, Step

# How the engine writes a value that only `up` will know: one string in the digest, by type on the wire.
_UNKNOWNS = frozenset(
    {
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SIGNATURES = {
    "1b47061264138c4ac30d75fd1eb44270": "secret",
    "c44067f5952c0a294b673a41bacd8c17": "asset",
    "0def7320c3a5731c473e5ecbe6d01bc7": "archive",
    "5cf8f73096256a8f31e491e813e4eb8e": "resource",
    "d0e6a833031e9bbcd3f4e8bde6ca49a4": "output",
}
# What the engine itself puts among a replacement's reasons, in words.
_PSEUDO_REASONS = {
    "id": "asked for by --replace",
    "provider": "its provider changes",
    "replaceWith": "a resource it is replaced with is replaced",
    "deletedWith": "the resource it is deleted with is deleted",
}
_SEGMENT = re.compile(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|\.?([^.\[]+)')


class Unknown:
    """A value that is known only after ``pulumi up``."""

    def __repr__(self) -> str:
        return "(known after up)"


class Absent:
    """No value."""

    def __repr__(self) -> str:
        return "(none)"


UNKNOWN = Unknown()
ABSENT = Absent()


@dataclass(frozen=True, kw_only=True)
class PropertyChange:
    """One property's change. Values are plain JSON, UNKNOWN or ABSENT, with secrets already masked."""

    path: str
    old: Any
    new: Any
    replaces: bool = False
    is_secret: bool = False

    @property
    def top(self) -> str:
        return top_level(self.path)


def top_level(path: str) -> str:
    """Return a path's first key: ``tags["a.b"]`` -> ``tags``."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def plain(value: Any) -> Any:
    """Return a state's value without the engine's own notation: unknowns, secrets, assets, ``__defaults``."""
    if isinstance(value, str):
        return UNKNOWN if value in _UNKNOWNS else value
    if isinstance(value, dict):
        kind = _SIGNATURES.get(str(value.get(_SIGNATURE)))
        if kind == "secret":
            return SECRET
        if kind == "output":
            return plain(value["value"]) if "value" in value else UNKNOWN
        if kind == "resource":
            return str(value.get("urn", ""))
        if kind:
            # The text of an asset can be anything, so only its place and hash are shown.
            place = value.get("path") or value.get("uri") or ""
            return f"{kind} {place} sha256:{str(value.get('hash', ''))[:12]}".replace("  ", " ")
        return {key: plain(item) for key, item in value.items() if not key.startswith("__")}
    return [plain(item) for item in value] if isinstance(value, list) else value


def is_unknown(value: Any) -> bool:
    """Say whether a value, or any part of it, is known only after ``up``."""
    if isinstance(value, dict):
        return any(is_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(is_unknown(item) for item in value)
    return value is UNKNOWN or (isinstance(value, str) and value in _UNKNOWNS)


def property_changes(step: Step) -> tuple[PropertyChange, ...]:
    """Return what changes in an updated or replaced resource, replacing properties first, each path once.

    The provider's own detailed diff is used where it gave one; else the reasons' keys; else the inputs are compared.
    """
    old, new = step.old, step.new
    if old is None or new is None:
        return ()
    # azure-native gives paths, bridged providers top-level names; the kinds of a detailed diff are surest.
    has_kinds = any(diff.kind.endswith("-replace") for diff in step.diffs)
    reasons = set() if has_kinds else set(step.replace_reasons)
    found: dict[str, PropertyChange] = {}
    for change in _raw_changes(step, old, new):
        replaces = change.replaces or change.path in reasons or change.top in reasons
        found.setdefault(change.path, _masked(change, old, new, replaces=replaces))
    tags = {path.removeprefix("tags") for path in found if top_level(path) == "tags"}
    kept = [
        change
        for path, change in found.items()
        if not (change.top == "tagsAll" and (path.removeprefix("tagsAll") in tags))
        and not change.top.startswith("__")
    ]
    return tuple(sorted(kept, key=lambda change: (not change.replaces, change.path)))


def replace_reasons(step: Step) -> tuple[str, ...]:
    """Return why the engine itself replaces a resource, in words; properties' own reasons are in the changes."""
    return tuple(_PSEUDO_REASONS[key] for key in step.replace_reasons if key in _PSEUDO_REASONS)


def show(value: Any, *, limit: int = 90) -> str:
    """Return a value on one line of at most ``limit`` characters."""
    if value is UNKNOWN or value is ABSENT:
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=repr)
    text = text if text else '""'
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def show_pair(change: PropertyChange, *, limit: int = 90) -> tuple[str, str]:
    """Return both values on a line each; of two long texts that start alike, the part where they part."""
    old, new = change.old, change.new
    if isinstance(old, str) and isinstance(new, str) and max(len(old), len(new)) > limit:
        same = next(
            (i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), 0
        )
        if same > 20:
            old, new = f"…{old[same - 10 :]}", f"…{new[same - 10 :]}"
    return show(old, limit=limit), show(new, limit=limit)


def is_policy(change: PropertyChange) -> bool:
    """Both values are IAM policy documents: what they mean is told among the changes of access."""
    return all(
        isinstance(value, str) and '"Statement"' in value and value.lstrip().startswith("{")
        for value in (change.old, change.new)
    )


def _raw_changes(step: Step, old: State, new: State) -> Iterator[PropertyChange]:
    if step.diffs:
        for diff in step.diffs:
            yield from _from_diff(diff, old, new)
        return
    keys = dict.fromkeys(
        top_level(key)
        for key in (*step.replace_reasons, *step.diff_reasons)
        if key not in _PSEUDO_REASONS
    )
    if not keys:
        yield from _compare("", plain(dict(old.inputs)), plain(dict(new.inputs)))
        return
    for key in keys:
        if key not in new.inputs and key not in old.inputs:
            if key in map(top_level, step.replace_reasons) or not new.inputs:
                yield PropertyChange(path=key, old=plain(old.outputs.get(key, ABSENT)), new=UNKNOWN)
            continue
        before = old.inputs[key] if key in old.inputs else old.outputs.get(key, ABSENT)
        pairs = list(_compare(key, plain(before), plain(new.inputs.get(key, ABSENT))))
        # Equal on paper, as `[secret]` and `[secret]` are, and yet the provider says it changed.
        yield from pairs or [
            PropertyChange(path=key, old=plain(before), new=plain(new.inputs.get(key, ABSENT)))
        ]


def _from_diff(diff: Diff, old: State, new: State) -> Iterator[PropertyChange]:
    replaces = diff.kind.endswith("-replace")
    kind = diff.kind.removesuffix("-replace")
    sides = (old.inputs, old.outputs) if diff.is_input else (old.outputs, old.inputs)
    before: Any = ABSENT
    after: Any = ABSENT
    if kind != "add":
        before = next((v for side in sides if (v := _at(side, diff.path)) is not ABSENT), ABSENT)
    if kind != "delete":
        after = _at(new.inputs, diff.path)
        if after is ABSENT:
            after = _at(new.outputs, diff.path)
        if after is ABSENT:
            after = UNKNOWN
    before, after = plain(before), plain(after)
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = list(_compare(diff.path, before, after))
        if pairs:
            for pair in pairs:
                yield PropertyChange(path=pair.path, old=pair.old, new=pair.new, replaces=replaces)
            return
    yield PropertyChange(path=diff.path, old=before, new=after, replaces=replaces)


def _compare(path: str, old: Any, new: Any) -> Iterator[PropertyChange]:
    """Yield the leaves at which two plain values differ."""
    if old is new or (type(old) is type(new) and old == new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _compare(_join(path, key), old.get(key, ABSENT), new.get(key, ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _compare(f"{path}[{index}]", left, right)
    elif old != new:
        yield PropertyChange(path=path, old=old, new=new)


def _join(path: str, key: str) -> str:
    if not path:
        return key
    return f"{path}.{key}" if re.fullmatch(r"\w+", key) else f'{path}["{key}"]'


def _at(value: Any, path: str) -> Any:
    """Return what is at a path, or ABSENT. azure-native does not quote keys, so the longest key that fits is taken."""
    rest = path
    while rest:
        if isinstance(value, Mapping):
            bare = rest.removeprefix(".")
            literal = [
                key for key in value if bare == key or bare.startswith((f"{key}.", f"{key}["))
            ]
            if literal:
                key = max(literal, key=len)
                value, rest = value[key], bare[len(key) :]
                continue
        match = _SEGMENT.match(rest)
        if match is None:
            return ABSENT
        quoted, index, bare_key = match.groups()
        rest = rest[match.end() :]
        if index is not None and isinstance(value, list):
            if int(index) >= len(value):
                return ABSENT
            value = value[int(index)]
        elif isinstance(value, Mapping):
            key = quoted.replace('\\"', '"') if quoted is not None else (index or bare_key)
            if key not in value:
                return ABSENT
            value = value[key]
        else:
            # A secret hides its whole subtree.
            return SECRET if value == SECRET else ABSENT
    return value


def _masked(change: PropertyChange, old: State, new: State, *, replaces: bool) -> PropertyChange:
    names = [part for match in _SEGMENT.finditer(change.path) for part in match.groups() if part]
    secret = (
        change.old == SECRET
        or change.new == SECRET
        or change.top in old.secret_outputs | new.secret_outputs
        or any(is_secret_name(name) for name in names)
        or _is_of_secret_pair(change.path, old, new)
    )

    def cover(value: Any) -> Any:
        if value is UNKNOWN or value is ABSENT or value is None or isinstance(value, bool):
            return value
        if secret and value not in ("", {}, []):
            return SECRET
        return mask_value(value, name=names[-1] if names else "")

    before, after = cover(change.old), cover(change.new)
    return PropertyChange(
        path=change.path,
        old=before,
        new=after,
        replaces=replaces,
        is_secret=secret or (before == after and change.old != change.new),
    )


def _is_of_secret_pair(path: str, old: State, new: State) -> bool:
    """Whether a path is the value in {"name": "DB_PASSWORD", "value": ...}: the name stands beside it."""
    parent, _, last = path.rpartition(".")
    return any(
        named_pair(_at(side, parent)) == last
        for side in (old.inputs, old.outputs, new.inputs)
        if parent
    )
