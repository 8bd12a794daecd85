from __future__ import annotations

from dataclasses import replace

from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.class_mapping import check

MAPPING = {"ill": ("mel", "bcc", "akiec"), "background": (), "well": ("nv", "bkl", "df", "vasc")}


def mapped(evidence: Evidence, **mapping: tuple[str, ...]) -> Evidence:
    contract = EngineContract(8, tuple(mapping), mapping=mapping)
    return replace(evidence, inputs=replace(evidence.inputs, contract=contract))


DAMAGES = {"classes of the sets are one": lambda evidence: mapped(evidence, **MAPPING)}


def test_it_says_what_was_brought_together(honest: Evidence) -> None:
    note, warning = check(mapped(honest, **MAPPING))
    assert note.text == (
        "class mapping of the contract: ill is mel, bcc, akiec; well is nv, bkl, df, vasc; the sets have no "
        "background, so predicting this class counts as wrong"
    )
    assert warning.severity is Severity.WARNING


def test_without_stored_attacks_nothing_is_said_of_them_and_several_columns_are_these(honest: Evidence) -> None:
    evidence = mapped(honest, **MAPPING, unknown=())
    (note,) = check(replace(evidence, inputs=replace(evidence.inputs, adversarial=())))
    assert note.text.endswith("the sets have no background, unknown, so predicting these classes counts as wrong")


def test_renamed_columns_leave_attacks_as_strong_as_they_were(honest: Evidence) -> None:
    (note,) = check(mapped(honest, melanoma=("mel",), nevus=("nv",)))
    assert note.severity is Severity.NOTE
