"""Command jobs on the local Azure really run, and end as the service's do."""

from __future__ import annotations

import json
import time

import pytest

from tests.lab_azure.azure_server import IDENTITY, WORKSPACE, Jobs, Server, put_cluster

COUNTING = """\
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["AZURE_ML_OUTPUT_checkpoints"])
state = folder / "state.json"
epoch = json.loads(state.read_text())["epoch"] if state.exists() else 0
print("starts at", epoch, flush=True)
signal.signal(signal.SIGTERM, lambda *_: (print("asked to stop", flush=True), sys.exit(143)))
while epoch < 4:
    epoch += 1
    state.write_text(json.dumps({"epoch": epoch}))
    print("epoch", epoch, flush=True)
    time.sleep(0.3 if os.environ.get("SLOW") else 0)
"""


def python(code: str) -> str:
    return f"python - <<'END'\n{code}\nEND"


def test_a_job_runs_and_its_log_is_read_by_url(jobs: Jobs) -> None:
    name = jobs.submit("echo hello from $AZUREML_RUN_ID")
    assert jobs.wait(name) == "Completed"
    assert jobs.log(name) == f"hello from {name}\n"


def test_the_log_grows_while_the_job_runs(jobs: Jobs) -> None:
    name = jobs.submit("echo first; sleep 30; echo last")
    jobs.wait(name, "Running")
    end = time.monotonic() + 10
    while "first" not in jobs.log(name):
        assert time.monotonic() < end, "the log's first line never came"
        time.sleep(0.05)
    assert "last" not in jobs.log(name)
    jobs.server.call("POST", f"{WORKSPACE}/jobs/{name}/cancel")
    assert jobs.wait(name) == "Canceled"


def test_the_script_finds_azure_mls_environment(jobs: Jobs) -> None:
    code = (
        "import json, os\n"
        "print(json.dumps({k: v for k, v in os.environ.items() if k.startswith(('AZURE', 'AZ_', 'MLFLOW', 'TEAM'))}))"
    )
    name = jobs.submit(
        python(code),
        inputs={"lr": {"jobInputType": "literal", "value": "0.1"}},
        outputs={"model": {"jobOutputType": "uri_folder"}},
        environmentVariables={"TEAM": "vision"},
        experimentName="exp",
    )
    assert jobs.wait(name) == "Completed"
    variables = json.loads(jobs.log(name))
    assert variables["AZUREML_RUN_ID"] == variables["MLFLOW_RUN_ID"] == name
    assert variables["AZUREML_ARM_WORKSPACE_NAME"] == "workspace"
    assert variables["AZUREML_ARM_PROJECT_NAME"] == "exp"
    assert variables["AZURE_ML_INPUT_lr"] == "0.1"
    assert variables["AZURE_ML_OUTPUT_model"].endswith("/cap/data-capability/wd/model")
    assert variables["TEAM"] == "vision"


def test_named_outputs_and_the_outputs_folder_are_kept(jobs: Jobs) -> None:
    name = jobs.submit(
        "echo pred > ${{outputs.out}}/pred.csv && mkdir -p outputs && echo weights > outputs/model.txt",
        outputs={"out": {"jobOutputType": "uri_folder"}},
    )
    assert jobs.wait(name) == "Completed"
    store = jobs.server.call("GET", f"{WORKSPACE}/datastores/workspaceblobstore").json
    container = store["properties"]["containerName"]
    assert jobs.blob(container, f"azureml/{name}/out/pred.csv") == b"pred\n"
    assert jobs.blob("azureml", f"ExperimentRun/dcid.{name}/outputs/model.txt") == b"weights\n"


def test_one_jobs_output_is_anothers_input(jobs: Jobs) -> None:
    first = jobs.submit(
        "echo 42 > ${{outputs.o}}/n.txt", outputs={"o": {"jobOutputType": "uri_folder"}}
    )
    assert jobs.wait(first) == "Completed"
    uri = f"azureml://datastores/workspaceblobstore/paths/azureml/{first}/o/"
    second = jobs.submit(
        "cat ${{inputs.folder}}/n.txt ${{inputs.file}}; touch ${{inputs.folder}}/x 2>/dev/null || echo read-only",
        inputs={
            "folder": {"jobInputType": "uri_folder", "uri": uri},
            "file": {"jobInputType": "uri_file", "uri": f"{uri}n.txt"},
        },
    )
    assert jobs.wait(second) == "Completed"
    assert jobs.log(second).split() == ["42", "42", "read-only"]


def test_an_optional_part_of_the_command_goes_with_its_input(jobs: Jobs) -> None:
    name = jobs.submit(
        "echo a $[[--lr ${{inputs.lr}}]] $[[--x ${{inputs.given}}]]",
        inputs={"given": {"jobInputType": "literal", "value": "1"}},
    )
    assert jobs.wait(name) == "Completed"
    assert jobs.log(name) == "a --x 1\n"


def test_a_failed_script_is_told_in_the_services_words(jobs: Jobs) -> None:
    name = jobs.submit(python("raise ValueError('no such column')"))
    assert jobs.wait(name) == "Failed"
    error = jobs.details(name)["error"]["error"]
    assert error["code"] == "UserError"
    assert error["message"].startswith(
        "Execution failed. User process 'python' exited with status code 1."
    )
    assert "no such column" in error["message"]


def test_a_cancelled_script_gets_sigterm_and_may_save(jobs: Jobs) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(0)))\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    name = jobs.submit(python(code))
    jobs.wait(name, "Running")
    while "up" not in jobs.log(name):
        time.sleep(0.05)
    assert jobs.server.call("POST", f"{WORKSPACE}/jobs/{name}/cancel").status == 202
    assert jobs.wait(name) == "Canceled"
    assert "saved" in jobs.log(name)
    assert jobs.server.call("POST", f"{WORKSPACE}/jobs/{name}/cancel").status == 202, (
        "cancel is idempotent"
    )
    assert jobs.status(name) == "Canceled"


def test_a_timeout_on_the_labs_clock_cancels(jobs: Jobs) -> None:
    name = jobs.submit("sleep 60", limits={"jobLimitsType": "Command", "timeout": "PT30M"})
    jobs.wait(name, "Running")
    assert jobs.server.control("clock", {"advance_seconds": 1700}).status == 200
    assert jobs.status(name) == "Running"
    jobs.server.control("clock", {"advance_seconds": 200})
    assert jobs.wait(name) == "Canceled"
    assert "PT30M" in jobs.details(name)["error"]["error"]["message"]


def test_the_same_put_twice_is_one_job(jobs: Jobs) -> None:
    name = jobs.submit("echo once", name="idempotent")
    again = jobs.try_submit("echo once", name=name)
    assert again.status == 200
    jobs.wait(name)
    assert jobs.log(name) == "once\n"
    other = jobs.try_submit("echo twice", name=name)
    assert (other.status, other.code) == (400, "UserError")
    assert "A job with this name already exists" in other.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"compute": "nope"}, "Unknown compute target 'nope'."),
        (
            {"resources": {"instanceCount": 3}},
            "Requested 3 nodes but AzureMLCompute cluster only has 2 maximum nodes.",
        ),
        ({"environmentId": f"{WORKSPACE}/environments/nope/versions/1"}, "was not found"),
        (
            {"compute": None, "resources": {"instanceType": "Standard_Nope"}},
            "instance type 'Standard_Nope'",
        ),
        (
            {"inputs": {"d": {"jobInputType": "uri_file", "uri": "https://example.com/x.csv"}}},
            "no internet",
        ),
        ({"inputs": {"d": {"jobInputType": "uri_folder", "uri": "azureml:nope:1"}}}, "Input 'd'"),
        ({"codeId": f"{WORKSPACE}/codes/nope/versions/1"}, "code"),
        ({"jobType": "Pipeline"}, "Pipeline"),
        (
            {"limits": {"jobLimitsType": "Command", "timeout": "soon"}},
            "'soon' is no ISO 8601 duration",
        ),
        ({"typo": 1}, "Could not find member 'typo'"),
    ],
)
def test_a_job_that_the_service_refuses_is_refused(jobs: Jobs, fields: dict, words: str) -> None:
    answer = jobs.try_submit("echo", name=f"refused-{abs(hash(words))}", **fields)
    assert 400 <= answer.status < 500, answer.text
    assert words in answer.message
    assert jobs.server.call("GET", f"{WORKSPACE}/jobs/refused-{abs(hash(words))}").status == 404


def test_several_processes_and_instances_find_each_other(jobs: Jobs) -> None:
    code = """
import json, os, socket, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    with socket.create_server(address) as server:
        seen = sorted(int(server.accept()[0].recv(8)) for _ in range(world - 1))
    print("master saw", seen, "of", world, "on", os.environ["AZ_BATCH_NODE_LIST"].count(";") + 1, "nodes")
else:
    for _ in range(100):
        try:
            socket.create_connection(address).sendall(str(rank).encode()); break
        except OSError:
            time.sleep(0.05)
    print("rank", rank, "is", os.environ["LOCAL_RANK"], "on node", os.environ["NODE_RANK"])
"""
    name = jobs.submit(
        python(code),
        resources={"instanceCount": 2},
        distribution={"distributionType": "PyTorch", "processCountPerInstance": 2},
    )
    assert jobs.wait(name) == "Completed", jobs.details(name)
    assert (
        jobs.log(name, "user_logs/std_log_process_0.txt")
        == "master saw [1, 2, 3] of 4 on 2 nodes\n"
    )
    assert jobs.log(name, "user_logs/std_log_process_3.txt") == "rank 3 is 1 on node 1\n"


@pytest.mark.parametrize(
    ("distribution", "variable", "expected"),
    [
        ({"distributionType": "Mpi", "processCountPerInstance": 1}, "OMPI_COMM_WORLD_RANK", "1"),
        (
            {"distributionType": "TensorFlow", "workerCount": 2},
            "TF_CONFIG",
            '"task": {"type": "worker", "index": 1}',
        ),
    ],
)
def test_mpi_and_tensorflow_get_their_variables(
    jobs: Jobs, distribution: dict, variable: str, expected: str
) -> None:
    name = jobs.submit(
        f"echo ${variable}", resources={"instanceCount": 2}, distribution=distribution
    )
    assert jobs.wait(name) == "Completed"
    assert expected in jobs.log(name, "user_logs/std_log_process_1.txt")


def test_one_failed_rank_fails_the_job_and_ends_the_others(jobs: Jobs) -> None:
    name = jobs.submit(
        'if [ "$RANK" = 1 ]; then exit 7; else sleep 60; fi',
        resources={"instanceCount": 2},
        distribution={"distributionType": "PyTorch", "processCountPerInstance": 1},
    )
    assert jobs.wait(name) == "Failed"
    assert "status code 7" in jobs.details(name)["error"]["error"]["message"]


def test_an_environments_packages_are_looked_at(jobs: Jobs) -> None:
    conda = "dependencies:\n- python=3.11\n- scikit-learn=0.1\n- pip:\n  - no-such-package-on-earth-xyz\n"
    jobs.server.put(
        f"{WORKSPACE}/environments/conda/versions/1",
        {"properties": {"image": "x", "condaFile": conda}},
    )
    name = jobs.submit("echo ran", environmentId=f"{WORKSPACE}/environments/conda/versions/1")
    assert jobs.wait(name, timeout=60) == "Completed"
    log = jobs.log(name)
    assert "scikit-learn==0.1 is asked for; the lab's Python has scikit-learn" in log
    assert "could not install no-such-package-on-earth-xyz" in log
    assert log.endswith("ran\n")


# --- clusters


def cluster(server: Server, name: str) -> dict:
    return server.call("GET", f"{WORKSPACE}/computes/{name}").json["properties"]["properties"]


def test_nodes_come_with_jobs_idle_and_go_by_the_clock(jobs: Jobs) -> None:
    put_cluster(jobs.server, "scaling", high=2, idle="PT10M")
    assert cluster(jobs.server, "scaling")["currentNodeCount"] == 0
    name = jobs.submit("sleep 30", compute="scaling")
    jobs.wait(name, "Running")
    assert cluster(jobs.server, "scaling")["nodeStateCounts"]["runningNodeCount"] == 1
    jobs.server.call("POST", f"{WORKSPACE}/jobs/{name}/cancel")
    jobs.wait(name)
    assert cluster(jobs.server, "scaling")["nodeStateCounts"]["idleNodeCount"] == 1
    jobs.server.control("clock", {"advance_seconds": 590})
    assert cluster(jobs.server, "scaling")["currentNodeCount"] == 1
    jobs.server.control("clock", {"advance_seconds": 20})
    assert cluster(jobs.server, "scaling")["currentNodeCount"] == 0


def test_a_minimum_keeps_nodes(jobs: Jobs) -> None:
    put_cluster(jobs.server, "minimum", low=1, high=2)
    assert cluster(jobs.server, "minimum")["currentNodeCount"] == 1
    jobs.server.control("clock", {"advance_seconds": 86_400})
    assert cluster(jobs.server, "minimum")["currentNodeCount"] == 1


def test_jobs_queue_at_the_maximum_in_order(jobs: Jobs) -> None:
    put_cluster(jobs.server, "single", high=1)
    first = jobs.submit("sleep 30", compute="single")
    jobs.wait(first, "Running")
    second = jobs.submit("echo second", compute="single")
    third = jobs.submit("echo third", compute="single")
    jobs.wait(second, "Queued")
    jobs.wait(third, "Queued")
    jobs.server.call("POST", f"{WORKSPACE}/jobs/{third}/cancel")
    assert jobs.status(third) == "Canceled", "a queued job is canceled at once"
    jobs.server.call("POST", f"{WORKSPACE}/jobs/{first}/cancel")
    assert jobs.wait(second) == "Completed"


def test_a_preempted_job_starts_again_from_its_checkpoint(jobs: Jobs) -> None:
    put_cluster(jobs.server, "spot", high=1, priority="LowPriority")
    outputs = {"checkpoints": {"jobOutputType": "uri_folder", "mode": "ReadWriteMount"}}
    name = jobs.submit(
        python(COUNTING), compute="spot", outputs=outputs, environmentVariables={"SLOW": "1"}
    )
    while "epoch 2" not in jobs.log(name):
        time.sleep(0.05)
    assert jobs.server.control(f"interrupt/{name}").status == 202
    assert jobs.wait(name) == "Completed"
    log = jobs.log(name)
    assert "asked to stop" in log
    assert "The job was preempted and starts again: attempt 2." in log
    resumed = [line for line in log.splitlines() if line.startswith("starts at")]
    assert resumed[0] == "starts at 0"
    assert int(resumed[1].split()[-1]) >= 2
    assert log.rstrip().endswith("epoch 4")
    assert cluster(jobs.server, "spot")["nodeStateCounts"]["preemptedNodeCount"] == 1


def test_a_dedicated_job_is_not_preempted(jobs: Jobs) -> None:
    name = jobs.submit("sleep 30")
    jobs.wait(name, "Running")
    answer = jobs.server.control(f"interrupt/{name}")
    assert (answer.status, answer.code) == (409, "Conflict")
    jobs.server.call("POST", f"{WORKSPACE}/jobs/{name}/cancel")


def test_an_instance_runs_jobs_and_shuts_down_when_idle(jobs: Jobs) -> None:
    body = {
        "location": "eastus",
        "properties": {
            "computeType": "ComputeInstance",
            "properties": {"vmSize": "Standard_DS3_v2", "idleTimeBeforeShutdown": "PT30M"},
        },
    }
    jobs.server.put(f"{WORKSPACE}/computes/desk", body)
    name = jobs.submit("echo on my desk", compute="desk")
    assert jobs.wait(name) == "Completed"
    jobs.server.control("clock", {"advance_seconds": 1801})
    assert cluster(jobs.server, "desk")["state"] == "Stopped"
    assert cluster(jobs.server, "desk")["lastOperation"]["operationTrigger"] == "IdleShutdown"


# --- the job's identity


def test_a_job_with_a_managed_identity_gets_its_tokens(jobs: Jobs) -> None:
    put_cluster(
        jobs.server,
        "identified",
        identity={"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
    )
    code = """
import base64, json, os, urllib.request
request = urllib.request.Request(
    os.environ["IDENTITY_ENDPOINT"] + "?api-version=2019-08-01&resource=https://storage.azure.com",
    headers={"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]})
token = json.loads(urllib.request.urlopen(request).read())["access_token"]
payload = token.split(".")[1]
print(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["oid"])
print(os.environ["DEFAULT_IDENTITY_CLIENT_ID"])
"""
    name = jobs.submit(python(code), compute="identified", identity={"identityType": "Managed"})
    assert jobs.wait(name) == "Completed", jobs.details(name)
    identity = jobs.server.call("GET", IDENTITY, version="2023-01-31").json["properties"]
    assert jobs.log(name).split() == [identity["principalId"], identity["clientId"]]
