"""The AWS half of a stack's settings, in SageMaker's and its neighbours' own terms."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PositiveInt
from pydantic_core import core_schema

from components import naming
from infra.common_settings import (
    DAY_SECONDS,
    DURATION_SCHEMA,
    MINUTE_SECONDS,
    BudgetSettings,
    CommonSettings,
    PrivateCidr,
    Problem,
    SettingsModel,
    ShortName,
    below,
    duration,
    matching,
    misfit,
    repeated,
)

# Small and common: one of each price class. A stack that needs more says so.
DEFAULT_INSTANCE_TYPES = (
    "ml.m5.large",
    "ml.m5.xlarge",
    "ml.m5.2xlarge",
    "ml.c5.xlarge",
    "ml.c5.2xlarge",
    "ml.g4dn.xlarge",
)


@functools.cache
def instance_types(shape: str) -> frozenset[str]:
    """Return the instance types of a shape of SageMaker's API, as the installed botocore has it.

    The list changes with botocore; nothing of it is retyped here.
    """
    from botocore.loaders import Loader

    model = Loader().load_service_model("sagemaker", "service-2")
    return frozenset(model["shapes"][shape]["enum"]) - {"system"}


@dataclasses.dataclass(frozen=True)
class _InstanceTypeOf:
    """An instance type of a shape of the API; ``purpose`` completes ``SageMaker ...``."""

    shape: str
    purpose: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"enum": sorted(instance_types(self.shape))}

    def _check(self, value: str) -> str:
        known = instance_types(self.shape)
        if value in known:
            return value
        family = value.rpartition(".")[0]
        near = sorted(name for name in known if name.rpartition(".")[0] == family)
        families = ", ".join(sorted({name.split(".")[1] for name in known}))
        allowed = ", ".join(near) if near else f"ml.<family>.<size> of the families {families}"
        raise ValueError(f"it must be an instance type that SageMaker {self.purpose}: {allowed}")


TrainingInstanceType = Annotated[str, _InstanceTypeOf("TrainingInstanceType", "trains on")]
StudioInstanceType = Annotated[str, _InstanceTypeOf("AppInstanceType", "runs Studio apps on")]
BucketName = Annotated[
    str,
    matching(
        r"(?!xn--)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "the name of an S3 bucket, 3-63 lower case letters, digits, dots and dashes",
    ),
]
AvailabilityZone = Annotated[
    str, matching(r"[a-z]{2}(-[a-z]+)+-\d[a-z]", "an availability zone such as us-east-1a")
]
# Interface endpoints that training in a private subnet may need, by their service's last name.
# https://docs.aws.amazon.com/vpc/latest/privatelink/aws-services-privatelink-support.html
EndpointService = Literal[
    "ecr.api",
    "ecr.dkr",
    "kms",
    "logs",
    "monitoring",
    "sagemaker.api",
    "sagemaker.runtime",
    "sts",
]
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RetentionDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731,
    1096, 1827, 2192, 2557, 2922, 3288, 3653,
]  # fmt: skip


class BucketSettings(SettingsModel):
    """The bucket of training inputs, code and artifacts."""

    abort_multipart_after_days: PositiveInt = Field(
        default=7, description="Uploads that were never finished are thrown away after this."
    )
    expire_noncurrent_after_days: PositiveInt = Field(
        default=30, description="Overwritten and deleted objects can be had back for this long."
    )
    infrequent_access_after_days: Annotated[int, Field(ge=30)] | None = Field(
        default=90,
        description="Objects move to the Standard-IA class after this; at least 30. null: never.",
    )
    archive_after_days: Annotated[int, Field(ge=31)] | None = Field(
        default=None,
        description="Objects move to Glacier Instant Retrieval after this. null: never.",
    )

    force_destroy: bool = Field(
        default=False, description="Delete every object when the stack is destroyed."
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        first, then = self.infrequent_access_after_days, self.archive_after_days
        if first is not None and then is not None and then < first + 30:
            yield Problem(
                location=("archive_after_days",),
                value=then,
                message=f"it must be {first + 30} or more: 30 after infrequent_access_after_days",
            )


class EncryptionKeySettings(SettingsModel):
    """A key of the stack's own. Without it, S3 encrypts with the account's AWS-managed key."""

    rotation_period_days: Annotated[int, Field(ge=90, le=2560)] = Field(
        default=365, description="The key's material is replaced this often."
    )
    deletion_window_days: Annotated[int, Field(ge=7, le=30)] = Field(
        default=30, description="A deleted key can be had back for this long."
    )


class RepositorySettings(SettingsModel):
    """An ECR repository of training images."""

    name: ShortName = Field(examples=["example"])
    keep_images: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=50, description="The newest tagged images that are kept."
    )
    expire_untagged_after_days: PositiveInt = Field(
        default=14, description="Images that no tag names are deleted after this."
    )
    use_encryption_key: bool = Field(
        default=False,
        description="Encrypt with aws.encryption_key. A change replaces the repository.",
    )
    force_delete: bool = Field(
        default=False, description="Delete its images when the stack is destroyed."
    )


class ExecutionRoleSettings(SettingsModel):
    """A role that training jobs run as. It always may use the stack's own bucket."""

    name: ShortName = Field(examples=["example"])
    read_buckets: tuple[BucketName, ...] = Field(
        default=(), description="More buckets that jobs may read."
    )
    write_buckets: tuple[BucketName, ...] = Field(
        default=(), description="More buckets that jobs may read and write."
    )
    kms_key_arns: tuple[
        Annotated[
            str,
            matching(
                r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+", "the ARN of a KMS key"
            ),
        ],
        ...,
    ] = Field(default=(), description="Keys that those buckets are encrypted with.")


class LimitSettings(SettingsModel):
    """What one training job may be. The submitter policy and the job's check at submit hold it."""

    instance_types: tuple[TrainingInstanceType, ...] = Field(
        default=DEFAULT_INSTANCE_TYPES,
        max_length=60,
        description="Instance types that a job may run on. []: every type SageMaker trains on.",
    )
    max_runtime: Annotated[int, duration(MINUTE_SECONDS, 28 * DAY_SECONDS), DURATION_SCHEMA] = (
        Field(
            default=DAY_SECONDS,
            description="The longest run that a job may ask for, in seconds or as 4h; at most 28 days.",
        )
    )


class LogSettings(SettingsModel):
    """CloudWatch logs of training jobs. SageMaker sets the group's name, one an account and region.

    https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
    """

    manage_group: bool = Field(
        default=True,
        description=(
            "Own /aws/sagemaker/TrainingJobs and its retention. Set false where it exists already "
            "or another stack of the account and region owns it."
        ),
    )
    retention_days: RetentionDays = Field(
        default=30, description="Logs are deleted after this many days."
    )


class NetworkSettings(SettingsModel):
    """A VPC with private subnets only: jobs reach S3 by a free gateway endpoint, and no internet.

    Interface endpoints are billed by the hour, each in each zone; there are none unless listed.
    """

    cidr_block: PrivateCidr = Field(
        default="10.20.0.0/16", description="The VPC's range: /16 to /26."
    )
    availability_zones: tuple[AvailabilityZone, ...] = Field(
        min_length=1, max_length=6, description="One private subnet is made in each."
    )
    subnet_cidr_blocks: tuple[PrivateCidr, ...] = Field(
        default=(),
        description="The subnets' ranges, in the zones' order. []: the VPC's, in equal parts.",
    )
    interface_endpoints: tuple[EndpointService, ...] = Field(
        default=(), description="AWS services that jobs reach without internet, billed by the hour."
    )

    @property
    def subnets(self) -> tuple[str, ...]:
        """The subnets' ranges, one a zone."""
        if self.subnet_cidr_blocks:
            return self.subnet_cidr_blocks
        network = ipaddress.IPv4Network(self.cidr_block)
        bits = max(1, (len(self.availability_zones) - 1).bit_length())
        parts = network.subnets(prefixlen_diff=bits)
        return tuple(str(part) for part in itertools.islice(parts, len(self.availability_zones)))

    def problems(self, region: str) -> Iterator[Problem]:
        """Yield what is wrong between the ranges, and zones that are not the region's."""
        for index, zone in enumerate(self.availability_zones):
            at = ("availability_zones", index)
            if zone[:-1] != region:
                message = f"it must be a zone of aws.region {region!r}"
                yield Problem(location=at, value=zone, message=message)
        yield from repeated(("availability_zones",), self.availability_zones)
        vpc = ipaddress.IPv4Network(self.cidr_block)
        if not 16 <= vpc.prefixlen <= 26:
            message = "it must be /16 to /26: a VPC has 16 to 65536 addresses, to be parted"
            yield Problem(location=("cidr_block",), value=self.cidr_block, message=message)
        elif self.subnet_cidr_blocks:
            yield from self._subnet_problems(vpc)

    def _subnet_problems(self, vpc: ipaddress.IPv4Network) -> Iterator[Problem]:
        blocks = [ipaddress.IPv4Network(block) for block in self.subnet_cidr_blocks]
        if len(blocks) != len(self.availability_zones):
            yield Problem(
                location=("subnet_cidr_blocks",),
                value=list(self.subnet_cidr_blocks),
                message=f"it must have a range for each of {len(self.availability_zones)} zones",
            )
        for index, block in enumerate(blocks):
            at = ("subnet_cidr_blocks", index)
            if not block.subnet_of(vpc):
                message = f"it must lie within the VPC's {vpc}"
                yield Problem(location=at, value=str(block), message=message)
            elif block.prefixlen > 28:
                message = "it must be a /28 or larger: AWS keeps five addresses of each subnet"
                yield Problem(location=at, value=str(block), message=message)
            for other in blocks[:index]:
                if block.overlaps(other):
                    message = f"it must not overlap {other} before it"
                    yield Problem(location=at, value=str(block), message=message)


class StudioSettings(SettingsModel):
    """A SageMaker Studio domain. It needs the network; its apps are billed while they run."""

    user_profiles: tuple[ShortName, ...] = Field(
        min_length=1, description="One a data scientist; each has a home of its own."
    )
    instance_type: StudioInstanceType = Field(
        default="ml.t3.medium", description="What an app runs on unless its user says otherwise."
    )
    other_instance_types: tuple[StudioInstanceType, ...] = Field(
        default=(),
        max_length=20,
        description="What a user may choose besides. []: nothing else, so nothing dearer.",
    )
    app_network_access_type: Literal["VpcOnly", "PublicInternetOnly"] = Field(
        default="VpcOnly",
        description=(
            "VpcOnly needs interface endpoints for sagemaker.api and sagemaker.runtime; "
            "PublicInternetOnly gives apps a way to the internet by SageMaker's own network."
        ),
    )
    idle_timeout_minutes: Annotated[int, Field(ge=60, le=525_600)] = Field(
        default=60, description="An idle app is shut down after this; at least 60."
    )
    retain_home: bool = Field(
        default=True, description="Keep the users' home file system when the domain is deleted."
    )


class AwsSettings(SettingsModel):
    """Training on Amazon SageMaker AI in one account and region."""

    account_id: Annotated[
        str, matching(r"\d{12}", 'the 12 digits of an AWS account, in quotes: "123456789012"')
    ] = Field(
        description="The account. Nothing is deployed where the credentials are another's.",
        examples=["123456789012"],
    )
    region: Annotated[
        str, matching(r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as us-east-1")
    ] = Field(description="Where everything is.", examples=["us-east-1"])
    profile: str | None = Field(
        default=None, description="A profile of the AWS configuration. null: the SDK's own search."
    )
    bucket: BucketSettings = BucketSettings()
    encryption_key: EncryptionKeySettings | None = Field(
        default=None,
        description="A customer-managed KMS key, billed by the month. {} takes its defaults.",
    )
    repositories: tuple[RepositorySettings, ...] = ()
    execution_roles: tuple[ExecutionRoleSettings, ...] = Field(
        default=(ExecutionRoleSettings(name="training"),),
        min_length=1,
        max_length=10,
        description="The first is what a job takes that names none.",
    )
    limits: LimitSettings = LimitSettings()
    submitter_roles: tuple[
        Annotated[
            str, matching(r"[A-Za-z0-9+=,.@_-]{1,64}", "the name of an IAM role, not its ARN")
        ],
        ...,
    ] = Field(
        default=(),
        max_length=20,
        description="The data scientists' own roles, which get the submitter policy.",
    )
    logs: LogSettings = LogSettings()
    network: NetworkSettings | None = Field(
        default=None, description="null: jobs run in SageMaker's own network."
    )
    studio: StudioSettings | None = None
    budget: BudgetSettings | None = Field(
        default=None, description="A monthly budget of everything that has the stack's tags."
    )

    def problems(self, common: CommonSettings) -> Iterator[Problem]:
        """Yield what no single field can see: names after prefixing, repeated names, references."""
        yield from below("bucket", self.bucket.problems())
        if self.network is not None:
            yield from below("network", self.network.problems(self.region))
        if self.budget is not None:
            yield from below("budget", self.budget.problems(common))
        for section, names in (
            ("repositories", [item.name for item in self.repositories]),
            ("execution_roles", [item.name for item in self.execution_roles]),
        ):
            yield from repeated((section,), names, key="name")
        scope = common.scope(account=self.account_id, region=self.region)
        for index, role in enumerate(self.execution_roles):
            at = ("execution_roles", index, "name")
            yield from misfit(at, role.name, partial(naming.iam_role_name, scope, role.name))
        yield from self._studio()
        for index, repository in enumerate(self.repositories):
            if repository.use_encryption_key and self.encryption_key is None:
                yield Problem(
                    location=("repositories", index, "use_encryption_key"),
                    value=True,
                    message="it must be false where aws.encryption_key is not given",
                )

    def _studio(self) -> Iterator[Problem]:
        if self.studio is None:
            return
        yield from repeated(("studio", "user_profiles"), self.studio.user_profiles)
        if self.network is None:
            yield Problem(
                location=("network",),
                value=None,
                message="it must be given where studio is: a domain lives in a VPC",
            )
            return
        missing = {"sagemaker.api", "sagemaker.runtime"} - set(self.network.interface_endpoints)
        if self.studio.app_network_access_type == "VpcOnly" and missing:
            yield Problem(
                location=("studio", "app_network_access_type"),
                value="VpcOnly",
                message="it must be PublicInternetOnly, or aws.network.interface_endpoints "
                f"must list {', '.join(sorted(missing))}",
            )
