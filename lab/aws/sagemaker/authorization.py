"""Whether a caller may: its policies against the operation, its resource and its condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from lab.aws import policy
from lab.aws.sagemaker.errors import ServiceError, access_denied
from lab.aws.sagemaker.resources import KINDS
from lab.aws.sagemaker.session import service_client
from lab.aws.sagemaker.settings import Settings
from lab.aws.sagemaker.tags import Tags

Context = dict[str, str | list[str]]
_JOB_OPERATIONS = {
    f"{verb}TrainingJob" for verb in ("Create", "Describe", "Stop", "Update", "Delete")
}


def authorize(
    operation: str, request: Mapping[str, Any], caller: str | None, settings: Settings, tags: Tags
) -> None:
    """Raise AccessDeniedException unless the caller may; the root (or None) may do all."""
    if caller is None or caller.endswith(":root"):
        return
    policies = _policies(caller, settings)
    resource = _resource(operation, request, settings)
    base: Context = {
        "aws:PrincipalArn": caller,
        "aws:PrincipalAccount": settings.account_id,
        "aws:RequestedRegion": settings.region,
        "aws:SecureTransport": "true",  # the lab's loopback stands for the service's own TLS
    }
    base |= {f"aws:ResourceTag/{tag['Key']}": tag["Value"] for tag in tags.of(resource)}
    wanted = {tag["Key"]: tag["Value"] for tag in request.get("Tags") or []}
    if wanted:
        base |= {f"aws:RequestTag/{key}": value for key, value in wanted.items()}
        base["aws:TagKeys"] = list(wanted)
    context = base | _job_keys(request) if operation == "CreateTrainingJob" else base
    _require(policies, caller, f"sagemaker:{operation}", resource, context)
    if operation.startswith("Create") and wanted:
        tagging: Context = base | {"sagemaker:TaggingAction": operation}
        _require(policies, caller, "sagemaker:AddTags", resource, tagging)
    if operation.startswith(("Create", "Update")):
        for role in sorted(_roles(request)):
            passing: Context = base | {"iam:PassedToService": "sagemaker.amazonaws.com"}
            _require(policies, caller, "iam:PassRole", role, passing)


def _require(
    policies: policy.Policies, caller: str, action: str, resource: str, context: Context
) -> None:
    decision = policy.evaluate(policies, action, resource, context)
    if decision.allowed:
        return
    if decision.result == "explicitDeny":
        why = "with an explicit deny in an identity-based policy"
    elif not decision.allowed_by_boundary:
        why = f"because no permissions boundary allows the {action} action"
    else:
        why = f"because no identity-based policy allows the {action} action"
    raise access_denied(
        f"User: {caller} is not authorized to perform: {action} on resource: {resource} {why}"
    )


def _policies(caller: str, settings: Settings) -> policy.Policies:
    try:
        return policy.policies_of_principal(service_client("iam", settings.region), caller)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchEntity":
            raise ServiceError(
                "UnrecognizedClientException", f"The caller {caller} no longer exists."
            ) from None
        raise


def _resource(operation: str, request: Mapping[str, Any], settings: Settings) -> str:
    """Return the ARN that an operation is about; ``*`` for those about none."""
    if "ResourceArn" in request:
        return request["ResourceArn"]
    if operation in _JOB_OPERATIONS:
        return settings.arn(f"training-job/{request['TrainingJobName']}")
    for kind in KINDS:
        if operation.endswith(kind.name) and not operation.startswith("List"):
            known = {key: request.get(key, "*") for key in kind.keys}
            return settings.arn(kind.arn.format(**known))
    return "*"


def _job_keys(request: Mapping[str, Any]) -> Context:
    """The condition keys of CreateTrainingJob; one whose value is not in the request is absent."""
    resources = request.get("ResourceConfig") or {}
    output = request.get("OutputDataConfig") or {}
    network = request.get("VpcConfig") or {}
    groups = resources.get("InstanceGroups") or []
    condition = request.get("StoppingCondition") or {}
    found: dict[str, Any] = {
        "sagemaker:InstanceTypes": [group["InstanceType"] for group in groups]
        or [resources.get("InstanceType")],
        "sagemaker:MaxRuntimeInSeconds": condition.get("MaxRuntimeInSeconds", 86400),
        "sagemaker:KeepAlivePeriod": resources.get("KeepAlivePeriodInSeconds"),
        "sagemaker:NetworkIsolation": request.get("EnableNetworkIsolation", False),
        "sagemaker:InterContainerTrafficEncryption": request.get(
            "EnableInterContainerTrafficEncryption", False
        ),
        "sagemaker:OutputKmsKey": output.get("KmsKeyId"),
        "sagemaker:VolumeKmsKey": resources.get("VolumeKmsKeyId"),
        "sagemaker:VpcSecurityGroupIds": network.get("SecurityGroupIds"),
        "sagemaker:VpcSubnets": network.get("Subnets"),
        "sagemaker:EnableRemoteDebug": (request.get("RemoteDebugConfig") or {}).get(
            "EnableRemoteDebug"
        ),
    }
    return {key: _text(value) for key, value in found.items() if value not in (None, [None])}


def _text(value: Any) -> str | list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _roles(request: Any) -> set[str]:
    """Every role that a request hands to the service."""
    if isinstance(request, list):
        return set().union(*(_roles(item) for item in request))
    if not isinstance(request, dict):
        return set()
    own = {
        request[key] for key in ("RoleArn", "ExecutionRole") if isinstance(request.get(key), str)
    }
    return own.union(*(_roles(value) for value in request.values()))
