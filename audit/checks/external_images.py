"""Whether external images are what they are said to be: other images than the run's, and like those of its training."""

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
        "The images are of another data set than the run's test images; the verdict is on these images alone.",
        "Read it beside the audit on the run's own test images.",
    ),
    "external-overlap": Rule(
        "External images that the run has seen",
        "Some images are the run's own or copies of them, or nothing shows that they are not: no external validation.",
        "Write the sets again with `skinaudit attack RUN --data DIR`, which leaves the run's images and their copies out.",
    ),
    "external-looks": Rule(
        "External images that look otherwise than those of training",
        "In colour, contrast, sharpness or frame these images are not like those that the model learnt from.",
        "Look at the images for another camera, another size or crop, or colours that a conversion changed.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Say what the images are; forbid PASS where they are the run's own, or where that could not be seen."""
    external, result = evidence.inputs.external, evidence.external
    if external is None or result is None:
        return
    beside = "" if result.run_dataset is None else f", not the run's test images of {result.run_dataset}"
    text = f"external validation on {result.name} ({result.dataset}){beside}: the verdict is on these images alone"
    yield Finding(Severity.NOTE, "external", None, text)
    yield from _overlap(external, result, images=len(evidence.inputs.clean))
    different = [look for look in result.looks if look.differs]
    if different:
        listed = [f"{look.name} {look.median:,.4g} (training {look.middle:,.4g})" for look in different]
        text = f"these images look otherwise than those of training: {first_few(listed, limit=9)}"
        yield Finding(Severity.WARNING, "external-looks", "clean", text)


def _overlap(external: ExternalImages, result: ExternalResult, *, images: int) -> Iterator[Finding]:
    if result.left_out:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in result.left_out.items())
        yield Finding(Severity.NOTE, "external-overlap", "clean", f"left out of the data when the sets were made: {listed}")
    for what, count in result.of_run.items():
        text = f"{count:,} of {images:,} images are {what}: no external images, so no external validation"
        yield Finding(Severity.INCONCLUSIVE, "external-overlap", "clean", text, figures={"images": count})
    if external.same_names:
        text = f"{external.same_names:,} of {images:,} images bear the name of an image of the run, with other pixels"
        yield Finding(Severity.WARNING, "external-overlap", "clean", text, figures={"images": external.same_names})
    if external.foreign:
        return
    if external.run_dataset is None:
        text = "the run is not at hand, so nothing shows that these are other images than its own"
        yield Finding(Severity.INCONCLUSIVE, "external-overlap", "clean", text)
    elif not external.recorded:
        text = "the run was trained before its pictures were recorded, so nothing shows that it was not trained on these"
        yield Finding(Severity.WARNING, "external-overlap", "clean", text)
    elif not external.near_recorded:
        text = (
            "the run was trained before near-copies could be told, so edited copies of its training images would go unseen; "
            "copies of its test images would not"
        )
        yield Finding(Severity.WARNING, "external-overlap", "clean", text)
