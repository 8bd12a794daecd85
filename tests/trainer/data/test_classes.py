from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.run_sets import CLASSES_FROM
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.classes import in_order, plan_of_run, read_classes, regrouped
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.splits import lesion_split
from skinaudit.trainer.data.summary import summarise

Make = Callable[..., Dataset]
NAMES = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")


@pytest.fixture
def regroup(make_dataset: Make, tmp_path: Path) -> Callable[[str], Dataset]:
    """Seven images of as many classes, regrouped by the text of a file."""

    def run(text: str) -> Dataset:
        path = tmp_path / "classes.toml"
        path.write_text(text, encoding="utf-8")
        return regrouped(make_dataset(range(7), range(7)), read_classes(path))

    return run


def test_classes_are_merged_renamed_ordered_and_marked(regroup: Callable[[str], Dataset]) -> None:
    dataset = regroup('malignant = ["melanoma"]\n[classes]\nother = "*"\nmelanoma = "mel"\n')
    assert (dataset.classes, dataset.malignant) == (("other", "melanoma"), ("melanoma",))
    assert dataset.labels.tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert dataset.classes_from == {"other": ("nv", "bcc", "akiec", "bkl", "df", "vasc"), "melanoma": ("mel",)}


def test_malignant_classes_follow_those_of_the_data_where_none_is_named(regroup: Callable[[str], Dataset]) -> None:
    dataset = regroup('[classes]\nbenign = "*"\nkeratinocyte = ["bcc", "akiec"]\nmelanoma = "mel"\n')
    assert dataset.malignant == ("melanoma", "keratinocyte")


def test_what_is_left_out_has_no_image(regroup: Callable[[str], Dataset]) -> None:
    dataset = regroup('leave_out = ["df", "vasc"]\nmalignant = []\n[classes]\nill = ["mel", "bcc", "akiec"]\nwell = "*"\n')
    assert (len(dataset), dataset.malignant, dataset.ids[-1]) == (5, (), "image_4")
    assert dataset.labels.tolist() == [0, 1, 0, 0, 1]
    assert regroup('leave_out = ["*"]\n[classes]\na = "mel"\nb = "nv"\n').labels.tolist() == [0, 1]


def test_without_a_table_classes_stay_as_they_are(regroup: Callable[[str], Dataset]) -> None:
    dataset = regroup('malignant = ["bcc", "mel"]\nleave_out = ["df"]\n')
    assert (dataset.classes, dataset.malignant) == (("mel", "nv", "bcc", "akiec", "bkl", "vasc"), ("bcc", "mel"))
    assert dataset.labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_other_images_get_the_classes_that_a_run_noted_of_its_own(make_dataset: Make, tiny_run: Path) -> None:
    classes_from: dict[str, list[str]] = {"rest": ["nv", "bcc", "akiec", "bkl", "df"], "melanoma": ["mel"]}
    manifest = read_run(tiny_run)
    assert plan_of_run(tiny_run, manifest) is None
    contract = InputContract(32, classes=tuple(classes_from), malignant=("melanoma",))
    noted = replace(manifest, contract=contract, data={**manifest.data, CLASSES_FROM: classes_from})
    plan = plan_of_run(tiny_run, noted)
    assert plan is not None
    dataset = replace(make_dataset(range(3), range(3)), classes=("mel", "nv", "df"), malignant=("mel",))
    assert regrouped(dataset, plan).classes == ("rest", "melanoma")
    assert regrouped(dataset, plan).labels.tolist() == [1, 0, 0]
    with pytest.raises(InvalidInputError, match=r"was trained on data without vasc; say with --classes FILE.toml what"):
        regrouped(make_dataset(range(7), range(7)), plan)


def test_images_of_coarser_classes_are_told_every_way_out(make_dataset: Make) -> None:
    with pytest.raises(
        InvalidInputError, match=r'leave_out = \["df", "vasc"\]; .*covers several classes of the run.*output.mapping'
    ):
        in_order(make_dataset(range(7), range(7)), NAMES[:5], where="other")


def test_classes_that_the_run_has_by_name_need_no_entry(make_dataset: Make, tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text('leave_out = ["vasc"]\n[classes]\nbkl = "df"\n')
    dataset, plan = make_dataset(range(7), range(7)), read_classes(path)
    ordered = in_order(regrouped(dataset, plan, wanted=NAMES[:5]), NAMES[:5], where="other")
    assert [NAMES[label] for label in ordered.labels] == ["mel", "nv", "bcc", "akiec", "bkl", "bkl"]
    with pytest.raises(InvalidInputError, match="has no entry for akiec, bkl; put"):
        regrouped(dataset, plan, wanted=("mel", "nv", "bcc"))


def test_equal_plans_give_equal_digests_and_others_do_not(regroup: Callable[[str], Dataset]) -> None:
    text = 'malignant = ["a"]\n[classes]\na = "mel"\nb = "*"\n'
    assert regroup(text).digest == regroup(text).digest != regroup(text.replace('"mel"', '"nv"')).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[classes]\na = "mel"\nb = ["nv", "mel"]\n', "names mel twice"),
        ('[classes]\na = "mel"\nb = "*"\nc = "*"\n', "names * twice"),
        ('[classes]\na = "mel"\nb = ["nv", "bcc"]\n', "has no entry for akiec, bkl, df, vasc; put them into a class"),
        ('[classes]\na = "melanoma"\nb = "*"\n', "names melanoma; the classes of the data are mel, nv, bcc"),
        ('malignant = ["mel"]\n[classes]\na = "mel"\nb = "*"\n', "malignant names mel; the classes are a, b"),
        ('[classes]\na = "mel"\nb = "*"\n', "b mixes malignant bcc, akiec with other classes"),
        ("[classes]\na = []\n", "class 'a' is made of no class"),
        ('[class]\na = "mel"\n', "did you mean 'classes'?"),
        ("[classes]\na = 3\n", "classes.a should be"),
        ("", "is empty; give a table [classes]"),
        ('malignant = ["melanoma"]', "names melanoma; the classes of the data are mel"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(regroup: Callable[[str], Dataset], text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        regroup(text)
    assert message in str(caught.value)
    assert "classes.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_splits_and_summaries_know_no_names_of_classes(make_dataset: Make) -> None:
    labels, groups = np.repeat(np.arange(7), 30), np.arange(210)
    original = make_dataset(labels, groups)
    # other names, other flags: as if diagnosis 3 were the malignant one
    renamed = make_dataset(labels, groups, classes=tuple("gfedcba"), malignant=("d",))
    same_flags = make_dataset(labels, groups, classes=tuple("gfedcba"), malignant=("g", "e", "d"))
    first, second = lesion_split(original, seed=3), lesion_split(same_flags, seed=3)
    assert first.test.tolist() == second.test.tolist()
    assert list(summarise(renamed, second).counts) == list("gfedcba")
    assert not any("--classes" in note for note in summarise(renamed, second).notes)
    unmarked = make_dataset(labels, groups, malignant=())
    assert any("no class is marked as malignant" in note for note in summarise(unmarked, first).notes)
