"""Shared by all tests: a cache of their own, one tiny trained run, and what a set is made of."""

from __future__ import annotations

import gc
import os

# Before torch and OpenMP are loaded: workers that each use every core would spend most of their time in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from skinaudit.artifacts.adversarial_set import SetInfo, write_set
from skinaudit.artifacts.contract import CLASSES, InputContract
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.tests.shared import built_once

pytest_plugins = ["fake_gpu.fixture", "journey", "linear_run", "processes", "ready_audits", "ready_program"]

# No deadline: the machines that run these tests are shared, and a slow one is no failure.
settings.register_profile("shared", deadline=None, max_examples=30)
settings.load_profile("shared")

SIZE = 32
IMAGES = 300


def pytest_collection() -> None:
    """Nothing that is loaded now is garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is loaded by now stays: every search for garbage would go through all of torch and of thousands of tests."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """SKINAUDIT_CACHE in a temporary folder, for this process and those that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SKINAUDIT_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def engines_in_this_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Open engines in the test's own process: a process for each of thousands would take minutes.

    Tests marked `isolated` open them as users do, and so does every program that a test starts.
    """
    if request.node.get_closest_marker("isolated"):
        yield
        return
    from skinaudit.engines.isolation.launching import in_this_process

    with in_this_process():
        yield


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished standard run: MobileNet x0.25 on 300 synthetic images of 32 x 32. Read only: copy it to change it.

    Its batches are small because a shorter training leaves a constant answer, on which no attack has any effect.
    """
    from skinaudit.trainer.data.load import load
    from skinaudit.trainer.recipes import adapted
    from skinaudit.trainer.train import Training, train_run

    training = Training(
        arch="mobilenet", width=0.25, size=SIZE,
        recipe=adapted("default", epochs=6, batch=8, learning_rate=3e-3, class_weighting=0.5),
        hardening=None, threat_model=ThreatModel("linf", Fraction(4)), split="lesion", seed=0, weights=None, threads=1,
    )  # fmt: skip

    def train(folder: Path) -> None:
        train_run(load("synthetic", size=SIZE, images=IMAGES), training, out=folder / "tiny", resume=False)

    return built_once(tmp_path_factory, "runs", train) / "tiny"


@pytest.fixture
def make_set() -> Callable[..., Path]:
    """Write a set of `count` random 8 x 8 images, or of the given arrays, and return its path."""

    def make(
        path: Path, *, count: int = 5, images: np.ndarray | None = None, threat_model: ThreatModel | None = None,
        clean: str = "", seed: int = 0, **changes: object,
    ) -> Path:  # fmt: skip
        random = np.random.default_rng(seed)
        pixels = random.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8) if images is None else images
        number, size = len(pixels), pixels.shape[-1]
        info = SetInfo(
            name=path.stem, attack="clean" if threat_model is None else "pgd", threat_model=threat_model,
            settings={"steps": 3}, seed=1, source="sha256:" + "a" * 64, clean=clean,
            contract=InputContract(size=size), dataset="test data", synthetic=True, created_with={"torch": "1.2"},
        )  # fmt: skip
        arrays = {
            "labels": np.arange(number, dtype=np.int64) % len(CLASSES),
            "group": np.arange(number, dtype=np.int64) // 2,
            "ids": tuple(f"bild_{index}é" for index in range(number)),
            "source_logits": random.normal(size=(number, len(CLASSES))).astype(np.float32),
        }
        write_set(path, info, images=pixels, **{**arrays, **changes})  # type: ignore[arg-type]
        return path

    return make
