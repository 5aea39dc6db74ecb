"""Azure ML compute: clusters whose nodes come and go with the jobs, instances that start and stop, attached Kubernetes.

Nodes are what is simulated; the jobs on them really run. A node is there as soon as a job needs it, idles after the
job, and
leaves after nodeIdleTimeBeforeScaleDown on the lab's clock. Nodes are not kept over a restart of the lab: a cluster
starts again at its minimum, as its jobs have ended too.
"""

from __future__ import annotations

import csv
import functools
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.azure.clock import iso
from lab.azure.duration import seconds
from lab.azure.errors import ArmError
from lab.azure.resource_id import ResourceId
from lab.azure.resource_type import Write

if TYPE_CHECKING:
    from lab.azure.plane import Plane

_SIZES = Path(__file__).resolve().parents[2] / "pricing" / "data" / "azure_vm_sizes.csv"
_SIZE_NAME = re.compile(r"^(standard|basic)_[a-z]+\d+[a-z0-9-]*(_[a-z0-9]+)*$", re.IGNORECASE)
_DEFAULT_IDLE = "PT120S"
_SUPPORTED = ("AmlCompute", "ComputeInstance", "Kubernetes")


@dataclass
class Node:
    """One virtual machine of a cluster."""

    id: str
    job: str | None
    idle_since: float
    is_preparing: bool = False


@dataclass
class _Cluster:
    nodes: list[Node] = field(default_factory=list)
    preempted: int = 0
    resized_at: float = 0.0


class Computes:
    """All computes of all workspaces."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._clusters: dict[str, _Cluster] = {}

    # --- the resource

    def prepare(self, write: Write) -> None:
        """Complete and check a compute's body."""
        properties = write.properties
        kind = properties.get("computeType")
        if kind not in _SUPPORTED:
            raise ArmError(
                400,
                "BadRequest",
                f"The lab has no compute of type '{kind}'; it has {', '.join(_SUPPORTED)}.",
                target="properties.computeType",
            )
        workspace = self._plane.document(write.id.parent or write.id)
        location = (workspace or {}).get("location")
        write.new.setdefault("location", location)
        inner = (
            properties.setdefault("properties", {})
            if kind != "Kubernetes"
            else properties.get("properties", {})
        )
        if kind == "AmlCompute":
            _prepare_cluster(write, inner)
        elif kind == "ComputeInstance":
            _prepare_instance(write, inner)
        elif not properties.get("resourceId"):
            raise ArmError(
                400,
                "BadRequest",
                "Kubernetes compute needs properties.resourceId, the cluster's resource id.",
            )
        self._plane.fill_identity(write)
        now = write.new["systemData"]["lastModifiedAt"]
        properties.update(
            provisioningState="Succeeded",
            provisioningErrors=None,
            isAttachedCompute=kind == "Kubernetes",
            createdOn=write.new["systemData"]["createdAt"],
            modifiedOn=now,
        )
        properties.setdefault("computeLocation", write.new["location"])
        properties.setdefault("disableLocalAuth", False)
        if kind == "AmlCompute":
            self._fit(write.id.key, write.new)
        self._plane.clock.wake()

    def present(self, id: ResourceId, document: dict[str, Any]) -> None:
        """Add what changes from moment to moment: node counts."""
        inner = document["properties"].get("properties")
        if document["properties"].get("computeType") != "AmlCompute" or inner is None:
            return
        self.sweep()
        cluster = self._clusters.get(id.key, _Cluster())
        preparing = sum(node.is_preparing for node in cluster.nodes)
        running = sum(node.job is not None and not node.is_preparing for node in cluster.nodes)
        inner.update(
            allocationState="Resizing" if preparing else "Steady",
            currentNodeCount=len(cluster.nodes) - preparing,
            targetNodeCount=len(cluster.nodes),
            allocationStateTransitionTime=iso(cluster.resized_at)
            if cluster.resized_at
            else document["systemData"]["createdAt"],
            errors=None,
            nodeStateCounts={
                "idleNodeCount": len(cluster.nodes) - preparing - running,
                "runningNodeCount": running,
                "preparingNodeCount": preparing,
                "unusableNodeCount": 0,
                "leavingNodeCount": 0,
                "preemptedNodeCount": cluster.preempted,
            },
        )

    def removed(self, id: ResourceId, document: dict[str, Any]) -> None:
        del document
        self._clusters.pop(id.key, None)
        self._plane.jobs.compute_removed(id)

    def nodes(self, id: ResourceId) -> list[dict[str, Any]]:
        """Return a cluster's nodes as listNodes gives them."""
        self.sweep()
        return [
            {
                "nodeId": node.id,
                "privateIpAddress": "127.0.0.1",
                "publicIpAddress": None,
                "port": None,
                "nodeState": "preparing"
                if node.is_preparing
                else "running"
                if node.job
                else "idle",
                "runId": node.job,
            }
            for node in self._clusters.get(id.key, _Cluster()).nodes
        ]

    # --- instances

    def set_instance_state(self, id: ResourceId, state: str, operation: str) -> None:
        """Start or stop a compute instance. Raises ArmError 409 for any other compute."""
        document = self._plane.resources.get(id)
        if document["properties"]["computeType"] != "ComputeInstance":
            raise ArmError(
                400,
                "BadRequest",
                f"The operation '{operation}' is not supported for compute '{id.name}' of type "
                f"{document['properties']['computeType']}.",
            )
        inner = document["properties"]["properties"]
        inner["state"] = state
        now = self._plane.clock.timestamp()
        inner["lastOperation"] = {
            "operationName": operation,
            "operationTime": now,
            "operationStatus": "Succeeded",
            "operationTrigger": "User",
        }
        document["properties"]["modifiedOn"] = now
        self._plane.resources.update(id, document)
        self._plane.clock.wake()

    # --- nodes for jobs

    def acquire(
        self, id: ResourceId, document: dict[str, Any], job: str, count: int
    ) -> list[str] | None:
        """Take nodes for a job; return their ids, or None where it must wait for others to end."""
        kind = document["properties"]["computeType"]
        if kind == "Kubernetes":
            return [uuid.uuid4().hex for _ in range(count)]
        if kind == "ComputeInstance":
            if document["properties"]["properties"].get("state") != "Running":
                return None
            cluster = self._clusters.setdefault(id.key, _Cluster())
            if not cluster.nodes:
                cluster.nodes.append(Node(_node_id(), None, self._plane.clock.now()))
            limit = 1
        else:
            cluster = self._clusters.setdefault(id.key, _Cluster())
            limit = _scale(document)["maxNodeCount"]
        idle = [node for node in cluster.nodes if node.job is None]
        missing = max(0, count - len(idle))
        if len(cluster.nodes) + missing > limit:
            return None
        for _ in range(missing):
            node = Node(_node_id(), None, self._plane.clock.now(), is_preparing=True)
            cluster.nodes.append(node)
            idle.append(node)
            cluster.resized_at = self._plane.clock.now()
        taken = idle[:count]
        for node in taken:
            node.job = job
        return [node.id for node in taken]

    def ready(self, id: ResourceId, job: str) -> None:
        """The job's nodes are up: the user's process starts."""
        for node in self._of(id, job):
            node.is_preparing = False

    def release(self, id: ResourceId, job: str) -> None:
        """Give a job's nodes back; they idle from now on."""
        for node in self._of(id, job):
            node.job, node.is_preparing, node.idle_since = None, False, self._plane.clock.now()
        self._plane.clock.wake()

    def preempt(self, id: ResourceId, job: str) -> None:
        """Take a job's nodes away, as Azure does with low-priority machines when it needs them."""
        cluster = self._clusters.get(id.key)
        if cluster:
            gone = self._of(id, job)
            cluster.nodes = [node for node in cluster.nodes if node not in gone]
            cluster.preempted += len(gone)

    def sweep(self) -> float | None:
        """Let idle nodes and instances go; return when (on the lab's clock) the next one is due."""
        now = self._plane.clock.now()
        due: list[float] = []
        for key, document in self._plane.store.containing("resource", "/computes/"):
            kind = document["properties"].get("computeType")
            if kind == "AmlCompute":
                due += self._sweep_cluster(key, document, now)
            elif kind == "ComputeInstance":
                due += self._sweep_instance(key, document, now)
        return min(due, default=None)

    def _sweep_cluster(self, key: str, document: dict[str, Any], now: float) -> Iterable[float]:
        cluster = self._fit(key, document)
        scale = _scale(document)
        wait = seconds(
            scale.get("nodeIdleTimeBeforeScaleDown") or _DEFAULT_IDLE, "nodeIdleTimeBeforeScaleDown"
        )
        idle = sorted((n for n in cluster.nodes if n.job is None), key=lambda node: node.idle_since)
        spare = len(cluster.nodes) - scale.get("minNodeCount", 0)
        due = []
        for node in idle[: max(0, spare)]:
            if node.idle_since + wait <= now:
                cluster.nodes.remove(node)
                cluster.resized_at = now
            else:
                due.append(node.idle_since + wait)
        return due

    def _sweep_instance(self, key: str, document: dict[str, Any], now: float) -> Iterable[float]:
        inner = document["properties"]["properties"]
        after = inner.get("idleTimeBeforeShutdown")
        cluster = self._clusters.get(key, _Cluster())
        if not after or inner.get("state") != "Running" or any(node.job for node in cluster.nodes):
            return []
        since = max(
            [
                _epoch(inner["lastOperation"]["operationTime"]),
                *(node.idle_since for node in cluster.nodes),
            ]
        )
        due = since + seconds(after, "idleTimeBeforeShutdown")
        if due > now:
            return [due]
        inner["state"] = "Stopped"
        inner["lastOperation"] = {
            "operationName": "Stop", "operationTime": iso(now), "operationStatus": "Succeeded",
            "operationTrigger": "IdleShutdown",
        }  # fmt: skip
        self._plane.store.put("resource", key, document)
        return []

    def _fit(self, key: str, document: dict[str, Any]) -> _Cluster:
        """Bring a cluster up to its minimum; a lower maximum lets idle nodes go."""
        cluster = self._clusters.setdefault(key, _Cluster())
        scale = _scale(document)
        while len(cluster.nodes) < scale.get("minNodeCount", 0):
            cluster.nodes.append(Node(_node_id(), None, self._plane.clock.now()))
        for node in [node for node in cluster.nodes if node.job is None]:
            if len(cluster.nodes) > scale["maxNodeCount"]:
                cluster.nodes.remove(node)
        return cluster

    def _of(self, id: ResourceId, job: str) -> list[Node]:
        return [node for node in self._clusters.get(id.key, _Cluster()).nodes if node.job == job]


def _prepare_cluster(write: Write, inner: dict[str, Any]) -> None:
    _require_size(inner)
    scale = inner.setdefault("scaleSettings", {})
    low, high = scale.setdefault("minNodeCount", 0), scale.get("maxNodeCount", 0)
    if high < 1 or low < 0 or low > high:
        raise ArmError(
            400,
            "BadRequest",
            f"The scale settings of compute '{write.id.name}' are invalid: minNodeCount is {low} and maxNodeCount "
            f"is {high}; "
            "maxNodeCount must be at least 1 and minNodeCount between 0 and maxNodeCount.",
            target="properties.properties.scaleSettings",
        )
    idle = scale.setdefault("nodeIdleTimeBeforeScaleDown", _DEFAULT_IDLE)
    seconds(idle, "properties.properties.scaleSettings.nodeIdleTimeBeforeScaleDown")
    for name, value in {
        "vmPriority": "Dedicated",
        "osType": "Linux",
        "remoteLoginPortPublicAccess": "NotSpecified",
        "enableNodePublicIp": True,
        "isolatedNetwork": False,
    }.items():
        inner.setdefault(name, value)
    subnet = (inner.get("subnet") or {}).get("id")
    if subnet:
        write.plane.require_exists(subnet, "properties.properties.subnet.id")


def _prepare_instance(write: Write, inner: dict[str, Any]) -> None:
    _require_size(inner)
    for name, value in {
        "applicationSharingPolicy": "Shared",
        "enableNodePublicIp": True,
        "computeInstanceAuthorizationType": "personal",
    }.items():
        inner.setdefault(name, value)
    if inner.get("idleTimeBeforeShutdown"):
        shutdown = seconds(
            inner["idleTimeBeforeShutdown"], "properties.properties.idleTimeBeforeShutdown"
        )
        if not 15 * 60 <= shutdown <= 3 * 86_400:
            raise ArmError(
                400,
                "BadRequest",
                f"idleTimeBeforeShutdown is {inner['idleTimeBeforeShutdown']}; it must be between 15 minutes and 3 "
                "days.",
            )
    before = ((write.old or {}).get("properties") or {}).get("properties") or {}
    now = write.new["systemData"]["lastModifiedAt"]
    inner["state"] = before.get("state", "Running")
    inner["lastOperation"] = before.get("lastOperation") or {
        "operationName": "Create", "operationTime": now, "operationStatus": "Succeeded", "operationTrigger": "User",
    }  # fmt: skip
    inner["createdBy"] = {"userObjectId": write.new["systemData"]["createdBy"], "userName": ""}
    subnet = (inner.get("subnet") or {}).get("id")
    if subnet:
        write.plane.require_exists(subnet, "properties.properties.subnet.id")


def _require_size(inner: dict[str, Any]) -> None:
    size = inner.get("vmSize")
    if not size:
        raise ArmError(
            400, "BadRequest", "The compute needs a VM size: set properties.properties.vmSize."
        )
    if size.lower() not in vm_sizes() and not _SIZE_NAME.match(size):
        raise ArmError(
            400,
            "BadRequest",
            f"The specified vm size '{size}' was not found or is not supported in this region.",
            target="properties.properties.vmSize",
        )


@functools.cache
def vm_sizes() -> dict[str, dict[str, Any]]:
    """Return the VM sizes of the project's own catalogue, by lower-case name."""
    sizes: dict[str, dict[str, Any]] = {}
    with _SIZES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            size = sizes.setdefault(
                row["vm_size"].lower(),
                {
                    "name": row["vm_size"],
                    "vCPUs": int(float(row["vcpus"] or 0)),
                    "gpus": int(float(row["gpu_count"] or 0)),
                    "memoryGB": float(row["memory_gib"] or 0),
                    "regions": set(),
                },
            )
            size["regions"].add(row["region"])
    return sizes


def _scale(document: dict[str, Any]) -> dict[str, Any]:
    return document["properties"]["properties"]["scaleSettings"]


def _node_id() -> str:
    return f"tvmps_{uuid.uuid4().hex}_d"


def _epoch(timestamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
