"""Which processes a distributed job starts, and what each is told of the others.

https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Process:
    """One process to start: on which node, and with which environment."""

    node: int
    env: Mapping[str, str] = field(default_factory=dict)


def plan(distribution: Mapping[str, Any], nodes: Sequence[str], port: int) -> list[Process]:
    """Return the processes in the order of their rank; ``nodes`` are addresses, ``port`` is free on the first."""
    kind = distribution.get("distributionType")
    if kind in ("PyTorch", "Mpi"):
        per_node = int(distribution.get("processCountPerInstance") or 1)
        variables = _pytorch if kind == "PyTorch" else _mpi
        found = []
        for rank in range(len(nodes) * per_node):
            node, local = divmod(rank, per_node)
            found.append(
                Process(node, variables(rank, local, node, per_node, len(nodes), nodes[0], port))
            )
        return found
    if kind == "TensorFlow":
        return _tensorflow(distribution, nodes, port)
    return [Process(node) for node in range(len(nodes))]


def _tensorflow(distribution: Mapping[str, Any], nodes: Sequence[str], port: int) -> list[Process]:
    workers = int(distribution.get("workerCount") or len(nodes))
    servers = int(distribution.get("parameterServerCount") or 0)
    roles = [("worker", index) for index in range(workers)] + [
        ("ps", index) for index in range(servers)
    ]
    cluster: dict[str, list[str]] = {}
    for position, (role, _) in enumerate(roles):
        cluster.setdefault(role, []).append(f"{nodes[position % len(nodes)]}:{port + position}")
    found = []
    for position, (role, index) in enumerate(roles):
        config = {
            "cluster": cluster,
            "task": {"type": role, "index": index},
            "environment": "cloud",
        }
        found.append(Process(position % len(nodes), {"TF_CONFIG": json.dumps(config)}))
    return found


def _pytorch(
    rank: int, local: int, node: int, per_node: int, nodes: int, master: str, port: int
) -> dict[str, str]:
    return {
        "MASTER_ADDR": master,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(nodes * per_node),
        "RANK": str(rank),
        "LOCAL_RANK": str(local),
        "LOCAL_WORLD_SIZE": str(per_node),
        "NODE_RANK": str(node),
    }


def _mpi(
    rank: int, local: int, node: int, per_node: int, nodes: int, master: str, port: int
) -> dict[str, str]:
    """The variables that Open MPI's launcher gives a process; the lab starts the processes itself."""
    return {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(nodes * per_node),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(local),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(per_node),
        "OMPI_COMM_WORLD_NODE_RANK": str(node),
        "AZ_BATCH_MASTER_NODE": f"{master}:{port}",
    }


def addresses(key: str, count: int) -> list[str]:
    """Loopback addresses of a job's nodes: another job's nodes have others."""
    digest = hashlib.sha256(key.encode()).digest()
    return [f"127.{64 + digest[0] % 128}.{digest[1]}.{index + 2}" for index in range(count)]
