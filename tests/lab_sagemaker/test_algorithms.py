"""The built-in algorithms really fit, read the service's formats and print its metrics."""

from __future__ import annotations

import io
import json
import re
import struct
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

KMEANS = "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1"
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
CENTERS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def points() -> np.ndarray:
    generator = np.random.default_rng(3)
    return np.vstack([center + generator.normal(0, 0.3, (40, 2)) for center in CENTERS])


def recordio(matrix: np.ndarray) -> bytes:
    """Rows as protobuf records: features["values"].float32_tensor.values, packed."""

    def field(number: int, body: bytes) -> bytes:
        assert len(body) < 128, "one byte of length"
        return bytes([number << 3 | 2, len(body)]) + body

    records = []
    for row in matrix.astype("<f4"):
        tensor = field(2, field(1, row.tobytes()))
        record = field(1, field(1, b"values") + field(2, tensor))
        padding = b"\0" * (-len(record) % 4)
        records.append(struct.pack("<II", 0xCED7230A, len(record)) + record + padding)
    return b"".join(records)


def csv(matrix: np.ndarray) -> bytes:
    return "\n".join(",".join(map(repr, row)) for row in matrix.tolist()).encode()


def train(
    lab: Any,
    name: str,
    image: str,
    data: dict[str, tuple[str, bytes]],
    mode: str = "File",
    **parameters: str,
) -> dict[str, Any]:
    channels = []
    for channel, (kind, body) in data.items():
        lab.s3.put_object(Bucket="ml-artifacts", Key=f"data/{name}/{channel}/part", Body=body)
        uri = f"s3://ml-artifacts/data/{name}/{channel}/"
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
        channels.append({"ChannelName": channel, "ContentType": kind, "DataSource": source})
    lab.sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": mode},
        HyperParameters=parameters,
        InputDataConfig=channels,
        RoleArn="arn:aws:iam::123456789012:role/training/ml-train",
        OutputDataConfig={"S3OutputPath": "s3://ml-artifacts/output"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )
    return lab.wait(name)


def model_file(lab: Any, job: dict[str, Any], name: str) -> bytes:
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://ml-artifacts/")
    body = lab.s3.get_object(Bucket="ml-artifacts", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        file = tar.extractfile(name)
        assert file
        return file.read()


@pytest.mark.parametrize(
    ("kind", "encode"),
    [("application/x-recordio-protobuf", recordio), ("text/csv;label_size=0", csv)],
    ids=["recordio", "csv"],
)
def test_kmeans_finds_the_centers(
    lab: Any, job_name: Callable[[], str], kind: str, encode: Callable[[np.ndarray], bytes]
) -> None:
    data = {"train": (kind, encode(points())), "test": (kind, encode(points()))}
    mode = "Pipe" if encode is recordio else "File"
    job = train(lab, job_name(), KMEANS, data, mode, k="3", feature_dim="2")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    found = np.load(io.BytesIO(model_file(lab, job, "centroids.npy")))
    nearest = np.linalg.norm(found[:, None] - CENTERS[None], axis=2).min(axis=0)
    assert (nearest < 0.3).all(), found
    metrics = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
    assert 0 < metrics["test:msd"] < 0.5


def test_kmeans_says_what_is_wrong_with_its_hyperparameters(
    lab: Any, job_name: Callable[[], str]
) -> None:
    data = {"train": ("text/csv;label_size=0", csv(points()))}
    job = train(lab, job_name(), KMEANS, data, k="3", feature_dim="5")
    assert job["TrainingJobStatus"] == "Failed"
    assert "feature_dim is 5, but channel 'train' has 2 columns" in job["FailureReason"]
    job = train(lab, job_name(), KMEANS, data, k="many", feature_dim="2")
    assert "The value 'many' is not valid for the 'k' hyperparameter" in job["FailureReason"]


def test_kmeans_refuses_a_truncated_recordio(lab: Any, job_name: Callable[[], str]) -> None:
    broken = struct.pack("<II", 12345, 4) + b"data"
    data = {"train": ("application/x-recordio-protobuf", broken)}
    job = train(lab, job_name(), KMEANS, data, k="3", feature_dim="2")
    assert "is no RecordIO: wrong magic number" in job["FailureReason"]


@pytest.mark.parametrize("kind", ["text/csv", "text/libsvm"])
def test_xgboost_fits_and_its_model_loads_in_the_library(
    lab: Any, job_name: Callable[[], str], kind: str
) -> None:
    import xgboost

    features = points()
    rows = np.hstack([features[:, :1] * 2 + 1, features])
    body = csv(rows)
    if kind == "text/libsvm":
        body = "\n".join(f"{y} 0:{a} 1:{b}" for y, a, b in rows.tolist()).encode()
    job = train(
        lab,
        job_name(),
        XGBOOST,
        {"train": (kind, body), "validation": (kind, body)},
        num_round="30",
        objective="reg:squarederror",
        max_depth="3",
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    metrics = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
    booster = xgboost.Booster()
    booster.load_model(bytearray(model_file(lab, job, "xgboost-model")))
    predicted = booster.predict(xgboost.DMatrix(features))
    error = float(np.sqrt(((predicted - rows[:, 0]) ** 2).mean()))
    assert metrics["validation:rmse"] == pytest.approx(error, abs=1e-3)
    assert any(
        re.match(r"\[29\]#011train-rmse:", line) for line in lab.logs(job["TrainingJobName"])
    )


def test_xgboost_refuses_an_unknown_hyperparameter(lab: Any, job_name: Callable[[], str]) -> None:
    data = {"train": ("text/csv", csv(points()))}
    job = train(lab, job_name(), XGBOOST, data, num_round="5", max_dept="3")
    assert "'max_dept' was unexpected" in json.dumps(job["FailureReason"])


def test_a_built_in_algorithms_metrics_are_its_own(lab: Any, job_name: Callable[[], str]) -> None:
    specification = {
        "TrainingImage": KMEANS,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "x", "Regex": "x=(.*)"}],
    }
    with pytest.raises(lab.sagemaker.exceptions.ClientError, match="override the metric defin"):
        lab.submit(job_name(), "", AlgorithmSpecification=specification)
