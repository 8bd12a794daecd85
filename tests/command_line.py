"""What tests of the command line share."""

from __future__ import annotations

import re

PROGRESS = re.compile(r"[^:]+(: [^:]+)?: [\d,]+ of [\d,]+ \(\d+%\)")


def remarks(stderr: str) -> list[str]:
    """The lines on stderr without those of progress, which are there only where the machine is slow."""
    return [line for line in stderr.splitlines() if not PROGRESS.match(line)]
