"""IAM policy documents by meaning: what they allow to whom, and what a change of one adds and takes away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# A condition on one of these ties an otherwise public statement to callers known beforehand.
_TIES = (
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:principalorgid",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:sourceip",
    "kms:calleraccount",
    "aws:userid",
)


@dataclass(frozen=True, order=True)
class Grant:
    """One action on one resource for one principal. ``effect`` is Allow or Deny; ``condition`` is canonical JSON.

    ``resource`` is empty where the policy is of the resource itself, as a role's trust or a repository's policy is.
    """

    effect: str
    principal: str
    action: str
    resource: str
    condition: str = ""

    @property
    def is_public(self) -> bool:
        """Anyone may, without an account being named in a condition."""
        if self.effect != "Allow" or self.principal not in ("*", "AWS:*"):
            return False
        return not any(tie in self.condition.lower() for tie in _TIES)


@dataclass(frozen=True)
class GrantDiff:
    """What a policy allows that it did not, and no longer allows. A lifted Deny counts as gained."""

    gained: tuple[Grant, ...]
    lost: tuple[Grant, ...]


def parse_document(value: Any) -> tuple[Grant, ...] | None:
    """Return a policy document's grants, or None where the value is none (unknown, secret, not JSON)."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, Mapping) or "Statement" not in value:
        return None
    grants: set[Grant] = set()
    for statement in _listed(value["Statement"]):
        if isinstance(statement, Mapping):
            grants.update(_grants(statement))
    return tuple(sorted(grants))


def diff_grants(old: Iterable[Grant], new: Iterable[Grant]) -> GrantDiff:
    """Compare by meaning: order, lists of one and what a wildcard covers already make no difference."""
    before, after = sorted(set(old)), sorted(set(new))
    added = [grant for grant in after if not _is_covered(grant, before)]
    removed = [grant for grant in before if not _is_covered(grant, after)]
    gained = [g for g in added if g.effect == "Allow"] + [g for g in removed if g.effect == "Deny"]
    lost = [g for g in removed if g.effect == "Allow"] + [g for g in added if g.effect == "Deny"]
    return GrantDiff(tuple(gained), tuple(lost))


def allows(grants: Iterable[Grant], action: str, resource: str = "*") -> bool:
    """Say whether an action on a resource is allowed by any grant and denied by none. Conditions count as met.

    ``resource`` ``*`` asks whether the action is allowed on anything at all.
    """
    allowed = denied = False
    for grant in grants:
        if not _matches(grant.action.lower(), action.lower()):
            continue
        if resource != "*" and not _matches(grant.resource, resource):
            continue
        if grant.effect == "Deny":
            denied = denied or (not grant.condition and resource != "*")
        else:
            allowed = True
    return allowed and not denied


def _grants(statement: Mapping[str, Any]) -> Iterable[Grant]:
    effect = "Deny" if statement.get("Effect") == "Deny" else "Allow"
    condition = statement.get("Condition")
    text = json.dumps(_canonical(condition), sort_keys=True) if condition else ""
    for principal in _principals(statement):
        for action in _either(statement, "Action"):
            for resource in _either(statement, "Resource") or [""]:
                yield Grant(effect, principal, action, resource, text)


def _either(statement: Mapping[str, Any], key: str) -> list[str]:
    negated = f"Not{key}"
    if negated in statement:
        # "Everything but": one grant, so that it is never compared as if it were the list it excludes.
        return ["* but " + ", ".join(sorted(map(str, _listed(statement[negated]))))]
    return [str(item) for item in _listed(statement.get(key))]


def _principals(statement: Mapping[str, Any]) -> list[str]:
    if "NotPrincipal" in statement:
        return ["* but " + json.dumps(statement["NotPrincipal"], sort_keys=True)]
    principal = statement.get("Principal")
    if principal is None:
        return [""]
    if isinstance(principal, Mapping):
        return [f"{kind}:{item}" for kind, items in principal.items() for item in _listed(items)]
    return [str(item) for item in _listed(principal)]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key).lower(): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((_canonical(item) for item in value), key=str)
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def _is_covered(grant: Grant, by: Iterable[Grant]) -> bool:
    return any(
        other.effect == grant.effect
        and other.principal in (grant.principal, "*", "AWS:*")
        and (other.principal == grant.principal or grant.principal.startswith(("AWS:", "*")))
        and (not other.condition or other.condition == grant.condition)
        and _matches(other.action.lower(), grant.action.lower())
        and _matches(other.resource, grant.resource)
        for other in by
    )


def _matches(pattern: str, text: str) -> bool:
    """IAM's own wildcards: ``*`` any characters, ``?`` one. A ``* but`` matches only itself."""
    if pattern in (text, "*", ""):
        return True
    if ("*" not in pattern and "?" not in pattern) or pattern.startswith("* but "):
        return False
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
