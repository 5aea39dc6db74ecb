"""Shapes of resources, as the installed SDKs' classes have them."""

from __future__ import annotations

import pytest

from lab.providers.sdk_types import UNKNOWN, UnknownTypeError, problems, resource_type


def test_required_inputs_and_always_given_outputs_are_told_apart() -> None:
    role = resource_type("aws:iam/role:Role")
    assert role.inputs["assumeRolePolicy"].required
    assert not role.inputs["name"].required
    assert role.outputs["arn"].required
    assert not role.outputs["description"].required


def test_nested_properties_come_with_pulumi_s_names() -> None:
    rules = resource_type(
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    ).inputs["rules"]
    rule = rules.shape.element
    assert rule is not None
    assert rule.properties["status"].required
    abort = rule.properties["abortIncompleteMultipartUpload"].shape
    assert abort.properties["daysAfterInitiation"].shape.kind == "integer"


def test_a_resource_whose_arguments_share_a_nested_type_s_name_has_its_own() -> None:
    versioning = resource_type("aws:s3/bucketVersioning:BucketVersioning")
    assert "versioningConfiguration" in versioning.inputs


def test_azure_s_types_are_read_as_well() -> None:
    workspace = resource_type("azure-native:machinelearningservices:Workspace")
    assert workspace.inputs["resourceGroupName"].required


def test_problems_name_the_path_and_pass_what_is_unknown_yet() -> None:
    inputs = resource_type("aws:ec2/securityGroup:SecurityGroup").inputs
    rule = {"protocol": "tcp", "fromPort": "x", "toPort": UNKNOWN, "colour": "red"}
    found = {each.path: each.reason for each in problems({"ingress": [rule]}, inputs)}
    assert found.keys() == {"ingress[0].fromPort", "ingress[0].colour"}
    assert list(problems({"vpcId": UNKNOWN, "ingress": UNKNOWN}, inputs)) == []


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(UnknownTypeError, match="aws:s3/pail:Pail"):
        resource_type("aws:s3/pail:Pail")
