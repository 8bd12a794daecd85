from __future__ import annotations

from dataclasses import replace

import pytest
from linear_run import change_inputs

from skinaudit.artifacts.contract import CLASSES
from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.clinical import check
from skinaudit.audit.judgement.policy import Policy


def with_classes(honest: Evidence, classes: tuple[str, ...], malignant: tuple[str, ...]) -> Evidence:
    clean = honest.inputs.clean
    contract = replace(clean.info.contract, classes=classes, malignant=malignant)
    return change_inputs(honest, clean=replace(clean, info=replace(clean.info, contract=contract)))


def without_malignant(honest: Evidence) -> Evidence:
    return with_classes(honest, tuple("abcdefg"), ())


DAMAGES = {
    "nothing is malignant": without_malignant,
    "everything is malignant": lambda honest: with_classes(honest, tuple("abcdefg"), tuple("abcdefg")),
    "melanoma is not": lambda honest: with_classes(honest, CLASSES, ()),
}
REASON = Policy(clinical="none", clinical_reason="why")


@pytest.mark.parametrize("damage", ["everything is malignant", "melanoma is not"])
def test_no_policy_permits_a_contract_that_hides_cancers(honest: Evidence, damage: str) -> None:
    (finding,) = check(replace(DAMAGES[damage](honest), policy=REASON))
    assert finding.severity is Severity.INCONCLUSIVE


def test_a_reason_without_effect_is_said(honest: Evidence) -> None:
    """Malignant classes are named, so the policy's `clinical = "none"` changes no gate; its reason is still printed."""
    (finding,) = check(replace(honest, policy=REASON))
    assert finding.severity is Severity.NOTE
    assert finding.text.endswith("why")
    assert list(check(honest)) == []


def test_no_malignant_class_forbids_pass(honest: Evidence) -> None:
    (finding,) = check(without_malignant(honest))
    assert finding.severity is Severity.INCONCLUSIVE


def test_a_policy_that_says_why_turns_it_into_a_warning_with_the_reason(honest: Evidence) -> None:
    policy = Policy(clinical="none", clinical_reason="nevi against keratoses")
    (finding,) = check(replace(without_malignant(honest), policy=policy))
    assert finding.severity is Severity.WARNING
    assert finding.text.endswith("The policy's reason: nevi against keratoses")


@pytest.mark.parametrize(
    ("mapping", "advised"),
    [
        ({"0": ("melanoma", "bcc"), "1": ("nevus",), "2": ()}, ["melanoma", "bcc"]),
        ({"MEL": ("dark",), "NV": ("pale",)}, ["dark"]),
    ],
)
def test_the_advice_names_classes_of_the_images_and_never_a_column(
    honest: Evidence, mapping: dict[str, tuple[str, ...]], advised: list[str]
) -> None:
    evidence = with_classes(honest, tuple(mapping), ())
    evidence = change_inputs(evidence, contract=EngineContract(8, tuple(mapping), mapping=mapping))
    (finding,) = check(evidence)
    assert f"although {', '.join(advised)} look" in finding.text
    assert f'malignant = ["{advised[0]}"' in finding.text
