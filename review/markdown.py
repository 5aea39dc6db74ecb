"""Renders reviews as one Markdown comment that GitHub takes: under its limit, with nothing that a value injects.

Every text that does not come from this project stands in a code span or a fence, which is where GitHub expands neither
mentions nor HTML. When the comment would be too long, the least important parts are shortened first: creates,
then updates, then explanations; a destructive change is named as long as its bare name fits.
https://docs.github.com/rest/issues/comments
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from review.access import AccessChange
from review.diff import PropertyChange, is_policy, show_pair
from review.summary import ResourceChange, Review

if TYPE_CHECKING:
    from pricing.stack_cost import CostLine

# GitHub refuses a body over 65,536 characters. UTF-16 units are counted, with a margin for what a workflow adds.
LIMIT = 62_000
# The comment that is updated in place is the one that starts with this.
MARKER = "<!-- trainstack-review -->"

_PROPERTY_LIMIT = 12
# A group with more items than this is folded, unless it destroys something.
_FOLD_OVER = 8


@dataclass
class _Section:
    """A heading and its items, each at three lengths: in full, one line, a bare name."""

    kind: str
    title: str
    items: list[tuple[str, str, str]]
    is_folded: bool = False
    level: int = 0
    # At the last level: how many names still fit.
    shown: int | None = None
    groups: dict[str, list[str]] = field(default_factory=dict)

    def render(self) -> str:
        if not self.items:
            return ""
        body = self._body()
        if self.is_folded:
            return f"<details><summary><b>{self.title}</b></summary>\n\n{body}\n\n</details>\n\n"
        return f"### {self.title}\n\n{body}\n\n"

    def _body(self) -> str:
        if self.level < 2:
            return "\n".join(item[self.level] for item in self.items)
        names = [item[2] for item in self.items]
        shown = names if self.shown is None else names[: self.shown]
        text = ", ".join(shown)
        left = len(names) - len(shown)
        if left:
            text += f"{' and ' if shown else ''}**{left:,} more**, left out to stay under GitHub's limit"
        return text


# What is shortened first. Each entry: section kind, and the level it goes to (3: names are cut to a count).
_SHORTEN = (
    ("created", 1),
    ("created", 2),
    ("updated", 1),
    ("policy", 1),
    ("updated", 2),
    ("other", 2),
    ("access-loses", 2),
    ("access-network", 2),
    ("created", 3),
    ("access-gains", 1),
    ("deleted", 1),
    ("replaced", 1),
    ("losses", 1),
    ("updated", 3),
    ("policy", 3),
    ("other", 3),
    ("access-loses", 3),
    ("deleted", 2),
    ("replaced", 2),
    ("losses", 2),
    ("access-network", 3),
    ("access-gains", 3),
    ("job-warnings", 1),
    ("job-warnings", 3),
    ("broken", 1),
    ("broken", 3),
    ("deleted", 3),
    ("replaced", 3),
    ("losses", 3),
    ("access-public", 3),
)


def render_markdown(
    reviews: Sequence[Review], *, limit: int = LIMIT, failed: Sequence[str] = ()
) -> str:
    """Return the comment, of at most ``limit`` UTF-16 units. Deterministic."""
    ordered = sorted(
        reviews, key=lambda item: (not item.losses, not item.replaced, item.stack, item.source)
    )
    head = f"{MARKER}\n## {_headline(ordered)}\n\n"
    if failed:
        head += "**Fails:** " + "; ".join(_prose(reason) for reason in failed[:8]) + "\n\n"
    if len(ordered) > 1:
        head += _stack_table(ordered[:50])
    parts: list[str | _Section] = [head]
    for review in ordered:
        parts += _stack_parts(review, is_alone=len(ordered) == 1)
    return _fit(parts, limit)


def code(text: object, *, limit: int = 160) -> str:
    """Return a text as a code span that it cannot leave: no control characters, more backticks around than within."""
    plain = _printable(str(text))
    if len(plain) > limit:
        plain = f"{plain[: limit - 1]}…"
    if not plain:
        plain = " "
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if plain[0] in "` " or plain[-1] in "` " else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def cell(text: object, *, limit: int = 160) -> str:
    """Return a text as a code span for a table, where a pipe would end the cell even within code."""
    return code(text, limit=limit).replace("|", "\\|")


def utf16_length(text: str) -> int:
    """Return the length as GitHub counts it at worst: a character beyond the basic plane is two."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _fit(parts: list[str | _Section], limit: int) -> str:
    def total() -> tuple[str, int]:
        text = "".join(part if isinstance(part, str) else part.render() for part in parts)
        return text.rstrip() + "\n", utf16_length(text)

    text, length = total()
    for kind, level in _SHORTEN:
        if length <= limit:
            return text
        for section in parts:
            if not isinstance(section, _Section) or section.kind != kind:
                continue
            if level == 3:
                section.level = 2
                excess = length - limit
                section.shown = _names_that_fit(section, excess)
            else:
                section.level = level
                section.is_folded = section.is_folded or (kind not in _OPEN_KINDS)
            text, length = total()
    if length <= limit:
        return text
    # Only texts of stacks without end are left; a cut at a line border keeps the Markdown whole.
    kept = text.encode("utf-16-le")[: 2 * (limit - 80)].decode("utf-16-le", "ignore")
    return (
        kept.rpartition("\n")[0] + "\n\n**The rest was left out to stay under GitHub's limit.**\n"
    )


_OPEN_KINDS = frozenset({"losses", "replaced", "deleted", "access-public", "broken"})


def _names_that_fit(section: _Section, excess: int) -> int:
    """Return how many names may stay so that the section gives back ``excess`` units."""
    names = [item[2] for item in section.items]
    freed = -80  # the sentence that says how many were left out
    shown = len(names)
    while shown and freed < excess:
        shown -= 1
        freed += utf16_length(names[shown]) + 2
    return shown


def _headline(reviews: Sequence[Review]) -> str:
    total = {
        "can lose data": sum(len(r.losses) for r in reviews),
        "jobs would break": sum(
            len({b.job for b in r.broken if b.level == "breaks"}) for r in reviews
        ),
        "replaced": sum(len(r.replaced) for r in reviews),
        "deleted": sum(len(r.deleted) for r in reviews),
        "updated": sum(len(r.updated) for r in reviews),
        "created": sum(len(r.created) for r in reviews),
    }
    words = ", ".join(f"{count:,} {name}" for name, count in total.items() if count)
    words = (
        words.replace("1 jobs would", "1 job would") if total["jobs would break"] == 1 else words
    )
    if any(r.errors for r in reviews):
        words = f"the preview failed{'; ' + words if words else ''}"
    if len(reviews) == 1:
        stack = f"stack {code(reviews[0].stack)}" if reviews[0].stack else "an empty preview"
        return f"Review of {stack}: {words or 'no changes'}"
    return f"Review of {len(reviews)} stacks: {words or 'no changes'}"


def _stack_table(reviews: Sequence[Review]) -> str:
    rows = [
        "| stack | can lose data | replaced | deleted | updated | created | unchanged | ceiling a month |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in reviews:
        change = _signed(r.cost.ceiling_change_usd) if r.cost else ""
        loss = f"**{len(r.losses)}**" if r.losses else "0"
        rows.append(
            f"| {cell(r.stack or r.source)} | {loss} | {len(r.replaced)} | {len(r.deleted)} | "
            f"{len(r.updated)} | {len(r.created)} | {r.unchanged} | {change} |"
        )
    return "\n".join(rows) + "\n\n"


def _stack_parts(review: Review, *, is_alone: bool) -> list[str | _Section]:
    parts: list[str | _Section] = []
    if not is_alone:
        parts.append(f"## Stack {code(review.stack or review.source)}\n\n")
    for warning in review.warnings:
        parts.append(f"> **Warning:** {_prose(warning)}\n\n")
    if review.errors:
        parts.append("### The preview failed\n\n" + _fenced("\n".join(review.errors[:5])) + "\n\n")
    parts.append(
        _Section(
            "losses",
            f"Can lose data ({len(review.losses):,})",
            [_loss_item(change) for change in review.losses],
        )
    )
    breaks, warns = _broken(review)
    parts.append(breaks)
    lost = {change.urn for change in review.losses}
    parts.append(
        _Section(
            "replaced",
            f"Replaced ({len(review.replaced):,})",
            [_replace_item(change, change.urn in lost) for change in review.replaced],
        )
    )
    parts.append(
        _Section(
            "deleted",
            f"Deleted ({len(review.deleted):,})",
            [_delete_item(change, change.urn in lost) for change in review.deleted],
        )
    )
    parts.append(warns)
    parts += _access_sections(review.access)
    if review.cost is not None:
        parts.append(_cost(review))
    parts += [_policy(review), _quota(review)]
    parts.append(
        _Section(
            "updated",
            f"Updated ({len(review.updated):,})",
            [_update_item(change) for change in review.updated],
            is_folded=len(review.updated) > _FOLD_OVER,
        )
    )
    parts.append(
        _Section(
            "created",
            f"Created ({len(review.created):,})",
            [(f"- {_what(c)}", f"- {_what(c)}", code(c.name, limit=60)) for c in review.created],
            is_folded=len(review.created) > _FOLD_OVER,
        )
    )
    parts.append(
        _Section(
            "other",
            f"Imported, discarded and other ({len(review.other):,})",
            [
                (f"- {code(c.op)} {_what(c)}", f"- {code(c.op)} {_what(c)}", code(c.name, limit=60))
                for c in review.other
            ],
            is_folded=len(review.other) > _FOLD_OVER,
        )
    )
    if review.drifted:
        shown = ", ".join(code(text) for text in review.drifted[:20])
        parts.append(f"Changed outside Pulumi ({len(review.drifted):,}): {shown}\n\n")
    parts.append(f"Unchanged: {review.unchanged:,}\n\n")
    return parts


def _what(change: ResourceChange) -> str:
    return f"{code(change.type, limit=100)} **{code(change.name, limit=100)}**"


def _loss_item(change: ResourceChange) -> tuple[str, str, str]:
    verb = {"replace": "replaced", "delete": "deleted", "update": "updated"}.get(
        change.op, change.op
    )
    line = f"- **{verb}** {_what(change)}"
    protect = " It was protected." if change.was_protected else ""
    why = _because(change)
    full = f"{line}: {change.loss}.{protect}".replace("..", ".") + (f" {why}" if why else "")
    return full, f"{line}: {change.loss}", code(change.name, limit=60)


def _because(change: ResourceChange) -> str:
    causes = change.replacing
    if causes:
        return "Cause: " + "; ".join(_arrow(item) for item in causes[:3]) + "."
    return f"Cause: {_prose(change.reason)}." if change.reason else ""


def _replace_item(change: ResourceChange, is_loss: bool) -> tuple[str, str, str]:
    causes = change.replacing
    keys = ", ".join(code(item.path, limit=60) for item in causes[:4])
    line = f"- {_what(change)}" + (f": {keys}" if keys else f": {_prose(change.reason)}")
    order = f" ({change.order})" if change.order else ""
    mark = " **can lose data, see above**" if is_loss else ""
    kept = " The old one is kept in the cloud." if change.is_kept else ""
    lead = " because" if causes else f": {_prose(change.reason)}"
    full = [f"- {_what(change)}{lead}"]
    if causes:
        full[0] += " " + "; ".join(_arrow(item) for item in causes[:4])
    full[0] += f"{order}{mark}.{kept}"
    # What follows another replacement says so, and no more.
    rest = [item for item in change.changes if not item.replaces] if causes else []
    full += _property_lines(rest)
    return "\n".join(full), line, code(change.name, limit=60)


def _delete_item(change: ResourceChange, is_loss: bool) -> tuple[str, str, str]:
    line = f"- {_what(change)}"
    notes = []
    if is_loss:
        notes.append("**can lose data, see above**")
    if change.is_kept:
        notes.append("kept in the cloud: only the state forgets it")
    if change.was_protected:
        notes.append("was protected")
    return line + (f": {'; '.join(notes)}" if notes else ""), line, code(change.name, limit=60)


def _update_item(change: ResourceChange) -> tuple[str, str, str]:
    keys = ", ".join(code(item.path, limit=60) for item in change.changes[:6])
    more = f" and {len(change.changes) - 6} more" if len(change.changes) > 6 else ""
    line = f"- {_what(change)}" + (f": {keys}{more}" if keys else "")
    if len(change.changes) == 1:
        full = f"- {_what(change)}: {_arrow(change.changes[0])}"
    else:
        full = "\n".join([f"- {_what(change)}", *_property_lines(change.changes)])
    return full, line, code(change.name, limit=60)


def _property_lines(changes: Sequence[PropertyChange]) -> list[str]:
    lines = [f"  - {_arrow(item)}" for item in changes[:_PROPERTY_LIMIT]]
    if len(changes) > _PROPERTY_LIMIT:
        lines.append(f"  - and {len(changes) - _PROPERTY_LIMIT} more properties")
    return lines


def _arrow(change: PropertyChange) -> str:
    if change.is_secret and change.old == change.new:
        return f"{code(change.path, limit=100)}: a secret changes"
    if is_policy(change):
        return f"{code(change.path, limit=100)}: what the policy allows, see access"
    old, new = show_pair(change)
    return f"{code(change.path, limit=100)}: {code(old)} → {code(new)}"


_ACCESS_TITLES = {
    "public": "Opened to the public",
    "network": "New and reachable from the internet, with sign-in",
    "gains": "Access gained",
    "unknown": "Access that cannot be compared",
    "loses": "Access lost",
}


def _access_sections(changes: Iterable[AccessChange]) -> list[str | _Section]:
    groups: dict[str, list[AccessChange]] = {}
    for change in changes:
        groups.setdefault(change.level, []).append(change)
    sections: list[str | _Section] = []
    for level, title in _ACCESS_TITLES.items():
        items = groups.get(level, [])
        lines = [f"- {_access_text(item)}" for item in items]
        kind = "access-gains" if level == "unknown" else f"access-{level}"
        sections.append(
            _Section(
                kind,
                f"{title} ({len(items):,})",
                [
                    (line, line, code(item.parts[1], limit=60))
                    for line, item in zip(lines, items, strict=True)
                ],
                is_folded=level == "loses" or len(items) > 2 * _FOLD_OVER,
            )
        )
    return sections


def _access_text(change: AccessChange) -> str:
    text = "".join(
        part if index % 2 == 0 else (code(part) if part else "")
        for index, part in enumerate(change.parts)
    )
    return f"{text[:1].upper()}{text[1:]}"


def _broken(review: Review) -> list[_Section]:
    sections = []
    for level, kind, title in (
        ("breaks", "broken", "Jobs that would break"),
        ("warns", "job-warnings", "Warnings for jobs"),
    ):
        items = []
        for item in review.broken:
            if item.level != level:
                continue
            line = f"- {code(item.job)}: {_prose(item.problem)}."
            full = f"{line} Change: {_prose(item.change)}. {_prose(item.fix)}"
            items.append((full, line, code(item.job, limit=60)))
        count = len({item.job for item in review.broken if item.level == level})
        sections.append(_Section(kind, f"{title} ({count})", items, is_folded=len(items) > 20))
    return sections


def _policy(review: Review) -> _Section:
    items = []
    for item in review.violations:
        line = f"- {item.level}: {code(item.rule)} {code(item.resource)}: {_prose(item.problem)}"
        items.append((f"{line} {_prose(item.fix)}", line, code(item.rule, limit=60)))
    mandatory = any(item.level == "mandatory" for item in review.violations)
    return _Section(
        "policy",
        f"Policy ({len(items)})",
        items,
        is_folded=not mandatory and len(items) > _FOLD_OVER,
    )


def _quota(review: Review) -> _Section:
    lines = [f"- {_prose(item.text)}" for item in review.quota]
    items = [(line, line, line) for line in lines]
    return _Section("quota", f"Over quota ({len(items)})", items)


def _cost(review: Review) -> str:
    cost = review.cost
    if cost is None or not cost.lines:
        return ""
    rows = [
        "### Cost a month (USD)\n",
        "| | floor now | floor after | ceiling now | ceiling after | change of the ceiling |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for line in cost.lines[:20]:
        rows.append(
            f"| {cell(line.name)} {_prose(line.detail)} | {_usd(line.floor_before)} | {_usd(line.floor_after)} | "
            f"{_usd(line.ceiling_before)} | {_usd(line.ceiling_after)} | {_change(line)} |"
        )
    if len(cost.lines) > 20:
        rows.append(f"| and {len(cost.lines) - 20} more | | | | | |")
    rows.append(
        f"| **{_prose(cost.total_name)}** | {_usd(cost.floor_before_usd)} | {_usd(cost.floor_after_usd)} | "
        f"{_usd(cost.ceiling_before_usd)} | {_usd(cost.ceiling_after_usd)} | **{_signed(cost.ceiling_change_usd)}** |"
    )
    text = "\n".join(rows) + "\n\n"
    for note in cost.notes[:10]:
        text += f"- {_prose(note)}\n"
    return text + f"\n<sub>{_prose(cost.source)}</sub>\n\n"


def _usd(value: float | None) -> str:
    return "no price" if value is None else f"{value:,.2f}"


def _signed(value: float) -> str:
    return f"{value:+,.2f}" if abs(value) >= 0.005 else "0.00"


def _change(line: CostLine) -> str:
    before, after = line.ceiling_before, line.ceiling_after
    if before is None or after is None:
        return "no price"
    return _signed(after - before)


def _prose(text: str) -> str:
    """Our own sentence, which may quote a name in backticks or quotes: nothing else in it is Markdown or HTML."""
    parts = re.split(r"`([^`]*)`", _printable(text))
    out: Callable[[str], str] = _escape
    return "".join(out(part) if index % 2 == 0 else code(part) for index, part in enumerate(parts))


def _escape(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\*_\[\]|#~!])", r"\\\1", text)
    # A zero-width space keeps a mention or an issue link from being one.
    return text.replace("@", "@\u200b").replace("://", ":\u200b//")


def _fenced(text: str) -> str:
    plain = "\n".join(_printable(line) for line in text.splitlines())[:4000]
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{plain}\n{fence}"


def _printable(text: str) -> str:
    """Drop what is invisible or turns the text around, and put it on one line."""
    if text.isascii() and text.isprintable() and "  " not in text:
        return text
    text = re.sub(r"\s+", " ", text)
    return "".join(
        char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")
    )


__all__ = ["LIMIT", "MARKER", "cell", "code", "render_markdown", "utf16_length"]
