"""The engines that the operating characteristics simulate are what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FILE = Path(__file__).resolve().parents[2] / "bench" / "operating.py"
IMAGES = 40_000


@pytest.fixture(scope="module")
def operating() -> ModuleType:
    spec = importlib.util.spec_from_file_location("operating", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["operating"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answered(operating: ModuleType, **truth: Any) -> tuple[Any, ...]:
    """Labels, whether they are malignant, and both models' answers; every second image is of the lesion before it."""
    generator = np.random.default_rng(3)
    shares = np.array([operating.SHARES[name] for name in operating.CONTRACT.classes])
    groups = np.arange(IMAGES) // 2
    labels = generator.choice(len(shares), IMAGES // 2, p=shares / shares.sum())[groups]
    source, engine = operating._answers(operating.Truth(**truth), labels, groups, True, generator)
    return labels, np.isin(labels, operating.CONTRACT.malignant_labels), source, engine


@pytest.mark.parametrize("flips", [0.0, 0.01, 0.045])
def test_an_honest_engine_loses_as_much_as_it_gains(operating: ModuleType, flips: float) -> None:
    labels, ill, source, engine = answered(operating, flips=flips)
    assert (source != engine).mean() == pytest.approx(flips, abs=0.004)
    lost, gained = ((source == labels) & (engine != labels)).sum(), ((source != labels) & (engine == labels)).sum()
    assert abs(int(lost) - int(gained)) <= 5 * np.sqrt(IMAGES * flips)
    assert set(np.unique(engine)) <= set(range(len(operating.SHARES)))
    assert (labels[ill] == source[ill]).mean() == pytest.approx(0.55, abs=0.03)


def test_what_is_lost_is_what_was_said(operating: ModuleType) -> None:
    labels, _, source, engine = answered(operating, flips=0.0, lost=0.01)
    assert (source == labels).mean() - (engine == labels).mean() == pytest.approx(0.01, abs=0.002)
    malignant = operating.CONTRACT.malignant_labels
    labels, ill, source, engine = answered(operating, flips=0.0, malignant=0.05)
    calls = [np.isin(answers[ill], malignant).mean() for answers in (source, engine)]
    assert calls[0] - calls[1] == pytest.approx(0.05, abs=0.008)
    assert (source == labels).mean() == pytest.approx((engine == labels).mean(), abs=1e-9)
    labels, ill, source, engine = answered(operating, flips=0.0, turned=0.05)
    called = ill & np.isin(source, malignant)
    assert 1 - np.isin(engine[called], malignant).mean() == pytest.approx(0.05, abs=0.01)
    assert np.isin(source[ill], malignant).mean() == pytest.approx(np.isin(engine[ill], malignant).mean(), abs=1e-9)
