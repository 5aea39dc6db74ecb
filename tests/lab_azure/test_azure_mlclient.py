"""The unmodified azure-ai-ml client works against the local Azure, call by call."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy

from lab.home import SUBSCRIPTION_ID
from tests.lab_azure.azure_server import Server

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's import warns of marshmallow 4
    from azure.ai.ml import Input, MLClient, Output, command
    from azure.ai.ml.constants._common import STORAGE_ACCOUNT_URLS
    from azure.ai.ml.entities import AmlCompute, ComputeInstance, Data, Environment, Model

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own warnings are not ours to mend

SCRIPT = """\
import argparse, os, pathlib, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--out")
parser.add_argument("--sleep", type=float, default=0)
args = parser.parse_args()
print("training with", args.lr, "as", os.environ["AZUREML_RUN_ID"], flush=True)
time.sleep(args.sleep)
pathlib.Path(args.out, "pred.csv").write_text("a,b")
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/model.txt").write_text("weights")
print("trained", flush=True)
"""


class Credential:
    """Signs in to the lab with its own service principal."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        audience = scopes[0].removesuffix("/.default")
        return AccessToken(self._server.token(audience), int(time.time()) + 3600)


class PlainHttpBearer(BearerTokenCredentialPolicy):
    """A bearer policy that does not insist on TLS: the plane is reached directly here."""

    def on_request(self, request: Any) -> None:
        request.context.options["enforce_https"] = False
        super().on_request(request)


@pytest.fixture(scope="module")
def ml(shared: Server) -> Iterator[MLClient]:
    credential = Credential(shared)
    url = f"{shared.url}/"
    before = STORAGE_ACCOUNT_URLS["AzureBlob"]
    STORAGE_ACCOUNT_URLS["AzureBlob"] = f"{shared.url}/_blob/{{0}}"
    metadata = {
        "azure_portal": "https://portal.azure.com/",
        "resource_manager": url,
        "active_directory": url,
        "aml_resource_id": url,
        "storage_endpoint": "core.windows.net",
        "registry_discovery_endpoint": url,
    }
    yield MLClient(
        credential,
        SUBSCRIPTION_ID,
        "rg",
        "workspace",
        cloud=f"lab-{id(shared)}",
        cloud_metadata=metadata,
        authentication_policy=PlainHttpBearer(credential, f"{url}.default"),
    )
    STORAGE_ACCOUNT_URLS["AzureBlob"] = before


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "src").mkdir()
    (folder / "src" / "train.py").write_text(SCRIPT)
    (folder / "src" / "util.py").write_text("x = 1\n")
    (folder / "data").mkdir()
    (folder / "data" / "d.csv").write_text("1,2,3\n")
    return folder


def training(project: Path, **options: Any) -> Any:
    return command(
        code=str(project / "src"),
        command="python train.py --lr ${{inputs.lr}} --out ${{outputs.pred}} --sleep ${{inputs.sleep}}",
        inputs={"lr": 0.1, "sleep": options.pop("sleep", 0)},
        outputs={"pred": Output(type="uri_folder")},
        environment=options.pop("environment", "azureml:base:1"),
        compute=options.pop("compute", "cpu"),
        experiment_name="exp1",
        tags={"team": "a"},
        **options,
    )


def wait(ml: MLClient, name: str, *, timeout: float = 40.0) -> str:
    end = time.monotonic() + timeout
    while (status := _text(ml.jobs.get(name).status)) not in ("Completed", "Failed", "Canceled"):
        assert time.monotonic() < end, f"{name} is still {status}"
        time.sleep(0.05)
    return status


def _text(status: Any) -> str:
    return str(getattr(status, "value", status))


@pytest.fixture(scope="module")
def finished(ml: MLClient, project: Path) -> Any:
    """A job that has completed."""
    job = ml.jobs.create_or_update(training(project, display_name="first"))
    assert wait(ml, job.name) == "Completed"
    return job


def test_the_workspace_tells_where_its_data_plane_is(ml: MLClient, shared: Server) -> None:
    workspace = ml.workspaces.get("workspace")
    assert workspace.discovery_url.startswith(shared.url)
    assert workspace.mlflow_tracking_uri.startswith(shared.url)
    assert [each.name for each in ml.workspaces.list()] == ["workspace"]


def test_computes_are_created_listed_and_deleted(ml: MLClient) -> None:
    cluster = AmlCompute(
        name="made-cpu",
        size="STANDARD_DS3_V2",
        min_instances=0,
        max_instances=2,
        idle_time_before_scale_down=120,
    )
    assert ml.compute.begin_create_or_update(cluster).result().provisioning_state == "Succeeded"
    instance = ComputeInstance(name="made-ci", size="STANDARD_DS3_V2")
    assert ml.compute.begin_create_or_update(instance).result().state == "Running"
    assert ml.compute.get("made-cpu").size == "STANDARD_DS3_V2"
    assert {"made-cpu", "made-ci"} <= {each.name for each in ml.compute.list()}
    ml.compute.begin_stop("made-ci").wait()
    assert ml.compute.get("made-ci").state == "Stopped"
    ml.compute.begin_start("made-ci").wait()
    assert ml.compute.get("made-ci").state == "Running"
    ml.compute.begin_delete("made-ci").wait()
    with pytest.raises(ResourceNotFoundError):
        ml.compute.get("made-ci")
    assert "Standard_DS3_v2" in {size.name for size in ml.compute.list_sizes()}
    usages = {usage.name["value"]: usage for usage in ml.compute.list_usage()}
    assert usages["standardDSv2Family"].limit > 0


def test_environments_have_versions_and_a_latest_one(ml: MLClient) -> None:
    conda = {"name": "x", "dependencies": ["python=3.11", {"pip": ["numpy"]}]}
    ml.environments.create_or_update(
        Environment(name="own", image="python:3.11", version="1", conda_file=conda)
    )
    assert (
        ml.environments.create_or_update(Environment(name="own2", image="python:3.11")).version
        == "1"
    )
    assert ml.environments.get("own", version="1").image == "python:3.11"
    assert ml.environments.get("own", label="latest").version == "1"
    assert {"own", "own2"} <= {each.name for each in ml.environments.list()}
    assert [each.version for each in ml.environments.list(name="own")] == ["1"]


def test_data_and_models_are_uploaded_and_named(ml: MLClient, project: Path) -> None:
    remote = ml.data.create_or_update(
        Data(
            name="remote",
            version="1",
            path="azureml://datastores/workspaceblobstore/paths/x.csv",
            type="uri_file",
        )
    )
    assert remote.id.endswith("/data/remote/versions/1")
    local = ml.data.create_or_update(
        Data(name="local", version="1", path=str(project / "data"), type="uri_folder")
    )
    assert "/paths/LocalUpload/" in local.path
    model = ml.models.create_or_update(
        Model(name="m1", path=str(project / "src" / "util.py"), type="custom_model")
    )
    assert model.version == "1"
    assert ml.datastores.get_default().name == "workspaceblobstore"


@pytest.mark.parametrize(
    "environment",
    [
        Environment(image="python:3.11"),
        "azureml:base:1",
        "azureml:base@latest",
        "azureml://registries/azureml/environments/sklearn-1.5/versions/1",
        "azureml://registries/azureml/environments/sklearn-1.5/labels/latest",
        "azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest",
    ],
    ids=["inline", "version", "latest", "registry", "label", "curated"],
)
def test_every_way_to_name_an_environment_runs(ml: MLClient, environment: Any) -> None:
    job = ml.jobs.create_or_update(
        command(command="echo ok", environment=environment, compute="cpu")
    )
    assert wait(ml, job.name) == "Completed"


def test_a_job_needs_no_compute_where_it_is_serverless(ml: MLClient) -> None:
    job = ml.jobs.create_or_update(
        command(
            command="echo hi",
            environment="azureml:base:1",
            resources={"instance_count": 1, "instance_type": "Standard_DS3_v2"},
        )
    )
    assert wait(ml, job.name) == "Completed"


def test_inputs_come_from_local_folders_and_data_assets(ml: MLClient, project: Path) -> None:
    ml.data.create_or_update(
        Data(name="asset", version="1", path=str(project / "data" / "d.csv"), type="uri_file")
    )
    job = ml.jobs.create_or_update(
        command(
            command="cat ${{inputs.folder}}/d.csv ${{inputs.file}} && test $(cat ${{inputs.file}}) = 1,2,3",
            inputs={
                "folder": Input(type="uri_folder", path=str(project / "data")),
                "file": Input(type="uri_file", path="azureml:asset:1"),
            },
            environment="azureml:base:1",
            compute="cpu",
        )
    )
    assert wait(ml, job.name) == "Completed"


def test_stream_prints_the_log_of_a_job_that_runs(
    ml: MLClient, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = ml.jobs.create_or_update(training(project, sleep=1))
    ml.jobs.stream(job.name)
    printed = capfd.readouterr().out
    assert f"training with 0.1 as {job.name}" in printed
    assert "trained" in printed


def test_stream_raises_the_reason_of_a_failed_job(
    ml: MLClient, capfd: pytest.CaptureFixture[str]
) -> None:
    job = ml.jobs.create_or_update(
        command(command="echo bad thing; exit 3", environment="azureml:base:1", compute="cpu")
    )
    with pytest.raises(Exception, match="exited with status code 3"):
        ml.jobs.stream(job.name)
    assert "bad thing" in capfd.readouterr().out


def test_a_job_is_found_again_and_listed(ml: MLClient, finished: Any) -> None:
    job = ml.jobs.get(finished.name)
    assert (_text(job.status), job.display_name, job.experiment_name) == (
        "Completed",
        "first",
        "exp1",
    )
    assert finished.name in [each.name for each in ml.jobs.list()]


def test_download_brings_logs_artifacts_and_named_outputs(
    ml: MLClient, finished: Any, tmp_path: Path
) -> None:
    ml.jobs.download(finished.name, download_path=tmp_path / "a", all=True)
    found = {
        str(path.relative_to(tmp_path / "a"))
        for path in (tmp_path / "a").rglob("*")
        if path.is_file()
    }
    assert {
        "artifacts/outputs/model.txt",
        "artifacts/user_logs/std_log.txt",
        "named-outputs/pred/pred.csv",
    } <= found
    ml.jobs.download(finished.name, download_path=tmp_path / "b", output_name="pred")
    assert (tmp_path / "b" / "named-outputs" / "pred" / "pred.csv").read_text() == "a,b"


def test_tags_are_changed_and_a_job_is_archived(ml: MLClient, finished: Any) -> None:
    job = ml.jobs.get(finished.name)
    job.tags["new"] = "v"
    assert ml.jobs.create_or_update(job).tags == {"team": "a", "new": "v"}
    ml.jobs.archive(finished.name)
    assert finished.name not in [each.name for each in ml.jobs.list()]
    ml.jobs.restore(finished.name)


def test_the_same_code_is_uploaded_once(ml: MLClient, finished: Any, project: Path) -> None:
    again = ml.jobs.create_or_update(training(project))
    assert again.code == finished.code
    wait(ml, again.name)


def test_cancel_ends_a_running_job(ml: MLClient, project: Path) -> None:
    job = ml.jobs.create_or_update(training(project, sleep=60))
    ml.jobs.begin_cancel(job.name).result()
    assert wait(ml, job.name) == "Canceled"


def test_an_unknown_compute_or_environment_is_refused_in_the_services_words(ml: MLClient) -> None:
    with pytest.raises(HttpResponseError, match="Unknown compute target 'nope'"):
        ml.jobs.create_or_update(
            command(command="echo", environment="azureml:base:1", compute="nope")
        )
    with pytest.raises(HttpResponseError, match="environment"):
        ml.jobs.create_or_update(
            command(command="echo", environment="azureml:nope:1", compute="cpu")
        )


def test_metrics_that_a_script_logs_with_mlflow_are_read_back(ml: MLClient, shared: Server) -> None:
    script = (
        "import json, os, urllib.request\n"
        "def log(path, body):\n"
        "    url = os.environ['MLFLOW_TRACKING_URI'] + '/api/2.0/mlflow/' + path\n"
        "    request = urllib.request.Request(url, json.dumps(body).encode(), {'Content-Type': 'application/json',\n"
        "        'Authorization': 'Bearer ' + os.environ['MLFLOW_TRACKING_TOKEN']})\n"
        "    urllib.request.urlopen(request).read()\n"
        "for step in range(3):\n"
        "    log('runs/log-metric', {'run_id': os.environ['MLFLOW_RUN_ID'], 'key': 'accuracy', 'value': step / 2, "
        "'timestamp': step, 'step': step})\n"
        "log('runs/log-parameter', {'run_id': os.environ['MLFLOW_RUN_ID'], 'key': 'lr', 'value': '0.1'})\n"
    )
    job = ml.jobs.create_or_update(
        command(
            command=f"python -c {json.dumps(script)}".replace("\\n", "\n"),
            environment="azureml:base:1",
            compute="cpu",
        )
    )
    assert wait(ml, job.name) == "Completed"
    base = f"/mlflow/v1.0{ml.workspaces.get('workspace').id}/api/2.0/mlflow"
    run = shared.call("GET", f"{base}/runs/get?run_id={job.name}").json["run"]
    assert run["info"]["status"] == "FINISHED"
    assert run["data"]["metrics"] == [{"key": "accuracy", "value": 1.0, "timestamp": 2, "step": 2}]
    assert run["data"]["params"] == [{"key": "lr", "value": "0.1"}]
    history = shared.call(
        "GET", f"{base}/metrics/get-history?run_id={job.name}&metric_key=accuracy"
    ).json
    assert [entry["value"] for entry in history["metrics"]] == [0.0, 0.5, 1.0]
