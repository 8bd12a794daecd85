"""Packages that AOTInductor compiles for the device."""

from __future__ import annotations

from skinaudit.bench.gpu_parts.builds import COMPILED, build
from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings

TITLE = "Compiled"


def measure(settings: Settings, keep: Keep) -> Answer:
    """Compile, open and compare, as an export does."""
    return build(settings, [COMPILED], keep)
