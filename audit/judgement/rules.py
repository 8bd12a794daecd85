"""The rules behind findings. Each has a stable name, a meaning, and a remedy."""

from __future__ import annotations

from collections.abc import Mapping

from skinaudit.audit import checks
from skinaudit.audit.checks import Rule

GATES: Mapping[str, Rule] = {
    "verdict": Rule(
        "The audit as a whole did not pass",
        "PASS needs every set within the margin. The clean set and a white-box set, with enough images, must be among them.",
        "Read the reason. It names what failed or what is missing.",
    ),
    "drop": Rule(
        "The engine loses accuracy against its source model",
        "The interval of the drop in accuracy, measured on the same images, does not lie below the policy's margin.",
        "If the whole interval lies above the margin: export in a wider precision or calibrate on other images. If the "
        "margin lies inside the interval: add images.",
    ),
    "malignant-sensitivity": Rule(
        "The engine calls fewer malignant images malignant than its source model",
        "The interval of the drop, pooled over all malignant classes, does not lie below the policy's margin.",
        "If the whole interval lies above the margin: export in a wider precision or calibrate on other images. If the "
        "margin lies inside the interval: add malignant images.",
    ),
    "turned-benign": Rule(
        "Malignant images that the source model calls malignant and the engine benign",
        "The upper confidence limit of their share does not lie below the policy's bound, or there are some to review.",
        "Look at each listed image. Export in a wider precision, or keep the last layers in a wider precision.",
    ),
    "operating-sensitivity": Rule(
        "Sensitivity lost at the operating point",
        "The interval of the drop in malignant images above the run's threshold does not lie below the margin.",
        "If the whole interval lies above the margin: export in a wider precision or calibrate on other images. If the "
        "margin lies inside the interval: add malignant images.",
    ),
    "malignant-to-benign": Rule(
        "More cancers turned benign than the policy's limit",
        "The source model calls more of these images malignant, and the engine benign, than the policy allows.",
        "Export in a wider precision, or keep the last layers in a wider precision. Look at the images that flipped.",
    ),
    "class-sensitivity": Rule(
        "Sensitivity to a malignant class lost",
        "Even the lower bound of the drop in sensitivity to this class is above the policy's class margin.",
        "Export in a wider precision, or calibrate on images with enough of this class.",
    ),
    "subgroup-drop": Rule(
        "A subgroup loses clearly more than the rest of its set",
        "Images of one age, sex, site, skin type or source lose more than all other images. The difference is larger than "
        "chance explains, and at least the policy's margin.",
        "Export in a wider precision, or calibrate on images with enough of this subgroup.",
    ),
    "floor": Rule(
        "Below an absolute bound of the policy",
        "The interval of the figure does not lie above the policy's floor for this set.",
        "Train or harden the model further. If the floor lies inside the interval, judge it on more images.",
    ),
    "probe-drop": Rule(
        "Less robust under a fresh attack than its reference",
        "The same attack, with the same budget and random draws, breaks more images on the engine than on the fp32 "
        "reference.",
        "Export in a wider precision. If the margin lies inside the interval, probe more images.",
    ),
    "baseline-drop": Rule(
        "Worse than the engine of the baseline",
        "On the images of both audits, the interval of the loss against the earlier engine does not lie below the margin.",
        "If the whole interval lies above the margin: find what changed since that release. If the margin lies inside the "
        "interval: add images, or replay the sets of both.",
    ),
    "baseline-malignant-to-benign": Rule(
        "Malignant images that the baseline calls malignant and this engine benign",
        "The earlier engine calls more of these images malignant, and this engine benign, than the policy allows.",
        "Look at these images and find what changed since that release, or allow as many in [baseline] of the policy.",
    ),
}
"""The rules of gates, and of the verdict itself."""

RULES: Mapping[str, Rule] = {
    **GATES,
    **{name: rule for check in checks.names() for name, rule in checks.load(check)[1].items()},
}
"""Every rule by its name. The names are stable, because reports, alerts and suppressions refer to them."""
