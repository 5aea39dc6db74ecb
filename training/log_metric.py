"""Metrics read from a log by the job's regular expressions, as SageMaker reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from training.backends.base import Metric


def metrics_in(lines: Iterable[str], definitions: Mapping[str, str]) -> Sequence[Metric]:
    """Return the last value of each metric that the lines hold, in the definitions' order.

    The first group of a match is the value; a match that is no number counts for nothing.
    """
    patterns = {name: re.compile(pattern) for name, pattern in definitions.items()}
    last: dict[str, tuple[float, int]] = {}
    for line in lines:
        for name, pattern in patterns.items():
            match = pattern.search(line)
            if match is None:
                continue
            try:
                value = float(match.group(1))
            except (TypeError, ValueError):
                continue
            last[name] = (value, last[name][1] + 1 if name in last else 1)
    return [
        Metric(name=name, value=last[name][0], step=last[name][1])
        for name in definitions
        if name in last
    ]
