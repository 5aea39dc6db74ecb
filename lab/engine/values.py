"""Property values: their Python form, their two serialised forms (wire and state), comparison, difference and paths.

A property map is a dict. None, bool, int, float, str, list and dict stand for themselves; the rest are classes here.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import posixpath
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import struct_pb2

SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  a public constant of the format
ASSET_SIGNATURE = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE_SIGNATURE = "0def7320c3a5731c473e5ecbe6d01bc7"
RESOURCE_SIGNATURE = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT_SIGNATURE = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
BYTES_SIGNATURE = "803fd3297a5875dc03ca845dda5d2a98"
UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWN_SENTINELS = frozenset(
    {
        UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)

PropertyMap = dict[str, Any]
_SKIP = object()
# The generated module's classes are made when it is imported, which no type checker sees.
pb: Any = struct_pb2


class ValueFormatError(ValueError):
    """A value on the wire or in the state is malformed."""


class Computed:
    """A value that is known after the update only. There is one, UNKNOWN."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Computed:
        return self

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Computed()


@dataclass(eq=False)
class Secret:
    """A value that is encrypted in the state and shown as [secret]."""

    element: Any
    # The state's form, kept so that an unchanged secret keeps its ciphertext.
    ciphertext: str | None = None

    def __repr__(self) -> str:
        return "Secret([secret])"


@dataclass(eq=False)
class Asset:
    """A text, a file or a remote file."""

    hash: str = ""
    text: str = ""
    path: str = ""
    uri: str = ""


@dataclass(eq=False)
class Archive:
    """A folder, an archive file, a remote one, or assets by name."""

    hash: str = ""
    path: str = ""
    uri: str = ""
    assets: dict[str, Asset | Archive] | None = None


@dataclass(eq=False)
class ResourceReference:
    """A reference to a resource; id is None where the resource has none, UNKNOWN where it is not known yet."""

    urn: str
    id: Any = None
    package_version: str = ""


def is_secret(value: Any) -> bool:
    return isinstance(value, Secret)


def make_secret(value: Any) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def contains_unknowns(value: Any) -> bool:
    """Tell whether a value is or holds an unknown."""
    if isinstance(value, Computed):
        return True
    if isinstance(value, Secret):
        return contains_unknowns(value.element)
    if isinstance(value, list):
        return any(contains_unknowns(item) for item in value)
    if isinstance(value, dict):
        return any(contains_unknowns(item) for item in value.values())
    return False


def contains_secrets(value: Any) -> bool:
    """Tell whether a value is or holds a secret."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, list):
        return any(contains_secrets(item) for item in value)
    if isinstance(value, dict):
        return any(contains_secrets(item) for item in value.values())
    return False


def unwrap_secrets(value: Any) -> Any:
    """Return the value without its secret marks."""
    if isinstance(value, Secret):
        return unwrap_secrets(value.element)
    if isinstance(value, list):
        return [unwrap_secrets(item) for item in value]
    if isinstance(value, dict):
        return {key: unwrap_secrets(item) for key, item in value.items()}
    return value


def mask_secrets(value: Any) -> Any:
    """Return the value with each secret subtree replaced by the text [secret]."""
    if isinstance(value, Secret):
        return "[secret]"
    if isinstance(value, list):
        return [mask_secrets(item) for item in value]
    if isinstance(value, dict):
        return {key: mask_secrets(item) for key, item in value.items()}
    return value


def to_plain(value: Any) -> Any:
    """Return a value as JSON-able: secrets as [secret], unknown ones as the text output<string>."""
    if isinstance(value, Secret):
        return "[secret]"
    if isinstance(value, Computed):
        return "output<string>"
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (Asset, Archive, ResourceReference)):
        return to_json(value)
    return value


def deep_copy(value: Any) -> Any:
    """Copy containers; scalars and special values are shared, they are never changed in place."""
    if isinstance(value, dict):
        return {key: deep_copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [deep_copy(item) for item in value]
    if isinstance(value, Secret):
        return Secret(deep_copy(value.element), value.ciphertext)
    if isinstance(value, (Asset, Archive)):
        return copy.copy(value)
    return value


def annotate_secrets(outputs: PropertyMap | None, inputs: PropertyMap | None) -> None:
    """Mark outputs as secret where the input of the same name is (for providers that know no secrets)."""
    if not outputs or not inputs:
        return
    for key, value in inputs.items():
        if key not in outputs:
            continue
        output = outputs[key]
        if isinstance(output, dict) and isinstance(value, dict):
            annotate_secrets(output, value)
        elif not isinstance(output, Secret) and contains_secrets(value):
            outputs[key] = make_secret(output)


# --- equality and difference


def deep_equals(old: Any, new: Any) -> bool:
    """Compare two values; in a map a null and an absent key are equal."""
    if isinstance(old, list):
        return (
            isinstance(new, list)
            and len(old) == len(new)
            and all(deep_equals(a, b) for a, b in zip(old, new, strict=True))
        )
    if isinstance(old, dict):
        return isinstance(new, dict) and maps_equal(old, new)
    if isinstance(old, Secret):
        return isinstance(new, Secret) and deep_equals(old.element, new.element)
    if isinstance(old, (Asset, Archive)):
        return type(old) is type(new) and old.hash == new.hash
    if isinstance(old, ResourceReference):
        return (
            isinstance(new, ResourceReference)
            and old.urn == new.urn
            and deep_equals(old.id, new.id)
        )
    if isinstance(old, Computed) or isinstance(new, Computed):
        return old is new
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, (int, float)):
        return isinstance(new, (int, float)) and old == new
    return type(old) is type(new) and old == new


def maps_equal(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Compare two property maps; a null and an absent key are equal."""
    for key, value in old.items():
        if key in new:
            if not deep_equals(value, new[key]):
                return False
        elif value is not None:
            return False
    return all(value is None or key in old for key, value in new.items())


@dataclass
class ObjectDiff:
    """What differs between two maps."""

    adds: dict[str, Any] = field(default_factory=dict)
    deletes: dict[str, Any] = field(default_factory=dict)
    sames: dict[str, Any] = field(default_factory=dict)
    updates: dict[str, ValueDiff] = field(default_factory=dict)

    def changed_keys(self) -> list[str]:
        return sorted({*self.adds, *self.deletes, *self.updates})


@dataclass
class ArrayDiff:
    """What differs between two lists, by index."""

    adds: dict[int, Any] = field(default_factory=dict)
    deletes: dict[int, Any] = field(default_factory=dict)
    sames: dict[int, Any] = field(default_factory=dict)
    updates: dict[int, ValueDiff] = field(default_factory=dict)


@dataclass
class ValueDiff:
    """Two values that differ; where both are lists or maps, how."""

    old: Any = None
    new: Any = None
    array: ArrayDiff | None = None
    object: ObjectDiff | None = None


def diff_maps(old: Mapping[str, Any], new: Mapping[str, Any]) -> ObjectDiff | None:
    """Return what differs between two property maps, or None where nothing does."""
    diff = ObjectDiff()
    for key, value in old.items():
        if key in new:
            difference = diff_values(value, new[key])
            if difference is None:
                diff.sames[key] = value
            elif value is None:
                diff.adds[key] = new[key]
            elif new[key] is None:
                diff.deletes[key] = value
            else:
                diff.updates[key] = difference
        elif value is not None:
            diff.deletes[key] = value
    for key, value in new.items():
        if key not in old and value is not None:
            diff.adds[key] = value
    return diff if diff.adds or diff.deletes or diff.updates else None


def diff_values(old: Any, new: Any) -> ValueDiff | None:
    """Return how two values differ, or None where they do not."""
    if isinstance(old, list) and isinstance(new, list):
        diff = ArrayDiff()
        for index in range(len(old), len(new)):
            diff.adds[index] = new[index]
        for index in range(len(new), len(old)):
            diff.deletes[index] = old[index]
        for index in range(min(len(old), len(new))):
            difference = diff_values(old[index], new[index])
            if difference is None:
                diff.sames[index] = old[index]
            else:
                diff.updates[index] = difference
        if diff.adds or diff.deletes or diff.updates:
            return ValueDiff(old, new, array=diff)
        return None
    if isinstance(old, dict) and isinstance(new, dict):
        difference = diff_maps(old, new)
        return None if difference is None else ValueDiff(old, new, object=difference)
    return None if deep_equals(old, new) else ValueDiff(old, new)


# --- property paths

PropertyPath = list[str | int]


def parse_path(text: str) -> PropertyPath:
    """Parse ``a.b[0]["c.d"]``. Raises ValueFormatError."""
    elements: PropertyPath = []
    if text.startswith("."):
        raise ValueFormatError(f"property path {text!r} must start with a name or an index")
    rest = text
    while rest:
        if rest[0] == ".":
            rest = rest[1:]
            if not rest:
                raise ValueFormatError(f"property path {text!r} must end with a name or an index")
            continue
        if rest[0] != "[":
            end = min((i for i in (rest.find("."), rest.find("[")) if i >= 0), default=len(rest))
            elements.append(rest[:end])
            rest = rest[end:]
        elif rest[1:2] == '"':
            key, index = "", 2
            while True:
                if index >= len(rest):
                    raise ValueFormatError(f"property path {text!r} lacks a closing quote")
                if rest[index] == '"':
                    break
                if rest[index] == "\\" and rest[index + 1 : index + 2] == '"':
                    index += 1
                key += rest[index]
                index += 1
            if rest[index + 1 : index + 2] != "]":
                raise ValueFormatError(f"property path {text!r} lacks a closing bracket")
            elements.append(key)
            rest = rest[index + 2 :]
        else:
            end = rest.find("]")
            if end < 0:
                raise ValueFormatError(f"property path {text!r} lacks a closing bracket")
            segment = rest[1:end]
            if segment == "*":
                elements.append("*")
            else:
                try:
                    elements.append(int(segment))
                except ValueError:
                    raise ValueFormatError(f"property path {text!r} has a bad index") from None
            rest = rest[end + 1 :]
    return elements


def format_path(path: PropertyPath) -> str:
    """Write a path as parse_path reads it."""
    text = ""
    for position, element in enumerate(path):
        if isinstance(element, int):
            text += f"[{element}]"
        elif all(c.isascii() and (c.isalnum() or c == "_") for c in element):
            text += element if position == 0 else f".{element}"
        else:
            escaped = element.replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


def path_contains(path: PropertyPath, other: PropertyPath) -> bool:
    """Tell whether ``other`` is ``path`` or below it; ``*`` stands for any key."""
    if len(other) < len(path):
        return False
    return all(
        element == "*" or (type(element) is type(found) and element == found)
        for element, found in zip(path, other, strict=False)
    )


def reset_path(path: PropertyPath, old: Any, new: Any) -> bool:
    """Give ``new`` the value of ``old`` at a path, in place. False where an element was added or removed."""
    return _reset(path, old, new, False, False)


def _unwrap(value: Any) -> tuple[Any, bool]:
    secret = False
    while isinstance(value, Secret):
        value, secret = value.element, True
    return value, secret


def _reset(path: PropertyPath, old: Any, new: Any, old_secret: bool, new_secret: bool) -> bool:
    if not path:
        return False
    old, secret = _unwrap(old)
    old_secret |= secret
    new, secret = _unwrap(new)
    new_secret |= secret
    key, rest = path[0], path[1:]

    def keep(value: Any) -> Any:
        return make_secret(value) if old_secret and not new_secret else value

    if isinstance(key, int):
        if key < 0:
            return False
        if not isinstance(old, list) or not isinstance(new, list):
            return not isinstance(old, list) and not isinstance(new, list)
        if not rest and key >= len(old) and key >= len(new):
            return True
        if key >= len(old) or key >= len(new):
            return False
        if rest:
            return _reset(rest, old[key], new[key], old_secret, new_secret)
        new[key] = keep(old[key])
        return True
    if key == "*":
        return _reset_all(rest, old, new, old_secret, new_secret, keep)
    if not rest:
        if isinstance(old, dict) and key in old:
            if not isinstance(new, dict):
                return False
            new[key] = keep(old[key])
        elif isinstance(new, dict):
            new.pop(key, None)
        return True
    if not isinstance(old, dict) or not isinstance(new, dict):
        return not isinstance(old, dict) and not isinstance(new, dict)
    if key in old and key not in new:
        return False
    if key not in old and key not in new:
        return True
    return _reset(rest, old.get(key), new[key], old_secret, new_secret)


def _reset_all(
    rest: PropertyPath,
    old: Any,
    new: Any,
    old_secret: bool,
    new_secret: bool,
    keep: Callable[[Any], Any],
) -> bool:
    if not rest:
        if isinstance(new, dict):
            if isinstance(old, dict):
                kept = {key: keep(value) for key, value in old.items()}
                new.clear()
                new.update(kept)
            return True
        if isinstance(new, list):
            if isinstance(old, list):
                for index in range(min(len(old), len(new))):
                    new[index] = keep(old[index])
                return len(old) == len(new)
            return True
        return False
    if isinstance(old, dict) and isinstance(new, dict):
        return all(
            key in new and _reset(rest, value, new[key], old_secret, new_secret)
            for key, value in old.items()
        )
    if isinstance(old, list) and isinstance(new, list):
        for before, after in zip(old, new, strict=False):
            if not _reset(rest, before, after, old_secret, new_secret):
                return False
        return len(old) == len(new)
    return False


# --- the wire


def to_wire(
    value: PropertyMap,
    *,
    keep_unknowns: bool = True,
    keep_secrets: bool = True,
    keep_resources: bool = True,
) -> Any:
    """Marshal a property map as the engine's wire protocol does."""

    def convert(value: Any) -> Any:
        if value is None:
            return pb.Value(null_value=pb.NULL_VALUE)
        if isinstance(value, bool):
            return pb.Value(bool_value=value)
        if isinstance(value, (int, float)):
            return pb.Value(number_value=value)
        if isinstance(value, str):
            return pb.Value(string_value=value)
        if isinstance(value, list):
            items = [item for item in map(convert, value) if item is not _SKIP]
            return pb.Value(list_value=pb.ListValue(values=items))
        if isinstance(value, dict):
            return pb.Value(struct_value=convert_map(value))
        if isinstance(value, Computed):
            return pb.Value(string_value=UNKNOWN_STRING) if keep_unknowns else _SKIP
        if isinstance(value, Secret):
            if not keep_secrets:
                return convert(value.element)
            return convert({SIGNATURE_KEY: SECRET_SIGNATURE, "value": value.element})
        if isinstance(value, Asset):
            return convert(asset_to_json(value))
        if isinstance(value, Archive):
            return convert(archive_to_json(value))
        if isinstance(value, ResourceReference):
            has_id = value.id is not None
            identifier = "" if isinstance(value.id, Computed) else value.id
            if not keep_resources:
                return convert(value.id if has_id else value.urn)
            fields: PropertyMap = {SIGNATURE_KEY: RESOURCE_SIGNATURE, "urn": value.urn}
            parts = value.urn.split("::", 3)
            if len(parts) == 4:
                fields["name"], fields["type"] = parts[3], parts[2].rsplit("$", 1)[-1]
            if has_id:
                fields["id"] = identifier
            if value.package_version:
                fields["packageVersion"] = value.package_version
            return convert(fields)
        raise ValueFormatError(f"a value of type {type(value).__name__} cannot be sent")

    def convert_map(values: Mapping[str, Any]) -> Any:
        fields = {}
        for key in sorted(values):
            item = convert(values[key])
            if item is not _SKIP:
                fields[key] = item
        return pb.Struct(fields=fields)

    return convert_map(value)


def from_wire(
    struct: Any,
    *,
    keep_unknowns: bool = True,
    reject_unknowns: bool = False,
    keep_secrets: bool = True,
    keep_resources: bool = True,
    working_directory: str | None = None,
    dependencies: dict[str, set[str]] | None = None,
) -> PropertyMap:
    """Unmarshal a property map. Hashes of assets are computed where a working directory is given.

    Where ``dependencies`` is given, it collects the URNs that output values name, by top-level property.
    """
    current = ""

    def unknown() -> Any:
        if reject_unknowns:
            raise ValueFormatError(f'unexpected unknown property value for "{current}"')
        return UNKNOWN if keep_unknowns else _SKIP

    def convert(value: Any) -> Any:
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            text = value.string_value
            return unknown() if text in UNKNOWN_SENTINELS else text
        if kind == "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        if kind == "bool_value":
            return value.bool_value
        if kind == "list_value":
            return [
                None if item is _SKIP else item for item in map(convert, value.list_value.values)
            ]
        if kind == "struct_value":
            return special(convert_map(value.struct_value))
        return None

    def convert_map(struct: Any) -> PropertyMap:
        result = {}
        for key in sorted(struct.fields):
            item = convert(struct.fields[key])
            if item is not _SKIP:
                result[key] = item
        return result

    def special(fields: PropertyMap) -> Any:
        signature = fields.get(SIGNATURE_KEY)
        if signature is None:
            return fields
        if signature == SECRET_SIGNATURE:
            if "value" not in fields:
                raise ValueFormatError(f'malformed RPC secret: missing value for "{current}"')
            return Secret(fields["value"]) if keep_secrets else fields["value"]
        if signature == OUTPUT_SIGNATURE:
            if dependencies is not None:
                dependencies.setdefault(current, set()).update(fields.get("dependencies") or ())
            result = fields["value"] if "value" in fields else unknown()
            if fields.get("secret") and result is not _SKIP and keep_secrets:
                return Secret(result)
            return result
        if signature == RESOURCE_SIGNATURE:
            identifier = fields.get("id")
            if "id" in fields and identifier in ("", None):
                identifier = UNKNOWN
            if not keep_resources:
                return identifier if "id" in fields else fields["urn"]
            return ResourceReference(fields["urn"], identifier, fields.get("packageVersion") or "")
        if signature == BYTES_SIGNATURE:
            return base64.b64decode(fields["value"]).decode("utf-8", "surrogateescape")
        return _special_from_json(signature, fields, working_directory)

    result: PropertyMap = {}
    for current in sorted(struct.fields):
        item = convert(struct.fields[current])
        if item is not _SKIP:
            result[current] = item
    return result


# --- assets


def asset_to_json(asset: Asset) -> PropertyMap:
    fields = {SIGNATURE_KEY: ASSET_SIGNATURE, "hash": asset.hash, "text": asset.text}
    fields |= {"path": asset.path, "uri": asset.uri}
    is_text = not (asset.path or asset.uri)
    return {key: value for key, value in fields.items() if value or (key == "text" and is_text)}


def archive_to_json(archive: Archive) -> PropertyMap:
    fields: PropertyMap = {SIGNATURE_KEY: ARCHIVE_SIGNATURE}
    for key in ("hash", "path", "uri"):
        if getattr(archive, key):
            fields[key] = getattr(archive, key)
    if archive.assets is not None:
        fields["assets"] = {
            name: asset_to_json(item) if isinstance(item, Asset) else archive_to_json(item)
            for name, item in archive.assets.items()
        }
    return fields


def _special_from_json(signature: Any, fields: PropertyMap, directory: str | None) -> Any:
    if signature == ASSET_SIGNATURE:
        asset = Asset(**{k: fields.get(k) or "" for k in ("hash", "text", "path", "uri")})
        if directory is not None and not asset.hash:
            asset.hash = _asset_hash(asset, directory)
        return asset
    if signature == ARCHIVE_SIGNATURE:
        archive = Archive(
            fields.get("hash") or "", fields.get("path") or "", fields.get("uri") or ""
        )
        archive.assets = fields.get("assets")
        if directory is not None and not archive.hash:
            archive.hash = _archive_hash(archive, directory)
        return archive
    raise ValueFormatError(f"unrecognized signature {signature!r} in a property map")


def _asset_hash(asset: Asset, directory: str) -> str:
    if asset.path:
        try:
            content = (Path(directory) / asset.path).read_bytes()
        except OSError as error:
            raise ValueFormatError(f"failed to open asset file '{asset.path}': {error}") from None
    else:
        content = (asset.text or asset.uri).encode()
    return hashlib.sha256(content).hexdigest()


def _archive_hash(archive: Archive, directory: str) -> str:
    """Return the SHA-256 of an archive file, or of the tar file that the real engine makes of anything else."""
    if archive.uri:
        return hashlib.sha256(archive.uri.encode()).hexdigest()
    root = Path(directory) / archive.path
    if archive.assets is None and archive.path.endswith(_ARCHIVE_ENDINGS):
        return hashlib.sha256(_read(root)).hexdigest()
    digest = hashlib.sha256()
    seen = set()
    for name, content in _members(archive, Path(directory)):
        if name in seen:
            continue
        seen.add(name)
        digest.update(_tar_header(name, len(content)) + content + bytes(-len(content) % 512))
    digest.update(bytes(1024))
    return digest.hexdigest()


_ARCHIVE_ENDINGS = (".tar", ".tgz", ".tar.gz", ".zip", ".jar")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueFormatError(f"couldn't read archive path '{path}': {error}") from None


def _members(archive: Archive, directory: Path) -> Iterator[tuple[str, bytes]]:
    """Give an archive's files by name, in the order in which the real engine reads them."""
    root = directory / archive.path
    if archive.assets is not None:
        for name, item in sorted(archive.assets.items()):
            if isinstance(item, Archive):
                for below, content in _members(item, directory):
                    yield posixpath.join(name, below), content
            else:
                yield name, _read(directory / item.path) if item.path else item.text.encode()
    elif archive.path.endswith((".zip", ".jar")):
        with zipfile.ZipFile(root) as packed:
            for entry in packed.infolist():
                if not entry.is_dir():
                    yield entry.filename, packed.read(entry)
    elif archive.path.endswith(_ARCHIVE_ENDINGS):
        with tarfile.open(root) as packed_tar:
            for member in packed_tar:
                file = packed_tar.extractfile(member) if member.isreg() else None
                if file is not None:
                    yield member.name, file.read()
    elif archive.path:
        if not root.is_dir():
            raise ValueFormatError(f"couldn't read archive path '{root}'")
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(root)
            if ".pulumi" not in relative.parts and path.is_file():
                yield relative.as_posix(), path.read_bytes()


def _tar_header(name: str, size: int) -> bytes:
    """Return a tar header with the exact bytes of Go's archive/tar, on which the hash depends."""
    if not name.isascii() or len(name) > 100:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        return info.tobuf(tarfile.PAX_FORMAT)
    header = bytearray(512)
    fields = {0: name, 100: "0000600", 108: "0000000", 116: "0000000", 124: f"{size:011o}"}
    fields |= {136: "00000000000", 148: " " * 8, 156: "0", 257: "ustar", 263: "00"}
    fields |= {329: "0000000", 337: "0000000"}
    for start, text in fields.items():
        header[start : start + len(text)] = text.encode()
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


# --- the state


def to_json(value: Any, encrypt: Callable[[str], str] | None = None) -> Any:
    """Return the state's form of a value. Without ``encrypt``, a secret is blinded as [secret]."""
    if isinstance(value, dict):
        return {key: to_json(value[key], encrypt) for key in sorted(value)}
    if isinstance(value, list):
        return [to_json(item, encrypt) for item in value]
    if isinstance(value, Computed):
        return UNKNOWN_STRING
    if isinstance(value, Secret):
        if encrypt is None:
            return {SIGNATURE_KEY: SECRET_SIGNATURE, "ciphertext": "[secret]"}
        if value.ciphertext is None:
            plain = json.dumps(_plain(value.element), separators=(",", ":"), ensure_ascii=False)
            value.ciphertext = encrypt(plain)
        return {SIGNATURE_KEY: SECRET_SIGNATURE, "ciphertext": value.ciphertext}
    if isinstance(value, Asset):
        return asset_to_json(value)
    if isinstance(value, Archive):
        return archive_to_json(value)
    if isinstance(value, ResourceReference):
        fields = {SIGNATURE_KEY: RESOURCE_SIGNATURE, "urn": value.urn}
        if value.id is not None:
            fields["id"] = "" if isinstance(value.id, Computed) else value.id
        fields["packageVersion"] = value.package_version
        return fields
    return value


def _plain(value: Any) -> Any:
    """Return the state's form of a secret's content: an inner secret is merged into the outer one."""
    return to_json(unwrap_secrets(value))


def from_json(value: Any, decrypt: Callable[[str], str]) -> Any:
    """Read a value in the state's form. Raises ValueFormatError."""
    if isinstance(value, list):
        return [from_json(item, decrypt) for item in value]
    if isinstance(value, dict):
        signature = value.get(SIGNATURE_KEY)
        if signature == SECRET_SIGNATURE:
            if "plaintext" in value:
                return Secret(from_json(json.loads(value["plaintext"]), decrypt))
            if "ciphertext" not in value:
                raise ValueFormatError("malformed secret in the state: no ciphertext")
            ciphertext = value["ciphertext"]
            return Secret(from_json(json.loads(decrypt(ciphertext)), decrypt), ciphertext)
        fields = {key: from_json(item, decrypt) for key, item in value.items()}
        if signature is None:
            return fields
        if signature == RESOURCE_SIGNATURE:
            identifier = fields.get("id")
            return ResourceReference(
                fields["urn"],
                UNKNOWN if identifier == "" else identifier,
                fields.get("packageVersion") or "",
            )
        if signature == BYTES_SIGNATURE:
            return base64.b64decode(fields["value"]).decode("utf-8", "surrogateescape")
        return _special_from_json(signature, fields, None)
    return UNKNOWN if value == UNKNOWN_STRING else value
