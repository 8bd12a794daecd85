"""Audit results as JSON values, for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

from skinaudit.audit.judgement.result import AUDIT_FORMAT, AuditResult
from skinaudit.audit.reports.parts.lineup import Lineup
from skinaudit.audit.transfer import TransferMatrix

TRANSFER_FORMAT = "skinaudit-transfer/1"
LINEUP_FORMAT = "skinaudit-lineup/2"
_KINDS = {AuditResult: AUDIT_FORMAT, TransferMatrix: TRANSFER_FORMAT, Lineup: LINEUP_FORMAT}


def render(result: AuditResult) -> str:
    """The whole result as indented JSON; skinaudit.audit.judgement.reading.read_audit reads it back."""
    return json.dumps(to_json(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_json(result: AuditResult | TransferMatrix | Lineup) -> dict[str, Any]:
    """The whole result as plain JSON values, with the format's name in `kind`.

    Keys are in the order of the fields in skinaudit.audit.judgement.result, so equal results give equal bytes. Accuracies
    and drops are fractions of 1; values that do not apply are null. Raises ValueError for NaN or infinity.
    """
    plain: dict[str, Any] = _plain(result)
    return {"kind": _KINDS[type(result)], **plain}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(element) for element in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} in a report")
    return value
