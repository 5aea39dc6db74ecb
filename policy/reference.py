"""The policy pack's reference page, written from its rules so that it cannot say anything else."""

# ruff: noqa: E501 - a table's row is one line

from __future__ import annotations

from policy.rules import RULES

_HEAD = """\
<!-- Written by `make docs` from policy/rules.py; change it there. -->
# Policy rules

`pulumi preview --policy-pack policy` and `trainstack review --policy` hold a stack to these rules. A mandatory one stops the
deployment, an advisory one warns. [The pull request](github.md#policy) says how to set other levels and limits.

| rule | level | why | what to do | settings |
|---|---|---|---|---|
"""


def page() -> str:
    """Return docs/policy.md."""
    rows = []
    for rule in RULES:
        settings = "; ".join(f"`{key}`: {_value(value)}" for key, value in rule.settings.items())
        rows.append(f"| `{rule.id}` | {rule.level} | {rule.why} | {rule.fix} | {settings} |")
    return _HEAD + "\n".join(rows) + "\n"


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
