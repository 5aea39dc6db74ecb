"""Studio domains, user profiles, spaces, lifecycle configurations and notebook instances.

Their settings are kept, checked and given back as the service does; no notebook server runs behind
them.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lab.aws.sagemaker import admission
from lab.aws.sagemaker.errors import ServiceError, in_use, not_found, validation
from lab.aws.sagemaker.jobs import paginate
from lab.aws.sagemaker.session import service_client
from lab.aws.sagemaker.settings import Clock, Settings
from lab.aws.sagemaker.store import Store
from lab.aws.sagemaker.tags import Tags

Body = dict[str, Any]
_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of resource: its operations are Create<name>, Describe<name> and so on."""

    name: str
    # The request's members that together name one.
    keys: tuple[str, ...]
    arn: str
    list_member: str
    # (filter of the List operation, member that it looks at)
    filters: tuple[tuple[str, str], ...] = ()
    status_member: str | None = "Status"
    # The service answers ValidationException for these, ResourceNotFound for the others.
    missing_is_validation: bool = False
    # Update members that have another name in Describe.
    renamed: tuple[tuple[str, str], ...] = ()
    has_update: bool = True

    @property
    def arn_member(self) -> str:
        return f"{self.name}Arn"


DOMAIN = Kind(
    name="Domain",
    keys=("DomainId",),
    arn="domain/{DomainId}",
    list_member="Domains",
    renamed=(("DomainSettingsForUpdate", "DomainSettings"),),
)
USER_PROFILE = Kind(
    name="UserProfile",
    keys=("DomainId", "UserProfileName"),
    arn="user-profile/{DomainId}/{UserProfileName}",
    list_member="UserProfiles",
    filters=(("DomainIdEquals", "DomainId"), ("UserProfileNameContains", "UserProfileName")),
)
SPACE = Kind(
    name="Space",
    keys=("DomainId", "SpaceName"),
    arn="space/{DomainId}/{SpaceName}",
    list_member="Spaces",
    filters=(("DomainIdEquals", "DomainId"), ("SpaceNameContains", "SpaceName")),
)
STUDIO_LIFECYCLE = Kind(
    name="StudioLifecycleConfig",
    keys=("StudioLifecycleConfigName",),
    arn="studio-lifecycle-config/{StudioLifecycleConfigName}",
    list_member="StudioLifecycleConfigs",
    filters=(
        ("NameContains", "StudioLifecycleConfigName"),
        ("AppTypeEquals", "StudioLifecycleConfigAppType"),
    ),
    status_member=None,
    has_update=False,
)
NOTEBOOK_LIFECYCLE = Kind(
    name="NotebookInstanceLifecycleConfig",
    keys=("NotebookInstanceLifecycleConfigName",),
    arn="notebook-instance-lifecycle-config/{NotebookInstanceLifecycleConfigName}",
    list_member="NotebookInstanceLifecycleConfigs",
    filters=(("NameContains", "NotebookInstanceLifecycleConfigName"),),
    status_member=None,
    missing_is_validation=True,
)
NOTEBOOK = Kind(
    name="NotebookInstance",
    keys=("NotebookInstanceName",),
    arn="notebook-instance/{NotebookInstanceName}",
    list_member="NotebookInstances",
    filters=(
        ("NameContains", "NotebookInstanceName"),
        ("StatusEquals", "NotebookInstanceStatus"),
        ("NotebookInstanceLifecycleConfigNameContains", "NotebookInstanceLifecycleConfigName"),
    ),
    status_member="NotebookInstanceStatus",
    missing_is_validation=True,
    renamed=(("LifecycleConfigName", "NotebookInstanceLifecycleConfigName"),),
)
# Flags of UpdateNotebookInstance -> the member that goes.
_DISASSOCIATED = {
    "DisassociateLifecycleConfig": "NotebookInstanceLifecycleConfigName",
    "DisassociateDefaultCodeRepository": "DefaultCodeRepository",
    "DisassociateAdditionalCodeRepositories": "AdditionalCodeRepositories",
    "DisassociateAcceleratorTypes": "AcceleratorTypes",
}
KINDS = (DOMAIN, USER_PROFILE, SPACE, STUDIO_LIFECYCLE, NOTEBOOK_LIFECYCLE, NOTEBOOK)


class Resources:
    """The operations on these kinds."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, tags: Tags) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._tags = tags

    def handlers(self) -> dict[str, Callable[[Body, str | None], Body | None]]:
        """Return the operations by name."""
        found: dict[str, Callable[[Body, str | None], Body | None]] = {}
        for kind in KINDS:
            found[f"Create{kind.name}"] = self._bind(self._create, kind)
            found[f"Describe{kind.name}"] = self._bind(self._describe, kind)
            found[f"Delete{kind.name}"] = self._bind(self._delete, kind)
            found[f"List{kind.list_member}"] = self._bind(self._list, kind)
            if kind.has_update:
                found[f"Update{kind.name}"] = self._bind(self._update, kind)
        found["StartNotebookInstance"] = self._set_notebook("Stopped", "InService")
        found["StopNotebookInstance"] = self._set_notebook("InService", "Stopped")
        found["ListApps"] = lambda _request, _caller: {"Apps": []}
        return found

    @staticmethod
    def _bind(method: Callable[[Kind, Body], Body | None], kind: Kind) -> Any:
        return lambda request, _caller: method(kind, request)

    def _create(self, kind: Kind, request: Body) -> Body:
        body = {key: value for key, value in request.items() if key != "Tags"}
        self._check_new(kind, body)
        now = self._clock.now()
        body |= {"CreationTime": now, "LastModifiedTime": now}
        if kind is DOMAIN:
            self._name_domain(body)
        if kind is NOTEBOOK:
            self._complete_notebook(body)
        if kind.status_member:
            body[kind.status_member] = "InService"
        arn = self._settings.arn(kind.arn.format(**body))
        body[kind.arn_member] = arn
        if not self._store.add(kind.name, _name(kind, body), body):
            raise in_use(f"{kind.name} {' in domain '.join(_names(kind, body))} already exists.")
        self._tags.add(arn, request.get("Tags") or [])
        return body

    def _describe(self, kind: Kind, request: Body) -> Body:
        found = self._store.get(kind.name, _name(kind, request))
        if found is None:
            raise _missing(kind, request)
        return found

    def _update(self, kind: Kind, request: Body) -> Body:
        self._describe(kind, request)
        changes = {k: v for k, v in request.items() if k not in kind.keys}
        removed = [
            _DISASSOCIATED[name] for name, on in changes.items() if name in _DISASSOCIATED and on
        ]
        changes = {k: v for k, v in changes.items() if k not in _DISASSOCIATED}
        for wire, kept in kind.renamed:
            if wire in changes:
                changes[kept] = changes.pop(wire)
        self._check_references(kind, changes)
        if kind is NOTEBOOK:
            status = self._describe(kind, request)["NotebookInstanceStatus"]
            if status not in ("Stopped", "Failed"):
                raise validation(
                    f"Status ({status}) not in ([Stopped, Failed]). Unable to transition to "
                    f"(Updating) from ({status})."
                )

        def edit(body: Body) -> None:
            _merge(body, changes)
            for name in removed:
                body.pop(name, None)
            body["LastModifiedTime"] = self._clock.now()

        return self._store.change(kind.name, _name(kind, request), edit) or {}

    def _delete(self, kind: Kind, request: Body) -> None:
        body = self._describe(kind, request)
        with self._store.transaction():
            self._check_unused(kind, body)
            self._store.remove(kind.name, _name(kind, body))
        self._tags.forget(body[kind.arn_member])

    def _list(self, kind: Kind, request: Body) -> Body:
        found = [
            body
            for body in self._store.all(kind.name)
            if all(_passes(body, member, name, request.get(name)) for name, member in kind.filters)
            and _in_time(body, request)
        ]
        by = {"LastModifiedTime": "LastModifiedTime", "Name": kind.keys[-1]}
        member = by.get(request.get("SortBy", ""), "CreationTime")
        found.sort(key=lambda body: body[member], reverse=request.get("SortOrder") == "Descending")
        page, token = paginate(found, request)
        return {kind.list_member: page, **token}

    def _set_notebook(self, wanted: str, new: str) -> Any:
        def change(request: Body, _caller: str | None) -> None:
            status = self._describe(NOTEBOOK, request)["NotebookInstanceStatus"]
            if status != wanted:
                raise validation(
                    f"Status ({status}) not in ([{wanted}]). Unable to transition to ({new}) from "
                    f"({status})."
                )
            name = request["NotebookInstanceName"]
            self._store.change(
                NOTEBOOK.name, name, lambda body: body.update(NotebookInstanceStatus=new)
            )

        return change

    # --- checks

    def _check_new(self, kind: Kind, body: Body) -> None:
        self._check_references(kind, body)
        for member in ("StudioLifecycleConfigContent",):
            if member in body:
                _check_script(body[member])
        for member in ("OnCreate", "OnStart"):
            for script in body.get(member) or []:
                _check_script(script.get("Content", ""))
        if kind is DOMAIN:
            names = {other["DomainName"] for other in self._store.all(DOMAIN.name)}
            if body["DomainName"] in names:
                raise in_use(f"Domain with name {body['DomainName']} already exists.")
        if kind in (USER_PROFILE, SPACE):
            self._describe(DOMAIN, body)

    def _check_references(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Roles, subnets and lifecycle configurations that are named must be there."""
        roles = [body["RoleArn"]] if "RoleArn" in body else []
        for member in ("DefaultUserSettings", "UserSettings", "DefaultSpaceSettings"):
            role = (body.get(member) or {}).get("ExecutionRole")
            roles += [role] if role else []
        for role in roles:
            admission.check_role(role, self._settings)
        if kind is DOMAIN and body.get("SubnetIds"):
            self._check_network(body)
        for arn in _lifecycle_arns(body):
            name = arn.rpartition("/")[2]
            if self._store.get(STUDIO_LIFECYCLE.name, name) is None:
                raise validation(f"StudioLifecycleConfig {arn} does not exist.")
        lifecycle = body.get("LifecycleConfigName") or body.get(
            "NotebookInstanceLifecycleConfigName"
        )
        if kind is NOTEBOOK and lifecycle:
            self._describe(NOTEBOOK_LIFECYCLE, {"NotebookInstanceLifecycleConfigName": lifecycle})

    def _check_network(self, body: Mapping[str, Any]) -> None:
        ec2 = service_client("ec2", self._settings.region)
        try:
            found = ec2.describe_subnets(SubnetIds=body["SubnetIds"])["Subnets"]
        except ClientError as error:
            raise validation(f"Invalid subnets: {error}") from None
        except BotoCoreError as error:
            raise ServiceError("InternalFailure", f"EC2 does not answer: {error}", 500) from None
        for subnet in found:
            if body.get("VpcId") and subnet["VpcId"] != body["VpcId"]:
                raise validation(
                    f"Subnet {subnet['SubnetId']} is in {subnet['VpcId']}, not in {body['VpcId']}."
                )

    def _check_unused(self, kind: Kind, body: Body) -> None:
        if kind is DOMAIN:
            for child in (USER_PROFILE, SPACE):
                if any(b["DomainId"] == body["DomainId"] for b in self._store.all(child.name)):
                    raise in_use(
                        f"Unable to delete Domain {body['DomainId']} because {child.name}(s) are "
                        "associated with it."
                    )
        if kind is STUDIO_LIFECYCLE:
            for owner in (DOMAIN, USER_PROFILE, SPACE):
                for other in self._store.all(owner.name):
                    if body["StudioLifecycleConfigArn"] in _lifecycle_arns(other):
                        raise in_use(
                            f"StudioLifecycleConfig {body['StudioLifecycleConfigName']} is in use "
                            f"by {other[owner.arn_member]}."
                        )
        if kind is NOTEBOOK_LIFECYCLE:
            name = body["NotebookInstanceLifecycleConfigName"]
            for other in self._store.all(NOTEBOOK.name):
                if other.get("NotebookInstanceLifecycleConfigName") == name:
                    raise in_use(
                        f"{name} is in use by notebook instance {other['NotebookInstanceName']}."
                    )
        if kind is NOTEBOOK and body["NotebookInstanceStatus"] not in ("Stopped", "Failed"):
            status = body["NotebookInstanceStatus"]
            raise validation(
                f"Status ({status}) not in ([Stopped, Failed]). Unable to transition to (Deleting) "
                f"from ({status})."
            )

    # --- what the service adds

    def _name_domain(self, body: Body) -> None:
        identity = "d-" + "".join(secrets.choice(_ALPHABET) for _ in range(12))
        body["DomainId"] = identity
        body["Url"] = f"https://{identity}.studio.{self._settings.region}.sagemaker.aws"
        body.setdefault("AppNetworkAccessType", "PublicInternetOnly")

    def _complete_notebook(self, body: Body) -> None:
        name = body["NotebookInstanceName"]
        body["Url"] = f"{name}.notebook.{self._settings.region}.sagemaker.aws"
        if "LifecycleConfigName" in body:
            body["NotebookInstanceLifecycleConfigName"] = body.pop("LifecycleConfigName")
        if "SecurityGroupIds" in body:
            body["SecurityGroups"] = body.pop("SecurityGroupIds")
        body.setdefault("VolumeSizeInGB", 5)
        body.setdefault("DirectInternetAccess", "Enabled")
        body.setdefault("RootAccess", "Enabled")


def _names(kind: Kind, body: Mapping[str, Any]) -> list[str]:
    return [body[key] for key in reversed(kind.keys)]


def _name(kind: Kind, body: Mapping[str, Any]) -> str:
    return "/".join(body[key] for key in kind.keys)


def _missing(kind: Kind, request: Mapping[str, Any]) -> ServiceError:
    if kind.missing_is_validation:
        return validation("RecordNotFound")
    return not_found(f"{kind.name} {' in domain '.join(_names(kind, request))} does not exist.")


def _merge(body: Body, changes: Mapping[str, Any]) -> None:
    """Structures are merged, anything else replaced, as the Update operations do."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(body.get(key), dict):
            _merge(body[key], value)
        else:
            body[key] = value


def _passes(body: Mapping[str, Any], member: str, name: str, wanted: Any) -> bool:
    if wanted is None:
        return True
    value = body.get(member) or ""
    return wanted in value if name.endswith("Contains") else wanted == value


def _in_time(body: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    for member, names in (
        ("CreationTime", ("CreationTime",)),
        ("LastModifiedTime", ("LastModifiedTime", "ModifiedTime")),
    ):
        for name in names:
            if (after := request.get(f"{name}After")) is not None and body[member] < after:
                return False
            if (before := request.get(f"{name}Before")) is not None and body[member] > before:
                return False
    return True


def _lifecycle_arns(value: Any) -> set[str]:
    """Every Studio lifecycle configuration that some settings name."""
    if isinstance(value, dict):
        found = {
            arn
            for key, item in value.items()
            if key in ("LifecycleConfigArn", "LifecycleConfigArns")
            for arn in (item if isinstance(item, list) else [item])
        }
        return found.union(*(_lifecycle_arns(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(_lifecycle_arns(item) for item in value))
    return set()


def _check_script(content: str) -> None:
    try:
        base64.b64decode(content, validate=True)
    except binascii.Error:
        raise validation("The lifecycle configuration's content must be base64.") from None
