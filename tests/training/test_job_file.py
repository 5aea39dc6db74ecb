"""The job file: what it means, and that everything wrong with it is said at once, with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.errors import JobFileError
from training.job import JobSpec, json_schema, load_job, parse_duration

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*/job*.yaml"))
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    (tmp_path / "train.py").write_text("")

    def to_file(text: str) -> Path:
        file = tmp_path / "job.yaml"
        file.write_text(text)
        return file

    return to_file


GOOD = """\
name: digits
entry: train.py
framework: {name: sklearn, version: "1.4"}
"""


def problems_of(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        load_job(file, overrides)
    return [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]


def test_every_problem_is_said_at_once_in_the_files_order(write: Write) -> None:
    file = write("""\
name: digits
entri: train.py
framework: {name: sklearn, version: 1.10}
compute:
  instances: 0
  aws: {instance_type: m5.large}
spot: {enabled: true, max_wait: 10m}
max_runtime: 1h
metrics: {loss: "("}
""")
    assert problems_of(file) == [
        "2: entri is no known field; did you mean 'entry'?",
        "3: framework.version is 1.10; YAML reads it as a number, which makes 1.10 and 1.1 the same; "
        'put it in quotes, such as version: "1.10"',
        "5: compute.instances is 0; it must be at least 1",
        "6: compute.aws.instance_type is 'm5.large'; it must be a SageMaker instance type, such as ml.m5.large",
        "7: spot.max_wait is 10m; it counts waiting and running together, so it must be at least max_runtime, 1h",
        "9: metrics.loss is no regular expression: missing ), unterminated subpattern at position 0",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no job; it must be a mapping with at least a name"),
        ("[1, 2]", "1: holds no job"),
        ("name: a\nname: b\n", "2: name is given twice, first on line 1"),
        ("name: [\n", "is not YAML"),
        ("name: !!python/object:os.system x\n", "tags are not used here"),
        ("? [a]\n: b\n", "has a key that is not text"),
        ("name: \x07\n", "is not YAML text"),
        (f"{GOOD}image: x\n", "has framework and image; a job must have exactly one of"),
        ("name: a\n", "none of framework, image, algorithm and environment"),
        (f"{GOOD}max_runtime: .nan\n", "must be a finite number"),
        (f"{GOOD}max_runtime: 40d\n", "it must be at most 2419200"),
        (f"{GOOD}inputs: {{train: ./missing}}\n", "inputs.train is './missing', which does not exist in"),
        (f"{GOOD}inputs: {{train: gs://b}}\n", "it must be a local path, s3://, azureml: or https://"),
        (f"{GOOD}inputs: {{train: {{path: {{}}}}}}\n", "names no place; it must have aws, azure or both"),
        (f"{GOOD}source: nowhere\n", "source is 'nowhere', which is no folder"),
        (GOOD.replace("train.py", "../train.py"), "it must be a path below the source folder"),
        (GOOD.replace("train.py", "other.py"), "which is no file in the source folder"),
        (f"{GOOD}compute: {{azure: {{cluster: a, instance_type: b}}}}\n", "has cluster and instance_type"),
        (f"{GOOD}spot: {{max_wait: 2h}}\n", "spot.max_wait needs spot.enabled: true"),
        (f"{GOOD}metrics: {{loss: loss}}\n", "it must have one group around the number"),
        (f"{GOOD}environment_variables: {{TOKEN: [hunter2]}}\n", "environment_variables.TOKEN"),
        (f"{GOOD}hyperparameters: {{a b: 1}}\n", "has a name that is not allowed here"),
        (f"{GOOD}hyperparameters: {{a: {{b: 1}}}}\n", "hyperparameters.a is a mapping; it must be"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(write: Write, text: str, message: str) -> None:
    found = problems_of(write(text))
    assert any(message in problem for problem in found), found
    assert not any("hunter2" in problem for problem in found), (
        "an environment variable may be a secret"
    )


def test_a_file_that_is_missing_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match=r"cannot be read: .* trainstack init"):
        load_job(tmp_path / "none.yaml")


def test_a_set_value_replaces_what_the_file_says_and_is_named_when_it_is_wrong(
    write: Write,
) -> None:
    file = write(f"{GOOD}compute: {{instances: 1}}\nhyperparameters: {{epochs: 1}}\n")
    spec = load_job(
        file, ["compute.instances=3", "hyperparameters.lr=0.1", "compute.azure.cluster=cpu"]
    )
    assert spec.compute.instances == 3
    assert spec.hyperparameters == {"epochs": 1, "lr": 0.1}
    assert spec.compute.azure is not None
    assert problems_of(file, "compute.instances=none") == [
        "--set compute.instances=none: compute.instances is 'none'; it must be a whole number"
    ]
    assert problems_of(file, "compute") == [
        "--set 'compute': must look like --set compute.instances=2"
    ]


def test_yaml_words_and_times_mean_what_they_read_as(write: Write) -> None:
    spec = load_job(
        write(
            f"{GOOD}hyperparameters: {{a: on, b: 1:30, c: 2026-01-01, d: 0x10, e: 1e-3, f: true}}\n"
        )
    )
    assert spec.hyperparameters == {
        "a": "on", "b": "1:30", "c": "2026-01-01", "d": 16, "e": 0.001, "f": True,
    }  # fmt: skip


def test_shorthands_mean_their_long_forms(write: Write) -> None:
    file = write(
        f"{GOOD}inputs: {{train: s3://bucket/data}}\nmax_runtime: 1h30m\ntags: {{n: 3, b: true}}\n"
    )
    spec = load_job(file)
    assert spec.inputs["train"].path_on("aws") == "s3://bucket/data"
    assert spec.max_runtime_seconds == 5400
    assert spec.tags == {"n": "3", "b": "true"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h", 3600), ("2d", 172_800), ("60", 60), (60, 60)]
)
def test_a_duration_is_in_seconds(text: str | int, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "1m1h", "h", "-1s", "1.5h", 0, True, None, "²s"])
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="it must be"):
        parse_duration(text)


def test_the_committed_schema_is_the_models() -> None:
    committed = json.loads((ROOT / "training" / "job.schema.json").read_text())
    assert committed == json_schema(), (
        "write it again with: trainstack schema > training/job.schema.json"
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_each_example_is_a_job_that_the_schema_accepts(example: Path) -> None:
    import jsonschema

    jsonschema.validate(yaml.safe_load(example.read_text()), json_schema())
    assert isinstance(load_job(example), JobSpec)


# No text, and no mutation of an example, ever gives anything but a job or problems.

_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20),
    st.sampled_from(["1h", "s3://b/k", "azureml:x:1", "train.py", "../x", "\0", "a" * 2000, "ml.m5.large", "${{x}}"]),
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
_FIELDS = st.sampled_from([*json_schema()["properties"], "unknown"])


def only_problems(call: Callable[[], Any]) -> None:
    try:
        assert isinstance(call(), JobSpec)
    except JobFileError as error:
        said = str(error)
    else:
        return
    assert said


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_FIELDS, _VALUES, max_size=5))
def test_any_mapping_is_a_job_or_problems(mapping: dict[str, Any]) -> None:
    only_problems(lambda: load_job({"name": "x", **mapping}))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(alphabet=st.sampled_from("abn:{}[],-?!&*#|>'\"%@` \n\t019.~\0é"), max_size=60))
def test_any_text_is_a_job_or_problems(tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(text.encode())
    only_problems(lambda: load_job(file))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_mutation_of_an_example_is_a_job_or_problems(data: st.DataObject) -> None:
    example = data.draw(st.sampled_from(EXAMPLES))
    document = yaml.safe_load(example.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        target: Any = document
        while isinstance(target, dict) and target:
            key = data.draw(st.sampled_from(sorted(target)))
            action = data.draw(st.sampled_from(["descend", "replace", "remove", "add"]))
            if action == "descend" and isinstance(target[key], dict) and target[key]:
                target = target[key]
                continue
            if action == "remove":
                del target[key]
            elif action == "add":
                target[data.draw(st.text(max_size=6))] = data.draw(_VALUES)
            else:
                target[key] = data.draw(_VALUES)
            break
    overrides = data.draw(
        st.lists(st.text(max_size=12) | st.just("compute.instances=x"), max_size=2)
    )
    only_problems(lambda: load_job(document, overrides))


def test_a_bomb_of_aliases_is_refused_quickly(write: Write) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert any("nested or repeated" in problem for problem in problems_of(write("\n".join(lines))))


def test_deep_nesting_is_refused(write: Write) -> None:
    assert problems_of(write("name: " + "[" * 3000 + "]" * 3000))
