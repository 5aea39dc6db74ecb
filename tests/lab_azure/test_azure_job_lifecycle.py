"""Command jobs on the local Azure really run, and end as the service's do."""

from __future__ import annotations

from tests.lab_azure.azure_server import Jobs


def test_a_job_runs_and_its_log_is_read_by_url(jobs: Jobs) -> None:
    name = jobs.submit("echo hello from $AZUREML_RUN_ID")
    assert jobs.wait(name) == "Completed"
    assert jobs.log(name) == f"hello from {name}\n"
