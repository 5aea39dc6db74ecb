"""Autoscaling compute clusters for training jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native

TIERS = {"dedicated": "Dedicated", "low_priority": "LowPriority"}
# What the service refuses to change on a cluster that exists. The provider knows it of none of
# these, they being nested, and plans an update; named here, the plan says what has to happen: one
# replacement. https://learn.microsoft.com/azure/machine-learning/how-to-create-attach-compute-cluster
FIXED_PROPERTIES = [
    "properties.computeType",
    "properties.computeLocation",
    "properties.disableLocalAuth",
    "properties.properties.vmSize",
    "properties.properties.vmPriority",
    "properties.properties.subnet",
    "properties.properties.enableNodePublicIp",
    "properties.properties.remoteLoginPortPublicAccess",
    "properties.properties.osType",
]


@dataclass(frozen=True, kw_only=True)
class ComputeClusterArgs:
    """What a compute cluster is made of."""

    compute_name: str
    workspace_name: pulumi.Input[str]
    resource_group_name: pulumi.Input[str]
    location: str
    # The identity that jobs run as.
    identity_id: pulumi.Input[str]
    size: str
    tier: str = "dedicated"
    min_instances: int = 0
    max_instances: int = 1
    idle_time_before_scale_down_seconds: int = 120
    subnet_id: pulumi.Input[str] | None = None
    enable_node_public_ip: bool = False
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise ValueError(f"tier is {self.tier!r}; it must be one of {', '.join(TIERS)}")
        if not 0 <= self.min_instances <= self.max_instances:
            raise ValueError(
                f"min_instances is {self.min_instances}; it must be 0 to max_instances "
                f"({self.max_instances})"
            )
        if self.max_instances < 1:
            raise ValueError(f"max_instances is {self.max_instances}; it must be at least 1")
        if self.idle_time_before_scale_down_seconds < 1:
            raise ValueError(
                "idle_time_before_scale_down_seconds is "
                f"{self.idle_time_before_scale_down_seconds}; it must be at least 1"
            )


class ComputeCluster(pulumi.ComponentResource):
    """Compute cluster with no public addresses, no SSH and no local users; jobs run as an identity.

    At ``min_instances`` 0, the default, it costs nothing with no job: a node is billed from its
    start until ``idle_time_before_scale_down`` after its last job. A cluster with public addresses
    has a load balancer besides, billed by the day even at 0 nodes.
    https://learn.microsoft.com/azure/machine-learning/concept-plan-manage-cost

    A change of size, tier or network replaces the cluster, and says so in the preview. It keeps its
    name, since jobs name it, so the old one goes first, and jobs that run on it fail. A change of
    the number of instances, the idle time or the identity is made in place.
    """

    compute_name: pulumi.Output[str]
    compute_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: ComputeClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:ComputeCluster", name, {}, opts)
        ml = azure_native.machinelearningservices
        compute = azure_native.machinelearningservices.Compute(
            f"{name}-compute",
            compute_name=args.compute_name,
            workspace_name=args.workspace_name,
            resource_group_name=args.resource_group_name,
            location=args.location,
            identity=ml.ManagedServiceIdentityArgs(
                type=ml.ManagedServiceIdentityType.USER_ASSIGNED,
                user_assigned_identities=[args.identity_id],
            ),
            # Args classes, not dicts: this is a union, in which the SDK renames no dict's keys.
            properties=ml.AmlComputeArgs(
                compute_type="AmlCompute",
                description=args.description,
                disable_local_auth=True,
                properties=ml.AmlComputePropertiesArgs(
                    vm_size=args.size,
                    vm_priority=TIERS[args.tier],
                    os_type=ml.OsType.LINUX,
                    scale_settings=ml.ScaleSettingsArgs(
                        min_node_count=args.min_instances,
                        max_node_count=args.max_instances,
                        node_idle_time_before_scale_down=(
                            f"PT{args.idle_time_before_scale_down_seconds}S"
                        ),
                    ),
                    subnet=None if args.subnet_id is None else ml.ResourceIdArgs(id=args.subnet_id),
                    enable_node_public_ip=args.enable_node_public_ip,
                    remote_login_port_public_access=ml.RemoteLoginPortPublicAccess.DISABLED,
                ),
            ),
            tags=args.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                replace_on_changes=FIXED_PROPERTIES,
                # The name is taken until the old cluster is gone.
                delete_before_replace=True,
            ),
        )
        self.compute_name = compute.name
        self.compute_id = compute.id
        self.register_outputs({"compute_name": self.compute_name, "compute_id": self.compute_id})
