"""Whether external images differ from the run's own images, and look similar to those of its training."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.evidence.external import ExternalImages
from skinaudit.audit.figures.external import ExternalResult
from skinaudit.errors import first_few

ABOUT: About = "sets"
RULES = {
    "external": Rule(
        "External validation, on images of another data set",
        "The images come from a different data set than the run's test images. The verdict covers these images only.",
        "Read it together with the audit on the run's own test images.",
    ),
    "external-overlap": Rule(
        "External images that the run has seen",
        "Some images belong to the run or are copies of its images, or this could not be excluded. So this is not an "
        "external "
        "validation.",
        "Write the sets again with `skinaudit attack RUN --data DIR`. It leaves out the images of the run and their copies.",
    ),
    "external-looks": Rule(
        "External images that look different from the training images",
        "Colour, contrast, sharpness or border of these images differ from those of the training images.",
        "Check whether they come from a different camera, have a different size or crop, or have converted colours.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say what the images are; forbid PASS if they belong to the run, or if this could not be checked."""
    external, result = evidence.inputs.external, evidence.external
    if external is None or result is None:
        return
    beside = "" if result.run_dataset is None else f", not the run's test images of {result.run_dataset}"
    text = f"external validation on {result.name} ({result.dataset}){beside}: the verdict covers these images only"
    yield Finding(Severity.NOTE, "external", None, text)
    yield from _overlap(external, result, images=len(evidence.inputs.clean))
    different = [look for look in result.looks if look.differs]
    if different:
        listed = [f"{look.name} {look.median:,.4g} (training {look.middle:,.4g})" for look in different]
        text = f"these images look different from the training images: {first_few(listed, limit=9)}"
        yield Finding(Severity.WARNING, "external-looks", "clean", text)


def _overlap(external: ExternalImages, result: ExternalResult, *, images: int) -> Iterator[Finding]:
    if result.left_out:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in result.left_out.items())
        yield Finding(Severity.NOTE, "external-overlap", "clean", f"left out of the data when the sets were made: {listed}")
    for origin, count in result.of_run.items():
        text = f"{count:,} of {images:,} images are {origin}, so this is not an external validation"
        yield Finding(Severity.INCONCLUSIVE, "external-overlap", "clean", text, figures={"images": count})
    if external.same_names:
        text = f"{external.same_names:,} of {images:,} images have the name of an image of the run, but different pixels"
        yield Finding(Severity.WARNING, "external-overlap", "clean", text, figures={"images": external.same_names})
    if external.foreign:
        return
    if external.run_dataset is None:
        text = "the run is not available, so these images could be its own; put the run beside the sets"
        yield Finding(Severity.INCONCLUSIVE, "external-overlap", "clean", text)
    elif not external.recorded:
        text = (
            "the run's manifest names no record of its images, so it may have been trained on these images; restore "
            "`pictures` in run.json or, if an earlier version trained the run, train it again"
        )
        yield Finding(Severity.INCONCLUSIVE, "external-overlap", "clean", text)
    elif not external.near_recorded:
        text = (
            "an earlier version trained this run and recorded only digests of its images, so edited copies of its training "
            "images cannot be detected; train the run again"
        )
        yield Finding(Severity.INCONCLUSIVE, "external-overlap", "clean", text)
