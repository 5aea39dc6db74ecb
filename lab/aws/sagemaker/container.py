"""The contract of SageMaker's training container: what is below /opt/ml, and how a process starts there.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.aws.sagemaker import registry
from lab.aws.sagemaker.images import Image
from lab.aws.sagemaker.settings import Settings, data_endpoint
from lab.executor import Instance, Running

ML = "/opt/ml"
_TOOLS = "/opt/sagemaker"
_TOOLKIT = Path(__file__).with_name("toolkit.py")
_ALGORITHMS = Path(__file__).resolve().parents[2] / "algorithms"
_FOLDERS = ("input/config", "input/data", "model", "output/data", "output/intermediate", "code")
_MASTER_PORT = 7777


@dataclass(frozen=True)
class Host:
    """One instance of a job. Its folder has ``ml``, and an image's ``rootfs`` where it has one."""

    name: str
    instance_type: str
    group: str
    folder: Path

    @property
    def ml(self) -> Path:
        """What the instance sees as /opt/ml."""
        return self.folder / "ml"

    @property
    def rootfs(self) -> Path:
        """Where the job's own image is extracted."""
        return self.folder / "rootfs"

    @property
    def channels(self) -> Path:
        """What the instance sees as /opt/ml/input/data."""
        return self.ml / "input" / "data"


class Container:
    """How one job's instances look. ``slot`` tells jobs that run at once apart, on one loopback."""

    def __init__(self, request: dict[str, Any], arn: str, settings: Settings, slot: int) -> None:
        self._request = request
        self._arn = arn
        self._settings = settings
        self._slot = slot
        config = request.get("CheckpointConfig") or {}
        self._checkpoint_path: str = config.get("LocalPath") or f"{ML}/checkpoints"

    @property
    def count(self) -> int:
        """How many instances the job has."""
        return len(self._plan())

    def hosts(self, folder: Path) -> list[Host]:
        """Return the instances, with their folders made."""
        hosts = [Host(name, kind, group, folder / name) for name, kind, group in self._plan()]
        for host in hosts:
            for part in _FOLDERS:
                (host.ml / part).mkdir(parents=True)
            self.checkpoints(host).mkdir(parents=True)
        return hosts

    def checkpoints(self, host: Host) -> Path:
        """Return the folder that is kept in step with CheckpointConfig's S3Uri."""
        if self._checkpoint_path.startswith(f"{ML}/"):
            return host.ml / self._checkpoint_path.removeprefix(f"{ML}/")
        return host.folder / "checkpoints"

    def write_config(self, host: Host, hosts: Sequence[Host], channels: dict[str, Any]) -> None:
        """Write the three files of /opt/ml/input/config."""
        groups: dict[str, dict[str, Any]] = {}
        for each in hosts:
            group = groups.setdefault(
                each.group,
                {
                    "instance_group_name": each.group,
                    "instance_type": each.instance_type,
                    "hosts": [],
                },
            )
            group["hosts"].append(each.name)
        resources = {
            "current_host": host.name,
            "current_instance_type": host.instance_type,
            "current_group_name": host.group,
            "hosts": [each.name for each in hosts],
            "instance_groups": list(groups.values()),
            # Loopback is what the lab's instances talk over.
            "network_interface_name": "lo",
        }
        for name, content in (
            ("hyperparameters", self._request.get("HyperParameters") or {}),
            ("inputdataconfig", channels),
            ("resourceconfig", resources),
        ):
            file = host.ml / "input" / "config" / f"{name}.json"
            file.write_text(json.dumps(content), encoding="utf-8")

    def instance(
        self,
        host: Host,
        hosts: Sequence[Host],
        image: Image,
        token: str,
        peer: Running | None,
        reference: str | None,
    ) -> Instance:
        """Return what the executor runs.

        An isolated instance shares the network of ``peer``; ``reference`` is an own image's name in
        the machine's container engine, where it has one.
        """
        own = image.kind == "own"
        isolated = bool(self._request.get("EnableNetworkIsolation"))
        mounts = {ML: host.ml}
        if not self._checkpoint_path.startswith(f"{ML}/"):
            mounts[self._checkpoint_path] = self.checkpoints(host)
        env = registry.environment(host.rootfs) | self._environment(image)
        if not isolated:
            env |= self._credentials(token)
        argv = self._command(host, image)
        entry = self._request["AlgorithmSpecification"].get("ContainerEntrypoint")
        if reference and entry:
            argv = argv[1:]  # the engine takes it apart from its arguments
        return Instance(
            argv=argv,
            env=env | (self._request.get("Environment") or {}),
            cwd=registry.working_folder(host.rootfs) or f"{ML}/code",
            mounts=mounts,
            read_only_mounts={} if own else {_TOOLS: self._tools(host)},
            hostname=host.name,
            hosts={each.name: self._address(number) for number, each in enumerate(hosts, start=1)},
            network=not isolated,
            network_of=peer if isolated else None,
            rootfs=host.rootfs if own and not reference else None,
            image=reference,
            entry_point=entry[0] if reference and entry else None,
            scratch=host.folder / "scratch",
        )

    @staticmethod
    def _tools(host: Host) -> Path:
        """Copy what stands in for AWS's images: it must not lead to the rest of the project."""
        folder = host.folder / "tools"
        shutil.copytree(
            _ALGORITHMS, folder / "algorithms", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(_TOOLKIT, folder)
        return folder

    def _plan(self) -> list[tuple[str, str, str]]:
        """Return (host name, instance type, group) of each instance."""
        resources = self._request["ResourceConfig"]
        groups: list[dict[str, Any]] = resources.get("InstanceGroups") or [
            {**resources, "InstanceGroupName": "homogeneousCluster"}
        ]
        kinds = [
            (group["InstanceType"], group["InstanceGroupName"])
            for group in groups
            for _ in range(group["InstanceCount"])
        ]
        return [(f"algo-{n}", kind, group) for n, (kind, group) in enumerate(kinds, start=1)]

    def _address(self, number: int) -> str:
        return f"127.{1 + self._slot // 256}.{self._slot % 256}.{number}"

    def _command(self, host: Host, image: Image) -> list[str]:
        algorithm = self._request["AlgorithmSpecification"]
        arguments = algorithm.get("ContainerArguments") or []
        if entry := algorithm.get("ContainerEntrypoint"):
            return [*entry, *arguments]
        if image.kind == "own":
            return registry.command(host.rootfs, arguments or ["train"])
        if image.algorithm:
            return ["python", "-m", f"algorithms.{image.algorithm}"]
        return ["python", f"{_TOOLS}/toolkit.py", *arguments]

    def _environment(self, image: Image) -> dict[str, str]:
        region = self._settings.region
        env = {
            "TRAINING_JOB_NAME": self._request["TrainingJobName"],
            "TRAINING_JOB_ARN": self._arn,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "SAGEMAKER_BASE_DIR": ML,
            "AWS_EC2_METADATA_DISABLED": "true",
            "TRAINSTACK_LAB_MASTER_PORT": str(_MASTER_PORT + self._slot),
        }
        if image.algorithm:
            env["PYTHONPATH"] = _TOOLS
        return env

    def _credentials(self, token: str) -> dict[str, str]:
        """The role's credentials, fetched and renewed by the SDKs; an isolated container has none.

        https://docs.aws.amazon.com/sagemaker/latest/dg/mkt-algo-model-internet-free.html
        """
        env = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self._settings.endpoint}/_lab/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }
        endpoint = data_endpoint()
        return env | {"AWS_ENDPOINT_URL": endpoint} if endpoint else env
