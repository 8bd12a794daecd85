"""Sets of a run: entered in its manifest, within eps, the same bytes again, and named after what they are."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.manifest import read_run, record, resolve, write_run
from skinaudit.artifacts.perturbation import check_perturbation
from skinaudit.artifacts.threat_model import Norm, ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import logits_of
from skinaudit.trainer.generate import AttackPlan, attack_run, plans_for, write_adversarial_set, write_clean_set
from skinaudit.trainer.models import folded
from skinaudit.trainer.train import set_plans

LINF8 = ThreatModel("linf", Fraction(8))
QUICK = {"steps": 2}
QUICK_OF = {"pgd": QUICK, "pgd-dlr": {"steps": 4}}
SUFFIX_OF = {"fgsm": "", "pgd": "-steps2", "pgd-dlr": "-steps4"}


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def images(opened: AdversarialSet) -> np.ndarray:
    return np.concatenate(list(opened.batches(64)))


def test_a_run_ends_with_clean_fgsm_and_pgd_sets(tiny_run: Path) -> None:
    manifest = read_run(tiny_run)
    opened = {name: open_set(resolve(tiny_run, file)) for name, file in manifest.sets.items()}
    assert list(opened) == ["clean", "fgsm-linf-4", "pgd-dlr-linf-4"]
    assert opened["pgd-dlr-linf-4"].info.settings["steps"] == 40
    for name, stored in opened.items():
        assert stored.info.name == name
        assert stored.info.source == manifest.weights.digest
        check_perturbation(stored, opened["clean"])
        assert (images(stored) != images(opened["clean"])).any() == (name != "clean")
        assert manifest.results[name]["accuracy"] == pytest.approx((stored.source_logits.argmax(1) == stored.labels).mean())
    assert manifest.results["pgd-dlr-linf-4"]["accuracy"] < manifest.results["clean"]["accuracy"] / 2
    assert opened["clean"].info.clean == ""
    assert opened["clean"].info.synthetic


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "pgd-dlr"])
def test_a_new_set_enters_the_manifest_with_its_logits_after_rounding(run: Path, norm: str, attack: str) -> None:
    threat_model = ThreatModel(norm, Fraction(64 if norm == "l2" else 8))  # type: ignore[arg-type]
    before = read_run(run)
    (written,) = attack_run(run, (AttackPlan(attack, threat_model, {} if attack == "fgsm" else QUICK_OF[attack]),))
    after = read_run(run)
    name = f"{attack}-{norm}-{64 if norm == 'l2' else 8}" + SUFFIX_OF[attack]
    assert dict(after.sets) == {**before.sets, name: after.sets[name]}
    assert resolve(run, after.sets[name]) == written.path
    check_perturbation(written, open_set(resolve(run, after.sets["clean"])))
    assert written.info.threat_model == threat_model
    assert np.array_equal(written.source_logits, logits_of(folded(load_run_model(run)), images(written)))


def test_subgroups_travel_from_the_clean_set_to_those_crafted_of_it(run: Path, tmp_path: Path) -> None:
    model, own = folded(load_run_model(run)), open_set(resolve(run, read_run(run).sets["clean"]))
    sexes = ("female", "male", "")
    clean = write_clean_set(
        tmp_path / "clean.safetensors", model, images=images(own)[:3], labels=own.labels[:3], group=own.group[:3],
        ids=own.ids[:3], source=own.info.source, contract=own.info.contract, dataset="test", synthetic=True,
        subgroups={"sex": sexes},
    )  # fmt: skip
    plan = AttackPlan("fgsm", LINF8)
    crafted = write_adversarial_set(tmp_path / "fgsm.safetensors", model, clean, plan, source=own.info.source, seed=0)
    assert clean.subgroups == crafted.subgroups == {"sex": sexes}


def test_equal_seeds_give_equal_bytes(run: Path) -> None:
    plan = AttackPlan("pgd", LINF8, QUICK)
    (first,) = attack_run(run, (plan,), seed=1)
    content = first.path.read_bytes()
    (second,) = attack_run(run, (plan,), seed=1)
    assert second.path.read_bytes() == content
    (other_seed,) = attack_run(run, (plan,), seed=2)
    assert other_seed.path.read_bytes() != content
    assert resolve(run, read_run(run).sets["pgd-linf-8-steps2"]) == other_seed.path


def test_the_log_names_attack_seed_and_file(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="skinaudit"):
        (crafted,) = attack_run(run, (AttackPlan("pgd", LINF8, QUICK),), seed=3)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"pgd-linf-8-steps2: {len(crafted)} images on cpu, batches: 1, seed 3, steps 2")
    assert second == f"pgd-linf-8-steps2: wrote {crafted.path}"


def test_a_targeted_set_is_named_so_and_keeps_the_true_labels(run: Path) -> None:
    (written,) = attack_run(run, (AttackPlan("pgd", LINF8, {**QUICK, "targeted": True}),))
    assert written.path.name == "pgd-linf-8-steps2-targeted.safetensors"
    assert written.info.settings["targeted"] is True
    clean = open_set(run / "sets" / "clean.safetensors")
    assert np.array_equal(written.labels, clean.labels)


def test_a_targeted_set_gets_nearer_to_its_aims_than_the_clean_images(run: Path) -> None:
    clean = open_set(run / "sets" / "clean.safetensors")
    (written,) = attack_run(run, (AttackPlan("pgd", LINF8, {"steps": 5, "targeted": True}),), seed=3)
    aims = (clean.labels + np.random.default_rng(3).integers(1, 7, len(clean))) % 7
    assert (aims != clean.labels).all()

    def chance(logits: np.ndarray) -> float:
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return float((shares / shares.sum(1, keepdims=True))[np.arange(len(aims)), aims].mean())

    assert chance(written.source_logits) > chance(clean.source_logits)


def test_a_stored_set_spends_the_full_budget(run: Path) -> None:
    before = (run / "run.json").read_bytes()
    with pytest.raises(InvalidInputError, match="a stored set uses the full budget; leave stop_margin out"):
        attack_run(run, (AttackPlan("pgd", LINF8, {**QUICK, "stop_margin": 0.5}),))
    assert (run / "run.json").read_bytes() == before


def test_transfer_sets_are_crafted_on_the_other_run_and_named_after_it(run: Path, tmp_path: Path) -> None:
    other_run = Path(shutil.copytree(run, tmp_path / "other"))
    write_json(other_run / "run.json", {**read_json(other_run), "name": "other"})
    (written,) = attack_run(run, (AttackPlan("fgsm", LINF8),), against=(other_run,))
    assert written.path == run / "sets" / "fgsm-linf-8-from-other.safetensors"
    assert written.info.name == "fgsm-linf-8-from-other"
    assert written.info.source == read_run(other_run).weights.digest
    assert "fgsm-linf-8-from-other" in read_run(run).sets
    assert "fgsm-linf-8-from-other" not in read_run(other_run).sets


def test_several_runs_are_attacked_as_one(run: Path, tmp_path: Path) -> None:
    """The sets succeed against the mean logits, which are those of no single run."""
    others = []
    for number, name in enumerate(("first", "second")):
        other = Path(shutil.copytree(run, tmp_path / name))
        weights = load_file(other / "weights.safetensors")
        key = next(key for key, value in weights.items() if value.ndim == 2)
        weights[key] = weights[key].roll(number + 1, 0)
        save_file(weights, other / "weights.safetensors")
        manifest = read_run(other)
        file = record(other / "weights.safetensors", relative_to=other)
        write_run(other, replace(manifest, name=name, weights=file))
        others.append(other)
    (written,) = attack_run(run, (AttackPlan("pgd", LINF8, QUICK),), against=others)
    assert written.info.name == "pgd-linf-8-steps2-from-first-and-second"
    digests = [read_run(other).weights.digest for other in others]
    assert written.info.source not in digests
    (swapped,) = attack_run(run, (AttackPlan("pgd", LINF8, QUICK),), against=others[::-1])
    assert swapped.info.source == written.info.source
    first, second = (logits_of(folded(load_run_model(other)), images(written)) for other in others)
    assert not np.allclose(first, second, atol=0.01)
    np.testing.assert_allclose(written.source_logits, (first + second) / 2, atol=1e-4)
    with pytest.raises(InvalidInputError, match="two of these runs have the same weights"):
        attack_run(run, (AttackPlan("pgd", LINF8, QUICK),), against=[others[0], others[0]])


def read_json(run: Path) -> dict[str, object]:
    import json

    return dict(json.loads((run / "run.json").read_text(encoding="utf-8")))


def test_a_run_with_another_contract_is_no_source_of_transfer_sets(run: Path, tmp_path: Path) -> None:
    other_run = Path(shutil.copytree(run, tmp_path / "other"))
    text = (other_run / "run.json").read_text(encoding="utf-8")
    (other_run / "run.json").write_text(text.replace('"size": 32', '"size": 64'), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"other: its input contract differs from that of .*run"):
        attack_run(run, (AttackPlan("fgsm", LINF8),), against=(other_run,))


def test_an_interruption_leaves_manifest_and_sets_in_agreement(run: Path) -> None:
    """The first plan replaces a set of the run; the second one is interrupted."""
    plans = (AttackPlan("fgsm", ThreatModel("linf", Fraction(4)), {"targeted": False}), AttackPlan("pgd", LINF8, QUICK))
    (run / "sets" / "fgsm-linf-4.safetensors").write_bytes(b"to be replaced")

    def interrupt(done: int, total: int) -> None:
        manifest = read_run(run)
        if (run / "sets" / "fgsm-linf-4.safetensors").stat().st_size > 100:
            for file in manifest.sets.values():
                resolve(run, file)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack_run(run, plans, progress=interrupt)
    for file in read_run(run).sets.values():
        resolve(run, file)
    assert not [path for path in (run / "sets").iterdir() if path.name.startswith(".")]


def test_a_ball_without_another_grid_point_is_refused(run: Path) -> None:
    with pytest.raises(InvalidInputError, match="below 1/255 the 8-bit grid contains only the clean image"):
        attack_run(run, (AttackPlan("fgsm", ThreatModel("linf", Fraction(1, 2))),))


@pytest.mark.parametrize(
    ("names", "norm", "expected"),
    [
        ((), "linf", "--attack: name one attack at least"),
        (("fgsm", "fgsm"), "linf", "--attack: fgsm, fgsm: two of them would be the same set"),
        (("squares",), "linf", "attack 'squares': choose one of"),
        (("pgd:steps=0",), "linf", "pgd: steps 0"),
        (("pgd:stop-margin=0.1",), "linf", "a stored set uses the full budget"),
        (("carlini-wagner",), "linf", "carlini-wagner: norm linf"),
        (("pgd-dlr:momentum=0",), "l2", "pgd-dlr: steps 40, momentum 0"),
        (("autoattack:queries=0",), "linf", "autoattack: steps 100, targets 9, queries 0"),
    ],
)
def test_attacks_that_no_training_could_end_with_are_refused_before_it(
    names: tuple[str, ...], norm: Norm, expected: str
) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(expected)):
        set_plans(ThreatModel(norm, Fraction(8)), names)


def test_a_run_ends_with_the_attacks_that_were_asked_for() -> None:
    plans = set_plans(LINF8, ("pgd:steps=3", "apgd-ce", "universal"))
    assert [plan.name for plan in plans] == ["pgd-linf-8-steps3", "apgd-ce-linf-8", "universal-linf-8"]
    assert [plan.name for plan in set_plans(LINF8)] == ["fgsm-linf-8", "pgd-dlr-linf-8"]


def test_names_tell_sets_apart() -> None:
    plans = [
        AttackPlan("pgd", LINF8), AttackPlan("fgsm", LINF8), AttackPlan("pgd", LINF8, {"targeted": True}),
        AttackPlan("pgd", ThreatModel("l2", Fraction(8))), AttackPlan("pgd", ThreatModel("linf", Fraction(3, 2))),
    ]  # fmt: skip
    assert [plan.name for plan in plans] == [
        "pgd-linf-8", "fgsm-linf-8", "pgd-linf-8-targeted", "pgd-l2-8", "pgd-linf-1.5"
    ]  # fmt: skip


def test_plans_take_eps_from_the_run_and_settings_where_they_are_known(tiny_run: Path) -> None:
    plans = plans_for(tiny_run, ("fgsm", "pgd"), norm="linf", eps=None, settings={"steps": 9, "targeted": None})
    assert [(plan.attack, plan.settings) for plan in plans] == [("fgsm", {}), ("pgd", {"steps": 9})]
    assert all(plan.threat_model == ThreatModel("linf", Fraction(4)) for plan in plans)
    quick, slow = plans_for(tiny_run, ("pgd:steps=3", "pgd"), norm="linf", eps=None, settings={"steps": 9})
    assert (quick.settings, slow.settings) == ({"steps": 3}, {"steps": 9})
    (wider,) = plans_for(tiny_run, ("pgd",), norm="l2", eps="127.5/255", settings={})
    assert wider.threat_model == ThreatModel("l2", Fraction(255, 2))


def test_plans_that_mean_nothing_are_refused(tiny_run: Path) -> None:
    with pytest.raises(InvalidInputError, match="fgsm: no setting steps; leave --steps out"):
        plans_for(tiny_run, ("fgsm",), norm="linf", eps="8/255", settings={"steps": 9})
    with pytest.raises(InvalidInputError, match=r"has no l2 set to take eps from; give --eps"):
        plans_for(tiny_run, ("pgd",), norm="l2", eps=None, settings={})
    with pytest.raises(InvalidInputError, match="attack 'squares': choose one of"):
        plans_for(tiny_run, ("squares",), norm="linf", eps="8/255", settings={})


class Rounded(nn.Module):
    """A model behind pixels in two steps: right as ever, and without a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model((images * 2).round() / 2)


def test_a_model_without_gradients_is_not_attacked(tiny_run: Path, tmp_path: Path) -> None:
    model, clean = folded(load_run_model(tiny_run)), open_set(tiny_run / "sets" / "clean.safetensors")
    plan = AttackPlan("pgd", LINF8, QUICK)
    with pytest.raises(InvalidInputError, match="gradient is 0 on 100% of the images"):
        write_adversarial_set(tmp_path / "x.safetensors", Rounded(model), clean, plan, source="sha256:x", seed=0)
    assert not (tmp_path / "x.safetensors").exists()


def test_a_universal_set_has_one_perturbation_for_all_its_images(run: Path) -> None:
    (written,) = attack_run(run, (AttackPlan("universal", LINF8, {"epochs": 1, "step_share": 1.0}),))
    clean = open_set(run / "sets" / "clean.safetensors")
    before, after = images(clean).astype(int), images(written).astype(int)
    free = (before >= 8) & (before <= 247)  # the box cuts nothing off there
    least, most = np.where(free, after - before, 99).min(0), np.where(free, after - before, -99).max(0)
    assert len(before) > 25
    assert (least == most)[free.sum(0) > 1].all()
    assert (most[free.any(0)] != 0).mean() > 0.2
