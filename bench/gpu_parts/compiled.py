"""Packages that AOTInductor compiles for the device."""

from __future__ import annotations

import faulthandler

from skinaudit.bench.gpu_parts.builds import COMPILED, build
from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings

TITLE = "Compiled"
_LOOK = 45  # seconds


def measure(settings: Settings, keep: Keep) -> Answer:
    """Compile, open and compare, as an export does; where it stands is printed now and then, in case that it is ended."""
    faulthandler.dump_traceback_later(_LOOK, repeat=True)
    return build(settings, [COMPILED], keep)
