"""What must not be passed over in silence of a set that was just crafted."""

from __future__ import annotations

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.attack_record import LEAST_KEPT, LEAST_SPENT, SILENT_WARNED
from skinaudit.artifacts.perturbation import check_perturbation


def attack_remarks(crafted: AdversarialSet, clean: AdversarialSet) -> tuple[str, ...]:
    """One line, with advice, for each way in which a set is weaker than its name; empty for a sound one."""
    found, title = [], crafted.info.title
    spent = float(np.median(check_perturbation(crafted, clean)))
    if spent < LEAST_SPENT:
        found.append(
            f"{title}: rounded to 8 bit, half of the images spend no more than {spent:.0%} of eps: the set is weaker than "
            "its name, and no audit passes on it; choose a larger --eps"
        )
    kept = 1.0 if crafted.attack is None else float(np.median(crafted.attack.kept))
    if kept < LEAST_KEPT:
        found.append(
            f"{title}: rounding to 8 bit leaves half of the images no more than {kept:.0%} of the perturbation's effect: "
            "the set is weaker than its name, and no audit passes on it; choose a larger --eps"
        )
    silent = 0 if crafted.attack is None else int(crafted.attack.silent.sum())
    if silent >= SILENT_WARNED * len(crafted):
        found.append(
            f"{title}: {silent:,} of {len(crafted):,} images gave the attack no gradient to follow; its robust accuracy may "
            "be overstated by as much"
        )
    return tuple(found)
