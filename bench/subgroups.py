"""How often a subgroup fails an engine: honest ones, and those that lose on a single subgroup.

    python bench/subgroups.py --output docs/results/subgroups.md

Answers are drawn, no model and no image is run. Figures, tests and gates are those of the audit.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.audit.figures import statistics, subgroup_excess
from skinaudit.audit.figures.statistics import Interval, wilson_interval
from skinaudit.audit.figures.subgroup_excess import Answers, with_excess
from skinaudit.audit.figures.subgroups import columns_of, subgroup_results
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Verdict
from skinaudit.audit.judgement.subgroup_gates import judged, subgroup_gates
from skinaudit.bench.report import table

MALIGNANT_SHARE, RIGHT, FLIPS = 0.195, 0.75, 500
"""FLIPS: of lesions, in place of FULL_FLIPS."""
SITES = (
    ("back", 0.22), ("lower extremity", 0.21), ("trunk", 0.14), ("upper extremity", 0.11), ("abdomen", 0.1),
    ("face", 0.075), ("chest", 0.045), ("foot", 0.03), ("neck", 0.02), ("scalp", 0.015), ("", 0.035),
)  # fmt: skip
"""Shares of the images of HAM10000 by site, about."""
AGES = (("10", 0.03), ("30", 0.19), ("50", 0.44), ("70", 0.29), ("85", 0.05))
SEXES = (("female", 0.46), ("male", 0.54))
FULL_FLIPS = subgroup_excess.FLIPS
_OTHER = np.array([1, 0])  # the other one of malignant (0) and benign


@dataclass(frozen=True)
class Truth:
    """What is true of an engine. differing: share of lesions whose images differ, as many lost as gained. rougher: times as
    many in the subgroup. lost: share of the images of every subgroup that are lost besides, where the source is right.
    loss: the same of the subgroup alone. sets: of how many sets, the others are honest. whole: lesions are lost as a whole.
    """

    differing: float
    site: str = "face"
    rougher: float = 1.0
    lost: float = 0.0
    loss: float = 0.0
    sets: int = 3
    whole: bool = True


HONEST = (
    *((f"{share:.1%} differ", Truth(share)) for share in (0.005, 0.03, 0.1)),
    ("3.0% differ, five times as many on the back", Truth(0.03, site="back", rougher=5.0)),
    ("3.0% differ, five times as many in the face", Truth(0.03, rougher=5.0)),
    ("3.0% differ, and every subgroup loses 5%", Truth(0.03, lost=0.05)),
    ("10.0% differ, single images of a lesion", Truth(0.1, whole=False)),
)
SIZES = (("back", 0.22), ("face", 0.075), ("chest", 0.045))
LOSSES = (0.1, 0.15, 0.2, 0.3, 0.5)


def main() -> None:
    """Parse the command line, simulate, write."""
    for name in ("lesion_bootstrap", "tango_interval", "wilson_interval"):  # no FAIL of a subgroup depends on an interval
        setattr(statistics, name, lambda *_, **__: Interval(0.0, 0.0))
    for name in ("design_effect", "differing_lesions", "effective_lesions"):  # nor on these
        setattr(statistics, name, lambda *_: 1)
    subgroup_excess.FLIPS = FLIPS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=400, help="Audits of 900 images of each kind of honest engine.")
    parser.add_argument("--large-rounds", type=int, default=100, help="The same of 3,000 images.")
    parser.add_argument("--losing-rounds", type=int, default=60, help="Audits of each engine that loses on a subgroup.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rounds = {900: options.rounds, 3000: options.large_rounds}
    failures = [[_failed(truth, images, count, options.seed) for images, count in rounds.items()] for _, truth in HONEST]
    honest = [[name, *map(_cell, failed, rounds.values())] for (name, _), failed in zip(HONEST, failures, strict=True)]
    total = _cell(sum(map(sum, failures)), len(HONEST) * sum(rounds.values()))
    losing = []
    for images, sets in ((900, 3), (900, 1)):
        for site, share in SIZES:
            truths = [Truth(0.01, site=site, loss=loss, sets=sets) for loss in LOSSES]
            failed = [_failed(truth, images, options.losing_rounds, options.seed) for truth in truths]
            name = f"{images:,} images, {site}, about {images * share:.0f}; in {sets} of 3 sets"
            losing.append([name, *(f"{100 * times / options.losing_rounds:.0f}%" for times in failed)])
    options.output.write_text(_page(honest, losing, total, options), encoding="utf-8")


def _cell(failed: int, rounds: int) -> str:
    interval = wilson_interval(failed, rounds)
    return f"{failed} of {rounds}, {interval.low:.1%} to {interval.high:.1%}"


def _failed(truth: Truth, images: int, rounds: int, seed: int) -> int:
    """In how many audits any gate of a subgroup fails."""
    generator = np.random.default_rng([seed, images, round(1000 * truth.differing)])
    failed = sum(_fails(generator, truth, images) for _ in range(rounds))
    print(f"{truth}, {images} images: {failed} of {rounds}", file=sys.stderr, flush=True)
    return failed


def _fails(generator: np.random.Generator, truth: Truth, images: int) -> bool:
    sizes = generator.choice([1, 2, 3], images, p=[0.74, 0.19, 0.07])
    groups = np.repeat(np.arange(images), sizes)[:images]
    labels = np.where(generator.random(images)[groups] < MALIGNANT_SHARE, 0, 1)
    values: dict[str, tuple[str, ...]] = {
        name: _drawn_values(generator, shares, groups) for name, shares in (("site", SITES), ("age", AGES), ("sex", SEXES))
    }
    columns, at_site, policy = columns_of(values), np.array([value == truth.site for value in values["site"]]), Policy()
    answers = []
    for number in range(3):
        of_set = truth if number < truth.sets else replace(truth, loss=0.0)
        answers.append(_answers(generator, of_set, labels, groups, at_site))
    common: dict[str, Any] = {"labels": labels, "groups": groups, "malignant": (0,)}
    results = [
        subgroup_results(set_answers.engine, set_answers.source, columns, confidence=policy.confidence, **common)
        for set_answers in answers
    ]
    tested = with_excess(results, answers, columns, judged=partial(judged, policy), least=policy.subgroup_lesions, **common)
    sets: list[Any] = [SimpleNamespace(title=str(number), subgroups=own) for number, own in enumerate(tested)]
    return any(gate.judgement.verdict is Verdict.FAIL for gate in subgroup_gates(sets, policy))


def _answers(
    generator: np.random.Generator, truth: Truth, labels: NDArray[np.int64], groups: NDArray[np.int64],
    at_site: NDArray[np.bool_],
) -> Answers:  # fmt: skip
    """Answers of source and engine, which differ by lesions or, if not whole, by images."""
    units = groups if truth.whole else np.arange(len(labels))
    source = np.where(generator.random(len(labels))[units] < RIGHT, labels, _OTHER[labels])
    differs = generator.random(len(labels))[units] < truth.differing * np.where(at_site, truth.rougher, 1.0)
    first = generator.random(len(labels))[units] < 0.5
    engine = np.where(differs, np.where(first, _OTHER[labels], labels), source)
    source = np.where(differs, np.where(first, labels, _OTHER[labels]), source)
    lost = generator.random(len(labels))[units] < truth.lost + truth.loss * at_site
    return Answers(engine=np.where(lost, _OTHER[labels], engine), source=source)


def _drawn_values(generator: np.random.Generator, shares: Any, groups: NDArray[np.int64]) -> tuple[str, ...]:
    """A value for each lesion, by its share."""
    values, weights = zip(*shares, strict=True)
    drawn = generator.choice(len(values), len(groups), p=np.array(weights) / sum(weights))
    return tuple(values[index] for index in drawn[groups])


def _page(honest: list[list[str]], losing: list[list[str]], total: str, options: argparse.Namespace) -> str:
    policy = Policy()
    count, error = len(SITES) - 1 + len(AGES) + len(SEXES), 50 / options.losing_rounds**0.5
    command = shlex.join(["python", "bench/subgroups.py", *sys.argv[1:]])
    return f"""# Subgroups: how often they fail an engine

    {command}

Answers are simulated; no model and no image is involved. Each audit has three sets of the same images. Lesions have 1
to 3 images. The subgroups are by age, sex and site, of about the sizes of HAM10000, {count} in all, each with accuracy
and *malignant called malignant*. The margin is {policy.subgroup_margin:g} points, the smallest size
{policy.subgroup_lesions} lesions, alpha {policy.alpha:.1%}. An audit FAILs if any of its subgroups does. The source is right
on {RIGHT:.0%} of the images. Lesions are flipped {FLIPS:,} times in place of {FULL_FLIPS:,}
([how it is tested](../decisions/verdict.md)).

## Honest engines

As many images are lost as gained, in whole lesions unless the row says otherwise. The columns are audits with a FAIL
and the 95% interval of their share; at most {policy.alpha:.1%} may FAIL.

{table(("engine", "900 images", "3,000 images"), honest)}
All together: {total}.

## Engines that lose on one site

The engine is wrong on a share of the site's lesions, whatever the source says. The drop is {RIGHT:.0%} of this share.
Source and engine differ on a further 1% of the lesions. The columns are audits with a FAIL; the standard error of 50%
is {error:.0f} points.

{table(("images, site, images of the site", *(f"{loss:.0%}" for loss in LOSSES)), losing)}"""


if __name__ == "__main__":
    main()
