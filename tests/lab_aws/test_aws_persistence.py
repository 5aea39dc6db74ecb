"""What the AWS half keeps over a restart, and over a kill."""

from __future__ import annotations

from pathlib import Path

from tests.lab_aws.cloud import Cloud, start_cloud, trust


def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    cloud = start_cloud(tmp_path, ("ministack", "ec2", "aws-front"))
    try:
        _fill(cloud)
        key = cloud.client("kms").create_key()["KeyMetadata"]["KeyId"]
        sealed = cloud.client("kms").encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
        vpc = cloud.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        for part in ("ministack", "ec2"):
            cloud.stop(part, kill=True)
            cloud.start(part)
        _expect(cloud)
        assert cloud.client("kms").decrypt(CiphertextBlob=sealed)["Plaintext"] == b"secret"
        assert cloud.client("ec2").describe_vpcs(VpcIds=[vpc])["Vpcs"]
        for part in ("ministack", "ec2"):
            cloud.stop(part)
            cloud.start(part)
        _expect(cloud)
    finally:
        cloud.close()


def test_what_a_kill_lost_is_said_at_the_next_start(tmp_path: Path) -> None:
    state = tmp_path / "aws" / "ministack" / "state"
    state.mkdir(parents=True)
    (state / "unsaved.journal").write_text('["cloudwatch_logs"]', encoding="utf-8")
    cloud = start_cloud(tmp_path, ("ministack",))
    try:
        assert "cloudwatch_logs" in (tmp_path / "ministack.log").read_text()
        assert not (state / "unsaved.journal").exists(), "it is said once"
    finally:
        cloud.close()


def _fill(cloud: Cloud) -> None:
    s3, iam = cloud.client("s3"), cloud.client("iam")
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="kept", Key="k", Body=b"1")
    s3.put_object(Bucket="kept", Key="k", Body=b"2")
    iam.create_role(RoleName="kept", AssumeRolePolicyDocument=trust("sagemaker.amazonaws.com"))
    cloud.client("ecr").create_repository(repositoryName="kept")
    cloud.client("logs").create_log_group(logGroupName="kept")
    cloud.client("events").put_rule(Name="kept", EventPattern='{"source": ["aws.sagemaker"]}')
    cloud.client("sns").create_topic(Name="kept")


def _expect(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    assert s3.get_bucket_versioning(Bucket="kept")["Status"] == "Enabled"
    versions = s3.list_object_versions(Bucket="kept")["Versions"]
    assert len(versions) == 2
    assert cloud.client("iam").get_role(RoleName="kept")
    assert cloud.client("ecr").describe_repositories(repositoryNames=["kept"])
    assert cloud.client("logs").describe_log_groups(logGroupNamePrefix="kept")["logGroups"]
    assert cloud.client("events").describe_rule(Name="kept")
    topics = cloud.client("sns").list_topics()["Topics"]
    assert [each["TopicArn"].rpartition(":")[2] for each in topics] == ["kept"]
