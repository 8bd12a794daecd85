"""The recipes say what the paper says, and nothing is taken over silently."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.hardening_choice import hardening_of
from skinaudit.trainer.recipes import (
    RECIPES,
    Hardening,
    adapted,
    check_classes,
    parse_class_eps,
    parse_costs,
)

LINF4 = ThreatModel("linf", Fraction(4))


def test_the_paper_recipe_has_the_papers_settings() -> None:
    paper = RECIPES["paper"]
    assert (paper.optimiser, paper.learning_rate, paper.momentum, paper.batch) == ("sgd", 0.1, 0.9, 16)
    assert (paper.schedule, paper.patience, paper.factor, paper.monitor) == ("plateau", 3, 0.5, "accuracy")
    assert (paper.class_weighting, paper.augment, paper.weight_decay) == (0.0, "none", 0.0)
    assert paper.clean_share == 0.5


def test_recipes_are_known_by_their_names() -> None:
    assert all(recipe.name == name for name, recipe in RECIPES.items())
    with pytest.raises(InvalidInputError, match="recipe 'best': choose one of default, paper"):
        adapted("best", epochs=None, batch=None, learning_rate=None)


def test_only_what_is_given_replaces_the_recipes_setting() -> None:
    assert adapted("paper", epochs=None, batch=None, learning_rate=None) == RECIPES["paper"]
    assert adapted("paper", epochs=3, batch=None, learning_rate=0.01) == replace(
        RECIPES["paper"], epochs=3, learning_rate=0.01
    )


def test_vgg16_has_no_batch_norm_and_a_smaller_learning_rate_unless_one_is_given() -> None:
    assert adapted("default", arch="vgg16").learning_rate == 3e-4
    assert adapted("default", arch="vgg16", learning_rate=0.01).learning_rate == 0.01
    assert adapted("paper", arch="vgg16") == RECIPES["paper"]
    assert adapted("default", arch="mobilenet_v2") == RECIPES["default"]


def hardened(
    kind: str = "pgd", *, recipe: str = "default", clean_share: float | None = None, ramp: float | None = 0.5,
    warm_up: float | None = 0.25, steps: int | None = 7, **changes: Any,
) -> Hardening | None:  # fmt: skip
    return hardening_of(
        kind, recipe=RECIPES[recipe], steps=steps, warm_up=warm_up, ramp=ramp,
        clean_share=clean_share, **{"batch_norm": "eval", "threat_model": LINF4, **changes},
    )  # fmt: skip


def test_hardening_takes_the_recipes_settings_unless_they_are_given() -> None:
    hardening = Hardening(LINF4, steps=7, ramp=0.5, warm_up=0.25)
    default, paper = RECIPES["default"], RECIPES["paper"]
    assert hardened() == hardening
    assert hardened(recipe="paper") == replace(hardening, clean_share=0.5)
    assert hardened(recipe="paper", clean_share=0.0) == hardening
    assert hardened(ramp=None) == replace(hardening, ramp=default.ramp)
    assert hardened(warm_up=None) == replace(hardening, warm_up=default.warm_up)
    assert hardened(recipe="paper", ramp=None, warm_up=None) == replace(
        hardening, ramp=paper.ramp, warm_up=paper.warm_up, clean_share=0.5
    )
    assert paper.warm_up == 0
    assert hardened("none") is None
    with pytest.raises(InvalidInputError, match="hardening 'paper': choose one of none, fgsm-rs, "):
        hardened("paper")


def test_a_ramp_that_does_not_fit_behind_the_warm_up_is_refused() -> None:
    assert hardened(warm_up=0.6, ramp=0.4) is not None
    with pytest.raises(InvalidInputError, match=r"warm-up 0.6 and ramp 0.5: together more than the whole training"):
        hardened(warm_up=0.6, ramp=0.5)


def at(hardening: Hardening, share: float) -> ThreatModel:
    threat_model = hardening.at(share)
    assert threat_model is not None
    return threat_model


def test_eps_grows_on_the_ramp_and_stays() -> None:
    hardening = Hardening(LINF4, ramp=0.5)
    grown = [at(hardening, share / 100).eps_255 for share in range(101)]
    assert grown == sorted(grown)
    assert 0 < grown[0] < Fraction(1, 10)
    assert grown[25] == 2
    assert all(eps == 4 for eps in grown[50:])
    assert at(hardening, 0.25).norm == "linf"


def test_the_warm_up_has_no_threat_model_and_the_ramp_begins_after_it() -> None:
    hardening = Hardening(LINF4, warm_up=0.25, ramp=0.5)
    assert hardening.at(0.0) is hardening.at(0.249) is None
    assert hardening.at(0.25) == ThreatModel("linf", Fraction(1, 256))
    assert hardening.at(0.5) == ThreatModel("linf", Fraction(2))
    assert hardening.at(0.75) == hardening.at(1.0) == LINF4
    assert Hardening(LINF4, warm_up=1.0, ramp=0.0).at(0.99) is None


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_without_a_ramp_eps_is_full_from_the_start(share: float) -> None:
    assert Hardening(LINF4, ramp=0.0).at(share) == LINF4


def test_hardening_may_train_at_another_radius_than_the_one_it_is_judged_at() -> None:
    hardening = hardened(train_eps_255=Fraction(5))
    assert hardening is not None
    assert hardening.threat_model == LINF4
    assert hardening.trained == hardening.at(1.0) == ThreatModel("linf", Fraction(5))
    assert at(hardening, 0.5).eps_255 == Fraction(5, 2)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("none", {"train_eps_255": Fraction(5)}, "--hardening-eps needs hardening; add --hardening pgd"),
        ("none", {"awp": 0.005}, "--awp needs hardening"),
        ("none", {"class_eps": {"mel": Fraction(1)}}, "--class-eps needs hardening"),
        ("fgsm-rs", {}, "hardening fgsm-rs: its attack always takes 1 step; leave --steps out"),
        (
            "free",
            {"steps": None, "threat_model": ThreatModel("l2", Fraction(9))},
            "hardening free: works under linf only; choose --norm linf",
        ),
        ("trades", {"clean_share": 0.5}, "hardening trades: needs a whole batch; leave --clean-share out"),
        ("pgd", {"class_eps": {"mel": Fraction(1)}, "batch_norm": "train"}, "so it needs --attack-batch-norm eval"),
    ],
)
def test_choices_that_do_not_fit_together_are_refused(kind: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        hardened(kind, **changes)


def test_a_method_has_its_own_steps_and_whole_batches_where_it_needs_them() -> None:
    hardenings = [hardened(kind, recipe="paper", steps=None) for kind in ("pgd", "fgsm-rs", "trades:beta=3", "free")]
    assert [(item.method, item.steps, item.clean_share, item.settings) for item in hardenings if item is not None] == [
        ("pgd", 3, 0.5, {}), ("fgsm-rs", 1, 0.5, {}), ("trades", 3, 0.0, {"beta": 3.0}), ("free", 1, 0.0, {}),
    ]  # fmt: skip


def test_a_class_has_its_radius_on_the_ramp_too() -> None:
    hardening = hardened("pgd", ramp=0.5, warm_up=0.0, class_eps=parse_class_eps(["mel=6/255", "bcc=1/255"]))
    assert hardening is not None
    assert [hardening.at(0.25, class_name=name) for name in ("mel", "bcc", "nv")] == [
        ThreatModel("linf", Fraction(steps)) for steps in (3, "1/2", 2)
    ]


def test_later_settings_are_recorded_where_they_are_on() -> None:
    """So that an unfinished training of an earlier version goes on: its checkpoint knows the settings by their digest."""
    plain = Hardening(LINF4).to_json()
    assert set(plain) == {
        "kind", "threat_model", "steps", "ramp", "clean_share", "batch_norm", "train_eps", "warm_up",
    }  # fmt: skip
    hardening = hardened("trades:beta=3", awp=0.005, class_eps={"mel": Fraction(5)})
    assert hardening is not None
    added = {key: value for key, value in json.loads(json.dumps(hardening.to_json())).items() if key not in plain}
    assert added == {"settings": {"beta": 3.0}, "awp": 0.005, "class_eps": {"mel": "5/255"}}
    assert hardening.to_json()["kind"] == "trades"
    before = set(RECIPES["default"].to_json())
    assert not before & {"swa", "label_smoothing", "logit_adjustment"}
    later = adapted("default", swa=0.25, label_smoothing=0.1, logit_adjustment=1.0).to_json()
    assert set(later) - before == {"swa", "label_smoothing", "logit_adjustment"}
    assert later["averaging"] == 0


def test_weights_are_averaged_in_one_way() -> None:
    with pytest.raises(InvalidInputError, match=r"averaging 0.9 and swa 0.25: choose one of them"):
        adapted("default", swa=0.25, averaging=0.9)


@pytest.mark.parametrize(("inner", "text"), [(None, "4/255"), (Fraction(5), "5/255")])
def test_settings_are_plain_json(inner: Fraction | None, text: str) -> None:
    value = json.loads(json.dumps(Hardening(LINF4, train_eps_255=inner).to_json()))
    assert value["kind"] == "pgd"
    assert value["threat_model"] == {"norm": "linf", "eps": "4/255"}
    assert value["train_eps"] == text
    assert json.loads(json.dumps(RECIPES["default"].to_json()))["name"] == "default"


def test_costs_are_read_by_class() -> None:
    assert parse_costs([]) == RECIPES["default"].class_costs
    assert adapted("default", class_costs=parse_costs(["mel=2", "df=0.5"])).class_costs == {"mel": 2.0, "df": 0.5}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["mel"], "class cost 'mel': write it as CLASS=NUMBER, for example mel=1.5"),
        (["mel=much"], "class cost 'mel=much': write it"),
        (["mel=2", "mel=3"], "class cost 'mel=3': mel has one already, 2"),
        (["mel=0"], "class cost mel=0: give a number"),
        (["mel=nan"], "class cost mel=nan: give a number above 0"),
    ],
)
def test_costs_that_mean_nothing_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        adapted("default", class_costs=parse_costs(texts))


def test_a_cost_or_radius_of_a_class_that_the_data_do_not_have_is_refused() -> None:
    recipe, hardening = adapted("default", class_costs=parse_costs(["mole=2"])), hardened(class_eps={"spot": Fraction(3)})
    check_classes(recipe, hardening, ["mole", "spot"])
    with pytest.raises(InvalidInputError, match="class cost mole=2: the classes are mel, nv"):
        check_classes(recipe, None, ["mel", "nv"])
    with pytest.raises(InvalidInputError, match="class eps spot=3/255: the classes are mole, nv"):
        check_classes(recipe, hardening, ["mole", "nv"])


@pytest.mark.parametrize("text", ["mel", "mel=", "mel=wide", "mel=-1/255"])
def test_a_radius_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"class eps '{text}': write it as CLASS=EPS, for example mel=3/255"):
        parse_class_eps([text])
