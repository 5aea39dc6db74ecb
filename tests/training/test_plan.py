"""Plans: the exact request of each kind of job, and what a stack refuses before anything is sent."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.outputs import StackOutputs
from training.backends import connect
from training.backends.sagemaker_plan import training_instance_types
from training.errors import JobFileError, TrainingError, UsageError
from training.job import load_job

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden")
WORKSPACE = (
    "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"
)
STACK = StackOutputs(
    stack_name="dev", environment="dev", owner="ml@example.com", clouds=("aws", "azure"), tags={"team": "ml"},
    aws_account_id="123456789012", aws_region="us-east-1", aws_bucket_name="artifacts",
    aws_kms_key_arn="arn:aws:kms:us-east-1:123456789012:key/k",
    aws_role_arn="arn:aws:iam::123456789012:role/training",
    aws_role_arns={"training": "arn:aws:iam::123456789012:role/training", "wide":
    "arn:aws:iam::123456789012:role/wide"},
    aws_repository_urls={"train": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train"},
    aws_subnet_ids=("subnet-1", "subnet-2"), aws_security_group_ids=("sg-1",),
    azure_subscription_id="s", azure_resource_group_name="rg", azure_workspace_name="ws",
    azure_identity_client_id="00000000-0000-0000-0000-000000000001",
    azure_container_registry_login_server="registry.azurecr.io",
    azure_compute_clusters={
        "cpu": {"size": "Standard_DS3_v2", "tier": "dedicated", "min_instances": 0, "max_instances": 4},
        "spare": {"size": "Standard_DS3_v2", "tier": "low_priority", "min_instances": 0, "max_instances": 2},
    },
    azure_compute_instances={"desk": {"size": "Standard_DS3_v2"}},
    azure_kubernetes_computes={"kube": {"resource_id": "/x", "namespace": "ml"}},
    azure_environments={
        "sklearn": {"version": "3", "id": f"{WORKSPACE}/environments/sklearn/versions/3"},
        "pytorch-2.8": {"version": "1", "id": f"{WORKSPACE}/environments/pytorch-2.8/versions/1"},
    },
    azure_data_assets={"digits": {"version": "1", "id": f"{WORKSPACE}/data/digits/versions/1"}},
    azure_serverless_enabled=True,
)  # fmt: skip
SCRIPT = {"name": "job", "entry": "train.py", "framework": {"name": "sklearn", "version": "1.4"}}
AWS = {"compute": {"aws": {"instance_type": "ml.m5.large"}}}
Make = Callable[..., Any]

JOBS: dict[str, dict[str, Any]] = {
    "aws-script": {
        **SCRIPT, **AWS, "hyperparameters": {"epochs": 3, "name": "a b", "flag": True},
        "metrics": {"loss": "loss=([0-9.]+)"}, "experiment": "exp", "display_name": "A (job)",
        "tags": {"cost-center": "42"}, "environment_variables": {"A": "1"},
        "inputs": {"train": "data", "test": {"path": "s3://other/test", "mode": "FastFile", "content_type":
        "text/csv"}},
    },
    "aws-spot": {
        **SCRIPT, **AWS, "spot": {"enabled": True, "max_wait": "2h", "checkpoint": True}, "max_runtime": "1h",
        "network_isolation": True, "encrypt_traffic": True, "retry": 2, "role": "wide", "vpc": False,
    },
    "aws-algorithm": {
        "name": "job", "algorithm": {"name": "kmeans"}, "hyperparameters": {"k": 10, "feature_dim": 64},
        "inputs": {"train": {"path": "s3://bucket/k", "mode": "Pipe", "s3_data_distribution": "ShardedByS3Key",
                             "record_wrapper": "recordio", "compression": "gzip"}},
        "compute": {"instances": 2, "aws": {"instance_type": "ml.c5.xlarge", "volume_size_gb": 50,
        "keep_alive": "10m"}},
    },
    "aws-image": {
        **AWS, "name": "job", "image": {"uri": "registry/image:1", "entry_point": ["python"], "arguments": ["x.py"]},
        "hyperparameters": {"trees": 5},
    },
    "aws-distributed": {
        **SCRIPT, "framework": {"name": "pytorch", "version": "2.8"}, "distribution": {"type": "pytorch"},
        "compute": {"instances": 2, "aws": {"instance_type": "ml.g5.xlarge"}},
    },
    "azure-script": {
        **SCRIPT, "hyperparameters": {"epochs": 3, "name": "it's", "k": 1}, "compute": {"azure": {"cluster": "cpu"}},
        "metrics": {"loss": "loss=([0-9.]+)"}, "experiment": "exp", "display_name": "A (job)", "description": "why",
        "tags": {"cost-center": "42"}, "environment_variables": {"A": "1"},
        "inputs": {"train": "data", "one": {"path": "data/a.csv", "type": "uri_file"}, "asset": "azureml:digits",
                   "old": "azureml:digits:7", "web": {"path": "https://x/y.csv", "mode": "FastFile"},
                   "store": "azureml://datastores/d/paths/p/"},
    },
    "azure-spot": {**SCRIPT, "spot": {"enabled": True, "checkpoint": True}, "compute": {"azure": {}}},
    "azure-serverless": {
        **SCRIPT, "spot": {"enabled": True}, "identity": "user",
        "compute": {"instances": 2, "azure": {"instance_type": "Standard_DS3_v2"}},
    },
    "azure-environment": {
        "name": "job", "entry": "run.sh", "environment": "azureml://registries/azureml/environments/x/versions/3",
        "compute": {"azure": {"kubernetes": "kube", "instance_type": "large"}},
        "distribution": {"type": "mpi", "processes_per_instance": 2},
    },
    "azure-image": {
        "name": "job", "image": {"uri": "registry/image:1", "entry_point": ["python"], "arguments": ["x y.py"]},
        "compute": {"azure": {"size": "standard_ds3_v2"}}, "hyperparameters": {"trees": 5},
    },
}  # fmt: skip


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    for name, content in {"train.py": "1\n", "run.sh": "1\n", "data/a.csv": "1\n"}.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    (tmp_path / ".trainstackignore").write_text("data/\n")
    monkeypatch.chdir(tmp_path)
    return load_job


@pytest.mark.parametrize("name", JOBS)
def test_the_request_is_the_committed_one(make: Make, name: str) -> None:
    cloud = name.partition("-")[0]
    request = connect(cloud, STACK).plan(make(JOBS[name]), "key")
    plain = {
        "operation": request.operation,
        "before": [dataclasses.asdict(call) for call in request.before],
        "uploads": [upload.destination for upload in request.uploads],
        "body": request.body,
    }
    file = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(plain, indent=2) + "\n")
    assert plain == json.loads(file.read_text()), (
        "set UPDATE_GOLDEN=1 to write it again, and read the diff"
    )


@pytest.mark.parametrize("name", [name for name in JOBS if name.startswith("aws")])
def test_what_is_planned_for_aws_is_what_botocore_would_send(make: Make, name: str) -> None:
    import botocore.session
    from botocore.validate import ParamValidator

    request = connect("aws", STACK).plan(make(JOBS[name]), "key")
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model("CreateTrainingJob").input_shape
    report = ParamValidator().validate(request.body, shape)
    assert not report.has_errors(), report.generate_report()


def test_a_plan_is_the_same_each_time_and_new_without_a_key(make: Make) -> None:
    backend = connect("aws", STACK)
    spec = make(JOBS["aws-script"])
    assert backend.plan(spec, "key") == backend.plan(spec, "key")
    assert backend.plan(spec).handle != backend.plan(spec).handle


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("aws", {**SCRIPT}, "compute.aws is missing"),
    ("aws", {**SCRIPT, "compute": {"aws": {"instance_type": "ml.m5.larg"}}},
     "does not train; near it are ml.m5.large"),
    ("aws", {**SCRIPT, "compute": {"aws": {"instance_type": "ml.t2.medium"}}}, "on which SageMaker does not train"),
    ("aws", {**SCRIPT, **AWS, "framework": {"name": "sklearn", "version": "7"}},
     "framework.version is '7'; SageMaker has"),
    ("aws", {**AWS, "name": "j", "algorithm": {"name": "kmeanz"}}, "there is no SageMaker algorithm 'kmeanz'"),
    ("aws", {**AWS, "name": "j", "entry": "train.py", "environment": "sklearn"}, "is an Azure ML environment"),
    ("aws", {**SCRIPT, **AWS, "inputs": {"t": "azureml:d:1"}},
     "an Azure ML path; SageMaker reads S3. Give both places"),
    ("aws", {**SCRIPT, **AWS, "inputs": {"t": "https://x/y"}}, "a web address; SageMaker reads S3"),
    ("aws", {**SCRIPT, **AWS, "inputs": {"t": {"path": {"azure": "azureml:d:1"}}}}, "has no aws"),
    ("aws", {**SCRIPT, **AWS, "spot": {"enabled": True}}, "spot.max_wait is missing"),
    ("aws", {**SCRIPT, **AWS, "role": "nobody"}, "the stack's roles are training, wide"),
    ("aws", {**SCRIPT, **AWS, "identity": "user"}, "identity is 'user', which is Azure's"),
    ("aws", {**SCRIPT, **AWS, "distribution": {"type": "pytorch"}}, "which the sklearn container does not start"),
    ("aws", {**AWS, "name": "j", "algorithm": {"name": "kmeans"}, "max_runtime": "1h",
             "spot": {"enabled": True, "max_wait": "2h"}}, "keeps no checkpoints"),
    ("azure", {"name": "j", "algorithm": {"name": "kmeans"}}, "a SageMaker built-in that Azure ML does not have"),
    ("azure", {**SCRIPT, "compute": {"azure": {"cluster": "gpu"}}},
     "compute.azure.cluster is 'gpu'; the stack has cpu, spare"),
    ("azure", {**SCRIPT, "compute": {"instances": 9, "azure": {"cluster": "cpu"}}}, "cluster 'cpu' has at most 4"),
    ("azure", {**SCRIPT, "spot": {"enabled": True}, "compute": {"azure": {"cluster": "cpu"}}},
     "low_priority clusters are spare"),
    ("azure", {**SCRIPT, "compute": {"azure": {"size": "Standard_NC6"}}},
     "finds no cluster of tier dedicated and size"),
    ("azure", {**SCRIPT, "compute": {"instances": 2, "azure": {"compute_instance": "desk"}}},
     "a compute instance is one"),
    ("azure", {**SCRIPT, "inputs": {"t": "s3://bkt/k"}}, "Azure ML does not read S3. Give both places"),
    ("azure", {**SCRIPT, "inputs": {"t": {"path": "data", "mode": "Pipe"}}},
     "which only SageMaker does; use FastFile"),
    ("azure", {**SCRIPT, "inputs": {"t": "azureml:none"}}, "the stack's data assets are digits"),
    ("azure", {**SCRIPT, "network_isolation": True}, "network_isolation is SageMaker's alone"),
    ("azure", {**SCRIPT, "hyperparameters": {"x": "${{inputs.y}}"}}, "which Azure ML reads as an expression"),
    ("azure", {**SCRIPT, "framework": {"name": "xgboost", "version": "3.0"}},
     "has no environment (it has pytorch-2.8, sklearn)"),
    ("azure", {"name": "j", "entry": "train.py", "environment": "sklearn:9"}, "the stack has sklearn:3"),
    ("azure", {"name": "j", "image": "r/i:1"}, "image.entry_point is missing; Azure ML runs a command"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cloud", "job", "message"), REFUSED, ids=[message[:40] for _, _, message in REFUSED]
)
def test_what_a_cloud_or_the_stack_does_not_do_is_said_before_anything_is_sent(
    make: Make, cloud: str, job: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobFileError) as caught:
        connect(cloud, STACK).plan(make(job))
    assert message in str(caught.value)


def test_the_stacks_limits_hold(make: Make) -> None:
    limited = dataclasses.replace(
        STACK,
        aws_allowed_instance_types=("ml.m5.xlarge",),
        aws_max_runtime_seconds=60,
        azure_max_runtime_seconds=60,
    )
    with pytest.raises(JobFileError) as caught:
        connect("aws", limited).plan(make({**SCRIPT, **AWS}))
    assert [problem.path for problem in caught.value.problems] == [
        "compute.aws.instance_type",
        "max_runtime",
    ]
    with pytest.raises(JobFileError, match="allows 60 s"):
        connect("azure", limited).plan(make({**SCRIPT, "compute": {"azure": {"cluster": "cpu"}}}))


def test_a_cloud_that_the_stack_does_not_use_is_said() -> None:
    with pytest.raises(UsageError, match="its clouds are aws"):
        connect("azure", dataclasses.replace(STACK, clouds=("aws",)))
    with pytest.raises(TrainingError, match="is no cloud"):
        connect("gcp", STACK)


def test_the_types_that_train_come_from_the_api_model() -> None:
    assert "ml.m5.large" in training_instance_types()
    assert "ml.t2.medium" not in training_instance_types()


def test_an_image_of_this_machine_is_tagged_by_what_it_is_built_from(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    job = {**AWS, "name": "job", "image": {"dockerfile": "Dockerfile"}}
    backend = connect("aws", STACK)
    first = backend.plan(make(job), "key")
    assert first.push is not None
    assert first.body["AlgorithmSpecification"]["TrainingImage"] == first.push.image_uri
    assert first.push.image_uri.startswith(f"{STACK.aws_repository_urls['train']}:")
    assert backend.plan(make(job), "key") == first
    (tmp_path / "train.py").write_text("2\n")
    assert backend.plan(make(job), "key").push != first.push


@pytest.mark.parametrize(
    "framework", ["sklearn", "pytorch", "tensorflow", "xgboost", "huggingface"]
)
def test_the_versions_that_init_writes_have_images(make: Make, framework: str) -> None:
    from cli.init import FRAMEWORK_VERSIONS, HUGGINGFACE_BASE

    chosen = {"name": framework, "version": FRAMEWORK_VERSIONS[framework]}
    if framework == "huggingface":
        chosen["base_framework_version"] = HUGGINGFACE_BASE
    instance_type = "ml.g5.xlarge" if framework == "huggingface" else "ml.m5.large"
    job = {**SCRIPT, "framework": chosen, "compute": {"aws": {"instance_type": instance_type}}}
    image = connect("aws", STACK).plan(make(job)).body["AlgorithmSpecification"]["TrainingImage"]
    assert ".dkr.ecr.us-east-1.amazonaws.com/" in image
