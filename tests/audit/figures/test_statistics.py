from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.audit.figures.statistics import (
    Interval,
    PairedDrop,
    lesion_bootstrap,
    mcnemar_p,
    p_above,
    paired_drop,
    tango_interval,
    wilson_interval,
)
from skinaudit.errors import InvalidInputError

PUBLISHED = [
    # Cavo et al. 2012, in Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875, and the tests of the R
    # package contingencytables: -0.0621 (-0.1240 to -0.0054).
    (6, 16, 161, 0.95, -0.1240, -0.0054, 5e-5),
    # Bentur et al. 2009, in the same article and in the R package ratesci: (-0.517 to -0.026).
    (1, 7, 21, 0.95, -0.517, -0.026, 5e-4),
    # R package PropCIs, scoreci.mp(0, 7, 14, 0.95), whose estimate is (second - first) / n: (0.177034, 0.732008).
    (7, 0, 14, 0.95, 0.177034, 0.732008, 5e-7),
    # R package PropCIs, scoreci.mp(25, 28, 618, 0.90): (-0.0148, 0.0247).
    (28, 25, 618, 0.90, -0.0148, 0.0247, 5e-5),
]

tables = st.integers(1, 400).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n)).filter(lambda t: t[0] + t[1] <= t[2])
)


@pytest.mark.parametrize(("b", "c", "n", "confidence", "low", "high", "tolerance"), PUBLISHED)
def test_tango_interval_of_published_tables(
    b: int, c: int, n: int, confidence: float, low: float, high: float, tolerance: float
) -> None:
    interval = tango_interval(b, c, n, confidence=confidence)
    assert interval.low == pytest.approx(low, abs=tolerance)
    assert interval.high == pytest.approx(high, abs=tolerance)


@pytest.mark.parametrize("n", [1, 14, 381, 900])
def test_full_agreement_has_a_closed_form(n: int) -> None:
    z = 1.959963984540054
    interval = tango_interval(0, 0, n)
    assert interval.high == pytest.approx(z * z / (n + z * z), rel=1e-9)
    assert interval.low == pytest.approx(-interval.high)


def most_likely(b: int, c: int, n: int, drop: float) -> float:
    """Probability of a gained image at which b lost and c gained of n pairs are most likely, if the drop is `drop`."""
    low, high = max(0.0, -drop) + 1e-15, (1 - drop) / 2 - 1e-15
    for _ in range(200):
        share = (low + high) / 2
        slope = b / (share + drop) + c / share - 2 * (n - b - c) / (1 - 2 * share - drop)
        low, high = (share, high) if slope > 0 else (low, share)
    return low


def test_both_limits_solve_the_score_equation_with_a_likelihood_maximised_here() -> None:
    generator = np.random.default_rng(5)
    for n in generator.integers(20, 3000, 60):
        b, c = (int(count) for count in generator.integers(0, max(1, n // 8), 2))
        interval = tango_interval(b, c, int(n))
        for drop, sign in ((interval.low, 1), (interval.high, -1)):
            variance = n * (2 * most_likely(b, c, int(n), drop) + drop * (1 - drop))
            assert (b - c - n * drop) / math.sqrt(variance) == pytest.approx(sign * 1.959963984540054, abs=1e-10)


def test_total_loss_reaches_one() -> None:
    interval = tango_interval(14, 0, 14)
    assert interval.high == 1.0
    assert 0 < interval.low < 1


@given(tables)
def test_swapping_the_models_negates_the_interval(table: tuple[int, int, int]) -> None:
    b, c, n = table
    interval, swapped = tango_interval(b, c, n), tango_interval(c, b, n)
    assert (interval.low, interval.high) == (-swapped.high, -swapped.low)


@given(tables, st.floats(0.5, 0.98))
def test_interval_holds_the_estimate_and_widens_with_confidence(table: tuple[int, int, int], confidence: float) -> None:
    b, c, n = table
    narrow, wide = tango_interval(b, c, n, confidence=confidence), tango_interval(b, c, n, confidence=confidence + 0.015)
    assert -1 <= wide.low <= narrow.low <= (b - c) / n <= narrow.high <= wide.high <= 1


@given(tables)
def test_another_lost_image_never_lowers_a_bound(table: tuple[int, int, int]) -> None:
    b, c, n = table
    interval, more = tango_interval(b, c, n + 1), tango_interval(b + 1, c, n + 1)
    assert more.low >= interval.low - 1e-12
    assert more.high >= interval.high - 1e-12


def test_coverage_is_near_nominal() -> None:
    generator = np.random.default_rng(0)
    lost, gained, n = 0.05, 0.03, 300
    counts = generator.multinomial(n, [lost, gained, 1 - lost - gained], size=2000)
    inside = [
        interval.low <= lost - gained <= interval.high
        for interval in (tango_interval(b, c, n) for b, c, _ in counts.tolist())
    ]
    assert 0.94 <= np.mean(inside) <= 0.965


@pytest.mark.parametrize(("b", "c", "n"), [(-1, 0, 5), (3, 3, 5), (0, 0, 0), (math.nan, 0, 5)])
def test_impossible_counts_are_refused(b: float, c: float, n: float) -> None:
    with pytest.raises(InvalidInputError, match="do not fit"):
        tango_interval(b, c, n)


def test_mcnemar_of_published_tables() -> None:
    # Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91 (2013), exact conditional test of 1 and 7.
    assert mcnemar_p(1, 7) == pytest.approx(0.0703, abs=5e-5)
    # contingencytables gives 0.034690 as the mid-P for 6 and 16, which is the exact value less one point probability.
    assert mcnemar_p(6, 16) - math.comb(22, 6) / 2**22 == pytest.approx(0.034690, abs=5e-7)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_symmetric_and_a_probability(b: int, c: int) -> None:
    assert mcnemar_p(b, c) == mcnemar_p(c, b)
    assert 0 < mcnemar_p(b, c) <= 1
    assert mcnemar_p(b, b) == 1


def test_wilson_of_published_tables() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        interval = wilson_interval(right, count)
        assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_without_images_says_nothing() -> None:
    assert wilson_interval(0, 0) == Interval(0.0, 1.0)
    with pytest.raises(InvalidInputError):
        wilson_interval(3, 2)


def drop(lost: int, gained: int, images: int) -> PairedDrop:
    source = np.ones(images, bool)
    engine = np.ones(images, bool)
    engine[:lost] = False
    source[lost : lost + gained] = False
    return paired_drop(source, engine, np.arange(images))


def test_drop_is_source_minus_engine() -> None:
    measured = drop(5, 2, 200)
    assert (measured.lost, measured.gained, measured.value) == (5, 2, 3 / 200)
    assert measured.interval == tango_interval(5, 2, 200)


def test_copies_of_each_image_add_no_evidence() -> None:
    generator = np.random.default_rng(3)
    source, engine = generator.random(400) < 0.9, generator.random(400) < 0.88
    once = paired_drop(source, engine, np.arange(400))
    copies = paired_drop(source.repeat(4), engine.repeat(4), np.arange(400).repeat(4))
    assert once.design_effect == pytest.approx(1, abs=0.01)
    assert copies.design_effect == pytest.approx(4, rel=0.01)
    assert copies.interval.low == pytest.approx(once.interval.low, abs=1e-3)
    assert copies.interval.high == pytest.approx(once.interval.high, abs=1e-3)


def test_a_drop_over_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one"):
        paired_drop(np.ones(0, bool), np.ones(0, bool), np.zeros(0, np.int64))
    with pytest.raises(InvalidInputError, match="equally many"):
        paired_drop(np.ones(2, bool), np.ones(3, bool), np.zeros(3, np.int64))


@given(tables, st.floats(0.001, 0.3))
def test_a_p_value_agrees_with_the_interval(table: tuple[int, int, int], margin: float) -> None:
    b, c, n = table
    right = np.repeat([[1, 0], [0, 1], [1, 1]], [b, c, n - b - c], axis=0).astype(bool)
    drop = paired_drop(right[:, 0], right[:, 1], np.arange(n))
    assert (p_above(drop, margin=margin) < 0.025) == (drop.interval.low > margin) or abs(drop.interval.low - margin) < 1e-9


def test_a_bootstrap_of_lesions_widens_with_lesions_that_go_together() -> None:
    values = np.repeat([1, 0], [40, 360])
    alone = lesion_bootstrap(values, np.arange(400))
    together = lesion_bootstrap(values, np.arange(400) // 4)
    assert alone.low < 0.1 < alone.high
    assert together.high - together.low == pytest.approx(2 * (alone.high - alone.low), rel=0.15)


def test_a_bootstrap_agrees_with_drawing_every_lesion() -> None:
    generator = np.random.default_rng(1)
    groups = np.sort(generator.integers(0, 60, 150))
    values = generator.integers(-1, 2, 150)
    sums, sizes = np.bincount(groups, values, 60), np.bincount(groups, minlength=60)
    kept = sizes > 0
    drawn = generator.integers(0, kept.sum(), (20_000, kept.sum()))
    means = sums[kept][drawn].sum(1) / sizes[kept][drawn].sum(1)
    interval = lesion_bootstrap(values, groups, resamples=20_000)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.01)


def test_without_discordance_a_bootstrap_knows_nothing() -> None:
    assert lesion_bootstrap(np.zeros(50, np.int64), np.arange(50)) == Interval(0.0, 0.0)
