"""``python -m lab.engine``: one operation of the engine on any program and any provider classes."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.home import LabError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.engine", description=__doc__)
    parser.add_argument("operation", choices=["preview", "up", "refresh", "destroy"])
    parser.add_argument("--program", type=Path, required=True, help="folder of the program")
    parser.add_argument("--stack", required=True)
    parser.add_argument("--state", type=Path, required=True, help="state file (deployment v3)")
    parser.add_argument(
        "--provider", action="append", default=[], metavar="PACKAGE=MODULE:CLASS", help="repeatable"
    )
    parser.add_argument("--target", action="append", default=[], metavar="URN")
    parser.add_argument("--replace", action="append", default=[], metavar="URN")
    parser.add_argument("--target-dependents", action="store_true")
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--continue-on-error", action="store_true")
    parser.add_argument("--refresh", action="store_true", help="refresh first")
    parser.add_argument("--preview-only", action="store_true", help="of a refresh or destroy")
    parser.add_argument("--clear-pending-creates", action="store_true")
    parser.add_argument("--config", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--secret-config", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--events", type=Path, help="write the engine's events here")
    parser.add_argument("--json", action="store_true", help="as `pulumi preview --json`")
    parser.add_argument("--diff", action="store_true", help="show each step's properties")
    parser.add_argument("--show-secrets", action="store_true", help="in the outputs")
    return parser


def _factories(arguments: Sequence[str]) -> dict[str, Callable[[], Any]]:
    factories = {}
    for argument in arguments:
        package, _, path = argument.partition("=")
        module, _, name = path.partition(":")
        if not package or not module or not name:
            raise LabError(f"--provider {argument!r} must be PACKAGE=MODULE:CLASS")
        try:
            factories[package] = getattr(importlib.import_module(module), name)
        except Exception as error:  # the module's own code may raise anything
            raise LabError(f"--provider {argument!r} cannot be loaded: {error}") from None
    return factories


def main(argv: Sequence[str] | None = None) -> int:
    """Run one operation. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    from lab.engine import api, config, display
    from lab.engine.deployment import ConfigValue

    folder = arguments.program.resolve()
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    project = config.read_project(folder)
    name = str(project.get("name") or folder.name)
    values = config.read_stack_config(folder, project, arguments.stack)
    values |= config.parse_assignments(arguments.config, name)
    for key, item in config.parse_assignments(arguments.secret_config, name).items():
        values[key] = ConfigValue(item.value, is_secret=True)
    shown = display.choose(
        kind=arguments.operation,
        stack=arguments.stack,
        as_json=arguments.json,
        diff=arguments.diff,
        stream=sys.stdout,
    )
    events = arguments.events or os.environ.get("LAB_ENGINE_EVENTS")
    result = api.run(
        api.Operation(
            kind=arguments.operation,
            program_dir=folder,
            stack=arguments.stack,
            state_path=arguments.state.resolve(),
            project=name,
            providers=_factories(arguments.provider),
            config=values,
            targets=arguments.target,
            replace=arguments.replace,
            target_dependents=arguments.target_dependents,
            parallel=arguments.parallel,
            continue_on_error=arguments.continue_on_error,
            refresh=arguments.refresh,
            preview_only=arguments.preview_only,
            clear_pending_creates=arguments.clear_pending_creates,
            events_path=Path(events).resolve() if events else None,
            on_event=shown,
            handle_interrupt=True,
        )
    )
    shown.finish(result, show_secrets=arguments.show_secrets)
    return result.exit_code


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2)


if __name__ == "__main__":
    sys.exit(main())
