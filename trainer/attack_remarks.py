"""Warnings about weak attacks in a newly crafted set."""

from __future__ import annotations

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.attack_record import LEAST_KEPT, LEAST_SPENT, SILENT_WARNED
from skinaudit.artifacts.perturbation import check_perturbation


def attack_remarks(crafted: AdversarialSet, clean: AdversarialSet) -> tuple[str, ...]:
    """One line with advice for each weakness of an adversarial set; empty if it has none."""
    remarks, title = [], crafted.info.title
    spent = float(np.median(check_perturbation(crafted, clean)))
    if spent < LEAST_SPENT:
        remarks.append(
            f"{title}: after rounding to 8 bit, half of the images use at most {spent:.0%} of eps: the set is weaker than "
            "stated, so no audit passes with it; choose a larger --eps"
        )
    kept = 1.0 if crafted.attack is None else float(np.median(crafted.attack.kept))
    if kept < LEAST_KEPT:
        remarks.append(
            f"{title}: after rounding to 8 bit, half of the images keep at most {kept:.0%} of the perturbation's effect: "
            "the set is weaker than stated, so no audit passes with it; choose a larger --eps"
        )
    silent = 0 if crafted.attack is None else int(crafted.attack.silent.sum())
    if silent >= SILENT_WARNED * len(crafted):
        remarks.append(
            f"{title}: the attack had no gradient on {silent:,} of {len(crafted):,} images; robust accuracy may be "
            "overstated by this share"
        )
    return tuple(remarks)
