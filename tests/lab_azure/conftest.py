"""A whole Azure plane on a free port of this machine for each test, or one for a module."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("AZUREML_RUN_POLLING_INTERVAL_MIN", "1")  # read when azure.ai.ml is imported

from tests.lab_azure.azure_server import Jobs, Server, deploy


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An empty Azure."""
    running = Server(tmp_path / "azure")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A deployed workspace that the tests of a module share; each uses names of its own."""
    running = Server(tmp_path_factory.mktemp("shared") / "azure")
    deploy(running)
    yield running
    running.stop()


@pytest.fixture
def jobs(shared: Server) -> Jobs:
    return Jobs(shared)
