"""Draws one image from a lesion's cues: skin, pigment and blood absorb light; then come paint on top, and the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.trainer.data.synthetic.brushes import (
    Frame,
    Plane,
    Points,
    honeycomb,
    lines,
    noise,
    paint,
    ramp,
    spots,
    upright_frame,
    view_frame,
)
from skinaudit.trainer.data.synthetic.cues import Cues

# Extinction per unit of optical density in red, green and blue: melanin makes brown, haemoglobin red.
_MELANIN = (0.53, 0.88, 1.15)
_BLOOD = (0.12, 0.82, 0.66)

_LIGHT_SKIN, _DARK_SKIN = np.array([0.89, 0.71, 0.67]), np.array([0.70, 0.50, 0.41])
_BLUE_WHITE = (0.40, 0.45, 0.56)
_BLUE_GREY = (0.32, 0.36, 0.48)
_WAXY = (0.74, 0.57, 0.34)
_WHITE = (0.95, 0.89, 0.86)
_FLAKE = (0.96, 0.91, 0.80)
_CYST = (0.98, 0.94, 0.86)
_CRUST = (0.72, 0.42, 0.22)
_PLUG = (0.25, 0.15, 0.10)
_LACUNA_RED = (0.66, 0.12, 0.16)
_LACUNA_BLUE = (0.26, 0.15, 0.34)
_HAIR = (0.17, 0.12, 0.10)

_NO_OFFSET = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class _Shape:
    """Where the lesion is.

    depth: 0 at its centre, 1 on its border. mask: its coverage. along: position on its axis of change. coarse, medium, fine:
    noise shared by several cues, so that they follow the same patches.
    """

    depth: Plane
    mask: Plane
    along: Plane
    lobe: tuple[float, float]
    coarse: Plane
    medium: Plane
    fine: Plane


def draw_image(cues: Cues, *, geometry: np.random.Generator, view: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """One image, uint8 (3, size, size) RGB.

    geometry: places everything that belongs to the lesion and its skin, including hairs; must be freshly seeded for each
    view of the lesion. view: draws what belongs to the photograph: position, rotation, magnification, light, gel bubbles,
    ruler, noise.
    """
    factor = 2 if size < 128 else 1
    frame = view_frame(size * factor, view)
    tone = geometry.beta(1.4, 3.0)
    skin = (1 - tone) * _LIGHT_SKIN + tone * _DARK_SKIN + geometry.normal(0, 0.018, 3)
    shape = _shape(frame, cues, geometry)
    melanin, blood = _absorption(frame, cues, shape, geometry)
    absorbed = np.stack([red * melanin + green * blood for red, green in zip(_MELANIN, _BLOOD, strict=True)])
    pixels = skin.astype(np.float32)[:, None, None] * np.exp(-absorbed)
    _surface(pixels, frame, cues, shape, geometry)
    _hairs(pixels, frame, geometry)
    _photograph(pixels, frame.side, view)
    image = pixels.reshape(3, size, factor, size, factor).mean(axis=(2, 4))
    image += view.normal(0, view.uniform(0.004, 0.012), image.shape)
    levels: NDArray[np.uint8] = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return levels


def _shape(frame: Frame, cues: Cues, rng: np.random.Generator) -> _Shape:
    """An ellipse with an offset lobe (asymmetry) and a border moved by noise (irregularity)."""
    coarse, medium, fine = (noise(frame, rng, wavelength=wavelength) for wavelength in (0.8, 0.3, 0.09))
    stretch = cues.elongation**0.5
    lobe = 0.55 * cues.asymmetry * cues.radius * _direction(rng)
    axis = _direction(rng)
    body = frame.distance(_NO_OFFSET, stretch=stretch) / cues.radius
    depth = np.minimum(body, frame.distance((float(lobe[0]), float(lobe[1]))) / (0.75 * cues.radius))
    depth += cues.irregularity * (0.16 * noise(frame, rng, wavelength=0.55) + 0.05 * medium)
    return _Shape(
        depth=depth,
        mask=ramp((1 - depth) / max(cues.softness, 0.03) + 0.5),
        along=(frame.u * float(axis[0]) + frame.v * float(axis[1])) / cues.radius,
        lobe=(float(lobe[0]), float(lobe[1])),
        coarse=coarse,
        medium=medium,
        fine=fine,
    )


def _absorption(frame: Frame, cues: Cues, shape: _Shape, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Optical densities of melanin and blood, including the skin's own."""
    depth, mask = shape.depth, shape.mask
    pigment = 1 + rng.uniform(-0.15, 0.45) * (0.5 - depth) + cues.variegation * (0.42 * shape.coarse + 0.2 * shape.medium)
    pigment += 0.5 * cues.asymmetry * shape.along + 0.06 * shape.fine
    melanin = cues.melanin * mask * np.maximum(pigment, 0.12)
    flush = 1 + 0.4 * cues.variegation * noise(frame, rng, wavelength=0.5)
    blood = cues.blood * mask * np.maximum(flush, 0)

    if cues.network:
        holes = honeycomb(frame, rng, period=rng.uniform(0.11, 0.16), disorder=cues.network_disorder)
        patches = ramp(1 - cues.network_disorder * (0.5 - 0.8 * noise(frame, rng, wavelength=0.4)))
        where = mask * (1 - cues.ring + cues.ring * ramp((depth - 0.45) / 0.25))
        melanin += 0.3 * cues.network * where * patches * (0.4 - holes)
    if cues.ring:
        melanin *= 1 - 0.45 * cues.ring * ramp((0.8 - depth) / 0.4)
    melanin += 0.45 * mask * _scatter(frame, cues, rng, count=26 * cues.globules, reach=0.95, radii=(0.02, 0.045))
    if cues.streaks:
        spokes = np.cos(np.arctan2(frame.v, frame.u) * float(rng.integers(14, 24)) + 0.8 * shape.coarse)
        rim = np.exp(-(((depth - 1.02) / 0.13) ** 2))
        melanin += 0.8 * cues.streaks * ramp(0.3 + shape.along) * rim * ramp(spokes)
    if cues.strawberry:
        blood += 0.5 * cues.strawberry * mask * (0.6 - honeycomb(frame, rng, period=0.19, disorder=0.5))
    blood += 0.8 * lines(frame, *_branching(cues, rng))

    melanin += 0.03 + 0.03 * np.maximum(noise(frame, rng, wavelength=0.06), -1)
    blood += 0.04 + 0.05 * noise(frame, rng, wavelength=0.9)
    return melanin, blood


def _surface(pixels: Plane, frame: Frame, cues: Cues, shape: _Shape, rng: np.random.Generator) -> None:
    """Draw in place what scatters or covers instead of absorbing."""
    mask, medium = shape.mask, shape.medium
    paint(pixels, _WAXY, 0.5 * cues.keratin * mask * (1 + 0.2 * medium))

    drift = rng.normal(0, 0.15, 2) * cues.radius
    veil = frame.distance((0.6 * shape.lobe[0] + float(drift[0]), 0.6 * shape.lobe[1] + float(drift[1])))
    patch = ramp((1.1 - veil / (0.55 * cues.radius) + 0.3 * shape.coarse + 0.15 * medium) / 0.5)
    paint(pixels, _BLUE_WHITE, 0.8 * cues.veil * mask * patch)

    nests = _scatter(frame, cues, rng, count=9 * cues.nests, reach=0.8, radii=(0.08, 0.19), wobble=medium)
    paint(pixels, _BLUE_GREY, 0.75 * nests * (0.9 + 0.15 * shape.fine))
    bluish = rng.uniform(0, 0.7)
    for colour, share in ((_LACUNA_RED, 1 - bluish), (_LACUNA_BLUE, bluish)):
        count = 14 * cues.lacunae * share
        paint(
            pixels, colour, 0.8 * _scatter(frame, cues, rng, count=count, reach=0.75, radii=(0.09, 0.2), wobble=0.6 * medium)
        )
    paint(pixels, _WHITE, 0.75 * cues.scar * ramp((0.6 - shape.depth + 0.08 * medium) / 0.35))
    erosions = _scatter(frame, cues, rng, count=5 * cues.erosions, reach=0.7, radii=(0.06, 0.15), wobble=medium)
    paint(pixels, _CRUST, 0.7 * erosions)
    flakes = ramp((0.7 * shape.coarse + 0.7 * medium + 0.4 * shape.fine - 0.5) / 0.8)
    paint(pixels, _FLAKE, 0.8 * cues.scale * mask * flakes)
    paint(pixels, _CYST, 0.75 * _scatter(frame, cues, rng, count=16 * cues.cysts, reach=0.9, radii=(0.02, 0.05)))
    paint(pixels, _PLUG, 0.7 * _scatter(frame, cues, rng, count=14 * cues.comedones, reach=0.9, radii=(0.02, 0.06)))


def _hairs(pixels: Plane, frame: Frame, rng: np.random.Generator) -> None:
    count = int(rng.choice([0, 2, 5, 12], p=[0.6, 0.2, 0.13, 0.07]))
    common, spread = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.7)
    curves = []
    for _ in range(count):
        angle = common + rng.normal(0, spread)
        step, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        t = np.linspace(-1, 1, 12)[:, None] * rng.uniform(0.4, 1.5)
        curves.append(rng.uniform(-1, 1, 2) + t * step + rng.normal(0, 0.15) * t**2 * across)
    paint(pixels, _HAIR, 0.75 * lines(frame, curves, rng.uniform(0.012, 0.028, count).tolist()))


def _photograph(pixels: Plane, side: int, rng: np.random.Generator) -> None:
    """Draw in place gel bubbles, ruler, light and the dark rim of the tube."""
    frame = upright_frame(side)
    count = int(rng.choice([0, 3, 8], p=[0.8, 0.12, 0.08]))
    bubbles, radii = rng.uniform(-1, 1, (count, 2)), rng.uniform(0.02, 0.07, count)
    paint(pixels, _WHITE, 0.5 * np.maximum(spots(frame, bubbles, radii) - spots(frame, bubbles, 0.8 * radii), 0))
    with_ruler, edge = rng.random() < 0.12, rng.uniform(0.78, 0.92)
    if with_ruler:
        ticks = [np.array([[k / 10, edge], [k / 10, edge + (0.12 if k % 5 == 0 else 0.06)]]) for k in range(-10, 11)]
        paint(pixels, _HAIR, 0.8 * lines(frame, ticks, [0.015] * len(ticks)))

    slope, tilt, falloff = _direction(rng), rng.uniform(0, 0.09), rng.uniform(0, 0.16)
    light = (frame.x * float(slope[0]) + frame.y * float(slope[1])) * tilt + 1
    distance = frame.distance(_NO_OFFSET)
    light *= 1 - falloff * distance**2
    with_tube, rim = rng.random() < 0.22, rng.uniform(1.02, 1.25)
    if with_tube:
        light *= ramp((rim - distance) / 0.05)
    gain = np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.02, 3)).astype(np.float32)
    pixels *= light * gain[:, None, None]


def _direction(rng: np.random.Generator) -> Points:
    """A random unit vector."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _scatter(
    frame: Frame,
    cues: Cues,
    rng: np.random.Generator,
    *,
    count: float,
    reach: float,
    radii: tuple[float, float],
    wobble: Plane | None = None,
) -> Plane:
    """Coverage of about `count` spots, evenly over the lesion's ellipse up to `reach` of its border."""
    number = round(count)
    distance, angle = np.sqrt(rng.random(number)) * reach * cues.radius, rng.uniform(0, 2 * np.pi, number)
    stretch = cues.elongation**0.5
    centres = np.stack([distance * np.cos(angle) * stretch, distance * np.sin(angle) / stretch], axis=1)
    return spots(frame, centres, rng.uniform(*radii, number), wobble)


def _branching(cues: Cues, rng: np.random.Generator) -> tuple[list[Points], list[float]]:
    """Arborising vessels as polylines and widths: bent trunks from the rim inwards, each with thinner branches."""
    curves: list[Points] = []
    widths: list[float] = []
    for _ in range(round(5 * cues.vessels)):
        inwards = rng.uniform(0, 2 * np.pi)
        start = -0.95 * cues.radius * np.array([np.cos(inwards), np.sin(inwards)])
        heading = inwards + rng.normal(0, 0.5)
        trunk = _walk(rng, start, heading, cues.radius * rng.uniform(0.7, 1.3))
        curves.append(trunk)
        widths.append(0.028)
        for joint in rng.integers(2, len(trunk), 3):
            turn = float(rng.choice([-1, 1])) * rng.uniform(0.4, 1.0)
            curves.append(_walk(rng, trunk[joint], heading + turn, 0.4 * cues.radius))
            widths.append(0.015)
    return curves, widths


def _walk(rng: np.random.Generator, start: Points, heading: float, length: float) -> Points:
    headings = heading + np.cumsum(rng.normal(0, 0.35, 8))
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * length / 8
    return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])
