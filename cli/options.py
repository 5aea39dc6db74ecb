"""Options that several verbs share, so that they are spelled and explained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def target_options(command: F) -> F:
    """Add --stack and --outputs: which stack a verb works against."""
    command = click.option(
        "--outputs",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The stack's outputs, saved: no Pulumi is needed then.",
    )(command)
    return click.option(
        "--stack",
        metavar="NAME",
        envvar="TRAINSTACK_STACK",
        help="The stack. [default: ./outputs.json, else the running lab's]",
    )(command)


def cloud_option(command: F) -> F:
    """Add --on: one cloud."""
    return click.option(
        "--on",
        "cloud",
        type=click.Choice(["aws", "azure"]),
        help="The cloud, where the stack has both.",
    )(command)


def output_option(command: F) -> F:
    """Add --output json|table."""
    return click.option(
        "--output",
        "-o",
        "output_format",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="json goes to stdout alone; words go to stderr.",
    )(command)


def job_options(command: F) -> F:
    """Add the JOB argument and what finds it."""
    command = output_option(cloud_option(target_options(command)))
    return click.argument("job", metavar="JOB", shell_complete=_complete_job)(command)


def set_option(command: F) -> F:
    """Add --set a.b=c."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="A.B=C",
        help="Change a value of the job file, such as compute.instances=2. May be repeated.",
    )(command)


def _complete_job(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete job names; a shell's Tab never shows an error."""
    try:
        from cli.target import load_target
        from training.backends import connect

        target = load_target(ctx.params.get("stack"), ctx.params.get("outputs"))
        return [
            job.handle.name
            for cloud in target.clouds
            for job in connect(cloud, target).list(limit=30, name_contains=incomplete or None)
            if job.handle.name.startswith(incomplete)
        ]
    except Exception:
        return []
