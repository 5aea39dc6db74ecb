"""The whole stack with every option on, deployed to the lab as a user does: engine, providers and clouds."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from infra.outputs import StackOutputs
from lab import daemon
from lab import home as lab_home_module
from lab import stack as lab_stack

ROOT = Path(__file__).resolve().parents[2]
STACK = "everything"


class Project:
    """A copy of the program's folder whose stack file a test may edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "stacks").mkdir(parents=True)
        for name in ("Pulumi.yaml", "__main__.py"):
            shutil.copy(ROOT / name, folder / name)
        self.file = folder / "stacks" / f"Pulumi.{STACK}.yaml"
        shutil.copy(ROOT / "tests" / "infra" / "stacks" / self.file.name, self.file)

    def edit(self, cloud: str, **changes: Any) -> None:
        document = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        section = document["config"][f"trainstack:{cloud}"]
        for path, value in changes.items():
            *parents, last = path.split("__")
            node = section
            for part in parents:
                node = node[int(part) if part.isdigit() else part]
            node[last] = value
        self.file.write_text(yaml.safe_dump(document), encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The stack, deployed once to a lab of its own; each test leaves it deployed and without drift."""
    made = Project(tmp_path_factory.mktemp("project") / "trainstack")
    home = tmp_path_factory.mktemp("stack-lab") / "lab"
    daemon.start(home)
    patch = pytest.MonkeyPatch()
    patch.setenv("TRAINSTACK_LAB_HOME", str(home))
    for name in list(lab_home_module.environment()):
        patch.setenv(name, "")  # so that what use_lab() sets is undone at the end
    patch.chdir(made.folder)
    assert operate("up").ok
    yield made
    patch.undo()
    daemon.stop(home)


def operate(kind: str, **options: Any) -> Any:
    result = lab_stack.operate(kind, STACK, **options)
    assert result.ok or options.get("may_fail"), [item.message for item in result.errors]
    return result


def changes(result: Any) -> dict[str, int]:
    return {op: count for op, count in result.changes.items() if op != "same"}


def outputs() -> StackOutputs:
    return StackOutputs.from_file(lab_stack.outputs_path(STACK))


def client(service: str) -> Any:
    return boto3.client(service, region_name="us-east-1")


def arm(path: str, version: str = "2021-04-01") -> Any:
    """Call the local Resource Manager as its own principal."""
    base = lab_home_module.endpoints()["azure"]
    form = (
        "grant_type=client_credentials&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
        f"&client_id={lab_home_module.CLIENT_ID}&client_secret={lab_home_module.CLIENT_SECRET}"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    token_url = f"{base}/{lab_home_module.TENANT_ID}/oauth2/v2.0/token"
    with opener.open(token_url, data=form.encode()) as answer:
        token = json.load(answer)["access_token"]
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{base}{path}?api-version={version}",
        headers={"Authorization": f"Bearer {token}"},
    )
    with opener.open(request) as answer:
        return json.load(answer)


def ml_client() -> Any:
    """Return azure-ai-ml's own client, as a user makes it: it knows nothing of the lab."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    found = outputs()
    return MLClient(
        DefaultAzureCredential(),
        found.azure_subscription_id,
        found.azure_resource_group_name,
        found.azure_workspace_name,
    )


def cluster_path(name: str) -> str:
    return f"{outputs().azure_workspace_id}/computes/{name}"


def test_a_second_up_changes_nothing(project: Project) -> None:
    assert changes(operate("up")) == {}


def test_the_clouds_have_what_the_outputs_say(project: Project) -> None:
    found = outputs()
    s3 = client("s3")
    bucket = found.require("aws_bucket_name")
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert all(block.values()), "the bucket must be private"
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == found.aws_kms_key_arn
    assert {role["Arn"] for role in client("iam").list_roles()["Roles"]} >= set(
        found.aws_role_arns.values()
    )
    cluster = arm(cluster_path("cpu"), version="2024-04-01")["properties"]["properties"]
    assert cluster["scaleSettings"]["maxNodeCount"] == 4
    assert cluster["vmSize"].lower() == "standard_ds3_v2"


def test_unmodified_azure_ml_client_lists_the_clusters_with_equal_settings(
    project: Project,
) -> None:
    found = outputs()
    ml = ml_client()
    clusters = {item.name: item for item in ml.compute.list(compute_type="AmlCompute")}
    assert set(clusters) == set(found.azure_compute_clusters)
    for name, expected in found.azure_compute_clusters.items():
        assert clusters[name].max_instances == expected["max_instances"]
        assert clusters[name].min_instances == expected["min_instances"]
        assert clusters[name].size.lower() == expected["size"].lower()
        assert (
            clusters[name].idle_time_before_scale_down
            == expected["idle_time_before_scale_down_seconds"]
        )


def test_a_changed_max_instances_is_one_update(project: Project) -> None:
    project.edit("azure", compute_clusters__0__max_instances=3)
    assert changes(operate("preview")) == {"update": 1}
    assert changes(operate("up")) == {"update": 1}
    cluster = arm(cluster_path("cpu"), version="2024-04-01")["properties"]["properties"]
    assert cluster["scaleSettings"]["maxNodeCount"] == 3


def test_a_changed_cluster_size_is_one_replacement(project: Project) -> None:
    project.edit("azure", compute_clusters__0__size="Standard_D2s_v3")
    assert changes(operate("preview")) == {"replace": 1}
    assert changes(operate("up")) == {"replace": 1}
    cluster = arm(cluster_path("cpu"), version="2024-04-01")["properties"]["properties"]
    assert cluster["vmSize"].lower() == "standard_d2s_v3"
    assert changes(operate("up")) == {}


def test_drift_made_by_hand_is_found_by_refresh_and_repaired_by_up(project: Project) -> None:
    bucket = outputs().require("aws_bucket_name")
    client("s3").put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
    )
    ml = ml_client()
    cluster = ml.compute.get("gpu-spot")
    cluster.max_instances = 9
    ml.compute.begin_create_or_update(cluster).result()

    assert changes(operate("refresh")) == {"update": 2}
    assert changes(operate("up")) == {"update": 2}
    status = client("s3").get_bucket_versioning(Bucket=bucket)["Status"]
    assert status == "Enabled"
    repaired = arm(cluster_path("gpu-spot"), version="2024-04-01")["properties"]["properties"]
    assert repaired["scaleSettings"]["maxNodeCount"] == 2


def test_what_is_deleted_by_hand_is_made_again(project: Project) -> None:
    name = "research"
    url = outputs().aws_repository_urls[name]
    repository = url.partition("/")[2]
    client("ecr").delete_repository(repositoryName=repository, force=True)
    operate("refresh")
    assert changes(operate("up"))["create"] >= 1
    names = [
        item["repositoryName"] for item in client("ecr").describe_repositories()["repositories"]
    ]
    assert repository in names
    assert changes(operate("up")) == {}


@pytest.mark.parametrize(
    ("cloud", "compute"),
    [
        # In the stack's VPC, under its key, on an instance that stays warm.
        ("aws", {"aws": {"instance_type": "ml.m5.large", "keep_alive": "10m"}}),
        ("azure", {"azure": {"cluster": "gpu-spot"}}),
        ("azure", {"azure": {"compute_instance": "anna"}}),
        ("azure", {"azure": {"kubernetes": "aks"}}),
        ("azure", {"azure": {"instance_type": "Standard_DS3_v2"}}),
    ],
)
def test_a_job_runs_on_each_compute_of_the_stack(
    project: Project, cloud: str, compute: dict[str, dict[str, str]]
) -> None:
    from training import connect, load_job, wait

    if name := compute.get("azure", {}).get("compute_instance"):
        [physical] = [item for item in outputs().azure_compute_instances if item.startswith(name)]
        compute = {"azure": {"compute_instance": physical}}
    document = yaml.safe_load((ROOT / "examples/digits/job.yaml").read_text(encoding="utf-8"))
    document |= {"source": str(ROOT / "examples" / "digits"), "compute": compute}
    job_file = project.folder / "job.yaml"
    job_file.write_text(yaml.safe_dump(document), encoding="utf-8")
    backend = connect(cloud, outputs())
    handle = backend.submit(backend.plan(load_job(job_file)))
    status = wait(backend, handle)
    assert status.state == "SUCCEEDED", status.reason
    if cloud == "aws":
        job = client("sagemaker").describe_training_job(TrainingJobName=handle.name)
        assert job["VpcConfig"]["Subnets"] == list(outputs().aws_subnet_ids)
        assert job["OutputDataConfig"]["KmsKeyId"] == outputs().aws_kms_key_arn
        assert job["WarmPoolStatus"]["Status"] == "Available"


def test_no_secret_stands_in_the_state_or_the_outputs(project: Project) -> None:
    state = lab_stack.state_path(STACK).read_text(encoding="utf-8")
    for secret in (lab_home_module.SECRET_ACCESS_KEY, "AccountKey=", "sharedKey"):
        assert secret not in state
        assert secret not in json.dumps(outputs().as_exports())


def test_zz_destroy_leaves_both_clouds_empty(project: Project) -> None:
    bucket = outputs().require("aws_bucket_name")
    client("s3").put_object(Bucket=bucket, Key="left/by-a-job", Body=b"x")
    group = outputs().require("azure_resource_group_name")
    operate("destroy")
    assert client("s3").list_buckets()["Buckets"] == []
    assert client("ecr").describe_repositories()["repositories"] == []
    assert [
        role["RoleName"]
        for role in client("iam").list_roles()["Roles"]
        if not role["Path"].startswith("/aws-service-role/")
    ] == []
    vpcs = client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])
    assert vpcs["Vpcs"] == []
    keys = client("kms").list_keys()["Keys"]
    states = Counter(
        client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] for key in keys
    )
    assert set(states) <= {"PendingDeletion"}
    assert client("sagemaker").list_domains()["Domains"] == []
    subscription = f"/subscriptions/{lab_home_module.SUBSCRIPTION_ID}"
    groups = [item["name"] for item in arm(f"{subscription}/resourcegroups")["value"]]
    assert group not in groups
    assert arm(f"{subscription}/resources")["value"] == []
    assert not lab_stack.outputs_path(STACK).exists()
