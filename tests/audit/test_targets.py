from __future__ import annotations

from pathlib import Path

import pytest

from skinaudit.audit import reports
from skinaudit.audit.result import AuditResult
from skinaudit.audit.targets import Target, parse_targets, write_targets
from skinaudit.errors import InvalidInputError


def test_targets_are_read_as_they_are_written() -> None:
    given = ("junit=a/b.xml", "json=x=y.json", "markdown=-")
    expected = (Target("junit", Path("a/b.xml")), Target("json", Path("x=y.json")), Target("markdown", None))
    assert parse_targets(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["junit"], "write FORMAT=FILE, such as junit=audit.xml, or FORMAT=- for standard output; the formats are"),
        (["junit="], "write FORMAT=FILE"),
        (["=a.xml"], "write FORMAT=FILE"),
        (["pdf=a.pdf"], "report format 'pdf': choose among json, junit, markdown, sarif, terminal"),
        (["json_=a.json"], "report format 'json_': choose among"),
        (["junit=."], "is a folder; name a file in it"),
        (["junit=absent/"], "is a folder; name a file in it"),
        (["junit=a", "json=./a"], "something else goes to ./a already"),
        (["junit=-", "json=-"], "something else goes to - already"),
        (["json=taken.json"], "something else goes to taken.json already"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_audit(given: list[str], message: str) -> None:
    # The formats that are there may be more than those named here.
    with pytest.raises(InvalidInputError) as caught:
        parse_targets(given, taken=(Path("taken.json"),))
    start, *names = message.split("choose among ")
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
