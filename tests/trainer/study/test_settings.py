"""The settings of a study: printed and read again, changed, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.study.settings import SCALES, changed, read_settings, to_toml


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_printed_reads_back(tmp_path: Path, scale: str) -> None:
    weights = {"mobilenet": 'a "b"\\c/ä.pth'}
    settings = changed(SCALES[scale], weights=weights, seeds=3, epochs=7, batch=9, eps="3/255", precision="bf16")
    path = tmp_path / "study.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    assert read_settings(path) == settings
    assert settings.architecture("mobilenet").weights == weights["mobilenet"]
    assert {
        (model.fit(recipe).epochs, model.fit(recipe).batch)
        for model in settings.architectures
        for recipe in ("paper", "default")
    } == {(7, 9)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("size = 32", "size = 16", "size should be"),
        ("seeds = 1", "seeds = 0", "seeds should be"),
        ("seeds = 1", "seeds = 1000000000", "seeds 1000000000: a study has at most 1,000"),
        ('name = "mobilenet"', 'name = "whim"', "arch 'whim': choose one of"),
        ('splits = ["lesion", "paper"]', 'splits = ["lesion", "lesion"]', "splits: name at least one, and each once"),
        ("eps = \"8/255\"", 'eps = "1/510"', "eps"),
        ("images = 300", "images = 300\nwidth = 3", "width"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = to_toml(SCALES["tiny"])
    assert before in text
    path = tmp_path / "study.toml"
    path.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message):
        read_settings(path)


def test_weights_are_for_an_architecture_of_the_study() -> None:
    with pytest.raises(InvalidInputError, match=r"weights vgg16=a.pth: the study has mobilenet"):
        changed(SCALES["tiny"], weights={"vgg16": "a.pth"})
