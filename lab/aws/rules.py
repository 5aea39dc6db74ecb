"""What the front does itself, or refuses, where an emulator would do it otherwise than AWS.

Each function looks at one call before it is passed on: it returns None to pass it on, returns an
answer, or raises Refusal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError

from lab.aws import quotas
from lab.aws.identity import Guard, Identity
from lab.aws.policy import Policies, PolicyError, check_document, evaluate, policies_of_principal
from lab.aws.wire import Refusal


@dataclass(frozen=True)
class Call:
    """One request, read as a whole."""

    service: str
    operation: str  # of the JSON and query protocols
    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    region: str
    identity: Identity | None

    @property
    def form(self) -> dict[str, str]:
        """The parameters of a query protocol call."""
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}

    @property
    def json(self) -> dict[str, Any]:
        """The parameters of a JSON protocol call."""
        return json.loads(self.body or b"{}")

    def listed(self, name: str) -> list[str]:
        """Return ``Name.member.1``, ``.2``... of a query protocol call."""
        found = self.form
        numbered = (f"{name}.member.{index}" for index in range(1, len(found) + 1))
        return [found[key] for key in numbered if key in found]


@dataclass(frozen=True)
class Answer:
    """What the front answers itself."""

    body: bytes
    content_type: str


@dataclass
class Services:
    """What rules may ask: clients with the root's key, and the guard."""

    client: Callable[[str], Any]
    guard: Guard
    quota_values: Callable[[], Mapping[str, float]]  # those that someone set, by quota name


Rule = Callable[[Call, Services], Answer | None]


# -- IAM


def _check_trust(call: Call, _: Services) -> None:
    name = "AssumeRolePolicyDocument" if call.operation == "CreateRole" else "PolicyDocument"
    try:
        found = check_document(call.form.get(name, ""), principal=True, resource=False)
        for statement in found:
            for action in _many(statement.get("Action")):
                if not str(action).startswith("sts:"):
                    message = f"a trust policy's actions are of sts, and {action!r} is not"
                    raise Refusal("MalformedPolicyDocument", message)
            for service in _many((_mapping(statement.get("Principal"))).get("Service")):
                if not re.fullmatch(r"[a-z0-9.-]+\.amazonaws\.com(\.cn)?", service):
                    raise Refusal(
                        "MalformedPolicyDocument",
                        f'Invalid principal in policy: "SERVICE":"{service}"',
                    )
    except PolicyError as error:
        raise Refusal("MalformedPolicyDocument", str(error)) from None


def _check_policy(call: Call, _: Services) -> None:
    try:
        check_document(call.form.get("PolicyDocument", ""))
    except PolicyError as error:
        raise Refusal("MalformedPolicyDocument", str(error)) from None


def _check_attached(call: Call, services: Services) -> None:
    """Refuse a managed policy that does not exist; ministack takes any name under AWS's own."""
    arn = call.form.get("PolicyArn", "")
    if ":iam::aws:policy/" in arn:
        try:
            services.client("iam").get_policy(PolicyArn=arn)
        except ClientError:
            raise Refusal(
                "NoSuchEntity", f"Policy {arn} does not exist or is not attachable.", 404
            ) from None


def _simulate(call: Call, services: Services) -> Answer:
    """Answer SimulatePrincipalPolicy and SimulateCustomPolicy.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
    """
    given = call.form
    extra = tuple(call.listed("PolicyInputList"))
    boundary = next(iter(call.listed("PermissionsBoundaryPolicyInputList")), None)
    if call.operation == "SimulatePrincipalPolicy":
        source = given.get("PolicySourceArn", "")
        _require(call, services, "iam:SimulatePrincipalPolicy", source)
        try:
            found = policies_of_principal(services.client("iam"), source)
        except ClientError:
            raise Refusal("NoSuchEntity", f"{source} cannot be found.", 404) from None
        policies = Policies((*found.documents, *extra), boundary or found.boundary)
    else:
        _require(call, services, "iam:SimulateCustomPolicy", "*")
        policies = Policies(extra, boundary)
    context = _context_entries(given)
    try:
        results = "".join(
            _simulated(policies, action, resource, context)
            for action in call.listed("ActionNames")
            for resource in call.listed("ResourceArns") or ["*"]
        )
    except PolicyError as error:
        raise Refusal("InvalidInput", str(error)) from None
    name = call.operation
    return Answer(
        f'<{name}Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><{name}Result>'
        f"<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
        f"</{name}Result></{name}Response>".encode(),
        "text/xml",
    )


def _context_entries(given: Mapping[str, str]) -> dict[str, list[str]]:
    context: dict[str, list[str]] = {}
    for key, value in sorted(given.items()):
        found = re.fullmatch(r"ContextEntries\.member\.(\d+)\.ContextKeyName", key)
        if found:
            start = f"ContextEntries.member.{found[1]}.ContextKeyValues.member."
            context[value] = [text for name, text in given.items() if name.startswith(start)]
    return context


def _simulated(
    policies: Policies, action: str, resource: str, context: Mapping[str, list[str]]
) -> str:
    decision = evaluate(policies, action, resource, context)
    matched = ""
    if decision.statement is not None:
        sid = escape(str(decision.statement.get("Sid", "")))
        matched = (
            f"<member><SourcePolicyId>{sid or 'PolicyInputList.1'}</SourcePolicyId>"
            "<SourcePolicyType>IAM Policy</SourcePolicyType></member>"
        )
    boundary = ""
    if policies.boundary is not None:
        allowed = str(decision.allowed_by_boundary).lower()
        boundary = (
            "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>"
            f"{allowed}</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>"
        )
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{decision.result}</EvalDecision>"
        f"<MatchedStatements>{matched}</MatchedStatements><MissingContextValues/>{boundary}</member>"
    )


# -- S3


def _check_bucket_policy(call: Call, _: Services) -> None:
    try:
        check_document(call.body.decode("utf-8", "replace"), principal=True)
    except PolicyError as error:
        raise Refusal("MalformedPolicy", str(error)) from None


def _check_lifecycle(call: Call, _: Services) -> None:
    """Hold lifecycle rules to S3's own.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-configuration-examples.html
    """
    try:
        root = ElementTree.fromstring(call.body)  # noqa: S314 - from this machine, and small
    except ElementTree.ParseError:
        raise Refusal(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our schema",
        ) from None
    seen: set[str] = set()
    for rule in (element for element in root if _tag(element) == "Rule"):
        parts = {_tag(element) for element in rule}
        name = next((each.text or "" for each in rule if _tag(each) == "ID"), "")
        if name and name in seen:
            raise Refusal(
                "InvalidArgument",
                f"Rule ID must be unique. Found same ID for more than one rule: {name}",
            )
        seen.add(name)
        if not parts & {
            *("Expiration", "Transition", "NoncurrentVersionExpiration"),
            *("NoncurrentVersionTransition", "AbortIncompleteMultipartUpload"),
        }:
            raise Refusal("InvalidRequest", "At least one action needs to be specified in a rule.")
        for transition in (each for each in rule if _tag(each) == "Transition"):
            values = {_tag(each): each.text or "" for each in transition}
            storage = values.get("StorageClass", "")
            if storage in ("STANDARD_IA", "ONEZONE_IA") and int(values.get("Days") or 30) < 30:
                raise Refusal(
                    "InvalidArgument",
                    "'Days' in Transition action must be greater than or equal to 30 for "
                    f"storageClass '{storage}'",
                )


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


# -- the rest


def _check_delete_rule(call: Call, services: Services) -> None:
    request = call.json
    events = services.client("events")
    try:
        found = events.list_targets_by_rule(
            Rule=request["Name"], EventBusName=request.get("EventBusName", "default")
        )
    except ClientError:
        return  # ministack says what is wrong
    if found["Targets"]:
        raise Refusal("ValidationException", "Rule can't be deleted since it has targets.")


def _check_mutability(call: Call, _: Services) -> None:
    request = call.json
    if request.get("imageTagMutabilityExclusionFilters") or str(
        request.get("imageTagMutability", "")
    ).endswith("_WITH_EXCLUSION"):
        raise Refusal("InvalidParameterException", "the lab's ECR has no exclusion filters")


def _quotas(call: Call, services: Services) -> Answer:
    _require(call, services, f"servicequotas:{call.operation}", "*")
    found = quotas.answer(call.operation, call.json, call.region, services.quota_values())
    return Answer(json.dumps(found).encode(), "application/x-amz-json-1.1")


def _prices(call: Call, _: Services) -> Answer:
    raise Refusal(
        "AccessDeniedException",
        "the lab has no AWS price list. The project's own catalogue is at: trainstack prices",
    )


def _refused(message: str, code: str = "InvalidParameterException") -> Rule:
    def refuse(call: Call, services: Services) -> Answer | None:
        raise Refusal(code, f"{message} ({call.operation or call.method})")

    return refuse


_NO_SCANS = _refused("the lab's ECR stores images and scans none", "ValidationException")
_NO_REGISTRY_SETTINGS = _refused(
    "the lab's ECR has repositories, and no settings of a registry", "ValidationException"
)
_LOG_KEY = _refused("the lab's CloudWatch Logs take a key when a group is created, and not later")

RULES: dict[tuple[str, str], Rule] = {
    ("iam", "CreateRole"): _check_trust,
    ("iam", "UpdateAssumeRolePolicy"): _check_trust,
    ("iam", "CreatePolicy"): _check_policy,
    ("iam", "CreatePolicyVersion"): _check_policy,
    ("iam", "PutRolePolicy"): _check_policy,
    ("iam", "PutUserPolicy"): _check_policy,
    ("iam", "AttachRolePolicy"): _check_attached,
    ("iam", "AttachUserPolicy"): _check_attached,
    ("iam", "AttachGroupPolicy"): _check_attached,
    ("iam", "SimulatePrincipalPolicy"): _simulate,
    ("iam", "SimulateCustomPolicy"): _simulate,
    ("logs", "AssociateKmsKey"): _LOG_KEY,
    ("logs", "DisassociateKmsKey"): _LOG_KEY,
    ("kms", "RotateKeyOnDemand"): _refused(
        "the lab's KMS rotates no key on demand", "UnsupportedOperationException"
    ),
    ("events", "DeleteRule"): _check_delete_rule,
    ("ecr", "CreateRepository"): _check_mutability,
    ("ecr", "PutImageTagMutability"): _check_mutability,
    ("ecr", "StartImageScan"): _NO_SCANS,
    ("ecr", "DescribeImageScanFindings"): _NO_SCANS,
    ("ecr", "GetRegistryScanningConfiguration"): _NO_REGISTRY_SETTINGS,
    ("ecr", "PutRegistryScanningConfiguration"): _NO_REGISTRY_SETTINGS,
    ("ecr", "BatchGetRepositoryScanningConfiguration"): _NO_REGISTRY_SETTINGS,
    ("ecr", "PutReplicationConfiguration"): _NO_REGISTRY_SETTINGS,
    ("ecr", "CreatePullThroughCacheRule"): _NO_REGISTRY_SETTINGS,
    ("ecr", "CreateRepositoryCreationTemplate"): _NO_REGISTRY_SETTINGS,
}

# By the subresource of a PUT on a bucket.
BUCKET_RULES: dict[str, Rule] = {
    "policy": _check_bucket_policy,
    "lifecycle": _check_lifecycle,
    "intelligent-tiering": _refused("the lab's S3 has no intelligent tiering", "NotImplemented"),
}

SERVICE_RULES: dict[str, Rule] = {"servicequotas": _quotas, "pricing": _prices}


def rule_for(service: str, operation: str, method: str, query: Mapping[str, str]) -> Rule | None:
    """Return the rule of a call, if it has one."""
    if service in SERVICE_RULES:
        return SERVICE_RULES[service]
    if service == "s3" and method == "PUT":
        return next((BUCKET_RULES[name] for name in BUCKET_RULES if name in query), None)
    return RULES.get((service, operation))


def _require(call: Call, services: Services, action: str, resource: str) -> None:
    if call.identity is None:
        raise Refusal("MissingAuthenticationToken", "Missing Authentication Token", 403)
    services.guard.require(call.identity, action, resource)


def _many(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
