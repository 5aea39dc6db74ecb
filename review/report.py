"""Puts one review together: the preview's own changes, and what each other check finds in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from review.contract import Broken, check_jobs, job_files, outputs_after, outputs_of
from review.diff import plain
from review.preview import (
    Preview,
    PreviewError,
    State,
    canonical_type,
    parse_urn,
    read_states,
)
from review.quota import QuotaFinding
from review.summary import Extras, Review, summarise

if TYPE_CHECKING:
    from infra.outputs import StackOutputs
    from policy.rules import PolicyConfig, Violation
    from pricing.stack_cost import CostChange

# Asks the clouds whether quotas allow the stack's outputs; the CLI makes it, since it needs SDKs.
QuotaCheck = Callable[["StackOutputs"], list[QuotaFinding]]


def review_previews(
    previews: Sequence[Preview],
    *,
    jobs: Sequence[Path] = (),
    policy_config: PolicyConfig | None = None,
    state: Path | None = None,
    outputs: StackOutputs | None = None,
    quota: QuotaCheck | None = None,
) -> list[Review]:
    """Return a review of each preview, in the order given.

    ``policy_config`` asks for the policy rules; ``state`` and ``outputs`` belong to the one stack that is
    reviewed. Raises PreviewError where they are given for several.
    """
    if len(previews) > 1 and (state is not None or outputs is not None):
        raise PreviewError(
            "--state and --outputs belong to one stack; review the stacks one by one"
        )
    unchanged = _load_state(state) if state else {}
    reviews = []
    for preview in previews:
        now = outputs or outputs_of(preview)
        broken: list[Broken] = check_jobs(jobs, preview, now) if jobs else []
        reviews.append(
            summarise(
                preview,
                Extras(
                    broken=broken,
                    checked_jobs=len(job_files(jobs)) if jobs else None,
                    cost=cost_change(preview, unchanged, now),
                    violations=policy_violations(preview, policy_config, unchanged)
                    if policy_config is not None
                    else (),
                    quota=quota(outputs_after(preview, now)) if quota and now else (),
                ),
            )
        )
    return reviews


def cost_change(
    preview: Preview, unchanged: Mapping[str, State], outputs: StackOutputs | None
) -> CostChange | None:
    """Return what the stack costs a month before and after, or None where nothing in it has a cost by existing."""
    from pricing.stack_cost import Resource, stack_cost

    def resources(states: Mapping[str, State]) -> list[Resource]:
        return [
            Resource(
                urn=urn,
                type=canonical_type(state.type),
                name=parse_urn(urn)[3],
                inputs=plain(dict(state.inputs or state.outputs)),
            )
            for urn, state in states.items()
        ]

    before = {**unchanged, **preview.resources_before()}
    gone = {step.urn for step in preview.steps if step.op in ("delete", "discard")}
    after = {
        **{urn: item for urn, item in unchanged.items() if urn not in gone},
        **preview.resources_after(),
    }
    change = stack_cost(
        resources(before),
        resources(after),
        is_whole=bool(unchanged) or preview.is_whole,
        default_location=outputs.azure_location if outputs else _location(preview),
    )
    return change if change.lines or change.notes else None


def policy_violations(
    preview: Preview, config: PolicyConfig | None, unchanged: Mapping[str, State] | None = None
) -> list[Violation]:
    """Run the policy rules on the resources as they would be."""
    from policy.rules import Resource, check

    gone = {step.urn for step in preview.steps if step.op in ("delete", "discard")}
    states = {
        **{urn: item for urn, item in (unchanged or {}).items() if urn not in gone},
        **preview.resources_after(),
    }
    resources = [
        Resource(
            type=canonical_type(state.type),
            name=parse_urn(urn)[3],
            urn=urn,
            # As the engine has them: an unknown stays the engine's own text, of which no rule is broken.
            props=dict(state.inputs),
        )
        for urn, state in states.items()
        if not state.external
    ]
    return check(resources, config, is_whole=bool(unchanged) or preview.is_whole)


def _load_state(path: Path) -> dict[str, State]:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PreviewError(
            f"state {str(path)!r} cannot be read: {error}. Make one with: pulumi stack export > state.json"
        ) from error
    if not isinstance(document, dict):
        raise PreviewError(f"state {str(path)!r} holds no JSON object")
    return read_states(document, source=str(path))


def _location(preview: Preview) -> str | None:
    return preview.config.get("azure-native:location")
