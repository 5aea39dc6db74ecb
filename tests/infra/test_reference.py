"""The generated files: the committed ones are what the code says, and stack files obey them."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra import outputs, reference, settings

ROOT = Path(__file__).resolve().parents[2]
STACKS = [
    *sorted((ROOT / "stacks").glob("Pulumi.*.yaml")),
    ROOT / "tests/infra/stacks/Pulumi.everything.yaml",
]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return settings.json_schema()


@pytest.mark.parametrize(
    "path", ["stacks/schema.json", "infra/outputs.schema.json", "docs/components.md"]
)
def test_the_committed_file_is_what_the_code_says(path: str) -> None:
    committed = (ROOT / path).read_text(encoding="utf-8")
    assert committed == reference.files()[path], f"{path} is old. Write it again with: make docs"


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.name)
def test_a_stack_file_obeys_the_schema_that_its_first_line_names(
    path: Path, schema: dict[str, Any]
) -> None:
    text = path.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert named != first, "editors find the schema by the first line"
    assert (path.parent / named).resolve() == ROOT / "stacks" / "schema.json"
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("trainstack:aws", "limits", "instance_types"), ["ml.t2.medium"]),
        (("trainstack:aws", "acount_id"), "123456789012"),
        (("trainstack:aws", "account_id"), 123456789012),
        (("trainstack:ownr",), "x"),
        (("trainstack:azure", "compute_clusters"), [{"name": "CPU!", "size": "Standard_DS3_v2"}]),
    ],
)
def test_an_editor_flags_what_the_program_would_refuse(
    path: tuple[str, ...], value: Any, schema: dict[str, Any]
) -> None:
    document = yaml.safe_load((ROOT / "stacks/Pulumi.lab.yaml").read_text(encoding="utf-8"))
    changed = copy.deepcopy(document)
    node = changed["config"]
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(document)
    assert not validator.is_valid(changed)


def test_keys_of_other_namespaces_are_pulumis_business(schema: dict[str, Any]) -> None:
    document = yaml.safe_load((ROOT / "stacks/Pulumi.lab.yaml").read_text(encoding="utf-8"))
    document["config"]["pulumi:tags"] = {"team": "ml"}
    document["encryptionsalt"] = "v1:..."
    document["config"]["trainstack:job_price_cap_usd"] = 12.5  # as a person writes it
    jsonschema.Draft202012Validator(schema).validate(document)


def test_the_projects_schema_agrees_with_the_stack_files(schema: dict[str, Any]) -> None:
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))
    declared = {
        key: value for key, value in project["config"].items() if key.startswith("trainstack:")
    }
    known = schema["properties"]["config"]
    for key, value in declared.items():
        assert known["properties"][key]["type"] == value["type"]
        assert known["properties"][key]["description"] == value["description"]
        assert known["properties"][key].get("default", []) == value.get("default", [])
    required = {key for key, value in declared.items() if "default" not in value}
    assert required == set(known["required"]), "Pulumi asks for what the program asks for"


def test_the_prod_stack_shows_every_setting_of_both_clouds(schema: dict[str, Any]) -> None:
    document = yaml.safe_load((ROOT / "stacks/Pulumi.prod.yaml").read_text(encoding="utf-8"))[
        "config"
    ]
    missing = list(_absent(schema["properties"]["config"], document, schema["$defs"], ""))
    # Options of which prod takes the other choice.
    assert set(missing) <= {
        "azure.environments[].conda_file",
        "azure.managed_network.outbound_rules[]",
        "azure.budget.start_date",
    }, missing


def _absent(model: dict[str, Any], value: Any, defs: dict[str, Any], path: str) -> Any:
    """Yield the keys of a model that a document never gives."""
    values = value if isinstance(value, list) else [value]
    for name, field in model["properties"].items():
        key = f"{path}.{name}" if path else name.removeprefix("trainstack:")
        given = [item[name] for item in values if name in item]
        if not given:
            yield key
            continue
        below = reference._defined(field, defs)
        if "properties" in below:
            flat = [each for item in given for each in (item if isinstance(item, list) else [item])]
            suffix = "[]" if isinstance(given[0], list) else ""
            if flat:
                yield from _absent(below, flat, defs, f"{key}{suffix}")


def test_every_component_and_every_argument_is_on_the_page() -> None:
    page = reference.render()
    for path in [
        *(ROOT / "components/aws").glob("*.py"),
        *(ROOT / "components/azure").glob("*.py"),
    ]:
        module = f"components.{path.parent.name}.{path.stem}"
        if "pulumi.ComponentResource)" in path.read_text(encoding="utf-8"):
            assert f"in `{module}`" in page
    assert "| `idle_time_before_scale_down_seconds` | `int` | `120` |" in page


def test_the_outputs_schema_holds_for_a_stacks_exports() -> None:
    exported = outputs.StackOutputs(
        stack_name="dev", environment="dev", owner="x", clouds=("aws",), aws_region="us-east-1"
    ).as_exports()
    jsonschema.Draft202012Validator(outputs.json_schema()).validate(exported)


@pytest.mark.pulumi_cli
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="no `pulumi` on PATH")
@pytest.mark.parametrize("stack", ["lab", "dev", "prod"])
def test_pulumi_leaves_a_stack_file_as_it_is_but_for_its_salt(stack: str, tmp_path: Path) -> None:
    """It writes the file again in its own way; written that way already, there is no noise in git."""
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks")
    state = tmp_path / "state"
    state.mkdir()
    environment = {
        **os.environ,
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    command = ["pulumi", "stack", "init", stack, "--non-interactive"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    name = f"stacks/Pulumi.{stack}.yaml"
    before = (ROOT / name).read_text(encoding="utf-8").splitlines()
    after = (tmp_path / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in after if not line.startswith("encryptionsalt: ")] == before
