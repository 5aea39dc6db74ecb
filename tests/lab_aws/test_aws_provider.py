"""The provider's planning: what it fills in, refuses, replaces, and tells at preview."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.providers.aws.kind import Cloud as ProviderCloud
from lab.providers.aws.kinds import KINDS
from lab.providers.sdk_types import resource_type
from tests.lab_aws.cloud import ACCOUNT, trust
from tests.lab_aws.driver import UNKNOWN, Driver

BUCKET, ROLE = "aws:s3/bucket:Bucket", "aws:iam/role:Role"


def test_names_and_defaults_are_filled_in_and_listed(driver: Driver) -> None:
    filled = driver.checked(BUCKET, {}, name="Artifacts")
    assert filled["bucket"].startswith("artifacts-")
    assert len(filled["bucket"]) == len("artifacts-") + 7
    assert filled["region"] == "us-east-1"
    assert filled["tagsAll"] == {"stack": "test"}
    assert filled["__defaults"] == ["bucket", "forceDestroy", "region"]


def test_a_name_is_kept_by_an_update_and_new_in_a_replacement(driver: Driver) -> None:
    first = driver.checked(BUCKET, {}, seed=b"one")
    assert driver.checked(BUCKET, {}, old=first, seed=b"two")["bucket"] == first["bucket"]
    assert driver.checked(BUCKET, {}, seed=b"two")["bucket"] != first["bucket"]
    assert driver.checked(BUCKET, {}, seed=b"one")["bucket"] == first["bucket"]


def test_a_name_prefix_is_kept_and_completed_by_create(driver: Driver) -> None:
    inputs = {"namePrefix": "ml-", "assumeRolePolicy": trust("sagemaker.amazonaws.com")}
    id_, outputs, checked = driver.made(ROLE, inputs)
    assert "name" not in checked
    assert outputs["name"].startswith("ml-")
    assert len(outputs["name"]) == len("ml-") + 26
    assert driver.diff(ROLE, id_, outputs, checked).is_empty
    longer = driver.checked(ROLE, {**inputs, "maxSessionDuration": 7200}, old=checked)
    assert driver.update(ROLE, id_, outputs, longer)["name"] == outputs["name"]
    driver.delete(ROLE, id_, outputs)


def test_a_long_name_is_cut_to_what_the_service_allows(driver: Driver) -> None:
    name = driver.checked(ROLE, {"assumeRolePolicy": trust("s.amazonaws.com")}, name="x" * 99)[
        "name"
    ]
    assert len(name) == 64


@pytest.mark.parametrize(
    ("type_", "inputs", "property_", "said"),
    [
        (BUCKET, {"colour": "red"}, "colour", "no such property"),
        (BUCKET, {"forceDestroy": "yes"}, "forceDestroy", "boolean"),
        (BUCKET, {"acl": "private"}, "acl", "does not do"),
        (ROLE, {}, "assumeRolePolicy", "required"),
        (ROLE, {"assumeRolePolicy": "{}", "maxSessionDuration": 60}, "maxSessionDuration", "3600"),
        (ROLE, {"assumeRolePolicy": "{}", "name": "n" * 65}, "name", "64"),
        ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 31}, "retentionInDays", "30"),
        ("aws:kms/key:Key", {"deletionWindowInDays": 3}, "deletionWindowInDays", "7 to 30"),
        ("aws:s3/bucketVersioning:BucketVersioning",
         {"bucket": "b", "versioningConfiguration": {"status": "Enabled", "mfaDelet": "x"}},
         "versioningConfiguration.mfaDelet", "no such property"),
    ],
)  # fmt: skip
def test_a_wrong_input_is_a_check_failure_at_its_path(
    driver: Driver, type_: str, inputs: dict[str, Any], property_: str, said: str
) -> None:
    _, failures = driver.check(type_, inputs)
    assert said in failures[property_]


def test_unknown_values_pass_check_and_the_preview(driver: Driver) -> None:
    filled = driver.checked(
        "aws:s3/bucketPolicy:BucketPolicy", {"bucket": UNKNOWN, "policy": UNKNOWN}
    )
    _, outputs = driver.create("aws:s3/bucketPolicy:BucketPolicy", filled, preview=True)
    assert outputs["bucket"] == UNKNOWN


def test_a_preview_echoes_inputs_and_leaves_the_cloud_s_own_unknown(driver: Driver) -> None:
    id_, outputs = driver.create(BUCKET, driver.checked(BUCKET, {"tags": {"a": "b"}}), preview=True)
    assert id_ == ""
    assert outputs["tags"] == {"a": "b"}
    assert outputs["arn"] == UNKNOWN


@pytest.mark.parametrize(
    ("type_", "old", "new", "replaces", "delete_first"),
    [
        (BUCKET, {"bucket": "a"}, {"bucket": "b"}, ["bucket"], True),
        (BUCKET, {"bucket": "a"}, {"bucket": UNKNOWN}, ["bucket"], True),
        (BUCKET, {"forceDestroy": False}, {"forceDestroy": True}, [], False),
        ("aws:ecr/lifecyclePolicy:LifecyclePolicy", {"repository": "r", "policy": '{"rules": [1]}'},
         {"repository": "r", "policy": '{"rules": [2]}'}, ["policy"], True),
        ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", {"role": "r", "policyArn": "a"},
         {"role": "s", "policyArn": "a"}, ["role"], True),
        ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16"}, {"cidrBlock": "10.1.0.0/16"}, ["cidrBlock"], False),
        ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16", "instanceTenancy": "dedicated"},
         {"cidrBlock": "10.0.0.0/16"}, [], False),
        ("aws:sagemaker/notebookInstance:NotebookInstance",
         {"instanceType": "ml.t3.medium", "roleArn": "r", "volumeSize": 20},
         {"instanceType": "ml.t3.medium", "roleArn": "r", "volumeSize": 10}, ["volumeSize"], False),
        ("aws:sagemaker/notebookInstance:NotebookInstance",
         {"instanceType": "ml.t3.medium", "roleArn": "r", "volumeSize": 10},
         {"instanceType": "ml.t3.medium", "roleArn": "r", "volumeSize": 20}, [], False),
    ],
)  # fmt: skip
def test_a_diff_says_what_replaces_and_in_which_order(
    driver: Driver,
    type_: str,
    old: dict[str, Any],
    new: dict[str, Any],
    replaces: list[str],
    delete_first: bool,
) -> None:
    before = driver.checked(type_, old)
    after = driver.checked(type_, new, old=before)
    diff = driver.diff(type_, "id", before, after)
    assert diff.kinds, "there is a difference"
    assert diff.replaces == replaces
    assert diff.delete_first is delete_first
    assert all(diff.kinds[path].endswith("_REPLACE") for path in replaces)


def test_policies_are_compared_by_meaning(driver: Driver) -> None:
    def document(**statement: Any) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": statement})

    type_ = "aws:iam/rolePolicy:RolePolicy"
    one = {"role": "r", "policy": document(Effect="Allow", Action=["b:B", "a:A"], Resource="*")}
    two = {"role": "r", "policy": document(Resource=["*"], Action=["a:A", "b:B"], Effect="Allow")}
    three = {"role": "r", "policy": document(Effect="Deny", Action=["b:B", "a:A"], Resource="*")}
    before = driver.checked(type_, one)
    assert driver.diff(type_, "id", before, driver.checked(type_, two, old=before)).is_empty
    assert driver.diff(type_, "id", before, driver.checked(type_, three, old=before)).kinds == {
        "policy": "UPDATE"
    }


def test_sets_are_compared_without_their_order_and_odd_keys_are_quoted(driver: Driver) -> None:
    type_ = "aws:ec2/vpcEndpoint:VpcEndpoint"
    fixed = {"vpcId": "v", "serviceName": "s"}
    before = driver.checked(type_, {**fixed, "subnetIds": ["a", "b"]})
    turned = driver.checked(type_, {**fixed, "subnetIds": ["b", "a"]}, old=before)
    assert driver.diff(type_, "id", before, turned).is_empty
    tagged = driver.checked(type_, {**fixed, "subnetIds": ["a", "b"], "tags": {"cost.center": "1"}})
    assert driver.diff(type_, "id", before, tagged).kinds == {
        'tags["cost.center"]': "ADD",
        'tagsAll["cost.center"]': "ADD",
    }


def test_a_removed_computed_input_keeps_its_value_and_is_no_difference(driver: Driver) -> None:
    before = driver.checked("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16"})
    state = {**before, "enableDnsHostnames": True}
    assert driver.diff("aws:ec2/vpc:Vpc", "id", state, before).is_empty


def test_changed_default_tags_are_a_difference_of_tags_all_alone(driver: Driver) -> None:
    before = driver.checked(BUCKET, {})
    other = Driver({"region": "us-east-1", "defaultTags": json.dumps({"tags": {"stack": "other"}})})
    after = other.checked(BUCKET, {}, old=before)
    assert driver.diff(BUCKET, "id", before, after).kinds == {"tagsAll.stack": "UPDATE"}


def test_another_account_is_refused(driver: Driver) -> None:
    with pytest.raises(Exception, match="allowedAccountIds"):
        Driver({"region": "us-east-1", "allowedAccountIds": json.dumps(["999999999999"])})


def test_an_unknown_type_and_function_are_refused_by_name(driver: Driver) -> None:
    with pytest.raises(Exception, match="aws:rds/instance:Instance"):
        driver.check("aws:rds/instance:Instance", {})
    with pytest.raises(Exception, match="getAmi"):
        driver.invoke("aws:ec2/getAmi:getAmi", {})


def test_it_deploys_to_this_machine_only(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "https://kms.us-east-1.amazonaws.com")
    with pytest.raises(Exception, match="not on this machine"):
        ProviderCloud("us-east-1").client("kms")
    monkeypatch.delenv("AWS_ENDPOINT_URL_KMS")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with pytest.raises(Exception, match="AWS_ENDPOINT_URL"):
        ProviderCloud("us-east-1").client("kms")


def test_functions_answer_as_the_cloud_does(driver: Driver) -> None:
    identity = driver.invoke("aws:index/getCallerIdentity:getCallerIdentity", {})
    assert identity["accountId"] == ACCOUNT
    zones = driver.invoke("aws:index/getAvailabilityZones:getAvailabilityZones", {})
    assert "us-east-1a" in zones["names"]
    assert driver.invoke("aws:index/getPartition:getPartition", {})["partition"] == "aws"
    statement = {"actions": ["s3:GetObject"], "resources": ["*"], "sid": "Read"}
    document = driver.invoke(
        "aws:iam/getPolicyDocument:getPolicyDocument", {"statements": [statement]}
    )
    assert json.loads(document["json"])["Statement"][0]["Action"] == "s3:GetObject"


@pytest.mark.parametrize("token", sorted(KINDS))
def test_each_kind_s_facts_name_properties_that_the_sdk_has(token: str) -> None:
    kind = KINDS[token]
    known = resource_type(token).inputs.keys()
    named = {
        *(name.partition(".")[0] for name in kind.replace_on),
        *kind.defaults,
        *kind.documents,
        *kind.not_done,
        *kind.allowed,
        *kind.ordered,
        *kind.unset,
        *([kind.auto_name.property] if kind.auto_name else []),
    }
    assert named <= known
