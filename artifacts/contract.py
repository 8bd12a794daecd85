"""What goes into a model and what comes out: one frozen value that every artifact carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from skinaudit.errors import InvalidInputError

CLASSES = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
"""The seven HAM10000 diagnoses in the order of the ISIC 2018 Task 3 ground truth; a label is an index into it."""

MALIGNANT = ("mel", "bcc", "akiec")
"""Malignant or pre-malignant diagnoses: the ones whose loss of sensitivity harms a patient."""

CLASS_TITLES: Mapping[str, str] = {
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "bcc": "basal cell carcinoma",
    "akiec": "actinic keratosis / intraepithelial carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "vasc": "vascular lesion",
}


@dataclass(frozen=True)
class InputContract:
    """The model's input and output. Invariant: pixels are float32 RGB NCHW in [0, 1]; normalisation is inside the graph.

    `size` is the side of the square image in pixels. `resize` names how the whole frame was brought to that size, outside
    of the graph. `classes` gives the meaning of the columns of `output`, which are logits.
    """

    size: int
    classes: tuple[str, ...] = CLASSES
    layout: str = "NCHW"
    dtype: str = "float32"
    scale: str = "pixel/255"
    resize: str = "whole frame, antialiased bilinear"
    input: str = "image"
    output: str = "logits"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "classes": list(self.classes)}

    @staticmethod
    def from_json(value: Mapping[str, Any], *, where: str) -> InputContract:
        """Read it back; a missing or extra field is an InvalidInputError naming `where`."""
        try:
            contract = InputContract(**{**value, "classes": tuple(value["classes"])})
            distinct = len(set(contract.classes)) == len(contract.classes)
        except (KeyError, TypeError) as error:
            raise InvalidInputError(f"{where}: the input contract is incomplete or has unknown fields ({error})") from error
        if not isinstance(contract.size, int) or contract.size < 1 or not distinct:
            raise InvalidInputError(f"{where}: the input contract has size {contract.size!r}, classes {contract.classes!r}")
        return contract
