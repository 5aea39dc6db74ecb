"""Which stack a verb works against, and how its cloud is reached."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from infra.outputs import StackOutputs, StackOutputsError
from training.errors import UsageError

LAB_STACK = "lab"


def load_target(stack: str | None, outputs: Path | None) -> StackOutputs:
    """Return a stack's outputs: of a file, of a named stack, of ./outputs.json, or of the running lab.

    A stack of the lab also sets this process's environment so that the SDKs reach the lab and nothing else.
    Any other is read
    with ``pulumi stack output``. Raises UsageError or StackOutputsError saying what to do.
    """
    if outputs is not None:
        return StackOutputs.from_file(outputs)
    stack = stack or os.environ.get("TRAINSTACK_STACK")
    if stack:
        return _of_lab(stack) or _of_pulumi(stack)
    saved = Path("outputs.json")
    if saved.is_file():
        return StackOutputs.from_file(saved)
    lab = _of_lab(LAB_STACK)
    if lab is None:
        raise UsageError(
            "no stack is named. Give --stack NAME or --outputs FILE, save ./outputs.json with "
            "'trainstack outputs --stack NAME --save outputs.json', or try the local clouds: "
            "trainstack lab start && trainstack lab up --yes"
        )
    return lab


def _of_lab(stack: str) -> StackOutputs | None:
    """Return the outputs of a stack that was deployed to the running lab, None where there is none."""
    from lab import home as lab_home

    file = lab_home.home() / "outputs" / f"{stack}.json"
    if not file.is_file():
        return None
    found = StackOutputs.from_file(file)
    for name, value in lab_home.environment().items():  # raises LabError where the lab does not run
        if value:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)
    return found


def _of_pulumi(stack: str) -> StackOutputs:
    command = ["pulumi", "stack", "output", "--json", "--stack", stack]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UsageError(
            f"stack {stack!r} is not in the lab, and there is no pulumi on PATH to read it with. Ask for "
            f"its outputs.json "
            "and give --outputs FILE, or install Pulumi: https://www.pulumi.com/docs/install"
        ) from None
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).removeprefix("error: ")
        raise UsageError(f"pulumi cannot read stack {stack!r}: {reason}")
    try:
        document = json.loads(done.stdout or "{}")
    except ValueError as error:
        raise StackOutputsError(
            f"pulumi's outputs of stack {stack!r} are no JSON: {error}"
        ) from error
    return StackOutputs.from_mapping(document)
