"""How often a verdict on a drop is wrong, and how often its interval holds the truth: docs/results/statistics.md.

    python bench/simulate.py --output docs/results/statistics.md

Independent images are enumerated exactly, images of lesions are drawn. Synthetic counts only: no model and no image is run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.audit.figures.statistics import Interval, PairedDrop, holm, p_above, paired_drop, tango_interval
from skinaudit.audit.judgement.gates import verdict_of
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Verdict

SIZES = (100, 300, 1_000, 3_000, 10_000)
DISCORDANCES = (0.001, 0.003, 0.01, 0.03, 0.1)
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
    family = _family_table(options.trials, options.seed)
    minutes = (time.perf_counter() - started) / 60
    options.output.write_text(_page(exact, clustered, family, options, minutes), encoding="utf-8")


def _page(exact: str, clustered: str, family: str, options: argparse.Namespace, minutes: float) -> str:
    return f"""# How often the verdict is wrong

    python bench/simulate.py --output docs/results/statistics.md

took {minutes:.0f} minutes with {options.trials:,} draws a cell and seed {options.seed}. Counts are synthetic: no model
and no image is involved. The margin is 1 point and the confidence 95% (two-sided), the defaults. *Discordance* is the share
of images on which exactly one of source and engine is right.

## Independent images, enumerated exactly

{exact}

## Images of lesions

Lesions have as many images as those of HAM10000 (7,470 lesions of 1 to 6 images). An image follows its lesion with
probability 0.5 (it is lost, gained or unchanged with it) and is drawn by itself otherwise. PASS needs Tango's interval over
effective counts and the lesion bootstrap both below the margin.

{clustered}

## Many comparisons at once

Forty gates (five sets, with the accuracy and seven classes in each), each of 1,000 independent images; a drop of the margin
has a discordance of 3%.

{family}
"""


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
        found = _interval(b, c, n)
        coverage += probability * (found.low - 1e-12 <= drop <= found.high + 1e-12)
        below += probability * (found.high < MARGIN)
        above += probability * (found.low > MARGIN)
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


def _clustered_tables(trials: int, seed: int) -> str:
    lines = [
        "The true drop is the margin. In percent: coverage of Tango's interval / of the bootstrap, and wrong answers.",
        "",
    ]
    lines += _heading("images", "discordance", "coverage", "wrong PASS", "wrong FAIL")
    for lesions in (300, 669, 2_000):
        for discordance in (0.015, 0.03, 0.1):
            generator = np.random.default_rng([seed, lesions, int(1e4 * discordance)])
            drops = [_drawn(lesions, discordance, generator) for _ in range(trials)]
            verdicts = [verdict_of(one, MARGIN, p_above(one, margin=MARGIN), Policy()) for one in drops]
            covered = [float(np.mean([_holds(found) for found in found_all])) for found_all in (
                [one.interval for one in drops], [one.bootstrap for one in drops])]  # fmt: skip
            images = float(np.mean([one.images for one in drops]))
            shares = [float(np.mean([found is wrong for found in verdicts])) for wrong in (Verdict.PASS, Verdict.FAIL)]
            lines.append(
                _row(
                    f"{images:,.0f} of {lesions:,} lesions", f"{discordance:.1%}",
                    f"{100 * covered[0]:.1f} / {100 * covered[1]:.1f}", *(f"{100 * share:.2f}" for share in shares),
                )
            )  # fmt: skip
    return "\n".join(lines)


def _holds(found: Interval) -> bool:
    return found.low <= MARGIN <= found.high


def _drawn(lesions: int, discordance: float, generator: np.random.Generator) -> PairedDrop:
    """Images of lesions whose true drop is the margin."""
    sizes = np.repeat(list(LESION_IMAGES), list(LESION_IMAGES.values()))
    groups = np.repeat(np.arange(lesions), generator.choice(sizes, lesions))
    shares = [(discordance + MARGIN) / 2, (discordance - MARGIN) / 2, 1 - discordance]
    of_lesion = generator.choice(3, lesions, p=shares)[groups]
    own = generator.choice(3, len(groups), p=shares)
    outcome: NDArray[np.int64] = np.where(generator.random(len(groups)) < 0.5, of_lesion, own)
    return paired_drop(outcome != 1, outcome != 0, groups)


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
        passed += all(one.interval.high < MARGIN for one in (bad, *good))
    return passed / trials


def _plain(b: int, c: int) -> PairedDrop:
    interval = _interval(int(b), int(c), 1_000)
    return PairedDrop(1_000, int(b), int(c), (b - c) / 1_000, interval, 0.95, 1.0, interval, 1.0)


def _heading(*cells: str) -> list[str]:
    return [_row(*cells), _row("---", *(["---:"] * (len(cells) - 1)))]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
