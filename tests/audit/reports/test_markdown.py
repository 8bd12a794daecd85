from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.figures.text import power_text
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports.markdown import LIMIT, render
from skinaudit.audit.reports.parts.cases import cases


def test_verdict_reason_and_sets_come_first(audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        lines = render(result).splitlines()
        assert lines[0] == f"## {result.verdict.value}: subject.onnx"
        start = lines.index("|:--|--:|--:|--:|--:|--:|--:|:--|")
        for line, entry in zip(lines[start + 1 :], result.sets, strict=False):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert cells[0].startswith(entry.title)
            judgement = result.judgement_of(entry.title)
            judged = "not compared" if judgement is None else f"**{judgement.verdict.value}**"
            assert cells[-1] == judged
            assert cells[-2] == power_text(result.power_of(entry.title))
            drop = entry.comparison.drop
            assert (drop is None) is (cells[4] == "-")
            assert drop is None or f"{100 * drop.interval.low:+.1f}" in cells[4].replace("[0.0", "[+0.0")


def test_every_finding_is_told_with_its_remedy_and_none_on_a_pass(audits: dict[str, AuditResult]) -> None:
    for result in audits.values():
        listed = re.findall(r"^- \*\*(\w+)\*\* `([a-z-]+)` ", render(result), re.MULTILINE)
        assert sorted(listed) == sorted((finding.severity.value, finding.rule) for finding in result.findings)
    outcomes = [case.outcome for case in cases(audits["pass"])]
    assert set(outcomes) <= {Verdict.PASS, None}  # None: open, and the verdict does not hang on it
    assert f"\n{outcomes.count(Verdict.PASS)} of {len(outcomes)} gates passed.\n" in render(audits["pass"])
    assert "### Findings" not in render(audits["pass"])


def test_what_is_no_evidence_is_said_in_the_head(audits: dict[str, AuditResult]) -> None:
    assert "**SYNTHETIC images" in render(audits["pass"]).split("|")[0]
    assert "**SYNTHETIC" not in render(replace(audits["pass"], synthetic=False))
    assert "**ONNX emulation, not the engine: subject.onnx was not run.**" in render(audits["emulated"]).split("|")[0]


def command(result: AuditResult) -> str:
    return render(result).split("```sh\n")[1].split("\n```")[0]


def test_it_says_how_to_reproduce(audits: dict[str, AuditResult]) -> None:
    result = replace(audits["emulated"], engine=Path("runs/a b/fp16.onnx"), policy=Policy(margin=2.5))
    seed = f"--seed {result.arguments[result.arguments.index('--seed') + 1]}"
    assert command(result) == f"skinaudit audit 'runs/a b/fp16.onnx' --threads 1 --margin 2.5 --emulate {seed}"
    assert "--contract FILE.toml --sets DIR --seed " in command(audits["foreign"])
    typed = ("skinaudit", "audit", "x", "--sets", "/home/sets", "--probe", "spsa", "--probe-images", "9", "--no-probe")
    probed = replace(audits["pass"], arguments=(*typed, "--seed", "7"))
    assert command(probed) == "skinaudit audit subject.onnx --threads 1 --probe spsa --probe-images 9 --no-probe --seed 7"
    earlier = replace(audits["pass"], arguments=typed[:5])  # of a version that recorded no seed
    assert command(earlier) == "skinaudit audit subject.onnx --threads 1"
    assert audits["pass"].sets[1].images_digest.removeprefix("sha256:")[:12] in render(audits["pass"])


@pytest.mark.parametrize("text", ["a | b\n| c", "<img src=x onerror=alert(1)>", "**bold** _x_ [a](b) `c`", "@team #12 &lt;"])
def test_texts_from_files_stay_texts(audits: dict[str, AuditResult], text: str) -> None:
    result = audits["pass"]
    sets = (replace(result.sets[0], title=text), *result.sets[1:])
    finding = Finding(Severity.WARNING, "lineage", text, text)
    plain, rendered = render(result), render(replace(result, sets=sets, findings=(finding,), reason=text, dataset=text))
    assert "<" not in rendered
    assert not re.search(
        r"(?<!\\)[\[\]](?!\d|0|[+-])", re.sub(r"[+-]?\d+\.\d[,\]]|\[", "", rendered.split("### Findings")[1])
    )
    assert "@t" not in rendered
    rows = [line for line in rendered.splitlines() if line.startswith("|")]
    pipes = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    assert set(pipes) <= {9, 6, 5}  # sets and clinical figures, the operating point, gates
    assert pipes.count(6) == sum(line.count("|") == 6 for line in plain.splitlines()) > 0


@pytest.mark.parametrize("count", [1, 500, 5000])
@pytest.mark.parametrize("length", [10, 20_000])
def test_it_is_never_longer_than_a_comment(audits: dict[str, AuditResult], count: int, length: int) -> None:
    result, text = audits["rare"], "*" * length
    findings = tuple(Finding(Severity.FAIL, "lineage", f"set {index}", text) for index in range(count))
    sets = result.sets * (1 if count == 1 else 300)
    rendered = render(replace(result, findings=findings, sets=sets, reason=text, dataset=text, control=text))
    assert len(rendered) <= LIMIT
    assert rendered.startswith("## FAIL")
    assert "### Reproduce" in rendered
    assert ("more lines are in the JSON report" in rendered) is (count > 1)
