"""Who may do more, or less, after the change, and what becomes reachable from outside: in words."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from review.diff import UNKNOWN, is_unknown, plain
from review.grant import Grant, diff_grants, parse_document
from review.preview import State, Step, canonical_type, parse_urn

# Built-in roles by the last part of roleDefinitionId.
# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
AZURE_ROLES: Mapping[str, str] = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": "Reader",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    "f6c7c914-8db3-469d-8ca1-694a8f32e121": "AzureML Data Scientist",
    "e503ece1-11d0-4e8e-8e2c-7a6c3bf38815": "AzureML Compute Operator",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "69566ab7-960f-475b-8e7c-b3118f30c6bd": "Storage File Data Privileged Contributor",
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "8311e382-0749-4cb8-b61a-304f252e45ec": "AcrPush",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "00482a5a-887f-4fb3-b363-3b7fe8e74483": "Key Vault Administrator",
}
_STRONG_AZURE_ROLES = frozenset({"Owner", "Contributor", "User Access Administrator"})

_ANYWHERE = frozenset({"0.0.0.0/0", "::/0", "*", "Internet", "Any"})
# More grants of one policy than this are counted, not listed.
_LIST_LIMIT = 12


@dataclass(frozen=True, kw_only=True)
class AccessChange:
    """One change of access. ``level`` is ``public``, ``network``, ``gains``, ``unknown`` or ``loses``.

    ``network`` is a new resource that the internet reaches and that still asks who one is; one that is opened
    later is ``public``.

    ``parts`` alternate between our words and names from the preview, words first, so that a rendering can quote
    the names.
    """

    level: str
    urn: str
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(self.parts)


def access_changes(steps: Iterable[Step]) -> list[AccessChange]:
    """Return every change of access in the steps, what becomes public first. One policy's gains are one entry."""
    listed = list(steps)
    renames = _renames(listed)
    found: list[AccessChange] = []
    for step in listed:
        if not step.is_change:
            continue
        type_ = canonical_type(step.type)
        found.extend(_policy_changes(step, type_, renames))
        check = _CHECKS.get(type_)
        if check:
            found.extend(check(step))
    order = {"public": 0, "network": 1, "gains": 2, "unknown": 3, "loses": 4}
    return sorted(found, key=lambda item: (order[item.level], item.urn, item.parts))


def _say(step: Step, level: str, *parts: str) -> AccessChange:
    return AccessChange(level=level, urn=step.urn, parts=parts)


# Policies: type -> the inputs that hold a document, and whose policy it is.
_DOCUMENTS: Mapping[str, tuple[str, str]] = {
    "aws:iam/role:Role": ("assumeRolePolicy", "role"),
    "aws:iam/rolePolicy:RolePolicy": ("policy", "role"),
    "aws:iam/policy:Policy": ("policy", "managed policy"),
    "aws:iam/userPolicy:UserPolicy": ("policy", "user"),
    "aws:iam/groupPolicy:GroupPolicy": ("policy", "group"),
    "aws:s3/bucketPolicy:BucketPolicy": ("policy", "bucket"),
    "aws:s3/bucket:Bucket": ("policy", "bucket"),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": ("policy", "repository"),
    "aws:kms/key:Key": ("policy", "key"),
    "aws:sns/topic:Topic": ("policy", "topic"),
    "aws:sns/topicPolicy:TopicPolicy": ("policy", "topic"),
    "aws:sqs/queuePolicy:QueuePolicy": ("policy", "queue"),
    "aws:secretsmanager/secretPolicy:SecretPolicy": ("policy", "secret"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": ("policy", "VPC endpoint"),
}


def _renames(steps: Iterable[Step]) -> dict[str, str]:
    """Return the physical names that replacements change: a policy that only follows one of them changes no access."""
    found = {}
    for step in steps:
        if step.op != "replace" or step.old is None or step.new is None:
            continue
        for key in ("bucket", "name", "repositoryName"):
            old, new = step.old.inputs.get(key), step.new.inputs.get(key)
            # A short name could stand within any other word.
            if isinstance(old, str) and isinstance(new, str) and old != new and len(old) > 5:
                found[old] = new
    return found


# Resources that hold their policy themselves.
_HOLDERS = frozenset(
    {
        "aws:iam/role:Role",
        "aws:iam/policy:Policy",
        "aws:kms/key:Key",
        "aws:sns/topic:Topic",
        "aws:ec2/vpcEndpoint:VpcEndpoint",
    }
)


def _policy_changes(step: Step, type_: str, renames: Mapping[str, str]) -> Iterator[AccessChange]:
    entry = _DOCUMENTS.get(type_)
    if entry is None:
        return
    key, holder = entry
    owner = ("", f"{holder} ", _owner(step, holder))
    old = _document(step.old, key)
    if isinstance(old, str) and _after(step) is not None:
        for before, after in renames.items():
            old = old.replace(before, after)
    yield from _document_change(step, owner, old, _document(_after(step), key))
    if type_ != "aws:iam/role:Role":
        return
    before, after = _inline(step.old), _inline(_after(step))
    for name in sorted({*before, *after}):
        yield from _document_change(step, owner, before.get(name), after.get(name))
    yield from _managed_policies(step, _strings(step.old), _strings(_after(step)))


def _document_change(
    step: Step, owner: tuple[str, str, str], before: Any, after: Any
) -> Iterator[AccessChange]:
    if before == after:
        return
    old = () if before is None else parse_document(before)
    new = () if after is None else parse_document(after)
    _, kind, name = owner
    if old is None or new is None:
        yield _say(
            step,
            "unknown",
            kind,
            name,
            ": its policy changes to what only ",
            "up",
            " knows; read it after.",
        )
        return
    difference = diff_grants(old, new)
    for grant in difference.gained:
        if grant.is_public:
            yield _say(
                step,
                "public",
                kind,
                name,
                " lets anyone do ",
                grant.action,
                *((" on ", grant.resource) if grant.resource else ()),
            )
    yield from _group(step, "gains", kind, name, [g for g in difference.gained if not g.is_public])
    # What is new denies nobody what they had; what is gone allows nobody anything.
    if step.op in ("update", "replace"):
        yield from _group(step, "loses", kind, name, difference.lost)


def _group(
    step: Step, level: str, kind: str, name: str, grants: Iterable[Grant]
) -> Iterator[AccessChange]:
    """One sentence for each set of actions that share resource, principal and condition."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for grant in grants:
        groups[(grant.effect, grant.principal, grant.resource, grant.condition)].append(
            grant.action
        )
    merged: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (effect, principal, resource, condition), actions in groups.items():
        merged[(effect, principal, condition, *sorted(actions))].append(resource)
    # A new policy of a role that exists is a gain of that role.
    is_new = step.op == "create" and canonical_type(step.type) in _HOLDERS
    for (effect, principal, condition, *actions), resources in merged.items():
        parts = [kind, name, " is new and may do " if is_new else f" {level} "]
        if principal:
            does = " now lets " if level == "gains" else " no longer lets "
            parts = [kind, name, " is new and lets " if is_new else does, principal, " do "]
        if effect == "Deny":
            does = " no longer denies " if level == "gains" else " now denies "
            parts = [kind, name, does, principal, " "] if principal else [kind, name, does]
        parts += _join(actions)
        tail = f" ({_condition(condition)})" if condition else ""
        if resources == ["*"] and "*" not in actions:
            tail = f" on any resource{tail}"
        elif resources != [""]:
            parts += [" on ", *_join(resources)]
        if (
            effect == "Allow"
            and level == "gains"
            and ("*" in actions or any(a.endswith(":*") for a in actions))
        ):
            tail += ": a wildcard"
        yield _say(step, level, *parts, tail)


def _join(values: list[str]) -> list[str]:
    """Alternate quoted values and the words between; ends on a value."""
    shown = sorted(values)[:_LIST_LIMIT]
    parts: list[str] = []
    for index, value in enumerate(shown):
        parts += [value] if index == 0 else [", ", value]
    if len(values) > len(shown):
        parts += [" and ", f"{len(values) - len(shown)} more"]
    return parts


def _condition(text: str) -> str:
    keys = sorted(
        {key for test in json.loads(text).values() if isinstance(test, dict) for key in test}
    )
    return f"on condition of {' and '.join(keys)}" if keys else "under a condition"


def _document(state: State | None, key: str) -> Any:
    if state is None:
        return None
    value = plain(state.inputs.get(key))
    return value if value not in ("", None) else None


def _after(step: Step) -> State | None:
    return None if step.op in ("delete", "delete-replaced", "discard") else step.new


def _inline(state: State | None) -> dict[str, Any]:
    policies = state.inputs.get("inlinePolicies") if state else None
    if not isinstance(policies, list):
        return {}
    return {
        str(item.get("name", index)): plain(item.get("policy"))
        for index, item in enumerate(policies)
        if isinstance(item, Mapping)
    }


def _strings(state: State | None) -> set[str]:
    arns = state.inputs.get("managedPolicyArns") if state else None
    return {str(arn) for arn in arns if not is_unknown(arn)} if isinstance(arns, list) else set()


def _managed_policies(step: Step, old: set[str], new: set[str]) -> Iterator[AccessChange]:
    for arn in sorted(new - old):
        yield _say(step, "gains", "role ", step.name, " gains everything in ", arn, "")
    for arn in sorted(old - new):
        yield _say(step, "loses", "role ", step.name, " loses everything in ", arn, "")


def _owner(step: Step, holder: str) -> str:
    """Name whose policy it is: the role's or bucket's logical name where the state says which."""
    key = {"role": "role", "bucket": "bucket", "user": "user", "repository": "repository"}.get(
        holder
    )
    for state in (step.new, step.old):
        if state is None or key is None or canonical_type(step.type).endswith(f":{holder.title()}"):
            continue
        for urn in state.property_dependencies.get(key) or ():
            try:
                return parse_urn(str(urn))[3]
            except ValueError:
                continue
        value = plain(state.inputs.get(key))
        if isinstance(value, str):
            return value
    return step.name


def _role_assignment(step: Step) -> Iterator[AccessChange]:
    before, after = _assignment(step.old), _assignment(_after(step))
    if before == after:
        return
    if after:
        role, principal, scope = after
        tail = ": it may change nearly everything there" if role in _STRONG_AZURE_ROLES else ""
        yield _say(step, "gains", "principal ", principal, " gets role ", role, " on ", scope, tail)
    if before:
        role, principal, scope = before
        yield _say(step, "loses", "principal ", principal, " loses role ", role, " on ", scope, "")


def _assignment(state: State | None) -> tuple[str, str, str] | None:
    if state is None:
        return None
    role = _text(state.get("roleDefinitionId"))
    return (
        AZURE_ROLES.get(role.rpartition("/")[2].lower(), role),
        _dependency(state, "principalId") or _text(state.get("principalId")),
        _short_scope(state, _text(state.get("scope"))),
    )


def _dependency(state: State, key: str) -> str | None:
    for urn in state.property_dependencies.get(key) or ():
        try:
            return parse_urn(str(urn))[3]
        except ValueError:
            continue
    return None


def _short_scope(state: State, scope: str) -> str:
    if scope == repr(UNKNOWN):
        return _dependency(state, "scope") or scope
    parts = scope.strip("/").split("/")
    return "/".join(parts[-2:]) if len(parts) > 2 else scope


def _text(value: Any) -> str:
    value = plain(value)
    return value if isinstance(value, str) else repr(value)


def _attachment(step: Step) -> Iterator[AccessChange]:
    def pair(state: State | None) -> tuple[str, str] | None:
        if state is None:
            return None
        arn = _text(state.get("policyArn"))
        if arn == repr(UNKNOWN):
            arn = _dependency(state, "policyArn") or arn
        return (_dependency(state, "role") or _text(state.get("role")), arn)

    before, after = pair(step.old), pair(_after(step))
    if before == after:
        return
    if after:
        yield _say(step, "gains", "role ", after[0], " gains everything in ", after[1], "")
    if before:
        yield _say(step, "loses", "role ", before[0], " loses everything in ", before[1], "")


def _public_access_block(step: Step) -> Iterator[AccessChange]:
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    bucket = _owner(step, "bucket")
    if step.op == "delete":
        if step.old is not None and any(step.old.get(flag) for flag in flags):
            yield _say(
                step, "public", "bucket ", bucket, " loses its block on public access", "", ""
            )
        return
    for flag in flags:
        before = step.old.get(flag) if step.old else step.op == "create"
        if before and step.new is not None and not plain(step.new.inputs.get(flag)):
            yield _say(step, "public", "bucket ", bucket, " can be made public: ", flag, " is off")


def _bucket_acl(step: Step) -> Iterator[AccessChange]:
    new = _after(step)
    acl = plain(new.inputs.get("acl")) if new else None
    if not isinstance(acl, str) or not acl.startswith(("public-", "authenticated-")):
        return
    if step.old is None or step.old.get("acl") != acl:
        yield _say(step, "public", "bucket ", _owner(step, "bucket"), " is opened by ACL ", acl, "")


def _security_group(step: Step) -> Iterator[AccessChange]:
    new = _after(step)
    if new is None:
        return

    def opened(state: State | None) -> set[str]:
        rules = state.inputs.get("ingress") if state else None
        if (
            state is not None
            and "ingress" not in state.inputs
            and state.inputs.get("type") == "ingress"
        ):
            rules = [state.inputs]
        found = set()
        for rule in rules if isinstance(rules, list) else ():
            if not isinstance(rule, Mapping):
                continue
            blocks = [*(rule.get("cidrBlocks") or ()), *(rule.get("ipv6CidrBlocks") or ())]
            if _ANYWHERE.intersection(map(str, blocks)):
                found.add(f"{_port(rule.get('fromPort'))}-{_port(rule.get('toPort'))}")
        return found

    for ports in sorted(opened(new) - opened(step.old)):
        yield _say(
            step,
            "public",
            "security group ",
            step.name,
            " lets the whole internet in on ports ",
            ports,
            "",
        )


def _port(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "any"


def _ingress_rule(step: Step) -> Iterator[AccessChange]:
    new = _after(step)
    if new is None:
        return
    for key in ("cidrIpv4", "cidrIpv6"):
        if new.inputs.get(key) in _ANYWHERE and (
            step.old is None or step.old.get(key) != new.inputs.get(key)
        ):
            yield _say(
                step, "public", "ingress rule ", step.name, " lets the whole internet in", "", ""
            )


def _network_rule(step: Step) -> Iterator[AccessChange]:
    def is_open(state: State | None) -> bool:
        return (
            state is not None
            and state.get("access") == "Allow"
            and state.get("direction") == "Inbound"
            and bool(
                _ANYWHERE.intersection(
                    [
                        str(state.get("sourceAddressPrefix")),
                        *map(str, state.get("sourceAddressPrefixes") or ()),
                    ]
                )
            )
        )

    if is_open(_after(step)) and not is_open(step.old):
        yield _say(
            step, "public", "network rule ", step.name, " lets the whole internet in", "", ""
        )


def _switches(
    kind: str, *switches: tuple[str, Any, str, str]
) -> Callable[[Step], Iterator[AccessChange]]:
    """Watch plain settings: (path, value that opens, level, words)."""

    def check(step: Step) -> Iterator[AccessChange]:
        new = _after(step)
        if new is None:
            return
        for path, opening, usual, words in switches:
            level = usual
            before = _dig(step.old.inputs, path) if step.old else None
            if step.old is not None and before is None:
                before = _dig(step.old.outputs, path)
            after = _dig(new.inputs, path)
            if after == opening and before != opening:
                # Opened later: someone relied on its being closed.
                level = "public" if level == "network" and step.op != "create" else level
                yield _say(
                    step,
                    level,
                    f"{kind} ",
                    step.name,
                    f" {words}: ",
                    path.rpartition(".")[2],
                    f" is {_word(opening)}",
                )
            elif before == opening and after not in (None, opening) and after is not UNKNOWN:
                yield _say(
                    step,
                    "loses",
                    f"{kind} ",
                    step.name,
                    " no longer so: ",
                    path.rpartition(".")[2],
                    f" is {_word(after)}",
                )

    return check


def _word(value: Any) -> str:
    return (
        {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )


def _dig(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return plain(value)


def _new_key(step: Step) -> Iterator[AccessChange]:
    if step.op in ("create", "replace"):
        yield _say(step, "gains", "a long-lived access key is made: ", step.name, "")


_CHECKS: Mapping[str, Callable[[Step], Iterator[AccessChange]]] = {
    "azure-native:authorization:RoleAssignment": _role_assignment,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": _attachment,
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": _attachment,
    "aws:iam/accessKey:AccessKey": _new_key,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _public_access_block,
    "aws:s3/bucketAcl:BucketAcl": _bucket_acl,
    "aws:s3/bucket:Bucket": _bucket_acl,
    "aws:ec2/securityGroup:SecurityGroup": _security_group,
    "aws:ec2/securityGroupRule:SecurityGroupRule": _security_group,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _ingress_rule,
    "azure-native:network:SecurityRule": _network_rule,
    "azure-native:storage:StorageAccount": _switches(
        "storage account",
        ("allowBlobPublicAccess", True, "public", "may hold public blobs"),
        ("publicNetworkAccess", "Enabled", "network", "is reachable from the internet"),
        ("networkRuleSet.defaultAction", "Allow", "network", "is open to any network"),
        ("allowSharedKeyAccess", True, "gains", "can be used with account keys"),
    ),
    "azure-native:storage:BlobContainer": _switches(
        "blob container",
        ("publicAccess", "Blob", "public", "has public blobs"),
        ("publicAccess", "Container", "public", "has public blobs and can be listed"),
    ),
    "azure-native:keyvault:Vault": _switches(
        "key vault",
        ("properties.publicNetworkAccess", "Enabled", "network", "is reachable from the internet"),
        ("properties.publicNetworkAccess", "enabled", "network", "is reachable from the internet"),
        (
            "properties.enableRbacAuthorization",
            False,
            "gains",
            "goes by access policies, not roles",
        ),
    ),
    "azure-native:containerregistry:Registry": _switches(
        "registry",
        ("publicNetworkAccess", "Enabled", "network", "is reachable from the internet"),
        ("anonymousPullEnabled", True, "public", "lets anyone pull"),
        ("adminUserEnabled", True, "gains", "has an admin user with a password"),
    ),
    "azure-native:machinelearningservices:Workspace": _switches(
        "workspace",
        ("publicNetworkAccess", "Enabled", "network", "is reachable from the internet"),
        ("allowPublicAccessWhenBehindVnet", True, "network", "is reachable from the internet"),
        ("managedNetwork.isolationMode", "Disabled", "gains", "has no managed network"),
    ),
    "azure-native:machinelearningservices:Compute": _switches(
        "compute",
        (
            "properties.properties.enableNodePublicIp",
            True,
            "public",
            "gives its nodes public addresses",
        ),
        (
            "properties.properties.remoteLoginPortPublicAccess",
            "Enabled",
            "public",
            "opens SSH to the internet",
        ),
        ("properties.disableLocalAuth", False, "gains", "allows local users"),
    ),
    "azure-native:operationalinsights:Workspace": _switches(
        "log workspace",
        ("publicNetworkAccessForQuery", "Enabled", "network", "can be queried from the internet"),
    ),
    "aws:sagemaker/notebookInstance:NotebookInstance": _switches(
        "notebook",
        ("directInternetAccess", "Enabled", "gains", "reaches the internet directly"),
        ("rootAccess", "Enabled", "gains", "gives its users root"),
    ),
    "aws:sagemaker/domain:Domain": _switches(
        "Studio domain",
        ("appNetworkAccessType", "PublicInternetOnly", "gains", "reaches the internet directly"),
    ),
}
