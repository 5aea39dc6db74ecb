"""Repairs a stack's state by hand, as `pulumi state delete` and `pulumi state unprotect` do.

https://www.pulumi.com/docs/iac/cli/commands/pulumi_state_delete/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.engine.state import StateError, StateFile


def delete_resource(state_path: Path, urn: str, *, force: bool = False) -> None:
    """Forget one resource; the cloud keeps it.

    ``force`` forgets a protected one too. Raises StateError where there is none of this URN or more
    than one, where it is protected, and where others depend on it.
    """
    file = StateFile(state_path)
    with file.locked("lab state delete"):
        deployment = file.read_deployment()
        resources = deployment.get("resources") or []
        resource = _find(resources, urn)
        if resource.get("protect") and not force:
            raise StateError(
                f"{urn} is protected. Take the protection off with: "
                f"trainstack lab state unprotect '{urn}'"
            )
        dependents = [item["urn"] for item in resources if urn in _needed(item)]
        if dependents:
            raise StateError(
                f"{len(dependents)} of the state's resources need {urn}; delete them first:\n  "
                + "\n  ".join(dependents)
            )
        deployment["resources"] = [item for item in resources if item is not resource]
        file.write(deployment)


def unprotect(state_path: Path, urn: str | None = None) -> int:
    """Let one resource, or without a URN all, be deleted again. Returns how many were protected.

    Raises StateError where there is no such resource.
    """
    file = StateFile(state_path)
    with file.locked("lab state unprotect"):
        deployment = file.read_deployment()
        resources = deployment.get("resources") or []
        chosen = resources if urn is None else [_find(resources, urn)]
        count = sum(bool(item.pop("protect", False)) for item in chosen)
        if count:
            file.write(deployment)
    return count


def _find(resources: list[dict[str, Any]], urn: str) -> dict[str, Any]:
    found = [item for item in resources if item["urn"] == urn]
    if not found:
        raise StateError(f"no resource {urn!r} in the state. See: trainstack lab state list")
    if len(found) > 1:
        raise StateError(
            f"{urn} is {len(found)} times in the state: a replaced one is still to be deleted. "
            "Finish that with: trainstack lab up"
        )
    return found[0]


def _needed(resource: dict[str, Any]) -> Iterator[str]:
    """Yield the URNs that a resource cannot be without."""
    yield resource.get("parent", "")
    yield resource.get("deletedWith", "")
    yield resource.get("provider", "").rpartition("::")[0]
    yield from resource.get("dependencies") or ()
    yield from resource.get("replaceWith") or ()
    for urns in (resource.get("propertyDependencies") or {}).values():
        yield from urns or ()
