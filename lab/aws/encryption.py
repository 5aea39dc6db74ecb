"""SSE-KMS as S3 does it: who reads or writes an object that a key encrypts has to be allowed the key.

ministack stores which key an object has, and asks nobody.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from lab.aws.identity import Guard, Identity
from lab.aws.policy import evaluate, names, statements
from lab.aws.wire import Refusal
from lab.home import ACCOUNT_ID

_HEADER = "x-amz-server-side-encryption"
_KEY_HEADER = f"{_HEADER}-aws-kms-key-id"
_CACHE_SECONDS = 2.0
_HOST_BUCKET = re.compile(r"^(.+)\.s3[.-][a-z0-9.-]*amazonaws\.com$")


@dataclass(frozen=True)
class ObjectRequest:
    """Which object a request is for, and what it does."""

    bucket: str
    is_write: bool
    region: str
    headers: Mapping[str, str]


def object_request(
    method: str,
    host: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    region: str,
) -> ObjectRequest | None:
    """Return the object that a request reads or writes; None for anything else."""
    in_host = _HOST_BUCKET.match(host.partition(":")[0])
    whole = unquote(path).lstrip("/")
    bucket, _, key = (in_host[1], "", whole) if in_host else whole.partition("/")
    if not key:
        return None
    settings = {"acl", "tagging", "retention", "legal-hold", "torrent", "attributes"}
    is_write = (method == "PUT" and not settings & query.keys()) or (
        method == "POST" and "uploads" in query
    )
    is_read = method == "GET" and not (settings | {"uploadId"}) & query.keys()
    if not is_write and not is_read:
        return None
    return ObjectRequest(bucket, is_write, region, headers)


class Encryption:
    """Asks keys and policies with the root's clients; answers are kept for two seconds."""

    def __init__(self, client: Callable[[str], Any], guard: Guard) -> None:
        self._client = client
        self._guard = guard
        self._kept: dict[tuple[str, str], tuple[float, Any]] = {}

    def before_write(self, request: ObjectRequest, identity: Identity) -> None:
        """Raise Refusal unless the writer may encrypt with the key that the object will have."""
        algorithm = request.headers.get(_HEADER)
        key = request.headers.get(_KEY_HEADER)
        if algorithm is None:
            algorithm, key = self._remembered("bucket", request.bucket, self._bucket_default)
        if algorithm in ("aws:kms", "aws:kms:dsse") and key:
            self._require(identity, "kms:GenerateDataKey", key, request)

    def before_answer(
        self, request: ObjectRequest, identity: Identity, answer: Mapping[str, str]
    ) -> None:
        """Raise Refusal unless the reader may decrypt with the key that the object has."""
        key = answer.get(_KEY_HEADER)
        if key:
            self._require(identity, "kms:Decrypt", key, request)

    def _require(
        self, identity: Identity, action: str, key_id: str, request: ObjectRequest
    ) -> None:
        if key_id.endswith("alias/aws/s3"):
            return  # everyone in the account may use it, through S3
        key = self._remembered("key", key_id, self._key)
        if key is None:
            raise Refusal("KMS.NotFoundException", f"Key {key_id!r} does not exist")
        if key["KeyState"] != "Enabled":
            arn, state = key["Arn"], key["KeyState"]
            raise Refusal("KMS.DisabledException", f"{arn} is {state}, and has to be Enabled")
        if identity.is_root:
            return
        context = {
            "kms:ViaService": f"s3.{request.region}.amazonaws.com",
            "kms:CallerAccount": ACCOUNT_ID,
        }
        about = [each for each in statements(key["Policy"]) if names(each, identity.arn)]
        decision = evaluate([{"Statement": about}], action, key["Arn"], context)
        direct = [each for each in about if names(each, identity.arn, by_account=False)]
        if (
            decision.allowed
            and evaluate([{"Statement": direct}], action, key["Arn"], context).allowed
        ):
            return
        if not decision.allowed:
            raise Refusal(
                "AccessDenied",
                f"User: {identity.arn} is not authorized to perform: {action} on resource: "
                f"{key['Arn']} because no resource-based policy allows the {action} action",
                403,
            )
        try:
            self._guard.require(identity, action, key["Arn"], context)
        except Refusal as refusal:
            raise Refusal("AccessDenied", refusal.message, 403) from None

    def _bucket_default(self, bucket: str) -> tuple[str | None, str | None]:
        try:
            found = self._client("s3").get_bucket_encryption(Bucket=bucket)
        except ClientError:
            return None, None  # no such bucket: ministack says so
        rule = found["ServerSideEncryptionConfiguration"]["Rules"][0]
        default = rule.get("ApplyServerSideEncryptionByDefault", {})
        return default.get("SSEAlgorithm"), default.get("KMSMasterKeyID")

    def _key(self, key_id: str) -> dict[str, Any] | None:
        kms = self._client("kms")
        try:
            key = kms.describe_key(KeyId=key_id)["KeyMetadata"]
        except ClientError:
            return None
        policy = kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"]
        return {**key, "Policy": policy}

    def _remembered(self, kind: str, name: str, read: Callable[[str], Any]) -> Any:
        kept = self._kept.get((kind, name))
        if kept and time.monotonic() - kept[0] < _CACHE_SECONDS:
            return kept[1]
        found = read(name)
        self._kept[kind, name] = (time.monotonic(), found)
        return found
