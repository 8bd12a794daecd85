"""Targets and tables."""

from __future__ import annotations

import pytest

from skinaudit.bench.report import holds_figures, table, verdict


@pytest.mark.parametrize(
    ("measured", "target", "at_most", "expected"),
    [
        (4.0, 4.0, False, "4.00 (target at least 4: met)"),
        (3.99, 4.0, False, "3.99 (target at least 4: MISSED)"),
        (6.9, 6.9, True, "6.90 (target at most 6.9: met)"),
        (7.0, 6.9, True, "7.00 (target at most 6.9: MISSED)"),
    ],
)
def test_a_ratio_is_judged_by_its_target(measured: float, target: float, at_most: bool, expected: str) -> None:
    assert verdict(measured, target, at_most=at_most) == expected


def test_table_is_markdown() -> None:
    assert table(("", "seconds"), [["a", "1"], ["b", "2"]]) == "|  | seconds |\n| --- | ---: |\n| a | 1 |\n| b | 2 |\n"


def test_text_is_not_aligned_to_the_right() -> None:
    rows = [["a", "2", "refused in one line: 3 files"], ["b", "-", "ended as it should"]]
    assert table(("file", "exit code", "the user sees"), rows).splitlines()[1] == "| --- | ---: | --- |"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("1.0", "-", "2,300"), True),
        (("237 MiB", "0.1%"), True),
        (("90 / 0 / 10; 92 / 8 / 0", "+0.1 [-0.2, +0.4]"), True),
        (("train", "audit ..."), False),
        (("12 of 14 files refused", "no output within 20 s"), False),
        (("-", ""), True),
    ],
)
def test_columns_of_figures_are_told_from_text(cells: tuple[str, ...], expected: bool) -> None:
    assert holds_figures(cells) == expected
