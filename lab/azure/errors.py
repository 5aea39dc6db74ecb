"""Errors in Azure Resource Manager's own shape.

https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.azure.resource_id import ResourceId


class ArmError(Exception):
    """A refusal that a caller of the real service would see: an HTTP status, a code and a message."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        target: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = list(details)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target:
            error["target"] = self.target
        if self.details:
            error["details"] = self.details
        return {"error": error}


def not_found(id: ResourceId) -> ArmError:
    """A resource that is not there, in Resource Manager's words."""
    where = f" under resource group '{id.resource_group}'" if id.resource_group else ""
    name = str(id).rpartition("/providers/")[2]
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{name}'{where} was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def run_error(code: str, message: str) -> dict[str, Any]:
    """Return why a run failed, as run history keeps it."""
    return {
        "error": {
            "code": code,
            "message": message,
            "severity": None,
            "details": [],
            "innerError": None,
        }
    }
