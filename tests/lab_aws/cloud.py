"""The AWS half of the lab, really started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.aws.services import REGION, parts
from lab.home import ACCOUNT_ID as ACCOUNT
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
        self,
        service: str,
        key: str = "lab",
        secret: str | None = None,
        config: Any = None,
        **settings: Any,
    ) -> Any:
        import boto3

        session = boto3.session.Session(
            aws_access_key_id=key, aws_secret_access_key=secret or "lab-secret", **settings
        )
        return session.client(service, endpoint_url=self.url, region_name=REGION, config=config)

    def role(self, name: str, *statements: dict[str, Any]) -> str:
        """Make a role that this account may take, with these allowances."""
        iam = self.client("iam")
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(ACCOUNT))["Role"]["Arn"]
        allowed = [{"Effect": "Allow", **statement} for statement in statements]
        document = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=document)
        return arn

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
        environment = {**os.environ, **part.environment}
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                part.argv, env=environment, stdout=log, stderr=log
            )
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

    def close(self) -> None:
        for name in list(self.processes):
            self.stop(name)


def trust(principal: str) -> str:
    kind = "AWS" if principal.isdigit() else "Service"
    statement = {"Effect": "Allow", "Principal": {kind: principal}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def start_cloud(
    home: Path, names: tuple[str, ...] = ("ministack", "ec2", "sagemaker", "aws-front")
) -> Cloud:
    described: Callable[..., list[Part]] = parts
    cloud = Cloud(home, {part.name: part for part in described(home, free_port)}, {})
    for name in names:
        cloud.start(name)
    return cloud
