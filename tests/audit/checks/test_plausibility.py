from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from linear_run import change_inputs, change_set

from skinaudit.artifacts.contract import CLASSES
from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.plausibility import check
from skinaudit.audit.contract_search import Reading, Search
from skinaudit.audit.figures.column_order import FittedOrder
from skinaudit.audit.figures.statistics import Interval


def foreign(honest: Evidence, **figures: object) -> Evidence:
    return change_inputs(change_set(honest, 0, **figures), manifest=None)


def read_otherwise(honest: Evidence) -> Evidence:
    """The contract says 0 to 1, and -1 to 1 in another order fits clearly better."""
    contract = EngineContract(6, CLASSES)
    fitting = replace(contract, scale=Fraction(2, 255), mean=(1.0, 1.0, 1.0), classes=(CLASSES[1], CLASSES[0], *CLASSES[2:]))
    order = FittedOrder((1, 0, 2, 3, 4, 5, 6), "", ())
    reading = Reading("-1 to 1", fitting, order, 0.6, Interval(0.5, 0.7), 0.7, 0.8)
    search = Search((reading,), 300, 14, (reading,), reading, "clearly better")
    return replace(change_inputs(foreign(honest), contract=contract), search=search)


def surpassed(honest: Evidence) -> Evidence:
    """Two other preprocessings are clearly better, and nothing decides between them."""
    evidence = read_otherwise(honest)
    assert evidence.search is not None
    (reading,) = evidence.search.ranked
    rival = replace(reading, name="0 to 255", contract=replace(reading.contract, scale=Fraction(1)))
    search = replace(
        evidence.search, ranked=(reading, rival), rivals=(reading, rival), chosen=None, reason="more images would decide"
    )
    return replace(evidence, search=search)


def undecided(honest: Evidence) -> Evidence:
    """The search on some of the images decides nothing, and the answers to all of them fit another order far better."""
    evidence = surpassed(honest)
    assert evidence.search is not None
    assert evidence.inputs.contract is not None
    first, *further = evidence.search.rivals
    of_contract = replace(first, contract=evidence.inputs.contract)
    search = replace(evidence.search, rivals=(of_contract, *further))
    exchanged = (CLASSES[1], CLASSES[0], *CLASSES[2:])
    return change_set(replace(evidence, search=search), 0, better_order=exchanged)


DAMAGES = {
    "no better than the majority class": lambda honest: foreign(
        honest, engine_accuracy=honest.clean.comparison.majority_share
    ),
    "one answer for all": lambda honest: foreign(honest, top_answer_share=0.96),
    "another contract": read_otherwise,
    "mapped columns exchanged": lambda honest: foreign(honest, better_order=(CLASSES[1], CLASSES[0], *CLASSES[2:])),
    "one of two others": surpassed,
    "columns exchanged, and the search undecided": undecided,
}


def test_every_doubt_forbids_pass_and_says_where_to_look(honest: Evidence) -> None:
    for damage in DAMAGES.values():
        (finding,) = check(damage(honest))
        assert finding.severity is Severity.INCONCLUSIVE
        assert "in the contract" in finding.text or "writes this contract" in finding.text


def test_what_to_change_is_named_as_the_contract_spells_it(honest: Evidence) -> None:
    (finding,) = check(read_otherwise(honest))
    assert 'scale = "2/255", mean = [1.0, 1.0, 1.0], classes = ["nv", "mel", "bcc"' in finding.text


def test_an_engine_of_a_manifest_is_not_doubted(honest: Evidence) -> None:
    assert list(check(change_set(honest, 0, top_answer_share=0.96))) == []
    assert list(check(foreign(honest))) == []
