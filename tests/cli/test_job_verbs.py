"""The job verbs as a person or a script meets them: what is printed where, exit codes, what is sent and what is not."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from infra.outputs import StackOutputs
from tests.training.fault_proxy import LabCloud

ROOT = Path(__file__).resolve().parents[2]
DIGITS = str(ROOT / "examples" / "digits" / "job.yaml")
STACK = StackOutputs(
    stack_name="dev", environment="dev", owner="ml@example.com", clouds=("aws", "azure"),
    aws_account_id="123456789012", aws_region="us-east-1", aws_bucket_name="artifacts",
    aws_role_arn="arn:aws:iam::123456789012:role/training",
    azure_subscription_id="s", azure_resource_group_name="rg", azure_workspace_name="ws",
    azure_compute_clusters={"cpu": {"size": "Standard_DS3_v2", "tier": "dedicated", "max_instances": 2}},
    azure_environments={"sklearn": {"version": "1", "id": "/e/sklearn/versions/1"}},
)  # fmt: skip


@dataclasses.dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process, in a folder whose ./outputs.json is STACK's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRAINSTACK_STACK", raising=False)
    (tmp_path / "outputs.json").write_text(json.dumps(STACK.as_exports()))

    def call(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a call was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_a_dry_run_prints_the_request_and_how_to_send_it(run: Run, cloud: str) -> None:
    found = run(
        "submit",
        DIGITS,
        "--on",
        cloud,
        "--dry-run",
        "--name",
        "other",
        "--set",
        "hyperparameters.epochs=2",
    )
    assert found.code == 0
    assert f"--on {cloud} --key {found.json['key']}" in found.err
    assert found.json["handle"].endswith(f"/other-{found.json['key']}")
    assert len(found.json["uploads"]) == 1
    assert (
        run("submit", DIGITS, "--on", cloud, "--dry-run", "--key", "k")
        .json["handle"]
        .endswith("/digits-k")
    )


@pytest.mark.usefixtures("offline")
def test_above_the_stacks_cap_a_job_needs_a_reason_which_is_tagged(
    run: Run, tmp_path: Path
) -> None:
    capped = dataclasses.replace(STACK, job_price_cap_usd=0.001)
    (tmp_path / "outputs.json").write_text(json.dumps(capped.as_exports()))
    refused = run("submit", DIGITS, "--on", "aws", "--dry-run")
    assert refused.code == 3
    assert refused.out == ""
    assert "--over-cap" in refused.err
    allowed = run(
        "submit", DIGITS, "--on", "aws", "--dry-run", "--over-cap", "quarterly: all data!"
    )
    assert {"Key": "trainstack:over-cap", "Value": "quarterly: all data_"} in allowed.json["body"][
        "Tags"
    ]


@pytest.mark.usefixtures("offline")
def test_a_spot_job_that_would_lose_its_work_is_warned_of(run: Run) -> None:
    risky = ("--set", "spot={enabled: true, max_wait: 2h, checkpoint: false}")
    warned = run("submit", DIGITS, "--on", "aws", "--dry-run", *risky)
    assert warned.code == 0
    assert "warning: it is a spot job without checkpoint" in warned.err
    assert "warning" not in run("submit", DIGITS, "--on", "aws", "--dry-run").err


WRONG: list[tuple[Sequence[str], int, str]] = [
    (("submit", DIGITS), 2, "choose one with --on aws or --on azure"),
    (("submit", "none.yaml", "--on", "aws"), 1, "cannot be read"),
    (
        ("submit", DIGITS, "--on", "aws", "--set", "compute.instances=0"),
        1,
        "compute.instances is 0",
    ),
    (("submit", DIGITS, "--on", "gcp"), 2, "'gcp' is not one of 'aws', 'azure'"),
    (
        ("submit", DIGITS, "--on", "aws", "--outputs", "none.json"),
        1,
        "Save one with: pulumi stack output",
    ),
    (("submit", DIGITS, "--on", "aws", "--dry-run", "--over-cap", " "), 2, "needs a reason"),
    (("status", "aws://x"), 1, "is no job handle; one looks like aws-sagemaker://"),
    (("wait", "x", "--timeout", "soon"), 2, "it must be a time such as"),
    (("outputs", "nothing"), 2, "there is no output 'nothing'"),
    (("package", "none.yaml"), 1, "cannot be read"),
    (("init", "none.py"), 2, "does not exist"),
]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("arguments", "code", "message"), WRONG, ids=[message[:30] for *_, message in WRONG]
)
def test_wrong_use_is_one_message_on_stderr_and_an_exit_code(
    run: Run, arguments: Sequence[str], code: int, message: str
) -> None:
    found = run(*arguments)
    assert (found.code, found.out) == (code, "")
    assert message in found.err


def test_no_stack_at_all_says_the_ways_to_name_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outputs.json").unlink()
    monkeypatch.setenv("TRAINSTACK_LAB_HOME", str(tmp_path / "no-lab"))
    found = run("list")
    assert found.code == 1
    assert "--stack NAME or --outputs FILE" in found.err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no pulumi on PATH" in run("list", "--stack", "prod").err


def test_a_real_stack_is_read_through_pulumi(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSTACK_LAB_HOME", str(tmp_path / "no-lab"))
    pulumi = tmp_path / "pulumi"
    pulumi.write_text(
        f"#!/bin/sh\n[ \"$*\" = 'stack output --json --stack prod' ] && cat {tmp_path}/outputs.json\n"
    )
    pulumi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert run("outputs", "aws_bucket_name", "--stack", "prod").out == "artifacts\n"
    pulumi.write_text("#!/bin/sh\necho 'error: no stack named prod found' >&2\nexit 255\n")
    assert (
        "pulumi cannot read stack 'prod': no stack named prod found"
        in run("list", "--stack", "prod").err
    )


def test_outputs_are_saved_for_people_without_pulumi(run: Run, tmp_path: Path) -> None:
    assert run("outputs", "--save", "saved/outputs.json").code == 0
    assert StackOutputs.from_file(tmp_path / "saved" / "outputs.json") == STACK
    assert run("outputs", "-o", "json").json == STACK.as_exports()


def test_the_package_is_listed_with_sizes(run: Run, tmp_path: Path) -> None:
    found = run("package", DIGITS, "-o", "json").json
    assert "train.py" in [file["path"] for file in found["files"]]
    listed = run("package", DIGITS, "--list", "--archive", "code.tar.gz")
    assert "train.py" in listed.out
    assert (tmp_path / "code.tar.gz").stat().st_size > 500


def test_init_reads_the_script_asks_nothing_without_a_terminal_and_keeps_what_is_there(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "my_job").mkdir()
    script = tmp_path / "my_job" / "fit.py"
    script.write_text(
        "import argparse, torch\np = argparse.ArgumentParser()\np.add_argument('--lr', default=0.1)\n"
    )
    assert run("init", str(script)).code == 0
    text = (tmp_path / "my_job" / "job.yaml").read_text()
    assert 'name: "my-job"' in text
    assert "name: pytorch" in text
    assert "lr: 0.1" in text
    found = run("submit", str(tmp_path / "my_job" / "job.yaml"), "--on", "aws", "--dry-run")
    assert found.json["body"]["HyperParameters"]["lr"] == "0.1"
    again = run("init", str(script))
    assert again.code == 2
    assert "--force" in again.err


def test_the_schema_is_printed(run: Run) -> None:
    assert run("schema").json == json.loads((ROOT / "training" / "job.schema.json").read_text())


def modules_after(code: str, **environment: str) -> set[str]:
    """Return the modules that a fresh process has loaded once the code has run."""
    program = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_heavy() -> None:
    loaded = modules_after("from cli.main import main; main(['--help'])")
    assert not loaded & {"boto3", "azure", "sagemaker", "pydantic", "pulumi", "rich", "yaml"}


# Against the lab.


def test_a_job_from_submit_to_download(lab_cloud: LabCloud, run: Run, tmp_path: Path) -> None:
    (tmp_path / "outputs.json").write_text(json.dumps(lab_cloud.outputs.as_exports()))
    on = ("--on", lab_cloud.name)
    submitted = run(
        "submit", DIGITS, *on, "--set", "hyperparameters.epochs=2", "--follow", "-o", "json"
    )
    assert submitted.code == 0, submitted.err
    assert submitted.json["state"] == "SUCCEEDED"
    assert "epoch=2 accuracy=" in submitted.err, "with JSON the log is words"
    name, handle = submitted.json["name"], submitted.json["handle"]
    accuracy = float(submitted.err.rsplit("final_accuracy=", 1)[1].split()[0])
    assert run("status", name[:-2], "-o", "json").json["handle"] == handle, (
        "the beginning of a name is enough"
    )
    assert run("metrics", handle, "-o", "json").json["metrics"]["final_accuracy"] == accuracy
    assert name in run("list").out
    assert run("logs", handle, "--tail", "400").out.count("final_accuracy=") == 1
    (tmp_path / "file").touch()
    nowhere = run("download", handle, "--to", "file/below")
    assert (nowhere.code, nowhere.err.count("\n")) == (1, 1), "a folder that cannot be is one line"
    assert run("download", handle, "--to", "got").code == 0
    assert json.loads((tmp_path / "got" / "output" / "metrics.json").read_text())[
        "accuracy"
    ] == pytest.approx(accuracy, abs=1e-6)
    assert (tmp_path / "got" / "model" / "model.joblib").stat().st_size > 1000
    assert run("wait", handle).code == 0
    assert run("stop", handle, "-o", "json").json["state"] == "SUCCEEDED"
    bill = run("cost", name[:-2], "-o", "json").json
    assert 0 < bill["billed_usd"] < bill["estimate_usd"], "the job carries its own estimate"


@pytest.mark.parametrize("cloud", ["azure"], indirect=True)
def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(
    lab_cloud: LabCloud, job_folder: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "outputs.json").write_text(json.dumps(lab_cloud.outputs.as_exports()))
    file = job_folder("import time\nprint('started', flush=True)\ntime.sleep(300)\n", name="long")
    program = ["-c", "from cli.main import main; main()"]
    command = [sys.executable, *program, "submit", str(file), "--on", "azure", "--follow"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    ) as following:  # fmt: skip
        assert following.stdout is not None
        handle = following.stdout.readline().strip()
        while following.stdout.readline().strip() != "started":
            assert following.poll() is None
        following.send_signal(signal.SIGINT)
        _, words = following.communicate(timeout=30)
    assert following.returncode == 130
    assert "the job goes on" in words
    assert "trainstack logs -f long-" in words
    assert "Traceback" not in words
    assert run("status", handle, "-o", "json").json["state"] == "RUNNING"
    assert run("wait", handle, "--timeout", "1s").code == 124
    stopped = run("stop", handle, "--wait", "-o", "json")
    assert stopped.json["state"] == "STOPPED"
    waited = run("wait", handle)
    assert waited.code == 1
    assert "ended as STOPPED" in waited.err


@pytest.mark.parametrize("cloud", ["aws"], indirect=True)
def test_reading_a_job_on_aws_imports_boto3_alone(lab_cloud: LabCloud, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps(lab_cloud.outputs.as_exports()))
    loaded = modules_after(
        f"from cli.main import main; main(['list', '--on', 'aws', '--outputs', {str(outputs)!r}])"
    )
    assert "boto3" in loaded
    assert not loaded & {"sagemaker", "sagemaker.core", "azure", "pulumi"}


@pytest.mark.parametrize("cloud", ["aws"], indirect=True)
def test_a_name_that_begins_several_jobs_is_refused_with_their_handles(
    lab_cloud: LabCloud, job_folder: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "outputs.json").write_text(json.dumps(lab_cloud.outputs.as_exports()))
    file = str(job_folder("print(1)\n", name="twin"))
    handles = [
        run("submit", file, "--on", "aws", "--key", key).out.strip() for key in ("one", "two")
    ]
    found = run("status", "twin", "--on", "aws")
    assert found.code == 1
    assert all(handle in found.err for handle in handles)
    assert run("status", "twin-one", "--on", "aws").code == 0
    deadline = time.monotonic() + 60
    while run("status", "twin-two", "--on", "aws", "-o", "json").json["state"] != "SUCCEEDED":
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.mark.parametrize("cloud", ["aws"], indirect=True)
@pytest.mark.parametrize("name", ["with_underscore", "*", "x" * 300])
def test_a_name_that_no_sagemaker_job_can_have_is_just_not_found_there(
    lab_cloud: LabCloud, run: Run, tmp_path: Path, name: str
) -> None:
    (tmp_path / "outputs.json").write_text(json.dumps(lab_cloud.outputs.as_exports()))
    assert "no job is called" in run("status", name).err
