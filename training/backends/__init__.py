"""The two clouds' training services behind one protocol; a backend is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from infra.outputs import StackOutputs
from training.errors import UsageError

if TYPE_CHECKING:
    from training.backends.base import Backend

CLOUDS = ("aws", "azure")


def connect(cloud: str, outputs: StackOutputs | Path | str) -> Backend:
    """Return the backend of one cloud for a stack's outputs (or a saved outputs.json). Makes no call.

    Raises UsageError where the stack does not use that cloud.
    """
    if not isinstance(outputs, StackOutputs):
        outputs = StackOutputs.from_file(Path(outputs))
    if cloud not in CLOUDS:
        raise UsageError(f"{cloud!r} is no cloud; it must be aws or azure")
    if cloud not in outputs.clouds:
        raise UsageError(
            f"stack {outputs.stack_name!r} has no {cloud}; its clouds are {', '.join(outputs.clouds) or 'none'}. "
            f"Submit with --on {outputs.clouds[0] if outputs.clouds else 'CLOUD'}, or add {cloud} to the stack"
        )
    if cloud == "aws":
        from training.backends.sagemaker import SageMaker

        return SageMaker(outputs)
    from training.backends.azure_ml import AzureML

    return AzureML(outputs)
