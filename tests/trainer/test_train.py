"""A run directory from images: complete, reproducible, and resumable after a kill in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from skinaudit import cli
from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.one_writer import one_writer
from skinaudit.artifacts.operating_point import malignant_scores
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.commands.library.training import train as train_command
from skinaudit.errors import InvalidInputError
from skinaudit.export.int8_grid import weights_on_grid
from skinaudit.export.to_onnx import to_onnx
from skinaudit.tests.processes import Start
from skinaudit.trainer import train
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.claim import claim_folder
from skinaudit.trainer.data.load import load
from skinaudit.trainer.data.splits import split
from skinaudit.trainer.evaluate import logits_of
from skinaudit.trainer.int8_training import FINE_TUNING
from skinaudit.trainer.loop import Examples
from skinaudit.trainer.models import STRUCTURES, build, folded, recorded_structure
from skinaudit.trainer.pretrained import load_pretrained
from skinaudit.trainer.recipes import adapted
from skinaudit.trainer.temperature import fit_temperature
from skinaudit.trainer.train import Training, threat_model, train_run

TRAIN = [
    sys.executable,
    "-m",
    "skinaudit.cli",
    "train",
    "--images",
    "150",
    "--size",
    "32",
    "--width",
    "0.25",
    "--batch",
    "16",
]
TRAIN += ["--threads", "1"]


def test_a_finished_run_is_complete_and_holds_no_leftovers(tiny_run: Path) -> None:
    files = {path.relative_to(tiny_run).as_posix() for path in tiny_run.rglob("*") if path.is_file()}
    assert files == {
        "run.json", "weights.safetensors", "structure.json", "calibration.safetensors", "log.jsonl", "curves.png",
        "pictures.safetensors",
        "sets/clean.safetensors", "sets/fgsm-linf-4.safetensors", "sets/pgd-dlr-linf-4.safetensors",
    }  # fmt: skip


def test_the_sets_hold_the_test_split_and_calibration_the_training_images(tiny_run: Path) -> None:
    data = load("synthetic", size=32, images=300)
    parts = split(data, kind="lesion", seed=0)
    clean = open_set(tiny_run / "sets" / "clean.safetensors")
    assert clean.ids == tuple(data.ids[index] for index in parts.test)
    assert np.array_equal(np.concatenate(list(clean.batches(64))), data.images[parts.test])
    calibration = {image.tobytes() for image in load_file(tiny_run / "calibration.safetensors")["images"]}
    assert calibration <= {image.tobytes() for image in data.images[parts.train]}
    assert not calibration & {image.tobytes() for image in data.images[parts.test]}


def test_the_manifest_says_what_was_done(tiny_run: Path) -> None:
    manifest = read_run(tiny_run)
    assert manifest.model["arch"] == "mobilenet"
    assert manifest.training["threat_model"] == "linf 4/255"
    assert manifest.training["hardening"] == {"kind": "none"}
    log = [json.loads(line) for line in (tiny_run / "log.jsonl").read_text().splitlines()]
    assert manifest.training["epochs"] == len(log)
    assert manifest.training["kept_epoch"] == max(line["epoch"] for line in log if line["best"])
    assert {"torch", "numpy", "skinaudit", "python"} <= set(manifest.created_with)
    assert (tiny_run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_operating_point_is_that_of_the_validation_images(tiny_run: Path) -> None:
    data, manifest = load("synthetic", size=32, images=300), read_run(tiny_run)
    validation = split(data, kind="lesion", seed=0).val
    logits = logits_of(folded(load_run_model(tiny_run)), data.images[validation])
    ill = np.isin(data.labels[validation], manifest.contract.malignant_labels)
    called = malignant_scores(logits, manifest.contract.malignant_labels) > manifest.operating_points[0].threshold
    (point,) = manifest.operating_points
    assert (point.specificity, point.benign, point.malignant) == (0.9, int((~ill).sum()), int(ill.sum()))
    assert point.reached == pytest.approx((~called[~ill]).mean())
    assert point.sensitivity == pytest.approx(called[ill].mean())
    assert "temperature" not in manifest.training


def test_a_finished_run_is_trained_for_int8_alone_and_its_bounds_are_kept(tiny_run: Path, tmp_path: Path) -> None:
    trained = train_command(
        images=300, size=32, weights=tiny_run, for_int8=1, epochs=1, attack=["fgsm"], threads=1, out=tmp_path / "for-int8"
    )  # fmt: skip
    manifest, model = read_run(trained.folder), load_run_model(trained.folder)
    recipe = manifest.training["recipe"]
    assert {name: recipe[name] for name in FINE_TUNING} == {**FINE_TUNING, "epochs": 1}
    assert [manifest.model.get("activations"), read_run(tiny_run).model.get("activations")] == ["relu6", None]
    clean = open_set(trained.folder / "sets" / "clean.safetensors")
    images = np.concatenate(list(clean.batches(64)))
    assert logits_of(folded(model), images) == pytest.approx(clean.source_logits, abs=1e-4)
    assert weights_on_grid(to_onnx(model, size=32))
    fresh = build("mobilenet", width=0.25, size=32).eval()
    load_pretrained(fresh, "mobilenet", str(trained.folder))
    assert logits_of(folded(fresh), images) == pytest.approx(clean.source_logits, abs=1e-4)


def test_a_calibrated_model_keeps_its_layers_and_divides_its_logits(tiny_run: Path) -> None:
    data, model = load("synthetic", size=32, images=300), load_run_model(tiny_run)
    validation = split(data, kind="lesion", seed=0).val
    examples = Examples(data.images[validation], data.labels[validation])
    before, structure = logits_of(folded(model), examples.images), recorded_structure(model, size=32)
    temperature = train.calibrate(model, examples)
    after = logits_of(folded(model), examples.images)
    np.testing.assert_allclose(after, before / temperature.value, rtol=1e-4, atol=1e-5)
    STRUCTURES.clear()
    assert recorded_structure(model, size=32) == structure
    assert fit_temperature(after, examples.labels).value == pytest.approx(1, abs=0.01)


def tiny_training() -> Training:
    return Training(
        arch="mobilenet", width=0.25, size=32, recipe=adapted("default", epochs=1, batch=32, learning_rate=None),
        hardening=None, threat_model=threat_model("linf", Fraction(4)), split="lesion", seed=0, weights=None, threads=1,
    )  # fmt: skip


def test_a_finished_run_is_not_written_over(tiny_run: Path) -> None:
    data = load("synthetic", size=32, images=300)
    for resume in (True, False):
        with pytest.raises(InvalidInputError, match="tiny: contains a finished run"):
            train_run(data, tiny_training(), out=tiny_run, resume=resume)


def test_a_folder_that_cannot_take_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="contains an unfinished run; continue it with --resume"):
        claim_folder(tmp_path / "unfinished", resume=False)
    claim_folder(tmp_path / "unfinished", resume=True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"file: cannot be made or written \(File exists\); choose another --out"):
        claim_folder(tmp_path / "file", resume=False)
    with pytest.raises(
        InvalidInputError, match=r"is not a run folder, because it contains file, unfinished; choose a new folder for --out"
    ):
        claim_folder(tmp_path, resume=False)


def test_a_training_killed_before_its_first_checkpoint_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"")
    (tmp_path / ".checkpoint.safetensors.x1.tmp").write_bytes(b"")
    claim_folder(tmp_path, resume=False)
    claim_folder(tmp_path / "deep" / "new", resume=True)
    assert (tmp_path / "deep" / "new").is_dir()


def test_a_weakness_is_in_the_record_and_in_the_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "weaknesses", lambda *_, **__: ("answers one class; train longer",))
    arguments = ["train", *TRAIN[4:], "--epochs", "1", "--out", "run"]
    text = CliRunner().invoke(cli.commands, arguments)
    assert text.exit_code == 0  # a training is no verdict
    assert text.stdout.splitlines()[-2:] == ["run: run", "WARNING: answers one class; train longer"]
    assert read_run(Path("run")).training["weaknesses"] == ["answers one class; train longer"]
    as_json = CliRunner().invoke(cli.commands, [*arguments[:-1], "again", "--json"])
    assert json.loads(as_json.stdout)["weaknesses"] == ["answers one class; train longer"]


def test_a_radius_that_no_stored_set_can_hold_is_refused_before_training() -> None:
    with pytest.raises(InvalidInputError, match=r"eps 0.5/255: sets are stored in 8 bit, so choose at least 1/255"):
        threat_model("linf", Fraction(1, 2))


def contents(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.rglob("*.safetensors"))}


@pytest.mark.parametrize("hardening", [pytest.param("none", marks=pytest.mark.slow), "pgd"])
def test_killed_and_resumed_ends_with_the_same_bytes(
    tmp_path: Path, hardening: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL after the second epoch of a process of its own; weights, calibration and sets are compared byte by byte."""
    command = [*TRAIN, "--epochs", "3", "--hardening", hardening, "--steps", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    monkeypatch.chdir(whole)
    assert CliRunner().invoke(cli.commands, [*command[3:], "--out", "run"]).exit_code == 0

    log = parts / "run" / "log.jsonl"
    killed = start([*command, "--out", "run"], cwd=parts, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert killed.stderr is not None
    assert any(re.match("epoch +2 ", line) for line in killed.stderr)  # reads on until then: the log has been written
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (parts / "run" / "run.json").exists()
    monkeypatch.chdir(parts)
    assert CliRunner().invoke(cli.commands, [*command[3:], "--out", "run", "--resume"]).exit_code == 0

    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3]
    assert contents(whole / "run") == contents(parts / "run")
    assert len(contents(whole / "run")) == 6
    assert (parts / "runs" / "latest").readlink() == Path("../run")


def test_a_folder_that_another_training_writes_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    dataset: Any = None  # refused before anything of it is asked
    training: Any = None
    with (
        one_writer(RunFolder(out).training_lock, place="run"),
        pytest.raises(InvalidInputError, match=rf"^{out}: process {os.getpid()} on "),
    ):
        train_run(dataset, training, out=out, resume=True)
    assert not list(out.iterdir())
