"""Attacks that only measure: images leave once they are broken, or once the attack will not break them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from skinaudit.artifacts.threat_model import Norm, ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.tests.attacked_models import Tiny, case, loss_and_broken, seeded
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.adaptive import adapt
from skinaudit.trainer.ascent.look import Worst
from skinaudit.trainer.ascent.losses import dlr
from skinaudit.trainer.ascent.settling import by_smooth_lead
from skinaudit.trainer.attacks import apgd_ce, apgd_dlr, apgd_t, pgd

LINF = ThreatModel("linf", Fraction(8))
L2 = ThreatModel("l2", Fraction(64))


@pytest.mark.parametrize("eps", [1, 2, 8])
@pytest.mark.parametrize("targeted", [False, True])
def test_dropping_broken_images_breaks_the_same_images(tiny: Tiny, eps: int, targeted: bool) -> None:
    model, images, labels = tiny
    aims = (labels + 1) % 4 if targeted else labels
    settings: dict[str, Any] = {
        "threat_model": ThreatModel("linf", Fraction(eps)), "steps": 20, "targeted": targeted, "random_start": False,
    }  # fmt: skip
    full = pgd.attack(model, images, aims, generator=seeded(), **settings)
    quick = pgd.attack(model, images, aims, generator=seeded(), stop_margin=0.0, **settings)
    broken = [(model(perturbed).argmax(1) == aims) == targeted for perturbed in (full, quick)]
    assert torch.equal(*broken)


def test_stopping_leaves_some_and_drops_some(tiny: Tiny) -> None:
    """The former test would pass on a model that nothing breaks, or everything: this one is neither."""
    model, images, labels = tiny
    perturbed = pgd.attack(
        model, images, labels, threat_model=ThreatModel("linf", Fraction(2)), generator=seeded(), steps=20
    )
    share = float(loss_and_broken(model, perturbed, labels)[1].float().mean())
    assert 0.1 < share < 0.9


class Counted(nn.Module):
    """A model that counts the images it is asked."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.asked = model, 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        answer: Tensor = self.model(images)
        return answer


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [1, 2, 8])
@pytest.mark.parametrize(("restarts", "schedule"), [(1, "constant"), (2, "constant"), (1, "cosine")])
def test_dropping_settled_images_breaks_the_same_images(
    tiny: Tiny, norm: Norm, eps: int, restarts: int, schedule: str
) -> None:
    model, images, labels = tiny
    settings: dict[str, Any] = {
        "threat_model": ThreatModel(norm, Fraction(eps if norm == "linf" else 24 * eps)), "steps": 20, "stop_margin": 0.0,
        "restarts": restarts, "schedule": schedule,
    }  # fmt: skip
    plain, quick = Counted(model), Counted(model)
    broken = [
        model(pgd.attack(counted, images, labels, generator=seeded(), settle=settle, **settings)).argmax(1) != labels
        for counted, settle in ((plain, None), (quick, 2.0))
    ]
    assert torch.equal(*broken)
    assert quick.asked <= plain.asked
    if eps == 1:
        assert quick.asked < plain.asked


class OneSide(nn.Module):
    """An image is broken by a brighter first pixel, but the gradient of a darker one leads down."""

    def forward(self, images: Tensor) -> Tensor:
        away = (images[:, 0, 0, 0] - 0.5) * 255
        lead = torch.where(away > 0, away - 1, -1 - 0.01 * away)
        return torch.stack((torch.zeros_like(lead), lead), 1)


@pytest.mark.parametrize("attack", [pgd.attack, apgd_ce.attack, apgd_dlr.attack])
def test_settled_images_start_again(attack: Callable[..., Tensor]) -> None:
    images, labels = torch.full((40, 3, 2, 2), 0.5), torch.zeros(40, dtype=torch.int64)
    settings: dict[str, Any] = {"threat_model": ThreatModel("linf", Fraction(4)), "steps": 20, "stop_margin": 0.0}
    model = OneSide().eval()
    once, often = (
        model(attack(model, images, labels, generator=seeded(), settle=2.0, restarts=count, **settings)) for count in (1, 8)
    )
    assert (once[:, 1] <= 0).sum() > 10
    assert (often[:, 1] <= 0).sum() < 5


class FlatAtFirst(nn.Module):
    """Two logits; the lead hardly rises at first and then steeply."""

    def forward(self, images: Tensor) -> Tensor:
        away = (images - 0.5).flatten(1).mean(1) * 255
        lead = -1 + 1e-3 * away + 3 * (away - 2).clamp_min(0)
        return torch.stack((torch.zeros_like(lead), lead), 1)


AUTO_PGD = [apgd_ce.attack, apgd_dlr.attack, apgd_t.attack]


@pytest.mark.parametrize("attack", AUTO_PGD)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10])
def test_no_image_of_auto_pgd_settles_at_its_random_start(steps: int, attack: Callable[..., Tensor]) -> None:
    images, labels = torch.full((8, 3, 8, 8), 0.5), torch.zeros(8, dtype=torch.int64)
    model = FlatAtFirst().eval()
    found = attack(
        model, images, labels, threat_model=ThreatModel("linf", Fraction(4)), generator=seeded(), steps=steps,
        stop_margin=0.0, settle=2.0,
    )  # fmt: skip
    assert (model(found)[:, 1] > 0).all()


def test_the_rule_sees_the_margin_of_the_class_that_is_attacked(tiny: Tiny) -> None:
    """Another wrong class may be near all the time without ever winning."""
    model, images, labels = tiny
    aims = (labels + 1) % 4
    seen: list[tuple[Tensor, Tensor]] = []

    def rule(ratio: Tensor, gain: Tensor, *, first: Tensor, largest: Tensor, share: float) -> Tensor:
        seen.append((first, largest))
        return torch.zeros_like(gain, dtype=torch.bool)

    worst = Worst(images, labels)
    adapt(
        model, images, labels, worst=worst, index=torch.arange(len(images)), start=images, steps=20, loss=dlr,
        threat_model=LINF, aims=aims, stop_margin=1e6, settle=2.0, rule=rule,
    )  # fmt: skip
    logits = model(images)
    expected = (logits.gather(1, aims.view(-1, 1)) - logits.gather(1, labels.view(-1, 1))).squeeze(1)
    assert len(seen) == 15
    for first, largest in seen:
        torch.testing.assert_close(first, expected)
        assert (largest >= first).all()
        assert (largest <= worst.margin + 1e-6).all()


@pytest.mark.parametrize("eps", [1, 2, 8])
@pytest.mark.parametrize(
    ("attack", "further"),
    [
        (apgd_ce.attack, {"restarts": 1}), (apgd_ce.attack, {"restarts": 2}), (apgd_dlr.attack, {"restarts": 1}),
        (apgd_dlr.attack, {"restarts": 2}), (apgd_t.attack, {"targets": 3}),
    ],
)  # fmt: skip
def test_auto_pgd_breaks_the_same_images_when_settled_ones_leave(
    tiny: Tiny, eps: int, attack: Callable[..., Tensor], further: dict[str, int]
) -> None:
    model, images, labels = tiny
    settings: dict[str, Any] = {"threat_model": ThreatModel("linf", Fraction(eps)), "stop_margin": 0.0, **further}
    plain, quick = Counted(model).eval(), Counted(model).eval()
    broken = [
        model(attack(counted, images, labels, generator=seeded(), steps=40, settle=settle, **settings)).argmax(1) != labels
        for counted, settle in ((plain, None), (quick, 2.0))
    ]
    assert torch.equal(*broken)
    assert quick.asked < plain.asked if eps == 1 else quick.asked <= plain.asked


@pytest.mark.parametrize(
    "settings",
    [
        {"settle": 2.0},
        {"settle": 0.5, "stop_margin": 0.0},
        {"settle": float("nan"), "stop_margin": 0.0},
        {"settle": 2.0, "stop_margin": 0.0, "targeted": True},
    ],
)
@pytest.mark.parametrize("attack", [apgd_ce.attack, apgd_dlr.attack])
def test_auto_pgd_with_an_invalid_settle_is_refused(
    tiny: Tiny, settings: dict[str, Any], attack: Callable[..., Tensor]
) -> None:
    model, images, labels = tiny
    with pytest.raises(InvalidInputError, match="settle"):
        attack(model, images, labels, threat_model=LINF, generator=seeded(), **settings)


def test_a_targeted_cascade_with_an_invalid_settle_is_refused(tiny: Tiny) -> None:
    model, images, labels = tiny
    for settings in ({"settle": 2.0}, {"settle": 0.5, "stop_margin": 0.0}):
        with pytest.raises(InvalidInputError, match="apgd-t: settle"):
            apgd_t.attack(model, images, labels, threat_model=LINF, generator=seeded(), **settings)


@pytest.mark.parametrize("threat_model", [LINF, L2])
def test_a_linear_model_settles_where_its_optimum_says(threat_model: ThreatModel) -> None:
    """There the gain is exact: an image settles at share 1 where no point of the ball breaks it."""
    model, images, _ = case(64, 3, low=0.2, high=0.8)  # no box in the way
    labels = model(images).argmax(1)
    gradient, loss, lead = pgd.input_gradient(model, images, labels)
    gain = ball.linear_gain(images, images, gradient, threat_model=threat_model)
    optimum = pgd.attack(model, images, labels, threat_model=threat_model, generator=seeded())
    unbroken = model(optimum).argmax(1) == labels
    assert 0.1 < unbroken.float().mean() < 0.9
    smooth, gain = pgd._of_smooth_lead(loss, gain)
    assert torch.equal(by_smooth_lead(smooth, gain, first=lead, largest=lead, share=1.0), unbroken)


@pytest.mark.parametrize("smooth", [-100.0, -20.0, -13.0, -0.5, 3.0, 50.0])
def test_the_smooth_lead_and_its_gain_come_from_the_cross_entropy(smooth: float) -> None:
    """Where softmax rounds the truth to 1, the loss is the smooth lead already."""
    margin = torch.tensor([smooth], requires_grad=True)
    loss = margin if smooth < -14 else functional.softplus(margin)
    (slope,) = torch.autograd.grad(loss.sum(), margin)
    found, gain = pgd._of_smooth_lead(loss.detach(), 0.3 * slope)
    assert found.item() == pytest.approx(smooth, rel=1e-4)
    assert gain.item() == pytest.approx(0.3, rel=1e-4)
