"""``trainstack check``: which job files a change of the stack would break."""

from __future__ import annotations

import json
from pathlib import Path

import click


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
@click.option("--stack", metavar="NAME", help="The stack whose outputs hold now.")
@click.option(
    "--outputs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The same outputs, saved.",
)
@click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def check(
    jobs: tuple[Path, ...],
    preview: str | None,
    stack: str | None,
    outputs: Path | None,
    output: str,
) -> None:
    """Check job files, or folders of them, against the stack as it would be after a preview.

    Without --preview they are held against the stack as it is. Exit code 3 where a job would break.

    \b
    pulumi preview --json | trainstack check examples --preview -
    """
    from infra.outputs import StackOutputs
    from review.contract import check_jobs, job_files
    from review.preview import load_preview

    now = None
    if outputs is not None:
        now = StackOutputs.from_file(outputs)
    elif stack is not None or preview is None:
        from cli.target import load_target

        now = load_target(stack, None)
    findings = check_jobs(jobs, load_preview(preview) if preview else None, now)
    files = len(job_files(jobs))
    if not files:
        raise click.UsageError("there is no job file in " + ", ".join(str(path) for path in jobs))
    if output == "json":
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
