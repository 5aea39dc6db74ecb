"""Steps: the operations that a deployment is made of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.engine import urn as urns
from lab.engine.providers import (
    Changes,
    DiffResult,
    InitError,
    PropertyDiff,
    ProviderError,
)
from lab.engine.state import ResourceState, now
from lab.engine.values import (
    UNKNOWN_STRING,
    PropertyMap,
    ValueDiff,
    deep_copy,
    diff_maps,
    format_path,
    is_secret,
    make_secret,
    maps_equal,
    parse_path,
    reset_path,
    unwrap_secrets,
)

if TYPE_CHECKING:
    from lab.engine.deployment import Deployment

STATUS_OK, STATUS_PARTIAL_FAILURE, STATUS_UNKNOWN = 0, 1, 2
REPLACEMENT_OPS = frozenset(
    {
        "replace",
        "create-replacement",
        "delete-replaced",
        "read-replacement",
        "discard-replaced",
        "remove-pending-replace",
        "import-replacement",
    }
)
MAX_HOOK_RETRIES = 100


@dataclass
class Goal:
    """What the program wants of one resource."""

    type: str
    name: str
    custom: bool
    properties: PropertyMap
    parent: str = ""
    protect: bool | None = None
    dependencies: list[str] = field(default_factory=list)
    provider: str = ""
    property_dependencies: dict[str, list[str]] | None = None
    delete_before_replace: bool | None = None
    ignore_changes: list[str] = field(default_factory=list)
    additional_secret_outputs: list[str] = field(default_factory=list)
    aliases: list[Alias] = field(default_factory=list)
    id: str = ""
    custom_timeouts: dict[str, float] = field(default_factory=dict)
    replace_on_changes: list[str] = field(default_factory=list)
    replacement_trigger: Any = None
    retain_on_delete: bool | None = None
    deleted_with: str = ""
    replace_with: list[str] = field(default_factory=list)
    hide_diff: list[str] = field(default_factory=list)
    source_position: str = ""
    stack_trace: list[dict[str, str]] = field(default_factory=list)
    resource_hooks: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Alias:
    """An earlier name of a resource, as a URN or in parts; an empty part is the resource's own."""

    urn: str = ""
    name: str = ""
    type: str = ""
    stack: str = ""
    project: str = ""
    parent: str = ""
    no_parent: bool = False


@dataclass
class Registered:
    """The answer to a registration. ``result``: success, failed or skipped."""

    state: ResourceState
    result: str = "success"
    is_unknown: bool = False


class Pending:
    """A request of the program that waits for its answer."""

    def __init__(self) -> None:
        self._answered = threading.Event()
        self.answer: Registered | None = None
        self.error: Exception | None = None

    def done(self, answer: Registered | None = None) -> None:
        self.answer = answer
        self._answered.set()

    def fail(self, error: Exception) -> None:
        if not self._answered.is_set():
            self.error = error
            self._answered.set()

    def wait(self) -> None:
        """Wait for the answer. Raises what the request failed with."""
        self._answered.wait()
        if self.error is not None:
            raise self.error


class RegisterEvent(Pending):
    """The program registers a resource."""

    def __init__(self, goal: Goal) -> None:
        super().__init__()
        self.goal = goal


class ReadEvent(Pending):
    """The program reads a resource that it does not own."""

    def __init__(self, state: ResourceState, name: str) -> None:
        super().__init__()
        self.state = state  # without a URN yet
        self.name = name


class OutputsEvent(Pending):
    """The program registers the outputs of a component or of the stack."""

    def __init__(self, urn: str, outputs: PropertyMap) -> None:
        super().__init__()
        self.urn = urn
        self.outputs = outputs


Applied = tuple[int, Callable[[], None] | None, Exception | None]


class StepError(ProviderError):
    """A step cannot be done, for a reason that the engine sees itself."""

    def __init__(self, message: str) -> None:
        super().__init__(message, is_unknown=False)


class DeleteProtectedError(StepError):
    """A protected resource would be deleted."""

    def __init__(self, urn: str) -> None:
        super().__init__(
            f'resource "{urn}" cannot be deleted\n'
            "because it is protected. To unprotect the resource, either remove the `protect` flag from the "
            "resource in your Pulumi program and run `pulumi up`, or use the command:\n"
            f"`pulumi state unprotect '{urn}'`"
        )


class Step:
    """One operation. ``old`` and ``new`` are the states before and after; ``logical`` ones are counted."""

    op: str
    logical = True
    is_untargeted = False
    is_internal = False

    def __init__(
        self, deployment: Deployment, old: ResourceState | None, new: ResourceState | None
    ) -> None:
        self.deployment = deployment
        self.old = old
        self.new = new

    @property
    def state(self) -> ResourceState:
        """The latest state that is known: the new one, else the old one."""
        return self.new or self.before

    @property
    def before(self) -> ResourceState:
        """The old state, of a step that has one."""
        if self.old is None:
            raise RuntimeError(f"a {self.op} step without an old state")
        return self.old

    @property
    def after(self) -> ResourceState:
        """The new state, of a step that has one."""
        if self.new is None:
            raise RuntimeError(f"a {self.op} step without a new state")
        return self.new

    @property
    def urn(self) -> str:
        return self.state.urn

    @property
    def type(self) -> str:
        return self.state.type

    @property
    def provider(self) -> str:
        return self.state.provider

    def apply(self) -> Applied:
        raise NotImplementedError

    def fail(self) -> None:
        """Tell the program that the resource failed."""

    def skip(self) -> None:
        """Tell the program that the resource was not tried, as what it needs failed."""

    def _find_provider(self) -> Any:
        if urns.is_provider_type(self.type):
            return self.deployment.registry
        if urns.parse_reference(self.provider)[1] == urns.DENIED_ID:
            package = urns.name(urns.parse_reference(self.provider)[0])
            raise StepError(
                f"Default provider for '{package}' disabled. '{self.urn}' must use an explicit provider."
            )
        provider = self.deployment.registry.get(self.provider)
        if provider is None:
            raise StepError(f"unknown provider '{self.provider}' for resource {self.urn}")
        return provider

    def _answer(
        self, event: Pending | None, result: str = "success", is_unknown: bool = False
    ) -> None:
        if event is not None and self.new is not None:
            event.done(Registered(self.new, result, is_unknown))

    def _retry(self, operation: str, action: Callable[[], Any]) -> Any:
        """Do it again for as long as the program's error hooks ask for it."""
        failures: list[str] = []
        while True:
            try:
                return action()
            except ProviderError as error:
                hooks = self.state.resource_hooks.get("OnError")
                if not hooks:
                    raise
                failures.insert(0, str(error))
                if len(failures) > MAX_HOOK_RETRIES:
                    self.deployment.emitter.warning(
                        f"maximum number of error hook retries ({MAX_HOOK_RETRIES}) reached",
                        self.urn,
                    )
                    raise
                if not self.deployment.hooks.run_error_hooks(hooks, self, operation, failures):
                    raise
                self.deployment.emitter.warning(
                    f"retrying {operation} due to on-error hook request ({len(failures)}/{MAX_HOOK_RETRIES})",
                    self.urn,
                )


class SameStep(Step):
    """Nothing to do but to note the program's new inputs."""

    op = "same"

    def __init__(
        self,
        deployment: Deployment,
        event: RegisterEvent | None,
        old: ResourceState,
        new: ResourceState,
        *,
        untargeted: bool = False,
        skipped_create: bool = False,
    ) -> None:
        super().__init__(deployment, old, new)
        self._event = event
        self.is_untargeted = untargeted
        self.is_skipped_create = skipped_create

    @classmethod
    def skipping_create(
        cls, deployment: Deployment, event: RegisterEvent, new: ResourceState
    ) -> SameStep:
        """A resource that would be created but is not a target."""
        return cls(deployment, event, new.copy(), new, skipped_create=True)

    def apply(self) -> Applied:
        old, new = self.before, self.after
        new.id = old.id
        new.outputs = old.outputs
        if (
            urns.is_provider_type(new.type)
            and not self.is_skipped_create
            and not self.is_untargeted
        ):
            try:
                self.deployment.registry.same(self.urn, new.id, old.inputs or {}, from_check=True)
            except ProviderError as error:
                message = f"bad provider state for resource {self.urn}: {error}"
                return STATUS_OK, None, StepError(message)
        return (
            STATUS_OK,
            lambda: self._answer(self._event, is_unknown=self.is_skipped_create),
            None,
        )

    def fail(self) -> None:
        self._answer(self._event, "failed")

    def skip(self) -> None:
        self._answer(self._event, "skipped")


class CreateStep(Step):
    """Create a resource, for itself or as the new half of a replacement."""

    def __init__(
        self,
        deployment: Deployment,
        event: RegisterEvent,
        new: ResourceState,
        *,
        replaced: ResourceState | None = None,
        keys: list[str] | None = None,
        diffs: list[str] | None = None,
        detailed_diff: dict[str, PropertyDiff] | None = None,
        pending_delete: bool = False,
    ) -> None:
        super().__init__(deployment, replaced, new)
        self._event = event
        self.keys = keys
        self.diffs = diffs
        self.detailed_diff = detailed_diff
        self._pending_delete = pending_delete
        self.op = "create" if replaced is None else "create-replacement"
        self.logical = replaced is None

    def apply(self) -> Applied:
        new = self.after
        hooks = self.deployment.hooks
        try:
            hooks.run("BeforeCreate", self)
        except StepError as error:
            return STATUS_OK, None, error
        id_, outputs, failure = new.id, new.outputs, None
        if new.custom:
            try:
                provider = self._find_provider()
                id_, outputs = self._retry(
                    "create",
                    lambda: provider.create(
                        self.urn,
                        new.inputs or {},
                        timeout=new.custom_timeouts.get("create", 0.0),
                        preview=self.deployment.options.dry_run,
                    ),
                )
            except InitError as error:
                failure, id_, outputs = error, error.id, error.outputs
                new.init_errors = error.reasons
            except ProviderError as error:
                return STATUS_OK, None, error
        new.id = id_
        new.outputs = outputs
        new.created = new.modified = now()
        if self.old is not None and self._pending_delete:
            self.old.delete = True
        if failure is not None:
            return STATUS_PARTIAL_FAILURE, None, failure
        if new.custom:
            hooks.run_after("AfterCreate", self)
        return STATUS_OK, lambda: self._answer(self._event), None

    def fail(self) -> None:
        self._answer(self._event, "failed")

    def skip(self) -> None:
        self._answer(self._event, "skipped")


class DeleteStep(Step):
    """Delete a resource, for itself or as the old half of a replacement."""

    def __init__(
        self,
        deployment: Deployment,
        other_deletions: dict[str, bool],
        old: ResourceState,
        *,
        replacing: bool = False,
        pending_replacement: bool = False,
    ) -> None:
        super().__init__(deployment, old, None)
        self._others = other_deletions
        self._replacing = replacing
        self._pending_replacement = pending_replacement
        self.logical = not replacing
        self.op = "delete-replaced" if replacing else "delete"
        if old.external:
            self.op = "discard-replaced" if replacing else "discard"

    def apply(self) -> Applied:
        old = self.before
        hooks = self.deployment.hooks
        try:
            hooks.run("BeforeDelete", self)
        except StepError as error:
            return STATUS_OK, None, error
        if not self._replacing and old.protect:
            return STATUS_OK, None, DeleteProtectedError(self.urn)
        is_kept = (
            self.deployment.options.dry_run
            or old.external
            or old.retain_on_delete
            or bool(old.deleted_with and self._others.get(old.deleted_with))
        )
        if not is_kept and old.custom:
            try:
                provider = self._find_provider()
                self._retry(
                    "delete",
                    lambda: provider.delete(
                        self.urn,
                        old.id,
                        old.inputs or {},
                        old.outputs or {},
                        timeout=old.custom_timeouts.get("delete", 0.0),
                    ),
                )
            except ProviderError as error:
                return STATUS_UNKNOWN if error.is_unknown else STATUS_OK, None, error
        if self._pending_replacement:
            old.pending_replacement = True
        hooks.run_after("AfterDelete", self)
        return STATUS_OK, None, None


class RemovePendingReplaceStep(Step):
    """Forget a resource that was deleted for a replacement which the program no longer wants."""

    op = "remove-pending-replace"
    logical = False
    is_internal = True

    def apply(self) -> Applied:
        return STATUS_OK, None, None


class UpdateStep(Step):
    """Update a resource in place."""

    op = "update"

    def __init__(
        self,
        deployment: Deployment,
        event: RegisterEvent,
        old: ResourceState,
        new: ResourceState,
        diff: DiffResult,
        ignore_changes: list[str],
    ) -> None:
        super().__init__(deployment, old, new)
        self._event = event
        self.diffs = diff.changed_keys
        self.detailed_diff = diff.detailed_diff
        self._ignore_changes = ignore_changes

    def apply(self) -> Applied:
        old, new = self.before, self.after
        new.id, new.created, new.modified = old.id, old.created, old.modified
        hooks = self.deployment.hooks
        try:
            hooks.run("BeforeUpdate", self)
        except StepError as error:
            return STATUS_OK, None, error
        failure = None
        if new.custom:
            try:
                provider = self._find_provider()
                outputs = self._retry(
                    "update",
                    lambda: provider.update(
                        self.urn,
                        old.id,
                        old.inputs or {},
                        old.outputs or {},
                        new.inputs or {},
                        timeout=new.custom_timeouts.get("update", 0.0),
                        ignore_changes=self._ignore_changes,
                        preview=self.deployment.options.dry_run,
                    ),
                )
            except InitError as error:
                failure, outputs = error, error.outputs
                new.init_errors = error.reasons
            except ProviderError as error:
                return STATUS_UNKNOWN if error.is_unknown else STATUS_OK, None, error
            new.outputs = outputs
            new.modified = now()
        if failure is not None:
            return STATUS_PARTIAL_FAILURE, None, failure
        if old.custom:
            hooks.run_after("AfterUpdate", self)
        return STATUS_OK, lambda: self._answer(self._event), None

    def fail(self) -> None:
        self._answer(self._event, "failed")

    def skip(self) -> None:
        self._answer(self._event, "skipped")


class ReplaceStep(Step):
    """The mark of a replacement: its two halves are steps of their own."""

    op = "replace"

    def __init__(
        self,
        deployment: Deployment,
        old: ResourceState,
        new: ResourceState,
        diff: DiffResult | None = None,
    ) -> None:
        super().__init__(deployment, old, new)
        self.keys = diff.replace_keys if diff else None
        self.diffs = diff.changed_keys if diff else None
        self.detailed_diff = diff.detailed_diff if diff else None

    def apply(self) -> Applied:
        return STATUS_OK, None, None


class ReadStep(Step):
    """Read a resource that the program does not own."""

    def __init__(
        self,
        deployment: Deployment,
        event: ReadEvent,
        old: ResourceState | None,
        new: ResourceState,
        *,
        replacing: bool = False,
    ) -> None:
        super().__init__(deployment, old, new)
        self._event = event
        self._replacing = replacing
        self.op = "read-replacement" if replacing else "read"
        self.logical = not replacing

    def apply(self) -> Applied:
        old, new = self.old, self.after
        failure = None
        if new.id == UNKNOWN_STRING:
            new.outputs = {}
        else:
            try:
                result = self._find_provider().read(
                    self.urn,
                    new.id,
                    new.inputs,
                    new.inputs,
                    timeout=new.custom_timeouts.get("read", 0.0),
                )
            except ProviderError as error:
                return STATUS_UNKNOWN if error.is_unknown else STATUS_OK, None, error
            if result.init_error is not None:
                failure = result.init_error
                new.init_errors = failure.reasons
            if result.outputs is None:
                return STATUS_OK, None, StepError(f"resource '{new.id}' does not exist")
            new.outputs = result.outputs
            new.id = result.id or new.id
        if self._replacing and old is not None:
            old.delete = True
        if old is not None:
            new.created, new.modified = old.created, old.modified
            if not maps_equal(old.inputs or {}, new.inputs or {}) or not maps_equal(
                old.outputs or {}, new.outputs or {}
            ):
                new.modified = now()
        status = STATUS_OK if failure is None else STATUS_PARTIAL_FAILURE
        return status, lambda: self._answer(self._event), failure

    def fail(self) -> None:
        self._answer(self._event, "failed")

    def skip(self) -> None:
        self._answer(self._event, "skipped")


class RefreshStep(Step):
    """Read what a resource is now in the cloud."""

    op = "refresh"
    logical = False

    def __init__(self, deployment: Deployment, old: ResourceState) -> None:
        super().__init__(deployment, old, old)
        self._is_deleted = False
        self._diff = DiffResult()

    @property
    def state(self) -> ResourceState:
        return self.before

    @property
    def diffs(self) -> list[str]:
        return self._diff.changed_keys

    @property
    def detailed_diff(self) -> dict[str, PropertyDiff] | None:
        return self._diff.detailed_diff

    @property
    def result_op(self) -> str:
        """What the refresh came to: same, update or delete."""
        if self._is_deleted:
            return "delete"
        old = self.before
        if self.new is old or self.new is None:
            return "same"
        if old.external:
            same = diff_maps(old.outputs or {}, self.new.outputs or {}) is None
        else:
            same = self._diff.changes is Changes.NONE
        return "same" if same else "update"

    def apply(self) -> Applied:
        old = self.before
        if not old.custom or urns.is_provider_type(old.type) or old.pending_replacement:
            return STATUS_OK, None, None
        try:
            provider = self._find_provider()
            result = provider.read(
                self.urn,
                old.id,
                old.inputs or {},
                old.outputs or {},
                timeout=old.custom_timeouts.get("read", 0.0),
            )
        except ProviderError as error:
            return STATUS_UNKNOWN if error.is_unknown else STATUS_OK, None, error
        status, reasons = STATUS_OK, []
        if result.init_error is not None:
            status, reasons = STATUS_PARTIAL_FAILURE, result.init_error.reasons
            listed = "\n* ".join(reasons)
            self.deployment.emitter.warning(
                f"Refreshed resource is in an unhealthy state:\n* {listed}", self.urn
            )
        if not result.id or result.outputs is None:
            self._is_deleted = True
            self.new = None
            return status, None, None
        inputs = old.inputs or {} if result.inputs is None else result.inputs
        new = old.copy()
        new.id, new.inputs, new.outputs, new.init_errors = (
            result.id,
            inputs,
            result.outputs,
            reasons,
        )
        if not maps_equal(inputs, old.inputs or {}) or not maps_equal(
            result.outputs, old.outputs or {}
        ):
            new.modified = now()
        self.new = new
        if not old.external:
            try:
                diff = diff_resource(
                    self.deployment,
                    provider,
                    new.urn,
                    new.id,
                    inputs,
                    result.outputs,
                    old.inputs or {},
                    allow_unknowns=self.deployment.options.dry_run,
                    ignore_changes=old.ignore_changes,
                )
            except ProviderError as error:
                return status, None, error
            self._diff = diff.invert()
        return status, None, None


class ImportStep(Step):
    """Take an existing resource into the state."""

    def __init__(
        self,
        deployment: Deployment,
        event: RegisterEvent,
        new: ResourceState,
        *,
        original: ResourceState | None = None,
        ignore_changes: list[str],
        random_seed: bytes,
        when_done: Callable[[ResourceState | None, Exception | None], None] | None,
        planned: bool = False,
    ) -> None:
        super().__init__(deployment, None, new)
        self._event = event
        self.original = original
        self._ignore_changes = ignore_changes
        self._random_seed = random_seed
        self._when_done = when_done
        # An import that a person asked for, not the program: the inputs are what the cloud has.
        self._planned = planned
        self.op = "import" if original is None else "import-replacement"
        self.logical = original is None

    def apply(self) -> Applied:
        status, failure = self._import()
        if failure is not None:
            if self._when_done is not None:
                self._when_done(None, failure)
            return status, None, failure

        def complete() -> None:
            if self._when_done is not None:
                self._when_done(self.new, None)
            if self._planned:
                self._answer(self._event)

        return status, complete, None

    def _import(self) -> tuple[int, Exception | None]:
        new = self.after
        if self._planned and new.urn in self.deployment.olds:
            return STATUS_OK, StepError(f"resource '{new.urn}' already exists")
        status = STATUS_OK
        inputs: PropertyMap = {}
        outputs: PropertyMap = {}
        provider: Any = None
        if new.custom:
            try:
                provider = self._find_provider()
                result = provider.read(
                    self.urn,
                    new.import_id,
                    None,
                    None,
                    timeout=new.custom_timeouts.get("read", 0.0),
                )
            except ProviderError as error:
                return STATUS_UNKNOWN if error.is_unknown else STATUS_OK, error
            if result.init_error is not None:
                status, new.init_errors = STATUS_PARTIAL_FAILURE, result.init_error.reasons
            if result.outputs is None:
                return status, StepError(f"resource '{new.id or new.import_id}' does not exist")
            if result.inputs is None:
                package = urns.package_of(new.type)
                return STATUS_OK, StepError(
                    "provider does not support importing resources; please try updating the "
                    f"'{package}' plugin"
                )
            new.id = result.id or new.import_id
            inputs, outputs = result.inputs, result.outputs
        new.inputs, new.outputs = inputs, outputs
        self.old = ResourceState(
            type=new.type,
            urn=new.urn,
            custom=new.custom,
            id=new.id,
            inputs=inputs,
            outputs=outputs,
            parent=new.parent,
            protect=new.protect,
            dependencies=new.dependencies,
            init_errors=new.init_errors,
            provider=new.provider,
            property_dependencies=new.property_dependencies,
            custom_timeouts=new.custom_timeouts,
            import_id=new.import_id,
            retain_on_delete=new.retain_on_delete,
            deleted_with=new.deleted_with,
            replace_with=new.replace_with,
            source_position=new.source_position,
            stack_trace=new.stack_trace,
            ignore_changes=new.ignore_changes,
            hide_diff=new.hide_diff,
            replace_on_changes=new.replace_on_changes,
        )
        new.created = new.modified = now()
        if not new.custom:
            return status, None
        if self._planned:
            new.import_id = ""
            try:
                checked = provider.check(
                    self.urn,
                    inputs,
                    inputs,
                    allow_unknowns=self.deployment.options.dry_run,
                    random_seed=self._random_seed,
                )
            except ProviderError as error:
                return status, error
            if checked.failures:
                self.deployment.emitter.warning(
                    "One or more imported inputs failed to validate. The import will still proceed, but you will "
                    "need to edit the generated code after copying it into your program.",
                    self.urn,
                )
            issue_check_failures(
                self.deployment, self.deployment.emitter.warning, new, checked.failures
            )
            return status, None
        new.inputs = process_ignore_changes(
            self.deployment, new.urn, inputs, inputs, self._ignore_changes
        )
        if self.original is not None:
            self.original.delete = True
        return status, None

    def fail(self) -> None:
        self._answer(self._event, "failed")

    def skip(self) -> None:
        self._answer(self._event, "skipped")


# --- what steps and their generator share


def process_ignore_changes(
    deployment: Deployment,
    urn: str,
    inputs: PropertyMap,
    old_inputs: PropertyMap,
    ignore_changes: Sequence[str],
) -> PropertyMap:
    """Return the inputs with the ignored paths as they were."""
    result = deep_copy(inputs)
    invalid = []
    for text in ignore_changes:
        try:
            path = parse_path(text)
        except ValueError:
            continue
        if not reset_path(path, old_inputs, result):
            invalid.append(text)
    if invalid:
        listed = ", ".join(invalid)
        deployment.emitter.info(
            f'cannot ignore changes in added or removed elements of the path: "{listed}"', urn
        )
    return result


def diff_resource(
    deployment: Deployment,
    provider: Any,
    urn: str,
    id_: str,
    old_inputs: PropertyMap,
    old_outputs: PropertyMap,
    new_inputs: PropertyMap,
    *,
    allow_unknowns: bool,
    ignore_changes: list[str],
) -> DiffResult:
    """Ask the provider what differs; where it does not know, compare the inputs."""
    result: DiffResult = provider.diff(
        urn,
        id_,
        old_inputs,
        old_outputs,
        new_inputs,
        allow_unknowns=allow_unknowns,
        ignore_changes=ignore_changes,
    )
    if result.changes is Changes.UNKNOWN:
        new = process_ignore_changes(deployment, urn, new_inputs, old_inputs, ignore_changes)
        difference = diff_maps(unwrap_secrets(old_inputs), unwrap_secrets(new))
        if difference is None:
            result.changes = Changes.NONE
        else:
            result.changes = Changes.SOME
            result.changed_keys = difference.changed_keys()
            result.detailed_diff = {}
            _flatten([], ValueDiff(object=difference), result.detailed_diff)
    return result


def _flatten(path: list[str | int], diff: ValueDiff, into: dict[str, PropertyDiff]) -> None:
    parts = diff.object or diff.array
    if parts is None:
        kind = "update"
        if diff.old is None and diff.new is not None:
            kind = "add"
        elif diff.old is not None and diff.new is None:
            kind = "delete"
        into[format_path(path)] = PropertyDiff(kind, True)
        return
    for key, below in parts.updates.items():
        _flatten([*path, key], below, into)
    for kind, found in (("add", parts.adds), ("delete", parts.deletes)):
        for key in found:
            into[format_path([*path, key])] = PropertyDiff(kind, True)


def issue_check_failures(
    deployment: Deployment,
    report: Callable[[str, str], None],
    new: ResourceState,
    failures: Sequence[Any],
) -> bool:
    """Report what a check found wrong. Returns whether it found anything."""
    for failure in failures:
        name = urns.name(new.urn)
        if failure.property:
            value = format_value((new.inputs or {}).get(failure.property))
            report(
                f"{new.type} resource '{name}': property {failure.property} value {value} "
                f"has a problem: {failure.reason}",
                new.urn,
            )
        else:
            report(f"{new.type} resource '{name}' has a problem: {failure.reason}", new.urn)
    return bool(failures)


def format_value(value: Any) -> str:
    """Write a value as the real engine's messages do."""
    from lab.engine.values import Computed, Secret

    if isinstance(value, Computed):
        return "output<string>{}"
    if isinstance(value, Secret):
        return "{[secret]}"
    if isinstance(value, bool):
        return "{true}" if value else "{false}"
    if value is None:
        return "{<nil>}"
    if isinstance(value, list):
        return "{[" + " ".join(format_value(item) for item in value) + "]}"
    if isinstance(value, dict):
        items = " ".join(f"{key}:{format_value(value[key])}" for key in sorted(value))
        return "{map[" + items + "]}"
    return f"{{{value}}}"


def mark_secret_outputs(deployment: Deployment, state: ResourceState) -> None:
    """Make outputs secret that the program named, or whose input is. The map is changed in place."""
    outputs = state.outputs if state.outputs is not None else {}
    for key in state.additional_secret_outputs:
        if key == "id":
            deployment.emitter.warning(
                "The 'id' property cannot be made secret. See pulumi/pulumi#2717 for more details.",
                state.urn,
            )
        elif key in outputs:
            outputs[key] = make_secret(outputs[key])
    for key, value in list(outputs.items()):
        if not is_secret(value) and is_secret((state.inputs or {}).get(key)):
            outputs[key] = make_secret(value)
