"""The usual preprocessings and orders of classes, tried on an engine whose contract is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.contract import CLASSES
from skinaudit.artifacts.engine_contract import EngineContract, read_engine_contract, write_toml
from skinaudit.audit.checks.plausibility import changed_entries
from skinaudit.audit.contract_search import Search, _middle_squares, search_contract, search_lines
from skinaudit.audit.evidence.regrouping import regrouped
from skinaudit.audit.figures.column_order import assign, fit_order
from skinaudit.engines.session import Port, SessionDescription
from skinaudit.errors import InvalidInputError

SIZE = 6
COLOURS, CONTRAST = np.array([0.62, 0.47, 0.30], np.float32), np.float32(0.24)
PLAIN = EngineContract(SIZE, CLASSES, input="pixels", output="answer")


class FedSession:
    """A linear model that wants pixels as `wanted` says, answers in its order of classes, and names one class where colours
    or contrast are others than it knows."""

    labels: tuple[str, ...] | None = None

    def __init__(self, weights: NDArray[np.float32], correct: EngineContract) -> None:
        self.weights, self.wanted = weights, correct
        sides = correct.shape
        self.inputs: Sequence[Port] = (Port("pixels", (None, *sides), "float32"),)
        self.outputs: Sequence[Port] = (Port("answer", (None, len(CLASSES)), "float32"),)
        self.description = SessionDescription("test", "1", "CPU", "CPU", 1, {"fp32": 1})

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        correct = self.wanted
        planes = tensor.transpose(0, 3, 1, 2) if correct.layout == "NHWC" else tensor
        sides = (3, 1, 1)
        std, mean = (np.array(values, np.float32).reshape(sides) for values in (correct.std, correct.mean))
        pixels = (planes * std + mean) / np.float32(float(correct.scale) * 255)
        pixels = np.clip(pixels, -1, 2)[:, ::-1] if correct.colour == "BGR" else np.clip(pixels, -1, 2)
        logits = (pixels - np.float32(0.5)).reshape(len(planes), -1) @ self.weights
        strange = np.abs(pixels.mean(axis=(2, 3)) - COLOURS).max(axis=1) + np.abs(pixels.std(axis=(1, 2, 3)) - CONTRAST)
        logits[strange > 0.25] = np.arange(len(CLASSES))
        return np.asarray(logits[:, [CLASSES.index(name) for name in correct.classes]], np.float32)


class WeakSession(FedSession):
    """The same with a random part in each answer, always the same one for the same number of images."""

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        logits = super().run(tensor, input=input, output=output)
        random_part = np.random.default_rng(len(logits)).normal(0, 2 * logits.std(), logits.shape)
        return np.asarray(logits + random_part, np.float32)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    import linear_run

    folder = tmp_path_factory.mktemp("sets")
    weights = linear_run.templates(0)
    generator = np.random.default_rng(3)
    pixels, labels = linear_run.pictures(420, seed=3)
    cast = (COLOURS.reshape(1, 3, 1, 1) - 0.5) * 255 + generator.uniform(-5, 5, (420, 3, 1, 1))
    pixels = np.clip(pixels + cast, 0, 255).astype(np.uint8)
    linear_run.write_sets(folder, pixels, labels, seed=0, source="sha256:0")
    return SimpleNamespace(set=open_set(folder / "clean.safetensors"), weights=weights)


def searched(clean: SimpleNamespace, correct: EngineContract, start: EngineContract) -> Search:
    base = replace(start, layout=correct.layout)
    opened: AdversarialSet = clean.set
    return search_contract(FedSession(clean.weights, correct), opened, base, where="engine", given=True)


ALPHABETICAL = tuple(sorted(CLASSES))
EXCHANGED = (CLASSES[2], CLASSES[0], CLASSES[1], *CLASSES[3:])
PM1 = replace(PLAIN, scale=Fraction(2, 255), mean=(1.0, 1.0, 1.0))
WANTED = {
    "0 to 1": PLAIN,
    "-1 to 1": PM1,
    "0 to 255 NHWC": replace(PLAIN, scale=Fraction(1), layout="NHWC"),
    "0 to 1 BGR": replace(PLAIN, colour="BGR"),
    "alphabetical": replace(PM1, classes=ALPHABETICAL),
    "no usual order": replace(PLAIN, classes=EXCHANGED),
}


@pytest.mark.parametrize("name", WANTED)
def test_the_right_contract_is_found_from_a_wrong_one(clean: SimpleNamespace, name: str) -> None:
    correct = WANTED[name]
    start = PM1 if correct == PLAIN else PLAIN
    search = searched(clean, correct, start)
    assert search.chosen is not None, search.reason
    contract = search.chosen.contract
    assert (contract.classes, contract.colour, contract.normalise) == (correct.classes, correct.colour, correct.normalise)
    assert float(contract.scale) == float(correct.scale)
    assert contract.mean == correct.mean
    assert search.beats(replace(start, layout=correct.layout)) or changed_entries(start, contract) == []
    assert not search.beats(contract)
    assert any(contract.classes[0] in line or search.reason in line for line in search_lines(search))


def test_a_thorough_search_goes_on_with_more_images(clean: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in {"_SECOND": 5, "_TOGETHER": 5}.items():
        monkeypatch.setattr(f"skinaudit.audit.contract_search.{name}", number)
    correct = WANTED["no usual order"]
    session, about = WeakSession(clean.weights, correct), {"where": "engine", "given": True}
    hasty = search_contract(session, clean.set, PM1, **about)
    assert hasty.chosen is None
    search = search_contract(session, clean.set, PM1, thorough=True, **about)
    assert search.images > hasty.images
    assert search.chosen is not None, search.reason
    assert search.chosen.contract.classes == correct.classes


def test_the_order_that_a_file_names_itself_is_kept(clean: SimpleNamespace) -> None:
    """Engines refuse a contract with another order, so the search must not write one, whatever fits better."""
    session = FedSession(clean.weights, replace(PLAIN, classes=EXCHANGED))
    session.labels = ALPHABETICAL
    search = search_contract(session, clean.set, PLAIN, where="engine", given=True)
    assert {reading.contract.classes for reading in search.ranked} == {ALPHABETICAL}


def test_what_the_audit_advises_makes_it_right(clean: SimpleNamespace) -> None:
    """The entries that it names, put into the contract, give the contract that the search found."""
    search = searched(clean, WANTED["no usual order"], PLAIN)
    assert search.chosen is not None
    assert changed_entries(PLAIN, search.chosen.contract) == [
        "classes = [" + ", ".join(f'"{name}"' for name in EXCHANGED) + "]"
    ]


def test_an_engine_that_guesses_has_no_contract(clean: SimpleNamespace) -> None:
    noise = np.random.default_rng(5).normal(size=clean.weights.shape).astype(np.float32)
    search = searched(SimpleNamespace(set=clean.set, weights=noise), PLAIN, PLAIN)
    assert search.chosen is None
    assert not search.beats(PLAIN)


def test_a_contract_with_standardised_images_and_a_crop_is_written_and_read(tmp_path: Path) -> None:
    contract = replace(PLAIN, scale=Fraction(1), normalise="per image", crop=0.875)
    path = tmp_path / "contract.toml"
    path.write_text(write_toml(contract, notes={}))
    assert read_engine_contract(path) == contract


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_an_assignment_is_the_best_of_all(count: int) -> None:
    from itertools import permutations

    values = np.random.default_rng(count).normal(size=(count, count))

    def total(order: Sequence[int]) -> float:
        return float(sum(values[row, column] for row, column in enumerate(order)))

    assert total(assign(values)) == pytest.approx(max(map(total, permutations(range(count)))))


@pytest.mark.parametrize(("strength", "certain"), [(3.0, True), (0.0, False)])
def test_columns_that_cannot_be_told_apart_are_named(strength: float, certain: bool) -> None:
    """Two classes without any signal of their own; all others are clear, in no usual order."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 30)
    logits = generator.normal(size=(120, 4)).astype(np.float32)
    columns = np.array([1, 0, 3, 2])
    leads = np.array([3.0, 3.0, strength, strength])
    logits[np.arange(120), columns[labels]] += leads[labels]
    order = fit_order(logits, labels, {"that of the sets": (0, 1, 2, 3)})
    assert order.name == ""
    assert order.order[:2] == (1, 0)
    assert order.unsure == (() if certain else ((2, 3),))


def test_pixels_are_found_where_columns_are_mapped_to_other_classes(clean: SimpleNamespace) -> None:
    """One column is not used, and two stand for one class together; the mapping stays as it is."""
    mapping = {name: (name,) for name in CLASSES} | {"nv": (), "bkl": ("bkl", "nv", "df"), "df": ("df", "bkl", "nv")}
    mapped = replace(PM1, mapping=mapping)
    grouped = regrouped(clean.set, mapped.tasks, where="contract")
    search = search_contract(FedSession(clean.weights, PLAIN), grouped, mapped, where="engine", given=True)
    assert search.chosen is not None, search.reason
    assert (float(search.chosen.contract.scale), search.chosen.contract.mean) == (1 / 255, (0.0, 0.0, 0.0))
    assert (search.chosen.contract.classes, search.chosen.contract.mapping) == (mapped.classes, mapping)
    assert search.beats(mapped)


def test_the_middle_square_is_tried_with_the_shape_of_the_frames() -> None:
    assert _middle_squares(4 / 3) == (("middle square", 1, 0.75), ("middle square, centre crop", 0.875, 0.6562))
    assert _middle_squares(0.75)[0] == ("middle square", 0.75, 1)
    assert _middle_squares(1.0) == ()


def test_other_classes_than_columns_are_refused_with_what_to_do(clean: SimpleNamespace) -> None:
    with pytest.raises(InvalidInputError, match=r"has 6 classes, but .* has 7: .*--classes.*\[output.mapping\].*--contract"):
        searched(clean, PLAIN, replace(PLAIN, classes=CLASSES[:6]))


def test_a_centre_crop_that_fits_as_well_is_said_and_marked(tmp_path: Path) -> None:
    """Images of one colour each look the same whatever part of them an engine takes."""
    import linear_run

    across = np.linalg.svd((COLOURS - 0.5)[None])[2][1:]  # two directions of colour, both across from the usual one
    turns = 2 * np.pi * np.arange(len(CLASSES)) / len(CLASSES)
    shades = np.stack([np.cos(turns), np.sin(turns)], axis=1) @ across
    labels = np.arange(420) % len(CLASSES)
    colours = COLOURS + 0.1 * shades[labels] + np.random.default_rng(0).normal(0, 0.01, (420, 3))
    pixels = np.broadcast_to((255 * colours)[:, :, None, None], (420, 3, SIZE, SIZE)).astype(np.uint8)
    linear_run.write_sets(tmp_path, pixels, labels, seed=0, source="sha256:0")
    weights = np.repeat(shades, SIZE**2, axis=1).T.astype(np.float32)
    engine = SimpleNamespace(set=open_set(tmp_path / "clean.safetensors"), weights=weights)
    search = searched(engine, PLAIN, PM1)
    assert search.chosen is not None, search.reason
    assert search.chosen.contract.crop == 1
    assert search.reason.endswith("these images cannot distinguish the whole frame (written here) from its centre crop")
    lines = write_toml(search.chosen.contract, notes=search.doubts).splitlines()
    assert lines[lines.index("crop = 1   # of the side, from the middle") - 1].startswith(
        "# CHECK: these images fit crop = 0.875 or 1 with crop_width = 0.75 or"
    )
