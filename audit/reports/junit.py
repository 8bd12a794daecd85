"""Audit results as JUnit XML, for the test tabs of CI systems: one suite for the audit and one per set, one case per gate.

FAIL is `<failure>`, and INCONCLUSIVE is `<error>`: the question was asked and could not be answered. `<skipped>` would be
wrong, because Jenkins, GitLab and dorny/test-reporter call a run with skipped tests successful. All three count errors like
failures: Jenkins marks the build unstable, a GitLab suite fails if it has any error, and dorny/test-reporter treats the two
elements alike. `<skipped>` is used for parts on which the verdict does not depend: a set without a comparison, and warnings.
The first case is the verdict itself, so a file is green only if the audit passed. An audit has no time of its own, so there
are no timestamps: equal audits give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from xml.etree import ElementTree as ET

from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.text import drop_text, percent
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.judgement.rules import RULES
from skinaudit.audit.reports.parts.cases import Case, cases
from skinaudit.audit.reports.parts.wording import precision_text

_ELEMENTS = {Verdict.FAIL: "failure", Verdict.INCONCLUSIVE: "error", None: "skipped"}
_COUNTS = {"failures": Verdict.FAIL, "errors": Verdict.INCONCLUSIVE, "skipped": None}
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent in any form."""


def render(result: AuditResult) -> str:
    """JUnit XML in the form of Jenkins' schema."""
    all_cases = cases(result)
    titles = [set_result.title for set_result in result.sets]
    verdict = Case("verdict", None, None, result.verdict, result.reason, ())
    wide = [verdict, *(case for case in all_cases if case.set not in titles)]
    root = ET.Element("testsuites", {"name": "skinaudit", **_counts([verdict, *all_cases], skipped=False)})
    _suite(root, "audit", wide, result, properties=_about(result), seconds=0.0)
    for set_result in result.sets:
        set_cases = [case for case in all_cases if case.set == set_result.title]
        seconds = set_result.comparison.images / set_result.images_per_second if set_result.images_per_second > 0 else 0.0
        _suite(root, set_result.title, set_cases, result, properties=_about_set(set_result), seconds=seconds)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(
    root: ET.Element,
    title: str,
    cases: Sequence[Case],
    result: AuditResult,
    *,
    properties: dict[str, object],
    seconds: float,
) -> None:
    attributes = {"name": _clean(title), **_counts(cases), "time": f"{seconds:.3f}"}
    suite = ET.SubElement(root, "testsuite", attributes)
    holder = ET.SubElement(suite, "properties")
    for name, value in properties.items():
        ET.SubElement(holder, "property", name=_clean(name), value=_clean(str(value)))
    # Jenkins reads a dot as a package.
    where = "skinaudit." + f"{result.engine_text} {title}".replace(".", "_")
    for gate in cases:
        case = ET.SubElement(suite, "testcase", name=_clean(gate.name), classname=_clean(where), time="0")
        text = _clean(gate.text)
        if gate.outcome is Verdict.PASS:
            if text:
                ET.SubElement(case, "system-out").text = text
            continue
        answer = ET.SubElement(case, _ELEMENTS[gate.outcome])
        if gate.outcome is not None:
            answer.attrib |= {"type": gate.outcome.value, "message": text}
        # GitLab shows the content, Jenkins the message.
        answer.text = f"{text}\n{RULES[gate.rule].remedy}" if gate.outcome is not None else text


def _counts(cases: Sequence[Case], *, skipped: bool = True) -> dict[str, str]:
    counts = {name: str(sum(case.outcome is outcome for case in cases)) for name, outcome in _COUNTS.items()}
    if not skipped:
        del counts["skipped"]
    return {"tests": str(len(cases)), **counts}


def _about(result: AuditResult) -> dict[str, object]:
    about = result.description
    return {
        "verdict": result.verdict.value,
        "reason": result.reason,
        "engine": result.engine_text,
        "engine digest": result.engine_digest,
        "runtime": f"{about.runtime} {about.version} {about.provider}",
        "device": about.device,
        "precision": precision_text(result),
        "control": result.control,
        "dataset": result.dataset,
        "synthetic": result.synthetic,
        "emulated": result.emulated,
        **{f"policy {name}": value for name, value in asdict(result.policy).items()},
    }


def _about_set(set_result: SetResult) -> dict[str, object]:
    comparison = set_result.comparison
    return {
        "images": comparison.images,
        "lesions": comparison.lesions,
        "crafted": "no" if set_result.clean else "white-box" if set_result.white_box else "transfer",
        "source accuracy": percent(comparison.source_accuracy),
        "engine accuracy": percent(comparison.engine_accuracy),
        "drop": drop_text(comparison.drop),
        "digest": set_result.images_digest,
    }


def _clean(text: str) -> str:
    """The text without characters that XML cannot represent, and with single spaces, as the schema requires."""
    return " ".join(_NO_XML.sub("\ufffd", text).split())
