"""Every method of Backend on both clouds, against the lab over real HTTP: what one promises, both keep."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.fault_proxy import Fault, LabCloud
from training.backends import connect
from training.backends.base import Backend, JobState, JobStatus
from training.errors import JobFailedError, RejectedError, UnavailableError, UnknownJobError
from training.handle import JobHandle
from training.job import load_job
from training.waiting import wait

Folder = Callable[..., Path]

# What creates the job, on each cloud's wire.
CREATE = {"aws": r"SageMaker\.CreateTrainingJob", "azure": r"^PUT [^?]*/jobs/"}
QUICK = """
    import os, pathlib
    print("loss=0.5")
    print("loss=0.25", flush=True)
    pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text("weights")
"""
LONG = """
    import signal, sys, time
    def stop(*_):
        print("got SIGTERM", flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    print("started", flush=True)
    time.sleep(300)
"""


def connected(cloud: LabCloud, sleeps: list[float] | None = None) -> Backend:
    """A backend whose pauses are short, or only written down."""

    def sleep(seconds: float) -> None:
        if sleeps is not None:
            sleeps.append(seconds)
        else:
            time.sleep(min(seconds, 0.2))

    backend = connect(cloud.name, cloud.outputs)
    return type(backend)(cloud.outputs, sleep=sleep)  # ty: ignore[too-many-positional-arguments, unknown-argument]


def finished(backend: Backend, handle: JobHandle) -> JobStatus:
    return wait(
        backend, handle, timeout_seconds=60, sleep=lambda seconds: time.sleep(min(seconds, 0.2))
    )


def running(backend: Backend, handle: JobHandle, line: str) -> None:
    """Return once the job's log has the line."""
    deadline = time.monotonic() + 60
    while line not in list(backend.logs(handle)):
        assert time.monotonic() < deadline, f"{line!r} was never logged"
        time.sleep(0.2)


def test_a_job_that_succeeds_leaves_its_log_its_metrics_and_its_model(
    lab_cloud: LabCloud, job_folder: Folder, tmp_path: Path
) -> None:
    backend = connected(lab_cloud)
    spec = load_job(job_folder(QUICK, metrics={"loss": "loss=([0-9.]+)"}))
    handle = backend.submit(backend.plan(spec))
    followed = list(backend.logs(handle, follow=True))
    status = finished(backend, handle)
    assert status.state is JobState.SUCCEEDED, status
    assert status.created is not None
    assert status.ended is not None
    assert [line for line in followed if line.startswith("loss=")] == ["loss=0.5", "loss=0.25"]
    assert list(backend.logs(handle)) == followed, "following shows all that there is, once"
    assert list(backend.logs(handle, tail=1)) == followed[-1:]
    assert [(metric.name, metric.value) for metric in backend.metrics(handle)] == [("loss", 0.25)]
    assert "model" in backend.outputs(handle)
    files = backend.download(handle, tmp_path / "got")
    assert [file.relative_to(tmp_path / "got").as_posix() for file in files] == ["model/model.txt"]
    assert files[0].read_text() == "weights"
    assert handle in [job.handle for job in backend.list(limit=50)]
    assert [job.handle for job in backend.list(name_contains=handle.name)] == [handle]


def test_a_script_sees_the_same_contract_on_both_clouds(
    lab_cloud: LabCloud, job_folder: Folder, tmp_path: Path
) -> None:
    script = """
        import json, os, pathlib, sys
        data = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"])
        pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "seen.json").write_text(json.dumps({
            "arguments": sys.argv[1:],
            "hyperparameters": json.loads(os.environ["SM_HPS"]),
            "channels": json.loads(os.environ["SM_CHANNELS"]),
            "hosts": json.loads(os.environ["SM_HOSTS"]),
            "host": os.environ["SM_CURRENT_HOST"],
            "GREETING": os.environ["GREETING"],
            "data": {str(f.relative_to(data)): f.read_text() for f in data.rglob("*") if f.is_file()},
            "has checkpoints": pathlib.Path(os.environ["SM_CHECKPOINT_DIR"]).is_dir(),
            "here": sorted(os.listdir()),
        }))
        pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text("weights")
    """
    file = job_folder(
        script,
        hyperparameters={"epochs": 3, "lr": 0.5, "name": "it's a b", "flag": True, "k": 2},
        inputs={"train": "data"},
        environment_variables={"GREETING": "grüß $HOME"},
        spot={"checkpoint": True},
        source="src",
    )
    (file.parent / "data" / "deep").mkdir(parents=True)
    (file.parent / "data" / "deep" / "a.csv").write_text("1,2\n")
    source = file.parent / "src"
    source.mkdir()
    (file.parent / "train.py").rename(source / "train.py")
    (source / "helper.py").write_text("")
    backend = connected(lab_cloud)
    handle = backend.submit(backend.plan(load_job(file)))
    assert finished(backend, handle).state is JobState.SUCCEEDED, list(backend.logs(handle))
    backend.download(handle, tmp_path / "got")
    seen = json.loads((tmp_path / "got" / "output" / "seen.json").read_text())
    here = set(seen.pop("here"))
    assert {"train.py", "helper.py"} <= here
    assert seen == {
        "arguments": [
            "--epochs", "3", "--flag", "True", "-k", "2", "--lr", "0.5", "--name", "it's a b",
        ],
        "hyperparameters": {"epochs": 3, "lr": 0.5, "name": "it's a b", "flag": True, "k": 2},
        "channels": ["train"],
        "hosts": ["algo-1"],
        "host": "algo-1",
        "GREETING": "grüß $HOME",
        "data": {"deep/a.csv": "1,2\n"},
        "has checkpoints": True,
    }  # fmt: skip


def test_each_of_several_instances_knows_its_number(
    lab_cloud: LabCloud, job_folder: Folder
) -> None:
    script = """
        import os
        print("I am", os.environ["SM_CURRENT_HOST"], "of", os.environ["SM_HOSTS"].replace(" ", ""))
    """
    compute = {"instances": 2, "aws": {"instance_type": "ml.m5.large"}, "azure": {"cluster": "cpu"}}
    # Azure ML starts one process an instance only where the job says how they work together.
    fields = {"distribution": {"type": "pytorch"}} if lab_cloud.name == "azure" else {}
    backend = connected(lab_cloud)
    handle = backend.submit(backend.plan(load_job(job_folder(script, compute=compute, **fields))))
    ended = finished(backend, handle)
    assert ended.state is JobState.SUCCEEDED
    # Of each instance: what multiplies it by the instances must find it once.
    assert (ended.billable_seconds or 0) <= (ended.duration_seconds or 0) + 1
    said = sorted(line.partition("I am ")[2] for line in backend.logs(handle) if "I am" in line)
    assert said == [f'algo-{number} of ["algo-1","algo-2"]' for number in (1, 2)]


def test_a_job_that_fails_says_why(lab_cloud: LabCloud, job_folder: Folder) -> None:
    backend = connected(lab_cloud)
    script = "raise SystemExit('the data has no column y')"
    handle = backend.submit(backend.plan(load_job(job_folder(script))))
    status = finished(backend, handle)
    assert status.state is JobState.FAILED
    assert status.reason
    assert "the data has no column y" in "\n".join(backend.logs(handle))
    with pytest.raises(JobFailedError, match="FAILED"):
        wait(backend, handle, raise_on_failure=True)


def test_stopping_reaches_the_script_and_may_be_repeated(
    lab_cloud: LabCloud, job_folder: Folder
) -> None:
    backend = connected(lab_cloud)
    handle = backend.submit(backend.plan(load_job(job_folder(LONG))))
    running(backend, handle, "started")
    assert backend.status(handle).state is JobState.RUNNING
    backend.stop(handle)
    backend.stop(handle)
    status = finished(backend, handle)
    assert status.state is JobState.STOPPED, status
    assert "got SIGTERM" in list(backend.logs(handle))
    backend.stop(handle)
    assert backend.status(handle).state is JobState.STOPPED


def test_a_job_over_its_max_runtime_is_ended(lab_cloud: LabCloud, job_folder: Folder) -> None:
    backend = connected(lab_cloud)
    handle = backend.submit(backend.plan(load_job(job_folder(LONG, max_runtime=2))))
    status = finished(backend, handle)
    assert status.state.is_terminal
    assert status.state is not JobState.SUCCEEDED
    assert status.reason, "a job that was ended says why"


def test_an_unknown_job_is_an_error_of_every_method(lab_cloud: LabCloud, tmp_path: Path) -> None:
    backend = connected(lab_cloud)
    place = "us-east-1" if lab_cloud.name == "aws" else lab_cloud.outputs.azure_workspace_name
    handle = JobHandle(lab_cloud.name, place, "never-was")  # ty: ignore[invalid-argument-type]
    calls: list[Callable[[], Any]] = [
        lambda: backend.status(handle),
        lambda: backend.tags(handle),
        lambda: backend.stop(handle),
        lambda: list(backend.logs(handle)),
        lambda: backend.metrics(handle),
        lambda: backend.outputs(handle),
        lambda: backend.download(handle, tmp_path / "got"),
    ]
    for call in calls:
        with pytest.raises(UnknownJobError, match="never-was"):
            call()


def test_a_request_that_the_cloud_refuses_is_told_in_its_words(
    lab_cloud: LabCloud, job_folder: Folder
) -> None:
    import dataclasses

    backend = connected(lab_cloud)
    request = backend.plan(load_job(job_folder(QUICK)))
    body = json.loads(json.dumps(request.body))
    if lab_cloud.name == "aws":
        body["RoleArn"] = "arn:aws:iam::123456789012:role/that-is-not-there"
    else:
        body["properties"]["computeId"] += "-that-is-not-there"
    with pytest.raises(RejectedError) as refused:
        backend.submit(dataclasses.replace(request, body=body))
    assert refused.value.code
    assert "that-is-not-there" in str(refused.value)
    with pytest.raises(UnknownJobError):
        backend.status(request.handle)


def test_an_answer_that_is_lost_after_the_request_was_taken_starts_no_second_job(
    lab_cloud: LabCloud, job_folder: Folder
) -> None:
    sleeps: list[float] = []
    backend = connected(lab_cloud, sleeps)
    request = backend.plan(load_job(job_folder(QUICK)))
    lab_cloud.proxy.faults.append(Fault(CREATE[lab_cloud.name]))
    assert backend.submit(request) == request.handle
    assert len(sleeps) == 1, "the first try lost its answer"
    # The same key from another process, after a crash: accepted again, and still one job.
    assert connected(lab_cloud).submit(request) == request.handle
    jobs = backend.list(name_contains=request.handle.name, limit=100)
    assert [job.handle for job in jobs] == [request.handle]
    assert finished(connected(lab_cloud), request.handle).state is JobState.SUCCEEDED


def test_another_request_under_a_name_that_is_taken_is_refused(
    lab_cloud: LabCloud, job_folder: Folder
) -> None:
    backend = connected(lab_cloud)
    backend.submit(backend.plan(load_job(job_folder(QUICK)), "the-key"))
    other = backend.plan(load_job(job_folder(QUICK, hyperparameters={"other": 1})), "the-key")
    with pytest.raises(RejectedError):
        backend.submit(other)


@pytest.mark.parametrize(
    ("status", "code"), [(429, "TooManyRequests"), (503, "ServiceUnavailable")]
)
def test_a_busy_cloud_is_asked_again_after_as_long_as_it_wants(
    lab_cloud: LabCloud, job_folder: Folder, status: int, code: str
) -> None:
    sleeps: list[float] = []
    backend = connected(lab_cloud, sleeps)
    request = backend.plan(load_job(job_folder(QUICK)))
    lab_cloud.proxy.faults.append(busy(lab_cloud, status, code, {"Retry-After": "7"}, times=2))
    backend.submit(request)
    assert sleeps == [7.0, 7.0]
    creates = [call for call in lab_cloud.proxy.calls if re.search(CREATE[lab_cloud.name], call)]
    assert len(creates) == 3 if lab_cloud.name == "aws" else len(creates) >= 3


def test_a_busy_cloud_that_names_no_time_is_asked_after_growing_pauses_and_then_given_up(
    lab_cloud: LabCloud, job_folder: Folder
) -> None:
    sleeps: list[float] = []
    backend = connected(lab_cloud, sleeps)
    request = backend.plan(load_job(job_folder(QUICK)))
    lab_cloud.proxy.faults.append(busy(lab_cloud, 503, "ServiceUnavailable", {}, times=100))
    with pytest.raises(UnavailableError, match="6 tries"):
        backend.submit(request)
    assert len(sleeps) == 5
    assert all(0 <= pause <= 60 for pause in sleeps)


def busy(cloud: LabCloud, status: int, code: str, headers: dict[str, str], times: int) -> Fault:
    if cloud.name == "aws":
        kind = {"__type": "ThrottlingException" if status == 429 else code, "message": "slow down"}
        return Fault(CREATE["aws"], times, status, {"Content-Type": "application/x-amz-json-1.1", **headers},
                     json.dumps(kind).encode())  # fmt: skip
    body = {"error": {"code": code, "message": "slow down"}}
    return Fault(CREATE["azure"], times, status, {"Content-Type": "application/json", **headers},
                 json.dumps(body).encode())  # fmt: skip


def test_a_submit_whose_code_is_there_makes_few_calls(
    lab_cloud: LabCloud, job_folder: Folder
) -> None:
    spec = load_job(job_folder(QUICK))
    backend = connected(lab_cloud)
    backend.submit(backend.plan(spec))
    fresh = connected(lab_cloud)
    lab_cloud.proxy.calls.clear()
    fresh.submit(fresh.plan(spec))
    calls = [
        call for call in lab_cloud.proxy.calls if "/oauth2/" not in call and "openid" not in call
    ]
    assert len(calls) <= {"aws": 2, "azure": 3}[lab_cloud.name], calls


def test_a_dry_run_makes_no_call_and_shows_exactly_what_is_sent(
    lab_cloud: LabCloud, job_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = job_folder(
        QUICK,
        hyperparameters={"a": 1, "b": "x y", "c": 0.1, "d": True},
        metrics={"loss": "loss=([0-9.]+)"},
        tags={"cost-center": "42"},
        spot={"checkpoint": True},
        environment_variables={"A": "1"},
        inputs={"train": "data.csv"},
    )
    (file.parent / "data.csv").write_text("1\n")
    backend = connected(lab_cloud)
    with monkeypatch.context() as offline:

        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError("a plan opened a socket")

        offline.setattr(socket.socket, "connect", refuse)
        offline.setattr(socket, "getaddrinfo", refuse)
        request = backend.plan(load_job(file), "fixed")
    assert lab_cloud.proxy.calls == []
    backend.submit(request)
    sent = [
        json.loads(body)
        for call, body in lab_cloud.proxy.bodies
        if re.search(CREATE[lab_cloud.name], call)
    ]
    assert sent == [request.body]


def test_an_interrupted_job_resumes_and_ends_as_one_left_alone(
    lab_cloud: LabCloud, tmp_path: Path
) -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "digits" / "job.yaml"
    overrides = ["hyperparameters.epochs=5", "hyperparameters.seconds-per-epoch=0.3"]
    if lab_cloud.name == "aws":
        overrides += ["spot.enabled=true", "spot.max_wait=10m"]
    else:
        overrides += ["spot.enabled=true", "compute.azure.cluster=cpu-spot"]
    spec = load_job(example, overrides)
    backend = connected(lab_cloud)
    interrupted = backend.submit(backend.plan(spec))
    alone = backend.submit(backend.plan(load_job(example, [*overrides, "name=alone"])))
    deadline = time.monotonic() + 60
    while not any(line.startswith("epoch=2 ") for line in backend.logs(interrupted)):
        assert time.monotonic() < deadline, list(backend.logs(interrupted))
        time.sleep(0.2)
    lab_cloud.interrupt(interrupted.name)
    results = []
    for handle in (interrupted, alone):
        assert finished(backend, handle).state is JobState.SUCCEEDED, list(backend.logs(handle))
        folder = tmp_path / handle.name
        backend.download(handle, folder)
        results.append(json.loads((folder / "output" / "metrics.json").read_text()))
    log = list(backend.logs(interrupted))
    assert any(line.startswith("resumed after epoch") for line in log), log
    assert not any(line.startswith("resumed") for line in backend.logs(alone))
    assert results[0] == results[1]
    assert results[0]["epochs"] == 5
