"""``trainstack package``: what of a job's folder goes to the cloud."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import output_option, set_option


@click.command(short_help="Show what would be uploaded for a job.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default="job.yaml")
@set_option
@click.option("--list", "is_listing", is_flag=True, help="List every file, largest first.")
@click.option(
    "--archive",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the archive that SageMaker gets.",
)
@output_option
def package(
    file: Path,
    overrides: tuple[str, ...],
    is_listing: bool,
    archive: Path | None,
    output_format: str,
) -> None:
    """Show what of the job FILE's source folder is uploaded: how many files, how large, what is left out.
    Sends nothing.
    """
    import io

    from cli.output import print_json, print_table, say
    from training.job import load_job
    from training.package import collect

    found = collect(load_job(file, overrides).source_path)
    if archive is not None:
        content = io.BytesIO()
        found.write_archive(content)
        archive.write_bytes(content.getvalue())
    if output_format == "json":
        print_json(
            {
                "folder": str(found.root),
                "sha256": found.digest,
                "bytes": found.size,
                "files": [{"path": item.path, "bytes": item.size} for item in found.files],
                "skipped": [{"path": item.path, "reason": item.reason} for item in found.skipped],
            }
        )
        return
    if is_listing:
        largest = sorted(found.files, key=lambda item: (-item.size, item.path))
        print_table(("bytes", "file"), [(f"{item.size:,}", item.path) for item in largest])
    for item in found.skipped:
        say(f"left out: {item.path} ({item.reason})")
    say(f"{len(found.files)} files, {found.size:,} bytes, sha256 {found.digest[:16]}…")
    if archive is not None:
        say(f"written: {archive}")
