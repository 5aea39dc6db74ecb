"""Images of this machine: built, tagged by content and pushed with a password that never shows in a command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.backends.base import Push
from training.container import push
from training.errors import UsageError

# Stands in for docker: writes down each command, and what came by stdin.
FAKE = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
  login) cat > {log}.stdin ;;
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
        monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
        return log

    return install


BUILT = Push(
    image_uri="registry.example/train:abc", local=None, dockerfile=Path("Dockerfile"), context=Path("src"),
    build_args={"A": "1"},
)  # fmt: skip


def login() -> tuple[str, str, str]:
    return "registry.example", "AWS", "the-password"


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
