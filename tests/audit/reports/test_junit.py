from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema

from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports.junit import render
from skinaudit.audit.reports.parts.cases import cases

SCHEMA = xmlschema.XMLSchema(Path(__file__).resolve().parents[2] / "data" / "junit-jenkins.xsd")


def case(text: str, suite: str, name: str) -> ET.Element:
    element = ET.fromstring(text).find(f"testsuite[@name='{suite}']/testcase[@name='{name}']")
    assert element is not None, text
    return element


def red(text: str) -> int:
    """Cases that CI systems count as failed."""
    return len(ET.fromstring(text).findall(".//failure")) + len(ET.fromstring(text).findall(".//error"))


def test_it_is_what_jenkins_reads(audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        SCHEMA.validate(render(result))
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        SCHEMA.validate(render(audits["pass"]).replace("testcase", "testcases"))


def test_it_is_green_only_if_the_audit_passed(audits: dict[str, AuditResult]) -> None:
    verdicts = {result.verdict for result in audits.values()}
    assert verdicts == set(Verdict)
    for result in audits.values():
        assert (red(render(result)) == 0) is (result.verdict is Verdict.PASS)
        assert len(case(render(result), "audit", "verdict")) == 1


def test_the_counts_are_those_of_the_cases(audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        root = ET.fromstring(render(result))
        assert len(root) == 1 + len(result.sets)
        assert root.get("tests") == str(len(root.findall(".//testcase"))) == str(1 + len(cases(result)))
        for part in (root, *root):
            for name, element in (
                ("tests", "testcase"),
                ("failures", "failure"),
                ("errors", "error"),
                ("skipped", "skipped"),
            ):
                if part is not root or name != "skipped":
                    assert part.get(name) == str(len(part.findall(f".//{element}")))


def test_a_case_says_what_failed_and_what_to_do(audits: dict[str, AuditResult]) -> None:
    text = render(audits["melanoma to nevus"])
    failure = case(text, "clean", "class-sensitivity mel")[0]
    assert failure.tag == "failure"
    assert failure.get("type") == "FAIL"
    assert str(failure.get("message")).startswith("sensitivity to mel: loses 100.0 points")
    assert str(failure.text).startswith(f"{failure.get('message')}\nExport in a wider precision")
    assert case(text, "clean", "class-sensitivity bcc")[0].tag == "system-out"
    error = case(render(audits["few images"]), "clean", "drop")[0]
    assert (error.tag, error.get("type")) == ("error", "INCONCLUSIVE")


def test_what_only_warns_or_was_not_compared_is_skipped(audits: dict[str, AuditResult]) -> None:
    assert case(render(audits["pass"]), "clean", "class-sensitivity df")[0].tag == "system-out"
    assert case(render(audits["no control"]), "audit", "control")[0].tag == "error"
    assert case(render(audits["nothing compared"]), "clean", "not-compared")[0].tag == "skipped"
    assert case(render(audits["nothing compared"]), "audit", "verdict")[0].tag == "error"


@pytest.mark.parametrize("text", ["\x00 \x1b[31m \ud800 \ufffe", '<a & "b">]]>', "two\nlines\tand  blanks", "é 🙂"])
def test_any_text_is_xml(audits: dict[str, AuditResult], text: str) -> None:
    finding = Finding(Severity.FAIL, "drop", "clean", text, text)
    rendered = render(replace(audits["pass"], findings=(finding,), reason=text, dataset=text, engine=Path("engine")))
    rendered.encode()
    SCHEMA.validate(rendered)
    messages = [str(element.get("message")) for element in ET.fromstring(rendered).iter("failure")]
    assert len(messages) == 1
    assert messages[0] == " ".join(text.translate(dict.fromkeys((0, 0x1B, 0xD800, 0xFFFE), "?")).split())


def test_equal_audits_give_equal_bytes_and_no_folder_of_this_machine(audits: dict[str, AuditResult]) -> None:
    result = audits["rare"]
    assert result.engine.is_absolute()
    assert render(result) == render(replace(result))
    assert str(result.engine.parent) not in render(result)
