"""Warnings that a finished training must give: a kept model that answers one class, or is no better than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.trainer.evaluate import accuracies, one_class
from skinaudit.trainer.recipes import Hardening


def weaknesses(
    clean: AdversarialSet, attacked: Sequence[AdversarialSet], *, kept: Mapping[str, object], hardening: Hardening | None
) -> tuple[str, ...]:
    """One line with advice for each weakness of the kept model; empty if it has none.

    clean, attacked: the run's sets of test images; attacked ones count only if the training was hardened. kept: log line of
    the kept epoch.
    """
    sentences = []
    constant = one_class(clean.source_logits.argmax(1), clean.labels)
    if constant is not None:
        name, share = clean.info.contract.classes[constant[0]], constant[1]
        sentences.append(f"the model predicts {name} for {share:.1%} of the clean test images")
    elif kept["val_one_class"]:
        sentences.append("the model predicts one class for nearly all clean validation images")
    else:
        judged = [clean, *(attacked if hardening is not None else ())]
        failed = [
            f"{balanced:.1%} on {opened.info.title}"
            for opened in judged
            if (balanced := _balanced(opened)) <= _chance(opened)
        ]
        if failed:
            sentences.append(
                f"no better than always answering one class, whose balanced accuracy is {_chance(clean):.1%}:"
                f" it has {', '.join(failed)}"
            )
    return tuple(f"{weakness}; {_advice(hardening)}" for weakness in sentences)


def _balanced(opened: AdversarialSet) -> float:
    predictions = opened.source_logits.argmax(1)
    return accuracies(predictions, opened.labels, classes=len(opened.info.contract.classes))["balanced_accuracy"]


def _chance(opened: AdversarialSet) -> float:
    """Balanced accuracy of a constant answer."""
    return 1 / len(np.unique(opened.labels))


def _advice(hardening: Hardening | None) -> str:
    """What to change, the most likely cause first."""
    if hardening is None:
        return "train longer (--epochs), on more images, or with a different --learning-rate or a higher --class-weighting"
    if hardening.steps == 1:
        return "training can overfit to a one-step attack: use --hardening pgd --steps 3 or trades, or a smaller --eps"
    if hardening.warm_up == 0:
        return "start from a standard model: give --warm-up 0.4, or a finished standard run as --weights"
    return "train longer (--epochs), on more images, with a smaller --eps or a higher --class-weighting"
