"""The workflows: pinned, least permissions, safe with forks, and clean for the linters where these are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
# zizmor is installed beside the Python that runs this.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
ZIZMOR = shutil.which("zizmor", path=PATH)


def load(path: Path) -> dict[Any, Any]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["on"] = document.pop(True)  # YAML 1.1 reads `on` as true
    return document


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_their_version_beside(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        if "uses:" in line:
            assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_job_has_a_right_that_it_does_not_name(path):
    document = load(path)
    assert document["permissions"] == {}
    for name, job in document["jobs"].items():
        assert job["permissions"], name
        assert "timeout-minutes" in job, name


def test_code_of_a_pull_request_runs_with_no_right_to_write():
    for path in FILES:
        document = load(path)
        assert "pull_request_target" not in document["on"]
        if "pull_request" in document["on"]:
            for job in document["jobs"].values():
                writes = {key for key, value in job["permissions"].items() if value == "write"}
                assert writes <= {"id-token"}, path.name


def test_what_may_comment_runs_no_code_of_the_pull_request():
    document = load(FOLDER / "comment.yml")
    (job,) = document["jobs"].values()
    assert job["permissions"]["pull-requests"] == "write"
    assert "head_repository.full_name == github.repository" in job["if"], (
        "a fork writes its own text"
    )
    assert not any("checkout" in step.get("uses", "") for step in job["steps"])
    scripts = "".join(step.get("run", "") for step in job["steps"])
    assert "${{" not in scripts, "an expression in a script is code from whoever sets its value"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_scripts_take_values_from_the_environment_only(path):
    for job in load(path)["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), step


def test_main_is_deployed_behind_an_environment():
    (job,) = load(FOLDER / "deploy.yml")["jobs"].values()
    assert job["environment"] == "${{ matrix.stack }}"
    assert "refs/heads/main" in job["if"]


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_finds_nothing():
    done = subprocess.run(
        ["actionlint", *map(str, FILES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(ZIZMOR is None, reason="zizmor is not installed")
def test_zizmor_finds_nothing():
    done = subprocess.run(
        [str(ZIZMOR), "--offline", str(FOLDER)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
