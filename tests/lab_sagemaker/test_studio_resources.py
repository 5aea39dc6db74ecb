"""Studio domains, profiles, lifecycle configurations and notebooks keep what they are given."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/training/ml-train"
SCRIPT = base64.b64encode(b"#!/bin/bash\necho hello").decode()


def test_a_domain_with_its_profile_and_lifecycle_lives_and_goes_in_order(lab: Any) -> None:
    sagemaker, ec2 = lab.sagemaker, lab.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    lifecycle = sagemaker.create_studio_lifecycle_config(
        StudioLifecycleConfigName="idle",
        StudioLifecycleConfigContent=SCRIPT,
        StudioLifecycleConfigAppType="JupyterLab",
    )["StudioLifecycleConfigArn"]
    settings = {
        "ExecutionRole": ROLE,
        "JupyterLabAppSettings": {"LifecycleConfigArns": [lifecycle]},
    }
    made = sagemaker.create_domain(
        DomainName="lab",
        AuthMode="IAM",
        DefaultUserSettings=settings,
        SubnetIds=[subnet],
        VpcId=vpc,
        Tags=[{"Key": "owner", "Value": "ml"}],
    )
    domain = made["DomainId"]
    described = sagemaker.describe_domain(DomainId=domain)
    assert described["Status"] == "InService"
    assert described["DefaultUserSettings"] == settings
    assert sagemaker.list_tags(ResourceArn=made["DomainArn"])["Tags"] == [
        {"Key": "owner", "Value": "ml"}
    ]
    sagemaker.create_user_profile(DomainId=domain, UserProfileName="alice")
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        sagemaker.create_user_profile(DomainId=domain, UserProfileName="alice")
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="UserProfile"):
        sagemaker.delete_domain(DomainId=domain)
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="in use"):
        sagemaker.delete_studio_lifecycle_config(StudioLifecycleConfigName="idle")
    sagemaker.update_domain(
        DomainId=domain, DefaultUserSettings={"JupyterLabAppSettings": {"LifecycleConfigArns": []}}
    )
    after = sagemaker.describe_domain(DomainId=domain)["DefaultUserSettings"]
    assert after == {"ExecutionRole": ROLE, "JupyterLabAppSettings": {"LifecycleConfigArns": []}}
    assert [p["UserProfileName"] for p in sagemaker.list_user_profiles()["UserProfiles"]] == [
        "alice"
    ]
    sagemaker.delete_user_profile(DomainId=domain, UserProfileName="alice")
    sagemaker.delete_domain(DomainId=domain)
    sagemaker.delete_studio_lifecycle_config(StudioLifecycleConfigName="idle")
    with pytest.raises(sagemaker.exceptions.ResourceNotFound, match="does not exist"):
        sagemaker.describe_domain(DomainId=domain)
    assert sagemaker.list_domains()["Domains"] == []


def test_a_domain_names_subnets_that_exist(lab: Any) -> None:
    with pytest.raises(ClientError, match="Invalid subnets"):
        lab.sagemaker.create_domain(
            DomainName="nowhere",
            AuthMode="IAM",
            DefaultUserSettings={"ExecutionRole": ROLE},
            SubnetIds=["subnet-00000000000000000"],
            VpcId="vpc-00000000000000000",
        )


def test_a_notebook_changes_only_while_it_is_stopped(lab: Any) -> None:
    sagemaker = lab.sagemaker
    sagemaker.create_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="setup", OnStart=[{"Content": SCRIPT}]
    )
    sagemaker.create_notebook_instance(
        NotebookInstanceName="nb",
        InstanceType="ml.t3.medium",
        RoleArn=ROLE,
        LifecycleConfigName="setup",
    )
    described = sagemaker.describe_notebook_instance(NotebookInstanceName="nb")
    assert described["NotebookInstanceStatus"] == "InService"
    assert described["NotebookInstanceLifecycleConfigName"] == "setup"
    with pytest.raises(ClientError, match=r"Status \(InService\) not in"):
        sagemaker.delete_notebook_instance(NotebookInstanceName="nb")
    sagemaker.stop_notebook_instance(NotebookInstanceName="nb")
    sagemaker.update_notebook_instance(
        NotebookInstanceName="nb", InstanceType="ml.t3.large", DisassociateLifecycleConfig=True
    )
    changed = sagemaker.describe_notebook_instance(NotebookInstanceName="nb")
    assert changed["InstanceType"] == "ml.t3.large"
    assert "NotebookInstanceLifecycleConfigName" not in changed
    sagemaker.delete_notebook_instance(NotebookInstanceName="nb")
    sagemaker.delete_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="setup")
    with pytest.raises(ClientError, match="RecordNotFound"):
        sagemaker.describe_notebook_instance(NotebookInstanceName="nb")
