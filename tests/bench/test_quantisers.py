"""The comparison of quantisers: the table of real files, and what it says of peers that are absent or fail."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.artifacts.logits import predictions
from skinaudit.bench import libraries, quantisers
from skinaudit.bench.quantiser_parts import modelopt_, ours
from skinaudit.bench.quantiser_parts.figures import set_figures
from skinaudit.bench.quantiser_parts.quantiser import Order, Quantiser
from skinaudit.bench.throughput import sets_of
from skinaudit.errors import EngineError, MissingDependencyError


@pytest.fixture
def run(exported_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run with its fp32 graph."""
    return Path(shutil.copytree(exported_run, tmp_path / "run"))


def section(run: Path, *options: str) -> str:
    """What the script writes into a document that has another section already."""
    output = run / "int8.md"
    output.write_text("# int8\n\nKept.\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["quantisers.py", str(run), "--threads", "1", "--output", str(output), *options])
        quantisers.main()
    return output.read_text()


def absent() -> dict[str, str]:
    raise MissingDependencyError("peer: not installed: install it")


def fails(order: Order) -> Path:
    raise ValueError("no such\nlayer")


@pytest.mark.slow
def test_our_own_files_are_compared_on_every_set(run: Path) -> None:
    text = section(run, "--only", "ours u8s8", "ours fp8")
    assert text.startswith(f"# int8\n\nKept.\n\n## {quantisers.TITLE}: run\n\n    skinaudit train ")
    sets = sets_of(run)
    agreement, worth = text.split("Agreement with the source")[1].split("Accuracy / balanced")
    for table in (agreement, worth):
        assert all(entry.info.title in table for entry in sets)
        assert table.count("\n| ours ") == 2
    assert agreement.count("| 0 of 28 |") == 2
    assert agreement.count("**") >= 2 * len(sets)
    assert "left out" not in text


@pytest.mark.slow
def test_peers_that_are_absent_or_fail_are_named_and_stop_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fp8,) = (quantiser for quantiser in ours.QUANTISERS if quantiser.name == "ours fp8")
    lacking = Quantiser("peer A", "TensorRT", fails, fp8.open, absent)
    broken = replace(fp8, name="peer B", quantise=fails)
    monkeypatch.setattr(quantisers, "QUANTISERS", (lacking, broken, fp8))
    text = section(run)
    assert "- left out: peer A: peer: not installed: install it\n" in text
    assert "- left out: peer B: no such layer\n" in text
    assert text.count("\n| ours fp8 |") == 2
    assert "\n| peer" not in text


def test_modelopt_is_asked_for_by_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = replace(libraries.QUANTISERS, folder=tmp_path / "none")
    peers = [replace(quantiser, require=lambda: libraries.require(group=nowhere)) for quantiser in modelopt_.QUANTISERS]
    monkeypatch.setattr(quantisers, "QUANTISERS", peers)
    fitting, used, left_out = quantisers.installed([])
    assert (fitting, used) == ([], {})
    assert len(left_out) == len(peers) == 3
    assert all("python bench/libraries.py" in line for line in left_out)


def test_a_failed_process_of_modelopt_is_one_line(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho started\necho it broke\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    order = _order(run, tmp_path)
    with pytest.raises(EngineError, match=r"^ModelOpt int8 max: ended with 3: it broke$"):
        modelopt_.QUANTISERS[0].quantise(order)


def test_figures_of_the_source_itself_are_those_of_no_loss(run: Path) -> None:
    clean = sets_of(run)[0]
    source = predictions(clean.source_logits)
    figures = set_figures(clean, source)
    assert (figures.agreement, figures.lost) == (len(clean), 0)
    assert figures.accuracy == (source == clean.labels).mean()


def test_malignant_images_that_turn_benign_are_counted(make_set: Callable[..., Path], tmp_path: Path) -> None:
    """The source is right on all images but one malignant one; the file calls every image benign."""
    classes = len(CLASSES)
    labels = np.arange(2 * classes) % classes
    source = labels.copy()
    malignant = [CLASSES.index(name) for name in MALIGNANT]
    benign = next(label for label in range(classes) if label not in malignant)
    source[malignant[0]] = benign
    path = make_set(
        tmp_path / "clean.safetensors", count=2 * classes, source_logits=np.eye(classes, dtype=np.float32)[source]
    )
    figures = set_figures(open_set(path), np.full(2 * classes, benign))
    assert figures.lost == 2 * len(malignant) - 1
    assert figures.agreement == 3
    assert figures.accuracy == 1 / classes


def test_only_the_section_of_that_title_is_replaced() -> None:
    text = "# int8\n\nFirst.\n\n## B\n\nold\n\n### deeper\n\nold\n\n## C\n\nlast\n"
    assert quantisers.with_section(text, title="B", section="new\n") == "# int8\n\nFirst.\n\n## B\n\nnew\n\n## C\n\nlast\n"
    assert quantisers.with_section(text, title="D", section="new") == f"{text}\n## D\n\nnew\n"


def test_without_any_quantiser_nothing_is_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Quantiser("peer A", "TensorRT", fails, ours.QUANTISERS[0].open, absent)
    monkeypatch.setattr(quantisers, "QUANTISERS", (lacking,))
    with pytest.raises(SystemExit) as ended:
        section(run)
    assert ended.value.code == 2
    assert (run / "int8.md").read_text() == "# int8\n\nKept.\n"


@pytest.mark.slow
def test_a_killed_comparison_keeps_what_it_has(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(order: Order) -> Path:
        raise KeyboardInterrupt

    (fp8,) = (quantiser for quantiser in ours.QUANTISERS if quantiser.name == "ours fp8")
    monkeypatch.setattr(quantisers, "QUANTISERS", (fp8, replace(fp8, name="slow", quantise=killed)))
    with pytest.raises(KeyboardInterrupt):
        section(run)
    assert (run / "int8.md").read_text().count("\n| ours fp8 |") == 2


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        section(tmp_path)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def _order(run: Path, folder: Path) -> Order:
    from skinaudit.artifacts.manifest import read_run, resolve
    from skinaudit.engines import onnx_graph
    from skinaudit.export.calibration import read_calibration
    from skinaudit.export.export import export_run

    manifest = read_run(run)
    (reference,) = export_run(run, precisions=("fp32",), threads=1)
    calibration = read_calibration(resolve(run, manifest.calibration), size=manifest.contract.size)
    return Order(onnx_graph.load(reference.path), calibration, run, folder)
