"""Broken input through the command line: each case ends with exit code 2 and one line that names the file and the remedy."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from safetensors.numpy import load_file, save_file

from skinaudit import cli
from skinaudit.artifacts.files import digest_file

Arguments = list[str]


@pytest.fixture
def run(exported_run: Path, tmp_path: Path) -> Path:
    """A finished run with its engines, to break."""
    return Path(shutil.copytree(exported_run, tmp_path / "run"))


def ham(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A tiny HAM10000: rows of (lesion, image, dx), every image written."""
    images = folder / "HAM10000_images_part_1"
    images.mkdir(parents=True)
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for lesion, image, dx in rows:
        lines.append(f"{lesion},{image},{dx},histo,50,male,back")
        Image.fromarray(np.full((15, 20, 3), 120, np.uint8)).save(images / f"{image}.jpg")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


SEVEN = [(f"L{i}{dx}", f"I{i}{dx}", dx) for i in range(4) for dx in ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")]


def train(source: Path | str, out: Path) -> Arguments:
    return ["train", "--data", str(source), "--size", "32", "--epochs", "1", "--out", str(out / "out"), "--threads", "1"]


def audit(run: Path, *options: str) -> Arguments:
    return ["audit", str(run / "engines" / "fp32.onnx"), "--threads", "1", *options]


def edit(path: Path, change: Callable[[dict], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def reseal(run: Path) -> None:
    """Let the manifest name the engine as it now is: what someone would do who replaces the file knowingly."""
    engine = run / "engines" / "fp32.onnx"
    digest = digest_file(engine)
    edit(
        engine.with_name("fp32.onnx.json"),
        lambda manifest: (
            *(manifest[name].update(digest=digest) for name in ("engine", "reference", "graph")),
            manifest["lineage"].update(onnx=digest),
        ),
    )


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x40
    path.write_bytes(bytes(content))


# Data


def no_such_data(run: Path, folder: Path) -> Arguments:
    return train(folder / "nowhere", folder)


def empty_folder(run: Path, folder: Path) -> Arguments:
    (folder / "empty").mkdir()
    return train(folder / "empty", folder)


def missing_image(run: Path, folder: Path) -> Arguments:
    (ham(folder / "ham", SEVEN) / "HAM10000_images_part_1" / "I2mel.jpg").unlink()
    return train(folder / "ham", folder)


def corrupt_image(run: Path, folder: Path) -> Arguments:
    (ham(folder / "ham", SEVEN) / "HAM10000_images_part_1" / "I1nv.jpg").write_bytes(b"not a picture")
    return train(folder / "ham", folder)


def unknown_dx(run: Path, folder: Path) -> Arguments:
    return train(ham(folder / "ham", [*SEVEN, ("Lx", "Ix", "eczema")]), folder)


def duplicate_id(run: Path, folder: Path) -> Arguments:
    return train(ham(folder / "ham", [*SEVEN, ("Ly", "I0mel", "nv")]), folder)


def empty_class(run: Path, folder: Path) -> Arguments:
    return train(ham(folder / "ham", [row for row in SEVEN if row[2] != "df"]), folder)


def missing_column(run: Path, folder: Path) -> Arguments:
    table = ham(folder / "ham", SEVEN) / "HAM10000_metadata.csv"
    table.write_text(table.read_text().replace("lesion_id", "lesion"))
    return train(folder / "ham", folder)


def foreign_npz(run: Path, folder: Path) -> Arguments:
    np.savez(folder / "other.npz", x=np.zeros(3))
    return train(folder / "other.npz", folder)


# Settings


def decimal_eps(run: Path, folder: Path) -> Arguments:
    return [*train("synthetic", folder), "--eps", "0.03"]


def eps_below_the_grid(run: Path, folder: Path) -> Arguments:
    return [*train("synthetic", folder), "--eps", "0.5/255"]


def finished_run(run: Path, folder: Path) -> Arguments:
    return ["train", "--images", "200", "--size", "32", "--out", str(run)]


def pickled_weights(run: Path, folder: Path) -> Arguments:
    (folder / "evil.pth").write_bytes(pickle.dumps(print, protocol=2))
    return [*train("synthetic", folder), "--images", "200", "--weights", str(folder / "evil.pth")]


def unknown_attack(run: Path, folder: Path) -> Arguments:
    return ["attack", str(run), "--attack", "no-such-attack"]


# Sets


def pgd_set(run: Path) -> Path:
    return next((run / "sets").glob("pgd-*.safetensors"))


def truncated_set(run: Path, folder: Path) -> Arguments:
    pgd_set(run).write_bytes(pgd_set(run).read_bytes()[:-100])
    return audit(run)


def flipped_pixel(run: Path, folder: Path) -> Arguments:
    flip(pgd_set(run), pgd_set(run).stat().st_size // 2)
    return audit(run, "--sets", str(run / "sets"))


def foreign_set(run: Path, folder: Path) -> Arguments:
    save_file({"images": np.zeros((2, 3, 32, 32), np.uint8)}, run / "sets" / "other.safetensors")
    return audit(run, "--sets", str(run / "sets"))


def no_sets(run: Path, folder: Path) -> Arguments:
    (folder / "none").mkdir()
    return audit(run, "--sets", str(folder / "none"))


def only_the_clean_set(run: Path, folder: Path) -> Arguments:
    (folder / "some").mkdir()
    shutil.copy(run / "sets" / "clean.safetensors", folder / "some")
    return audit(run, "--sets", str(folder / "some"))


def missing_set(run: Path, folder: Path) -> Arguments:
    pgd_set(run).unlink()
    return audit(run)


# Manifests


def truncated_run_manifest(run: Path, folder: Path) -> Arguments:
    (run / "run.json").write_text((run / "run.json").read_text()[:200])
    return audit(run)


def incomplete_run_manifest(run: Path, folder: Path) -> Arguments:
    edit(run / "run.json", lambda manifest: manifest.pop("weights"))
    return audit(run)


def no_engine_manifest(run: Path, folder: Path) -> Arguments:
    (run / "engines" / "fp32.onnx.json").unlink()
    return audit(run)


def swapped_labels(run: Path, folder: Path) -> Arguments:
    edit(
        run / "engines" / "fp32.onnx.json",
        lambda manifest: manifest["contract"].update(classes=["nv", "mel", *manifest["contract"]["classes"][2:]]),
    )
    return audit(run)


def another_runs_engine(run: Path, folder: Path) -> Arguments:
    edit(run / "engines" / "fp32.onnx.json", lambda manifest: manifest["lineage"].update(weights="sha256:" + 64 * "0"))
    return audit(run)


def tampered_weights(run: Path, folder: Path) -> Arguments:
    flip(run / "weights.safetensors", (run / "weights.safetensors").stat().st_size // 2)
    shutil.rmtree(run / "engines")
    return ["export", str(run), "--fp16", "--threads", "1"]


def no_run(run: Path, folder: Path) -> Arguments:
    return ["export", str(folder / "nothing")]


# Engines


def missing_engine(run: Path, folder: Path) -> Arguments:
    return ["audit", str(folder / "engine.plan")]


def truncated_engine(run: Path, folder: Path) -> Arguments:
    engine = run / "engines" / "fp32.onnx"
    engine.write_bytes(engine.read_bytes()[:5000])
    return audit(run)


def text_as_engine(run: Path, folder: Path) -> Arguments:
    (run / "engines" / "fp32.onnx").write_text("hello")
    reseal(run)
    return audit(run)


def nan_engine(run: Path, folder: Path) -> Arguments:
    def poison(model: onnx.ModelProto) -> None:
        weight = max(model.graph.initializer, key=lambda value: len(value.raw_data))
        values = numpy_helper.to_array(weight).copy()
        values[...] = np.nan
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    return edited_engine(run, poison)


def engine_with_another_input(run: Path, folder: Path) -> Arguments:
    def rename(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = "pixels"
        for node in model.graph.node:
            node.input[:] = ["pixels" if name == "image" else name for name in node.input]

    return edited_engine(run, rename)


def edited_engine(run: Path, change: Callable[[onnx.ModelProto], None]) -> Arguments:
    path = run / "engines" / "fp32.onnx"
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    reseal(run)
    return audit(run)


def engine_of_another_run(run: Path, folder: Path) -> Arguments:
    def relabel(model: onnx.ModelProto) -> None:
        entry = next(item for item in model.metadata_props if item.key == "skinaudit.weights")
        entry.value = "sha256:" + 64 * "0"

    return edited_engine(run, relabel)


def engine_of_another_order(run: Path, folder: Path) -> Arguments:
    def swap(model: onnx.ModelProto) -> None:
        entry = next(item for item in model.metadata_props if item.key == "skinaudit.contract")
        contract = json.loads(entry.value)
        contract["classes"][:2] = contract["classes"][1::-1]
        entry.value = json.dumps(contract)

    return edited_engine(run, swap)


def unknown_runtime(run: Path, folder: Path) -> Arguments:
    engine = run / "engines" / "fp32.onnx"
    engine.rename(engine.with_suffix(".coreml"))
    (run / "engines" / "fp32.onnx.json").rename(run / "engines" / "fp32.coreml.json")
    edit(run / "engines" / "fp32.coreml.json", lambda manifest: manifest["engine"].update(file="fp32.coreml"))
    return ["audit", str(engine.with_suffix(".coreml"))]


def no_cuda(run: Path, folder: Path) -> Arguments:
    return audit(run, "--provider", "cuda")


CASES: dict[Callable[[Path, Path], Arguments], str] = {
    no_such_data: "nowhere: no such folder",
    empty_folder: "HAM10000_metadata",
    missing_image: "I2mel",
    corrupt_image: "I1nv",
    unknown_dx: "eczema",
    duplicate_id: "I0mel",
    empty_class: "df",
    missing_column: "lesion_id",
    foreign_npz: "other.npz",
    decimal_eps: "fraction of 255",
    eps_below_the_grid: "at least 1/255",
    finished_run: "a finished run",
    pickled_weights: "not a safe weights file",
    unknown_attack: "choose one of apgd-ce,",
    truncated_set: "changed after it was written",
    flipped_pixel: "changed after it was written",
    foreign_set: "not an adversarial set",
    no_sets: "none",
    only_the_clean_set: "no adversarial set",
    missing_set: "does not exist; restore it",
    truncated_run_manifest: "not a readable run manifest",
    incomplete_run_manifest: "run.json: weights is missing, expected an object; restore it or train again",
    no_engine_manifest: "no manifest beside it",
    swapped_labels: "classes is",
    another_runs_engine: "weights",
    tampered_weights: "changed after it was written",
    no_run: "no such run",
    missing_engine: "engine.plan: no such engine",
    truncated_engine: "changed after it was written",
    text_as_engine: "fp32.onnx",
    nan_engine: "NaN",
    engine_with_another_input: "image",
    engine_of_another_run: "according to its own metadata it was built from weights 000000000000, but its manifest says",
    engine_of_another_order: "fp32.onnx: according to its own metadata it answers nv mel bcc",
    unknown_runtime: "supported: .onnx",
    no_cuda: "cuda",
}


@pytest.mark.parametrize(("break_it", "fragment"), CASES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_one_line_and_exit_code_2(
    break_it: Callable[[Path, Path], Arguments],
    fragment: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["skinaudit", *break_it(run, tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("skinaudit: ")]
    assert stopped.value.code == 2
    assert len(lines) == 1
    assert fragment in lines[0]
    assert printed.err.splitlines()[-1] == lines[0]
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_every_stored_tensor_is_guarded(run: Path) -> None:
    """A set resaved with one changed value in any tensor, metadata kept, does not open."""
    from safetensors import safe_open

    from skinaudit.artifacts.adversarial_set import open_set
    from skinaudit.errors import InvalidInputError

    path = pgd_set(run)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    original = load_file(path)
    for name in original:
        changed = {key: value.copy() for key, value in original.items()}
        changed[name].flat[0] = 0 if changed[name].flat[0] != 0 else 1
        save_file(changed, path, metadata=metadata)
        with pytest.raises(InvalidInputError, match="write"):
            open_set(path)
