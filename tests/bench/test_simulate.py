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

    effects = [simulate._drawn(400, 0.1, np.random.default_rng(seed)).design_effect for seed in range(20)]
    assert np.mean(effects) > 1.05
