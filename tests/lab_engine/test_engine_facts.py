"""How the real engine behaves where it surprises, one by one."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
from pulumi import ResourceOptions

from lab.engine import api


def _ids(lab: Any) -> dict[str, str]:
    return {item["urn"].rsplit("::", 1)[-1]: item["id"] for item in lab.resources()}


# --- replacement


def test_create_before_delete_deletes_after_everything_else(lab: Any, thing: Any) -> None:
    def program(value: int) -> Any:
        def run() -> None:
            first = thing("a", {"r": value})
            thing("b", {"v": first.out})

        return run

    lab.up(program(0))
    ran = lab.up(program(1))
    assert ran.ops() == [
        "create-replacement a",
        "replace a",
        "update b",
        "delete-replaced a",
    ]
    assert ran.result.changes == {"replace": 1, "update": 1, "same": 1}


def test_delete_before_create_is_counted_as_one_replacement(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"r": 0, "dbr": True}) and None)
    ran = lab.up(lambda: thing("a", {"r": 1, "dbr": True}) and None)
    assert ran.ops() == ["delete-replaced a", "replace a", "create-replacement a"]
    assert ran.result.changes == {"replace": 1, "same": 1}


def test_a_replacement_is_checked_again_without_old_inputs(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"r": 0, "v": 0}) and None)
    ran = lab.up(
        lambda: thing("a", {"r": 1, "v": 1}, ResourceOptions(ignore_changes=["v"])) and None
    )
    checks = [details[2:] for details in lab.cloud.details if details[0] == "check"]
    assert checks == [
        ({"r": 0.0, "v": 0.0}, {"r": 1.0, "v": 0.0}),
        ({}, {"r": 1.0, "v": 1.0}),
    ]
    assert ran.result.ok
    assert lab.resource("a")["inputs"]["v"] == 1  # the ignored property takes the program's value


def test_only_dependents_that_would_be_replaced_are_deleted_first(lab: Any, thing: Any) -> None:
    def program(value: int) -> Any:
        def run() -> None:
            root = thing("root", {"r": value, "dbr": True})
            thing("replaced", {"r_root": root.out})
            thing("updated", {"v": root.out})
            thing("ordered", {"v": 1}, ResourceOptions(depends_on=[root]))

        return run

    lab.up(program(0))
    ran = lab.up(program(1))
    deleted = [name for op, name in ran.steps if op == "delete-replaced"]
    assert deleted == ["replaced", "root"]
    assert ("same", "ordered") in ran.steps
    assert ("update", "updated") in ran.steps
    # One diff of each dependent before the delete, none when what was deleted registers.
    diffs = [name for call, name in lab.cloud.calls if call == "diff"]
    assert diffs.count("replaced") == 1
    before = lab.cloud.calls[: lab.cloud.calls.index(("delete", "replaced"))]
    assert ("diff", "replaced") in before


def test_a_failed_delete_of_the_old_half_stays_in_the_state_to_be_deleted(
    lab: Any, thing: Any
) -> None:
    lab.up(lambda: thing("a", {"r": 0}) and None)
    lab.cloud.failing = {("delete", "a")}
    ran = lab.up(lambda: thing("a", {"r": 1}) and None)
    assert not ran.result.ok
    assert [item.get("delete", False) for item in lab.resources()] == [False, True]
    again = lab.run("preview", lambda: thing("a", {"r": 1}) and None)
    assert again.ops() == ["same a", "delete-replaced a"]
    assert again.result.changes == {"same": 2}


def test_a_failed_create_after_the_delete_leaves_pending_replacements(lab: Any, thing: Any) -> None:
    def program(value: int) -> Any:
        def run() -> None:
            root = thing("root", {"r": value, "dbr": True})
            thing("dependent", {"r_root": root.out})

        return run

    lab.up(program(0))
    lab.cloud.failing = {("create", "root")}
    assert not lab.up(program(1)).result.ok
    assert all(item["pendingReplacement"] for item in lab.resources())
    lab.cloud.failing = set()
    ran = lab.up(program(1))
    assert ran.result.ok, ran.errors
    deletes = [name for call, name in lab.cloud.calls if call == "delete"]
    assert deletes == ["dependent"]  # a second time: deletes have to be idempotent


def test_the_option_beats_a_provider_that_asks_for_delete_first(lab: Any, thing: Any) -> None:
    options = ResourceOptions(delete_before_replace=False)
    lab.up(lambda: thing("a", {"r": 0, "dbr": True}, options) and None)
    ran = lab.up(lambda: thing("a", {"r": 1, "dbr": True}, options) and None)
    assert ran.ops() == ["create-replacement a", "replace a", "delete-replaced a"]


@pytest.mark.parametrize(
    ("paths", "op"), [(["tags.x"], "update"), (["tags"], "replace"), (["*"], "replace")]
)
def test_replace_on_changes_follows_the_paths_that_the_provider_names(
    lab: Any, thing: Any, paths: list[str], op: str
) -> None:
    options = ResourceOptions(replace_on_changes=paths)
    lab.up(lambda: thing("a", {"tags": {"x": 0}}, options) and None)
    ran = lab.up(lambda: thing("a", {"tags": {"x": 1}}, options) and None)
    assert (op, "a") in ran.steps


def test_a_replaced_provider_replaces_its_resources_without_a_diff(lab: Any, thing: Any) -> None:
    def program(region: str) -> Any:
        def run() -> None:
            provider = pulumi.ProviderResource("mem", "p", {"region": region})
            thing("a", {"v": 1}, ResourceOptions(provider=provider))

        return run

    lab.up(program("here"))
    ran = lab.up(program("there"))
    (step,) = (
        event.metadata
        for event in ran.events
        if event.kind == "resourcePreEvent"
        and event.metadata is not None
        and event.metadata.op == "replace"
        and event.metadata.urn.endswith("::a")
    )
    assert step.keys == ["provider"]
    assert ("diff", "a") not in lab.cloud.calls
    assert [call for call, _ in lab.cloud.calls].count("diff_config") == 2
    # The old provider is configured once more, for the delete.
    assert [call for call, _ in lab.cloud.calls].count("configure") == 2


# --- deletes and protection


def test_a_removed_protected_resource_is_refused_after_the_updates(lab: Any, thing: Any) -> None:
    def before() -> None:
        thing("kept", {"v": 1}, ResourceOptions(protect=True))
        thing("b", {"v": 1})

    lab.up(before)
    ran = lab.up(lambda: thing("b", {"v": 2}) and None)
    assert not ran.result.ok
    assert ("update", "b") in ran.steps
    assert any("because it is protected" in text for text in ran.errors)
    assert _ids(lab).keys() == {"kept", "b"}


def test_a_protected_replacement_is_refused_when_it_registers(lab: Any, thing: Any) -> None:
    options = ResourceOptions(protect=True)
    lab.up(lambda: thing("a", {"r": 0}, options) and None)
    ran = lab.up(lambda: thing("a", {"r": 1}, options) and None)
    assert not ran.result.ok
    assert ran.ops() == []
    assert any("unable to replace resource" in text for text in ran.errors)


def test_retained_resources_are_deleted_from_the_state_only(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 1}, ResourceOptions(retain_on_delete=True)) and None)
    ran = lab.up(lambda: None)
    assert ran.ops() == ["delete a"]
    assert ran.result.changes == {"delete": 1, "same": 1}
    assert lab.cloud.names() == ["a"]
    assert lab.resources() == []


def test_what_is_deleted_with_its_container_is_not_deleted_itself(lab: Any, thing: Any) -> None:
    def program() -> None:
        container = thing("container", {"v": 1})
        thing("content", {"v": 1}, ResourceOptions(deleted_with=container))

    lab.up(program)
    ran = lab.up(lambda: None)
    assert ran.result.changes["delete"] == 2
    assert [name for call, name in lab.cloud.calls if call == "delete"] == ["container"]


def test_a_read_resource_that_is_no_longer_read_is_discarded(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 1}) and None)

    def program() -> None:
        thing("a", {"v": 1})
        thing("found", {}, ResourceOptions(id="a-1"))

    assert ("read", "found") in lab.up(program).steps
    ran = lab.up(lambda: thing("a", {"v": 1}) and None)
    assert ("discard", "found") in ran.steps
    assert ("delete", "found") not in lab.cloud.calls


def test_destroy_configures_and_neither_checks_nor_diffs(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 1}) and None)
    ran = lab.run("destroy")
    assert [call for call, _ in lab.cloud.calls] == ["configure", "delete"]
    assert ran.result.changes == {"delete": 2}  # the default provider is left out


# --- failure


def test_no_step_starts_after_a_failure(lab: Any, thing: Any) -> None:
    lab.cloud.failing = {("create", "a")}

    def program() -> None:
        first = thing("a", {"v": 1})
        thing("b", {"v": first.out})

    ran = lab.up(program)
    assert ran.result.exit_code != 0
    assert ran.errors == ["create of a refused", "update failed"]
    assert ("create", "b") not in lab.cloud.calls


def test_continue_on_error_goes_on_with_what_does_not_need_the_failed_one(
    lab: Any, thing: Any
) -> None:
    lab.cloud.failing = {("create", "a")}

    def program() -> None:
        first = thing("a", {"v": 1})
        thing("b", {"v": first.out})
        thing("c", {"v": 1})
        pulumi.export("known", 1)

    ran = lab.up(program, continue_on_error=True)
    assert not ran.result.ok
    assert lab.cloud.names() == ["c"]
    assert ran.result.plain_outputs() == {"known": 1}


def test_a_failed_program_deletes_nothing_but_makes_what_it_registered(
    lab: Any, thing: Any
) -> None:
    lab.up(lambda: thing("old", {"v": 1}) and None)

    def program() -> None:
        thing("new", {"v": 1})
        raise ValueError("the program is wrong")

    ran = lab.up(program)
    assert not ran.result.ok
    assert lab.cloud.names() == ["new", "old"]
    assert any("the program is wrong" in text for text in ran.errors)
    assert "update failed" not in ran.errors


def test_a_check_failure_is_one_message_on_the_resource(lab: Any, thing: Any) -> None:
    ran = lab.up(lambda: thing("a", {"bad": "value"}) and None)
    assert ran.errors == [
        "mem:index:Thing resource 'a': property bad value {value} has a problem: it is bad"
    ]
    assert ran.result.errors[0].urn == lab.urn("a")


def test_a_failed_destroy_keeps_what_is_left(lab: Any, thing: Any) -> None:
    def program() -> None:
        first = thing("a", {"v": 1})
        thing("b", {"v": first.out})

    lab.up(program)
    lab.cloud.failing = {("delete", "b")}
    assert not lab.run("destroy").result.ok
    assert _ids(lab).keys() == {"a", "b"}


def test_a_duplicate_urn_is_refused_without_a_check(lab: Any, thing: Any) -> None:
    def program() -> None:
        first = thing("a", {"v": 1})
        thing("a", {"v": first.out})

    ran = lab.up(program)
    assert not ran.result.ok
    assert any("Duplicate resource URN" in text for text in ran.errors)
    assert lab.cloud.calls.count(("check", "a")) == 1
    assert lab.cloud.names() == ["a"]


# --- import, read and refresh


def _retained(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 1}, ResourceOptions(retain_on_delete=True)) and None)
    lab.up(lambda: None)


def test_an_import_with_other_inputs_is_followed_by_an_update(lab: Any, thing: Any) -> None:
    _retained(lab, thing)
    ran = lab.up(lambda: thing("b", {"v": 2}, ResourceOptions(import_="a-1")) and None)
    assert ran.result.ok, ran.errors
    assert ran.ops() == ["import b", "update b"]
    assert lab.resource("b")["id"] == "a-1"


def test_an_import_that_would_replace_fails_with_the_resource_in_the_state(
    lab: Any, thing: Any
) -> None:
    _retained(lab, thing)
    ran = lab.up(lambda: thing("b", {"v": 1, "r": 1}, ResourceOptions(import_="a-1")) and None)
    assert not ran.result.ok
    assert any("previously-imported resources" in text for text in ran.errors)
    assert lab.resource("b")["id"] == "a-1"


def test_refresh_counts_a_changed_input_as_update_and_keeps_the_stack_outputs(
    lab: Any, thing: Any
) -> None:
    def program() -> None:
        pulumi.export("out", thing("a", {"v": 1}).out)

    lab.up(program)
    lab.cloud.things["a-1"]["inputs"]["v"] = 5
    ran = lab.run("refresh")
    assert ran.ops() == ["refresh a"]
    assert ran.result.changes == {"update": 1, "same": 1}
    assert [call for call, _ in lab.cloud.calls] == ["configure", "read", "diff"]
    assert lab.resource("a")["inputs"] == {"v": 5}
    assert api.read_outputs(lab.state_path, passphrase="test") == {"out": "a-1"}


def test_refresh_makes_secret_inputs_plain_unless_named(lab: Any, thing: Any) -> None:
    def program() -> None:
        options = ResourceOptions(additional_secret_outputs=["out"])
        thing("a", {"v": pulumi.Output.secret("hush")}, options)

    lab.up(program)
    assert "hush" not in lab.state_path.read_text()
    lab.run("refresh")
    state = lab.resource("a")
    assert state["inputs"]["v"] == "hush"
    assert "ciphertext" in state["outputs"]["out"]


def test_refresh_takes_a_gone_resource_out_of_what_others_need(lab: Any, thing: Any) -> None:
    def program() -> None:
        first = thing("a", {"v": 1})
        thing("b", {"v": first.out})
        thing("child", {"v": 1}, ResourceOptions(parent=first))

    lab.up(program)
    del lab.cloud.things["a-1"]
    ran = lab.run("refresh")
    assert ran.result.changes["delete"] == 1
    assert "dependencies" not in lab.resource("b")
    child = lab.resource("child")
    assert "parent" not in child
    assert "mem:index:Thing$mem:index:Thing" in child["urn"]


def test_a_missing_read_is_an_error_in_a_preview_too(lab: Any, thing: Any) -> None:
    # The SDK's server always sends a map, so that a gone resource is one without outputs.
    ran = lab.run("preview", lambda: thing("a", {}, ResourceOptions(id="nothing")) and None)
    assert ran.ops() == ["read a"]


# --- targets


def test_untargeted_resources_are_same_without_a_call_and_with_old_inputs(
    lab: Any, thing: Any
) -> None:
    def program(value: int) -> Any:
        def run() -> None:
            thing("a", {"v": value})
            thing("b", {"v": value})
            if value:
                thing("new", {"v": value})

        return run

    lab.up(program(0))
    ran = lab.up(program(1), targets=[lab.urn("a")])
    assert ran.result.ok, ran.errors
    assert sorted(ran.ops()) == ["same b", "same new", "update a"]
    assert not [name for _, name in lab.cloud.calls if name in ("b", "new")]
    assert lab.resource("b")["inputs"] == {"v": 0}
    assert _ids(lab).keys() == {"a", "b"}


def test_a_target_that_needs_an_untargeted_new_one_is_refused(lab: Any, thing: Any) -> None:
    def program() -> None:
        first = thing("a", {"v": 1})
        thing("b", {"v": first.out})

    ran = lab.up(program, targets=[lab.urn("b")])
    assert not ran.result.ok
    assert any("was not specified in --target list" in text for text in ran.errors)


def test_a_targeted_destroy_of_what_others_need_deletes_nothing(lab: Any, thing: Any) -> None:
    def program() -> None:
        first = thing("a", {"v": 1})
        thing("b", {"v": first.out})

    lab.up(program)
    ran = lab.run("destroy", targets=[lab.urn("a")])
    assert not ran.result.ok
    assert lab.cloud.names() == ["a", "b"]
    assert lab.run("destroy", targets=[lab.urn("a")], target_dependents=True).result.ok
    assert lab.cloud.things == {}


# --- state, outputs, preview


def test_same_takes_new_inputs_and_keeps_old_outputs(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"control": 1}) and None)
    ran = lab.up(lambda: thing("a", {"control": 2}) and None)
    assert ran.ops() == ["same a"]
    state = lab.resource("a")
    assert state["inputs"]["control"] == 2
    assert state["outputs"]["control"] == 1


def test_depending_on_a_component_is_depending_on_its_children(lab: Any, thing: Any) -> None:
    class Group(pulumi.ComponentResource):
        def __init__(self, name: str) -> None:
            super().__init__("my:index:Group", name)
            thing("child", {"v": 1}, ResourceOptions(parent=self))

    def program() -> None:
        thing("after", {"v": 1}, ResourceOptions(depends_on=[Group("g")]))

    lab.up(program)
    (needed,) = lab.resource("after")["dependencies"]
    assert needed.endswith("::child")
    assert "dependencies" not in lab.resource("child")


def test_a_renamed_component_takes_its_children_along(lab: Any, thing: Any) -> None:
    class Group(pulumi.ComponentResource):
        def __init__(self, name: str, opts: ResourceOptions | None = None) -> None:
            super().__init__("my:index:Group", name, None, opts)
            thing(f"{name}-child", {"v": 1}, ResourceOptions(parent=self))

    lab.up(lambda: Group("old") and None)
    ran = lab.up(lambda: Group("new", ResourceOptions(aliases=[pulumi.Alias(name="old")])) and None)
    assert set(ran.result.changes) == {"same"}
    assert not {call for call, _ in lab.cloud.calls} & {"create", "update", "delete"}
    assert sorted(item["urn"].rsplit("::", 1)[-1] for item in lab.resources()) == [
        "new",
        "new-child",
    ]


def test_a_preview_sends_creates_and_knows_what_the_provider_echoes(lab: Any, thing: Any) -> None:
    def program() -> None:
        first = thing("a", {"v": 1})
        thing("b", {"echo": first.id.apply(lambda _: "x"), "computed": first.out})

    lab.run("preview", program)
    created = [details for details in lab.cloud.details if details[0] == "create"]
    assert [details[3] for details in created] == [True, True]
    assert lab.cloud.things == {}
    assert not lab.state_path.exists()


def test_secrets_stay_secret_where_they_go(lab: Any, thing: Any) -> None:
    secret = "very-hidden-text"

    def program() -> None:
        made = thing("a", {"v": pulumi.Output.secret(secret)})
        pulumi.export("plain", "shown")
        pulumi.export("joined", pulumi.Output.concat("x-", pulumi.Output.secret(secret)))
        pulumi.export("nested", {"open": 1, "hidden": pulumi.Output.secret(secret)})
        pulumi.export("out", made.out)

    ran = lab.up(program)
    assert secret not in lab.state_path.read_text()
    assert ran.result.plain_outputs() == {
        "plain": "shown",
        "joined": "[secret]",
        "nested": {"open": 1, "hidden": "[secret]"},
        "out": "a-1",
    }
    assert all(secret not in str(event.to_json(0)) for event in ran.events)
    shown = api.read_outputs(lab.state_path, passphrase="test", show_secrets=True)
    assert shown["joined"] == f"x-{secret}"


def test_a_targeted_up_that_would_delete_something_else_too_says_that_it_failed(
    lab: Any, thing: Any
) -> None:
    def program(has_both: bool) -> Any:
        def run() -> None:
            if has_both:
                first = thing("a", {"value": 1})
                thing("b", {"value": first.out})

        return run

    lab.up(program(True))
    ran = lab.up(program(False), targets=[lab.urn("a")])
    assert "will be destroyed but was not specified" in ran.errors[0]
    assert ran.errors[-1] == "update failed"
    assert sorted(lab.cloud.names()) == ["a", "b"], "nothing is deleted"


def test_a_rename_drops_the_empty_property_dependencies_of_those_that_need_the_renamed(
    lab: Any, thing: Any
) -> None:
    def program(name: str, aliases: list[Any]) -> Any:
        def run() -> None:
            first = thing(name, {"value": 1}, ResourceOptions(aliases=aliases))
            thing("b", {"value": first.out, "other": 1})

        return run

    lab.up(program("a", []))
    assert lab.resource("b")["propertyDependencies"] == {"value": [lab.urn("a")], "other": []}
    lab.up(program("renamed", [pulumi.Alias(name="a")]), targets=[lab.urn("renamed")])
    assert lab.resource("b")["propertyDependencies"] == {"value": [lab.urn("renamed")]}


def test_a_program_that_exits_with_a_text_fails_with_code_1_and_shows_the_text(lab: Any) -> None:
    def program() -> None:
        raise SystemExit("no more")

    ran = lab.up(program)
    assert ran.errors == ["an unhandled error occurred: program exited with non-zero exit code: 1"]
    assert "no more" in [item.message for item in ran.result.diagnostics]


def test_a_provider_that_cannot_be_created_is_one_message(
    lab: Any, thing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(cloud: Any) -> Any:
        raise RuntimeError("no credentials")

    monkeypatch.setitem(type(lab).run.__globals__, "MemoryProvider", broken)
    ran = lab.up(lambda: thing("a", {"value": 1}) and None)
    assert ran.errors == ["the provider of package 'mem' cannot be created: no credentials"]


def test_env_var_mappings_are_refused_on_what_is_no_provider(lab: Any, thing: Any) -> None:
    ran = lab.up(lambda: thing("a", {}, ResourceOptions(env_var_mappings={"A": "B"})) and None)
    assert any("can only be used with provider resources" in text for text in ran.errors)
    assert lab.cloud.names() == []
