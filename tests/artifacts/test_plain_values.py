"""Whatever a file holds: checked plain values, or one bounded line that names file, field and expectation."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.plain_values import MAX_BYTES, MAX_DEPTH, MAX_KEY, parse_json, read_json, read_toml
from skinaudit.artifacts.printable import MAX_TEXT, show
from skinaudit.errors import InvalidInputError

PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")) | st.sampled_from(" \u200b"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | PRINTABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE, inner, max_size=3),
    max_leaves=10,
)


def refused(path: Path, content: bytes | str) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    read = read_toml if path.suffix == ".toml" else read_json
    with pytest.raises(InvalidInputError) as caught:
        read(path, kind="run manifest", again="train again")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(("train again", "save it as UTF-8 without one"))
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < len(str(path)) + 500
    return message


@given(value=st.dictionaries(PRINTABLE, VALUES, max_size=4))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "round.json"
    write_json(path, value)
    assert read_json(path, kind="file", again="") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"b": NaN}}', "a.b should be a finite number, found nan"),
        ('{"a": [1, {"b": -Infinity}]}', r"a[1].b should be a finite number, found -inf"),
        ('{"a": 1e999}', "a should be a finite number, found inf"),
        ('{"a": 1' + "0" * 400 + "}", "a should be a number of at most 64 bits, found 1000"),
        ('{"a": ' + "9" * 100_000 + "}", "a should be a number of at most 64 bits, found 9999"),
        (f'{{"a": {2**64}}}', "a should be a number of at most 64 bits, found 18446744073709551616"),
        (f'{{"a": {-(2**63) - 1}}}', "a should be a number of at most 64 bits"),
        ('{"a": {"b": 1, "c": 2, "b": 1}}', "a.b should be given once, but is there twice"),
        ('{"a": 1, "a": 1}', "a should be given once"),
        (r'{"a": "x\u001b[31m"}', r"a should be a text without control characters, found 'x\x1b[31m'"),
        (r'{"a": "one\ntwo"}', r"found 'one\ntwo'"),
        (r'{"a": "\u202egnp.exe"}', r"found '\u202egnp.exe'"),
        (r'{"a": "\ud800"}', r"found '\ud800'"),
        ('{"a": "\u2028"}', r"found '\u2028'"),
        (r'{"a": {"b\u0000": 1}}', r"a key of a should be a text without control characters, found 'b\x00'"),
        ('{"a": "' + "x" * (MAX_TEXT + 1) + '"}', "a should be a text of at most 4,096 characters, found 4,097"),
        ('{"' + "x" * (MAX_KEY + 1) + '": 1}', "a key of the whole file should be a text of at most 300 characters"),
        ('{"a": ' + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "}", "should be nested at most 32 deep"),
        ('{"a": ' * 100_000, "not a readable run manifest (nested too deeply)"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": "x\x07"}', "not a readable run manifest (Invalid control character"),
        ('{"a": 1', "not a readable run manifest (Expecting"),
        ("", "not a run manifest: is empty"),
        ("[1]", "not a run manifest: should be an object, found an array of 1 item"),
        ("7", "should be an object, found 7"),
        ("\ufeff{}", "begins with a byte order mark"),
        (b'{"a": "\xff"}', "should be text in UTF-8, found other bytes at 7"),
        (b"\xff\xfe{\x00}\x00", "should be text in UTF-8"),
    ],
)  # fmt: skip
def test_json_that_nobody_could_use_is_refused_with_its_place(tmp_path: Path, text: bytes | str, message: str) -> None:
    assert message in refused(tmp_path / "run.json", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = nan", "a should be a finite number, found nan"),
        ("[a]\nb = -inf", "a.b should be a finite number"),
        ("a = 1" + "0" * 400, "a should be a number of at most 64 bits"),
        ("[a]\nb = 1" + "0" * 5000, "a.b should be a number of at most 64 bits"),
        ("a = -" + "1_0" * 5000, "a should be a number of at most 64 bits"),
        ("[a]\nb = '" + "0" * 5000 + "'", "a.b should be a text of at most"),
        ("a = 1\na = 2", "not a readable run manifest (Cannot overwrite a value (at end of document) in 'a = 2')"),
        ("a = 1\na = 2\n[b]", "(Cannot overwrite a value (at line 2, column 6) in 'a = 2')"),
        ('a = "\\u001b"', r"a should be a text without control characters, found '\x1b'"),
        ('a = "\x07"', "not a readable run manifest (Illegal character"),
        ("a = 2026-11-26", "a should be a text, a number, true or false, found a date"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        (".".join(["a"] * 100) + " = 1", "should be nested at most 32 deep"),
        ("a = ", "not a readable run manifest (Invalid value"),
        ("\ufeffa = 1", "begins with a byte order mark"),
        (b"a = '\xff'", "should be text in UTF-8"),
        ("# " + "x" * 2**20, "has more than 1,048,576 bytes"),
    ],
)
def test_toml_that_nobody_could_use_is_refused_with_its_place(tmp_path: Path, text: bytes | str, message: str) -> None:
    assert message in refused(tmp_path / "policy.toml", text)


def test_a_file_of_absurd_size_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: no block of it is written
    with pytest.raises(InvalidInputError, match=f"huge.json: not a file: has more than {MAX_BYTES:,} bytes; do it"):
        read_json(path, kind="file", again="do it")


@pytest.fixture
def strange(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """What is no regular file, by its kind."""
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("pipe.json")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.json"))
        yield {
            "a pipe": tmp_path / "pipe.json", "a folder": tmp_path, "a device": Path("/dev/zero"),
            "a socket": tmp_path / "s.json",
        }  # fmt: skip


def test_no_pipe_folder_device_or_socket_is_opened(strange: dict[str, Path]) -> None:
    for kind, path in strange.items():
        for read in (read_json, read_toml):
            with pytest.raises(InvalidInputError, match=rf": is {kind}, not a regular file \(policy\)"):
                read(path, kind="policy", again="")
    with pytest.raises(InvalidInputError, match="is a pipe"):
        read_json(strange["a folder"] / "link.json", kind="policy", again="")


def test_a_missing_or_unreachable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    with pytest.raises(InvalidInputError, match=r"none\.json: no such run manifest"):
        read_json(tmp_path / "none.json", kind="run manifest", again="")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_json(tmp_path / "file" / "below.json", kind="run manifest", again="")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    for name in ("any.json", "any.toml"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        read: Any = read_json if name.endswith("json") else read_toml
        message = ""
        try:
            assert isinstance(read(path, kind="file", again=""), dict)
        except InvalidInputError as error:
            message = str(error)
        assert message == "" or (message.isprintable() and name in message)


@given(VALUES | st.text())
def test_values_are_shown_on_one_short_line(value: Any) -> None:
    line = show(value)
    assert line.isprintable() or isinstance(value, str)
    assert len(line.splitlines()) == 1
    assert len(line) < 500


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("engine manifest", b"", "x.json: not an engine manifest: is empty; make it again"),
        ("run manifest", b" \n", "x.json: not a run manifest: is empty; make it again"),
        (
            "engine manifest",
            b"[]",
            "x.json: not an engine manifest: should be an object, found an array of 0 items; make it again",
        ),
        ("engine manifest", b"\xff\xfe{", "x.json: not an engine manifest: should be text in UTF-8, found other bytes at 0"),
        ("adversarial set", b"\xef\xbb\xbf{}", "x.json: not an adversarial set: begins with a byte order mark"),
    ],
)
def test_a_file_of_no_use_is_told_in_good_english(tmp_path: Path, kind: str, content: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        read_json(tmp_path / "x.json", kind=kind, again="make it again")


def test_one_text_of_a_larger_file_is_checked_alike() -> None:
    assert parse_json('{"epoch": 1}', where="log: line 1", kind="epoch", again="") == {"epoch": 1}
    with pytest.raises(InvalidInputError, match="log: line 1: loss should be a finite number, found nan; do it"):
        parse_json(json.dumps({"loss": float("nan")}), where="log: line 1", kind="epoch", again="do it")
