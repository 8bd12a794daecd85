from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet, SetInfo, open_set, write_set
from skinaudit.artifacts.contract import InputContract
from skinaudit.engines.engine import EngineDescription
from skinaudit.errors import EngineError
from skinaudit.export.parity import Parity, check_parity, measure_parity
from skinaudit.export.precision import PRECISIONS

FP32, INT8 = PRECISIONS["fp32"], PRECISIONS["int8-u8s8"]
COUNT = 70


class Replay:
    """An engine that answers the image whose first pixel is n with row n of `rows`."""

    def __init__(self, rows: NDArray[np.float32], *, size: int = 4) -> None:
        self.rows = rows
        self.description = EngineDescription("none", "0", "none", "none", 1, {}, size, rows.shape[1])

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.rows[images[:, 0, 0, 0]]


@pytest.fixture
def clean(tmp_path: Path) -> AdversarialSet:
    images = np.zeros((COUNT, 3, 4, 4), np.uint8)
    images[:, 0, 0, 0] = np.arange(COUNT)
    logits = np.random.default_rng(0).normal(size=(COUNT, 7)).astype(np.float32)
    logits[np.arange(COUNT), np.arange(COUNT) % 7] = 10
    write_set(
        tmp_path / "clean.safetensors",
        SetInfo("clean", "clean", None, {}, 0, "sha256:s", "", InputContract(4), "noise", True, {}),
        images=images,
        labels=np.arange(COUNT) % 7,
        group=np.arange(COUNT),
        ids=tuple(map(str, range(COUNT))),
        source_logits=logits,
    )
    return open_set(tmp_path / "clean.safetensors")


def test_equal_logits_have_perfect_parity(clean: AdversarialSet) -> None:
    parity = measure_parity(Replay(clean.source_logits), clean, precision=FP32)
    assert parity == Parity(images=COUNT, max_abs=0, mean_abs=0, scale=10, agreement=1, near_ties=0)
    check_parity(parity, precision=FP32, where="e")


def test_differences_and_flips_are_counted_over_all_images(clean: AdversarialSet) -> None:
    rows = clean.source_logits.copy()
    rows[-1] = np.roll(rows[-1], 1)  # in the last, partial batch
    rows[0, 0] += 0.5
    parity = measure_parity(Replay(rows), clean, precision=INT8)
    expected = np.abs(rows - clean.source_logits)
    assert parity.max_abs == pytest.approx(expected.max())
    assert parity.mean_abs == pytest.approx(expected.mean())
    assert parity.agreement == pytest.approx(1 - 1 / COUNT)
    check_parity(parity, precision=INT8, where="e")


def test_fp32_beyond_its_tolerance_is_refused(clean: AdversarialSet) -> None:
    rows = clean.source_logits.copy()
    rows[3, 3] += 10 * FP32.tolerance * 1.01
    with pytest.raises(EngineError, match=r"e\.onnx: logits differ from the source model by up to 0\.001"):
        check_parity(measure_parity(Replay(rows), clean, precision=FP32), precision=FP32, where="e.onnx")


def test_fp32_may_differ_where_rounding_alone_decides(clean: AdversarialSet) -> None:
    clean.source_logits[5, 5], clean.source_logits[5, 6] = 10, 9.9999
    rows = clean.source_logits.copy()
    rows[5, 5], rows[5, 6] = 9.9999, 10
    parity = measure_parity(Replay(rows), clean, precision=FP32)
    assert (parity.near_ties, parity.agreement) == (1, pytest.approx(1 - 1 / COUNT))
    check_parity(parity, precision=FP32, where="e")


def test_a_wild_engine_is_refused_whatever_its_precision(clean: AdversarialSet) -> None:
    rows = clean.source_logits.copy()
    rows[:8] = np.roll(rows[:8], 1, axis=1)
    parity = measure_parity(Replay(rows), clean, precision=INT8)
    with pytest.raises(EngineError, match=r"e: agrees with the source model on 88\.6% of 70 clean images, at least 90%"):
        check_parity(parity, precision=INT8, where="e")
    rows[0] = clean.source_logits[0]
    check_parity(measure_parity(Replay(rows), clean, precision=INT8), precision=INT8, where="e")


def test_an_engine_of_another_run_is_refused(clean: AdversarialSet) -> None:
    with pytest.raises(EngineError, match="images of size 4 and 7 classes, but the engine has 9 and 7"):
        measure_parity(Replay(clean.source_logits, size=9), clean, precision=FP32)
    with pytest.raises(EngineError, match="the engine has 4 and 3"):
        measure_parity(Replay(clean.source_logits[:, :3]), clean, precision=FP32)
