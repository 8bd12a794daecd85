"""The figures of a fresh attack on the opened engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from skinaudit.artifacts.typed_json import Count, Share
from skinaudit.audit.evidence.probing import Probed
from skinaudit.audit.figures.statistics import Interval, PairedDrop, accuracy_interval, paired_drop


@dataclass(frozen=True)
class ProbeResult:
    """A fresh attack on the opened engine, and the same attack on its reference.

    title: of probe and threat model. by_answers: the probe saw only answers, no gradient of the source. small: it is the
    small probe of every audit, which runs by default. images: number of attacked images, the first of the clean set in a
    random order that the seed determines. queries: to the engine, in total. seconds: of the engine's attack. clean_accuracy:
    of the engine on these images. replay_accuracy: correct on the stored adversarial images of all sets with the same threat
    model; None if there is none. fresh_accuracy: correct without an attack and under this probe. worst_accuracy: correct
    under all of them, and under a probe that starts at the stored images, if not small. drop: from the reference's fresh
    accuracy to the engine's; None without a reference, or if the attack is not a fair comparison. malignant_drop: the same
    for malignant images that are called malignant without an attack and under this probe, whichever malignant class is
    predicted; also None if no malignant image was attacked. masking: from the engine's replay accuracy to its fresh one,
    None without a replay. It is clearly above 0 if stored images miss what a fresh attack finds.
    """

    name: str
    title: str
    by_answers: bool
    norm: str
    eps: str
    settings: Mapping[str, int | float]
    seed: int
    images: Count
    queries: Count
    seconds: float
    clean_accuracy: Share
    replay_accuracy: Share | None
    fresh_accuracy: Share
    fresh_interval: Interval
    worst_accuracy: Share
    reference_accuracy: Share | None
    drop: PairedDrop | None
    masking: PairedDrop | None
    small: bool = False
    malignant_drop: PairedDrop | None = None


def probe_figures(probed: Probed, *, confidence: float) -> ProbeResult:
    """The figures of one probe, with intervals of this two-sided confidence."""
    probe, replay, reference = probed.plan, probed.replay_right, probed.reference_right
    drop = partial(paired_drop, groups=probed.groups, confidence=confidence)
    return ProbeResult(
        name=probe.name,
        title=f"probe {probe.name} {probed.threat_model}",
        by_answers=probe.by_answers,
        norm=probed.threat_model.norm,
        eps=probed.threat_model.eps_text,
        settings=dict(probe.settings),
        seed=probe.seed,
        images=len(probed.groups),
        queries=probed.queries,
        seconds=probed.seconds,
        clean_accuracy=float(probed.clean_right.mean()),
        replay_accuracy=None if replay is None else float(replay.mean()),
        fresh_accuracy=float(probed.fresh_right.mean()),
        fresh_interval=accuracy_interval(probed.fresh_right, probed.groups, confidence=confidence),
        worst_accuracy=float(probed.worst_right.mean()),
        reference_accuracy=None if reference is None else float(reference.mean()),
        drop=drop(reference, probed.fresh_right) if reference is not None and probe.gated else None,
        masking=drop(replay, probed.fresh_right) if replay is not None and probe.gated else None,
        small=probe.small,
        malignant_drop=_malignant_drop(probed, confidence) if probe.gated else None,
    )


def _malignant_drop(probed: Probed, confidence: float) -> PairedDrop | None:
    rows, before = probed.malignant, probed.reference_called
    if before is None or not rows.any():
        return None
    return paired_drop(before[rows], probed.fresh_called[rows], probed.groups[rows], confidence=confidence)
