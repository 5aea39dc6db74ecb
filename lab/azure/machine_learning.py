"""Azure Machine Learning behind Resource Manager: jobs, asset lists, actions on computes, datastores and code, quotas.

https://learn.microsoft.com/rest/api/azureml/
"""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lab.azure import environment
from lab.azure.compute import vm_sizes
from lab.azure.errors import ArmError
from lab.azure.http import Answer, Call
from lab.azure.resource_id import ResourceId, ResourcePath, parse_id, parse_path
from lab.azure.resource_type import workspace_of
from lab.azure.signature import user_delegation_sas
from lab.home import SUBSCRIPTION_ID, TENANT_ID

if TYPE_CHECKING:
    from lab.azure.plane import Plane

NAMESPACE = "Microsoft.MachineLearningServices"
_LOCATION = re.compile(
    r"^/subscriptions/[^/]+/providers/(?P<namespace>[^/]+)/locations/(?P<location>[^/]+)/(?P<what>\w+)(?:/(?P<name>[^/]+))?(?:/(?P<action>\w+))?$",
    re.IGNORECASE,
)
_REGISTRY = re.compile(
    r"^/mferp/managementfrontend/subscriptions/[^/]+/resourcegroups/[^/]+/providers/Microsoft\.MachineLearningServices/registries/"
    r"(?P<registry>[^/]+)/environments(?:/(?P<name>[^/]+))?(?P<versions>/versions)?(?:/(?P<version>[^/]+))?$",
    re.IGNORECASE,
)
_UPLOAD_LIFETIME_SECONDS = 3600.0
_DEFAULT_QUOTA_CORES = 100


class MachineLearning:
    """What Azure ML does beyond the rules that hold for every resource type."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def answer(self, call: Call) -> Answer | None:
        """Answer a request that is Azure ML's own; None leaves it to Resource Manager's rules."""
        location = _LOCATION.match(call.path)
        if location:
            return self._answer_location(call, location)
        path = parse_path(call.path)
        if path is None or path.namespace.lower() != NAMESPACE.lower() or not path.segments:
            return None
        segments = [segment.lower() for segment in path.segments]
        if segments[0] != "workspaces" or len(segments) < 3:
            return None
        self._plane.resources.require_api_version(call)
        if segments[2] == "jobs":
            return self._answer_job(call, path)
        if call.method == "POST" and not path.is_resource:
            return self._answer_action(call, path)
        if call.method == "GET" and not path.is_resource:
            return self._answer_list(call, path)
        if segments[2] == "environments" and len(segments) == 6 and call.method == "GET":
            return self._curated_version(path)
        return None

    # --- jobs

    def _answer_job(self, call: Call, path: ResourcePath) -> Answer:
        names = path.segments
        workspace = ResourceId(path.scope, path.namespace, (names[0],), (names[1],))
        self._plane.resources.get(workspace)
        jobs = self._plane.jobs
        scope = str(workspace)
        if len(names) == 3:
            self._allow(call, "jobs/read", scope)
            return self._list_jobs(call, workspace)
        name = names[3]
        if len(names) == 5 and names[4].lower() == "cancel" and call.method == "POST":
            self._allow(call, "jobs/cancel/action", scope)
            jobs.cancel(workspace, name)
            operation = self._plane.resources.new_operation()
            url = (
                f"{call.urls.resource_manager}/subscriptions/{SUBSCRIPTION_ID}/providers/{NAMESPACE}/locations/"
                f"{self._location(workspace)}/mfeOperationResults/{operation}?api-version={call.query['api-version']}"
            )
            return Answer(202, None, {"Location": url})
        if len(names) != 4:
            raise ArmError(404, "NotFound", f"There is nothing at {call.path}.")
        if call.method == "PUT":
            self._allow(call, "jobs/write", scope)
            record, is_new = jobs.submit(workspace, name, call.json(), call.principal.object_id)
            return Answer(201 if is_new else 200, self._job(record, call))
        if call.method == "PATCH":
            self._allow(call, "jobs/write", scope)
            record = jobs.get(workspace, name)
            asked = {**record["asked"], **(call.json().get("properties") or {})}
            record, _ = jobs.submit(
                workspace, name, {"properties": asked}, call.principal.object_id
            )
            return Answer(200, self._job(record, call))
        if call.method == "DELETE":
            self._allow(call, "jobs/delete", scope)
            jobs.delete(workspace, name)
            return Answer(200, None)
        self._allow(call, "jobs/read", scope)
        return Answer(200, self._job(jobs.get(workspace, name), call))

    def _list_jobs(self, call: Call, workspace: ResourceId) -> Answer:
        records = self._plane.jobs.all_of(workspace)
        view = call.query.get("listViewType", "ActiveOnly")
        shown = []
        for record in records:
            properties = record["arm"]["properties"]
            if view != "All" and bool(properties.get("isArchived")) != (view == "ArchivedOnly"):
                continue
            if call.query.get("jobType") and properties["jobType"] != call.query["jobType"]:
                continue
            if call.query.get("tag") and call.query["tag"] not in properties["tags"]:
                continue
            shown.append(record)
        start = int(call.query.get("$skip") or 0)
        size = 100
        page = shown[start : start + size]
        answer: dict[str, Any] = {"value": [self._job(record, call) for record in page]}
        if len(shown) > start + size:
            query = "&".join(
                f"{key}={value}" for key, value in call.query.items() if key != "$skip"
            )
            answer["nextLink"] = (
                f"{call.urls.resource_manager}{call.path}?{query}&$skip={start + size}"
            )
        return Answer(200, answer)

    def _job(self, record: Mapping[str, Any], call: Call) -> dict[str, Any]:
        document = copy.deepcopy(record["arm"])
        workspace = self._plane.document(record["workspace"]) or {}
        tracking = call.urls.mlflow_tracking(workspace.get("location", ""), record["workspace"])
        studio = (
            f"https://ml.azure.com/runs/{record['name']}?wsid={record['workspace']}&tid={TENANT_ID}"
        )
        document["properties"]["services"] = {
            name: {
                "jobServiceType": name,
                "endpoint": endpoint,
                "port": None,
                "status": None,
                "errorMessage": None,
                "properties": None,
            }
            for name, endpoint in (("Tracking", tracking), ("Studio", studio))
        }
        return document

    # --- lists with their own rules

    def _answer_list(self, call: Call, path: ResourcePath) -> Answer | None:
        parent = path.resource()
        kind = path.last.lower()
        if kind == "datastores" and len(path.segments) == 3:
            return self._list_datastores(call, parent)
        if kind == "versions" and len(path.segments) == 5:
            return self._list_versions(call, parent)
        if len(path.segments) == 3 and kind in ("environments", "data", "models", "codes"):
            return self._list_containers(call, parent, kind)
        if len(path.segments) == 3 and kind in ("usages", "quotas"):
            return Answer(200, {"value": self._usages(self._location(workspace_of(parent)))})
        return None

    def _list_datastores(self, call: Call, workspace: ResourceId) -> Answer:
        self._allow(call, "datastores/read", str(workspace))
        found = self._plane.resources.children(workspace.scope, workspace, "datastores")
        if call.query.get("isDefault", "").lower() == "true":
            found = [item for item in found if item["properties"].get("isDefault")]
        return Answer(200, {"value": found})

    def _list_versions(self, call: Call, container: ResourceId) -> Answer:
        kind = container.types[1].lower()
        workspace = workspace_of(container)
        self._allow(call, f"{kind}/versions/read", str(workspace))
        if call.query.get(
            "hash"
        ):  # the name in the path is a fresh one: the search is of the whole workspace
            return Answer(200, {"value": self._by_hash(workspace, call.query["hash"])})
        name = container.name.removeprefix(
            "azureml:"
        )  # azure-ai-ml sends the prefix for azureml:name@latest
        container = workspace.child(container.types[1], name)
        found = self._plane.resources.children(container.scope, container, "versions")
        if kind == "environments" and name in environment.CURATED and not found:
            found = [environment.curated("azureml", name, "latest")]
        view = call.query.get("listViewType", "ActiveOnly")
        if view != "All":
            found = [
                v
                for v in found
                if bool(v["properties"].get("isArchived")) == (view == "ArchivedOnly")
            ]
        found = found[::-1]
        if call.query.get("$top"):
            found = found[: int(call.query["$top"])]
        return Answer(200, {"value": found})

    def _list_containers(self, call: Call, workspace: ResourceId, kind: str) -> Answer:
        self._plane.resources.get(workspace)
        self._allow(call, f"{kind}/read", str(workspace))
        shown = []
        for document in self._plane.resources.children(workspace.scope, workspace, kind):
            if document["name"] == "CliV2AnonymousEnvironment":
                continue
            shown.append(self._plane.resources.present(document, call))
        return Answer(200, {"value": shown})

    def _by_hash(self, workspace: ResourceId, digest: str) -> list[dict[str, Any]]:
        prefix = f"{workspace}/codes/".lower()
        return [
            document
            for key, document in self._plane.store.below("resource", prefix)
            if "/versions/" in key
            and (document["properties"].get("properties") or {}).get("hash_sha256") == digest
        ]

    def _curated_version(self, path: ResourcePath) -> Answer | None:
        id = path.resource()
        if self._plane.document(id) is None and id.names[1] in environment.CURATED:
            return Answer(200, environment.curated("azureml", id.names[1], id.name))
        return None

    # --- actions

    def _answer_action(self, call: Call, path: ResourcePath) -> Answer:
        id = path.resource()
        action = path.last
        actions: Mapping[tuple[str, str], Callable[[Call, ResourceId], Answer]] = {
            ("workspaces", "listkeys"): self._workspace_keys,
            ("datastores", "listsecrets"): self._datastore_secrets,
            ("computes", "start"): lambda c, i: self._instance(c, i, "Running", "Start"),
            ("computes", "stop"): lambda c, i: self._instance(c, i, "Stopped", "Stop"),
            ("computes", "restart"): lambda c, i: self._instance(c, i, "Running", "Restart"),
            ("computes", "listnodes"): self._nodes,
            ("computes", "updateidleshutdownsetting"): self._idle_shutdown,
            ("versions", "startpendingupload"): self._pending_upload,
        }
        handler = actions.get((id.types[-1].lower(), action.lower()))
        if handler is None:
            raise ArmError(404, "NotFound", f"The lab has no action '{action}' on {id.type}.")
        scope = str(workspace_of(id)) if "versions" in id.types else str(id)
        kind = "/".join((id.namespace, *id.types))
        self._plane.authorization.require(call.principal, f"{kind}/{action}/action", scope)
        return handler(call, id)

    def _workspace_keys(self, call: Call, id: ResourceId) -> Answer:
        del call
        document = self._plane.resources.get(id)
        storage = document["properties"].get("storageAccount", "")
        account = self._plane.accounts.find(storage.rsplit("/", 1)[-1])
        return Answer(
            200,
            {
                "userStorageKey": account.keys[0] if account else None,
                "userStorageResourceId": storage,
            },
        )

    def _datastore_secrets(self, call: Call, id: ResourceId) -> Answer:
        del call
        properties = self._plane.resources.get(id)["properties"]
        kind = properties["credentials"]["credentialsType"]
        account = self._plane.accounts.find(properties.get("accountName", ""))
        given = self._plane.store.get("secret", id.key)
        if kind == "AccountKey" and account:
            return Answer(
                200,
                {"secretsType": "AccountKey", "key": (given or {}).get("key") or account.keys[0]},
            )
        if given:
            return Answer(200, given)
        raise ArmError(
            400, "UserError", f"No secrets for credentials of type {kind} on datastore '{id.name}'."
        )

    def _instance(self, call: Call, id: ResourceId, state: str, operation: str) -> Answer:
        with self._plane.lock:
            self._plane.computes.set_instance_state(id, state, operation)
        document = self._plane.resources.get(id)
        kind = self._plane.resources.type_of(id)
        url = self._plane.resources.operation_url(call, kind, document)
        return Answer(202, None, {"Azure-AsyncOperation": url})

    def _nodes(self, call: Call, id: ResourceId) -> Answer:
        del call
        self._plane.resources.get(id)
        return Answer(200, {"nodes": self._plane.computes.nodes(id)})

    def _idle_shutdown(self, call: Call, id: ResourceId) -> Answer:
        document = self._plane.resources.get(id)
        document["properties"]["properties"]["idleTimeBeforeShutdown"] = call.json().get(
            "idleTimeBeforeShutdown"
        )
        self._plane.resources.update(id, document)
        self._plane.clock.wake()
        return Answer(200, None)

    def _pending_upload(self, call: Call, id: ResourceId) -> Answer:
        """Hand out a container of its own for an upload, with a signature that opens it for an hour."""
        workspace = self._plane.resources.get(workspace_of(id))
        storage = parse_id(workspace["properties"].get("storageAccount", ""))
        account = self._plane.accounts.find(storage.name) if storage else None
        if storage is None or account is None:
            raise ArmError(
                400, "UserError", f"Workspace '{workspace['name']}' has no storage account."
            )
        upload = str(uuid.uuid4())
        container = f"{upload[:8]}-{uuid.uuid5(uuid.NAMESPACE_URL, id.key)}"
        self._plane.put_child(
            storage.child("blobServices", "default").child("containers", container),
            {"properties": {}},
        )
        uri = f"{call.urls.blob(account.name)}/{container}"
        signature = user_delegation_sas(
            account.name,
            container,
            permissions="racwl",
            object_id=(workspace.get("identity") or {}).get("principalId")
            or call.principal.object_id,
            delegation_key=account.delegation_key,
            lifetime_seconds=_UPLOAD_LIFETIME_SECONDS,
        )
        return Answer(
            200,
            {
                "pendingUploadId": upload,
                "pendingUploadType": "TemporaryBlobReference",
                "blobReferenceForConsumption": {
                    "blobUri": uri,
                    "storageAccountArmId": str(storage),
                    "credential": {"credentialType": "SAS", "sasUri": f"{uri}?{signature}"},
                },
            },
        )

    # --- locations and registries

    def _answer_location(self, call: Call, match: re.Match[str]) -> Answer:
        self._plane.resources.require_api_version(call)
        what, name, location = match["what"].lower(), match["name"], match["location"].lower()
        if what in ("computeoperationsstatus", "operationstatuses", "operationresults"):
            return Answer(200, self._plane.resources.operation_status(call.path, name or ""))
        if what == "mfeoperationresults":
            self._plane.resources.operation_status(call.path, name or "")
            return Answer(204, None)
        if what == "deletedvaults":
            return self._deleted_vault(call, name, match["action"])
        if match["namespace"].lower() == NAMESPACE.lower():
            if what == "vmsizes":
                return Answer(200, {"value": _sizes(location)})
            if what in ("usages", "quotas"):
                return Answer(200, {"value": self._usages(location)})
        raise ArmError(404, "NotFound", f"The lab has nothing at {call.path}.")

    def _usages(self, location: str) -> list[dict[str, Any]]:
        """Cores in use by VM family. The lab's limit is one number for every family; a subscription's own differ."""
        used: dict[str, int] = {}
        for key, document in self._plane.store.containing("resource", "/computes/"):
            if (
                document["properties"].get("computeType") != "AmlCompute"
                or document.get("location") != location
            ):
                continue
            size = vm_sizes().get(document["properties"]["properties"]["vmSize"].lower())
            id = parse_id(document["id"])
            nodes = len(self._plane.computes.nodes(id)) if id else 0
            if size:
                used[_family(size["name"])] = (
                    used.get(_family(size["name"]), 0) + size["vCPUs"] * nodes
                )
            del key
        base = f"/subscriptions/{SUBSCRIPTION_ID}/providers/{NAMESPACE}/locations/{location}"
        families = sorted({_family(size["name"]) for size in vm_sizes().values()})
        return [
            {
                "id": f"{base}/usages/{family}",
                "type": f"{NAMESPACE}/usages",
                "unit": "Count",
                "currentValue": used.get(family, 0),
                "limit": _DEFAULT_QUOTA_CORES,
                "name": {"value": family, "localizedValue": family},
            }
            for family in families
        ]

    def _deleted_vault(self, call: Call, name: str | None, action: str | None) -> Answer:
        kind = "Microsoft.KeyVault/vaults"
        kept = self._plane.deleted(kind, name or "")
        if kept is None:
            raise ArmError(
                404, "ResourceNotFound", f"The specified deleted vault '{name}' does not exist."
            )
        document = kept["document"]
        if action and action.lower() == "purge":
            self._plane.authorization.require(
                call.principal,
                "Microsoft.KeyVault/locations/deletedVaults/purge/action",
                f"/subscriptions/{SUBSCRIPTION_ID}",
            )
            if document["properties"].get("enablePurgeProtection"):
                raise ArmError(
                    405,
                    "MethodNotAllowed",
                    'Operation "DeletedVaultPurge" is not allowed because purge protection is enabled for this '
                    "vault. Key Vault service will "
                    "automatically purge it after the retention period has passed.",
                )
            self._plane.forget_deleted(kind, name or "")
            return Answer(202, None, {"Location": self._plane.resources.result_url(call)})
        return Answer(
            200,
            {
                "id": call.path,
                "name": name,
                "type": "Microsoft.KeyVault/deletedVaults",
                "properties": {
                    "vaultId": document["id"],
                    "location": document["location"],
                    "tags": document.get("tags", {}),
                },
            },
        )

    def answer_registry(self, call: Call) -> Answer | None:
        """Answer for the registry ``azureml`` with its curated environments; None for any other path."""
        if call.path.startswith("/registrymanagement/v1.0/registries/"):
            registry = call.path.split("/")[4]
            if registry != "azureml":
                raise ArmError(
                    404,
                    "RegistryNotFound",
                    f"The registry '{registry}' was not found; the lab has 'azureml'.",
                )
            return Answer(
                200,
                {
                    "registryName": registry,
                    "primaryRegion": "eastus",
                    "primaryRegionResourceProviderUri": f"{call.urls.machine_learning('eastus')}/",
                    "resourceGroup": "azureml-registry",
                    "subscriptionId": SUBSCRIPTION_ID,
                    "tenantId": TENANT_ID,
                    "registryFqdns": {},
                },
            )
        match = _REGISTRY.match(call.path)
        if match is None:
            return None
        registry, name, version = match["registry"], match["name"], match["version"]
        if name is None:
            return Answer(
                200, {"value": [_curated_container(registry, item) for item in environment.CURATED]}
            )
        if match["versions"] is None:
            environment.curated(registry, name, "latest")
            return Answer(200, _curated_container(registry, name))
        document = environment.curated(registry, name, version or "latest")
        return Answer(200, document if version else {"value": [document]})

    # --- small things

    def _allow(self, call: Call, action: str, scope: str) -> None:
        self._plane.authorization.require(call.principal, f"{NAMESPACE}/workspaces/{action}", scope)

    def _location(self, workspace: ResourceId) -> str:
        return str(self._plane.resources.get(workspace)["location"])


def _curated_container(registry: str, name: str) -> dict[str, Any]:
    version = environment.CURATED[name]
    return {
        "id": f"azureml://registries/{registry}/environments/{name}",
        "name": name,
        "type": f"{NAMESPACE}/registries/environments",
        "properties": {
            "latestVersion": version,
            "nextVersion": str(int(version) + 1),
            "isArchived": False,
            "tags": {},
            "properties": {},
        },
    }


def _sizes(location: str) -> list[dict[str, Any]]:
    return [
        {
            "name": size["name"],
            "family": _family(size["name"]),
            "vCPUs": size["vCPUs"],
            "gpus": size["gpus"],
            "memoryGB": size["memoryGB"],
            "lowPriorityCapable": True,
            "premiumIO": "s" in size["name"].split("_")[1].lower(),
            "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
        }
        for size in vm_sizes().values()
        if location in size["regions"]
    ]


def _family(size: str) -> str:
    """Return the quota family of a size: Standard_NC4as_T4_v3 counts against ``standardNCasT4v3Family``."""
    return (
        "standard"
        + re.sub(r"\d+", "", size.split("_")[1], count=1)
        + "".join(size.split("_")[2:])
        + "Family"
    )
