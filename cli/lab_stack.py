"""The verbs of ``trainstack lab`` that deploy the stack: what ``pulumi`` does, on the lab."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lab.stack import DEFAULT_STACK


def _stack_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "-s",
        "--stack",
        default=DEFAULT_STACK,
        show_default=True,
        envvar="TRAINSTACK_STACK",
        help="A file stacks/Pulumi.<stack>.yaml.",
    )(command)


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every operation has, spelled as Pulumi spells them."""
    for option in (
        click.option("--show-secrets", is_flag=True, help="Show secret outputs."),
        click.option("--events", type=click.Path(path_type=Path), help="Write engine events here."),
        click.option("-p", "--parallel", type=click.IntRange(min=1), default=16, help="Steps at once."),
        click.option("--target-dependents", is_flag=True, help="Targets' dependents too."),
        click.option("-t", "--target", "targets", multiple=True, metavar="URN", help="Only these."),
        click.option("--json", "as_json", is_flag=True, help="As `pulumi preview --json`."),
        click.option("--diff", is_flag=True, help="Show every property."),
    ):  # fmt: skip
        command = option(command)
    return _stack_option(command)


_engine_option = click.option(
    "--engine",
    type=click.Choice(["lab", "pulumi"]),
    default="lab",
    show_default=True,
    help="pulumi: the Pulumi CLI on PATH, with the lab's providers as its plugins.",
)
_yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_continue_option = click.option(
    "--continue-on-error", is_flag=True, help="Go on with what does not depend on a failure."
)
_refresh_option = click.option(
    "-r", "--refresh", is_flag=True, help="Read the clouds' own state first."
)


@click.command()
@_run_options
@_refresh_option
@_engine_option
def preview(stack: str, engine: str, refresh: bool, **options: Any) -> None:
    """Show what `up` would do."""
    if engine == "pulumi":
        _pulumi(stack, ["preview"], refresh=refresh, **options)
    _operate("preview", stack, refresh=refresh, **options)


@click.command()
@_run_options
@_refresh_option
@_continue_option
@_engine_option
@_yes_option
def up(stack: str, engine: str, yes: bool, refresh: bool, **options: Any) -> None:
    """Deploy the stack to the lab."""
    if engine == "pulumi":
        _pulumi(stack, ["up"], yes=yes, refresh=refresh, **options)
    _confirm("up", stack, yes=yes, refresh=refresh, **options)
    _operate("up", stack, refresh=refresh, **options)


@click.command()
@_run_options
@_continue_option
@_engine_option
@_yes_option
@click.option("--preview-only", is_flag=True, help="Only show what would be deleted.")
def destroy(stack: str, engine: str, yes: bool, preview_only: bool, **options: Any) -> None:
    """Delete everything that the stack has made."""
    if engine == "pulumi":
        _pulumi(stack, ["destroy"], yes=yes, preview_only=preview_only, **options)
    if not preview_only:
        _confirm("destroy", stack, yes=yes, **options)
    _operate("destroy", stack, preview_only=preview_only, **options)
    if not preview_only and not options["targets"]:
        from lab import stack as lab_stack

        if purged := lab_stack.purge():
            names = ", ".join(item.rpartition("/")[2] for item in purged)
            click.echo(f"purged, so that the names are free again: {names}", err=True)


@click.command()
@_run_options
@_engine_option
@_yes_option
@click.option("--preview-only", is_flag=True, help="Only show what has changed.")
@click.option("--clear-pending-creates", is_flag=True, help="Forget creates a kill cut short.")
def refresh(
    stack: str,
    engine: str,
    yes: bool,
    preview_only: bool,
    clear_pending_creates: bool,
    **options: Any,
) -> None:
    """Take what was changed by hand in the clouds into the state."""
    if engine == "pulumi":
        _pulumi(
            stack,
            ["refresh", *(["--clear-pending-creates"] if clear_pending_creates else [])],
            yes=yes,
            preview_only=preview_only,
            **options,
        )
    if not preview_only:
        _confirm("refresh", stack, yes=yes, **options)
    _operate(
        "refresh",
        stack,
        preview_only=preview_only,
        clear_pending_creates=clear_pending_creates,
        **options,
    )


@click.command("import")
@_run_options
@click.option("--parent", metavar="URN", default="", help="The resource that it belongs to.")
@click.option("--provider", metavar="URN", default="", help="An explicit provider of the stack.")
@click.option("--protect/--no-protect", default=True, show_default=True)
@_yes_option
@click.argument("type_token", metavar="TYPE")
@click.argument("name")
@click.argument("resource_id", metavar="ID")
def import_(
    stack: str,
    type_token: str,
    name: str,
    resource_id: str,
    parent: str,
    provider: str,
    protect: bool,
    yes: bool,
    **options: Any,
) -> None:
    """Take a resource that exists in the lab's clouds into the stack, as `pulumi import` does.

    \b
    trainstack lab import aws:s3/bucket:Bucket data my-bucket --yes
    """
    from lab.engine.importer import ImportRequest

    request = ImportRequest(
        type=type_token,
        name=name,
        id=resource_id,
        parent=parent,
        provider=provider,
        protect=protect,
    )
    _confirm("import", stack, yes=yes, imports=(request,), **options)
    _operate("import", stack, imports=(request,), **options)


@click.command("outputs")
@_stack_option
@click.option("--show-secrets", is_flag=True)
@click.argument("name", required=False)
def stack_outputs(stack: str, name: str | None, show_secrets: bool) -> None:
    """Print a stack's outputs as JSON, or one by NAME."""
    from lab import stack as lab_stack
    from lab.engine import api

    found = api.read_outputs(_existing(stack), show_secrets=show_secrets)
    if name is None:
        click.echo(json.dumps(found, indent=2))
    elif name in found:
        value = found[name]
        click.echo(value if isinstance(value, str) else json.dumps(value, indent=2))
    else:
        raise lab_stack.LabError(
            f"stack {stack!r} has no output {name!r}; it has: {', '.join(found) or 'none'}"
        )


@click.command()
@_stack_option
@click.option("--output", type=click.Choice(["table", "json"]), default="table")
def history(stack: str, output: str) -> None:
    """List what was done to a stack, the newest last."""
    from lab.engine import api

    records = api.read_history(_existing(stack))
    if output == "json":
        click.echo(json.dumps(records, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("version", "kind", "when", "seconds", "result", "changes", box=None)
    for record in records:
        changes = ", ".join(f"{count} {op}" for op, count in record["resourceChanges"].items())
        table.add_row(
            str(record["version"]),
            record["kind"],
            str(record["startTime"])[:19],
            f"{record['durationSeconds']:.1f}",
            record["result"],
            changes,
        )
    Console().print(table)


@click.group()
def state() -> None:
    """Look at a stack's state, or repair it."""


@state.command("export")
@_stack_option
def state_export(stack: str) -> None:
    """Print the state as `pulumi stack export` does; secrets stay encrypted."""
    from lab.engine import api

    click.echo(json.dumps(api.read_state(_existing(stack)), indent=2))


@state.command("list")
@_stack_option
def state_list(stack: str) -> None:
    """Print the URN of every resource, in the order of dependencies."""
    from lab.engine import api

    for resource in api.read_state(_existing(stack))["deployment"].get("resources", []):
        click.echo(resource["urn"])


@state.command("clear-pending")
@_stack_option
def state_clear_pending(stack: str) -> None:
    """Forget the operations that a killed run left under way."""
    from lab.engine import api

    count = api.clear_pending_operations(_existing(stack))
    click.echo(f"forgot {count} pending operation{'' if count == 1 else 's'}", err=True)


@state.command("delete")
@_stack_option
@click.option("--force", is_flag=True, help="Although it is protected.")
@click.argument("urn")
def state_delete(stack: str, urn: str, force: bool) -> None:
    """Forget the resource of a URN; the cloud keeps it."""
    from lab.engine import edit

    edit.delete_resource(_existing(stack), urn, force=force)
    click.echo("resource deleted from the state", err=True)


@state.command("unprotect")
@_stack_option
@click.option("--all", "is_all", is_flag=True, help="Every resource of the stack.")
@click.argument("urn", required=False)
def state_unprotect(stack: str, urn: str | None, is_all: bool) -> None:
    """Let a protected resource be deleted again: that of a URN, or all."""
    from lab.engine import edit

    if (urn is None) != is_all:
        raise click.UsageError("give one URN, or --all. See: trainstack lab state list")
    count = edit.unprotect(_existing(stack), urn)
    click.echo(f"{count} resource{' was' if count == 1 else 's were'} protected", err=True)


VERBS: tuple[click.Command, ...] = (
    preview, up, refresh, destroy, import_, state, stack_outputs, history,
)  # fmt: skip


def _existing(stack: str) -> Path:
    from lab import stack as lab_stack

    path = lab_stack.state_path(stack)
    if not path.exists() and not path.with_name(path.name + ".journal").exists():
        raise lab_stack.LabError(
            f"stack {stack!r} was never deployed to this lab. "
            f"Deploy it with: trainstack lab up --stack {stack}"
        )
    return path


def _operate(
    kind: str,
    stack: str,
    *,
    diff: bool,
    as_json: bool,
    events: Path | None,
    show_secrets: bool,
    **options: Any,
) -> None:
    from lab import stack as lab_stack
    from lab.engine import display

    # before the first word is printed
    lab_stack.use_lab()
    lab_stack.settings_file(lab_stack.program_folder(), stack)
    shown = display.choose(
        kind=kind,
        stack=stack,
        as_json=as_json,
        diff=diff,
        stream=sys.stdout,
        is_preview=bool(options.get("preview_only")),
    )
    # All that a run imports and makes lives as long as the run: a tenth of it was spent on looking
    # for garbage that is not there.
    gc.disable()
    try:
        result = lab_stack.operate(
            kind, stack, events_path=events, on_event=shown, handle_interrupt=True, **options
        )
    finally:
        gc.freeze()
        gc.enable()
    shown.finish(result, show_secrets=show_secrets)
    if not result.ok:
        raise click.exceptions.Exit(result.exit_code)


def _confirm(kind: str, stack: str, *, yes: bool, **options: Any) -> None:
    """Show what would be done and ask, unless --yes. Without a terminal there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; give --yes")
    if kind == "up":
        _operate("preview", stack, **{k: v for k, v in options.items() if k != "continue_on_error"})
    else:
        _operate(kind, stack, preview_only=True, **options)
    click.confirm(f"{kind} stack {stack!r} on the lab?", abort=True, err=True)


def _pulumi(stack: str, arguments: list[str], **options: Any) -> None:
    """Pass the options on to the real CLI and end with its exit code."""
    from lab import stack as lab_stack

    flags = {
        "yes": "--yes", "refresh": "--refresh", "diff": "--diff", "as_json": "--json",
        "continue_on_error": "--continue-on-error", "preview_only": "--preview-only",
        "target_dependents": "--target-dependents", "show_secrets": "--show-secrets",
    }  # fmt: skip
    arguments += [flag for name, flag in flags.items() if options.get(name)]
    arguments += [item for urn in options["targets"] for item in ("--target", urn)]
    arguments += ["--parallel", str(options["parallel"])]
    if options["events"]:
        arguments += ["--event-log", str(options["events"])]
    raise click.exceptions.Exit(lab_stack.run_pulumi(stack, arguments))
