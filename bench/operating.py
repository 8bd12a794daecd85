"""How whole audits of simulated engines end: PASS, INCONCLUSIVE and FAIL by flips and images, docs/results/operating.md.

    python bench/operating.py --output docs/results/operating.md

Synthetic predictions only: no model and no image is run. Every audit goes through the figures, gates, findings and the
verdict of skinaudit.audit, with a clean and an adversarial set.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.files import write_json
from skinaudit.audit.evidence.reference import Control
from skinaudit.audit.figures import statistics
from skinaudit.audit.figures.comparison import Comparison, compare
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.judgement import gates
from skinaudit.audit.judgement.gate_findings import gate_findings
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Verdict
from skinaudit.audit.judgement.verdict import conclude
from skinaudit.bench.report import table

CONTRACT = InputContract(size=8)
SHARES: Mapping[str, float] = {
    "mel": 0.111,
    "nv": 0.670,
    "bcc": 0.051,
    "akiec": 0.033,
    "bkl": 0.110,
    "df": 0.011,
    "vasc": 0.014,
}
"""Shares of the classes of HAM10000."""
LESION_IMAGES = {1: 5514, 2: 1423, 3: 490, 4: 34, 5: 5, 6: 4}
"""Lesions of HAM10000 by their number of images."""
RIGHT = (0.80, 0.60)
"""Accuracy of the source on the clean and on the adversarial set."""
MALIGNANT_RIGHT = (0.75, 0.55)
"""The same for malignant images."""
TOGETHER = 0.5
"""Probability that an image goes with its lesion, in the source's answers and in the engine's flips."""
SIZES = (400, 1_000, 3_000, 10_000, 50_000)
LOSING_SIZES = (400, 600, 800, 1_000, 3_000, 10_000)
TURNED = "turned benign, as many gained"
FLIPS = (0.0005, 0.001, 0.005, 0.02, 0.045)
BEFORE = Policy(malignant_to_benign=0)
RESAMPLES = 1_000
"""Of the lesion bootstrap, in place of 4,000: four times as fast."""
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """What is true of an engine. flips: share of images with another answer, as many gained as lost. lost: share of all
    images that are right on the source and wrong on the engine besides. malignant: share of the malignant images that turn
    benign besides, while as many benign ones are gained. turned: share of the malignant images called malignant that turn
    benign besides, while as many other malignant ones are gained.
    """

    flips: float
    lost: float = 0.0
    malignant: float = 0.0
    turned: float = 0.0


def main() -> None:
    """Parse the command line, simulate, write."""
    statistics.lesion_bootstrap = partial(statistics.lesion_bootstrap, resamples=RESAMPLES)  # type: ignore[assignment]
    gates.images_to_decide = lambda *_, **__: None  # what would decide is not shown here, and takes as long as all else
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=60, help="Whole audits a cell of honest engines.")
    parser.add_argument("--margin-draws", type=int, default=60, help="Whole audits a cell of engines at the margin.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cells", type=Path, help="Where each cell is kept once measured; a run that was stopped goes on.")
    options = parser.parse_args()
    cells = Cells(options.cells)
    at_margin = _at_margin(cells, options.margin_draws, options.seed)
    honest = _honest(cells, options.draws, options.seed)
    options.output.write_text(_page(honest, at_margin, options, cells.minutes), encoding="utf-8")


class Cells:
    """The text of each measured cell by its name, and the minutes that all took; kept in a file of JSON if one is given."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: dict[str, tuple[str, float]] = {}
        if path is not None and path.exists():
            self.known = json.loads(path.read_text(encoding="utf-8"))

    @property
    def minutes(self) -> float:
        """Of all cells together."""
        return sum(seconds for _, seconds in self.known.values()) / 60

    def measured(self, name: str, measure: Callable[[], str]) -> str:
        """The cell of this name, measured unless it is known."""
        if name not in self.known:
            started = time.perf_counter()
            text = measure()
            self.known[name] = (text, time.perf_counter() - started)
            if self.path is not None:
                write_json(self.path, self.known)
        print(f"{name}: {self.known[name][0]}", file=sys.stderr, flush=True)
        return self.known[name][0]


def _honest(cells: Cells, draws: int, seed: int) -> str:
    """Engines that are equal to their source: verdicts before and after, in percent."""

    def cell(flips: float, size: int) -> str:
        sets = _draws(Truth(flips), size, draws, seed)
        before, after = Counter[Verdict](), Counter[Verdict]()
        for today, earlier in sets:
            before[_verdict(earlier, BEFORE)] += 1
            after[_verdict(today, Policy())] += 1
        return f"{_shares(before)}; {_shares(after)}"

    rows = [
        [f"{flips:.2%}", *(cells.measured(f"{flips:.2%} {size:,}", partial(cell, flips, size)) for size in SIZES)]
        for flips in FLIPS
    ]
    return table(["flips, images", *(f"{size:,}" for size in SIZES)], rows)


def _at_margin(cells: Cells, draws: int, seed: int) -> str:
    """Engines that lose exactly a margin on the adversarial set: the share that passes, wrongly, in percent."""

    def cell(kind: str, flips: float, size: int) -> str:
        counts = Counter[tuple[Verdict, bool]]()
        for today, _ in _draws(_losing(kind, flips, size), size, draws, seed):
            counts[_verdict(today, Policy()), _binds(kind, today)] += 1
        shares = (
            counts[Verdict.PASS, True] + counts[Verdict.PASS, False], counts[Verdict.PASS, False],
            counts[Verdict.FAIL, True] + counts[Verdict.FAIL, False],
        )  # fmt: skip
        return "{:.1f} ({:.1f}) / {:.1f}".format(*(100 * share / draws for share in shares))

    rows, passed, bound = [], [0.0], [0.0]
    for kind in ("accuracy", "malignant called malignant", TURNED):
        for flips in (0.001, 0.01):
            row = [cells.measured(f"{kind} {flips:.1%} {size:,}", partial(cell, kind, flips, size)) for size in LOSING_SIZES]
            rows.append([kind, f"{flips:.1%}", *row])
            for text in row:
                wrong, free = (float(part.strip("()")) for part in text.split()[:2])
                passed.append(wrong)
                bound.append(wrong - free)
    header = ["what is lost on the adversarial set", "flips", *(f"{size:,}" for size in LOSING_SIZES)]
    return (
        f"{table(header, rows)}\nLargest share of wrong PASS: {max(passed):.1f}%; {max(bound):.1f}% with a gate that binds."
    )


def _binds(kind: str, sets: list[SetResult]) -> bool:
    """Whether the gate on what is lost on the adversarial set could forbid a PASS."""
    if kind != TURNED:
        return True
    return any(gate.rule == "turned-benign" and gate.binding for gate in gates.judge(sets[1:], [], Policy()))


def _losing(kind: str, flips: float, size: int) -> Truth:
    policy = Policy()
    if kind == "accuracy":
        return Truth(flips, lost=policy.margin / 100)
    malignant = round(size * sum(SHARES[name] for name in CONTRACT.malignant))
    if kind == TURNED:
        return Truth(flips, turned=policy.turned_benign / 100)
    return Truth(flips, malignant=policy.margin_of_malignant(malignant) / 100)


def _draws(truth: Truth, size: int, draws: int, seed: int) -> Iterator[tuple[list[SetResult], list[SetResult]]]:
    """The sets of `draws` audits: with today's figures, and with those that the limit of 0 lost cancers went by."""
    for draw in range(draws):
        key = [seed, size, *(round(1e6 * share) for share in (truth.flips, truth.lost, truth.malignant, truth.turned)), draw]
        sets = _simulated(truth, size, np.random.default_rng(key))
        yield [today for today, _ in sets], [earlier for _, earlier in sets]


def _verdict(sets: list[SetResult], policy: Policy) -> Verdict:
    judged = gates.judge(sets, [], policy)
    return conclude(sets, judged, gate_findings(judged, policy, malignant=CONTRACT.malignant), policy)[0]


def _simulated(truth: Truth, size: int, generator: np.random.Generator) -> list[tuple[SetResult, SetResult]]:
    """A clean and an adversarial set, each with today's figures and with those that the limit of 0 went by.

    The engine differs from its source on both; what it loses for good, it loses on the adversarial set.
    """
    sizes = np.repeat(list(LESION_IMAGES), list(LESION_IMAGES.values()))
    lesions = generator.choice(sizes, size)  # more than enough
    groups = np.repeat(np.arange(size), lesions)[:size]
    of_lesion = generator.choice(len(SHARES), size, p=[SHARES[name] / sum(SHARES.values()) for name in CONTRACT.classes])
    labels: Indices = of_lesion[groups]
    results = []
    for attacked in (False, True):
        source, engine = _answers(truth if attacked else Truth(truth.flips), labels, groups, attacked, generator)
        common: dict[str, Any] = {"labels": labels, "groups": groups, "contract": CONTRACT, "confidence": 0.95}
        today = compare(engine, source, engine_clean=labels if attacked else None, **common)
        benign_now = np.isin(labels, CONTRACT.malignant_labels) & ~np.isin(engine, CONTRACT.malignant_labels)
        exact = int((benign_now & (source == labels)).sum())
        earlier = replace(today, malignant_drop=None, turned_benign=None, malignant_to_benign=exact)
        results.append((_set(today, attacked), _set(earlier, attacked)))
    return results


def _answers(
    truth: Truth, labels: Indices, groups: Indices, attacked: bool, generator: np.random.Generator
) -> tuple[Indices, Indices]:
    """Answers of source and engine. Where they differ, either is as often the right one, but for what is lost for good."""
    ill = np.isin(labels, CONTRACT.malignant_labels)
    right = _lesion_uniforms(groups, generator) < np.where(ill, MALIGNANT_RIGHT[attacked], RIGHT[attacked])
    wrong = _wrong(labels, generator)
    source = np.where(right, labels, wrong)
    engine = source.copy()
    differ = _lesion_uniforms(groups, generator) < truth.flips
    first = _lesion_uniforms(groups, generator) < 0.5
    source[differ] = np.where(first, labels, wrong)[differ]
    engine[differ] = np.where(first, wrong, labels)[differ]
    agreeing = ~differ
    lost = agreeing & (source == labels) & (_lesion_uniforms(groups, generator) < truth.lost / (right & agreeing).mean())
    engine[lost] = wrong[lost]
    called = np.isin(source, CONTRACT.malignant_labels)
    benign = generator.choice(np.flatnonzero(~np.isin(np.arange(len(SHARES)), CONTRACT.malignant_labels)), len(labels))
    share = truth.malignant / called[ill].mean() + truth.turned
    turned = ill & called & agreeing & (_lesion_uniforms(groups, generator) < share)
    engine[turned] = benign[turned]
    if truth.malignant:  # as many benign images are gained, so that accuracy is not lost besides
        _gain(engine, labels, agreeing & ~ill & (source != labels), int((turned & (source == labels)).sum()), generator)
    if truth.turned:
        _gain(engine, labels, agreeing & ill & ~called, int(turned.sum()), generator)
    return source, engine


def _gain(engine: Indices, labels: Indices, rows: NDArray[np.bool_], count: int, generator: np.random.Generator) -> None:
    """Let the engine be right on `count` of these rows."""
    gained = generator.permutation(np.flatnonzero(rows))[:count]
    engine[gained] = labels[gained]


def _lesion_uniforms(groups: Indices, generator: np.random.Generator) -> NDArray[np.float64]:
    """Uniform numbers, float64 (N,): an image has its lesion's with probability TOGETHER, else one of its own."""
    own, of_lesion = generator.random(len(groups)), generator.random(groups[-1] + 1)
    return np.where(generator.random(len(groups)) < TOGETHER, of_lesion[groups], own)


def _wrong(labels: Indices, generator: np.random.Generator) -> Indices:
    """A wrong answer for each image, the common classes more often."""
    shares = np.array([SHARES[name] for name in CONTRACT.classes])
    table = np.tile(shares, (len(shares), 1)) * (1 - np.eye(len(shares)))
    edges = np.cumsum(table / table.sum(axis=1, keepdims=True), axis=1)
    answers: Indices = (generator.random(len(labels))[:, None] > edges[labels]).sum(axis=1).clip(max=len(shares) - 1)
    return answers


def _set(comparison: Comparison, attacked: bool) -> SetResult:
    title = "pgd linf 2/255" if attacked else "clean"
    return SetResult(
        name=title, title=title, file="", path=Path(), attack="pgd" if attacked else "clean",
        norm="linf" if attacked else None, eps="2/255" if attacked else None, settings={}, clean=not attacked,
        white_box=True, source="", images_digest=title, control=Control(False, ""), comparison=comparison, drift=None,
        probabilities=False, images_per_second=1.0, flipped=(), right="", called_malignant="",
        engine_answers="", source_answers="",
    )  # fmt: skip


def _shares(verdicts: Counter[Verdict]) -> str:
    draws = sum(verdicts.values())
    return " / ".join(
        f"{100 * verdicts[verdict] / draws:.0f}" for verdict in (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
    )


def _page(honest: str, at_margin: str, options: argparse.Namespace, minutes: float) -> str:
    return f"""# Operating characteristics: how whole audits end

    python bench/operating.py --margin-draws {options.margin_draws} --output docs/results/operating.md

took {minutes:.0f} minutes with {options.draws} (first table) and {options.margin_draws} (second table) audits per cell,
and seed {options.seed}. The answers are random numbers: the simulation uses no model and no image. Each audit has a clean
and an adversarial set of the same images, with
classes and lesions as in HAM10000 (1 to 6 images per lesion). With probability {TOGETHER} an image has the outcome of its
lesion, for the source's answers and for the flips. The figures, the gates, their findings and the verdict are computed by
the audit's own code. Checks of the engine file are not simulated. The bootstrap uses {RESAMPLES:,} resamples of
the lesions; an audit uses 4,000.

## Engines that are equal to their source

*Flips* is the share of images on which the two answers differ. On average as many images are lost as gained. The cells
show percent of audits: PASS / INCONCLUSIVE / FAIL. The first three figures are for a limit of 0 malignant images that turn
benign, which was the default before. The second three are for today's default.

{honest}

## Engines that lose exactly a margin

These engines lose exactly a margin on the adversarial set, in one of three ways:

- 1 point of accuracy;
- 5 points of malignant called malignant (2.5 points from 400 malignant images on), while the accuracy does not change;
- 5% of the malignant images that the source calls malignant turn benign, while as many others are gained.

The cells show percent of audits: PASS (in brackets: PASS of audits in which the gate on this loss did not bind) / FAIL. A
PASS is wrong here, and at most {100 * Policy().alpha:.1f}% of the audits may end in PASS. The gate on images that turned
benign does not bind in one case: the source calls so few cancers malignant that even full agreement could not show
less than 5%, and too
few of them turned benign to raise a doubt. Such an audit has a warning.

{at_margin}
"""


if __name__ == "__main__":
    main()
