"""Repairs of a state by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.engine import api, edit
from lab.engine.state import StateError

NEEDED, PROVIDER, PROTECTED = (f"urn:pulumi:s::p::t:m:T::{name}" for name in "abc")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "s.json"
    resources = [
        {"urn": PROVIDER, "type": "pulumi:providers:t"},
        {"urn": NEEDED, "type": "t:m:T"},
        {
            "urn": PROTECTED,
            "type": "t:m:T",
            "protect": True,
            "provider": f"{PROVIDER}::id",
            "propertyDependencies": {"x": [NEEDED]},
        },
    ]
    path.write_text(json.dumps({"version": 3, "deployment": {"resources": resources}}))
    return path


def urns(state: Path) -> list[str]:
    return [item["urn"] for item in api.read_state(state)["deployment"]["resources"]]


@pytest.mark.parametrize("urn", [NEEDED, PROVIDER])
def test_what_others_need_is_not_forgotten(state: Path, urn: str) -> None:
    with pytest.raises(StateError, match=f"need {urn}; delete them first:\n  {PROTECTED}"):
        edit.delete_resource(state, urn)
    assert len(urns(state)) == 3


def test_a_protected_resource_is_forgotten_once_it_is_not_protected(state: Path) -> None:
    with pytest.raises(StateError, match="state unprotect"):
        edit.delete_resource(state, PROTECTED)
    assert edit.unprotect(state, PROTECTED) == 1
    edit.delete_resource(state, PROTECTED)
    edit.delete_resource(state, NEEDED)
    assert urns(state) == [PROVIDER]


def test_force_forgets_a_protected_resource(state: Path) -> None:
    edit.delete_resource(state, PROTECTED, force=True)
    assert urns(state) == [PROVIDER, NEEDED]


def test_all_are_unprotected_at_once(state: Path) -> None:
    assert edit.unprotect(state) == 1
    assert edit.unprotect(state) == 0


def test_an_unknown_resource_is_named(state: Path) -> None:
    with pytest.raises(StateError, match="no resource 'urn:x' in the state"):
        edit.unprotect(state, "urn:x")
