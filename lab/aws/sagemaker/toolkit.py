#!/usr/bin/env python3
"""The ``train`` command of a framework image, as the lab's stand-in has it.

It runs inside the job and imports nothing of the lab.
It keeps the contract of the sagemaker-training toolkit 5.1
(https://github.com/aws/sagemaker-training-toolkit): JSON-encoded hyperparameters,
``sagemaker_program`` and ``sagemaker_submit_directory``, SM_* variables, ``python train.py --key
value``, requirements.txt, torchrun, MPI and TF_CONFIG, and the failure file.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
CODE = BASE / "code"
# The toolkit's torchrun port; the lab moves it, as its jobs share one machine.
MASTER_PORT = os.environ.get("TRAINSTACK_LAB_MASTER_PORT", "7777")
_MPI_DONE_PORT = 2222
# Those that the toolkit keeps for itself; all other sagemaker_* ones are framework parameters.
_RESERVED = {
    "sagemaker_program", "sagemaker_submit_directory", "sagemaker_enable_cloudwatch_metrics",
    "sagemaker_region", "sagemaker_container_log_level", "sagemaker_job_name",
    "default_user_module_name", "_tuning_objective_metric", "sagemaker_s3_output",
}  # fmt: skip


class ClientError(Exception):
    """The user's side is wrong: the request, the source or the script."""


def main() -> NoReturn:
    """Train; exit with the script's code, with its error in the failure file."""
    code = 1
    try:
        Training().run()
        (BASE / "output" / "success").write_text("")
        code = 0
    except ScriptError as error:
        code = error.code
        _fail(str(error))
    except ClientError as error:
        _fail(str(error))
    except Exception as error:
        _fail(f"Framework Error: \n{traceback.format_exc()}\n{error}")
    sys.exit(code)


class ScriptError(ClientError):
    """A command of the job ended with another code than 0."""

    def __init__(self, kind: str, code: int, message: str, command: Sequence[str]) -> None:
        super().__init__(
            f'{kind}:\nExitCode {code}\nErrorMessage "{message}"\nCommand "{" ".join(command)}"'
        )
        self.code = code


class Training:
    """What /opt/ml/input/config says about this instance, and the run of the user's script."""

    def __init__(self) -> None:
        config = BASE / "input" / "config"
        self.resources: dict[str, Any] = json.loads((config / "resourceconfig.json").read_text())
        self.channels: dict[str, Any] = json.loads((config / "inputdataconfig.json").read_text())
        parameters = {
            key: _decode(value)
            for key, value in json.loads((config / "hyperparameters.json").read_text()).items()
        }
        self.reserved = {
            key: value
            for key, value in parameters.items()
            if key in _RESERVED or key.startswith("sagemaker_")
        }
        self.framework = {k: v for k, v in self.reserved.items() if k not in _RESERVED}
        self.hyperparameters = {k: v for k, v in parameters.items() if k not in self.reserved}
        self.hosts: list[str] = self.resources["hosts"]
        self.host: str = self.resources["current_host"]
        self.program = os.environ.get("SAGEMAKER_PROGRAM") or self.reserved.get("sagemaker_program")
        self.source = str(
            os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY")
            or self.reserved.get("sagemaker_submit_directory", CODE)
        )

    def run(self) -> None:
        """Fetch the source, install what it needs and run it."""
        program = _checked(self.program)
        _fetch(self.source, CODE)
        if not (CODE / program).exists():
            raise ClientError(
                f"The training entry point {program!r} is not in the source directory; it has "
                f"{', '.join(sorted(path.name for path in CODE.iterdir())) or 'no files'}."
            )
        os.environ.update(self.variables())
        os.environ["PYTHONPATH"] = ":".join(filter(None, [str(CODE), os.environ.get("PYTHONPATH")]))
        if (CODE / "setup.py").exists():
            command = [sys.executable, "-m", "pip", "install", "."]
            if (CODE / "requirements.txt").exists():
                command += ["-r", "requirements.txt"]
            _run(command, "InstallModuleError")
        elif program.endswith(".py") and (CODE / "requirements.txt").exists():
            print("Installing dependencies from requirements.txt", flush=True)
            command = [sys.executable, "-m", "pip", "install", "-r", "requirements.txt"]
            _run(command, "InstallRequirementsError")
        if self._enabled("mpi") or self._enabled("pytorch_ddp"):
            self._run_mpi(program)
        else:
            command = self._command(program)
            print("Invoking script with the following command:\n\n" + " ".join(command) + "\n")
            _run(command, "ExecuteUserScriptError")
        print("Reporting training SUCCESS", flush=True)

    def variables(self) -> dict[str, str]:
        """Return the SM_* variables and those that a distribution adds."""
        groups = self.resources.get("instance_groups", [])
        group = self.resources.get("current_group_name", "homogeneousCluster")
        values: dict[str, Any] = {
            "hosts": self.hosts,
            "network_interface_name": self.resources.get("network_interface_name", "eth0"),
            "hps": self.hyperparameters,
            "user_entry_point": self.program,
            "framework_params": self.framework,
            "resource_config": self.resources,
            "input_data_config": self.channels,
            "output_data_dir": str(BASE / "output" / "data"),
            "channels": sorted(self.channels),
            "current_host": self.host,
            "current_instance_type": self.resources.get("current_instance_type", "local"),
            "current_instance_group": group,
            "current_instance_group_hosts": next(
                (g["hosts"] for g in groups if g["instance_group_name"] == group), self.hosts
            ),
            "instance_groups": [g["instance_group_name"] for g in groups],
            "instance_groups_dict": {g["instance_group_name"]: g for g in groups},
            "distribution_instance_groups": self._distribution_groups(),
            "is_hetero": len(groups) > 1,
            "module_name": (self.program or "").removesuffix(".py"),
            "log_level": self.reserved.get("sagemaker_container_log_level", 20),
            "framework_module": os.environ.get("SAGEMAKER_TRAINING_MODULE"),
            "input_dir": str(BASE / "input"),
            "input_config_dir": str(BASE / "input" / "config"),
            "output_dir": str(BASE / "output"),
            "num_cpus": os.cpu_count(),
            "num_gpus": _count_gpus(),
            "num_neurons": 0,
            "model_dir": str(BASE / "model"),
            "module_dir": self.source,
            "user_args": self.arguments(),
            "output_intermediate_dir": str(BASE / "output" / "intermediate"),
        }
        values["training_env"] = {
            **{k: v for k, v in values.items() if k not in ("hps", "user_args")},
            "hyperparameters": self.hyperparameters,
            "channel_input_dirs": {name: self._channel(name) for name in self.channels},
            "job_name": os.environ.get("TRAINING_JOB_NAME"),
            "is_master": self.host == self._master(),
            "master_hostname": self._master(),
        }
        values |= {f"channel_{name}": self._channel(name) for name in self.channels}
        values |= {f"hp_{key}": value for key, value in self.hyperparameters.items()}
        found = {f"SM_{key.upper()}": _encode(value) for key, value in values.items()}
        found["SAGEMAKER_JOB_NAME"] = str(self.reserved.get("sagemaker_job_name", ""))
        found["SAGEMAKER_REGION"] = str(
            self.reserved.get("sagemaker_region", os.environ.get("AWS_REGION", ""))
        )
        found["CURRENT_HOST"] = self.host
        found["MASTER_ADDR"], found["MASTER_PORT"] = self._master(), MASTER_PORT
        if self._enabled("multi_worker_mirrored_strategy"):
            cluster = {"worker": [f"{host}:8890" for host in self.hosts]}
            task = {"index": self.hosts.index(self.host), "type": "worker"}
            found["TF_CONFIG"] = json.dumps(
                {"cluster": cluster, "environment": "cloud", "task": task}
            )
        return found

    def arguments(self) -> list[str]:
        """Return the hyperparameters as the script's arguments, by key."""
        arguments: list[str] = []
        for key in sorted(self.hyperparameters):
            value = self.hyperparameters[key]
            if isinstance(value, Mapping):
                value = ",".join(f"{k}={v}" for k, v in sorted(value.items()))
            arguments += [f"--{key}" if len(key) > 1 else f"-{key}"]
            arguments += ["" if value is None else str(value)]
        return arguments

    def _command(self, program: str) -> list[str]:
        if self._enabled("parameter_server"):
            raise ClientError(
                "The lab runs no parameter servers; use multi_worker_mirrored_strategy."
            )
        if (CODE / "setup.py").exists() and not self._enabled("torch_distributed"):
            return [sys.executable, "-m", program.removesuffix(".py"), *self.arguments()]
        if not program.endswith(".py"):
            path = CODE / program
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
            return ["/bin/sh", "-c", f'./{program} "$@"', program, *self.arguments()]
        if not self._enabled("torch_distributed"):
            return [sys.executable, program, *self.arguments()]
        nodes = ["--nnodes", str(len(self.hosts)), "--nproc_per_node", str(self._processes())]
        if len(self.hosts) > 1:
            nodes += ["--master_addr", self._master(), "--master_port", MASTER_PORT]
            nodes += ["--node_rank", str(self.hosts.index(self.host))]
        return ["torchrun", *nodes, program, *self.arguments()]

    def _run_mpi(self, program: str) -> None:
        """Run all ranks on the master; the others wait for it, as there is no SSH daemon."""
        if self.host != self._master():
            _wait_for_master(self._master())
            return
        if not shutil.which("mpirun"):
            raise ClientError("mpirun is not installed on this machine. Install openmpi-bin.")
        ranks = int(self.framework.get("sagemaker_mpi_num_processes") or 0)
        ranks = ranks or self._processes() * len(self.hosts)
        print(f"trainstack lab: the {ranks} MPI ranks of {len(self.hosts)} instances run on one")
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", str(ranks)]
        command += str(self.framework.get("sagemaker_mpi_custom_mpi_options") or "").split()
        names = [*self.variables(), "PYTHONPATH", "PATH"]
        command += [word for name in names for word in ("-x", name)]
        command += [sys.executable, program, *self.arguments()]
        with socket.create_server((self.host, _MPI_DONE_PORT)) as server:
            workers = threading.Thread(
                target=_hold, args=(server, len(self.hosts) - 1), daemon=True
            )
            workers.start()
            _run(command, "ExecuteUserScriptError")
            # One that comes too late would wait for a master that is gone.
            workers.join(timeout=60)

    def _enabled(self, name: str) -> bool:
        return bool(self.framework.get(f"sagemaker_{name}_enabled")) and (
            self.resources.get("current_group_name", "homogeneousCluster")
            in self._distribution_groups()
        )

    def _distribution_groups(self) -> list[str]:
        named = self.framework.get("sagemaker_distribution_instance_groups")
        groups = [g["instance_group_name"] for g in self.resources.get("instance_groups", [])]
        return named or groups or ["homogeneousCluster"]

    def _processes(self) -> int:
        wanted = self.framework.get("sagemaker_mpi_num_of_processes_per_host")
        return int(wanted or 0) or _count_gpus() or 1

    def _master(self) -> str:
        return self.hosts[0]

    def _channel(self, name: str) -> str:
        return str(BASE / "input" / "data" / name)


def _run(command: Sequence[str], kind: str) -> None:
    """Run a command in the code folder; its last error lines go into what is raised."""
    process = subprocess.Popen(command, cwd=CODE, stderr=subprocess.PIPE)
    error: list[str] = []
    assert process.stderr is not None  # noqa: S101 - we asked for the pipe
    for raw in process.stderr:
        line = raw.decode("utf-8", "replace")
        sys.stdout.write(line)
        sys.stdout.flush()
        if line.startswith("Traceback (most recent call last)"):
            error = []
        error = [*error, line][-40:]
    code = process.wait()
    if code:
        code = 128 - code if code < 0 else code
        text = "".join(error).strip().replace('"', "'")
        raise ScriptError(kind, code, text, command)


def _fetch(source: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        return
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary, "sourcedir.tar.gz")
        if source.startswith("s3://"):
            bucket, _, key = source[5:].partition("/")
            import boto3  # the only import that takes time, and only where it is needed

            try:
                boto3.client("s3").download_file(bucket, key, str(archive))
            except Exception as error:
                raise ClientError(f"Cannot download the source {source}: {error}") from error
        elif Path(source).is_dir():
            shutil.copytree(source, folder, dirs_exist_ok=True)
            return
        else:
            archive = Path(source)
        try:
            with tarfile.open(archive, "r:gz") as tar:
                tar.extractall(folder, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise ClientError(
                f"The source {source} is no tar.gz that can be used: {error}"
            ) from error


def _checked(program: str | None) -> str:
    if not program:
        raise ClientError(
            "The training entry point name is empty. Set the 'sagemaker_program' hyperparameter to "
            "the name of the script to run, relative to your source directory."
        )
    if program.startswith(("/", "-")) or ".." in Path(program).parts:
        raise ClientError(
            f"The training entry point {program!r} must be a path inside your source directory."
        )
    return program


def _decode(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _encode(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _count_gpus() -> int:
    if not shutil.which("nvidia-smi"):
        return 0
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, check=False)
    return listed.stdout.decode().count("GPU ")


_HELD: list[socket.socket] = []


def _hold(server: socket.socket, count: int) -> None:
    """Take the workers' connections and keep them open; they close when this process ends."""
    while len(_HELD) < count:
        _HELD.append(server.accept()[0])


def _wait_for_master(master: str) -> None:
    deadline = time.monotonic() + 3600
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((master, _MPI_DONE_PORT), timeout=5) as connection:
                connection.settimeout(None)
                connection.recv(1)
                return
        except OSError:
            time.sleep(0.2)
    raise ClientError(f"The MPI master {master} did not start within an hour.")


def _fail(message: str) -> None:
    print(f"Reporting training FAILURE\n{message}", flush=True)
    failure = BASE / "output" / "failure"
    if not failure.exists():
        failure.write_text(message)


if __name__ == "__main__":
    main()
