"""The AWS half of the stack: which components there are, and what each is given."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_aws as aws

from components import naming
from components.aws.arn import role_arn
from components.aws.artifact_bucket import ArtifactBucket, ArtifactBucketArgs
from components.aws.budget import Budget, BudgetArgs
from components.aws.container_repository import ContainerRepository, ContainerRepositoryArgs
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.execution_role import ExecutionRole, ExecutionRoleArgs
from components.aws.failed_job_alarm import FailedJobAlarm, FailedJobAlarmArgs
from components.aws.studio import Studio, StudioArgs
from components.aws.submitter_policy import SubmitterPolicy, SubmitterPolicyArgs
from components.aws.training_log_group import TrainingLogGroup, TrainingLogGroupArgs
from components.aws.training_network import TrainingNetwork, TrainingNetworkArgs
from infra.aws_settings import AwsSettings, NetworkSettings
from infra.common_settings import CommonSettings


def build(settings: AwsSettings, common: CommonSettings, provider: aws.Provider) -> dict[str, Any]:
    """Register the AWS components and return the ``aws_*`` fields of StackOutputs."""
    return _AwsStack(settings, common, provider).build()


class _AwsStack:
    """What the components of one stack are given in common."""

    def __init__(
        self, settings: AwsSettings, common: CommonSettings, provider: aws.Provider
    ) -> None:
        self.settings = settings
        self.common = common
        self.scope = common.scope(account=settings.account_id, region=settings.region)
        self.opts = pulumi.ResourceOptions(providers=[provider])
        self.bucket_name = naming.bucket_name(self.scope, "artifacts")
        # From their names, not from the roles: so the policies are whole at preview.
        self.role_arns = [
            role_arn(
                settings.region, settings.account_id, naming.iam_role_name(self.scope, role.name)
            )
            for role in settings.execution_roles
        ]
        self.repository_names = [
            naming.repository_name(self.scope, repository.name)
            for repository in settings.repositories
        ]

    def build(self) -> dict[str, Any]:
        settings = self.settings
        key_arn = self._key_arn()
        bucket = ArtifactBucket(
            "artifacts",
            ArtifactBucketArgs(
                bucket_name=self.bucket_name,
                region=settings.region,
                kms_key_arn=key_arn,
                protect=self.common.is_production,
                **settings.bucket.model_dump(),
            ),
            self.opts,
        )
        repositories = self._repositories(key_arn)
        network = self._network(settings.network) if settings.network is not None else None
        roles = self._roles(key_arn, network)
        submitter = SubmitterPolicy(
            "submitter",
            SubmitterPolicyArgs(
                policy_name=naming.iam_policy_name(self.scope, "submitter"),
                account_id=settings.account_id,
                region=settings.region,
                bucket_name=self.bucket_name,
                role_arns=self.role_arns,
                repository_names=self.repository_names,
                instance_types=settings.limits.instance_types,
                max_runtime_seconds=settings.limits.max_runtime,
                kms_key_arn=key_arn,
                subnet_ids=network.subnet_ids if network else (),
                security_group_ids=network.security_group_ids if network else (),
                attach_to_roles=settings.submitter_roles,
            ),
            self.opts,
        )
        self._watch(key_arn)
        studio = self._studio(network, submitter, key_arn)
        return {
            "aws_account_id": settings.account_id,
            "aws_region": settings.region,
            "aws_bucket_name": bucket.bucket_name,
            "aws_kms_key_arn": key_arn,
            "aws_role_arn": roles[settings.execution_roles[0].name].role_arn,
            "aws_role_arns": {name: role.role_arn for name, role in roles.items()},
            "aws_repository_urls": {
                name: repository.repository_url for name, repository in repositories.items()
            },
            "aws_submitter_policy_arn": submitter.policy_arn,
            "aws_subnet_ids": network.subnet_ids if network else (),
            "aws_security_group_ids": network.security_group_ids if network else (),
            "aws_studio_domain_id": studio.domain_id if studio else None,
            "aws_allowed_instance_types": settings.limits.instance_types,
            "aws_max_runtime_seconds": settings.limits.max_runtime,
        }

    def _key_arn(self) -> pulumi.Output[str] | None:
        if self.settings.encryption_key is None:
            return None
        key = EncryptionKey(
            "encryption",
            EncryptionKeyArgs(
                alias_name=naming.kms_alias_name(self.scope, "training"),
                account_id=self.settings.account_id,
                region=self.settings.region,
                protect=self.common.is_production,
                **self.settings.encryption_key.model_dump(),
            ),
            self.opts,
        )
        return key.key_arn

    def _repositories(self, key_arn: pulumi.Output[str] | None) -> dict[str, ContainerRepository]:
        return {
            repository.name: ContainerRepository(
                f"{repository.name}-images",
                ContainerRepositoryArgs(
                    repository_name=name,
                    account_id=self.settings.account_id,
                    keep_images=repository.keep_images,
                    expire_untagged_after_days=repository.expire_untagged_after_days,
                    kms_key_arn=key_arn if repository.use_encryption_key else None,
                    force_delete=repository.force_delete,
                    protect=self.common.is_production,
                ),
                self.opts,
            )
            for repository, name in zip(
                self.settings.repositories, self.repository_names, strict=True
            )
        }

    def _roles(
        self, key_arn: pulumi.Output[str] | None, network: TrainingNetwork | None
    ) -> dict[str, ExecutionRole]:
        return {
            role.name: ExecutionRole(
                f"{role.name}-execution",
                ExecutionRoleArgs(
                    role_name=naming.iam_role_name(self.scope, role.name),
                    account_id=self.settings.account_id,
                    region=self.settings.region,
                    bucket_name=self.bucket_name,
                    repository_names=self.repository_names,
                    read_buckets=role.read_buckets,
                    write_buckets=role.write_buckets,
                    kms_key_arn=key_arn,
                    other_kms_key_arns=role.kms_key_arns,
                    subnet_ids=network.subnet_ids if network else (),
                    security_group_ids=network.security_group_ids if network else (),
                ),
                self.opts,
            )
            for role in self.settings.execution_roles
        }

    def _network(self, network: NetworkSettings) -> TrainingNetwork:
        other_buckets = {
            bucket
            for role in self.settings.execution_roles
            for bucket in (*role.read_buckets, *role.write_buckets)
        }
        return TrainingNetwork(
            "network",
            TrainingNetworkArgs(
                cidr_block=network.cidr_block,
                subnets=dict(zip(network.availability_zones, network.subnets, strict=True)),
                account_id=self.settings.account_id,
                region=self.settings.region,
                jobs_security_group_name=naming.security_group_name(self.scope, "jobs"),
                endpoints_security_group_name=naming.security_group_name(self.scope, "endpoints"),
                interface_endpoints=network.interface_endpoints,
                other_buckets=sorted(other_buckets),
            ),
            self.opts,
        )

    def _watch(self, key_arn: pulumi.Output[str] | None) -> None:
        """Register what watches: the log group, the alarm on failed jobs and the budget."""
        settings, common = self.settings, self.common
        if settings.logs.manage_group:
            TrainingLogGroup(
                "training-logs",
                TrainingLogGroupArgs(
                    retention_days=settings.logs.retention_days,
                    kms_key_arn=key_arn,
                    keep_on_destroy=common.is_production,
                ),
                self.opts,
            )
        FailedJobAlarm(
            "failed-jobs",
            FailedJobAlarmArgs(
                rule_name=naming.event_rule_name(self.scope, "failed-jobs"),
                topic_name=naming.topic_name(self.scope, "failed-jobs"),
                role_arns=self.role_arns,
                contacts=common.contacts,
            ),
            self.opts,
        )
        if settings.budget is not None:
            Budget(
                "aws-budget",
                BudgetArgs(
                    budget_name=naming.aws_budget_name(self.scope, "monthly"),
                    monthly_usd=settings.budget.monthly_usd,
                    tag=("stack", common.all_tags["stack"]),
                    alert_percentages=settings.budget.alert_percentages,
                    contacts=settings.budget.contacts or common.contacts,
                ),
                self.opts,
            )

    def _studio(
        self,
        network: TrainingNetwork | None,
        submitter: SubmitterPolicy,
        key_arn: pulumi.Output[str] | None,
    ) -> Studio | None:
        studio = self.settings.studio
        if studio is None or network is None:  # settings refuse Studio without a network
            return None
        return Studio(
            "studio",
            StudioArgs(
                domain_name=naming.studio_domain_name(self.scope, "studio"),
                role_name=naming.iam_role_name(self.scope, "studio"),
                account_id=self.settings.account_id,
                region=self.settings.region,
                vpc_id=network.vpc_id,
                subnet_ids=network.subnet_ids,
                security_group_ids=network.security_group_ids,
                submitter_policy_arn=submitter.policy_arn,
                user_profiles=studio.user_profiles,
                instance_type=studio.instance_type,
                other_instance_types=studio.other_instance_types,
                idle_timeout_minutes=studio.idle_timeout_minutes,
                app_network_access_type=studio.app_network_access_type,
                kms_key_arn=key_arn,
                retain_home=studio.retain_home,
            ),
            self.opts,
        )
