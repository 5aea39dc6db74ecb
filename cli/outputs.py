"""``trainstack outputs``: what the stack tells a job."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.options import output_option, target_options


@click.command(short_help="Show or save a stack's outputs.")
@click.argument("name", required=False)
@target_options
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save them, for people and machines without Pulumi. They hold no secret.",
)
@output_option
def outputs(
    name: str | None,
    stack: str | None,
    outputs: Path | None,
    save: Path | None,
    output_format: str,
) -> None:
    """Show the outputs of a stack, or one of them by NAME."""
    from cli.output import print_json, print_table, say
    from cli.target import load_target
    from training.atomic import write_atomically

    found = load_target(stack, outputs).as_exports()
    if save is not None:
        write_atomically(save, json.dumps(found, indent=2) + "\n")
        say(f"saved: {save}    use it: trainstack submit job.yaml --outputs {save}")
        return
    if name is not None:
        if name not in found:
            raise click.UsageError(
                f"there is no output {name!r}; see them with: trainstack outputs"
            )
        value = found[name]
        if output_format == "json" or not isinstance(value, str):
            print_json(value)
        else:
            click.echo(value)
        return
    if output_format == "json":
        print_json(found)
        return
    rows = [
        (key, value if isinstance(value, str) else json.dumps(value))
        for key, value in found.items()
        if value not in (None, [], {})
    ]
    print_table(("output", "value"), rows)
