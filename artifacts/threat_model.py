"""Which perturbations count: a norm and a radius in pixel units."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from skinaudit.errors import InvalidInputError

Norm = Literal["linf", "l2"]


@dataclass(frozen=True)
class ThreatModel:
    """All images within `eps` of the clean one in `norm`. Invariant: eps_255 > 0 is the exact radius in 8-bit steps.

    For `linf` the radius bounds each pixel and channel; for `l2` it bounds the root of the summed squares over the
    whole image. Pixel values run from 0 to 1, so eps = eps_255 / 255; it is never divided by a channel's deviation.
    """

    norm: Norm
    eps_255: Fraction

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise InvalidInputError(f"norm {self.norm!r}: choose linf or l2")
        if self.eps_255 <= 0:
            raise InvalidInputError(f"eps {self}: must be positive")

    @property
    def eps(self) -> float:
        """The radius in pixel units, computed from the rational."""
        return float(self.eps_255 / 255)

    @property
    def eps_text(self) -> str:
        """The radius as it is written and stored, such as `8/255`."""
        return f"{float(self.eps_255):.12g}/255"

    def __str__(self) -> str:
        return f"{self.norm} {self.eps_text}"


def parse_eps(text: str) -> Fraction:
    """Read `8/255` (or `8` or `1.5/255`) as the exact number of 8-bit steps; `0.03` is refused as ambiguous."""
    number, slash, base = text.strip().partition("/")
    try:
        value = Fraction(number.strip())
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidInputError(f"eps {text!r}: write it as a rational of 255, for example 8/255") from error
    if (slash and base.strip() != "255") or (not slash and value < 1):
        raise InvalidInputError(f"eps {text!r}: write it as a rational of 255, for example 8/255")
    if value <= 0:
        raise InvalidInputError(f"eps {text!r}: must be positive")
    return value
