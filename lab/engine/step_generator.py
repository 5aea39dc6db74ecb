"""Turns what the program registers into steps. One thread only calls it; it asks providers to check and diff."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.engine import urn as urns
from lab.engine.graph import DependencyGraph
from lab.engine.providers import (
    Changes,
    DiffResult,
    DiffUnavailableError,
    ProviderError,
    filter_config,
)
from lab.engine.state import Dependency, ResourceState
from lab.engine.step import (
    Alias,
    CreateStep,
    DeleteStep,
    Goal,
    ImportStep,
    ReadEvent,
    ReadStep,
    Registered,
    RegisterEvent,
    RemovePendingReplaceStep,
    ReplaceStep,
    SameStep,
    Step,
    UpdateStep,
    diff_resource,
    format_value,
    issue_check_failures,
    process_ignore_changes,
)
from lab.engine.values import (
    UNKNOWN,
    PropertyMap,
    contains_unknowns,
    deep_equals,
    maps_equal,
    mask_secrets,
    parse_path,
    path_contains,
    unwrap_secrets,
)

if TYPE_CHECKING:
    from lab.engine.deployment import Deployment

INIT_ERROR_KEY = "#initerror"
_DEPENDENCY_WORDS = {
    "parent": "parent {urn} of untargeted resource {of}",
    "dependency": "dependency {urn} of untargeted resource {of}",
    "property-dependency": "property dependency {urn} of untargeted resource {of}'s property {key}",
    "deleted-with": "deleted with dependency {urn} of untargeted resource {of}",
    "replace-with": "replace with dependency {urn} of untargeted resource {of}",
}


class BailError(Exception):
    """The deployment cannot go on; why has been reported."""


@dataclass
class ContinueImport:
    """An import was read; its registration goes on with what was found."""

    event: RegisterEvent
    urn: str
    old: ResourceState | None
    new: ResourceState | None
    provider: Any
    recreating: bool
    random_seed: bytes
    error: Exception | None = None
    is_imported: bool = True


class StepGenerator:
    """Decides, registration by registration, what is to be done."""

    def __init__(self, deployment: Deployment, post: Callable[[ContinueImport], None]) -> None:
        self._deployment = deployment
        self._options = deployment.options
        self._emitter = deployment.emitter
        self._post = post
        self.saw_error = False
        self.urns: set[str] = set()
        self._reads: set[str] = set()
        self._creates: set[str] = set()
        self._updates: set[str] = set()
        self._replaces: set[str] = set()
        self._imports: set[str] = set()
        self._sames: set[str] = set()
        self._deletes: dict[str, bool] = {}
        self._skipped_creates: set[str] = set()
        self._pending_untargeted: list[SameStep] = []
        self._pending_untargeted_urns: set[str] = set()
        self._pending_deletes: set[ResourceState] = set()
        self._providers: dict[str, ResourceState] = {}
        self._dependent_replace_keys: dict[str, list[str]] = {}
        self._aliased: dict[str, str] = {}  # old URN -> new URN
        self._aliases: dict[str, str] = {}  # new URN -> old URN
        self._targets_actual = self._options.targets.copy()

    # --- targets

    def _is_included(self, state: ResourceState) -> bool:
        targets = self._options.targets
        if not targets:
            return True
        if targets.contains(state.urn):
            return True
        if not self._options.target_dependents:
            return False
        return any(self._targets_actual.contains(urn) for urn in state.all_urns())

    def _has_step(self, urn: str) -> bool:
        return (
            urn in self._creates
            or urn in self._sames
            or urn in self._updates
            or urn in self._deletes
            or urn in self._replaces
            or urn in self._reads
        )

    def _is_operated_on(self, urn: str) -> bool:
        return (
            urn in self._sames
            or urn in self._updates
            or urn in self._replaces
            or urn in self._reads
        )

    def _is_operated_on_alias(self, urn: str) -> bool:
        return self._is_operated_on(self._aliased.get(urn, urn))

    # --- names

    def _check_parent(self, parent: str) -> str:
        if parent and parent not in self.urns:
            raise ProviderError(f"could not find parent resource {parent}")
        return parent

    def _bail(self, message: str, urn: str) -> BailError:
        self._emitter.error(message, urn)
        return BailError(message)

    def _make_urn(self, parent: str, type_: str, name: str) -> str:
        urn = self._deployment.make_urn(parent, type_, name)
        if urn in self.urns:
            raise self._bail(f"Duplicate resource URN '{urn}'; try giving it a unique name", urn)
        self.urns.add(urn)
        return urn

    def _collapse_alias(self, name: str, type_: str, parent: str, alias: Alias) -> str:
        if alias.urn:
            return alias.urn
        above = alias.parent
        above = self._aliases.get(above, above) if above else parent
        if alias.no_parent or (above and urns.is_root_stack(above)):
            above = ""
        return urns.create(
            alias.name or name,
            alias.type or type_,
            above,
            alias.project or self._options.project,
            alias.stack or self._options.stack,
        )

    def _inherited_alias(self, type_: str, name: str, parent_name: str, parent_alias: str) -> str:
        if name.startswith(parent_name):
            name = urns.name(parent_alias) + name[len(parent_name) :]
        return urns.make(
            self._options.stack,
            self._options.project,
            urns.qualified_type(parent_alias),
            type_,
            name,
        )

    def _all_aliases(
        self, name: str, type_: str, parent: str, aliases: Iterable[Alias]
    ) -> list[str]:
        aliases = list(aliases)
        found = [self._collapse_alias(name, type_, parent, alias) for alias in aliases]
        if parent and (parent_alias := self._aliases.get(parent)):
            parent_name = urns.name(parent)
            found.append(self._inherited_alias(type_, name, parent_name, parent_alias))
            for alias in aliases:
                child = self._collapse_alias(name, type_, parent, alias)
                found.append(
                    self._inherited_alias(
                        urns.type_of(child), urns.name(child), parent_name, parent_alias
                    )
                )
        return list(dict.fromkeys(found))

    def _find_old(
        self, urn: str, name: str, type_: str, parent: str, aliases: Iterable[Alias]
    ) -> tuple[ResourceState | None, bool, str]:
        """Return the old state, whether its names clash, and the alias under which it was found."""
        is_invalid = False
        if urn in self._aliased:
            is_invalid = True
            self._emitter.error(
                f"Duplicate resource URN '{urn}' conflicting with alias on resource with URN "
                f"'{self._aliased[urn]}'",
                urn,
            )
        for candidate in [urn, *self._all_aliases(name, type_, parent, aliases)]:
            old = self._deployment.olds.get(candidate)
            if old is None:
                continue
            if candidate == urn:
                return old, is_invalid, ""
            for clash in (urn if candidate in self.urns else None, self._aliased.get(candidate)):
                if clash is not None:
                    is_invalid = True
                    self._emitter.error(
                        f"Duplicate resource alias '{candidate}' applied to resource with URN '{urn}' "
                        f"conflicting with resource with URN '{clash}'",
                        urn,
                    )
            self._aliased[candidate] = urn
            self._aliases[urn] = candidate
            self._deployment.registry.register_alias(urn, candidate)
            return old, is_invalid, candidate
        return None, is_invalid, ""

    # --- reads

    def read_steps(self, event: ReadEvent) -> list[Step]:
        """Return the steps of a read."""
        new = event.state
        self._check_parent(new.parent)
        new.urn = self._make_urn(new.parent, new.type, event.name)
        old, _, alias = self._find_old(new.urn, event.name, new.type, new.parent, [])
        if alias:
            new.aliases = [alias]
        if not new.id:
            raise ProviderError(f"Expected an ID for {new.urn}")
        if old is not None and not old.external and old.id != new.id:
            self._replaces.add(new.urn)
            return [
                ReadStep(self._deployment, event, old, new, replacing=True),
                ReplaceStep(self._deployment, old, new),
            ]
        self._reads.add(new.urn)
        return [ReadStep(self._deployment, event, old, new)]

    # --- registrations

    def register_steps(self, event: RegisterEvent) -> tuple[list[Step], bool]:
        """Return the steps of a registration, and whether it goes on once they are done."""
        goal = event.goal
        self._check_parent(goal.parent)
        urn = self._make_urn(goal.parent, goal.type, goal.name)
        steps, is_async = self._register(event, urn)
        return (steps, True) if is_async else (self._validate(steps), False)

    def continue_import(self, event: ContinueImport) -> list[Step]:
        """Return the steps that follow an import."""
        return self._validate(self._after_import(event))

    def _validate(self, steps: list[Step]) -> list[Step]:
        if self._pending_untargeted:
            pending, self._pending_untargeted = self._pending_untargeted, []
            first: list[Step] = []
            for step in pending:
                if self._has_step(step.urn) or self._is_operated_on_alias(step.urn):
                    continue
                self.urns.add(step.urn)
                self._sames.add(step.urn)
                first.append(step)
            steps = first + steps
        if not self._options.targets:
            return steps
        for step in steps:
            if step.new is None or (isinstance(step, SameStep) and step.is_skipped_create):
                continue
            for urn in step.new.all_urns():
                if urn in self._skipped_creates:
                    self._emitter.error(
                        f"Resource '{step.urn}' depends on '{urn}' which was was not specified in --target list.",
                        step.urn,
                    )
                    self.saw_error = True
                    if not self._options.dry_run:
                        raise BailError("untargeted create")
                    self._skipped_creates.discard(urn)
        return steps

    def _register(self, event: RegisterEvent, urn: str) -> tuple[list[Step], bool]:
        goal = event.goal
        old, is_invalid, alias = self._find_old(
            urn, goal.name, goal.type, goal.parent, goal.aliases
        )
        self._deployment.goals[urn] = goal
        new = _state_of(goal, urn, [alias] if alias else [], old)
        if urns.is_provider_type(goal.type):
            self._providers[urn] = new
            if alias:
                self._providers[alias] = new
        provider = self._load_provider(urn, goal.custom, goal.provider, goal.type)
        recreating = urn in self._deletes
        random_seed = os.urandom(32)
        old_import_id = (old.import_id or old.id) if old is not None else ""
        is_import = bool(
            goal.custom and goal.id and (old is None or old.external or old_import_id != goal.id)
        )
        if is_import:
            return self._import(event, old, new, provider, recreating, random_seed), True
        steps = self._after_import(
            ContinueImport(
                event, urn, old, new, provider, recreating, random_seed, is_imported=False
            ),
            is_invalid,
        )
        return steps, False

    def _import(
        self,
        event: RegisterEvent,
        old: ResourceState | None,
        new: ResourceState,
        provider: Any,
        recreating: bool,
        random_seed: bytes,
    ) -> list[Step]:
        goal, urn = event.goal, new.urn

        def when_done(imported: ResourceState | None, error: Exception | None) -> None:
            fresh = None
            if error is None:
                fresh = _state_of(goal, urn, new.aliases, None)
                fresh.replacement_trigger = None
                fresh.created, fresh.modified = new.created, new.modified
            self._post(
                ContinueImport(
                    event, urn, imported, fresh, provider, recreating, random_seed, error
                )
            )

        self._imports.add(urn)
        original = None if recreating else old
        step = ImportStep(
            self._deployment,
            event,
            new,
            original=original,
            ignore_changes=goal.ignore_changes,
            random_seed=random_seed,
            when_done=when_done,
        )
        if original is not None:
            return [step, ReplaceStep(self._deployment, original, new)]
        return [step]

    def _after_import(self, found: ContinueImport, is_invalid: bool = False) -> list[Step]:
        if found.error is not None or found.new is None:
            return []
        goal, urn, old, new = found.event.goal, found.urn, found.old, found.new
        inputs: PropertyMap = new.inputs or {}
        if old is not None:
            inputs = process_ignore_changes(
                self._deployment, urn, inputs, old.inputs or {}, goal.ignore_changes
            )
        was_external = old is not None and old.external
        is_targeted = (
            urns.is_provider_type(urns.type_of(urn))
            or urns.is_root_stack(urn)
            or self._is_included(new)
        )
        old_inputs = old.inputs or {} if old is not None else {}
        if found.provider is not None:
            is_fresh = (
                found.recreating or was_external or old is None or self._is_replace_target(urn, old)
            )
            if is_targeted:
                checked = found.provider.check(
                    urn,
                    None if is_fresh else old_inputs,
                    goal.properties if is_fresh else inputs,
                    allow_unknowns=self._options.dry_run,
                    random_seed=found.random_seed,
                )
                inputs = checked.inputs
                if issue_check_failures(
                    self._deployment, self._emitter.error, new, checked.failures
                ):
                    is_invalid = True
            else:
                inputs = old_inputs
            new.inputs = inputs
        if is_targeted:
            self._queue_untargeted_dependencies(new)
        if is_invalid:
            raise BailError(f"resource {urn} is invalid")
        if found.recreating and old is not None:
            return self._recreate(found.event, urn, old, new)
        if old is not None and old.external:
            self._creates.add(urn)
            return [
                CreateStep(self._deployment, found.event, new, replaced=old, pending_delete=True),
                ReplaceStep(self._deployment, old, new),
            ]
        if is_targeted and self._is_included(new):
            self._targets_actual.add(urn)
        if old is not None:
            if not is_targeted:
                return self._untargeted_sames(found.event, urn, old)
            return self._steps_from_diff(
                found.event, urn, old, new, inputs, found.provider, found.random_seed
            )
        if not is_targeted:
            self._sames.add(urn)
            self._skipped_creates.add(urn)
            return [SameStep.skipping_create(self._deployment, found.event, new)]
        self._creates.add(urn)
        return [CreateStep(self._deployment, found.event, new)]

    def _recreate(
        self, event: RegisterEvent, urn: str, old: ResourceState, new: ResourceState
    ) -> list[Step]:
        self._deletes.pop(urn, None)
        self._replaces.add(urn)
        return [
            ReplaceStep(self._deployment, old, new),
            CreateStep(
                self._deployment,
                event,
                new,
                replaced=old,
                keys=self._dependent_replace_keys.get(urn),
            ),
        ]

    def _is_replace_target(self, urn: str, old: ResourceState | None) -> bool:
        if self._options.replace_targets and self._options.replace_targets.contains(urn):
            return True
        return old is not None and old.taint

    def _untargeted_sames(self, event: RegisterEvent, urn: str, old: ResourceState) -> list[Step]:
        if old.provider and self._deployment.registry.get(old.provider) is None:
            provider_urn, id_ = urns.parse_reference(old.provider)
            state = self._deployment.olds.get(provider_urn)
            if state is None or state.id != id_:
                raise ProviderError(f"could not find provider {old.provider} in old state")
            raise ProviderError(
                f"provider {old.provider} for resource {urn} has not been registered yet, this is due to a change "
                "of providers mixed with --target. Change your program back to the original providers"
            )

        def same(state: ResourceState, request: RegisterEvent | None) -> list[Step]:
            if state.delete:
                return []
            steps: list[Step] = []
            self.urns.add(state.urn)
            self._sames |= {urn, state.urn}
            if state.provider:
                provider_urn, id_ = urns.parse_reference(state.provider)
                known = self._deployment.olds.get(provider_urn)
                if (
                    not self._has_step(provider_urn)
                    and not self._is_operated_on_alias(provider_urn)
                    and known is not None
                    and known.id == id_
                ):
                    steps += same(known, None)
            for dependency in state.all_dependencies():
                if self._has_step(dependency.urn):
                    continue
                needed = self._deployment.olds.get(dependency.urn)
                if needed is None:
                    raise BailError(_missing_message(dependency, urn))
                steps += same(needed, None)
            new = state.copy()
            new.id = ""
            steps.append(SameStep(self._deployment, request, state, new, untargeted=True))
            return steps

        return same(old, event)

    def _queue_untargeted_dependencies(self, new: ResourceState) -> None:
        if not self._options.targets:
            return

        def queue(urn: str) -> None:
            if not urn or self._has_step(urn) or urn in self._pending_untargeted_urns:
                return
            old = self._deployment.olds.get(urn)
            if old is None or old.delete:
                return
            self._pending_untargeted_urns.add(urn)
            if old.provider:
                provider_urn, id_ = urns.parse_reference(old.provider)
                known = self._deployment.olds.get(provider_urn)
                if known is not None and known.id == id_:
                    queue(provider_urn)
            for dependency in old.all_dependencies():
                queue(dependency.urn)
            self._queue_untargeted_same(old)

        for dependency in new.all_dependencies():
            queue(dependency.urn)

    def _queue_untargeted_same(self, old: ResourceState) -> None:
        new = old.copy()
        new.id = ""
        self._pending_untargeted.append(SameStep(self._deployment, None, old, new, untargeted=True))

    # --- differences

    def _steps_from_diff(
        self,
        event: RegisterEvent,
        urn: str,
        old: ResourceState,
        new: ResourceState,
        inputs: PropertyMap,
        provider: Any,
        random_seed: bytes,
    ) -> list[Step]:
        goal = event.goal
        if not self._options.dry_run and contains_unknowns(new.replacement_trigger):
            message = f"replacement trigger contains unknowns for {urn}"
            self.saw_error = True
            raise self._bail(message, urn)
        is_triggered = _is_triggered(new.replacement_trigger, old.replacement_trigger)
        if is_triggered:
            diff = DiffResult(Changes.SOME)
        else:
            try:
                diff = self._diff(goal, urn, old, new, inputs, provider)
            except DiffUnavailableError as error:
                diff = DiffResult(Changes.SOME)
                self._emitter.warning(str(error), urn)
        diff = _apply_replace_on_changes(diff, goal.replace_on_changes, bool(old.init_errors))
        if diff.changes is Changes.SOME or old.pending_replacement:
            if diff.is_replace() or is_triggered or old.pending_replacement:
                return self._replace(event, urn, old, new, diff, provider, random_seed)
            self._updates.add(urn)
            return [UpdateStep(self._deployment, event, old, new, diff, goal.ignore_changes)]
        if old.init_errors:
            self._updates.add(urn)
            return [UpdateStep(self._deployment, event, old, new, diff, goal.ignore_changes)]
        if urn in self._imports:
            event.done(Registered(old))
            return []
        self._sames.add(urn)
        return [SameStep(self._deployment, event, old, new)]

    def _replace(
        self,
        event: RegisterEvent,
        urn: str,
        old: ResourceState,
        new: ResourceState,
        diff: DiffResult,
        provider: Any,
        random_seed: bytes,
    ) -> list[Step]:
        goal = event.goal
        if new.protect and old.protect:
            message = (
                f'unable to replace resource "{urn}"\nas it is currently marked for protection. To unprotect the '
                "resource, remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`"
            )
            self._emitter.error(message, urn)
            self.saw_error = True
            if not self._options.dry_run:
                raise BailError(message)
        if goal.id:
            changes = "\n".join(
                f"{key}: {format_value(mask_secrets((old.inputs or {}).get(key)))} => "
                f"{format_value(mask_secrets((new.inputs or {}).get(key)))}"
                for key in diff.replace_keys
            )
            message = (
                "previously-imported resources that still specify an ID may not be replaced; "
                f"please remove the `import` declaration from your program;\n{changes}"
            )
            if not self._options.dry_run:
                raise ProviderError(message)
            self._emitter.warning(message, urn)
        self._replaces.add(urn)
        if provider is not None and not self._is_replace_target(urn, old):
            checked = provider.check(
                urn,
                None,
                goal.properties,
                allow_unknowns=self._options.dry_run,
                random_seed=random_seed,
            )
            if issue_check_failures(self._deployment, self._emitter.error, new, checked.failures):
                raise BailError(f"resource {urn} has check errors")
            new.inputs = checked.inputs
        is_delete_first = diff.delete_before_replace
        if goal.delete_before_replace is not None:
            is_delete_first = goal.delete_before_replace
        if not is_delete_first:
            create = CreateStep(
                self._deployment,
                event,
                new,
                replaced=old,
                keys=diff.replace_keys,
                diffs=diff.changed_keys,
                detailed_diff=diff.detailed_diff,
                pending_delete=True,
            )
            return [create, ReplaceStep(self._deployment, old, new, diff)]
        steps = self._delete_dependents(urn, old)
        self._deployment.ensure_provider(old)
        if not old.pending_replacement:
            self._deletes[old.urn] = True
            steps.append(
                DeleteStep(
                    self._deployment, self._deletes, old, replacing=True, pending_replacement=True
                )
            )
        create = CreateStep(
            self._deployment,
            event,
            new,
            replaced=old,
            keys=diff.replace_keys,
            diffs=diff.changed_keys,
            detailed_diff=diff.detailed_diff,
        )
        return [*steps, ReplaceStep(self._deployment, old, new, diff), create]

    def _delete_dependents(self, urn: str, old: ResourceState) -> list[Step]:
        """Return the deletes of what has to go before a resource that is deleted first, dependents first."""
        steps: list[Step] = []
        dependents: list[tuple[ResourceState, list[str]]] = []
        if not self._options.dry_run or old in self._deployment.graph:
            dependents = self._dependent_replacements(old)
        dependents += self._cascade_replacements(urn)
        for dependent, keys in reversed(dependents):
            if dependent in self._pending_deletes:
                continue
            self._dependent_replace_keys[dependent.urn] = keys
            if dependent.delete:
                steps.append(DeleteStep(self._deployment, self._deletes, dependent))
            else:
                if dependent.protect:
                    message = (
                        f'unable to replace resource "{dependent.urn}" as part of replacing "{urn}" '
                        "as it is currently marked for protection. To unprotect the resource, "
                        "remove the `protect` flag from the resource in your Pulumi "
                        "program and run `pulumi up`, or use the command:\n"
                        f"`pulumi state unprotect '{dependent.urn}'`"
                    )
                    self.saw_error = True
                    raise self._bail(message, urn)
                steps.append(
                    DeleteStep(
                        self._deployment,
                        self._deletes,
                        dependent,
                        replacing=True,
                        pending_replacement=True,
                    )
                )
            self._deletes[dependent.urn] = True
            self._pending_deletes.add(dependent)
        return steps

    def _provider_changed(self, urn: str, old: ResourceState, new: ResourceState) -> bool:
        if old.provider == new.provider:
            return False
        if not old.provider or not new.provider:
            return True
        old_urn = urns.parse_reference(old.provider)[0]
        new_urn = urns.parse_reference(new.provider)[0]
        if self._aliased.get(old_urn) == new_urn:
            return False
        provider = self._deployment.registry.get(new.provider)
        if provider is None:
            raise ProviderError(f'failed to resolve provider reference: "{old.provider}"')
        old_state, new_state = self._deployment.olds[old_urn], self._providers[new_urn]
        diff = provider.diff_config(
            new_urn,
            filter_config(old_state.inputs or {}),
            old_state.outputs or {},
            filter_config(new_state.inputs or {}),
        )
        return diff.is_replace()

    def _diff(
        self,
        goal: Goal,
        urn: str,
        old: ResourceState,
        new: ResourceState,
        inputs: PropertyMap,
        provider: Any,
    ) -> DiffResult:
        if self._is_replace_target(urn, old):
            return DiffResult(Changes.SOME, replace_keys=["id"])
        if any(other in self._replaces for other in new.replace_with):
            return DiffResult(Changes.SOME, replace_keys=["replaceWith"])
        if new.deleted_with and new.deleted_with in self._replaces:
            return DiffResult(Changes.SOME, replace_keys=["deletedWith"])
        if self._provider_changed(urn, old, new):
            return DiffResult(Changes.SOME, replace_keys=["provider"])
        if provider is None:
            same = maps_equal(old.inputs or {}, inputs)
            return DiffResult(Changes.NONE if same else Changes.SOME)
        return diff_resource(
            self._deployment,
            provider,
            urn,
            old.id,
            old.inputs or {},
            old.outputs or {},
            inputs,
            allow_unknowns=self._options.dry_run,
            ignore_changes=goal.ignore_changes,
        )

    def _load_provider(self, urn: str, custom: bool, reference: str, type_: str) -> Any:
        if not custom:
            return None
        if urns.is_provider_type(type_):
            return self._deployment.registry
        provider_urn, id_ = urns.parse_reference(reference)
        if id_ == urns.DENIED_ID:
            package = urns.name(provider_urn)
            raise self._bail(
                f"Default provider for '{package}' disabled. '{urn}' must use an explicit provider.",
                urn,
            )
        provider = self._deployment.registry.get(reference)
        if provider is None:
            old = self._deployment.olds.get(provider_urn)
            if old is None or old.id != id_:
                raise self._bail(f"unknown provider '{reference}' for resource '{urn}'", urn)
            self._deployment.ensure_reference(reference)
            if old.urn not in self._pending_untargeted_urns:
                self._pending_untargeted_urns.add(old.urn)
                self._queue_untargeted_same(old)
            provider = self._deployment.registry.get(reference)
        return provider

    # --- dependents of what is deleted first

    def _dependent_replacements(self, root: ResourceState) -> list[tuple[ResourceState, list[str]]]:
        found: list[tuple[ResourceState, list[str]]] = []
        replaced = {root.urn}
        impossible = {
            *self._reads,
            *self._creates,
            *self._sames,
            *self._updates,
            *self._deletes,
            *self._replaces,
        }
        for candidate in self._deployment.graph.depending_on(root, impossible, False):
            keys = self._replacement_keys(candidate, replaced)
            if keys is not None:
                found.append((candidate, keys))
                replaced.add(candidate.urn)
        return found

    def _replacement_keys(self, state: ResourceState, replaced: set[str]) -> list[str] | None:
        """Return the keys for which a dependent has to be replaced too; None where it need not be."""
        if not state.custom or state.external:
            return None
        if state.provider and urns.parse_reference(state.provider)[0] in replaced:
            self._deployment.ensure_provider(state)
            return []
        if state.deleted_with and state.deleted_with in replaced:
            return []
        inputs, depends = {}, False
        for key, value in (state.inputs or {}).items():
            needed = (state.property_dependencies or {}).get(key) or ()
            is_unknown = any(urn in replaced for urn in needed)
            depends |= is_unknown
            inputs[key] = UNKNOWN if is_unknown else value
        if not depends:
            return None
        if urns.is_provider_type(state.type):
            self._deployment.registry.same(
                state.urn, state.id, state.inputs or {}, from_check=False
            )
        else:
            self._deployment.ensure_provider(state)
        provider = self._load_provider(state.urn, state.custom, state.provider, state.type)
        diff = diff_resource(
            self._deployment,
            provider,
            state.urn,
            state.id,
            state.inputs or {},
            state.outputs or {},
            inputs,
            allow_unknowns=True,
            ignore_changes=state.ignore_changes,
        )
        diff = _apply_replace_on_changes(diff, state.replace_on_changes, False)
        return diff.replace_keys if diff.is_replace() else None

    def _cascade_replacements(self, urn: str) -> list[tuple[ResourceState, list[str]]]:
        found: dict[str, tuple[ResourceState, list[str]]] = {}
        for states in (dict(self._deployment.news), self._deployment.olds):
            for other, state in states.items():
                if other not in found and (urn in state.replace_with or state.deleted_with == urn):
                    found[other] = (state, [])
        return list(found.values())

    # --- deletes

    def delete_steps(self) -> tuple[list[Step], list[Step]]:
        """Return what is kept untouched, and what is deleted, once the program is done."""
        targets = self._options.targets
        allowed = self._allowed_deletes() if targets else None
        sames: list[Step] = []
        deletes: list[Step] = []
        for state in self._deployment.previous:
            is_targeted = allowed is None or state.urn in allowed
            if not is_targeted:
                if not self._is_operated_on_alias(state.urn):
                    new = state.copy()
                    new.id = ""
                    sames.append(SameStep(self._deployment, None, state, new, untargeted=True))
                continue
            if state.delete:
                if state in self._pending_deletes:
                    continue
                self._deletes[state.urn] = True
                deletes.append(DeleteStep(self._deployment, self._deletes, state, replacing=True))
            elif not self._is_operated_on_alias(state.urn):
                self._deletes[state.urn] = True
                if state.pending_replacement:
                    deletes.append(RemovePendingReplaceStep(self._deployment, state, None))
                else:
                    deletes.append(DeleteStep(self._deployment, self._deletes, state))
            if self._deletes.get(state.urn):
                self._deployment.ensure_provider(state)
        is_refused = False
        for step in deletes:
            if not targets.contains(step.urn) and not self._options.target_dependents:
                self._emitter.error(
                    f"Resource '{step.urn}' will be destroyed but was not specified in --target list.\n"
                    "Either include resource in --target list or pass --target-dependents to proceed.",
                    step.urn,
                )
                self.saw_error = is_refused = True
        if is_refused and not self._options.dry_run:
            raise BailError("delete untargeted resource")
        return sames, deletes

    def _allowed_deletes(self) -> set[str]:
        targets = self._options.targets
        frontier = [state for state in self._deployment.previous if targets.contains(state.urn)]
        graph = DependencyGraph(self._deployment.previous)
        seen: set[str] = set()
        while frontier:
            state = frontier.pop(0)
            if state.urn in seen:
                continue
            seen.add(state.urn)
            frontier += graph.depending_on(state, seen, True)
        allowed: set[str] = set()
        for urn in seen:
            for state in self._deployment.all_olds.get(urn, ()):
                allowed.add(urn)
                for dependent, _ in self._dependent_replacements(state):
                    allowed.add(dependent.urn)
                for dependent, _ in self._cascade_replacements(urn):
                    allowed.add(dependent.urn)
        return allowed

    def schedule_deletes(self, steps: list[Step]) -> list[list[Step]]:
        """Return the deletes in groups: what a group holds can be deleted at once, dependents come first."""
        graph = DependencyGraph(self._deployment.previous)
        by_state = {step.state: step for step in steps}
        waiting = {state: graph.dependencies_of(state) & by_state.keys() for state in by_state}
        dependents: dict[ResourceState, list[ResourceState]] = {}
        for state, needed in waiting.items():
            for other in needed:
                dependents.setdefault(other, []).append(state)
        counts = {state: len(needed) for state, needed in waiting.items()}
        ready = [state for state, count in counts.items() if count == 0]
        groups: list[list[Step]] = []
        while ready:
            groups.append([by_state[state] for state in ready])
            following: list[ResourceState] = []
            for state in ready:
                for dependent in dependents.get(state, ()):
                    counts[dependent] -= 1
                    if counts[dependent] == 0:
                        following.append(dependent)
            ready = following
        groups.reverse()
        return groups


def _state_of(goal: Goal, urn: str, aliases: list[str], old: ResourceState | None) -> ResourceState:
    return ResourceState(
        type=goal.type,
        urn=urn,
        custom=goal.custom,
        inputs=goal.properties,
        parent=goal.parent,
        protect=bool(goal.protect),
        dependencies=goal.dependencies,
        provider=goal.provider,
        property_dependencies=goal.property_dependencies,
        additional_secret_outputs=goal.additional_secret_outputs,
        aliases=aliases,
        custom_timeouts=goal.custom_timeouts,
        import_id=goal.id,
        retain_on_delete=bool(goal.retain_on_delete),
        deleted_with=goal.deleted_with,
        replace_with=goal.replace_with,
        replacement_trigger=goal.replacement_trigger,
        created=old.created if old is not None else "",
        modified=old.modified if old is not None else "",
        source_position=goal.source_position,
        stack_trace=goal.stack_trace,
        ignore_changes=goal.ignore_changes,
        replace_on_changes=goal.replace_on_changes,
        hide_diff=goal.hide_diff,
        refresh_before_update=old.refresh_before_update if old is not None else False,
        resource_hooks=goal.resource_hooks,
    )


def _missing_message(dependency: Dependency, urn: str) -> str:
    words = _DEPENDENCY_WORDS[dependency.kind]
    return words.format(urn=dependency.urn, of=urn, key=dependency.key) + " has no old state"


def _is_triggered(new: Any, old: Any) -> bool:
    if contains_unknowns(old) or contains_unknowns(new):
        return True
    new, old = unwrap_secrets(new), unwrap_secrets(old)
    if old is None or new is None:
        return False
    return not deep_equals(new, old)


def _apply_replace_on_changes(
    diff: DiffResult, replace_on_changes: Iterable[str], has_init_errors: bool
) -> DiffResult:
    if diff.changes is not Changes.SOME and not has_init_errors:
        return diff
    paths = [parse_path(text) for text in replace_on_changes]
    detailed = None
    if diff.detailed_diff is not None:
        detailed = {}
        for text, item in diff.detailed_diff.items():
            found = parse_path(text)
            is_replace = any(path_contains(path, found) for path in paths)
            detailed[text] = item.to_replace() if is_replace else item
    keys = list(dict.fromkeys(diff.replace_keys))
    for key in diff.changed_keys:
        try:
            found = parse_path(key)
        except ValueError:
            continue
        if key not in keys and any(path_contains(path, found) for path in paths):
            keys.append(key)
    changes = diff.changes
    if has_init_errors and any(path_contains(path, [INIT_ERROR_KEY]) for path in paths):
        from lab.engine.providers import PropertyDiff

        keys.append(INIT_ERROR_KEY)
        if detailed is not None:
            detailed[INIT_ERROR_KEY] = PropertyDiff("update-replace", False)
        changes = Changes.SOME
    return DiffResult(
        changes,
        keys,
        diff.stable_keys,
        diff.changed_keys,
        detailed,
        diff.delete_before_replace,
    )
