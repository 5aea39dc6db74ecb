"""IAM's evaluation of policies: identity policies under a permissions boundary, and trust policies.

Follows https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
and, for conditions, .../reference_policies_elements_condition_operators.html. Organizations'
policies and session policies are not here.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

Document = Mapping[str, Any] | str
Context = Mapping[str, str | Sequence[str]]


class PolicyError(ValueError):
    """A policy document breaks IAM's grammar."""


@dataclass(frozen=True)
class Decision:
    """What IAM answers.

    ``result`` is allowed, explicitDeny or implicitDeny, as the simulator spells it.
    """

    result: str
    statement: Mapping[str, Any] | None = None  # the one that decided
    allowed_by_boundary: bool = True

    @property
    def allowed(self) -> bool:
        """Say whether the request may go on."""
        return self.result == "allowed"


@dataclass(frozen=True)
class Policies:
    """All that decides what a principal may do."""

    documents: tuple[Document, ...]
    boundary: Document | None = None


def evaluate(
    policies: Policies | Iterable[Document],
    action: str,
    resource: str = "*",
    context: Context | None = None,
) -> Decision:
    """Decide one request. Keys of the context are looked up without regard to case.

    An explicit deny wins; else a statement has to allow, in the policies and in the boundary, if
    there is one.
    """
    if not isinstance(policies, Policies):
        policies = Policies(tuple(policies))
    values = _context(context)

    def first(documents: Iterable[Document], effect: str) -> Mapping[str, Any] | None:
        for document in documents:
            for statement in statements(document):
                if statement.get("Effect") == effect and _applies(
                    statement, action, resource, values
                ):
                    return statement
        return None

    boundary = () if policies.boundary is None else (policies.boundary,)
    denied = first((*policies.documents, *boundary), "Deny")
    if denied:
        return Decision("explicitDeny", denied)
    allowed = first(policies.documents, "Allow")
    within = not boundary or first(boundary, "Allow") is not None
    if allowed and within:
        return Decision("allowed", allowed)
    return Decision("implicitDeny", allowed_by_boundary=within)


def trusts(
    document: Document,
    principal: str,
    context: Context | None = None,
    action: str = "sts:AssumeRole",
) -> bool:
    """Say whether a trust policy lets a service (``sagemaker.amazonaws.com``) or an ARN take the
    role.
    """
    values = _context(context)
    effects = {
        statement["Effect"]
        for statement in statements(document)
        if names(statement, principal)
        and _matches_action(statement, action)
        and _conditions_hold(statement.get("Condition") or {}, values)
    }
    return "Allow" in effects and "Deny" not in effects


def names(statement: Mapping[str, Any], principal: str, *, by_account: bool = True) -> bool:
    """Say whether a statement of a resource's policy is about this principal.

    Without ``by_account``, one that names its account only is not: such a statement leaves the
    decision to IAM.
    """
    if "NotPrincipal" in statement:
        return not _is_among(statement["NotPrincipal"], principal, True)
    return _is_among(statement.get("Principal") or {}, principal, by_account)


def policies_of_role(iam: Any, role_arn: str) -> Policies:
    """Collect a role's inline and attached policies and its boundary, by a boto3 IAM client.

    A role is named by its ARN or its name, with or without a path. Raises the client's
    NoSuchEntityException where there is no such role.
    """
    name = role_arn.rpartition("/")[2]
    role = iam.get_role(RoleName=name)["Role"]
    documents: list[Document] = []
    for page in iam.get_paginator("list_role_policies").paginate(RoleName=name):
        documents += [
            iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            for policy in page["PolicyNames"]
        ]
    for page in iam.get_paginator("list_attached_role_policies").paginate(RoleName=name):
        documents += [
            managed_document(iam, policy["PolicyArn"]) for policy in page["AttachedPolicies"]
        ]
    boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
    return Policies(tuple(documents), managed_document(iam, boundary) if boundary else None)


def policies_of_user(iam: Any, name: str) -> Policies:
    """Collect a user's policies, those of its groups, and its boundary."""
    documents: list[Document] = [
        iam.get_user_policy(UserName=name, PolicyName=policy)["PolicyDocument"]
        for policy in iam.list_user_policies(UserName=name)["PolicyNames"]
    ]
    attached = iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]
    for group in iam.list_groups_for_user(UserName=name)["Groups"]:
        group_name = group["GroupName"]
        documents += [
            iam.get_group_policy(GroupName=group_name, PolicyName=policy)["PolicyDocument"]
            for policy in iam.list_group_policies(GroupName=group_name)["PolicyNames"]
        ]
        attached += iam.list_attached_group_policies(GroupName=group_name)["AttachedPolicies"]
    documents += [managed_document(iam, policy["PolicyArn"]) for policy in attached]
    user = iam.get_user(UserName=name)["User"]
    boundary = user.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
    return Policies(tuple(documents), managed_document(iam, boundary) if boundary else None)


def policies_of_principal(iam: Any, arn: str) -> Policies:
    """Collect what decides for a user, a role or a role's session; the root may do all."""
    if arn.endswith(":root"):
        everything = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
        return Policies((everything,))
    session = re.fullmatch(r"arn:[^:]+:sts::\d+:assumed-role/([^/]+)/.+", arn)
    if session:
        return policies_of_role(iam, session[1])
    name = arn.rpartition("/")[2]
    return policies_of_role(iam, name) if ":role/" in arn else policies_of_user(iam, name)


def managed_document(iam: Any, policy_arn: str) -> Document:
    """Return the default version of a managed policy."""
    version = iam.get_policy(PolicyArn=policy_arn)["Policy"]["DefaultVersionId"]
    return iam.get_policy_version(PolicyArn=policy_arn, VersionId=version)["PolicyVersion"][
        "Document"
    ]


def statements(document: Document) -> list[dict[str, Any]]:
    """Return a document's statements. Raises PolicyError where it is not a policy."""
    if isinstance(document, str):
        return _parsed(document)
    return _statements(document)


@functools.lru_cache(maxsize=512)
def _parsed(text: str) -> list[dict[str, Any]]:
    try:
        document = json.loads(text if text.lstrip().startswith("{") else unquote(text))
    except ValueError as error:
        raise PolicyError(f"the policy is not JSON: {error}") from None
    return _statements(document)


def _statements(document: Any) -> list[dict[str, Any]]:
    if not isinstance(document, Mapping):
        raise PolicyError("the policy is not a JSON object")
    found = document.get("Statement", [])
    found = [found] if isinstance(found, Mapping) else found
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise PolicyError("Statement is neither an object nor a list of them")
    return found


def check_document(
    document: Document, *, principal: bool = False, resource: bool = True
) -> list[dict[str, Any]]:
    """Hold a document to IAM's grammar, and return its statements. Raises PolicyError.

    ``principal`` wants one in each statement (trust, bucket and key policies), else there must be
    none; without ``resource`` a statement may name none (trust policies).
    """
    found = statements(document)
    if not found:
        raise PolicyError("the policy has no Statement")
    whole = json.loads(document) if isinstance(document, str) else document
    if whole.get("Version", "2008-10-17") not in ("2012-10-17", "2008-10-17"):
        raise PolicyError(f"Version is {whole['Version']!r}; it must be 2012-10-17 or 2008-10-17")
    known = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ]
    sids = [statement["Sid"] for statement in found if statement.get("Sid")]
    if len(sids) != len(set(sids)):
        raise PolicyError("statement IDs (SID) in a single policy must be unique")
    for statement in found:
        unknown = sorted(set(statement) - set(known))
        if unknown:
            raise PolicyError(f"a statement has the unknown element {unknown[0]!r}")
        if statement.get("Effect") not in ("Allow", "Deny"):
            raise PolicyError(f"Effect is {statement.get('Effect')!r}; it must be Allow or Deny")
        if ("Action" in statement) == ("NotAction" in statement):
            raise PolicyError("a statement must have Action or NotAction, and not both")
        for action in _list(statement.get("Action", statement.get("NotAction"))):
            if action != "*" and not re.fullmatch(r"[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+", str(action)):
                raise PolicyError(f"{action!r} is no action: actions are written service:Name")
        has_principal = "Principal" in statement or "NotPrincipal" in statement
        if has_principal != principal:
            raise PolicyError(f"a statement {'must' if principal else 'must not'} have a Principal")
        has_resource = "Resource" in statement or "NotResource" in statement
        if has_resource != resource:
            raise PolicyError(f"a statement {'must' if resource else 'must not'} have a Resource")
        for operator in statement.get("Condition") or {}:
            if _operator(operator) is None:
                raise PolicyError(f"{operator!r} is no condition operator")
    return found


# -- one statement


def _applies(
    statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, list[str]]
) -> bool:
    return (
        _matches_action(statement, action)
        and _matches_resource(statement, resource, context)
        and _conditions_hold(statement.get("Condition") or {}, context)
    )


def _matches_action(statement: Mapping[str, Any], action: str) -> bool:
    def among(patterns: Any) -> bool:
        return any(_like(action.lower(), str(pattern).lower()) for pattern in _list(patterns))

    if "NotAction" in statement:
        return not among(statement["NotAction"])
    return among(statement.get("Action"))


def _matches_resource(
    statement: Mapping[str, Any], resource: str, context: Mapping[str, list[str]]
) -> bool:
    def among(patterns: Any) -> bool:
        return any(_like(resource, _filled(str(each), context)) for each in _list(patterns))

    if "NotResource" in statement:
        return not among(statement["NotResource"])
    return among(statement.get("Resource"))


def _is_among(principals: Any, principal: str, by_account: bool) -> bool:
    if principals == "*":
        return True
    for kind, values in principals.items():
        for value in _list(values):
            if value == "*" and kind == "AWS":
                return True
            if value == principal:
                return True
            if by_account and kind == "AWS" and _is_account_of(value, principal):
                return True
            if kind == "AWS" and value == _role_of_session(principal):
                return True
    return False


def _is_account_of(value: str, principal: str) -> bool:
    """An account (by number or root ARN) stands for every principal in it."""
    account = value.split(":")[4] if value.endswith(":root") and value.count(":") > 4 else value
    return re.fullmatch(r"\d{12}", account) is not None and f":{account}:" in principal


def _role_of_session(principal: str) -> str:
    """A role's session acts as the role. A session's ARN leaves out the role's path."""
    found = re.fullmatch(r"arn:([^:]+):sts::(\d+):assumed-role/([^/]+)/.+", principal)
    return f"arn:{found[1]}:iam::{found[2]}:role/{found[3]}" if found else ""


# -- conditions


def _context(context: Context | None) -> dict[str, list[str]]:
    return {key.lower(): [str(v) for v in _list(value)] for key, value in (context or {}).items()}


def _conditions_hold(
    conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, list[str]]
) -> bool:
    return all(
        _condition_holds(operator, key, _list(wanted), context)
        for operator, tests in conditions.items()
        for key, wanted in tests.items()
    )


def _condition_holds(
    operator: str, key: str, wanted: list[Any], context: Mapping[str, list[str]]
) -> bool:
    parsed = _operator(operator)
    if parsed is None:
        raise PolicyError(f"{operator!r} is no condition operator")
    quantifier, test, negated, if_exists, name = parsed
    actual = context.get(key.lower())
    values = [
        _filled(str(value).lower() if isinstance(value, bool) else str(value), context)
        for value in wanted
    ]
    if name == "Null":
        return any((actual is None) == (value.lower() == "true") for value in values)
    if actual is None:
        return if_exists or quantifier == "ForAllValues" or (negated and not quantifier)

    def one(value: str) -> bool:
        return any(_quietly(test, value, pattern) for pattern in values) != negated

    return any(map(one, actual)) if quantifier == "ForAnyValue" else all(map(one, actual))


def _quietly(test: Callable[[str, str], bool], value: str, pattern: str) -> bool:
    """A value that is no number, date or address matches none."""
    try:
        return test(value, pattern)
    except ValueError:
        return False


@functools.cache
def _operator(text: str) -> tuple[str, Callable[[str, str], bool], bool, bool, str] | None:
    """Split ``ForAllValues:StringNotLikeIfExists`` into its quantifier, test, negation, IfExists
    and name.
    """
    quantifier, _, rest = text.rpartition(":")
    name = rest.removesuffix("IfExists")
    plain = name.replace("Not", "", 1)
    negated = "Not" in name
    test = _TESTS.get(plain)
    if test is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        return None
    return quantifier, test, negated, rest.endswith("IfExists"), name


def _moment(text: str) -> datetime:
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _arn_like(value: str, pattern: str) -> bool:
    """Each of an ARN's six parts is matched by itself: ``*`` does not reach over a colon but in
    the last.
    """
    values, patterns = value.split(":", 5), pattern.split(":", 5)
    return len(values) == len(patterns) == 6 and all(map(_like, values, patterns))


_TESTS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringEqualsIgnoreCase": lambda value, wanted: value.lower() == wanted.lower(),
    "StringLike": lambda value, wanted: _like(value, wanted),
    "NumericEquals": lambda value, wanted: float(value) == float(wanted),
    "NumericLessThan": lambda value, wanted: float(value) < float(wanted),
    "NumericLessThanEquals": lambda value, wanted: float(value) <= float(wanted),
    "NumericGreaterThan": lambda value, wanted: float(value) > float(wanted),
    "NumericGreaterThanEquals": lambda value, wanted: float(value) >= float(wanted),
    "DateEquals": lambda value, wanted: _moment(value) == _moment(wanted),
    "DateLessThan": lambda value, wanted: _moment(value) < _moment(wanted),
    "DateLessThanEquals": lambda value, wanted: _moment(value) <= _moment(wanted),
    "DateGreaterThan": lambda value, wanted: _moment(value) > _moment(wanted),
    "DateGreaterThanEquals": lambda value, wanted: _moment(value) >= _moment(wanted),
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
    "BinaryEquals": str.__eq__,
    "IpAddress": lambda value, wanted: (
        ipaddress.ip_address(value) in ipaddress.ip_network(wanted, strict=False)
    ),
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Null": str.__eq__,  # decided before it is asked
}

# ${*}, ${?} and ${$} stand for themselves; Unicode's non-characters mark them until they are
# matched.
_LITERALS = {"*": "\ufdd0", "?": "\ufdd1", "$": "\ufdd2"}
_VARIABLE = re.compile(r"\$\{([^},]+)(?:,\s*'([^']*)')?\}")


def _filled(pattern: str, context: Mapping[str, list[str]]) -> str:
    """Put the context's values in the place of policy variables; ``${*}`` is a literal star."""

    def value(found: re.Match[str]) -> str:
        name = found[1].strip()
        if name in _LITERALS:
            return _LITERALS[name]
        values = context.get(name.lower())
        return values[0] if values else (found[2] if found[2] is not None else found[0])

    return _VARIABLE.sub(value, pattern) if "${" in pattern else pattern


@functools.lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    for literal, mark in _LITERALS.items():
        escaped = escaped.replace(mark, re.escape(literal))
    return re.compile(escaped, re.DOTALL)


def _like(value: str, pattern: str) -> bool:
    return pattern == "*" or _glob(pattern).fullmatch(value) is not None


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
