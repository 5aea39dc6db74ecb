"""``trainstack submit``: send a job file to a cloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options import cloud_option, output_option, set_option, target_options

if TYPE_CHECKING:
    from infra.outputs import StackOutputs
    from training.backends.base import JobRequest
    from training.job import JobSpec


@click.command(short_help="Submit a job file to Azure ML or SageMaker.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default="job.yaml")
@cloud_option
@target_options
@set_option
@click.option("--name", help="The job's name, instead of the file's.")
@click.option(
    "--key",
    metavar="KEY",
    help="Makes a submission one and the same: with the same key, trying again never starts a second job.",
)
@click.option("--dry-run", is_flag=True, help="Print exactly what would be sent; make no call.")
@click.option(
    "--wait", "is_waiting", is_flag=True, help="Wait for the end; exit code 1 unless it succeeded."
)
@click.option("--follow", "-f", is_flag=True, help="Print the log while it runs, and wait.")
@click.option(
    "--over-cap",
    metavar="REASON",
    help="Submit above the stack's price cap; the reason is tagged on the job.",
)
@output_option
def submit(
    file: Path,
    cloud: str | None,
    stack: str | None,
    outputs: Path | None,
    overrides: tuple[str, ...],
    name: str | None,
    key: str | None,
    dry_run: bool,
    is_waiting: bool,
    follow: bool,
    over_cap: str | None,
    output_format: str,
) -> None:
    """Submit the job FILE (job.yaml if none is given) and print the job's handle.

    Ctrl-C while following leaves the job running.
    """
    from cli.follow import follow_job
    from cli.output import print_json, say
    from cli.target import load_target
    from review.spot import lint
    from training.backends import connect
    from training.job import load_job

    if name is not None:
        overrides = (*overrides, f"name={json.dumps(name)}")
    if over_cap is not None:
        overrides = (*overrides, f"tags.trainstack:over-cap={json.dumps(_tag_value(over_cap))}")
    spec = load_job(file, overrides)
    target = load_target(stack, outputs)
    cloud = cloud or _only_cloud(target)
    backend = connect(cloud, target)
    for warning in lint(spec):
        say(f"warning: {warning.message}. {warning.fix}")
    spec = _priced(spec, target, cloud, over_cap)
    request = backend.plan(spec, key)
    if dry_run:
        print_json(request_json(request))
        say(f"nothing was sent. To submit this very request: {_command(file, cloud, request.key)}")
        return
    handle = backend.submit(request)
    if output_format == "json" and not (is_waiting or follow):
        print_json({"handle": str(handle), "cloud": cloud, "name": handle.name, "key": request.key})
    elif output_format == "table":
        click.echo(str(handle))
    if is_waiting or follow:
        follow_job(backend, handle, show_logs=follow, output_format=output_format)
        return
    say(f"follow it: trainstack logs -f {handle.name}    stop it: trainstack stop {handle.name}")


def request_json(request: JobRequest) -> dict[str, Any]:
    """Return what --dry-run prints: the body as it goes over the wire, and what is uploaded before it."""
    plain: dict[str, Any] = {
        "handle": str(request.handle),
        "key": request.key,
        "operation": request.operation,
        "body": request.body,
        "uploads": [
            {
                "destination": upload.destination,
                "files": len(upload.package.files),
                "bytes": upload.package.size,
                "sha256": upload.package.digest,
            }
            for upload in request.uploads
        ],
    }
    if request.before:
        plain["before"] = [
            {"operation": call.operation, "body": call.body} for call in request.before
        ]
    if request.push:
        plain["push"] = request.push.image_uri
    return plain


def _only_cloud(target: StackOutputs) -> str:
    if len(target.clouds) == 1:
        return target.clouds[0]
    raise click.UsageError(
        f"stack {target.stack_name!r} has {' and '.join(target.clouds) or 'no cloud'}; choose one with "
        f"--on aws or --on azure"
    )


def _priced(spec: JobSpec, target: StackOutputs, cloud: str, over_cap: str | None) -> JobSpec:
    """Return the job with its worst case as a tag, which `cost` compares with the bill; stop above the stack's cap.

    What has no price in the catalogue is said, and not guessed.
    """
    from cli.estimate import OverCapError
    from cli.output import say
    from pricing.billing import ESTIMATE_TAG
    from pricing.catalog import usd
    from pricing.estimate import estimate_job

    found = estimate_job(spec, target, "aws" if cloud == "aws" else "azure")
    cap = target.job_price_cap_usd
    if found.worst_case_usd is None:
        if cap is not None:
            say(f"the cap of {usd(cap)} USD is not checked: {found.reason}")
        return spec
    worst = usd(found.worst_case_usd)
    if found.is_over(cap):
        if over_cap is None:
            raise OverCapError(
                f"at worst this job costs {worst} USD, over the stack's cap of {usd(cap)} USD. Lower max_runtime or "
                "compute.instances, or give --over-cap REASON; see: trainstack estimate"
            )
        say(
            f"over the cap of {usd(cap)} USD: at worst {worst} USD; the reason is tagged on the job"
        )
    return spec.model_copy(
        update={"tags": {**spec.tags, ESTIMATE_TAG: f"{found.worst_case_usd:.4f}"}}
    )


def _tag_value(reason: str) -> str:
    if not reason.strip():
        raise click.UsageError(
            "--over-cap needs a reason, such as --over-cap 'quarterly retraining'"
        )
    return "".join(mark if mark.isalnum() or mark in " _.:/=+-@" else "_" for mark in reason)[:256]


def _command(file: Path, cloud: str, key: str) -> str:
    return f"trainstack submit {file} --on {cloud} --key {key}"
