"""Each rule on a stack that keeps it and one that breaks it; and the committed stacks, which keep them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from infra import program
from policy.rules import BY_ID, RULES, PolicyConfig, PolicyConfigError, Resource, Violation, check
from tests.recorder import Recorder, run

ROOT = Path(__file__).resolve().parents[2]
TAGS = {"owner": "ml", "environment": "dev", "stack": "t/dev"}
PROD = {**TAGS, "environment": "prod"}
COMPUTE = "azure-native:machinelearningservices:Compute"
BUCKET = "aws:s3/bucket:Bucket"
BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
BLOCKED = {
    "blockPublicAcls": True,
    "blockPublicPolicy": True,
    "ignorePublicAcls": True,
    "restrictPublicBuckets": True,
}
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def cluster(tags=TAGS, **settings):
    scale = {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT120S"}
    scale |= settings.pop("scale", {})
    inner = {"scaleSettings": scale, **settings}
    return (
        COMPUTE,
        {
            "tags": tags,
            "properties": {
                "computeType": "AmlCompute",
                "disableLocalAuth": True,
                "properties": inner,
            },
        },
    )


def instance(**settings):
    inner = {"idleTimeBeforeShutdown": "PT30M", **settings}
    return (
        COMPUTE,
        {"tags": TAGS, "properties": {"computeType": "ComputeInstance", "properties": inner}},
    )


def storage(tags=TAGS, **more):
    return (
        "azure-native:storage:StorageAccount",
        {"tags": tags, "allowSharedKeyAccess": False, "allowBlobPublicAccess": False, **more},
    )


def iam(*statements):
    return (
        "aws:iam/rolePolicy:RolePolicy",
        {"policy": json.dumps({"Statement": list(statements)})},
    )


def allow(action, resource="arn:aws:s3:::b/*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def trust(**condition):
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
        **condition,
    }
    return (
        "aws:iam/role:Role",
        {"tags": TAGS, "assumeRolePolicy": json.dumps({"Statement": [statement]})},
    )


def repository(mutability="IMMUTABLE", scan=True):
    return (
        "aws:ecr/repository:Repository",
        {
            "tags": TAGS,
            "imageTagMutability": mutability,
            "imageScanningConfiguration": {"scanOnPush": scan},
        },
    )


def bucket_policy(secure):
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": secure}},
    }
    return (
        "aws:s3/bucketPolicy:BucketPolicy",
        {"bucket": "data-1", "policy": json.dumps({"Statement": [deny]})},
    )


def environment(**properties):
    return (
        "azure-native:machinelearningservices:EnvironmentVersion",
        {"name": "e", "version": "1", "properties": properties},
    )


S3 = [
    (BUCKET, {"bucket": "data-1", "tags": TAGS}),
    bucket_policy("false"),
    (BLOCK, {"bucket": "data-1", **BLOCKED}),
]
PASSES: dict[str, list[Any]] = {
    "cluster-idle-scale-down": [cluster(), cluster(scale={"nodeIdleTimeBeforeScaleDown": UNKNOWN})],
    "cluster-scales-to-zero": [cluster(), cluster(PROD, scale={"minNodeCount": 1})],
    "instance-idle-shutdown": [instance()],
    "no-public-data": [storage(), ("azure-native:storage:BlobContainer", {"publicAccess": "None"})],
    "no-public-nodes": [cluster(enableNodePublicIp=False, remoteLoginPortPublicAccess="Disabled")],
    "private-network-in-production": [
        storage(PROD, publicNetworkAccess="Disabled"),
        storage(publicNetworkAccess="Enabled"),
    ],
    "no-local-keys": [storage(), cluster()],
    "iam-no-wildcards": [
        iam(allow("s3:GetObject"), allow("ecr:GetAuthorizationToken", "*"), allow("s3:Get*")),
        iam({"Effect": "Deny", "Action": "*", "Resource": "*"}),
        ("aws:iam/rolePolicy:RolePolicy", {"policy": UNKNOWN}),
    ],
    "iam-no-full-access": [
        (
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
            {"policyArn": "arn:aws:iam::1:policy/own"},
        )
    ],
    "iam-trust-one-account": [trust(Condition={"StringEquals": {"aws:SourceAccount": "1"}})],
    "ecr-immutable-and-scanned": [repository(), repository("IMMUTABLE_WITH_EXCLUSION")],
    "s3-tls-only": S3,
    "s3-public-access-blocked": S3,
    "required-tags": [
        storage(),
        (BUCKET, {"tags": {}, "tagsAll": TAGS}),
        ("aws:iam/rolePolicy:RolePolicy", {}),
    ],
    "environment-pinned": [
        environment(
            image="mcr.microsoft.com/a:2025",
            condaFile="channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip:\n    - numpy==2.0\n",
        ),
        environment(image="mcr.microsoft.com/a@sha256:0"),
        environment(build={"contextUri": "https://x"}),
    ],
    "kms-rotation": [("aws:kms/key:Key", {"tags": TAGS, "enableKeyRotation": True})],
}
BREAKS: dict[str, list[Any]] = {
    "cluster-idle-scale-down": [
        cluster(scale={"nodeIdleTimeBeforeScaleDown": None}),
        cluster(scale={"nodeIdleTimeBeforeScaleDown": "PT2H"}),
    ],
    "cluster-scales-to-zero": [cluster(scale={"minNodeCount": 1.0})],
    "instance-idle-shutdown": [
        instance(idleTimeBeforeShutdown=None),
        instance(idleTimeBeforeShutdown="P1D"),
    ],
    "no-public-data": [
        storage(allowBlobPublicAccess=True),
        ("azure-native:storage:BlobContainer", {"publicAccess": "Blob"}),
        ("aws:s3/bucketAcl:BucketAcl", {"acl": "public-read"}),
    ],
    "no-public-nodes": [
        cluster(enableNodePublicIp=True),
        cluster(remoteLoginPortPublicAccess="Enabled"),
    ],
    "private-network-in-production": [storage(PROD, publicNetworkAccess="Enabled"), storage(PROD)],
    "no-local-keys": [
        storage(allowSharedKeyAccess=True),
        storage(allowSharedKeyAccess=None),
        ("azure-native:containerregistry:Registry", {"tags": TAGS, "adminUserEnabled": True}),
        ("azure-native:keyvault:Vault", {"tags": TAGS, "properties": {}}),
        ("aws:iam/accessKey:AccessKey", {}),
    ],
    "iam-no-wildcards": [
        iam(allow("*")),
        iam(allow("s3:*")),
        iam(allow("s3:DeleteObject", "*")),
        iam({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}),
    ],
    "iam-no-full-access": [
        (
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
            {"policyArn": "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"},
        ),
    ],
    "iam-trust-one-account": [trust()],
    "ecr-immutable-and-scanned": [repository("MUTABLE"), repository(scan=False)],
    "s3-tls-only": [S3[0], S3[2], bucket_policy("true")],
    "s3-public-access-blocked": [
        S3[0],
        S3[1],
        (BLOCK, {"bucket": "data-1", **BLOCKED, "blockPublicAcls": False}),
    ],
    "required-tags": [storage({"owner": "ml"}), storage(None)],
    "environment-pinned": [
        environment(image="mcr.microsoft.com/a:latest"),
        environment(image="host:5000/a"),
        environment(image="a:1", condaFile="dependencies:\n  - numpy\n"),
    ],
    "kms-rotation": [("aws:kms/key:Key", {"tags": TAGS})],
}


def resources(items) -> list[Resource]:
    return [
        Resource(
            type=type_, name=f"r{index}", urn=f"urn:pulumi:s::p::{type_}::r{index}", props=props
        )
        for index, (type_, props) in enumerate(items)
    ]


def broken(rule: str, items) -> list[Violation]:
    return [item for item in check(resources(items)) if item.rule == rule]


def test_every_rule_has_a_stack_that_keeps_it_and_one_that_breaks_it():
    assert set(PASSES) == set(BREAKS) == set(BY_ID)


@pytest.mark.parametrize("rule", BY_ID)
def test_a_stack_that_keeps_the_rule_passes(rule):
    assert broken(rule, PASSES[rule]) == []


@pytest.mark.parametrize("rule", BY_ID)
def test_a_stack_that_breaks_the_rule_fails_with_why_and_fix(rule):
    found = broken(rule, BREAKS[rule])
    assert found
    for item in found:
        assert item.problem.endswith(".")
        assert item.why.endswith(".")
        assert item.fix.endswith(".")


@pytest.mark.parametrize("rule", [r for r in BREAKS if BY_ID[r].check is not None])
def test_each_breaking_resource_is_found_by_itself(rule):
    for item in BREAKS[rule]:
        assert broken(rule, [item]), item


def deployed(stack: str, monkeypatch) -> tuple[list[Resource], dict[str, Any]]:
    """The committed stack's resources, as the program registers them."""
    path = ROOT / f"stacks/Pulumi.{stack}.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]
    texts = {
        k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items() if v is not None
    }
    exported: dict[str, Any] = {}
    monkeypatch.setattr(pulumi, "export", lambda name, value: exported.__setitem__(name, value))

    def start() -> None:
        pulumi.runtime.set_all_config(texts)
        program.main()

    recorder: Recorder = run(start, stack=stack)
    found = []
    for item in recorder.resources:
        props = dict(item.inputs)
        if item.type.startswith("aws:"):
            # The provider gives its default tags to every resource that takes tags.
            props["tagsAll"] = {**exported["tags"], **(props.get("tags") or {})}
        urn = f"urn:pulumi:{stack}::trainstack::{item.parent_type}${item.type}::{item.name}"
        found.append(Resource(type=item.type, name=item.name, urn=urn, props=props))
    return found, exported


@pytest.mark.parametrize("stack", ["lab", "dev", "prod"])
def test_the_committed_stacks_keep_every_rule(stack, monkeypatch):
    found, _ = deployed(stack, monkeypatch)
    assert len(found) > 20, "the stack was not deployed"
    assert [(item.rule, item.resource, item.problem) for item in check(found)] == []


def test_a_level_and_a_setting_are_configured():
    long = [cluster(scale={"nodeIdleTimeBeforeScaleDown": "PT10M"})]
    config = PolicyConfig.parse(
        {"cluster-idle-scale-down": {"enforcementLevel": "advisory", "maxSeconds": 300}}
    )
    assert check(resources(long)) == []
    assert [item.level for item in check(resources(long), config)] == ["advisory"]


def test_a_disabled_rule_is_silent():
    items = resources([cluster(enableNodePublicIp=True)])
    assert check(items, PolicyConfig.parse({"no-public-nodes": "disabled"})) == []
    assert check(items, PolicyConfig.parse({"all": "disabled"})) == []


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "no JSON object"),
        ({"none": "advisory"}, "'none' is no rule"),
        ({"kms-rotation": "loud"}, "level 'loud'"),
        ({"kms-rotation": {"x": 1}}, "no setting 'x'"),
    ],
)
def test_a_wrong_configuration_is_refused(document, words):
    with pytest.raises(PolicyConfigError, match=words):
        PolicyConfig.parse(document)


def test_a_preview_of_changes_alone_is_not_asked_for_what_it_does_not_list():
    alone = resources([(BUCKET, {"bucket": "data-1", "tags": TAGS})])
    assert check(alone, is_whole=False) == []
    assert {item.rule for item in check(alone)} == {"s3-tls-only", "s3-public-access-blocked"}


def test_rules_have_one_id_each_in_the_form_pulumi_takes():
    assert len(BY_ID) == len(RULES)
    for rule in RULES:
        assert rule.id.replace("-", "").isalnum()
        assert (rule.check is None) != (rule.check_stack is None)
        assert set(rule.schema) == set(rule.settings)
