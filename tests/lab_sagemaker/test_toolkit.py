"""The stand-in of the framework containers' toolkit: variables, arguments and distributions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.aws.sagemaker import toolkit

GROUP = {"instance_group_name": "homogeneousCluster", "instance_type": "ml.c5.xlarge"}


class Machine:
    """An /opt/ml folder, and runs of the toolkit on it."""

    def __init__(self, base: Path, hosts: list[str]) -> None:
        self.base = base
        for part in ("input/config", "input/data/train", "model", "output/data", "code"):
            (base / part).mkdir(parents=True)
        self.write("inputdataconfig", {"train": {"TrainingInputMode": "File"}})
        self.write(
            "resourceconfig",
            {
                "current_host": hosts[0],
                "hosts": hosts,
                "current_instance_type": "ml.c5.xlarge",
                "current_group_name": "homogeneousCluster",
                "instance_groups": [{**GROUP, "hosts": hosts}],
                "network_interface_name": "lo",
            },
        )

    def write(self, name: str, content: Any) -> None:
        (self.base / "input" / "config" / f"{name}.json").write_text(json.dumps(content))

    def run(
        self, script: str, hyperparameters: dict[str, Any], name: str = "train.py", **env: str
    ) -> tuple[int, str]:
        (self.base / "code" / name).write_text(script)
        values = {"sagemaker_program": name, **hyperparameters}
        self.write("hyperparameters", {k: json.dumps(v) for k, v in values.items()})
        done = subprocess.run(
            [sys.executable, toolkit.__file__],
            env={**os.environ, "SAGEMAKER_BASE_DIR": str(self.base), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    @property
    def failure(self) -> str:
        return (self.base / "output" / "failure").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "ml", ["algo-1", "algo-2"])


SHOW = "import json, os, sys; print('SEEN', json.dumps([sys.argv[1:], dict(os.environ)]))"


def seen(output: str) -> tuple[list[str], dict[str, str]]:
    line = next(line for line in output.splitlines() if line.startswith("SEEN "))
    arguments, variables = json.loads(line.removeprefix("SEEN "))
    return arguments, variables


def test_the_script_gets_its_hyperparameters_and_the_sm_variables(machine: Machine) -> None:
    code, output = machine.run(
        SHOW,
        {"lr": 0.5, "b": True, "text": "a b", "map": {"y": 1, "x": 2}, "sagemaker_region": "r"},
    )
    assert code == 0
    arguments, variables = seen(output)
    # One letter, one dash, as the toolkit has it.
    assert arguments == ["-b", "True", "--lr", "0.5", "--map", "x=2,y=1", "--text", "a b"]
    base = str(machine.base)
    wanted = {
        "SM_HOSTS": '["algo-1","algo-2"]',
        "SM_CURRENT_HOST": "algo-1",
        "SM_MODEL_DIR": f"{base}/model",
        "SM_OUTPUT_DATA_DIR": f"{base}/output/data",
        "SM_CHANNELS": '["train"]',
        "SM_CHANNEL_TRAIN": f"{base}/input/data/train",
        "SM_HP_TEXT": "a b",
        "SM_HP_B": "true",
        "SM_NUM_CPUS": str(os.cpu_count()),
        "SM_USER_ENTRY_POINT": "train.py",
        "SM_MODULE_NAME": "train",
        "SM_CURRENT_INSTANCE_TYPE": "ml.c5.xlarge",
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SAGEMAKER_REGION": "r",
        "MASTER_ADDR": "algo-1",
    }
    assert {name: variables.get(name) for name in wanted} == wanted
    assert json.loads(variables["SM_HPS"])["lr"] == 0.5
    assert (machine.base / "output" / "success").exists()


def test_the_exit_code_and_the_traceback_are_the_failure(machine: Machine) -> None:
    code, _ = machine.run("import sys\nprint('x')\nraise KeyError('price')", {})
    assert code == 1
    assert machine.failure.startswith("ExecuteUserScriptError:\nExitCode 1\nErrorMessage")
    assert "KeyError: 'price'" in machine.failure
    (machine.base / "output" / "failure").unlink()
    code, _ = machine.run("raise SystemExit(42)", {})
    assert code == 42


@pytest.mark.parametrize("program", ["../train.py", "/etc/passwd", "-c", "missing.py", ""])
def test_an_entry_point_is_a_file_of_the_source(machine: Machine, program: str) -> None:
    code, _ = machine.run("print()", {"sagemaker_program": program})
    assert code == 1
    assert "entry point" in machine.failure


def test_a_shell_script_can_be_the_entry_point(machine: Machine) -> None:
    code, output = machine.run('#!/bin/sh\necho "got $*"', {"n": 3}, "train.sh")
    assert (code, "got -n 3" in output) == (0, True)


def test_tensorflow_gets_its_cluster(machine: Machine) -> None:
    _, output = machine.run(SHOW, {"sagemaker_multi_worker_mirrored_strategy_enabled": True})
    assert json.loads(seen(output)[1]["TF_CONFIG"]) == {
        "cluster": {"worker": ["algo-1:8890", "algo-2:8890"]},
        "environment": "cloud",
        "task": {"index": 0, "type": "worker"},
    }


def test_pytorch_starts_through_torchrun(machine: Machine, tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "torchrun"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "torchrun $*"\n')
    fake.chmod(0o755)
    distribution = {
        "sagemaker_torch_distributed_enabled": True,
        "sagemaker_mpi_num_of_processes_per_host": 2,
    }
    _, output = machine.run(
        "", {**distribution, "lr": 1}, PATH=f"{fake.parent}:{os.environ['PATH']}"
    )
    assert (
        "torchrun --nnodes 2 --nproc_per_node 2 --master_addr algo-1 --master_port 7777 "
        "--node_rank 0 train.py --lr 1"
    ) in output.splitlines()


def test_mpi_says_what_to_install(machine: Machine, tmp_path: Path) -> None:
    code, _ = machine.run("", {"sagemaker_mpi_enabled": True}, PATH=str(tmp_path))
    assert code == 1
    assert "mpirun is not installed on this machine. Install openmpi-bin." in machine.failure


def test_a_source_archive_never_writes_outside_its_folder(machine: Machine, tmp_path: Path) -> None:
    import io
    import tarfile

    archive = tmp_path / "source.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("../../escaped")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    (machine.base / "code").rmdir()
    (machine.base / "code").mkdir()
    values = {"sagemaker_program": '"a.py"', "sagemaker_submit_directory": json.dumps(str(archive))}
    machine.write("hyperparameters", values)
    done = subprocess.run(
        [sys.executable, toolkit.__file__],
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(machine.base)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is no tar.gz that can be used" in machine.failure
    assert not (tmp_path / "escaped").exists()
