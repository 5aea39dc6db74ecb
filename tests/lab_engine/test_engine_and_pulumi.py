"""The same program and provider on the lab engine and on a real Pulumi CLI: the same steps, calls and state."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).with_name("programs")


@pytest.mark.pulumi_cli
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="no `pulumi` on PATH")
@pytest.mark.parametrize("name", sorted(path.name for path in PROGRAMS.iterdir()))
def test_the_lab_engine_does_what_pulumi_does(name: str, engines: Any, tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copytree(PROGRAMS / name, program)
    real = engines.PulumiCli(tmp_path / "real", program)
    lab = engines.LabEngine(tmp_path / "lab", program)
    for operation, phase, *arguments in json.loads((program / "phases.json").read_text()):
        theirs = real.run(operation, phase, arguments)
        ours = lab.run(operation, phase, arguments)
        assert theirs.steps, theirs.text
        assert engines.differences(ours, theirs) == [], f"{operation} of phase {phase}"


@pytest.mark.parametrize("name", ["components", "failures"])
def test_the_command_runs_each_program_to_its_end(name: str, engines: Any, tmp_path: Path) -> None:
    """The same programs without a CLI: each ends with an empty cloud and an empty state."""
    lab = engines.LabEngine(tmp_path / "lab", PROGRAMS / name)
    phases = json.loads((PROGRAMS / name / "phases.json").read_text())
    for operation, phase, *arguments in phases:
        observed = lab.run(operation, phase, arguments)
        expected = 1 if (name, phase) == ("failures", 0) else 0
        assert observed.exit_code == expected, observed.text
        assert observed.summary is not None
    assert observed.state == []
    assert observed.cloud == {}
