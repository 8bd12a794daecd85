"""What a GPU sees of an attack: batches of few sizes, with the answers and gradients of the batches as they were."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import Norm, ThreatModel
from skinaudit.trainer import attacks
from skinaudit.trainer import few_sizes as few_sizes_module
from skinaudit.trainer.attacks import pgd
from skinaudit.trainer.few_sizes import LEAST, FewSizes, few_sizes, filled_size
from skinaudit.trainer.models import build, folded


class Seen(nn.Module):
    """A small network that notes the size of each batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = folded(build("mobilenet", width=0.1, size=32).eval())
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        answer: Tensor = self.model(images)
        return answer


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Seen:
    monkeypatch.setattr(few_sizes_module, "_LEAST_PIXELS", 0)  # so that a few images are enough for several sizes
    return Seen().eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_sizes_hold_the_batch_and_are_few() -> None:
    sizes = [filled_size(count, side=224) for count in range(1, 1025)]
    assert all(count <= size < max(1.5 * count, LEAST + 1) for count, size in enumerate(sizes, start=1))
    assert sorted(set(sizes)) == [32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    assert sorted({filled_size(count, side=64) for count in range(1, 301)}) == [128, 192, 256, 384]


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 40])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_answers_and_gradients_are_those_of_the_batch_alone(
    network: Seen, images: Tensor, count: int, memory_format: torch.memory_format
) -> None:
    batch = images[:count].contiguous(memory_format=memory_format).requires_grad_()
    answers = {wrapped: wrapped(batch) for wrapped in (network.model, FewSizes(network))}
    assert network.sizes == [filled_size(count, side=32) if count else 0]
    plain, filled = answers.values()
    assert plain.shape == filled.shape
    if count:
        assert torch.allclose(plain, filled, atol=1e-5)
        gradients = [torch.autograd.grad(answer.square().sum(), batch)[0] for answer in (plain, filled)]
        assert torch.allclose(*gradients, atol=1e-5)


def test_a_cpu_takes_each_size_and_other_devices_do_not(network: Seen) -> None:
    assert few_sizes(network, torch.device("cpu")) is network
    wrapped = few_sizes(network, torch.device("cuda"))
    assert isinstance(wrapped, FewSizes)
    assert not wrapped.training


@pytest.mark.parametrize("name", attacks.names())
def test_every_attack_gets_a_model_of_few_sizes_on_a_gpu(
    network: Seen, images: Tensor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is that of the images, so the rule is tried with a CPU that passes for a GPU."""
    monkeypatch.setattr(attacks, "few_sizes", lambda model, device: FewSizes(model))
    settings: dict[str, Any] = attacks.load(name)[1]
    few: dict[str, Any] = {"steps": 2, "queries": 5, "targets": 1, "restarts": 1, "searches": 1, "epochs": 1}
    function, settings = attacks.load(name, {key: value for key, value in few.items() if key in settings})
    labels = network(images).argmax(1)
    network.sizes.clear()
    norm: Norm = "l2" if name in ("boundary", "carlini-wagner") else "linf"
    with torch.no_grad():
        function(
            network, images, labels, threat_model=ThreatModel(norm, Fraction(8)),
            generator=torch.Generator().manual_seed(0), **settings,
        )  # fmt: skip
    assert network.sizes
    assert all(size == filled_size(size, side=32) for size in network.sizes)


@pytest.mark.parametrize("restarts", [1, 2])
def test_filling_breaks_the_same_images(network: Seen, images: Tensor, restarts: int) -> None:
    labels = network(images).argmax(1)
    labels[:13] = (labels[:13] + 1) % 7  # broken from the start, so they leave
    settings: dict[str, Any] = {
        "threat_model": ThreatModel("linf", Fraction(24)), "steps": 10, "restarts": restarts, "stop_margin": 0.0,
    }  # fmt: skip
    ends = [
        pgd.attack(model, images, labels, generator=torch.Generator().manual_seed(0), **settings)
        for model in (network.model, FewSizes(network))
    ]
    broken = [network.model(end).argmax(1) != labels for end in ends]
    assert torch.equal(*broken)
    assert 0 < int(broken[0].sum()) < len(labels)
