"""KMS's part in S3's requests, which the lab's S3 does not play: a role needs the key, too.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#require-sse-kms
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from lab.aws import policy
from lab.aws.sagemaker.session import service_client

_READ, _WRITE = "kms:Decrypt", "kms:GenerateDataKey"


class KeyGuard:
    """Refuses what a role's client asks of S3 where the role may not use the object's key."""

    def __init__(self, role_arn: str, region: str) -> None:
        self._role_arn = role_arn
        self._region = region
        self._account = role_arn.split(":")[4]
        self._decided: dict[tuple[str, str], str | None] = {}
        self._defaults: dict[str, str | None] = {}

    def attach(self, s3: Any) -> None:
        """Watch an S3 client's calls."""
        events = s3.meta.events
        events.register("provide-client-params.s3.PutObject", self._before_write)
        events.register("provide-client-params.s3.CreateMultipartUpload", self._before_write)
        events.register("after-call.s3.GetObject", self._after_read)

    def _before_write(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        key = params.get("SSEKMSKeyId")
        if not params.get("ServerSideEncryption"):
            key = self._default_key(params["Bucket"])
        if key:
            self._require(_WRITE, key, model.name)

    def _after_read(self, parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
        if key := parsed.get("SSEKMSKeyId"):
            self._require(_READ, key, model.name)

    def _default_key(self, bucket: str) -> str | None:
        if bucket not in self._defaults:
            try:
                found = service_client("s3", self._region).get_bucket_encryption(Bucket=bucket)
            except ClientError:
                self._defaults[bucket] = None  # no such bucket, as the call itself will say
            else:
                rule = found["ServerSideEncryptionConfiguration"]["Rules"][0]
                default = rule.get("ApplyServerSideEncryptionByDefault") or {}
                self._defaults[bucket] = default.get("KMSMasterKeyID")
        return self._defaults[bucket]

    def _require(self, action: str, key: str, operation: str) -> None:
        if (action, key) not in self._decided:
            self._decided[action, key] = self._refusal(action, key)
        if message := self._decided[action, key]:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": message}}, operation)

    def _refusal(self, action: str, key: str) -> str | None:
        """Return why the role may not, or None where it may."""
        if key.endswith("alias/aws/s3"):
            return None  # AWS's own key, for every principal that may use the bucket
        kms = service_client("kms", self._region)
        try:
            found = kms.describe_key(KeyId=key)["KeyMetadata"]
        except ClientError as error:
            return f"the KMS key {key} cannot be used: {error}"
        if found["KeyState"] != "Enabled":
            return f"the KMS key {found['Arn']} is {found['KeyState']}"
        if self._may(kms, action, found["Arn"]):
            return None
        return (
            f"User: {self._role_arn} is not authorized to perform: {action} on resource: "
            f"{found['Arn']} because no identity-based policy allows the {action} action"
        )

    def _may(self, kms: Any, action: str, key_arn: str) -> bool:
        """A key's policy allows the role itself, or leaves it to the account's IAM policies."""
        context = {
            "aws:PrincipalArn": self._role_arn,
            "kms:CallerAccount": self._account,
            "kms:ViaService": f"s3.{self._region}.amazonaws.com",
        }
        document = kms.get_key_policy(KeyId=key_arn, PolicyName="default")["Policy"]
        about = [s for s in policy.statements(document) if policy.names(s, self._role_arn)]
        root = f"arn:aws:iam::{self._account}:root"
        delegating = [s for s in about if policy.names(s, root)]
        direct = [s for s in about if s not in delegating]
        decision = policy.evaluate([{"Statement": about}], action, key_arn, context)
        if not decision.allowed:
            return False
        if policy.evaluate([{"Statement": direct}], action, key_arn, context).allowed:
            return True
        iam = service_client("iam", self._region)
        policies = policy.policies_of_role(iam, self._role_arn)
        return policy.evaluate(policies, action, key_arn, context).allowed
