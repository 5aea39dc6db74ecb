"""The stack's state: resources, the checkpoint file, its journal and its lock.

The file is a Pulumi deployment, version 3, as ``pulumi stack export`` gives it. Each step is appended to a journal
beside it, a pending operation before the provider is called, and folded into the file at the end. Hence a kill loses
nothing and the cost is linear in the steps.
"""

from __future__ import annotations

import copy
import fcntl
import getpass
import hashlib
import json
import os
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from lab.engine import urn as urns
from lab.engine.secrets import PassphraseSecrets
from lab.engine.values import PropertyMap, from_json, to_json
from lab.home import LabError, write_atomically

ENGINE_VERSION = "3.260.0"  # the engine whose state format this is
SUPPORTED_VERSIONS = (3, 4)


class StateError(LabError):
    """The state cannot be read, or another run holds it."""


@dataclass(frozen=True)
class Dependency:
    """One URN that a resource depends on, and why."""

    kind: str  # parent, dependency, property-dependency, deleted-with, replace-with
    urn: str
    key: str = ""


@dataclass(eq=False, kw_only=True)
class ResourceState:
    """One resource of the state. Compared by identity: one URN can be there twice, the older one to be deleted."""

    type: str
    urn: str
    custom: bool
    id: str = ""
    inputs: PropertyMap | None = None
    outputs: PropertyMap | None = None
    parent: str = ""
    provider: str = ""
    protect: bool = False
    taint: bool = False
    external: bool = False
    delete: bool = False
    pending_replacement: bool = False
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] | None = None
    init_errors: list[str] = field(default_factory=list)
    additional_secret_outputs: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    custom_timeouts: dict[str, float] = field(default_factory=dict)
    import_id: str = ""
    retain_on_delete: bool = False
    deleted_with: str = ""
    replace_with: list[str] = field(default_factory=list)
    replacement_trigger: Any = None
    created: str = ""
    modified: str = ""
    source_position: str = ""
    stack_trace: list[dict[str, str]] = field(default_factory=list)
    ignore_changes: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    hide_diff: list[str] = field(default_factory=list)
    refresh_before_update: bool = False
    view_of: str = ""
    resource_hooks: dict[str, list[str]] = field(default_factory=dict)

    def copy(self) -> ResourceState:
        """Return a copy; the property maps are shared, as nobody changes them in place."""
        result = copy.copy(self)
        for name in _LIST_FIELDS:
            setattr(result, name, list(getattr(self, name)))
        if self.property_dependencies is not None:
            result.property_dependencies = {
                k: list(v) for k, v in self.property_dependencies.items()
            }
        return result

    def all_dependencies(self) -> list[Dependency]:
        result = []
        if self.parent:
            result.append(Dependency("parent", self.parent))
        result += [Dependency("dependency", urn) for urn in self.dependencies if urn]
        for key, found in (self.property_dependencies or {}).items():
            result += [Dependency("property-dependency", urn, key) for urn in found if urn]
        if self.deleted_with:
            result.append(Dependency("deleted-with", self.deleted_with))
        result += [Dependency("replace-with", urn) for urn in self.replace_with if urn]
        return result

    def all_urns(self) -> list[str]:
        """Return what this depends on, with the provider."""
        result = [dependency.urn for dependency in self.all_dependencies()]
        if self.provider:
            result.append(urns.parse_reference(self.provider)[0])
        return result

    def to_json(self, encrypt: Any) -> dict[str, Any]:
        result: dict[str, Any] = {"urn": self.urn, "custom": self.custom}
        for key, name in _JSON_KEYS:
            value = getattr(self, name)
            if name in ("inputs", "outputs"):
                if value:
                    result[key] = to_json(value, encrypt)
            elif name == "replacement_trigger":
                if value is not None:
                    result[key] = to_json(value, encrypt)
            elif value:
                result[key] = copy.copy(value)
        return result

    @classmethod
    def from_json(cls, data: dict[str, Any], decrypt: Any) -> ResourceState:
        values: dict[str, Any] = {"urn": data["urn"], "custom": data.get("custom", False)}
        for key, name in _JSON_KEYS:
            if key in data:
                values[name] = copy.copy(data[key])
        values["inputs"] = from_json(data.get("inputs") or {}, decrypt)
        values["outputs"] = from_json(data.get("outputs") or {}, decrypt)
        if "replacementTrigger" in data:
            values["replacement_trigger"] = from_json(data["replacementTrigger"], decrypt)
        return cls(**values)


_JSON_KEYS = (
    ("delete", "delete"),
    ("id", "id"),
    ("type", "type"),
    ("inputs", "inputs"),
    ("outputs", "outputs"),
    ("parent", "parent"),
    ("protect", "protect"),
    ("taint", "taint"),
    ("external", "external"),
    ("dependencies", "dependencies"),
    ("initErrors", "init_errors"),
    ("provider", "provider"),
    ("propertyDependencies", "property_dependencies"),
    ("pendingReplacement", "pending_replacement"),
    ("additionalSecretOutputs", "additional_secret_outputs"),
    ("aliases", "aliases"),
    ("customTimeouts", "custom_timeouts"),
    ("importID", "import_id"),
    ("retainOnDelete", "retain_on_delete"),
    ("deletedWith", "deleted_with"),
    ("replaceWith", "replace_with"),
    ("created", "created"),
    ("modified", "modified"),
    ("sourcePosition", "source_position"),
    ("stackTrace", "stack_trace"),
    ("ignoreChanges", "ignore_changes"),
    ("hideDiff", "hide_diff"),
    ("replaceOnChanges", "replace_on_changes"),
    ("replacementTrigger", "replacement_trigger"),
    ("refreshBeforeUpdate", "refresh_before_update"),
    ("viewOf", "view_of"),
    ("resourceHooks", "resource_hooks"),
)
_LIST_FIELDS = tuple(
    item.name for item in fields(ResourceState) if str(item.type).startswith("list[")
)


def now() -> str:
    """Return the time as the state has it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass(eq=False)
class Snapshot:
    """What a run starts from."""

    resources: list[ResourceState]
    pending_operations: list[dict[str, Any]]  # {"resource": ..., "type": ...} in the state's form
    deployment: dict[str, Any]  # as it is in the file


class StateFile:
    """One stack's state file with its journal ``FILE.journal`` and lock ``FILE.lock``."""

    def __init__(self, path: Path, passphrase: str | None = None) -> None:
        self.path = path
        self.journal_path = path.with_name(path.name + ".journal")
        self._passphrase = passphrase
        self.secrets: PassphraseSecrets | None = None

    def exists(self) -> bool:
        return self.path.exists() or self.journal_path.exists()

    def read_deployment(self) -> dict[str, Any]:
        """Return the deployment with what a killed run left in the journal. Raises StateError."""
        deployment: dict[str, Any] = {}
        if self.path.exists():
            try:
                document = json.loads(self.path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
                raise StateError(f"the state {self.path} cannot be read: {error}") from None
            version = document.get("version") if isinstance(document, dict) else None
            if version not in SUPPORTED_VERSIONS:
                raise StateError(
                    f"the state {self.path} has version {version!r}; this engine reads versions 3 and 4, "
                    "as `pulumi stack export` writes them"
                )
            if "checkpoint" in document:
                deployment = (document["checkpoint"] or {}).get("latest") or {}
            else:
                deployment = document.get("deployment") or {}
        if self.journal_path.exists():
            entries = list(_read_journal(self.journal_path))
            digest = self.digest()
            if entries and entries[0].get("base") == digest:
                replayer = Replayer(deployment)
                for entry in entries:
                    replayer.add(entry)
                deployment = replayer.deployment()
            elif entries and entries[-1].get("folded") != digest:
                raise StateError(
                    f"{self.journal_path} has steps of a killed run, but {self.path} was changed since. "
                    "Restore the state file, or delete the journal to forget those steps"
                )
        return deployment

    def digest(self) -> str:
        """Return what ties a journal to the state file that it continues."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return ""

    def load(self) -> Snapshot:
        """Read the state. Raises StateError, and SecretsError for a wrong passphrase."""
        deployment = self.read_deployment()
        provider = deployment.get("secrets_providers") or {}
        if provider and provider.get("type") not in ("passphrase", ""):
            raise StateError(
                f"the state's secrets provider is {provider.get('type')!r}; this engine reads `passphrase` only"
            )
        salt = (provider.get("state") or {}).get("salt")
        from lab.engine.secrets import find_passphrase

        passphrase = self._passphrase
        if passphrase is None:
            passphrase = find_passphrase(self.path)
        self.secrets = PassphraseSecrets(passphrase, salt)
        resources = [
            ResourceState.from_json(item, self.secrets.decrypt)
            for item in deployment.get("resources") or []
        ]
        return Snapshot(resources, deployment.get("pending_operations") or [], deployment)

    def write(self, deployment: dict[str, Any]) -> None:
        """Replace the file, then drop the journal, which first notes what it was folded into."""
        features = _features(deployment)
        document: dict[str, Any] = {"version": 4 if features else 3}
        if features:
            document["features"] = features
        document["deployment"] = deployment
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        if self.journal_path.exists():
            folded = {"kind": "folded", "folded": hashlib.sha256(text.encode()).hexdigest()}
            with self.journal_path.open("a", encoding="utf-8") as file:
                # A part of an entry at the end, left by a kill, ends here.
                file.write("\n" + json.dumps(folded) + "\n")
                file.flush()
                os.fdatasync(file.fileno())
        write_atomically(self.path, text)
        self.journal_path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, command: str) -> Generator[None, None, None]:
        """Hold the stack's lock. It is let go with the process, however that ends. Raises StateError."""
        path = self.path.with_name(self.path.name + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateError(_holder_message(path)) from None
            holder = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "user": getpass.getuser(),
                "since": now(),
                "command": command,
            }
            file.truncate(0)
            file.write(json.dumps(holder))
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)


def _holder_message(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return (
            f"the stack is locked by `{holder['command']}`, pid {holder['pid']} of {holder['user']} on "
            f"{holder['host']}, since {holder['since']}. Wait for it to end, or stop it"
        )
    except (OSError, ValueError, KeyError):
        return "the stack is locked by another run. Wait for it to end, or stop it"


def _features(deployment: dict[str, Any]) -> list[str]:
    found = set()
    names = {
        "refreshBeforeUpdate": "refreshBeforeUpdate",
        "viewOf": "views",
        "resourceHooks": "hooks",
        "taint": "taint",
        "replaceWith": "replaceWith",
    }
    for resource in deployment.get("resources") or []:
        found |= {feature for key, feature in names.items() if resource.get(key)}
    return sorted(found)


# --- the journal


def _read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole entries; a kill can leave a part of one at the end."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n") and line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue


class Replayer:
    """Folds journal entries into a deployment."""

    def __init__(self, base: dict[str, Any]) -> None:
        self.base = base
        self._has_refresh = False
        self._reset()

    def _reset(self) -> None:
        self._news: list[dict[str, Any]] = []
        self._index_of: dict[int, int] = {}
        self._removed_new: set[int] = set()
        self._removed_old: set[int] = set()
        self._replaced_old: dict[int, dict[str, Any]] = {}
        self._deleted_old: set[int] = set()
        self._pending_old: set[int] = set()
        self._incomplete: dict[int, dict[str, Any]] = {}

    def add(self, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        operation: int = entry.get("operation_id", 0)
        state = entry.get("state")
        remove_old, remove_new = entry.get("remove_old"), entry.get("remove_new")
        if kind == "begin":
            self._incomplete[operation] = entry
        elif kind == "success":
            self._incomplete.pop(operation, None)
            if state is not None:
                self._index_of[operation] = len(self._news)
                self._news.append(state)
            if remove_old is not None:
                self._removed_old.add(remove_old)
            if remove_new is not None:
                self._removed_new.add(remove_new)
            if (index := entry.get("delete_old")) is not None:
                self._deleted_old.add(index)
            if (index := entry.get("delete_new")) is not None:
                self._news[self._index_of[index]]["delete"] = True
            if (index := entry.get("pending_old")) is not None:
                self._pending_old.add(index)
            if (index := entry.get("pending_new")) is not None:
                self._news[self._index_of[index]]["pendingReplacement"] = True
            self._has_refresh |= bool(entry.get("is_refresh"))
        elif kind == "failure":
            self._incomplete.pop(operation, None)
        elif kind in ("refresh", "outputs"):
            if kind == "refresh":
                self._incomplete.pop(operation, None)
                self._has_refresh = True
            if remove_old is not None:
                if state is None:
                    self._removed_old.add(remove_old)
                else:
                    self._replaced_old[remove_old] = state
            if remove_new is not None:
                if state is None:
                    self._removed_new.add(remove_new)
                else:
                    self._news[self._index_of[remove_new]] = state
        elif kind == "rebuilt":
            self.base = self.deployment()
            self._reset()
            self._has_refresh = False
        elif kind == "secrets":
            self.base = {**self.base, "secrets_providers": entry["provider"]}

    def deployment(self) -> dict[str, Any]:
        """Return the deployment as it is now."""
        removed = {self._index_of[operation] for operation in self._removed_new}
        resources = [copy.deepcopy(r) for i, r in enumerate(self._news) if i not in removed]
        for index, old in enumerate(self.base.get("resources") or []):
            if index in self._removed_old:
                continue
            resource = copy.deepcopy(self._replaced_old.get(index, old))
            if index in self._pending_old:
                resource["pendingReplacement"] = True
            if index not in self._replaced_old and index in self._deleted_old:
                resource["delete"] = True
            resources.append(resource)
        operations = [e["operation"] for e in self._incomplete.values() if e.get("operation")]
        operations += [
            operation
            for operation in self.base.get("pending_operations") or []
            if operation["type"] == "creating"
        ]
        if self._has_refresh:
            _rebuild_dependencies(resources)
        _normalize_aliases(resources)
        result: dict[str, Any] = {
            "manifest": {
                "time": now(),
                "magic": hashlib.sha256(ENGINE_VERSION.encode()).hexdigest(),
                "version": ENGINE_VERSION,
            }
        }
        if self.base.get("secrets_providers"):
            result["secrets_providers"] = self.base["secrets_providers"]
        if resources:
            result["resources"] = resources
        if operations:
            result["pending_operations"] = operations
        result["metadata"] = self.base.get("metadata") or {}
        return result


def _rebuild_dependencies(resources: list[dict[str, Any]]) -> None:
    """Take resources that a refresh found gone out of what others depend on."""
    known: set[str] = set()
    parents: dict[str, str] = {}
    for resource in resources:
        if resource.get("dependencies"):
            resource["dependencies"] = [u for u in resource["dependencies"] if u in known]
            if not resource["dependencies"]:
                del resource["dependencies"]
        if resource.get("propertyDependencies"):
            kept = {
                key: [u for u in found if u in known]
                for key, found in resource["propertyDependencies"].items()
            }
            resource["propertyDependencies"] = {k: v for k, v in kept.items() if v}
            if not resource["propertyDependencies"]:
                del resource["propertyDependencies"]
        if resource.get("replaceWith"):
            resource["replaceWith"] = [u for u in resource["replaceWith"] if u in known]
        if resource.get("deletedWith") not in known:
            resource.pop("deletedWith", None)
        known.add(resource["urn"])
    for resource in resources:
        original = resource.get("parent", "")
        if original not in known:
            parent = parents.get(original, "")
            if parent:
                resource["parent"] = parent
            else:
                resource.pop("parent", None)
        parents[resource["urn"]] = original


def _normalize_aliases(resources: list[dict[str, Any]]) -> None:
    """Let everything name an aliased resource by its new URN."""
    renamed: dict[str, str] = {}
    for resource in resources:
        for alias in resource.get("aliases") or ():
            if renamed.get(alias, resource["urn"]) != resource["urn"]:
                raise StateError(
                    f"two resources ('{renamed[alias]}' and '{resource['urn']}') have the same alias: '{alias}'"
                )
            renamed[alias] = resource["urn"]
        parent = renamed.get(resource.get("parent", ""))
        if parent and not urns.is_root_stack(parent):
            old = resource["urn"]
            stack, project = old.split("::")[0].removeprefix("urn:pulumi:"), old.split("::")[1]
            renamed[old] = urns.make(
                stack, project, urns.qualified_type(parent), urns.type_of(old), urns.name(old)
            )
    if not renamed:
        return

    def fix(urn: str) -> str:
        return renamed.get(urn, urn)

    for resource in resources:
        resource["urn"] = fix(resource["urn"])
        for key in ("parent", "deletedWith", "viewOf"):
            if key in resource:
                resource[key] = fix(resource[key])
        if resource.get("provider"):
            urn, id_ = urns.parse_reference(resource["provider"])
            resource["provider"] = urns.reference(fix(urn), id_)
        if "dependencies" in resource:
            resource["dependencies"] = [fix(urn) for urn in resource["dependencies"]]
        needed = resource.get("propertyDependencies") or {}
        if any(urn in renamed for found in needed.values() for urn in found):
            # As the real engine writes them anew: without the properties that need nothing.
            resource["propertyDependencies"] = {
                key: [fix(urn) for urn in found] for key, found in needed.items() if found
            }
        resource.pop("aliases", None)


class Journal:
    """Appends what happens to the journal file; ``close`` folds it into the state file."""

    def __init__(self, file: StateFile, snapshot: Snapshot) -> None:
        if file.secrets is None:
            raise StateError("the state must be loaded before it is written")
        self._file = file
        self._secrets = file.secrets
        self._replayer = Replayer(snapshot.deployment)
        self._base_index = {id(r): i for i, r in enumerate(snapshot.resources)}
        # Keeps the objects alive, so that an id stays one object's.
        self._objects: list[Any] = list(snapshot.resources)
        self._new_index: dict[int, int] = {}
        self._operations = 0
        file.path.parent.mkdir(parents=True, exist_ok=True)
        # What an earlier, killed run left is folded in first: the journal belongs to one base.
        if file.journal_path.exists():
            file.write(snapshot.deployment)
        self._stream: TextIO = file.journal_path.open("a", encoding="utf-8")
        self._appended = 0
        self._synced = 0
        self._sync_lock = threading.Lock()
        self._append({"kind": "base", "base": file.digest()})
        self.sync()

    def sync(self) -> None:
        """Wait until what was noted is on the disk. Threads that wait at once share one write.

        What begin and end note lasts only after this; the other entries call it themselves.
        """
        wanted = self._appended
        with self._sync_lock:
            if self._synced >= wanted:
                return
            reached = self._appended
            os.fdatasync(self._stream.fileno())
            self._synced = reached

    def begin(self, operation_type: str | None, state: ResourceState | None) -> int:
        """Note that an operation starts. Returns its number."""
        self._operations += 1
        entry: dict[str, Any] = {"kind": "begin", "operation_id": self._operations}
        if operation_type is None or state is None:
            return self._operations
        entry["operation"] = {"resource": self._serialize(state), "type": operation_type}
        self._append(entry)
        return self._operations

    def end(
        self,
        operation: int,
        *,
        kind: str = "success",
        state: ResourceState | None = None,
        remove: ResourceState | None = None,
        delete: ResourceState | None = None,
        pending: ResourceState | None = None,
        is_refresh: bool = False,
        durable: bool = True,
    ) -> None:
        """Note that an operation ended, with the new state and what becomes of the old one."""
        entry: dict[str, Any] = {"kind": kind, "operation_id": operation}
        if state is not None:
            entry["state"] = self._serialize(state)
        for name, item in (("remove", remove), ("delete", delete), ("pending", pending)):
            if item is not None:
                self._locate(entry, name, item)
        if is_refresh:
            entry["is_refresh"] = True
        if state is not None:
            self._new_index[id(state)] = operation
            self._objects.append(state)
        self._append(entry, durable)

    def outputs(self, state: ResourceState) -> None:
        self._operations += 1
        entry: dict[str, Any] = {"kind": "outputs", "operation_id": self._operations}
        entry["state"] = self._serialize(state)
        self._locate(entry, "remove", state)
        self._append(entry)
        self.sync()

    def rebuilt(self, resources: list[ResourceState]) -> None:
        """Note that a refresh is over: from here its result is the base."""
        self._append({"kind": "rebuilt", "operation_id": 0})
        self.sync()
        self._base_index = {id(r): i for i, r in enumerate(resources)}
        self._objects += resources
        self._new_index = {}

    def close(self) -> dict[str, Any]:
        """Fold the journal into the state file. Returns the deployment."""
        deployment = self._replayer.deployment()
        if "secrets_providers" not in deployment and _has_secrets(deployment):
            deployment["secrets_providers"] = self._secrets.provider()
        self._stream.close()
        self._file.write(deployment)
        return deployment

    def _serialize(self, state: ResourceState) -> dict[str, Any]:
        return state.to_json(self._encrypt)

    def _encrypt(self, plaintext: str) -> str:
        if not self._replayer.base.get("secrets_providers"):
            self._append({"kind": "secrets", "provider": self._secrets.provider()})
        return self._secrets.encrypt(plaintext)

    def _locate(self, entry: dict[str, Any], name: str, state: ResourceState) -> None:
        if (index := self._base_index.get(id(state))) is not None:
            entry[f"{name}_old"] = index
        elif (operation := self._new_index.get(id(state))) is not None:
            entry[f"{name}_new"] = operation
        else:
            raise StateError(f"resource {state.urn} is neither in the state nor new")

    def _append(self, entry: dict[str, Any], durable: bool = True) -> None:
        self._replayer.add(entry)
        self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._stream.flush()
        if durable:
            self._appended += 1


def _has_secrets(value: Any) -> bool:
    if isinstance(value, dict):
        return "ciphertext" in value or any(_has_secrets(item) for item in value.values())
    return isinstance(value, list) and any(_has_secrets(item) for item in value)
