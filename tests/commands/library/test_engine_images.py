"""The clean set that --data makes for an engine of another tool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.external import read_external
from skinaudit.commands.library.engine_images import images_for
from skinaudit.errors import InvalidInputError


def tree(folder: Path, *, seed: int, prefix: str) -> Path:
    generator = np.random.default_rng(seed)
    for name in ("naevus", "melanoma"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(3):
            picture = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / name / f"{prefix}{name}{index}.png")
    return folder


def silent(title: str) -> None:
    return None


def refuse(line: str) -> None:
    raise AssertionError(line)


def test_the_same_images_with_marks_are_written_anew_and_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKINAUDIT_CACHE", str(tmp_path / "cache"))
    engine, marks = tmp_path / "engine.onnx", tmp_path / "marks.toml"
    data = tree(tmp_path / "a" / "images", seed=0, prefix="")
    marks.write_text('malignant = ["melanoma"]\n')

    def malignant(classes: Path | None) -> tuple[str, ...]:
        folder = images_for(engine, str(data), size=8, name=None, classes=classes, progress=silent, remark=refuse)
        external = read_external(folder)
        assert external is not None
        assert external.frames == ((16, 12, 6),)
        return open_set(folder / "clean.safetensors").info.contract.malignant

    assert [malignant(None), malignant(marks), malignant(marks), malignant(None)] == [(), ("melanoma",), ("melanoma",), ()]
    other_images = tree(tmp_path / "b" / "images", seed=1, prefix="other-")
    with pytest.raises(InvalidInputError, match=r"holds other images already .* choose another --name, or move it away"):
        images_for(engine, str(other_images), size=8, name=None, progress=silent, remark=refuse)


def test_a_folder_that_got_more_images_is_read_again_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKINAUDIT_CACHE", str(tmp_path / "cache"))
    engine, remarks = tmp_path / "engine.onnx", list[str]()
    data = tree(tmp_path / "images", seed=0, prefix="")
    before = images_for(engine, str(data), size=8, name=None, progress=silent, remark=refuse)
    tree(data, seed=1, prefix="more-")
    (data / "naevus" / "naevus0.png").unlink()
    after = images_for(engine, str(data), size=8, name=None, progress=silent, remark=remarks.append)
    assert (after, len(open_set(after / "clean.safetensors"))) == (before, 11)
    assert remarks == [f"{after}: the images have changed (6 before, 11 now); writing this set anew"]
