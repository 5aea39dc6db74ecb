"""Blob storage: block blobs in files, their index in SQLite.

A blob's bytes are one file that is written beside and then named in the index, so a kill leaves the old blob or the
new.
Done: containers, block blobs (whole and by blocks), ranges, metadata, conditional headers, lists with
prefix, delimiter and paging, copy within an account. Refused: page and append blobs, snapshots, leases,
tiers, ACLs.
https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.azure.errors import ArmError
from lab.azure.store import Store

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Blob:
    """A blob's properties. ``path`` is the file that holds its bytes."""

    name: str
    path: Path
    size: int
    etag: str
    modified: float
    content_type: str
    md5: str | None
    metadata: Mapping[str, str]

    def chunks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from start to end (not included)."""
        left = (self.size if end is None else end) - start
        with self.path.open("rb") as file:
            file.seek(start)
            while left > 0 and (chunk := file.read(min(_CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    def read(self) -> bytes:
        return self.path.read_bytes()


class Blobs:
    """All blobs of all storage accounts."""

    def __init__(self, store: Store, home: Path) -> None:
        self._store = store
        self._data = home / "blobs"
        self._staging = home / "staging"
        self._data.mkdir(parents=True, exist_ok=True)
        self._staging.mkdir(parents=True, exist_ok=True)

    def put(
        self,
        account: str,
        container: str,
        name: str,
        content: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        only_if_new: bool = False,
    ) -> Blob:
        """Write a blob as a whole. Raises ArmError 409 where only_if_new and there is one of that name."""
        if only_if_new and self.find(account, container, name):
            raise already_exists()
        relative = f"{(token := uuid.uuid4().hex)[:2]}/{token}"
        path = self._data / relative
        path.parent.mkdir(exist_ok=True)
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("wb") as target:
            for chunk in _chunks(content):
                digest.update(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        etag = f'"0x8D{uuid.uuid4().hex[:13].upper()}"'
        with self._store.transaction():
            old = self.find(account, container, name)
            if only_if_new and old:
                path.unlink()
                raise already_exists()
            self._store.execute(
                "INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    account,
                    container,
                    name,
                    relative,
                    path.stat().st_size,
                    etag,
                    time.time(),
                    content_type,
                    base64.b64encode(digest.digest()).decode(),
                    json.dumps(dict(metadata or {})),
                ),
            )
        if old:
            old.path.unlink(missing_ok=True)
        return self.get(account, container, name)

    def stage(self, account: str, container: str, name: str, block_id: str, content: bytes) -> None:
        """Keep a block until a list of blocks commits it."""
        folder = self._block_folder(account, container, name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(block_id.encode()).hexdigest()).write_bytes(content)

    def commit(
        self,
        account: str,
        container: str,
        name: str,
        block_ids: list[str],
        *,
        content_type: str,
        metadata: Mapping[str, str],
        only_if_new: bool = False,
    ) -> Blob:
        """Make a blob of staged blocks. Raises ArmError 400 InvalidBlockList for a block that was never staged."""
        folder = self._block_folder(account, container, name)
        whole = self._staging / uuid.uuid4().hex
        try:
            with whole.open("wb") as target:
                for block_id in block_ids:
                    block = folder / hashlib.sha256(block_id.encode()).hexdigest()
                    if not block.exists():
                        raise blob_error(
                            400, "InvalidBlockList", "The specified block list is invalid."
                        )
                    with block.open("rb") as source:
                        shutil.copyfileobj(source, target, _CHUNK_BYTES)
            blob = self.put(
                account,
                container,
                name,
                whole,
                content_type=content_type,
                metadata=metadata,
                only_if_new=only_if_new,
            )
        finally:
            whole.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return blob

    def find(self, account: str, container: str, name: str) -> Blob | None:
        rows = self._store.execute(
            "SELECT name, file, size, etag, modified, content_type, md5, metadata FROM blobs "
            "WHERE account = ? AND container = ? AND name = ?",
            (account, container, name),
        )
        return self._blob(rows[0]) if rows else None

    def get(self, account: str, container: str, name: str) -> Blob:
        """Return a blob. Raises ArmError 404 BlobNotFound."""
        blob = self.find(account, container, name)
        if blob is None:
            raise blob_error(404, "BlobNotFound", "The specified blob does not exist.")
        return blob

    def below(
        self, account: str, container: str, prefix: str = "", *, after: str = "", limit: int = -1
    ) -> list[Blob]:
        """Return the blobs whose name starts with the prefix, by name."""
        rows = self._store.execute(
            "SELECT name, file, size, etag, modified, content_type, md5, metadata FROM blobs "
            "WHERE account = ? AND container = ? AND name >= ? AND name < ? AND name > ? ORDER BY name LIMIT ?",
            (account, container, prefix, prefix + "\U0010ffff", after, limit),
        )
        return [self._blob(row) for row in rows]

    def set_metadata(
        self, account: str, container: str, name: str, metadata: Mapping[str, str]
    ) -> Blob:
        self.get(account, container, name)
        self._store.execute(
            "UPDATE blobs SET metadata = ?, modified = ?, etag = ? WHERE account = ? AND container = ? AND name = ?",
            (
                json.dumps(dict(metadata)),
                time.time(),
                f'"0x8D{uuid.uuid4().hex[:13].upper()}"',
                account,
                container,
                name,
            ),
        )
        return self.get(account, container, name)

    def delete(self, account: str, container: str, name: str) -> None:
        blob = self.get(account, container, name)
        self._store.execute(
            "DELETE FROM blobs WHERE account = ? AND container = ? AND name = ?",
            (account, container, name),
        )
        blob.path.unlink(missing_ok=True)

    def delete_all(self, account: str, container: str | None = None) -> None:
        """Delete every blob of a container, or of an account."""
        rows = self._store.execute(
            "DELETE FROM blobs WHERE account = ? AND (? IS NULL OR container = ?) RETURNING file",
            (account, container, container),
        )
        for (file,) in rows:
            (self._data / file).unlink(missing_ok=True)

    def _block_folder(self, account: str, container: str, name: str) -> Path:
        digest = hashlib.sha256(f"{account}/{container}/{name}".encode()).hexdigest()
        return self._staging / digest

    def _blob(self, row: tuple) -> Blob:
        name, file, size, etag, modified, content_type, md5, metadata = row
        return Blob(
            name,
            self._data / file,
            size,
            etag,
            modified,
            content_type,
            md5,
            json.loads(metadata),
        )


class BlobError(ArmError):
    """A refusal in the shape of the storage service: XML, with the code in a header."""


def blob_error(status: int, code: str, message: str) -> BlobError:
    return BlobError(status, code, message, headers={"x-ms-error-code": code})


def already_exists() -> BlobError:
    return blob_error(409, "BlobAlreadyExists", "The specified blob already exists.")


def is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
