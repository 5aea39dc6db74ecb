"""``trainstack check``: which job files a change of the stack would break."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.options import output_option, target_options


class BrokenJobsError(Exception):
    """Some job would break. Exit code 3."""

    exit_code = 3


@click.command(short_help="Check which job files a preview would break.")
@click.argument("jobs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--preview",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="`pulumi preview --json`; `-` reads standard input.",
)
@target_options
@output_option
def check(
    jobs: tuple[Path, ...],
    preview: str | None,
    stack: str | None,
    outputs: Path | None,
    output_format: str,
) -> None:
    """Check job files, or folders of them, against the stack as it would be after a preview.

    Without --preview they are held against the stack as it is. Exit code 3 where a job would break.

    \b
    pulumi preview --json | trainstack check examples --preview -
    """
    from cli.target import load_target
    from review.contract import check_jobs, job_files
    from review.preview import load_preview

    now = None
    if outputs is not None or stack is not None or preview is None:
        now = load_target(stack, outputs)
    findings = check_jobs(jobs, load_preview(preview) if preview else None, now)
    files = len(job_files(jobs))
    if not files:
        raise click.UsageError("there is no job file in " + ", ".join(str(path) for path in jobs))
    if output_format == "json":
        click.echo(
            json.dumps(
                {"checked": files, "findings": [item.as_json() for item in findings]}, indent=2
            )
        )
    else:
        for item in findings:
            click.echo(
                f"{item.level:<7}{item.job}{f' ({item.cloud})' if item.cloud else ''}: {item.problem}"
            )
            click.echo(f"       change: {item.change}. {item.fix}")
        broken = {item.job for item in findings if item.level == "breaks"}
        click.echo(
            f"{files} job file{'' if files == 1 else 's'} checked, {len(broken)} would break."
        )
    if any(item.level == "breaks" for item in findings):
        raise BrokenJobsError("some jobs would break")
