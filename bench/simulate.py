"""How often a verdict on a drop is wrong, and how often its interval holds the truth: docs/results/statistics.md.

    python bench/simulate.py --output docs/results/statistics.md

Independent images are enumerated exactly, images of lesions are drawn. Synthetic counts only: no model and no image is run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.audit.figures.lesions import design_effect, differing_lesions, effective_lesions
from skinaudit.audit.figures.power import POWER, images_to_decide
from skinaudit.audit.figures.statistics import (
    Interval,
    PairedDrop,
    holm,
    lesion_bootstrap,
    p_above,
    tango_interval,
)
from skinaudit.audit.judgement.drop_verdict import verdict_of
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Verdict

SIZES = (100, 300, 1_000, 3_000, 10_000)
DISCORDANCES = (0.001, 0.003, 0.01, 0.03, 0.1)
CLUSTERED = (0.01, 0.015, 0.03, 0.1)
FIRST_AUDITS = ((200, 0.005, 0.0), (400, 0.01, 0.0), (400, 0.02, 0.003), (900, 0.03, 0.0), (900, 0.05, 0.03))
"""Images, discordance and true drop of audits that are too small to decide."""
MARGIN = 0.01
LESION_IMAGES = {1: 5514, 2: 1423, 3: 490, 4: 34, 5: 5, 6: 4}
"""Lesions of HAM10000 by their number of images: 7,470 lesions, 10,015 images."""
_TAIL = 1e-9


def main() -> None:
    """Parse the command line, simulate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=2_000, help="Draws a cell where lesions are simulated.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    exact, clustered = _exact_tables(), _clustered_tables(options.trials, options.seed)
    sizes, turned = _size_table(options.trials, options.seed), _turned_table()
    family = _family_table(options.trials, options.seed)
    power = _power_tables(_rows(options.trials), options.seed)
    minutes = (time.perf_counter() - started) / 60
    tables = {"exact": exact, "clustered": clustered, "sizes": sizes, "turned": turned, "family": family, "power": power}
    options.output.write_text(_page(tables, options, minutes), encoding="utf-8")


def _page(tables: Mapping[str, str], options: argparse.Namespace, minutes: float) -> str:
    rows = _rows(options.trials)
    return f"""# How often the verdict is wrong

    python bench/simulate.py --output docs/results/statistics.md

took {minutes:.0f} minutes with {options.trials:,} draws per cell and seed {options.seed}. Counts are synthetic: no model
and no image is involved. The margin is 1 point and the confidence 95% (two-sided), the defaults. *Discordance* is the
share of images that exactly one of source and engine gets right.

## Independent images, enumerated exactly

{tables["exact"]}

## Images of lesions

The lesions have the sizes of those in HAM10000 (7,470 lesions of 1 to 6 images), or all have the same size. The column
*together* is the probability that an image follows its lesion, that is, it is lost, gained or unchanged together with
it. Otherwise it is drawn alone. With few
discordant lesions, the design effect is mixed with that of full agreement within lesions. PASS needs both Tango's interval
over effective counts and the lesion bootstrap below the margin, and at least 381 lesions, counted as (sum m)^2 / sum m^2.

{tables["clustered"]}

## Large lesions that are lost more often

The true drop is the margin again. Whole lesions are lost and no image is gained. How often a lesion is lost depends on
its number of images m. Percent of audits: wrong PASS.

{tables["sizes"]}

## Images that turn benign

The true share is exactly the bound of 5%. Independent images, enumerated. Wrong PASS in percent.

{tables["turned"]}

## Many comparisons at once

Forty gates (five sets, with the accuracy and seven classes in each), each of 1,000 independent images; a drop of the margin
has a discordance of 3%.

{tables["family"]}

## About how many images would decide

A first audit that stays INCONCLUSIVE names a number of images for a power of {POWER:.0%}. *Rates known*: how often a
second audit is decided if its number of images is computed from the true rates. *Named anew*: the same with the number
that the first audit names; it knows the rates from few images only. An image follows its lesion with probability 0.5. A
row
has {rows:,} draws; the standard error of 80% is {100 * (0.16 / rows) ** 0.5:.0f} points.

{tables["power"]}
"""


def _rows(trials: int) -> int:
    """Draws of a row about second audits, which are large."""
    return max(200, trials // 10)


def _exact_tables() -> str:
    lines = ["Coverage of the 95% interval, in percent; in brackets the expected number of discordant images.", ""]
    lines += _heading("true drop", *(f"n = {n:,}" for n in SIZES))
    worst, worst_seen = 1.0, []
    for share in (0.0, 0.5, 1.0):
        for discordance in DISCORDANCES:
            cells = []
            for n in SIZES:
                coverage, _, _ = exact(n, discordance, share * discordance)
                worst = min(worst, coverage)
                if n * discordance >= 10:
                    worst_seen.append(coverage)
                cells.append(f"{100 * coverage:.1f} ({n * discordance:.3g})")
            lines.append(_row(f"discordance {discordance:.1%}, drop {share * discordance:.2%}", *cells))
    lines += ["", f"Least coverage {100 * worst:.1f}%; where at least ten discordant images are expected it lies between "
              f"{100 * min(worst_seen):.1f}% and {100 * max(worst_seen):.1f}%.", ""]  # fmt: skip
    lines += ["Verdicts where the true drop *is* the margin, in percent: wrong PASS / wrong FAIL.", ""]
    lines += _heading("discordance", *(f"n = {n:,}" for n in SIZES))
    largest = 0.0
    for discordance in (0.01, 0.015, 0.03, 0.1):
        cells = []
        for n in SIZES:
            _, passed, failed = exact(n, discordance, MARGIN)
            largest = max(largest, passed)
            cells.append(f"{100 * passed:.2f} / {100 * failed:.2f}")
        lines.append(_row(f"{discordance:.1%}", *cells))
    return "\n".join([*lines, "", f"Largest share of wrong PASS: {100 * largest:.2f}%."])


@cache
def _interval(b: int, c: int, n: int) -> Interval:
    return tango_interval(b, c, n)


def exact(n: int, discordance: float, drop: float) -> tuple[float, float, float]:
    """Probabilities that the interval holds the true drop, lies below the margin, and lies above it."""
    coverage = below = above = 0.0
    for b, c, probability in _outcomes(n, discordance, drop):
        interval = _interval(b, c, n)
        coverage += probability * (interval.low - 1e-12 <= drop <= interval.high + 1e-12)
        below += probability * (interval.high < MARGIN)
        above += probability * (interval.low > MARGIN)
    return coverage, below, above


def _outcomes(n: int, discordance: float, drop: float) -> Iterator[tuple[int, int, float]]:
    """Numbers of lost and gained images with their probability, all but a share of _TAIL each."""
    lost = (1 + drop / discordance) / 2
    for total, outer in _binomial(n, discordance):
        for b, inner in _binomial(total, min(1.0, lost)):
            yield b, total - b, outer * inner


def _binomial(n: int, p: float) -> Iterator[tuple[int, float]]:
    counts = np.arange(n + 1)
    if p in (0.0, 1.0):
        yield (int(n * p), 1.0)
        return
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    shares = np.exp(logs[n] - logs - logs[::-1] + counts * np.log(p) + (n - counts) * np.log1p(-p))
    for count in np.flatnonzero(shares > _TAIL / (n + 1)):
        yield int(count), float(shares[count])


LESIONS: tuple[tuple[str, Callable[[np.random.Generator], NDArray[np.int64]]], ...] = (
    ("300 as in HAM10000", lambda generator: _ham10000(300, generator)),
    ("669 as in HAM10000", lambda generator: _ham10000(669, generator)),
    ("2,000 as in HAM10000", lambda generator: _ham10000(2_000, generator)),
    ("7,470 as in HAM10000", lambda generator: _ham10000(7_470, generator)),
    ("10 of 40 images", lambda _: np.full(10, 40)),
    ("20 of 50 images", lambda _: np.full(20, 50)),
    ("50 of 100 images", lambda _: np.full(50, 100)),
    ("400 of 12 images", lambda _: np.full(400, 12)),
    ("1,000 of 10 images", lambda _: np.full(1_000, 10)),
)
"""Sizes of lesions, int64 (lesions,), by the name of a row."""


def _ham10000(lesions: int, generator: np.random.Generator) -> NDArray[np.int64]:
    sizes = np.repeat(list(LESION_IMAGES), list(LESION_IMAGES.values()))
    return np.asarray(generator.choice(sizes, lesions), np.int64)


def _clustered_tables(trials: int, seed: int) -> str:
    lines = ["The true drop is the margin. Percent of audits: wrong PASS / wrong FAIL.", ""]
    lines += _heading("lesions", "together", *(f"discordance {share:.1%}" for share in CLUSTERED))
    most, covered = 0.0, 1.0
    for name, sizes in LESIONS:
        for together in (0.5, 1.0):
            cells = []
            for discordance in CLUSTERED:
                passed, failed, coverage = _wrong(sizes, discordance, together, trials, seed)
                most, covered = max(most, passed), min(covered, coverage)
                cells.append(f"{100 * passed:.2f} / {100 * failed:.2f}")
            lines.append(_row(name, f"{together:.1f}", *cells))
    error = 100 * (0.025 * 0.975 / trials) ** 0.5
    lines += ["", f"Largest share of wrong PASS: {100 * most:.2f}%. With {trials:,} draws a cell, the standard error of a "
              f"share of 2.5% is {error:.2f} points; the largest of {len(LESIONS) * 2 * len(CLUSTERED)} cells that are all "
              f"2.5% would be about {2.5 + 2.4 * error:.1f}%.",
              f"Least coverage of the interval: {100 * covered:.1f}%."]  # fmt: skip
    return "\n".join(lines)


def _wrong(
    sizes: Callable[[np.random.Generator], NDArray[np.int64]], discordance: float, together: float, trials: int, seed: int
) -> tuple[float, float, float]:
    """Shares of audits that pass, that fail, and whose interval holds the margin, which is the true drop."""
    generator = np.random.default_rng([seed, int(1e4 * discordance), int(10 * together)])
    verdicts, covered = [], 0
    for _ in range(trials):
        difference, groups = _outcome(sizes(generator), discordance, MARGIN, together, generator)
        drop = _drop(difference, groups)
        covered += 0.025 <= p_above(drop, margin=MARGIN) <= 0.975  # the interval holds what its score test does not reject
        verdicts.append(_verdict(drop, difference, groups))
    return verdicts.count(Verdict.PASS) / trials, verdicts.count(Verdict.FAIL) / trials, covered / trials


RATES: Mapping[str, Callable[[NDArray[np.int64]], NDArray[np.float64]]] = {
    "all lesions alike": lambda sizes: np.ones(len(sizes)),
    "as m": lambda sizes: sizes.astype(float),
    "as m^2": lambda sizes: sizes.astype(float) ** 2,
    "only where m >= 3": lambda sizes: (sizes >= 3).astype(float),
}
"""How often a lesion is lost by its number of images, up to a factor; float64 (lesions,)."""


def _size_table(trials: int, seed: int) -> str:
    """Wrong PASS where the loss depends on the size of a lesion."""
    lesions = (500, 669, 2_000)
    lines = _heading("how often a lesion is lost", *(f"{count:,} as in HAM10000" for count in lesions))
    for name in RATES:
        shares = [passed_by_size(name, count, trials, seed) for count in lesions]
        lines.append(_row(name, *(f"{100 * share:.2f}" for share in shares)))
    return "\n".join(lines)


def passed_by_size(rate: str, lesions: int, trials: int, seed: int) -> float:
    """The share of audits that pass. rate: a name in RATES. The factor makes the margin the drop of all of HAM10000."""
    image_counts = np.repeat(list(LESION_IMAGES), list(LESION_IMAGES.values()))
    factor = MARGIN * image_counts.sum() / (image_counts * RATES[rate](image_counts)).sum()
    generator = np.random.default_rng([seed, lesions, list(RATES).index(rate)])
    passed = 0
    for _ in range(trials):
        sizes = _ham10000(lesions, generator)
        lost = generator.random(lesions) < factor * RATES[rate](sizes)
        difference, groups = np.repeat(lost.astype(np.int64), sizes), np.repeat(np.arange(lesions), sizes)
        passed += _verdict(_drop(difference, groups), difference, groups) is Verdict.PASS
    return passed / trials


def _turned_table() -> str:
    """Wrong PASS of the bound on images that turned benign, at the bound."""
    bound = Policy().turned_benign / 100
    counts = (73, 100, 150, 200, 400, 1_000)
    lines = _heading(*(f"n = {count:,}" for count in counts))
    lines.append(_row(*(f"{100 * passed_at_bound(count, bound):.2f}" for count in counts)))
    everywhere = {count: passed_at_bound(count, bound) for count in range(counts[0], counts[-1] + 1)}
    most = max(everywhere, key=lambda count: everywhere[count])
    return "\n".join([*lines, "", f"Largest for n from {counts[0]} to {counts[-1]:,}: {100 * everywhere[most]:.2f}%, "
                      f"at n = {most}."])  # fmt: skip


def passed_at_bound(images: int, bound: float) -> float:
    """The probability that the upper limit of the share of lost images lies below `bound`, which is the true share."""
    return sum(share for lost, share in _binomial(images, bound) if _interval(lost, 0, images).high < bound)


def _outcome(
    sizes: NDArray[np.int64], discordance: float, drop: float, together: float, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images that are lost (1), gained (-1) or neither, and their lesions.

    An image follows its lesion with probability `together`, and is drawn by itself otherwise.
    """
    groups = np.repeat(np.arange(len(sizes)), sizes)
    limits = np.cumsum([(discordance + drop) / 2, (discordance - drop) / 2])
    values = np.array([1, -1, 0])
    of_lesion = np.searchsorted(limits, generator.random(len(sizes)), side="right")[groups]
    own = np.searchsorted(limits, generator.random(len(groups)), side="right")
    return values[np.where(generator.random(len(groups)) < together, of_lesion, own)], groups


def _drop(difference: NDArray[np.int64], groups: NDArray[np.int64]) -> PairedDrop:
    """As paired_drop has it, without the two intervals, which take long."""
    images, effect = len(groups), design_effect(difference, groups)
    lost, gained = int((difference > 0).sum()), int((difference < 0).sum())
    lesions, discordant = effective_lesions(groups), differing_lesions(difference, groups)
    value, whole_range = (lost - gained) / images, Interval(-1.0, 1.0)
    return PairedDrop(images, lost, gained, value, whole_range, 0.95, effect, lesions, discordant, whole_range, 1.0)


def _verdict(drop: PairedDrop, difference: NDArray[np.int64], groups: NDArray[np.int64]) -> Verdict:
    """The answer of the audit; the intervals are computed only where the score test says that one may lie below."""
    p = p_above(drop, margin=MARGIN)
    if p > 0.97:
        images, lost, gained = (count / drop.design_effect for count in (drop.images, drop.lost, drop.gained))
        interval = tango_interval(lost, gained, images)
        bootstrap = lesion_bootstrap(difference, groups) if interval.high < MARGIN else interval
        drop = replace(drop, interval=interval, bootstrap=bootstrap)
    return verdict_of(drop, MARGIN, p, Policy())


def _power_tables(trials: int, seed: int) -> str:
    """How often an audit of the number of images that an undecided one names is decided."""
    lines = _heading(
        "lesions", "first audit", "discordance", "true drop", "named, median", "decided, rates known", "decided, named anew"
    )
    for lesions in (False, True):
        for images, discordance, drop in FIRST_AUDITS:
            generator = np.random.default_rng([seed, images, int(1e4 * discordance), int(lesions)])
            by_truth, anew, named = _followed(images, discordance, drop, trials, generator, lesions=lesions)
            lines.append(_row("HAM10000" if lesions else "one image each", f"{images} images", f"{discordance:.1%}",
                              f"{drop:.1%}", f"{named:,}", f"{100 * by_truth:.0f}%", f"{100 * anew:.0f}%"))  # fmt: skip
    return "\n".join(lines)


def _followed(
    images: int, discordance: float, drop: float, trials: int, generator: np.random.Generator, *, lesions: bool
) -> tuple[float, float, int]:
    """Shares of second audits that are decided: of as many images as the true rates ask for, as the first audit names."""

    def audit(count: int) -> tuple[PairedDrop, bool]:
        mean = sum(size * times for size, times in LESION_IMAGES.items()) / sum(LESION_IMAGES.values())
        sizes = _ham10000(round(count / mean), generator) if lesions else np.ones(count, np.int64)
        difference, groups = _outcome(sizes, discordance, drop, 0.5, generator)
        estimated = _drop(difference, groups)
        return estimated, _verdict(estimated, difference, groups) is not Verdict.INCONCLUSIVE

    large, _ = audit(200_000)
    needed_by_truth = images_to_decide(large, margin=MARGIN) or 0
    decided, named = [], []
    for _ in range(trials):
        first, is_decided = audit(images)
        needed = None if is_decided else images_to_decide(first, margin=MARGIN)
        if needed is not None and needed < 100_000:
            named.append(needed)
            decided.append(audit(needed)[1])
    sure = np.mean([audit(needed_by_truth)[1] for _ in range(trials)])
    return float(sure), float(np.mean(decided)), int(np.median(named))


def _family_table(trials: int, seed: int) -> str:
    generator = np.random.default_rng([seed, 40])
    single = corrected = 0
    alpha = Policy().alpha
    for _ in range(trials):
        p_values = [p_above(_plain(*generator.multinomial(1_000, [0.02, 0.01, 0.97])[:2]), margin=MARGIN) for _ in range(40)]
        single += min(p_values) < alpha
        corrected += min(holm(p_values)) < alpha
    one_bad = _exactly_one_bad(trials, generator)
    return "\n".join(
        [
            *_heading("what is true", "answer", "share of audits, %"),
            _row("all forty drops are the margin", "some FAIL, uncorrected", f"{100 * single / trials:.1f}"),
            _row("all forty drops are the margin", "some FAIL, Holm", f"{100 * corrected / trials:.1f}"),
            _row("one drop is the margin, 39 are 0 with a discordance of 0.1%", "all PASS (wrong)", f"{100 * one_bad:.1f}"),
        ]
    )


def _exactly_one_bad(trials: int, generator: np.random.Generator) -> float:
    passed = 0
    for _ in range(trials):
        bad = _plain(*generator.multinomial(1_000, [0.02, 0.01, 0.97])[:2])
        good = [_plain(*generator.multinomial(1_000, [0.0005, 0.0005, 0.999])[:2]) for _ in range(39)]
        passed += all(drop.interval.high < MARGIN for drop in (bad, *good))
    return passed / trials


def _plain(b: int, c: int) -> PairedDrop:
    interval = _interval(int(b), int(c), 1_000)
    return PairedDrop(1_000, int(b), int(c), (b - c) / 1_000, interval, 0.95, 1.0, 1_000, int(b + c), interval, 1.0)


def _heading(*cells: str) -> list[str]:
    return [_row(*cells), _row("---", *(["---:"] * (len(cells) - 1)))]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
