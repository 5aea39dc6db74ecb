"""Random programs, changed at random, with calls that fail: the state is the cloud, the order holds, and it settles."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = tuple("abcde")


@st.composite
def programs(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """A program: resources by name, each with what it needs, in an order in which that comes first."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES)))
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        found[name] = {
            "value": draw(st.integers(0, 1)),
            "replaces": draw(st.integers(0, 1)),
            "delete_first": draw(st.booleans()),
            "replaced_with_it": draw(st.booleans()),
            "needs": draw(st.lists(st.sampled_from(list(found)), unique=True, max_size=2))
            if found
            else [],
            "renamed_from": draw(st.sampled_from([None, None, *NAMES])),
        }
    return found


def as_program(spec: dict[str, dict[str, Any]], thing: Any) -> Callable[[], None]:
    def program() -> None:
        made: dict[str, Any] = {}
        taken: set[str] = set(spec)
        for name, item in spec.items():
            props: dict[str, Any] = {"value": item["value"], "replaces": item["replaces"]}
            if item["delete_first"]:
                props["dbr"] = True
            for needed in item["needs"]:
                prefix = "r_" if item["replaced_with_it"] else "from_"
                props[prefix + needed] = made[needed].out
            aliases = None
            if item["renamed_from"] is not None and item["renamed_from"] not in taken:
                taken.add(item["renamed_from"])
                aliases = [pulumi.Alias(name=item["renamed_from"])]
            made[name] = thing(name, props, pulumi.ResourceOptions(aliases=aliases))
        pulumi.export("names", sorted(made))

    return program


def check_state_is_cloud(lab: Any) -> None:
    """Everything that exists is in the state, once, with the inputs it was given."""
    states = {item["id"]: item for item in lab.resources() if not item.get("pendingReplacement")}
    assert sorted(states) == sorted(lab.cloud.things)
    for id_, thing_ in lab.cloud.things.items():
        if not states[id_].get("delete"):
            # What only steers the provider is saved, though no difference.
            kept = {k: v for k, v in states[id_]["inputs"].items() if k != "dbr"}
            assert kept == {k: v for k, v in thing_["inputs"].items() if k != "dbr"}


def check_order(lab: Any, spec: dict[str, dict[str, Any]]) -> None:
    """What is needed is created and updated before what needs it."""
    changed = [name for call, name in lab.cloud.calls if call in ("create", "update")]
    for name, item in spec.items():
        for needed in item["needs"]:
            if name in changed and needed in changed:
                assert changed.index(needed) < changed.index(name)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    specs=st.lists(programs(), min_size=2, max_size=4),
    failures=st.lists(
        st.sets(
            st.tuples(st.sampled_from(["create", "update", "delete"]), st.sampled_from(NAMES)),
            max_size=2,
        ),
        min_size=4,
        max_size=4,
    ),
    keep_going=st.booleans(),
)
def test_state_equals_cloud_after_every_run_and_a_second_run_is_empty(
    make_lab: Any,
    thing: Any,
    specs: list[dict[str, dict[str, Any]]],
    failures: list[set[tuple[str, str]]],
    keep_going: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = make_lab(Path(folder))
        for spec, failing in zip(specs, failures, strict=False):
            lab.cloud.failing = failing
            ran = lab.up(as_program(spec, thing), continue_on_error=keep_going)
            check_state_is_cloud(lab)
            check_order(lab, spec)
            if not failing:
                assert ran.result.ok, ran.errors
        lab.cloud.failing = set()
        last = as_program(specs[-1], thing)
        ran = lab.up(last)
        assert ran.result.ok, ran.errors
        check_state_is_cloud(lab)
        assert lab.cloud.names() == sorted(specs[-1])
        again = lab.up(last)
        assert set(again.result.changes) <= {"same"}
        assert not {call for call, _ in lab.cloud.calls} & {"create", "update", "delete"}
        gone = lab.run("destroy")
        assert gone.result.ok, gone.errors
        assert lab.cloud.things == {}
        assert lab.resources() == []
