from __future__ import annotations

import base64
import gc
import html
import io
import re
import sys
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import open_set, write_set
from skinaudit.artifacts.manifest import read_run, record, write_run
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit import reports
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Finding, Severity
from skinaudit.audit.checks.emulation import EMULATION
from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.judgement.result import AuditResult, Gate, Judgement, Verdict
from skinaudit.audit.reports.html import render
from skinaudit.audit.reports.page import gallery, words
from skinaudit.audit.reports.page.charts import drop_chart
from skinaudit.audit.reports.page.drawing import COLOURS
from skinaudit.audit.reports.parts.cases import gate_figures
from skinaudit.errors import MissingDependencyError

pytest.importorskip("jinja2", reason="the HTML report needs the extra `report`")
pytest.importorskip("matplotlib", reason="the HTML report needs the extra `report`")
Image = pytest.importorskip("PIL.Image", reason="the HTML report needs the extra `report`")
pytestmark = pytest.mark.usefixtures("opened")

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Every element with its attributes and its text, and a proof that all that is opened is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def losing(tmp_path: Path, lab: SimpleNamespace) -> AuditResult:
    """An engine that calls melanomas nevi, audited with a second eps of the same attack."""
    planted = lab.plant(tmp_path / "run", settings={"fault": "melanoma to nevus"})
    add_set(planted.run, lab, name="pgd-weak", eps=12)
    return audit_engine(planted.engine)


def add_set(run: Path, lab: SimpleNamespace, *, name: str, eps: int) -> None:
    """Write the planted attack with half of its perturbation, at another eps, and name it in the run."""
    strong, clean = open_set(run / "sets" / "pgd.safetensors"), open_set(run / "sets" / "clean.safetensors")
    before, after = (np.concatenate(list(image_set.batches(64))).astype(int) for image_set in (clean, strong))
    images = (before + (after - before) // 2).clip(0, 255).astype(np.uint8)
    path = run / "sets" / f"{name}.safetensors"
    info = replace(strong.info, name=name, threat_model=ThreatModel("linf", Fraction(eps)))
    logits = lab.LinearEngine(run / "engines" / "fp32.onnx").logits(images)
    write_set(path, info, images=images, labels=strong.labels, group=strong.group, ids=strong.ids, source_logits=logits)
    manifest = read_run(run)
    write_run(run, replace(manifest, sets={**manifest.sets, name: record(path, relative_to=run)}))


def test_the_page_is_whole_and_says_what_the_audit_says(losing: AuditResult) -> None:
    page = Page(render(losing))
    assert page.elements[0][0] == "html"
    assert page.all("html") == [{"lang": "en"}]
    assert losing.verdict is Verdict.FAIL
    assert "FAIL: subject.onnx, skinaudit audit" in page.text
    assert losing.reason in page.text
    for entry in losing.sets:
        comparison = entry.comparison
        assert entry.title in page.text
        for figure in (comparison.engine_accuracy, comparison.source_accuracy, comparison.engine_balanced):
            assert figure is not None
            assert f"{100 * figure:.1f}" in page.text
    for finding in losing.findings:
        assert finding.text in page.text
    for digest in (losing.engine_digest, *losing.lineage.values()):
        assert digest in page.text
    for name, version in losing.versions.items():
        assert name in page.text
        assert version in page.text
    assert "SYNTHETIC images" in page.text
    assert EMULATION not in page.text
    assert " ".join(losing.arguments) in page.text


def test_equal_audits_give_equal_pages(losing: AuditResult) -> None:
    assert render(losing) == render(losing)


@pytest.mark.parametrize("on", [True, False])
def test_the_garbage_collector_rests_and_is_left_as_it_was(
    losing: AuditResult, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    states = []

    def fails(_: AuditResult) -> None:
        states.append(gc.isenabled())
        raise ZeroDivisionError

    monkeypatch.setattr("skinaudit.audit.reports.html.accuracy_chart", fails)
    (gc.enable if on else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            render(losing)
        assert (states, gc.isenabled()) == ([False], on)
    finally:
        gc.enable()


def test_nothing_is_loaded_and_nothing_runs(losing: AuditResult) -> None:
    text = render(losing)
    page = Page(text)
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "audio", "video"}
    for tag, attributes in page.elements:
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            if key in ("src", "href", "xlink:href", "srcset", "data", "action"):
                assert value is not None
                assert value.startswith(("#", "data:image/png;base64,")), (tag, key, value[:80])
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)
    (policy,) = [
        element["content"] for element in page.all("meta") if element.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_every_identifier_is_there_once_and_every_reference_leads_somewhere(losing: AuditResult) -> None:
    text = render(losing)
    page = Page(text)
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    targets = {value[1:] for _, attributes in page.elements for key, value in attributes.items() if key == "href" and value
              and value.startswith("#")}  # fmt: skip
    targets |= set(re.findall(r"url\(#([^)]+)\)", text))
    targets |= {str(attributes["aria-labelledby"]) for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert targets <= set(names)
    assert len(targets) > 10


def test_figures_tables_and_scrolling_parts_are_told_to_those_who_do_not_see_them(losing: AuditResult) -> None:
    page = Page(render(losing))
    charts = page.all("svg")
    assert len(charts) == 3  # drops, accuracies, pgd linf
    assert all(chart["role"] == "img" and len(str(chart["aria-label"])) > 40 for chart in charts)
    assert page.all("img")
    assert all(len(str(element["alt"])) > 10 for element in page.all("img"))
    assert all(element.get("scope") in ("col", "row", "rowgroup") for element in page.all("th"))
    for element in page.all("div"):
        if element.get("class") == "scroll":
            assert element["tabindex"] == "0"
            assert element["role"] == "region"
            assert element["aria-label"]


def test_charts_take_every_colour_from_the_style_sheet(losing: AuditResult) -> None:
    text = render(losing)
    charts = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    for chart in charts:
        colours = re.findall(r"(?:fill|stroke): ([^;\"]+)", chart)
        assert colours
        assert {value for value in colours if value != "none" and not value.startswith("var(--")} == set()
        assert "metadata" not in chart
    used = set(re.findall(r"var\(--(\w+)\)", "".join(charts)))
    assert {"ink", "muted", "rule", "source", "engine", "fail"} <= used <= set(COLOURS)
    style = text[: text.index("</style>")]
    for colour in COLOURS:
        assert style.count(f"--{colour}:") == 2  # light, dark


def test_drawing_leaves_matplotlib_as_it_was(losing: AuditResult, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    for module in ("matplotlib.pyplot", "matplotlib.style"):  # slow to load, and pyplot chooses a backend
        monkeypatch.setitem(sys.modules, module, None)
    chart = drop_chart(losing)
    keys = [key for key in matplotlib.rcParams if key != "backend"]  # which cannot be read without choosing one
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False}):
        before = [matplotlib.rcParams[key] for key in keys]
        assert drop_chart(losing) == chart
        assert [matplotlib.rcParams[key] for key in keys] == before


def test_robust_accuracy_is_drawn_where_an_attack_has_two_eps(losing: AuditResult) -> None:
    labels = [str(element["aria-label"]) for element in Page(render(losing)).all("svg")]
    (curve,) = [label for label in labels if label.startswith("Accuracy against eps under pgd linf")]
    clean, strong, weak = (entry.comparison.engine_accuracy for entry in losing.sets)
    positions = [curve.index(f"eps {eps}/255") for eps in (0, 12, 24)]
    assert positions == sorted(positions)
    for accuracy in (clean, strong, weak):
        assert f"engine {100 * accuracy:.1f}%" in curve
    reduced = replace(losing, sets=tuple(entry for entry in losing.sets if entry.name != "pgd-weak"))
    assert len(Page(render(reduced)).all("svg")) == 2


def test_every_gate_is_there_once_with_what_it_measured_and_asked(losing: AuditResult) -> None:
    page = render(losing)
    rows = re.findall(r"<tr>.*?</tr>", page[page.index('id="gates"') : page.index('id="confusion"')], flags=re.DOTALL)
    gate_rows = [[text(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, flags=re.DOTALL)] for row in rows]
    gate_rows = [cells for cells in gate_rows if cells[0] != "set"]
    expected = []
    for gate in losing.gates:
        detail = "" if gate.subject in ("accuracy", "images") else f": {gate.subject}"
        measured, limit, p = words.gate_value(gate), words.gate_limit(gate), words.probability(gate.p_value)
        power = words.power(gate.power)
        expected.append([gate.set, f"{words.QUESTIONS[gate.rule]}{detail}", measured, limit, f"{gate.images}", power, p])
    answers = [cells.pop(2) for cells in gate_rows]
    assert any(gate.power is not None for gate in losing.gates)
    assert sorted(gate_rows) == sorted(expected)
    failed = sum(gate.judgement.verdict is Verdict.FAIL for gate in losing.gates)
    assert answers[:failed] == ["FAIL"] * failed
    assert failed > 2


def text(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def test_names_of_classes_may_be_too_wide_for_two_matrices_side_by_side() -> None:
    assert not words.too_wide(["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"])
    assert not words.too_wide(["melanoma", "carcinoma", "keratosis", "nevus", "other"])
    assert words.too_wide(["melanoma", "basal cell carcinoma", "benign keratosis", "melanocytic nevus"])


def test_a_gate_is_told_in_its_own_unit() -> None:
    undecided = Judgement(Verdict.INCONCLUSIVE)
    drop = Gate("drop", "clean", "accuracy", 0.012, 0.011, Interval(-0.001, 0.02), 0.0004, 900, undecided)
    assert (words.gate_value(drop), words.gate_limit(drop)) == ("+1.2 [\u22120.1, +2.0]", "below 1.1 points")
    flips = Gate("malignant-to-benign", "clean", "images", 3.0, 2.0, None, None, 900, undecided)
    assert (words.gate_value(flips), words.gate_limit(flips)) == ("3", "at most 2 images")
    floor = Gate("floor", "pgd", "accuracy", 0.615, 0.6, Interval(0.58, 0.65), 0.7, 900, undecided)
    assert (words.gate_value(floor), words.gate_limit(floor)) == ("61.5% [58.0%, 65.0%]", "at least 60.0%")
    turned = Gate("turned-benign", "pgd", "malignant", 0.027, 0.05, Interval(-0.07, 0.138), 1.0, 37, undecided)
    assert (words.gate_value(turned), words.gate_limit(turned)) == ("2.7% [0.0%, 13.8%]", "below 5.0%")
    assert gate_figures(turned) == "2.7% [0.0, 13.8] of 37 turned benign, bound 5.0%"
    assert [words.probability(p) for p in (None, 0.0004, 0.0254, 1.0)] == ["\u2013", "< 0.001", "0.025", "1.000"]
    assert [words.logits(difference) for difference in (0.0, 5.8e-5, 0.0014, 0.19, 0.2, 1.04, 9.96, 27.3)] == [
        "0", "< 0.001", "0.0014", "0.19", "0.20", "1.0", "10", "27"
    ]  # fmt: skip


def test_figures_that_other_formats_share_get_the_minus_signs_of_the_page() -> None:
    assert words.printed("-0.3 [-0.9, +0.4]") == "\N{MINUS SIGN}0.3 [\N{MINUS SIGN}0.9, +0.4]"
    assert words.printed("-") == words.NOTHING


def test_a_set_is_shown_against_its_own_margin(losing: AuditResult) -> None:
    gates = tuple(replace(gate, limit=0.3) if gate.rule == "drop" and gate.set == "clean" else gate for gate in losing.gates)
    page = Page(render(replace(losing, gates=gates)))
    (drops,) = [str(element["aria-label"]) for element in page.all("svg") if str(element["aria-label"]).startswith("Drop")]
    assert "against each set's own margin. clean: " in drops
    assert "margin 30.0; pgd linf 24/255: " in drops
    assert "margin 30.0" in page.text
    for name in ("terminal", "markdown"):
        row = next(line for line in reports.render(name, replace(losing, gates=gates)).splitlines() if "clean " in line)
        assert "30.0" in row


def test_confusions_put_malignant_classes_first_and_frame_missed_cancers(losing: AuditResult) -> None:
    text = render(losing)
    (table,) = re.findall(r'<table class="confusion">\s*<caption>clean, engine</caption>.*?</table>', text, flags=re.DOTALL)
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)</t", row) for row in re.findall(r"<tr>.*?</tr>", table, flags=re.DOTALL)]
    assert rows[0] == ["label", "mel", "bcc", "akiec", "nv", "bkl", "df", "vasc", "images"]
    confusion = losing.sets[0].comparison.engine_confusion
    order = [losing.classes.index(name) for name in rows[0][1:-1]]
    assert [[int(cell) for cell in row[1:-1]] for row in rows[1:]] == [[confusion[a][b] for b in order] for a in order]
    missed = sum(bool(confusion[a][b]) for a in order[:3] for b in order[3:])
    assert table.count("missed") == missed > 0


def test_the_gallery_shows_the_very_pixels_of_the_set_files(losing: AuditResult) -> None:
    page = Page(render(losing))
    images = {str(element["alt"]): str(element["src"]) for element in page.all("img")}
    clean, attacked, _ = losing.sets
    flip = attacked.flipped[0]
    folder = losing.engine.parent
    for alt, entry in (("Clean image", clean), ("Adversarial image", attacked)):
        source = images[f"{alt} {flip.index} of {attacked.title}: melanoma"]
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
        assert np.array_equal(pixels.transpose(2, 0, 1), open_set(folder / entry.path).image(flip.index))
    assert f"perturbation \u00d7{127 // 24}" in page.text
    assert page.text.count("malignant called benign") >= len(losing.sets)
    assert f"{100 * flip.engine_probabilities[1]:.1f}%" in page.text


def test_what_cannot_be_shown_is_told(losing: AuditResult, lab: SimpleNamespace, tmp_path: Path) -> None:
    reduced = Page(render(losing, pictures=False))
    assert reduced.all("img") == []
    assert "The pictures were left out of this report." in reduced.text
    assert "melanoma, called melanocytic nevus" in reduced.text

    path = losing.engine.parent / losing.sets[1].path
    path.rename(path.with_suffix(".away"))
    page = Page(render(losing))
    assert f"Without pictures: {path}: no such adversarial set." in page.text
    assert any(str(element["alt"]).startswith("Clean image") for element in page.all("img"))

    other_run = lab.plant(tmp_path / "other", data_seed=6)
    (other_run.run / "sets" / "pgd.safetensors").rename(path)
    assert "its images differ from those that were audited" in Page(render(losing)).text


def test_large_pictures_are_shown_smaller_and_the_page_says_so(losing: AuditResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skinaudit.audit.reports.page.gallery.SIDE", 4)
    page = Page(render(losing))
    assert "Pictures are shown at 4 of 6 pixels" in page.text
    for element in page.all("img"):
        assert Image.open(io.BytesIO(base64.b64decode(str(element["src"]).partition(",")[2]))).size == (4, 4)


def test_a_faithful_engine_has_an_empty_gallery(tmp_path: Path, lab: SimpleNamespace) -> None:
    text = Page(render(audit_engine(lab.plant(tmp_path / "run", settings={}).engine))).text
    assert "PASS" in text
    assert "None: the engine classifies every image correctly that its source classifies correctly." in text


def test_an_emulated_audit_says_so_in_every_part(losing: AuditResult) -> None:
    text = Page(render(replace(losing, emulated=True, synthetic=False))).text
    assert text.count(EMULATION) >= 2 + 3 * len(losing.sets)
    assert "SYNTHETIC" not in text
    assert "Check whether its licence allows you to share this report" in text


def test_an_engine_that_was_compared_with_nothing_claims_nothing(losing: AuditResult) -> None:
    no_source = {"source_accuracy": None, "source_balanced": None, "source_malignant": None, "flips": None,
               "malignant_to_benign": None, "drop": None, "source_confusion": None}  # fmt: skip
    sets = []
    for entry in losing.sets:
        classes = tuple(replace(item, source=None, drop=None) for item in entry.comparison.classes)
        comparison = replace(entry.comparison, classes=classes, **no_source)
        sets.append(replace(entry, comparison=comparison, flipped=()))
    foreign = replace(losing, foreign=True, asked=None, run_name=None, lineage={}, sets=tuple(sets), gates=())
    page = Page(render(foreign))
    assert "nothing was compared" in page.text
    assert "Foreign engine" in page.text
    assert "not compared" in page.text
    assert len(page.all("svg")) == 2  # no drops
    assert "None" not in page.text.replace("There are no gates: nothing was compared", "")


def test_every_colour_can_be_read_in_both_schemes() -> None:
    """The contrast that WCAG 2 AA asks for: 4.5 for text, 3 for the lines of a chart."""
    style = files("skinaudit.audit.reports.page").joinpath("style.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6}|\d+ \d+ \d+);", block)) for block in style.split("@media")[:2])
    grounds = re.findall(r"\.verdict\.\w+ { background: (#\w{6})", style)
    assert len(grounds) == 3
    assert all(contrast(rgb("#ffffff"), rgb(ground)) >= 4.5 for ground in grounds)
    assert set(COLOURS) <= set(light) == set(dark)
    for scheme in (light, dark):
        paper = rgb(scheme["paper"])
        for text in ("ink", "muted", "link", "pass", "fail", "inconclusive"):
            assert contrast(rgb(scheme[text]), paper) >= 4.5, text
        for text in ("ink", "muted"):
            assert contrast(rgb(scheme[text]), rgb(scheme["sheet"])) >= 4.5, text
        for line in ("source", "engine"):
            assert contrast(rgb(scheme[line]), paper) >= 3, line
        darkest = (paper + np.array([int(part) for part in scheme["shade"].split()])) / 2  # a confusion's fullest cell
        assert contrast(rgb(scheme["ink"]), darkest) >= 4.5


def rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)], np.float64)


def contrast(foreground: NDArray[np.float64], background: NDArray[np.float64]) -> float:
    def luminance(colour: NDArray[np.float64]) -> float:
        part = colour / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        return float(linear @ np.array([0.2126, 0.7152, 0.0722]))

    low, high = sorted((luminance(foreground), luminance(background)))
    return (high + 0.05) / (low + 0.05)


def test_the_command_to_repeat_an_audit_names_no_other_program(losing: AuditResult) -> None:
    hostile = replace(losing, arguments=("sh", "-c", "curl example.org | sh; $(touch x)"))
    assert "skinaudit audit sh -c 'curl example.org | sh; $(touch x)'" in Page(render(hostile)).text


def test_names_are_text_and_never_markup(losing: AuditResult) -> None:
    hostile = "<script>alert('$x$')</script> & \"co\""
    sets = (losing.sets[0], *(replace(entry, title=f"{hostile} {entry.title}") for entry in losing.sets[1:]))
    findings = (Finding(Severity.WARNING, "lineage", hostile, hostile), *losing.findings)
    page = Page(render(replace(losing, sets=sets, findings=findings, reason=hostile, dataset=hostile, run_name=hostile)))
    assert page.all("script") == []
    assert hostile in page.text
    labels = [str(element["aria-label"]) for element in page.all("svg")]
    assert all(hostile in label for label in labels[:2])


@pytest.mark.parametrize("module", ["jinja2", "matplotlib", "PIL"])
def test_a_missing_library_is_one_line_with_the_command(
    losing: AuditResult, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    library = "pillow" if module == "PIL" else module
    message = rf"the HTML report needs {library}, .*pip install 'skinaudit\[report\]'"
    with pytest.raises(MissingDependencyError, match=message):
        render(losing)


def test_every_cancer_that_turned_benign_has_a_card_and_the_rest_are_counted(
    audits: dict[str, AuditResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = audits["melanoma to nevus"]
    lost = [entry.comparison.malignant_to_benign or 0 for entry in result.sets]
    assert min(lost) > 40
    for shelf, count in zip(gallery.shelves(result, pictures=False), lost, strict=True):
        assert sum(card.flip.malignant_to_benign for card in shelf.cards) == count
    monkeypatch.setattr(gallery, "CANCERS", 40)
    for shelf, count in zip(gallery.shelves(result, pictures=False), lost, strict=True):
        assert sum(card.flip.malignant_to_benign for card in shelf.cards) == 40
        assert f"{count - 40} more malignant images turned benign; the JSON report names all." in shelf.notes


@pytest.mark.parametrize("limit", ["html.MANY_CLASSES", "page.words._MATRIX_CHARACTERS"])
def test_many_or_long_classes_stand_in_rows_and_upright(
    losing: AuditResult, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_of_few = render(losing)
    assert 'class="confusion many"' not in page_of_few
    monkeypatch.setattr(f"skinaudit.audit.reports.{limit}", 3)
    page = render(losing)
    Page(page)
    assert page.count('class="confusion many"') == page.count('class="confusion') == page_of_few.count('class="confusion"')
    table = page.split("Sensitivity by class")[1].split("</table>")[0]
    rows = re.findall(r'<th scope="row">(\w+)', table)
    assert rows == [row.name for row in losing.sets[0].comparison.classes]
    assert table.count("<td>") == len(rows) * (1 + len(losing.sets))
