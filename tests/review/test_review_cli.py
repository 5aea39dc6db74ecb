"""The verbs review, check, estimate and drill, as a person calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.review.conftest import DATA, OUTPUTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def preview():
    return DATA / "lab_preview.json"


@pytest.fixture
def outputs(tmp_path):
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(OUTPUTS.as_exports()))
    return path


def trainstack(*arguments, cwd=DATA, stdin=None):
    command = [sys.executable, "-c", "from cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, text=True, check=False, timeout=120,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "NO_COLOR": "1"},
    )  # fmt: skip


def test_a_review_fails_only_on_what_is_asked_for(preview):
    assert trainstack("review", preview).returncode == 0
    done = trainstack("review", preview, "--jobs", "jobs", "--fail-on", "data-loss,jobs,cost>500")
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "fails on stack 'lab': data-loss: 1 can lose data",
        "fails on stack 'lab': jobs: 1 job files would break",
    ]
    assert "Can lose data (1)" in done.stdout


def test_a_review_reads_standard_input_and_writes_json(preview):
    done = trainstack("review", "-", "--output", "json", "--policy", stdin=preview.read_text())
    assert done.returncode == 0, done.stderr
    (review,) = json.loads(done.stdout)["reviews"]
    assert [change["name"] for change in review["losses"]] == ["artifacts-bucket"]
    assert review["unchanged"] > 40


def test_a_preview_that_cannot_be_read_is_one_line(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text('{"steps": [{"op": "upd')
    done = trainstack("review", path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "ends in the middle" in done.stderr


def test_a_wrong_threshold_is_a_usage_error(preview):
    done = trainstack("review", preview, "--fail-on", "everything")
    assert done.returncode == 2
    assert "'everything' is none of data-loss" in done.stderr


def test_check_names_the_broken_job(preview):
    done = trainstack("check", "jobs", "--preview", preview)
    assert done.returncode == 3
    assert "environment 'sklearn' does not exist" in done.stdout
    assert "1 job file checked, 1 would break." in done.stdout
    machine = trainstack("check", "jobs", "--preview", preview, "--output", "json")
    assert json.loads(machine.stdout)["checked"] == 1


def test_estimate_shows_both_clouds_and_holds_the_cap(outputs):
    done = trainstack("estimate", "jobs/churn/job.yaml", "--outputs", outputs, "--output", "json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert {item["cloud"]: item["worst_case_usd"] for item in body["estimates"]} == {
        "aws": 0.23,
        "azure": 0.586,
    }
    long = trainstack(
        "estimate", "jobs/churn/job.yaml", "--outputs", outputs, "--set", "max_runtime=7d"
    )
    assert long.returncode == 3
    assert "over the stack's cap of 25.00 USD" in long.stderr


def test_drill_tells_its_verdict():
    done = trainstack("drill", "jobs/churn/job.yaml", "--set", "inputs.train=jobs")
    assert done.returncode in (1, 3)
    assert "Traceback" not in done.stderr
