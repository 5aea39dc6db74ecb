"""Training jobs that really run: the contract, logs, metrics, artifacts, and every way to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

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
