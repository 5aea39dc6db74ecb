"""The rules a training stack keeps: plain functions over a resource's type and properties, with no Pulumi import.

``policy/__main__.py`` serves them to ``pulumi preview --policy-pack policy``; ``trainstack review --policy``
runs them on a preview. A rule is given what the program asked for; a value that only ``up`` will know breaks no
rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["mandatory", "advisory", "disabled"]
LEVELS: tuple[Level, ...] = ("mandatory", "advisory", "disabled")


class PolicyConfigError(ValueError):
    """The configuration of the rules is wrong. The message says which rule and value, and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource: its type without API version, and its inputs in camelCase."""

    type: str
    name: str
    urn: str
    props: Mapping[str, Any]

    def get(self, *keys: str) -> Any:
        """Return what is at a path of keys, or None."""
        value: Any = self.props
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @property
    def environment(self) -> str | None:
        """The tag ``environment``, where there is one."""
        value = _tags(self).get("environment")
        return value if isinstance(value, str) else None


@dataclass(frozen=True)
class Settings:
    """What one rule may be told: the defaults of its settings, with the configured ones over them."""

    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def is_production(self, resource: Resource) -> bool:
        return resource.environment in self.values["productionEnvironments"]


ResourceCheck = Callable[[Resource, Settings], Iterator[str]]
StackCheck = Callable[[Sequence[Resource], Settings], Iterator[tuple[Resource | None, str]]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    ``check`` yields a sentence for each thing that breaks it; ``check_stack`` sees all resources at once.
    """

    id: str
    why: str
    fix: str
    level: Level = "mandatory"
    settings: Mapping[str, Any] = field(default_factory=dict)
    # JSON Schema of each setting.
    schema: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    check: ResourceCheck | None = None
    check_stack: StackCheck | None = None


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One broken rule."""

    rule: str
    level: Level
    resource: str
    urn: str
    problem: str
    why: str
    fix: str

    def as_json(self) -> dict[str, str]:
        return dict(vars(self))


_COMPUTE = "azure-native:machinelearningservices:Compute"
_ML_WORKSPACE = "azure-native:machinelearningservices:Workspace"
_ENVIRONMENT = "azure-native:machinelearningservices:EnvironmentVersion"
_STORAGE = "azure-native:storage:StorageAccount"
_CONTAINER = "azure-native:storage:BlobContainer"
_VAULT = "azure-native:keyvault:Vault"
_REGISTRY = "azure-native:containerregistry:Registry"
_BUCKET = "aws:s3/bucket:Bucket"
_IAM_POLICIES = (
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/policy:Policy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
    "aws:iam/role:Role",
)
_ATTACHMENTS = (
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
    "aws:iam/role:Role",
)
# Types that take tags and that a bill is split by.
_TAGGED = (
    _BUCKET,
    "aws:ecr/repository:Repository",
    "aws:iam/role:Role",
    "aws:kms/key:Key",
    "aws:cloudwatch/logGroup:LogGroup",
    "aws:sagemaker/domain:Domain",
    "aws:ec2/vpc:Vpc",
    "aws:ec2/vpcEndpoint:VpcEndpoint",
    "azure-native:resources:ResourceGroup",
    _STORAGE,
    _VAULT,
    _REGISTRY,
    _ML_WORKSPACE,
    _COMPUTE,
    "azure-native:operationalinsights:Workspace",
    "azure-native:applicationinsights:Component",
    "azure-native:managedidentity:UserAssignedIdentity",
    "azure-native:network:PrivateEndpoint",
)
# Actions for which AWS knows no resource, so that "*" is all one can write.
_NO_RESOURCE = re.compile(
    r"(?i)^(ecr:GetAuthorizationToken|cloudwatch:(PutMetricData|GetMetricData|GetMetricStatistics|List\w+)|"
    r"ec2:Describe\w+|sagemaker:List\w+|servicequotas:\w+|logs:Describe\w+|s3:ListAllMyBuckets|sts:GetCallerIdentity|"
    r"kms:ListAliases|pricing:\w+|iam:List\w+)$"
)
_FULL_ACCESS = re.compile(r"(FullAccess|AdministratorAccess|PowerUserAccess)$")
PRODUCTION = {"productionEnvironments": ["prod", "production"]}
_PRODUCTION_SCHEMA = {
    "productionEnvironments": {
        "type": "array",
        "items": {"type": "string"},
        "default": PRODUCTION["productionEnvironments"],
    }
}


def _cluster_idle(resource: Resource, settings: Settings) -> Iterator[str]:
    if _computes(resource, "AmlCompute"):
        idle = resource.get(
            "properties", "properties", "scaleSettings", "nodeIdleTimeBeforeScaleDown"
        )
        seconds = duration_seconds(idle)
        if idle is None:
            yield "has no nodeIdleTimeBeforeScaleDown."
        elif seconds is not None and seconds > settings["maxSeconds"]:
            yield f"keeps idle nodes for {seconds} s; at most {settings['maxSeconds']:g} s are allowed."


def _cluster_zero(resource: Resource, settings: Settings) -> Iterator[str]:
    if _computes(resource, "AmlCompute") and not settings.is_production(resource):
        least = resource.get("properties", "properties", "scaleSettings", "minNodeCount")
        if isinstance(least, int | float) and least > 0:
            yield f"keeps {least:g} nodes running with no job, outside production."


def _instance_shutdown(resource: Resource, settings: Settings) -> Iterator[str]:
    if _computes(resource, "ComputeInstance"):
        idle = resource.get("properties", "properties", "idleTimeBeforeShutdown")
        seconds = duration_seconds(idle)
        if idle is None:
            yield "never stops when idle: it has no idleTimeBeforeShutdown."
        elif seconds is not None and seconds > settings["maxSeconds"]:
            yield f"stops only after {seconds} s idle; at most {settings['maxSeconds']:g} s are allowed."


def _no_public_data(resource: Resource, settings: Settings) -> Iterator[str]:
    if resource.type == _STORAGE and resource.get("allowBlobPublicAccess") is True:
        yield "lets its containers hold public blobs."
    if resource.type == _CONTAINER and resource.get("publicAccess") in ("Blob", "Container"):
        yield "is public."
    if resource.type == _REGISTRY and resource.get("anonymousPullEnabled") is True:
        yield "lets anyone pull."
    if resource.type in ("aws:s3/bucketAcl:BucketAcl", _BUCKET):
        acl = resource.get("acl")
        if isinstance(acl, str) and acl.startswith(("public-", "authenticated-")):
            yield f"is opened by ACL {acl}."


def _no_public_nodes(resource: Resource, settings: Settings) -> Iterator[str]:
    if resource.type != _COMPUTE:
        return
    body = resource.get("properties", "properties")
    if not isinstance(body, Mapping):
        return
    if body.get("enableNodePublicIp") is True:
        yield "gives its nodes public addresses."
    if body.get("remoteLoginPortPublicAccess") == "Enabled":
        yield "opens SSH to the internet."
    ssh = body.get("sshSettings")
    if isinstance(ssh, Mapping) and ssh.get("sshPublicAccess") == "Enabled":
        yield "opens SSH to the internet."


def _private_in_production(resource: Resource, settings: Settings) -> Iterator[str]:
    if not settings.is_production(resource):
        return
    value: Any = None
    if resource.type in (_STORAGE, _REGISTRY, _ML_WORKSPACE):
        value = resource.get("publicNetworkAccess")
    elif resource.type == _VAULT:
        value = resource.get("properties", "publicNetworkAccess")
    else:
        return
    if value is None or (isinstance(value, str) and value.lower() == "enabled"):
        yield "is reachable from the internet, in production."


def _no_local_keys(resource: Resource, settings: Settings) -> Iterator[str]:
    if resource.type == _STORAGE and resource.get("allowSharedKeyAccess") in (True, None):
        yield "can be used with account keys: allowSharedKeyAccess is not false."
    if resource.type == _REGISTRY and resource.get("adminUserEnabled") is True:
        yield "has an admin user with a password."
    if resource.type == _VAULT and resource.get("properties", "enableRbacAuthorization") in (
        False,
        None,
    ):
        yield "goes by access policies: enableRbacAuthorization is not true."
    if resource.type == _COMPUTE and resource.get("properties", "disableLocalAuth") is False:
        yield "allows local users."
    if resource.type == "aws:iam/accessKey:AccessKey":
        yield "is a long-lived access key."


def _no_wildcards(resource: Resource, settings: Settings) -> Iterator[str]:
    for statement in _iam_statements(resource):
        if statement.get("Effect") != "Allow":
            continue
        if "NotAction" in statement:
            yield "allows everything but a list (NotAction)."
        for action in _listed(statement.get("Action")):
            if action == "*" or str(action).endswith(":*"):
                yield f"allows {action}."
            elif (
                "*" in _listed(statement.get("Resource"))
                and not statement.get("Condition")
                and not _NO_RESOURCE.match(str(action))
            ):
                yield f"allows {action} on every resource."


def _no_full_access(resource: Resource, settings: Settings) -> Iterator[str]:
    if resource.type in _ATTACHMENTS:
        arns = [resource.get("policyArn"), *_listed(resource.get("managedPolicyArns"))]
        for arn in arns:
            if isinstance(arn, str) and _FULL_ACCESS.search(arn):
                yield f"has {arn.rpartition('/')[2]}."


def _trust_account(resource: Resource, settings: Settings) -> Iterator[str]:
    if resource.type != "aws:iam/role:Role":
        return
    for statement in _statements(resource.get("assumeRolePolicy")):
        principal = statement.get("Principal")
        if statement.get("Effect") != "Allow":
            continue
        if principal == "*" or (isinstance(principal, Mapping) and principal.get("AWS") == "*"):
            yield "may be assumed by anyone."
        services = _listed(principal.get("Service")) if isinstance(principal, Mapping) else []
        condition = json.dumps(statement.get("Condition") or {}).lower()
        if "sagemaker.amazonaws.com" in services and "aws:source" not in condition:
            yield "may be assumed by SageMaker for any account: its trust has no aws:SourceAccount."


def _ecr(resource: Resource, settings: Settings) -> Iterator[str]:
    if resource.type != "aws:ecr/repository:Repository":
        return
    mutability = resource.get("imageTagMutability")
    if not isinstance(mutability, str) or not mutability.startswith("IMMUTABLE"):
        yield "has tags that can be moved to another image."
    scanning = resource.get("imageScanningConfiguration")
    if not isinstance(scanning, Mapping) or scanning.get("scanOnPush") is not True:
        yield "does not scan images on push."


def _s3_tls(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    policies = [item for item in resources if item.type == "aws:s3/bucketPolicy:BucketPolicy"]
    for bucket in _of_type(resources, _BUCKET):
        documents = [item.get("policy") for item in policies if _belongs(item, bucket)]
        if any(not _is_document(document) for document in documents):
            continue  # known only after up
        if not any(_denies_plain_http(document) for document in documents):
            yield (
                bucket,
                "can be used without TLS: no bucket policy denies aws:SecureTransport false.",
            )


def _s3_blocked(
    resources: Sequence[Resource], settings: Settings
) -> Iterator[tuple[Resource, str]]:
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    blocks = _of_type(resources, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
    for bucket in _of_type(resources, _BUCKET):
        own = [item for item in blocks if _belongs(item, bucket)]
        if not own:
            yield bucket, "has no block on public access."
        for block in own:
            off = [flag for flag in flags if block.get(flag) in (None, False)]
            if off:
                yield bucket, f"can be made public: {', '.join(off)} not set."


def _required_tags(resource: Resource, settings: Settings) -> Iterator[str]:
    if resource.type not in _TAGGED:
        return
    tags = _tags(resource)
    missing = [name for name in settings["tags"] if name not in tags]
    if missing:
        yield f"lacks the tags {', '.join(missing)}."


def _pinned(resource: Resource, settings: Settings) -> Iterator[str]:
    if resource.type != _ENVIRONMENT:
        return
    image = resource.get("properties", "image")
    if isinstance(image, str):
        name, _, digest = image.partition("@")
        tag = name.rpartition("/")[2].partition(":")[2]
        if not digest and tag in ("", "latest"):
            yield f"takes whatever {image} is at the time: its image has {'tag latest' if tag else 'no tag'}."
    conda = resource.get("properties", "condaFile")
    if isinstance(conda, str):
        loose = _loose_packages(conda)
        if loose:
            yield f"takes whatever version is newest of {', '.join(loose[:5])}."


def _key_rotation(resource: Resource, settings: Settings) -> Iterator[str]:
    if (
        resource.type == "aws:kms/key:Key"
        and resource.get("enableKeyRotation") is not True
        and resource.get("keyUsage") in (None, "ENCRYPT_DECRYPT")
    ):
        yield "is never rotated: enableKeyRotation is not true."


_SECONDS = {"type": "integer", "minimum": 1}
RULES: tuple[Rule, ...] = (
    Rule(
        id="cluster-idle-scale-down",
        why="Every job leaves its nodes idling, and they are billed until they go.",
        fix="Set idle_time_before_scale_down, 120 s is the default.",
        settings={"maxSeconds": 1800},
        schema={"maxSeconds": {**_SECONDS, "default": 1800}},
        check=_cluster_idle,
    ),
    Rule(
        id="cluster-scales-to-zero",
        why="A node that is kept with no job is billed day and night.",
        fix="Set min_instances to 0.",
        settings=PRODUCTION,
        schema=_PRODUCTION_SCHEMA,
        check=_cluster_zero,
    ),
    Rule(
        id="instance-idle-shutdown",
        why="A forgotten compute instance is billed until someone notices.",
        fix="Set idle_time_before_shutdown.",
        settings={"maxSeconds": 14_400},
        schema={"maxSeconds": {**_SECONDS, "default": 14_400}},
        check=_instance_shutdown,
    ),
    Rule(
        id="no-public-data",
        why="Training data and models are not for everyone.",
        fix="Remove the public access; share through a role instead.",
        check=_no_public_data,
    ),
    Rule(
        id="no-public-nodes",
        why="A node needs no way in from the internet: jobs are sent to the service.",
        fix="Leave enable_node_public_ip and SSH off.",
        check=_no_public_nodes,
    ),
    Rule(
        id="private-network-in-production",
        why="In production the workspace and what it uses are reached by private endpoints.",
        fix="Set public_network_access to false and private_endpoints in the stack's config.",
        level="advisory",
        settings=PRODUCTION,
        schema=_PRODUCTION_SCHEMA,
        check=_private_in_production,
    ),
    Rule(
        id="no-local-keys",
        why="A key is held by whoever copied it; an identity can be taken away.",
        fix="Use identities: switch shared keys, admin users, access policies and local users off.",
        check=_no_local_keys,
    ),
    Rule(
        id="iam-no-wildcards",
        why="A wildcard allows what nobody has thought of.",
        fix="Name the actions and the resources.",
        check=_no_wildcards,
    ),
    Rule(
        id="iam-no-full-access",
        why="AmazonSageMakerFullAccess and its like reach every bucket of the account.",
        fix="Attach a policy of the stack's own instead.",
        check=_no_full_access,
    ),
    Rule(
        id="iam-trust-one-account",
        why="Without aws:SourceAccount, SageMaker may be made to use the role for another account (confused deputy).",
        fix="Add the condition aws:SourceAccount to the role's trust.",
        check=_trust_account,
    ),
    Rule(
        id="ecr-immutable-and-scanned",
        why="A tag that moves makes a job irreproducible; an unscanned image hides known holes.",
        fix="Set imageTagMutability to IMMUTABLE and scanOnPush to true.",
        check=_ecr,
    ),
    Rule(
        id="s3-tls-only",
        why="Without it, a client may read training data in clear.",
        fix="Add a bucket policy that denies aws:SecureTransport false.",
        check_stack=_s3_tls,
    ),
    Rule(
        id="s3-public-access-blocked",
        why="One wrong ACL or policy makes a bucket public unless all four switches are on.",
        fix="Add a BucketPublicAccessBlock with all four on.",
        check_stack=_s3_blocked,
    ),
    Rule(
        id="required-tags",
        why="What has no owner and no stack in its tags is in nobody's bill and nobody's budget.",
        fix="Give the resource the stack's tags.",
        settings={"tags": ["owner", "environment", "stack"]},
        schema={
            "tags": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["owner", "environment", "stack"],
            }
        },
        check=_required_tags,
    ),
    Rule(
        id="environment-pinned",
        why="A job that trains on whatever is newest today does not train on the same tomorrow.",
        fix="Name the image by tag or digest, and each package by version.",
        check=_pinned,
    ),
    Rule(
        id="kms-rotation",
        why="Rotation bounds what one stolen key opens.",
        fix="Set enableKeyRotation.",
        level="advisory",
        check=_key_rotation,
    ),
)
BY_ID: Mapping[str, Rule] = {rule.id: rule for rule in RULES}


@dataclass(frozen=True)
class PolicyConfig:
    """Levels and settings by rule, as Pulumi's policy config file has them.

    ``{"cluster-idle-scale-down": {"enforcementLevel": "advisory", "maxSeconds": 600}, "kms-rotation": "disabled"}``;
    ``"all"`` sets the level of every rule that is not named.
    """

    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: Any) -> PolicyConfig:
        """Check a configuration. Raises PolicyConfigError naming the rule."""
        if not isinstance(document, Mapping):
            raise PolicyConfigError(
                "the policy config is no JSON object of rule to level or settings"
            )
        for name, value in document.items():
            if name != "all" and name not in BY_ID:
                raise PolicyConfigError(f"{name!r} is no rule; rules are {', '.join(BY_ID)}")
            level = (
                value.get("enforcementLevel", "mandatory") if isinstance(value, Mapping) else value
            )
            if level not in LEVELS:
                raise PolicyConfigError(
                    f"rule {name!r} has level {level!r}; it must be {', '.join(LEVELS)}"
                )
            for key in value if isinstance(value, Mapping) else ():
                if key != "enforcementLevel" and (name == "all" or key not in BY_ID[name].settings):
                    raise PolicyConfigError(f"rule {name!r} has no setting {key!r}")
        return cls(dict(document))

    def level(self, rule: Rule) -> Level:
        value = self.values.get(rule.id, self.values.get("all", rule.level))
        return value.get("enforcementLevel", rule.level) if isinstance(value, Mapping) else value

    def settings(self, rule: Rule) -> Settings:
        value = self.values.get(rule.id)
        own = (
            {k: v for k, v in value.items() if k != "enforcementLevel"}
            if isinstance(value, Mapping)
            else {}
        )
        return Settings({**rule.settings, **own})


def check(
    resources: Iterable[Resource],
    config: PolicyConfig | None = None,
    *,
    is_whole: bool = True,
) -> list[Violation]:
    """Return every violation, mandatory first, then by rule and resource.

    ``is_whole`` false leaves out the rules that look for something missing from the stack: a preview lists only
    what changes.
    """
    config = config or PolicyConfig()
    listed = sorted(resources, key=lambda item: item.urn)
    found: list[Violation] = []
    for rule in RULES:
        level = config.level(rule)
        if level == "disabled":
            continue
        settings = config.settings(rule)
        problems: list[tuple[Resource | None, str]] = []
        if rule.check is not None:
            problems = [(item, text) for item in listed for text in rule.check(item, settings)]
        elif rule.check_stack is not None and is_whole:
            problems = list(rule.check_stack(listed, settings))
        found += [
            Violation(
                rule=rule.id,
                level=level,
                resource=item.name if item else "stack",
                urn=item.urn if item else "",
                problem=text,
                why=rule.why,
                fix=rule.fix,
            )
            for item, text in problems
        ]
    return sorted(found, key=lambda v: (LEVELS.index(v.level), v.rule, v.urn, v.problem))


def duration_seconds(value: Any) -> int | None:
    """Return the seconds of an ISO 8601 duration such as ``PT2M``, or None where it is none (yet)."""
    match = re.fullmatch(
        r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?", str(value or "")
    )
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds


def _computes(resource: Resource, kind: str) -> bool:
    return resource.type == _COMPUTE and resource.get("properties", "computeType") == kind


def _tags(resource: Resource) -> Mapping[str, Any]:
    """The provider's default tags are in tagsAll, beside the resource's own."""
    for key in ("tagsAll", "tags"):
        tags = resource.get(key)
        if isinstance(tags, Mapping) and tags:
            return tags
    return {}


def _iam_statements(resource: Resource) -> Iterator[Mapping[str, Any]]:
    if resource.type not in _IAM_POLICIES:
        return
    if resource.type != "aws:iam/role:Role":
        yield from _statements(resource.get("policy"))
    for policy in _listed(resource.get("inlinePolicies")):
        if isinstance(policy, Mapping):
            yield from _statements(policy.get("policy"))


def _statements(document: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return  # known only after up
    if isinstance(document, Mapping):
        yield from (
            item for item in _listed(document.get("Statement")) if isinstance(item, Mapping)
        )


def _is_document(value: Any) -> bool:
    return any(True for _ in _statements(value))


def _denies_plain_http(document: Any) -> bool:
    return any(
        statement.get("Effect") == "Deny"
        and re.search(
            r'"aws:securetransport": ?\[?"?false',
            json.dumps(statement.get("Condition") or {}).lower(),
        )
        for statement in _statements(document)
    )


def _belongs(part: Resource, bucket: Resource) -> bool:
    """A bucket's side resource names it, or, where the name is not known yet, is its sibling in the same component."""
    name = bucket.get("bucket")
    if isinstance(part.get("bucket"), str) and isinstance(name, str):
        if part.get("bucket") == name:
            return True
        if re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", part.get("bucket")) and not _is_uuid(
            part.get("bucket")
        ):
            return False
    return _parent(part) != "" and _parent(part) == _parent(bucket)


def _is_uuid(text: str) -> bool:
    """The engine writes an unknown value as a UUID."""
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


def _parent(resource: Resource) -> str:
    """The parent's types, and the part of the name that a component gives its children."""
    types = resource.urn.split("::", 3)[2] if resource.urn.count("::") >= 3 else ""
    return f"{types.rpartition('$')[0]}::{resource.name.partition('-')[0]}" if "$" in types else ""


def _of_type(resources: Iterable[Resource], type_: str) -> list[Resource]:
    return [item for item in resources if item.type == type_]


def _loose_packages(conda: str) -> list[str]:
    """Return the packages of a conda file that name no version. Read by line: no YAML parser is needed for a list."""
    found = []
    for line in conda.splitlines():
        match = re.match(r"\s*-\s*['\"]?([A-Za-z0-9_.\-\[\]]+)\s*(.*)$", line)
        if match is None or match[1].startswith("-"):
            continue
        name, rest = match.groups()
        if (
            rest.strip("'\" ").startswith((":", "=", ">", "<", "~", "!", "@"))
            or "==" in line
            or "=" in line
        ):
            continue
        if name in ("pip", "defaults", "conda-forge", "nvidia", "pytorch", "nodefaults"):
            continue
        found.append(name)
    return found


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
