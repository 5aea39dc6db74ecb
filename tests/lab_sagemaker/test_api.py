"""The API's own side: what is refused and in which words, lists, tags, quotas, rights, restarts."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.aws.sagemaker import model

SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
ROLE = "arn:aws:iam::123456789012:role/training/ml-train"


def job(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": SKLEARN, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://ml-artifacts/output"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 5,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    } | changes


def call(
    lab: Any, operation: str, body: dict[str, Any], caller: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Call without a client, so that nothing is checked before the plane sees it."""
    headers = {"X-Amz-Target": f"SageMaker.{operation}"}
    if caller:
        headers["X-Lab-Caller-Arn"] = caller
    request = urllib.request.Request(  # noqa: S310
        lab.url, json.dumps(body).encode(), headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"TrainingJobName": "under_score"},
            "1 validation error detected: Value 'under_score' at 'trainingJobName' failed to "
            "satisfy constraint: Member must satisfy regular expression pattern: "
            "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        ),
        (
            {"RoleArn": None},
            "1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: "
            "Member must not be null",
        ),
        (
            {
                "ResourceConfig": {
                    "InstanceType": "ml.t2.medium",
                    "InstanceCount": 1,
                    "VolumeSizeInGB": 5,
                }
            },
            "1 validation error detected: Value 'ml.t2.medium' at 'resourceConfig.instanceType' "
            "failed to satisfy constraint: Member must satisfy enum value set: [",
        ),
        (
            {
                "ResourceConfig": {
                    "InstanceType": "ml.m5.large",
                    "InstanceCount": 0,
                    "VolumeSizeInGB": 5,
                }
            },
            "InstanceCount must be at least 1.",
        ),
        (
            {"HyperParameters": {"text": "x" * 2501}},
            "at 'hyperParameters.text.value' failed to satisfy constraint: Member must have length "
            "less than or equal to 2500",
        ),
        (
            {"EnableManagedSpotTraining": True},
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
            "MaxRuntimeInSeconds",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}},
            "Invalid MaxWaitTimeInSeconds. It must only be present when EnableManagedSpotTraining",
        ),
        (
            {"RoleArn": "arn:aws:iam::123456789012:role/no-such-role"},
            "Could not assume role arn:aws:iam::123456789012:role/no-such-role. Please ensure that "
            "the role exists and allows principal 'sagemaker.amazonaws.com' to assume the role.",
        ),
        (
            {"RoleArn": "arn:aws:iam::123456789012:role/for-lambda"},
            "Could not assume role arn:aws:iam::123456789012:role/for-lambda.",
        ),
        (
            {"RoleArn": "arn:aws:iam::210987654321:role/x"},
            "Cross-account pass role is not allowed",
        ),
        (
            {
                "AlgorithmSpecification": {
                    "TrainingInputMode": "File",
                    "TrainingImage": "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1",
                }
            },
            "The lab has nothing that stands in for image 382416733822.dkr.ecr",
        ),
        (
            {"VpcConfig": {"Subnets": ["subnet-0000"], "SecurityGroupIds": ["sg-0000"]}},
            "subnet-0000",
        ),
        ({"NoSuchMember": 1}, "Unknown member 'NoSuchMember'"),
        ({"DebugHookConfig": {"S3OutputPath": "s3://x/y"}}, "The lab does not do DebugHookConfig"),
    ],
)
def test_a_request_that_cannot_run_is_refused_in_the_services_words(
    lab: Any, job_name: Callable[[], str], changes: dict[str, Any], message: str
) -> None:
    if "for-lambda" in str(changes):
        trust = {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            },
        }
        lab.client("iam").create_role(
            RoleName="for-lambda", AssumeRolePolicyDocument=json.dumps(trust)
        )
    status, answer = call(lab, "CreateTrainingJob", job(job_name(), **changes))
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert message in answer["message"]


def test_a_value_of_the_wrong_type_is_a_serialization_error(lab: Any) -> None:
    status, answer = call(lab, "CreateTrainingJob", {"TrainingJobName": 7})
    assert (status, answer["__type"]) == (400, "SerializationException")


def test_an_operation_that_the_lab_lacks_is_refused_by_name(lab: Any) -> None:
    status, answer = call(lab, "CreateHyperParameterTuningJob", {})
    assert (status, answer["__type"]) == (400, "UnknownOperationException")
    assert (
        "CreateHyperParameterTuningJob is an operation of SageMaker that the lab does not have"
        in (answer["message"])
    )
    _, answer = call(lab, "MakeCoffee", {})
    assert answer["message"] == "Unknown operation 'MakeCoffee'"


def test_every_pattern_of_the_model_can_be_checked() -> None:
    shapes = (model.service().shape_for(name) for name in model.service().shape_names)
    for shape in shapes:
        if pattern := shape.metadata.get("pattern"):
            model._compiled(pattern)


def test_a_name_is_taken_once(lab: Any, job_name: Callable[[], str]) -> None:
    name = job_name()
    lab.submit(name, "print('hello')")
    with pytest.raises(lab.sagemaker.exceptions.ResourceInUse, match="names must be unique"):
        lab.sagemaker.create_training_job(**job(name))
    lab.wait(name)


def test_an_unknown_job_is_a_validation_error_as_the_service_has_it(lab: Any) -> None:
    with pytest.raises(ClientError, match="Requested resource not found") as caught:
        lab.sagemaker.describe_training_job(TrainingJobName="nobody")
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_jobs_are_listed_by_filters_a_page_at_a_time(lab: Any, job_name: Callable[[], str]) -> None:
    names = [f"listed-{job_name()}" for _ in range(3)]
    for name in names:
        lab.submit(name, "print('hello')")
    for name in names:
        lab.wait(name)
    pages = lab.sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains="listed-", StatusEquals="Completed", PaginationConfig={"PageSize": 2}
    )
    found = [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages]
    assert found == [[names[2], names[1]], [names[0]]], "newest first, two a page"
    ascending = lab.sagemaker.list_training_jobs(
        NameContains="listed-", SortBy="Name", SortOrder="Ascending"
    )
    assert [j["TrainingJobName"] for j in ascending["TrainingJobSummaries"]] == sorted(names)
    assert not lab.sagemaker.list_training_jobs(StatusEquals="Failed", NameContains="listed-")[
        "TrainingJobSummaries"
    ]
    arn = lab.sagemaker.describe_training_job(TrainingJobName=names[0])["TrainingJobArn"]
    lab.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "found", "Value": "by-search"}])
    results = lab.sagemaker.search(
        Resource="TrainingJob",
        SearchExpression={"Filters": [{"Name": "Tags.found", "Value": "by-search"}]},
    )["Results"]
    assert [r["TrainingJob"]["TrainingJobName"] for r in results] == [names[0]]
    lab.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["found"])
    assert lab.sagemaker.list_tags(ResourceArn=arn)["Tags"] == []


def test_a_quota_is_a_limit_that_the_service_names(lab: Any, job_name: Callable[[], str]) -> None:
    lab.post("/_lab/quotas", {"ml.p3.2xlarge for training job usage": 0})
    resources = {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5}
    with pytest.raises(lab.sagemaker.exceptions.ResourceLimitExceeded) as caught:
        lab.sagemaker.create_training_job(**job(job_name(), ResourceConfig=resources))
    assert (
        "The account-level service limit 'ml.p3.2xlarge for training job usage' is 0 Instances, "
        "with current utilization of 0 Instances and a request delta of 1 Instances."
    ) in str(caught.value)
    lab.post("/_lab/quotas", {"ml.p3.2xlarge for training job usage": None})


def submitter(lab: Any) -> str:
    """A role that may create jobs on one instance type, for an hour, with one role."""
    iam = lab.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    statements = [
        {
            "Effect": "Allow",
            "Action": "sagemaker:CreateTrainingJob",
            "Resource": "arn:aws:sagemaker:us-east-1:123456789012:training-job/*",
            "Condition": {
                "ForAllValues:StringEquals": {"sagemaker:InstanceTypes": ["ml.m5.large"]},
                "NumericLessThanEquals": {"sagemaker:MaxRuntimeInSeconds": "3600"},
            },
        },
        {
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": ROLE,
            "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        },
    ]
    try:
        iam.create_role(
            RoleName="submitter",
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        )
    except iam.exceptions.EntityAlreadyExistsException:
        pass
    else:
        iam.put_role_policy(
            RoleName="submitter",
            PolicyName="submit",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
        )
        other = {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": "sts:AssumeRole",
            },
        }
        iam.create_role(RoleName="admin", AssumeRolePolicyDocument=json.dumps(other))
    return "arn:aws:sts::123456789012:assumed-role/submitter/alice"


@pytest.mark.parametrize(
    ("operation", "changes", "denied"),
    [
        ("CreateTrainingJob", {}, None),
        (
            "CreateTrainingJob",
            {
                "ResourceConfig": {
                    "InstanceType": "ml.m5.xlarge",
                    "InstanceCount": 1,
                    "VolumeSizeInGB": 5,
                }
            },
            "sagemaker:CreateTrainingJob",
        ),
        (
            "CreateTrainingJob",
            {"StoppingCondition": {"MaxRuntimeInSeconds": 3601}},
            "sagemaker:CreateTrainingJob",
        ),
        (
            "CreateTrainingJob",
            {"RoleArn": "arn:aws:iam::123456789012:role/admin"},
            "iam:PassRole",
        ),
        ("CreateTrainingJob", {"Tags": [{"Key": "a", "Value": "b"}]}, "sagemaker:AddTags"),
        ("ListTrainingJobs", None, "sagemaker:ListTrainingJobs"),
    ],
)
def test_a_caller_may_do_what_its_policies_allow(
    lab: Any,
    job_name: Callable[[], str],
    operation: str,
    changes: dict[str, Any] | None,
    denied: str | None,
) -> None:
    caller, name = submitter(lab), job_name()
    body = {} if changes is None else job(name, **changes)
    status, answer = call(lab, operation, body, caller)
    if denied is None:
        assert status == 200, answer
        lab.wait(name)
        return
    assert (status, answer["__type"]) == (400, "AccessDeniedException")
    assert answer["message"].startswith(f"User: {caller} is not authorized to perform: {denied} on")
    assert answer["message"].endswith(
        f"because no identity-based policy allows the {denied} action"
    )


def test_a_killed_plane_has_lost_nothing_and_says_what_became_of_its_jobs(
    lab: Any, job_name: Callable[[], str]
) -> None:
    running, retried, waiting = job_name(), job_name(), job_name()
    lab.submit(running, "import time; print('at work', flush=True); time.sleep(600)")
    once = (
        "import os, pathlib, time\nflag = pathlib.Path('/opt/ml/checkpoints/seen')\n"
        "if flag.exists(): raise SystemExit(0)\n"
        "flag.write_text('x'); time.sleep(2.5); print('saved', flush=True); time.sleep(600)"
    )
    lab.submit(
        retried,
        once,
        RetryStrategy={"MaximumRetryAttempts": 1},
        CheckpointConfig={"S3Uri": f"s3://ml-artifacts/checkpoints/{retried}"},
    )
    lab.wait_for_line(running, "at work")
    lab.wait_for_line(retried, "saved")
    lab.post("/_lab/capacity", {"instances": 2})
    lab.submit(waiting, "print('at last')")
    os.kill(lab.process.pid, signal.SIGKILL)
    lab.process.wait()
    lab.process = lab.start_plane()
    lost = lab.wait(running)
    assert lost["TrainingJobStatus"] == "Failed"
    assert lost["FailureReason"].startswith("InternalServerError: the lab was stopped")
    again = lab.wait(retried)
    assert again["TrainingJobStatus"] == "Completed", again.get("FailureReason")
    assert "Restarting" in [step["Status"] for step in again["SecondaryStatusTransitions"]]
    assert lab.wait(waiting)["TrainingJobStatus"] == "Completed"
