"""Azure's components against the recorder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_azure_native as azure_native
import pytest

from tests import recorder

Make = Callable[[azure_native.Provider], Any]


@pytest.fixture
def cloud() -> recorder.Recorder:
    """A recorder in place of the engine."""
    return recorder.start()


@pytest.fixture
def build(cloud: recorder.Recorder) -> Callable[[Make], Any]:
    """Run what makes resources, to its end, with an explicit provider; return its result."""

    def run(make: Make) -> Any:
        results: list[Any] = []

        @pulumi.runtime.test
        def program() -> pulumi.Output[Any]:
            made = make(_provider())
            value = made if isinstance(made, dict) else None
            return pulumi.Output.from_input(value).apply(results.append)

        program()
        return results[0]

    return run


@pytest.fixture(scope="session")
def record() -> Callable[[Make], recorder.Recorder]:
    """Run what makes resources against a new recorder, as often as a property test likes."""

    def run(make: Make) -> recorder.Recorder:
        return recorder.run(lambda: make(_provider()))

    return run


def _provider() -> azure_native.Provider:
    return azure_native.Provider("azure", subscription_id="11111111-2222-3333-4444-555555555555")
