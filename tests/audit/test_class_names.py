"""Which classes there are, and which are malignant, is the contract's to say: nothing hangs on how a class is spelled."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.contract import CLASS_TITLES, CLASSES, InputContract
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.figures.at_threshold import ABOVE_THRESHOLD
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports import names, render
from skinaudit.audit.reports.json_ import to_json
from skinaudit.audit.reports.parts.cases import Case, cases
from skinaudit.audit.reports.parts.lineup import line_up
from skinaudit.tests.renaming import NEW_NAMES, comparable, renamed

FIGURES = dict(
    zip(CLASSES, ("accuracy", MALIGNANT_CALLS, "images", ABOVE_THRESHOLD, "benign", "malignant", "default"), strict=True)
)
"""Class -> the name of a figure, or of an entry of a policy. Three of them are malignant."""
ROOT = Path(__file__).resolve().parents[2]
MAY_SPELL = {ROOT / "artifacts" / "contract.py"}
"""Says what files of the earlier format mean, and what well-known classes are called in full."""
SPELLED = {*CLASSES, *CLASS_TITLES.values()}

RENAMED = InputContract(
    size=6,
    classes=tuple(NEW_NAMES[name] for name in CLASSES),
    malignant=tuple(NEW_NAMES[name] for name in InputContract(size=6).malignant),
)


@pytest.mark.parametrize("folder", ["artifacts", "engines", "audit"])
def test_no_file_spells_a_class(folder: str) -> None:
    """As a text of its own in the code, or as a word in a template."""
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        constants = [
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)
        ]
        spelled = [node for node in constants if node.value in SPELLED and path not in MAY_SPELL]
        wrong += [f"{path.name}:{node.lineno} {node.value!r}" for node in spelled]
    for path in sorted((ROOT / folder).rglob("*.jinja")):
        words = set(re.findall(r"[a-z]+", path.read_text(encoding="utf-8")))
        wrong += [f"{path.name} {name!r}" for name in SPELLED & words]
    assert wrong == []


def test_the_table_of_names_is_found() -> None:
    """So that the test above looks for something."""
    assert any(name in (ROOT / "artifacts" / "contract.py").read_text(encoding="utf-8") for name in SPELLED)


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("fault", [None, "melanoma to nevus", "constant", "noise", "rare"])
def test_classes_renamed_consistently_change_no_verdict_gate_or_figure(
    tmp_path: Path, lab: SimpleNamespace, fault: str | None
) -> None:
    settings = {} if fault is None else {"fault": fault}
    plain = audit_engine(lab.plant(tmp_path / "plain", settings=settings).engine, seed=0)
    under_new_names = audit_engine(lab.plant(tmp_path / "other", settings=settings, contract=RENAMED).engine, seed=0)
    assert under_new_names.classes == RENAMED.classes
    assert comparable(under_new_names) == renamed(comparable(plain))
    assert plain.verdict is (Verdict.PASS if fault is None else Verdict.FAIL)


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("fault", "policy", "verdict"),
    [
        (None, Policy(), Verdict.PASS),
        ("rare", Policy(minimal_images=5_000), Verdict.FAIL),
        ("melanoma to nevus", Policy(class_margin=90.0, benign_margin=90.0, malignant_to_benign=699), Verdict.FAIL),
    ],
)
def test_classes_with_the_names_of_figures_change_none(
    tmp_path: Path, lab: SimpleNamespace, fault: str | None, policy: Policy, verdict: Verdict
) -> None:
    """Beside an earlier engine, so that each kind of gate is there."""
    plain, renamed_audit = (
        audit_beside_earlier(tmp_path / folder, lab, classes=classes, fault=fault, policy=policy)
        for folder, classes in (("plain", CLASSES), ("other", tuple(FIGURES.values())))
    )
    assert comparable(renamed_audit) == renamed(comparable(plain), FIGURES)
    assert [shown(case) for case in cases(renamed_audit)] == [shown(case) for case in cases(plain)]
    assert plain.verdict is verdict


def audit_beside_earlier(
    folder: Path, lab: SimpleNamespace, *, classes: tuple[str, ...], fault: str | None, policy: Policy
) -> AuditResult:
    contract = InputContract(6, classes, tuple(classes[label] for label in InputContract(6).malignant_labels))
    settings = {"fault": fault} if fault else {}
    before, now = (
        lab.plant(folder / name, settings=own, contract=contract) for name, own in (("before", {}), ("now", settings))
    )
    (folder / "earlier.json").write_text(json.dumps(to_json(audit_engine(before.engine, seed=0))))
    return audit_engine(now.engine, seed=0, baseline=folder / "earlier.json", policy=policy)


def shown(case: Case) -> tuple[object, ...]:
    """A case without the names of classes."""
    return case.rule, case.set, case.outcome, len(case.findings)


@pytest.fixture
def nothing_malignant(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> Path:
    return Path(
        lab.plant(tmp_path, settings={}, contract=InputContract(size=6, classes=tuple("abcdefg"), malignant=())).engine
    )


def test_without_malignant_classes_nothing_clinical_can_be_judged(nothing_malignant: Path) -> None:
    result = audit_engine(nothing_malignant)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.startswith("no class is named as malignant")
    assert {gate.rule for gate in result.gates}.isdisjoint({"malignant-sensitivity", "turned-benign", "malignant-to-benign"})
    assert all(entry.comparison.malignant_to_benign is None for entry in result.sets)


def test_a_policy_permits_that_for_a_reason_that_every_report_prints(nothing_malignant: Path) -> None:
    policy = Policy(clinical="none", clinical_reason="nevi against keratoses")
    result = audit_engine(nothing_malignant, policy=policy)
    assert result.verdict is Verdict.PASS
    assert [finding.rule for finding in result.findings if finding.severity is Severity.WARNING] == ["clinical"]
    for name in names():
        assert "nevi against keratoses" in " ".join(render(name, result).split()), name
    lineup = line_up([(result.engine, result)])
    for name in names("lineup"):
        assert "nevi against keratoses" in " ".join(render(name, lineup, "lineup").split()), name


@pytest.mark.usefixtures("opened")
def test_another_malignant_class_in_the_sets_than_in_the_manifest_is_refused(tmp_path: Path, lab: SimpleNamespace) -> None:
    from skinaudit.errors import InvalidInputError

    planted = lab.plant(tmp_path / "run", settings={})
    fewer = replace(lab.CONTRACT, malignant=("bcc",))
    lab.write_sets(tmp_path / "sets", *lab.pictures(700, seed=5), seed=0,
                   source=open_set(planted.run / "sets" / "clean.safetensors").info.source, contract=fewer)  # fmt: skip
    with pytest.raises(InvalidInputError, match=r"malignant is bcc, but .* has mel bcc akiec"):
        audit_engine(planted.engine, sets=tmp_path / "sets")
