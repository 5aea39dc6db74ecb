"""Whether a script survives an interruption: by its syntax tree, and by really interrupting it."""

from __future__ import annotations

import pytest

from review.drill import DrillError, drill
from review.spot import folder_use, lint
from training.job import load_job

RESUMES = """
import os, json, sys, time
from pathlib import Path

folder = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))
state = folder / "state.json"
epoch = json.loads(state.read_text())["epoch"] if state.exists() else 0
while epoch < 40:
    epoch += 1
    partial = state.with_suffix(".partial")
    partial.write_text(json.dumps({"epoch": epoch}))
    partial.replace(state)
    print("epoch", epoch, flush=True)
    time.sleep(0.05)
"""
STARTS_OVER = RESUMES.replace(
    'json.loads(state.read_text())["epoch"] if state.exists() else 0', "0"
)
IGNORES = "import time\nfor epoch in range(40):\n    time.sleep(0.05)\n"


@pytest.fixture
def spec(tmp_path):
    def make(script, **changes):
        (tmp_path / "train.py").write_text(script)
        document = {
            "name": "drilled",
            "source": str(tmp_path),
            "entry": "train.py",
            "framework": {"name": "sklearn", "version": "1.4"},
            "spot": {"enabled": True, "max_wait": "4h", "checkpoint": True},
            "max_runtime": "1h",
        }
        return load_job({**document, **changes})

    return make


def rules(spec):
    return [warning.rule for warning in lint(spec)]


def test_a_script_that_reads_and_writes_its_checkpoints_passes(spec):
    assert rules(spec(RESUMES)) == []


def test_a_script_that_only_writes_is_warned_of(spec):
    assert rules(spec(STARTS_OVER)) == ["never-reads"]


def test_a_script_that_ignores_the_folder_is_warned_of(spec):
    assert rules(spec(IGNORES)) == ["folder-unused"]


def test_a_job_that_is_no_spot_job_is_left_alone(spec):
    assert rules(spec(IGNORES, spot={"enabled": False})) == []


def test_spot_without_checkpoint_and_a_short_wait_are_warned_of(spec):
    assert rules(spec(RESUMES, spot={"enabled": True, "max_wait": "1h"})) == [
        "max-wait-short",
        "no-checkpoint",
    ]


def test_a_script_that_cannot_be_parsed_is_said_to_be(spec):
    assert rules(spec("def (:")) == ["unreadable-script"]


@pytest.mark.parametrize(
    ("script", "reads", "writes"),
    [
        (
            "import os, torch\np = os.path.join(os.environ['SM_CHECKPOINT_DIR'], 'a.pt')\n"
            "torch.save({}, p)\ntorch.load(p)",
            True,
            True,
        ),
        (
            "import os\nwith open(os.environ['SM_CHECKPOINT_DIR'] + '/a', 'wb') as f:\n    f.write(b'')",
            False,
            True,
        ),
        (
            "import os\nwith open(os.environ['SM_CHECKPOINT_DIR'] + '/a') as f:\n    f.read()",
            True,
            False,
        ),
        (
            "import argparse\np = argparse.ArgumentParser()\n"
            "p.add_argument('--checkpoint-dir', default='/opt/ml/checkpoints')\n"
            "a = p.parse_args()\ndef resume(folder):\n    return load(folder)\n"
            "resume(a.checkpoint_dir)",
            True,
            False,
        ),
        (
            "import os\nD = os.getenv('SM_CHECKPOINT_DIR')\ntrainer.fit(model, ckpt_path=D)",
            True,
            False,
        ),
        (
            '"""Writes to SM_CHECKPOINT_DIR, says the docstring, ' + "x" * 200 + '"""\nopen("a")',
            False,
            False,
        ),
        (
            "import os\nclass T:\n    def __init__(self):\n"
            "        self.folder = os.environ['SM_CHECKPOINT_DIR']\n    def go(self):\n"
            "        model.load_weights(self.folder)\n        model.save_weights(self.folder)",
            True,
            True,
        ),
    ],
)
def test_the_folder_is_followed_through_the_script(tmp_path, script, reads, writes):
    (tmp_path / "a.py").write_text(script)
    use, broken = folder_use(tmp_path)
    assert broken == ""
    assert (use.reads, use.writes) == (reads, writes)


def test_a_drill_shows_that_a_script_resumes(spec):
    lines = []
    result = drill(spec(RESUMES), on_line=lambda run, line: lines.append((run, line)))
    assert result.has_resumed, result.verdict
    assert "read state.json" in result.verdict
    first = [line for run, line in lines if run == 1]
    second = [line for run, line in lines if run == 2]
    assert first[0] == "epoch 1"
    assert second[0] != "epoch 1"
    assert second[-1] == "epoch 40"
    assert result.first.returncode == -15


def test_a_drill_shows_that_a_script_starts_over(spec):
    result = drill(spec(STARTS_OVER))
    assert not result.has_resumed
    assert "opened none of the checkpoints" in result.verdict


def test_a_script_that_leaves_no_checkpoint_is_told_so(spec):
    result = drill(spec(IGNORES), after_seconds=0.3)
    assert not result.has_resumed
    assert "no checkpoint" in result.verdict


def test_a_script_that_ends_before_the_interruption_is_told_so(spec):
    assert "ended in" in drill(spec("print(1)")).verdict
    assert "exit code 3" in drill(spec("raise SystemExit(3)")).verdict


def test_a_script_that_ignores_sigterm_is_killed(spec):
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + RESUMES
    result = drill(spec(deaf), grace_seconds=0.2)
    assert result.first.returncode == -9
    assert result.has_resumed


def test_what_cannot_be_drilled_here_is_refused(spec):
    with pytest.raises(DrillError, match="not on this machine"):
        drill(spec(RESUMES, inputs={"train": "s3://bucket/data"}))
