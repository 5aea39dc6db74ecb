"""From what a person types to one job: a handle, a name, or the beginning of a name that only one job has."""

from __future__ import annotations

from infra.outputs import StackOutputs
from training.backends import connect
from training.backends.base import Backend
from training.errors import AmbiguousJobError, UnknownJobError
from training.handle import JobHandle

_LOOKED_AT = 200  # newest jobs of each cloud that a prefix is held against


def find_job(
    text: str, outputs: StackOutputs, cloud: str | None = None
) -> tuple[Backend, JobHandle]:
    """Return the job and its backend. A full handle makes no call; a name or prefix lists each cloud's jobs.

    Raises UnknownJobError, AmbiguousJobError or MalformedHandleError.
    """
    if "://" in text:
        handle = JobHandle.parse(text)
        return connect(handle.cloud, outputs), handle
    found: list[tuple[Backend, JobHandle]] = []
    for name in [cloud] if cloud else outputs.clouds:
        backend = connect(name, outputs)
        for job in backend.list(limit=_LOOKED_AT, name_contains=text):
            if job.handle.name == text:
                return backend, job.handle  # a whole name holds the key of one submission
            if job.handle.name.startswith(text):
                found.append((backend, job.handle))
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownJobError(
            f"no job is called {text!r} or begins with it. List them with: trainstack list"
        )
    names = "\n".join(f"  {handle}" for _, handle in found[:10])
    more = f"\n  and {len(found) - 10} more" if len(found) > 10 else ""
    raise AmbiguousJobError(f"{text!r} is the beginning of {len(found)} jobs:\n{names}{more}")
