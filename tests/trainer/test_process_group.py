"""Several processes that train one model: what each does adds up to what one process would do."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.feed import Tally
from skinaudit.trainer.loop import _visited_images
from skinaudit.trainer.objective import Objective
from skinaudit.trainer.process_group import SINGLE, ProcessGroup, joined
from skinaudit.trainer.shards import Worker

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
TRAINING = (
    "--images", "300", "--size", "32", "--width", "0.1", "--epochs", "3", "--hardening", "pgd", "--warm-up", "0.4", "--awp",
    "0.005", "--eps", "4/255", "--threads", "1", "--attack", "fgsm",
)  # fmt: skip


def groups(size: int) -> list[ProcessGroup]:
    return [ProcessGroup(Worker(rank, size)) for rank in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [7, 14, 32, 33])
def test_every_image_of_a_batch_belongs_to_one_process(size: int, count: int) -> None:
    parts = [range(count)[group.mine(count)] for group in groups(size)]
    assert [image for part in parts for image in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("count", range(60, 80))
def test_no_process_gets_a_single_image(size: int, count: int) -> None:
    visited = _visited_images(count, 16, ProcessGroup(Worker(0, size)))
    assert count - 2 * size < visited <= count
    last = visited % 16 or 16
    assert min(len(range(last)[group.mine(last)]) for group in groups(size)) >= 2


def test_the_weighted_gradients_of_all_processes_are_that_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class weights included: the mean over a batch is not the mean of the means over its parts."""
    torch.manual_seed(0)
    images, labels = torch.rand(11, 6), torch.randint(0, 3, (11,))
    objective = Objective(torch.tensor([0.2, 1.0, 5.0]), smoothing=0.1)

    def trained() -> nn.Sequential:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4).eval(), nn.Linear(4, 3))

    whole = trained()
    objective(whole(images), labels).backward()
    models, flat = [trained() for _ in range(3)], []
    for group, model in zip(groups(3), models, strict=True):
        mine = group.mine(len(labels))
        objective(model(images[mine]), labels[mine]).backward()
        model[1].running_mean.fill_(float(group.worker.rank))
        monkeypatch.setattr(distributed, "all_reduce", lambda together: flat.append(together.clone()))
        group.average(model, share=objective.share(labels[mine], labels))
    total = sum(flat)
    monkeypatch.setattr(distributed, "all_reduce", lambda together: together.copy_(total))
    for group, model in zip(groups(3), models, strict=True):
        group.average(model, share=torch.tensor(1.0))
        for weight, expected in zip(model.parameters(), whole.parameters(), strict=True):
            assert torch.allclose(weight.grad, expected.grad, atol=1e-6)
        shares = [objective.share(labels[other.mine(11)], labels) for other in groups(3)]
        assert torch.allclose(model[1].running_mean, (shares[1] + 2 * shares[2]).expand(4))


def test_constants_of_a_model_are_not_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean of equal numbers need not be that number in floating point, so the constants would drift."""
    model = nn.Sequential(nn.Linear(2, 2))
    model.register_buffer("constant", torch.ones(3))
    model(torch.ones(1, 2)).sum().backward()
    monkeypatch.setattr(distributed, "all_reduce", lambda together: together.zero_())
    ProcessGroup(Worker(0, 2)).average(model, share=torch.tensor(0.5))
    assert torch.equal(model.constant, torch.ones(3))


def test_a_process_that_ended_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it was killed, the others must not end with an unexpected error."""

    def broken(*given: object, **named: object) -> None:
        raise RuntimeError("pair.cc:545 Connection reset by peer\nmore")

    monkeypatch.setattr(distributed, "all_reduce", broken)
    monkeypatch.setattr(distributed, "broadcast_object_list", broken)
    model, group = nn.Linear(2, 2), ProcessGroup(Worker(0, 2))
    model(torch.ones(1, 2)).sum().backward()
    exchanges: list[Callable[[], object]] = [
        lambda: group.average(model, share=torch.tensor(1.0)), lambda: group.total(torch.ones(1)), lambda: group.of_first(1)
    ]  # fmt: skip
    for exchange in exchanges:
        with pytest.raises(
            InvalidInputError, match=r"has ended, or cannot be reached \(pair.cc:545 Connection reset by peer\):"
        ):
            exchange()


def test_one_process_changes_nothing() -> None:
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    before = model.weight.grad.clone()
    SINGLE.average(model, share=torch.tensor(0.3))
    assert torch.equal(model.weight.grad, before)
    assert SINGLE.mine(5) == slice(0, 5)
    assert SINGLE.of_first("figures") == "figures"
    tally = Tally(torch.device("cpu"))
    tally.add(torch.tensor(2.0), torch.eye(2), torch.tensor([0, 0]))
    assert tally.means() == (2.0, 0.5)


def test_processes_that_torchrun_did_not_start_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    message = r"WORLD_SIZE=2: to train with several processes start them with torchrun \(not set: MASTER_ADDR"
    with pytest.raises(InvalidInputError, match=message), joined(Worker(1, 2), torch.device("cpu")):
        pass


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*TORCHRUN, "-m", "skinaudit", "train", *TRAINING, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_two_processes_train_one_run(tmp_path: Path) -> None:
    job = run(tmp_path, "--out", "together")
    assert job.returncode == 0, job.stderr
    assert job.stdout.count("run: together") == 1
    assert "on cpu in fp32, 2 processes" in job.stderr
    manifest = json.loads((tmp_path / "together" / "run.json").read_text())
    assert manifest["training"]["processes"] == 2
    assert len((tmp_path / "together" / "log.jsonl").read_text().splitlines()) == 3
    again = run(tmp_path, "--out", "together")
    assert again.returncode != 0
    assert "together: contains a finished run" in again.stderr


@pytest.mark.slow
def test_a_group_that_was_stopped_ends_with_the_bytes_of_one_that_was_not(tmp_path: Path) -> None:
    assert run(tmp_path, "--out", "whole").returncode == 0
    stopped = tmp_path / "stop_after_an_epoch.py"
    stopped.write_text(
        "import os, sys\n"
        "from skinaudit.trainer import loop\n"
        "save = loop._save\n"
        "def stop(*given, **named):\n"
        "    save(*given, **named)\n"
        "    os._exit(9)\n"
        "loop._save = stop\n"
        "from skinaudit.__main__ import main\n"
        "sys.argv[0] = 'skinaudit'\n"
        "main()\n"
    )
    command = [*TORCHRUN, str(stopped), "train", *TRAINING]
    subprocess.run([*command, "--out", "parts"], cwd=tmp_path, capture_output=True, check=False, timeout=300)
    assert not (tmp_path / "parts" / "run.json").exists()
    job = run(tmp_path, "--out", "parts", "--resume")
    assert job.returncode == 0, job.stderr
    digests = [hashlib.sha256((tmp_path / name / "weights.safetensors").read_bytes()) for name in ("whole", "parts")]
    assert digests[0].hexdigest() == digests[1].hexdigest()
