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
    """Every option of the stack's Azure half, in a network of its own."""
    person = {"object_id": "aaaaaaaa-0000-0000-0000-000000000001", "type": "group"}
    group = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/kubernetes"
    managed = f"{group}/providers/Microsoft.ContainerService"
    return {
        "subscription_id": SUBSCRIPTION_ID,
        "tenant_id": TENANT_ID,
        "location": "westeurope",
        "workspace": {"friendly_name": "Training", "image_build_compute": "cpu"},
        "managed_network": {"isolation_mode": "disabled"},
        "container_registry": {"sku": "Premium"},
        "virtual_network": {
            "address_prefix": "10.0.0.0/16",
            "subnets": [
                {"name": "training", "address_prefix": "10.0.0.0/24"},
                {"name": "endpoints", "address_prefix": "10.0.1.0/24"},
            ],
            "nat_gateway": True,
        },
        "private_endpoints": {"subnet": "endpoints", "private_dns_zones": True},
        "compute_clusters": [
            {"name": "cpu", "size": "Standard_DS3_v2", "max_instances": 2, "subnet": "training"},
            {
                "name": "spot",
                "size": "Standard_DS3_v2",
                "tier": "low_priority",
                "max_instances": 2,
                "subnet": "training",
            },
        ],
        "compute_instances": [
            {
                "name": "desk",
                "size": "Standard_DS3_v2",
                "assigned_user_object_id": person["object_id"],
                "schedules": [{"action": "stop", "cron": "0 18 * * *"}],
                "subnet": "training",
            }
        ],
        "kubernetes_computes": [
            {
                "name": "k8s",
                "resource_id": f"{managed}/managedClusters/aks",
                "namespace": "training",
            }
        ],
        "environments": [{"name": "sklearn", "image": "python:3.11"}],
        "datastores": [{"name": "raw", "container_name": "raw"}],
        "data_assets": [
            {"name": "digits", "version": "1", "path": "azureml://datastores/raw/paths/digits/"}
        ],
        "roles": {"data_scientist": [person], "reader": [person]},
        "budget": {"monthly_usd": 100},
        "diagnostic_settings": True,
    }


@pytest.fixture
def stack(server: Server, tmp_path: Path) -> Stack:
    return Stack(server, tmp_path, settings())


def test_the_stack_deploys_changes_and_goes(stack: Stack) -> None:
    created = stack.run("up")
    assert {step["op"] for step in created} == {"create"}
    assert stack.run("up") == [], "a second up changes nothing"

    stack.settings["compute_clusters"][1]["max_instances"] = 3
    stack.settings["compute_clusters"][0]["size"] = "Standard_DS4_v2"
    changed = {(step["op"], step["urn"].split("::")[-1]) for step in stack.run("up")}
    assert ("update", "spot-cluster-compute") in changed
    assert {name for op, name in changed if op == "replace"} == {"cpu-cluster-compute"}
    assert {name for op, name in changed if op == "update"} == {"spot-cluster-compute"}

    stack.run("destroy")
    assert stack.server.plane.store.below("resource", "") == []
    assert stack.server.plane.store.below("group", "") == []
