"""How verbs print: data on stdout (JSON or a table), words for the person on stderr, colour only on a terminal."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from training.backends.base import JobState, JobStatus

_COLOURS = {
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.STOPPED: "yellow",
    JobState.STOPPING: "yellow",
    JobState.RUNNING: "cyan",
}


def say(text: str) -> None:
    """Print words for the person: to stderr, so that stdout stays data."""
    click.echo(text, err=True)


def print_json(data: Any) -> None:
    """Print data as JSON to stdout."""
    click.echo(json.dumps(data, indent=2, default=_plain))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as a table to stdout: in colour on a terminal, plain and never cut off in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for row in rows:
        table.add_row(*(item if isinstance(item, Text) else Text(_cell(item)) for item in row))
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    plain = Console(width=10_000, no_color=True, file=io.StringIO())
    with plain.capture() as captured:
        plain.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def state_text(state: JobState) -> Any:
    """Return the state in its colour, for a table."""
    from rich.text import Text

    return Text(str(state), style=_COLOURS.get(state, ""))


def job_json(status: JobStatus) -> dict[str, Any]:
    """Return one reading of a job as plain data. Times are ISO 8601, durations seconds."""
    fields = {
        field.name: getattr(status, field.name)
        for field in dataclasses.fields(status)
        if field.name != "handle"
    }
    return {
        "handle": str(status.handle),
        "cloud": status.handle.cloud,
        "name": status.handle.name,
        **fields,
        "duration_seconds": status.duration_seconds,
    }


def seconds_text(seconds: float | None) -> str:
    """Return 3 s, 4 min 05 s, 2 h 07 min."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
