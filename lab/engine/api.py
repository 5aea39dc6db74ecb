"""What the rest of the lab calls: run an operation on a stack, read its state, outputs and history."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lab.engine import urn as urns
from lab.engine.deployment import (
    CanceledError,
    ConfigValue,
    Context,
    Deployment,
    Options,
    Targets,
)
from lab.engine.events import Diagnostic, Emitter, Event
from lab.engine.importer import ImportRequest
from lab.engine.providers import ProviderError
from lab.engine.state import ENGINE_VERSION, Journal, Snapshot, StateError, StateFile, now
from lab.engine.step_generator import BailError
from lab.engine.values import PropertyMap, to_plain, unwrap_secrets
from lab.home import LabError, write_atomically

Kind = Literal["preview", "up", "refresh", "destroy", "import"]
Result_ = Literal["succeeded", "failed", "canceled"]
DEFAULT_PARALLEL = 16


@dataclass(kw_only=True)
class Operation:
    """One operation on a stack.

    ``preview_only`` makes a refresh or destroy say what it would do. ``providers`` gives a factory of provider objects
    by package. ``program`` is run in place of the folder's ``__main__.py``. ``find_state`` gives the state file of
    another stack, for stack references. A ``passphrase`` of None is looked up as secrets.find_passphrase does.
    """

    kind: Kind
    program_dir: Path
    stack: str
    state_path: Path
    project: str
    providers: Mapping[str, Callable[[], Any]]
    config: Mapping[str, ConfigValue | str] = field(default_factory=dict)
    organization: str = "organization"
    imports: Sequence[ImportRequest] = ()
    targets: Sequence[str] = ()
    replace: Sequence[str] = ()
    target_dependents: bool = False
    parallel: int = DEFAULT_PARALLEL
    continue_on_error: bool = False
    refresh: bool = False
    preview_only: bool = False
    clear_pending_creates: bool = False
    events_path: Path | None = None
    on_event: Callable[[Event], None] | None = None
    passphrase: str | None = None
    program: Callable[[], Any] | None = None
    find_state: Callable[[str], Path] | None = None
    handle_interrupt: bool = False


@dataclass(kw_only=True)
class Result:
    """What an operation came to. ``changes`` counts steps by operation; secrets in ``outputs`` are still marked."""

    result: Result_
    changes: dict[str, int]
    outputs: PropertyMap
    diagnostics: list[Diagnostic]
    duration_seconds: float
    is_maybe_corrupt: bool = False

    @property
    def ok(self) -> bool:
        return self.result == "succeeded"

    @property
    def exit_code(self) -> int:
        return 0 if self.ok else 1

    @property
    def errors(self) -> list[Diagnostic]:
        return [item for item in self.diagnostics if item.severity == "error"]

    def plain_outputs(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """Return the stack's outputs, secrets shown as [secret] unless asked for."""
        return plain_outputs(self.outputs, show_secrets=show_secrets)


def run(operation: Operation) -> Result:
    """Run an operation. Raises LabError (StateError, SecretsError) where it cannot start.

    What goes wrong later is in the result's diagnostics.
    """
    is_dry = operation.kind == "preview" or operation.preview_only
    if is_dry:
        return _run(operation, StateFile(operation.state_path, operation.passphrase), is_dry)
    file = StateFile(operation.state_path, operation.passphrase)
    with file.locked(f"lab {operation.kind}"):
        return _run(operation, file, is_dry)


def _run(operation: Operation, file: StateFile, is_dry: bool) -> Result:
    started = time.monotonic()
    started_at = now()
    _require_done(operation)
    _require_program(operation)
    snapshot = file.load()
    if operation.clear_pending_creates:
        snapshot.pending_operations = [
            item for item in snapshot.pending_operations if item["type"] != "creating"
        ]
        snapshot.deployment = {
            **snapshot.deployment,
            "pending_operations": snapshot.pending_operations,
        }
    config = {
        key: value if isinstance(value, ConfigValue) else ConfigValue(value)
        for key, value in operation.config.items()
    }
    options = Options(
        project=operation.project,
        stack=operation.stack,
        program_dir=operation.program_dir.resolve(),
        organization=operation.organization,
        config=config,
        dry_run=is_dry,
        parallel=operation.parallel,
        refresh=operation.refresh or operation.kind == "refresh",
        is_refresh=operation.kind == "refresh",
        continue_on_error=operation.continue_on_error,
        targets=Targets(operation.targets),
        replace_targets=Targets(operation.replace),
        target_dependents=operation.target_dependents,
    )
    log = _EventLog(operation.events_path) if operation.events_path is not None else None
    listeners: list[Callable[[Event], None]] = [log] if log is not None else []
    if operation.on_event is not None:
        listeners.append(operation.on_event)
    emitter = Emitter(listeners)
    emitter.hidden = [item.value for item in config.values() if item.is_secret and item.value]
    try:
        _check_destroy(operation, options, snapshot, emitter)
    except LabError:
        if log is not None:
            log.close()
        raise
    journal = None if is_dry else Journal(file, snapshot)
    result: Result_ = "failed"
    deployment: Deployment | None = None
    outputs: PropertyMap = {}
    try:
        emitter.emit(
            Event(
                "preludeEvent",
                body={
                    "config": {
                        key: "[secret]" if item.is_secret else item.value
                        for key, item in sorted(config.items())
                    }
                },
            )
        )
        deployment = Deployment(
            options,
            snapshot,
            emitter,
            operation.providers,
            journal,
            lambda name: _read_stack(operation, name),
        )
        result = _execute(operation, deployment, options, emitter)
    finally:
        if journal is not None:
            journal.close()
        changes = dict(deployment.actions.changes) if deployment is not None else {}
        is_corrupt = deployment is not None and deployment.actions.is_maybe_corrupt
        seconds = time.monotonic() - started
        emitter.emit(
            Event(
                "summaryEvent",
                body={
                    "maybeCorrupt": is_corrupt,
                    "durationSeconds": int(-(-seconds // 1)),
                    "resourceChanges": changes,
                    "PolicyPacks": {},
                    "isPreview": is_dry,
                    "result": result,
                },
            )
        )
        emitter.emit(Event("cancelEvent"))
        if log is not None:
            log.close()
        if not is_dry:
            _append_history(operation, started_at, result, changes, seconds)
    outputs = _new_outputs(deployment, snapshot)
    if deployment.crash is not None:
        raise deployment.crash
    return Result(
        result=result,
        changes=changes,
        outputs=outputs,
        diagnostics=emitter.diagnostics,
        duration_seconds=seconds,
        is_maybe_corrupt=is_corrupt,
    )


def _require_done(operation: Operation) -> None:
    """Refuse what this engine does not do. Names that come out other than asked for are worse than no deployment."""
    if "pulumi:autonaming" in operation.config:
        raise LabError(
            "config 'pulumi:autonaming' is not done by this engine; name the resources, or leave it out"
        )


def _require_program(operation: Operation) -> None:
    if operation.kind not in ("preview", "up") or operation.program is not None:
        return
    if not (operation.program_dir / "__main__.py").is_file():
        raise LabError(
            f"{operation.program_dir} has no __main__.py; give the folder of a Pulumi program"
        )


def _check_destroy(
    operation: Operation, options: Options, snapshot: Snapshot, emitter: Emitter
) -> None:
    """A destroy or a refresh cannot be of what is not there."""
    if operation.kind not in ("refresh", "destroy"):
        return
    known = {state.urn for state in snapshot.resources}
    for target in options.targets.literals:
        if target not in known:
            raise LabError(f"no resource named '{target}' found")
    if operation.kind == "destroy":
        for state in snapshot.resources:
            names = [
                name
                for kind in ("BeforeDelete", "AfterDelete")
                for name in state.resource_hooks.get(kind, ())
            ]
            if names:
                emitter.error(
                    "Resource has delete hooks registered, but the program is not running. "
                    f"Hooks: {', '.join(names)}",
                    state.urn,
                )
                raise LabError(
                    f"{state.urn} has delete hooks, and a destroy does not run the program, where they are. "
                    "Take the hooks off with an up first"
                )


def _execute(
    operation: Operation, deployment: Deployment, options: Options, emitter: Emitter
) -> Result_:
    context = Context()
    context.on_cancel(deployment.registry.cancel)
    run_program = None
    if operation.kind in ("preview", "up"):
        from lab.engine.program import Program

        program = Program(
            options.program_dir,
            project=options.project,
            stack=options.stack,
            organization=options.organization,
            config={key: item.value for key, item in options.config.items()},
            secret_keys=[key for key, item in options.config.items() if item.is_secret],
            dry_run=options.dry_run,
            parallel=options.parallel,
            emitter=emitter,
            main=operation.program,
        )
        run_program = lambda monitor: program.start(  # noqa: E731  one use
            monitor, deployment.engine_service, deployment._events.put
        )
    restore = _handle_interrupt(operation, context, emitter)
    try:
        if operation.kind == "import":
            deployment.execute_import(context, operation.imports)
        else:
            deployment.execute(context, run_program)
    except BailError:
        return "failed"
    except CanceledError:
        return "canceled"
    except ProviderError as error:
        emitter.error(str(error))
        return "failed"
    finally:
        restore()
    return "succeeded"


def _handle_interrupt(
    operation: Operation, context: Context, emitter: Emitter
) -> Callable[[], None]:
    """Let the first Ctrl-C stop new steps; what is under way ends and is saved. The second ends the process."""
    if not operation.handle_interrupt or threading.current_thread() is not threading.main_thread():
        return lambda: None
    previous = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, previous)
        threading.Thread(target=context.cancel, daemon=True).start()

    signal.signal(signal.SIGINT, on_interrupt)

    def restore() -> None:
        signal.signal(signal.SIGINT, previous)

    return restore


class _EventLog:
    """Writes events one JSON object a line, as the CLI's --event-log does."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("w", encoding="utf-8")
        self._sequence = 0

    def __call__(self, event: Event) -> None:
        line = json.dumps(event.to_json(self._sequence), ensure_ascii=False)
        self._sequence += 1
        self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def _new_outputs(deployment: Deployment, snapshot: Snapshot) -> PropertyMap:
    for states in (deployment.news.values(), snapshot.resources):
        for state in states:
            if state.type == urns.ROOT_STACK_TYPE and not state.delete:
                return state.outputs or {}
    return {}


def _read_stack(operation: Operation, name: str) -> PropertyMap:
    """Return the outputs of another stack of the lab. Raises ProviderError."""
    stack = name.rsplit("/", 1)[-1]
    if operation.find_state is not None:
        path = operation.find_state(name)
    else:
        path = operation.state_path.with_name(f"{stack}{operation.state_path.suffix}")
    try:
        file = StateFile(path, operation.passphrase)
        if not file.exists():
            raise ProviderError(f"unknown stack {name}: there is no state {path}")
        return _stack_outputs(file.load())
    except StateError as error:
        raise ProviderError(str(error)) from None


def _stack_outputs(snapshot: Snapshot) -> PropertyMap:
    for state in snapshot.resources:
        if state.type == urns.ROOT_STACK_TYPE and not state.delete:
            return state.outputs or {}
    return {}


# --- the state, outside a run ---


def plain_outputs(outputs: PropertyMap, *, show_secrets: bool = False) -> dict[str, Any]:
    """Return outputs as plain values, secrets shown as [secret] unless asked for."""
    return to_plain(unwrap_secrets(outputs) if show_secrets else outputs)


def read_outputs(
    state_path: Path, *, passphrase: str | None = None, show_secrets: bool = False
) -> dict[str, Any]:
    """Return a stack's outputs from its state. Raises LabError."""
    outputs = _stack_outputs(StateFile(state_path, passphrase).load())
    return plain_outputs(outputs, show_secrets=show_secrets)


def read_state(state_path: Path) -> dict[str, Any]:
    """Return the state as `pulumi stack export` gives it; secrets stay encrypted. Raises StateError."""
    return {"version": 3, "deployment": StateFile(state_path).read_deployment()}


def clear_pending_operations(state_path: Path) -> int:
    """Forget what killed runs left under way. Returns how many there were."""
    file = StateFile(state_path)
    with file.locked("lab state clear-pending"):
        deployment = file.read_deployment()
        found = deployment.pop("pending_operations", None) or []
        file.write(deployment)
    return len(found)


def history_path(state_path: Path) -> Path:
    return state_path.with_name(state_path.name + ".history")


def read_history(state_path: Path) -> list[dict[str, Any]]:
    """Return the records of past operations, the oldest first."""
    path = history_path(state_path)
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _append_history(
    operation: Operation, started_at: str, result: str, changes: dict[str, int], seconds: float
) -> None:
    kind = {"up": "update"}.get(operation.kind, operation.kind)
    record = {
        "version": len(read_history(operation.state_path)) + 1,
        "kind": kind,
        "startTime": started_at,
        "endTime": now(),
        "durationSeconds": round(seconds, 3),
        "result": result,
        "resourceChanges": changes,
        "engineVersion": ENGINE_VERSION,
    }
    path = history_path(operation.state_path)
    known = path.read_text(encoding="utf-8") if path.exists() else ""
    write_atomically(path, known + json.dumps(record) + "\n")
