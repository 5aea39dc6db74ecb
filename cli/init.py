"""``trainstack init``: write a job file for a script."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

# Versions that both the pinned SDK's image tables have and people use today; a test holds them against the tables.
FRAMEWORK_VERSIONS = {
    "sklearn": "1.4",
    "pytorch": "2.8",
    "tensorflow": "2.19",
    "xgboost": "3.0",
    "huggingface": "4.56",
}
HUGGINGFACE_BASE = "pytorch2.8.0"


@click.command(short_help="Write a job file for a script.")
@click.argument(
    "script", type=click.Path(exists=True, dir_okay=False, path_type=Path), default="train.py"
)
@click.option("--name", help="The job's name. [default: the folder's]")
@click.option(
    "--framework",
    type=click.Choice(sorted(FRAMEWORK_VERSIONS)),
    help="[default: what the script imports]",
)
@click.option(
    "--instance-type",
    help="SageMaker's instance type. [default: ml.m5.large; ml.g5.xlarge for huggingface]",
)
@click.option("--cluster", help="Azure ML's cluster. [default: one of tier dedicated]")
@click.option(
    "--to",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="[default: job.yaml beside the script]",
)
@click.option("--yes", "-y", is_flag=True, help="Ask nothing; take the defaults.")
@click.option("--force", is_flag=True, help="Replace a job file that is there.")
def init(
    script: Path,
    name: str | None,
    framework: str | None,
    instance_type: str | None,
    cluster: str | None,
    file: Path | None,
    yes: bool,
    force: bool,
) -> None:
    """Write a job file for SCRIPT (train.py). Its imports tell the framework, its argparse options the hyperparameters.

    Asks what is left open; without a terminal, or with --yes, it takes the defaults.
    """
    from cli.output import say
    from training.atomic import write_atomically
    from training.job import load_job
    from training.script import read_script

    file = file or script.parent / "job.yaml"
    if file.exists() and not force:
        raise click.UsageError(
            f"{str(file)!r} is there already; give --force to replace it, or --to another"
        )
    is_asking = not yes and sys.stdin.isatty()

    def ask(question: str, given: str | None, default: str) -> str:
        if given is not None or not is_asking:
            return given or default
        return click.prompt(question, default=default, err=True)

    found = read_script(script)
    name = ask("name", name, _name_of(script))
    framework = ask("framework", framework, found.framework or "sklearn")
    if framework not in FRAMEWORK_VERSIONS:
        raise click.UsageError(f"{framework!r} is none of {', '.join(sorted(FRAMEWORK_VERSIONS))}")
    usual = "ml.g5.xlarge" if framework == "huggingface" else "ml.m5.large"  # its images need a GPU
    instance_type = ask("SageMaker instance type", instance_type, usual)
    cluster = ask("Azure ML cluster (empty: any dedicated one)", cluster, "")
    text = _text(file, script, name, framework, instance_type, cluster, found.hyperparameters)
    write_atomically(file, text)
    load_job(file)  # what was written is right, or says why not
    say(f"written: {file}")
    say(f"next: trainstack submit {file} --on aws --dry-run")


def _name_of(script: Path) -> str:
    folder = re.sub(r"[^A-Za-z0-9]+", "-", script.resolve().parent.name).strip("-")[:40].strip("-")
    return folder if folder[:1].isalpha() else "train"


def _text(
    file: Path,
    script: Path,
    name: str,
    framework: str,
    instance_type: str,
    cluster: str,
    hyperparameters: dict[str, Any],
) -> str:
    import json
    import os

    source = os.path.relpath(script.parent.resolve(), file.parent.resolve())
    base = f', base_framework_version: "{HUGGINGFACE_BASE}"' if framework == "huggingface" else ""
    parameters = "".join(f"  {key}: {json.dumps(item)}\n" for key, item in hyperparameters.items())
    place = f"cluster: {json.dumps(cluster)}" if cluster else "tier: dedicated"
    return (
        "# A training job for SageMaker and Azure ML. Every field: trainstack schema\n"
        f"name: {json.dumps(name)}\n"
        f"source: {json.dumps(source)}\n"
        f"entry: {json.dumps(script.name)}\n"
        f'framework: {{name: {framework}, version: "{FRAMEWORK_VERSIONS[framework]}"{base}}}\n'
        + (f"hyperparameters:\n{parameters}" if parameters else "")
        + "# The script finds each input's folder in SM_CHANNEL_<NAME>: a local path, s3://, azureml:NAME:VERSION, https://\n"
        "# inputs: {train: ./data}\n"
        "compute:\n"
        "  instances: 1\n"
        f"  aws: {{instance_type: {json.dumps(instance_type)}}}\n"
        f"  azure: {{{place}}}\n"
        "max_runtime: 1h\n"
        "# Spare capacity: the script saves its state in the folder SM_CHECKPOINT_DIR and reads it when "
        "it starts again.\n"
        "# spot: {enabled: true, max_wait: 2h, checkpoint: true}\n"
        '# metrics: {loss: "loss=([0-9.]+)"}\n'
    )
