# ruff: noqa: S310 - URLs of the started lab
"""The front: where calls go, what is refused, and what the lab adds to the emulators."""

from __future__ import annotations

import functools
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.lab_aws.cloud import ACCOUNT, Cloud, trust


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call()
    told = caught.value.response["Error"]
    return told["Code"], told["Message"]


def test_each_service_answers_behind_one_endpoint(cloud: Cloud) -> None:
    assert cloud.client("sts").get_caller_identity()["Account"] == ACCOUNT
    assert cloud.client("ec2").describe_vpcs()["Vpcs"]
    assert cloud.client("budgets").describe_budgets(AccountId=ACCOUNT)
    assert "Topics" in cloud.client("sns").list_topics()


def test_an_object_comes_back_byte_for_byte_whatever_its_key_and_address_style(
    cloud: Cloud,
) -> None:
    from botocore.config import Config

    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="front-bytes")
    body = bytes(range(256)) * 4096
    s3.put_object(Bucket="front-bytes", Key="a b/ü+x=&?", Body=body)
    assert s3.get_object(Bucket="front-bytes", Key="a b/ü+x=&?")["Body"].read() == body
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": "front-bytes", "Key": "a b/ü+x=&?"}
    )
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == body
    older = cloud.client("s3", config=Config(signature_version="s3"))
    with urllib.request.urlopen(
        older.generate_presigned_url(
            "get_object", Params={"Bucket": "front-bytes", "Key": "a b/ü+x=&?"}
        )
    ) as answer:
        assert answer.read() == body


def test_a_bucket_in_the_host_name_is_found(cloud: Cloud) -> None:
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials

    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="front-host")
    s3.put_object(Bucket="front-host", Key="k", Body=b"found")
    host = "front-host.s3.us-east-1.amazonaws.com"
    request = botocore.awsrequest.AWSRequest("GET", f"https://{host}/k")
    credentials = botocore.credentials.Credentials("lab", "lab-secret")
    botocore.auth.S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
    headers = {**dict(request.headers.items()), "Host": host}
    with urllib.request.urlopen(
        urllib.request.Request(f"{cloud.url}/k", headers=headers)
    ) as answer:
        assert answer.read() == b"found"


@pytest.mark.parametrize(
    ("service", "call"),
    [
        ("dynamodb", lambda client: client.list_tables()),  # JSON
        ("rds", lambda client: client.describe_db_instances()),  # query
        ("xray", lambda client: client.get_groups()),  # REST
    ],
)
def test_an_unknown_service_is_refused_by_name_in_its_own_protocol(
    cloud: Cloud, service: str, call: Callable[[Any], Any]
) -> None:
    code, message = refused(lambda: call(cloud.client(service)))
    assert code == "UnknownServiceException"
    assert repr(service) in message
    assert "s3" in message, "the message says what there is"


def test_a_key_that_looks_real_is_refused_and_not_repeated(cloud: Cloud) -> None:
    key = "AKIAIOSFODNN7EXAMPLE"
    code, message = refused(lambda: cloud.client("s3", key).list_buckets())
    assert code == "InvalidClientTokenId"
    assert "looks like a real one" in message
    assert key not in message


def test_keys_that_the_lab_issued_pass(cloud: Cloud) -> None:
    iam = cloud.client("iam")
    iam.create_user(UserName="front-user")
    iam.put_user_policy(
        UserName="front-user",
        PolicyName="p",
        PolicyDocument=json.dumps(
            {"Version": "2012-10-17",
             "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}
        ),
    )  # fmt: skip
    key = iam.create_access_key(UserName="front-user")["AccessKey"]
    assert (
        "Buckets" in cloud.client("s3", key["AccessKeyId"], key["SecretAccessKey"]).list_buckets()
    )


def test_a_wrong_secret_is_refused(cloud: Cloud) -> None:
    for service, call in (
        ("ec2", "describe_vpcs"),
        ("sagemaker", "list_training_jobs"),
        ("service-quotas", "list_services"),
    ):
        code, _ = refused(getattr(cloud.client(service, "lab", "wrong"), call))
        assert code == "InvalidSignatureException", service
    iam = cloud.client("iam")
    iam.create_user(UserName="front-wrong")
    key = iam.create_access_key(UserName="front-wrong")["AccessKey"]["AccessKeyId"]
    assert refused(cloud.client("s3", key, "wrong").list_buckets)[0] == "SignatureDoesNotMatch"


def test_an_unsigned_request_to_s3_is_denied(cloud: Cloud) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{cloud.url}/front-bytes")
    assert caught.value.code == 403
    assert b"<Code>AccessDenied</Code>" in caught.value.read()


def test_the_registry_wants_credentials_and_takes_those_that_ecr_gives(cloud: Cloud) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{cloud.url}/v2/")
    assert caught.value.code == 401
    assert caught.value.headers["WWW-Authenticate"].startswith("Basic"), "clients sign in for this"
    given = cloud.client("ecr").get_authorization_token()["authorizationData"][0]
    assert given["proxyEndpoint"] == cloud.url, "a docker daemon reaches no other registry here"
    request = urllib.request.Request(
        f"{cloud.url}/v2/", headers={"Authorization": f"Basic {given['authorizationToken']}"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    request.headers["Authorization"] = "Basic QVdTOmd1ZXNzZWQ="
    with pytest.raises(urllib.error.HTTPError) as guessed:
        urllib.request.urlopen(request)
    assert guessed.value.code == 401


@pytest.mark.parametrize(
    ("service", "call"),
    [("iam", "list_roles"), ("kms", "list_keys"), ("logs", "describe_log_groups")],
)
def test_the_roots_key_is_nothing_without_its_secret(cloud: Cloud, service: str, call: str) -> None:
    client = cloud.client(service, secret="wrong")
    assert refused(getattr(client, call))[0] == "InvalidSignatureException"


def test_the_roots_requests_to_s3_are_verified_whatever_the_key(cloud: Cloud) -> None:
    s3, wrong = cloud.client("s3"), cloud.client("s3", secret="wrong")
    s3.create_bucket(Bucket="front-signed")
    for key in ("a b/ü+%2F//c", "plain"):
        s3.put_object(Bucket="front-signed", Key=key, Body=b"x" * 10)
        assert s3.get_object(Bucket="front-signed", Key=key)["Body"].read() == b"x" * 10
        found = s3.list_objects_v2(Bucket="front-signed", Prefix=key)
        assert found["KeyCount"] == 1
        delete = functools.partial(wrong.delete_object, Bucket="front-signed", Key=key)
        assert refused(delete)[0] == "SignatureDoesNotMatch"


def test_the_session_of_a_deleted_role_is_refused(cloud: Cloud) -> None:
    role = cloud.role("front-gone", {"Action": "ec2:DescribeVpcs", "Resource": "*"})
    as_role, iam = cloud.as_role("ec2", role), cloud.client("iam")
    iam.delete_role_policy(RoleName="front-gone", PolicyName="allowed")
    iam.delete_role(RoleName="front-gone")
    assert refused(as_role.describe_vpcs)[0] == "UnrecognizedClientException"


def test_the_emulators_own_paths_are_not_reachable(cloud: Cloud) -> None:
    reset = urllib.request.Request(f"{cloud.url}/_ministack/reset", method="POST")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(reset)


def test_every_listener_is_on_loopback(cloud: Cloud) -> None:
    for name, process in cloud.processes.items():
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(process.pid).net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening, name
        assert set(listening) == {"127.0.0.1"}, name


def test_a_role_may_do_what_it_is_allowed_and_no_more(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="front-role")
    s3.put_object(Bucket="front-role", Key="in/k", Body=b"1")
    role = cloud.role(
        "front-role", {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::front-role/in/*"}
    )
    as_role = cloud.as_role("s3", role)
    assert as_role.get_object(Bucket="front-role", Key="in/k")["Body"].read() == b"1"
    assert refused(lambda: as_role.put_object(Bucket="front-role", Key="in/k"))[0] == "AccessDenied"
    assert refused(lambda: as_role.get_object(Bucket="front-role", Key="out"))[0] == "AccessDenied"
    assert refused(cloud.as_role("ec2", role).describe_vpcs)[0] == "AccessDeniedException"
    assert (
        refused(cloud.as_role("service-quotas", role).list_services)[0] == "AccessDeniedException"
    )


def test_a_bucket_that_denies_plain_http_is_open_to_the_lab(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="front-tls")
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::front-tls/*",
             "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
        ],
    }  # fmt: skip
    s3.put_bucket_policy(Bucket="front-tls", Policy=json.dumps(policy))
    role = cloud.role("front-tls", {"Action": "s3:*", "Resource": "*"})
    cloud.as_role("s3", role).put_object(Bucket="front-tls", Key="k", Body=b"1")


def test_an_object_under_a_key_needs_the_key_as_well(cloud: Cloud) -> None:
    s3, kms = cloud.client("s3"), cloud.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    s3.create_bucket(Bucket="front-kms")
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(
        Bucket="front-kms", ServerSideEncryptionConfiguration={"Rules": [rule]}
    )
    s3.put_object(Bucket="front-kms", Key="k", Body=b"1")
    objects = {"Action": "s3:*", "Resource": "*"}
    without = cloud.as_role("s3", cloud.role("front-keyless", objects))
    for call in (
        lambda: without.get_object(Bucket="front-kms", Key="k"),
        lambda: without.put_object(Bucket="front-kms", Key="k", Body=b"2"),
        lambda: without.create_multipart_upload(Bucket="front-kms", Key="k"),
    ):
        code, message = refused(call)
        assert code == "AccessDenied"
        assert "kms:" in message
    use = {"Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key}
    through = {"Condition": {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}}
    keyed = cloud.as_role("s3", cloud.role("front-keyed", objects, {**use, **through}))
    keyed.put_object(Bucket="front-kms", Key="k", Body=b"3")
    assert keyed.get_object(Bucket="front-kms", Key="k")["Body"].read() == b"3"
    assert [each["Key"] for each in without.list_objects_v2(Bucket="front-kms")["Contents"]] == [
        "k"
    ]


def test_a_missing_or_disabled_key_encrypts_nothing(cloud: Cloud) -> None:
    s3, kms = cloud.client("s3"), cloud.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key)
    s3.create_bucket(Bucket="front-no-key")

    def put(key_id: str) -> Callable[[], Any]:
        return lambda: s3.put_object(
            Bucket="front-no-key", Key="k", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_id
        )

    assert refused(put(key))[0] == "KMS.DisabledException"
    assert refused(put(key[:-4] + "0000"))[0] == "KMS.NotFoundException"


def test_the_simulator_knows_context_several_resources_boundaries_and_paths(cloud: Cloud) -> None:
    iam = cloud.client("iam")
    boundary = iam.create_policy(
        PolicyName="front-boundary",
        PolicyDocument=json.dumps(
            {"Version": "2012-10-17",
             "Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "iam:*"], "Resource": "*"}]}
        ),
    )["Policy"]["Arn"]  # fmt: skip
    role = iam.create_role(
        RoleName="front-simulated",
        Path="/ml/",
        AssumeRolePolicyDocument=trust("sagemaker.amazonaws.com"),
        PermissionsBoundary=boundary,
    )["Role"]["Arn"]
    statements = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*",
         "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}},
    ]  # fmt: skip
    iam.put_role_policy(
        RoleName="front-simulated",
        PolicyName="p",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
    )

    def simulate(service: str) -> dict[tuple[str, str], str]:
        found = iam.simulate_principal_policy(
            PolicySourceArn=role,
            ActionNames=["s3:GetObject", "s3:PutObject", "iam:PassRole"],
            ResourceArns=["arn:aws:s3:::b/k", "arn:aws:s3:::c/k"],
            ContextEntries=[
                {"ContextKeyName": "iam:PassedToService", "ContextKeyValues": [service],
                 "ContextKeyType": "string"}
            ],
        )["EvaluationResults"]  # fmt: skip
        return {
            (each["EvalActionName"], each["EvalResourceName"]): each["EvalDecision"]
            for each in found
        }

    allowed = simulate("sagemaker.amazonaws.com")
    assert allowed["s3:GetObject", "arn:aws:s3:::b/k"] == "allowed"
    assert allowed["s3:GetObject", "arn:aws:s3:::c/k"] == "implicitDeny"
    assert allowed["s3:PutObject", "arn:aws:s3:::b/k"] == "implicitDeny", "the boundary"
    assert allowed["iam:PassRole", "arn:aws:s3:::b/k"] == "allowed"
    assert simulate("lambda.amazonaws.com")["iam:PassRole", "arn:aws:s3:::b/k"] == "implicitDeny"


def test_aws_managed_policies_have_their_documents_and_count(cloud: Cloud) -> None:
    iam = cloud.client("iam")
    arn = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    assert "sagemaker:*" in found["Statement"][0]["Action"]
    role = cloud.role("front-managed", {"Action": "sts:GetCallerIdentity", "Resource": "*"})
    iam.attach_role_policy(RoleName="front-managed", PolicyArn=arn)
    assert cloud.as_role("ec2", role).describe_vpcs()["Vpcs"]
    missing = "arn:aws:iam::aws:policy/NoSuchPolicy"
    code, _ = refused(lambda: iam.attach_role_policy(RoleName="front-managed", PolicyArn=missing))
    assert code == "NoSuchEntity"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{x", "not JSON"),
        ('{"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"}]}', "Principal"),
        (trust("sagemaker.amazonaws.com").replace("sts:AssumeRole", "s3:GetObject"), "sts"),
        (trust("not a service"), "Invalid principal"),
    ],
)
def test_a_trust_policy_is_held_to_the_grammar(cloud: Cloud, document: str, said: str) -> None:
    iam = cloud.client("iam")
    code, message = refused(
        lambda: iam.create_role(RoleName="front-bad", AssumeRolePolicyDocument=document)
    )
    assert code == "MalformedPolicyDocument"
    assert said in message


def test_bucket_policies_and_lifecycles_are_held_to_s3_s_rules(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="front-rules")
    put = s3.put_bucket_policy
    assert refused(lambda: put(Bucket="front-rules", Policy="{x"))[0] == "MalformedPolicy"

    def lifecycle(*rules: dict[str, Any]) -> Callable[[], Any]:
        whole = [
            {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, **rule} for rule in rules
        ]
        return lambda: s3.put_bucket_lifecycle_configuration(
            Bucket="front-rules", LifecycleConfiguration={"Rules": whole}
        )

    early = {"Transitions": [{"Days": 3, "StorageClass": "STANDARD_IA"}]}
    expire = {"Expiration": {"Days": 3}}
    assert refused(lifecycle(early))[0] == "InvalidArgument"
    assert refused(lifecycle({}))[0] == "InvalidRequest"
    assert "unique" in refused(lifecycle(expire, expire))[1]
    lifecycle(expire)()


def test_what_the_emulators_would_only_pretend_is_refused(cloud: Cloud) -> None:
    s3, key = cloud.client("s3"), f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"
    s3.create_bucket(Bucket="front-refusals")
    tiering = {
        "Id": "x",
        "Status": "Enabled",
        "Tierings": [{"Days": 90, "AccessTier": "ARCHIVE_ACCESS"}],
    }
    for call in (
        lambda: s3.put_bucket_intelligent_tiering_configuration(
            Bucket="front-refusals", Id="x", IntelligentTieringConfiguration=tiering
        ),
        lambda: cloud.client("logs").associate_kms_key(logGroupName="g", kmsKeyId=key),
        lambda: cloud.client("kms").rotate_key_on_demand(KeyId="k"),
        lambda: cloud.client("ecr").put_registry_scanning_configuration(scanType="BASIC"),
        lambda: cloud.client("pricing").get_products(ServiceCode="AmazonSageMaker"),
    ):
        _, message = refused(call)
        assert "the lab" in message


def test_quotas_are_named_as_aws_names_them_and_say_whose_their_values_are(cloud: Cloud) -> None:
    client = cloud.client("service-quotas")
    pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    found = {each["QuotaName"]: each for page in pages for each in page["Quotas"]}
    quota = found["ml.m5.large for training job usage"]
    assert "ml.m5.large for spot training job usage" in found
    assert "lab's own" in quota["Description"]
    one = client.get_service_quota(ServiceCode="sagemaker", QuotaCode=quota["QuotaCode"])["Quota"]
    assert one["Value"] == quota["Value"]

    body = json.dumps({quota["QuotaName"]: 3}).encode()
    json_type = {"Content-Type": "application/json"}
    urllib.request.urlopen(
        urllib.request.Request(f"{cloud.url}/_lab/quotas", data=body, headers=json_type)
    ).close()
    code = {"ServiceCode": "sagemaker", "QuotaCode": quota["QuotaCode"]}
    assert client.get_service_quota(**code)["Quota"]["Value"] == 3, "what jobs are held to"
    assert client.get_aws_default_service_quota(**code)["Quota"]["Value"] == quota["Value"]


def test_a_rule_with_targets_is_not_deleted(cloud: Cloud) -> None:
    events, sns = cloud.client("events"), cloud.client("sns")
    topic = sns.create_topic(Name="front-rule")["TopicArn"]
    events.put_rule(Name="front-rule", EventPattern='{"source": ["aws.sagemaker"]}')
    events.put_targets(Rule="front-rule", Targets=[{"Id": "t", "Arn": topic}])
    assert "targets" in refused(lambda: events.delete_rule(Name="front-rule"))[1]
    events.remove_targets(Rule="front-rule", Ids=["t"])
    events.delete_rule(Name="front-rule")
