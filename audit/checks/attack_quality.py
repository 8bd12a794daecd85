"""Whether the stored attacks had something to follow, and got somewhere: judged before the engine is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skinaudit.artifacts.attack_record import SILENT_WARNED
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.attack_quality import AttackQuality, attack_quality

ABOUT: About = "sets"
RULES = {
    "attack-quality": Rule(
        "An attack that left images alone",
        "On some images the attack had no gradient to follow, changed nothing, or did not raise the source's loss.",
        "Look for saturation or rounding in the source model; craft the set again with `skinaudit attack`.",
    ),
}

SILENT_BROKEN = 0.05
"""Share, of all or of the malignant images, from which an attack is broken: robust accuracy is overstated by as much as the
default margin of a malignant class. Sets of sound models have none."""

NO_GAIN_WARNED, NO_GAIN_BROKEN = 0.01, 0.05
"""The same for images whose loss did not rise under several steps: 0 and 0.1% on sound models. Noise leaves about half."""

ONE_STEP_BROKEN = 0.5
"""One full step overshoots: FGSM left 6% of the images of a standard model without gain, more at larger radii."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn of images that the attack left alone, and forbid PASS where they are too many for the set to show anything."""
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
        f"{quality.silent:,} gave no gradient, {quality.unmoved:,} are the clean image; robust accuracy may be overstated "
        "by as much"
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
    text = (
        f"on {share:.1%} of the images the source's loss is no greater than on the clean ones: the attack got nowhere there"
    )
    severity = Severity.INCONCLUSIVE if share >= limit else Severity.WARNING
    yield Finding(severity, "attack-quality", title, text, figures={"no gain": share})


def _notes(title: str, quality: AttackQuality) -> Iterator[Finding]:
    if not quality.recorded:
        text = "its file says nothing of the attack's gradients: written by an earlier version, or by another tool"
        yield Finding(Severity.NOTE, "attack-quality", title, text)
    elif quality.rounded >= SILENT_WARNED * len(quality.idle):
        text = (
            f"on {quality.rounded:,} of {len(quality.idle):,} images the cross-entropy is rounded away and leaves no "
            "gradient worth following: the attack followed the logits' lead there; attacks of other tools would be silent"
        )
        yield Finding(Severity.NOTE, "attack-quality", title, text, figures={"rounded": quality.rounded})
