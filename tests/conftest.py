"""What every test may use: a running lab, one a worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running lab's folder. Its environment is not applied: use ``lab_environment`` for that."""
    from lab import daemon

    home = tmp_path_factory.mktemp("lab") / "lab"
    daemon.start(home)
    yield home
    daemon.stop(home)


@pytest.fixture(scope="session")
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(autouse=True)
def _one_event_loop(_event_loop: asyncio.AbstractEventLoop) -> None:
    """Pulumi's tests ask for the thread's loop; asyncio.run() in an earlier test leaves none."""
    asyncio.set_event_loop(_event_loop)


@pytest.fixture(autouse=True)
def _no_cloud_left_behind() -> Iterator[None]:
    """MLClient(cloud=...) names its cloud in the environment; the next test must not meet it."""
    yield
    os.environ.pop("AZUREML_CURRENT_CLOUD", None)


@pytest.fixture
def lab_environment(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Point this process's SDKs at the lab, as ``eval "$(trainstack lab env)"`` does."""
    from lab import home

    monkeypatch.setenv("TRAINSTACK_LAB_HOME", str(lab_home))
    variables = home.environment()
    for name, value in variables.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    return dict(os.environ)
