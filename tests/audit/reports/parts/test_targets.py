from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.audit import reports
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.parts.targets import Target, parse_targets, plan_reports, write_targets
from skinaudit.errors import InvalidInputError, MissingDependencyError


def test_targets_are_read_as_they_are_written() -> None:
    texts = ("junit=a/b.xml", "json=x=y.json", "markdown=-")
    expected = (Target("junit", Path("a/b.xml")), Target("json", Path("x=y.json")), Target("markdown", None))
    assert parse_targets(texts) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["junit"], "write FORMAT=FILE, such as junit=audit.xml, or FORMAT=- for standard output; the formats are"),
        (["junit="], "write FORMAT=FILE"),
        (["=a.xml"], "write FORMAT=FILE"),
        (["pdf=a.pdf"], "report format 'pdf': choose one of json, junit, markdown, sarif, terminal"),
        (["json_=a.json"], "report format 'json_': choose one of"),
        (["junit=."], "is a folder; name a file in it"),
        (["junit=absent/"], "is a folder; name a file in it"),
        (["junit=a", "json=./a"], "something else goes to ./a already"),
        (["junit=-", "json=-"], "something else goes to - already"),
        (["json=taken.json"], "something else goes to taken.json already"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_audit(texts: list[str], message: str) -> None:
    # The formats that are there may be more than those named here.
    with pytest.raises(InvalidInputError) as caught:
        parse_targets(texts, occupied=(Path("taken.json"),))
    start, *names = message.split("choose one of ")
    assert start in str(caught.value)
    assert all(name in str(caught.value) for text in names for name in text.split(", "))


def test_every_format_is_written_and_one_printed(tmp_path: Path, audits: dict[str, AuditResult]) -> None:
    result = audits["rare"]
    targets = [Target(name, tmp_path / "new" / name) for name in reports.names()]
    assert write_targets(targets, result) is None
    for name in reports.names():
        assert (tmp_path / "new" / name).read_text(encoding="utf-8") == reports.render(name, result)
    assert write_targets([Target("json", None)], result) == reports.render("json", result)


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path, audits: dict[str, AuditResult]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match=r"a\.xml: cannot be written"):
        write_targets([Target("junit", tmp_path / "file" / "a.xml")], audits["rare"])


def test_reports_of_one_engine_lie_where_they_did() -> None:
    for engine, emulate, expected in (
        ("runs/x/engines/fp16.onnx", False, "runs/x/audits/fp16.onnx.json"),
        ("runs/x/engines/fp16.onnx", True, "runs/x/audits/fp16.onnx.emulated.json"),
        ("fp16.onnx", False, "fp16.onnx.audit.json"),
    ):
        (plan,) = plan_reports([Path(engine)], output=None, report_texts=["junit=a.xml"], emulate=emulate)
        assert (plan.engine, plan.report) == (Path(engine), Path(expected))
        assert plan.targets == (Target("junit", Path("a.xml")),)
    (plan,) = plan_reports([Path("a.onnx")], output=Path("b.json"), report_texts=[])
    assert plan.report == Path("b.json")


def test_a_default_place_that_cannot_be_written_to_is_left_out_and_a_chosen_one_refused(tmp_path: Path) -> None:
    engine = tmp_path / "run" / "engines" / "a.onnx"
    engine.parent.mkdir(parents=True)
    (tmp_path / "run" / "audits").write_text("a file")
    remarks: list[str] = []
    (plan,) = plan_reports([engine], output=None, report_texts=[], remark=remarks.append)
    assert plan.report is None
    (line,) = remarks
    assert line.startswith(f"{tmp_path}/run/audits/a.onnx.json: cannot be written")
    for chosen_places in ({"output": tmp_path / "run" / "audits" / "a.json", "report_texts": []},
                  {"output": tmp_path / "a.json", "report_texts": [f"junit={tmp_path}/run/audits/a.xml"]}):  # fmt: skip
        with pytest.raises(InvalidInputError, match=r"cannot be written; choose another file"):
            plan_reports([engine], **chosen_places)  # type: ignore[arg-type]


def test_reports_of_several_engines_are_named_after_them() -> None:
    plans = plan_reports(
        [Path("e/a.onnx"), Path("e/b.plan")], output=Path("o/{engine}.json"), report_texts=["junit=r/{engine}/x.xml"]
    )  # fmt: skip
    assert [plan.report for plan in plans] == [Path("o/a.onnx.json"), Path("o/b.plan.json")]
    assert [plan.targets for plan in plans] == [
        (Target("junit", Path("r/a.onnx/x.xml")),), (Target("junit", Path("r/b.plan/x.xml")),),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("engines", "output", "report_texts", "baseline", "message"),
    [
        (["a", "b"], "x.json", [], None, "--output x.json: several engines would write to one place; put {engine} into"),
        (["a", "b"], None, ["junit=x"], None, "--report junit=x: several engines would write to one place; put {engine}"),
        (["a", "b"], None, ["junit=-"], None, "--report junit=-: several engines would write to one place"),
        (["v1/a", "v2/a"], "{engine}.json", [], None, "v2/a: its report would go to a.json, which is in use"),
        (["v1/a", "v2/a"], None, ["junit={engine}"], None, "something else goes to a already"),
        (
            ["a"],
            None,
            [],
            "a.audit.json",
            "a: its report would go to a.audit.json, which is in use; choose another --output",
        ),
        (["a"], None, ["json=old.json"], "old.json", "something else goes to old.json already"),
        (["a"], "./a", [], None, "a: its report would go to a, which is in use"),
    ],
)
def test_no_report_goes_onto_another_file_of_the_audit(
    engines: list[str], output: str | None, report_texts: list[str], baseline: str | None, message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        plan_reports(
            [Path(engine) for engine in engines],
            output=None if output is None else Path(output),
            report_texts=report_texts,
            baseline=None if baseline is None else Path(baseline),
        )
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("module", "library"), [("jinja2", "jinja2"), ("matplotlib", "matplotlib"), ("PIL", "pillow")])
@pytest.mark.parametrize("several", [False, True])
def test_a_library_that_a_report_lacks_is_told_before_any_engine_is_opened(
    tmp_path: Path,
    lab: SimpleNamespace,
    opened: list[object],
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    library: str,
    several: bool,
) -> None:
    planted = lab.plant(tmp_path / "run", settings={})
    engines = [str(planted.engine), str(planted.reference)][: 1 + several]
    before = set(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module, None)
        outcome = CliRunner().invoke(cli.commands, ["audit", *engines, "--report", f"html={tmp_path}/{{engine}}.html"])
    assert isinstance(outcome.exception, MissingDependencyError)
    message = f"the HTML report needs {library}, which is not installed: pip install 'skinaudit[report]'"
    assert str(outcome.exception) == message
    assert opened == []
    assert set(tmp_path.rglob("*")) == before
    CliRunner().invoke(cli.commands, ["audit", str(planted.engine)])
    assert opened != []


def test_a_library_that_a_report_lacks_is_told_before_an_audit_is_read(
    tmp_path: Path, audits: dict[str, AuditResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    outcome = CliRunner().invoke(cli.commands, ["report", str(tmp_path / "absent.json"), "--report", "html=-"])
    assert isinstance(outcome.exception, MissingDependencyError)
    (tmp_path / "audit.json").write_text(reports.render("json", audits["rare"]))
    outcome = CliRunner().invoke(cli.commands, ["report", str(tmp_path / "audit.json"), "--report", "markdown=-"])
    assert outcome.exit_code == 0
    outcome = CliRunner().invoke(cli.commands, ["compare", str(tmp_path / "audit.json"), "--report", "html=-"])
    assert outcome.exit_code == 0  # another page, made without the library


def test_a_format_of_several_audits_says_what_it_needs_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = reports.Needs("the comparison", {"sys": "python", "no_such_module": "a-library"}, extra="some")
    monkeypatch.setattr("skinaudit.audit.reports.lineup.html.NEEDS", needs, raising=False)
    outcome = CliRunner().invoke(cli.commands, ["compare", str(tmp_path / "absent.json"), "--report", "html=-"])
    assert isinstance(outcome.exception, MissingDependencyError)
    assert "the comparison needs a-library, which is not installed: pip install 'skinaudit[some]'" in str(outcome.exception)
