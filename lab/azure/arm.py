"""Azure Resource Manager: subscriptions, resource groups, and any resource type by the same rules.

https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
https://github.com/microsoft/api-guidelines/blob/vNext/azure/ConsiderationsForServiceDesign.md (long-running operations)
"""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lab.azure import schema
from lab.azure.errors import ArmError, not_found
from lab.azure.http import Answer, Call
from lab.azure.resource_id import ResourceId, ResourcePath, parse_path
from lab.azure.resource_type import (
    RESOURCE_TYPES,
    ResourceType,
    Write,
    is_machine_learning_asset,
)
from lab.home import SUBSCRIPTION_ID, TENANT_ID

if TYPE_CHECKING:
    from lab.azure.plane import Plane

_GROUP = re.compile(r"^/subscriptions/[^/]+/resourcegroups/([^/]+)$", re.IGNORECASE)
_GROUP_NAME = re.compile(r"^[-\w._()]{1,89}[-\w_()]$")
_API_VERSION = re.compile(r"^\d{4}-\d{2}-\d{2}(-preview|-privatepreview|-alpha|-beta)?$")
_TOP_LEVEL = (
    "location",
    "tags",
    "identity",
    "sku",
    "kind",
    "managedBy",
    "zones",
    "eTag",
    "extendedLocation",
)
_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}


class ResourceManager:
    """Answers for every path below /subscriptions that is no action of a service."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._store = plane.store

    # --- requests

    def answer(self, call: Call) -> Answer:
        """Answer a request for a subscription, a group, a resource or a collection."""
        self.require_api_version(call)
        parts = [part for part in call.path.split("/") if part]
        if len(parts) == 1:
            return Answer(200, {"value": [_subscription()]})
        if parts[1].lower() != SUBSCRIPTION_ID:
            raise ArmError(
                404, "SubscriptionNotFound", f"The subscription '{parts[1]}' could not be found."
            )
        path = parse_path(call.path)
        if path is None or not path.segments:
            return self._answer_container(call, parts)
        if parts[2].lower() == "providers" and len(parts) == 4:
            return self._answer_provider(call, parts[3])
        id = path.resource()
        self._require_group(id.scope)
        if not path.is_resource:
            return self._answer_collection(call, path)
        kind = self.type_of(id)
        self.authorize(call, id, _VERBS.get(call.method, "read"))
        if call.method in ("GET", "HEAD"):
            return Answer(200 if call.method == "GET" else 204, self.present(self.get(id), call))
        if call.method in ("PUT", "PATCH"):
            return self._answer_write(call, kind, id)
        if call.method == "DELETE":
            return self._answer_delete(call, kind, id)
        raise ArmError(405, "MethodNotAllowed", f"The method {call.method} is not allowed here.")

    def _answer_container(self, call: Call, parts: list[str]) -> Answer:
        """A subscription, its groups, one group, or what is in them."""
        scope = "/" + "/".join(parts[:2])
        if len(parts) == 2:
            return Answer(200, _subscription())
        collection = parts[2].lower()
        if len(parts) == 3 and collection == "resourcegroups":
            self.authorize_scope(
                call, "Microsoft.Resources/subscriptions/resourceGroups/read", scope
            )
            groups = [group for _, group in self._store.below("group", scope.lower())]
            return Answer(200, {"value": groups})
        if len(parts) == 3 and collection == "resources":
            return Answer(200, {"value": self._list_below(scope)})
        if len(parts) == 3 and collection == "providers":
            names = sorted({kind.name.split("/")[0] for kind in RESOURCE_TYPES.values()})
            return Answer(200, {"value": [_provider(name) for name in names]})
        if len(parts) == 3 and collection == "locations":
            return Answer(200, {"value": [_location(name) for name in LOCATIONS]})
        if collection == "resourcegroups" and len(parts) == 5 and parts[4].lower() == "resources":
            group_scope = "/" + "/".join(parts[:4])
            self._require_group(group_scope)
            return Answer(200, {"value": self._list_below(group_scope)})
        if collection == "resourcegroups" and len(parts) == 4:
            return self._answer_group(call, parts[3])
        if collection == "operationresults" and len(parts) == 4:
            self._operation(parts[3])
            return Answer(200, None)
        raise ArmError(404, "NotFound", f"There is nothing at {call.path}.")

    def _answer_group(self, call: Call, name: str) -> Answer:
        scope = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/{name}"
        verb = _VERBS.get(call.method, "read")
        self.authorize_scope(
            call, f"Microsoft.Resources/subscriptions/resourceGroups/{verb}", scope
        )
        group = self._store.get("group", scope.lower())
        if call.method == "PUT" or (call.method == "PATCH" and group):
            return self._write_group(call, name, scope, group)
        if group is None:
            if call.method == "HEAD":
                return Answer(404, None)
            raise ArmError(
                404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found."
            )
        if call.method == "GET":
            return Answer(200, group)
        if call.method == "HEAD":
            return Answer(204, None)
        if call.method == "DELETE":
            self._require_unlocked(scope, "delete")
            with self._plane.lock, self._store.transaction():
                self._remove_below(scope)
                self._store.delete("group", scope.lower())
            return Answer(202, None, {"Location": self.result_url(call)})
        raise ArmError(405, "MethodNotAllowed", f"The method {call.method} is not allowed here.")

    def _write_group(self, call: Call, name: str, scope: str, old: dict[str, Any] | None) -> Answer:
        if not _GROUP_NAME.match(name):
            raise ArmError(
                400,
                "InvalidResourceGroup",
                f"The provided resource group name '{name}' has these invalid characters or a wrong length. The "
                "name can only be "
                "a letter, digit, '-', '.', '(', ')' or '_', 1 to 90 characters, and not end with '.'.",
            )
        body = schema.clean(
            "azure.mgmt.resource.resources.models:ResourceGroup",
            call.json(),
            is_partial=call.method == "PATCH",
        )
        location = _normal_location(body.get("location") or (old or {}).get("location", ""))
        _require_location(location)
        if old and location != old["location"]:
            raise ArmError(
                409,
                "InvalidResourceGroupLocation",
                f"Invalid resource group location '{location}'. The Resource group already exists in location "
                f"'{old['location']}'.",
            )
        group = {
            "id": scope,
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": location,
            "tags": body.get("tags", (old or {}).get("tags", {}) if call.method == "PATCH" else {}),
            "properties": {"provisioningState": "Succeeded"},
        }
        if body.get("managedBy"):
            group["managedBy"] = body["managedBy"]
        self._store.put("group", scope.lower(), group)
        return Answer(200 if old else 201, group)

    def _answer_provider(self, call: Call, namespace: str) -> Answer:
        del call
        known = {kind.name.split("/")[0].lower() for kind in RESOURCE_TYPES.values()}
        if namespace.lower() not in known:
            raise _unknown_namespace(namespace)
        return Answer(200, _provider(namespace))

    def _answer_collection(self, call: Call, path: ResourcePath) -> Answer:
        if call.method != "GET":
            raise ArmError(
                404, "NotFound", f"There is no action '{path.last}' here: {call.method} {call.path}"
            )
        parent = path.resource()
        type_name = "/".join((parent.namespace, *parent.types, path.last))
        if type_name.lower() == "microsoft.authorization/permissions":
            return Answer(
                200, {"value": self._plane.authorization.permissions(call.principal, path.scope)}
            )
        kind = RESOURCE_TYPES.get(type_name.lower())
        if kind is None:
            raise _unknown_type(type_name)
        self.authorize_scope(call, f"{kind.name}/read", str(parent) if parent.names else path.scope)
        found = self.children(path.scope, parent, path.last)
        return Answer(200, {"value": [self.present(document, call) for document in found]})

    def _answer_write(self, call: Call, kind: ResourceType, id: ResourceId) -> Answer:
        body = call.json()
        with self._plane.lock:
            old = self._plane.document(id)
            if call.method == "PATCH":
                if old is None:
                    raise not_found(id)
                document = self._patch(kind, id, old, body, call)
            else:
                document = self.write(id, body, by=call.principal.object_id, query=call.query)
        answer = self.present(document, call)
        headers = {}
        if kind.is_async:
            headers["Azure-AsyncOperation"] = self.operation_url(call, kind, document)
            answer["properties"]["provisioningState"] = "Updating" if old else "Creating"
        return Answer(200 if old else 201, answer, headers)

    def _patch(
        self,
        kind: ResourceType,
        id: ResourceId,
        old: dict[str, Any],
        patch: dict[str, Any],
        call: Call,
    ) -> dict[str, Any]:
        """Check the patch alone: the rest of the document was checked when it came."""
        is_preview = call.query["api-version"].endswith("preview")
        if kind.model:
            patch = schema.clean(kind.model, patch, is_partial=True, allow_unknown=is_preview)
        merged = _merged(_sendable(old), patch)
        return self.write(
            id, merged, by=call.principal.object_id, query=call.query, is_checked=True
        )

    def _answer_delete(self, call: Call, kind: ResourceType, id: ResourceId) -> Answer:
        with self._plane.lock:
            document = self._plane.document(id)
            if document is None:
                return self._answer_delete_missing(call, id)
            self._require_unlocked(str(id), "delete")
            self.remove(id, call.query)
        if not kind.is_async:
            return Answer(200, None)
        url = self.operation_url(call, kind, document)
        return Answer(202, None, {"Azure-AsyncOperation": url, "Location": url})

    def _answer_delete_missing(self, call: Call, id: ResourceId) -> Answer:
        purge = call.query.get("forceToPurge", "").lower() == "true"
        if purge and len(id.types) == 1:
            self._plane.forget_deleted(id.type, str(id))
        return Answer(204, None)

    # --- resources, also for the other modules

    def get(self, id: ResourceId) -> dict[str, Any]:
        """Return a resource's document. Raises ArmError 404."""
        document = self._plane.document(id)
        if document is None:
            self._require_parent(id, "read")
            raise not_found(id)
        return document

    def children(self, scope: str, parent: ResourceId, kind: str) -> list[dict[str, Any]]:
        """Return the resources of a collection: of a resource, a group, or a whole subscription."""
        if parent.names:
            prefix = f"{parent}/{kind}/".lower()
            found = self._store.below("resource", prefix)
            return [document for key, document in found if "/" not in key[len(prefix) :]]
        fragment = f"/providers/{parent.namespace}/{kind}/".lower()
        is_extension = parent.namespace.lower() in ("microsoft.authorization", "microsoft.insights")
        found = self._store.below("resource", f"{scope.lower()}/")
        matching = []
        for key, document in found:
            before, marker, name = key.rpartition(fragment)
            if not marker or "/" in name:
                continue
            # An extension's list is of this very scope; roles are also those assigned above or below it.
            if is_extension and fragment.endswith("settings/") and before != scope.lower():
                continue
            matching.append(document)
        return matching

    def write(
        self,
        id: ResourceId,
        body: Mapping[str, Any],
        *,
        by: str,
        query: Mapping[str, str] | None = None,
        present: Mapping[str, Any] | None = None,
        is_checked: bool = False,
    ) -> dict[str, Any]:
        """Check a body as the service would, complete it, store it and return it. Raises ArmError."""
        kind = self.type_of(id)
        if not re.match(kind.name_pattern, id.name):
            raise ArmError(
                400,
                "InvalidResourceName",
                f"Resource name '{id.name}' is invalid for {kind.name}: it must be {kind.name_rule}.",
            )
        for name in ("name", "type", "id", "systemData"):
            body = {key: value for key, value in body.items() if key != name}
        is_preview = (query or {}).get("api-version", "").endswith("preview")
        cleaned = copy.deepcopy(dict(body))
        if kind.model and not is_checked:
            if kind.read_model:
                cleaned = schema.without_answers(kind.model, kind.read_model, cleaned)
            cleaned = schema.clean(kind.model, cleaned, allow_unknown=is_preview)
        with self._plane.lock, self._store.transaction():
            old = self._plane.document(id)
            if kind.makes_parent:
                self._make_parent(id, cleaned, by)
            else:
                self._require_parent(id, "write")
            new = self._document(kind, id, cleaned, old, by)
            self._require_unchanged(kind, id, old, new)
            write = Write(self._plane, id, old, new, query or {})
            kind.prepare(write)
            if present:
                write.properties.update(present)
            self._store.put("resource", id.key, new)
            kind.written(write)
            return copy.deepcopy(new)

    def update(self, id: ResourceId, document: dict[str, Any]) -> None:
        """Store a document that the plane itself changed."""
        self._store.put("resource", id.key, document)

    def remove(self, id: ResourceId, query: Mapping[str, str] | None = None) -> None:
        """Delete a resource and what is below it, the innermost first."""
        with self._store.transaction():
            self._remove_below(str(id), query)
            self._remove_one(id, query)

    def present(self, document: dict[str, Any], call: Call) -> dict[str, Any]:
        """Return a document as this caller sees it."""
        kind = RESOURCE_TYPES[document["type"].lower()]
        document = copy.deepcopy(document)
        path = parse_path(document["id"])
        if is_machine_learning_asset(kind.name) and path and len(path.segments) == 4:
            document["properties"].update(self._versions(path.resource()))
        if kind.name.endswith("/computes") and path:
            self._plane.computes.present(path.resource(), document)
        return kind.present(document, call.urls)

    def type_of(self, id: ResourceId) -> ResourceType:
        """Return how the lab treats an id's type. Raises ArmError for one that it does not have."""
        kind = RESOURCE_TYPES.get(id.type.lower())
        if kind is None:
            raise _unknown_type(id.type)
        return kind

    def require_api_version(self, call: Call) -> None:
        version = call.query.get("api-version")
        if not version:
            raise ArmError(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        if not _API_VERSION.match(version):
            raise ArmError(
                400,
                "InvalidApiVersionParameter",
                f"The api-version '{version}' is invalid. A version is a date, as in '2025-12-01' or "
                "'2025-12-01-preview'.",
            )

    def authorize(self, call: Call, id: ResourceId, verb: str) -> None:
        """Raise ArmError 403 unless the caller may do a verb on a resource."""
        kind = RESOURCE_TYPES.get(id.type.lower())
        self.authorize_scope(call, f"{kind.name if kind else id.type}/{verb}", str(id))

    def authorize_scope(self, call: Call, action: str, scope: str) -> None:
        self._plane.authorization.require(call.principal, action, scope)

    # --- long-running operations: the work is done when the answer goes out, its status is asked once

    def new_operation(self) -> str:
        operation = str(uuid.uuid4())
        self._store.put("operation", operation, {"at": self._plane.clock.now()})
        return operation

    def result_url(self, call: Call) -> str:
        """Return where a delete or a purge tells that it is done."""
        return (
            f"{call.urls.resource_manager}/subscriptions/{SUBSCRIPTION_ID}/operationresults/"
            f"{self.new_operation()}?api-version={call.query['api-version']}"
        )

    def operation_url(self, call: Call, kind: ResourceType, document: Mapping[str, Any]) -> str:
        namespace = kind.name.split("/")[0]
        location = document.get("location") or "global"
        collection = (
            "computeOperationsStatus" if kind.name.endswith("/computes") else "operationStatuses"
        )
        return (
            f"{call.urls.resource_manager}/subscriptions/{SUBSCRIPTION_ID}/providers/{namespace}/locations/{location}/"
            f"{collection}/{self.new_operation()}?api-version={call.query['api-version']}"
        )

    def operation_status(self, path: str, operation: str) -> dict[str, Any]:
        """Return an operation's status document. Raises ArmError 404."""
        self._operation(operation)
        return {"id": path, "name": operation, "status": "Succeeded", "percentComplete": 100}

    def _operation(self, operation: str) -> dict[str, Any]:
        found = self._store.get("operation", operation)
        if found is None:
            raise ArmError(404, "NotFound", f"The operation '{operation}' was not found.")
        return found

    # --- inside

    def _document(
        self,
        kind: ResourceType,
        id: ResourceId,
        body: dict[str, Any],
        old: dict[str, Any] | None,
        by: str,
    ) -> dict[str, Any]:
        now = self._plane.clock.timestamp()
        created = (old or {}).get("systemData") or {
            "createdAt": now,
            "createdBy": by,
            "createdByType": "Application",
        }
        new: dict[str, Any] = {
            "id": str((old or {}).get("id") or id),
            "name": (old or {}).get("name") or id.name,
            "type": kind.name,
            "systemData": {
                **created,
                "lastModifiedAt": now,
                "lastModifiedBy": by,
                "lastModifiedByType": "Application",
            },
        }
        new.update({key: copy.deepcopy(value) for key, value in body.items()})
        for path in kind.kept:
            value = _at(old or {}, path)
            if value is not None and _at(new, path) is None:
                _set(new, path, value)
        _fill(new, kind.defaults)
        new.setdefault("properties", {})
        if kind.has_location:
            if not new.get("location"):
                raise ArmError(
                    400,
                    "LocationRequired",
                    "The location property is required for this definition.",
                )
            new["location"] = _normal_location(new["location"])
            _require_location(new["location"])
            new.setdefault("tags", {})
        elif new.get("location"):
            new["location"] = _normal_location(new["location"])
        return new

    def _require_unchanged(
        self, kind: ResourceType, id: ResourceId, old: dict[str, Any] | None, new: dict[str, Any]
    ) -> None:
        """Raise ArmError where a property that is only read at create would change."""
        if old is None:
            return
        for path in kind.create_only:
            before, after = _at(old, path), _at(new, path)
            if after is None:
                if before is not None:
                    _set(new, path, before)
                continue
            if _comparable(before) == _comparable(after):
                continue
            if path == "location":
                raise ArmError(
                    409,
                    "InvalidResourceLocation",
                    f"The resource '{id.name}' already exists in location '{before}' in resource group "
                    f"'{id.resource_group}'. "
                    f"A resource with the same name cannot be created in location '{after}'. Please select a new "
                    "resource name.",
                )
            if is_machine_learning_asset(kind.name):
                raise ArmError(
                    409,
                    "UserError",
                    f"A {id.types[1].rstrip('s')} version with this name and version already exists. If you are "
                    "trying to create a "
                    f"new version, use a different name or version. '{path}' of '{id.names[1]}' version "
                    f"'{id.name}' cannot be "
                    "changed; only tags, description, and isArchived can be updated.",
                )
            raise ArmError(
                409 if not kind.name.endswith("/computes") else 400,
                "PropertyChangeNotAllowed" if not kind.name.endswith("/computes") else "BadRequest",
                f"Changing property '{path}' from '{before}' to '{after}' is not allowed for '{id.name}'. "
                "Create it under another name, or delete it first.",
                target=path,
            )

    def _make_parent(self, id: ResourceId, body: Mapping[str, Any], by: str) -> None:
        """Make the container that a first version, or a container's service, brings along."""
        parent = id.parent
        if parent is None or self._plane.document(parent) is not None:
            return
        self._require_parent(parent, "write")
        # All versions of a data asset are of one type, which the asset itself has to say.
        shared = {"dataType"} & set(body.get("properties") or {})
        properties = {name: body["properties"][name] for name in shared}
        self.write(parent, {"properties": properties}, by=by)

    def _require_parent(self, id: ResourceId, verb: str) -> None:
        self._require_group(id.scope)
        parent = id.parent
        if parent is None:
            if "/providers/" in id.scope.lower() and self._plane.document(id.scope) is None:
                scope = parse_path(id.scope)
                if scope and scope.is_resource:
                    found = scope.resource()
                    raise not_found(found)
            return
        if self._plane.document(parent) is None and id.types[-1] != "default":
            raise ArmError(
                404,
                "ParentResourceNotFound",
                f"Failed to perform '{verb}' on resource(s) of type '{'/'.join(id.types)}', because the parent "
                "resource "
                f"'{parent}' could not be found.",
            )

    def _require_group(self, scope: str) -> None:
        parts = scope.split("/")
        if len(parts) > 4 and parts[3].lower() == "resourcegroups":
            group = "/".join(parts[:5]).lower()
            if self._store.get("group", group) is None:
                raise ArmError(
                    404, "ResourceGroupNotFound", f"Resource group '{parts[4]}' could not be found."
                )

    def _require_unlocked(self, scope: str, verb: str) -> None:
        for key, lock in self._store.containing(
            "resource", "/providers/microsoft.authorization/locks/"
        ):
            at = key.partition("/providers/microsoft.authorization/locks/")[0]
            inside, above = scope.lower().startswith(at), at.startswith(scope.lower())
            if inside or above:
                raise ArmError(
                    409,
                    "ScopeLocked",
                    f"The scope '{scope}' cannot perform {verb} operation because following scope(s) are locked: "
                    f"'{lock['id']}'. "
                    "Please remove the lock and try again.",
                )

    def _remove_below(self, scope: str, query: Mapping[str, str] | None = None) -> None:
        found = self._store.below("resource", f"{scope.lower()}/")
        for key, document in sorted(found, key=lambda item: -item[0].count("/")):
            path = parse_path(document["id"])
            if path and self._store.get("resource", key) is not None:
                self._remove_one(path.resource(), query)

    def _remove_one(self, id: ResourceId, query: Mapping[str, str] | None) -> None:
        document = self._plane.document(id)
        if document is not None:
            self._store.delete("resource", id.key)
            self.type_of(id).removed(self._plane, id, document, query or {})

    def _list_below(self, scope: str) -> list[dict[str, Any]]:
        shown = []
        for _, document in self._store.below("resource", f"{scope.lower()}/"):
            if document["type"].count("/") == 1 and document.get("location"):
                shown.append(
                    {
                        key: document[key]
                        for key in ("id", "name", "type", "location", "tags")
                        if key in document
                    }
                )
        return shown

    def _versions(self, container: ResourceId) -> dict[str, Any]:
        names = [
            version["name"]
            for version in self.children(container.scope, container, "versions")
            if not version["properties"].get("isArchived")
        ]
        numbers = [int(name) for name in names if name.isdigit()]
        return {
            "latestVersion": names[-1] if names else None,
            "nextVersion": str(max(numbers, default=0) + 1),
        }


LOCATIONS = (
    "eastus", "eastus2", "westus", "westus2", "westus3", "centralus", "northcentralus",
    "southcentralus", "canadacentral", "canadaeast", "brazilsouth", "northeurope", "westeurope",
    "uksouth", "ukwest", "francecentral", "germanywestcentral", "switzerlandnorth", "norwayeast",
    "swedencentral", "italynorth", "polandcentral", "spaincentral", "uaenorth", "southafricanorth",
    "centralindia", "southindia", "japaneast", "japanwest", "koreacentral", "southeastasia",
    "eastasia", "australiaeast", "australiasoutheast", "israelcentral", "qatarcentral",
    "mexicocentral", "global",
)  # fmt: skip


def _normal_location(location: str) -> str:
    return location.replace(" ", "").lower()


def _require_location(location: str) -> None:
    if location not in LOCATIONS:
        raise ArmError(
            400,
            "LocationNotAvailableForResourceGroup",
            f"The provided location '{location}' is not available. List of available regions is "
            f"'{','.join(LOCATIONS[:-1])}'.",
        )


def _at(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for step in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def _set(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for step in parents:
        document = document.setdefault(step, {})
    document[last] = copy.deepcopy(value)


def _fill(document: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        if isinstance(value, Mapping):
            _fill(document.setdefault(key, {}), value)
        else:
            document.setdefault(key, value)


def _comparable(value: Any) -> Any:
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, Mapping):
        return {
            key: _comparable(item)
            for key, item in value.items()
            if key not in ("id",) or isinstance(item, str)
        }
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return value


def _merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a PATCH into a body: objects by property, tags as a whole, null removes."""
    result = copy.deepcopy(dict(old))
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping) and key != "tags":
            result[key] = _merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _sendable(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in document.items()
        if key not in ("id", "name", "type", "systemData")
    }


def _unknown_type(type_name: str) -> ArmError:
    namespace, _, kind = type_name.partition("/")
    known = {item.name.split("/")[0].lower() for item in RESOURCE_TYPES.values()}
    if namespace.lower() not in known:
        return _unknown_namespace(namespace)
    return ArmError(
        404,
        "InvalidResourceType",
        f"The resource type '{kind}' could not be found in the namespace '{namespace}'; the lab has no such type.",
    )


def _unknown_namespace(namespace: str) -> ArmError:
    return ArmError(
        404,
        "InvalidResourceNamespace",
        f"The resource namespace '{namespace}' is invalid; the lab has no such service.",
    )


def _subscription() -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{SUBSCRIPTION_ID}",
        "subscriptionId": SUBSCRIPTION_ID,
        "tenantId": TENANT_ID,
        "displayName": "trainstack lab",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
    }


def _location(name: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{SUBSCRIPTION_ID}/locations/{name}",
        "name": name,
        "displayName": name,
    }


def _provider(namespace: str) -> dict[str, Any]:
    kinds = [
        kind
        for kind in RESOURCE_TYPES.values()
        if kind.name.split("/")[0].lower() == namespace.lower()
    ]
    return {
        "id": f"/subscriptions/{SUBSCRIPTION_ID}/providers/{namespace}",
        "namespace": namespace,
        "registrationState": "Registered",
        "resourceTypes": [
            {"resourceType": kind.name.partition("/")[2], "locations": list(LOCATIONS[:-1])}
            for kind in kinds
        ],
    }
