"""``trainstack status``: one job."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import job_options


@click.command(short_help="Show one job.")
@job_options
def status(
    job: str, cloud: str | None, stack: str | None, outputs: Path | None, output_format: str
) -> None:
    """Show JOB: a handle, a name, or the beginning of a name."""
    from cli.output import job_json, print_json, print_table, say, seconds_text, state_text
    from cli.target import load_target
    from training.find import find_job

    backend, handle = find_job(job, load_target(stack, outputs), cloud)
    found = backend.status(handle)
    if output_format == "json":
        print_json(job_json(found))
        return
    compute = f"{found.instances or 1} x {found.compute}" if found.compute else None
    rows = [
        ("job", handle),
        ("state", state_text(found.state)),
        ("cloud's state", found.cloud_state),
        ("reason", found.reason),
        ("compute", f"{compute} (spot)" if compute and found.is_spot else compute),
        ("created", found.created),
        ("started", found.started),
        ("ended", found.ended),
        ("took", seconds_text(found.duration_seconds)),
        ("billable", seconds_text(found.billable_seconds)),
        ("model", found.model),
        ("page", found.url),
    ]
    print_table(("", ""), [row for row in rows if row[1] not in (None, "")])
    if found.state == "SUCCEEDED":
        say(f"get the model: trainstack download {handle.name}")
    elif not found.state.is_terminal:
        say(f"follow it: trainstack logs -f {handle.name}")
