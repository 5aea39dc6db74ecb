"""Bring your own container: an image pushed to the lab's ECR runs as its layers say."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.aws.sagemaker import registry
from lab.executor import best_isolation, container_engine

REPOSITORY = "ml/train"
TRAIN = """#!/bin/sh
echo "train got $* in $PWD, GREETING=$GREETING, job $TRAINING_JOB_NAME"
read line < /opt/ml/input/config/hyperparameters.json
echo "hyperparameters $line"
[ -e /removed ] && echo "whiteout ignored"
echo fitted > /opt/ml/model/model.txt
"""


def layer(files: Mapping[str, bytes | str], links: Mapping[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


def shell() -> dict[str, bytes]:
    """This machine's sh with its libraries."""
    program = Path(shutil.which("sh") or "/bin/sh").resolve()
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"(/\S+) \(0x", listed)
    return {
        "bin/sh": program.read_bytes(),
        **{path.lstrip("/"): Path(path).read_bytes() for path in libraries},
    }


def push(lab: Any, tag: str, layers: list[bytes], config: dict[str, Any]) -> str:
    base = f"{lab.data}/v2/{REPOSITORY}"

    def send(
        method: str, url: str, data: bytes = b"", kind: str = "application/octet-stream"
    ) -> Any:
        made = urllib.request.Request(  # noqa: S310
            url, data, {"Content-Type": kind}, method=method
        )
        with urllib.request.urlopen(made, timeout=10) as answer:  # noqa: S310
            return answer.headers

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        where = send("POST", f"{base}/blobs/uploads/")["Location"]
        where = where if where.startswith("http") else lab.data + where
        send("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    differences = [f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}" for data in layers]
    whole = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": differences},
    }
    docker = "application/vnd.docker"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{docker}.distribution.manifest.v2+json",
        "config": blob(json.dumps(whole).encode(), f"{docker}.container.image.v1+json"),
        "layers": [blob(data, f"{docker}.image.rootfs.diff.tar.gzip") for data in layers],
    }
    send("PUT", f"{base}/manifests/{tag}", json.dumps(manifest).encode(), manifest["mediaType"])
    return f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}:{tag}"


@pytest.fixture(scope="module")
def repository(lab: Any) -> None:
    lab.client("ecr").create_repository(repositoryName=REPOSITORY)


def run(lab: Any, name: str, image: str) -> dict[str, Any]:
    create(lab, name, image)
    return lab.wait(name)


def create(lab: Any, name: str, image: str) -> None:
    lab.sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        HyperParameters={"depth": "3"},
        RoleArn="arn:aws:iam::123456789012:role/training/ml-train",
        OutputDataConfig={"S3OutputPath": "s3://ml-artifacts/output"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )


@pytest.mark.usefixtures("repository")
def test_a_pushed_image_trains_with_its_entry_point_and_environment(
    lab: Any, job_name: Callable[[], str]
) -> None:
    if best_isolation() == "none" and not container_engine():
        pytest.skip("neither mount namespaces nor a container engine on this machine")
    layers = [
        layer({**shell(), "removed": "x", "etc/kept": "y"}),
        layer({".wh.removed": "", "usr/local/bin/entry": TRAIN}),
    ]
    config = {
        "Entrypoint": ["entry"],
        "Env": ["PATH=/usr/local/bin:/bin", "GREETING=hello"],
        "WorkingDir": "/etc",
    }
    image = push(lab, "v1", layers, config)
    name = job_name()
    job = run(lab, name, image)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert lab.logs(name) == [
        f"train got train in /etc, GREETING=hello, job {name}",
        'hyperparameters {"depth": "3"}',
    ]
    assert lab.archive(job["ModelArtifacts"]["S3ModelArtifacts"]) == {"model.txt": "fitted\n"}


@pytest.mark.usefixtures("repository")
def test_an_image_is_stopped_by_its_first_processs_own_handler(
    lab: Any, job_name: Callable[[], str]
) -> None:
    if best_isolation() == "none" and not container_engine():
        pytest.skip("neither mount namespaces nor a container engine on this machine")
    script = """#!/bin/sh
trap 'echo leaving; echo half > /opt/ml/model/model.txt; exit 0' TERM
echo up
while :; do :; done
"""
    files = {**shell(), "usr/local/bin/train": script}
    image = push(lab, "stop", [layer(files)], {"Env": ["PATH=/usr/local/bin:/bin"]})
    name = job_name()
    create(lab, name, image)
    lab.wait_for_line(name, "up")
    lab.sagemaker.stop_training_job(TrainingJobName=name)
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Stopped"
    assert lab.archive(job["ModelArtifacts"]["S3ModelArtifacts"]) == {"model.txt": "half\n"}


@pytest.mark.usefixtures("repository")
def test_an_image_that_is_not_there_fails_the_job_by_name(
    lab: Any, job_name: Callable[[], str]
) -> None:
    image = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}:none"
    job = run(lab, job_name(), image)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(f"ClientError: Cannot find requested image: {image}")


def test_layers_never_write_outside_their_folder(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "victim").write_text("safe")
    first = layer({"dir/file": "1"}, {"escape": str(outside), "up": "../../outside"})
    second = layer(
        {
            "escape/victim": "hit",
            "up/victim": "hit",
            "../../outside/victim": "hit",
            "escape/.wh.victim": "",
            "dir/new": "2",
            "dir/.wh..wh..opq": "",
        }
    )
    for number, data in enumerate((first, second)):
        file = tmp_path / str(number)
        file.write_bytes(data)
        registry._extract(file, "", root)
    assert (outside / "victim").read_text() == "safe"
    assert [path.name for path in (root / "dir").iterdir()] == ["new"]
