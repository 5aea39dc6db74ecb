"""Storage accounts as the blob service needs them: by name, with their keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lab.azure.blob import Blobs
from lab.azure.resource_type import new_account_key
from lab.azure.store import Store


@dataclass(frozen=True)
class Account:
    """A storage account. ``delegation_key`` signs what is signed for a principal instead of with the account's keys."""

    name: str
    id: str
    keys: tuple[str, str]
    delegation_key: str


class Accounts:
    """Storage accounts by their name, which is global."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs

    def find(self, name: str) -> Account | None:
        found = self._store.get("account", name)
        if found is None:
            return None
        return Account(name, found["id"], tuple(found["keys"]), found["delegation_key"])

    def register(self, name: str, id: str) -> None:
        """Take the name and make keys, unless it was done before."""
        if self._store.get("account", name) is None:
            keys = [new_account_key(), new_account_key()]
            document: dict[str, Any] = {"id": id, "keys": keys, "delegation_key": new_account_key()}
            self._store.put("account", name, document)

    def regenerate(self, name: str, index: int) -> None:
        found = self._store.get("account", name)
        if found:
            found["keys"][index] = new_account_key()
            self._store.put("account", name, found)

    def remove(self, name: str) -> None:
        """Forget an account with all its data: the name is free at once, the data is gone."""
        self._store.delete("account", name)
        self._blobs.delete_all(name)
