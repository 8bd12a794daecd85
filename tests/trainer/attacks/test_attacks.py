"""Attacks are found by their files."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

from skinaudit.errors import InvalidInputError
from skinaudit.trainer import attacks


def test_the_attacks_are_the_files_of_the_folder() -> None:
    files = {path.stem.replace("_", "-") for path in Path(attacks.__file__).parent.glob("*.py")} - {"--init--"}
    assert set(attacks.names()) == files >= {"fgsm", "pgd"}


@pytest.mark.parametrize("name", attacks.names())
def test_settings_are_the_keywords_of_the_function_with_its_defaults(name: str) -> None:
    function, settings = attacks.load(name)
    parameters = inspect.signature(function).parameters.values()
    keywords = {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    keywords.pop("ascended", None)  # for training alone: a function, which no command line can name
    assert set(keywords) == {*settings, "threat_model", "generator", "trace"}
    assert all(keywords[key] == value for key, value in settings.items())


def test_given_settings_replace_defaults_and_leave_them_for_the_next() -> None:
    assert attacks.load("pgd", {"steps": 7})[1]["steps"] == 7
    assert attacks.load("pgd")[1]["steps"] == 40


def test_an_unknown_attack_or_setting_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidInputError, match=f"attack 'squares': choose one of {', '.join(attacks.names())}"):
        attacks.load("squares")
    with pytest.raises(InvalidInputError, match="attack fgsm: no setting restarts, steps; it has targeted"):
        attacks.load("fgsm", {"steps": 3, "restarts": 2})


def test_a_new_file_is_a_new_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = attacks.names()
    (tmp_path / "nothing.py").write_text(
        "SETTINGS = {}\n\n\ndef attack(model, images, labels, *, threat_model, generator, trace=None):\n    return images\n"
    )
    monkeypatch.setattr(attacks, "__path__", [*attacks.__path__, str(tmp_path)])
    assert attacks.names() == tuple(sorted((*before, "nothing")))
    function, settings = attacks.load("nothing")
    monkeypatch.delitem(sys.modules, "skinaudit.trainer.attacks.nothing")
    assert settings == {}
    assert function(None, "images", None, threat_model=None, generator=None) == "images"  # type: ignore[arg-type, comparison-overlap]
