"""What ``trainstack doctor`` says of AWS: who am I, what is reachable, which rights are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from infra.outputs import StackOutputs
from training.backends.base import Check
from training.errors import AuthError, BackendError, RejectedError

Run = Callable[[Callable[[], Any]], Any]


def check(stack: StackOutputs, client: Callable[[str], Any], run: Run) -> Sequence[Check]:
    """Return the checks in order; what cannot be asked is ``unknown``, never assumed."""
    try:
        me = run(lambda: client("sts").get_caller_identity())
    except BackendError as error:
        return [
            Check(name="aws credentials", result="failed", detail=str(error), fix="aws sso login")
        ]
    found = [Check(name="aws credentials", result="ok", detail=me["Arn"])]
    if stack.aws_account_id and me["Account"] != stack.aws_account_id:
        found.append(
            Check(
                name="aws account",
                result="failed",
                detail=f"signed in to {me['Account']}; the stack is in {stack.aws_account_id}",
                fix="export AWS_PROFILE=PROFILE_OF_THAT_ACCOUNT",
            )
        )
        return found
    found += _reachable(stack, client, run)
    found += _rights(stack, me["Arn"], client, run)
    return found


def _reachable(stack: StackOutputs, client: Callable[[str], Any], run: Run) -> Iterator[Check]:
    calls = {
        "sagemaker": lambda: client("sagemaker").list_training_jobs(MaxResults=1),
        f"bucket {stack.aws_bucket_name}": lambda: client("s3").head_bucket(
            Bucket=stack.aws_bucket_name
        ),
    }
    for name, call in calls.items():
        try:
            run(call)
        except AuthError as error:
            yield Check(name=name, result="failed", detail=str(error), fix=_ASK)
        except BackendError as error:
            yield Check(name=name, result="failed", detail=str(error), fix="pulumi up")
        else:
            yield Check(name=name, result="ok", detail="reachable")


def _rights(
    stack: StackOutputs, caller: str, client: Callable[[str], Any], run: Run
) -> Iterator[Check]:
    """Ask IAM what the caller may do; a caller without iam:SimulatePrincipalPolicy gets ``unknown``.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
    """
    if caller.endswith(":root"):
        yield Check(
            name="aws rights", result="ok", detail="the account's root user may do everything"
        )
        return
    principal = _principal(caller)
    partition = caller.split(":")[1]
    bucket = f"arn:{partition}:s3:::{stack.aws_bucket_name}"
    jobs = f"arn:{partition}:sagemaker:{stack.aws_region}:{stack.aws_account_id}:training-job/*"
    logs = f"arn:{partition}:logs:{stack.aws_region}:{stack.aws_account_id}:log-group:/aws/sagemaker/TrainingJobs:*"
    wanted = [
        (["sagemaker:CreateTrainingJob", "sagemaker:AddTags", "sagemaker:DescribeTrainingJob",
          "sagemaker:StopTrainingJob"], jobs),
        (["sagemaker:ListTrainingJobs"], "*"),
        (["s3:GetObject", "s3:PutObject"], f"{bucket}/*"),
        (["s3:ListBucket"], bucket),
        (["logs:DescribeLogStreams", "logs:GetLogEvents"], logs),
        (["iam:PassRole"], stack.aws_role_arn or "*"),
    ]  # fmt: skip
    context = [
        {
            "ContextKeyName": "iam:PassedToService",
            "ContextKeyValues": ["sagemaker.amazonaws.com"],
            "ContextKeyType": "string",
        },
        {
            "ContextKeyName": "sagemaker:InstanceTypes",
            "ContextKeyValues": list(stack.aws_allowed_instance_types[:1]) or ["ml.m5.large"],
            "ContextKeyType": "stringList",
        },
        {
            "ContextKeyName": "sagemaker:MaxRuntimeInSeconds",
            "ContextKeyValues": ["60"],
            "ContextKeyType": "numeric",
        },
    ]
    missing: list[str] = []
    try:
        for actions, resource in wanted:
            answer = run(
                lambda actions=actions, resource=resource: client("iam").simulate_principal_policy(
                    PolicySourceArn=principal,
                    ActionNames=actions,
                    ResourceArns=[resource],
                    ContextEntries=context,
                )
            )
            missing += [
                item["EvalActionName"]
                for item in answer["EvaluationResults"]
                if item["EvalDecision"] != "allowed"
            ]
    except (AuthError, RejectedError) as error:
        yield Check(
            name="aws rights",
            result="unknown",
            detail=f"IAM does not tell you: {error}",
            fix="an administrator can ask: aws iam simulate-principal-policy",
        )
        return
    if missing:
        yield Check(
            name="aws rights", result="failed", detail=f"missing: {', '.join(missing)}", fix=_ASK
        )
    else:
        yield Check(name="aws rights", result="ok", detail="all that submitting a job needs")


def _principal(caller: str) -> str:
    """Return the role's ARN of an assumed role's session: simulation takes the role, not the session."""
    head, _, tail = caller.partition(":assumed-role/")
    if not tail:
        return caller
    account = head.split(":")[4]
    return f"{':'.join(head.split(':')[:2])}:iam::{account}:role/{tail.partition('/')[0]}"


_ASK = "ask the stack's owner for the submitter policy (output aws_submitter_policy_arn)"
