"""What the Azure plane remembers, in one SQLite file: what was acknowledged is on disk.

Documents are JSON by kind and key. Resource ids compare without regard to case, so a key that is an id is in lower
case.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
  kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS documents_by_age ON documents (kind, sequence);
CREATE TABLE IF NOT EXISTS blobs (
  account TEXT NOT NULL, container TEXT NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
  etag TEXT NOT NULL, modified REAL NOT NULL, content_type TEXT NOT NULL, md5 TEXT, metadata TEXT NOT NULL,
  PRIMARY KEY (account, container, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS metrics (
  run TEXT NOT NULL, key TEXT NOT NULL, value REAL NOT NULL, timestamp INTEGER NOT NULL, step INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS metrics_by_run ON metrics (run, key);
"""


class Store:
    """A thread-safe SQLite file. Every write is committed, and synced to disk, before it returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _SCHEMA
        )

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Commit all that is written inside as one, or none of it. May be nested."""
        with self._lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    def execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self._lock:
            return self._connection.execute(statement, parameters).fetchall()

    def executemany(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with self.transaction():
            self._connection.executemany(statement, rows)

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        rows = self.execute("SELECT body FROM documents WHERE kind = ? AND key = ?", (kind, key))
        return json.loads(rows[0][0]) if rows else None

    def put(self, kind: str, key: str, body: dict[str, Any]) -> None:
        """Insert or replace a document. A replaced one keeps its place in the order of age."""
        self.execute(
            "INSERT INTO documents VALUES (?, ?, ?, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM documents WHERE "
            "kind = ?)) "
            "ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
            (kind, key, json.dumps(body, separators=(",", ":")), kind),
        )

    def delete(self, kind: str, key: str) -> bool:
        """Delete a document; return whether it was there."""
        rows = self.execute(
            "DELETE FROM documents WHERE kind = ? AND key = ? RETURNING key", (kind, key)
        )
        return bool(rows)

    def below(self, kind: str, prefix: str) -> list[tuple[str, dict[str, Any]]]:
        """Return (key, document) of every key that starts with the prefix, oldest first."""
        rows = self.execute(
            "SELECT key, body FROM documents WHERE kind = ? AND key >= ? AND key < ? ORDER BY sequence",
            (kind, prefix, prefix + "\U0010ffff"),
        )
        return [(key, json.loads(body)) for key, body in rows]

    def count(self, kind: str, prefix: str) -> int:
        """Return how many keys start with the prefix."""
        rows = self.execute(
            "SELECT COUNT(*) FROM documents WHERE kind = ? AND key >= ? AND key < ?",
            (kind, prefix, prefix + "\U0010ffff"),
        )
        return int(rows[0][0])

    def containing(self, kind: str, fragment: str) -> list[tuple[str, dict[str, Any]]]:
        """Return (key, document) of every key that has the fragment in it, oldest first."""
        rows = self.execute(
            "SELECT key, body FROM documents WHERE kind = ? AND instr(key, ?) > 0 ORDER BY sequence",
            (kind, fragment),
        )
        return [(key, json.loads(body)) for key, body in rows]
