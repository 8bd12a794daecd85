"""The batches of a set, shared by processes: the same bytes, whoever crafted what, and nothing twice."""

from __future__ import annotations

import shutil
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.attack_record import POINTS, AttackRecord
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import shards
from skinaudit.trainer.generate import AttackPlan, craft_share, write_adversarial_set, write_clean_set
from skinaudit.trainer.shards import Worker, shared_batches, this_worker

SIZE, COUNT, BATCH = 32, 11, 2
LINF8 = ThreatModel("linf", Fraction(8))


class Linear(nn.Module):
    """Three classes; counts the images whose gradient or answer was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * SIZE * SIZE, 3, bias=False)
        nn.init.normal_(self.layer.weight, generator=torch.Generator().manual_seed(0))
        self.asked = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        answer: Tensor = self.layer(images.flatten(1))
        return answer


@pytest.fixture
def clean(tmp_path: Path) -> AdversarialSet:
    images = np.random.default_rng(0).integers(40, 215, (COUNT, 3, SIZE, SIZE), dtype=np.uint8)
    return write_clean_set(
        tmp_path / "clean.safetensors", Linear().eval(), images=images,
        labels=np.arange(COUNT) % 3, group=np.arange(COUNT), ids=tuple(f"image{number}" for number in range(COUNT)),
        source="sha256:0", contract=InputContract(SIZE, classes=("a", "b", "c"), malignant=("a",)), dataset="noise",
        synthetic=True,
    )  # fmt: skip


def craft(folder: Path, clean: AdversarialSet, plan: AttackPlan, worker: Worker, model: nn.Module | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    path, settings = folder / "set.safetensors", {"source": "sha256:0", "seed": 5, "batch": BATCH, "worker": worker}
    function = write_adversarial_set if worker.writes else craft_share
    function(path, (model or Linear()).eval(), clean, plan, **settings)  # type: ignore[operator]
    return path


@pytest.mark.parametrize("plan", [AttackPlan("pgd", LINF8, {"steps": 2, "targeted": True}), AttackPlan("universal", LINF8)])
def test_one_two_and_three_processes_write_the_same_bytes(tmp_path: Path, clean: AdversarialSet, plan: AttackPlan) -> None:
    alone = craft(tmp_path / "1", clean, plan, Worker()).read_bytes()
    for size in (2, 3):
        folder = tmp_path / str(size)
        for rank in range(size - 1, -1, -1):
            path = craft(folder, clean, plan, Worker(rank, size))
        assert path.read_bytes() == alone
        assert list(folder.iterdir()) == [path]


def test_the_first_process_waits_for_the_others(
    tmp_path: Path, clean: AdversarialSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_LOOK", 0.01)
    plan = AttackPlan("fgsm", LINF8)
    first = threading.Thread(target=craft, args=(tmp_path / "2", clean, plan, Worker(0, 2)))
    first.start()
    craft(tmp_path / "2", clean, plan, Worker(1, 2))
    first.join(30)
    assert (tmp_path / "2/set.safetensors").read_bytes() == craft(tmp_path / "1", clean, plan, Worker()).read_bytes()


def test_finished_batches_are_not_crafted_again_unless_they_are_damaged(tmp_path: Path, clean: AdversarialSet) -> None:
    model, plan, worker = Linear(), AttackPlan("fgsm", LINF8), Worker(1, 2)
    craft(tmp_path / "2", clean, plan, worker, model)
    count = model.asked
    assert count > 0
    craft(tmp_path / "2", clean, plan, worker, model)
    assert model.asked == count
    (damaged,) = (tmp_path / "2").glob(".*.batches/00003.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-40])
    craft(tmp_path / "2", clean, plan, worker, model)
    assert count < model.asked < 2 * count
    craft(tmp_path / "2", clean, AttackPlan("fgsm", ThreatModel("linf", Fraction(9))), worker, model)
    assert len(list((tmp_path / "2").glob(".*.batches"))) == 2  # another attack shares nothing with it


def test_a_finished_set_is_not_crafted_again_by_a_group(tmp_path: Path, clean: AdversarialSet) -> None:
    plan, folder = AttackPlan("fgsm", LINF8), tmp_path / "2"
    for rank in (1, 0):
        path = craft(folder, clean, plan, Worker(rank, 2))
    written = path.read_bytes()
    for rank in (1, 0, 1):
        model = Linear()
        craft(folder, clean, plan, Worker(rank, 2), model)
        assert model.asked == 0
    assert list(folder.iterdir()) == [path]
    assert path.read_bytes() == written
    again = AttackPlan("fgsm", ThreatModel("linf", Fraction(9)))  # another set, although the file has the same name
    for rank in (1, 0):
        craft(folder, clean, again, Worker(rank, 2))
    assert path.read_bytes() != written
    assert list(folder.iterdir()) == [path]


def test_a_damaged_set_is_crafted_again(tmp_path: Path, clean: AdversarialSet) -> None:
    plan, folder = AttackPlan("fgsm", LINF8), tmp_path / "2"
    for rank in (1, 0):
        path = craft(folder, clean, plan, Worker(rank, 2))
    written = path.read_bytes()
    path.write_bytes(written[:-40])
    for rank in (1, 0):
        craft(folder, clean, plan, Worker(rank, 2))
    assert path.read_bytes() == written


def test_a_process_with_other_options_is_noticed(tmp_path: Path) -> None:
    shapes = [(1, 3, SIZE, SIZE)] * 2
    mine, other, foreign = (tmp_path / f".{name}.batches" for name in ("a.1.11", "a.1.22", "a.33"))
    for folder in (other, foreign):  # left by a killed group, and of another set: neither is a reason to stop
        folder.mkdir()

    def craft_batch(number: int) -> shards.Part:
        (foreign / "new").touch()
        return _batch()

    with pytest.raises(InvalidInputError, match="did not come within 0 s"):
        list(shared_batches(mine, shapes, craft=craft_batch, worker=Worker(0, 2), patience=0))

    def craft_beside_another(number: int) -> shards.Part:
        (other / "new").touch()
        return craft_batch(number)

    shutil.rmtree(mine)
    with pytest.raises(InvalidInputError, match=r"\.a\.1\.22\.batches: another process makes batches of this set"):
        list(shared_batches(mine, shapes, craft=craft_beside_another, worker=Worker(0, 2), patience=99))


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.zeros((2, 3, SIZE, SIZE), np.uint8)},
        {"images": np.zeros((1, 3, SIZE, SIZE), np.float32)},
        {"attack_path": np.zeros((1, POINTS), np.float64)},
        {"attack_success": np.zeros(2, np.int32)},
        {"attack_kept": np.full(1, np.nan, np.float32)},
    ],
)
def test_a_file_that_is_not_the_batch_is_made_again(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    images, noted = _batch()
    save_file({"images": images, **noted.arrays(), **arrays}, tmp_path / "00000.safetensors")
    crafted = []

    def craft_batch(number: int) -> shards.Part:
        crafted.append(number)
        return _batch()

    ((again, _),) = shared_batches(tmp_path, [images.shape], craft=craft_batch, worker=Worker(0, 2), patience=0)
    assert crafted == [0]
    assert np.array_equal(again, images)


def test_a_process_that_never_comes_ends_in_one_line(tmp_path: Path) -> None:
    shapes = [(1, 3, SIZE, SIZE)] * 2
    with pytest.raises(InvalidInputError, match=r"00001\.safetensors: did not come within 0 s; do all processes see"):
        list(shared_batches(tmp_path / "x", shapes, craft=lambda _: _batch(), worker=Worker(0, 2), patience=0))


def _batch() -> shards.Part:
    noted = AttackRecord(
        np.ones(1, np.uint8), np.zeros((1, POINTS), np.float32), np.zeros(1, np.int32), np.ones(1, np.float32)
    )
    return np.zeros((1, 3, SIZE, SIZE), np.uint8), noted


@pytest.mark.parametrize(
    ("rank", "size", "expected"), [(None, None, Worker()), ("1", "3", Worker(1, 3)), ("3", "3", None), ("x", "2", None)]
)
def test_torchrun_says_who_this_is(
    monkeypatch: pytest.MonkeyPatch, rank: str | None, size: str | None, expected: Worker | None
) -> None:
    for name, value in (("RANK", rank), ("WORLD_SIZE", size)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    if expected is None:
        with pytest.raises(InvalidInputError, match="no process of a group; start several with torchrun"):
            this_worker()
    else:
        assert this_worker() == expected
