"""The losses of attacks, by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from skinaudit.trainer.ascent.losses import dlr, margin

LOGITS = torch.tensor([[4.0, 1.0, 0.0, -1.0], [1.0, 4.0, 0.0, -1.0], [0.0, 4.0, 1.0, -1.0], [-1.0, 4.0, 1.0, 0.0]])
"""The true class is 0: the first, second, third and fourth largest logit."""
LABELS = torch.zeros(4, dtype=torch.int64)


def gradient(logits: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    values = dlr(leaf, LABELS)
    return values.detach(), torch.autograd.grad(values.sum(), leaf)[0]


def test_the_ratio_is_the_margin_by_the_spread() -> None:
    values, _ = gradient(LOGITS)
    assert torch.allclose(values, torch.tensor([-3 / 4, 3 / 4, 4 / 4, 5 / 4]))


def test_a_true_class_in_third_place_still_has_a_gradient() -> None:
    """The ratio is 1 there, whatever the logits are."""
    _, found = gradient(LOGITS)
    for row in (2, 3):  # that of the margin, by a constant spread
        assert torch.allclose(found[row], torch.tensor([-0.25, 0.25, 0.0, 0.0]))
    assert found[0, 2] != 0
    assert found[1, 2] != 0  # above: the spread takes part


def test_no_loss_depends_on_the_scale() -> None:
    for scale in (0.1, 10.0, 1000.0):
        assert torch.allclose(dlr(scale * LOGITS, LABELS), dlr(LOGITS, LABELS))
        assert torch.equal(margin(scale * LOGITS, LABELS).sign(), margin(LOGITS, LABELS).sign())
