"""Which dermatoscopic cues a lesion shows: one table row per diagnosis, with variants that make diagnoses overlap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from skinaudit.artifacts.contract import CLASSES


@dataclass(frozen=True)
class Cues:
    """Strength of each cue of one lesion. 0 is absent and 1 is the strongest, unless a unit is named.

    radius: of the lesion; half the frame's side is 1. elongation: long axis over short axis. softness: width of the border
    as a share of the radius. melanin, blood: optical densities.
    """

    radius: float
    elongation: float
    irregularity: float
    softness: float
    melanin: float
    blood: float
    asymmetry: float
    variegation: float
    network: float
    network_disorder: float
    globules: float
    streaks: float
    veil: float
    keratin: float
    cysts: float
    comedones: float
    vessels: float
    nests: float
    scale: float
    strawberry: float
    erosions: float
    scar: float
    ring: float
    lacunae: float


NAMES = tuple(field.name for field in fields(Cues))

# Chance that the cue is present and, if it is, the range of its strength. An unlisted cue is absent.
Range = tuple[float, float, float]
Row = Mapping[str, Range]

TYPICAL: Mapping[str, Row] = {
    "mel": {
        "radius": (1, 0.55, 0.85),
        "elongation": (1, 1.1, 1.6),
        "irregularity": (1, 0.35, 1.0),
        "softness": (1, 0.06, 0.2),
        "melanin": (1, 0.9, 1.8),
        "blood": (1, 0.05, 0.4),
        "asymmetry": (1, 0.4, 1.0),
        "variegation": (1, 0.45, 1.0),
        "network": (0.6, 0.4, 1.0),
        "network_disorder": (1, 0.5, 1.0),
        "globules": (0.4, 0.3, 1.0),
        "streaks": (0.5, 0.4, 1.0),
        "veil": (0.7, 0.4, 1.0),
        "scar": (0.15, 0.2, 0.5),
    },
    "nv": {
        "radius": (1, 0.38, 0.75),
        "elongation": (1, 1.0, 1.4),
        "irregularity": (1, 0.05, 0.35),
        "softness": (1, 0.1, 0.35),
        "melanin": (1, 0.4, 1.05),
        "blood": (1, 0.0, 0.25),
        "asymmetry": (1, 0.0, 0.35),
        "variegation": (1, 0.05, 0.35),
        "network": (0.75, 0.3, 1.0),
        "network_disorder": (1, 0.0, 0.35),
        "globules": (0.4, 0.3, 1.0),
    },
    "bcc": {
        "radius": (1, 0.4, 0.8),
        "elongation": (1, 1.0, 1.5),
        "irregularity": (1, 0.15, 0.6),
        "softness": (1, 0.15, 0.4),
        "melanin": (1, 0.0, 0.25),
        "blood": (1, 0.15, 0.42),
        "asymmetry": (1, 0.1, 0.6),
        "variegation": (1, 0.1, 0.5),
        "vessels": (0.85, 0.4, 1.0),
        "nests": (0.65, 0.4, 1.0),
        "erosions": (0.25, 0.3, 0.8),
        "scar": (0.2, 0.2, 0.5),
    },
    "akiec": {
        "radius": (1, 0.45, 0.85),
        "elongation": (1, 1.0, 1.5),
        "irregularity": (1, 0.25, 0.8),
        "softness": (1, 0.25, 0.6),
        "melanin": (1, 0.0, 0.3),
        "blood": (1, 0.45, 0.85),
        "asymmetry": (1, 0.1, 0.6),
        "variegation": (1, 0.2, 0.6),
        "scale": (0.8, 0.4, 1.0),
        "strawberry": (0.65, 0.4, 1.0),
        "erosions": (0.4, 0.3, 1.0),
    },
    "bkl": {
        "radius": (1, 0.45, 0.85),
        "elongation": (1, 1.0, 1.5),
        "irregularity": (1, 0.15, 0.6),
        "softness": (1, 0.02, 0.07),
        "melanin": (1, 0.3, 0.9),
        "blood": (1, 0.0, 0.2),
        "asymmetry": (1, 0.1, 0.5),
        "variegation": (1, 0.1, 0.5),
        "network": (0.2, 0.2, 0.6),
        "network_disorder": (1, 0.2, 0.8),
        "keratin": (0.8, 0.3, 1.0),
        "cysts": (0.8, 0.35, 1.0),
        "comedones": (0.65, 0.35, 1.0),
        "scale": (0.2, 0.2, 0.5),
    },
    "df": {
        "radius": (1, 0.45, 0.7),
        "elongation": (1, 1.0, 1.25),
        "irregularity": (1, 0.05, 0.3),
        "softness": (1, 0.3, 0.55),
        "melanin": (1, 0.3, 0.65),
        "blood": (1, 0.1, 0.35),
        "asymmetry": (1, 0.0, 0.25),
        "variegation": (1, 0.05, 0.25),
        "network": (0.85, 0.4, 1.0),
        "network_disorder": (1, 0.0, 0.3),
        "ring": (1, 0.6, 1.0),
        "scar": (0.9, 0.6, 1.0),
    },
    "vasc": {
        "radius": (1, 0.35, 0.7),
        "elongation": (1, 1.0, 1.4),
        "irregularity": (1, 0.1, 0.4),
        "softness": (1, 0.08, 0.25),
        "melanin": (1, 0.0, 0.15),
        "blood": (1, 0.7, 1.3),
        "asymmetry": (1, 0.0, 0.4),
        "variegation": (1, 0.1, 0.4),
        "lacunae": (0.9, 0.5, 1.0),
        "veil": (0.15, 0.2, 0.5),
    },
}

# Share of the diagnosis, and what differs from the typical row: the look-alikes that make dermatoscopy hard.
VARIANTS: Mapping[str, tuple[tuple[float, Row], ...]] = {
    "mel": (
        # in situ: still similar to a naevus
        (
            0.18,
            {
                "irregularity": (1, 0.2, 0.5),
                "melanin": (1, 0.6, 1.2),
                "asymmetry": (1, 0.2, 0.6),
                "variegation": (1, 0.2, 0.55),
                "veil": (0.2, 0.2, 0.5),
                "streaks": (0.3, 0.2, 0.6),
                "network": (0.9, 0.4, 1.0),
                "network_disorder": (1, 0.3, 0.8),
            },
        ),
        # amelanotic
        (
            0.07,
            {
                "melanin": (1, 0.0, 0.3),
                "blood": (1, 0.35, 0.75),
                "network": (0, 0, 0),
                "veil": (0.3, 0.2, 0.5),
                "vessels": (0.5, 0.2, 0.6),
                "globules": (0, 0, 0),
            },
        ),
    ),
    "nv": (
        # atypical
        (
            0.08,
            {
                "irregularity": (1, 0.25, 0.7),
                "melanin": (1, 0.7, 1.4),
                "asymmetry": (1, 0.25, 0.7),
                "variegation": (1, 0.25, 0.65),
                "network_disorder": (1, 0.25, 0.8),
                "streaks": (0.2, 0.2, 0.5),
                "veil": (0.1, 0.2, 0.5),
            },
        ),
        # dermal, pink
        (
            0.06,
            {
                "melanin": (1, 0.1, 0.4),
                "blood": (1, 0.15, 0.45),
                "network": (0.2, 0.2, 0.5),
                "vessels": (0.2, 0.1, 0.5),
                "cysts": (0.15, 0.2, 0.5),
            },
        ),
        # papillomatous, sharply bordered
        (
            0.05,
            {"softness": (1, 0.03, 0.1), "cysts": (0.3, 0.2, 0.6), "comedones": (0.3, 0.2, 0.6), "network": (0.2, 0.2, 0.5)},
        ),
    ),
    "bcc": ((0.15, {"melanin": (1, 0.3, 0.8), "nests": (1, 0.5, 1.0), "vessels": (0.4, 0.2, 0.6)}),),
    "akiec": (
        (0.15, {"melanin": (1, 0.3, 0.7), "strawberry": (0.4, 0.2, 0.6), "network": (0.4, 0.2, 0.6)}),
        (0.15, {"blood": (1, 0.2, 0.45), "scale": (1, 0.2, 0.6), "strawberry": (0.2, 0.2, 0.5)}),
    ),
    "bkl": (
        # heavily pigmented: mimics melanoma
        (
            0.12,
            {"melanin": (1, 0.9, 1.6), "variegation": (1, 0.3, 0.8), "asymmetry": (1, 0.3, 0.8), "veil": (0.3, 0.2, 0.5)},
        ),
        # solar lentigo: flat, with a network
        (0.15, {"cysts": (0, 0, 0), "comedones": (0, 0, 0), "melanin": (1, 0.25, 0.6), "network": (0.9, 0.3, 0.8)}),
        # lichenoid: pink
        (0.08, {"melanin": (1, 0.1, 0.4), "blood": (1, 0.2, 0.5), "scale": (0.6, 0.2, 0.7), "softness": (1, 0.1, 0.3)}),
    ),
    "df": ((0.2, {"scar": (0.5, 0.2, 0.5), "ring": (1, 0.2, 0.6)}),),
    "vasc": ((0.2, {"melanin": (1, 0.8, 1.6), "blood": (1, 0.9, 1.4), "lacunae": (0.6, 0.3, 0.7)}),),
}

# What each diagnosis is confused with. An ambiguous lesion takes a share of its cues from one of these.
CONFUSED_WITH: Mapping[str, tuple[str, ...]] = {
    "mel": ("nv", "nv", "bkl", "bcc"),
    "nv": ("mel", "mel", "bkl", "df"),
    "bcc": ("akiec", "mel", "nv", "vasc"),
    "akiec": ("bcc", "bkl", "bkl", "nv"),
    "bkl": ("nv", "nv", "mel", "akiec"),
    "df": ("nv", "nv", "bcc", "mel"),
    "vasc": ("bcc", "nv", "mel", "bcc"),
}

AMBIGUOUS_SHARE = 0.05
BORROWED_SHARE = 0.5


def draw_cues(label: int, rng: np.random.Generator) -> Cues:
    """Draw one lesion's cues for class index `label`. The number of random draws is the same for every lesion."""
    name = CLASSES[label]
    variant_draw, ambiguous_draw = rng.random(2)
    other = CONFUSED_WITH[name][rng.integers(4)]
    present, strength, borrowed = rng.random((3, len(NAMES)))

    row = dict(TYPICAL[name])
    for share, overrides in VARIANTS[name]:
        if 0 <= variant_draw < share:
            row.update(overrides)
        variant_draw -= share
    values = {}
    for index, cue in enumerate(NAMES):
        from_other = ambiguous_draw < AMBIGUOUS_SHARE and borrowed[index] < BORROWED_SHARE
        chance, low, high = (TYPICAL[other] if from_other else row).get(cue, (0.0, 0.0, 0.0))
        values[cue] = float(low + (high - low) * strength[index]) if present[index] < chance else 0.0
    return Cues(**values)
