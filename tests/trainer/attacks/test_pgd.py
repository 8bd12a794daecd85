"""FGSM and PGD against closed-form optima on linear models, and what every attack owes its caller."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.attack_record import LEAD_GRADIENT, LOSS_GRADIENT, NEVER, NO_GRADIENT
from skinaudit.artifacts.threat_model import Norm, ThreatModel
from skinaudit.bench.tempered import Tempered
from skinaudit.errors import InvalidInputError
from skinaudit.tests.attacked_models import Linear, Tiny, case, loss_and_broken, seeded
from skinaudit.trainer.ascent import look
from skinaudit.trainer.attack_trace import AttackTrace
from skinaudit.trainer.attacks import fgsm, pgd
from skinaudit.trainer.models import build

BATCHES = (1, 2, 7)
SIZES = (3, 8)
LINF = ThreatModel("linf", Fraction(8))
L2 = ThreatModel("l2", Fraction(64))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("attack", [fgsm.attack, pgd.attack])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_linf_optimum_of_a_linear_model(batch: int, size: int, attack: Callable[..., Tensor], targeted: bool) -> None:
    model, images, labels = case(batch, size)
    perturbed = attack(model, images, labels, threat_model=LINF, generator=seeded(), targeted=targeted)
    ascent = model.direction(labels, size) * (-1 if targeted else 1)
    torch.testing.assert_close(perturbed, (images + LINF.eps * ascent.sign()).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("attack", [fgsm.attack, pgd.attack])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_l2_optimum_of_a_linear_model(batch: int, size: int, attack: Callable[..., Tensor], targeted: bool) -> None:
    model, images, labels = case(batch, size, low=0.3, high=0.7)  # far enough from the sides of the box
    # The default steps halve the angle to the optimum every ten or so; full ones halve it each.
    settings = {"step_size": L2.eps} if attack is pgd.attack else {}
    perturbed = attack(model, images, labels, threat_model=L2, generator=seeded(), targeted=targeted, **settings)
    ascent = model.direction(labels, size) * (-1 if targeted else 1)
    optimum = images + L2.eps * ascent / ascent.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(perturbed, optimum, rtol=0, atol=2e-4)  # float32 losses tie near the optimum


@pytest.mark.parametrize("threat_model", [LINF, L2])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny: Tiny, threat_model: ThreatModel) -> None:
    model, images, labels = tiny
    first, again, other_seed = (
        pgd.attack(model, images, labels, threat_model=threat_model, generator=seeded(seed), steps=3, keep="last")
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other_seed)


@pytest.mark.parametrize("threat_model", [LINF, L2])
@pytest.mark.parametrize("settings", [{}, {"restarts": 3}, {"keep": "last"}, {"stop_margin": 0.5}, {"targeted": True}])
def test_the_result_is_inside_the_ball_and_the_box(tiny: Tiny, threat_model: ThreatModel, settings: dict[str, Any]) -> None:
    model, images, labels = tiny
    perturbed = pgd.attack(model, images, labels, threat_model=threat_model, generator=seeded(), steps=5, **settings)
    order = float("inf") if threat_model.norm == "linf" else 2
    assert (perturbed - images).flatten(1).norm(dim=1, p=order).max() <= threat_model.eps * (1 + 1e-5)
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1


@pytest.mark.parametrize("threat_model", [LINF, L2])
def test_worst_is_never_worse_than_last(tiny: Tiny, threat_model: ThreatModel) -> None:
    """With steps as long as the ball is wide, so that the end of a start is often not its worst point."""
    model, images, labels = tiny
    settings: dict[str, Any] = {"threat_model": threat_model, "steps": 6, "step_size": 2 * threat_model.eps}
    worst = pgd.attack(model, images, labels, generator=seeded(3), keep="worst", **settings)
    last = pgd.attack(model, images, labels, generator=seeded(3), keep="last", **settings)
    (worst_loss, worst_broken), (last_loss, last_broken) = (
        loss_and_broken(model, perturbed, labels) for perturbed in (worst, last)
    )
    assert (worst_broken >= last_broken).all()
    same_success = worst_broken == last_broken
    assert (worst_loss[same_success] >= last_loss[same_success] - 1e-4).all()
    assert (worst_loss > last_loss + 1e-3).any()


@pytest.mark.parametrize("threat_model", [LINF, L2])
def test_restarts_never_give_a_smaller_loss(tiny: Tiny, threat_model: ThreatModel) -> None:
    model, images, labels = tiny
    losses, broken = [], []
    for restarts in (1, 2, 5):
        perturbed = pgd.attack(
            model, images, labels, threat_model=threat_model, generator=seeded(4), steps=3, restarts=restarts
        )
        loss, wrong = loss_and_broken(model, perturbed, labels)
        losses.append(loss + 1e3 * wrong)
        broken.append(int(wrong.sum()))
    assert (losses[1] >= losses[0] - 1e-3).all()
    assert (losses[2] >= losses[1] - 1e-3).all()
    assert (losses[2] > losses[0] + 1e-4).any()
    assert broken == sorted(broken)


@pytest.mark.parametrize("loss", ["margin", "dlr"])
@pytest.mark.parametrize("targeted", [False, True])
def test_losses_that_ignore_the_scale_of_the_logits(tiny: Tiny, loss: str, targeted: bool) -> None:
    """Logits times 1,000 saturate the cross-entropy. These losses give the same points, nearly, and break as many images."""
    model, images, labels = tiny
    aims = (labels + 1) % model(images).shape[1] if targeted else labels
    settings: dict[str, Any] = {
        "threat_model": ThreatModel("linf", Fraction(8)),
        "steps": 10,
        "loss": loss,
        "targeted": targeted,
    }
    plain = pgd.attack(model, images, aims, generator=seeded(), keep="last", **settings)
    scaled = pgd.attack(Tempered(model, 1000).eval(), images, aims, generator=seeded(), keep="last", **settings)
    assert ((plain - scaled).abs() < 1e-6).float().mean() > 0.99
    kept = pgd.attack(model, images, aims, generator=seeded(), **settings)
    before, after = ((model(points).argmax(1) == aims).float().mean() for points in (images, kept))
    assert after > before if targeted else after < before


def test_cosine_steps_fall_from_twice_eps_to_a_twentieth_of_that() -> None:
    sizes = pgd._sizes("cosine", None, steps=40, eps=0.01)
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (pytest.approx(0.02), pytest.approx(0.001))
    assert pgd._sizes("cosine", 0.004, steps=1, eps=0.01) == [pytest.approx(0.004)]
    assert pgd._sizes("constant", None, steps=40, eps=0.01) == [pytest.approx(0.025 / 40)] * 40


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_cosine_steps_break_what_a_wave_in_the_loss_hides_from_steps_of_one_size(norm: Norm) -> None:
    """The margin is a slope with a wave on it: small steps stop at the first crest, large ones pass over it."""
    threat_model = ThreatModel(norm, Fraction(8))
    images, labels = torch.full((4, 3, 2, 2), 0.5), torch.zeros(4, dtype=torch.int64)
    settings: dict[str, Any] = {"threat_model": threat_model, "steps": 40, "random_start": False}
    constant, cosine = (
        pgd.attack(Waves(), images, labels, generator=seeded(), schedule=schedule, **settings)
        for schedule in ("constant", "cosine")
    )
    assert (Waves()(constant).argmax(1) == labels).all()
    assert (Waves()(cosine).argmax(1) != labels).all()


class Waves(nn.Module):
    """Two logits. The second rises in waves as the image gets brighter. On the first crest it is still behind."""

    def forward(self, images: Tensor) -> Tensor:
        away = (images - 0.5).flatten(1).mean(1) * 255
        lead = -1 + 0.3 * away + 0.6 * torch.sin(3 * away + 0.5)
        return torch.stack((torch.zeros_like(lead), lead), 1)


def test_a_gradient_in_pieces_is_the_whole_one(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, labels = tiny
    whole = pgd.input_gradient(model, images, labels)
    monkeypatch.setattr(look, "CPU_PIXELS", 3 * images[0, 0].numel())
    pieces = pgd.input_gradient(model, images, labels)
    assert len(images) > 3
    for expected, computed in zip(whole, pieces, strict=True):
        torch.testing.assert_close(expected, computed)


def test_a_loss_that_softmax_rounds_away_is_followed_all_the_same(tiny: Tiny) -> None:
    """Logits times 200 decide alike; their cross-entropy is 0, and so was its gradient."""
    model, images, labels = tiny
    settings: dict[str, Any] = {"threat_model": ThreatModel("linf", Fraction(2)), "steps": 20}
    broken, records = [], []
    for factor in (1, 200):
        tempered = nn.Sequential(model, Scaled(factor))
        trace = AttackTrace()
        perturbed = pgd.attack(tempered, images, labels, generator=seeded(), trace=trace, **settings)
        broken.append(float(loss_and_broken(model, perturbed, labels)[1].float().mean()))
        records.append(trace.record(torch.ones(len(images))))
    assert 0.1 < broken[0] < 1
    assert broken[1] >= broken[0]
    assert (records[0].gradient == LOSS_GRADIENT).all()
    assert (records[1].gradient == LEAD_GRADIENT).mean() > 0.5
    for record, share in zip(records, broken, strict=True):
        assert (record.path[:, -1] > record.path[:, 0]).all()
        assert np.isfinite(record.path).all()
        assert (record.success != NEVER).mean() == pytest.approx(share)


class Scaled(nn.Module):
    """Its input times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.factor


@pytest.mark.parametrize("targeted", [False, True])
def test_the_smooth_lead_takes_over_where_the_cross_entropy_ends(targeted: bool) -> None:
    """Both gradients have one direction, and the loss still rises with the lead."""
    logits = torch.tensor([[0.0, lead, 0.0] for lead in (2.0, 13.0, 14.5, 60.0, 1000.0)], requires_grad=True)
    labels = torch.ones(5, dtype=torch.int64)
    loss = pgd._loss(logits, labels, targeted=targeted)
    order = loss.detach().tolist()
    assert order == sorted(order, reverse=not targeted)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    directions = gradient / gradient.norm(dim=1, keepdim=True)
    torch.testing.assert_close(directions, directions[:1].expand(5, 3), atol=1e-2, rtol=0)


def test_a_trace_tells_where_nothing_could_be_followed() -> None:
    """The second image is rounded to a constant."""

    class HalfBlind(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(torch.cat([images[:1], images[1:].round()]))

    model, trace = HalfBlind(3), AttackTrace()
    images = torch.full((2, 3, 3, 3), 0.3)
    pgd.attack(model, images, torch.tensor([0, 0]), threat_model=LINF, generator=seeded(), steps=3, restarts=2, trace=trace)
    assert trace.record(torch.ones(len(images))).gradient.tolist() == [LOSS_GRADIENT, NO_GRADIENT]
    assert trace.record(torch.ones(len(images))).silent.tolist() == [False, True]
    assert trace.record(torch.ones(len(images))).path[1].std() == 0
    with pytest.raises(InvalidInputError, match="a trace records the full budget"):
        pgd.attack(model, images, torch.tensor([0, 0]), threat_model=LINF, generator=seeded(), stop_margin=0.0, trace=trace)


@pytest.mark.parametrize("earlier", [0, 1])
def test_success_ranks_above_loss(earlier: int) -> None:
    """Three classes: a loss can be greater where the truth still leads. `earlier` have left the loop already."""
    recorded = torch.zeros(1 + earlier, 1, 1, 1)
    best = torch.full((1 + earlier,), -torch.inf, dtype=torch.float64)
    for value, loss, lead, expected in ((1.0, 0.5, 0.1, 1.0), (2.0, 0.9, -0.1, 1.0), (3.0, 0.51, 0.1, 3.0)):
        moved = torch.full((1, 1, 1, 1), value)
        recorded, best = pgd._record(recorded, best, torch.tensor([0]), moved, torch.tensor([loss]), torch.tensor([lead]))
        assert recorded.flatten().tolist() == [expected, *[0.0] * earlier]


def test_a_targeted_attack_descends_to_its_class(tiny: Tiny) -> None:
    model, images, labels = tiny
    aims = (labels + 1) % 4
    wide = ThreatModel("linf", Fraction(64))
    perturbed = pgd.attack(model, images, aims, threat_model=wide, generator=seeded(), steps=40, targeted=True)
    assert (model(perturbed).argmax(1) == aims).float().mean() > 0.9


def test_an_attack_leaves_model_and_images_alone() -> None:
    model = build("mobilenet", width=0.25, classes=7, size=32).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.rand(2, 3, 32, 32)
    copy, labels = images.clone(), torch.tensor([0, 1])
    pgd.attack(model, images, labels, threat_model=LINF, generator=seeded(), steps=2)
    fgsm.attack(model, images, labels, threat_model=LINF, generator=seeded())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(images, copy)
    assert not images.requires_grad


def test_fgsm_draws_nothing(tiny: Tiny) -> None:
    model, images, labels = tiny
    generator = seeded(9)
    fgsm.attack(model, images, labels, threat_model=LINF, generator=generator)
    assert torch.equal(generator.get_state(), seeded(9).get_state())


def test_works_under_no_grad(tiny: Tiny) -> None:
    model, images, labels = tiny
    expected = pgd.attack(model, images, labels, threat_model=LINF, generator=seeded(), steps=2)
    with torch.no_grad():
        perturbed = pgd.attack(model, images, labels, threat_model=LINF, generator=seeded(), steps=2)
    assert torch.equal(perturbed, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps 0"),
        ({"restarts": 0}, "restarts 0"),
        ({"step_size": 0.0}, "step_size 0.0"),
        ({"step_size": -0.1}, "step_size -0.1"),
        ({"loss": "hinge"}, "loss 'hinge': choose cross-entropy, margin, dlr"),
        ({"loss": "dlr", "settle": 4.0, "stop_margin": 0.0}, "with settle only cross-entropy"),
        ({"schedule": "linear"}, "schedule 'linear': choose constant or cosine"),
        ({"keep": "best"}, "keep 'best': choose worst or last"),
        ({"keep": "last", "stop_margin": 0.5}, "with stop_margin only worst"),
        (
            {"settle": 4.0},
            "settle 4.0: give a number from 1 on, together with stop_margin, without a trace",
        ),
        ({"settle": 0.5, "stop_margin": 0.0}, "settle 0.5: give a number from 1 on"),
        (
            {"settle": 4.0, "stop_margin": 0.0, "targeted": True},
            "settle 4.0: give a number from 1 on, together with stop_margin, without a trace and without targeted",
        ),
    ],
)
def test_settings_out_of_range_are_refused(tiny: Tiny, settings: dict[str, Any], message: str) -> None:
    model, images, labels = tiny
    with pytest.raises(InvalidInputError, match=message):
        pgd.attack(model, images, labels, threat_model=LINF, generator=seeded(), **settings)
