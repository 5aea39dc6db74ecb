"""What a person must know of a preview, in order of importance: the model that every rendering shows.

Order: what can lose data, jobs that break, replacements, deletes, access, cost, policy, updates, creates, the
rest counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from review.access import AccessChange, access_changes
from review.diff import PropertyChange, property_changes, replace_reasons, show
from review.loss import is_kept, loss
from review.mask import mask_fields
from review.preview import Preview, Step, parse_urn

if TYPE_CHECKING:
    from policy.rules import Violation
    from pricing.stack_cost import CostChange
    from review.contract import Broken
    from review.quota import QuotaFinding


@dataclass(frozen=True, kw_only=True)
class ResourceChange:
    """One resource's change, ready to be shown."""

    op: str
    type: str
    name: str
    urn: str
    changes: tuple[PropertyChange, ...] = ()
    # Why it is replaced where no property of its own says so.
    reason: str = ""
    # What data goes, or None.
    loss: str | None = None
    # Deleted before the new one exists (a gap), after it, or not known.
    order: str = ""
    # The cloud keeps it; only the state forgets it.
    is_kept: bool = False
    was_protected: bool = False

    @property
    def replacing(self) -> tuple[PropertyChange, ...]:
        return tuple(change for change in self.changes if change.replaces)


@dataclass(frozen=True, kw_only=True)
class Review:
    """One stack's review."""

    stack: str
    project: str
    source: str
    losses: tuple[ResourceChange, ...] = ()
    replaced: tuple[ResourceChange, ...] = ()
    deleted: tuple[ResourceChange, ...] = ()
    updated: tuple[ResourceChange, ...] = ()
    created: tuple[ResourceChange, ...] = ()
    # Imports, discards, and operations that this version does not know.
    other: tuple[ResourceChange, ...] = ()
    unchanged: int = 0
    # Resources that a refresh found changed outside Pulumi.
    drifted: tuple[str, ...] = ()
    access: tuple[AccessChange, ...] = ()
    broken: tuple[Broken, ...] = ()
    checked_jobs: int | None = None
    cost: CostChange | None = None
    violations: tuple[Violation, ...] = ()
    quota: tuple[QuotaFinding, ...] = ()
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """How many resources change: a data loss is one of the replaced, deleted or updated, not one more."""
        return sum(
            len(group)
            for group in (self.replaced, self.deleted, self.updated, self.created, self.other)
        )

    @property
    def public(self) -> tuple[AccessChange, ...]:
        return tuple(change for change in self.access if change.level == "public")

    def as_json(self) -> dict[str, Any]:
        """Return the review as plain JSON; masked like every other rendering."""
        return {
            "stack": self.stack,
            "project": self.project,
            "source": self.source,
            "losses": [_change_json(change) for change in self.losses],
            "replaced": [_change_json(change) for change in self.replaced],
            "deleted": [_change_json(change) for change in self.deleted],
            "updated": [_change_json(change) for change in self.updated],
            "created": [_change_json(change) for change in self.created],
            "other": [_change_json(change) for change in self.other],
            "unchanged": self.unchanged,
            "drifted": list(self.drifted),
            "access": [
                {"level": change.level, "urn": change.urn, "text": change.text}
                for change in self.access
            ],
            "broken_jobs": [item.as_json() for item in self.broken],
            "checked_jobs": self.checked_jobs,
            "cost": self.cost.as_json() if self.cost else None,
            "violations": [item.as_json() for item in self.violations],
            "quota": [item.as_json() for item in self.quota],
            "errors": list(self.errors),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What other parts found in the same preview."""

    broken: Sequence[Broken] = ()
    checked_jobs: int | None = None
    cost: CostChange | None = None
    violations: Sequence[Violation] = ()
    quota: Sequence[QuotaFinding] = ()


def summarise(preview: Preview, extras: Extras = Extras()) -> Review:
    """Return what matters in a preview. Pure: equal previews give equal reviews, whatever order the engine used."""
    groups: dict[str, list[ResourceChange]] = {key: [] for key in (*_GROUPS.values(), "other")}
    losses = []
    by_urn = {step.urn: step for step in preview.steps}
    for step in preview.changes:
        if step.is_component or step.type == "pulumi:pulumi:Stack":
            continue
        change = _resource_change(step, by_urn)
        groups[_GROUPS.get(step.op, "other")].append(change)
        if change.loss:
            losses.append(change)
    review = Review(
        stack=preview.stack,
        project=preview.project,
        source=preview.source,
        losses=_sorted(losses),
        # What only follows another replacement comes after those that have a cause of their own.
        replaced=tuple(sorted(_sorted(groups["replaced"]), key=lambda change: bool(change.reason))),
        deleted=_sorted(groups["deleted"]),
        updated=_sorted(groups["updated"]),
        created=_sorted(groups["created"]),
        other=_sorted(groups["other"]),
        unchanged=preview.unchanged,
        drifted=_drifted(preview),
        access=tuple(access_changes(preview.steps)),
        broken=tuple(extras.broken),
        checked_jobs=extras.checked_jobs,
        cost=extras.cost,
        violations=tuple(extras.violations),
        quota=tuple(extras.quota),
        errors=tuple(item.message for item in preview.errors),
        warnings=preview.warnings,
    )
    return mask_fields(review)


_GROUPS = {
    "replace": "replaced",
    "delete": "deleted",
    "update": "updated",
    "create": "created",
}


def _resource_change(step: Step, by_urn: dict[str, Step]) -> ResourceChange:
    old = step.old
    order = ""
    if step.op == "replace" and old is not None:
        if old.is_pending_replacement:
            order = "deleted before the new one exists"
        elif old.is_delete:
            order = "deleted after the new one exists"
    changes = property_changes(step) if step.op in ("update", "replace", "import") else ()
    return ResourceChange(
        op=step.op,
        type=step.type,
        name=step.name,
        urn=step.urn,
        changes=changes,
        reason=_reason(step, changes, by_urn) if step.op == "replace" else "",
        loss=loss(step),
        order=order,
        is_kept=is_kept(step),
        was_protected=old is not None and old.protect,
    )


def _reason(step: Step, changes: tuple[PropertyChange, ...], by_urn: dict[str, Step]) -> str:
    """Say why, where no property of the resource itself forces the replacement."""
    engine = replace_reasons(step)
    if engine:
        return ", ".join(engine)
    if any(change.replaces for change in changes):
        return ""
    for state in (step.new, step.old):
        if state is None:
            continue
        for key, urns in sorted(state.property_dependencies.items()):
            for urn in urns if isinstance(urns, list) else ():
                cause = by_urn.get(str(urn))
                if cause is not None and cause.op == "replace":
                    return f"its `{key}` comes from {parse_urn(cause.urn)[3]!r}, which is replaced"
    return "the preview does not say why"


def _drifted(preview: Preview) -> tuple[str, ...]:
    return tuple(
        sorted(
            f"{step.type} {step.name}"
            for step in preview.steps
            if step.op == "refresh"
            and step.old is not None
            and (step.new is None or step.new.outputs != step.old.outputs)
        )
    )


def _sorted(changes: Iterable[ResourceChange]) -> tuple[ResourceChange, ...]:
    return tuple(
        sorted(changes, key=lambda change: (change.type, change.name, change.urn, change.op))
    )


def _change_json(change: ResourceChange) -> dict[str, Any]:
    return {
        "op": change.op,
        "type": change.type,
        "name": change.name,
        "urn": change.urn,
        "loss": change.loss,
        "reason": change.reason or None,
        "order": change.order or None,
        "is_kept": change.is_kept,
        "was_protected": change.was_protected,
        "changes": [
            {
                "path": item.path,
                "old": show(item.old, limit=1000),
                "new": show(item.new, limit=1000),
                "replaces": item.replaces,
                "is_secret": item.is_secret,
            }
            for item in change.changes
        ],
    }


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What makes a review fail: one clause of ``--fail-on``."""

    name: str
    limit_usd: float = field(default=0.0)


FAIL_ON = (
    "data-loss",
    "replace",
    "delete",
    "public",
    "access",
    "jobs",
    "policy",
    "quota",
    "cost>USD",
)


def parse_fail_on(text: str) -> tuple[Threshold, ...]:
    """Read ``data-loss,public,cost>500``. Raises ValueError naming the word that is none."""
    thresholds = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.startswith("cost>"):
            try:
                limit = float(word[5:])
            except ValueError:
                limit = -1.0
            if not 0 <= limit < 1e12:
                raise ValueError(
                    f"{word!r} has no amount of dollars a month after 'cost>', such as cost>500"
                )
            thresholds.append(Threshold(name="cost", limit_usd=limit))
        elif word in FAIL_ON and word != "cost>USD":
            thresholds.append(Threshold(name=word))
        else:
            raise ValueError(f"{word!r} is none of {', '.join(FAIL_ON)}")
    return tuple(thresholds)


def failures(reviews: Iterable[Review], thresholds: Iterable[Threshold]) -> list[str]:
    """Return why the reviews fail, one sentence each. A preview that itself failed always fails.

    ``cost>500`` fails where the ceiling rises by more than 500 dollars a month, and where it cannot be known
    because a price is absent: a limit that nobody can check is not kept.
    """
    found = []
    wanted = list(thresholds)
    for review in reviews:
        where = f"stack {review.stack!r}" if review.stack else review.source
        if review.errors:
            found.append(f"{where}: the preview failed")
        for warning in review.warnings:
            found.append(f"{where}: {warning}")
        for threshold in wanted:
            if reason := _failure(review, threshold):
                found.append(f"{where}: {reason}")
    return found


def _failure(review: Review, threshold: Threshold) -> str | None:
    counted = {
        "data-loss": (len(review.losses), "can lose data"),
        "replace": (len(review.replaced), "replaced"),
        "delete": (len(review.deleted), "deleted"),
        "public": (len(review.public), "opened to the public"),
        "access": (
            sum(c.level in ("public", "gains", "unknown") for c in review.access),
            "gain access",
        ),
        "jobs": (
            len({item.job for item in review.broken if item.level == "breaks"}),
            "job files would break",
        ),
        "policy": (
            sum(item.level == "mandatory" for item in review.violations),
            "mandatory policy violations",
        ),
        "quota": (len(review.quota), "over quota"),
    }
    if threshold.name in counted:
        count, words = counted[threshold.name]
        return f"{threshold.name}: {count} {words}" if count else None
    if review.cost is None:
        return None
    rise = review.cost.ceiling_change_usd
    if rise > threshold.limit_usd:
        return (
            f"cost: the ceiling rises by {rise:,.2f} USD a month, over {threshold.limit_usd:,.2f}"
        )
    if review.cost.new_unpriced:
        return (
            f"cost: {len(review.cost.new_unpriced)} new or changed items have no price, so the rise cannot be held "
            f"against {threshold.limit_usd:,.2f} USD; see `trainstack prices refresh`"
        )
    return None
