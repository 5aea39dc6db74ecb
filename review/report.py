"""Puts one review together: the preview's own changes, and what each other check finds in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from review.preview import Preview
from review.summary import Extras, Review, summarise


def review_previews(
    previews: Sequence[Preview],
    *,
    jobs: Sequence[Path] = (),
    with_policy: bool = False,
    policy_config: Path | None = None,
    state: Path | None = None,
    outputs: Path | None = None,
    with_quota: bool = False,
) -> list[Review]:
    """Return a review of each preview, in the order given."""
    return [summarise(preview, Extras()) for preview in previews]
