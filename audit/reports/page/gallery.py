"""The images that an engine lost, read from the set files when the report is written; a result contains no pixels."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.contract import class_title
from skinaudit.audit.figures.flips import Flip
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.errors import InvalidInputError

CARDS = 24
"""Approximate number of images in a report. Each set with lost images shows at least one, and all its lost cancers."""
CANCERS = 200
"""Largest number of lost cancers of one set that a page shows."""
SIDE = 128
"""Side in pixels above which a picture is shown reduced."""
_GREY = 127
_CLASSES_SHOWN = 3


@dataclass(frozen=True)
class Picture:
    """One picture of a card. uri: a PNG as a data URI."""

    uri: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Card:
    """One lost image. probabilities: (class, source's, engine's) for the label, the answer and the next class."""

    flip: Flip
    pictures: tuple[Picture, ...]
    probabilities: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Shelf:
    """The cards of one set. notes: what a reader must know about them, such as why there are no pictures."""

    title: str
    lost: int
    cards: tuple[Card, ...]
    notes: tuple[str, ...]


def shelves(result: AuditResult, *, pictures: bool) -> tuple[Shelf, ...]:
    """A shelf for every set that lost images, the worst images first.

    pictures: read the set files, verified by their digests, and show the images. If a file is missing, or is not the one
    that was audited, a note says so.
    """
    losing = [set_result for set_result in result.sets if set_result.flipped]
    cards_per_set = max(1, CARDS // max(1, len(losing)))
    clean = _open_audited_set(result, result.sets[0]) if pictures and losing else ""
    return tuple(_shelf(result, set_result, clean, limit=cards_per_set, pictures=pictures) for set_result in losing)


def _shelf(result: AuditResult, set_result: SetResult, clean: AdversarialSet | str, *, limit: int, pictures: bool) -> Shelf:
    drop = set_result.comparison.drop
    cancers = [flip for flip in set_result.flipped if flip.malignant_to_benign]
    misnamed = sum(
        flip.source_answer != flip.label for flip in cancers
    )  # called another malignant class: no loss of sensitivity
    lost = len(set_result.flipped) if drop is None else drop.lost + misnamed
    flips, notes = set_result.flipped[: max(limit, min(len(cancers), CANCERS))], []
    if len(cancers) > CANCERS:
        notes.append(f"{len(cancers) - CANCERS} more malignant images turned benign; the JSON report names all.")
    if len(flips) < lost:
        notes.append(f"The worst {len(flips)} of {lost} are shown.")
    if not pictures:
        notes.append("The pictures were left out of this report.")
    attacked = "" if set_result.clean or not pictures else _open_audited_set(result, set_result)
    reasons = dict.fromkeys(file for file in (clean, attacked) if isinstance(file, str) and file)
    notes.extend(f"Without pictures: {reason}." for reason in reasons)
    before = {} if isinstance(clean, str) else {flip.index: clean.image(flip.index) for flip in flips}
    after = {} if isinstance(attacked, str) else {flip.index: attacked.image(flip.index) for flip in flips}
    largest = max(
        (int(np.abs(after[key].astype(int) - before[key]).max()) for key in before.keys() & after.keys()), default=0
    )
    gain = max(1, _GREY // max(1, largest))
    size = next((image.shape[-1] for image in (*before.values(), *after.values())), 0)
    if size > SIDE:
        notes.append(f"Pictures are shown at {SIDE} of {size} pixels; the perturbation is sampled, not averaged.")
    cards = (
        Card(
            flip,
            _pictures(flip, set_result.title, before.get(flip.index), after.get(flip.index), gain),
            _probabilities(flip, result),
        )
        for flip in flips
    )
    return Shelf(set_result.title, lost, tuple(cards), tuple(notes))


def _open_audited_set(result: AuditResult, set_result: SetResult) -> AdversarialSet | str:
    """The set that was audited, or why it cannot be shown."""
    try:
        image_set = open_set(result.engine.parent / set_result.path)
    except InvalidInputError as error:
        return str(error)
    if image_set.images_digest != set_result.images_digest:
        return f"{image_set.path}: its images differ from those that were audited"
    return image_set


def _pictures(
    flip: Flip, title: str, before: NDArray[np.uint8] | None, after: NDArray[np.uint8] | None, gain: int
) -> tuple[Picture, ...]:
    place = f"image {flip.index} of {title}"
    label = class_title(flip.label)
    pictures = []
    if before is not None:
        pictures.append(Picture(_png(before), "clean", f"Clean {place}: {label}"))
    if before is not None and after is not None:
        moved = _GREY + gain * (after.astype(int) - before)
        amplified = moved.clip(0, 255).astype(np.uint8)
        alt = f"What was added to {place}, amplified {gain} times; grey is no change"
        pictures.append(Picture(_png(amplified, sampled=True), f"perturbation \u00d7{gain}", alt))
    if after is not None:
        pictures.append(Picture(_png(after), "adversarial", f"Adversarial {place}: {label}"))
    return tuple(pictures)


def _probabilities(flip: Flip, result: AuditResult) -> tuple[tuple[str, float, float], ...]:
    rows = zip(result.classes, flip.source_probabilities, flip.engine_probabilities, strict=True)
    first = (flip.label, flip.engine_answer)
    ordered = sorted(rows, key=lambda row: (first.index(row[0]) if row[0] in first else 2, -max(row[1], row[2])))
    return tuple(ordered[:_CLASSES_SHOWN])


def _png(image: NDArray[np.uint8], *, sampled: bool = False) -> str:
    """uint8 (3, H, W) as a data URI, reduced above SIDE. sampled: keep single pixels, because averaging removes noise."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    if picture.width > SIDE:
        way = Image.Resampling.NEAREST if sampled else Image.Resampling.LANCZOS
        picture = picture.resize((SIDE, SIDE), way)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=4)  # a third of the time of the smallest file, 2% larger
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
