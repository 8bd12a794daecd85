"""Stands in place of a picture that could not be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unreadable:
    """Replaces an image or a digest that could not be read."""

    reason: str
