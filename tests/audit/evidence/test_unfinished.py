"""An interrupted audit goes on where it was; nothing else than what it left is taken for an engine's answers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linear_run import LinearEngine, Planted
from safetensors import safe_open
from safetensors.numpy import save_file

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.files import default_cache_dir
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.evidence.unfinished import replay_unless_kept, shelf_of
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.errors import InvalidInputError


@pytest.fixture
def planted(lab: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """A run of 140 images; whatever is answered is kept."""
    monkeypatch.setenv("SKINAUDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("skinaudit.audit.evidence.unfinished._WORTH", 0.0)
    return lab.plant(tmp_path / "run", images=140, settings={"fault": "melanoma to nevus"})  # type: ignore[no-any-return]


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def kept() -> list[Path]:
    return sorted((default_cache_dir() / "unfinished-audits").glob("*/*.safetensors"))


def timeless(result: AuditResult) -> AuditResult:
    return replace(
        result,
        sets=tuple(replace(entry, images_per_second=1.0) for entry in result.sets),
        probes=tuple(replace(probe, seconds=1.0) for probe in result.probes),
    )


def test_finished_sets_are_not_asked_again_and_the_report_is_the_same(
    planted: Planted, opened: list[LinearEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = timeless(audit_engine(planted.engine, seed=1, small_probe=False))
    assert kept() == []  # nothing is left behind a whole audit
    images_asked = sum(engine.images for engine in opened)
    with monkeypatch.context() as patch:
        patch.setattr("skinaudit.audit.audit.set_results", interrupt)
        with pytest.raises(KeyboardInterrupt):
            audit_engine(planted.engine, seed=1, small_probe=False)
    assert len(kept()) == 4  # two sets, of the engine and of its reference
    opened.clear()
    lines: list[str] = []
    again = timeless(audit_engine(planted.engine, seed=1, small_probe=False, say=lines.append))
    (note,) = (finding for finding in again.findings if finding.rule == "interrupted")
    assert note.text.startswith("clean, pgd linf 24/255: ")
    assert replace(again, findings=tuple(finding for finding in again.findings if finding is not note)) == undisturbed
    assert len(lines) == 4
    assert sum(engine.images for engine in opened) <= images_asked - 4 * (140 - 64)
    assert kept() == []


class Counting(LinearEngine):
    """An engine of which answers are kept, on the set `images`."""

    def ask(self, images: AdversarialSet, **changes: Any) -> bool:
        """Ask it for the whole set; whether it was asked for all of it."""
        before = self.images
        shelf = shelf_of(self, depends_on=changes, batch_size=64)
        replay_unless_kept(self, images, shelf, batch_size=64, seed=0, progress=None, say=lambda line: None)
        return self.images - before >= len(images)


def tampered(path: Path) -> None:
    with safe_open(path, framework="numpy") as file:
        metadata, logits = file.metadata(), file.get_tensor("logits")
    save_file({"logits": np.ascontiguousarray(-logits)}, path, metadata=metadata)
    path.chmod(0o600)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def open_to_others(path: Path) -> None:
    path.chmod(0o666)


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def of_another_set(path: Path) -> None:
    other_set = next(file for file in path.parent.glob("*.safetensors") if file != path)
    shutil.copyfile(other_set, path)


def folder_open_to_others(path: Path) -> None:
    path.parent.chmod(0o777)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARMS = [tampered, cut, open_to_others, linked, of_another_set, folder_open_to_others, a_pipe]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_what_was_left_and_changed_is_asked_again(planted: Planted, harm: Callable[[Path], None]) -> None:
    engine, sets = Counting(planted.engine), [open_set(path) for path in sorted((planted.run / "sets").iterdir())]
    assert [engine.ask(images) for images in (*sets, *sets)] == [True, True, False, False]
    harm(kept()[0])
    assert True in [engine.ask(images) for images in sets]


def test_other_circumstances_and_an_engine_that_answers_otherwise_are_asked_again(planted: Planted) -> None:
    engine, images = Counting(planted.engine), open_set(planted.run / "sets" / "pgd.safetensors")
    assert engine.ask(images)
    assert engine.ask(images, manifest="another")
    assert not engine.ask(images)
    engine.settings["fault"] = "scaled"
    assert engine.ask(images)


def test_a_user_without_a_home_asks_each_time(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise InvalidInputError("no home")

    monkeypatch.setattr("skinaudit.audit.evidence.unfinished.default_cache_dir", homeless)
    engine, images = Counting(planted.engine), open_set(planted.run / "sets" / "pgd.safetensors")
    assert engine.ask(images)
    assert engine.ask(images)
