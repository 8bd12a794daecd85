"""Whether the contract of a foreign engine seems to match its training: preprocessing and meaning of the columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction

from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "figures"
RULES = {
    "plausibility": Rule(
        "The contract of a foreign engine may be wrong",
        "The figures on the clean images suggest that pixels or output columns have a different meaning than the contract "
        "says.",
        "Check scale, mean, std, colour and the order of classes in the contract.",
    ),
}


_ALMOST_ALL = 0.95
_ADVICE = "check scale, mean, std, colour and the order of classes in the contract"
_ENTRIES = ("layout", "colour", "scale", "mean", "std", "normalise", "crop", "crop_width", "answer", "classes", "positive")


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS if the figures suggest that the contract is wrong.

    This does not prove a mistake: a poor model has figures like those of a wrong scaling or class order.
    """
    if evidence.inputs.manifest is not None:
        return
    comparison = evidence.clean.comparison
    if comparison.engine_accuracy <= comparison.majority_share:
        yield _doubt(
            f"accuracy {comparison.engine_accuracy:.1%} is not above that of always answering {comparison.majority_class}, "
            f"{comparison.majority_share:.1%}"
        )
    if comparison.top_answer_share >= _ALMOST_ALL:
        yield _doubt(f"{comparison.top_answer_share:.1%} of all predictions are {comparison.top_answer}")
    search, contract = evidence.search, evidence.inputs.contract
    # columns that are mapped to classes stay as they are, whatever is found
    open_search = search is None or search.chosen is None or (contract is not None and contract.mapping is not None)
    if open_search and comparison.better_order is not None:
        classes = evidence.inputs.clean.info.contract.classes
        pairs = [f"{name} as {other}" for name, other in zip(classes, comparison.better_order, strict=True) if name != other]
        yield _doubt(f"the predictions fit the labels far better with a different order of classes: {', '.join(pairs)}")
    if search is None or contract is None:
        return
    command = f"skinaudit contract ENGINE{'' if contract.mapping is None else ' --contract FILE'} --sets DIR"
    if search.surpasses(contract):
        best = search.ranked[0]
        yield _doubt(
            f"a different preprocessing ({best.name}) is clearly better on {search.images:,} of these images, with balanced "
            f"accuracy {best.balanced:.1%}; `{command}` ranks all of them"
        )
    if search.chosen is None or not search.beats(contract):
        return
    changes = ", ".join(changed_entries(contract, search.chosen.contract))
    text = (
        f"the predictions for {search.images:,} of these images fit the labels clearly better with {changes}: balanced "
        "accuracy "
        f"{search.chosen.balanced:.1%}; `{command} -o FILE` writes this contract"
    )
    yield Finding(Severity.INCONCLUSIVE, "plausibility", "clean", text)


def changed_entries(contract: EngineContract, other: EngineContract) -> list[str]:
    """The entries in which `other` differs from `contract`, as a contract file spells them."""
    pairs = [(name, getattr(contract, name), getattr(other, name)) for name in _ENTRIES]
    return [f"{name} = {_plain(value)}" for name, before, value in pairs if before != value]


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return json.dumps(str(value)) if isinstance(value, str | Fraction) else str(value)


def _doubt(text: str) -> Finding:
    return Finding(Severity.INCONCLUSIVE, "plausibility", "clean", f"{text}; {_ADVICE}")
