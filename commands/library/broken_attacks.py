"""Signs that an attack is broken: figures that no correct attack could give.

They follow Athalye et al. 2018 (https://arxiv.org/abs/1802.00420, section 3.1) and Carlini et al. 2019
(https://arxiv.org/abs/1902.06705, section 5). Counts over the same images are compared by McNemar's exact test, so one
additional image is no sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skinaudit.trainer.sweep import Point

_CHANCE = 0.05
"""Below this p-value a difference is more than chance."""
_WHOLE_BALL = 32
"""A linf radius, in 8-bit steps, at which nearly every picture can be made unrecognisable, so an attack should break all."""
_LEFT = 0.05
"""The share of images that may still stand there."""
_ENOUGH = 20
"""A curve is only called flat if at least this many images stand."""


@dataclass(frozen=True)
class Sign:
    """An attack and its sign: `rising`, `flat`, `never zero`, `beaten without gradients` or `still falling`.

    eps, steps: of the point that shows it. text: one sentence with the figures.
    """

    attack: str
    kind: str
    eps: str
    steps: int | None
    text: str

    @property
    def place(self) -> tuple[str, str, int | None]:
        """The point of the picture to mark."""
        return self.attack, self.eps, self.steps


def signs_of(by_eps: Sequence[Point], by_steps: Sequence[Point]) -> Iterator[Sign]:
    """All signs. by_eps: each attack's points with growing radius; by_steps: with growing steps; all for the same images."""
    for attack in dict.fromkeys(point.attack for point in by_eps):
        curve = [point for point in by_eps if point.attack == attack]
        for smaller, larger in pairwise(curve):
            yield from _against_the_radius(smaller, larger)
        yield from _never_zero(curve[-1])
    yield from _beaten(by_eps)
    for attack in dict.fromkeys(point.attack for point in by_steps):
        curve = [point for point in by_steps if point.attack == attack]
        for fewer, more in pairwise(curve):
            if _more(more, fewer):
                text = f"{_share(fewer)} stand after {fewer.steps} steps, {_share(more)} after {more.steps}: steps do harm"
                yield _sign(more, "rising", text)
        if len(curve) > 1 and _more(curve[-2], curve[-1]):
            last, before = curve[-1], curve[-2]
            text = (
                f"{_share(last)} stand after {last.steps} steps, {_share(before)} after {before.steps}: it needs more steps"
            )
            yield _sign(last, "still falling", text)


def _against_the_radius(smaller: Point, larger: Point) -> Iterator[Sign]:
    said = f"{_share(larger)} stand at {larger.threat_model}, {_share(smaller)} at {smaller.threat_model}"
    if _more(larger, smaller):
        yield _sign(larger, "rising", f"{said}, although the larger ball holds the smaller one: it misses examples")
    doubled = larger.threat_model.eps_255 >= 2 * smaller.threat_model.eps_255
    if doubled and larger.standing.sum() >= _ENOUGH and (larger.standing == smaller.standing).all():
        yield _sign(larger, "flat", f"{said}, the same images: twice the radius breaks nothing more")


def _never_zero(largest: Point) -> Iterator[Sign]:
    threat = largest.threat_model
    if threat.norm == "linf" and threat.eps_255 >= _WHOLE_BALL and largest.standing.mean() > _LEFT:
        yield _sign(largest, "never zero", f"{_share(largest)} stand at {threat}, where an attack should break every image")


def _beaten(points: Sequence[Point]) -> Iterator[Sign]:
    """Attacks with gradients that break fewer images than one that sees only answers."""
    for blind in (point for point in points if point.answers_alone):
        for seeing in points:
            if not seeing.answers_alone and seeing.threat_model == blind.threat_model and _more(seeing, blind):
                text = (
                    f"{_share(seeing)} stand at {seeing.threat_model}, but {_share(blind)} under {blind.attack}, which sees "
                    "no gradients: this attack is too weak, or the gradients mislead it"
                )
                yield _sign(seeing, "beaten without gradients", text)


def _more(point: Point, other: Point) -> bool:
    """Whether more images stand under `point` than under `other`, beyond chance."""
    from skinaudit.audit.figures.statistics import mcnemar_p

    only, only_other = int((point.standing & ~other.standing).sum()), int((other.standing & ~point.standing).sum())
    return only > only_other and mcnemar_p(only, only_other) < _CHANCE


def _share(point: Point) -> str:
    return f"{point.standing.mean():.1%}"


def _sign(point: Point, kind: str, text: str) -> Sign:
    return Sign(point.attack, kind, point.threat_model.eps_text, point.steps, text)
