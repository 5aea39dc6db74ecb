"""Where an azureml uri or an https blob url points in the lab's blob storage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lab.azure.errors import ArmError
from lab.azure.resource_id import ResourceId, parse_id
from lab.azure.urls import BLOB_PREFIX

if TYPE_CHECKING:
    from lab.azure.plane import Plane

_DATASTORE = re.compile(r"^azureml://(?:.*/)?datastores/([^/]+)/(?:paths/)?(.*)$", re.IGNORECASE)
_SHORT_ASSET = re.compile(r"^azureml:([^:/@]+)(?::([^:/@]+)|@latest)$")
_LONG_ASSET = re.compile(
    r"^azureml://locations/[^/]+/workspaces/[^/]+/(data|models)/([^/]+)/versions/([^/]+)$"
)
OUTPUT_ASSET = re.compile(r"/data/azureml_(.+)_output_([^/]+)/versions/")


@dataclass(frozen=True)
class DataPath:
    """A folder or file in a container. ``datastore`` is the datastore's resource id where one was named."""

    account: str
    container: str
    path: str
    datastore: ResourceId | None = None


def resolve(plane: Plane, workspace: ResourceId, uri: str) -> DataPath:
    """Return where a uri points. Raises ArmError 400 or 404 for one that the lab cannot follow."""
    found = _DATASTORE.match(uri)
    if found:
        return in_datastore(plane, workspace, found[1], found[2])
    asset = asset_id(plane, workspace, uri)
    if asset is not None:
        properties = plane.resources.get(asset)["properties"]
        return resolve(
            plane, workspace, properties.get("dataUri") or properties.get("modelUri") or ""
        )
    blob = blob_of(uri)
    if blob and plane.accounts.find(blob.account):
        return blob
    if uri.startswith(("https://", "http://", "wasbs://", "abfss://")):
        raise ArmError(
            400,
            "UserError",
            f"The lab has no internet, so it cannot read '{uri}'. Give a local path, a datastore path or a data asset.",
        )
    raise ArmError(400, "UserError", f"'{uri}' is no data path that the lab knows.")


def in_datastore(plane: Plane, workspace: ResourceId, name: str, path: str) -> DataPath:
    """Return a path in a datastore. Raises ArmError 404 where the workspace has none of that name."""
    id = workspace.child("datastores", name)
    document = plane.document(id)
    if document is None:
        raise ArmError(
            404, "UserError", f"Datastore '{name}' was not found in workspace '{workspace.name}'."
        )
    properties = document["properties"]
    if properties.get("datastoreType") != "AzureBlob":
        raise ArmError(
            400,
            "UserError",
            f"The lab has no data behind a datastore of type '{properties.get('datastoreType')}'.",
        )
    return DataPath(properties["accountName"], properties["containerName"], path.strip("/"), id)


def asset_id(plane: Plane, workspace: ResourceId, uri: str) -> ResourceId | None:
    """Return the data or model version that a reference names, or None where it names none."""
    found = parse_id(uri)
    if found and found.types[-1:] == ("versions",):
        return found
    long = _LONG_ASSET.match(uri)
    if long:
        return workspace.child(long[1], long[2]).child("versions", long[3])
    short = _SHORT_ASSET.match(uri)
    if short:
        container = workspace.child("data", short[1])
        version = short[2] or latest_version(plane, container)
        return container.child("versions", version)
    return None


def latest_version(plane: Plane, container: ResourceId) -> str:
    """Return the newest version of an asset. Raises ArmError 404 where there is none."""
    versions = plane.resources.children(container.scope, container, "versions")
    active = [version for version in versions if not version["properties"].get("isArchived")]
    if not active:
        raise ArmError(404, "UserError", f"No version of '{container.name}' was found.")
    return str(active[-1]["name"])


def blob_of(url: str) -> DataPath | None:
    """Return what a blob url of any of the lab's forms points to."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ".blob." in host:
        container, _, path = parts.path.lstrip("/").partition("/")
        return DataPath(host.split(".")[0], container, unquote(path).strip("/"))
    if parts.path.startswith(BLOB_PREFIX):
        account, _, rest = parts.path[len(BLOB_PREFIX) :].partition("/")
        container, _, path = rest.partition("/")
        return DataPath(account, container, unquote(path).strip("/"))
    return None
