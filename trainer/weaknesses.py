"""What a finished training must not pass over in silence: a kept model that answers one class, or that did not harden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.trainer.evaluate import accuracies, one_class
from skinaudit.trainer.recipes import Hardening


def weaknesses(
    clean: AdversarialSet, attacked: Sequence[AdversarialSet], *, kept: Mapping[str, object], hardening: Hardening | None
) -> tuple[str, ...]:
    """One line for each weakness of the kept model, each with advice; none where there is nothing to say.

    clean, attacked: the run's sets of test images. kept: the log's line of the kept epoch.
    """
    found = []
    classes = clean.info.contract.classes
    advice = _advice(hardening)
    constant = one_class(clean.source_logits.argmax(1), clean.labels)
    if constant is not None:
        label, share = constant
        found.append(
            f"the kept model answers {classes[label]} for {share:.1%} of the clean test images, whatever they show;"
            f" its robustness means nothing: {advice}"
        )
    elif kept["val_one_class"]:
        found.append(f"the kept model answers one class for nearly all clean validation images: {advice}")
    if hardening is not None and constant is None:
        for adversarial in attacked:
            balanced = accuracies(adversarial.source_logits.argmax(1), adversarial.labels, classes=len(classes))[
                "balanced_accuracy"
            ]
            chance = 1 / len(np.unique(adversarial.labels))
            if balanced <= chance:
                found.append(
                    f"hardening failed: balanced accuracy {balanced:.1%} on {adversarial.info.title}, and always answering"
                    f" one class has {chance:.1%}: {advice}"
                )
    return tuple(found)


def _advice(hardening: Hardening | None) -> str:
    """What to change, the likeliest cause first."""
    if hardening is None:
        return "train longer (--epochs), with more images or another --learning-rate, or raise --class-weighting"
    if hardening.steps == 1:
        return "one step is too weak an attack to train against (catastrophic overfitting): use --steps 3 or more"
    if hardening.warm_up == 0:
        return "start from a standard model: give --warm-up 0.4, or --weights with a finished standard run"
    return "train longer (--epochs), with more images or a smaller --eps, or raise --class-weighting"
