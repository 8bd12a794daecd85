"""No name that comes from outside can act upon a terminal or a page: every report is driven with hostile names."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner

import skinaudit.cli
from skinaudit.artifacts.engine_contract import EngineContract, write_toml
from skinaudit.artifacts.printable import printable, printable_lines, printable_value
from skinaudit.audit import reports
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports.parts.lineup import line_up
from skinaudit.audit.reports.terminal import print_audit
from skinaudit.commands import endings, screen
from skinaudit.errors import InvalidInputError
from skinaudit.publish.card.metadata import to_yaml
from skinaudit.publish.run_record import FiledAudit
from skinaudit.publish.tracking.entries import audit_entry

HOSTILE = (
    "\x1b[1A\x1b[2K\rPASS: all sets",  # over the line above
    "\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
    "a\nPASS: all sets",
    "a\r\nPASS: all sets",
    "a\x85PASS\u2028PASS\u2029PASS\x0b\x0cPASS",
    "\x9b2KPASS\x90q\x9c",  # C1
    "\u202eSSAP\u2066x\u2069\u200f\u061c",
    "F\u200bA\u2060I\u00adL\ufeff\U000e0041",
    "x" + " " * 300 + "PASS: all sets",
    "x" + "\u3000" * 300 + "PASS: all sets",
    "[bold green]PASS[/bold green] [/] :smile: [link=https://evil.example]x[/link]",
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)> &lt;b&gt; {{ 7 * 7 }} {% raw %}',
    "| PASS | `code` **bold** [x](https://evil.example) ![x](https://evil.example/p.png) @team #1 ~~~",
    "https://evil.example www.evil.example",
    "]]> <!-- ]]&gt; \x00 \ud800 \uffff",
    '"""\n[input]\nsize = 1\n#',
    "$(rm -rf ~) `rm -rf ~` ; rm",
    "word " * 40 + "PASS: all sets hold",
)
UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\U000e0000-\U000e007f]| {100}"
)
"""Written by hand and not taken from the program; a form may be indented, but not by a hundred blanks."""


def hostile(value: Any, name: str) -> Any:
    """The value with the name behind every text in it that people read."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {
            item.name: hostile(getattr(value, item.name), name)
            for item in dataclasses.fields(value)
            if item.name not in KEPT and "digest" not in item.name
        }
        return dataclasses.replace(value, **changes)
    if type(value) is str:
        return value + name
    if isinstance(value, tuple | list):
        return type(value)(hostile(item, name) for item in value)
    if isinstance(value, dict):
        return {hostile(key, name): hostile(item, name) for key, item in value.items()}
    return value


KEPT = frozenset(
    {"rule", "answers", "labels", "lesions", "policy", "settings", "subject", "norm", "threat_model", "eps", "kind"}
)
"""Fields that skinaudit itself writes, of a fixed list, or packed."""


def every_report(result: AuditResult) -> Iterator[tuple[str, str]]:
    for name in reports.names("audit"):
        yield name, reports.render(name, result)
    lineup = line_up([(Path("a.onnx"), result), (Path("b\x1b[2K.onnx"), f"b: {result.reason}")])
    for name in reports.names("lineup"):
        yield f"lineup {name}", reports.render(name, lineup, "lineup")


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_report_holds_what_a_terminal_or_a_page_acts_upon(
    tmp_path: Path, audits: dict[str, AuditResult], name: str
) -> None:
    result = hostile(audits["rare"], name)
    assert result.verdict is not Verdict.PASS
    for form, text in every_report(result):
        assert not UNSEEN.findall(text), form
        CHECKS.get(form, len)(text)
        CHECKS.get(form.replace("lineup ", "any "), len)(text)


def last_lines(text: str) -> None:
    """The verdict and what follows it: no further line begins where a verdict would."""
    first, *further = text.rpartition("\n\n")[2].splitlines()
    assert first.startswith(("FAIL: ", "INCONCLUSIVE: "))
    assert all(line.startswith("  ") for line in further)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        assert not [key for key, value in attrs if key.startswith("on") or (value or "").startswith(("http", "javascript"))]


def no_script(text: str) -> None:
    parser = Tags()
    parser.feed(text)
    assert not {"script", "iframe", "object", "link", "base", "form"} & set(parser.found)
    assert "{{" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL) or "{{ 7 * 7 }}" in text


def plain_markdown(text: str) -> None:
    body = re.sub(r"```sh\n.*?\n```", "", text, flags=re.DOTALL)
    assert not re.search(r"<(script|img|svg)|(?<!\\)\]\(|(?<!\\)!\[|@team|(?<!\\)`code|https?://|www\.", body)
    assert not [line for line in body.splitlines() if line.startswith(("PASS", "[", "=", "<"))]


CHECKS: dict[str, Callable[[str], object]] = {
    "terminal": last_lines,
    "html": no_script,
    "any html": no_script,
    "markdown": plain_markdown,
    "any markdown": plain_markdown,
    "junit": ElementTree.fromstring,
    "sarif": json.loads,
    "json": json.loads,
}


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_nor_does_any_other_text(tmp_path: Path, audits: dict[str, AuditResult], name: str) -> None:
    contract = EngineContract(32, (f"a{name}", f"b{name}"), input=name or None, output=name)
    drafted = write_toml(contract, notes={"size": name, "classes": name})
    assert tomllib.loads(drafted)["input"]["size"] == 32
    metadata = "\n".join(to_yaml({"model": name, "tags": [name]}))
    assert yaml.safe_load(metadata)["model"] == printable(name)
    (tmp_path / "audit.json").write_text("{}")
    entry = audit_entry(FiledAudit(tmp_path / "audit.json", "sha256:0", hostile(audits["rare"], name)))
    texts = [entry.name, entry.note, *entry.params.values(), *entry.tags.values(), *entry.params, *entry.tags]
    for text in (drafted, metadata, *texts):
        assert not UNSEEN.findall(text)
    assert all("\n" not in text for text in texts)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_nor_do_the_lines_that_a_command_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    screen.note(f"a {name}")
    screen.say(f"a {name}")
    endings._report(InvalidInputError(f"{name}: no such file"))
    printed = capsys.readouterr()
    assert not UNSEEN.findall(printed.out + printed.err)
    assert printed.err.splitlines()[-1].startswith("skinaudit: ")
    outcome = CliRunner().invoke(skinaudit.cli.commands, ["audit", "--no-such", name.replace("\0", "")])
    assert outcome.exit_code == 2


def test_a_usage_error_shows_the_word_that_was_wrong_in_plain_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["skinaudit", "report", "--\x1b[2KPASS"])
    assert skinaudit.cli.invoke() == 2
    message = capsys.readouterr().err
    assert "[2KPASS" in message
    assert not UNSEEN.findall(message)


def test_what_needs_no_cleaning_is_the_same_object() -> None:
    value = (("a", "ö \u200c \u05d0 皮膚"), {"k": [1, None, "v"]}, Path("x"))
    assert printable_value(value) is value
    assert printable("a\r\nb\tc") == "a b c"
    assert printable_lines("a\nb\x1b") == "a\nb?"
    assert printable_value({"k\n": ["\x1b"]}) == {"k ": ["?"]}
    assert printable_value(Path("a\x1b")) == Path("a?")


def test_markup_of_the_terminal_library_is_a_name_like_any_other(audits: dict[str, AuditResult]) -> None:
    text = " ".join(reports.render("terminal", hostile(audits["rare"], "[bold]:smile:[/bold]")).split())
    assert "[bold]:smile:[/bold]" in text
    print_audit(hostile(audits["rare"], "[/]"), screen.console())  # an end without a beginning was an error
