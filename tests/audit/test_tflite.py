"""Real .tflite files of another tool, float and fully quantised, from the draft of a contract to the audit."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process

pytest.importorskip("openvino", reason="openvino is not installed: pip install 'skinaudit[openvino]'")

from skinaudit.artifacts.adversarial_set import SetInfo, open_set, write_set
from skinaudit.artifacts.contract import CLASSES, InputContract
from skinaudit.artifacts.engine_contract import read_engine_contract
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.figures.metrics import accuracy
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.engines.open import open_engine
from skinaudit.errors import EngineError
from skinaudit.trainer.data.synthetic import generate

FILES = Path(__file__).parents[1] / "data" / "tflite"
ORDER = sorted(CLASSES)
DRAFTED = "[" + ", ".join(f'"class_{index}"' for index in range(len(ORDER))) + "]"
NAMED = "[" + ", ".join(f'"{name}"' for name in ORDER) + "]"
CORRECTIONS = {  # what a person has to write, the file being silent
    "float32": [(DRAFTED, NAMED), ('scale = "1/255"', 'scale = "2/255"'), ("mean = [0.0, 0.0, 0.0]", "mean = [1, 1, 1]")],
    "uint8": [(DRAFTED, NAMED)],
}

NO_PROBE = Policy(probe_required=False)
"""Any fresh attack finds more than random signs, which are no attack: that is not what these tests are about."""


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic images that the files were not trained on, clean and with random signs of 4/255 added, which make the source
    a little less sure."""
    data, folder = generate(images=300, size=32, seed=3), tmp_path_factory.mktemp("sets")
    signs = np.random.default_rng(0).choice([-4, 4], data.images.shape)
    noisy = np.clip(data.images.astype(np.int64) + signs, 0, 255).astype(np.uint8)
    source = np.eye(len(CLASSES), dtype=np.float32)[data.labels]  # a source model that is always right
    rows = {"labels": data.labels, "group": data.groups, "ids": data.ids, "source_logits": source}
    info = SetInfo(
        "clean", "clean", None, {}, 0, "sha256:" + "a" * 64, "", InputContract(size=32), data.title, True, {}
    )  # fmt: skip
    write_set(folder / "clean.safetensors", info, images=data.images, **rows)
    clean = open_set(folder / "clean.safetensors").images_digest
    threat = ThreatModel("linf", Fraction(4))
    info = replace(info, name="noise", attack="noise", threat_model=threat, clean=clean)
    write_set(folder / "noise.safetensors", info, images=noisy, **rows | {"source_logits": source * np.float32(0.9)})
    return folder


@pytest.fixture(params=CORRECTIONS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def contract(name: str, tmp_path: Path) -> Path:
    """The drafted contract with the corrections."""
    path = tmp_path / "other.toml"
    drafted = in_process("contract", str(FILES / f"{name}.tflite"), "-o", "other.toml", cwd=tmp_path)
    assert (drafted.returncode, drafted.stderr) == (0, "")
    text = path.read_text()
    for old, new in CORRECTIONS[name]:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def audit(engine: Path, contract: Path, sets: Path) -> AuditResult:
    return audit_engine(engine, sets=sets, contract=contract, policy=NO_PROBE, threads=1, seed=0, small_probe=False)


def doubts(result: AuditResult) -> list[str]:
    return [finding.text for finding in result.findings if finding.severity is Severity.INCONCLUSIVE]


def test_answers_are_those_of_tensorflow_lite_itself(name: str, contract: Path) -> None:
    with np.load(FILES / "answers.npz") as stored:
        images, answers = stored["images"], stored[name].astype(np.float32)
    engine = open_engine(FILES / f"{name}.tflite", contract=read_engine_contract(contract), threads=1)
    probabilities = np.exp(engine.logits(images))
    if name == "float32":
        np.testing.assert_allclose(probabilities, answers, rtol=1e-4, atol=1e-6)
    else:  # a code of 0 counts as half a step
        np.testing.assert_allclose(probabilities, np.maximum(answers, 0.5) / 256, rtol=1e-5)


def test_the_precision_is_read_from_the_file(name: str, contract: Path) -> None:
    engine = open_engine(FILES / f"{name}.tflite", contract=read_engine_contract(contract), threads=1)
    assert engine.description.runtime == "openvino"
    assert engine.description.found == {"int8" if name == "uint8" else "fp32": 6}


def test_a_corrected_contract_audits_without_doubts_and_never_passes(name: str, contract: Path, sets: Path) -> None:
    result = audit(FILES / f"{name}.tflite", contract, sets)
    assert doubts(result) == []
    assert result.foreign
    assert result.verdict is Verdict.INCONCLUSIVE
    clean = next(entry for entry in result.sets if entry.file == "clean.safetensors")
    labels = open_set(sets / "clean.safetensors").labels
    assert clean.comparison.engine_accuracy > 0.85 > accuracy(np.ones(len(labels), np.int64), labels)


def test_the_command_line_audits_it(name: str, contract: Path, sets: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    named = ("--contract", str(contract), "--sets", str(sets), "-o", "report.json")
    process = in_process("audit", str(FILES / f"{name}.tflite"), *named, "--threads", "1", cwd=tmp_path)
    assert process.returncode == 3, process.stderr
    assert "INCONCLUSIVE" in process.stdout + process.stderr
    assert report.is_file()


def test_columns_left_in_another_order_are_noticed(name: str, contract: Path, sets: Path) -> None:
    contract.write_text(contract.read_text().replace('"mel", "nv"', '"nv", "mel"'))
    texts = doubts(audit(FILES / f"{name}.tflite", contract, sets))
    assert any(f"clearly better with classes = {NAMED}: " in text for text in texts)  # the right ones, and nothing else


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "half.tflite"
    path.write_bytes((FILES / "uint8.tflite").read_bytes()[:6000])
    with pytest.raises(EngineError) as error:
        open_engine(path)
    assert "\n" not in str(error.value)
