"""The name of one job on one cloud: ``aws-sagemaker://<region>/<job>``, ``azure-ml://<workspace>/<job>``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self

from training.errors import MalformedHandleError

_SCHEMES = {"aws": "aws-sagemaker", "azure": "azure-ml"}
_HANDLE = re.compile(
    r"(?P<scheme>aws-sagemaker|azure-ml)://(?P<place>[A-Za-z0-9_.\-]+)/(?P<name>[A-Za-z0-9_\-]+)"
)


@dataclass(frozen=True, order=True)
class JobHandle:
    """Where a job is and what it is called there. ``str`` and ``parse`` are each other's inverse."""

    cloud: Literal["aws", "azure"]
    place: str  # the region on AWS, the workspace on Azure
    name: str

    def __str__(self) -> str:
        return f"{_SCHEMES[self.cloud]}://{self.place}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the handle that the text is. Raises MalformedHandleError."""
        match = _HANDLE.fullmatch(text)
        if match is None:
            raise MalformedHandleError(
                f"{text!r} is no job handle; one looks like aws-sagemaker://us-east-1/digits-1a2b3c or "
                "azure-ml://my-workspace/digits-1a2b3c. List them with: trainstack list"
            )
        cloud = "aws" if match["scheme"] == "aws-sagemaker" else "azure"
        return cls(cloud, match["place"], match["name"])
