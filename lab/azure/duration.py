"""ISO 8601 durations, as Azure writes them (PT2M, P1DT30S)."""

from __future__ import annotations

import isodate

from lab.azure.errors import ArmError


def seconds(text: str, where: str) -> float:
    """Return a duration in seconds. Raises ArmError 400 naming where it stands."""
    try:
        return isodate.parse_duration(text).total_seconds()
    except (isodate.ISO8601Error, AttributeError, TypeError) as error:
        raise ArmError(
            400,
            "InvalidRequestContent",
            f"'{text}' is no ISO 8601 duration, as in PT2M. Path '{where}'.",
        ) from error
