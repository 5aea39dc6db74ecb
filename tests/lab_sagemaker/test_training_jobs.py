"""Training jobs that really run: the contract, logs, metrics, artifacts, and every way to end."""

from __future__ import annotations

import importlib.util
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TRIVIAL = """
import json, os, sys
print("args", sys.argv[1:])
print("loss=0.5;")
print("loss=0.25;")
with open(os.path.join(os.environ["SM_MODEL_DIR"], "model.json"), "w") as f:
    json.dump({"fitted": True}, f)
open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "report.txt"), "w").write("done")
"""


def test_a_script_trains_and_its_model_logs_and_metrics_are_where_the_service_puts_them(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name = job_name()
    began = time.monotonic()
    lab.submit(
        name,
        TRIVIAL,
        HyperParameters={"epochs": "3", "name": '"a b"'},
        AlgorithmSpecification={
            "TrainingImage": "683313688378.dkr.ecr.us-east-1.amazonaws.com/"
            "sagemaker-scikit-learn:1.2-1-cpu-py3",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+);"}],
        },
    )
    job = lab.wait(name)
    print("took", time.monotonic() - began)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert [step["Status"] for step in job["SecondaryStatusTransitions"]] == [
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    assert [(m["MetricName"], m["Value"]) for m in job["FinalMetricDataList"]] == [("loss", 0.25)]
    assert "args ['--epochs', '3', '--name', 'a b']" in lab.logs(name)
    assert lab.archive(job["ModelArtifacts"]["S3ModelArtifacts"]) == {
        "model.json": '{"fitted": true}'
    }
    assert lab.archive(f"s3://ml-artifacts/output/{name}/output/output.tar.gz") == {
        "report.txt": "done"
    }


COUNTING = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path("/opt/ml/checkpoints")
state = folder / "state.json"
done = json.loads(state.read_text())["epoch"] if state.exists() else 0
print("resumed at" if done else "fresh at", done)
def leave(*_):
    print("caught SIGTERM")
    pathlib.Path(os.environ["SM_MODEL_DIR"], "partial").write_text(str(done))
    sys.exit(143)
signal.signal(signal.SIGTERM, leave)
for done in range(done + 1, int(os.environ["SM_HP_EPOCHS"]) + 1):
    state.with_suffix(".tmp").write_text(json.dumps({"epoch": done}))
    state.with_suffix(".tmp").replace(state)
    print("epoch", done)
    time.sleep(float(os.environ["SM_HP_SLEEP"]))
pathlib.Path(os.environ["SM_MODEL_DIR"], "model").write_text(str(done))
"""
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 1200},
}


def test_an_exception_of_the_script_is_the_failure_reason(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name = job_name()
    lab.submit(name, "raise ValueError('no such column: price')")
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1")
    assert "ValueError: no such column: price" in job["FailureReason"]
    assert job["FailureReason"].endswith(", exit code: 1")
    assert "ModelArtifacts" not in job or not job["ModelArtifacts"].get("S3ModelArtifacts")
    assert any("no such column" in line for line in lab.logs(name)), "the last lines were lost"


def test_a_stopped_job_gets_sigterm_and_keeps_what_it_saved(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name = job_name()
    lab.submit(name, COUNTING, HyperParameters={"epochs": "500", "sleep": "0.1"})
    lab.wait_for_line(name, "epoch 2")
    lab.sagemaker.stop_training_job(TrainingJobName=name)
    lab.sagemaker.stop_training_job(TrainingJobName=name)
    job = lab.wait(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "caught SIGTERM" in lab.logs(name)
    assert set(lab.archive(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"partial"}
    with pytest.raises(lab.sagemaker.exceptions.ClientError, match="in status Stopped"):
        lab.sagemaker.stop_training_job(TrainingJobName=name)


def test_a_script_that_ignores_sigterm_is_killed_after_the_grace(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name = job_name()
    script = (
        "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('no'))\n"
        "print('deaf', flush=True)\nfor _ in range(600): time.sleep(0.1)"
    )
    lab.submit(name, script)
    lab.wait_for_line(name, "deaf")
    began = time.monotonic()
    lab.sagemaker.stop_training_job(TrainingJobName=name)
    assert lab.wait(name)["TrainingJobStatus"] == "Stopped"
    assert time.monotonic() - began >= 1.5


def test_a_job_above_its_max_runtime_is_stopped(lab: Any, job_name: Callable[[], str]) -> None:
    name = job_name()
    lab.submit(
        name,
        COUNTING,
        HyperParameters={"epochs": "500", "sleep": "0.1"},
        StoppingCondition={"MaxRuntimeInSeconds": 1},
    )
    job = lab.wait(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_an_interrupted_spot_job_resumes_from_its_checkpoint_and_ends_as_one_left_alone(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name, alone = job_name(), job_name()
    for each in (name, alone):
        lab.submit(
            each,
            COUNTING,
            HyperParameters={"epochs": "20", "sleep": "0.05"},
            CheckpointConfig={"S3Uri": f"s3://ml-artifacts/checkpoints/{each}"},
            **SPOT,
        )
    lab.wait_for_line(name, "epoch 3")
    assert lab.post(f"/_lab/interrupt/{name}") == 204
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    steps = [step["Status"] for step in job["SecondaryStatusTransitions"]]
    assert steps == [
        "Starting", "Downloading", "Training", "Interrupted", "Starting", "Downloading",
        "Training", "Uploading", "Completed",
    ]  # fmt: skip
    lines = lab.logs(name)
    assert any(line.startswith("resumed at") for line in lines)
    epochs = [int(line.split()[1]) for line in lines if line.startswith("epoch ")]
    assert sorted(set(epochs)) == list(range(1, 21))
    other = lab.wait(alone)
    model = lab.archive(job["ModelArtifacts"]["S3ModelArtifacts"])
    assert model == lab.archive(other["ModelArtifacts"]["S3ModelArtifacts"]) == {"model": "20"}


def test_only_a_running_spot_job_can_be_interrupted(lab: Any, job_name: Callable[[], str]) -> None:
    name = job_name()
    lab.submit(name, "print('hello')")
    assert lab.post(f"/_lab/interrupt/{name}") == 400
    assert lab.post("/_lab/interrupt/no-such-job") == 404
    lab.wait(name)


def test_a_spot_job_that_waits_too_long_is_given_up(lab: Any, job_name: Callable[[], str]) -> None:
    name = job_name()
    lab.submit(
        name,
        COUNTING,
        HyperParameters={"epochs": "500", "sleep": "0.1"},
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600},
    )
    lab.wait_for_line(name, "epoch 1")
    lab.post("/_lab/clock", {"advance_seconds": 3601})
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Stopped"
    assert job["SecondaryStatus"] in ("MaxRuntimeExceeded", "MaxWaitTimeExceeded")
    assert job["TrainingTimeInSeconds"] < 60, "a moved clock is no time that was trained"


def test_instances_talk_to_each_other_and_share_out_the_data(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name = job_name()
    for number in range(4):
        lab.s3.put_object(Bucket="ml-artifacts", Key=f"data/{name}/{number}.csv", Body=b"1,2\n")
    script = """
import json, os, pathlib, socket, time
hosts, me = json.loads(os.environ["SM_HOSTS"]), os.environ["SM_CURRENT_HOST"]
files = sorted(p.name for p in pathlib.Path(os.environ["SM_CHANNEL_TRAIN"]).iterdir())
print("files of", me, *files)
if me == hosts[0]:
    server = socket.create_server((me, 5000))
    print("said:", server.accept()[0].makefile().readline().strip())
else:
    for _ in range(200):
        try:
            with socket.create_connection((hosts[0], 5000)) as peer:
                peer.sendall(f"hello from {me}\\n".encode())
            break
        except OSError:
            time.sleep(0.05)
pathlib.Path(os.environ["SM_MODEL_DIR"], me).write_text(me)
"""
    lab.submit(
        name,
        script,
        InputDataConfig=[
            {
                "ChannelName": "train",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": f"s3://ml-artifacts/data/{name}/",
                        "S3DataDistributionType": "ShardedByS3Key",
                    }
                },
            }
        ],
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5},
    )
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    lines = lab.logs(name)
    assert "said: hello from algo-2" in lines
    assert "files of algo-1 0.csv 2.csv" in lines
    assert "files of algo-2 1.csv 3.csv" in lines
    assert set(lab.archive(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"algo-1", "algo-2"}


def test_when_one_instance_fails_the_others_end(lab: Any, job_name: Callable[[], str]) -> None:
    name = job_name()
    script = (
        "import os, time\n"
        "if os.environ['SM_CURRENT_HOST'] == 'algo-2': raise SystemExit(7)\ntime.sleep(60)"
    )
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}
    lab.submit(name, script, ResourceConfig=resources)
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].endswith("exit code: 7")


def test_pipe_mode_streams_each_epoch_through_a_fifo(lab: Any, job_name: Callable[[], str]) -> None:
    name = job_name()
    for number in range(2):
        body = f"part{number}\n".encode()
        lab.s3.put_object(Bucket="ml-artifacts", Key=f"data/{name}/{number}", Body=body)
    script = (
        "for epoch in range(2):\n"
        "    with open(f'/opt/ml/input/data/train_{epoch}') as stream:\n"
        "        print(epoch, stream.read().split())"
    )
    lab.submit(
        name,
        script,
        InputDataConfig=[
            {
                "ChannelName": "train",
                "InputMode": "Pipe",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": f"s3://ml-artifacts/data/{name}",
                    }
                },
            }
        ],
    )
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert {"0 ['part0', 'part1']", "1 ['part0', 'part1']"} <= set(lab.logs(name))


def test_a_manifest_names_the_objects_of_a_channel(lab: Any, job_name: Callable[[], str]) -> None:
    name = job_name()
    for key in ("a.csv", "deep/b.csv", "c.csv"):
        lab.s3.put_object(Bucket="ml-artifacts", Key=f"data/{name}/{key}", Body=b"1\n")
    manifest = f'[{{"prefix": "s3://ml-artifacts/data/{name}/"}}, "a.csv", "deep/b.csv"]'
    lab.s3.put_object(Bucket="ml-artifacts", Key=f"m/{name}", Body=manifest.encode())
    script = (
        "import os, pathlib\nroot = pathlib.Path(os.environ['SM_CHANNEL_TRAIN'])\n"
        "print(sorted(str(p.relative_to(root)) for p in root.rglob('*') if p.is_file()))"
    )
    lab.submit(
        name,
        script,
        InputDataConfig=[
            {
                "ChannelName": "train",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "ManifestFile",
                        "S3Uri": f"s3://ml-artifacts/m/{name}",
                    }
                },
            }
        ],
    )
    assert lab.wait(name)["TrainingJobStatus"] == "Completed"
    assert "['a.csv', 'deep/b.csv']" in lab.logs(name)


def test_missing_input_is_a_client_error_that_names_the_prefix(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name = job_name()
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://ml-artifacts/nothing/here"}
    channel = {"ChannelName": "train", "DataSource": {"S3DataSource": source}}
    lab.submit(name, "print('never')", InputDataConfig=[channel])
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        'ClientError: Data download failed:No S3 objects found under S3 URL "s3://ml-artifacts/no'
    )


def test_a_job_may_only_do_what_its_role_allows(lab: Any, job_name: Callable[[], str]) -> None:
    lab.s3.create_bucket(Bucket="someone-elses")
    lab.s3.put_object(Bucket="someone-elses", Key="secret", Body=b"secret")
    name = job_name()
    script = """
import boto3
s3 = boto3.client("s3")
print(boto3.client("sts").get_caller_identity()["Arn"])
try:
    s3.get_object(Bucket="someone-elses", Key="secret")
    print("read it")
except s3.exceptions.ClientError as error:
    print("refused:", error.response["Error"]["Code"])
"""
    lab.submit(name, script)
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    lines = lab.logs(name)
    assert "arn:aws:sts::123456789012:assumed-role/ml-train/SageMaker" in lines
    assert "refused: AccessDenied" in lines


def test_an_isolated_job_has_no_network_and_no_credentials(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name = job_name()
    script = (
        "import os, socket\nprint(sorted(k for k in os.environ if 'CREDENTIALS' in k))\n"
        f"try: socket.create_connection(('127.0.0.1', {lab.port}), 2); print('reached')\n"
        "except OSError: print('no way out')"
    )
    lab.s3.put_object(Bucket="ml-artifacts", Key=f"data/{name}/train.py", Body=script.encode())
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://ml-artifacts/data/{name}/"}
    from_channel = {"sagemaker_submit_directory": '"/opt/ml/input/data/code"'}
    lab.submit(
        name,
        script,
        HyperParameters=from_channel,
        EnableNetworkIsolation=True,
        InputDataConfig=[{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
    )
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert {"[]", "no way out"} <= set(lab.logs(name))


def test_requirements_are_installed_for_the_job_alone(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name = job_name()
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as zipped:
        info = "lab_greeting-1.dist-info"
        zipped.writestr("lab_greeting.py", "WORDS = 'hello from the wheel'\n")
        zipped.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: lab-greeting\nVersion: 1\n"
        )
        zipped.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        zipped.writestr(f"{info}/RECORD", "")
    files = {
        "requirements.txt": b"--no-index\nnumpy\n./lab_greeting-1-py3-none-any.whl\n",
        "lab_greeting-1-py3-none-any.whl": wheel.getvalue(),
    }
    lab.submit(name, "import lab_greeting, numpy; print(lab_greeting.WORDS)", files=files)
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert any("Requirement already satisfied: numpy" in line for line in lab.logs(name))
    assert "hello from the wheel" in lab.logs(name)
    assert importlib.util.find_spec("lab_greeting") is None


def test_uncompressed_output_is_a_folder(lab: Any, job_name: Callable[[], str]) -> None:
    name = job_name()
    lab.submit(
        name,
        TRIVIAL,
        OutputDataConfig={"S3OutputPath": "s3://ml-artifacts/plain", "CompressionType": "NONE"},
    )
    job = lab.wait(name)
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == (
        f"s3://ml-artifacts/plain/{name}/output/model/"
    )
    found = lab.s3.list_objects_v2(Bucket="ml-artifacts", Prefix=f"plain/{name}/")["Contents"]
    assert {item["Key"].removeprefix(f"plain/{name}/output/") for item in found} == {
        "model/model.json",
        "data/report.txt",
    }


def test_jobs_beyond_the_labs_capacity_wait_their_turn(
    lab: Any, job_name: Callable[[], str]
) -> None:
    assert lab.post("/_lab/capacity", {"instances": 1}) == 204
    try:
        first, second = job_name(), job_name()
        lab.submit(first, COUNTING, HyperParameters={"epochs": "500", "sleep": "0.1"})
        lab.wait_for_line(first, "epoch 1")
        lab.submit(second, "print('my turn')")
        waiting = lab.sagemaker.describe_training_job(TrainingJobName=second)
        assert waiting["SecondaryStatus"] == "Starting"
        lab.sagemaker.stop_training_job(TrainingJobName=first)
        assert lab.wait(second)["TrainingJobStatus"] == "Completed"
        assert lab.wait(first)["TrainingJobStatus"] == "Stopped"
    finally:
        lab.post("/_lab/capacity", {"instances": 8})


def test_a_warm_pool_is_kept_for_its_time_by_the_clock(
    lab: Any, job_name: Callable[[], str]
) -> None:
    name = job_name()
    lab.submit(
        name,
        "print('hello')",
        ResourceConfig={
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 5,
            "KeepAlivePeriodInSeconds": 600,
        },
    )
    assert lab.wait(name)["WarmPoolStatus"]["Status"] == "Available"
    lab.post("/_lab/clock", {"advance_seconds": 601})
    pool = lab.sagemaker.describe_training_job(TrainingJobName=name)["WarmPoolStatus"]
    assert pool == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 600}


def test_a_state_change_reaches_eventbridge_rules(lab: Any, job_name: Callable[[], str]) -> None:
    sqs, events, name = lab.client("sqs"), lab.client("events"), job_name()
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    pattern = (
        '{"source": ["aws.sagemaker"], "detail-type": ["SageMaker Training Job State Change"], '
        f'"detail": {{"TrainingJobStatus": ["Failed"], "TrainingJobName": ["{name}"]}}}}'
    )
    events.put_rule(Name=name, EventPattern=pattern)
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn["QueueArn"]}])
    lab.submit(name, "raise SystemExit(3)")
    lab.wait(name)
    got = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5).get("Messages", [])
    assert len(got) == 1
    assert '"TrainingJobStatus": "Failed"' in got[0]["Body"].replace('":"', '": "')


def test_an_encrypted_output_needs_the_roles_right_to_the_key(
    lab: Any, job_name: Callable[[], str]
) -> None:
    kms, iam = lab.client("kms"), lab.client("iam")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    refused, allowed = job_name(), job_name()
    output = {"S3OutputPath": "s3://ml-artifacts/secret", "KmsKeyId": key}
    lab.submit(refused, TRIVIAL, OutputDataConfig=output)
    job = lab.wait(refused)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Failed to upload the model or output to")
    assert (
        f"is not authorized to perform: kms:GenerateDataKey on resource: {key}"
        in (job["FailureReason"])
    )
    may = {"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": key}
    iam.put_role_policy(
        RoleName="ml-train",
        PolicyName=f"key-{allowed}",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": may}),
    )
    lab.submit(allowed, TRIVIAL, OutputDataConfig=output)
    job = lab.wait(allowed)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    head = lab.s3.head_object(Bucket="ml-artifacts", Key=f"secret/{allowed}/output/model.tar.gz")
    assert head["SSEKMSKeyId"] == key


def test_where_no_namespace_is_allowed_jobs_still_train_and_say_what_is_missing(
    lab: Any, tmp_path: Path, job_name: Callable[[], str]
) -> None:
    plain = type(lab)(lab.data, tmp_path, TRAINSTACK_LAB_ISOLATION="none")
    try:
        name, failed = job_name(), job_name()
        plain.submit(name, TRIVIAL, HyperParameters={"epochs": "3"})
        plain.submit(failed, "raise ValueError('x')")
        job = plain.wait(name)
        assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
        lines = plain.logs(name)
        assert any("allows no mount namespaces" in line for line in lines)
        assert "args ['--epochs', '3']" in lines
        assert set(plain.archive(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"model.json"}
        assert "ValueError: x" in plain.wait(failed)["FailureReason"]
    finally:
        plain.process.terminate()
        plain.process.wait(10)
