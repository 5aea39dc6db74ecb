"""Resource types: what each takes, what the service adds, what it refuses to change, and what its delete leaves behind.

Sources: the REST reference of each service at learn.microsoft.com/rest/api and the errors that people report (read
2026-11).
"""

from __future__ import annotations

import base64
import copy
import os
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.azure import schema
from lab.azure.errors import ArmError
from lab.azure.resource_id import ResourceId, parse_id
from lab.azure.urls import Urls
from lab.home import TENANT_ID

if TYPE_CHECKING:
    from lab.azure.plane import Plane

_ML = schema.MACHINE_LEARNING


@dataclass(frozen=True)
class Write:
    """A PUT or PATCH under way. Hooks change ``new``; raising ArmError refuses it."""

    plane: Plane
    id: ResourceId
    old: dict[str, Any] | None
    new: dict[str, Any]
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def properties(self) -> dict[str, Any]:
        return self.new.setdefault("properties", {})


def _nothing(write: Write) -> None:
    del write


def _left(plane: Plane, id: ResourceId, document: dict[str, Any], query: Mapping[str, str]) -> None:
    del plane, id, document, query


def _as_is(document: dict[str, Any], urls: Urls) -> dict[str, Any]:
    del urls
    return document


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """How the lab treats one type. ``name`` is the type as Resource Manager writes it."""

    name: str
    # module:Class of the official model of a PUT's body; None where no package has one.
    model: str | None = None
    # The model of an answer where it is another: what only answers have is dropped from a body.
    read_model: str | None = None
    name_pattern: str = r"^[^<>%&\\?/]{1,260}$"
    name_rule: str = "1 to 260 characters other than <>%&\\?/"
    has_location: bool = True
    # Properties that the service does not change once the resource is there, as paths.
    create_only: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    is_async: bool = False
    prepare: Callable[[Write], None] = _nothing
    # Makes what comes with the resource, once it is there.
    written: Callable[[Write], None] = _nothing
    removed: Callable[[Plane, ResourceId, dict[str, Any], Mapping[str, str]], None] = _left
    present: Callable[[dict[str, Any], Urls], dict[str, Any]] = _as_is
    # A parent that the service makes by itself.
    makes_parent: bool = False
    # Kept by a PUT that leaves them out.
    kept: tuple[str, ...] = ()


# --- Storage


def _storage_account(write: Write) -> None:
    accounts = write.plane.accounts
    name = write.id.name
    holder = accounts.find(name)
    if write.old is None and holder and holder.id.lower() != write.id.key:
        raise ArmError(
            409, "StorageAccountAlreadyTaken", f"The storage account named {name} is already taken."
        )
    accounts.register(name, str(write.id))
    write.properties.update(
        provisioningState="Succeeded",
        creationTime=write.new["systemData"]["createdAt"],
        primaryLocation=write.new["location"],
        statusOfPrimary="available",
    )
    write.new["sku"] = {**write.new["sku"], "tier": write.new["sku"]["name"].split("_")[0]}
    encryption = write.properties.setdefault("encryption", {"keySource": "Microsoft.Storage"})
    encryption.setdefault("services", {"blob": {"enabled": True, "keyType": "Account"}})
    rules = write.properties.setdefault("networkAcls", {"defaultAction": "Allow"})
    for key, value in {"bypass": "AzureServices", "virtualNetworkRules": [], "ipRules": []}.items():
        rules.setdefault(key, value)


def _storage_account_present(document: dict[str, Any], urls: Urls) -> dict[str, Any]:
    name = document["name"]
    document["properties"]["primaryEndpoints"] = {
        "blob": f"{urls.blob(name)}/",
        "dfs": f"https://{name}.dfs.core.windows.net/",
        "file": f"https://{name}.file.core.windows.net/",
        "queue": f"https://{name}.queue.core.windows.net/",
        "table": f"https://{name}.table.core.windows.net/",
        "web": f"https://{name}.z13.web.core.windows.net/",
    }
    return document


def _storage_account_removed(
    plane: Plane, id: ResourceId, document: dict[str, Any], query: Mapping[str, str]
) -> None:
    del document, query
    plane.accounts.remove(id.name)


def _container(write: Write) -> None:
    write.properties.update(leaseState="Available", leaseStatus="Unlocked")
    write.properties.setdefault("publicAccess", "None")
    write.properties.setdefault("hasImmutabilityPolicy", False)
    write.properties.setdefault("hasLegalHold", False)


def _container_removed(
    plane: Plane, id: ResourceId, document: dict[str, Any], query: Mapping[str, str]
) -> None:
    del document, query
    plane.blobs.delete_all(id.names[0].lower(), id.name)


# --- Key Vault


def _vault(write: Write) -> None:
    properties = write.properties
    deleted = write.plane.deleted("Microsoft.KeyVault/vaults", write.id.name)
    if write.old is None:
        mode = properties.pop("createMode", "default")
        if deleted and mode != "recover":
            raise ArmError(
                409,
                "ConflictError",
                "A vault with the same name already exists in deleted state. You need to either recover or purge "
                "existing key "
                "vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on "
                "soft delete.",
            )
        if deleted:
            write.plane.forget_deleted("Microsoft.KeyVault/vaults", write.id.name)
            properties.update(copy.deepcopy(deleted["document"]["properties"]) | properties)
        elif mode == "recover":
            raise ArmError(
                404,
                "DeletedVaultNotFound",
                f"The specified deleted vault '{write.id.name}' does not exist.",
            )
        for _, other in write.plane.store.containing(
            "resource", "/providers/microsoft.keyvault/vaults/"
        ):
            if other["name"].lower() == write.id.name.lower():
                raise ArmError(
                    409,
                    "VaultAlreadyExists",
                    f"The vault name '{write.id.name}' is already in use. Vault names are globally unique so it is "
                    "possible "
                    "that the name is already taken.",
                )
    properties.pop("createMode", None)
    if properties.get("enablePurgeProtection") is False:
        raise ArmError(
            400,
            "BadRequest",
            'The property "enablePurgeProtection" cannot be set to false. Enabling the purge protection for a '
            "vault is an "
            "irreversible action.",
        )
    if properties.get("enableSoftDelete") is False:
        raise ArmError(400, "BadRequest", 'The property "enableSoftDelete" cannot be set to false.')
    days = properties.setdefault("softDeleteRetentionInDays", 90)
    if not 7 <= days <= 90:
        raise ArmError(
            400, "BadRequest", 'The property "softDeleteRetentionInDays" must be between 7 and 90.'
        )
    if properties["tenantId"].lower() != TENANT_ID:
        raise ArmError(
            400,
            "BadRequest",
            f"The tenant ID '{properties['tenantId']}' is not the subscription's tenant.",
        )
    if not properties.get("enableRbacAuthorization"):
        properties.setdefault("accessPolicies", [])
    properties.update(
        enableSoftDelete=True,
        vaultUri=f"https://{write.id.name}.vault.azure.net/",
        provisioningState="Succeeded",
    )


def _vault_removed(
    plane: Plane, id: ResourceId, document: dict[str, Any], query: Mapping[str, str]
) -> None:
    del query
    days = document["properties"].get("softDeleteRetentionInDays", 90)
    plane.keep_deleted("Microsoft.KeyVault/vaults", id.name, document, days)


# --- Log Analytics, Application Insights, diagnostics


def _log_workspace(write: Write) -> None:
    if write.old is None:
        key = f"{write.id.scope}/{write.id.name}"
        recovered = write.plane.deleted("Microsoft.OperationalInsights/workspaces", key)
        if (
            recovered
        ):  # the same name in the same group brings the old workspace back, with its data
            write.plane.forget_deleted("Microsoft.OperationalInsights/workspaces", key)
            write.properties["customerId"] = recovered["document"]["properties"]["customerId"]
    properties = write.properties
    properties.setdefault("customerId", str(uuid.uuid4()))
    properties.setdefault("sku", {"name": "PerGB2018"})
    retention = properties.setdefault("retentionInDays", 30)
    if not (retention == 7 or 30 <= retention <= 730):
        raise ArmError(
            400,
            "InvalidParameter",
            f"'RetentionInDays' property is invalid: {retention}. Allowed are 7 (free tier) or 30 to 730.",
        )
    properties.setdefault("workspaceCapping", {"dailyQuotaGb": -1.0})
    properties.update(
        provisioningState="Succeeded",
        createdDate=write.new["systemData"]["createdAt"],
        modifiedDate=write.new["systemData"]["lastModifiedAt"],
    )


def _log_workspace_removed(
    plane: Plane, id: ResourceId, document: dict[str, Any], query: Mapping[str, str]
) -> None:
    if query.get("force", "").lower() != "true":
        plane.keep_deleted(
            "Microsoft.OperationalInsights/workspaces", f"{id.scope}/{id.name}", document, 14
        )


def _component(write: Write) -> None:
    properties = write.properties
    properties.setdefault("InstrumentationKey", str(uuid.uuid4()))
    if (
        write.old
        and write.old["properties"].get("WorkspaceResourceId")
        and not properties.get("WorkspaceResourceId")
    ):
        raise ArmError(
            400,
            "BadRequest",
            "A workspace-based component cannot go back to classic: set WorkspaceResourceId.",
        )
    linked = properties.get("WorkspaceResourceId")
    if linked:
        write.plane.require_exists(linked, "WorkspaceResourceId")
    properties.update(
        ApplicationId=write.id.name,
        AppId=properties.get("AppId") or str(uuid.uuid4()),
        Name=write.id.name,
        CreationDate=write.new["systemData"]["createdAt"],
        TenantId=TENANT_ID,
        provisioningState="Succeeded",
        ConnectionString=f"InstrumentationKey={properties['InstrumentationKey']}",
    )
    properties.setdefault("RetentionInDays", 90)


def _diagnostic_setting(write: Write) -> None:
    properties = write.properties
    sinks = (
        "workspaceId",
        "storageAccountId",
        "eventHubAuthorizationRuleId",
        "marketplacePartnerId",
    )
    if not any(properties.get(sink) for sink in sinks):
        raise ArmError(
            400, "BadRequest", f"At least one data sink needs to be specified: {', '.join(sinks)}."
        )
    for sink in ("workspaceId", "storageAccountId"):
        if properties.get(sink):
            write.plane.require_exists(properties[sink], sink)
    categories = _categories(properties)
    for key, other in write.plane.store.below(
        "resource", f"{write.id.scope.lower()}/providers/microsoft.insights/diagnosticsettings/"
    ):
        if key == write.id.key:
            continue
        for sink in sinks:
            same_sink = (
                properties.get(sink)
                and properties[sink].lower() == str(other["properties"].get(sink, "")).lower()
            )
            shared = categories & _categories(other["properties"])
            if same_sink and shared:
                raise ArmError(
                    409,
                    "Conflict",
                    f"Data sink '{properties[sink]}' is already used in diagnostic setting '{other['name']}' for "
                    "category "
                    f"'{sorted(shared)[0]}'. Data sinks can't be reused in different settings on the same category "
                    "for the same resource.",
                )


def _categories(properties: Mapping[str, Any]) -> set[str]:
    return {
        str(entry.get("category") or entry.get("categoryGroup"))
        for kind in ("logs", "metrics")
        for entry in properties.get(kind) or ()
        if entry.get("enabled")
    }


# --- Container Registry


def _registry(write: Write) -> None:
    sku = write.new["sku"]
    sku["tier"] = sku["name"]
    registries = "/providers/microsoft.containerregistry/registries/"
    for key, other in write.plane.store.containing("resource", registries):
        if key != write.id.key and other["name"].lower() == write.id.name.lower():
            raise ArmError(
                409,
                "AlreadyInUse",
                f"The registry DNS name {write.id.name}.azurecr.io is already in use.",
            )
    properties = write.properties
    premium_only = {
        "publicNetworkAccess": "Disabled",
        "zoneRedundancy": "Enabled",
        "dataEndpointEnabled": True,
    }
    for name, value in premium_only.items():
        if sku["name"] != "Premium" and properties.get(name) == value:
            raise ArmError(
                400,
                "FeatureNotSupportedForSku"
                if name != "dataEndpointEnabled"
                else "DataEndpointsNotSupported",
                f"The property '{name}' = {value} is not supported for the SKU {sku['name']}; it needs Premium.",
            )
    properties.update(
        loginServer=f"{write.id.name.lower()}.azurecr.io",
        creationDate=write.new["systemData"]["createdAt"],
        provisioningState="Succeeded",
    )


# --- Identity and authorization


def _identity(write: Write) -> None:
    if write.old is None:
        write.properties.update(
            tenantId=TENANT_ID, principalId=str(uuid.uuid4()), clientId=str(uuid.uuid4())
        )


def _role_assignment(write: Write) -> None:
    properties = write.properties
    try:
        uuid.UUID(write.id.name)
    except ValueError as error:
        raise ArmError(
            400,
            "InvalidRoleAssignmentId",
            f"The role assignment ID '{write.id.name}' is not valid. The role assignment ID must be a GUID.",
        ) from error
    role = write.plane.authorization.role(properties["roleDefinitionId"])
    guid = properties["roleDefinitionId"].rsplit("/", 1)[-1]
    if role is None:
        raise ArmError(
            404,
            "RoleDefinitionDoesNotExist",
            f"The specified role definition with ID '{guid}' does not exist.",
        )
    if write.old is not None:
        before = write.old["properties"]
        for name in ("principalId", "roleDefinitionId", "principalType"):
            if (
                name in properties
                and str(before.get(name, "")).lower() != str(properties[name]).lower()
            ):
                raise ArmError(
                    400,
                    "RoleAssignmentUpdateNotPermitted",
                    "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
                )
    kind = write.plane.principal_kind(properties["principalId"])
    asked = properties.get("principalType")
    if kind is None and asked is None:
        # The service looks the principal up only where its type is not given; the lab knows no people or groups.
        raise ArmError(
            400,
            "PrincipalNotFound",
            f"Principal {properties['principalId'].replace('-', '')} does not exist in the directory {TENANT_ID}. "
            "Check that you have the correct principal ID.",
        )
    if kind and asked and asked != kind:
        raise ArmError(
            400,
            "UnmatchedPrincipalType",
            f"The PrincipalId '{properties['principalId']}' has type '{kind}', which is different from specified "
            f"PrincipalType '{asked}'.",
        )
    properties["principalType"] = asked or kind
    for key, other in write.plane.store.below(
        "resource", f"{write.id.scope.lower()}/providers/microsoft.authorization/roleassignments/"
    ):
        same = (
            other["properties"]["principalId"].lower() == properties["principalId"].lower()
            and other["properties"]["roleDefinitionId"].rsplit("/", 1)[-1].lower() == guid.lower()
        )
        if same and key != write.id.key:
            raise ArmError(
                409,
                "RoleAssignmentExists",
                "The role assignment already exists. The ID of the existing role assignment is "
                f"{other['name'].replace('-', '')}.",
            )
    properties["scope"] = write.id.scope or "/"
    now = write.new["systemData"]["lastModifiedAt"]
    properties.update(createdOn=write.new["systemData"]["createdAt"], updatedOn=now)


def _role_definition(write: Write) -> None:
    write.properties.setdefault("type", "CustomRole")
    write.properties.setdefault("assignableScopes", [write.id.scope])


# --- Budgets


def _budget(write: Write) -> None:
    properties = write.properties
    start = str((properties.get("timePeriod") or {}).get("startDate", ""))
    if not re.match(r"^\d{4}-\d{2}-01", start):
        raise ArmError(
            400,
            "400",
            f"The start date {start!r} must be the first of a month. Path 'properties.timePeriod.startDate'.",
        )
    if properties.get("amount", 0) <= 0:
        raise ArmError(
            400, "400", f"The budget amount {properties.get('amount')!r} must be above 0."
        )
    notifications = properties.get("notifications") or {}
    if len(notifications) > 5:
        raise ArmError(
            400, "400", f"A budget has at most 5 notifications; this one has {len(notifications)}."
        )
    for name, notification in notifications.items():
        if not 0 <= notification.get("threshold", -1) <= 1000:
            raise ArmError(
                400,
                "400",
                f"The threshold of notification '{name}' must be between 0 and 1000 per cent.",
            )
        if not (
            notification.get("contactEmails")
            or notification.get("contactRoles")
            or notification.get("contactGroups")
        ):
            raise ArmError(
                400,
                "400",
                f"Notification '{name}' has nobody to tell: give contactEmails, contactRoles or contactGroups.",
            )
    properties.setdefault("currentSpend", {"amount": 0.0, "unit": "USD"})
    write.new["eTag"] = f'"1d{uuid.uuid4().hex[:12]}"'


# --- Network


def _network_present(document: dict[str, Any], urls: Urls) -> dict[str, Any]:
    del urls
    document["properties"].pop("subnets", None)
    return document


def _network_written(write: Write) -> None:
    """Subnets inside a virtual network's body are resources of their own; those left out stay."""
    for subnet in write.properties.get("subnets") or ():
        write.plane.put_child(
            write.id.child("subnets", subnet["name"]), {"properties": subnet.get("properties", {})}
        )


def _subnet(write: Write) -> None:
    write.properties["provisioningState"] = "Succeeded"
    write.properties.setdefault("privateEndpointNetworkPolicies", "Disabled")
    write.properties.setdefault("privateLinkServiceNetworkPolicies", "Enabled")


def _provisioned(write: Write) -> None:
    write.properties["provisioningState"] = "Succeeded"


def _public_address(write: Write) -> None:
    # 203.0.113.0/24 is reserved for documentation: the lab gives out no address that exists.
    digest = uuid.uuid5(uuid.NAMESPACE_URL, write.id.key).bytes
    write.properties.setdefault("ipAddress", f"203.0.113.{digest[0]}")
    write.properties.setdefault("publicIPAllocationMethod", "Static")
    write.properties["provisioningState"] = "Succeeded"


def _private_endpoint(write: Write) -> None:
    properties = write.properties
    write.plane.require_exists(
        (properties.get("subnet") or {}).get("id", ""), "properties.subnet.id"
    )
    for kind in ("privateLinkServiceConnections", "manualPrivateLinkServiceConnections"):
        for connection in properties.get(kind) or ():
            target = (connection.get("properties") or {}).get("privateLinkServiceId", "")
            write.plane.require_exists(target, f"properties.{kind}.privateLinkServiceId")
            connection.setdefault("id", f"{write.id}/{kind}/{connection.get('name')}")
            state = {
                "status": "Approved" if kind[0] == "p" else "Pending",
                "actionsRequired": "None",
            }
            connection["properties"].setdefault("privateLinkServiceConnectionState", state)
            connection["properties"]["provisioningState"] = "Succeeded"
    name = f"{write.id.name}.nic.{uuid.uuid5(uuid.NAMESPACE_URL, write.id.key)}"
    interface = f"{write.id.scope}/providers/Microsoft.Network/networkInterfaces/{name}"
    properties.setdefault("networkInterfaces", [{"id": interface}])
    properties.setdefault("customDnsConfigs", [])
    properties["provisioningState"] = "Succeeded"


# --- Machine Learning: workspace and its assets (computes and jobs have modules of their own)


def _ml_workspace(write: Write) -> None:
    properties = write.properties
    key = str(write.id)
    if write.old is None:
        if write.plane.deleted("Microsoft.MachineLearningServices/workspaces", key):
            raise ArmError(
                400,
                "BadRequest",
                "Soft-deleted workspace exists. Please purge or recover it. https://aka.ms/wsoftdelete",
            )
        missing = [
            name
            for name in ("storageAccount", "keyVault", "applicationInsights")
            if not properties.get(name)
        ]
        if (
            missing
            and write.new.get("kind", "Default").lower() in ("default", "hub")
            and missing != ["applicationInsights"]
        ):
            raise ArmError(
                400,
                "ValidationError",
                f"Missing dependent resources in workspace json: {', '.join(missing)}.",
            )
        if not write.new.get("identity"):
            raise ArmError(
                400,
                "ValidationError",
                "The workspace needs an identity: set identity.type to SystemAssigned or UserAssigned.",
            )
    for name in ("storageAccount", "keyVault", "applicationInsights", "containerRegistry"):
        if properties.get(name):
            write.plane.require_exists(properties[name], name)
    write.plane.fill_identity(write)
    user_assigned = (write.new.get("identity") or {}).get("userAssignedIdentities") or {}
    primary = properties.get("primaryUserAssignedIdentity")
    if primary and primary.lower() not in {identity.lower() for identity in user_assigned}:
        raise ArmError(
            400,
            "ValidationError",
            f"The primary user-assigned identity '{primary}' is not one of the workspace's identities.",
        )
    properties.setdefault("workspaceId", str(uuid.uuid4()))
    properties.setdefault("friendlyName", write.id.name)
    properties.setdefault("tenantId", TENANT_ID)
    properties.update(
        provisioningState="Succeeded",
        creationTime=write.new["systemData"]["createdAt"],
        notebookInfo={
            "resourceId": properties["workspaceId"].replace("-", ""),
            "fqdn": "",
            "isPrivateLinkEnabled": False,
        },
    )
    write.new.setdefault("kind", "Default")
    write.new.setdefault("sku", {"name": "Basic", "tier": "Basic"})


def _ml_workspace_written(write: Write) -> None:
    if write.old is None and write.properties.get("storageAccount"):
        write.plane.make_system_datastores(write)


def _ml_workspace_present(document: dict[str, Any], urls: Urls) -> dict[str, Any]:
    properties = document["properties"]
    base = urls.machine_learning(document["location"])
    properties["discoveryUrl"] = (
        f"{base}/discovery/workspaces/{properties['workspaceId']}"
        if urls.direct
        else f"{base}/discovery"
    )
    properties["mlFlowTrackingUri"] = urls.mlflow_tracking(document["location"], document["id"])
    return document


def _ml_workspace_removed(
    plane: Plane, id: ResourceId, document: dict[str, Any], query: Mapping[str, str]
) -> None:
    plane.jobs.cancel_all(id)
    if query.get("forceToPurge", "").lower() != "true":
        plane.keep_deleted("Microsoft.MachineLearningServices/workspaces", str(id), document, 14)


def _asset_version(write: Write) -> None:
    properties = write.properties
    properties["provisioningState"] = "Succeeded"
    for name, value in {
        "tags": {},
        "properties": {},
        "isArchived": False,
        "isAnonymous": False,
    }.items():
        properties.setdefault(name, value)
    if write.id.types[1] == "models":
        properties.setdefault("flavors", {})


def _asset_container(write: Write) -> None:
    write.properties["provisioningState"] = "Succeeded"
    for name, value in {"tags": {}, "properties": {}, "isArchived": False}.items():
        write.properties.setdefault(name, value)


def _environment_version(write: Write) -> None:
    properties = write.properties
    if write.old is None and not properties.get("image") and not properties.get("build"):
        raise ArmError(
            400,
            "UserError",
            "An environment needs an image or a build context: set properties.image or properties.build.",
        )
    if properties.get("image") and properties.get("build"):
        raise ArmError(
            400, "UserError", "An environment has an image or a build context, not both."
        )
    if write.id.names[1].lower().startswith(("azureml-", "microsoft-")):
        raise ArmError(
            400,
            "UserError",
            f"Environment names that start with 'AzureML-' or 'Microsoft' are reserved: '{write.id.names[1]}'.",
        )
    _asset_version(write)
    properties.setdefault("environmentType", "UserCreated")
    properties.setdefault("osType", "Linux")


def _datastore(write: Write) -> None:
    properties = write.properties
    if (
        write.id.name.lower() in SYSTEM_DATASTORES
        and write.old is None
        and not write.query.get("_system")
    ):
        raise ArmError(
            400, "UserError", f"The datastore name '{write.id.name}' is the workspace's own."
        )
    secrets = (properties.get("credentials") or {}).pop("secrets", None)
    if secrets is not None:
        write.plane.store.put("secret", write.id.key, secrets)
    properties.setdefault("isDefault", False)
    properties.setdefault("serviceDataAccessAuthIdentity", "None")
    if properties.get("datastoreType") == "AzureBlob":
        properties.setdefault("endpoint", "core.windows.net")
        properties.setdefault("protocol", "https")
    for name, value in {"tags": {}, "properties": {}}.items():
        properties.setdefault(name, value)


def _datastore_removed(
    plane: Plane, id: ResourceId, document: dict[str, Any], query: Mapping[str, str]
) -> None:
    del document, query
    plane.store.delete("secret", id.key)


SYSTEM_DATASTORES = (
    "workspaceblobstore",
    "workspaceartifactstore",
    "workspaceworkingdirectory",
    "workspacefilestore",
)


def new_account_key() -> str:
    return base64.b64encode(os.urandom(64)).decode()


def _table(*types: ResourceType) -> Mapping[str, ResourceType]:
    return {item.name.lower(): item for item in types}


_ALNUM = "letters and digits"
_WS = "Microsoft.MachineLearningServices/workspaces"


def _ml_asset(
    plural: str,
    model: str,
    *,
    create_only: tuple[str, ...],
    prepare: Callable[[Write], None] = _asset_version,
) -> tuple[ResourceType, ResourceType]:
    return (
        ResourceType(
            name=f"{_WS}/{plural}",
            model=f"{_ML}:{model}Container",
            has_location=False,
            prepare=_asset_container,
            name_pattern=r"^[a-zA-Z0-9][a-zA-Z0-9\-_.]{0,254}$",
            name_rule="1 to 255 letters, digits, dashes, underscores and dots, the first a letter or digit",
        ),
        ResourceType(
            name=f"{_WS}/{plural}/versions",
            model=f"{_ML}:{model}VersionBase" if model == "Data" else f"{_ML}:{model}Version",
            has_location=False,
            prepare=prepare,
            create_only=create_only,
            makes_parent=True,
        ),
    )


def _compute(write: Write) -> None:
    write.plane.computes.prepare(write)


def _compute_removed(
    plane: Plane, id: ResourceId, document: dict[str, Any], query: Mapping[str, str]
) -> None:
    del query
    plane.computes.removed(id, document)


RESOURCE_TYPES: Mapping[str, ResourceType] = _table(
    ResourceType(
        name="Microsoft.Storage/storageAccounts",
        model="azure.mgmt.storage.models:StorageAccountCreateParameters",
        read_model="azure.mgmt.storage.models:StorageAccount",
        name_pattern=r"^[a-z0-9]{3,24}$",
        name_rule="3 to 24 lower-case letters and digits",
        create_only=(
            "location", "properties.isHnsEnabled", "properties.isNfsV3Enabled", "properties.dnsEndpointType",
            "properties.encryption.requireInfrastructureEncryption",
        ),
        defaults={
            "properties": {
                "supportsHttpsTrafficOnly": True, "minimumTlsVersion": "TLS1_0", "allowBlobPublicAccess": False,
                "allowSharedKeyAccess": True, "accessTier": "Hot",
            }
        },
        prepare=_storage_account,
        present=_storage_account_present,
        removed=_storage_account_removed,
    ),
    ResourceType(
        name="Microsoft.Storage/storageAccounts/blobServices",
        model="azure.mgmt.storage.models:BlobServiceProperties",
        has_location=False,
    ),
    ResourceType(
        name="Microsoft.Storage/storageAccounts/blobServices/containers",
        model="azure.mgmt.storage.models:BlobContainer",
        has_location=False,
        makes_parent=True,
        name_pattern=r"^(\$root|\$logs|[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9])$",
        name_rule="3 to 63 lower-case letters, digits and single dashes",
        prepare=_container,
        removed=_container_removed,
    ),
    ResourceType(
        name="Microsoft.Storage/storageAccounts/managementPolicies",
        model="azure.mgmt.storage.models:ManagementPolicy",
        has_location=False,
        name_pattern="^default$",
        name_rule="'default'",
    ),
    ResourceType(
        name="Microsoft.KeyVault/vaults",
        model="azure.mgmt.keyvault.models:VaultCreateOrUpdateParameters",
        name_pattern=r"^[a-zA-Z](?!.*--)[a-zA-Z0-9-]{1,22}[a-zA-Z0-9]$",
        name_rule="3 to 24 letters, digits and single dashes, beginning with a letter",
        create_only=("location", "properties.tenantId", "properties.softDeleteRetentionInDays"),
        prepare=_vault,
        removed=_vault_removed,
        kept=("properties.accessPolicies", "properties.enablePurgeProtection"),
    ),
    ResourceType(
        name="Microsoft.OperationalInsights/workspaces",
        model="azure.mgmt.loganalytics.models:Workspace",
        name_pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]$",
        name_rule="4 to 63 letters, digits and dashes",
        create_only=("location",),
        defaults={
            "properties": {
                "publicNetworkAccessForIngestion": "Enabled", "publicNetworkAccessForQuery": "Enabled",
            }
        },
        prepare=_log_workspace,
        removed=_log_workspace_removed,
        kept=("properties.customerId",),
    ),
    ResourceType(
        name="Microsoft.Insights/components",
        model="azure.mgmt.applicationinsights.v2020_02_02.models:ApplicationInsightsComponent",
        create_only=("location",),
        prepare=_component,
        kept=("properties.InstrumentationKey", "properties.AppId"),
    ),
    ResourceType(
        name="Microsoft.Insights/diagnosticSettings",
        has_location=False,
        prepare=_diagnostic_setting,
    ),
    ResourceType(
        name="Microsoft.ContainerRegistry/registries",
        model="azure.mgmt.containerregistry.models:Registry",
        name_pattern=r"^[a-zA-Z0-9]{5,50}$",
        name_rule=f"5 to 50 {_ALNUM}",
        create_only=("location", "properties.zoneRedundancy"),
        defaults={
            "properties": {
                "adminUserEnabled": False, "publicNetworkAccess": "Enabled",
                "networkRuleBypassOptions": "AzureServices", "zoneRedundancy": "Disabled",
            }
        },
        prepare=_registry,
    ),
    ResourceType(
        name="Microsoft.ManagedIdentity/userAssignedIdentities",
        model="azure.mgmt.msi.v2024_11_30.models:Identity",
        name_pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]{2,127}$",
        name_rule="3 to 128 letters, digits, dashes and underscores",
        create_only=("location",),
        prepare=_identity,
        kept=("properties.tenantId", "properties.principalId", "properties.clientId"),
    ),
    ResourceType(
        name="Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
        model="azure.mgmt.msi.v2024_11_30.models:FederatedIdentityCredential",
        has_location=False,
    ),
    ResourceType(
        name="Microsoft.Authorization/roleAssignments",
        model="azure.mgmt.authorization.v2022_04_01.models:RoleAssignmentCreateParameters",
        has_location=False,
        prepare=_role_assignment,
    ),
    ResourceType(
        name="Microsoft.Authorization/roleDefinitions",
        has_location=False,
        prepare=_role_definition,
    ),
    ResourceType(
        name="Microsoft.Authorization/locks",
        has_location=False,
    ),
    ResourceType(
        name="Microsoft.Consumption/budgets",
        model="azure.mgmt.consumption.models:Budget",
        has_location=False,
        name_pattern=r"^[a-zA-Z0-9_-]{1,63}$",
        name_rule="1 to 63 letters, digits, dashes and underscores",
        create_only=("properties.timeGrain", "properties.category", "properties.timePeriod.startDate"),
        prepare=_budget,
        kept=("properties.currentSpend",),
    ),
    ResourceType(
        name="Microsoft.Network/virtualNetworks",
        model="azure.mgmt.network.models:VirtualNetwork",
        create_only=("location",),
        prepare=_provisioned,
        written=_network_written,
        present=_network_present,
    ),
    ResourceType(
        name="Microsoft.Network/virtualNetworks/subnets",
        model="azure.mgmt.network.models:Subnet",
        has_location=False,
        prepare=_subnet,
    ),
    ResourceType(
        name="Microsoft.Network/networkSecurityGroups",
        model="azure.mgmt.network.models:NetworkSecurityGroup",
        create_only=("location",),
        prepare=_provisioned,
    ),
    ResourceType(
        name="Microsoft.Network/privateEndpoints",
        model="azure.mgmt.network.models:PrivateEndpoint",
        create_only=("location", "properties.subnet", "properties.customNetworkInterfaceName"),
        prepare=_private_endpoint,
        kept=("properties.networkInterfaces",),
        is_async=True,
    ),
    ResourceType(
        name="Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
        model="azure.mgmt.network.models:PrivateDnsZoneGroup",
        has_location=False,
        prepare=_provisioned,
    ),
    ResourceType(
        name="Microsoft.Network/natGateways",
        model="azure.mgmt.network.models:NatGateway",
        create_only=("location", "sku.name"),
        prepare=_provisioned,
    ),
    ResourceType(
        name="Microsoft.Network/publicIPAddresses",
        model="azure.mgmt.network.models:PublicIPAddress",
        create_only=("location", "sku.name"),
        prepare=_public_address,
        kept=("properties.ipAddress",),
    ),
    ResourceType(name="Microsoft.Network/privateDnsZones", prepare=_provisioned),
    ResourceType(
        name="Microsoft.Network/privateDnsZones/virtualNetworkLinks",
        create_only=("properties.virtualNetwork",),
        prepare=_provisioned,
    ),
    ResourceType(
        name=_WS,
        model=f"{_ML}:Workspace",
        name_pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}$",
        name_rule="3 to 33 letters, digits, dashes and underscores, the first a letter or digit",
        create_only=(
            "location", "kind", "properties.storageAccount", "properties.keyVault", "properties.hbiWorkspace",
            "properties.encryption",
        ),
        defaults={"properties": {"publicNetworkAccess": "Enabled", "hbiWorkspace": False, "v1LegacyMode": False}},
        prepare=_ml_workspace,
        written=_ml_workspace_written,
        present=_ml_workspace_present,
        removed=_ml_workspace_removed,
        kept=("properties.workspaceId",),
        is_async=True,
    ),
    ResourceType(
        name=f"{_WS}/computes",
        model=f"{_ML}:ComputeResource",
        has_location=False,
        name_pattern=r"^[a-zA-Z](?!.*--)[a-zA-Z0-9-]{0,30}[a-zA-Z0-9]$",
        name_rule="2 to 32 letters, digits and single dashes, beginning with a letter",
        create_only=(
            "properties.computeType", "properties.properties.vmSize", "properties.properties.vmPriority",
            "properties.properties.subnet", "properties.properties.osType", "properties.properties.enableNodePublicIp",
            "properties.properties.isolatedNetwork", "properties.disableLocalAuth", "properties.resourceId",
        ),
        prepare=_compute,
        removed=_compute_removed,
        is_async=True,
    ),
    ResourceType(
        name=f"{_WS}/datastores",
        model=f"{_ML}:Datastore",
        has_location=False,
        name_pattern=r"^[a-zA-Z0-9_]{1,255}$",
        name_rule="1 to 255 letters, digits and underscores",
        prepare=_datastore,
        removed=_datastore_removed,
    ),
    ResourceType(name=f"{_WS}/connections", has_location=False),
    ResourceType(name=f"{_WS}/outboundRules", has_location=False, model=f"{_ML}:OutboundRuleBasicResource"),
    *_ml_asset(
        "environments", "Environment",
        create_only=(
            "properties.image", "properties.condaFile", "properties.build", "properties.osType",
            "properties.inferenceConfig",
        ),
        prepare=_environment_version,
    ),
    *_ml_asset("data", "Data", create_only=("properties.dataUri", "properties.dataType")),
    *_ml_asset("codes", "Code", create_only=("properties.codeUri",)),
    *_ml_asset("models", "Model", create_only=("properties.modelUri", "properties.modelType")),
)  # fmt: skip


def is_machine_learning_asset(type_name: str) -> bool:
    parts = type_name.lower().split("/")
    return len(parts) > 2 and parts[2] in ("environments", "data", "codes", "models")


def workspace_of(id: ResourceId) -> ResourceId:
    """Return the Azure ML workspace that a resource stands in."""
    return ResourceId(id.scope, id.namespace, id.types[:1], id.names[:1])


def require_id(text: str, where: str) -> ResourceId:
    """Return a text as a resource id. Raises ArmError 400 LinkedInvalidPropertyId."""
    found = parse_id(text)
    if found is None:
        raise ArmError(
            400,
            "LinkedInvalidPropertyId",
            f"Property id '{text}' at path '{where}' is invalid. Expect fully qualified resource Id that start with "
            "'/subscriptions/{subscriptionId}' or '/providers/{resourceProviderNamespace}/'.",
        )
    return found
