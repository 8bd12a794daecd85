"""A lineup of audits as JSON, for machines."""

from __future__ import annotations

import json

from skinaudit.audit.reports.json_ import to_json
from skinaudit.audit.reports.parts.lineup import Lineup


def render(lineup: Lineup) -> str:
    """The whole lineup as indented JSON."""
    return json.dumps(to_json(lineup), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
