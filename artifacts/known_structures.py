"""The structures of skinaudit's own architectures, written down without torch.

A run of an earlier version has no recorded structure, and a record can be removed or rewritten. The layers of these
architectures do not depend on the run: its weights give the channels, and the tables here give the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from skinaudit.artifacts.structure import STEP, WEIGHT, Step, Structure

_MEAN, _STD = "0.mean", "0.std"
_IMAGENET = {
    _MEAN: (0.48500001430511475, 0.4560000002384186, 0.4059999883174896),
    _STD: (0.2290000021457672, 0.2240000069141388, 0.22499999403953552),
}
"""Mean and standard deviation of the normalisation: 0.485 0.456 0.406 and 0.229 0.224 0.225 in float32."""
_MOBILENET = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
"""Strides of MobileNet's blocks (Howard et al. 2017, table 1)."""
_MOBILENET_V2 = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))
"""Expansion, number of blocks and stride of the first block in MobileNetV2 (Sandler et al. 2018, table 2)."""
_VGG16 = (2, 2, 3, 3, 3)
"""Number of convolutions before each pool of VGG16 (Simonyan & Zisserman 2015, configuration D)."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass
class _Chain:
    """The steps in the order in which they are added. last: name of the last step."""

    shapes: Shapes
    steps: list[Step] = field(default_factory=list)
    last: str = "image"

    def add(self, operator: str, *arguments: Any, source: str = "") -> str:
        """Add a step after the last one, or after `source`; returns its name."""
        name = f"{operator.partition('.')[0]}_{len(self.steps)}"
        self.steps.append(Step(name, operator, (f"{STEP}{source or self.last}", *arguments)))
        self.last = name
        return name

    def convolution(self, name: str, *, stride: int = 1, bias: bool = False) -> None:
        """Add a convolution. name: of its weights. It is depthwise if the shape of the weights says so."""
        outputs, inputs, kernel = self.shapes[f"{name}.weight"][:3]
        groups = outputs if inputs == 1 else 1
        settings = ([stride] * 2, [kernel // 2] * 2, [1, 1], groups)
        self.add("conv2d.default", f"{WEIGHT}{name}.weight", f"{WEIGHT}{name}.bias" if bias else None, *settings)

    def batch_norm(self, name: str, *, epsilon: float = 1e-5) -> None:
        parts = [f"{WEIGHT}{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        self.add("batch_norm.default", *parts, False, 0.1, epsilon, False)

    def linear(self, name: str) -> None:
        self.add("linear.default", f"{WEIGHT}{name}.weight", f"{WEIGHT}{name}.bias")

    def pooled(self, side: int) -> None:
        self.add("adaptive_avg_pool2d.default", [side, side])
        self.add("flatten.using_ints", 1)


def known_structure(arch: str, *, size: int, shapes: Shapes) -> Structure | None:
    """The structure of a run's model by the name of its architecture; None if skinaudit does not have the architecture.

    shapes: of the run's weights by name. size: of its images. Raises KeyError if the weights are not those of the
    architecture.
    """
    make = ARCHITECTURES.get(arch)
    if make is None:
        return None
    chain = _Chain(shapes)
    chain.add("sub.Tensor", f"{WEIGHT}{_MEAN}")
    chain.add("div.Tensor", f"{WEIGHT}{_STD}")
    make(chain)
    shape = dict.fromkeys(_IMAGENET, (1, 3, 1, 1))
    return Structure("image", chain.last, size, tuple(chain.steps), _IMAGENET, shape)


def _mobilenet(chain: _Chain) -> None:
    for number, stride in enumerate((2, *(side for block in _MOBILENET for side in (block, 1)))):
        chain.convolution(f"1.0.{number}.0", stride=stride)
        chain.batch_norm(f"1.0.{number}.1", epsilon=1e-3)
        chain.add("relu.default")
    chain.pooled(1)
    chain.linear("1.4")


def _mobilenet_v2(chain: _Chain) -> None:
    def convolved(name: str, norm: str, *, stride: int = 1, cut: bool = True) -> None:
        chain.convolution(name, stride=stride)
        chain.batch_norm(norm)
        if cut:
            chain.add("hardtanh.default", 0.0, 6.0)

    convolved("1.features.0.0", "1.features.0.1", stride=2)
    blocks = [(by, first if place == 0 else 1) for by, times, first in _MOBILENET_V2 for place in range(times)]
    for number, (expansion, stride) in enumerate(blocks, start=1):
        before, name = chain.last, f"1.features.{number}.conv"
        expanded = int(expansion > 1)
        if expanded:
            convolved(f"{name}.0.0", f"{name}.0.1")
        convolved(f"{name}.{expanded}.0", f"{name}.{expanded}.1", stride=stride)
        convolved(f"{name}.{expanded + 1}", f"{name}.{expanded + 2}", cut=False)
        inputs = chain.shapes[f"{name}.0.0.weight"][1 if expanded else 0]
        if stride == 1 and inputs == chain.shapes[f"{name}.{expanded + 1}.weight"][0]:
            chain.add("add.Tensor", f"{STEP}{chain.last}", source=before)
    convolved(f"1.features.{len(blocks) + 1}.0", f"1.features.{len(blocks) + 1}.1")
    chain.pooled(1)
    chain.linear("1.classifier.1")


def _vgg16(chain: _Chain, *, batch_norm: bool) -> None:
    number = 0
    for times in _VGG16:
        for _ in range(times):
            chain.convolution(f"1.features.{number}", bias=True)
            if batch_norm:
                chain.batch_norm(f"1.features.{number + 1}")
            chain.add("relu.default")
            number += 3 if batch_norm else 2
        chain.add("max_pool2d.default", [2, 2], [2, 2])
        number += 1
    chain.pooled(7)
    for number in (0, 3):
        chain.linear(f"1.classifier.{number}")
        chain.add("relu.default")
    chain.linear("1.classifier.6")


def unlike(structure: Structure, known: Structure) -> str:
    """How the steps of a recorded structure differ in kind or number from the architecture; empty if they do not.

    A trigger added to the record is one step too many.
    """
    recorded, expected = _kinds(structure), _kinds(known)
    odd = [f"{recorded[kind]} {kind} steps instead of {expected[kind]}" for kind in sorted(recorded.keys() | expected.keys())
           if recorded[kind] != expected[kind]]  # fmt: skip
    return ", ".join(odd)


def _kinds(structure: Structure) -> Counter[str]:
    names = (step.operator.partition(".")[0].rstrip("_") for step in structure.steps)
    return Counter(_KINDS.get(name, name) for name in names if name not in _COMPUTING_NOTHING)


_COMPUTING_NOTHING = frozenset({"dropout", "contiguous", "alias", "detach"})
_KINDS = {
    "relu": "activation",
    "relu6": "activation",
    "hardtanh": "activation",
    "clamp": "activation",
    "convolution": "conv2d",
}
"""Operators that mean the same in different versions of torch."""
ARCHITECTURES: Mapping[str, Callable[[_Chain], None]] = {
    "mobilenet": _mobilenet,
    "mobilenet_v2": _mobilenet_v2,
    "vgg16": lambda chain: _vgg16(chain, batch_norm=False),
    "vgg16_bn": lambda chain: _vgg16(chain, batch_norm=True),
}
"""By file name in skinaudit.trainer.architectures. A test compares them with torch's traces."""
