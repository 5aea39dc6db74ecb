"""The engine's parts: values, paths, secrets, the state file with its journal and lock, imports, displays."""

from __future__ import annotations

import io
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi import ResourceOptions

from lab.engine import api, display
from lab.engine import config as config_module
from lab.engine.deployment import ConfigValue, Targets
from lab.engine.display_json import Digest
from lab.engine.importer import ImportRequest
from lab.engine.secrets import PassphraseSecrets, SecretsError
from lab.engine.state import StateError, StateFile
from lab.engine.values import (
    UNKNOWN,
    Archive,
    Asset,
    ResourceReference,
    Secret,
    diff_maps,
    format_path,
    from_json,
    from_wire,
    maps_equal,
    parse_path,
    path_contains,
    reset_path,
    to_json,
    to_plain,
    to_wire,
)
from lab.home import LabError

VALUES = {
    "null": None,
    "text": "x",
    "number": 3,
    "fraction": 1.5,
    "flag": True,
    "list": [1, {"a": Secret([1, "b"])}],
    "unknown": UNKNOWN,
    "asset": Asset(hash="h", text="t"),
    "archive": Archive(hash="h", assets={"a": Asset(hash="h", path="p")}),
    "reference": ResourceReference("urn:pulumi:s::p::a:b:C::n", "id", "1.0.0"),
}


def test_values_survive_the_wire_and_the_state() -> None:
    assert maps_equal(from_wire(to_wire(VALUES)), VALUES)
    secrets = PassphraseSecrets("phrase")
    stored = json.loads(json.dumps(to_json(VALUES, secrets.encrypt)))
    assert maps_equal(from_json(stored, secrets.decrypt), VALUES)


def test_a_null_and_an_absent_key_are_equal_but_true_is_not_one() -> None:
    assert maps_equal({"a": None}, {})
    assert not maps_equal({"a": True}, {"a": 1})


def test_a_difference_names_what_was_added_removed_and_changed() -> None:
    diff = diff_maps({"a": 1, "b": [1, 2], "c": {"d": 1}}, {"b": [1], "c": {"d": 2}, "e": 1})
    assert diff is not None
    assert diff.changed_keys() == ["a", "b", "c", "e"]
    assert diff_maps({"a": 1}, {"a": 1, "b": None}) is None


@pytest.mark.parametrize("text", ["a", "a.b[0]", 'a["b.c"].d', "[0].x", 'a["q\\"x"]'])
def test_paths_are_written_as_they_are_read(text: str) -> None:
    assert format_path(parse_path(text)) == text


def test_a_star_stands_for_any_key() -> None:
    assert path_contains(parse_path("a[*].b"), parse_path("a[3].b.c"))
    assert not path_contains(parse_path("a.b"), parse_path("a"))


def test_ignored_paths_are_reset_unless_an_element_came_or_went() -> None:
    new = {"a": [{"x": 2}, {"x": 3}], "b": {"c": 2}}
    assert reset_path(parse_path("a[*].x"), {"a": [{"x": 0}, {"x": 1}]}, new)
    assert new["a"] == [{"x": 0}, {"x": 1}]
    assert not reset_path(parse_path("a[2]"), {"a": [1, 2, 3]}, {"a": [1, 2]})


def test_targets_take_patterns() -> None:
    targets = Targets(["urn:a::b::c::*d", "**end"])
    assert targets.contains("urn:a::b::c::xd")
    assert targets.contains("urn:pulumi:any::thing::end")
    assert not targets.contains("urn:a::b::c::x:d")


def test_a_wrong_passphrase_is_one_clear_error() -> None:
    secrets = PassphraseSecrets("right")
    token = secrets.encrypt("text")
    assert PassphraseSecrets("right", secrets.state).decrypt(token) == "text"
    with pytest.raises(SecretsError, match="incorrect passphrase"):
        PassphraseSecrets("wrong", secrets.state).decrypt(token)


def _hold(path: Path, ready: Any, done: Any) -> None:
    with StateFile(path, "x").locked("lab up"):
        ready.set()
        done.wait(20)


def test_the_lock_says_who_holds_it_and_goes_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    path = tmp_path / "dev.json"
    holder = context.Process(target=_hold, args=(path, ready, done))
    holder.start()
    assert ready.wait(20)
    with (
        pytest.raises(StateError, match=rf"`lab up`, pid {holder.pid} of"),
        StateFile(path, "x").locked("lab destroy"),
    ):
        pass
    holder.kill()
    holder.join()
    with StateFile(path, "x").locked("lab destroy"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 9}'])
def test_a_state_that_cannot_be_read_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dev.json"
    path.write_text(text)
    with pytest.raises(StateError, match=r"dev\.json"):
        StateFile(path, "x").load()


def test_a_journal_of_another_state_is_refused(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 1}) and None)
    journal = lab.state_path.with_name("dev.json.journal")
    journal.write_text('{"kind": "base", "base": "of another state"}\n')
    with pytest.raises(StateError, match="was changed since"):
        lab.up(lambda: thing("a", {"v": 1}) and None)


def test_half_an_entry_at_the_journals_end_is_left_out(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 1}) and None)
    file = StateFile(lab.state_path, "test")
    base = json.dumps({"kind": "base", "base": file.digest()})
    file.journal_path.write_text(f'{base}\n{{"kind": "beg')
    assert lab.up(lambda: thing("a", {"v": 2}) and None).result.changes["update"] == 1


def test_pending_operations_are_warned_of_kept_and_cleared(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 1}) and None)
    document = json.loads(lab.state_path.read_text())
    state = next(r for r in document["deployment"]["resources"] if r["urn"].endswith("::a"))
    pending = {key: value for key, value in state.items() if key != "id"}
    document["deployment"]["pending_operations"] = [
        {"resource": {**pending, "urn": lab.urn("lost")}, "type": "creating"},
        {"resource": state, "type": "updating"},
    ]
    lab.state_path.write_text(json.dumps(document))
    ran = lab.up(lambda: thing("a", {"v": 1}) and None)
    assert any("2 pending operations" in item.message for item in ran.result.diagnostics)
    left = api.read_state(lab.state_path)["deployment"]["pending_operations"]
    assert [item["type"] for item in left] == ["creating"]  # as the real engine keeps them
    assert api.clear_pending_operations(lab.state_path) == 1
    assert "pending_operations" not in api.read_state(lab.state_path)["deployment"]


def test_a_resource_is_imported_protected_and_then_adopted(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 1}, ResourceOptions(retain_on_delete=True)) and None)
    lab.run("destroy")
    request = ImportRequest(type="mem:index:Thing", name="mine", id="a-1")
    ran = lab.run("import", imports=[request])
    assert ran.result.ok, ran.errors
    assert ran.ops() == ["import mine"]
    state = lab.resource("mine")
    assert (state["id"], state["protect"], state["inputs"]) == ("a-1", True, {"v": 1})
    adopted = lab.up(lambda: thing("mine", {"v": 1}) and None)
    assert set(adopted.result.changes) == {"same"}


def test_an_import_of_what_does_not_exist_fails(lab: Any) -> None:
    request = ImportRequest(type="mem:index:Thing", name="mine", id="nothing", parent="urn:none")
    ran = lab.run("import", imports=[request])
    assert not ran.result.ok
    assert ran.errors[0] == "unknown parent 'urn:none' for resource 'mine'"


def test_a_stack_reads_another_stacks_outputs(lab: Any, make_lab: Any, tmp_path: Path) -> None:
    other = make_lab(tmp_path / "other")
    other.folder.mkdir()

    def exporting() -> None:
        pulumi.export("open", "x")
        pulumi.export("hidden", pulumi.Output.secret("y"))

    assert other.up(exporting).result.ok

    def reading() -> None:
        reference = pulumi.StackReference("organization/proj/other")
        pulumi.export("seen", reference.get_output("open"))
        pulumi.export("kept", reference.get_output("hidden"))

    ran = lab.up(reading, find_state=lambda name: other.state_path)
    assert ran.result.ok, ran.errors
    assert ran.result.plain_outputs() == {"seen": "x", "kept": "[secret]"}


def test_config_reaches_the_program_and_secret_config_is_not_shown(lab: Any, thing: Any) -> None:
    def program() -> None:
        config = pulumi.Config()
        print("the token is", config.require("token"))
        thing("a", {"v": config.require("plain")})
        pulumi.export("token", config.require_secret("token"))

    config = {"proj:plain": "p", "proj:token": ConfigValue("hush-hush", is_secret=True)}
    ran = lab.up(program, config=config)
    assert ran.result.ok, ran.errors
    assert "hush-hush" not in str([event.to_json(0) for event in ran.events])
    assert "hush-hush" not in lab.state_path.read_text()
    assert ran.result.diagnostics[0].message == "the token is [secret]"


@pytest.mark.parametrize(
    ("text", "word"), [("runtime: go", "'go'"), ("main: src", "main is set"), ("[]", "mapping")]
)
def test_a_project_that_is_not_run_here_is_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "Pulumi.yaml").write_text(text)
    with pytest.raises(config_module.ConfigError, match=word):
        config_module.read_project(tmp_path)


def test_stack_config_is_read_as_the_cli_reads_it(tmp_path: Path) -> None:
    secrets = PassphraseSecrets("phrase")
    sealed = secrets.encrypt("hush")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "Pulumi.dev.yaml").write_text(
        f"encryptionsalt: {secrets.state}\n"
        "config:\n  proj:flag: true\n  proj:map: {a: [1, x]}\n  aws:region: r\n"
        f"  proj:token:\n    secure: {sealed}\n"
    )
    project = {"name": "proj", "stackConfigDir": "stacks", "config": {"given": {"default": 3}}}
    found = config_module.read_stack_config(tmp_path, project, "dev", "phrase")
    assert found == {
        "proj:given": ConfigValue("3"),
        "proj:flag": ConfigValue("true"),
        "proj:map": ConfigValue('{"a":[1,"x"]}'),
        "aws:region": ConfigValue("r"),
        "proj:token": ConfigValue("hush", is_secret=True),
    }
    assert config_module.parse_assignments(["a=1=2", "x:b="], "proj") == {
        "proj:a": ConfigValue("1=2"),
        "x:b": ConfigValue(""),
    }
    with pytest.raises(config_module.ConfigError, match="KEY=VALUE"):
        config_module.parse_assignments(["a"], "proj")


def test_two_runs_in_a_process_share_nothing(lab: Any, thing: Any) -> None:
    settings = pulumi.runtime.settings.SETTINGS
    before = (settings.project, settings.stack, settings.monitor)
    lab.up(lambda: thing("a", {"v": 1}) and None, config={"proj:x": "1"})
    assert (settings.project, settings.stack, settings.monitor) == before
    seen = []
    lab.up(lambda: seen.append(pulumi.Config("proj").get("x")))
    assert seen == [None]


def test_what_is_not_done_is_refused_by_name(lab: Any) -> None:
    class Remote(pulumi.ComponentResource):
        def __init__(self) -> None:
            super().__init__("mem:index:Remote", "r", {}, None, remote=True)

    ran = lab.up(Remote)
    assert any("mem:index:Remote is a remote component" in text for text in ran.errors)
    ran = lab.up(lambda: pulumi.CustomResource("other:index:Thing", "x") and None)
    assert any("no provider for package 'other'" in text for text in ran.errors)


def test_ctrl_c_ends_what_is_under_way_and_starts_nothing_more(lab: Any, thing: Any) -> None:
    def program() -> None:
        first = thing("a", {"v": 1})
        thing("b", {"v": first.out})

    lab.cloud.interrupting = ("create", "a")
    ran = lab.up(program, handle_interrupt=True)
    assert ran.result.result == "canceled"
    assert ran.errors == ["update canceled"]
    assert lab.cloud.names() == ["a"]
    assert lab.resource("a")["id"] == "a-1"
    lab.cloud.interrupting = None
    assert lab.up(program).result.changes == {"same": 2, "create": 1}


def test_history_has_a_record_of_each_update(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 1}) and None)
    lab.run("preview", lambda: None)
    lab.run("destroy")
    records = api.read_history(lab.state_path)
    assert [(r["version"], r["kind"], r["result"]) for r in records] == [
        (1, "update", "succeeded"),
        (2, "destroy", "succeeded"),
    ]


def _shown(lab: Any, shown: Any, kind: Any, program: Any = None) -> str:
    ran = lab.run(kind, program)
    for event in ran.events:
        shown(event)
    shown.finish(ran.result)
    return shown.text() if hasattr(shown, "text") else ""


def test_the_tree_shows_old_and_new_values_and_no_secret(lab: Any, thing: Any) -> None:
    def program(value: int) -> Any:
        def run() -> None:
            thing("a", {"r": value, "v": value, "s": pulumi.Output.secret(f"hush-{value}")})
            thing("b", {"v": 1})

        return run

    lab.up(program(0))
    stream = io.StringIO()
    shown = display.choose(kind="preview", stack="dev", as_json=False, diff=False, stream=stream)
    _shown(lab, shown, "preview", program(1))
    text = stream.getvalue()
    assert "~ v: 0 => 1" in text
    assert "~ r: 0 => 1  (replaces)" in text
    assert "~ s: [secret] => [secret]" in text
    assert "hush" not in text
    assert "+- 1 to replace" in text
    assert "Thing    b" not in text  # what does not change is not in the tree


def test_the_document_is_the_clis(lab: Any, thing: Any) -> None:
    lab.up(lambda: thing("a", {"v": 0, "s": pulumi.Output.secret("x")}) and None)
    stream = io.StringIO()
    digest = Digest(stream)
    _shown(
        lab,
        digest,
        "preview",
        lambda: thing("a", {"v": 1, "s": pulumi.Output.secret("x")}) and None,
    )
    document = json.loads(stream.getvalue())
    assert document["changeSummary"] == {"same": 1, "update": 1}
    root, step = document["steps"]
    assert root["op"] == "same"
    assert step["op"] == "update"
    assert step["diffReasons"] == ["v"]
    assert step["detailedDiff"] == {"v": {"kind": "update", "inputDiff": True}}
    assert step["oldState"]["inputs"] == {"v": 0, "s": "[secret]"}
    assert step["newState"]["inputs"] == {"v": 1, "s": "[secret]"}
    assert isinstance(document["duration"], int)


def test_plain_values_hide_secrets_and_name_unknowns() -> None:
    assert to_plain({"a": Secret(1), "b": [UNKNOWN]}) == {"a": "[secret]", "b": ["output<string>"]}


def test_an_archive_has_the_hash_that_the_real_engine_gives_it(tmp_path: Path) -> None:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "dir" / "b.txt").write_text("bb")
    (tmp_path / "dir" / "sub" / "c.txt").write_text("cc")
    assets: dict[str, Asset | Archive] = {"y": Asset(path="a.txt"), "x": Asset(text="q")}
    values = {"folder": Archive(path="dir"), "map": Archive(assets=assets)}
    found = from_wire(to_wire(values), working_directory=str(tmp_path))
    assert {key: item.hash for key, item in found.items()} == {
        "folder": "e79aefe7205772b9cb02045ec3b0624ef7490513c4b8b968b5bc5df57c78d585",
        "map": "bff8a6dd5da800cc7e3afdc812dd87041fc848e47ed470f023effebb7c1ffecc",
    }


def test_a_transform_keeps_a_secret_within_a_map_where_it_is(lab: Any, thing: Any) -> None:
    def transform(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult:
        return pulumi.ResourceTransformResult({**args.props, "added": 1}, args.opts)

    def program() -> None:
        props = {"map": {"open": 1, "hidden": pulumi.Output.secret("x")}, "list": ["a"]}
        thing("a", props, ResourceOptions(transforms=[transform]))

    lab.up(program)
    inputs = next(item["inputs"] for item in lab.resources() if item["urn"].endswith("::a"))
    assert inputs["map"]["open"] == 1, "only the secret itself is one"
    assert set(inputs["map"]["hidden"]) > {"ciphertext"}
    assert inputs["added"] == 1


def test_the_key_of_a_made_passphrase_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    from lab.engine import secrets

    passphrase = secrets.find_passphrase(tmp_path / "stack.json")
    sealed = secrets.PassphraseSecrets(passphrase)
    token, salt = sealed.encrypt("quiet"), sealed.state
    kept = tmp_path / ".passphrase-keys"
    assert kept.stat().st_mode & 0o077 == 0
    secrets._keys.clear()  # as a new process
    assert secrets.PassphraseSecrets(passphrase, salt).decrypt(token) == "quiet"
    kept.write_text("not json", encoding="utf-8")
    secrets._keys.clear()
    assert secrets.PassphraseSecrets(passphrase, salt).decrypt(token) == "quiet"


def test_the_key_of_a_persons_passphrase_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab.engine import secrets

    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of-a-person")
    secrets.PassphraseSecrets(secrets.find_passphrase(tmp_path / "stack.json")).encrypt("quiet")
    assert list(tmp_path.iterdir()) == []


def test_configured_names_are_refused_by_name(tmp_path: Path) -> None:
    operation = api.Operation(
        kind="preview",
        program_dir=tmp_path,
        stack="dev",
        state_path=tmp_path / "state.json",
        project="p",
        providers={},
        config={"pulumi:autonaming": '{"mode": "verbatim"}'},
        program=lambda: None,
    )
    with pytest.raises(LabError, match="pulumi:autonaming"):
        api.run(operation)
