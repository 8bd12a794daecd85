"""A contract file round-trips, and each way to get it wrong is one line that says what to write."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.engine_contract import EngineContract, read_engine_contract, write_toml
from skinaudit.errors import InvalidInputError

CONTRACT = EngineContract(
    64, ("mel", "nv"), "NHWC", "uint8", "BGR", Fraction(1), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), input="x"
)

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(
    size=st.integers(1, 4096),
    classes=st.lists(st.text(st.characters(exclude_categories=("C",)), min_size=1), min_size=2, max_size=9, unique=True),
    scale=st.fractions(min_value=Fraction(1, 1000), max_value=1000, max_denominator=1000),
    mean=st.tuples(numbers, numbers, numbers),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, size: int, classes: list[str], scale: Fraction, mean: tuple[float, ...]
) -> None:
    contract = EngineContract(size, tuple(classes), scale=scale, mean=mean)
    path = tmp_path_factory.mktemp("contracts") / "c.toml"
    path.write_text(write_toml(contract, notes={"size": "look", "classes": "twice"}), encoding="utf-8")
    assert read_engine_contract(path) == contract


def test_every_entry_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(write_toml(CONTRACT, notes={}))
    assert read_engine_contract(path) == CONTRACT


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 64\n", "", "size is missing; a contract leaves nothing to guess"),
        ("size = 64", "size = 0", "size = 0: give the side"),
        ("size = 64", "size = true", "size = True: give the side"),
        ('"NHWC"', '"HWC"', "layout = 'HWC': choose NCHW or NHWC"),
        ('"uint8"', '"int32"', "dtype = 'int32': choose float32, float16, uint8 or int8"),
        ('"BGR"', '"CMYK"', "colour = 'CMYK'"),
        ('"logits"', '"scores"', "answer = 'scores': choose logits or probabilities"),
        ('scale = "1"', 'scale = "1/0"', "scale = '1/0': give a number or a rational"),
        ('scale = "1"', "scale = -2", "scale = -2: must be positive"),
        ("mean = [1.0, 2.0, 3.0]", "mean = 1", "mean = 1: give three numbers"),
        ("mean = [1.0, 2.0, 3.0]", "mean = [nan, 0, 0]", "mean = .*: give three numbers"),
        ("std = [4.0, 5.0, 6.0]", "std = [0, 1, 1]", "give three positive numbers"),
        ('["mel", "nv"]', '["mel", "mel"]', "classes names one twice"),
        ('["mel", "nv"]', '["mel"]', "give the names in the order"),
        ("[output]", "[outputs]", r"has no \[output\] table"),
        ("size = 64", "size = 64\nsides = 3", r"\[input\] has no entry sides; it may hold"),
        ("[input]", "[extra]\n[input]", r"unknown table \[extra\]"),
        ("[input]", "[input", "not a readable TOML file"),
        ('name = "x"', "name = 3", "name = 3: give the tensor's name"),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = write_toml(CONTRACT, notes={})
    assert old in text
    path = tmp_path / "c.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidInputError, match=message) as error:
        read_engine_contract(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_missing_file_names_the_command_that_drafts_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="`skinaudit contract ENGINE` writes a first draft"):
        read_engine_contract(tmp_path / "absent.toml")
