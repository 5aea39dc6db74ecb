"""What the plane knows, in one SQLite file: once a call is answered, a kill loses nothing of it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Body = dict[str, Any]


class Store:
    """Named JSON documents by kind. Safe to use from several threads."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._lock = threading.RLock()
        # WAL survives the death of the process, which is what the lab promises; not a power cut.
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS document (kind TEXT, name TEXT, body TEXT, "
            "PRIMARY KEY (kind, name)) WITHOUT ROWID"
        )

    def get(self, kind: str, name: str) -> Body | None:
        """Return the document, or None."""
        with self._lock:
            row = self._connection.execute(
                "SELECT body FROM document WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        return json.loads(row[0]) if row else None

    def all(self, kind: str) -> list[Body]:
        """Return every document of the kind, by name."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT body FROM document WHERE kind = ? ORDER BY name", (kind,)
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    def add(self, kind: str, name: str, body: Body) -> bool:
        """Add a document; return False, with nothing changed, where the name is taken."""
        with self._lock:
            done = self._connection.execute(
                "INSERT OR IGNORE INTO document VALUES (?, ?, ?)", (kind, name, json.dumps(body))
            )
            return done.rowcount == 1

    def put(self, kind: str, name: str, body: Body) -> None:
        """Add or replace a document."""
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO document VALUES (?, ?, ?)", (kind, name, json.dumps(body))
            )

    def change(self, kind: str, name: str, edit: Callable[[Body], None]) -> Body | None:
        """Edit a document in place as one step; return it, or None where it is gone."""
        with self.transaction():
            body = self.get(kind, name)
            if body is None:
                return None
            edit(body)
            self.put(kind, name, body)
            return body

    def remove(self, kind: str, name: str) -> None:
        """Remove a document; one that is not there is fine."""
        with self._lock:
            self._connection.execute(
                "DELETE FROM document WHERE kind = ? AND name = ?", (kind, name)
            )

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Make several changes one: all are kept, or none."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
