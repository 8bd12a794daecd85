"""A report that an earlier skinaudit wrote is read, and says what it said."""

from __future__ import annotations

import json
from pathlib import Path

from skinaudit.artifacts.contract import MALIGNANT
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import Verdict
from skinaudit.audit.reports.json_ import to_json

EARLIER = Path(__file__).resolve().parents[2] / "data" / "earlier" / "audit.json"


def test_a_report_of_the_earlier_format_is_read() -> None:
    value = json.loads(EARLIER.read_text(encoding="utf-8"))
    assert value["kind"] == "skinaudit-audit/1"
    result = read_audit(EARLIER)
    assert result.verdict is Verdict.PASS
    assert result.malignant == MALIGNANT
    assert (
        [entry.title for entry in result.sets] == [item["title"] for item in value["sets"]] == ["clean", "pgd linf 24/255"]
    )
    for read, written in zip(result.sets, value["sets"], strict=True):
        assert (read.images_digest, read.right) == (written["images_digest"], written["right"])
        assert read.comparison.engine_accuracy == written["comparison"]["engine_accuracy"]
        assert read.comparison.source_accuracy == written["comparison"]["baseline_accuracy"]


def test_what_was_read_is_written_in_the_present_format(tmp_path: Path) -> None:
    result = read_audit(EARLIER)
    again = tmp_path / "again.json"
    again.write_text(json.dumps(to_json(result)))
    assert json.loads(again.read_text())["kind"] != "skinaudit-audit/1"
    assert read_audit(again) == result


def test_a_present_report_under_the_earlier_name_keeps_what_it_says(tmp_path: Path) -> None:
    value = to_json(read_audit(EARLIER))
    value["policy"] |= {"clinical": "none", "clinical_reason": "why"}
    path = tmp_path / "relabelled.json"
    path.write_text(json.dumps({**value, "kind": "skinaudit-audit/1", "malignant": []}))
    result = read_audit(path)
    assert (result.malignant, result.policy.clinical, result.policy.clinical_reason) == ((), "none", "why")


def test_the_first_reports_of_the_present_format_are_read(tmp_path: Path) -> None:
    """They do not say which batches the engine takes, nor what of it was run."""
    result = read_audit(EARLIER)
    value = to_json(result)
    del value["description"]["batches"], value["description"]["unused"], value["consistency"]["whole"]
    del value["consistency"]["later"], value["policy"]["probe_required"]
    path = tmp_path / "first.json"
    path.write_text(json.dumps(value))
    assert read_audit(path) == result
