"""The ``trainstack`` command: a click group that imports a verb's module only on its call."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any

import click

# verb -> (module, attribute, one line of help). Importing no verb keeps `--help` fast.
VERBS: dict[str, tuple[str, str, str]] = {
    "submit": ("cli.submit", "submit", "Submit a job file to Azure ML or SageMaker."),
    "list": ("cli.list", "list_jobs", "List jobs, newest first."),
    "status": ("cli.status", "status", "Show one job."),
    "logs": ("cli.logs", "logs", "Print a job's logs; -f follows them."),
    "stop": ("cli.stop", "stop", "Stop a job."),
    "wait": ("cli.wait", "wait", "Wait for a job to end."),
    "download": ("cli.download", "download", "Download a job's model and outputs."),
    "metrics": ("cli.metrics", "metrics", "Show the metrics a job logged."),
    "package": ("cli.package", "package", "Show what would be uploaded for a job."),
    "outputs": ("cli.outputs", "outputs", "Show or save a stack's outputs."),
    "doctor": ("cli.doctor", "doctor", "Check what is reachable and which rights are missing."),
    "init": ("cli.init", "init", "Write a job file for a script."),
    "schema": ("cli.schema", "schema", "Print the JSON Schema of the job file."),
    "review": ("cli.review", "review", "Review a Pulumi preview as a pull-request comment."),
    "check": ("cli.check", "check", "Check which job files a preview would break."),
    "estimate": ("cli.estimate", "estimate", "Show what a job costs at worst."),
    "cost": ("cli.cost", "cost", "Show what a job was billed against its estimate."),
    "prices": ("cli.prices", "prices", "List, compare or refresh instance prices."),
    "drill": ("cli.drill", "drill", "Interrupt a job's script here and see whether it resumes."),
    "demo": ("cli.demo", "demo", "Deploy the lab stack and train on both clouds, here."),
    "lab": ("cli.lab", "lab", "Run local clouds and deploy the stack to them."),
}


class LazyGroup(click.Group):
    """A group whose subcommands are looked up by name and imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = VERBS.get(cmd_name)
        if entry is None:
            return None
        module, attribute, _ = entry
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, envvar="TRAINSTACK_DEBUG", help="Show tracebacks.")
@click.version_option(package_name="trainstack")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Train models on Azure Machine Learning and Amazon SageMaker AI from one job file."""
    ctx.ensure_object(dict)["debug"] = debug


def main(argv: list[str] | None = None) -> Any:
    """Run the command and exit: 0 ok, 1 an error (told on stderr), 2 wrong usage, 130 Ctrl-C."""
    # The collector would go through the SDKs' hundreds of thousands of classes again and again while they
    # are imported: about a third of a preview's time, for a process that is over in seconds.
    gc.set_threshold(200_000, 50, 100)
    debug = "--debug" in (argv or sys.argv) or bool(os.environ.get("TRAINSTACK_DEBUG"))
    try:
        code = cli.main(args=argv, standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except Exception as error:
        if debug or not _is_expected(error):
            raise
        click.echo(_line(error), err=True)
        code = getattr(error, "exit_code", 1)
    # Nor need it look for cycles among them at the end; that alone is a fifth of a preview.
    gc.freeze()
    sys.exit(code if isinstance(code, int) else 0)


def _is_expected(error: Exception) -> bool:
    """An error of ours is written for the person, and one of a file tells it; any other is a bug, with a traceback."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    return type(error).__module__.partition(".")[0] in {
        "infra", "training", "review", "pricing", "policy", "lab", "cli",
    }  # fmt: skip


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)
