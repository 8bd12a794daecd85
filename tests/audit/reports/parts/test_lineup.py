from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from skinaudit.audit import reports
from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.judgement.result import AuditResult, Gate, Judgement, Verdict
from skinaudit.audit.reports.lineup.terminal import print_lineup
from skinaudit.audit.reports.parts.columns import plain_console
from skinaudit.audit.reports.parts.lineup import Entry, Lineup, Refusal, line_up, worst_exit_code, worst_gate
from skinaudit.audit.reports.parts.lineup_text import notes

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def lined_up(*results: AuditResult | str) -> Lineup:
    return line_up([(Path(f"engine{index}.onnx"), result) for index, result in enumerate(results)])


def gate(verdict: Verdict, high: float, *, binding: bool = True, rule: str = "drop", limit: float = 0.01) -> Gate:
    return Gate(rule, "clean", "accuracy", 0.0, limit, Interval(-0.01, high), 0.5, 900, Judgement(verdict), binding)


def test_figures_are_those_of_the_audits_in_the_given_order(audits: dict[str, AuditResult]) -> None:
    in_order = [audits["rare"], audits["pass"], audits["foreign"]]
    lineup = lined_up(*in_order)
    assert lineup.titles == ("clean", "pgd linf 24/255")
    assert len(lineup.audited) == 3
    for entry, result in zip(lineup.audited, in_order, strict=True):
        assert (entry.verdict, entry.reason, entry.engine_digest) == (result.verdict, result.reason, result.engine_digest)
        for row, audited in zip(entry.sets, result.sets, strict=True):
            comparison = audited.comparison
            assert (row.title, row.accuracy, row.drop) == (audited.title, comparison.engine_accuracy, comparison.drop)
            assert row.malignant == comparison.engine_malignant
            assert row.comparable
    assert lineup.audited[2].sets[0].verdict is None


def test_other_images_under_the_same_title_are_marked(audits: dict[str, AuditResult]) -> None:
    lineup = lined_up(audits["pass"], audits["few images"], audits["transfer"])
    assert [[row.comparable for row in entry.sets] for entry in lineup.audited][:2] == [[True, True], [False, False]]
    text = reports.render("terminal", lineup, "lineup")
    assert len(re.findall(r"^few/subject\.onnx ≠ ", text, re.MULTILINE)) == 2
    assert "≠ the images differ from those of the first audit with this set: not comparable" in text
    assert "≠" not in reports.render("terminal", lined_up(audits["pass"], audits["rare"]), "lineup")
    assert "* transfer: crafted on a different model" in text


def test_a_line_about_several_engines_is_said_once(audits: dict[str, AuditResult]) -> None:
    weak, rare = (replace(audits[name], agreement_only=True, findings=()) for name in ("pass", "rare"))
    line = "agreement only: the source model is not robust, so these figures say nothing about robustness"
    assert f"all engines: {line}" in notes(lined_up(weak, rare))
    assert f"pass/subject.onnx, rare/subject.onnx: {line}" in notes(lined_up(weak, rare, audits["transfer"]))
    assert [text for text in notes(lined_up(weak)) if "agreement" in text] == [f"subject.onnx: {line}"]


def test_labels_are_as_short_as_they_can_be_and_name_no_machine(audits: dict[str, AuditResult]) -> None:
    first, second = replace(audits["pass"], engine=Path("/home/me/a.onnx")), replace(audits["rare"], engine=Path("x/b.onnx"))
    assert [entry.label for entry in lined_up(first, second).entries] == ["a.onnx", "b.onnx"]
    assert [entry.label for entry in lined_up(audits["pass"], audits["rare"]).entries] == [
        "pass/subject.onnx", "rare/subject.onnx",
    ]  # fmt: skip
    again = line_up([(Path("v1.json"), audits["pass"]), (Path("/home/me/v2.json"), audits["pass"])])
    assert [entry.label for entry in again.entries] == ["v1.json", "v2.json"]
    alike = line_up([(Path("/a/v.json"), audits["pass"]), (Path("/b/v.json"), audits["pass"])])
    assert [entry.label for entry in alike.entries] == ["v.json (1)", "v.json (2)"]


def test_the_worst_gate() -> None:
    assert worst_gate([]) is None
    passed, closer = gate(PASS, 0.002), gate(PASS, 0.009)
    open_one, unbound = gate(INCONCLUSIVE, 0.02), gate(INCONCLUSIVE, 0.2, binding=False)
    failed, worse = gate(FAIL, 0.03), gate(FAIL, 0.3, binding=False)
    count = Gate("malignant-to-benign", "clean", "images", 0.0, 0.0, None, None, 900, Judgement(PASS))
    floor = gate(PASS, 0.9, rule="floor", limit=-0.2)  # holds by far
    assert worst_gate([passed, closer, unbound, count, floor]) is closer
    assert worst_gate([closer, open_one, unbound]) is open_one
    assert worst_gate([open_one, failed, count]) is failed
    assert worst_gate([failed, worse]) is worse
    assert worst_gate([failed, replace(count, value=2.0, judgement=Judgement(FAIL))]).rule == "malignant-to-benign"  # type: ignore[union-attr]
    assert worst_gate([unbound]) is unbound


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["pass", "pass"], 0),
        (["pass", "few images"], 3),
        (["few images", "rare", "pass"], 1),
        (["rare", None, "pass"], 2),
        ([], 2),
    ],
)
def test_the_worst_exit_code(audits: dict[str, AuditResult], names: list[str | None], code: int) -> None:
    lineup = lined_up(*("no manifest" if name is None else audits[name] for name in names))
    assert worst_exit_code(lineup) == code


def test_an_engine_that_could_not_be_audited_is_a_row_in_every_form(audits: dict[str, AuditResult]) -> None:
    lineup = lined_up(audits["pass"], "engine1.onnx: it is <damaged>")
    assert lineup.entries[1] == Refusal("engine1.onnx", "it is <damaged>")
    value = json.loads(reports.render("json", lineup, "lineup"))
    assert value["kind"] == "skinaudit-lineup/2"
    assert value["entries"][1] == {"label": "engine1.onnx", "reason": "it is <damaged>"}
    assert value["entries"][0]["verdict"] == "PASS"
    for name in ("terminal", "markdown", "html"):
        text = reports.render(name, lineup, "lineup")
        assert "ERROR" in text
        assert ("it is <damaged>" in text) is (name == "terminal")
        assert "SYNTHETIC images" in text
    lines = reports.render("terminal", lined_up("damaged"), "lineup").splitlines()
    assert lines[1].split() == ["engine0.onnx", "-", "-", "ERROR"]
    assert lines[-1] == "engine0.onnx: damaged"


def test_eighty_columns_hold_a_row_a_line_and_the_sentences_below(audits: dict[str, AuditResult]) -> None:
    lineup = lined_up(audits["pass"], audits["rare"], "engine2.onnx: " + "it is damaged in many ways; " * 6)
    stream = io.StringIO()
    print_lineup(lineup, plain_console(stream, width=80))
    table, sentences = stream.getvalue().split("\n\n")[:2]
    labels = [entry.label for entry in lineup.entries]
    assert [line.split()[0] for line in table.splitlines()] == ["engine", *labels]
    assert max(map(len, stream.getvalue().splitlines())) <= 80
    assert [label for label in labels if f"\n{label}: " in f"\n{sentences}"] == labels


def test_emulation_and_baseline_are_told(audits: dict[str, AuditResult]) -> None:
    entry = lined_up(audits["emulated"]).audited[0]
    assert isinstance(entry, Entry)
    lost = Gate("baseline-malignant-to-benign", "clean", "images", 9.0, 8.0, None, None, 175, Judgement(FAIL))
    text = reports.render("markdown", Lineup(("clean",), (replace(entry, worst=lost),)), "lineup")
    assert "clean: against the baseline, 9 malignant images turned benign, limit 8" in text
    baseline = replace(entry, worst=gate(FAIL, 0.03, rule="baseline-drop"))
    text = reports.render("markdown", Lineup(("clean",), (baseline,)), "lineup")
    assert "ONNX emulation, the engine itself was not run: subject.onnx" in text
    assert "clean: against the baseline, drop 0.0" in text


class Closed(HTMLParser):
    """Raises where an element is closed that is not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += int(dict(attrs).get("colspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_its_tables_are_square(audits: dict[str, AuditResult]) -> None:
    page = Closed()
    page.feed(reports.render("html", lined_up(audits["rare"], audits["pass"], "no <manifest>"), "lineup"))
    assert page.open == []
    assert set(page.rows) == {5, 6}


def test_probes_have_a_table_of_their_own(audits: dict[str, AuditResult]) -> None:
    from skinaudit.audit.figures.fresh_attack import ProbeResult

    probe = ProbeResult(
        name="square", title="probe square linf 2/255", by_answers=True, norm="linf", eps="2/255",
        settings={"queries": 500}, seed=0, images=200, queries=9000, seconds=3.0, clean_accuracy=0.7,
        replay_accuracy=0.6, fresh_accuracy=0.55,
        fresh_interval=Interval(0.5, 0.6), worst_accuracy=0.5, reference_accuracy=0.56, drop=None, masking=None,
    )  # fmt: skip
    text = reports.render("terminal", lined_up(replace(audits["pass"], probes=(probe,)), audits["rare"]), "lineup")
    assert re.search(
        r"^fresh attack .*\nprobe square linf 2/255\npass/subject.onnx +200 +55.0% +50.0% +56.0% +-$", text, re.M
    )
