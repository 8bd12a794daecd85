"""The manifest of a real run damaged, and the commands that load its model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.tests.damage.kinds import Kind, trials

RELIED_ON = ("model.arch ", "model.width ", "contract", "weights", "sets ", "sets.clean", "kind")


@pytest.mark.parametrize("command", [("export", "run", "--fp32", "--threads", "1"), ("attack", "run", "--attack", "fgsm")])
def test_no_command_uses_a_damaged_manifest(command: tuple[str, ...], tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    kind = Kind("run manifest", "run/run.json", command)
    used = [
        f"{trial.what}: {trial.outcome}"
        for trial in trials(kind, tmp_path, wanted=lambda _, words: words.startswith(RELIED_ON))
        if not trial.refused
    ]
    assert used == []
    assert not (tmp_path / "run" / "engines").exists()
