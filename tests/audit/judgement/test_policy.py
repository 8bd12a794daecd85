from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.policy import DEFAULT, DEFAULT_TEXT, Floor, Policy, check_names, read_policy
from skinaudit.audit.judgement.result import Verdict
from skinaudit.errors import InvalidInputError


def read(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return read_policy(path)


def test_the_printed_policy_is_the_default(tmp_path: Path) -> None:
    assert read(tmp_path, DEFAULT_TEXT) == DEFAULT == Policy()


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert read(tmp_path, "") == DEFAULT


def test_what_is_commented_out_in_the_default_is_a_policy_too(tmp_path: Path) -> None:
    """The examples behind `# `: each has to be read as it is promised."""
    text = re.sub(r"^# (?=[\[\"a-z_0-9.]+( =|\.|\])|\")", "", DEFAULT_TEXT, flags=re.M)
    policy = read(tmp_path, text)
    assert policy.run == f"sha256:{'0' * 64}"
    assert policy.margins == {"clean": 0.5, "pgd-dlr linf 4/255": 2.0}
    assert policy.class_margins == {"mel": 2.0}
    assert (policy.operating_specificity, policy.operating_prevalence, policy.operating_margin) == (0.9, 0.02, 5.0)
    assert policy.floors["pgd"] == Floor(accuracy=50.0)
    assert policy.floors["clean"] == Floor(65.0, 50.0, 60.0, 20.0)


def test_every_setting_is_read(tmp_path: Path) -> None:
    text = """
        confidence = 0.9
        minimal_images = 50
        control = "optional"
        agreement_only = "inconclusive"
        [margin]
        default = 2
        fgsm = 3.5
        [sensitivity_margin]
        default = 6
        benign = 30
        prove = "always"
        bcc = 9
        [malignant]
        margin = 4
        margin_of_many = 3
        many = 500
        [malignant_to_benign]
        percent = 7
        limit = 2
        [probe]
        margin = 4
        [baseline]
        margin = 1.5
        malignant_to_benign = 2
        [floor.pgd]
        worst_class_sensitivity = 5
    """
    assert read(tmp_path, text) == Policy(
        confidence=0.9, minimal_images=50, control="optional",
        margin=2.0, margins={"fgsm": 3.5}, class_margin=6.0, class_margins={"bcc": 9.0},
        benign_margin=30.0, prove="always", malignant_to_benign=2, malignant_margin=4.0,
        malignant_margin_many=3.0, many_malignant=500, turned_benign=7.0, agreement_only="inconclusive",
        probe_margin=4.0, baseline_margin=1.5, baseline_malignant_to_benign=2.0,
        floors={"pgd": Floor(worst_class_sensitivity=5.0)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("confidence = ", "not a readable policy .*; `skinaudit policy` prints one"),
        ("confidense = 0.9", "confidense is unknown, did you mean 'confidence'"),
        ("margin = 1.0", "margin should be an object, found 1.0"),
        ("[margin]\ndefault = 0", "margin = 0.0: give percentage points between 0 and 100"),
        ("[margin]\ndefault = nan", "margin.default should be a finite number, found nan"),
        ("[margin]\nclean = inf", "margin.clean should be a finite number, found inf"),
        ("[margin]\ndefault = true", "margin.default should be a finite number, found true"),
        ("[margin]\ndefault = '1'", "margin.default should be a finite number, found '1'"),
        (
            "[sensitivity_margin]\nprove = 'never'",
            "sensitivity_margin.prove should be one of where possible, always, found 'never'",
        ),
        ("[sensitivity_margin]\nmel = 'always'", "sensitivity_margin.mel should be a finite number, found 'always'"),
        ("control = 'never'", "control should be one of required, optional, found 'never'"),
        ("[malignant_to_benign]\nlimit = 1.5", "malignant_to_benign.limit should be an integer, found 1.5"),
        ("[malignant_to_benign]\nlimit = -1", "give 0 or more images"),
        ("[malignant_to_benign]\npercent = 0", "turned_benign = 0.0: give percentage points between 0 and 100"),
        ("[malignant]\nmany = 0", "many_malignant = 0: give at least 1"),
        ('agreement_only = "never"', "agreement_only should be one of pass, inconclusive"),
        ("[malignant_to_benign]\nmaximum = 1", "malignant_to_benign.maximum is unknown, expected only percent, limit"),
        ("[probe]\nmargin = 100", "probe_margin = 100"),
        ("[baseline]\nmargin = 0", "baseline_margin = 0.0: give percentage points"),
        ("[baseline]\nlimit = 1", "baseline.limit is unknown, expected only margin, malignant_to_benign"),
        ("[baseline]\nmalignant_to_benign = 100", "baseline_malignant_to_benign = 100.0: give percent of the malignant"),
        ("[baseline]\nmalignant_to_benign = -1", "give percent of the malignant images from 0 to below 100"),
        ("[baseline]\nmalignant_to_benign = nan", "baseline.malignant_to_benign should be a finite number, found nan"),
        ("[floor]\nclean = 50", "floor.clean should be an object, found 50"),
        ("[floor.clean]", "policy floor of clean: sets no bound; give one of accuracy, balanced_accuracy"),
        ("[malignant_to_benign]\nlimit = 4611686018427387904", "give 0 or more images, at most 1,000,000"),
        ("minimal_images = 4611686018427387904", "give at least 1 and at most 1,000,000"),
        ("[floor.clean]\nacuracy = 50", "did you mean 'accuracy'"),
        ("[floor.clean]\naccuracy = 0", "accuracy = 0.0: give percent, 0 to 100"),
        ("minimal_images = 0", "give at least 1"),
        ("confidence = 1.0", "give a number from 0.5 to below 1"),
    ],
)
def test_a_policy_that_is_wrong_or_switches_a_check_off_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        read(tmp_path, text)
    assert "policy.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"absent.toml: no such policy"):
        read_policy(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy(margins={"pgd linf 2/225": 1.0}), "no set 'pgd linf 2/225'; did you mean 'pgd linf 2/255'"),
        (Policy(floors={"clena": Floor(accuracy=1.0)}), "no set 'clena'; did you mean 'clean'"),
        (Policy(class_margins={"melanoma": 1.0}), "no class 'melanoma'"),
    ],
)
def test_a_bound_on_what_is_not_there_is_refused(policy: Policy, message: str) -> None:
    names = [("clean", "clean", "clean"), ("pgd", "pgd linf 2/255", "pgd")]
    with pytest.raises(InvalidInputError, match=message):
        check_names(policy, sets=names, classes=("mel", "nv"))
    check_names(Policy(margins={"pgd": 1.0}, class_margins={"mel": 1.0}), sets=names, classes=("mel", "nv"))


@pytest.mark.parametrize("bound", [{"margins": dict.fromkeys(("pgd", "pgd linf 2/255"), 1.0)},
                                   {"floors": dict.fromkeys(("pgd-2", "pgd"), Floor(accuracy=1.0))}])  # fmt: skip
def test_two_bounds_of_one_set_are_refused(bound: dict[str, Any]) -> None:
    sets = [("clean", "clean", "clean"), ("pgd-2", "pgd linf 2/255", "pgd"), ("pgd-4", "pgd linf 4/255", "pgd")]
    (table,) = bound.values()
    with pytest.raises(InvalidInputError) as caught:
        check_names(Policy(**bound), sets=sets, classes=("mel", "nv"))
    assert all(repr(name) in str(caught.value) for name in table)
    apart = {name: value for name, value in table.items() if name != "pgd"}
    check_names(replace(Policy(), margins={"clean": 1.0, "pgd-4": 2.0, "pgd-2": 1.0}), sets=sets, classes=())
    check_names(Policy(**dict.fromkeys(bound, apart)), sets=sets, classes=())


def test_an_audit_refuses_two_bounds_of_one_set(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> None:
    planted = lab.plant(tmp_path, settings={})
    with pytest.raises(
        InvalidInputError, match=r"'pgd' and 'pgd linf 24/255' are names of the same set, so it has two margins"
    ):
        audit_engine(planted.engine, policy=Policy(margins={"pgd": 1.0, "pgd linf 24/255": 2.0}))


def test_bounds_that_allow_everything_are_no_pass(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> None:
    planted = lab.plant(tmp_path, settings={})
    for policy in (Policy(margin=99.0), Policy(malignant_to_benign=300), Policy(class_margin=99.0)):
        result = audit_engine(planted.engine, policy=policy)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.findings[0].rule == "void-gate"


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"operating_margin": 5.0}, "name the specificity that it is for"),
        ({"operating_specificity": 90.0}, "operating_specificity = 90.0: give a number between 0 and 1"),
        ({"operating_prevalence": 0.0}, "operating_prevalence = 0.0"),
        ({"operating_specificity": 0.9, "operating_margin": 0.0}, "operating_margin = 0.0"),
    ],
)
def test_an_operating_point_is_complete(bounds: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Policy(**bounds)
