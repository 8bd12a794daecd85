"""How often external images forbid a PASS: where they are like the run's own, and where they are not.

    python bench/external_draws.py RUN EXTERNAL [--other EXTERNAL ...] [--rounds 400] [--output FILE.md]

EXTERNAL is a folder of sets that `skinaudit attack RUN --data DIR` wrote of images of the run's own hospital. The lesions of
the run's test and of EXTERNAL are drawn anew in each round into an own test, as large as that of the run, and external
images. So both come from the same hospital, and the engine equals its source: a forbidden PASS is needless. The images of
--other come from elsewhere; the own test is drawn as before. The check of the audit judges recorded logits; nothing is
replayed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.external import ExternalSets
from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.pictures import STATISTICS
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.external_validation import check
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.external import ExternalImages
from skinaudit.audit.evidence.reference import Control
from skinaudit.audit.figures.comparison import compare
from skinaudit.audit.figures.external import external_result
from skinaudit.audit.figures.statistics import wilson_interval
from skinaudit.audit.judgement.policy import DEFAULT

SIZES = (200, 400, 800)
Rows = NDArray[np.int64]
Mix = Callable[[InputContract], Mapping[str, float]]
"""By class, the share of its lesions that may be drawn; a class without an entry keeps all."""

MIXES: Mapping[str, Mix] = {
    "the same": lambda _: {},
    "half as many benign lesions": lambda contract: dict.fromkeys(_benign(contract), 0.5),
    "a fifth of the benign lesions": lambda contract: dict.fromkeys(_benign(contract), 0.2),
    "of the malignant classes the first alone": lambda contract: dict.fromkeys(contract.malignant[1:], 0.0),
    "of the malignant classes all but the first": lambda contract: dict.fromkeys(contract.malignant[:1], 0.0),
}


def _benign(contract: InputContract) -> list[str]:
    return [name for name in contract.classes if name not in contract.malignant]


def pooled(parts: Sequence[AdversarialSet]) -> AdversarialSet:
    """Several sets as one, whose lesions are told apart; without images."""
    groups, above = [], 0
    for part in parts:
        groups.append(np.unique(part.group, return_inverse=True)[1] + above)
        above = int(groups[-1].max()) + 1
    return replace(
        parts[0], labels=np.concatenate([part.labels for part in parts]), group=np.concatenate(groups),
        source_logits=np.concatenate([part.source_logits for part in parts]), ids=(),
    )  # fmt: skip


def of_rows(images: AdversarialSet, rows: Rows) -> AdversarialSet:
    """Some images of a set."""
    return replace(images, labels=images.labels[rows], group=images.group[rows], source_logits=images.source_logits[rows])


def draw(
    pool: AdversarialSet, shares: Mapping[str, float], sizes: Sequence[int], generator: np.random.Generator
) -> list[Rows]:
    """Rows of whole lesions, as many images as `sizes` asks or a few more; `shares` thins the classes of the first part."""
    lesions = generator.permutation(np.unique(pool.group))
    parts, rest = [], lesions
    for place, size in enumerate(sizes):
        kept = rest
        if place == 0 and shares:
            _, first = np.unique(pool.group, return_index=True)
            classes = [pool.info.contract.classes[pool.labels[first[lesion]]] for lesion in rest]
            chances = np.array([shares.get(name, 1.0) for name in classes])
            kept = rest[generator.random(len(rest)) < chances]
        counts = np.bincount(pool.group)[kept]
        lesions_drawn = kept[: int(np.searchsorted(np.cumsum(counts), size)) + 1]
        rest = generator.permutation(np.setdiff1d(rest, lesions_drawn))
        parts.append(np.flatnonzero(np.isin(pool.group, lesions_drawn)))
    return parts


def forbids(own: AdversarialSet, drawn: AdversarialSet) -> bool:
    """Whether the audit of an engine that equals its source would forbid a PASS on the external images `drawn`."""
    answered_set = AnsweredSet(
        drawn, "clean", True, cast(Control, None), drawn.source_logits, drawn.source_logits, 1.0, drawn.group
    )
    described = ExternalSets("drawn", drawn.info.dataset, "", {}, {}, {})
    no_images = np.zeros((0, len(STATISTICS)), np.float32)
    external = ExternalImages(described, False, own.info.dataset, True, 0, 0, 0, 0, True, 0, (own,), no_images, None)
    answers = predictions(drawn.source_logits)
    comparison = compare(
        answers, None, engine_clean=None, labels=drawn.labels, groups=drawn.group, contract=drawn.info.contract,
        confidence=DEFAULT.confidence,
    )  # fmt: skip
    evidence = SimpleNamespace(
        external=external_result(external, [answered_set], confidence=DEFAULT.confidence),
        clean=SimpleNamespace(comparison=comparison, title="clean"),
    )
    return any(finding.severity is Severity.INCONCLUSIVE for finding in check(cast(Evidence, evidence)))


def cell(count: int, rounds: int) -> str:
    interval = wilson_interval(count, rounds)
    return f"{100 * count / rounds:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("external", type=Path)
    parser.add_argument("--other", type=Path, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    own = open_set(RunFolder(options.run).set_file("clean"))
    pool = pooled([own, open_set(options.external / "clean.safetensors")])
    contract = pool.info.contract
    right = predictions(pool.source_logits) == pool.labels
    lines = [
        f"{len(pool):,} images of {len(np.unique(pool.group)):,} lesions that the run was not trained on; accuracy "
        f"{right.mean():.1%}, always {contract.classes[np.bincount(pool.labels).argmax()]} "
        f"{np.bincount(pool.labels).max() / len(pool):.1%}; own test of {len(own):,} images; {options.rounds} rounds.", "",
        "| external images | their mix of classes | " + " | ".join(f"{size} images" for size in SIZES) + " |",
        "|:--|:--|" + "--:|" * len(SIZES),
    ]  # fmt: skip
    for name, mix in MIXES.items():
        shares = mix(contract)
        cells = []
        for size in SIZES:
            generator = np.random.default_rng(0)
            count = 0
            for _ in range(options.rounds):
                external_rows, own_rows = draw(pool, shares, (size, len(own)), generator)
                count += forbids(of_rows(pool, own_rows), of_rows(pool, external_rows))
            cells.append(cell(count, options.rounds))
        lines.append(f"| own hospital | {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    for folder in options.other:
        elsewhere = open_set(folder / "clean.safetensors")
        cells = []
        for size in SIZES:
            generator = np.random.default_rng(0)
            count = 0
            for _ in range(options.rounds):
                (external_rows,) = draw(elsewhere, {}, (size,), generator)
                (own_rows,) = draw(pool, {}, (len(own),), generator)
                count += forbids(of_rows(pool, own_rows), of_rows(elsewhere, external_rows))
            cells.append(cell(count, options.rounds))
        lines.append(f"| {folder.name} | its own | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if options.output is not None:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
