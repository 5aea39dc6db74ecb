"""Every resource type, against the started clouds: create, describe, change, import, delete."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab_aws.cloud import ACCOUNT, Cloud, trust
from tests.lab_aws.driver import Driver

Inputs = dict[str, Any]


def policy(action: str = "s3:*", sid: str = "One", **rest: Any) -> str:
    statement = {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": "*", **rest}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def bucket(driver: Driver) -> str:
    return driver.made("aws:s3/bucket:Bucket", {}, name="host")[0]


@pytest.fixture(scope="module")
def role(driver: Driver) -> str:
    inputs = {"assumeRolePolicy": trust("sagemaker.amazonaws.com")}
    return driver.made("aws:iam/role:Role", inputs, name="host")[0]


@pytest.fixture(scope="module")
def key(driver: Driver) -> Inputs:
    return driver.made("aws:kms/key:Key", {}, name="host")[1]


@pytest.fixture(scope="module")
def repository(driver: Driver) -> str:
    return driver.made("aws:ecr/repository:Repository", {}, name="host")[0]


@pytest.fixture(scope="module")
def topic(driver: Driver) -> str:
    return driver.made("aws:sns/topic:Topic", {}, name="host")[0]


@pytest.fixture(scope="module")
def rule(driver: Driver) -> str:
    inputs = {"eventPattern": json.dumps({"source": ["aws.sagemaker"]})}
    return driver.made("aws:cloudwatch/eventRule:EventRule", inputs, name="host")[0]


@pytest.fixture(scope="module")
def vpc(driver: Driver) -> str:
    return driver.made("aws:ec2/vpc:Vpc", {"cidrBlock": "10.20.0.0/16"}, name="host")[0]


@pytest.fixture(scope="module")
def subnet(driver: Driver, vpc: str) -> str:
    inputs = {"vpcId": vpc, "cidrBlock": "10.20.1.0/24", "availabilityZone": "us-east-1a"}
    return driver.made("aws:ec2/subnet:Subnet", inputs, name="host")[0]


@pytest.fixture(scope="module")
def route_table(driver: Driver, vpc: str) -> str:
    return driver.made("aws:ec2/routeTable:RouteTable", {"vpcId": vpc}, name="host")[0]


@pytest.fixture(scope="module")
def managed_policy(driver: Driver) -> str:
    return driver.made("aws:iam/policy:Policy", {"policy": policy()}, name="host")[0]


def live(
    driver: Driver,
    type_: str,
    inputs: Inputs,
    change: Inputs | None = None,
    changed: set[str] | None = None,
    stays: bool = False,
) -> Inputs:
    """Take a resource through its life, and hold it to itself at each step. Returns its outputs."""
    id_, outputs, checked = driver.made(type_, inputs)
    assert driver.diff(type_, id_, outputs, checked).is_empty, "a second up has nothing to do"
    read_id, read, read_inputs = driver.read(type_, id_, outputs, checked)
    assert read_id == id_
    assert read == outputs, "a refresh finds what create said"
    assert read_inputs == checked

    _, imported, imported_inputs = driver.read(type_, id_)
    reread = driver.checked(type_, imported_inputs, old=checked)
    assert driver.diff(type_, id_, imported, reread).is_empty, "an import needs no update"

    if change is not None:
        wanted = driver.checked(type_, change, old=checked)
        diff = driver.diff(type_, id_, outputs, wanted)
        assert {path.partition(".")[0].partition("[")[0] for path in diff.kinds} == changed
        assert not diff.replaces
        expected = driver.update(type_, id_, outputs, wanted, preview=True)
        updated = driver.update(type_, id_, outputs, wanted)
        assert driver.diff(type_, id_, updated, wanted).is_empty
        told = {name: value for name, value in expected.items() if name in change}
        assert told == {name: updated[name] for name in told}, "the preview told it"
        outputs = updated
    driver.delete(type_, id_, outputs)
    if not stays:
        assert driver.read(type_, id_, outputs, checked)[0] == "", "gone"
        driver.delete(type_, id_, outputs)  # again, as an engine may
    return outputs


TAGGED = {"tags": {"team": "vision"}}


def test_bucket(driver: Driver) -> None:
    outputs = live(
        driver,
        "aws:s3/bucket:Bucket",
        TAGGED,
        {"tags": {"team": "nlp"}, "forceDestroy": True},
        {"tags", "tagsAll", "forceDestroy"},
    )
    assert outputs["arn"] == f"arn:aws:s3:::{outputs['bucket']}"
    assert outputs["tagsAll"] == {"stack": "test", "team": "nlp"}


def test_a_bucket_with_objects_goes_only_by_force(driver: Driver, cloud: Cloud) -> None:
    type_, s3 = "aws:s3/bucket:Bucket", cloud.client("s3")
    id_, outputs, _ = driver.made(type_, {}, name="full")
    s3.put_bucket_versioning(Bucket=id_, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        s3.put_object(Bucket=id_, Key="k", Body=b"1")
    s3.delete_object(Bucket=id_, Key="k")
    with pytest.raises(Exception, match="BucketNotEmpty"):
        driver.delete(type_, id_, outputs)
    driver.delete(type_, id_, {**outputs, "forceDestroy": True})
    assert driver.read(type_, id_, outputs)[0] == ""


def test_a_bucket_that_exists_is_not_taken_over(driver: Driver, bucket: str) -> None:
    checked = driver.checked("aws:s3/bucket:Bucket", {"bucket": bucket})
    with pytest.raises(Exception, match="BucketAlreadyOwnedByYou"):
        driver.create("aws:s3/bucket:Bucket", checked)


def test_bucket_settings(driver: Driver, bucket: str) -> None:
    def status(value: str) -> Inputs:
        return {"bucket": bucket, "versioningConfiguration": {"status": value}}

    def encryption(algorithm: str, bucket_key: bool) -> Inputs:
        default = {"sseAlgorithm": algorithm}
        rule = {"applyServerSideEncryptionByDefault": default, "bucketKeyEnabled": bucket_key}
        return {"bucket": bucket, "rules": [rule]}

    def ownership(value: str) -> Inputs:
        return {"bucket": bucket, "rule": {"objectOwnership": value}}

    def deny(sid: str) -> Inputs:
        document = policy(
            sid=sid, Effect="Deny", Principal="*", Resource=f"arn:aws:s3:::{bucket}/*"
        )
        return {"bucket": bucket, "policy": document}

    block = {"bucket": bucket, "blockPublicAcls": True, "blockPublicPolicy": True}
    s3 = "aws:s3/bucket"
    live(driver, f"{s3}Versioning:BucketVersioning", status("Enabled"), status("Suspended"),
         {"versioningConfiguration"}, stays=True)  # fmt: skip
    live(driver, f"{s3}ServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
         encryption("aws:kms", True), encryption("AES256", False), {"rules"}, stays=True)  # fmt: skip
    live(driver, f"{s3}OwnershipControls:BucketOwnershipControls",
         ownership("BucketOwnerEnforced"), ownership("BucketOwnerPreferred"), {"rule"})  # fmt: skip
    live(driver, f"{s3}Policy:BucketPolicy", deny("One"), deny("Two"), {"policy"})
    live(driver, f"{s3}PublicAccessBlock:BucketPublicAccessBlock", block,
         {"bucket": bucket, "blockPublicAcls": True}, {"blockPublicPolicy"})  # fmt: skip


def test_lifecycle(driver: Driver, bucket: str) -> None:
    everything = {"status": "Enabled", "filter": {"prefix": ""}}
    rules = [
        {"id": "abort", **everything, "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}},
        {"id": "old", **everything, "noncurrentVersionExpiration": {"noncurrentDays": 30}},
        {"id": "tier", "status": "Enabled", "filter": {"and": {"prefix": "a", "tags": {"k": "v"}}},
         "transitions": [{"days": 90, "storageClass": "STANDARD_IA"}]},
    ]  # fmt: skip
    live(
        driver,
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        {"bucket": bucket, "rules": rules},
        {"bucket": bucket, "rules": rules[:1]},
        {"rules"},
    )


def test_role(driver: Driver) -> None:
    outputs = live(
        driver,
        "aws:iam/role:Role",
        {
            "assumeRolePolicy": trust("sagemaker.amazonaws.com"),
            "description": "before",
            **TAGGED,
        },
        {"assumeRolePolicy": trust("events.amazonaws.com"), "maxSessionDuration": 7200},
        {"assumeRolePolicy", "maxSessionDuration", "description", "tags", "tagsAll"},
    )
    assert outputs["arn"] == f"arn:aws:iam::{ACCOUNT}:role/{outputs['name']}"


def test_a_role_in_use_is_not_deleted(driver: Driver, cloud: Cloud) -> None:
    inputs = {"assumeRolePolicy": trust("sagemaker.amazonaws.com")}
    id_, outputs, _ = driver.made("aws:iam/role:Role", inputs, name="used")
    cloud.client("iam").put_role_policy(RoleName=id_, PolicyName="p", PolicyDocument=policy())
    with pytest.raises(Exception, match="DeleteConflict"):
        driver.delete("aws:iam/role:Role", id_, outputs)
    driver.delete("aws:iam/role:Role", id_, {**outputs, "forceDetachPolicies": True})


def test_role_policy(driver: Driver, role: str) -> None:
    live(driver, "aws:iam/rolePolicy:RolePolicy", {"role": role, "policy": policy()},
         {"role": role, "policy": policy("kms:*")}, {"policy"})  # fmt: skip


def test_managed_policy_keeps_five_versions(driver: Driver, cloud: Cloud) -> None:
    type_ = "aws:iam/policy:Policy"
    live(driver, type_, {"policy": policy(), **TAGGED}, {"policy": policy("kms:*")},
         {"policy", "tags", "tagsAll"})  # fmt: skip
    id_, outputs, checked = driver.made(type_, {"policy": policy()}, name="often")
    for number in range(6):
        wanted = driver.checked(
            type_, {"policy": policy(f"s3:Get{number}")}, old=checked, name="often"
        )
        outputs = driver.update(type_, id_, outputs, wanted)
    versions = cloud.client("iam").list_policy_versions(PolicyArn=id_)["Versions"]
    assert len(versions) == 5
    driver.delete(type_, id_, outputs)


def test_attachment(driver: Driver, role: str, managed_policy: str) -> None:
    inputs = {"role": role, "policyArn": managed_policy}
    live(driver, "aws:iam/rolePolicyAttachment:RolePolicyAttachment", inputs)


def test_key(driver: Driver, cloud: Cloud) -> None:
    outputs = live(
        driver,
        "aws:kms/key:Key",
        {
            "description": "a",
            "enableKeyRotation": True,
            "rotationPeriodInDays": 180,
            **TAGGED,
        },
        {"description": "b", "enableKeyRotation": True, "rotationPeriodInDays": 365, **TAGGED},
        {"description", "rotationPeriodInDays"},
    )
    state = cloud.client("kms").describe_key(KeyId=outputs["keyId"])["KeyMetadata"]["KeyState"]
    assert state == "PendingDeletion", "it can be had back by hand"


def test_alias(driver: Driver, key: Inputs) -> None:
    outputs = live(driver, "aws:kms/alias:Alias", {"targetKeyId": key["keyId"]})
    assert outputs["name"].startswith("alias/thing-")


def test_repository(driver: Driver, key: Inputs) -> None:
    fixed = {"encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": key["arn"]}]}
    outputs = live(
        driver,
        "aws:ecr/repository:Repository",
        {
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
            **fixed,
        },
        {**fixed, **TAGGED, "imageScanningConfiguration": {"scanOnPush": False}},
        {"imageTagMutability", "imageScanningConfiguration", "tags", "tagsAll"},
    )
    url = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/{outputs['name']}"
    assert outputs["repositoryUrl"] == url


def test_repository_policies(driver: Driver, repository: str) -> None:
    expire = {
        "rulePriority": 1,
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": 14,
        },
        "action": {"type": "expire"},
    }
    inputs = {"repository": repository, "policy": json.dumps({"rules": [expire]})}
    live(driver, "aws:ecr/lifecyclePolicy:LifecyclePolicy", inputs)

    def pull(sid: str) -> Inputs:
        statement = {"Sid": sid, "Effect": "Allow", "Action": ["ecr:BatchGetImage"]}
        statement["Principal"] = {"Service": "sagemaker.amazonaws.com"}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        return {"repository": repository, "policy": json.dumps(document)}

    live(driver, "aws:ecr/repositoryPolicy:RepositoryPolicy", pull("A"), pull("B"), {"policy"})


def test_log_group(driver: Driver) -> None:
    outputs = live(driver, "aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 30, **TAGGED},
                   {"retentionInDays": 7}, {"retentionInDays", "tags", "tagsAll"})  # fmt: skip
    assert not outputs["arn"].endswith(":*")


def test_event_rule_and_target(driver: Driver, rule: str, topic: str) -> None:
    def pattern(source: str) -> str:
        return json.dumps({"source": [source]})

    live(
        driver,
        "aws:cloudwatch/eventRule:EventRule",
        {"eventPattern": pattern("aws.sagemaker"), **TAGGED},
        {"eventPattern": pattern("aws.s3"), "description": "d", "state": "DISABLED"},
        {"eventPattern", "description", "state", "tags", "tagsAll"},
    )
    target = {"rule": rule, "arn": topic}
    transformer = {"inputPaths": {"job": "$.detail.x"}, "inputTemplate": '"job <job>"'}
    type_ = "aws:cloudwatch/eventTarget:EventTarget"
    id_, outputs, checked = driver.made(type_, {**target, "inputTransformer": transformer})
    assert id_ == f"{rule}-{outputs['targetId']}"
    assert driver.diff(type_, id_, outputs, checked).is_empty
    _, imported, _ = driver.read(type_, f"{rule}/{outputs['targetId']}")
    assert imported["inputTransformer"] == transformer
    wanted = driver.checked(type_, {**target, "input": '{"a": 1}'}, old=checked)
    updated = driver.update(type_, id_, outputs, wanted)
    assert driver.diff(type_, id_, updated, wanted).is_empty
    driver.delete(type_, id_, updated)
    assert driver.read(type_, id_, updated)[0] == ""


def test_alarm(driver: Driver, topic: str) -> None:
    fixed = {
        "comparisonOperator": "GreaterThanThreshold",
        "metricName": "m",
        "namespace": "n",
        "period": 60,
        "statistic": "Sum",
    }
    live(
        driver,
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        {
            **fixed,
            "evaluationPeriods": 1,
            "threshold": 1.5,
            "alarmActions": [topic],
            "dimensions": {"a": "b"},
        },
        {**fixed, "evaluationPeriods": 2, "threshold": 2},
        {"evaluationPeriods", "threshold", "alarmActions", "dimensions"},
    )


def test_topic_its_policy_and_subscription(driver: Driver, topic: str) -> None:
    live(driver, "aws:sns/topic:Topic", {"kmsMasterKeyId": "alias/aws/sns", **TAGGED},
         {"displayName": "d"}, {"kmsMasterKeyId", "displayName", "tags", "tagsAll"})  # fmt: skip

    def publish(service: str) -> Inputs:
        document = policy("sns:Publish", Principal={"Service": service}, Resource=topic)
        return {"arn": topic, "policy": document}

    live(driver, "aws:sns/topicPolicy:TopicPolicy", publish("events.amazonaws.com"),
         publish("budgets.amazonaws.com"), {"policy"})  # fmt: skip
    mail = {"topic": topic, "protocol": "email", "endpoint": "a@example.com"}
    live(driver, "aws:sns/topicSubscription:TopicSubscription", mail)


def test_budget(driver: Driver) -> None:
    def notify(kind: str, address: str, threshold: int) -> Inputs:
        return {
            "comparisonOperator": "GREATER_THAN",
            "notificationType": kind,
            "threshold": threshold,
            "thresholdType": "PERCENTAGE",
            "subscriberEmailAddresses": [address],
        }

    fixed = {"budgetType": "COST", "timeUnit": "MONTHLY", "limitUnit": "USD"}
    outputs = live(
        driver,
        "aws:budgets/budget:Budget",
        {
            **fixed,
            "limitAmount": "100",
            "costFilters": [{"name": "TagKeyValue", "values": ["user:stack$t"]}],
            "notifications": [notify("FORECASTED", "a@example.com", 80)],
        },
        {
            **fixed,
            "limitAmount": "200.0",
            "costFilters": [{"name": "TagKeyValue", "values": ["user:stack$u"]}],
            "notifications": [
                notify("FORECASTED", "b@example.com", 80),
                notify("ACTUAL", "b@example.com", 100),
            ],
        },
        {"limitAmount", "costFilters", "notifications"},
    )
    assert outputs["accountId"] == ACCOUNT


def test_network(driver: Driver, vpc: str, subnet: str, route_table: str) -> None:
    live(driver, "aws:ec2/vpc:Vpc", {"cidrBlock": "10.30.0.0/16", "enableDnsHostnames": True},
         {"cidrBlock": "10.30.0.0/16", "enableDnsHostnames": False, **TAGGED},
         {"enableDnsHostnames", "tags", "tagsAll"})  # fmt: skip
    zone = {"vpcId": vpc, "cidrBlock": "10.20.9.0/24", "availabilityZone": "us-east-1b"}
    live(driver, "aws:ec2/subnet:Subnet", zone, {**zone, "mapPublicIpOnLaunch": True},
         {"mapPublicIpOnLaunch"})  # fmt: skip
    live(driver, "aws:ec2/routeTable:RouteTable", {"vpcId": vpc}, {"vpcId": vpc, **TAGGED},
         {"tags", "tagsAll"})  # fmt: skip
    pair = {"routeTableId": route_table, "subnetId": subnet}
    live(driver, "aws:ec2/routeTableAssociation:RouteTableAssociation", pair)


def test_endpoints(driver: Driver, cloud: Cloud, vpc: str, subnet: str, route_table: str) -> None:
    document = json.dumps(
        {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}]}
    )
    s3 = {"vpcId": vpc, "serviceName": "com.amazonaws.us-east-1.s3", "policy": document}
    type_ = "aws:ec2/vpcEndpoint:VpcEndpoint"
    outputs = live(driver, type_, {**s3, "routeTableIds": [route_table]},
                   {**s3, "routeTableIds": []}, {"routeTableIds"})  # fmt: skip
    assert outputs["prefixListId"].startswith("pl-")
    outputs = live(
        driver,
        type_,
        {
            "vpcId": vpc,
            "serviceName": "com.amazonaws.us-east-1.sagemaker.api",
            "vpcEndpointType": "Interface",
            "subnetIds": [subnet],
            "privateDnsEnabled": True,
        },
    )
    assert outputs["networkInterfaceIds"]


def test_security_group(driver: Driver, cloud: Cloud, vpc: str) -> None:
    type_ = "aws:ec2/securityGroup:SecurityGroup"
    itself = {"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True}
    https = {"protocol": "tcp", "fromPort": 443, "toPort": 443, "description": "https"}
    outputs = live(
        driver,
        type_,
        {"vpcId": vpc, "ingress": [itself], "egress": [{**https, "cidrBlocks": ["10.20.0.0/16"]}]},
        {
            "vpcId": vpc,
            "ingress": [],
            "egress": [{**https, "cidrBlocks": ["10.20.0.0/17", "10.21.0.0/16"]}],
        },
        {"ingress", "egress"},
    )
    assert outputs["description"] == "Managed by Pulumi"
    id_, _, _ = driver.made(type_, {"vpcId": vpc}, name="closed")
    found = cloud.client("ec2").describe_security_groups(GroupIds=[id_])["SecurityGroups"][0]
    assert found["IpPermissionsEgress"] == [], "no egress input is no egress"


def test_studio(driver: Driver, cloud: Cloud, vpc: str, subnet: str, role: str) -> None:
    role_arn = cloud.client("iam").get_role(RoleName=role)["Role"]["Arn"]

    def domain(minutes: int) -> Inputs:
        idle = {"lifecycleManagement": "ENABLED", "idleTimeoutInMinutes": minutes}
        lab_settings = {"appLifecycleManagement": {"idleSettings": idle}}
        return {
            "domainName": "studio",
            "authMode": "IAM",
            "vpcId": vpc,
            "subnetIds": [subnet],
            "defaultUserSettings": {
                "executionRole": role_arn,
                "jupyterLabAppSettings": lab_settings,
            },
            "retentionPolicy": {"homeEfsFileSystem": "Delete"},
        }

    live(driver, "aws:sagemaker/domain:Domain", domain(60), domain(120), {"defaultUserSettings"})
    id_, outputs, _ = driver.made("aws:sagemaker/domain:Domain", domain(60), name="host")
    profile = {"domainId": id_, "userProfileName": "ann"}
    live(driver, "aws:sagemaker/userProfile:UserProfile", {**profile, **TAGGED},
         {**profile, "userSettings": {"executionRole": role_arn}},
         {"userSettings", "tags", "tagsAll"})  # fmt: skip
    driver.delete("aws:sagemaker/domain:Domain", id_, outputs)


def test_notebook_instance(driver: Driver, cloud: Cloud, role: str) -> None:
    fixed = {"roleArn": cloud.client("iam").get_role(RoleName=role)["Role"]["Arn"]}
    live(
        driver,
        "aws:sagemaker/notebookInstance:NotebookInstance",
        {**fixed, "instanceType": "ml.t3.medium"},
        {**fixed, "instanceType": "ml.t3.large", "volumeSize": 10},
        {"instanceType", "volumeSize"},
    )


def test_studio_lifecycle_config(driver: Driver) -> None:
    live(
        driver,
        "aws:sagemaker/studioLifecycleConfig:StudioLifecycleConfig",
        {
            "studioLifecycleConfigName": "hello",
            "studioLifecycleConfigAppType": "JupyterLab",
            "studioLifecycleConfigContent": "ZWNobyBoZWxsbw==",
        },
    )


def test_an_import_of_what_is_not_there_fails(driver: Driver) -> None:
    with pytest.raises(Exception, match="resource 'nothing' does not exist"):
        driver.read("aws:iam/role:Role", "nothing")


def test_drift_is_read_and_then_a_difference(driver: Driver, cloud: Cloud) -> None:
    type_ = "aws:iam/role:Role"
    id_, outputs, checked = driver.made(
        type_, {"assumeRolePolicy": trust("sagemaker.amazonaws.com")}, name="drift"
    )
    iam = cloud.client("iam")
    iam.update_role(RoleName=id_, MaxSessionDuration=7200)
    iam.tag_role(RoleName=id_, Tags=[{"Key": "stray", "Value": "1"}])
    _, found, inputs = driver.read(type_, id_, outputs, checked)
    assert inputs["maxSessionDuration"] == 7200
    assert inputs["assumeRolePolicy"] == checked["assumeRolePolicy"], "kept as it was written"
    diff = driver.diff(type_, id_, found, checked)
    assert diff.kinds == {
        "maxSessionDuration": "UPDATE",
        "tags.stray": "DELETE",
        "tagsAll.stray": "DELETE",
    }
    repaired = driver.update(type_, id_, found, checked)
    assert driver.diff(type_, id_, repaired, checked).is_empty
    assert "Tags" not in iam.get_role(RoleName=id_)["Role"] or all(
        tag["Key"] != "stray" for tag in iam.get_role(RoleName=id_)["Role"]["Tags"]
    )


def test_what_cannot_be_set_up_is_not_left_behind(driver: Driver, cloud: Cloud) -> None:
    inputs = {
        "assumeRolePolicy": trust("sagemaker.amazonaws.com"),
        "managedPolicyArns": ["arn:aws:iam::aws:policy/No"],
    }
    checked = driver.checked("aws:iam/role:Role", inputs, name="half")
    with pytest.raises(Exception, match="NoSuchEntity"):
        driver.create("aws:iam/role:Role", checked)
    names = [each["RoleName"] for each in cloud.client("iam").list_roles()["Roles"]]
    assert checked["name"] not in names
