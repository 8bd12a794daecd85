"""What every attack owes its caller, by its file: a new attack is tried here without a word."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.attack_record import NEVER, NO_GRADIENT
from skinaudit.artifacts.threat_model import Norm, ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import attacks
from skinaudit.trainer.ascent.losses import cross_entropy, smooth_lead
from skinaudit.trainer.attack_trace import AttackTrace

EPS = {"linf": Fraction(8), "l2": Fraction(64)}
SIZE, COUNT = 5, 8

ONE_STEP = {"fgsm"}
"""Attacks that need not find what several steps find."""
ONE_NORM: dict[str, Norm] = {"carlini-wagner": "l2", "boundary": "l2"}
"""Attacks that exist for one norm."""
WEAK = {"square", "spsa", "boundary"}
"""Attacks without gradients: near the optimum, not on it."""
EACH_CLASS = {"apgd-t", "autoattack", "deepfool", "fab-t", "pgd-dlr"}
"""Attacks that go towards one wrong class after another, not only to the one that is nearest in the logits."""
QUICK: dict[str, dict[str, Any]] = {
    "apgd-ce": {"steps": 30}, "apgd-dlr": {"steps": 30}, "apgd-t": {"steps": 20}, "fab-t": {"steps": 10},
    "autoattack": {"steps": 10, "queries": 10}, "square": {"queries": 200}, "carlini-wagner": {"steps": 30, "searches": 5},
    "spsa": {"steps": 10, "samples": 8}, "deepfool": {"steps": 5}, "boundary": {"queries": 300},
}  # fmt: skip
"""Settings that a linear model does not need more of."""

CASES = [
    (name, norm)
    for name in attacks.names()
    for norm in ("linf", "l2")
    if ONE_NORM.get(name, norm) == norm and name != "universal"
]


class Linear(nn.Module):
    """logits = W (x - 1/2), times a factor, for a number of classes: grey images lie on all boundaries."""

    def __init__(self, classes: int, factor: float = 1) -> None:
        super().__init__()
        self.dense = nn.Linear(3 * SIZE * SIZE, classes, bias=False)
        nn.init.normal_(self.dense.weight, 0, 0.3, generator=torch.Generator().manual_seed(classes))
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.factor * self.dense(images.flatten(1) - 0.5)
        return answer


def batch(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Images away from the sides of the box, and the model's own answers."""
    images = 0.4 + 0.2 * torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return images, model(images).argmax(1)


def run(name: str, norm: str, model: nn.Module, images: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    function, defaults = attacks.load(name, {**QUICK.get(name, {}), **settings})
    trace = defaults.pop("trace", None)
    threat_model = ThreatModel(norm, EPS[norm])  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    return function(model, images, labels, threat_model=threat_model, generator=generator, trace=trace, **defaults)


def best_margin(model: Linear, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """The greatest margin (N,) that a linear model has in the ball: over all wrong classes, in closed form."""
    weight = model.factor * model.dense.weight.detach()
    eps = float(EPS[norm]) / 255
    logits = model(images).detach()
    difference = weight[None] - weight[labels][:, None]  # (N, classes, values)
    gain = eps * (difference.abs().sum(2) if norm == "linf" else difference.norm(dim=2))
    reached = logits - logits.gather(1, labels[:, None]) + gain
    return reached.scatter(1, labels[:, None], -torch.inf).amax(1)


def margin(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    logits = model(images).detach()
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - logits.gather(1, labels[:, None]).squeeze(1)


@pytest.mark.parametrize(("name", "norm"), CASES)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_it_comes_near_the_optimum_of_a_linear_model(name: str, norm: str, classes: int) -> None:
    model = Linear(classes)
    images, labels = batch(model)
    perturbed = run(name, norm, model, images, labels)
    order = torch.inf if norm == "linf" else 2
    assert (perturbed - images).flatten(1).norm(dim=1, p=order).max() <= float(EPS[norm]) / 255 * (1 + 1e-5)
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    gained = margin(model, perturbed, labels) - margin(model, images, labels)
    possible = best_margin(model, images, labels, norm) - margin(model, images, labels)
    assert (gained <= possible + 1e-4).all()
    assert (gained / possible).mean() > (0.25 if name in WEAK else 0.6)
    if name not in WEAK | ONE_STEP:
        breakable = best_margin(model, images, labels, norm) > 0.02
        assert breakable.sum() > 0
        assert (margin(model, perturbed, labels) > 0)[breakable].all()


@pytest.mark.parametrize("name", sorted(EACH_CLASS))
def test_the_last_of_three_classes_is_reached(name: str) -> None:
    """The ratio towards it is -1 everywhere while the true class is first, so it has no gradient."""
    model = Linear(3)
    with torch.no_grad():
        model.dense.weight[:2] = torch.tensor([[0.02], [0.01]])
        model.dense.weight[2] = torch.linspace(-1, 1, 3 * SIZE * SIZE)
    images = torch.full((2, 3, SIZE, SIZE), 0.9)
    labels = torch.zeros(2, dtype=torch.int64)
    assert model(images).argsort(1, descending=True)[0].tolist() == [0, 1, 2]
    assert (margin(model, run(name, "linf", model, images, labels), labels) > 0).all()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t", "carlini-wagner", "deepfool", "fab-t", "pgd-dlr"])
def test_black_and_white_pixels_move_too(name: str, classes: int) -> None:
    """Every second pixel is at a side of the box and can move only away from it."""
    model = Linear(classes)
    images, _ = batch(model)
    images.view(COUNT, -1)[:, ::2] = images.view(COUNT, -1)[:, ::2].round()
    labels = model(images).argmax(1)
    perturbed = run(name, "l2", model, images, labels, **({"steps": 60} if name == "carlini-wagner" else {}))
    direction = perturbed - images
    at_side = (images == 0) | (images == 1)
    shares = (direction * at_side).flatten(1).norm(dim=1) / direction.flatten(1).norm(dim=1)
    assert (shares > 0.3).all()


def test_the_rescaled_cross_entropy_of_two_classes_tells_better_points() -> None:
    """Divided by its own size it would be -1 wherever the true class leads, and Auto-PGD could not compare two points."""
    logits = torch.tensor([[3.0, 1.0], [3.0, 2.0], [1.0, 4.0]])
    for loss in (cross_entropy, smooth_lead):
        assert loss(logits, torch.zeros(3, dtype=torch.int64)).tolist() == [-2.0, -1.0, 3.0]


@pytest.mark.parametrize("epochs", [10, 3])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_perturbation_breaks_all_images_of_one_class_that_can_be_broken(norm: str, epochs: int) -> None:
    """Also with so few steps that small ones would not cross the ball."""
    model = Linear(2)
    images, _ = batch(model)
    labels = torch.zeros(COUNT, dtype=torch.int64)
    perturbed = run("universal", norm, model, images, labels, epochs=epochs)
    breakable = best_margin(model, images, labels, norm) > 0.02
    assert breakable.sum() > COUNT / 2
    assert (margin(model, perturbed, labels) > 0)[breakable].all()


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_logits_of_another_scale_are_attacked_as_well(name: str) -> None:
    broken = []
    for factor in (1.0, 0.1, 35.0):
        model = Linear(7, factor)
        images, labels = batch(model)
        perturbed = run(name, ONE_NORM.get(name, "linf"), model, images, labels)
        broken.append(int((margin(model, perturbed, labels) > 0).sum()))
    assert broken[0] > 0
    assert broken[1] >= broken[0]
    assert broken[2] >= broken[0]


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_its_trace_is_whole(name: str) -> None:
    model, trace = Linear(7), AttackTrace()
    images, labels = batch(model)
    function, settings = attacks.load(name, QUICK.get(name))
    norm = ONE_NORM.get(name, "linf")
    perturbed = function(
        model, images, labels, threat_model=ThreatModel(norm, EPS[norm]), generator=torch.Generator().manual_seed(0),
        trace=trace, **settings,
    )  # fmt: skip
    record = trace.record(torch.ones(COUNT))
    assert record.problem(COUNT) == ""
    assert (record.gradient != NO_GRADIENT).all()
    assert ((record.success != NEVER) >= (margin(model, perturbed, labels) > 0).numpy()).all()
    assert (record.path[:, 1:].max(1) > record.path[:, 0]).mean() > 0.5


@pytest.mark.parametrize("name", attacks.names())
def test_images_that_are_misnamed_from_the_start_are_attacked_too(name: str) -> None:
    """A clean image in a set counts as one that was not attacked."""
    model = Linear(4)
    images, labels = batch(model)
    perturbed = run(name, ONE_NORM.get(name, "linf"), model, images, (labels + 1) % 4)
    assert (perturbed != images).flatten(1).any(1).all()


def test_a_trace_takes_more_than_it_expects() -> None:
    """Attacks that stretch what they found tell of one point more."""
    trace = AttackTrace()
    trace.open(2, stages=[1], device=torch.device("cpu"))
    for value in (1.0, 2.0, 3.0):
        smooth = torch.full((2,), value)
        trace.note(smooth, smooth > 2, torch.ones(2, 3, 1, 1), smooth < 0)
    record = trace.record(torch.ones(2))
    assert record.path[:, -1].tolist() == [3, 3]
    assert record.success.tolist() == [1, 1]


def test_the_path_of_a_trace_covers_what_each_image_was_given() -> None:
    """The second image leaves after three points of nine; the third is never looked at."""
    trace = AttackTrace()
    trace.open(3, stages=[20, 20], device=torch.device("cpu"))
    for value in range(9):
        index = torch.arange(2 if value < 3 else 1)
        smooth = torch.full((len(index),), float(value))
        trace.note(smooth, smooth > 100, None, smooth < 0, index=index)
    assert trace.record(torch.ones(3)).path.tolist() == [[0, 2, 4, 6, 8], [0, 0, 1, 2, 2], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("name", attacks.names())
def test_a_model_in_training_mode_is_refused(name: str) -> None:
    model = nn.Sequential(nn.Dropout(0.5), Linear(7)).train()
    with pytest.raises(InvalidInputError, match=rf"{name}: layer 0 of the model is in training mode; call model.eval\(\)"):
        run(name, ONE_NORM.get(name, "linf"), model, *batch(Linear(7)))


@pytest.mark.parametrize("name", attacks.names())
def test_it_leaves_model_and_images_alone(name: str) -> None:
    model = Linear(3)
    images, labels = batch(model)
    copy, weight = images.clone(), model.dense.weight.clone()
    run(name, ONE_NORM.get(name, "linf"), model, images, labels)
    assert torch.equal(images, copy)
    assert torch.equal(model.dense.weight, weight)
    assert model.dense.weight.grad is None


@pytest.mark.parametrize(
    "name", [name for name in attacks.names() if "targeted" in attacks.load(name)[1] and name != "universal"]
)
def test_targeted_it_goes_to_its_class(name: str) -> None:
    model = Linear(4)
    images, labels = batch(model)
    aims = (labels + 1) % 4
    perturbed = run(name, ONE_NORM.get(name, "linf"), model, images, aims, targeted=True)
    assert (margin(model, perturbed, aims) < margin(model, images, aims)).all()


def test_the_smooth_lead_has_the_direction_of_the_cross_entropy_and_never_saturates() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.5, -2.0], [0.2, 1.0, 0.9, 0.8]], requires_grad=True)
    labels = torch.tensor([0, 3])
    (gradient,) = torch.autograd.grad(smooth_lead(logits, labels).sum(), logits)
    (expected,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"), logits)
    torch.testing.assert_close(torch.nn.functional.normalize(gradient), torch.nn.functional.normalize(expected))
    (certain,) = torch.autograd.grad(smooth_lead(1000 * logits, labels).sum(), logits)
    assert (certain.abs().amax(1) > 1).all()


def test_close_to_the_boundary_all_wrong_classes_that_are_near_count() -> None:
    """Auto-PGD compares points by this loss, so it must not be rescaled by a lead that vanishes at the boundary."""
    far, near = (torch.tensor([[3.0, wrong, wrong - 0.01, -2.0]], requires_grad=True) for wrong in (1.0, 2.99))
    label = torch.zeros(1, dtype=torch.int64)
    values = [smooth_lead(logits, label) for logits in (far, near)]
    assert float(values[1].detach()) > float(values[0].detach())
    (gradient,) = torch.autograd.grad(values[1], near)
    assert 0.4 < float(gradient[0, 2] / gradient[0, 1:].sum()) < 0.5
    (only_first,) = torch.autograd.grad(cross_entropy(near, label), near)
    assert float(only_first[0, 2] / only_first[0, 1:].sum()) < 0.3
