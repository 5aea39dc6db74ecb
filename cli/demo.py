"""``trainstack demo``: the lab, the whole stack, one training job on each cloud, both models tried."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lab.home import LabError

if TYPE_CHECKING:
    from infra.outputs import StackOutputs
    from training.backends.base import JobStatus

CLOUDS = ("aws", "azure")
EXAMPLE = Path("examples/digits")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of the job on one cloud."""

    cloud: str
    status: JobStatus
    logged_accuracy: float | None
    model: Path | None
    model_accuracy: float | None


@click.command()
@click.option("--keep/--destroy", default=True, help="Keep the stack and the lab running.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table")
def demo(keep: bool, output: str) -> None:
    """Deploy the lab stack and train scikit-learn's digits on both clouds at once, here."""
    from cli.target import load_target
    from lab import daemon
    from lab import home as lab_home
    from lab import stack as lab_stack_operations

    root = lab_stack_operations.program_folder()
    if not (root / EXAMPLE / "job.yaml").is_file():
        raise LabError(f"{root / EXAMPLE} is missing; run the demo in a clone of the repository")
    _title("1. Start local clouds on 127.0.0.1")
    daemon.start(lab_home.home(), on_progress=_say)
    _title("2. Deploy the stack: what `pulumi up` would do on real clouds")
    _operate("up")
    outputs = load_target(lab_stack_operations.DEFAULT_STACK, None)
    _title("3. Train on both clouds at once, from one job file")
    trained = _train_everywhere(root, outputs)
    _title("4. Download both models and try them")
    _report(trained, output)
    failed = [item for item in trained if item.model_accuracy is None]
    differing = [item for item in trained if item.model_accuracy != item.logged_accuracy]
    if not keep:
        _title("5. Destroy the stack and stop the lab")
        _operate("destroy")
        lab_stack_operations.purge()
        daemon.stop(lab_home.home())
        _say("lab stopped")
    if failed or differing:
        names = ", ".join(item.cloud for item in failed or differing)
        what = "did not succeed" if failed else "gave another accuracy than its script logged"
        raise LabError(f"the job on {names} {what}. See: trainstack lab logs")
    if keep:
        _next_steps(trained)


def _operate(kind: Literal["up", "destroy"]) -> None:
    from lab import stack as lab_stack
    from lab.engine import display

    shown = display.choose(kind=kind, stack="lab", as_json=False, diff=False, stream=sys.stderr)
    result = lab_stack.operate(kind, "lab", on_event=shown, handle_interrupt=True)
    shown.finish(result)
    if not result.ok:
        raise LabError(f"{kind} did not succeed; see above")


def _train_everywhere(root: Path, outputs: StackOutputs) -> list[Trained]:
    results: dict[str, Trained] = {}
    errors: dict[str, Exception] = {}

    def train(cloud: str) -> None:
        try:
            results[cloud] = _train(cloud, root, outputs)
        except Exception as error:
            errors[cloud] = error

    threads = [threading.Thread(target=train, args=(cloud,), daemon=True) for cloud in CLOUDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors.values():
        raise error
    return [results[cloud] for cloud in CLOUDS]


def _train(cloud: str, root: Path, outputs: StackOutputs) -> Trained:
    from training.backends import connect
    from training.job import load_job
    from training.waiting import wait

    say = _prefixed(cloud)
    backend = connect(cloud, outputs)
    handle = backend.submit(backend.plan(load_job(root / EXAMPLE / "job.yaml")))
    say(f"submitted {handle}")
    for line in backend.logs(handle, follow=True):
        say(line)
    status = wait(backend, handle)
    say(f"{status.state}")
    if status.state != "SUCCEEDED":
        say(status.reason or "")
        return Trained(
            cloud=cloud, status=status, logged_accuracy=None, model=None, model_accuracy=None
        )
    logged = [metric for metric in backend.metrics(handle) if metric.name == "final_accuracy"]
    files = backend.download(handle, root / ".trainstack" / "demo" / cloud)
    model = next(file for file in files if file.name == "model.joblib")
    return Trained(
        cloud=cloud,
        status=status,
        logged_accuracy=logged[-1].value if logged else None,
        model=model,
        model_accuracy=_try_model(root, model),
    )


def _try_model(root: Path, model: Path) -> float:
    """Load the model in a process of its own, as a person would, and return its accuracy."""
    command = [sys.executable, str(root / EXAMPLE / "evaluate.py"), str(model)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["accuracy"])


def _report(trained: list[Trained], output: str) -> None:
    from cli.output import job_json, print_json, print_table, seconds_text, state_text

    if output == "json":
        print_json(
            [
                {
                    **job_json(item.status),
                    "logged_accuracy": item.logged_accuracy,
                    "model_accuracy": item.model_accuracy,
                    "model_path": item.model,
                }
                for item in trained
            ]
        )
        return
    here = Path.cwd()
    print_table(
        ("cloud", "job", "state", "accuracy logged", "model tried", "took", "model"),
        [
            (
                item.cloud,
                item.status.handle.name,
                state_text(item.status.state),
                _accuracy(item.logged_accuracy),
                _accuracy(item.model_accuracy),
                seconds_text(item.status.duration_seconds),
                item.model.relative_to(here)
                if item.model and item.model.is_relative_to(here)
                else item.model,
            )
            for item in trained
        ],
    )


def _accuracy(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _next_steps(trained: list[Trained]) -> None:
    name = trained[0].status.handle.name
    _title("Try next")
    steps = (
        ("trainstack list", "the jobs on both clouds"),
        (f"trainstack logs {name}", "one job's log again"),
        (f"trainstack submit {EXAMPLE}/job.yaml --on azure -f", "another one"),
        (f"trainstack submit {EXAMPLE}/job.yaml --on aws --dry-run", "exactly what would be sent"),
        (f"trainstack estimate {EXAMPLE}/job.yaml", "what it costs at worst on real clouds"),
        ('eval "$(trainstack lab env)"', "point boto3 and azure-ai-ml at the lab"),
        ("trainstack lab destroy --yes && trainstack lab stop", "end it"),
    )
    width = max(len(command) for command, _ in steps)
    for command, what in steps:
        _say(f"  {command:<{width}}  {what}")
    if sys.prefix != sys.base_prefix:
        _say(
            f"(trainstack is in {Path(sys.prefix).name}/bin: . {Path(sys.prefix).name}/bin/activate)"
        )


_PRINTING = threading.Lock()


def _prefixed(cloud: str) -> Callable[[str], None]:
    colour = {"aws": "yellow", "azure": "blue"}[cloud]

    def say(text: str) -> None:
        with _PRINTING:
            click.echo(f"{click.style(f'{cloud:>5} |', fg=colour)} {text}", err=True)

    return say


def _title(text: str) -> None:
    click.echo(click.style(f"\n{text}", bold=True), err=True)


def _say(text: str) -> None:
    click.echo(text, err=True)
