"""What goes into a model and what comes out: one frozen value that every artifact carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from skinaudit.errors import InvalidInputError, first_few

CLASSES = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
"""The seven HAM10000 diagnoses in the order of the ISIC 2018 Task 3 ground truth; a label is an index into it."""

MALIGNANT = ("mel", "bcc", "akiec")
"""Malignant or pre-malignant diagnoses of HAM10000: the ones whose loss of sensitivity harms a patient."""

CLASS_TITLES: Mapping[str, str] = {
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "bcc": "basal cell carcinoma",
    "akiec": "actinic keratosis / intraepithelial carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "vasc": "vascular lesion",
}

_SHORT = 10


def class_title(name: str) -> str:
    """What a class is called in full, such as `melanoma`; a class that is not of HAM10000 keeps its name."""
    return CLASS_TITLES.get(name, name)


def short_title(name: str) -> str:
    """The title of a class where it is short enough for the head of a column, else its name."""
    title = class_title(name)
    return title if len(title) <= _SHORT else name


@dataclass(frozen=True)
class InputContract:
    """The model's input and output. Invariant: pixels are float32 RGB NCHW in [0, 1]; normalisation is inside the graph.

    `size` is the side of the square image in pixels. `resize` names how the whole frame was brought to that size, outside
    of the graph. `classes` gives the meaning of the columns of `output`, which are logits. `malignant` names those of the
    classes that count as malignant, the most important one first; where it is empty, nothing clinical can be judged.
    """

    size: int
    classes: tuple[str, ...] = CLASSES
    malignant: tuple[str, ...] = MALIGNANT
    layout: str = "NCHW"
    dtype: str = "float32"
    scale: str = "pixel/255"
    resize: str = "whole frame, antialiased bilinear"
    input: str = "image"
    output: str = "logits"

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or len(set(self.malignant)) != len(self.malignant):
            raise InvalidInputError(f"input contract: a class is named twice in {self.classes} or {self.malignant}")
        unknown = [name for name in self.malignant if name not in self.classes]
        if unknown:
            raise InvalidInputError(
                f"input contract: malignant names {first_few(unknown)}; the classes are {', '.join(self.classes)}"
            )

    @property
    def malignant_labels(self) -> tuple[int, ...]:
        """The labels of the malignant classes, in the order of `malignant`."""
        return tuple(self.classes.index(name) for name in self.malignant)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "classes": list(self.classes), "malignant": list(self.malignant)}

    @staticmethod
    def from_json(value: Mapping[str, Any], *, where: str) -> InputContract:
        """Read it back; a missing or extra field is an InvalidInputError naming `where`."""
        try:
            classes = tuple(value["classes"])
            malignant = tuple(value["malignant"]) if "malignant" in value else earlier_malignant(classes)
            contract = InputContract(**{**value, "classes": classes, "malignant": malignant})
        except InvalidInputError as error:
            raise InvalidInputError(f"{where}: {error}") from error
        except (KeyError, TypeError) as error:
            raise InvalidInputError(f"{where}: the input contract is incomplete or has unknown fields ({error})") from error
        if not isinstance(contract.size, int) or contract.size < 1:
            raise InvalidInputError(f"{where}: the input contract has size {contract.size!r}, classes {contract.classes!r}")
        return contract


def earlier_malignant(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The malignant classes of a file that was written before contracts named them.

    Such files always meant the diagnoses of HAM10000. Where the classes are not exactly these, nothing is known.
    """
    return MALIGNANT if sorted(classes) == sorted(CLASSES) else ()
