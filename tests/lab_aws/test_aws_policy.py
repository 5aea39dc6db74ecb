"""IAM's evaluation logic, clause by clause of its user guide."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.aws.policy import Policies, PolicyError, check_document, evaluate, trusts


def allow(action: Any = "s3:GetObject", resource: Any = "*", **rest: Any) -> dict[str, Any]:
    return {"Statement": {"Effect": "Allow", "Action": action, "Resource": resource, **rest}}


def deny(action: Any = "s3:GetObject", resource: Any = "*", **rest: Any) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Deny", "Action": action, "Resource": resource, **rest}]}


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    assert evaluate([allow("s3:Put*")], "s3:GetObject").result == "implicitDeny"


def test_an_explicit_deny_wins_over_any_allow() -> None:
    assert evaluate([allow("*"), deny()], "s3:GetObject").result == "explicitDeny"


def test_actions_match_without_case_and_resources_with_it() -> None:
    assert evaluate([allow("S3:getOBJECT")], "s3:GetObject").allowed
    assert not evaluate(
        [allow(resource="arn:aws:s3:::A/*")], "s3:GetObject", "arn:aws:s3:::a/k"
    ).allowed


def test_not_action_and_not_resource_turn_the_match_round() -> None:
    policy = {
        "Statement": {"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:aws:s3:::x"}
    }
    assert evaluate([policy], "s3:ListBucket", "arn:aws:s3:::y").allowed
    assert not evaluate([policy], "iam:PassRole", "arn:aws:s3:::y").allowed
    assert not evaluate([policy], "s3:ListBucket", "arn:aws:s3:::x").allowed


def test_a_boundary_limits_and_grants_nothing() -> None:
    within = Policies((allow("s3:*"),), boundary=allow("s3:Get*"))
    assert evaluate(within, "s3:GetObject").allowed
    assert evaluate(within, "s3:PutObject").result == "implicitDeny"
    assert not evaluate(Policies((), boundary=allow("s3:*")), "s3:GetObject").allowed


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
         {"iam:passedtoservice": "sagemaker.amazonaws.com"}, True),
        ({"StringEquals": {"k": "a"}}, {}, False),
        ({"StringEquals": {"k": ["a", "b"]}}, {"k": "b"}, True),
        ({"StringNotEquals": {"k": ["a", "b"]}}, {"k": "b"}, False),
        ({"StringNotEquals": {"k": "a"}}, {}, True),
        ({"StringEqualsIfExists": {"k": "a"}}, {}, True),
        ({"StringEqualsIfExists": {"k": "a"}}, {"k": "b"}, False),
        ({"StringLike": {"k": "ml.m5.*"}}, {"k": "ml.m5.large"}, True),
        ({"StringLike": {"k": "ml.?5.large"}}, {"k": "ml.m5.large"}, True),
        ({"StringEquals": {"k": "ml.*"}}, {"k": "ml.m5.large"}, False),
        ({"ForAllValues:StringLike": {"k": ["m5.*", "c5.*"]}}, {"k": ["m5.a", "c5.b"]}, True),
        ({"ForAllValues:StringLike": {"k": "m5.*"}}, {"k": ["m5.a", "p4d.a"]}, False),
        ({"ForAllValues:StringLike": {"k": "ml.m5.*"}}, {}, True),
        ({"ForAnyValue:StringEquals": {"k": "a"}}, {"k": ["b", "a"]}, True),
        ({"ForAnyValue:StringEquals": {"k": "a"}}, {}, False),
        ({"Null": {"sagemaker:VpcSubnets": "true"}}, {}, True),
        ({"Null": {"sagemaker:VpcSubnets": "true"}}, {"sagemaker:VpcSubnets": ["s"]}, False),
        ({"Null": {"sagemaker:VpcSubnets": "false"}}, {"sagemaker:VpcSubnets": ["s"]}, True),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws:SecureTransport": "false"}, True),
        ({"NumericLessThanEquals": {"k": 3600}}, {"k": "3600"}, True),
        ({"NumericLessThanEquals": {"k": "3600"}}, {"k": "3601"}, False),
        ({"NumericLessThan": {"k": "5"}}, {"k": "no number"}, False),
        ({"DateGreaterThan": {"k": "2026-01-01T00:00:00Z"}}, {"k": "2026-06-01T00:00:00Z"}, True),
        ({"ArnLike": {"k": "arn:aws:iam::*:role/ml-*"}}, {"k": "arn:aws:iam::1:role/ml-x"}, True),
        ({"ArnLike": {"k": "arn:aws:*:role/ml-x"}}, {"k": "arn:aws:iam::1:role/ml-x"}, False),
        ({"ArnNotLike": {"k": "arn:aws:iam::1:role/*"}}, {"k": "arn:aws:iam::1:role/x"}, False),
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, {"aws:SourceIp": "127.0.0.1"}, True),
        ({"StringEquals": {"a": "1", "b": "2"}}, {"a": "1", "b": "3"}, False),
    ],
)  # fmt: skip
def test_conditions_hold_as_the_guide_says(
    condition: dict[str, Any], context: dict[str, Any], holds: bool
) -> None:
    decision = evaluate([allow(Condition=condition)], "s3:GetObject", "*", context)
    assert decision.allowed is holds


def test_variables_take_the_context_s_value_and_do_not_match_without_one() -> None:
    policy = allow(resource="arn:aws:s3:::b/${aws:username}/*")
    assert evaluate(
        [policy], "s3:GetObject", "arn:aws:s3:::b/ann/k", {"aws:username": "ann"}
    ).allowed
    assert not evaluate([policy], "s3:GetObject", "arn:aws:s3:::b/ann/k").allowed
    star = allow(resource="arn:aws:s3:::b/${*}")
    assert evaluate([star], "s3:GetObject", "arn:aws:s3:::b/*").allowed
    assert not evaluate([star], "s3:GetObject", "arn:aws:s3:::b/x").allowed


def test_a_trust_policy_names_a_service_a_role_or_a_whole_account() -> None:
    def trust(principal: Any, **rest: Any) -> dict[str, Any]:
        return {
            "Statement": [
                {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **rest}
            ]
        }

    session = "arn:aws:sts::123456789012:assumed-role/deploy/me"
    assert trusts(trust({"Service": "sagemaker.amazonaws.com"}), "sagemaker.amazonaws.com")
    assert not trusts(trust({"Service": "lambda.amazonaws.com"}), "sagemaker.amazonaws.com")
    assert trusts(trust({"AWS": "arn:aws:iam::123456789012:role/deploy"}), session)
    assert trusts(trust({"AWS": "123456789012"}), session)
    assert not trusts(trust({"AWS": "arn:aws:iam::999999999999:root"}), session)
    guarded = trust(
        {"Service": "sagemaker.amazonaws.com"},
        Condition={"StringEquals": {"aws:SourceAccount": "123456789012"}},
    )
    assert trusts(guarded, "sagemaker.amazonaws.com", {"aws:SourceAccount": "123456789012"})
    assert not trusts(guarded, "sagemaker.amazonaws.com", {"aws:SourceAccount": "999999999999"})


def statement(**changes: Any) -> str:
    plain = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"} | changes
    kept = {name: value for name, value in plain.items() if value is not None}
    return json.dumps({"Version": "2012-10-17", "Statement": [kept]})


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{not json", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no Statement"),
        (statement(Effect="allow"), "Allow or Deny"),
        (statement(Action=None), "Action or NotAction"),
        (statement(Action="GetObject"), "no action"),
        (statement(Resource=None), "must have a Resource"),
        (statement(When=1), "'When'"),
        (statement(Principal="*"), "must not have a Principal"),
        (statement(Condition={"Is": {}}), "'Is'"),
        (statement().replace("2012-10-17", "2013-01-01"), "Version"),
    ],
)
def test_a_malformed_document_is_refused_saying_why(document: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        check_document(document)


def test_a_sound_document_passes() -> None:
    assert check_document(statement())[0]["Action"] == "s3:*"
