"""The outputs of the engine and of its reference for every stored set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.logits import Indices, predictions
from skinaudit.audit.evidence.inputs import Inputs, titles
from skinaudit.audit.evidence.reference import Control, Reference
from skinaudit.audit.evidence.replay import Replayed, whole
from skinaudit.audit.evidence.unfinished import Say, Shelf, replay_unless_kept
from skinaudit.engines.engine import Engine


@dataclass(frozen=True, eq=False)
class AnsweredSet:
    """One set with the engine's logits, float32 (N, classes), and the logits for comparison.

    white_box: the set was crafted on the weights from which the engine was built; computed from digests. source_logits: for
    a white-box set the stored ones, for a transfer set the reference's answers; None if there are neither.
    images_per_second: of the engine, including reading. lesions: int64 (N,), for counting images; near-copies share one.
    kept: an interrupted audit had already computed the answers of the engine or its reference.
    """

    images: AdversarialSet
    title: str
    white_box: bool
    control: Control
    logits: NDArray[np.float32]
    source_logits: NDArray[np.float32] | None
    images_per_second: float
    lesions: Indices
    kept: bool = False

    @property
    def answers(self) -> Indices:
        """The classes that the engine predicts, int64 (N,)."""
        return predictions(self.logits)


def answer_sets(
    engine: Engine, reference: Reference, inputs: Inputs, shelves: Sequence[Shelf],
    *, batch_size: int, seed: int, progress: Progress | None, say: Say = lambda line: None,
) -> tuple[AnsweredSet, ...]:  # fmt: skip
    """Replay every set, the clean one first, on the engine and on its reference if that is another file.

    shelves: of the engine and of its reference, with the answers of an interrupted audit. seed, say: see replay_unless_kept.
    The control runs before the engine. Raises InvalidInputError for a white-box set whose stored logits the reference does
    not reproduce, EngineError for an engine that does not answer.
    """
    runs = 1 if reference.engine is None or reference.is_subject else 2
    tick = whole(progress, runs * sum(map(len, inputs.sets)))

    def ask(engine: Engine, images: AdversarialSet, shelf: Shelf) -> Replayed:
        return replay_unless_kept(engine, images, shelf, batch_size=batch_size, seed=seed, progress=tick, say=say)

    return tuple(
        _answer(
            engine,
            reference,
            images,
            title,
            shelves,
            white_box=images.info.source == inputs.weights,
            ask=ask,
            lesions=inputs.copies.lesions,
        )
        for images, title in zip(inputs.sets, titles(inputs.sets), strict=True)
    )


def attacked_sets(answered: Sequence[AnsweredSet]) -> list[tuple[AdversarialSet, Indices]]:
    """The adversarial sets with the engine's predictions, int64 (N,)."""
    return [
        (answered_set.images, answered_set.answers)
        for answered_set in answered
        if answered_set.images.info.threat_model is not None
    ]


def _answer(
    engine: Engine,
    reference: Reference,
    images: AdversarialSet,
    title: str,
    shelves: Sequence[Shelf],
    *,
    white_box: bool,
    ask: Callable[[Engine, AdversarialSet, Shelf], Replayed],
    lesions: Indices,
) -> AnsweredSet:
    controlled = None
    if reference.engine is not None and not reference.is_subject:
        controlled = ask(reference.engine, images, shelves[1])
        reference.control(images, controlled, white_box=white_box)
    replayed = ask(engine, images, shelves[0])
    controlled = replayed if reference.is_subject else controlled
    source_logits = images.source_logits if white_box else None if controlled is None else controlled.logits
    return AnsweredSet(
        images=images,
        title=title,
        white_box=white_box,
        control=reference.control(images, controlled, white_box=white_box),
        logits=replayed.logits,
        source_logits=source_logits,
        images_per_second=replayed.images_per_second,
        kept=replayed.kept or (controlled is not None and controlled.kept),
        lesions=lesions,
    )
