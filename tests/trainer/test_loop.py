"""The loop: it stops, slows down, logs, diverges and resumes as it says."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from skinaudit.artifacts.contract import CLASSES
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError, TrainingDivergedError
from skinaudit.trainer import checkpoint, loop, optimisation
from skinaudit.trainer.loop import Examples, fit
from skinaudit.trainer.models import build
from skinaudit.trainer.process_group import ProcessGroup
from skinaudit.trainer.recipes import RECIPES, Hardening, Recipe, adapted
from skinaudit.trainer.shards import Worker

QUICK = replace(RECIPES["default"], epochs=3, batch=16)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def examples(count: int, seed: int) -> Examples:
    """Images whose brightness tells the class, 32 x 32."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 7, count)
    images = random.integers(0, 60, (count, 3, 32, 32)) + 25 * labels[:, None, None, None]
    return Examples(images.astype(np.uint8), labels)


TRAIN, VAL = examples(48, 1), examples(20, 2)


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("mobilenet", width=0.1, size=32)


def run(folder: Path, recipe: Recipe = QUICK, *, model: nn.Module | None = None, **changes: Any) -> list[dict[str, Any]]:
    settings: dict[str, Any] = {"hardening": None, "seed": 0, "resume": False, "settings_digest": "x", "train": TRAIN}
    settings |= changes
    folder.mkdir(exist_ok=True)
    train = settings.pop("train")
    return fit(model or network(), train, VAL, classes=CLASSES, recipe=recipe, folder=folder, **settings)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in RunFolder(folder).log.read_text(encoding="utf-8").splitlines()]


def test_each_epoch_is_a_line_of_json_numbered_from_one(tmp_path: Path) -> None:
    epochs: list[dict[str, Any]] = []
    history = run(tmp_path, on_epoch=epochs.append)
    assert log_of(tmp_path) == history == epochs
    assert [line["epoch"] for line in history] == [1, 2, 3]
    assert set(history[0]) == {
        "epoch", "seconds", "images_per_second", "learning_rate", "loss", "train_accuracy",
        "val_accuracy", "val_balanced_accuracy", "val_one_class", "monitor", "best",
    }  # fmt: skip
    assert history[0]["best"]


def test_an_old_log_is_not_added_to(tmp_path: Path) -> None:
    """As after a damaged checkpoint that was deleted, as its message says."""
    run(tmp_path)
    RunFolder(tmp_path).checkpoint.unlink()
    run(tmp_path, resume=True)
    assert [line["epoch"] for line in log_of(tmp_path)] == [1, 2, 3]


def test_the_model_is_left_with_its_best_epoch_in_evaluation_mode(tmp_path: Path) -> None:
    model = network()
    history = run(tmp_path, model=model)
    best = max((line for line in history if line["best"]), key=lambda line: line["epoch"])
    assert best["monitor"] == max(line["monitor"] for line in history)
    assert not model.training
    figures = loop._validate(model, VAL, classes=7, recipe=QUICK, hardening=None, seed=0)
    assert figures is not None
    assert figures["monitor"] == best["monitor"]


def interrupted(folder: Path, recipe: Recipe, after: int, **changes: Any) -> None:
    def stop(line: dict[str, Any]) -> None:
        if line["epoch"] == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, recipe, on_epoch=stop, **changes)


FREE = Hardening(ThreatModel("linf", Fraction(4)), steps=1, method="free", settings={"repeats": 2}, awp=0.005)
HARDENED = Hardening(ThreatModel("linf", Fraction(4)), steps=2, clean_share=0.25)


@pytest.mark.parametrize(
    ("after", "hardening", "name"),
    [
        pytest.param(1, HARDENED, "default", id="1-hardened-default"),
        pytest.param(2, None, "paper", id="2-standard-paper"),
        pytest.param(1, None, "default", id="1-standard-default", marks=pytest.mark.slow),
        pytest.param(2, None, "default", id="2-standard-default", marks=pytest.mark.slow),
        pytest.param(1, None, "paper", id="1-standard-paper", marks=pytest.mark.slow),
        pytest.param(2, HARDENED, "default", id="2-hardened-default", marks=pytest.mark.slow),
        pytest.param(1, HARDENED, "paper", id="1-hardened-paper", marks=pytest.mark.slow),
        pytest.param(2, HARDENED, "paper", id="2-hardened-paper", marks=pytest.mark.slow),
        pytest.param(1, FREE, "default", id="1-free-default", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_training_ends_with_the_same_bits(
    tmp_path: Path, name: str, hardening: Hardening | None, after: int
) -> None:
    recipe = replace(RECIPES[name], epochs=3, batch=16)
    whole, parts = network(), network()
    history = run(tmp_path / "whole", recipe, model=whole, hardening=hardening)
    interrupted(tmp_path / "parts", recipe, after, hardening=hardening)
    resumed = run(tmp_path / "parts", recipe, model=parts, hardening=hardening, resume=True)
    assert torch.equal(weights(whole), weights(parts))
    timed = ("seconds", "images_per_second")
    assert [{key: value for key, value in line.items() if key not in timed} for line in resumed] == [
        {key: value for key, value in line.items() if key not in timed} for line in history
    ]
    assert log_of(tmp_path / "parts") == resumed


def test_dropout_draws_the_same_numbers_after_a_resume(tmp_path: Path) -> None:
    """Whatever the caller's global generator has drawn, and without leaving a trace in it."""
    whole, parts = network(), network()
    run(tmp_path / "whole", model=whole)
    interrupted(tmp_path / "parts", QUICK, 1)
    torch.rand(17)
    state = torch.get_rng_state()
    run(tmp_path / "parts", model=parts, resume=True)
    assert torch.equal(weights(whole), weights(parts))
    assert torch.equal(torch.get_rng_state(), state)


def test_another_seed_gives_another_model(tmp_path: Path) -> None:
    first, second = network(), network()
    run(tmp_path / "one", model=first, seed=1)
    run(tmp_path / "two", model=second, seed=2)
    assert not torch.equal(weights(first), weights(second))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    interrupted(tmp_path, QUICK, 1, settings_digest="one")
    with pytest.raises(
        InvalidInputError, match=r"checkpoint.safetensors: belongs to different settings or data; repeat the same"
    ):
        run(tmp_path, resume=True, settings_digest="two")


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    interrupted(tmp_path, QUICK, 1)
    content = RunFolder(tmp_path).checkpoint.read_bytes()
    RunFolder(tmp_path).checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidInputError, match=r"checkpoint.safetensors: not a readable checkpoint .*delete it to train"):
        run(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": None}, "settings should be a text, found null"),
        ({"groups": {}}, "groups should be an array, found an object of 0 entries"),
        ({"groups": []}, "does not fit this training"),
        ({"schedule": [1]}, "schedule should be an object"),
        ({"history": [{"epoch": 1, "best": True}]}, r"history\[0\].monitor is missing, expected a finite number"),
        ({"history": [{"epoch": 0, "best": True, "monitor": 1}]}, r"history\[0\].epoch should be an integer of at least 1"),
        ({"history": [{"epoch": 1, "best": 1, "monitor": 1}]}, r"history\[0\].best should be true or false, found 1"),
        (
            {"history": [{"epoch": 1, "best": True, "monitor": float("nan")}]},
            r"history\[0\].monitor should be a finite number",
        ),
    ],
)
def test_a_damaged_state_of_a_checkpoint_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    interrupted(tmp_path, QUICK, 1)
    path = RunFolder(tmp_path).checkpoint
    tensors, state = checkpoint.load(path)
    checkpoint.save(path, tensors, {**state, **change})
    with pytest.raises(InvalidInputError, match=rf"checkpoint.safetensors: {message}.*; delete it to train from the start"):
        run(tmp_path, resume=True)


def test_weights_of_another_epoch_than_the_kept_one_are_refused(tmp_path: Path) -> None:
    run(tmp_path, QUICK)
    best = RunFolder(tmp_path).best
    tensors, _ = checkpoint.load(best)
    checkpoint.save(best, tensors, {"epoch": 77})
    message = r"best.safetensors: has the weights of epoch 77, but the training kept epoch \d+; delete the folder to train"
    with pytest.raises(InvalidInputError, match=message):
        run(tmp_path, QUICK, resume=True)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    interrupted(tmp_path, QUICK, 1)
    with pytest.raises(
        InvalidInputError, match=r"checkpoint.safetensors: does not fit this training .*; delete it to train"
    ):
        run(tmp_path, resume=True, model=build("mobilenet", width=0.3, size=32))


def test_a_loss_that_becomes_nan_stops_with_an_explanation(tmp_path: Path) -> None:
    recipe = replace(QUICK, optimiser="sgd", schedule="plateau", patience=3, learning_rate=1e30)
    with pytest.raises(
        TrainingDivergedError, match=r"became (nan|inf|NaN).* in epoch 1: start again with --learning-rate below 1e\+30"
    ):
        run(tmp_path, recipe)
    assert not RunFolder(tmp_path).checkpoint.exists()


def test_weights_that_only_the_last_batch_ruined_are_not_kept(tmp_path: Path) -> None:
    """One batch an epoch: its loss is still finite, what it leaves behind is not."""
    recipe = replace(QUICK, batch=48, optimiser="sgd", schedule="plateau", patience=3, learning_rate=1e38)
    with pytest.raises(TrainingDivergedError, match="the validation logits became NaN or infinite in epoch 1"):
        run(tmp_path, recipe)
    assert not RunFolder(tmp_path).checkpoint.exists()


def test_early_stopping_waits_as_long_as_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.2, 0.5, 0.5, 0.4, 0.3, 0.9])
    monkeypatch.setattr(loop, "_validate", lambda *_, **__: {"monitor": next(values), "val_one_class": False})
    history = run(tmp_path, replace(QUICK, epochs=6, stop_patience=3))
    assert [line["monitor"] for line in history] == [0.2, 0.5, 0.5, 0.4, 0.3]
    assert [line["best"] for line in history] == [True, True, False, False, False]


def test_the_plateau_halves_after_three_epochs_without_a_better_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.4, 0.5, 0.3, 0.6, 0.1, 0.1, 0.1, 0.1])
    monkeypatch.setattr(loop, "_validate", lambda *_, **__: {"monitor": next(values), "val_one_class": False})
    recipe = replace(RECIPES["paper"], epochs=9, batch=48, stop_patience=0)
    rates = [line["learning_rate"] for line in run(tmp_path, recipe)]
    assert rates == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025]


def test_one_cycle_ends_with_its_last_step(tmp_path: Path) -> None:
    rates = [line["learning_rate"] for line in run(tmp_path, replace(QUICK, epochs=4))]
    assert max(rates) == rates[0] == pytest.approx(QUICK.learning_rate, rel=0.1)
    assert rates[-1] < QUICK.learning_rate / 1000


@pytest.mark.parametrize("count", [17, 18, 32, 33])
def test_any_number_of_images_trains(tmp_path: Path, count: int) -> None:
    """Batch norm cannot train on a last batch of one image, so that one sits out."""
    history = run(tmp_path, replace(QUICK, epochs=1), train=Examples(TRAIN.images[:count], TRAIN.labels[:count]))
    assert np.isfinite(history[0]["loss"])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_class_weights_average_one_over_the_training_images(exponent: float) -> None:
    labels = np.repeat(np.arange(7), [100, 50, 30, 10, 5, 2, 0])
    recipe = adapted("default", class_weighting=exponent)
    class_weights = optimisation.class_weights(labels, classes=CLASSES, recipe=recipe)  # the last class has no image
    assert float(class_weights[torch.from_numpy(labels)].mean()) == pytest.approx(1)
    assert float(class_weights[3] / class_weights[0]) == pytest.approx(10**exponent)
    assert torch.isfinite(class_weights).all()


def test_a_cost_weighs_one_class_beside_the_others() -> None:
    labels = np.repeat(np.arange(7), [100, 50, 30, 10, 5, 2, 1])
    plain, costly = (
        optimisation.class_weights(labels, classes=CLASSES, recipe=adapted("default", class_costs=costs))
        for costs in ({}, {"mel": 3.0})
    )
    ratio = costly / plain
    assert float(ratio[0] / ratio[1]) == pytest.approx(3)
    assert torch.allclose(ratio[1:], ratio[1])
    assert float(costly[torch.from_numpy(labels)].mean()) == pytest.approx(1)


def test_weight_decay_is_for_convolutions_and_linear_layers() -> None:
    optimiser = optimisation.build_optimiser(network(), RECIPES["default"])
    decayed, free = optimiser.param_groups
    assert decayed["weight_decay"] == 0.05
    assert free["weight_decay"] == 0
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(network().parameters()))


def test_hardened_training_is_judged_under_attack(tmp_path: Path) -> None:
    (line,) = run(tmp_path, replace(QUICK, epochs=1), hardening=HARDENED)
    assert line["monitor"] == line["val_robust_balanced_accuracy"]
    assert line["val_robust_accuracy"] <= line["val_accuracy"]


def test_no_epoch_is_kept_while_eps_still_grows(tmp_path: Path) -> None:
    history = run(tmp_path, replace(QUICK, epochs=4), hardening=replace(HARDENED, ramp=0.75))
    assert [line["best"] for line in history[:2]] == [False, False]
    assert history[2]["best"]


def epoch(number: int, monitor: float, *, one_class: bool = False) -> dict[str, Any]:
    return {"epoch": number, "monitor": monitor, "val_one_class": one_class}


@pytest.mark.parametrize(("warm_up", "ramp"), [(0.0, 0.5), (0.25, 0.25), (0.5, 0.0)])
def test_an_epoch_of_warm_up_or_ramp_sets_no_mark_for_those_after_it(warm_up: float, ramp: float) -> None:
    past = [epoch(1, 0.9), epoch(2, 0.3)]
    recipe, hardening = replace(QUICK, epochs=4), replace(HARDENED, warm_up=warm_up, ramp=ramp)
    assert not loop._is_best(epoch(1, 0.9), [], recipe=recipe, hardening=hardening)
    assert loop._is_best(epoch(3, 0.4), past, recipe=recipe, hardening=hardening)
    assert not loop._is_best(epoch(3, 0.2), past, recipe=recipe, hardening=hardening)
    assert loop._is_best(epoch(1, 0.9), [], recipe=recipe, hardening=None)


def test_full_eps_begins_with_the_epoch_that_the_shares_name() -> None:
    """0.4 + 0.2 of 20 epochs is 12.000000000000002 in floating point."""
    recipe, hardening = replace(QUICK, epochs=20), replace(HARDENED, warm_up=0.4, ramp=0.2)
    assert not loop._is_best(epoch(11, 0.9), [], recipe=recipe, hardening=hardening)
    assert loop._is_best(epoch(12, 0.1), [], recipe=recipe, hardening=hardening)


def test_an_epoch_that_answers_one_class_never_wins_against_one_that_does_not() -> None:
    settings: dict[str, Any] = {"recipe": QUICK, "hardening": None}
    assert loop._is_best(epoch(1, 1 / 7, one_class=True), [], **settings)
    assert loop._is_best(epoch(2, 0.05), [epoch(1, 1 / 7, one_class=True)], **settings)
    assert not loop._is_best(epoch(2, 1 / 7, one_class=True), [epoch(1, 0.05)], **settings)


def test_a_process_that_does_not_see_the_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine whose disk is its own: it would begin with the first epoch, and the others would wait for ever."""
    monkeypatch.setattr(ProcessGroup, "of_first", lambda group, value: 2)
    message = "the first process continues after epoch 2, this one after epoch 0; put the folder of the run on a disk"
    with pytest.raises(InvalidInputError, match=message):
        run(tmp_path, resume=True, group=ProcessGroup(Worker(1, 2)))


def test_a_batch_that_leaves_a_process_one_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="processes need two images each; choose a larger batch or fewer processes"):
        run(tmp_path, group=ProcessGroup(Worker(0, QUICK.batch)))


@pytest.mark.parametrize(("images", "processes"), [(1, 1), (3, 2)])
def test_fewer_images_than_the_processes_need_are_refused(tmp_path: Path, images: int, processes: int) -> None:
    few = Examples(np.zeros((images, 3, 32, 32), np.uint8), np.zeros(images, np.int64))
    with pytest.raises(
        InvalidInputError, match=rf"{images} training images?: too few, because each process \({processes}\)"
    ):
        fit(
            nn.Linear(1, 1), few, few, classes=("a", "b"), recipe=QUICK, hardening=None, seed=0, folder=tmp_path,
            resume=False, settings_digest="", group=ProcessGroup(Worker(0, processes)),
        )  # fmt: skip
