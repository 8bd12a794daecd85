"""Tables in the dialects in which people have them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.tables import OVERLONG, fold, may_be_table, mentions, read_header, read_table

ROWS = [{"image_id": "ISIC_1", "dx": "mel", "note": ""}, {"image_id": "ISIC_2", "dx": "nv", "note": "a, b"}]
TEXT = 'image_id,dx,note\nISIC_1,mel,\nISIC_2,nv,"a, b"\n'


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("image_id,dx", "Image ID , DX").encode(),
        b'"image_id";"dx";"note"\nISIC_1;mel;\nISIC_2;nv;a, b\n',
        b"image_id\tdx\tnote\nISIC_1\tmel\nISIC_2\tnv\ta, b\n",
        b"image_id|dx|note\nISIC_1|mel|\nISIC_2|nv|a, b\n",
        b'image_id,dx,note\n"1",ISIC_1,mel,\n"2",ISIC_2,nv,"a, b"\n',
        b"\r\n\nimage_id\tdx\tnote\nISIC_1\tmel\t\nISIC_2\tnv\ta, b\n",
        b"sep=;\nimage_id;dx;note\nISIC_1;mel;\n;;\nISIC_2;nv;a, b\n\n",
        'image_id,dx,note\nISIC_1,mel,\n" ISIC_2 ","nv","a, b"\n\n'.encode("utf-16"),
        '\u200bimage_id,dx \xa0,note\n\u200eISIC_1\u200b,mel\xad \u2060,\nISIC_2\ufeff,nv,"a, b"\n'.encode(),
    ],
)
def test_dialects_of_one_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "HAM10000_metadata (1).csv"
    path.write_bytes(content)
    table = read_table(path)
    assert table.columns == read_header(path) == ("image_id", "dx", "note")
    assert list(table.rows) == ROWS


def test_a_quoted_line_break_stays_in_its_cell(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'image_id,note,dx\r\nISIC_1,"two\r\nlines",mel\r\n')
    assert read_table(tmp_path / "a.csv").rows[0] == {"image_id": "ISIC_1", "note": "two\r\nlines", "dx": "mel"}


def test_a_line_of_too_many_cells_says_so_and_trailing_delimiters_do_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image_id,site,dx\nISIC_1,back,mel,,\nISIC_2,back, left,nv\n")
    first, second = read_table(tmp_path / "a.csv").rows
    assert OVERLONG not in first
    assert second[OVERLONG] == "4 cells, but the header has 3; a delimiter in a cell is not quoted"


@pytest.mark.parametrize("first", ["5", "a"])
def test_cells_that_do_not_count_the_lines_are_no_row_numbers(tmp_path: Path, first: str) -> None:
    (tmp_path / "a.csv").write_text(f"image_id,dx\n{first},ISIC_1,mel\n2,ISIC_2,nv\n")
    assert all(OVERLONG in row for row in read_table(tmp_path / "a.csv").rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; download it again"),
        (b"\n\n", "is empty; download it again"),
        (b"image_id,dx\n", "has a header and no rows"),
        (b"image_id,dx\n\n,\n", "has a header and no rows"),
        (b"image_id,dx\nISIC_1,\xff\xfe\n", "not a CSV text file in UTF-8 or UTF-16 (invalid start byte at byte 19"),
        (TEXT.encode("utf-32"), "not a CSV text file in UTF-8 or UTF-16 (it holds zeros); save it as UTF-8"),
        (b"\xff\xfeimage", "not a CSV text file in UTF-8 or UTF-16 (truncated data at byte 6)"),
        (b'image_id,dx\n"ISIC_1,mel\n', "not a CSV text file (unexpected end of data)"),
        (b"image_id,dx,dx\nISIC_1,mel,nv\n", "column dx occurs twice; keep the correct one"),
        (b"image_id,DX,other,dx\nISIC_1,mel,1,nv\n", "column DX and dx occurs twice; keep the correct one"),
        (b"image_id,dx,extra,extra\nISIC_1,mel,1,2\n", "column extra occurs twice"),
        (b'sep="\nimage_id,dx\n"', "not a CSV text file"),
        (b"image_id,dx\n" + b"," * 2**21, "has a line of more than 1,048,576 characters"),
        (b"image_id,dx\r" + b"a,b\r" * 2**18, "has more than 200,000 cells or empty lines"),
        (b"image_id,dx," + b",".join(b"c%d" % n for n in range(10_000)) + b"\na,b" * 30, "has more than 200,000 cells"),
        (b"image_id,dx" + b"\n" * 2**18, "has more than 200,000 cells or empty lines"),
        (b"image_id,dx," + b",".join(b"c%d" % n for n in range(50_000)), "has a header and no rows"),
    ],
)  # fmt: skip
def test_what_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str) -> None:
    monkeypatch.setattr("skinaudit.trainer.data.tables._MAX_CELLS", 200_000)
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\0\1\2" * 500, b"\x89PNG\r\n\x1a\n\xff\xff"])
def test_a_header_of_something_else_is_empty_or_strange_and_no_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert "image_id" not in read_header(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.csv", True), ("A.CSV", True), ("a.tab", True), ("HAM10000_metadata", True), ("._a.csv", False), ("a.jpg", False)],
)
def test_names_of_tables(name: str, expected: bool) -> None:
    assert may_be_table(Path(name)) == expected


def test_long_lines_are_told_from_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skinaudit.trainer.data.tables._MAX_LINE", 30)
    path = tmp_path / "a.csv"
    for end in ("\n", "\r\n", "\r"):
        path.write_bytes(end.join(("image_id,dx", *["ISIC_1,mel"] * 50)).encode())
        assert len(read_table(path).rows) == 50


def test_a_spreadsheet_whose_parts_are_the_same_bytes_is_read_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 parts of 128 MiB in a file of 250 KB took memory until the process ended."""
    monkeypatch.setattr("skinaudit.trainer.data.tables._SHEET_BYTES", 10_000)
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as book:
        for index in range(9):
            book.writestr(f"sheet{index}.xml", "x" * 2000 + "ISIC_7" * (index == 8))
    assert not mentions(tmp_path / "book.xlsx", ["ISIC_7"])
    monkeypatch.setattr("skinaudit.trainer.data.tables._SHEET_BYTES", 20_000)
    assert mentions(tmp_path / "book.xlsx", ["ISIC_7"])


def test_fold() -> None:
    assert {fold(name) for name in ("Image ID", "image-id", " IMAGE_ID", "\ufeffimage_id", "image  id")} == {"image_id"}
