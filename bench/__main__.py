"""``make bench``: the promised speeds, measured as whole processes on this machine.

A speed is never a test: machines differ and are shared. What is printed is minimum, median and
maximum, beside what the project aims at on 2 cores; and the processor's time, which other work on
the machine does not stretch.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
TRAINSTACK = Path(sys.executable).parent / "trainstack"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds of wall time of one command, over its runs, and the median of its processor time."""

    name: str
    aim_seconds: float
    runs: int
    minimum: float
    median: float
    maximum: float
    processor: float


def measure(name: str, aim_seconds: float, runs: int, action: Callable[[], None]) -> Measured:
    """Run an action some times and return how long it took."""
    taken, processor = [], []
    for _ in range(runs):
        began, used = time.perf_counter(), _processor_seconds()
        action()
        taken.append(time.perf_counter() - began)
        processor.append(_processor_seconds() - used)
    return Measured(
        name=name,
        aim_seconds=aim_seconds,
        runs=runs,
        minimum=min(taken),
        median=statistics.median(taken),
        maximum=max(taken),
        processor=statistics.median(processor),
    )


def _processor_seconds() -> float:
    """Return what the commands that have ended have used; the lab's parts run on and are not in it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(*arguments: str) -> None:
    """Run one trainstack command; its output is thrown away, a failure ends the bench."""
    done = subprocess.run(
        [str(TRAINSTACK), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"trainstack {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")


@contextmanager
def own_lab() -> Generator[None]:
    """Keep the bench's lab apart from the person's."""
    with tempfile.TemporaryDirectory(prefix="trainstack-bench-") as folder:
        os.environ["TRAINSTACK_LAB_HOME"] = f"{folder}/lab"
        try:
            yield
        finally:
            run("lab", "stop")


def everything(runs: int) -> Iterator[Measured]:
    """Yield each figure as it is measured."""
    yield measure("trainstack --help", 0.3, runs, lambda: run("--help"))
    with own_lab():

        def start_and_deploy() -> None:
            run("lab", "start")
            run("lab", "up", "--yes")

        yield measure("lab start, then up on an empty lab", 15, 1, start_and_deploy)
        yield measure("lab preview of the deployed stack", 2, runs, lambda: run("lab", "preview"))
        yield measure("lab up with no changes", 3, runs, lambda: run("lab", "up", "--yes"))
        run("lab", "stop")
        yield measure("lab start with its data kept", 5, 1, lambda: run("lab", "start"))
        job = "examples/digits/job.yaml"
        for cloud in ("aws", "azure"):
            submit = ("submit", job, "--on", cloud)
            yield measure(
                f"submit --dry-run on {cloud}", 2, runs, lambda s=submit: run(*s, "--dry-run")
            )
        yield measure("destroy the whole stack", 15, 1, lambda: run("lab", "destroy", "--yes"))


def main() -> None:
    """Print each figure as it comes, then the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=5)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    found = []
    for figure in everything(options.runs):
        found.append(figure)
        print(f"{figure.median:8.2f} s  {figure.name}", file=sys.stderr)
    if options.output == "json":
        print(json.dumps([asdict(figure) for figure in found], indent=2))
        return
    table = Table("what", "aim (s)", "runs", "min", "median", "max", "cpu", box=None)
    for figure in found:
        values = (figure.minimum, figure.median, figure.maximum, figure.processor)
        seconds = (f"{value:.2f}" for value in values)
        table.add_row(figure.name, f"{figure.aim_seconds:g}", str(figure.runs), *seconds)
    Console().print(table)


if __name__ == "__main__":
    main()
