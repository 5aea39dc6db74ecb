"""Which resource types hold data, and what becomes of it when one is deleted or replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from review.preview import State, Step, canonical_type

# Type (as canonical_type gives it) -> what is in it.
HOLDINGS: Mapping[str, str] = {
    "aws:s3/bucket:Bucket": "every object in it, with all versions",
    "aws:s3/directoryBucket:DirectoryBucket": "every object in it",
    "aws:ecr/repository:Repository": "every image in it",
    "aws:ecrpublic/repository:Repository": "every image in it",
    "aws:kms/key:Key": "the key, and with it everything it encrypted",
    "aws:cloudwatch/logGroup:LogGroup": "its logs",
    "aws:sagemaker/domain:Domain": "its users' home folders (EFS)",
    "aws:sagemaker/userProfile:UserProfile": "the user's spaces and apps",
    "aws:sagemaker/notebookInstance:NotebookInstance": "its disk",
    "aws:sagemaker/featureGroup:FeatureGroup": "its features",
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": "its registered models",
    "aws:efs/fileSystem:FileSystem": "every file on it",
    "aws:fsx/lustreFileSystem:LustreFileSystem": "every file on it",
    "aws:ebs/volume:Volume": "the disk",
    "aws:dynamodb/table:Table": "every item in it",
    "aws:rds/instance:Instance": "the database",
    "aws:rds/cluster:Cluster": "the database",
    "aws:secretsmanager/secret:Secret": "the secret's versions",
    "aws:ssm/parameter:Parameter": "the parameter's value and history",
    "aws:backup/vault:Vault": "its backups",
    "aws:sqs/queue:Queue": "the messages waiting in it",
    "azure-native:resources:ResourceGroup": "everything inside it, also what Pulumi does not manage",
    "azure-native:storage:StorageAccount": "every blob, file, queue and table in it",
    "azure-native:storage:BlobContainer": "every blob in it",
    "azure-native:storage:FileShare": "every file on it",
    "azure-native:keyvault:Vault": "its secrets, keys and certificates",
    "azure-native:keyvault:Key": "the key, and with it everything it encrypted",
    "azure-native:keyvault:Secret": "the secret's versions",
    "azure-native:operationalinsights:Workspace": "its logs",
    "azure-native:applicationinsights:Component": "its telemetry",
    "azure-native:insights:Component": "its telemetry",
    "azure-native:containerregistry:Registry": "every image in it",
    "azure-native:machinelearningservices:Workspace": "its jobs, metrics, models, data assets and notebooks",
    "azure-native:machinelearningservices:Registry": "its models, environments and components",
    "azure-native:machinelearningservices:ModelVersion": "the registered model",
    "azure-native:machinelearningservices:ModelContainer": "every version of the registered model",
    "azure-native:recoveryservices:Vault": "its backups",
    "azure-native:sql:Database": "the database",
    "azure-native:documentdb:DatabaseAccount": "its databases",
    "azure-native:compute:Disk": "the disk",
}
_INSTANCE = "azure-native:machinelearningservices:Compute"

# For providers that the table does not know: the last word of the type.
_HOLDS_BY_NAME = re.compile(
    r"(Bucket|Database|DatabaseInstance|DbInstance|Table|Volume|PersistentVolumeClaim|Disk|FileSystem|FileShare"
    r"|StorageAccount|Container ?Registry|Repository|Vault|CryptoKey|KeyRing|Snapshot|Dataset|Topic|Queue|Stream)$"
)
_NOT_AWS_SIDE = re.compile(r"(?i)(sns/topic|eventbus)")


def holdings(type_: str, state: State | None = None) -> str | None:
    """Return what a resource of this type holds that cannot be had again, or None."""
    canonical = canonical_type(type_)
    if canonical == _INSTANCE:
        body = (state.get("properties") if state else None) or {}
        is_instance = isinstance(body, Mapping) and body.get("computeType") == "ComputeInstance"
        return "its disk, with files saved outside the workspace share" if is_instance else None
    if held := HOLDINGS.get(canonical):
        return held
    package, _, rest = canonical.partition(":")
    if package in ("aws", "azure-native", "pulumi", "random", "tls", "command"):
        known_shape = re.search(r"(Database|FileSystem|Table|Volume|Vault|Snapshot)$", rest)
        if package not in ("aws", "azure-native") or not known_shape or "ec2/routeTable" in rest:
            return None
        return "its data"
    return None if _NOT_AWS_SIDE.search(rest) or not _HOLDS_BY_NAME.search(rest) else "its data"


def loss(step: Step) -> str | None:
    """Say what a step may lose, in a sentence, or None where it loses nothing. ``retainOnDelete`` loses nothing."""
    if step.op in ("update", "import", "same", "create", "read", "refresh"):
        return _loss_in_place(step) if step.op == "update" else None
    state = step.old
    if state is None or not step.is_removal or state.external or is_kept(step):
        return None
    held = holdings(step.type, state)
    if held is None:
        return None
    note = _NOTES.get(canonical_type(step.type))
    sentence = f"loses {held}"
    return f"{sentence}. {text}" if note and (text := note(state, step)) else sentence


def is_kept(step: Step) -> bool:
    """The state forgets the resource and the cloud keeps it."""
    state = step.old
    return (
        step.is_removal
        and state is not None
        and (state.retain_on_delete or bool(state.get("skipDestroy")))
    )


def _bucket_note(state: State, step: Step) -> str:
    if state.get("forceDestroy"):
        return "`forceDestroy` is on, so its objects are deleted with it."
    return "`forceDestroy` is off, so `up` fails while it holds an object; copy them first."


def _repository_note(state: State, step: Step) -> str:
    if state.get("forceDelete"):
        return "`forceDelete` is on, so its images are deleted with it."
    return "`forceDelete` is off, so `up` fails while it holds an image; copy them first."


def _key_note(state: State, step: Step) -> str:
    days = state.get("deletionWindowInDays") or 30
    return f"It can be brought back for {show_number(days)} days, then never."


def _domain_note(state: State, step: Step) -> str:
    policy = state.get("retentionPolicy") or {}
    if isinstance(policy, Mapping) and policy.get("homeEfsFileSystem") == "Delete":
        return "`retentionPolicy.homeEfsFileSystem` is Delete, so the files go with it."
    return "The EFS file system itself stays, detached, and is billed until someone deletes it."


def _vault_note(state: State, step: Step) -> str:
    tail = (
        " The new vault cannot take the same name until the old one is purged."
        if _keeps_name(step, "vaultName")
        else ""
    )
    properties = state.get("properties")
    days = (
        properties.get("softDeleteRetentionInDays") if isinstance(properties, Mapping) else None
    ) or 90
    return f"Soft-deleted: it can be recovered for {show_number(days)} days.{tail}"


def _workspace_note(state: State, step: Step) -> str:
    tail = (
        " Its name stays taken, so the new one fails until it is purged."
        if _keeps_name(step, "workspaceName")
        else ""
    )
    return f"Soft-deleted: it can be recovered for 14 days.{tail}"


def _log_workspace_note(state: State, step: Step) -> str:
    return "Soft-deleted: it can be recovered for 14 days."


def _storage_note(state: State, step: Step) -> str:
    return "There is no soft delete of an account: the data is gone at once."


_NOTES: Mapping[str, Callable[[State, Step], str]] = {
    "aws:s3/bucket:Bucket": _bucket_note,
    "aws:ecr/repository:Repository": _repository_note,
    "aws:kms/key:Key": _key_note,
    "aws:sagemaker/domain:Domain": _domain_note,
    "azure-native:keyvault:Vault": _vault_note,
    "azure-native:machinelearningservices:Workspace": _workspace_note,
    "azure-native:operationalinsights:Workspace": _log_workspace_note,
    "azure-native:storage:StorageAccount": _storage_note,
}


def _keeps_name(step: Step, name: str) -> bool:
    if step.op != "replace" or step.old is None or step.new is None:
        return False
    return step.old.get(name) == step.new.inputs.get(name)


def _loss_in_place(step: Step) -> str | None:
    """An update that keeps the resource and lets go of data: shorter retention, versioning switched off."""
    old, new = step.old, step.new
    if old is None or new is None:
        return None
    type_ = canonical_type(step.type)
    if type_ in ("aws:cloudwatch/logGroup:LogGroup", "azure-native:operationalinsights:Workspace"):
        before, after = old.get("retentionInDays"), new.inputs.get("retentionInDays")
        if _is_shorter(before, after):
            return f"deletes logs older than {show_number(after)} days (kept {_days(before)} until now)"
    if type_ == "aws:s3/bucketVersioning:BucketVersioning":
        status = _status(new.inputs.get("versioningConfiguration"))
        if status == "Suspended" and _status(old.get("versioningConfiguration")) == "Enabled":
            return "suspends versioning: from now on an overwritten or deleted object is lost"
    return None


def _status(value: Any) -> Any:
    return value.get("status") if isinstance(value, Mapping) else None


def _is_shorter(before: Any, after: Any) -> bool:
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    # 0 is for ever in CloudWatch, -1 in Log Analytics' capped plans.
    return numbers and after > 0 and (before <= 0 or after < before)


def _days(value: Any) -> str:
    return f"{show_number(value)} days" if value > 0 else "for ever"


def show_number(value: Any) -> str:
    """Return a number as people write it: Pulumi's are floats."""
    return f"{value:g}" if isinstance(value, float) else str(value)
