"""Private, versioned, encrypted S3 bucket for training inputs, code and artifacts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.arn import bucket_arn


@dataclass(frozen=True, kw_only=True)
class ArtifactBucketArgs:
    """What an artifact bucket is made of. Times are days since an object's creation."""

    bucket_name: str
    region: str
    # None encrypts with the account's AWS-managed key, which costs nothing to keep.
    kms_key_arn: pulumi.Input[str] | None = None
    abort_multipart_after_days: int = 7
    expire_noncurrent_after_days: int = 30
    infrequent_access_after_days: int | None = 90
    archive_after_days: int | None = None
    # Delete every object with the bucket.
    force_destroy: bool = False
    # Pulumi refuses to delete the bucket until it is unprotected by hand.
    protect: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("abort_multipart_after_days", 1),
            ("expire_noncurrent_after_days", 1),
            ("infrequent_access_after_days", 30),
            ("archive_after_days", 31),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")


class ArtifactBucket(pulumi.ComponentResource):
    """S3 bucket that is private, reached by TLS only, versioned and encrypted with KMS.

    No object can be public and none has an ACL; old versions and unfinished uploads expire, and
    objects move to a cheaper class with age. A bucket that holds objects is not deleted unless
    force_destroy was deployed before. Billed by what it holds and by the request; empty, it is free.
    """

    bucket_name: pulumi.Output[str]
    bucket_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: ArtifactBucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:ArtifactBucket", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=args.bucket_name,
            force_destroy=args.force_destroy,
            # The bucket alone: what is set on it may be replaced.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        self.bucket_name = bucket.bucket
        self.bucket_arn = bucket.arn

        access = aws.s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket.bucket,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=child,
        )
        versioning = aws.s3.BucketVersioning(
            f"{name}-versioning",
            bucket=bucket.bucket,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(
                status="Enabled"
            ),
            opts=child,
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.bucket,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                        sse_algorithm="aws:kms", kms_master_key_id=args.kms_key_arn
                    ),
                    # One data key a bucket, not one an object: far fewer billed KMS requests.
                    bucket_key_enabled=True,
                )
            ],
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.bucket,
            rules=lifecycle_rules(args),
            # S3 refuses rules on old versions of a bucket that has none yet.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.bucket,
            policy=json.dumps(bucket_policy(bucket_arn(args.region, args.bucket_name))),
            # S3 answers 409 where the two are written at once.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[access]),
        )
        self.register_outputs({"bucket_name": self.bucket_name, "bucket_arn": self.bucket_arn})


def bucket_policy(arn: str) -> dict[str, Any]:
    """Return the policy that refuses every request that is not over TLS 1.2 or newer.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
    """
    resources = [arn, f"{arn}/*"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "RefuseUnencryptedTransport",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": resources,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
            {
                "Sid": "RefuseOldTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": resources,
                "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
            },
        ],
    }


def lifecycle_rules(
    args: ArtifactBucketArgs,
) -> list[aws.s3.BucketLifecycleConfigurationRuleArgs]:
    """Return the bucket's lifecycle: cleaning first, then the move to cheaper classes."""
    everything = aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix="")
    rules = [
        aws.s3.BucketLifecycleConfigurationRuleArgs(
            id="abort-unfinished-uploads",
            status="Enabled",
            filter=everything,
            abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                days_after_initiation=args.abort_multipart_after_days
            ),
        ),
        aws.s3.BucketLifecycleConfigurationRuleArgs(
            id="expire-old-versions",
            status="Enabled",
            filter=everything,
            noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                noncurrent_days=args.expire_noncurrent_after_days
            ),
        ),
    ]
    classes = (
        ("STANDARD_IA", args.infrequent_access_after_days),
        ("GLACIER_IR", args.archive_after_days),
    )
    transitions = [
        aws.s3.BucketLifecycleConfigurationRuleTransitionArgs(days=days, storage_class=storage)
        for storage, days in classes
        if days is not None
    ]
    if transitions:
        rules.append(
            aws.s3.BucketLifecycleConfigurationRuleArgs(
                id="tier-old-objects",
                status="Enabled",
                filter=everything,
                transitions=transitions,
            )
        )
    return rules
