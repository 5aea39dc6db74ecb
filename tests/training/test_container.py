"""Images of this machine: built, tagged by content and pushed with a password that never shows in a command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from infra.outputs import StackOutputs
from training.backends.base import JobRequest, Push
from training.backends.sagemaker import SageMaker
from training.container import Login, push
from training.errors import UsageError
from training.handle import JobHandle

# Stands in for docker: writes down each command, and what came by stdin.
FAKE = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
  login) /bin/cat > {log}.stdin ;;
  build) {build} ;;
esac
"""
Install = Callable[..., Path]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(name: str = "docker", build: str = "true") -> Path:
        log = tmp_path / "log"
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(FAKE.format(log=log, build=build))
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tool.parent))  # not the machine's own docker
        return log

    return install


BUILT = Push(
    image_uri="registry.example/train:abc", local=None, dockerfile=Path("Dockerfile"), context=Path("src"),
    build_args={"A": "1"},
)  # fmt: skip


def login() -> Login:
    return Login("https://registry.example", "AWS", "the-password")


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_an_image_is_built_and_pushed_and_its_password_comes_by_stdin(
    docker: Install, name: str
) -> None:
    log = docker(name)
    push(BUILT, login)
    assert log.read_text().splitlines() == [
        "build -t registry.example/train:abc -f Dockerfile --build-arg=A=1 src",
        "login --username AWS --password-stdin registry.example",
        "push registry.example/train:abc",
    ]
    assert (log.parent / "log.stdin").read_text() == "the-password"


def test_a_local_image_is_tagged_and_pushed(docker: Install) -> None:
    log = docker()
    push(Push(image_uri="registry.example/train:abc", local="mine:1", dockerfile=None), login)
    assert log.read_text().splitlines()[0] == "tag mine:1 registry.example/train:abc"


@pytest.mark.parametrize(("name", "plain"), [("docker", ""), ("podman", "--tls-verify=false ")])
def test_an_image_goes_to_the_registry_that_the_sign_in_names(
    docker: Install, name: str, plain: str
) -> None:
    log = docker(name)
    push(BUILT, lambda: Login("http://127.0.0.1:5000", "AWS", "the-password"))
    assert log.read_text().splitlines()[1:] == [
        "tag registry.example/train:abc 127.0.0.1:5000/train:abc",
        f"login {plain}--username AWS --password-stdin 127.0.0.1:5000",
        f"push {plain}127.0.0.1:5000/train:abc",
    ]


def test_a_build_that_fails_says_the_tools_last_words_and_pushes_nothing(docker: Install) -> None:
    log = docker(build="echo 'step 2/3: no such file train.py' >&2; exit 1")
    with pytest.raises(UsageError, match=r"no such file train\.py"):
        push(BUILT, login)
    assert len(log.read_text().splitlines()) == 1


def test_without_docker_or_podman_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"give image\.uri"):
        push(BUILT, login)


def test_an_image_that_ecr_has_is_neither_built_nor_pushed_again(
    docker: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = docker()
    session = boto3.Session("id", "secret", region_name="us-east-1")
    ecr = session.client("ecr")
    monkeypatch.setattr(session, "client", lambda service, **_: {"ecr": ecr}[service])
    image_uri = "123456789012.dkr.ecr.us-east-1.amazonaws.com/ml/train:abc"
    request = JobRequest(
        handle=JobHandle("aws", "us-east-1", "job"), key="key", operation="CreateTrainingJob", body={},
        push=Push(image_uri=image_uri, local="mine:1", dockerfile=None),
    )  # fmt: skip
    asked = {
        "registryId": "123456789012", "repositoryName": "ml/train", "imageIds": [{"imageTag": "abc"}],
    }  # fmt: skip
    backend = SageMaker(
        StackOutputs(
            stack_name="dev",
            environment="dev",
            owner="ml@example.com",
            clouds=("aws",),
            aws_region="us-east-1",
        ),
        session,
    )
    monkeypatch.setattr("training.backends.sagemaker._create", lambda *_: None)
    with Stubber(ecr) as calls:
        calls.add_response("batch_get_image", {"images": [{"repositoryName": "ml/train"}]}, asked)
        backend.submit(request)
    assert not log.exists()
