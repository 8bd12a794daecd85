"""A contract file round-trips, and each way to get it wrong is one line that says what to write."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.engine_contract import EngineContract, read_engine_contract, write_toml
from skinaudit.artifacts.printable import printable_value
from skinaudit.errors import InvalidInputError

CONTRACT = EngineContract(
    64, ("mel", "nv"), "NHWC", "uint8", "BGR", Fraction(1), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), input="x", batch=8
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
    assert read_engine_contract(path) == printable_value(contract)  # runs of blanks are shortened


def test_every_entry_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(write_toml(CONTRACT, notes={}))
    assert read_engine_contract(path) == CONTRACT


def test_entries_of_images_that_are_not_square_or_grey_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    contract = replace(
        CONTRACT, height=36, width=48, crop=0.5, crop_width=0.25, colour="grey", dtype="int32", answer="sigmoids"
    )
    path.write_text(write_toml(contract, notes={}))
    assert read_engine_contract(path) == contract
    assert contract.shape in ((1, 36, 48), (36, 48, 1))


def test_entries_of_one_column_and_of_a_mapping_are_kept(tmp_path: Path) -> None:
    path, mapping = tmp_path / "c.toml", {"mel": ("a", "b"), "nv": ("c",)}
    contract = replace(CONTRACT, positive="nv", threshold=0.2, mapping=mapping)
    path.write_text(write_toml(contract, notes={"positive": "which"}))
    assert read_engine_contract(path) == contract
    assert "# CHECK: which\npositive =" in path.read_text()


@pytest.mark.parametrize(
    ("positive", "message"),
    [
        (
            'positive = "bcc"',
            "output: positive = 'bcc': one output column needs two classes and one of them as positive; the classes are "
            "mel, nv",
        ),
        ('positive = "nv"\nthreshold = 1', "output: threshold 1: give a probability between 0 and 1"),
        ("threshold = 0.3", "output.threshold needs an output of one column"),
        ('[output.mapping]\nmel = ["a"]', "output.mapping has no entry for column nv"),
    ],
)
def test_one_column_has_two_classes_and_a_threshold(tmp_path: Path, positive: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"{write_toml(CONTRACT, notes={})}{positive}\n")
    with pytest.raises(InvalidInputError, match=message):
        read_engine_contract(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 64\n", "", "input.size is missing, expected an integer; `skinaudit contract ENGINE` drafts a whole"),
        ("size = 64", "size = 0", "input.size should be an integer from 1 to 16384, found 0"),
        ("batch = 8", "batch = 0", "input.batch should be an integer from 1 to 4096, found 0"),
        ("size = 64", "size = true", "input.size should be an integer, found true"),
        ('"NHWC"', '"HWC"', "input.layout should be one of NCHW, NHWC, found 'HWC'"),
        ('"uint8"', '"bool"', "input.dtype should be one of float32, .*, int32, found 'bool'"),
        ('"BGR"', '"CMYK"', "input.colour should be one of RGB, BGR, grey, found 'CMYK'"),
        ('"logits"', '"scores"', "output.answer should be one of logits, probabilities, sigmoids, found 'scores'"),
        ('scale = "1"', 'scale = "1/0"', "input.scale = '1/0': give a positive number or a rational"),
        ('scale = "1"', "scale = -2", "input.scale = -2: give a positive number"),
        ('scale = "1"', 'scale = "1e999999999"', "input.scale = '1e999999999': give a positive number"),
        ('scale = "1"', "scale = [1]", "input.scale should be an integer or a finite number or a text"),
        ("mean = [1.0, 2.0, 3.0]", "mean = 1", "input.mean should be an array of 3 items, found 1"),
        ("mean = [1.0, 2.0, 3.0]", "mean = [nan, 0, 0]", r"input.mean\[0\] should be a finite number, found nan"),
        (
            "std = [4.0, 5.0, 6.0]",
            "std = [0, 1, 1]",
            r"input.std\[0\] should be a finite number from 1e-06 to 1e\+06, found 0",
        ),
        ('["mel", "nv"]', '["mel", "mel"]', "output.classes = .*: give two or more different names"),
        ('["mel", "nv"]', '["mel"]', "give two or more different names, in the order"),
        ("[output]", "[outputs]", "outputs is unknown, did you mean 'output'"),
        ("size = 64", "size = 64\nsides = 3", "input.sides is unknown, did you mean 'size'"),
        ("[input]", "[extra]\n[input]", "extra is unknown, expected only input, output"),
        ("[input]", "[input", "not a readable contract"),
        ('name = "x"', "name = 3", "input.name should be a text, found 3"),
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
