"""What the supervisor runs: one process of the lab, and how to tell that it is healthy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process of the lab: on 127.0.0.1 only, stops on SIGTERM, may be started again."""

    name: str
    argv: Sequence[str]
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    # GET on this path answers 200 once the part can serve.
    health_path: str = "/_lab/health"
    # A part that needs longer than this to save its data is killed.
    stop_timeout_seconds: float = 10.0
