"""The sets of an earlier audit, the baseline, paired with those of this audit before any image is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.files import short
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    from skinaudit.audit.figures.set_result import SetResult
    from skinaudit.audit.judgement.result import AuditResult

_ON_THE_SAME = "audit both engines on the same sets with --sets DIR"


@dataclass(frozen=True)
class Pair:
    """A set of the baseline for comparison with a set of this audit.

    own: False if both have the same images; True if the same attack crafted both from the same clean images, each on the
    weights of its own engine. Invariant: both have the same lesions under the same names in the same order.
    """

    before: SetResult
    own: bool

    def fair_for(self, result: SetResult) -> bool:
        """Whether both were attacked in the same way: an attack on other weights makes one of them look better."""
        return result.clean or self.before.white_box == result.white_box


def pair_sets(
    baseline: AuditResult,
    sets: Sequence[AdversarialSet],
    titles: Sequence[str],
    *,
    classes: Sequence[str],
    weights: str | None,
    own_sets: bool,
    path: Path,
) -> tuple[Pair | None, ...]:
    """The baseline's set for each of `sets`, called `titles`, clean images first; None if it has no such set.

    Two sets are the same if their digests are equal. A digest covers images, labels, lesions and names.

    own_sets: also pair a set that was crafted on `weights`, those of this engine, with one that the same attack with the
    same settings crafted on the baseline's weights. The clean images must be the same, so all sets share their labels,
    lesions and names.

    Raises InvalidInputError, which names the report at `path`, if the classes differ, if a set has the title of a baseline
    set but cannot be paired with it, or if no set can be paired.
    """
    if baseline.classes != tuple(classes):
        raise InvalidInputError(
            f"{path}: its classes are {' '.join(baseline.classes)}, not {' '.join(classes)}; name another baseline"
        )
    same = {result.images_digest: result for result in baseline.sets}
    unseen = [
        result for result in baseline.sets if result.images_digest not in {image_set.images_digest for image_set in sets}
    ]
    pairs: list[Pair | None] = []
    for image_set, title in zip(sets, titles, strict=True):
        before, is_own = same.get(image_set.images_digest), False
        if before is None and own_sets and pairs and pairs[0] is not None:
            before = _own_set_of_baseline(image_set, title, baseline, unseen, weights=weights, path=path)
            is_own = before is not None
        if before is None:
            _refuse_rival(image_set, title, unseen, weights=weights, own_sets=own_sets, path=path)
            pairs.append(None)
            continue
        pairs.append(Pair(before, is_own))
    if not any(pairs):
        raise InvalidInputError(f"{path}: it has no set in common with this engine; {_ON_THE_SAME}")
    return tuple(pairs)


def _refuse_rival(
    image_set: AdversarialSet,
    title: str,
    unseen: Sequence[SetResult],
    *,
    weights: str | None,
    own_sets: bool,
    path: Path,
) -> None:
    """Raise InvalidInputError if a set of the baseline that was not replayed here has the title of this set."""
    rival = next((before for before in unseen if before.title == title), None)
    if rival is None:
        return
    way_out = ""
    if own_sets and image_set.info.threat_model is None:
        way_out = ", or train both on the same data and split"
    elif not own_sets and rival.white_box and image_set.info.source == weights and image_set.info.threat_model is not None:
        way_out = ", or compare sets that were made against each engine itself with --baseline-own-sets"
    raise InvalidInputError(
        f"{path}: its set {title} has digest {short(rival.images_digest)}, that of this engine "
        f"{short(image_set.images_digest)}: other images; {_ON_THE_SAME}{way_out}"
    )


def _own_set_of_baseline(
    image_set: AdversarialSet,
    title: str,
    baseline: AuditResult,
    unseen: Sequence[SetResult],
    *,
    weights: str | None,
    path: Path,
) -> SetResult | None:
    """The baseline's own set for this engine's own set; None if the baseline has no such attack."""
    if image_set.info.source != weights:
        if any(before.title == title for before in unseen):
            raise InvalidInputError(
                f"{path}: {title} of this engine was crafted on another model, so it is no own set of it; leave "
                f"{image_set.path.name} out, or craft it on this engine's run with `skinaudit attack RUN`"
            )
        return None
    attack = (image_set.info.attack, str(image_set.info.threat_model))
    alike = [before for before in baseline.sets if (before.attack, f"{before.norm} {before.eps}") == attack]
    own_results = [before for before in alike if before.white_box]
    if not own_results:
        if any(before in unseen for before in alike):
            raise InvalidInputError(
                f"{path}: its {title} was crafted on another model than its engine's, so it is no own set; audit the "
                "earlier engine on sets of its own run"
            )
        return None
    fitting = [before for before in own_results if dict(before.settings) == dict(image_set.info.settings)]
    if not fitting:
        raise InvalidInputError(
            f"{path}: its {title} was made with {_difference(own_results[0], image_set)}: so the attacks differ; craft one "
            "of the two again with `skinaudit attack RUN`"
        )
    return next((before for before in fitting if before.name == image_set.info.name), fitting[0])


def _difference(before: SetResult, image_set: AdversarialSet) -> str:
    was, now = dict(before.settings), dict(image_set.info.settings)
    lacking = "not set"
    keys = [key for key in sorted(was.keys() | now.keys()) if was.get(key, lacking) != now.get(key, lacking)]
    old, new = (", ".join(f"{key} {settings.get(key, lacking)}" for key in keys) for settings in (was, now))
    return f"{old}, that of this engine with {new}"
