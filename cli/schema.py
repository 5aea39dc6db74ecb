"""``trainstack schema``: the job file's JSON Schema."""

from __future__ import annotations

import click


@click.command(short_help="Print the JSON Schema of the job file.")
def schema() -> None:
    """Print the JSON Schema of the job file, for editors and other tools."""
    from cli.output import print_json
    from training.job import json_schema

    print_json(json_schema())
