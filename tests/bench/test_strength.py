"""The bench of attacks beside other libraries: what stands, what a table says, and that a peer that breaks ends nothing."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import strength
from skinaudit.bench.attacks import Batch
from skinaudit.bench.strength_parts import left, peers
from skinaudit.bench.strength_parts.contests import AUTOATTACK, CONTESTS, DEFAULT, LIBRARIES, Contest
from skinaudit.bench.strength_parts.page import OURS, Cell, page
from skinaudit.bench.strength_parts.peers import Case, Crafted, Maker
from skinaudit.bench.tempered import Tempered
from skinaudit.trainer import attacks

LINF = ThreatModel("linf", parse_eps("4/255"))


class Brightness(nn.Module):
    """Answers class 1 where the mean value exceeds a half, of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        lead = self.slope * (images.mean((1, 2, 3)) - 0.5)
        return torch.stack([-lead, lead, torch.full_like(lead, -9.0)], dim=1)


def grey(*values: int, labels: list[int]) -> Batch:
    """One image of 4 x 4 pixels for each grey value."""
    images = np.stack([np.full((3, 4, 4), value, np.uint8) for value in values])
    return Batch(images, np.array(labels))


def brighter_by(steps: float) -> Maker:
    def made(model: nn.Module, threat_model: ThreatModel) -> Crafted:
        return lambda images, labels: images + steps / 255

    return made


def test_what_is_wrong_without_an_attack_is_broken_and_not_attacked() -> None:
    seen = []

    def made(model: nn.Module, threat_model: ThreatModel) -> Crafted:
        return lambda images, labels: seen.append(len(images)) or images  # type: ignore[func-returns-value]

    result = left.by_peer((made,), Brightness(), LINF, grey(100, 100, 200, labels=[0, 1, 1]), size=10)
    assert result.rounded.tolist() == result.unrounded.tolist() == [True, False, True]
    assert seen == [2]


@pytest.mark.parametrize(
    ("steps", "rounded", "unrounded"),
    [
        (0.8, False, False),  # from 127 over the middle, which is 127.5
        (0.6, False, False),
        (0.3, True, True),
        (0.51, False, False),
        (5.0, False, True),  # outside the ball: what is stored is clipped into it, what was returned does not count
    ],
)
def test_rounding_and_the_ball_decide_what_stands(steps: float, rounded: bool, unrounded: bool) -> None:
    result = left.by_peer((brighter_by(steps),), Brightness(), LINF, grey(127, labels=[0]), size=10)
    assert (bool(result.rounded), bool(result.unrounded)) == (rounded, unrounded)


def test_an_image_that_rounding_makes_right_again_stands_only_rounded() -> None:
    class Early(Brightness):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images + 0.2 / 255)  # the boundary lies at 127.3

    result = left.by_peer((brighter_by(0.4),), Early(), LINF, grey(127, labels=[0]), size=10)
    assert (bool(result.rounded), bool(result.unrounded)) == (True, False)


def test_each_part_of_a_cascade_gets_what_the_former_left() -> None:
    seen: list[int] = []

    def counting(steps: float) -> Maker:
        def made(model: nn.Module, threat_model: ThreatModel) -> Crafted:
            return lambda images, labels: seen.append(len(images)) or images + steps / 255  # type: ignore[func-returns-value]

        return made

    batch = grey(100, 125, 127, labels=[0, 0, 0])
    result = left.by_peer((counting(1), counting(3), counting(3)), Brightness(), LINF, batch, size=10)
    assert seen == [3, 2, 1]
    assert result.rounded.tolist() == [True, False, False]
    assert result.seconds >= 0


def test_ours_is_the_attack_of_the_command_line_and_sees_the_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def attack(model: nn.Module, images: Tensor, labels: Tensor, *, threat_model: ThreatModel, **settings: Any) -> Tensor:
        with torch.no_grad():
            asked.update(settings, logits=model(images))
        return images + threat_model.eps

    monkeypatch.setattr(attacks, "load", lambda name, given=None: (attack, {"steps": 3, **(given or {})}))
    monkeypatch.setattr(left, "folded", lambda model: model)
    monkeypatch.setattr(left, "fused", lambda model: model)
    model = Brightness().eval()
    batch = grey(126, labels=[0])
    result = left.by_us("pgd:steps=7", Tempered(model, 35.0).eval(), LINF, batch, size=10)
    assert not bool(result.rounded)
    assert asked["steps"] == 7
    with torch.no_grad():
        expected = 35 * model(torch.full((1, 3, 4, 4), 126 / 255))
    assert torch.allclose(asked["logits"], expected)


@pytest.mark.parametrize("name", CONTESTS)
def test_every_contest_is_an_attack_of_ours_that_takes_its_settings(name: str) -> None:
    contest = CONTESTS[name]
    attack, settings = attacks.parse(contest.ours)
    attacks.check_settings(attack, settings, ThreatModel(contest.norm, parse_eps("4/255")))
    assert set(contest.peers) <= set(LIBRARIES)


def test_every_attack_of_ours_is_in_a_contest() -> None:
    assert {attacks.parse(contest.ours)[0] for contest in CONTESTS.values()} == set(attacks.names())
    assert not any(name.startswith("AutoAttack") for name in DEFAULT)
    assert not any(contest.costly for name, contest in CONTESTS.items() if name not in DEFAULT)
    assert list(AUTOATTACK) == ["APGD-CE-100", "APGD-T-100", "FAB-T-100", "Square-5000"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Fakes of the four libraries, each of which notes what it is asked for and returns brighter images."""
    noted: dict[str, Any] = {}

    def module(name: str, **content: Any) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    def craft(images: Any, labels: Any) -> Any:
        noted["drawn"] = float(torch.rand(()))
        return images + np.float32(1 / 255)

    def of_class(model: nn.Module, **settings: Any) -> Any:
        noted.update(settings)
        return craft

    class Smallest:
        def __init__(self, **settings: Any) -> None:
            noted.update(settings)

        def __call__(self, model: Any, images: Tensor, labels: Tensor, *, epsilons: float | None) -> Any:
            noted["epsilons"] = epsilons
            return craft(images, labels), images, None

    class Bounded:
        def __init__(self, **settings: Any) -> None:
            noted.update(settings)

        def __call__(self, model: Any, images: Tensor, labels: Tensor, *, epsilons: float | None) -> Any:
            noted["epsilons"] = epsilons
            return images, craft(images, labels), None

    def of_function(model: nn.Module, images: Tensor, labels: Tensor, **settings: Any) -> Tensor:
        noted.update(settings)
        moved: Tensor = craft(images, labels)
        return moved

    class OfArt:
        def __init__(self, classifier: Any, **settings: Any) -> None:
            noted.update(settings, classifier=classifier)

        def generate(self, images: Any, y: Any) -> Any:
            return craft(images, y)

    module("torchattacks", Some=of_class)
    base = module("foolbox.attacks.base", MinimizationAttack=Smallest)
    attacks_of_foolbox = module("foolbox.attacks", Some=Smallest, Bounded=Bounded, base=base)
    module("foolbox", attacks=attacks_of_foolbox, PyTorchModel=lambda model, **_: model)
    module("adv_lib", attacks=module("adv_lib.attacks", Some=of_function))
    evasion = module("art.attacks.evasion", Some=OfArt)
    module("art", attacks=module("art.attacks", evasion=evasion))
    module("art.estimators", classification=None)
    module("art.estimators.classification", PyTorchClassifier=lambda *arguments, **_: arguments)
    return noted


@pytest.mark.parametrize(
    ("of_library", "name"),
    [
        (peers.of_torchattacks, "Some"),
        (peers.of_foolbox, "Some"),
        (peers.of_foolbox, "Bounded"),
        (peers.of_adv_lib, "Some"),
        (peers.of_art, "Some"),
    ],
)
def test_a_peer_gets_its_settings_and_the_same_seed(of_library: Any, name: str, asked: dict[str, Any]) -> None:
    def doubled(case: Case) -> float:
        return 2 * case.eps

    made = of_library(name, steps=7, size=doubled, classes=lambda case: case.classes)
    images = torch.full((2, 3, 64, 64), 0.5)
    drawn = []
    for _ in range(2):
        moved = made(Brightness(), LINF)(images, torch.tensor([0, 1]))
        assert torch.allclose(moved, images + 1 / 255)
        drawn.append(asked["drawn"])
    assert drawn[0] == drawn[1]
    assert (asked["steps"], asked["size"], asked["classes"]) == (7, 2 * LINF.eps, 3)
    assert asked.get("epsilons") == (LINF.eps if name == "Bounded" else None)


CELL = Cell("net", "linf", "4/255", "PGD-40", 1.0, 50, OURS, smallest=False, rounded=0.6, unrounded=0.6, seconds=2.0)


def test_the_page_names_every_peer_that_is_stronger_faster_or_absent() -> None:
    beside = [
        CELL,
        replace(CELL, library="torchattacks", seconds=5.0),
        replace(CELL, library="foolbox", rounded=0.58, unrounded=0.58, seconds=1.0),
        replace(CELL, library="adv-lib", unrounded=0.56, seconds=3.0),
        replace(CELL, library="ART", error="TypeError: no such thing"),
    ]
    text = page(beside)
    assert "| net | linf 4/255 | PGD-40 | 50 | 60.0 | 2.0 | 60.0 (2.5) | 58.0 (0.5) | 60.0 (1.5) | failed |" in text
    assert "PGD-40: foolbox leaves 58.0%, ours 60.0%" in text
    assert "PGD-40, before rounding: adv-lib leaves 56.0%, ours 60.0%" in text
    assert "foolbox takes 1.0 s, ours 2.0 s" in text
    assert "ART: TypeError: no such thing" in text
    assert "torchattacks" not in text.partition("**A peer breaks more")[2]


def test_smallest_perturbations_count_unrounded_and_a_factor_is_shown() -> None:
    cell = replace(CELL, smallest=True, rounded=0.9, factor=35.0)
    text = page([cell, replace(cell, library="ART", unrounded=0.5)])
    assert "| PGD-40, logits x 35 | 50 | 60.0 | 2.0 | - | - | - | 50.0 (1.0) |" in text
    assert "ART leaves 50.0%, ours 60.0%" in text
    assert "**A peer is faster:** none." in text


@pytest.fixture
def contests(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Two contests without a run: how often each contestant was asked."""
    counts: dict[str, int] = {}

    def breaks(model: nn.Module, threat_model: ThreatModel) -> Crafted:
        counts["foolbox"] = counts.get("foolbox", 0) + 1
        raise ValueError("init_attack failed\nfor 3 inputs")

    def by_us(name: str, model: nn.Module, threat_model: ThreatModel, batch: Batch, *, size: int) -> left.Left:
        counts[name] = counts.get(name, 0) + 1
        return left.by_peer((brighter_by(1),), model, threat_model, batch, size=size)

    table = {
        "First": Contest("pgd", {"torchattacks": (brighter_by(2),), "foolbox": (breaks,)}),
        "Second": Contest("boundary", {"ART": (brighter_by(1),)}, norm="l2", smallest=True, costly=True),
    }
    monkeypatch.setattr(strength, "CONTESTS", table)
    monkeypatch.setattr(strength, "by_us", by_us)
    monkeypatch.setattr(strength, "load_run_model", lambda run: Brightness())
    monkeypatch.setattr(
        strength, "clean_batch", lambda run, images: grey(*[127, 126, 100, 90][:images], labels=[0, 0, 0, 0][:images])
    )
    monkeypatch.setattr(strength.libraries, "enable", lambda *names: {})
    return counts


def run_bench(output: Path, *arguments: str) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["strength.py", "net", "--output", str(output), *arguments])
        strength.main()
    return list(json.loads(output.with_suffix(".json").read_text()))


def test_a_peer_that_breaks_is_a_cell_and_what_is_stored_is_not_measured_again(
    contests: dict[str, int], tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    options = ("--eps", "4/255", "--l2", "1000/255", "--images", "3", "--costly", "2", "--threads", str(threads))
    output = tmp_path / "peers.md"
    stored = run_bench(output, *options, "--attacks", "First")
    assert [(cell["library"], cell["images"]) for cell in stored] == [(OURS, 3), ("torchattacks", 3), ("foolbox", 3)]
    assert [cell["rounded"] for cell in stored] == pytest.approx([2 / 3, 1 / 3, 0])
    assert stored[2]["error"] == "ValueError: init_attack failed for 3 inputs"
    asked_before = dict(contests)
    stored = run_bench(output, *options, "--attacks", "First", "Second")
    assert {name: contests[name] for name in asked_before} == asked_before
    assert [(cell["library"], cell["images"], cell["norm"]) for cell in stored[3:]] == [(OURS, 2, "l2"), ("ART", 2, "l2")]
    assert "| net | l2 1000/255 | Second | 2 |" in output.read_text()


def test_only_the_peers_that_are_asked_for_are_there(contests: dict[str, int], tmp_path: Path) -> None:
    threads = str(torch.get_num_threads())
    stored = run_bench(
        tmp_path / "a.md", "--eps", "4/255", "--peers", "torchattacks", "--attacks", "First", "--threads", threads
    )
    assert [cell["library"] for cell in stored] == [OURS, "torchattacks"]
    stored = run_bench(tmp_path / "b.md", "--eps", "4/255", "--no-peer", "--attacks", "First", "--threads", threads)
    assert [cell["library"] for cell in stored] == [OURS]


def test_our_own_failure_ends_the_bench(contests: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **settings: Any) -> left.Left:
        raise ValueError("ours")

    monkeypatch.setattr(strength, "by_us", fails)
    options = argparse.Namespace(device="cpu", batch=10, threads=1)
    with pytest.raises(ValueError, match="ours"):
        strength.measured(CELL, strength.CONTESTS["First"], Path("net"), Brightness(), LINF, options)


def test_no_radius_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run_bench(tmp_path / "a.md")
    assert ended.value.code == 2
    assert "--eps" in capsys.readouterr().err
