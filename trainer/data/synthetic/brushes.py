"""Drawing tools in coordinates in which half the frame's side is 1, for any size: noise, mesh, spots, lines and paint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

# Always float32. numpy's stubs widen the type if a Python float takes part, although numpy itself does not.
Plane = NDArray[np.floating[Any]]
Points = NDArray[np.float64]

_ATLAS_SIDE = 512
_ATLAS_WAVES = 24


@dataclass(frozen=True, eq=False)
class Frame:
    """Pixel centres of one view. x, y: frame coordinates in [-1, 1]; u, v: lesion coordinates; all float32 (side, side)."""

    x: Plane
    y: Plane
    u: Plane
    v: Plane
    zoom: float
    turn: float
    shift: tuple[float, float]

    @property
    def side(self) -> int:
        """Pixels along one side."""
        return len(self.x)

    def place(self, points: Points) -> Points:
        """Frame coordinates (N, 2) of lesion coordinates (N, 2)."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        placed: Points = self.zoom * points @ np.array([[cos, sin], [-sin, cos]]) + np.array(self.shift)
        return placed

    def distance(self, centre: tuple[float, float], *, stretch: float = 1.0) -> Plane:
        """Distance from `centre` in lesion coordinates, divided by `stretch` along u and multiplied by it along v."""
        across: Plane = (self.u - centre[0]) / stretch
        down: Plane = (self.v - centre[1]) * stretch
        return np.hypot(across, down)


def upright_frame(side: int) -> Frame:
    """The frame in which lesion and frame coordinates are the same."""
    axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    x, y = np.broadcast_to(axis, (side, side)), np.broadcast_to(axis[:, None], (side, side))
    return Frame(x=x, y=y, u=x, v=y, zoom=1.0, turn=0.0, shift=(0.0, 0.0))


def view_frame(side: int, view: np.random.Generator) -> Frame:
    """A frame with a random rotation, magnification and shift."""
    turn, zoom = view.uniform(0, 2 * np.pi), float(np.exp(view.uniform(-0.18, 0.18)))
    shift = (view.uniform(-0.12, 0.12), view.uniform(-0.12, 0.12))
    cos, sin = float(np.cos(turn)) / zoom, float(np.sin(turn)) / zoom
    frame = upright_frame(side)
    dx, dy = frame.x - shift[0], frame.y - shift[1]
    return Frame(x=frame.x, y=frame.y, u=cos * dx + sin * dy, v=cos * dy - sin * dx, zoom=zoom, turn=turn, shift=shift)


@cache
def _atlas() -> Plane:
    """A periodic tile of cloudy noise, flattened, mean 0 and deviation 1. Every call of `noise` cuts a piece from it."""
    rng = np.random.default_rng(20180814)
    spectrum = np.fft.rfft2(rng.normal(size=(_ATLAS_SIDE, _ATLAS_SIDE)))
    frequency = np.hypot(np.fft.fftfreq(_ATLAS_SIDE)[:, None], np.fft.rfftfreq(_ATLAS_SIDE)[None]) * _ATLAS_SIDE
    lowest = _ATLAS_WAVES / 2
    envelope = (frequency > lowest) * np.maximum(frequency, lowest) ** -1.9 * np.exp(-((frequency / 90) ** 2))
    tile = np.fft.irfft2(spectrum * envelope, s=(_ATLAS_SIDE, _ATLAS_SIDE))
    flat: Plane = (tile / tile.std()).astype(np.float32).ravel()
    return flat


def noise(frame: Frame, rng: np.random.Generator, *, wavelength: float) -> Plane:
    """Cloudy noise fixed to the lesion, deviation about 1; wavelength: the main one, in lesion coordinates."""
    scale = _ATLAS_SIDE / _ATLAS_WAVES / wavelength
    # Far from zero, so that truncation always rounds down.
    offset_u, offset_v = rng.uniform(8, 16, 2).tolist()
    across, down = frame.u * scale + offset_u * _ATLAS_SIDE, frame.v * scale + offset_v * _ATLAS_SIDE
    column, row = across.astype(np.int32), down.astype(np.int32)
    across -= column.astype(np.float32)
    down -= row.astype(np.float32)
    last = _ATLAS_SIDE - 1
    left, right = column & last, (column + 1) & last
    top, bottom = (row & last) * _ATLAS_SIDE, ((row + 1) & last) * _ATLAS_SIDE
    atlas = _atlas()
    upper, lower = atlas.take(top + left), atlas.take(bottom + left)
    upper += across * (atlas.take(top + right) - upper)
    lower += across * (atlas.take(bottom + right) - lower)
    mixed: Plane = upper + down * (lower - upper)
    return mixed


def honeycomb(frame: Frame, rng: np.random.Generator, *, period: float, disorder: float) -> Plane:
    """Round holes (1) between lines (0) in a hexagonal mesh, distorted by `disorder`."""
    wave = 4 * np.pi / 3**0.5 / period
    bend = noise(frame, rng, wavelength=0.45) * (0.4 + 1.8 * disorder)
    tilt = rng.uniform(0, 2 * np.pi)
    total = np.zeros_like(bend)
    for k, phase in enumerate(rng.uniform(0, 2 * np.pi, 3).tolist()):
        angle = tilt + k * 2 * np.pi / 3
        total += np.cos(wave * float(np.cos(angle)) * frame.u + wave * float(np.sin(angle)) * frame.v + bend + phase)
    return ramp((total + 1) / 2.2)


def spots(frame: Frame, centres: Points, radii: NDArray[np.float64], wobble: Plane | None = None) -> Plane:
    """Coverage in [0, 1] of discs (N, 2), (N,) in lesion coordinates, with a soft rim made uneven by `wobble`."""
    cover = np.zeros((frame.side, frame.side), np.float32)
    placed = frame.place(centres).tolist()
    for (u, v), radius, (x, y) in zip(centres.tolist(), radii.tolist(), placed, strict=True):
        # Only the disc's own window is changed; an uneven rim reaches further out.
        reach = (1.25 if wobble is None else 1.75) * radius * frame.zoom
        rows, columns = (
            slice(max(0, int((at - reach + 1) / 2 * frame.side)), max(0, int((at + reach + 1) / 2 * frame.side) + 1))
            for at in (y, x)
        )
        rim = 2.5 - 2 / radius * np.hypot(frame.u[rows, columns] - u, frame.v[rows, columns] - v)
        if wobble is not None:
            rim = 0.7 * rim + 0.5 * np.clip(wobble[rows, columns], -1.4, 1.4)
        np.maximum(cover[rows, columns], ramp(rim), out=cover[rows, columns])
    return cover


def lines(frame: Frame, curves: list[Points], widths: list[float]) -> Plane:
    """Coverage in [0, 1] of polylines in lesion coordinates; drawn at twice the resolution, then averaged."""
    if not curves:
        return np.zeros((frame.side, frame.side), np.float32)
    side = 2 * frame.side
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    for curve, width in zip(curves, widths, strict=True):
        points = (frame.place(curve) + 1) / 2 * side
        pen.line([(x, y) for x, y in points.tolist()], fill=255, width=max(1, round(width * frame.zoom / 2 * side)))
    cover: Plane = np.asarray(canvas.reduce(2), np.float32) / 255
    return cover


def paint(pixels: Plane, colour: tuple[float, float, float], cover: Plane) -> None:
    """Blend `colour` over the pixels (3, side, side) by `cover` (side, side), in place."""
    for plane, level in zip(pixels, colour, strict=True):
        plane += cover * (level - plane)


def ramp(value: Plane) -> Plane:
    """Smooth step from 0 at 0 to 1 at 1."""
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)
