"""Which job files a change breaks, and what is said of it."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from review.contract import check_jobs, job_files, outputs_of
from tests.review.conftest import (
    BUCKET,
    CLUSTER,
    ENVIRONMENT,
    OUTPUTS,
    ROLE_POLICY,
    cluster_inputs,
    role_policy,
)


@pytest.fixture
def job(tmp_path):
    (tmp_path / "train.py").write_text("print(1)\n")

    def write(**changes):
        document = {
            "name": "churn",
            "entry": "train.py",
            "framework": {"name": "sklearn", "version": "1.4"},
            "compute": {"instances": 2, "aws": {"instance_type": "ml.m5.large"}, "azure": {"cluster": "cpu"}},
            "max_runtime": "1h",
        }  # fmt: skip
        document.update(changes)
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in document.items() if v is not None}))
        return path

    return write


def found(path, digest, outputs=OUTPUTS):
    preview = digest.preview() if digest else None
    return [
        (item.cloud, item.problem, item.change) for item in check_jobs([path], preview, outputs)
    ]


def test_a_job_that_fits_is_not_mentioned(job, digest):
    digest.step("update", CLUSTER, "cpu", cluster_inputs(most=4), cluster_inputs(most=8))
    assert found(job(), digest) == []


def test_a_cluster_that_is_deleted_or_renamed_breaks_its_jobs(job, digest, make_digest):
    digest.step("delete", CLUSTER, "cpu", cluster_inputs())
    assert found(job(), digest) == [
        ("azure", "cluster 'cpu' does not exist", "compute `cpu` is deleted")
    ]
    renamed = make_digest()
    renamed.step(
        "replace",
        CLUSTER,
        "cpu",
        cluster_inputs(),
        {**cluster_inputs(), "computeName": "cpu2"},
        replace=("computeName",),
    )
    assert found(job(), renamed) == [
        ("azure", "cluster 'cpu' does not exist", "compute `cpu` is replaced and becomes `cpu2`")
    ]


def test_more_instances_than_the_new_maximum_break_a_job(job, digest):
    digest.step("update", CLUSTER, "cpu", cluster_inputs(most=4), cluster_inputs(most=1))
    ((cloud, problem, change),) = found(job(), digest)
    assert (cloud, change) == ("azure", "compute `cpu` is updated")
    assert problem == "it asks for 2 instances and cluster 'cpu' has at most 1"


def test_a_tier_without_a_cluster_breaks_a_job(job, digest):
    path = job(compute={"azure": {"tier": "dedicated"}})
    assert found(path, digest) == []
    digest.step(
        "replace",
        CLUSTER,
        "cpu",
        cluster_inputs(),
        cluster_inputs(priority="LowPriority"),
        replace=("properties",),
    )
    assert [problem for _, problem, _ in found(path, digest)] == ["no cluster is dedicated"]


def test_a_removed_environment_version_breaks_the_jobs_that_pin_it(job, digest):
    inputs = {"name": "churn", "version": "3", "properties": {}}
    digest.step("delete", ENVIRONMENT, "old", inputs)
    digest.step("create", ENVIRONMENT, "new", None, {**inputs, "version": "4"})
    pinned = job(framework=None, environment="churn:3", compute={"azure": {"cluster": "cpu"}})
    assert found(pinned, digest) == [
        (
            "azure",
            "version 3 of environment 'churn' does not exist",
            "environment `churn:3` is deleted",
        )
    ]
    newest = job(framework=None, environment="churn", compute={"azure": {"cluster": "cpu"}})
    assert found(newest, digest) == []


def test_a_replaced_bucket_breaks_jobs_that_name_it_and_warns_the_others(job, digest):
    digest.step(
        "replace",
        BUCKET,
        "b",
        {"bucket": OUTPUTS.aws_bucket_name},
        {"bucket": "new-bucket"},
        replace=("bucket",),
    )
    named = job(inputs={"train": f"s3://{OUTPUTS.aws_bucket_name}/a"})
    assert [item.level for item in check_jobs([named], digest.preview(), OUTPUTS)] == ["breaks"]
    other = job()
    ((level, problem),) = [
        (i.level, i.problem) for i in check_jobs([other], digest.preview(), OUTPUTS)
    ]
    assert level == "warns"
    assert "models" in problem


def test_a_role_that_loses_what_a_job_needs_breaks_it(job, digest):
    less = role_policy()
    document = json.loads(less["policy"])
    document["Statement"][1]["Action"] = ["s3:GetObject"]
    digest.step("update", ROLE_POLICY, "p", role_policy(), {**less, "policy": json.dumps(document)})
    ((cloud, problem, change),) = found(job(), digest)
    assert (cloud, change) == ("aws", "role policy `trainstack-dev-training` is updated")
    assert (
        "lacks s3:PutObject on arn:aws:s3:::trainstack-dev-artifacts-1f0c3a/churn/file" in problem
    )


def test_an_instance_type_and_a_runtime_no_longer_allowed_break_a_job(job, digest):
    def limits(types, seconds):
        statement = {
            "Effect": "Allow",
            "Action": "sagemaker:CreateTrainingJob",
            "Resource": "*",
            "Condition": {
                "ForAllValues:StringEquals": {"sagemaker:InstanceTypes": types},
                "NumericLessThanEquals": {"sagemaker:MaxRuntimeInSeconds": str(seconds)},
            },
        }
        return {"policy": json.dumps({"Statement": [statement]})}

    digest.step(
        "update",
        "aws:iam/policy:Policy",
        "submitters",
        limits(["ml.m5.large"], 86_400),
        limits(["ml.c5.xlarge"], 1800),
    )
    assert [(problem, change) for _, problem, change in found(job(), digest)] == [
        ("instance type ml.m5.large is not allowed", "policy `submitters` is updated"),
        ("it may run 3600 s and the stack allows 1800 s", "policy `submitters` is updated"),
    ]


def test_a_dearer_cluster_may_take_a_job_over_the_cap(job, digest):
    capped = dataclasses.replace(OUTPUTS, job_price_cap_usd=1.0)
    path = job(compute={"instances": 1, "azure": {"cluster": "cpu"}})
    assert found(path, None, capped) == []
    digest.step(
        "replace",
        CLUSTER,
        "cpu",
        cluster_inputs(),
        cluster_inputs("Standard_NC24s_v3"),
        replace=("properties",),
    )
    assert [problem for _, problem, _ in found(path, digest, capped)] == [
        "it may cost 12.24 USD and the stack's cap is 1.00"
    ]


def test_what_was_broken_before_is_not_blamed_on_the_change(job, digest):
    digest.step("update", CLUSTER, "cpu", cluster_inputs(), cluster_inputs(most=8))
    ((_, problem, change),) = found(job(compute={"azure": {"cluster": "gone"}}), digest)
    assert problem == "cluster 'gone' does not exist"
    assert change == "none; it is so without the change"
    path = job(compute={"azure": {"cluster": "gone"}})
    assert [item.level for item in check_jobs([path], digest.preview(), OUTPUTS)] == ["warns"]
    assert [item.level for item in check_jobs([path], None, OUTPUTS)] == ["breaks"]


def test_a_removed_environment_breaks_the_frameworks_jobs_that_name_none(job, digest):
    digest.step(
        "delete", ENVIRONMENT, "sklearn", {"environmentName": "sklearn", "name": "sklearn", "version": "1"}
    )  # fmt: skip
    assert found(job(), digest) == [
        ("azure", "sklearn 1.4 has no environment", "environment `sklearn:1` is deleted")
    ]
    framework = {"name": "sklearn", "version": "1.4", "azure_environment": "churn"}
    assert found(job(framework=framework), digest) == []


def test_without_outputs_only_what_the_preview_takes_away_is_blamed(job, digest):
    assert check_jobs([job()], digest.preview(same=30), None) == []
    digest.step("delete", CLUSTER, "cpu", cluster_inputs())
    assert len(check_jobs([job()], digest.preview(same=30), None)) == 1


def test_the_previews_root_step_carries_the_present_outputs(digest):
    digest.step("same", "pulumi:pulumi:Stack", "s", {}, {}, old_outputs=OUTPUTS.as_exports())
    assert outputs_of(digest.preview()) == OUTPUTS


def test_a_deleted_workspace_breaks_every_azure_job(job, digest):
    digest.step(
        "delete", "azure-native:machinelearningservices:Workspace", "w", {"workspaceName": "w"}
    )
    assert [(cloud, problem) for cloud, problem, _ in found(job(), digest)] == [
        ("azure", "there is no workspace to run in")
    ]


def test_a_job_file_that_is_wrong_itself_is_a_finding(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("name: x\nframework: 3\n")
    (finding,) = check_jobs([path], None, OUTPUTS)
    assert finding.problem.startswith("the job file itself is wrong")
    assert "\n" not in finding.problem


def test_spot_warnings_come_with_the_check(job):
    path = job(
        spot={"enabled": True, "max_wait": "1h"}, compute={"aws": {"instance_type": "ml.m5.large"}}
    )
    assert [(item.level, item.problem[:10]) for item in check_jobs([path], None, OUTPUTS)] == [
        ("warns", "max_wait i"),
        ("warns", "it is a sp"),
    ]


def test_a_folders_job_files_are_found_and_other_yaml_is_not(job, tmp_path):
    path = job()
    (tmp_path / "conda.yaml").write_text("name: env\ndependencies: [python]\n")
    (tmp_path / "broken.yaml").write_text("{")
    assert job_files([tmp_path]) == [path]
