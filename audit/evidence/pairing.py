"""The sets of an earlier audit, the baseline, paired with those of this one before an image is run."""

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
    """A set of the baseline that one of this audit is compared with.

    own: false where both are the same images; true where the two are the same attack on the same clean images, each crafted
    on the weights of its own engine. Invariant: both hold the same lesions under the same names in the same order.
    """

    before: SetResult
    own: bool

    def fair_for(self, result: SetResult) -> bool:
        """Whether both were attacked alike: an attack on another model's weights makes one of them look better."""
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
    """The set of the baseline for each of `sets`, called `titles`, clean images first; None where it has no such set.

    Sets are the same where their digests are: those are of images, labels, lesions and names. own_sets: also pair a set that
    was crafted on `weights`, those of this engine, with one that was crafted on the baseline's by the same attack with the
    same settings; since the clean images have one digest, so do their labels, lesions and names, which every set shares.

    Raises InvalidInputError, naming the report at `path`, where the classes differ, where a set shares its title with one of
    the baseline and cannot be paired with it, and where no set can.
    """
    if baseline.classes != tuple(classes):
        raise InvalidInputError(
            f"{path}: its classes are {' '.join(baseline.classes)}, not {' '.join(classes)}; name another baseline"
        )
    same = {one.images_digest: one for one in baseline.sets}
    unseen = [one for one in baseline.sets if one.images_digest not in {one.images_digest for one in sets}]
    pairs: list[Pair | None] = []
    for one, title in zip(sets, titles, strict=True):
        before, own = same.get(one.images_digest), False
        if before is None and own_sets and pairs and pairs[0] is not None:
            before = _own(one, title, baseline, unseen, weights=weights, path=path)
            own = before is not None
        if before is None:
            _refuse_rival(one, title, unseen, weights=weights, own_sets=own_sets, path=path)
            pairs.append(None)
            continue
        pairs.append(Pair(before, own))
    if not any(pairs):
        raise InvalidInputError(f"{path}: no set of it is among those of this engine; {_ON_THE_SAME}")
    return tuple(pairs)


def _refuse_rival(
    one: AdversarialSet,
    title: str,
    unseen: Sequence[SetResult],
    *,
    weights: str | None,
    own_sets: bool,
    path: Path,
) -> None:
    """Raise InvalidInputError where a set of the baseline that was not replayed here has the title of this one."""
    rival = next((before for before in unseen if before.title == title), None)
    if rival is None:
        return
    way_out = ""
    if own_sets and one.info.threat_model is None:
        way_out = ", or train both on the same data and split"
    elif not own_sets and rival.white_box and one.info.source == weights and one.info.threat_model is not None:
        way_out = ", or compare sets that were made against each engine itself with --baseline-own-sets"
    raise InvalidInputError(
        f"{path}: its set {title} has digest {short(rival.images_digest)}, that of this engine "
        f"{short(one.images_digest)}: other images; {_ON_THE_SAME}{way_out}"
    )


def _own(
    one: AdversarialSet,
    title: str,
    baseline: AuditResult,
    unseen: Sequence[SetResult],
    *,
    weights: str | None,
    path: Path,
) -> SetResult | None:
    """The baseline's own set for this engine's own set; None where the baseline has no such attack."""
    if one.info.source != weights:
        if any(before.title == title for before in unseen):
            raise InvalidInputError(
                f"{path}: {title} of this engine was crafted on another model, so it is no own set of it; leave "
                f"{one.path.name} out, or craft it on this engine's run with `skinaudit attack RUN`"
            )
        return None
    attack = (one.info.attack, str(one.info.threat_model))
    alike = [before for before in baseline.sets if (before.attack, f"{before.norm} {before.eps}") == attack]
    own = [before for before in alike if before.white_box]
    if not own:
        if any(before in unseen for before in alike):
            raise InvalidInputError(
                f"{path}: its {title} was crafted on another model than its engine's, so it is no own set; audit the "
                "earlier engine on sets of its own run"
            )
        return None
    fitting = [before for before in own if dict(before.settings) == dict(one.info.settings)]
    if not fitting:
        raise InvalidInputError(
            f"{path}: its {title} was made with {_difference(own[0], one)}: another attack; craft one of the two again with "
            "`skinaudit attack RUN`"
        )
    return next((before for before in fitting if before.name == one.info.name), fitting[0])


def _difference(before: SetResult, one: AdversarialSet) -> str:
    was, now = dict(before.settings), dict(one.info.settings)
    lacking = "not set"
    keys = [key for key in sorted(was.keys() | now.keys()) if was.get(key, lacking) != now.get(key, lacking)]
    old, new = (", ".join(f"{key} {settings.get(key, lacking)}" for key in keys) for settings in (was, now))
    return f"{old}, that of this engine with {new}"
