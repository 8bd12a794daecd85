"""What stands in the place of a picture that could not be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unreadable:
    """Stands in the place of an image or a digest that could not be had."""

    reason: str
