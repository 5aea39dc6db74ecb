"""The outputs contract: a stack's exports are read back as they were, or the fault is named."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.outputs import OUTPUTS_VERSION, StackOutputs, StackOutputsError

ROOT = Path(__file__).resolve().parents[2]


def exported(**changes: Any) -> dict[str, Any]:
    values = StackOutputs(
        stack_name="dev", environment="dev", owner="ml", clouds=("aws",), aws_region="us-east-1"
    ).as_exports()
    return values | changes


def error(mapping: dict[str, Any]) -> str:
    with pytest.raises(StackOutputsError) as caught:
        StackOutputs.from_mapping(mapping)
    return str(caught.value)


def test_what_is_exported_is_read_back_as_it_was() -> None:
    outputs = StackOutputs(
        stack_name="dev",
        environment="dev",
        owner="ml",
        clouds=("azure", "aws"),
        tags={"team": "ml"},
        job_price_cap_usd=12.5,
        azure_compute_clusters={"cpu": {"size": "Standard_DS3_v2", "max_instances": 2}},
        aws_role_arns={"training": "arn:aws:iam::1:role/training"},
        aws_subnet_ids=("subnet-a",),
        aws_max_runtime_seconds=3600,
    )
    assert StackOutputs.from_mapping(json.loads(json.dumps(outputs.as_exports()))) == outputs


def test_every_field_is_exported() -> None:
    assert set(exported()) == {field.name for field in dataclasses.fields(StackOutputs)}


def test_an_output_that_pulumi_drops_because_it_is_null_is_none() -> None:
    mapping = {name: value for name, value in exported().items() if value is not None}
    assert StackOutputs.from_mapping(mapping).azure_workspace_name is None


def test_what_a_stack_exports_besides_is_left_alone() -> None:
    assert StackOutputs.from_mapping(exported(grafana_url="https://x")).stack_name == "dev"


@pytest.mark.parametrize("name", ["stack_name", "environment", "owner", "clouds"])
def test_a_missing_output_is_named(name: str) -> None:
    mapping = exported()
    del mapping[name]
    assert error(mapping) == (
        f"output {name!r} is missing from the stack. Deploy it again: pulumi up"
    )


def test_outputs_of_something_else_are_told_from_a_stack() -> None:
    assert error({"bucket": "x"}).startswith(
        "output 'outputs_version' is missing: this is no train"
    )


def test_outputs_of_a_newer_version_are_refused_with_what_to_do() -> None:
    assert error(exported(outputs_version=OUTPUTS_VERSION + 1)) == (
        f"output 'outputs_version' is {OUTPUTS_VERSION + 1}; this trainstack reads up to "
        f"{OUTPUTS_VERSION}. Update trainstack"
    )


@pytest.mark.parametrize("version", ["1", True, 0, [1]])
def test_a_version_that_is_none_is_refused(version: Any) -> None:
    assert error(exported(outputs_version=version)).startswith(
        f"output 'outputs_version' is {version!r}; it must be a whole number"
    )


@pytest.mark.parametrize(
    ("name", "value", "at", "allowed"),
    [
        ("stack_name", 3, "stack_name", "a string"),
        ("clouds", "aws", "clouds", "a list"),
        ("clouds", [1], "clouds[0]", "a string"),
        ("tags", ["a"], "tags", "an object"),
        ("tags", {"a": 1}, "tags.a", "a string"),
        ("aws_max_runtime_seconds", "3600", "aws_max_runtime_seconds", "a whole number"),
        ("aws_max_runtime_seconds", 1.5, "aws_max_runtime_seconds", "a whole number"),
        ("aws_max_runtime_seconds", True, "aws_max_runtime_seconds", "a whole number"),
        ("azure_serverless_enabled", "yes", "azure_serverless_enabled", "true or false"),
        ("azure_compute_clusters", {"cpu": "x"}, "azure_compute_clusters.cpu", "an object"),
        ("job_price_cap_usd", "12", "job_price_cap_usd", "a number"),
    ],
)
def test_an_output_of_a_wrong_type_is_named_with_what_it_must_be(
    name: str, value: Any, at: str, allowed: str
) -> None:
    message = error(exported(**{name: value}))
    assert message.startswith(f"output {at!r} is ")
    assert f"it must be {allowed}. Deploy the stack again: pulumi up" in message


def test_pulumis_numbers_become_whole_where_they_are_whole() -> None:
    outputs = StackOutputs.from_mapping(
        exported(outputs_version=1.0, aws_max_runtime_seconds=3600.0, job_price_cap_usd=25)
    )
    assert (outputs.aws_max_runtime_seconds, outputs.job_price_cap_usd) == (3600, 25.0)


@given(st.dictionaries(st.sampled_from(sorted(exported())), st.none() | st.integers() | st.text()))
def test_anything_is_read_or_refused_by_name(changes: dict[str, Any]) -> None:
    mapping = exported() | changes
    try:
        outputs = StackOutputs.from_mapping(mapping)
    except StackOutputsError as refused:
        named = str(refused)
    else:
        assert outputs.stack_name == mapping["stack_name"]
        return
    assert any(f"output {name!r}" in named for name in changes)


def test_a_saved_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(exported()), encoding="utf-8")
    assert StackOutputs.from_file(path).aws_region == "us-east-1"


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot be read: No such file"), ("{", "is not JSON"), ("[]", "holds no JSON object")],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "outputs.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(StackOutputsError, match=message) as caught:
        StackOutputs.from_file(path)
    assert str(path) in str(caught.value)


def test_an_output_that_a_job_needs_and_the_stack_lacks_is_named_with_the_way_out() -> None:
    outputs = StackOutputs.from_mapping(exported())
    assert outputs.require("aws_region") == "us-east-1"
    with pytest.raises(StackOutputsError) as caught:
        outputs.require("azure_workspace_name")
    assert str(caught.value) == (
        "output 'azure_workspace_name' of stack 'dev' is empty; its clouds are aws. "
        "Enable it in stacks/Pulumi.dev.yaml and run: pulumi up"
    )


def test_a_notebook_reads_outputs_with_nothing_installed() -> None:
    code = "import infra.outputs, sys; print(sorted(set(sys.modules) & {'pulumi', 'pydantic'}))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
