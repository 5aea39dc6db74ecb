"""Images that were pushed to the lab's ECR, as folders to run in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.aws.sagemaker.images import Image
from lab.aws.sagemaker.session import RoleSession
from lab.aws.sagemaker.settings import Settings


class PullError(Exception):
    """The image cannot be had."""


def pull(image: Image, rootfs: Path, settings: Settings, role: RoleSession) -> None:
    """Extract the image's layers into ``rootfs``."""
    raise PullError(f"image {image.uri} cannot be pulled yet")


def working_folder(rootfs: Path) -> str | None:
    """Return the image's WORKDIR."""
    return _config(rootfs).get("WorkingDir") or ("/" if rootfs.exists() else None)


def command(rootfs: Path, arguments: Sequence[str]) -> list[str]:
    """Return the image's entry point with the arguments that SageMaker gives it."""
    config = _config(rootfs)
    return [*(config.get("Entrypoint") or []), *arguments]


def _config(rootfs: Path) -> dict[str, Any]:
    file = rootfs.with_name("image.json")
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
