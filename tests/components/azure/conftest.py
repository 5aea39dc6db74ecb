"""Azure's components under the SDK's mocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi_azure_native as azure_native
import pytest

from tests.components.azure.recorder import Recorder, run_program, start_recorder


@pytest.fixture
def cloud() -> Recorder:
    """A recorder in place of the engine."""
    return start_recorder()


@pytest.fixture
def build(cloud: Recorder) -> Callable[[Callable[[azure_native.Provider], Any]], Any]:
    return run_program
