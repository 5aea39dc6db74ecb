"""What an IAM policy means: a small evaluator, as AWS documents the logic, for policies of ours.

It knows the condition operators that our policies use and raises on any other, so that a policy
cannot pass by using what is not evaluated. Emulators do not evaluate these: one ignores conditions
it does not know, the other ignores the request's context.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Context = Mapping[str, Any]


def allows(
    policies: Iterable[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Context | None = None,
    principal: str | None = None,
) -> bool:
    """Return whether the policies allow a request: some statement allows it and none denies it.

    ``principal`` is given for policies of resources and trusts: a service or an ARN.
    """
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if _applies(statement, action, resource, context or {}, principal)
    }
    return "Allow" in effects and "Deny" not in effects


def denies(
    policy: Mapping[str, Any], action: str, resource: str, context: Context, principal: str
) -> bool:
    """Return whether a policy refuses a request, whatever else allows it."""
    return any(
        statement["Effect"] == "Deny" and _applies(statement, action, resource, context, principal)
        for statement in policy["Statement"]
    )


def _applies(
    statement: Mapping[str, Any],
    action: str,
    resource: str,
    context: Context,
    principal: str | None,
) -> bool:
    assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement), "not evaluated here"
    return (
        any(_like(pattern, action, fold=True) for pattern in _list(statement["Action"]))
        and ("Resource" not in statement or _any_resource(statement, resource, context))
        and _is_principal(statement.get("Principal"), principal)
        and all(
            _holds(operator, key, expected, context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, expected in keys.items()
        )
    )


def _any_resource(statement: Mapping[str, Any], resource: str, context: Context) -> bool:
    return any(
        _like(_with_variables(pattern, context), resource)
        for pattern in _list(statement["Resource"])
    )


def _with_variables(pattern: str, context: Context) -> str:
    return re.sub(r"\$\{([\w:/-]+)\}", lambda match: str(context.get(match[1], "\0")), pattern)


def _is_principal(expected: Any, principal: str | None) -> bool:
    if expected is None:  # a policy of an identity: whoever has it
        return True
    if expected == "*":
        return True
    known = [each for values in expected.values() for each in _list(values)]
    return principal in known or "*" in known


def _holds(operator: str, key: str, expected: Any, context: Context) -> bool:
    """Return whether a condition holds.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    """
    if operator == "Null":
        return (key not in context) == (str(_list(expected)[0]).lower() == "true")
    for_all, _, plain = operator.rpartition(":")
    if_exists = plain.endswith("IfExists")
    compare = _OPERATORS[plain.removesuffix("IfExists")]
    if key not in context:
        return if_exists or for_all == "ForAllValues" or plain.startswith("StringNot")
    expected = [_with_variables(str(each), context) for each in _list(expected)]
    actual = [str(each) for each in _list(context[key])]
    matches = [any(compare(each, want) for want in expected) for each in actual]
    if plain.startswith("StringNot"):
        return all(compare(each, want) for each in actual for want in expected)
    if for_all == "ForAllValues":
        return all(matches)
    assert not for_all, f"{operator} is not evaluated here"
    return any(matches)


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda actual, expected: actual == expected,
    "StringNotEquals": lambda actual, expected: actual != expected,
    "StringLike": lambda actual, expected: _like(expected, actual),
    "ArnLike": lambda actual, expected: _like(expected, actual),
    "ArnEquals": lambda actual, expected: _like(expected, actual),
    "Bool": lambda actual, expected: actual.lower() == expected.lower(),
    "NumericLessThan": lambda actual, expected: float(actual) < float(expected),
    "NumericLessThanEquals": lambda actual, expected: float(actual) <= float(expected),
}


def _like(pattern: str, text: str, *, fold: bool = False) -> bool:
    expression = "".join(
        {"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern
    )
    flags = re.DOTALL | (re.IGNORECASE if fold else 0)
    return re.fullmatch(expression, text, flags) is not None


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
