"""Both clouds of the lab with what a job needs in them, behind proxies that count calls and lose answers on demand."""

# ruff: noqa: S310 - every URL is the lab's own, on loopback

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
import time
import urllib.parse
import urllib.request
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.outputs import StackOutputs
from tests.training.fault_proxy import FaultProxy, LabCloud


@pytest.fixture(scope="session")
def contract_lab(lab_home: Path) -> Iterator[dict[str, Any]]:
    """The lab seeded as a stack would leave it, and a proxy in front of each of its planes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's own, of libraries it pins, while it is imported
        import azure.ai.ml
    endpoints = json.loads((lab_home / "endpoints.json").read_text())
    # Names of its own: the verbs' tests may seed the same lab once more.
    name = f"contract{uuid.uuid4().hex[:6]}"
    seeded = {**_seed_aws(endpoints["aws"], name), **_seed_azure(endpoints["azure"], name)}
    outputs = StackOutputs(
        stack_name="contract", environment="lab", owner="ml@example.com", clouds=("aws", "azure"),
        tags={"team": "ml"}, **seeded,
    )  # fmt: skip
    aws, azure = FaultProxy(endpoints["aws"]), FaultProxy(endpoints["azure"])
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    tunnel = subprocess.Popen(
        [sys.executable, "-m", "lab.proxy", "--port", str(port), "--home", str(lab_home),
         "--aws-port", str(aws.port), "--azure-port", str(azure.port)]
    )  # fmt: skip
    _until(lambda: _listens(port))
    yield {
        "outputs": outputs,
        "clouds": {
            "aws": LabCloud("aws", outputs, aws, endpoints["aws"]),
            "azure": LabCloud("azure", outputs, azure, endpoints["azure"]),
        },
        "tunnel": f"http://127.0.0.1:{port}",
    }
    tunnel.terminate()
    tunnel.wait(10)
    aws.close()
    azure.close()


@pytest.fixture(params=["aws", "azure"])
def cloud(request: pytest.FixtureRequest) -> str:
    """The cloud's name: a test that uses it runs on both."""
    return request.param


@pytest.fixture
def lab_cloud(
    cloud: str,
    contract_lab: dict[str, Any],
    lab_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LabCloud]:
    """One cloud, each in turn, with this process's SDKs pointed at its proxy."""
    clouds = contract_lab["clouds"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", clouds["aws"].proxy.url)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, contract_lab["tunnel"])
    found = clouds[cloud]
    found.proxy.forget()
    yield found
    found.proxy.forget()


@pytest.fixture
def job_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a script and the job file beside it, and return the file."""

    def write(script: str, **fields: Any) -> Path:
        folder = tmp_path / "job"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(textwrap.dedent(script))
        job = {
            "name": "contract",
            "entry": "train.py",
            "framework": {"name": "sklearn", "version": "1.4"},
            "compute": {"aws": {"instance_type": "ml.m5.large"}, "azure": {"cluster": "cpu"}},
            "max_runtime": "5m",
            **fields,
        }
        (folder / "job.yaml").write_text(json.dumps(job))
        (folder / ".trainstackignore").write_text("job.yaml\n")
        return folder / "job.yaml"

    return write


def _until(is_true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _seed_aws(url: str, name: str) -> dict[str, Any]:
    import boto3

    from lab.home import ACCESS_KEY_ID, ACCOUNT_ID, SECRET_ACCESS_KEY

    session = boto3.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name="us-east-1")
    session.client("s3", endpoint_url=url).create_bucket(Bucket=name)
    iam = session.client("iam", endpoint_url=url)
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
            },
            {"Effect": "Allow", "Action": "logs:*", "Resource": "*"},
        ],
    }
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="training", PolicyDocument=json.dumps(policy))
    return {
        "aws_region": "us-east-1",
        "aws_account_id": ACCOUNT_ID,
        "aws_bucket_name": name,
        "aws_role_arn": role,
        "aws_role_arns": {"training": role},
    }


def _seed_azure(url: str, name: str) -> dict[str, Any]:
    from lab.home import CLIENT_ID, CLIENT_SECRET, SUBSCRIPTION_ID, TENANT_ID

    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "scope": "https://management.azure.com/.default",
    }
    with urllib.request.urlopen(
        f"{url}/{TENANT_ID}/oauth2/v2.0/token", urllib.parse.urlencode(form).encode(), timeout=10
    ) as answer:
        token = json.load(answer)["access_token"]

    def call(method: str, path: str, version: str, body: Any = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{url}{path}?api-version={version}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    def put(path: str, version: str, body: Any) -> dict[str, Any]:
        call("PUT", path, version, body)

        def is_done() -> bool:
            state = (call("GET", path, version).get("properties") or {}).get("provisioningState")
            return state in (None, "Succeeded")

        _until(is_done)
        return call("GET", path, version)

    where = "westeurope"
    group = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/{name}"
    provider = f"{group}/providers"
    put(group, "2024-03-01", {"location": where})
    storage = f"{provider}/Microsoft.Storage/storageAccounts/{name}"
    put(storage, "2024-01-01", {
        "location": where, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2",
        "properties": {"allowSharedKeyAccess": False, "minimumTlsVersion": "TLS1_2"},
    })  # fmt: skip
    vault = f"{provider}/Microsoft.KeyVault/vaults/{name}"
    put(vault, "2024-11-01", {
        "location": where, "properties": {"tenantId": TENANT_ID, "sku": {"family": "A", "name": "standard"},
                                          "enableRbacAuthorization": True, "accessPolicies": []},
    })  # fmt: skip
    insights = f"{provider}/Microsoft.Insights/components/{name}"
    logs = f"{provider}/Microsoft.OperationalInsights/workspaces/{name}"
    put(logs, "2023-09-01", {"location": where, "properties": {"sku": {"name": "PerGB2018"}}})
    put(insights, "2020-02-02", {
        "location": where, "kind": "web",
        "properties": {"Application_Type": "web", "WorkspaceResourceId": logs},
    })  # fmt: skip
    version = "2025-12-01"
    workspace = f"{provider}/Microsoft.MachineLearningServices/workspaces/{name}"
    put(workspace, version, {
        "location": where, "identity": {"type": "SystemAssigned"},
        "properties": {"storageAccount": storage, "keyVault": vault, "applicationInsights": insights,
                       "systemDatastoresAuthMode": "identity"},
    })  # fmt: skip
    tiers = {"cpu": "Dedicated", "cpu-spot": "LowPriority"}
    for cluster_name, priority in tiers.items():
        put(f"{workspace}/computes/{cluster_name}", version, {
            "location": where, "properties": {"computeType": "AmlCompute", "properties": {
                "vmSize": "Standard_DS3_v2", "vmPriority": priority, "osType": "Linux",
                "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT2M"},
            }},
        })  # fmt: skip
    put(f"{workspace}/environments/sklearn", version, {"properties": {}})
    environment = put(
        f"{workspace}/environments/sklearn/versions/1", version,
        {"properties": {"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"}},
    )  # fmt: skip
    cluster = {"size": "Standard_DS3_v2", "min_instances": 0, "max_instances": 2}
    return {
        "azure_subscription_id": SUBSCRIPTION_ID,
        "azure_tenant_id": TENANT_ID,
        "azure_location": where,
        "azure_resource_group_name": name,
        "azure_workspace_name": name,
        "azure_compute_clusters": {
            "cpu": {**cluster, "tier": "dedicated"},
            "cpu-spot": {**cluster, "tier": "low_priority"},
        },
        "azure_environments": {"sklearn": {"version": "1", "id": environment["id"]}},
    }
