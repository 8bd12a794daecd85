from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.perturbation import within
from skinaudit.artifacts.threat_model import Norm, ThreatModel
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.evidence.probes import load, names
from skinaudit.audit.evidence.probing import Probed, plan_probes, small_probe
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.fresh_attack import probe_figures
from skinaudit.audit.judgement.gate_findings import gate_findings
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.errors import InvalidInputError

SIDE = 12


def linear(weights: NDArray[np.float32]) -> Any:
    """A target whose answer is a product: what its worst image is, is known."""

    def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (images.reshape(len(images), -1).astype(np.float32) / 255) @ weights

    return answer


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(60, 195, (count, 3, SIDE, SIDE)).astype(np.uint8)


def find(name: str, norm: Norm, eps: int, *, queries: int, weights: NDArray[np.float32], start: Any = None) -> Any:
    search, _ = load(name)
    target, images = linear(weights), pictures(16)
    labels = target(images).argmax(1)
    points, queries_asked = search(
        target, images, labels, start=start, threat_model=ThreatModel(norm, Fraction(eps)),
        generator=np.random.default_rng(1), tick=lambda _: None, queries=queries,
    )  # fmt: skip
    return images, labels, target, points, queries_asked


def weights(scale: float = 1.0) -> NDArray[np.float32]:
    return (scale * np.random.default_rng(2).normal(0, 1, (3 * SIDE * SIDE, 7))).astype(np.float32)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(("norm", "eps"), [("linf", 1), ("linf", 6), ("l2", 40), ("l2", 300)])
def test_what_is_found_lies_in_the_ball(name: str, norm: Norm, eps: int) -> None:
    images, labels, target, points, queries_asked = find(name, norm, eps, queries=60, weights=weights())
    assert points.dtype == np.uint8
    assert within(points, images, ThreatModel(norm, Fraction(eps))).all()
    assert len(images) <= queries_asked <= 60 * len(images)
    before, after = target(images), target(points)
    rows = np.arange(len(labels))
    assert (after[rows, labels] - after.max(1) <= before[rows, labels] - before.max(1)).all()


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(("norm", "eps"), [("linf", 8), ("l2", 150)])
def test_a_search_takes_a_good_part_of_what_the_optimum_would(name: str, norm: Norm, eps: int) -> None:
    """For a linear model the lowest lead in the ball is known: eps times the dual norm of the difference of two columns."""
    images, labels, target, points, _ = find(name, norm, eps, queries=400, weights=weights())
    columns = weights()
    rows = np.arange(len(labels))

    def leads(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = target(batch)
        return np.asarray(logits[rows, labels][:, None] - logits)

    difference = columns.T[labels][:, :, None] - columns[None]  # (images, pixels, classes)
    dual = np.abs(difference).sum(1) if norm == "linf" else np.sqrt((difference**2).sum(1))
    wrong_classes = np.arange(7) != labels[:, None]
    before = np.where(wrong_classes, leads(images), np.inf).min(1)
    after = np.where(wrong_classes, leads(points), np.inf).min(1)
    best = np.where(wrong_classes, leads(images) - eps / 255 * dual, np.inf).min(1)
    held = after >= 0  # a broken image leaves the search where it is
    assert 0.1 < held.mean() < 0.9
    assert ((before - after) / (before - best))[held].mean() > 0.3
    assert (best < 0).sum() >= (~held).sum()
    noise = np.random.default_rng(3).integers(-1, 2, images.shape) * (eps if norm == "linf" else eps // 21)
    random = np.clip(images.astype(int) + noise, 0, 255).astype(np.uint8)
    drawn = np.where(wrong_classes, leads(random), np.inf).min(1)
    assert ((before - drawn) / (before - best))[held].mean() < 0.15


@pytest.mark.parametrize("name", names())
def test_more_queries_never_find_less_and_the_same_seed_finds_the_same(name: str) -> None:
    _, labels, target, few, _ = find(name, "linf", 4, queries=30, weights=weights())
    _, _, _, again, _ = find(name, "linf", 4, queries=30, weights=weights())
    _, _, _, many, _ = find(name, "linf", 4, queries=600, weights=weights())
    assert (few == again).all()
    assert (target(many).argmax(1) != labels).sum() >= (target(few).argmax(1) != labels).sum()


@pytest.mark.parametrize("name", names())
def test_a_search_goes_on_from_where_it_is_told(name: str) -> None:
    """Started at images that are broken already, nothing has to be asked but those."""
    *_, broken, _ = find(name, "linf", 60, queries=600, weights=weights())
    images, labels, target, points, queries_asked = find(name, "linf", 60, queries=600, weights=weights(), start=broken)
    assert (target(broken).argmax(1) != labels).all()
    assert (points == broken).all()
    assert queries_asked == len(images)


def test_an_unknown_probe_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=f"probe 'sqare': choose one of {', '.join(names())}"):
        plan_probes(["sqare"], threat_model=None, images=1, queries=2, seed=0)


@pytest.mark.usefixtures("opened")
def test_a_probe_attacks_engine_and_reference_alike(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path, settings={})
    probes = plan_probes(["square"], threat_model=None, images=60, queries=40, seed=3)
    result = audit_engine(planted.engine, probes=probes)
    (probe,) = result.probes
    assert (probe.title, probe.images, probe.norm, probe.eps) == ("probe square linf 24/255", 60, "linf", "24/255")
    assert probe.drop is not None
    assert (probe.drop.lost, probe.drop.gained) == (0, 0)  # the same function, asked the same
    assert probe.fresh_accuracy == probe.reference_accuracy <= probe.clean_accuracy
    assert probe.replay_accuracy is not None
    assert probe.worst_accuracy <= min(probe.replay_accuracy, probe.fresh_accuracy)
    assert 0 < probe.queries <= 60 * 70
    gate, clinical = (gate for gate in result.gates if gate.rule == "probe-drop")
    assert gate.set == clinical.set == probe.title
    assert (gate.subject, clinical.subject) == ("accuracy", MALIGNANT_CALLS)
    assert (gate.binding, clinical.binding) == (True, False)
    assert probe.malignant_drop is not None
    assert (probe.malignant_drop.lost, probe.malignant_drop.gained, clinical.power) == (0, 0, 0)  # too few for 5 points
    again = audit_engine(planted.engine, probes=probes)
    assert again.probes[0].queries == probe.queries


def failing(result: AuditResult) -> set[str]:
    return {finding.rule for finding in result.findings if finding.severity is Severity.FAIL}


@pytest.mark.usefixtures("opened")
def test_every_audit_finds_an_engine_that_knows_the_stored_images_by_heart(tmp_path: Path, lab: SimpleNamespace) -> None:
    """It is right on the stored images, and wrong on any other."""
    planted = lab.plant(tmp_path, settings={"fault": "memory", "sets": str(tmp_path / "sets")})
    result = audit_engine(planted.engine)
    assert failing(result) == {"probe-drop", "nearby-images"}
    assert {finding.gate for finding in result.findings if finding.rule == "probe-drop"} == {"accuracy", MALIGNANT_CALLS}
    assert "masking" in {finding.rule for finding in result.findings}
    (probe,) = result.probes
    assert probe.small
    assert probe.worst_accuracy <= probe.fresh_accuracy < 0.1
    replayed = audit_engine(planted.engine, small_probe=False)
    assert all(gate.judgement.verdict is Verdict.PASS for gate in replayed.gates if gate.binding)
    plans = plan_probes(["square"], threat_model=None, images=200, queries=40, seed=0)
    probed = audit_engine(planted.engine, probes=plans)
    assert [probe.small for probe in probed.probes] == [False]  # the larger one stands for the small one
    assert "probe-drop" in failing(probed)


@pytest.mark.usefixtures("opened")
def test_the_small_probe_asks_no_more_than_a_replay_and_binds_nothing(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path, settings={})
    result = audit_engine(planted.engine, policy=Policy(probe_images=70))
    (probe,) = result.probes
    assert (probe.small, probe.by_answers, probe.images, probe.settings["queries"]) == (True, True, 70, 20)
    assert probe.queries <= 1400 + 2 * 70
    for gate in (gate for gate in result.gates if gate.rule == "probe-drop"):
        assert (gate.binding, gate.judgement.verdict) == (False, Verdict.INCONCLUSIVE)  # 70 images cannot show 5 points
    assert result.verdict is Verdict.PASS
    proving = audit_engine(planted.engine, policy=Policy(probe_images=70, probe_prove=True))
    assert proving.verdict is Verdict.INCONCLUSIVE


def test_cancers_that_only_a_fresh_attack_turns_benign_fail_while_accuracy_holds() -> None:
    """30 of 100 images are malignant. The engine loses 15 of them, and is right on 15 others that its reference misses."""
    (plan,) = plan_probes(["square"], threat_model=None, images=100, queries=9, seed=0)
    ill, lost = np.arange(100) < 30, np.arange(100) < 15
    reference_right = np.arange(100) < 85
    fresh_right = ~lost
    probed = Probed(
        replace(plan, small=True), ThreatModel("linf", Fraction(2)), np.arange(100), queries=900, seconds=1.0,
        clean_right=fresh_right | lost, replay_right=None, fresh_right=fresh_right, worst_right=fresh_right,
        reference_right=reference_right, malignant=ill, fresh_called=ill & ~lost, reference_called=ill,
    )  # fmt: skip
    result = probe_figures(probed, confidence=0.95)
    gates = judge([], [result], Policy())
    assert [(gate.subject, gate.judgement.verdict) for gate in gates] == [
        ("accuracy", Verdict.INCONCLUSIVE), (MALIGNANT_CALLS, Verdict.FAIL)
    ]  # fmt: skip
    (finding,) = gate_findings(gates, Policy(), malignant=["mel"])
    assert finding.text.startswith("malignant called malignant against its reference under the same attack: loses 50.0")


def test_another_probe_stands_for_the_small_one_only_if_it_is_the_same_attack(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path, images=140, eps=24)
    sets = [open_set(planted.run / "sets" / f"{name}.safetensors") for name in ("clean", "pgd")]

    def left_out(name: str, eps: int | None) -> bool:
        threat_model = None if eps is None else ThreatModel("linf", Fraction(eps))
        other_probes = plan_probes([name], threat_model=threat_model, images=9, queries=9, seed=0)
        return small_probe(other_probes, sets, images=100, seed=0) is None

    assert left_out("square", None)
    assert left_out("square", 24)
    assert not left_out("square", 2)
    assert not left_out("spsa", None)
