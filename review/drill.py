"""Interrupts a job's script here as a spot interruption would, starts it again and watches whether it resumes.

The script gets the training contract: ``--key value`` arguments and the SM_* variables, in folders of its own.
That it resumed is seen from the files it opens: the second run reads a checkpoint that the first one wrote.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.job import JobSpec

# Imported by every Python of the run before the script: writes down which files below the checkpoint folder are
# opened to read.
_WATCHER = """
import os, sys

_folder = os.path.realpath(os.environ["SM_CHECKPOINT_DIR"]) + os.sep
_log = os.environ["TRAINSTACK_DRILL_LOG"]
_seen = set()


def _watch(event, arguments):
    if event != "open" or not isinstance(arguments[0], (str, bytes)):
        return
    path = os.path.realpath(os.fsdecode(arguments[0]))
    mode = arguments[1]
    flags = arguments[2] or 0
    reads = mode.startswith("r") if isinstance(mode, str) else flags & os.O_ACCMODE == os.O_RDONLY
    if reads and path.startswith(_folder) and path not in _seen:
        _seen.add(path)
        descriptor = os.open(_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, (path[len(_folder):] + "\\n").encode())
        os.close(descriptor)


sys.addaudithook(_watch)
"""


class DrillError(ValueError):
    """The job cannot be drilled here. The message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One start of the script."""

    returncode: int
    seconds: float
    lines: tuple[str, ...]
    # Checkpoint files that were there at its end, and those that it read.
    checkpoints: tuple[str, ...]
    read: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Drill:
    """What the drill showed. ``has_resumed`` is the verdict, ``verdict`` says it in a sentence."""

    first: Run
    second: Run | None
    has_resumed: bool
    verdict: str


@dataclass
class _Started:
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None


def drill(
    spec: JobSpec,
    *,
    after_seconds: float | None = None,
    grace_seconds: float = 30.0,
    timeout_seconds: float = 600.0,
    on_line: Callable[[int, str], None] = lambda _run, _line: None,
) -> Drill:
    """Run the script, interrupt it with SIGTERM, run it again over the same checkpoint folder.

    The interruption comes ``after_seconds``, or as soon as the first checkpoint is complete; SIGKILL follows after
    ``grace_seconds`` (SageMaker and Azure give two minutes and 30 seconds). ``on_line`` gets each line with the
    number of the run. Waits for both runs. Raises DrillError where the job is no script, or needs data that is
    not on this machine.
    """
    arguments, inputs = _what(spec)
    with tempfile.TemporaryDirectory(prefix="trainstack-drill-") as name:
        home = Path(name)
        (home / "watcher").mkdir()
        (home / "watcher" / "sitecustomize.py").write_text(_WATCHER, encoding="utf-8")
        checkpoints = home / "checkpoints"
        checkpoints.mkdir()
        started = time.monotonic()
        first = _start(spec, home, 1, arguments, inputs, on_line)
        was_interrupted = _interrupt(
            first, checkpoints, after_seconds, grace_seconds, timeout_seconds
        )
        one = _ended(first, home, 1, checkpoints, started)
        if not was_interrupted:
            return Drill(
                first=one,
                second=None,
                has_resumed=False,
                verdict=_not_interrupted(one),
            )
        started = time.monotonic()
        second = _start(spec, home, 2, arguments, inputs, on_line)
        try:
            second.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            _kill(second.process)
        two = _ended(second, home, 2, checkpoints, started)
    read = sorted(set(one.checkpoints) & set(two.read))
    has_resumed = bool(read) and two.returncode == 0
    return Drill(first=one, second=two, has_resumed=has_resumed, verdict=_verdict(one, two, read))


def _what(spec: JobSpec) -> tuple[list[str], dict[str, Path]]:
    if spec.entry is None or spec.algorithm is not None:
        raise DrillError(
            "the job has no entry script, so there is nothing to run here. Drill a job with an entry"
        )
    if not spec.entry.endswith(".py"):
        raise DrillError(f"entry is {spec.entry!r}; the drill runs Python scripts")
    arguments = []
    for key, value in spec.hyperparameters.items():
        arguments += [f"--{key}", str(value)]
    inputs = {}
    for channel, item in spec.inputs.items():
        path = item.path_on("aws") or item.path_on("azure") or ""
        place = spec.folder / path
        if "://" in path or path.startswith("azureml:") or not place.exists():
            raise DrillError(
                f"input {channel!r} is {path!r}, which is not on this machine. Give a local copy with: "
                f"--set inputs.{channel}=PATH"
            )
        inputs[channel] = place.resolve()
    return arguments, inputs


def _start(
    spec: JobSpec,
    home: Path,
    number: int,
    arguments: list[str],
    inputs: dict[str, Path],
    on_line: Callable[[int, str], None],
) -> _Started:
    run = home / f"run-{number}"
    folders = {
        "SM_MODEL_DIR": run / "model",
        "SM_OUTPUT_DATA_DIR": run / "output",
        "SM_OUTPUT_DIR": run / "output",
        "SM_CHECKPOINT_DIR": home / "checkpoints",
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    paths = [str(home / "watcher"), str(spec.source_path.resolve())]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("SM_")},
        **dict(spec.environment_variables),
        **{key: str(value) for key, value in folders.items()},
        **{f"SM_CHANNEL_{channel.upper()}": str(path) for channel, path in inputs.items()},
        "SM_NUM_GPUS": "0",
        "SM_HOSTS": '["algo-1"]',
        "SM_CURRENT_HOST": "algo-1",
        "TRAINSTACK_DRILL_LOG": str(home / f"read-{number}"),
        "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.Popen(
        [sys.executable, str((spec.source_path / str(spec.entry)).resolve()), *arguments],
        cwd=run,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # its children are interrupted with it, and ours are not
    )
    started = _Started(process)

    def read() -> None:
        assert process.stdout is not None  # noqa: S101 - piped above
        for line in process.stdout:
            started.lines.append(line.rstrip("\n"))
            on_line(number, line.rstrip("\n"))

    started.reader = threading.Thread(target=read, daemon=True)
    started.reader.start()
    return started


def _interrupt(
    started: _Started,
    checkpoints: Path,
    after_seconds: float | None,
    grace_seconds: float,
    timeout_seconds: float,
) -> bool:
    """Interrupt the run at its moment. Returns False where it ended before."""
    begin = time.monotonic()
    previous: dict[str, tuple[int, int]] = {}
    while started.process.poll() is None:
        elapsed = time.monotonic() - begin
        if after_seconds is not None:
            if elapsed >= after_seconds:
                break
        else:
            found = _stamps(checkpoints)
            # Complete: there, not empty, and as it was one look ago.
            if found and found == previous:
                break
            previous = found
        if elapsed > timeout_seconds:
            _kill(started.process)
            return False
        time.sleep(0.02)
    if started.process.poll() is not None:
        return False
    _signal(started.process, signal.SIGTERM)
    try:
        started.process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        _kill(started.process)
    return True


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file() and (stat := path.stat()).st_size:
                found[str(path)] = (stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            continue
    return found


def _signal(process: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _kill(process: subprocess.Popen[str]) -> None:
    _signal(process, signal.SIGKILL)
    process.wait()


def _ended(started: _Started, home: Path, number: int, checkpoints: Path, begin: float) -> Run:
    # Children that outlived the script would hold its output open.
    _signal(started.process, signal.SIGKILL)
    if started.reader is not None:
        started.reader.join(timeout=5)
    if started.process.stdout is not None:
        started.process.stdout.close()
    log = home / f"read-{number}"
    read = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return Run(
        returncode=started.process.wait(),
        seconds=round(time.monotonic() - begin, 2),
        lines=tuple(started.lines),
        checkpoints=tuple(
            sorted(str(Path(path).relative_to(checkpoints)) for path in _stamps(checkpoints))
        ),
        read=tuple(sorted(set(read))),
    )


def _not_interrupted(run: Run) -> str:
    if run.returncode:
        return f"The script failed with exit code {run.returncode} before it could be interrupted; mend that first."
    if run.checkpoints:
        return (
            f"The script ended in {run.seconds:g} s, before the interruption. Make it longer, such as with "
            "--set hyperparameters.epochs=1000, or interrupt sooner with --after."
        )
    return (
        f"The script ended in {run.seconds:g} s and wrote no checkpoint to SM_CHECKPOINT_DIR, so an interruption "
        "would lose everything it has done."
    )


def _verdict(one: Run, two: Run, read: list[str]) -> str:
    if not one.checkpoints:
        return "It did not resume: when it was interrupted there was no checkpoint in SM_CHECKPOINT_DIR."
    if not read:
        return (
            f"It did not resume: the second run opened none of the checkpoints that the first one left "
            f"({', '.join(one.checkpoints[:3])}). Read the last one at the start."
        )
    if two.returncode:
        return f"It read {read[0]} and then failed with exit code {two.returncode}: {_last(two)}"
    return f"It resumed: the second run read {', '.join(read[:3])} and ended with exit code 0."


def _last(run: Run) -> str:
    return next((line for line in reversed(run.lines) if line.strip()), "no output")
