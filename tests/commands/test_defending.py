"""`skinaudit defences` on a small run."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from skinaudit import cli


def invoke(*arguments: str) -> tuple[int, str, str]:
    outcome = CliRunner().invoke(cli.commands, ["defences", *arguments])
    return outcome.exit_code, outcome.stdout, str(outcome.exception)


def test_it_says_what_each_defence_is_worth(tiny_run: Path) -> None:
    code, text, _ = invoke(
        str(tiny_run), "--images", "5", "--draws", "2", "--attack", "pgd:steps=1", "--threads", "1", "--json",
        "--defence", "jpeg:quality=50", "--defence", "quilting:patches=50", "--defence", "crop-rescale",
    )  # fmt: skip
    assert code == 0
    table = json.loads(text)
    assert [row["defence"] for row in table["rows"]] == ["none", "jpeg:quality=50", "quilting:patches=50", "crop-rescale"]
    for row in table["rows"]:
        assert row["robust"] <= min(row["naive"], row["adaptive"])
        assert row["interval"]["low"] <= row["robust"] <= row["interval"]["high"]
        assert row["broken_attack"] == (row["adaptive"] > row["naive"])
    assert table["rows"][0]["naive"] == table["rows"][0]["adaptive"]
    assert table["attack"].startswith("pgd:steps=1 linf ")  # a weak attack must not be taken for the usual one
    assert (table["images"], table["draws"], table["synthetic"]) == (5, 2, True)


def test_the_table_names_what_answers(tiny_run: Path) -> None:
    code, text, _ = invoke(
        str(tiny_run), "--images", "4", "--attack", "fgsm", "--threads", "1", "--defence", "denoise:kind=mean"
    )
    assert code == 0
    lines = text.splitlines()
    assert lines[0].startswith("SYNTHETIC images")
    assert f"answered by {tiny_run}" in lines[1]
    assert lines[2].split() == ["defence", "clean", "naive", "adaptive", "robust", "95%", "interval"]
    assert lines[4].startswith("denoise:kind=mean")


def test_an_unknown_defence_is_refused_in_one_line(tiny_run: Path) -> None:
    code, _, error = invoke(str(tiny_run), "--defence", "blur")
    assert code != 0
    assert error.startswith("defence 'blur': choose one of crop-rescale, denoise")
