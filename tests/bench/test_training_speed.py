"""The contest of training loops: who takes part, and that each contestant trains."""

from __future__ import annotations

import torch

from skinaudit.bench.training_speed import CPU, Network, Speed, Work, alone, contestants_of, in_turns, speed_table
from skinaudit.trainer.computing import Computing

WORK = Work(images=4, batch=2, steps=1)
NETWORK = Network("mobilenet", 0.1, 32)


def test_a_graph_is_the_attacks_so_no_standard_training_has_one() -> None:
    names = set(contestants_of([Computing("bf16"), Computing("bf16", cuda_graphs=True)], bf16=True, art=True))
    assert names == {
        "plain loop, standard", "plain loop, standard, bf16", "plain loop, autograd.grad", "plain loop, autograd.grad, bf16",
        "plain loop, loss.backward", "ART AdversarialTrainerMadryPGD", "skinaudit, standard, bf16",
        "skinaudit, hardened, bf16", "skinaudit, hardened, bf16, CUDA graph",
    }  # fmt: skip


def test_every_contestant_trains_the_model_that_it_is_given() -> None:
    torch.set_num_threads(1)
    for name, make in contestants_of([Computing("bf16")], bf16=True, art=False).items():
        model = NETWORK.built(CPU)
        before = [weight.detach().clone() for weight in model.parameters()]
        make(model, WORK.data(32), WORK)(0)
        assert all(torch.isfinite(weight).all() for weight in model.parameters()), name
        assert not any(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)), name


def test_speeds_count_images_and_ratios_are_those_of_hardened_contestants() -> None:
    makes = {"quick": lambda model, batch, work: lambda number: None}
    assert in_turns(makes, NETWORK, WORK, rounds=1, say=lambda _: None)["quick"].images_per_second > 1e3
    assert alone(makes["quick"], NETWORK, WORK, device=CPU, rounds=1).images_per_second > 1e3
    speeds = {"ours": Speed(100.0, 0.0), "theirs": Speed(40.0, 0.0), "standard": Speed(10.0, 0.0)}
    rows = [line.strip("| \n").split(" | ") for line in speed_table(speeds, ours="ours").splitlines()[2:]]
    assert rows == [["**ours**", "100.0", "1.00"], ["theirs", "40.0", "2.50"], ["standard", "10.0", "-"]]
