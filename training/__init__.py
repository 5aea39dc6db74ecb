"""One job file, trained on Azure Machine Learning or Amazon SageMaker AI against a stack's outputs.

    from training import connect, load_job, wait

    backend = connect("aws", "outputs.json")
    handle = backend.submit(backend.plan(load_job("job.yaml")))
    print(wait(backend, handle).state)

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.backends import connect
    from training.backends.base import Backend, JobRequest, JobState, JobStatus
    from training.errors import TrainingError
    from training.handle import JobHandle
    from training.job import JobSpec, load_job
    from training.waiting import wait

_HOME = {
    "Backend": "training.backends.base",
    "JobHandle": "training.handle",
    "JobRequest": "training.backends.base",
    "JobSpec": "training.job",
    "JobState": "training.backends.base",
    "JobStatus": "training.backends.base",
    "TrainingError": "training.errors",
    "connect": "training.backends",
    "load_job": "training.job",
    "wait": "training.waiting",
}

__all__ = [
    "Backend",
    "JobHandle",
    "JobRequest",
    "JobSpec",
    "JobState",
    "JobStatus",
    "TrainingError",
    "connect",
    "load_job",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'training' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
