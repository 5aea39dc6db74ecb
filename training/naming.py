"""The names of jobs: one function and one limit for both clouds."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime

NAME_LIMIT = 63  # SageMaker's; Azure ML takes 255
_PLAIN_KEY = re.compile(r"[a-z0-9](-?[a-z0-9])*")


def new_key(now: datetime | None = None) -> str:
    """Return a key for a new submission: 20261122-201530-k3fm, in UTC, so that names sort by time."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    letters = "bcdfghjkmnpqrstvwxz23456789"  # no vowels: no words; no look-alikes
    tail = "".join(secrets.choice(letters) for _ in range(4))
    return f"{moment:%Y%m%d-%H%M%S}-{tail}"


def job_name(base: str, key: str) -> str:
    """Return the one name that a job of this base gets under this key: ``base-key``, at most 63 characters.

    A key that is no plain lower-case name, or too long, is replaced by its hash; another key never gives the same name.
    """
    room = NAME_LIMIT - len(base) - 1
    if len(key) <= room and _PLAIN_KEY.fullmatch(key):
        return f"{base}-{key}"
    # 20 characters at the least: the base is at most 40 long.
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{base}-{digest[: min(room, 20)]}"
