"""Checkpoints survive the file, optimiser and all; what is no checkpoint says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from skinaudit.artifacts.files import digest_file
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import checkpoint


def test_round_trip_of_tensors_in_any_layout_and_of_the_state(tmp_path: Path) -> None:
    tensors = {
        "last": torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(3.0),
        "grad": torch.rand(2, requires_grad=True),
    }
    state = {"history": [{"loss": 0.1 + 0.2, "best": True}], "lr": 1e-3 / 3}
    checkpoint.save(tmp_path / "c", tensors, state)
    loaded, loaded_state = checkpoint.load(tmp_path / "c")
    assert loaded_state == state
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())


def trained(optimiser: torch.optim.Optimizer, weight: torch.nn.Parameter, steps: int) -> None:
    for step in range(steps):
        optimiser.zero_grad()
        (weight * (step + 1)).pow(2).sum().backward()
        optimiser.step()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_restored_optimiser_goes_on_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    def make(weight: torch.nn.Parameter) -> torch.optim.Optimizer:
        if kind == "adamw":
            return torch.optim.AdamW([weight], lr=0.1, betas=(0.9, 0.999))
        return torch.optim.SGD([weight], lr=0.001, momentum=0.9)

    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    optimiser = make(parameter)
    trained(optimiser, parameter, 3)
    tensors, groups = checkpoint.optimiser_tensors(optimiser)
    checkpoint.save(tmp_path / "c", tensors, {"groups": groups})
    restored = torch.nn.Parameter(parameter.detach().clone())
    restored_optimiser = make(restored)
    loaded, state = checkpoint.load(tmp_path / "c")
    checkpoint.restore_optimiser(restored_optimiser, loaded, state["groups"])
    trained(optimiser, parameter, 3)
    trained(restored_optimiser, restored, 3)
    assert torch.equal(parameter, restored)


def test_a_changed_number_or_state_is_refused(tmp_path: Path) -> None:
    """Also where the file is still one that could be read."""
    path = tmp_path / "c"
    checkpoint.save(path, {"a": torch.arange(4.0), "b": torch.tensor(7)}, {"epoch": 3})
    whole = path.read_bytes()
    for changed in (whole[:-1] + bytes([whole[-1] ^ 1]), whole.replace(b": 3}", b": 4}"), whole.replace(b'"b"', b'"c"')):
        assert changed != whole
        path.write_bytes(changed)
        with pytest.raises(InvalidInputError, match=r"c: content and digest differ, .*; delete it to train from the start"):
            checkpoint.load(path)


def test_a_checkpoint_of_an_earlier_version_is_read_without_a_digest(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "c", metadata={"skinaudit.checkpoint": '{"epoch": 3}'})
    assert checkpoint.load(tmp_path / "c")[1] == {"epoch": 3}


def test_a_truncated_or_foreign_file_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", {"a": torch.zeros(100)}, {})
    content = (tmp_path / "c").read_bytes()
    for length in (0, 5, 50, len(content) // 2, len(content) - 1):
        (tmp_path / "c").write_bytes(content[:length])
        with pytest.raises(InvalidInputError, match=r"c: not a readable checkpoint .*delete it to train from the start"):
            checkpoint.load(tmp_path / "c")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(InvalidInputError, match="foreign: not a checkpoint of skinaudit"):
        checkpoint.load(tmp_path / "foreign")
    with pytest.raises(InvalidInputError, match="none: no such checkpoint"):
        checkpoint.load(tmp_path / "none")


def test_a_runs_model_answers_what_its_sets_say(tiny_run: Path) -> None:
    from skinaudit.artifacts.adversarial_set import open_set
    from skinaudit.trainer.evaluate import logits_of

    model = checkpoint.load_run_model(tiny_run)
    assert not model.training
    for path in sorted((tiny_run / "sets").iterdir()):
        stored = open_set(path)
        images = next(stored.batches(len(stored)))
        torch.testing.assert_close(
            torch.from_numpy(logits_of(model, images)), torch.from_numpy(stored.source_logits), rtol=1e-3, atol=1e-4
        )


def test_a_run_with_changed_or_unfitting_weights_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    path = run / "weights.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, path)
    with pytest.raises(InvalidInputError, match=r"weights.safetensors: digest .*changed after it was written"):
        checkpoint.load_run_model(run)
    manifest = (run / "run.json").read_text().replace(digest_file(tiny_run / "weights.safetensors"), digest_file(path))
    (run / "run.json").write_text(manifest.replace('"width": 0.25', '"width": 0.5'))
    with pytest.raises(InvalidInputError, match=r"weights.safetensors: the weights do not fit the run's model"):
        checkpoint.load_run_model(run)
    (run / "run.json").write_text(manifest.replace('"width": 0.25', '"breadth": 0.25'))
    with pytest.raises(InvalidInputError, match=r"run.json: has no arch and width to build the model from"):
        checkpoint.load_run_model(run)


def test_a_library_that_quotes_the_file_makes_no_long_message(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "x" * 5000, "shape": [], "data_offsets": [0, 0]}}).encode()
    (tmp_path / "c").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InvalidInputError, match="not a readable checkpoint") as raised:
        checkpoint.load(tmp_path / "c")
    assert len(str(raised.value)) < 500
