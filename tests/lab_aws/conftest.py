"""The AWS half of the lab, really started, once a test run."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.aws.services import REGION, ROOT_CREDENTIALS, parts
from lab.part import Part


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Cloud:
    """The started parts, and clients for them."""

    home: Path
    parts: dict[str, Part]
    processes: dict[str, subprocess.Popen[bytes]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.parts['aws-front'].port}"

    def client(
        self, service: str, key: str = "lab", secret: str | None = None, **settings: Any
    ) -> Any:
        import boto3

        session = boto3.session.Session(
            aws_access_key_id=key, aws_secret_access_key=secret or "lab-secret", **settings
        )
        return session.client(service, endpoint_url=self.url, region_name=REGION)

    def as_role(self, service: str, role_arn: str) -> Any:
        given = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")[
            "Credentials"
        ]
        return self.client(
            service,
            given["AccessKeyId"],
            given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )

    def start(self, name: str) -> None:
        part = self.parts[name]
        log = (self.home / f"{name}.log").open("ab")
        environment = {**os.environ, **part.environment}
        self.processes[name] = subprocess.Popen(part.argv, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{part.port}{part.health_path}", timeout=5
                ):
                    return
            except OSError:
                if time.monotonic() > deadline or self.processes[name].poll() is not None:
                    raise AssertionError((self.home / f"{name}.log").read_text()) from None
                time.sleep(0.05)

    def stop(self, name: str, kill: bool = False) -> None:
        process = self.processes.pop(name)
        process.kill() if kill else process.terminate()
        process.wait(20)


def start_cloud(home: Path, names: tuple[str, ...] = ("ministack", "ec2", "aws-front")) -> Cloud:
    described: Callable[..., list[Part]] = parts
    cloud = Cloud(home, {part.name: part for part in described(home, free_port)}, {})
    for name in names:
        cloud.start(name)
    return cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = start_cloud(tmp_path_factory.mktemp("aws"))
    environment = {**ROOT_CREDENTIALS, "AWS_ENDPOINT_URL": cloud.url, "AWS_DEFAULT_REGION": REGION}
    kept = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    yield cloud
    for name, value in kept.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    for name in list(cloud.processes):
        cloud.stop(name)
