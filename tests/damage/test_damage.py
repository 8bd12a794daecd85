"""Every field of every kind of file damaged in turn, through the command line: never a crash, never a PASS."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("onnxruntime", reason="the engines of these tests run on onnxruntime")

from skinaudit.artifacts.engine_contract import read_engine_contract
from skinaudit.artifacts.manifest import read_engine_manifest, read_run
from skinaudit.artifacts.training_log import read_log
from skinaudit.audit.judgement.policy import read_policy
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.errors import InvalidInputError
from skinaudit.tests.damage.damages import at, changed, damaged, to_json
from skinaudit.tests.damage.kinds import KINDS, Kind, Outcome, Trial, attempt, named, run, trials
from skinaudit.tests.damage.workplace import build_workplace

MOST = 70  # damages of one kind that are tried here, evenly spread; bench/damage.py tries all
VERDICTS = (0, 1, 3)
READERS: dict[str, Callable[[Path], object]] = {
    "run/run.json": lambda folder: read_run(folder / "run"),
    "run/engines/subject.onnx.json": lambda folder: read_engine_manifest(folder / "run" / "engines" / "subject.onnx"),
    "policy.toml": lambda folder: read_policy(folder / "policy.toml"),
    "contract.toml": lambda folder: read_engine_contract(folder / "contract.toml"),
    "earlier.json": lambda folder: read_audit(folder / "earlier.json"),
    "format-1.json": lambda folder: read_audit(folder / "format-1.json"),
    "bare/log.jsonl": lambda folder: read_log(folder / "bare" / "log.jsonl"),
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_workplace(tmp_path_factory.mktemp("damage"))


def problems(kind: Kind, words: str, outcome: Outcome) -> list[str]:
    """What no damage may do and this one did."""
    if outcome.code is None:
        problem = f"a crash: {outcome.message}"
    elif outcome.code == 0 and not kind.is_free(words):
        problem = "passes"
    elif outcome.code == 2 and not Trial(kind, (), "", outcome).refused:
        problem = f"not one line: {outcome.message}"
    elif outcome.code not in (*VERDICTS, 2) or "Traceback" in outcome.message:
        problem = f"exit code {outcome.code}: {outcome.message}"
    else:
        return []
    return [f"{kind.name}: {words}: {problem[:300]}"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_whole_files_end_as_they_should(kind: Kind, workplace: Path) -> None:
    """Else nothing below would mean anything."""
    outcome = run(workplace, kind.command)
    assert outcome.code == kind.code, outcome.message
    assert attempt(kind, workplace, kind.value(workplace)).code == kind.code


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_damage_of_a_field_crashes_or_passes(kind: Kind, workplace: Path) -> None:
    value = kind.value(workplace)
    whats = [named(place, damage) for place in kind.places(value) for damage, _ in damaged(value, place)]
    telling = [words for words in whats if not (kind.passing and kind.is_free(words))]
    most = MOST if kind.only == ("",) else MOST // 4
    chosen = set(telling[:: -(-len(telling) // most)])
    all_problems: list[str] = []
    count = 0
    for trial in trials(kind, workplace, wanted=lambda _, words: words in chosen):
        all_problems += problems(kind, trial.what, trial.outcome)
        count += 1
    assert all_problems == []
    assert count > most // 2


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("run manifest", "model.arch (removed)"),
        ("report of an earlier engine", "sets (emptied)"),
        ("report of an earlier engine", "sets.0.comparison.images (large)"),
        ("report of an earlier engine", "probes.0.drop.design_effect (negative)"),
    ],
)
def test_what_once_ended_in_an_exception_is_refused(file: str, damage: str, workplace: Path) -> None:
    """Values of the right type that nothing can be computed from."""
    (kind,) = (kind for kind in KINDS if kind.name == file)
    (trial,) = trials(kind, workplace, wanted=lambda _, words: words == damage)
    assert trial.refused, trial.outcome


@settings(max_examples=30)
@given(data=st.data())
def test_no_other_value_crashes_or_passes(workplace: Path, data: st.DataObject) -> None:
    """Any JSON value in any place; where only what the command does not rely on changed, it may pass."""
    kind = data.draw(st.sampled_from([kind for kind in KINDS if kind.passing]))
    value = kind.value(workplace)
    place = data.draw(st.sampled_from(list(kind.places(value))))
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    new = data.draw(
        st.recursive(leaf, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=4)
    )
    broken = changed(value, place, lambda inner: inner.__setitem__(place[-1], new))
    assume(broken != value)
    outcome = attempt(kind, workplace, broken)
    assert problems(kind, named(place, as_a_damage(at(value, place), new)), outcome) == []


def as_a_damage(old: Any, new: Any) -> str:
    """What of `damaged` a drawn value comes to: an emptied table and another number leave a valid policy."""
    if new in ({}, []) and type(new) is type(old):
        return "emptied"
    numbers = (int, float)
    return "a little more" if type(old) in numbers and type(new) in numbers else "another text"


@pytest.mark.parametrize("file", READERS)
def test_a_file_cut_at_any_byte_is_refused(file: str, workplace: Path, tmp_path: Path) -> None:
    """Two files are still whole then: a policy that ends between two entries, and a log that ends behind an epoch."""
    shutil.copytree(workplace, tmp_path / "w", ignore=shutil.ignore_patterns("sets"))
    path = tmp_path / "w" / file
    whole = path.read_bytes()
    end = len(whole.rstrip())
    for length in sorted({*range(0, end, max(1, end // 600)), *range(max(0, end - 100), end)}):
        path.write_bytes(whole[:length])
        message = refusal(READERS[file], tmp_path / "w")
        if message is None:
            assert path.suffix == ".toml" or (path.suffix == ".jsonl" and whole[:length][-1:] in (b"", b"\n", b"}")), length
        else:
            assert path.name in message
            assert len(message.splitlines()) == 1


def refusal(read: Callable[[Path], object], folder: Path) -> str | None:
    """What a reader says against a file; None where it reads it."""
    try:
        read(folder)
    except InvalidInputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.file != "run/run.json"], ids=lambda kind: kind.name)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\xef\xbb\xbf{}", b"[" * 100_000, b"null", b"{}"])
def test_no_other_file_in_its_place_crashes_or_passes(kind: Kind, content: bytes, workplace: Path) -> None:
    path = workplace / kind.file
    content_before = path.read_bytes()
    path.write_bytes(content)
    try:
        outcome = run(workplace, kind.command)
    finally:
        path.write_bytes(content_before)
    assert outcome.code is not None, outcome.message
    if kind.name not in ("policy", "training log"):  # which may be empty
        assert outcome.code == 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(kind: Kind, make: Callable[[Path], Any], workplace: Path) -> None:
    path = workplace / kind.file
    moved = path.rename(path.with_name(f"{path.name}.kept"))
    make(path)
    try:
        outcome = run(workplace, kind.command)
    finally:
        path.rmdir() if path.is_dir() else path.unlink()
        moved.rename(path)
    assert outcome.code == 2, outcome.message
    assert len(outcome.message.splitlines()) == 1


def test_what_is_called_free_is_of_fields_that_exist(workplace: Path) -> None:
    """A pattern that matches nothing would hide that a field was renamed."""
    for kind in KINDS:
        value = kind.value(workplace)
        whats = [named(place, damage) for place in kind.places(value) for damage, _ in damaged(value, place)]
        for pattern in kind.free:
            assert any(Kind("", "", (), free=(pattern,)).is_free(words) for words in whats), f"{kind.name}: {pattern}"


def test_the_writer_of_damage_writes_what_it_is_given() -> None:
    value = {"a": [1, 2.5, None, True], "b": {"c": "é\u001b"}}
    assert json.loads(to_json(value)) == value
