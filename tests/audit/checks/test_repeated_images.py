from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from linear_run import change_inputs

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.repeated_images import check

DAMAGES = {"copies": lambda honest: change_inputs(honest, copies=replace(honest.inputs.copies, repeated=350))}


@pytest.mark.parametrize(("repeated", "severity"), [(7, Severity.WARNING), (8, Severity.INCONCLUSIVE)])
def test_more_than_a_hundredth_forbids_pass(honest: Evidence, repeated: int, severity: Severity) -> None:
    assert len(honest.inputs.clean) == 700
    (finding,) = check(change_inputs(honest, copies=replace(honest.inputs.copies, repeated=repeated)))
    assert finding.severity is severity


def test_near_copies_are_told_and_counted(honest: Evidence) -> None:
    copies = replace(honest.inputs.copies, joined=3)
    (finding,) = check(change_inputs(honest, copies=copies))
    assert (finding.rule, finding.severity) == ("near-copies", Severity.WARNING)
    assert finding.text == (
        "the images of 3 lesions are near-copies of images of other lesions. They are counted together, so 525 lesions "
        "remain"
    )


def test_pictures_that_were_not_all_compared_are_told(honest: Evidence) -> None:
    copies = replace(honest.inputs.copies, every_pair=False)
    (finding,) = check(change_inputs(honest, copies=copies))
    assert (finding.rule, finding.severity) == ("near-copies", Severity.NOTE)
    assert finding.text.startswith("700 images are too many to compare all pairs")


def test_two_images_that_were_joined_are_named_and_drawings_are_thought_of(honest: Evidence) -> None:
    """Drawings and plain areas look alike under every comparison of detail: a person has to look at them."""
    clean = honest.inputs.clean
    other_lesion_image = int(np.flatnonzero(clean.group != clean.group[0])[0])
    lesions = clean.group.copy()
    lesions[other_lesion_image] = lesions[0]
    for joined, remark in ((3, False), (300, True)):
        (finding,) = check(change_inputs(honest, copies=replace(honest.inputs.copies, joined=joined, lesions=lesions)))
        assert f"({clean.ids[0]} and {clean.ids[other_lesion_image]}, for example)" in finding.text
        assert ("if these are drawings" in finding.text) is remark
