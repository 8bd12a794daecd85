"""The HTML report in Chromium: what only a browser knows. Skipped where there is no Chromium, playwright or axe-core."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.evidence.probing import plan_probes
from skinaudit.audit.judgement.policy import Floor, Policy
from skinaudit.audit.reports.html import render

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need the extra `browser`")
pytest.importorskip("jinja2", reason="the HTML report needs the extra `report`")
pytest.importorskip("matplotlib", reason="the HTML report needs the extra `report`")

WIDTHS = (400, 1400)
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def axe() -> str:
    """The text of axe-core: the file that SKINAUDIT_AXE names, else the one inside of axe-playwright-python."""
    spec = find_spec("axe_playwright_python")
    candidates = [os.environ.get("SKINAUDIT_AXE"), *([Path(str(spec.origin)).with_name("axe.min.js")] if spec else [])]
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_text(encoding="utf-8")
    pytest.skip("no axe-core: install the extra `browser` or name its axe.min.js in SKINAUDIT_AXE")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with playwright.sync_playwright() as started:
        if program is None and not Path(started.chromium.executable_path).is_file():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A page with everything on it: all banners, a failed set, a gallery, drift, a probe, a floor, a long name."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: lab.LinearEngine(path))
        result = audit_engine(
            lab.plant(folder / "run", settings={"fault": "melanoma to nevus"}).engine,
            probes=plan_probes(("square",), threat_model=None, images=20, queries=8, seed=0),
            policy=Policy(floors={"pgd": Floor(accuracy=99.0)}, margins={"clean": 30.0}),
        )
    assert result.probes
    assert all(entry.drift and entry.drift.listed for entry in result.sets)
    long = replace(result.sets[1], title="pgd linf 24/255 (a-very-long-file-name-without-a-place-to-break-it)", eps="12/255")
    page = folder / "report.html"
    page.write_text(render(replace(result, sets=(*result.sets, long), emulated=True)), encoding="utf-8")
    return page


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_is_quiet_whole_and_accessible(browser: Any, report: Path, axe: str, width: int, scheme: str) -> None:
    # The page's own policy forbids scripts, which axe-core is.
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    messages: list[str] = []
    requested: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(report.as_uri())
    assert messages == []
    assert [address for address in requested if not address.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(UNLOADED) == []
    charts = page.evaluate(CHARTS)
    assert len(charts) == 3
    for chart in charts:
        assert chart["width"] > 330
        assert chart["smallest"] > 9  # pixels of the smallest letters
        assert chart["outside"] == [], "text that leaves its chart"
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.add_script_tag(content=axe)
    results = page.evaluate("axe.run()")
    assert [(violation["id"], violation["nodes"][0]["html"]) for violation in results["violations"]] == []
    assert len(results["passes"]) > 20
    context.close()


def test_dark_and_light_differ_and_paper_is_white(browser: Any, report: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.evaluate(ground) != "rgb(255, 255, 255)"
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.evaluate("[...document.querySelectorAll('details table')].every(one => one.offsetHeight > 50)")
    page.emulate_media(media="screen", color_scheme="light")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    context.close()


def test_everything_that_opens_or_scrolls_is_reached_by_keyboard(browser: Any, report: Path) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 900})
    page.goto(report.as_uri())
    count = page.evaluate("document.querySelectorAll('a[href], summary, details[open] .scroll, section > .scroll').length")
    reached: set[str] = set()
    for _ in range(count + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(WHERE))
        if page.evaluate("document.activeElement.matches('details:not([open]) > summary')"):
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.parentElement.open")
            page.keyboard.press("Enter")
    assert len(reached - {"BODY"}) >= count
    page.close()


UNLOADED = "[...document.images].filter(one => !one.complete || !one.naturalWidth).map(one => one.alt)"
WHERE = """(() => {
  const one = document.activeElement;
  return one.tagName === "BODY" ? "BODY" : [...document.querySelectorAll("*")].indexOf(one) + one.tagName;
})()"""
CHARTS = """[...document.querySelectorAll("svg")].map(svg => {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")];
  const boxes = texts.map(one => [one.textContent, one.getBoundingClientRect()]);
  const outside = ([_, box]) =>
    box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  const scale = frame.width / svg.viewBox.baseVal.width;
  return {
    width: frame.width,
    smallest: Math.min(...texts.map(one => parseFloat(getComputedStyle(one).fontSize) * scale)),
    outside: boxes.filter(outside).map(([text, _]) => text),
  };
})"""
