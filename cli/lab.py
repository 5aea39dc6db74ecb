"""``trainstack lab``: run local clouds, and deploy the stack to them."""

from __future__ import annotations

import json
import shlex
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import click

from cli import lab_stack
from lab import home as lab_home


@click.group()
def lab() -> None:
    """Run local clouds and deploy the stack to them. No account is needed, nothing is paid."""


@lab.command()
def start() -> None:
    """Start the local clouds; does nothing where they run."""
    from lab import daemon

    began = time.monotonic()
    status = daemon.start(lab_home.home(), on_progress=_say)
    took = time.monotonic() - began
    _say(f"lab is up ({took:.1f} s): {', '.join(status['parts'])}")
    _say_lost(status)
    _say('next: trainstack lab up --yes    (or for a shell: eval "$(trainstack lab env)")')


@lab.command()
def stop() -> None:
    """Stop the local clouds; their data is kept."""
    from lab import daemon

    _say("lab stopped; its data is kept" if daemon.stop(lab_home.home()) else "no lab was running")


@lab.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table")
@click.pass_context
def status(ctx: click.Context, output: str) -> None:
    """Show the lab's parts. Exit code 1 where it is not running."""
    from lab import daemon

    found = daemon.read_status(lab_home.home())
    running = bool(found.get("running"))
    if output == "json":
        click.echo(json.dumps({"running": running, **found}, indent=2))
    elif not running:
        _say("no lab is running here. Start it with: trainstack lab start")
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("part", "port", "pid", "healthy", "restarts", box=None)
        for name, part in found["parts"].items():
            healthy = "yes" if part["healthy"] else "no"
            table.add_row(name, str(part["port"]), str(part["pid"]), healthy, str(part["restarts"]))
        Console().print(table)
        _say_lost(found)
    if not running:
        ctx.exit(1)


@lab.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Stop the lab and delete all of its data: clouds, jobs and deployed stacks."""
    from lab import daemon

    home = lab_home.home()
    if not yes:
        click.confirm(f"delete everything in {home}?", abort=True, err=True)
    daemon.stop(home)
    if home.exists():
        # Only a folder that the lab made: the lock file is the first thing a supervisor writes.
        if any(home.iterdir()) and not (home / "supervisor.lock").exists():
            raise lab_home.LabError(f"{home} was not made by the lab; nothing was deleted")
        shutil.rmtree(home)
    _say("lab reset")


@lab.command()
@click.argument("part", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as lines arrive.")
@click.option("--tail", type=click.IntRange(min=0), default=50, help="Lines to begin with.")
def logs(part: str | None, follow: bool, tail: int) -> None:
    """Print the log of one PART of the lab, or of all."""
    from lab import daemon

    files = daemon.log_files(lab_home.home())
    if part and part not in files:
        known = ", ".join(files) or "none yet"
        raise click.BadParameter(f"{part!r} has no log; parts with one: {known}", param_hint="PART")
    chosen = {part: files[part]} if part else files
    positions: dict[str, int] = {}
    for name, path in chosen.items():
        text = path.read_text(encoding="utf-8", errors="replace")
        positions[name] = path.stat().st_size
        for line in text.splitlines()[-tail:] if tail else []:
            click.echo(line if part else f"{name}: {line}")
    while follow:
        for name, path in chosen.items():
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(positions[name])
                for line in file:
                    click.echo(line.rstrip("\n") if part else f"{name}: {line.rstrip()}")
                positions[name] = file.tell()
        time.sleep(0.3)


@lab.command()
@click.option("--output", type=click.Choice(["shell", "json"]), default="shell")
def env(output: str) -> None:
    """Print the environment in which unmodified SDKs and CLIs reach the lab.

    In a shell: eval "$(trainstack lab env)"
    """
    variables = lab_home.environment()
    if output == "json":
        click.echo(json.dumps(variables, indent=2))
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}" if value else f"unset {name}")


@lab.command()
@click.argument("job")
def interrupt(job: str) -> None:
    """Take away the spot or low-priority instances of a running JOB, as the cloud would.

    JOB is a handle or a job's name.
    """
    name = job.rsplit("/", 1)[-1]
    found = lab_home.endpoints()
    clouds = ["aws", "azure"]
    if job.startswith("aws-sagemaker://"):
        clouds = ["aws"]
    elif job.startswith("azure-ml://"):
        clouds = ["azure"]
    for cloud in clouds:
        answer = _post(f"{found[cloud]}/_lab/interrupt/{name}")
        if answer is not None:
            _say(f"{name} is being interrupted; watch it with: trainstack logs -f {name}")
            return
    raise lab_home.LabError(f"no running job is called {name!r}. See: trainstack list")


def _post(url: str) -> str | None:
    """POST to the lab; None where it answers 404, LabError with its words for any other refusal."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(lab_home.require_loopback(url), method="POST", data=b"")  # noqa: S310 - loopback
    try:
        with opener.open(request, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise lab_home.LabError(error.read().decode(errors="replace")) from error


def _say_lost(status: Mapping[str, Any]) -> None:
    for name, part in status["parts"].items():
        if lost := part.get("lost"):
            # what is in front of a part tells of it too
            _say(
                f"{name} was killed before changes of {', '.join(lost)} were saved. "
                "Repair the stack with: trainstack lab up --refresh --yes"
            )
            return


def _say(text: str) -> None:
    click.echo(text, err=True)


for _verb in lab_stack.VERBS:
    lab.add_command(_verb)
