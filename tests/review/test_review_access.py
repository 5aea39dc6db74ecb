"""Changes of access, by meaning and in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from review.access import access_changes
from review.grant import allows, diff_grants, parse_document
from tests.review.conftest import UNKNOWN

ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions, resource="arn:aws:s3:::b/*", **more):
    return {"Effect": "Allow", "Action": actions, "Resource": resource, **more}


def said(digest):
    return [(change.level, change.text) for change in access_changes(digest.preview().steps)]


def change_policy(digest, old, new, type_=ROLE_POLICY, **inputs):
    inputs = inputs or {"role": "trainer"}
    digest.step(
        "update",
        type_,
        "p",
        {**inputs, "policy": old},
        {**inputs, "policy": new},
        diff={"policy": "update"},
    )
    return said(digest)


def test_a_role_that_gains_and_loses_actions_is_told_in_words(digest):
    old = policy(allow(["s3:GetObject", "s3:ListBucket"]))
    new = policy(allow(["s3:GetObject", "s3:DeleteObject"]))
    assert change_policy(digest, old, new) == [
        ("gains", "role trainer gains s3:DeleteObject on arn:aws:s3:::b/*"),
        ("loses", "role trainer loses s3:ListBucket on arn:aws:s3:::b/*"),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (policy(allow("s3:GetObject")), policy(allow(["s3:GetObject"]))),
        (policy(allow(["s3:A", "s3:B"])), policy(allow("s3:B"), allow("s3:A"))),
        (
            policy(allow("s3:GetObject")),
            json.dumps(json.loads(policy(allow("S3:getobject"))), indent=4),
        ),
        (policy(allow("s3:*")), policy(allow("s3:*"), allow("s3:GetObject"))),
        (
            policy(allow("s3:Get*", "*")),
            policy(allow("s3:Get*", "*"), allow("s3:GetObject", "arn:aws:s3:::x")),
        ),
    ],
)
def test_a_policy_that_means_the_same_is_no_change(digest, old, new):
    assert change_policy(digest, old, new) == []


def test_a_wildcard_is_pointed_out(digest):
    ((level, text),) = change_policy(digest, policy(), policy(allow("s3:*", "*")))
    assert (level, text) == ("gains", "role trainer gains s3:* on any resource: a wildcard")


def test_dropping_a_condition_is_a_gain(digest):
    condition = {"StringEquals": {"aws:SourceAccount": "1"}}
    old, new = policy(allow("s3:Get", Condition=condition)), policy(allow("s3:Get"))
    assert change_policy(digest, old, new)[0][0] == "gains"


def test_lifting_a_deny_is_a_gain_and_adding_one_a_loss(digest):
    deny = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"}
    digest.step("update", ROLE_POLICY, "a", {"policy": policy(deny)}, {"policy": policy()})
    digest.step("update", ROLE_POLICY, "b", {"policy": policy()}, {"policy": policy(deny)})
    assert [level for level, _ in said(digest)] == ["gains", "loses"]


def test_a_policy_that_is_not_known_yet_is_said_to_be(digest):
    assert change_policy(digest, policy(allow("s3:Get")), UNKNOWN)[0][0] == "unknown"


def test_a_bucket_policy_for_everyone_is_public_and_one_for_an_organisation_is_not(digest):
    public = allow("s3:GetObject", Principal="*")
    tied = {**public, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}
    type_ = "aws:s3/bucketPolicy:BucketPolicy"
    digest.step("create", type_, "open", None, {"bucket": "data", "policy": policy(public)})
    digest.step("create", type_, "tied", None, {"bucket": "data", "policy": policy(tied)})
    levels = [level for level, _ in said(digest)]
    assert levels == ["public", "gains"]
    assert said(digest)[0][1] == "bucket data lets anyone do s3:GetObject on arn:aws:s3:::b/*"


def test_a_new_principal_in_a_trust_is_told(digest):
    def trust(*services):
        return policy(
            {
                "Effect": "Allow",
                "Principal": {"Service": list(services)},
                "Action": "sts:AssumeRole",
            }
        )

    digest.step(
        "update",
        "aws:iam/role:Role",
        "r",
        {"assumeRolePolicy": trust("sagemaker.amazonaws.com")},
        {"assumeRolePolicy": trust("sagemaker.amazonaws.com", "lambda.amazonaws.com")},
    )
    ((level, text),) = said(digest)
    assert level == "gains"
    assert "now lets Service:lambda.amazonaws.com do sts:AssumeRole" in text


def test_attached_and_managed_policies_are_told(digest):
    arn = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
    digest.step(
        "create",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "a",
        None,
        {"role": "trainer", "policyArn": arn},
    )
    digest.step(
        "update", "aws:iam/role:Role", "r", {"managedPolicyArns": [arn]}, {"managedPolicyArns": []}
    )
    assert said(digest) == [
        ("gains", f"role trainer gains everything in {arn}"),
        ("loses", f"role r loses everything in {arn}"),
    ]


def test_an_unblocked_bucket_is_public(digest):
    type_ = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    on = {"bucket": "b", "blockPublicAcls": True, "blockPublicPolicy": True}
    digest.step("update", type_, "changed", on, {**on, "blockPublicPolicy": False})
    digest.step("delete", type_, "deleted", on)
    assert [level for level, _ in said(digest)] == ["public", "public"]


@pytest.mark.parametrize(
    ("type_", "old", "new", "level"),
    [
        (
            "azure-native:storage:StorageAccount",
            {"allowBlobPublicAccess": False},
            {"allowBlobPublicAccess": True},
            "public",
        ),
        (
            "azure-native:storage:StorageAccount",
            {"allowSharedKeyAccess": False},
            {"allowSharedKeyAccess": True},
            "gains",
        ),
        (
            "azure-native:storage:StorageAccount",
            {"allowSharedKeyAccess": True},
            {"allowSharedKeyAccess": False},
            "loses",
        ),
        (
            "azure-native:containerregistry:Registry",
            {"adminUserEnabled": False},
            {"adminUserEnabled": True},
            "gains",
        ),
        (
            "azure-native:machinelearningservices:Workspace",
            {"publicNetworkAccess": "Disabled"},
            {"publicNetworkAccess": "Enabled"},
            "public",
        ),
        (
            "azure-native:keyvault:Vault",
            {"properties": {"publicNetworkAccess": "Disabled"}},
            {"properties": {"publicNetworkAccess": "Enabled"}},
            "public",
        ),
        (
            "aws:ec2/securityGroup:SecurityGroup",
            {"ingress": []},
            {"ingress": [{"cidrBlocks": ["0.0.0.0/0"], "fromPort": 22, "toPort": 22}]},
            "public",
        ),
        ("aws:s3/bucketAcl:BucketAcl", {"acl": "private"}, {"acl": "public-read"}, "public"),
    ],
)
def test_a_switch_that_opens_or_closes_something_is_told(digest, type_, old, new, level):
    digest.step("update", type_, "x", old, new)
    assert [found for found, _ in said(digest)] == [level]


def test_a_role_assignment_is_told_by_the_roles_name(digest):
    digest.step(
        "create",
        "azure-native:authorization:RoleAssignment",
        "a",
        None,
        {
            "roleDefinitionId": "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/"
            "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
            "principalId": "someone",
            "scope": "/subscriptions/s/resourceGroups/training",
        },
    )
    assert said(digest) == [
        (
            "gains",
            "principal someone gets role Owner on resourceGroups/training: it may change nearly everything there",
        )
    ]


def test_an_unchanged_resource_says_nothing(digest):
    opened = {"allowBlobPublicAccess": True, "tags": {"a": "1"}}
    digest.step(
        "update", "azure-native:storage:StorageAccount", "x", opened, {**opened, "tags": {}}
    )
    assert said(digest) == []


_statement = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Action": st.lists(
            st.sampled_from(["s3:*", "s3:Get*", "s3:GetObject", "ecr:Pull", "*"]),
            min_size=1,
            max_size=3,
        ),
        "Resource": st.lists(
            st.sampled_from(["*", "arn:a", "arn:a/*", "arn:b"]), min_size=1, max_size=2
        ),
    }
)


@given(st.lists(_statement, max_size=3), st.lists(_statement, max_size=3))
def test_gains_and_losses_mirror_each_other(old, new):
    one, other = parse_document(policy(*old)), parse_document(policy(*new))
    assert one is not None
    assert other is not None
    assert diff_grants(one, one) == diff_grants(other, other)
    forth, back = diff_grants(one, other), diff_grants(other, one)
    assert set(forth.gained) == set(back.lost)


@given(st.lists(_statement, max_size=4))
def test_no_gain_means_nothing_new_is_allowed(new):
    old = parse_document(policy(allow("s3:Get*", "arn:a/*")))
    after = parse_document(policy(*new))
    assert old is not None
    assert after is not None
    if not diff_grants(old, after).gained:
        for action in ("s3:GetObject", "s3:PutObject", "ecr:Pull"):
            for resource in ("arn:a/x", "arn:b"):
                assert allows(old, action, resource) or not allows(after, action, resource)


def test_a_new_account_that_asks_for_sign_in_is_not_public_and_one_opened_later_is(digest):
    type_ = "azure-native:machinelearningservices:Workspace"
    digest.step("create", type_, "new", None, {"publicNetworkAccess": "Enabled"})
    digest.step(
        "update",
        type_,
        "opened",
        {"publicNetworkAccess": "Disabled"},
        {"publicNetworkAccess": "Enabled"},
    )
    assert [(level, text.split(" ")[1]) for level, text in said(digest)] == [
        ("public", "opened"),
        ("network", "new"),
    ]


def test_a_new_policy_of_a_role_is_a_gain_of_the_role(digest):
    digest.step(
        "create", ROLE_POLICY, "p", None, {"role": "trainer", "policy": policy(allow("s3:Get"))}
    )
    assert said(digest) == [("gains", "role trainer gains s3:Get on arn:aws:s3:::b/*")]


def test_a_new_bucket_that_refuses_plain_http_takes_nothing_from_anyone(digest):
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    digest.step(
        "create",
        "aws:s3/bucketPolicy:BucketPolicy",
        "p",
        None,
        {"bucket": "b", "policy": policy(deny)},
    )
    assert said(digest) == []


def test_a_condition_is_told_by_its_keys(digest):
    tied = allow("s3:Get", Condition={"StringEquals": {"aws:SourceAccount": "1"}})
    assert change_policy(digest, policy(), policy(tied))[0][1].endswith(
        "(on condition of aws:sourceaccount)"
    )


def test_a_policy_that_follows_a_renamed_bucket_changes_no_access(digest):
    old, new = (
        policy(allow("s3:Get", "arn:aws:s3:::old-bucket/*")),
        policy(allow(["s3:Get", "s3:Put"], "arn:aws:s3:::new-bucket/*")),
    )
    digest.step(
        "replace",
        "aws:s3/bucket:Bucket",
        "b",
        {"bucket": "old-bucket"},
        {"bucket": "new-bucket"},
        replace=("bucket",),
    )
    assert change_policy(digest, old, new) == [
        ("gains", "role trainer gains s3:Put on arn:aws:s3:::new-bucket/*")
    ]
