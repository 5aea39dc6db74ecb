"""Unmodified code on the SageMaker Python SDK v3 trains on the lab."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

PROGRAM = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
from sagemaker.core import image_uris
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.shapes import MetricDefinition
from sagemaker.core.training.configs import Compute, InputData, OutputDataConfig, SourceCode
from sagemaker.train.model_trainer import ModelTrainer

trainer = ModelTrainer(
    role="arn:aws:iam::123456789012:role/training/ml-train",
    sagemaker_session=Session(default_bucket="ml-artifacts"),
    base_job_name="sdk",
    training_image=image_uris.retrieve(
        "sklearn", "us-east-1", version="1.2-1", py_version="py3", instance_type="ml.m5.xlarge"
    ),
    source_code=SourceCode(
        source_dir="src", entry_script="train.py", requirements="requirements.txt"
    ),
    compute=Compute(instance_type="ml.m5.xlarge", instance_count=1),
    hyperparameters={"epochs": 2, "name": "a b"},
    output_data_config=OutputDataConfig(s3_output_path="s3://ml-artifacts/sdk"),
)
trainer.with_metric_definitions([MetricDefinition(name="loss", regex="loss=([0-9.]+);")])
trainer.train(
    input_data_config=[InputData(channel_name="train", data_source="data")], wait=True, logs=True
)
job = trainer._latest_training_job
job.refresh()
print("JOB", job.training_job_name, job.training_job_status, job.model_artifacts.s3_model_artifacts)
print("METRIC", job.final_metric_data_list[0].metric_name, job.final_metric_data_list[0].value)
"""
SCRIPT = """
import argparse, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--name")
arguments = parser.parse_args()
rows = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "rows.csv").read_text().splitlines()
for epoch in range(arguments.epochs):
    print(f"loss={1 / (epoch + 1)};")
print("rows", len(rows), "name", arguments.name)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text("fitted")
"""


def test_model_trainer_trains_with_logs_and_metrics(lab: Any, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(SCRIPT)
    (tmp_path / "src" / "requirements.txt").write_text("--no-index\nnumpy\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("1\n2\n3\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        textwrap.dedent("""
        SchemaVersion: '1.0'
        SageMaker:
          PythonSDK:
            Modules:
              TelemetryOptOut: true
        """)
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=tmp_path,
        env={
            **os.environ,
            **lab.environment,
            "AWS_ENDPOINT_URL_SAGEMAKER": lab.url,
            "SAGEMAKER_VALIDATE_ROLE": "false",
            "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config),
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-5000:]
    assert "METRIC loss 0.5" in output
    assert "rows 3 name a b" in output, "the SDK must show the script's output"
    line = next(line for line in output.splitlines() if line.startswith("JOB"))
    _, _, status, model = line.split()
    assert status == "Completed"
    assert lab.archive(model) == {"model.txt": "fitted"}
