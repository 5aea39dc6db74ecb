"""Compute instances: one person's workstation for notebooks and trying things out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When an instance starts or stops: a cron expression of five fields in a Windows time zone."""

    action: str  # start or stop
    cron: str
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.action not in ("start", "stop"):
            raise ValueError(f"action is {self.action!r}; it must be start or stop")


@dataclass(frozen=True, kw_only=True)
class ComputeInstanceArgs:
    """What a compute instance is made of."""

    compute_name: str
    workspace_name: pulumi.Input[str]
    resource_group_name: pulumi.Input[str]
    location: str
    size: str
    tenant_id: str
    # Its only user, by Entra object id.
    assigned_user_object_id: str
    idle_time_before_shutdown_seconds: int = 3600
    schedules: Sequence[Schedule] = ()
    subnet_id: pulumi.Input[str] | None = None
    enable_node_public_ip: bool = False
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 15 * 60 <= self.idle_time_before_shutdown_seconds <= 3 * 86_400:
            raise ValueError(
                "idle_time_before_shutdown_seconds is "
                f"{self.idle_time_before_shutdown_seconds}; it must be 900 to 259200"
            )


class ComputeInstance(pulumi.ComponentResource):
    """Workstation for one person, with no public address and no SSH, that stops itself when idle.

    Billed by the hour while it runs; its disk is billed while it is stopped too. Azure ML changes
    nothing of one that exists, so any change but of tags replaces it: files on its own disk go,
    those in the workspace's file share stay.
    https://learn.microsoft.com/azure/machine-learning/how-to-create-compute-instance
    """

    compute_name: pulumi.Output[str]
    compute_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: ComputeInstanceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:ComputeInstance", name, {}, opts)
        ml = azure_native.machinelearningservices
        compute = azure_native.machinelearningservices.Compute(
            f"{name}-compute",
            compute_name=args.compute_name,
            workspace_name=args.workspace_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            properties=ml.ComputeInstanceArgs(
                compute_type="ComputeInstance",
                description=args.description,
                disable_local_auth=True,
                properties=ml.ComputeInstancePropertiesArgs(
                    vm_size=args.size,
                    application_sharing_policy=ml.ApplicationSharingPolicy.PERSONAL,
                    compute_instance_authorization_type="personal",
                    personal_compute_instance_settings=ml.PersonalComputeInstanceSettingsArgs(
                        assigned_user=ml.AssignedUserArgs(
                            object_id=args.assigned_user_object_id, tenant_id=args.tenant_id
                        )
                    ),
                    idle_time_before_shutdown=f"PT{args.idle_time_before_shutdown_seconds // 60}M",
                    schedules=_schedules(args.schedules),
                    ssh_settings=ml.ComputeInstanceSshSettingsArgs(
                        ssh_public_access=ml.SshPublicAccess.DISABLED
                    ),
                    subnet=(
                        None if args.subnet_id is None else ml.ResourceIdArgs(id=args.subnet_id)
                    ),
                    enable_node_public_ip=args.enable_node_public_ip,
                ),
            ),
            tags=args.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                # The service refuses an update of any of it.
                replace_on_changes=["properties"],
                # The name is taken until the old instance is gone.
                delete_before_replace=True,
            ),
        )
        self.compute_name = compute.name
        self.compute_id = compute.id
        self.register_outputs({"compute_name": self.compute_name, "compute_id": self.compute_id})


def _schedules(
    schedules: Sequence[Schedule],
) -> azure_native.machinelearningservices.ComputeSchedulesArgs | None:
    ml = azure_native.machinelearningservices
    if not schedules:
        return None
    return ml.ComputeSchedulesArgs(
        compute_start_stop=[
            ml.ComputeStartStopScheduleArgs(
                action=schedule.action.capitalize(),
                trigger_type=ml.ComputeTriggerType.CRON,
                status=ml.ScheduleStatus.ENABLED,
                cron=ml.CronArgs(expression=schedule.cron, time_zone=schedule.time_zone),
            )
            for schedule in schedules
        ]
    )
