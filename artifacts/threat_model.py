"""Which perturbations are allowed: a norm and a radius in pixel units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, get_args

from skinaudit.errors import InvalidInputError

Norm = Literal["linf", "l2"]

_DECIMALS = 9  # of eps_255, which is below a million, so a float and `eps_text` represent every radius exactly
_NUMBER = re.compile(r"[+-]?[0-9]{1,6}(\.[0-9]{0,9})?")


@dataclass(frozen=True)
class ThreatModel:
    """All images within `eps` of the clean image in `norm`.

    Invariant: eps_255 > 0 is the exact radius in 8-bit steps. It is below 10^6 and has at most nine decimals, so
    `eps_text` is exact. For `linf` the radius bounds each pixel and channel. For `l2` it bounds the root of the sum of
    squares over the whole image. Pixel values are from 0 to 1, so eps = eps_255 / 255. It is never divided by a
    channel's standard deviation.
    """

    norm: Norm
    eps_255: Fraction
    written_as: ClassVar[type]

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise InvalidInputError(f"norm {self.norm!r}: choose linf or l2")
        if not 0 < self.eps_255 < 10**6:
            raise InvalidInputError(f"eps of {self.eps_255} 8-bit steps: must be positive and below a million")
        if (self.eps_255 * 10**_DECIMALS).denominator != 1:
            raise InvalidInputError(f"eps of {self.eps_255} 8-bit steps: has more than {_DECIMALS} decimals; round it")

    @property
    def eps(self) -> float:
        """The radius in pixel units, computed from the rational."""
        return float(self.eps_255 / 255)

    @property
    def eps_text(self) -> str:
        """The radius as it is written and stored, such as `8/255`."""
        steps = f"{float(self.eps_255):.{_DECIMALS}f}".rstrip("0").rstrip(".")
        return f"{steps}/255"

    def on_grid(self) -> ThreatModel:
        """This threat model; raises InvalidInputError for a `linf` radius above 1/255 that is not a whole number of steps.

        Images in 8 bit can only use whole steps, so such a radius would have a wrong name.
        """
        steps = int(self.eps_255)
        if self.norm == "linf" and 1 <= steps != self.eps_255:
            raise InvalidInputError(
                f"eps {self}: images are stored in 8 bit, so this equals {steps}/255; choose {steps}/255 or {steps + 1}/255"
            )
        return self

    def to_json(self) -> dict[str, str]:
        """As plain JSON values; skinaudit.artifacts.typed_json reads them back through `WrittenThreatModel`."""
        return {"norm": self.norm, "eps": self.eps_text}

    def __str__(self) -> str:
        return f"{self.norm} {self.eps_text}"


@dataclass(frozen=True)
class WrittenThreatModel:
    """A threat model as files contain it, with eps as text."""

    norm: Norm
    eps: str

    def opened(self) -> ThreatModel:
        """The ThreatModel; raises InvalidInputError for an eps that is not a rational of 255."""
        return ThreatModel(self.norm, parse_eps(self.eps))


ThreatModel.written_as = WrittenThreatModel


def parse_eps(text: str) -> Fraction:
    """Read `8/255` (or `8` or `1.5/255`) as the exact number of 8-bit steps; `0.03` is refused as ambiguous."""
    number, slash, base = text.strip().partition("/")
    readable = _NUMBER.fullmatch(number.strip()) and (not slash or base.strip() == "255")
    value = Fraction(number.strip()) if readable else None
    if value is None or (not slash and 0 < value < 1):
        raise InvalidInputError(f"eps {text!r}: write it as a fraction of 255, for example 8/255")
    if value <= 0:
        raise InvalidInputError(f"eps {text!r}: must be positive")
    return value
