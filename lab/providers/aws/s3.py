"""S3: the bucket, and the settings that are resources of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from lab.providers.aws.convert import from_api, to_api
from lab.providers.aws.kind import (
    AutoName,
    Cloud,
    Kind,
    Values,
    all_tags,
    document,
    facts,
    is_gone,
    names,
    tag_list,
    tag_map,
    tag_outputs,
)

# https://docs.aws.amazon.com/general/latest/gr/s3.html
_HOSTED_ZONES = {
    "us-east-1": "Z3AQBSTGFYJSTF",
    "us-east-2": "Z2O1EMRO9K5GLX",
    "us-west-2": "Z3BJ6K6RIION7M",
    "eu-west-1": "Z1BKCTXD74EZPE",
    "eu-central-1": "Z21DNDUVLTQW6Q",
}


class Bucket(Kind):
    """A bucket. Its settings are resources of their own; the inline ones of old are refused."""

    urn_type = "aws:s3/bucket:Bucket"
    auto_name = AutoName("bucket", 63, str.lower)
    defaults = facts(forceDestroy=False)
    replace_on = frozenset(
        {"bucket", "bucketPrefix", "bucketNamespace", "objectLockEnabled", "region"}
    )

    # deprecated: each is a resource of its own
    not_done = names(
        "accelerationStatus acl corsRules grants lifecycleRules logging objectLockConfiguration "
        "policy replicationConfiguration requestPayer serverSideEncryptionConfiguration "
        "versioning website"
    )

    def create(self, cloud: Cloud, inputs: Values) -> str:
        where = (
            {}
            if cloud.region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
        )
        name = inputs["bucket"]
        s3 = cloud.client("s3")
        if _answers(lambda: s3.head_bucket(Bucket=name)):
            # us-east-1 says yes to a bucket that is there already
            raise ClientError(
                {"Error": {"Code": "BucketAlreadyOwnedByYou", "Message": f"{name!r} exists"}},
                "CreateBucket",
            )
        lock = {"ObjectLockEnabledForBucket": True} if inputs.get("objectLockEnabled") else {}
        s3.create_bucket(Bucket=name, **where, **lock)
        return name

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if all_tags(old) == all_tags(new):
            return
        s3, tags = cloud.client("s3"), all_tags(new)
        if tags:
            s3.put_bucket_tagging(Bucket=id_, Tagging={"TagSet": tag_list(tags)})
        else:
            s3.delete_bucket_tagging(Bucket=id_)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        s3 = cloud.client("s3")
        s3.head_bucket(Bucket=id_)
        region = s3.get_bucket_location(Bucket=id_)["LocationConstraint"] or "us-east-1"
        tags = _optional(lambda: s3.get_bucket_tagging(Bucket=id_)["TagSet"])
        lock = _optional(lambda: s3.get_object_lock_configuration(Bucket=id_))
        return {
            "bucket": id_,
            "bucketPrefix": state.get("bucketPrefix", ""),
            "arn": f"arn:{cloud.partition}:s3:::{id_}",
            "bucketDomainName": f"{id_}.s3.amazonaws.com",
            "bucketRegion": region,
            "bucketRegionalDomainName": f"{id_}.s3.{region}.amazonaws.com",
            "hostedZoneId": _HOSTED_ZONES.get(region),
            "region": region,
            "objectLockEnabled": bool(lock),
            "forceDestroy": state.get("forceDestroy", False),
            **tag_outputs(cloud, tag_map(tags), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        s3 = cloud.client("s3")
        if state.get("forceDestroy"):
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=id_):
                found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
                if objects:
                    s3.delete_objects(Bucket=id_, Delete={"Objects": objects, "Quiet": True})
        s3.delete_bucket(Bucket=id_)


class BucketSetting(Kind):
    """A setting of a bucket: one document, put, got and deleted as a whole.

    Its id is the bucket's name.
    """

    replace_on = frozenset({"bucket", "expectedBucketOwner", "region"})

    def create(self, cloud: Cloud, inputs: Values) -> str:
        return inputs["bucket"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        self.put(cloud.client("s3"), id_, new)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        found = _optional(lambda: self.get(cloud.client("s3"), id_))
        if found is None:
            return None
        return {"bucket": id_, "region": cloud.region, **found}

    def put(self, s3: Any, bucket: str, inputs: Values) -> None:
        """Write the setting."""
        raise NotImplementedError

    def get(self, s3: Any, bucket: str) -> Values | None:
        """Read the setting; None or the service's error where there is none."""
        raise NotImplementedError


class BucketVersioning(BucketSetting):
    """Versioning. There is no way back to never versioned: a delete suspends it."""

    urn_type = "aws:s3/bucketVersioning:BucketVersioning"

    def put(self, s3: Any, bucket: str, inputs: Values) -> None:
        status = inputs["versioningConfiguration"]["status"]
        if status != "Disabled":  # what a bucket starts with, and cannot be set
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})

    def get(self, s3: Any, bucket: str) -> Values | None:
        found = s3.get_bucket_versioning(Bucket=bucket)
        return {"versioningConfiguration": {"status": found.get("Status", "Disabled")}}

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        if state.get("versioningConfiguration", {}).get("status") == "Enabled":
            cloud.client("s3").put_bucket_versioning(
                Bucket=id_, VersioningConfiguration={"Status": "Suspended"}
            )


class BucketPublicAccessBlock(BucketSetting):
    """The guard against public access."""

    replace_on = names("bucket region")

    urn_type = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")

    def put(self, s3: Any, bucket: str, inputs: Values) -> None:
        s3.put_public_access_block(
            Bucket=bucket,
            PublicAccessBlockConfiguration={
                f"{flag[0].upper()}{flag[1:]}": inputs.get(flag, False) for flag in self.flags
            },
        )

    def get(self, s3: Any, bucket: str) -> Values | None:
        found = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        return {flag: found.get(f"{flag[0].upper()}{flag[1:]}", False) for flag in self.flags}

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("s3").delete_public_access_block(Bucket=id_)


class BucketServerSideEncryptionConfiguration(BucketSetting):
    """How new objects are encrypted. A delete leaves S3's own default, AES256."""

    urn_type = (
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    )

    def put(self, s3: Any, bucket: str, inputs: Values) -> None:
        shape = s3.meta.service_model.shape_for("ServerSideEncryptionRules")
        rules = to_api(inputs["rules"], shape)
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})

    def get(self, s3: Any, bucket: str) -> Values | None:
        found = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
        return {"rules": from_api(found["Rules"], self.type.outputs["rules"].shape)}

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("s3").delete_bucket_encryption(Bucket=id_)


class BucketLifecycleConfiguration(BucketSetting):
    """What becomes of objects with time."""

    urn_type = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    defaults = facts(transitionDefaultMinimumObjectSize="all_storage_classes_128K")
    ordered = frozenset({"rules"})

    def put(self, s3: Any, bucket: str, inputs: Values) -> None:
        shape = s3.meta.service_model.shape_for("LifecycleRules")
        rules = [{"filter": {"prefix": ""}, **rule} for rule in inputs.get("rules") or []]
        for rule in rules:
            if "prefix" in rule:
                rule.pop("filter")
        size = inputs.get("transitionDefaultMinimumObjectSize")
        s3.put_bucket_lifecycle_configuration(
            Bucket=bucket,
            LifecycleConfiguration={"Rules": to_api(rules, shape)},
            **({"TransitionDefaultMinimumObjectSize": size} if size else {}),
        )

    def get(self, s3: Any, bucket: str) -> Values | None:
        found = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
        return {
            "rules": from_api(found["Rules"], self.type.outputs["rules"].shape),
            "transitionDefaultMinimumObjectSize": found.get(
                "TransitionDefaultMinimumObjectSize", "all_storage_classes_128K"
            ),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("s3").delete_bucket_lifecycle(Bucket=id_)


class BucketPolicy(BucketSetting):
    """A bucket's policy."""

    replace_on = names("bucket region")

    urn_type = "aws:s3/bucketPolicy:BucketPolicy"
    documents = frozenset({"policy"})

    def put(self, s3: Any, bucket: str, inputs: Values) -> None:
        s3.put_bucket_policy(Bucket=bucket, Policy=document(inputs["policy"]))

    def get(self, s3: Any, bucket: str) -> Values | None:
        return {"policy": s3.get_bucket_policy(Bucket=bucket)["Policy"]}

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("s3").delete_bucket_policy(Bucket=id_)


class BucketOwnershipControls(BucketSetting):
    """Who owns objects. A delete leaves the service's default, BucketOwnerEnforced."""

    replace_on = names("bucket region")

    urn_type = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"

    def put(self, s3: Any, bucket: str, inputs: Values) -> None:
        rule = {"ObjectOwnership": inputs["rule"]["objectOwnership"]}
        s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [rule]})

    def get(self, s3: Any, bucket: str) -> Values | None:
        rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        return {"rule": {"objectOwnership": rules[0]["ObjectOwnership"]}}

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("s3").delete_bucket_ownership_controls(Bucket=id_)


def _optional(call: Callable[[], Any]) -> Any:
    """Return what a call gives, or None where the bucket has no such setting."""
    try:
        return call()
    except ClientError as error:
        if is_gone(error):
            return None
        raise


def _answers(call: Callable[[], Any]) -> bool:
    return _optional(call) is not None


KINDS: tuple[Kind, ...] = (
    Bucket(),
    BucketVersioning(),
    BucketPublicAccessBlock(),
    BucketServerSideEncryptionConfiguration(),
    BucketLifecycleConfiguration(),
    BucketPolicy(),
    BucketOwnershipControls(),
)
