"""The stack's own program deploys its Azure half to the local Azure, by the embedded engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.home import SUBSCRIPTION_ID, TENANT_ID
from tests.lab_azure.azure_server import Server

ROOT = Path(__file__).resolve().parents[2]


class Stack:
    """Runs the engine on the project, for Azure alone."""

    def __init__(self, server: Server, folder: Path, settings: dict[str, Any]) -> None:
        self.server, self.folder, self.settings = server, folder, settings

    def run(self, operation: str) -> list[dict[str, Any]]:
        """Run one operation; return its steps other than ``same``."""
        events = self.folder / "events.json"
        events.unlink(missing_ok=True)
        arguments = [
            sys.executable, "-m", "lab.engine", operation, "--program", str(ROOT), "--stack", "lab",
            "--state", str(self.folder / "state.json"), "--events", str(events),
            "--provider", "azure-native=lab.providers.azure_native:AzureNativeProvider",
            "--config", 'trainstack:clouds=["azure"]',
            "--config", f"trainstack:azure={json.dumps(self.settings)}",
        ]  # fmt: skip
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            env={**os.environ, "ARM_ENDPOINT": self.server.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        steps = []
        for line in events.read_text().splitlines():
            outputs = json.loads(line).get("resOutputsEvent")
            if outputs and outputs["metadata"]["op"] not in ("same", "refresh"):
                steps.append(outputs["metadata"])
        return steps


def settings() -> dict[str, Any]:
    """Every option of the stack that the lab can deploy."""
    return {
        "subscription_id": SUBSCRIPTION_ID,
        "tenant_id": TENANT_ID,
        "location": "westeurope",
        "compute_clusters": [
            {"name": "cpu", "size": "Standard_DS3_v2", "max_instances": 2},
            {"name": "spot", "size": "Standard_DS3_v2", "tier": "low_priority", "max_instances": 2},
        ],
        "environments": [{"name": "sklearn", "image": "python:3.11"}],
        "budget": {"monthly_usd": 100},
    }


@pytest.fixture
def stack(server: Server, tmp_path: Path) -> Stack:
    return Stack(server, tmp_path, settings())


def test_the_stack_deploys_changes_and_goes(stack: Stack) -> None:
    created = stack.run("up")
    assert {step["op"] for step in created} == {"create"}
    assert stack.run("up") == [], "a second up changes nothing"

    stack.settings["compute_clusters"][0]["max_instances"] = 3
    assert [(step["op"], step["urn"].split("::")[-1]) for step in stack.run("up")] == [
        ("update", "cpu-cluster-compute")
    ]

    stack.settings["compute_clusters"][0]["size"] = "Standard_DS4_v2"
    replaced = [step for step in stack.run("up") if step["op"] == "replace"]
    assert [step["urn"].split("::")[-1] for step in replaced] == ["cpu-cluster-compute"]

    stack.run("destroy")
    assert stack.server.plane.store.below("resource", "") == []
    assert stack.server.plane.store.below("group", "") == []
