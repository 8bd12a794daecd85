"""The rules behind findings: a stable name for each, what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from skinaudit.audit import checks
from skinaudit.audit.checks import Rule

GATES: Mapping[str, Rule] = {
    "verdict": Rule(
        "The audit as a whole did not pass",
        "PASS needs every set within the margin, among them the clean set and a white-box adversarial set of enough images.",
        "Read the reason: it names what failed or what is lacking.",
    ),
    "drop": Rule(
        "Accuracy lost on the way from the source model to the engine",
        "The interval of the paired drop on the same images does not lie below the policy's margin.",
        "Above the margin: export in a wider precision or calibrate on other images. Across it: add images.",
    ),
    "malignant-sensitivity": Rule(
        "Malignant images called malignant: lost on the way from the source model to the engine",
        "The interval of the paired drop, pooled over all malignant classes, does not lie below the policy's margin.",
        "Above the margin: export in a wider precision or calibrate on other images. Across it: add malignant images.",
    ),
    "turned-benign": Rule(
        "Malignant images that the source model calls malignant and the engine benign",
        "The upper confidence limit of their share does not lie below the policy's bound, or there are some to review.",
        "Look at each of the images that are listed; export in a wider precision, or keep the last layers in it.",
    ),
    "operating-sensitivity": Rule(
        "Sensitivity lost at the operating point",
        "The interval of the paired drop in malignant images above the run's threshold does not lie below the margin.",
        "Above the margin: export in a wider precision or calibrate on other images. Across it: add malignant images.",
    ),
    "malignant-to-benign": Rule(
        "More cancers turned benign than the policy's limit",
        "More malignant images than the policy allows are called malignant by the source model and benign by the engine.",
        "Export in a wider precision, or keep the last layers in it; look at the images that flipped.",
    ),
    "class-sensitivity": Rule(
        "Sensitivity to a malignant class lost",
        "Even the lower bound of the drop in sensitivity to this class is above the policy's class margin.",
        "Export in a wider precision, or calibrate on images that hold enough of this class.",
    ),
    "subgroup-drop": Rule(
        "A subgroup loses clearly more than the rest of its set",
        "Images of one age, sex, site, skin type or source lose more than all other images, by more than chance explains "
        "and by the policy's margin at least.",
        "Export in a wider precision, or calibrate on images that hold enough of this subgroup.",
    ),
    "floor": Rule(
        "Below an absolute bound of the policy",
        "The figure's interval does not lie above the floor that the policy sets for this set.",
        "Train or harden the model further, or judge it on more images where the interval straddles the floor.",
    ),
    "probe-drop": Rule(
        "Less robust under a fresh attack than its reference",
        "The same attack, with the same budget and random numbers, breaks more images of the engine than of the fp32 model.",
        "Export in a wider precision; if the interval straddles the margin, probe more images.",
    ),
    "baseline-drop": Rule(
        "Worse than the engine of the baseline",
        "On images that both answered, the interval of the loss against the earlier engine does not lie below its margin.",
        "Above the margin: find what changed since that release. Across it: add images, or replay the sets of both.",
    ),
    "baseline-malignant-to-benign": Rule(
        "Cancers that the engine of the baseline calls malignant and this one benign",
        "More malignant images than the policy allows were malignant to the earlier engine and are benign to this one.",
        "Look at these images: find what changed since that release, or let the policy's [baseline] accept as many.",
    ),
}
"""The rules of gates, and of the verdict itself."""

RULES: Mapping[str, Rule] = {
    **GATES,
    **{name: rule for check in checks.names() for name, rule in checks.load(check)[1].items()},
}
"""Every rule by its name. Names are stable: reports, alerts and their suppressions refer to them."""
