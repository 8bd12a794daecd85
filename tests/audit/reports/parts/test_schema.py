from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from skinaudit.audit.reports.json_ import to_json
from skinaudit.audit.reports.parts.schema import audit_schema, schema_text

PUBLISHED = Path(__file__).resolve().parents[4] / "docs" / "audit.schema.json"
"""`make schema` writes it."""


def test_the_published_schema_is_that_of_the_code() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), "run `make schema`"


def test_it_is_a_schema_whose_objects_are_closed_and_told_about() -> None:
    schema = audit_schema()
    Draft202012Validator.check_schema(schema)
    for part in (schema, *schema["$defs"].values()):
        assert part["description"].endswith(".")
        assert part.get("additionalProperties", False) is False
        assert part["title"]
    assert schema["$defs"]["Verdict"]["enum"] == ["PASS", "FAIL", "INCONCLUSIVE"]
    assert schema["$defs"]["Hits"]["description"] == "Number of correct answers among `count` images."


def test_real_audits_fit(audits: dict[str, Any]) -> None:
    validator = Draft202012Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))
    for result in audits.values():
        validator.validate(to_json(result))


@pytest.mark.parametrize(
    "change", [{"kind": "other"}, {"whim": 1}, {"verdict": "GREEN"}, {"sets": None}, {"findings": [{"severity": "fail"}]}]
)
def test_what_is_no_audit_does_not(audits: dict[str, Any], change: dict[str, Any]) -> None:
    assert not Draft202012Validator(audit_schema()).is_valid({**to_json(audits["rare"]), **change})
