"""The bounds in which a policy is far wider than the default. Every report names them on its first screen."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.figures.text import margin_text
from skinaudit.audit.judgement.policy import DEFAULT, Policy

FAR = 2.0
"""A bound is far from its default if it is at least this many times as wide."""


def loosened(policy: Policy) -> str:
    """The bounds that are at least FAR times as wide as the default, with their defaults, in one clause; empty for none."""
    bounds = list(_bounds(policy))
    return f"the policy is far wider than the default: {', '.join(bounds)}" if bounds else ""


def _bounds(policy: Policy) -> Iterator[str]:
    pairs = {
        "margin": (policy.margin, DEFAULT.margin),
        **{f"margin of {name}": (value, DEFAULT.margin) for name, value in policy.margins.items()},
        "malignant margin": (policy.malignant_margin, DEFAULT.malignant_margin),
        "malignant margin of many": (policy.margin_of_malignant(DEFAULT.many_malignant), DEFAULT.malignant_margin_many),
        "class margin": (policy.class_margin, DEFAULT.class_margin),
        **{f"class margin of {name}": (value, DEFAULT.class_margin) for name, value in policy.class_margins.items()},
        "benign margin": (policy.benign_margin, DEFAULT.benign_margin),
        "malignant to benign": (policy.turned_benign, DEFAULT.turned_benign),
        "probe margin": (policy.probe_margin, DEFAULT.probe_margin),
        "baseline margin": (policy.baseline_margin, DEFAULT.baseline_margin),
        "subgroup margin": (policy.subgroup_margin, DEFAULT.subgroup_margin),
        "baseline malignant to benign": (policy.baseline_malignant_to_benign, DEFAULT.baseline_malignant_to_benign),
    }
    for name, (value, default) in pairs.items():
        if value >= FAR * default:
            yield f"{name} {margin_text(value)} (default {margin_text(default)})"
    if policy.alpha >= FAR * DEFAULT.alpha - 1e-9:
        yield f"confidence {policy.confidence:g} (default {DEFAULT.confidence:g})"
    if policy.subgroups == ():
        yield "subgroups not judged (default all)"
    elif policy.subgroup_lesions >= FAR * DEFAULT.subgroup_lesions:
        yield f"subgroup lesions {policy.subgroup_lesions} (default {DEFAULT.subgroup_lesions})"
    if policy.minimal_images * FAR <= DEFAULT.minimal_images:
        yield f"minimal images {policy.minimal_images} (default {DEFAULT.minimal_images})"
