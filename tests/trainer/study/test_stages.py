"""The stages of a study: their order, and which parts can be asked for alone."""

from __future__ import annotations

import pytest

from skinaudit.artifacts.study_folder import StudyModel, parse_model
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.study.settings import SCALES, changed
from skinaudit.trainer.study.stages import stages


@pytest.mark.parametrize("scale", SCALES)
def test_what_a_stage_needs_is_trained_before_it(scale: str) -> None:
    trained: set[StudyModel] = set()
    names = []
    for stage in stages(changed(SCALES[scale], seeds=2)):
        assert set(stage.needs) <= trained
        names.append(stage.name)
        if stage.kind == "train":
            trained.add(stage.model)
        assert parse_model(stage.model.name) == stage.model
    assert len(set(names)) == len(names)
    assert {model.seed for model in trained} == {0, 1}


def test_every_hardened_model_is_shown_the_standard_one_s_sets_and_standard_models_each_other_s() -> None:
    answers = {(stage.model.name, str(stage.crafted_on and stage.crafted_on.name))
               for stage in stages(SCALES["full"], ["recipe-paper", "split-lesion", "answer"])}  # fmt: skip
    standard = {arch: f"{arch}-paper-standard-lesion-seed0" for arch in ("mobilenet", "vgg16")}
    assert answers == {
        ("mobilenet-paper-hardened-lesion-seed0", standard["mobilenet"]),
        ("vgg16-paper-hardened-lesion-seed0", standard["vgg16"]),
        (standard["mobilenet"], standard["vgg16"]),
        (standard["vgg16"], standard["mobilenet"]),
    }


def test_parts_of_one_sort_are_alternatives_and_sorts_go_together() -> None:
    settings = SCALES["full"]
    chosen = stages(settings, ["mobilenet", "split-paper", "train", "autoattack"])
    assert {(stage.model.arch, stage.model.split) for stage in chosen} == {("mobilenet", "paper")}
    assert {stage.kind for stage in chosen} == {"train", "autoattack"}
    assert {stage.model.recipe for stage in chosen} == {"paper", "default"}
    with pytest.raises(InvalidInputError, match="--only 'vgg19': choose one of mobilenet, vgg16, recipe-paper"):
        stages(settings, ["vgg19"])


def test_the_first_seed_of_the_paper_s_own_question_comes_first() -> None:
    first = stages(changed(SCALES["full"], seeds=2))[0].model
    assert first == StudyModel("mobilenet", "paper", False, "lesion", 0)
