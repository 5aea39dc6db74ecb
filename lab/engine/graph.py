"""The dependency graph of a state, whose resources are in an order in which dependencies come first."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lab.engine import urn as urns
from lab.engine.state import ResourceState


class DependencyGraph:
    """Answers what depends on what. Resources are told apart by identity."""

    def __init__(self, resources: Sequence[ResourceState]) -> None:
        self._resources = resources
        self._index: dict[int, int] = {id(r): i for i, r in enumerate(resources)}
        # Keeps what `alias` adds alive, so that an id stays one object's.
        self._aliases: list[ResourceState] = []
        self._children: dict[str, list[int]] = {}
        self._by_urn: dict[str, list[int]] = {}
        by_urn: dict[str, int] = {}
        for index, resource in enumerate(resources):
            by_urn[resource.urn] = index
            self._by_urn.setdefault(resource.urn, []).append(index)
            parent = resource.parent
            while parent:
                self._children.setdefault(parent, []).append(index)
                above = by_urn.get(parent)
                parent = resources[above].parent if above is not None else ""

    def alias(self, new: ResourceState, existing: ResourceState) -> None:
        """Let ``new`` stand at the place of ``existing``."""
        self._index[id(new)] = self._index[id(existing)]
        self._aliases.append(new)

    def __contains__(self, resource: ResourceState) -> bool:
        return id(resource) in self._index

    def depending_on(
        self, resource: ResourceState, ignore: Collection[str], include_children: bool
    ) -> list[ResourceState]:
        """Return what depends on a resource, also indirectly, in the state's order."""
        found: list[ResourceState] = []
        seen = {resource.urn}

        def depends(candidate: ResourceState) -> bool:
            if candidate.urn in ignore:
                return False
            for dependency in candidate.all_dependencies():
                if dependency.kind == "parent" and not include_children:
                    continue
                if dependency.urn in seen:
                    return True
            return bool(candidate.provider and urns.parse_reference(candidate.provider)[0] in seen)

        for candidate in self._resources[self._index[id(resource)] + 1 :]:
            if depends(candidate):
                found.append(candidate)
                seen.add(candidate.urn)
        return found

    def dependencies_of(self, resource: ResourceState) -> set[ResourceState]:
        """Return what a resource depends on directly, its parent, and the children of components it depends on."""
        cursor = self._index[id(resource)]
        wanted = {d.urn for d in resource.all_dependencies() if d.kind != "parent"}
        if resource.provider:
            wanted.add(urns.parse_reference(resource.provider)[0])
        found: set[ResourceState] = set()
        for urn in wanted:
            for index in self._by_urn.get(urn, ()):
                if index >= cursor:
                    continue
                candidate = self._resources[index]
                found.add(candidate)
                if not candidate.custom:
                    found |= {
                        self._resources[child]
                        for child in self._children.get(urn, ())
                        if child < cursor
                    }
        if resource.parent:
            found |= {
                self._resources[index]
                for index in self._by_urn.get(resource.parent, ())
                if index < cursor
            }
        return found

    def transitive_dependencies_of(self, resource: ResourceState) -> set[ResourceState]:
        """Return all that a resource needs, with the parents of all that."""
        olds = {r.urn: r for r in self._resources if r.delete}
        news = {r.urn: r for r in self._resources if not r.delete}

        def look_up(origin: ResourceState, urn: str) -> ResourceState | None:
            if origin.delete:
                return olds.get(urn) or news.get(urn)
            return news.get(urn) or olds.get(urn)

        first = look_up(resource, resource.urn)
        marked: set[ResourceState] = set()
        pending = [first] if first else []
        while pending:
            current = pending.pop()
            if current in marked:
                continue
            marked.add(current)
            for urn in current.all_urns():
                if target := look_up(current, urn):
                    pending.append(target)
        marked.discard(resource)
        return marked
