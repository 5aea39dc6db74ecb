"""Actions on storage accounts: keys, and whether a name is free."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lab.azure.errors import ArmError
from lab.azure.http import Answer, Call
from lab.azure.resource_id import ResourceId, parse_path

if TYPE_CHECKING:
    from lab.azure.plane import Plane

_TYPE = "Microsoft.Storage/storageAccounts"


class Storage:
    """What the storage provider does beyond the rules that hold for every resource type."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def answer(self, call: Call) -> Answer | None:
        """Answer an action of the storage provider; None for any other path."""
        if call.method != "POST":
            return None
        if re.match(
            r"^/subscriptions/[^/]+/providers/Microsoft\.Storage/checkNameAvailability$",
            call.path,
            re.IGNORECASE,
        ):
            taken = self._plane.accounts.find(str(call.json().get("name", ""))) is not None
            return Answer(
                200, {"nameAvailable": not taken, **({"reason": "AlreadyExists"} if taken else {})}
            )
        path = parse_path(call.path)
        if path is None or path.namespace.lower() != "microsoft.storage" or len(path.segments) != 3:
            return None
        self._plane.resources.require_api_version(call)
        id, action = path.resource(), path.last.lower()
        if action not in ("listkeys", "regeneratekey"):
            raise ArmError(404, "NotFound", f"The lab has no action '{path.last}' on {_TYPE}.")
        self._plane.authorization.require(call.principal, f"{_TYPE}/{path.last}/action", str(id))
        self._plane.resources.get(id)
        if action == "regeneratekey":
            self._plane.accounts.regenerate(
                id.name, 1 if call.json().get("keyName") == "key2" else 0
            )
        return Answer(200, {"keys": self._keys(id)})

    def _keys(self, id: ResourceId) -> list[dict[str, str]]:
        account = self._plane.accounts.find(id.name)
        keys = account.keys if account else ()
        return [
            {"keyName": f"key{number}", "value": key, "permissions": "FULL"}
            for number, key in enumerate(keys, start=1)
        ]
