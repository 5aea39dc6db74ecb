"""Kubernetes clusters that are there already, attached to a workspace for its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class KubernetesComputeArgs:
    """What an attached Kubernetes compute is made of."""

    compute_name: str
    workspace_name: pulumi.Input[str]
    resource_group_name: pulumi.Input[str]
    location: str
    # The ARM id of an AKS or Arc cluster that has the Azure ML extension.
    resource_id: str
    # The identity that jobs run as.
    identity_id: pulumi.Input[str]
    namespace: str = "default"
    default_instance_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.resource_id.startswith("/subscriptions/"):
            raise ValueError(
                f"resource_id is {self.resource_id!r}; it must be the ARM id of an AKS or Arc "
                "cluster, from /subscriptions/ on"
            )


class KubernetesCompute(pulumi.ComponentResource):
    """A Kubernetes cluster attached by its id; detaching it leaves the cluster as it is.

    Attaching is free; the cluster is billed where it is kept. It needs the Azure ML extension:
    https://learn.microsoft.com/azure/machine-learning/how-to-deploy-kubernetes-extension
    """

    compute_name: pulumi.Output[str]
    compute_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: KubernetesComputeArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:KubernetesCompute", name, {}, opts)
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
            properties=ml.KubernetesArgs(
                compute_type="Kubernetes",
                resource_id=args.resource_id,
                disable_local_auth=True,
                properties=ml.KubernetesPropertiesArgs(
                    namespace=args.namespace, default_instance_type=args.default_instance_type
                ),
            ),
            tags=args.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                # An attachment is to one cluster and namespace for good.
                replace_on_changes=["properties.resourceId", "properties.properties.namespace"],
                delete_before_replace=True,
            ),
        )
        self.compute_name = compute.name
        self.compute_id = compute.id
        self.register_outputs({"compute_name": self.compute_name, "compute_id": self.compute_id})
