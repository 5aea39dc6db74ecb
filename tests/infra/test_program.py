"""The whole program on a recorder: from stack files to exported outputs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from infra import program
from infra import settings as stack_settings
from infra.outputs import StackOutputs
from tests.recorder import Recorder, run

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "lab": ROOT / "stacks/Pulumi.lab.yaml",
    "dev": ROOT / "stacks/Pulumi.dev.yaml",
    "prod": ROOT / "stacks/Pulumi.prod.yaml",
    "everything": ROOT / "tests/infra/stacks/Pulumi.everything.yaml",
}


def config(stack: str) -> dict[str, Any]:
    return yaml.safe_load(FILES[stack].read_text(encoding="utf-8"))["config"]


def deploy(
    stack: str, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> tuple[Recorder, dict[str, Any]]:
    """Run the program as Pulumi runs it: from configuration alone. Return what it exports too."""
    values = config(stack) | {f"trainstack:{name}": value for name, value in changes.items()}
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }
    exported: dict[str, Any] = {}

    def keep(name: str, value: Any) -> None:
        pulumi.Output.from_input(value).apply(lambda known: exported.__setitem__(name, known))

    monkeypatch.setattr(pulumi, "export", keep)

    def start() -> None:
        pulumi.runtime.set_all_config(texts)
        program.main()

    return run(start, stack=stack), exported


@pytest.mark.parametrize("stack", FILES)
def test_every_stack_file_deploys(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, exported = deploy(stack, monkeypatch)
    assert {item.type.partition(":")[0] for item in recorder.resources} == {"aws", "azure-native"}
    outputs = StackOutputs.from_mapping(json.loads(json.dumps(exported)))
    assert outputs.clouds == ("azure", "aws")
    assert outputs.stack_name == stack


def test_the_exports_are_exactly_the_outputs_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    _, exported = deploy("everything", monkeypatch)
    assert set(exported) == {field.name for field in dataclasses.fields(StackOutputs)}
    empty = [name for name, value in exported.items() if value in (None, "", [], {}, ())]
    assert not empty, "the stack with every option on leaves no output empty"


@pytest.mark.parametrize(
    ("cloud", "other", "package"),
    [("aws", "azure", "aws:"), ("azure", "aws", "azure-native:")],
)
def test_either_cloud_stands_alone(
    cloud: str, other: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, exported = deploy("everything", monkeypatch, clouds=[cloud], **{other: None})
    assert recorder.resources
    assert {item.type for item in recorder.resources if not item.type.startswith(package)} == set()
    outputs = StackOutputs.from_mapping(exported)
    assert outputs.clouds == (cloud,)
    foreign = [
        field.name
        for field in dataclasses.fields(StackOutputs)
        if field.name.startswith(f"{other}_")
        and getattr(outputs, field.name) not in (None, (), {}, False)
    ]
    assert foreign == [], "outputs of a cloud that the stack does not use stay empty"


def test_a_section_that_clouds_does_not_list_is_not_deployed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder, exported = deploy("dev", monkeypatch, clouds=["aws"])
    assert all(item.type.startswith("aws:") for item in recorder.resources)
    assert exported["clouds"] == ("aws",) or exported["clouds"] == ["aws"]


def test_every_resource_has_a_parent_component_and_an_explicit_provider(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder, _ = deploy("everything", monkeypatch)
    orphans = [r.name for r in recorder.resources if not r.parent_type.startswith("trainstack:")]
    assert orphans == []
    ambient = [r.name for r in recorder.resources if "pulumi:providers:" not in r.provider]
    assert ambient == [], "a resource without the stack's provider lands in the shell's account"


def test_the_providers_are_held_to_the_settings_account_region_and_subscription(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder, _ = deploy("lab", monkeypatch)
    aws = recorder.only("providers:aws").inputs
    assert json.loads(aws["allowedAccountIds"]) == ["123456789012"]
    assert aws["region"] == "us-east-1"
    assert json.loads(aws["defaultTags"])["tags"]["stack"] == "trainstack/lab"
    azure = recorder.only("providers:azure-native").inputs
    assert azure["subscriptionId"] == config("lab")["trainstack:azure"]["subscription_id"]
    assert azure["tenantId"] == config("lab")["trainstack:azure"]["tenant_id"]


def test_every_azure_resource_that_takes_tags_carries_the_stacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder, exported = deploy("everything", monkeypatch)
    group = recorder.only("resources:ResourceGroup")
    assert exported["tags"].items() <= group.inputs["tags"].items()


def test_wrong_settings_register_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recorders: list[Recorder] = []
    original = Recorder.__init__

    def remember(self: Recorder) -> None:
        original(self)
        recorders.append(self)

    monkeypatch.setattr(Recorder, "__init__", remember)
    with pytest.raises(stack_settings.SettingsError):
        deploy("dev", monkeypatch, contacts=["nobody"])
    assert [item.type for item in recorders[0].seen] == []


def test_no_output_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    _, exported = deploy("everything", monkeypatch)
    words = ("key", "secret", "password", "token", "connection")
    named = [name for name in exported if any(word in name for word in words)]
    assert named == ["aws_kms_key_arn"], "an ARN is no key"
