"""``trainstack download``: a job's model and outputs."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import job_options


@click.command(short_help="Download a job's model and outputs.")
@job_options
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder. [default: ./NAME_OF_THE_JOB]",
)
def download(
    job: str,
    cloud: str | None,
    stack: str | None,
    outputs: Path | None,
    output_format: str,
    folder: Path | None,
) -> None:
    """Download what JOB left into FOLDER/model and FOLDER/output. What was there from before is replaced as a whole."""
    from cli.output import print_json, print_table, say
    from cli.target import load_target
    from training.find import find_job

    backend, handle = find_job(job, load_target(stack, outputs), cloud)
    folder = folder or Path(handle.name)
    files = backend.download(handle, folder)
    if output_format == "json":
        print_json(
            {"handle": str(handle), "folder": str(folder), "files": [str(file) for file in files]}
        )
        return
    print_table(("file", "bytes"), [(file, f"{file.stat().st_size:,}") for file in files])
    say(f"downloaded to {folder}")
