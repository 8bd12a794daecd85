"""Programs that compute more than the steps that their answer is read from."""

from __future__ import annotations

from typing import Any

import pytest

from skinaudit.engines.networks.of_program import ambiguous

torch = pytest.importorskip("torch")


class Model(torch.nn.Module):
    """A layer of three features. model: as the exporter names the weights of a program."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Linear(3, 7)
        self.register_buffer("calls", torch.zeros(1))


class InPlace(Model):
    def forward(self, image: Any) -> Any:
        return torch.relu_(self.model(image)).clamp_(max=6) + 1


class ThroughAView(Model):
    def forward(self, image: Any) -> Any:
        answer = self.model(image)
        answer.view(-1).add_(image.mean())
        return answer


class BehindItsReader(Model):
    def forward(self, image: Any) -> Any:
        answer = self.model(image)
        doubled = answer * 2
        answer.relu_()
        return doubled + answer


class ThroughADropout(Model):
    """A Dropout outside of training gives its input itself."""

    def forward(self, image: Any) -> Any:
        answer = self.model(image)
        torch.nn.functional.dropout(answer, training=False).relu_()
        return answer


class OfTheImage(Model):
    def forward(self, image: Any) -> Any:
        image.clamp_(max=0.5)
        return self.model(image)


class Counting(Model):
    def forward(self, image: Any) -> Any:
        self.calls.add_(1)
        return self.model(image)


class NamedTwice(Model):
    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.ones(7))

    def forward(self, image: Any) -> Any:
        return torch.nn.functional.linear(image, self.model.weight, self.bias) + 0 * self.model.bias


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (InPlace, ""), (ThroughAView, "add_"), (BehindItsReader, "relu_"), (ThroughADropout, "relu_"),
        (OfTheImage, "clamp_"), (Counting, "add_"), (NamedTwice, "bias, which the program names twice"),
    ],
)  # fmt: skip
def test_what_changes_a_tensor_that_others_read_is_named(model: type[Model], named: str) -> None:
    program = torch.export.export(model().eval().requires_grad_(False), (torch.zeros(2, 3),))
    text = ambiguous(program, prefix="model.")
    assert named in text
    assert bool(text) == bool(named)


def test_a_program_that_is_functional_still_counts_its_calls() -> None:
    """What the decompositions of torch.export leave: a changed buffer is a further output."""
    program = torch.export.export(Counting().eval().requires_grad_(False), (torch.zeros(2, 3),)).run_decompositions({})
    assert ambiguous(program, prefix="model.") == "a program that changes calls with each call"
