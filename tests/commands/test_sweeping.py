"""`skinaudit sweep` on a small run."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.sweep import budgets


def invoke(*arguments: str) -> tuple[int, str, str]:
    outcome = CliRunner().invoke(cli.commands, ["sweep", *arguments])
    return outcome.exit_code, outcome.stdout, str(outcome.exception)


SMALL = (
    "--attack", "fgsm", "--attack", "pgd:steps=2", "--attack", "square:queries=5", "--eps", "8/255", "--eps", "1/255",
    "--steps", "3", "--steps", "1", "--images", "6", "--threads", "1",
)  # fmt: skip


def test_every_attack_has_every_radius_and_those_with_gradients_all_steps(tiny_run: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "sweep.png"
    code, text, error = invoke(str(tiny_run), *SMALL, "--picture", str(picture), "--json")
    assert code == 0, error
    table = json.loads(text)
    assert [(row["attack"], row["eps"]) for row in table["by_eps"]] == [
        (attack, eps) for attack in ("fgsm", "pgd:steps=2", "square:queries=5") for eps in ("1/255", "8/255")
    ]
    assert [(row["attack"], row["steps"]) for row in table["by_steps"]] == [("pgd", 1), ("pgd", 3)]
    assert (table["images"], table["synthetic"]) == (6, True)
    for row in (*table["by_eps"], *table["by_steps"]):
        assert row["accuracy"] == row["standing"] / 6 <= table["clean"]
        assert row["interval"]["low"] <= row["accuracy"] <= row["interval"]["high"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_curve_by_steps_does_not_claim_the_attacks_own_steps() -> None:
    at = ThreatModel("linf", Fraction(8))
    names = ("pgd:schedule=cosine, steps=2", "pgd:steps=5,schedule=cosine", "pgd", "fgsm")
    by_eps, by_steps = budgets(names, radii=(at,), steps=(1, 3), at=at)
    assert [budget.attack for budget in by_eps] == list(names)
    assert [(budget.attack, budget.steps, budget.plan.settings["steps"]) for budget in by_steps] == [
        ("pgd:schedule=cosine", 1, 1), ("pgd:schedule=cosine", 3, 3), ("pgd", 1, 1), ("pgd", 3, 3),
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_picture(tiny_run: Path, tmp_path: Path) -> None:
    files = [tmp_path / "first.png", tmp_path / "second.png"]
    for file in files:
        assert invoke(str(tiny_run), *SMALL, "--picture", str(file))[0] == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_tables_and_the_place_of_the_picture_are_printed(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    code, text, error = invoke(str(run), *SMALL)
    assert code == 0, error
    lines = text.splitlines()
    assert lines[0].startswith("SYNTHETIC images")
    assert lines[2].split() == ["attack", "linf", "1/255", "linf", "8/255"]
    assert lines[-1] == f"picture: {run / 'sweep.png'}"
    assert (run / "sweep.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--attack", "fgsm:steps=3"), "no setting steps"),
        (("--attack", "pgd", "--eps", "1.5/255"), "images are stored in 8 bit"),
        (("--picture", "engine.onnx"), "ends in .png"),
        (("--picture", f"{__file__}/sweep.png"), "cannot be written there"),
    ],
)
def test_what_cannot_work_is_refused_before_the_attacks(
    tiny_run: Path, arguments: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skinaudit.trainer.sweep.crafted", lambda *_, **__: pytest.fail("attacked"))
    code, text, error = invoke(str(tiny_run), *arguments)
    assert (code, text) == (1, "")  # the runner's code for an exception; the program makes it 2
    assert expected in error
