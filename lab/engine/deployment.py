"""A deployment: the loop that takes what the program registers, and the workers that do the steps."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.engine import urn as urns
from lab.engine.events import Emitter
from lab.engine.graph import DependencyGraph
from lab.engine.importer import ImportRequest, import_resources
from lab.engine.monitor import Callbacks, EngineService, Hooks, Monitor
from lab.engine.providers import AnyProvider, BuiltinProvider, ProviderError, Registry
from lab.engine.state import Journal, ResourceState, Snapshot
from lab.engine.step import (
    STATUS_PARTIAL_FAILURE,
    STATUS_UNKNOWN,
    DeleteProtectedError,
    DeleteStep,
    Goal,
    ImportStep,
    OutputsEvent,
    ReadEvent,
    RefreshStep,
    RegisterEvent,
    SameStep,
    Step,
    mark_secret_outputs,
)
from lab.engine.step_generator import BailError, ContinueImport, StepGenerator
from lab.engine.values import PropertyMap, diff_maps


@dataclass(frozen=True)
class ConfigValue:
    """One configuration value, as a string; an object is its JSON."""

    value: str
    is_secret: bool = False


class Targets:
    """The resources that a run is limited to; empty is no limit. ``*`` matches within a part, ``**`` anything."""

    def __init__(self, targets: Sequence[str] = ()) -> None:
        self.literals = [target for target in targets if "*" not in target]
        self._patterns = [_glob(target) for target in targets if "*" in target]

    def __bool__(self) -> bool:
        return bool(self.literals or self._patterns)

    def copy(self) -> Targets:
        result = Targets(self.literals)
        result._patterns = list(self._patterns)
        return result

    def contains(self, urn: str) -> bool:
        if not self:
            return True
        return urn in self.literals or any(p.fullmatch(urn) for p in self._patterns)

    def add(self, urn: str) -> None:
        if self:
            self.literals.append(urn)


def _glob(text: str) -> re.Pattern[str]:
    parts = ("[^:]*".join(map(re.escape, part.split("*"))) for part in text.split("**"))
    return re.compile(".*".join(parts))


@dataclass(kw_only=True)
class Options:
    """What a deployment is to do."""

    project: str
    stack: str
    program_dir: Path
    organization: str = "organization"
    config: Mapping[str, ConfigValue] = field(default_factory=dict)
    dry_run: bool = False
    parallel: int = 16
    refresh: bool = False
    is_refresh: bool = False
    continue_on_error: bool = False
    targets: Targets = field(default_factory=Targets)
    replace_targets: Targets = field(default_factory=Targets)
    target_dependents: bool = False


class CanceledError(Exception):
    """The user stopped the run."""


class Context:
    """Whether a run, or a part of it, goes on."""

    def __init__(self, parent: Context | None = None) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.is_canceled = False
        if parent is not None:
            parent.on_cancel(self.cancel)

    def on_cancel(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if not self.is_canceled:
                self._callbacks.append(callback)
                return
        callback()

    def cancel(self) -> None:
        with self._lock:
            if self.is_canceled:
                return
            self.is_canceled = True
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()


class StepExecutor:
    """Does chains of steps, several at once; the steps of one chain in their order."""

    def __init__(self, deployment: Deployment, context: Context, *, ignore_errors: bool) -> None:
        self._deployment = deployment
        self._context = context
        self._ignore_errors = ignore_errors
        self._condition = threading.Condition()
        self._free = max(deployment.options.parallel, 1)
        self._running = 0
        self._threads: list[threading.Thread] = []
        self.error: Exception | None = None
        self.errored_steps: list[Step] = []
        self._pending_news: dict[str, Step] = {}
        self._news_lock = threading.Lock()
        self.stack_outputs: OutputsEvent | None = None
        context.on_cancel(self._wake)

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def execute(self, chain: Sequence[Step]) -> threading.Event:
        """Start a chain as soon as a worker is free. The event is set once it is done."""
        done = threading.Event()
        with self._condition:
            while self._free == 0 and not self._context.is_canceled:
                self._condition.wait()
            if self._context.is_canceled:
                done.set()
                return done
            self._free -= 1
            self._running += 1
        thread = threading.Thread(
            target=self._run_chain, args=(chain, done), daemon=True, name="steps"
        )
        thread.start()
        return done

    def execute_all(self, steps: Sequence[Step]) -> None:
        """Do steps that do not depend on each other, and wait for them."""
        for done in [self.execute([step]) for step in steps]:
            done.wait()

    def wait(self) -> None:
        """Wait until no chain is under way."""
        with self._condition:
            while self._running:
                self._condition.wait()

    def _run_chain(self, chain: Sequence[Step], done: threading.Event) -> None:
        try:
            for index, step in enumerate(chain):
                if self._context.is_canceled:
                    return
                try:
                    self._execute(step)
                except Exception as error:
                    if not isinstance(error, _StepFailedError):
                        self._deployment.emitter.error(str(error) or type(error).__name__, step.urn)
                        self._deployment.crash = self._deployment.crash or error
                    self._fail(error, chain[index:])
                    return
        finally:
            with self._condition:
                self._free += 1
                self._running -= 1
                self._condition.notify_all()
            done.set()

    def _fail(self, error: Exception, steps: Sequence[Step]) -> None:
        """Stop, or go on without these steps: the one that failed and those behind it in its chain."""
        cause = error.cause if isinstance(error, _StepFailedError) else error
        with self._condition:
            self.error = self.error or error
        if self._ignore_errors:
            return
        if self._deployment.options.continue_on_error or isinstance(cause, DeleteProtectedError):
            # The real engine fails the first alone. Where that is the delete of a replacement, nobody answers
            # the program, which then waits for ever for the resource.
            for step in steps:
                step.fail()
            with self._condition:
                self.errored_steps.extend(steps)
        else:
            self._context.cancel()

    def _execute(self, step: Step) -> None:
        deployment = self._deployment
        operation = deployment.actions.before(step)
        status, complete, error = step.apply()
        if error is None and step.logical and step.new is not None:
            with self._news_lock:
                self._pending_news[step.urn] = step
        if step.new is not None and step.op != "replace":
            mark_secret_outputs(deployment, step.new)
            if step.op in ("read", "read-replacement"):
                deployment.reads[step.new.urn] = step.new
            else:
                deployment.news[step.new.urn] = step.new
        deployment.actions.after(operation, step, status, error)
        if complete is not None:
            complete()
        if error is not None:
            raise _StepFailedError(error)
        if not deployment.options.continue_on_error and deployment.post_step_errors:
            self._context.cancel()

    def register_outputs(self, event: OutputsEvent) -> None:
        """Note the outputs of a component; those of the stack wait for the end."""
        if urns.is_root_stack(event.urn):
            self.stack_outputs = event
            event.done()
            return
        self._register_outputs(event)
        event.done()

    def finish_stack_outputs(self, *, errored: bool) -> None:
        """Note the stack's outputs; after a failure, the old ones that the program did not reach stay."""
        if self.stack_outputs is not None:
            self._register_outputs(self.stack_outputs, errored=errored)

    def _register_outputs(self, event: OutputsEvent, errored: bool = False) -> None:
        with self._news_lock:
            step = self._pending_news.pop(event.urn, None)
        if step is None or step.new is None:
            raise ProviderError(
                f"cannot complete a resource '{event.urn}' whose registration isn't pending"
            )
        if isinstance(step, SameStep) and step.is_skipped_create:
            return
        outputs = event.outputs
        if errored:
            old = self._deployment.olds.get(event.urn)
            outputs = {**((old.outputs or {}) if old is not None else {}), **outputs}
        step.new.outputs = outputs
        if not step.new.custom and step.op in ("create", "create-replacement", "update"):
            kind = "AfterUpdate" if step.op == "update" else "AfterCreate"
            self._deployment.hooks.run_after(kind, step)
        self._deployment.actions.outputs(step)


class _StepFailedError(Exception):
    """A step failed, which has been reported."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _is_internal(step: Step) -> bool:
    return step.is_internal or urns.is_default_provider(step.urn)


class Actions:
    """What goes with a step: its events, the counts and the journal."""

    def __init__(self, options: Options, emitter: Emitter, journal: Journal | None) -> None:
        self._options = options
        self._emitter = emitter
        self._journal = journal
        self._lock = threading.Lock()
        self.changes: dict[str, int] = {}
        self.is_maybe_corrupt = False

    def before(self, step: Step) -> int:
        """Tell that a step starts. Returns the journal's number of it."""
        with self._lock:
            self._emitter.step(
                "resourcePreEvent",
                step,
                internal=_is_internal(step),
                planning=self._options.dry_run,
            )
            operation = self._begin(step)
        if self._journal is not None:
            self._journal.sync()  # outside the lock, so that steps share the wait for the disk
        return operation

    def after(self, operation: int, step: Step, status: int, error: Exception | None) -> None:
        """Tell what became of a step."""
        internal = _is_internal(step)
        dry_run = self._options.dry_run
        with self._lock:
            if error is not None:
                urn = "" if internal else step.urn
                prefix = "Preview failed: " if dry_run else ""
                self._emitter.error(f"{prefix}{error}", urn)
                if not dry_run:
                    self.is_maybe_corrupt |= status == STATUS_UNKNOWN
                    self._emitter.step(
                        "resOpFailedEvent",
                        step,
                        internal=internal,
                        status=status,
                        steps=sum(self.changes.values()),
                    )
            else:
                op, is_counted = step.op, step.logical
                if self._options.is_refresh and isinstance(step, RefreshStep):
                    op, is_counted = step.result_op, True
                if step.op == "read":
                    is_counted = _is_changed_read(step)
                if is_counted and not internal:
                    self.changes[op] = self.changes.get(op, 0) + 1
                if (
                    dry_run
                    or step.state.custom
                    or (self._options.refresh and step.op == "refresh")
                    or step.op == "delete"
                ):
                    self._emitter.step(
                        "resOutputsEvent", step, op=op, internal=internal, planning=dry_run
                    )
            if status == STATUS_PARTIAL_FAILURE and step.op == "update":
                step.after.inputs = dict(step.before.inputs or {})
            self._end(operation, step, error is None or status == STATUS_PARTIAL_FAILURE)
        if self._journal is not None:
            self._journal.sync()

    def outputs(self, step: Step) -> None:
        """Tell that the outputs of a component or of the stack are known."""
        with self._lock:
            self._emitter.step(
                "resOutputsEvent", step, internal=_is_internal(step), planning=self._options.dry_run
            )
            if self._journal is not None:
                self._journal.outputs(step.after)

    def _begin(self, step: Step) -> int:
        if self._journal is None or step.op == "replace":
            return 0
        kinds = {
            "create": "creating",
            "create-replacement": "creating",
            "update": "updating",
            "delete": "deleting",
            "delete-replaced": "deleting",
            "discard": "deleting",
            "discard-replaced": "deleting",
            "read": "reading",
            "read-replacement": "reading",
            "import": "importing",
            "import-replacement": "importing",
        }
        return self._journal.begin(kinds.get(step.op), step.state)

    def _end(self, operation: int, step: Step, ok: bool) -> None:
        journal, old, new = self._journal, step.old, step.new
        if journal is None or step.op == "replace":
            return
        kind = "success" if ok else "failure"
        if isinstance(step, SameStep):
            if step.is_skipped_create:
                journal.end(operation, kind=kind, durable=False)
            else:
                journal.end(operation, kind=kind, state=new, remove=old, durable=False)
        elif isinstance(step, RefreshStep):
            journal.end(
                operation,
                kind="refresh" if ok else "failure",
                state=new,
                remove=old,
                is_refresh=True,
                durable=False,
            )
        elif isinstance(step, ImportStep):
            journal.end(operation, kind=kind, state=new, delete=step.original)
        elif isinstance(step, DeleteStep):
            if not ok:
                journal.end(operation, kind=kind)
            elif step.before.pending_replacement:
                journal.end(operation, kind=kind, pending=old)
            else:
                journal.end(operation, kind=kind, remove=old)
        elif step.op in ("create", "create-replacement"):
            is_gone = old is not None and old.pending_replacement
            journal.end(
                operation,
                kind=kind,
                state=new,
                remove=old if is_gone else None,
                delete=None if is_gone else old,
            )
        else:
            journal.end(operation, kind=kind, state=new, remove=old)


def _is_changed_read(step: Step) -> bool:
    if step.old is None or step.new is None:
        return False
    if step.old.outputs is None or step.new.outputs is None:
        return False
    return diff_maps(step.old.outputs, step.new.outputs) is not None


class Deployment:
    """One run over one stack."""

    def __init__(
        self,
        options: Options,
        snapshot: Snapshot,
        emitter: Emitter,
        factories: Mapping[str, Callable[[], Any]],
        journal: Journal | None,
        read_stack: Callable[[str], PropertyMap],
    ) -> None:
        """``journal`` is None in a preview; ``read_stack`` gives another stack's outputs."""
        self.options = options
        self.emitter = emitter
        self._journal = journal
        self.previous = snapshot.resources
        self._pending_operations = snapshot.pending_operations
        self.olds: dict[str, ResourceState] = {}
        self.all_olds: dict[str, list[ResourceState]] = {}
        self.news: dict[str, ResourceState] = {}
        self.reads: dict[str, ResourceState] = {}
        self.goals: dict[str, Goal] = {}
        self.post_step_errors: list[Exception] = []
        self.crash: Exception | None = None
        self._index()
        builtin = BuiltinProvider(
            read_stack, self._find_new, lambda urn, text: emitter.warning(text, urn)
        )
        self.registry = Registry(
            factories,
            builtin,
            is_preview=options.dry_run,
            warn=lambda urn, text: emitter.warning(text, urn),
        )
        self.callbacks = Callbacks()
        self.hooks = Hooks(self, self.callbacks)
        self.actions = Actions(options, emitter, journal)
        self.engine_service = EngineService(self)
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._async_expected = 0
        self._generator: StepGenerator | None = None
        self._skipped: set[str] = set()

    def _index(self) -> None:
        self.olds.clear()
        self.all_olds.clear()
        for state in self.previous:
            self.all_olds.setdefault(state.urn, []).append(state)
            if state.delete:
                continue
            if state.urn in self.olds:
                raise ProviderError(f"unexpected duplicate resource '{state.urn}'")
            self.olds[state.urn] = state
        self.graph = DependencyGraph(self.previous)

    def _find_new(self, urn: str) -> ResourceState | None:
        return self.news.get(urn) or self.reads.get(urn)

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        parent_type = ""
        if parent and not urns.is_root_stack(parent):
            parent_type = urns.qualified_type(parent)
        return urns.make(self.options.stack, self.options.project, parent_type, type_, name)

    def ensure_provider(self, state: ResourceState) -> None:
        """Make the provider of a resource of the state ready. Raises ProviderError."""
        try:
            self.ensure_reference(state.provider)
        except ProviderError as error:
            message = f"could not load provider for resource {state.urn}: {error}"
            raise ProviderError(message) from None

    def ensure_reference(self, reference: str) -> AnyProvider | None:
        """Make a provider of the state ready, by its reference. Raises ProviderError."""
        if not reference:
            return None
        provider = self.registry.get(reference)
        if provider is not None:
            return provider
        urn, id_ = urns.parse_reference(reference)
        for state in self.previous:
            if state.urn == urn and state.id == id_:
                try:
                    self.registry.same(urn, id_, state.inputs or {}, from_check=False)
                except ProviderError as error:
                    message = f"could not create provider {reference}: {error}"
                    raise ProviderError(message) from None
                return self.registry.get(reference)
        raise ProviderError(f"could not find provider {reference}")

    # --- the run

    def _report_result(self, word: str) -> None:
        kind = "preview" if self.options.dry_run else "update"
        self.emitter.error(f"{kind} {word}")

    def execute(
        self, caller: Context, run_program: Callable[[Monitor], Callable[[], None]] | None
    ) -> None:
        """Run. ``run_program`` starts the program and gives what waits for its end; None is a destroy or refresh.

        Raises BailError once what is wrong has been reported, and CanceledError.
        """
        try:
            if self.options.refresh:
                self._refresh(caller)
                if self.options.is_refresh:
                    return
            elif self._pending_operations and not self.options.dry_run:
                self._warn_of_pending_operations()
            self._check_targets(self.options.replace_targets)
            self._deploy(caller, run_program)
        finally:
            self.callbacks.close()
            self.registry.close()

    def execute_import(self, caller: Context, requests: Sequence[ImportRequest]) -> None:
        """Take existing resources into the state. Raises BailError and CanceledError."""
        executor = StepExecutor(self, Context(caller), ignore_errors=True)
        try:
            import_resources(self, executor, requests)
        except BailError:
            self._report_result("failed")
            raise
        finally:
            executor.wait()
            self.registry.close()
        if executor.error is not None:
            self._report_result("failed")
            raise BailError(str(executor.error))
        if caller.is_canceled:
            self._report_result("canceled")
            raise CanceledError

    def _check_targets(self, targets: Targets) -> None:
        unknown = [
            target
            for target in targets.literals
            if target not in self.all_olds
            and (self._generator is None or target not in self._generator.urns)
        ]
        for target in unknown:
            hint = "" if "$" in target else " Did you forget to escape $ in your shell?"
            self.emitter.error(f"Target '{target}' could not be found in the stack.{hint}")
        if unknown:
            raise BailError("one or more targets could not be found in the stack")

    def _deploy(
        self, caller: Context, run_program: Callable[[Monitor], Callable[[], None]] | None
    ) -> None:
        context = Context(caller)
        context.on_cancel(lambda: self._events.put(("canceled", None)))
        self._generator = generator = StepGenerator(self, self._events.put)
        executor = StepExecutor(self, context, ignore_errors=False)
        monitor = Monitor(self, self._events.put)
        wait_for_program: Callable[[], None] | None = None
        if run_program is None:
            self._events.put(("finished", None))
        else:
            wait_for_program = run_program(monitor)
        bail: BailError | None = None
        canceled = False
        try:
            canceled = self._loop(context, caller, generator, executor)
        except BailError as error:
            bail = error
            context.cancel()
        executor.wait()
        errored = bool(bail or executor.error or generator.saw_error or self.post_step_errors)
        try:
            executor.finish_stack_outputs(errored=errored)
        except ProviderError as error:
            bail = bail or BailError(str(error))
        self.engine_service.is_closed = bail is not None or canceled or context.is_canceled
        monitor.close()
        if wait_for_program is not None:
            wait_for_program()
        if bail is not None:
            raise bail
        if executor.error or generator.saw_error or self.post_step_errors:
            self._report_result("failed")
            raise BailError(str(executor.error or "step generator errored"))
        if canceled:
            self._report_result("canceled")
            raise CanceledError

    def _loop(
        self,
        context: Context,
        caller: Context,
        generator: StepGenerator,
        executor: StepExecutor,
    ) -> bool:
        """Take events until the program is done. Returns whether the user stopped the run."""
        is_finished = False
        while True:
            event = self._events.get()
            if context.is_canceled:
                return caller.is_canceled
            if isinstance(event, tuple):
                kind, error = event
                if kind == "finished":
                    if error is not None:
                        if not isinstance(error, BailError):
                            self.emitter.error(str(error))
                        raise BailError(str(error))
                    is_finished = True
                elif kind == "aborted":
                    raise BailError("aborted")
            else:
                try:
                    self._handle(event, generator, executor)
                except BailError:
                    raise
                except Exception as error:
                    self.emitter.error(str(error), self._event_urn(event))
                    if not isinstance(error, (ProviderError, ValueError)):
                        self.crash = self.crash or error
                    raise BailError(str(error)) from error
            if is_finished and self._async_expected == 0:
                target_error: BailError | None = None
                try:
                    self._check_targets(self.options.targets)
                except BailError as error:
                    target_error = error
                self._delete(context, generator, executor)
                if target_error is not None:
                    raise target_error
                return context.is_canceled and caller.is_canceled

    def _event_urn(self, event: Any) -> str:
        if isinstance(event, RegisterEvent):
            return self.make_urn(event.goal.parent, event.goal.type, event.goal.name)
        if isinstance(event, ReadEvent):
            return self.make_urn(event.state.parent, event.state.type, event.name)
        if isinstance(event, (OutputsEvent, ContinueImport)):
            return event.urn
        return ""

    def _handle(self, event: Any, generator: StepGenerator, executor: StepExecutor) -> None:
        if isinstance(event, OutputsEvent):
            executor.register_outputs(event)
            return
        if isinstance(event, ContinueImport):
            self._async_expected -= 1
            steps = generator.continue_import(event)
        elif isinstance(event, RegisterEvent):
            steps, is_async = generator.register_steps(event)
            self._async_expected += is_async
        else:
            steps = generator.read_steps(event)
        self._skipped |= {step.urn for step in list(executor.errored_steps)}
        chain = []
        for step in steps:
            if any(d.urn in self._skipped for d in step.state.all_dependencies()):
                step.skip()
                self._skipped.add(step.urn)
            else:
                chain.append(step)
        if chain:
            executor.execute(chain)

    def _delete(self, context: Context, generator: StepGenerator, executor: StepExecutor) -> None:
        """Delete what the program no longer has."""
        if not self.previous:
            return
        executor.wait()
        try:
            sames, deletes = generator.delete_steps()
        except BailError:
            return  # reported; the generator's error fails the run at its end
        except ProviderError as error:
            self.emitter.error(str(error))
            raise BailError(str(error)) from error
        executor.execute(sames).wait()
        kept: set[ResourceState] = set()
        seen: set[Step] = set()
        for group in generator.schedule_deletes(deletes):
            for step in list(executor.errored_steps):
                if step in seen:
                    continue
                seen.add(step)
                for state in (step.state, step.old):
                    if state is not None and state in self.graph:
                        kept |= self.graph.transitive_dependencies_of(state)
            executor.execute_all([step for step in group if step.state not in kept])

    # --- refresh

    def _refresh(self, caller: Context) -> None:
        if not self.previous:
            return
        self._check_targets(self.options.targets)
        targets = self.options.targets.copy()
        steps: dict[ResourceState, RefreshStep] = {}
        for state in self.previous:
            if targets.contains(state.urn):
                try:
                    self.ensure_provider(state)
                except ProviderError as error:
                    self.emitter.error(str(error))
                    raise BailError(str(error)) from error
                steps[state] = RefreshStep(self, state)
            elif self.options.target_dependents and any(
                targets.contains(d.urn) for d in state.all_dependencies()
            ):
                steps[state] = RefreshStep(self, state)
                targets.add(state.urn)
        executor = StepExecutor(self, Context(caller), ignore_errors=True)
        executor.execute_all(list(steps.values()))
        executor.wait()
        self._rebuild(steps)
        if self._journal is not None:
            self._journal.rebuilt(self.previous)
        if executor.error is not None:
            self._report_result("failed")
            raise BailError(str(executor.error))
        if caller.is_canceled:
            self._report_result("canceled")
            raise CanceledError

    def _rebuild(self, steps: Mapping[ResourceState, RefreshStep]) -> None:
        """Make what the refresh found what the run starts from."""
        known: set[str] = set()
        resources: list[ResourceState] = []
        for state in self.previous:
            new = steps[state].new if state in steps else state
            if new is None:
                continue
            if new.dependencies:
                new.dependencies = [urn for urn in new.dependencies if urn in known]
            if new.property_dependencies:
                kept = {
                    key: [urn for urn in found if urn in known]
                    for key, found in new.property_dependencies.items()
                }
                new.property_dependencies = {k: v for k, v in kept.items() if v}
            new.replace_with = [urn for urn in new.replace_with if urn in known]
            if new.deleted_with not in known:
                new.deleted_with = ""
            resources.append(new)
            known.add(new.urn)
        parents: dict[str, str] = {}
        for state in resources:
            if state.parent and state.parent not in known:
                state.parent = parents.get(state.parent, "")
            parents[state.urn] = state.parent
        self.previous = resources
        self._index()

    def _warn_of_pending_operations(self) -> None:
        listed = "".join(
            f"  * {operation['resource']['urn']}, interrupted while {operation['type']}\n"
            for operation in self._pending_operations
        )
        self.emitter.warning(
            f"Attempting to deploy or update resources with {len(self._pending_operations)} pending operations "
            f"from previous deployment.\n{listed}"
            "These resources are in an unknown state because the Pulumi CLI was interrupted while waiting for "
            "changes to these resources to complete. You should confirm whether or not the operations listed "
            "completed successfully by checking the state of the appropriate provider. For example, if you are "
            "using AWS, you can confirm using the AWS Console.\n\n"
            "Once you have confirmed the status of the interrupted operations, you can repair your stack using "
            "`pulumi refresh` which will refresh the state from the provider you are using and clear the pending "
            "operations if there are any.\n\n"
            "Note that `pulumi refresh` will need to be run interactively to clear pending CREATE operations."
        )
