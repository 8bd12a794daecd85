"""Values of type hints: everything that fits is built, everything else is named by its path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.artifacts.typed_json import Known, Range, build
from skinaudit.errors import InvalidInputError


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    eps: Fraction
    file: Path

    def __post_init__(self) -> None:
        if self.eps < 0:
            raise InvalidInputError(f"eps {self.eps}: must not be negative")


@dataclass(frozen=True)
class Outer:
    pair: tuple[int, str]
    many: tuple[Inner, ...]
    colours: Mapping[str, Colour]
    either: int | str | None
    word: Literal["a", "b"]
    share: Annotated[float, Range(0, 1)]
    count: Annotated[int, Range(0)]
    free: Annotated[Mapping[str, Any], Known({"size": int, "name": str}, required=("size",))]
    shut: Annotated[Mapping[str, Any], Known({"margin": float}, others=False)]
    threat: ThreatModel | None
    maybe: Inner | None = None


GOOD: dict[str, Any] = {
    "pair": [1, "x"], "many": [{"eps": "1/2", "file": "a/b"}], "colours": {"sky": "blue"}, "either": "x", "word": "b",
    "share": 1, "count": 0, "free": {"size": 3, "more": [1, None]}, "shut": {}, "threat": {"norm": "linf", "eps": "8/255"},
    "maybe": None,
}  # fmt: skip


def test_everything_that_fits_is_built() -> None:
    assert build(Outer, GOOD, where="f", again="") == Outer(
        (1, "x"), (Inner(Fraction(1, 2), Path("a/b")),), {"sky": Colour.BLUE}, "x", "b", 1, 0,
        {"size": 3, "more": [1, None]}, {}, ThreatModel("linf", Fraction(8)), None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pair": [1]}, "pair should be an array of 2 items, found 1 items"),
        ({"pair": [True, "x"]}, r"pair[0] should be an integer, found true"),
        ({"pair": [1.0, "x"]}, r"pair[0] should be an integer, found 1.0"),
        ({"pair": "1x"}, "pair should be an array of 2 items, found '1x'"),
        ({"many": {}}, "many should be an array, found an object of 0 entries"),
        ({"many": [{"eps": "1/2"}]}, "many[0].file is missing, expected a path"),
        ({"many": [{"eps": "2/4", "file": ""}]}, "many[0].eps should be a fraction such as 1/2, found '2/4'"),
        ({"many": [{"eps": "1/0", "file": ""}]}, "many[0].eps should be a fraction"),
        ({"many": [{"eps": "1e999999999", "file": ""}]}, "many[0].eps should be a fraction"),
        ({"many": [{"eps": "-1", "file": ""}]}, "many[0]: eps -1: must not be negative"),
        ({"many": [{"eps": 1, "file": ""}]}, "many[0].eps should be a fraction such as 1/2, found 1"),
        ({"colours": {"the sky": "green"}}, "colours['the sky'] should be one of red, blue, found 'green'"),
        ({"colours": []}, "colours should be an object, found an array of 0 items"),
        ({"either": 1.5}, "either should be an integer or a text or null, found 1.5"),
        ({"word": "c"}, "word should be one of a, b, found 'c'"),
        ({"word": ["a"]}, "word should be one of a, b, found an array of 1 item"),
        ({"share": 1.01}, "share should be a finite number from 0 to 1, found 1.01"),
        ({"share": False}, "share should be a finite number, found false"),
        ({"count": -1}, "count should be an integer of at least 0, found -1"),
        ({"free": {}}, "free.size is missing, expected an integer"),
        ({"free": {"size": "3"}}, "free.size should be an integer, found '3'"),
        ({"free": {"size": 3, "name": None}}, "free.name should be a text, found null"),
        ({"shut": {"margim": 1}}, "shut.margim is unknown, did you mean 'margin'?"),
        ({"shut": {"x": 1}}, "shut.x is unknown, expected only margin"),
        ({"threat": {"norm": "l7", "eps": "8/255"}}, "threat.norm should be one of linf, l2, found 'l7'"),
        ({"threat": {"norm": "l2", "eps": "8/256"}}, "threat: eps '8/256': write it as a fraction of 255"),
        ({"threat": 8}, "threat should be an object, found 8"),
        ({"maybe": 3}, "maybe should be an object, found 3"),
        ({"paar": 1}, "paar is unknown, did you mean 'pair'?"),
        ({"x": 1}, "x is unknown, expected only pair, many, colours"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build(Outer, {**GOOD, **change}, where="f.json", again="write it again")
    assert str(caught.value).startswith(f"f.json: {message}")
    assert str(caught.value).endswith("; write it again")


@pytest.mark.parametrize("name", GOOD)
def test_a_field_with_a_default_is_needed_like_any_other(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"f: {name} is missing, expected "):
        build(Outer, {key: value for key, value in GOOD.items() if key != name}, where="f", again="")


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_kept_as_it_is_written(value: float) -> None:
    built = build(float, value, where="f", again="")
    assert (built, type(built)) == (value, type(value))


def test_a_type_without_a_rule_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="add one here"):
        build(set, [], where="f", again="")


def test_a_long_path_does_not_make_a_long_line() -> None:
    with pytest.raises(InvalidInputError) as caught:
        build(Mapping[str, Mapping[str, int]], {"x y" * 200: {"z" * 300: "w" * 5000}}, where="f", again="")
    assert len(str(caught.value)) < 400
