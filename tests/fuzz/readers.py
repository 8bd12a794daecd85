"""Every reader of outside files, what it reads, and what came of a changed file."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save_file

from skinaudit.artifacts.adversarial_set import AdversarialSet, _open_and_verify
from skinaudit.artifacts.engine_contract import read_engine_contract
from skinaudit.artifacts.manifest import EngineManifest, read_engine_manifest, read_run
from skinaudit.artifacts.printable import printable_value
from skinaudit.artifacts.structure import read_structure
from skinaudit.artifacts.training_log import read_log
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.policy import DEFAULT_TEXT, read_policy
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports.json_ import to_json
from skinaudit.bench.odd_parts.bombs import dicom
from skinaudit.engines import onnx_graph
from skinaudit.engines.isolation.launching import engine_processes
from skinaudit.engines.isolation.limits import Limits
from skinaudit.engines.networks.of_onnx import network_of_file
from skinaudit.engines.open import open_session
from skinaudit.engines.openvino_ import conditions_of_file
from skinaudit.engines.program_file import harmless_program
from skinaudit.errors import InvalidInputError, SkinauditError
from skinaudit.export.calibration import read_calibration
from skinaudit.tests.fuzz import mutations as change
from skinaudit.tests.fuzz import own_files
from skinaudit.trainer.data.classes import read_classes
from skinaudit.trainer.data.decode import decode_file
from skinaudit.trainer.data.medmnist import list_medmnist, read_images
from skinaudit.trainer.data.tables import read_table
from skinaudit.trainer.data.unreadable import Unreadable

OUTCOMES = ("taken", "refused in one line", "traceback", "no answer", "wrongly taken")
LIMIT, OPENED = 60.0, 300.0
"""Seconds for one file, and for one that a runtime opens; a busy machine stands still for some."""
SIZE = 8
DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Reader:
    """A reader. path: of what it reads, in a corpus. wrong: whether a value should have been refused; what
    may be changed as one likes, such as a policy, only where it holds a text that acts on a terminal. opens: a runtime reads
    the file, in a process of its own.
    """

    path: str
    mutate: change.Mutation
    read: Callable[[Path], Any]
    wrong: Callable[[Any, Any], bool]
    opens: bool = False


def unprintable(value: Any, before: Any) -> bool:
    """Whether a text in the value would act upon a terminal."""
    return printable_value(value) is not value


def other_set(value: AdversarialSet, before: AdversarialSet) -> bool:
    """A set has a digest over all of it, so every value that differs should have been refused."""
    same_arrays = np.array_equal(value.source_logits, before.source_logits) and np.array_equal(value.labels, before.labels)
    pixels = all(np.array_equal(*pair) for pair in zip(value.batches(64), before.batches(64), strict=True))
    return not same_arrays or not pixels or value.info != before.info or value.ids != before.ids


def passed(value: AuditResult, before: AuditResult) -> bool:
    """The report of a FAIL that is read as a PASS, or with a text that acts upon a terminal."""
    return value.verdict is Verdict.PASS or printable_value(value) is not value


def of_graph(path: Path) -> Any:
    """All that is read of an ONNX file before a runtime opens it."""
    model = onnx_graph.load(path)
    return (
        onnx_graph.labels(model), onnx_graph.output_codes(model), onnx_graph.conditional_operators(model),
        network_of_file(path) is not None,
    )  # fmt: skip


def of_engine(path: Path) -> EngineManifest:
    """The manifest of the engine beside it."""
    return read_engine_manifest(path.with_suffix(""))


def answers(path: Path) -> Any:
    """What an engine answers to an image, from a process of its own that must not take long, nor much memory."""
    with engine_processes(Limits(seconds=OPENED / 2, memory=2**31)):
        session = open_session(path, threads=1)
        (port,) = session.inputs
        image = np.zeros([side or 1 for side in port.shape], port.dtype)
        return session.run(image, input=port.name, output=session.outputs[0].name)


def picture(path: Path) -> Any:
    """The pixels of a picture; what makes it unusable is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow and pydicom
        decoded = decode_file(path, size=SIZE)
    if isinstance(decoded, Unreadable):
        raise InvalidInputError(decoded.reason)
    return decoded.pixels


def of_archive(path: Path) -> Any:
    """All pictures of a MedMNIST file."""
    return [decoded.pixels for decoded in read_images(path, list_medmnist(path), size=SIZE)]


def weights(path: Path) -> Any:
    """The tensors of a file of weights."""
    from skinaudit.trainer.pretrained import _read  # imports torch

    return _read(path)


def never(value: Any, before: Any) -> bool:
    """Where nothing says what is right."""
    return False


READERS: Mapping[str, Reader] = {
    "run manifest": Reader("run/run.json", change.json_changed, lambda path: read_run(path.parent), unprintable),
    "engine manifest": Reader("run/engines/subject.onnx.json", change.json_changed, of_engine, unprintable),
    "structure": Reader("run/structure.json", change.json_changed, read_structure, unprintable),
    "training log": Reader("log.jsonl", change.json_changed, read_log, unprintable),
    "set": Reader("run/sets/pgd.safetensors", change.tensors_changed, _open_and_verify, other_set),
    "calibration": Reader(
        "calibration.safetensors", change.tensors_changed, lambda path: read_calibration(path, size=SIZE), never
    ),
    "report": Reader("audit.json", change.json_changed, read_audit, passed),
    "contract": Reader("contract.toml", change.toml_changed, read_engine_contract, unprintable),
    "policy": Reader("policy.toml", change.toml_changed, read_policy, unprintable),
    "table of images": Reader("table.csv", change.table_changed, read_table, never),
    "graph .onnx": Reader("graph.onnx", change.graph_changed, of_graph, never),
    "graph .xml": Reader("graph.xml", change.xml_changed, conditions_of_file, never),
    "program .pt2": Reader("program.pt2", change.program_changed, harmless_program, never),
    "picture .png": Reader("picture.png", change.png_changed, picture, never),
    "picture .jpg": Reader("picture.jpg", change.numbers_changed, picture, never),
    "picture .tif": Reader("picture.tif", change.numbers_changed, picture, never),
    "picture .webp": Reader("picture.webp", change.numbers_changed, picture, never),
    "picture .bmp": Reader("picture.bmp", change.numbers_changed, picture, never),
    "picture .dcm": Reader("picture.dcm", change.numbers_changed, picture, never),
    "archive .npz": Reader("images.npz", change.archive_changed, of_archive, never),
    "weights .pth": Reader("weights.pth", change.archive_changed, weights, never),
    "weights .safetensors": Reader("weights.safetensors", change.tensors_changed, weights, never),
    "classes": Reader("classes.toml", change.toml_changed, read_classes, unprintable),
    "settings of a study": Reader("study/study.toml", change.toml_changed, own_files.study_settings, unprintable),
    "log of a study": Reader("study/stages.jsonl", own_files.lines_changed, own_files.study_log, unprintable),
    "answers of a study": Reader("study/answers.safetensors", change.tensors_changed, own_files.study_answers, never),
    "answers of an audit": Reader(
        "kept/answers.safetensors", own_files.record_changed, own_files.kept_answers, own_files.other_answers
    ),
    "options of a training": Reader("training/options.json", change.json_changed, own_files.resumable, never),
    "checkpoint": Reader("training/checkpoint.safetensors", own_files.checkpoint_changed, own_files.restored, never),
    "lock": Reader("writing.lock", change.json_changed, own_files.taken_over, never),
    "cache, record": Reader(f"{own_files.KEY}.json", change.json_changed, own_files.entry, own_files.other_entry),
    "cache, pixels": Reader(f"{own_files.KEY}.npy", own_files.array_changed, own_files.entry, own_files.other_entry),
    "opening .onnx": Reader("graph.onnx", change.graph_changed, answers, never, opens=True),
    "opening .xml": Reader("plain.xml", change.xml_changed, answers, never, opens=True),
    "opening .tflite": Reader("engine.tflite", change.flatbuffer_changed, answers, never, opens=True),
    "opening .pt2": Reader("program.pt2", change.program_changed, answers, never, opens=True),
}


def write_corpus(folder: Path, lab: Any) -> Path:
    """One whole file for each reader; lab: that of tests/linear_run.py, whose engines audits open."""
    planted = lab.plant(folder / "run", images=70, settings={"fault": "noise"})
    (folder / "audit.json").write_text(json.dumps(to_json(audit_engine(planted.engine, seed=1))))
    (folder / "log.jsonl").write_text(json.dumps({"epoch": 1, "loss": 1.5, "best": True, "seconds": 2.0}))
    (folder / "contract.toml").write_text(CONTRACT)
    (folder / "policy.toml").write_text(DEFAULT_TEXT)
    rows = [f"HAM_{n // 2},ISIC_{n},nv,histo,{n}.0,male,back" for n in range(20)]
    (folder / "table.csv").write_text("\n".join(("lesion_id,image_id,dx,dx_type,age,sex,localization", *rows)))
    save_file({"images": np.zeros((4, 3, SIZE, SIZE), np.uint8)}, folder / "calibration.safetensors")
    write_graph(folder / "graph.onnx")
    shutil.copyfile(DATA / "tflite" / "uint8.tflite", folder / "engine.tflite")
    shutil.copyfile(DATA / "program" / "plain.pt2", folder / "program.pt2")
    for name in ("plain.xml", "plain.bin"):
        shutil.copyfile(DATA / "openvino" / name, folder / name)
    write_pictures(folder)
    own_files.write_own_files(folder)
    layers = '<layer id="0" name="image" type="Parameter" version="opset1"/><layer id="1" name="x" type="Convolution"/>'
    (folder / "graph.xml").write_text(f'<net name="n" version="11"><layers>{layers}</layers><edges/></net>')
    return folder


def write_pictures(folder: Path) -> None:
    """A small picture in every format, and what else a training reads."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    for name in ("png", "jpg", "tif", "webp", "bmp"):
        Image.fromarray(pixels).save(folder / f"picture.{name}")
    (folder / "picture.dcm").write_bytes(dicom(20, 24, pixels[..., 0].tobytes()))
    arrays = {
        f"{part}_{kind}": np.zeros((2, 28, 28, 3), np.uint8) if kind == "images" else np.array([[0], [1]], np.uint8)
        for part in ("train", "val", "test")
        for kind in ("images", "labels")
    }
    np.savez(folder / "images.npz", **arrays)
    save_file({"a": pixels}, folder / "weights.safetensors")
    shutil.copyfile(DATA / "program" / "weights.pth", folder / "weights.pth")


CONTRACT = """[input]
size = 8
layout = "NCHW"
dtype = "float32"
colour = "RGB"
scale = "1/255"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]

[output]
answer = "logits"
classes = ["mel", "nv", "bcc"]
"""


def write_graph(path: Path) -> None:
    """A small classifier: convolution, mean over the picture, linear layer."""
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    constants = [
        numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.ones((3, 4), np.float32), "v"),
        numpy_helper.from_array(np.array([-1, 4]), "shape"),
    ]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name="conv"), helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]), helper.make_node("Reshape", ["g", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["logits"], transB=1),
    ]  # fmt: skip
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    model = helper.make_model(helper.make_graph(nodes, "g", [image], [logits], constants))
    onnx.save_model(model, str(path))


def fuzz(
    name: str, corpus: Path, scratch: Path, *, inputs: int | None = None, seconds: float | None = None, seed: int = 0
) -> tuple[Counter[str], list[str]]:
    """Read changed files until there were `inputs` of them, or for `seconds`; the outcomes, and what was wrong in words.

    Equal seeds give equal files. A file that went wrong is kept in `scratch`.
    """
    reader, outcomes, wrong = READERS[name], Counter[str](), list[str]()
    work = scratch / name.replace(" ", "-").replace(".", "")
    shutil.copytree(corpus, work, dirs_exist_ok=True)
    path = work / reader.path
    content = path.read_bytes()
    before = reader.read(path)
    until = time.monotonic() + (seconds if seconds is not None else float("inf"))
    number = 0
    while (inputs is None or number < inputs) and time.monotonic() < until:
        changed = reader.mutate(content, random.Random(f"{seed} {number}"))
        path.write_bytes(changed)
        outcome, text = outcome_of(reader, path, before)
        outcomes[outcome] += 1
        if outcome in OUTCOMES[2:]:
            copy = scratch / f"{work.name}-{seed}-{number}{path.suffix}"
            copy.write_bytes(changed)
            wrong.append(f"{outcome}: {copy.name}: {text}")
        number += 1
    path.write_bytes(content)
    return outcomes, wrong


def outcome_of(reader: Reader, path: Path, before: Any) -> tuple[str, str]:
    """One of OUTCOMES, and what was said."""
    try:
        with time_limit(OPENED if reader.opens else LIMIT):
            value = reader.read(path)
            return ("wrongly taken", str(value)[:200]) if reader.wrong(value, before) else ("taken", "")
    except SkinauditError as error:
        line = str(error)
        return (
            ("refused in one line", line) if "\n" not in line and len(line) < 2000 else ("traceback", f"long: {line[:99]}")
        )
    except OutOfTime:
        return "no answer", ""
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"[:200]


class OutOfTime(BaseException):
    """No error of a file: a reader that catches OSError would take a TimeoutError for one."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime after so many seconds."""

    def out_of_time(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
