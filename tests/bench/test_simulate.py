from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "bench" / "simulate.py"


@pytest.fixture(scope="module")
def simulate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulate", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("discordance", [0.001, 0.01, 0.1])
def test_coverage(simulate: ModuleType, n: int, discordance: float, share: float) -> None:
    coverage, _, _ = simulate.exact(n, discordance, share * discordance)
    assert coverage >= 0.93
    if n * discordance >= 10:
        assert coverage <= 0.97


@pytest.mark.parametrize("n", [100, 300, 1_000])
@pytest.mark.parametrize("discordance", [0.01, 0.03])
def test_a_drop_of_the_margin_passes_in_at_most_five_percent(simulate: ModuleType, n: int, discordance: float) -> None:
    _, passed, failed = simulate.exact(n, discordance, simulate.MARGIN)
    assert passed <= 0.05
    assert failed <= 0.05


def test_all_outcomes_are_counted(simulate: ModuleType) -> None:
    assert sum(p for _, _, p in simulate._outcomes(300, 0.03, 0.01)) == pytest.approx(1, abs=1e-6)


def test_lesions_are_those_of_ham10000(simulate: ModuleType) -> None:
    assert sum(simulate.LESION_IMAGES.values()) == 7_470
    assert sum(size * count for size, count in simulate.LESION_IMAGES.items()) == 10_015


def test_lesions_widen_the_interval(simulate: ModuleType) -> None:
    import numpy as np

    generator = np.random.default_rng(0)
    effects = []
    for _ in range(20):
        outcome = simulate._outcome(simulate._ham10000(400, generator), 0.1, simulate.MARGIN, 0.5, generator)
        effects.append(simulate._drop(*outcome).design_effect)
    assert np.mean(effects) > 1.05


@pytest.mark.parametrize(("row", "discordance"), [("20 of 50 images", 0.01), ("50 of 100 images", 0.015)])
def test_few_lesions_never_pass_a_drop_of_the_margin(simulate: ModuleType, row: str, discordance: float) -> None:
    passed, _, _ = simulate._wrong(dict(simulate.LESIONS)[row], discordance, 1.0, 60, 0)
    assert passed <= 0.05


def test_agreement_on_few_lesions_guards_losses_in_proportion_to_their_size(simulate: ModuleType) -> None:
    assert simulate.passed_by_size("as m", 500, 200, 0) <= 0.05
    assert simulate.passed_by_size("only where m >= 3", 500, 200, 0) > 0.05


@pytest.mark.parametrize("images", [73, 150, 919])
def test_a_share_of_exactly_the_bound_seldom_passes(simulate: ModuleType, images: int) -> None:
    assert 0.01 < simulate.passed_at_bound(images, 0.05) < 0.026


def test_the_share_of_lost_images_is_the_one_asked_for(simulate: ModuleType) -> None:
    import numpy as np

    difference, groups = simulate._outcome(np.full(20_000, 3), 0.04, 0.02, 0.5, np.random.default_rng(0))
    assert difference.mean() == pytest.approx(0.02, abs=0.004)
    assert np.abs(difference).mean() == pytest.approx(0.04, abs=0.004)
    assert len(groups) == 60_000
