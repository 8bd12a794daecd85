"""Whether the stored attacks had gradients and made progress. This is judged before the engine is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skinaudit.artifacts.attack_record import SILENT_WARNED
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.attack_quality import AttackQuality, attack_quality

ABOUT: About = "sets"
RULES = {
    "attack-quality": Rule(
        "An attack that failed on some images",
        "On some images the attack had no gradient, changed nothing, or did not increase the loss of the source model.",
        "Look for saturation or rounding in the source model, then craft the set again with `skinaudit attack`.",
    ),
}

SILENT_BROKEN = 0.05
"""From this share of all images, or of the malignant ones, an attack counts as broken: robust accuracy may be overstated by
as much as the default margin of a malignant class. Sets of sound models have no such images."""

NO_GAIN_WARNED, NO_GAIN_BROKEN = 0.01, 0.05
"""The same for images whose loss did not rise under several steps: 0 and 0.1% on sound models, about half for pure noise."""

ONE_STEP_BROKEN = 0.5
"""One full step overshoots: FGSM did not increase the loss on 6% of the images of a standard model, more at larger eps."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn about images on which the attack failed; forbid PASS if there are so many that the set shows nothing."""
    inputs = evidence.inputs
    malignant = np.isin(inputs.clean.labels, inputs.clean.info.contract.malignant_labels)
    for result, adversarial, spent in zip(evidence.attacked, inputs.adversarial, inputs.spent, strict=True):
        quality = attack_quality(adversarial, inputs.clean, spent)
        yield from _idle(result.title, quality, malignant)
        yield from _no_gain(result.title, quality)
        yield from _notes(result.title, quality)


def _idle(title: str, quality: AttackQuality, malignant: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Iterator[Finding]:
    images, idle = len(quality.idle), int(quality.idle.sum())
    of_malignant = int((quality.idle & malignant).sum())
    broken = idle >= SILENT_BROKEN * images or of_malignant >= max(2, SILENT_BROKEN * int(malignant.sum()))
    if idle == 0 or (idle < SILENT_WARNED * images and not broken):
        return
    text = (
        f"{idle:,} of {images:,} images ({idle / images:.1%}), {of_malignant:,} of them malignant, were not attacked: "
        f"{quality.silent:,} gave no gradient, {quality.unmoved:,} equal the clean image; robust accuracy may be overstated "
        "by this share"
    )
    figures = {"images": images, "not attacked": idle, "silent": quality.silent, "unmoved": quality.unmoved}
    severity = Severity.INCONCLUSIVE if broken else Severity.WARNING
    yield Finding(severity, "attack-quality", title, text, figures=figures)


def _no_gain(title: str, quality: AttackQuality) -> Iterator[Finding]:
    if quality.no_gain is None:
        return
    warned, limit = (NO_GAIN_WARNED, NO_GAIN_BROKEN) if quality.steps > 1 else (ONE_STEP_BROKEN, ONE_STEP_BROKEN)
    share = float(quality.no_gain.mean())
    if share < warned:
        return
    text = f"on {share:.1%} of the images the attack did not increase the source's loss above that of the clean image"
    severity = Severity.INCONCLUSIVE if share >= limit else Severity.WARNING
    yield Finding(severity, "attack-quality", title, text, figures={"no gain": share})


def _notes(title: str, quality: AttackQuality) -> Iterator[Finding]:
    if not quality.recorded:
        text = "the file has no record of the attack's gradients: an earlier version or another tool wrote it"
        yield Finding(Severity.NOTE, "attack-quality", title, text)
    elif quality.rounded >= SILENT_WARNED * len(quality.idle):
        text = (
            f"on {quality.rounded:,} of {len(quality.idle):,} images the cross-entropy rounds to 0 and has no useful "
            "gradient: the attack used the logit margin there; attacks of other tools would have no gradient"
        )
        yield Finding(Severity.NOTE, "attack-quality", title, text, figures={"rounded": quality.rounded})
