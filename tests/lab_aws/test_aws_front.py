"""The front: routing, refusals, and what the lab adds to the emulators."""

from __future__ import annotations
