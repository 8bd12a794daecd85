from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.audit.evidence.odd_frames import Frames, odd_frames, unanswered_frames
from skinaudit.errors import EngineError


@pytest.fixture
def frames(tmp_path: Path, make_set: Callable[..., Path]) -> Frames:
    images = np.full((5, 3, 8, 8), 120, np.uint8)
    images[2, :, 2:4, 4:6], images[4, :, 6:8, 0:2] = 9, 240
    return odd_frames(open_set(make_set(tmp_path / "clean.safetensors", images=images)), np.random.default_rng(0))


def test_crops_are_the_darkest_and_the_brightest_of_all_images(frames: Frames) -> None:
    assert (frames["the darkest crop"] == 9).all()
    assert (frames["the brightest crop"] == 240).all()


def test_colours_are_pure_and_gradients_run_from_end_to_end(frames: Frames) -> None:
    assert all(frame.shape == (3, 8, 8) and frame.dtype == np.uint8 for frame in frames.values())
    assert frames["cyan"][:, 3, 3].tolist() == [0, 255, 255]
    assert frames["a gradient across"][0, 5].tolist() == frames["a gradient downwards"][0, :, 5].tolist()
    assert np.ptp(frames["a gradient across"][0, 5]) == 255


class Blind:
    """Answers no frame of a colour in which one channel is full and the others are empty."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        means = images.mean(axis=(2, 3))
        if ((means == 255).sum(axis=1) == 1)[(means == 0).sum(axis=1) == 2].any():
            raise EngineError("NaN")
        return means.astype(np.float32)


def test_frames_without_an_answer_are_named(frames: Frames) -> None:
    assert unanswered_frames(Blind(), frames) == ("blue", "green", "red")  # type: ignore[arg-type]
