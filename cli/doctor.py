"""``trainstack doctor``: what is reachable, who am I, which rights are missing."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import cloud_option, output_option, target_options


@click.command(short_help="Check what is reachable and which rights are missing.")
@cloud_option
@target_options
@output_option
def doctor(cloud: str | None, stack: str | None, outputs: Path | None, output_format: str) -> None:
    """Check, for each of the stack's clouds: credentials, reachability, rights. Exit code 1 where something failed."""
    from cli.output import print_json, print_table
    from cli.quota import quota_check
    from cli.target import load_target
    from training.backends import connect
    from training.backends.base import Check

    target = load_target(stack, outputs)
    checks = [Check(name="stack outputs", result="ok", detail=f"stack {target.stack_name!r}")]
    for name in [cloud] if cloud else target.clouds:
        found = list(connect(name, target).check())
        checks += found
        # Quotas are asked for with the same credentials, so only where those do.
        if all(check.result != "failed" for check in found):
            checks.append(quota_check(name, target))
    if output_format == "json":
        print_json([check.__dict__ for check in checks])
    else:
        from rich.text import Text

        colours = {"ok": "green", "failed": "red", "unknown": "yellow"}
        print_table(
            ("check", "result", "detail", "fix"),
            [
                (
                    check.name,
                    Text(check.result, style=colours[check.result]),
                    check.detail,
                    check.fix,
                )
                for check in checks
            ],
        )
    if any(check.result == "failed" for check in checks):
        raise click.exceptions.Exit(1)
