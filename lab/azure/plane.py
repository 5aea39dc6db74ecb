"""The Azure plane: everything that it remembers and runs, put together once a process."""

from __future__ import annotations

import copy
import threading
import uuid
from pathlib import Path
from typing import Any

from lab.azure.accounts import Accounts
from lab.azure.arm import ResourceManager
from lab.azure.authorization import Authorization
from lab.azure.blob import Blobs
from lab.azure.clock import Clock
from lab.azure.compute import Computes
from lab.azure.errors import ArmError
from lab.azure.jobs import Jobs
from lab.azure.login import ROOT_OBJECT_ID, Login
from lab.azure.resource_id import ResourceId
from lab.azure.resource_type import Write, require_id
from lab.azure.store import Store
from lab.home import TENANT_ID

_DAY_SECONDS = 86_400


class Plane:
    """One local Azure. Create it once; close() ends its jobs and its threads."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.home = home
        # One writer at a time: a check (does the name exist?) and the write that follows belong together.
        self.lock = threading.RLock()
        self.store = Store(home / "azure.sqlite")
        self.clock = Clock(self.store)
        self.login = Login(self.store, home)
        self.authorization = Authorization(self.store)
        self.blobs = Blobs(self.store, home)
        self.accounts = Accounts(self.store, self.blobs)
        self.computes = Computes(self)
        self.jobs = Jobs(self)
        self.resources = ResourceManager(self)
        # How the plane's own jobs reach it; set when the server knows its port.
        self.own_url = ""

    def start(self, own_url: str) -> None:
        """Begin to serve: settle what a killed process left and run what is queued."""
        self.own_url = own_url
        self.jobs.start()

    def close(self) -> None:
        self.jobs.close()
        self.store.close()

    # --- what hooks of resource types need

    def document(self, id: ResourceId | str) -> dict[str, Any] | None:
        """Return a resource's stored document."""
        return self.store.get("resource", str(id).lower())

    def require_exists(self, id: str, where: str) -> dict[str, Any]:
        """Return a linked resource's document. Raises ArmError where there is none."""
        found = self.document(str(require_id(id, where)))
        if found is None:
            raise ArmError(
                404,
                "LinkedResourceNotFound"
                if not where.startswith("properties.")
                else "InvalidResourceReference",
                f"Resource {id} referenced by '{where}' was not found. Please make sure that the referenced "
                "resource exists.",
            )
        return found

    def put_child(self, id: ResourceId, body: dict[str, Any]) -> dict[str, Any]:
        """Write a resource that comes with another one."""
        return self.resources.write(id, body, by=ROOT_OBJECT_ID)

    def deleted(self, type_name: str, key: str) -> dict[str, Any] | None:
        """Return what is kept of a soft-deleted resource, until its time is up."""
        kept = self.store.get("deleted", f"{type_name}|{key}".lower())
        if kept and kept["purge_at"] <= self.clock.now():
            self.forget_deleted(type_name, key)
            return None
        return kept

    def keep_deleted(self, type_name: str, key: str, document: dict[str, Any], days: int) -> None:
        now = self.clock.now()
        self.store.put(
            "deleted",
            f"{type_name}|{key}".lower(),
            {"document": document, "deleted_at": now, "purge_at": now + days * _DAY_SECONDS},
        )

    def forget_deleted(self, type_name: str, key: str) -> bool:
        return self.store.delete("deleted", f"{type_name}|{key}".lower())

    def purge_deleted(self) -> list[str]:
        """Forget every soft-deleted resource, so that its name is free; return their ids."""
        kept = self.store.below("deleted", "")
        for key, _ in kept:
            self.store.delete("deleted", key)
        return [str(document["document"]["id"]) for _, document in kept]

    def principal_kind(self, object_id: str) -> str | None:
        """Return ServicePrincipal where this tenant knows the principal, else None."""
        wanted = object_id.lower()
        if any(
            principal["object_id"].lower() == wanted
            for _, principal in self.store.below("principal", "")
        ):
            return "ServicePrincipal"
        identities = self.store.containing("resource", "/userassignedidentities/")
        for _, document in identities:
            if str(document["properties"].get("principalId")).lower() == wanted:
                return "ServicePrincipal"
        for _, document in self.store.containing("resource", "/workspaces/"):
            if str((document.get("identity") or {}).get("principalId")).lower() == wanted:
                return "ServicePrincipal"
        return None

    def fill_identity(self, write: Write) -> None:
        """Give a system-assigned identity its principal, and user-assigned ones their ids."""
        identity = write.new.get("identity")
        if not identity:
            return
        kind = identity.get("type", "None")
        if "SystemAssigned" in kind:
            before = (write.old or {}).get("identity") or {}
            identity["principalId"] = before.get("principalId") or str(uuid.uuid4())
            identity["tenantId"] = TENANT_ID
        assigned = identity.get("userAssignedIdentities")
        if "UserAssigned" in kind and not assigned:
            raise ArmError(
                400,
                "InvalidIdentityValues",
                "Identity type 'UserAssigned' needs at least one identity in identity.userAssignedIdentities.",
            )
        for id in assigned or {}:
            found = self.document(id)
            if found is None:
                raise ArmError(
                    400,
                    "FailedIdentityOperation",
                    f"Identity operation for resource '{write.id}' failed with error 'Failed to perform resource "
                    "identity "
                    f"operation. Status: 'BadRequest'. Response: 'Resource '{id}' was not found.''.",
                )
            assigned[id] = {name: found["properties"][name] for name in ("principalId", "clientId")}

    def make_system_datastores(self, write: Write) -> None:
        """Make the containers and datastores that a new workspace brings."""
        account_id = require_id(write.properties["storageAccount"], "storageAccount")
        marker = write.properties["workspaceId"]
        by_identity = str(write.properties.get("systemDatastoresAuthMode", "")).lower() in (
            "identity",
            "userdelegationsas",
        )
        for name, container in (
            ("workspaceblobstore", f"azureml-blobstore-{marker}"),
            ("workspaceartifactstore", "azureml"),
        ):
            service = account_id.child("blobServices", "default")
            if self.document(service.child("containers", container)) is None:
                self.put_child(service.child("containers", container), {"properties": {}})
            properties = {
                "datastoreType": "AzureBlob",
                "accountName": account_id.name,
                "containerName": container,
                "resourceGroup": account_id.resource_group,
                "subscriptionId": account_id.scope.split("/")[2],
                "credentials": (
                    {"credentialsType": "None"}
                    if by_identity
                    else {"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey"}}
                ),
            }
            if by_identity:
                properties["serviceDataAccessAuthIdentity"] = "WorkspaceSystemAssignedIdentity"
            self.resources.write(
                write.id.child("datastores", name),
                {"properties": copy.deepcopy(properties)},
                by=ROOT_OBJECT_ID,
                query={"_system": "true"},
                present={"isDefault": name == "workspaceblobstore"},
            )
