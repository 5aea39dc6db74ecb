"""ministack for the data services and the SageMaker plane, both on loopback, once a run."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.aws.services import MINISTACK_PYTHON

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
REGION = "us-east-1"
BUCKET = "ml-artifacts"
SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
        }
    ],
}
ROLE_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
        },
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "ecr:*"],
            "Resource": "*",
        },
    ],
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{url} ended with {process.returncode}"
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"{url} did not answer")


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Lab:
    """The two servers, clients of them, and what the tests ask again and again."""

    def __init__(self, data: str, folder: Path, **environment: str) -> None:
        self.data = data
        self.folder = folder
        self.environment = {
            "AWS_ACCESS_KEY_ID": "lab",
            "AWS_SECRET_ACCESS_KEY": "lab-secret",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": data,
            "AWS_EC2_METADATA_DISABLED": "true",
            **environment,
        }
        self._clients: dict[str, Any] = {}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = self.start_plane()

    def start_plane(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "lab.aws.sagemaker", "--port", str(self.port)),
                *("--home", str(self.folder), "--stop-grace", "1.5", "--spot-grace", "1.5"),
            ],
            cwd=ROOT,
            env={**os.environ, **self.environment},
        )
        until_healthy(f"{self.url}/_lab/health", process)
        return process

    def client(self, name: str) -> Any:
        import boto3
        from botocore.config import Config

        if name not in self._clients:
            self._clients[name] = boto3.client(
                name,
                endpoint_url=self.url if name == "sagemaker" else self.data,
                aws_access_key_id="lab",
                aws_secret_access_key="lab-secret",
                region_name=REGION,
                config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
            )
        return self._clients[name]

    @property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    @property
    def s3(self) -> Any:
        return self.client("s3")

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> int:
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.url + path, json.dumps(body or {}).encode(), method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def put_source(self, key: str, files: Mapping[str, str | bytes]) -> str:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, text in files.items():
                data = text if isinstance(text, bytes) else text.encode()
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=buffer.getvalue())
        return f"s3://{BUCKET}/{key}"

    def submit(self, name: str, script: str, **changes: Any) -> None:
        """Create a job that runs the script as train.py; changes replace parts of the request."""
        files = changes.pop("files", {})
        source = self.put_source(f"code/{name}.tar.gz", {"train.py": script, **files})
        parameters = {
            "sagemaker_program": json.dumps("train.py"),
            "sagemaker_submit_directory": json.dumps(source),
            **changes.pop("HyperParameters", {}),
        }
        self.sagemaker.create_training_job(
            **request(name, HyperParameters=parameters) | dict(changes)
        )

    def wait(self, name: str, *, for_: str | None = None, seconds: float = 90) -> dict[str, Any]:
        """Wait for the job to end, or to reach a secondary status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.sagemaker.describe_training_job(TrainingJobName=name)
            if for_ and found["SecondaryStatus"] == for_:
                return found
            if found["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"):
                assert not for_, f"{name} ended as {found['SecondaryStatus']} before {for_}"
                return found
            time.sleep(0.03)
        pytest.fail(f"{name} is still {found['SecondaryStatus']}")

    def wait_for_line(self, name: str, text: str) -> None:
        deadline = time.monotonic() + 60
        while not any(text in line for line in self.logs(name)):
            assert time.monotonic() < deadline, self.logs(name)
            time.sleep(0.05)

    def logs(self, name: str) -> list[str]:
        logs, group = self.client("logs"), "/aws/sagemaker/TrainingJobs"
        try:
            streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [
            event["message"]
            for stream in streams["logStreams"]
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]

    def archive(self, uri: str) -> dict[str, str]:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {
                member.name: (tar.extractfile(member) or io.BytesIO()).read().decode()
                for member in tar
                if member.isfile()
            }


def request(name: str, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": SKLEARN, "TrainingInputMode": "File"},
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/training/ml-train",
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 5,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    return base | changes


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The data services, with policies enforced."""
    if not MINISTACK_PYTHON.exists():
        pytest.fail("ministack is not installed. Run: make setup")
    port, folder = free_port(), tmp_path_factory.mktemp("ministack")
    process = subprocess.Popen(
        [MINISTACK_PYTHON, ROOT / "lab" / "aws" / "ministack_server.py", "--port", str(port)],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": REGION,
            "STATE_DIR": str(folder),
            "AWS_ACCESS_KEY_ID": "lab",
            "AWS_SECRET_ACCESS_KEY": "lab-secret",
            "AUTH": "true",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "DOCKER_HOST": os.devnull,
        },
    )
    until_healthy(f"http://127.0.0.1:{port}/_lab/health", process)
    yield f"http://127.0.0.1:{port}"
    ended(process)


@pytest.fixture(scope="session")
def lab(ministack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(ministack, tmp_path_factory.mktemp("sagemaker"))
    iam = lab.client("iam")
    iam.create_role(
        RoleName="ml-train", Path="/training/", AssumeRolePolicyDocument=json.dumps(TRUST)
    )
    iam.put_role_policy(
        RoleName="ml-train", PolicyName="training", PolicyDocument=json.dumps(ROLE_POLICY)
    )
    lab.s3.create_bucket(Bucket=BUCKET)
    yield lab
    ended(lab.process)


@pytest.fixture
def job_name(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Names no two tests share."""

    def name() -> str:
        return f"job-{time.time_ns()}"

    return name
