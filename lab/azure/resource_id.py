"""Resource ids and the paths of Resource Manager's REST interface, taken apart.

https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ResourceId:
    """``{scope}/providers/{namespace}/{type}/{name}[/{type}/{name}...]``; the scope is a resource, a group or a "
    "subscription."""

    scope: str
    namespace: str
    types: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def type(self) -> str:
        return "/".join((self.namespace, *self.types))

    @property
    def name(self) -> str:
        return self.names[-1]

    @property
    def key(self) -> str:
        """The id in lower case: ids compare without regard to case."""
        return str(self).lower()

    @property
    def parent(self) -> ResourceId | None:
        if len(self.names) < 2:
            return None
        return ResourceId(self.scope, self.namespace, self.types[:-1], self.names[:-1])

    @property
    def resource_group(self) -> str | None:
        parts = self.scope.split("/")
        return parts[4] if len(parts) > 4 and parts[3].lower() == "resourcegroups" else None

    def child(self, kind: str, name: str) -> ResourceId:
        return ResourceId(self.scope, self.namespace, (*self.types, kind), (*self.names, name))

    def __str__(self) -> str:
        pairs = "/".join(
            f"{kind}/{name}" for kind, name in zip(self.types, self.names, strict=True)
        )
        return f"{self.scope}/providers/{self.namespace}/{pairs}"


@dataclass(frozen=True)
class ResourcePath:
    """A request's path below ``/providers/``: a resource, a collection, or an action on a resource."""

    scope: str
    namespace: str
    segments: tuple[str, ...]

    @property
    def is_resource(self) -> bool:
        return len(self.segments) > 0 and len(self.segments) % 2 == 0

    def resource(self) -> ResourceId:
        """The resource that the path names, or on which its last segment (an action or a collection) stands."""
        count = len(self.segments) // 2 * 2
        return ResourceId(
            self.scope, self.namespace, self.segments[0:count:2], self.segments[1:count:2]
        )

    @property
    def last(self) -> str:
        """The collection's type or the action's name, where the path names no resource."""
        return self.segments[-1]


def parse_path(path: str) -> ResourcePath | None:
    """Take a path apart at its last ``/providers/``, or return None where it has none."""
    scope, marker, rest = path.rpartition("/providers/")
    if not marker:
        # the split is by the exact word; some clients write it in capitals
        position = path.lower().rfind("/providers/")
        if position < 0:
            return None
        scope, rest = path[:position], path[position + len("/providers/") :]
    namespace, *segments = [segment for segment in rest.split("/") if segment]
    return ResourcePath(scope.rstrip("/"), namespace, tuple(segments))


def parse_id(text: str) -> ResourceId | None:
    """Return the resource id that a text is, or None."""
    path = parse_path(text)
    return path.resource() if path and path.is_resource else None
