"""Previews in the exact form that `pulumi preview --json` prints, made by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.outputs import StackOutputs
from review.preview import Preview, parse_preview

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def _nobody_is_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A review asks for quotas where the environment holds credentials; a developer's own must not be used."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
    ):
        monkeypatch.delenv(name, raising=False)


class Digest:
    """Builds one digest, a step at a time."""

    def __init__(self, stack: str = "dev", project: str = "trainstack") -> None:
        self.stack, self.project = stack, project
        self.steps: list[dict[str, Any]] = []
        self.diagnostics: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()

    def urn(self, type_: str, name: str) -> str:
        return f"urn:pulumi:{self.stack}::{self.project}::{type_}::{name}"

    def step(
        self,
        op: str,
        type_: str,
        name: str,
        old: Mapping[str, Any] | None = None,
        new: Mapping[str, Any] | None = None,
        *,
        diff: Mapping[str, str] | None = None,
        replace: tuple[str, ...] = (),
        old_state: Mapping[str, Any] | None = None,
        new_state: Mapping[str, Any] | None = None,
        old_outputs: Mapping[str, Any] | None = None,
        is_input: bool = False,
    ) -> Digest:
        urn = self.urn(type_, name)
        last = type_.rpartition("$")[2]
        item: dict[str, Any] = {"op": op, "urn": urn}
        if old is not None:
            outputs = dict(old) if old_outputs is None else dict(old_outputs)
            item["oldState"] = {
                "urn": urn,
                "custom": True,
                "id": f"{name}-id",
                "type": last,
                "inputs": dict(old),
                "outputs": outputs,
                **(old_state or {}),
            }
        if new is not None:
            item["newState"] = {
                "urn": urn,
                "custom": True,
                "type": last,
                "inputs": dict(new),
                **(new_state or {}),
            }
        if diff is not None:
            item["diffReasons"] = sorted({path.split(".")[0].split("[")[0] for path in diff})
        if replace:
            item["replaceReasons"] = list(replace)
        item["detailedDiff"] = (
            {path: {"kind": kind, "inputDiff": is_input} for path, kind in diff.items()}
            if diff
            else None
        )
        self.steps.append(item)
        self.counts[op] += 1
        return self

    def document(self, *, same: int = 0) -> dict[str, Any]:
        counts = dict(self.counts)
        if same:
            counts["same"] = counts.get("same", 0) + same
        return {
            "steps": self.steps,
            "diagnostics": self.diagnostics,
            "duration": 2_000_000_000,
            "changeSummary": counts,
        }

    def text(self, *, same: int = 0) -> str:
        return json.dumps(self.document(same=same), indent=4)

    def preview(self, *, same: int = 0) -> Preview:
        return parse_preview(self.text(same=same), source="preview.json")


@pytest.fixture
def digest() -> Digest:
    return Digest()


@pytest.fixture
def make_digest() -> Callable[..., Digest]:
    return Digest


BUCKET = "trainstack:aws:ArtifactBucket$aws:s3/bucket:Bucket"
ROLE_POLICY = "trainstack:aws:ExecutionRole$aws:iam/rolePolicy:RolePolicy"
CLUSTER = "trainstack:azure:ComputeCluster$azure-native:machinelearningservices:Compute"
ENVIRONMENT = "trainstack:azure:Environment$azure-native:machinelearningservices:EnvironmentVersion"


def cluster_inputs(
    size: str = "Standard_DS3_v2", most: int = 4, *, priority: str = "Dedicated", least: int = 0
) -> dict[str, Any]:
    return {
        "computeName": "cpu",
        "location": "eastus",
        "properties": {
            "computeType": "AmlCompute",
            "disableLocalAuth": True,
            "properties": {
                "vmSize": size,
                "vmPriority": priority,
                "scaleSettings": {
                    "minNodeCount": least,
                    "maxNodeCount": most,
                    "nodeIdleTimeBeforeScaleDown": "PT120S",
                },
            },
        },
        "resourceGroupName": "trainstack-dev",
        "workspaceName": "trainstack-dev",
    }


def role_policy(*more: str, bucket: str = "trainstack-dev-artifacts-1f0c3a") -> dict[str, Any]:
    bucket = f"arn:aws:s3:::{bucket}"
    statements = [
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": bucket},
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", *more],
            "Resource": f"{bucket}/*",
        },
        {"Effect": "Allow", "Action": "logs:PutLogEvents", "Resource": "*"},
    ]
    return {
        "name": "training",
        "role": "trainstack-dev-training",
        "policy": json.dumps({"Version": "2012-10-17", "Statement": statements}),
    }


OUTPUTS = StackOutputs(
    stack_name="dev",
    environment="dev",
    owner="ml@example.com",
    clouds=("aws", "azure"),
    job_price_cap_usd=25.0,
    azure_location="eastus",
    azure_compute_clusters={
        "cpu": {
            "size": "Standard_DS3_v2",
            "tier": "dedicated",
            "min_instances": 0,
            "max_instances": 4,
            "idle_time_before_scale_down_seconds": 120,
        }
    },
    azure_environments={
        "churn": {"version": "3", "id": "churn-3"},
        "sklearn": {"version": "1", "id": "sklearn-1"},
    },
    aws_region="us-east-1",
    aws_bucket_name="trainstack-dev-artifacts-1f0c3a",
    aws_role_arn="arn:aws:iam::123456789012:role/trainstack-dev-training",
    aws_role_arns={"training": "arn:aws:iam::123456789012:role/trainstack-dev-training"},
    aws_allowed_instance_types=("ml.m5.large", "ml.m5.xlarge"),
    aws_max_runtime_seconds=86_400,
)
