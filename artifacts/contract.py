"""Input and output of a model, as one frozen value that every artifact contains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from skinaudit.artifacts.logits import check_positive
from skinaudit.artifacts.typed_json import Range
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
    """The full name of a class, such as `melanoma`; a class that is not from HAM10000 keeps its name."""
    return CLASS_TITLES.get(name, name)


def short_title(name: str) -> str:
    """The title of a class if it is short enough for the head of a column, else its name."""
    title = class_title(name)
    return title if len(title) <= _SHORT else name


MAX_CLASSES = 30
"""Largest number of classes that reports and charts can show; `skinaudit train --classes FILE.toml` merges classes."""

MAX_SIZE = 2**14
"""Largest side of an image in pixels. A damaged larger number would ask for more memory than any machine has."""


@dataclass(frozen=True)
class InputContract:
    """Input and output of a model. Invariant: pixels are float32 RGB NCHW in [0, 1]; normalisation is inside the graph.

    size: side of the square image in pixels. resize: how the whole frame was resized to that size, outside of the graph.
    classes: meaning of the columns of `output`, which are logits. malignant: the classes that count as malignant, the
    most important one first; if it is empty, missed cancers cannot be judged. positive: for a model with one output
    column, the class of that logit; None if each class has its own column. threshold: the positive class is predicted
    above this probability.
    """

    size: Annotated[int, Range(1, MAX_SIZE)]
    classes: tuple[str, ...] = CLASSES
    malignant: tuple[str, ...] = MALIGNANT
    layout: str = "NCHW"
    dtype: str = "float32"
    scale: str = "pixel/255"
    resize: str = "whole frame, antialiased bilinear"
    input: str = "image"
    output: str = "logits"
    positive: str | None = None
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or len(set(self.malignant)) != len(self.malignant):
            raise InvalidInputError(f"input contract: a class is named twice in {self.classes} or {self.malignant}")
        unknown = [name for name in self.malignant if name not in self.classes]
        if unknown:
            raise InvalidInputError(
                f"input contract: malignant has {first_few(unknown)}, but the classes are {', '.join(self.classes)}"
            )
        if self.positive is not None:
            check_positive(self.classes, self.positive, self.threshold)

    @property
    def malignant_labels(self) -> tuple[int, ...]:
        """The labels of the malignant classes, in the order of `malignant`."""
        return tuple(self.classes.index(name) for name in self.malignant)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "classes": list(self.classes), "malignant": list(self.malignant)}


def completed(value: Any) -> Any:
    """The plain value of a contract, with the two entries for a single column added if it is from an earlier version.

    If only one of the two is missing, somebody removed it. Then no default is added, and `build` refuses the contract.
    """
    earlier = isinstance(value, dict) and not {"positive", "threshold"} & value.keys()
    return {"positive": None, "threshold": 0.5, **value} if earlier else value


def known_malignant(classes: Sequence[str]) -> list[str]:
    """The classes with the name of a well-known malignant diagnosis. Other names may be malignant too."""
    names = {*MALIGNANT, *(CLASS_TITLES[name] for name in MALIGNANT)}
    return [name for name in classes if name.lower() in names]


def upgraded(value: Any, *, where: str, again: str) -> Any:
    """The plain value of a contract of the earlier format, with the malignant classes that it implied.

    Raises InvalidInputError if it names some, because skinaudit never wrote that. `build` finds other faults.
    """
    if not isinstance(value, dict):
        return value
    if "malignant" in value:
        raise InvalidInputError(f"{where}.malignant is unknown in this earlier format of the file; {again}")
    classes = value.get("classes")
    return completed({**value, "malignant": earlier_malignant(classes if isinstance(classes, list) else [])})


def earlier_malignant(classes: Sequence[object]) -> list[str]:
    """The malignant classes of a file from before contracts named them.

    Such files always meant the diagnoses of HAM10000. For any other classes, nothing is known.
    """
    return list(MALIGNANT) if len(classes) == len(CLASSES) and all(name in classes for name in CLASSES) else []
