from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from skinaudit.audit.reports.parts.columns import print_table

FIGURE = st.text("0123456789.%", min_size=1, max_size=14)
NAME = st.lists(st.text("abcdefgh", min_size=1, max_size=9), min_size=1, max_size=4).map(" ".join)


def shown(table: Table, *, width: int, keys: int = 1) -> str:
    stream = io.StringIO()
    print_table(table, Console(file=stream, width=width, color_system=None, force_terminal=False), keys=keys)
    return stream.getvalue()


def made(heads: list[str], rows: list[list[str]], *, no_wrap: bool = True) -> Table:
    table = Table(box=None)
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index else "left", no_wrap=no_wrap and bool(index))
    for row in rows:
        table.add_row(*row)
    return table


def test_a_table_that_fits_is_printed_as_it_is() -> None:
    table = made(["set", "source", "engine"], [["clean", "70.7%", "71.0%"], ["pgd", "6.1%", "7.0%"]])
    assert [line.rstrip() for line in shown(table, width=40).splitlines()] == [
        "set    source  engine",
        "clean   70.7%   71.0%",
        "pgd      6.1%    7.0%",
    ]


def test_columns_move_below_and_every_part_names_its_rows() -> None:
    table = made(["set", "source", "engine", "verdict"], [["clean", "70.7%", "71.0%", "PASS"]])
    assert [line.rstrip() for line in shown(table, width=22).splitlines()] == [
        "set    source  engine",
        "clean   70.7%   71.0%",
        "",
        "set    verdict",
        "clean     PASS",
    ]


@given(name=NAME, figures=st.lists(FIGURE, min_size=1, max_size=7), width=st.integers(60, 100))
def test_no_width_cuts_a_word_or_a_figure(name: str, figures: list[str], width: int) -> None:
    heads = [f"head{index}" for index in range(len(figures))]
    text = shown(made(["name", *heads], [[name, *figures]]), width=width)
    assert all(len(line) <= width for line in text.splitlines())
    words = text.split()
    assert all(head in words for head in heads)
    for word in (*name.split(), *figures):
        assert word in words
    assert "…" not in text


@pytest.mark.parametrize("width", [8, 12])
def test_a_word_that_no_line_holds_is_broken_and_not_lost(width: int) -> None:
    text = shown(made(["name", "figure"], [["a-very-long-file-name", "0.123456789"]], no_wrap=False), width=width)
    assert all(len(line) <= width for line in text.splitlines())
    letters = "".join(text.split())
    assert all(letters.count(letter) >= "a-very-long-file-name0.123456789".count(letter) for letter in "vryf0123456789")
