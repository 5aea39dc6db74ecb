"""``trainstack review``: what a preview destroys, opens, costs and breaks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from policy.rules import PolicyConfig


class ReviewFailedError(Exception):
    """The review found what ``--fail-on`` names, or a preview that itself failed. Exit code 3."""

    exit_code = 3


@click.command(short_help="Review a Pulumi preview as a pull-request comment.")
@click.argument(
    "previews", nargs=-1, required=True, type=click.Path(dir_okay=False, allow_dash=True)
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "markdown", "json"]),
    default="table",
    show_default=True,
    help="markdown is a comment that GitHub takes: at most 65,536 characters.",
)
@click.option(
    "--fail-on",
    default="",
    metavar="WORDS",
    help="Exit with 3 on any of, comma between: data-loss, replace, delete, public, access, jobs, "
    "policy, quota, cost>USD.",
)
@click.option(
    "--jobs",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A job file or a folder of them to check against the stack as it would be. May be repeated.",
)
@click.option("--policy", is_flag=True, help="Check the policy pack's rules on each preview.")
@click.option(
    "--policy-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Levels and limits of the rules, as Pulumi's policy config JSON.",
)
@click.option(
    "--state",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="`pulumi stack export` of the stack, for the cost of what stays unchanged too.",
)
@click.option(
    "--outputs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The stack's saved outputs, for what the preview does not list.",
)
@click.option(
    "--quota/--no-quota",
    default=None,
    help="Ask both clouds for quotas. [default: those whose credentials are in the environment]",
)
@click.option(
    "--max-size",
    type=click.IntRange(1, 4096),
    default=None,
    metavar="MIB",
    help="The largest preview to read. [default: 64]",
)
def review(
    previews: tuple[str, ...],
    output: str,
    fail_on: str,
    jobs: tuple[Path, ...],
    policy: bool,
    policy_config: Path | None,
    state: Path | None,
    outputs: Path | None,
    quota: bool | None,
    max_size: int | None,
) -> None:
    """Review PREVIEWS, each from `pulumi preview --json` or from the lab; `-` reads standard input.

    First what can lose data, then jobs that would break, replacements and why, deletes, access, cost, updates
    and creates.

    Exit codes: 0 reviewed, 1 a preview cannot be read, 2 wrong usage, 3 it found what --fail-on names or the
    preview itself failed or was cut. cost>USD is the rise of the ceiling a month, and fails where a price is
    absent.

    \b
    pulumi preview --json > preview.json
    trainstack review preview.json
    trainstack review dev.json prod.json --output markdown --fail-on data-loss,public,'cost>500' > comment.md
    """
    from cli.quota import ask_quotas, ask_where_signed_in
    from infra.outputs import StackOutputs
    from review.markdown import render_markdown
    from review.preview import SIZE_LIMIT_MIB, load_preview
    from review.report import review_previews
    from review.summary import failures, parse_fail_on

    try:
        thresholds = parse_fail_on(fail_on)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fail-on") from error
    if list(previews).count("-") > 1:
        raise click.BadParameter("standard input can be read once", param_hint="PREVIEWS")
    wanted = {item.name for item in thresholds}
    ask = ask_where_signed_in if quota is None else None
    if quota or "quota" in wanted:
        ask = ask_quotas
    reviews = review_previews(
        [load_preview(path, size_limit_mib=max_size or SIZE_LIMIT_MIB) for path in previews],
        jobs=jobs,
        policy_config=_policy_config(policy_config)
        if policy or policy_config is not None or "policy" in wanted
        else None,
        state=state,
        outputs=StackOutputs.from_file(outputs) if outputs else None,
        quota=ask,
    )
    failed = failures(reviews, thresholds)
    if output == "json":
        click.echo(
            json.dumps(
                {"reviews": [item.as_json() for item in reviews], "failures": failed}, indent=2
            )
        )
    elif output == "markdown":
        click.echo(render_markdown(reviews, failed=failed), nl=False)
    else:
        from rich.console import Console

        from review.terminal import print_reviews

        print_reviews(reviews, Console(file=sys.stdout, soft_wrap=True))
    if failed:
        raise ReviewFailedError("\n".join(f"fails on {reason}" for reason in failed))


def _policy_config(path: Path | None) -> PolicyConfig:
    from policy.rules import PolicyConfig, PolicyConfigError

    if path is None:
        return PolicyConfig()
    try:
        return PolicyConfig.parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, PolicyConfigError):
            raise
        raise PolicyConfigError(f"policy config {str(path)!r} cannot be read: {error}") from error
