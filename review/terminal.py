"""Shows reviews on a terminal, in the same order as the pull-request comment."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from review.diff import PropertyChange, is_policy, show_pair
from review.summary import ResourceChange, Review

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from review.contract import Broken

_PROPERTY_LIMIT = 8


def print_reviews(reviews: Sequence[Review], console: Console) -> None:
    """Print each stack's review.

    Values are printed as text: no markup, link or escape sequence in them takes effect.
    """
    for review in reviews:
        _print_review(review, console)


def _print_review(review: Review, console: Console) -> None:
    console.print(_line((f"Stack {review.stack or review.source}", "bold")), highlight=False)
    for text in review.warnings:
        console.print(_line((f"warning: {text}", "yellow")), highlight=False)
    for error in review.errors:
        console.print(_line((f"the preview failed: {error}", "bold red")), highlight=False)
    _heading(console, "Can lose data", len(review.losses), "bold red")
    for change in review.losses:
        _item(console, change, "!", "red", f": {change.loss}")
    breaking = [item for item in review.broken if item.level == "breaks"]
    warning = [item for item in review.broken if item.level != "breaks"]
    _jobs(console, "Jobs that would break", breaking, "bold red")
    _group(console, "Replaced", review.replaced, "±", "magenta")
    _group(console, "Deleted", review.deleted, "-", "red")
    _jobs(console, "Warnings for jobs", warning, "bold yellow")
    _heading(console, "Access", len(review.access), "bold yellow")
    for access in review.access:
        style = {"public": "red", "network": "yellow", "gains": "yellow", "unknown": "yellow"}.get(
            access.level, "dim"
        )
        text = f"{access.text[:1].upper()}{access.text[1:]}"
        console.print(_line((f"  {access.level:<8}", style), (text, "")), highlight=False)
    _print_cost(console, review)
    _heading(console, "Policy", len(review.violations), "bold yellow")
    for item in review.violations:
        text = f"{item.rule} {item.resource}: {item.problem} {item.fix}"
        console.print(_line((f"  {item.level:<10}", "yellow"), (text, "")), highlight=False)
    _heading(console, "Over quota", len(review.quota), "bold yellow")
    for item in review.quota:
        console.print(_line((f"  {item.text}", "")), highlight=False)
    _group(console, "Updated", review.updated, "~", "yellow")
    _group(console, "Created", review.created, "+", "green")
    _group(console, "Imported, discarded and other", review.other, "?", "cyan")
    if review.drifted:
        _heading(console, "Changed outside Pulumi", len(review.drifted), "bold cyan")
        for text in review.drifted:
            console.print(_line((f"  {text}", "")), highlight=False)
    console.print(_line((f"Unchanged: {review.unchanged}", "dim")), highlight=False)
    console.print()


def _heading(console: Console, title: str, count: int, style: str) -> None:
    if count:
        console.print(_line((f"{title} ({count})", style)), highlight=False)


def _jobs(console: Console, title: str, findings: Sequence[Broken], style: str) -> None:
    _heading(console, title, len(findings), style)
    for item in findings:
        sign = "✗" if item.level == "breaks" else "!"
        console.print(
            _line((f"  {sign} ", style), (item.job, "bold"), (f": {item.problem}", "")),
            highlight=False,
        )
        console.print(_line((f"    change: {item.change}. {item.fix}", "dim")), highlight=False)


def _group(
    console: Console, title: str, changes: Sequence[ResourceChange], sign: str, style: str
) -> None:
    _heading(console, title, len(changes), f"bold {style}")
    for change in changes:
        tail = f" ({change.order})" if change.order else ""
        if change.reason:
            tail += f": {change.reason}"
        if change.is_kept:
            tail += ": kept in the cloud"
        _item(console, change, sign, style, tail)
        if not change.reason:
            _properties(console, change.changes)


def _item(console: Console, change: ResourceChange, sign: str, style: str, tail: str) -> None:
    console.print(
        _line((f"  {sign} ", style), (change.name, "bold"), (f" {change.type}", "dim"), (tail, "")),
        highlight=False,
    )


def _properties(console: Console, changes: Iterable[PropertyChange]) -> None:
    listed = list(changes)
    for item in listed[:_PROPERTY_LIMIT]:
        cause = " [forces replacement]" if item.replaces else ""
        old, new = show_pair(item, limit=60)
        text = f"      {item.path}: {old} -> {new}"
        if item.is_secret and old == new:
            text = f"      {item.path}: a secret changes"
        elif is_policy(item):
            text = f"      {item.path}: what the policy allows, see access"
        console.print(_line((text, ""), (cause, "magenta")), highlight=False)
    if len(listed) > _PROPERTY_LIMIT:
        console.print(
            _line((f"      and {len(listed) - _PROPERTY_LIMIT} more", "dim")), highlight=False
        )


def _print_cost(console: Console, review: Review) -> None:
    cost = review.cost
    if cost is None or not cost.lines:
        return
    from rich.table import Table

    table = Table(title="Cost a month (USD)", title_justify="left", title_style="bold", box=None)
    table.add_column("")
    for heading in ("floor now", "floor after", "ceiling now", "ceiling after"):
        table.add_column(heading, justify="right")
    for line in cost.lines:
        table.add_row(
            _line((f"{line.name} {line.detail}", "")),
            *(
                _usd(v)
                for v in (
                    line.floor_before,
                    line.floor_after,
                    line.ceiling_before,
                    line.ceiling_after,
                )
            ),
        )
    table.add_row(
        _line((cost.total_name, "bold")),
        *(
            _usd(v)
            for v in (
                cost.floor_before_usd,
                cost.floor_after_usd,
                cost.ceiling_before_usd,
                cost.ceiling_after_usd,
            )
        ),
    )
    console.print(table)
    for note in (*cost.notes, cost.source):
        console.print(_line((f"  {note}", "dim")), highlight=False)


def _usd(value: float | None) -> str:
    return "no price" if value is None else f"{value:,.2f}"


def _line(*parts: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*((_printable(text), style) for text, style in parts if text))


def _printable(text: str) -> str:
    text = re.sub(r"[\r\n\t]+", " ", text)
    return "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))
