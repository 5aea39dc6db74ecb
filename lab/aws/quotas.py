"""Service Quotas for SageMaker's training instances, in the API's own shapes.

The quotas' names are AWS's. Their values are the lab's: AWS gives each account its own, and
publishes no default for most.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

from lab.aws.wire import Refusal
from lab.home import ACCOUNT_ID

LAB_QUOTA = 20.0
_USES = ("training job usage", "spot training job usage")


@functools.cache
def _all() -> dict[str, str]:
    """Return the quotas' codes and names, for every training instance type that botocore knows."""
    from botocore.loaders import Loader

    model = Loader().load_service_model("sagemaker", "service-2")
    types = model["shapes"]["TrainingInstanceType"]["enum"]
    found = [f"{instance_type} for {use}" for instance_type in types for use in _USES]
    return {f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}": name for name in found}


def answer(
    operation: str, request: dict[str, Any], region: str, values: Mapping[str, float]
) -> dict[str, Any]:
    """Answer one operation; ``values`` has, by quota name, those that are not the lab's usual one.

    Raises Refusal for a service or an operation that is not here.
    """
    if operation == "ListServices":
        return {"Services": [{"ServiceCode": "sagemaker", "ServiceName": "Amazon SageMaker"}]}
    if operation not in (
        *("ListServiceQuotas", "ListAWSDefaultServiceQuotas"),
        *("GetServiceQuota", "GetAWSDefaultServiceQuota"),
    ):
        raise Refusal("UnknownOperationException", f"the lab's Service Quotas do no {operation}")
    if request.get("ServiceCode") != "sagemaker":
        raise Refusal(
            "NoSuchResourceException", "the lab has the quotas of ServiceCode 'sagemaker' only"
        )
    applied: Mapping[str, float] = {} if "Default" in operation else values
    if operation.startswith("Get"):
        code = request.get("QuotaCode", "")
        if code not in _all():
            raise Refusal("NoSuchResourceException", f"there is no quota {code!r}")
        return {"Quota": _quota(code, region, applied)}
    codes = list(_all())
    start = int(request.get("NextToken") or 0)
    end = start + int(request.get("MaxResults") or 100)
    more = {"NextToken": str(end)} if end < len(codes) else {}
    return {"Quotas": [_quota(code, region, applied) for code in codes[start:end]], **more}


def _quota(code: str, region: str, values: Mapping[str, float]) -> dict[str, Any]:
    return {
        "ServiceCode": "sagemaker",
        "ServiceName": "Amazon SageMaker",
        "QuotaArn": f"arn:aws:servicequotas:{region}:{ACCOUNT_ID}:sagemaker/{code}",
        "QuotaCode": code,
        "QuotaName": _all()[code],
        "Description": "The value and the code are the lab's own; AWS gives each account its own.",
        "Value": float(values.get(_all()[code], LAB_QUOTA)),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
