"""Takes existing resources into the state, as a person asks for them, without the program."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.engine import urn as urns
from lab.engine.providers import ProviderError
from lab.engine.state import ResourceState
from lab.engine.step import CreateStep, Goal, ImportStep, RegisterEvent, SameStep, Step
from lab.engine.step_generator import BailError

if TYPE_CHECKING:
    from lab.engine.deployment import Deployment, StepExecutor


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """One resource to take in.

    ``parent`` is a URN of the state, empty for the stack; ``provider`` a URN of one, empty for the default provider.
    It is protected unless told otherwise, as the program does not have it yet.
    """

    type: str
    name: str
    id: str
    parent: str = ""
    provider: str = ""
    protect: bool = True


def import_resources(
    deployment: Deployment, executor: StepExecutor, requests: Sequence[ImportRequest]
) -> None:
    """Import each. What goes wrong with one is reported, the others go on. Raises BailError."""
    options = deployment.options
    root = urns.make(
        options.stack,
        options.project,
        "",
        urns.ROOT_STACK_TYPE,
        f"{options.project}-{options.stack}",
    )
    _do(executor, [_keep_or_create(deployment, _root_state(root))])
    for request in requests:
        if request.type.count(":") != 2:
            deployment.emitter.error(
                f'import type "{request.type}" is not a valid resource type token. '
                "Type tokens must be of the format <package>:<module>:<type>"
            )
            raise BailError("bad type")
        parent = request.parent or root
        if parent != root and parent not in deployment.olds:
            deployment.emitter.error(f"unknown parent '{parent}' for resource '{request.name}'")
            raise BailError("unknown parent")
        provider = _provider(deployment, executor, request)
        urn = deployment.make_urn(parent, request.type, request.name)
        new = ResourceState(
            type=request.type,
            urn=urn,
            custom=True,
            inputs={},
            parent=parent,
            protect=request.protect,
            provider=provider,
            import_id=request.id,
        )
        event = RegisterEvent(_goal(new))
        step = ImportStep(
            deployment,
            event,
            new,
            ignore_changes=[],
            random_seed=os.urandom(32),
            when_done=None,
            planned=True,
        )
        _do(executor, [step])


def _goal(state: ResourceState) -> Goal:
    return Goal(
        type=state.type,
        name=urns.name(state.urn),
        custom=state.custom,
        properties=state.inputs or {},
    )


def _root_state(urn: str) -> ResourceState:
    return ResourceState(type=urns.ROOT_STACK_TYPE, urn=urn, custom=False, inputs={}, outputs={})


def _keep_or_create(deployment: Deployment, wanted: ResourceState) -> Step:
    event = RegisterEvent(_goal(wanted))
    old = deployment.olds.get(wanted.urn)
    if old is None:
        return CreateStep(deployment, event, wanted)
    new = old.copy()
    new.id = ""
    return SameStep(deployment, event, old, new)


def _provider(deployment: Deployment, executor: StepExecutor, request: ImportRequest) -> str:
    """Return the reference of the provider that reads the resource, made ready. Raises BailError."""
    package = urns.package_of(request.type)
    type_ = urns.PROVIDER_PREFIX + package
    if request.provider:
        found = deployment.olds.get(request.provider)
        if found is None:
            deployment.emitter.error(f"unknown provider '{request.provider}' for '{request.name}'")
            raise BailError("unknown provider")
    else:
        states = [*deployment.news.values(), *deployment.olds.values()]
        found = next(
            (s for s in states if s.type == type_ and urns.is_default_provider(s.urn)), None
        )
    try:
        if found is not None:
            deployment.registry.same(found.urn, found.id, found.inputs or {}, from_check=False)
            return urns.reference(found.urn, found.id)
        urn = urns.make(deployment.options.stack, deployment.options.project, "", type_, "default")
        inputs = {
            key.partition(":")[2]: item.value
            for key, item in deployment.options.config.items()
            if key.partition(":")[0] == package
        }
        checked = deployment.registry.check(urn, None, inputs)
    except ProviderError as error:
        deployment.emitter.error(str(error))
        raise BailError(str(error)) from None
    new = ResourceState(type=type_, urn=urn, custom=True, inputs=checked.inputs)
    _do(executor, [_keep_or_create(deployment, new)])
    return urns.reference(new.urn, new.id)


def _do(executor: StepExecutor, steps: Sequence[Step]) -> None:
    executor.execute(steps).wait()
