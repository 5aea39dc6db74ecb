"""Tags of any resource, by its ARN."""

from __future__ import annotations

from typing import Any

from lab.aws.sagemaker.errors import validation
from lab.aws.sagemaker.store import Store

KIND = "tags"
_LIMIT = 50


class Tags:
    """AddTags, DeleteTags and ListTags."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, arn: str) -> list[dict[str, str]]:
        """Return a resource's tags."""
        document = self._store.get(KIND, arn) or {}
        return [{"Key": key, "Value": value} for key, value in sorted(document.items())]

    def add(self, arn: str, tags: list[dict[str, str]]) -> None:
        """Add or overwrite tags."""
        with self._store.transaction():
            document = self._store.get(KIND, arn) or {}
            document |= {tag["Key"]: tag["Value"] for tag in tags}
            if len(document) > _LIMIT:
                raise validation(f"A resource can have at most {_LIMIT} tags.")
            self._store.put(KIND, arn, document)

    def forget(self, arn: str) -> None:
        """The resource is gone."""
        self._store.remove(KIND, arn)

    def exists(self, arn: str) -> bool:
        """Whether the ARN is a resource of the lab."""
        return self._store.get(KIND, arn) is not None

    def add_tags(self, request: dict[str, Any], _caller: str | None) -> dict[str, Any]:
        """AddTags."""
        self._require(request["ResourceArn"])
        self.add(request["ResourceArn"], request["Tags"])
        return {"Tags": self.of(request["ResourceArn"])}

    def list_tags(self, request: dict[str, Any], _caller: str | None) -> dict[str, Any]:
        """ListTags; a resource has at most 50, so there is one page."""
        self._require(request["ResourceArn"])
        return {"Tags": self.of(request["ResourceArn"])}

    def delete_tags(self, request: dict[str, Any], _caller: str | None) -> dict[str, Any]:
        """DeleteTags; keys that are not there are fine."""
        arn = request["ResourceArn"]
        self._require(arn)

        def edit(document: dict[str, Any]) -> None:
            for key in request["TagKeys"]:
                document.pop(key, None)

        self._store.change(KIND, arn, edit)
        return {}

    def _require(self, arn: str) -> None:
        if not self.exists(arn):
            raise validation("Requested resource not found.")
