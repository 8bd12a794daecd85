from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skinaudit.audit.figures.power import (
    fail_probability,
    images_to_decide,
    least_lesions,
    pass_probability,
    power_to_pass,
)
from skinaudit.audit.figures.statistics import PairedDrop, paired_drop, tango_interval

MARGIN = {"margin": 0.01, "confidence": 0.95}


def drop(lost: int, gained: int, images: int, *, size: int = 1) -> PairedDrop:
    """The first images are lost, the next ones gained; lesions of `size` images."""
    source, engine = np.ones(images, bool), np.ones(images, bool)
    engine[:lost] = False
    source[lost : lost + gained] = False
    return paired_drop(source, engine, np.arange(images) // size)


@pytest.mark.parametrize(("margin", "confidence", "least"), [(0.01, 0.95, 381), (0.05, 0.95, 73), (0.01, 0.9, 268)])
def test_the_least_lesions_are_those_on_which_full_agreement_passes(margin: float, confidence: float, least: int) -> None:
    assert least_lesions(margin, confidence=confidence) == least
    assert tango_interval(0, 0, least, confidence=confidence).high < margin
    assert tango_interval(0, 0, least - 1, confidence=confidence).high >= margin


def test_full_agreement_passes_for_certain_or_never() -> None:
    assert pass_probability(381, 0, 0, **MARGIN) == 1
    assert pass_probability(380, 0, 0, **MARGIN) == 0
    assert fail_probability(10**5, 0, 0, **MARGIN) == 0


def test_rounding_makes_no_power_above_one() -> None:
    """A report refuses such a share when it is read."""
    for images in range(380, 1_400, 17):
        for rate in (0.0005, 0.002):
            assert 0 <= pass_probability(images, rate, rate, margin=0.2, confidence=0.95) <= 1


def test_a_total_loss_fails_for_certain() -> None:
    assert fail_probability(300, 1, 0, **MARGIN) == pytest.approx(1)
    assert pass_probability(300, 1, 0, **MARGIN) == 0


@pytest.mark.parametrize(
    ("images", "lost", "gained"), [(900, 0.002, 0.002), (400, 0.0, 0.004), (3_000, 0.008, 0.006), (500, 0.04, 0.01)]
)
def test_probabilities_are_those_of_drawn_audits(images: int, lost: float, gained: float) -> None:
    """The interval of each outcome that was drawn says what the audit would have answered."""
    counts = np.random.default_rng(0).multinomial(images, [lost, gained, 1 - lost - gained], size=4_000)[:, :2]
    outcomes, times = np.unique(counts, axis=0, return_counts=True)
    intervals = [tango_interval(int(b), int(c), images) for b, c in outcomes]
    passed = times @ np.array([interval.high < 0.01 for interval in intervals]) / 4_000
    failed = times @ np.array([interval.low > 0.01 for interval in intervals]) / 4_000
    assert pass_probability(images, lost, gained, **MARGIN) == pytest.approx(passed, abs=0.03)
    assert fail_probability(images, lost, gained, **MARGIN) == pytest.approx(failed, abs=0.03)


def test_outcomes_and_the_normal_approximation_meet() -> None:
    below, above = (pass_probability(n, 0.005, 0.005, **MARGIN) for n in (9_990, 10_010))
    assert below == pytest.approx(above, abs=0.01)
    below, above = (fail_probability(n, 0.013, 0.001, **MARGIN) for n in (7_140, 7_150))
    assert below == pytest.approx(above, abs=0.02)


@pytest.mark.parametrize(("lost", "gained", "images"), [(0, 0, 140), (3, 2, 400), (9, 8, 1_000), (30, 10, 700)])
def test_the_number_of_images_decides_in_eighty_percent(lost: int, gained: int, images: int) -> None:
    measured_drop = drop(lost, gained, images)
    needed = images_to_decide(measured_drop, margin=0.01)
    assert needed is not None
    rates = ((lost + 0.5) / (images + 1), (gained + 0.5) / (images + 1))
    probability = fail_probability if measured_drop.value > 0.01 else pass_probability
    assert probability(needed, *rates, **MARGIN) == pytest.approx(0.8, abs=0.03)


def test_no_number_of_images_decides_a_drop_at_the_margin() -> None:
    assert images_to_decide(drop(2, 1, 100), margin=0.01) is None


def test_images_of_few_lesions_need_as_many_lesions() -> None:
    single, paired = (images_to_decide(drop(0, 0, 400, size=size), margin=0.01) for size in (1, 4))
    assert single is not None
    assert paired is not None
    assert paired > 3 * single


def test_the_power_of_an_audit_grows_with_lesions_and_falls_with_discordance() -> None:
    assert power_to_pass(drop(0, 0, 380), margin=0.01) == 0
    assert 0.5 < power_to_pass(drop(0, 0, 400), margin=0.01) < 0.9
    assert power_to_pass(drop(0, 0, 1_500), margin=0.01) > 0.99
    assert power_to_pass(drop(0, 0, 1_500, size=3), margin=0.01) < 0.9
    assert power_to_pass(drop(30, 30, 1_500), margin=0.01) < 0.5
    assert power_to_pass(drop(0, 0, 399, size=40), margin=0.01) == 0


def test_a_loss_does_not_change_the_power_at_equal_discordance() -> None:
    assert power_to_pass(drop(12, 0, 900), margin=0.01) == pytest.approx(
        power_to_pass(drop(6, 6, 900), margin=0.01), abs=0.02
    )


def test_a_drop_of_an_earlier_report_has_a_number_of_images_too() -> None:
    old = replace(drop(3, 2, 400), effective_lesions=None, discordant_lesions=None)
    assert images_to_decide(old, margin=0.01) == images_to_decide(drop(3, 2, 400), margin=0.01)
