"""Find the contract of an engine of another tool: common preprocessings and class orders are tried on a clean set.

The contract is the candidate that fits clearly best. If the images cannot distinguish some candidates, the result says
so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.contract import class_title
from skinaudit.artifacts.engine_contract import Answer, Colour, EngineContract, Layout
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.logits import Indices
from skinaudit.audit.figures.column_order import FittedOrder, fit_order, speaking_for
from skinaudit.audit.figures.statistics import Interval, wilson_interval
from skinaudit.engines.session import Session, SessionEngine
from skinaudit.errors import EngineError, InvalidInputError, counted

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (123.68, 116.779, 103.939)
"""ImageNet's mean in 8-bit steps, red first. VGG and ResNet of Keras and Caffe subtract it from BGR pixels."""
CROP = 0.875
"""224 of 256: the share of the side that most ImageNet pipelines keep."""
USUAL_ASPECT = 4 / 3
"""Width over height of most dermoscopic frames, such as those of HAM10000."""
_FIRST, _SECOND = 20, 60
"""Images of each class in the first round, over all preprocessings, and in the second, over the best ones."""
_MOST_FIRST, _MOST_SECOND = 200, 600
_TOGETHER = 300
"""Images of all classes in the second round, if there are few classes with so many images."""
_LAST, _MOST_LAST = 600, 2_400
"""Images of each class, and of all, in a third round of a thorough search, if the second one decides nothing."""
_FINALISTS = 4
_SQUARE = 0.02
"""Frames whose sides differ by less than this share are square."""
_BATCH = 32
_CONFIDENCE = 0.99
_OF_CONTRACT = "as in the contract"
_OF_FILE = "as in the labels of the file"

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Reading:
    """One way to feed an engine and to read its answer. name: of the preprocessing. contract: the complete contract.

    balanced, interval: balanced accuracy on the images that were tried. malignant: share of malignant images called
    malignant.
    """

    name: str
    contract: EngineContract
    order: FittedOrder
    balanced: float
    interval: Interval
    accuracy: float
    malignant: float | None


@dataclass(frozen=True)
class Search:
    """The result of a search.

    ranked: the readings of the second round, the best first. images: of that round. tried: number of preprocessings. rivals:
    readings that are not clearly worse than the best one, including it. chosen: the one to write down, None if nothing
    decides; reason: what decided, or what is missing. doubts: for entries of the chosen contract, what the images could not
    decide.
    """

    ranked: tuple[Reading, ...]
    images: int
    tried: int
    rivals: tuple[Reading, ...]
    chosen: Reading | None
    reason: str
    doubts: Mapping[str, str] = field(default_factory=dict)

    def beats(self, contract: EngineContract) -> bool:
        """Whether the chosen reading differs from `contract` and is clearly better."""
        if self.chosen is None or self.chosen.contract == contract:
            return False
        return not any(_same_contract(reading.contract, contract) for reading in self.rivals)

    def surpasses(self, contract: EngineContract) -> bool:
        """Whether other preprocessings are clearly better than that of `contract`, even if nothing decides between them."""
        useful = self.ranked[0].interval.low > 1 / len(contract.classes)
        return self.chosen is None and useful and all(_key(rival.contract) != _key(contract) for rival in self.rivals)


def search_contract(
    session: Session,
    clean: AdversarialSet,
    base: EngineContract,
    *,
    where: str,
    given: bool,
    aspect: float = USUAL_ASPECT,
    thorough: bool = False,
    progress: Progress | None = None,
) -> Search:
    """Try common preprocessings and class orders on a clean set.

    base: known facts about the engine: names, dtype, layout, answer. given: a person wrote `base`, so it is tried too, and
    its class order counts as common. If it maps columns to classes, only the preprocessing is varied, and `clean` has the
    classes of the task. aspect: width over height of the frames that were squashed to squares. thorough: continue with more
    of the images if nothing decides. Raises InvalidInputError if the engine's number of columns differs from the set's
    number of classes, EngineError if the engine fails with every preprocessing.
    """
    classes = clean.info.contract.classes
    if base.mapping is None and len(base.classes) != len(classes):
        raise InvalidInputError(
            f"{where}: has {len(base.classes)} classes, but {clean.path} has {len(classes)}: {', '.join(classes)}; "
            "merge these with a file for --classes, or draft the contract without images, name the columns, write under "
            "[output.mapping] which of these classes each one stands for, and give that file as --contract"
        )
    usual = {} if base.mapping is not None else _usual_orders(base, session, classes)
    rounds = _Rounds(session, clean, usual, where, progress)
    own = [(_OF_CONTRACT, base)] if given else []
    candidates = list(
        {_key(contract): (name, contract) for name, contract in (*own, *_preprocessings(base, session))}.values()
    )
    first = rounds.answers(candidates, per_class=_FIRST, most=_MOST_FIRST)
    best = sorted(first, key=lambda read: -read.whole)[:_FINALISTS]
    finalists = [(read.reading.name, read.reading.contract) for read in best]
    if given and all(_key(contract) != _key(base) for _, contract in finalists):
        finalists += own
    finalists += [
        (f"{name}, {part}", replace(contract, crop=height, crop_width=width))
        for place, (name, contract) in enumerate(finalists[:2])
        if min(contract.kept) == 1
        for part, height, width in (_CENTRE_CROP, *(_middle_squares(aspect) if place == 0 else ()))
    ]
    per_class = max(_SECOND, _TOGETHER // len(np.unique(clean.labels)))
    second = rounds.answers(finalists, per_class=per_class, most=_MOST_SECOND)
    search = _search_result(second, classes, tried=len(candidates) + 2)
    if thorough and search.chosen is None:
        last = rounds.answers(finalists, per_class=_LAST, most=_MOST_LAST)
        if len(last[0].labels) > search.images:
            return _search_result(last, classes, tried=search.tried, looks=2)
    return search


_Part = tuple[str, float, float | None]
"""Crops from the centre of a frame: name, and the entries crop and crop_width."""
_CENTRE_CROP: _Part = ("centre crop", CROP, None)


def _middle_squares(aspect: float) -> tuple[_Part, ...]:
    """The centre square of a frame, whole and cropped, as shares of the frame's height and width."""
    if abs(aspect - 1) < _SQUARE:
        return ()
    height, width = min(1.0, aspect), min(1.0, 1 / aspect)
    squares = (("middle square", 1.0), ("middle square, centre crop", CROP))
    return tuple((part, round(share * height, 4), round(share * width, 4)) for part, share in squares)


def search_lines(search: Search) -> Iterator[str]:
    """The ranking for people, one line each, and what decided."""
    yield f"{search.tried} preprocessings were tried; the best on {counted(search.images, 'image')}, one of each lesion:"
    for place, reading in enumerate(search.ranked, start=1):
        interval = f"[{100 * reading.interval.low:.1f}, {100 * reading.interval.high:.1f}]"
        malignant = "" if reading.malignant is None else f"  malignant called malignant {reading.malignant:.1%}"
        columns = reading.order.name or " ".join(reading.contract.classes)
        yield (
            f"{place:>3}  {reading.name}  balanced {reading.balanced:.1%} {interval}  accuracy {reading.accuracy:.1%}"
            f"{malignant}  columns: {columns}"
        )
    yield search.reason


@dataclass(frozen=True, eq=False)
class _Read:
    """A reading and how well it fits each image.

    fit: float64 (N,), 1 for a correct answer, plus the rank (0 to 1) of the true class's column on this image. labels: int64
    (N,).
    """

    reading: Reading
    fit: NDArray[np.float64]
    labels: Indices

    @property
    def whole(self) -> float:
        """The mean fit with equal weight for each class."""
        return float(np.mean([self.fit[self.labels == index].mean() for index in np.unique(self.labels)]))


@dataclass(frozen=True, eq=False)
class _Rounds:
    session: Session
    clean: AdversarialSet
    usual: dict[str, tuple[int, ...]]
    where: str
    progress: Progress | None

    def answers(self, candidates: Sequence[tuple[str, EngineContract]], *, per_class: int, most: int) -> list[_Read]:
        """The reading of every candidate on some images of each class, one image per lesion."""
        rows = _rows(self.clean.labels, self.clean.group, per_class=per_class, most=most)
        images, labels = self.clean.images_at(rows), self.clean.labels[rows]
        read = []
        for done, (name, contract) in enumerate(candidates, start=1):
            logits = self._logits(contract, images)
            if logits is not None:
                read.append(self._read(name, logits[1], logits[0], labels))
            if self.progress is not None:
                self.progress(done, len(candidates))
        if not read:
            raise EngineError(f"{self.where}: fails with every common preprocessing; write its contract by hand")
        return read

    def _logits(self, contract: EngineContract, images: Images) -> tuple[EngineContract, NDArray[np.float32]] | None:
        """The contract with its kind of answer, and the answers in the engine's own columns; None if there are none."""
        columns = tuple(f"column {index}" for index in range(len(contract.classes)))
        positive = None if contract.positive is None else columns[contract.classes.index(contract.positive)]
        raw, order = replace(contract, classes=columns, positive=positive), None
        if contract.mapping is not None:
            raw, order = contract, self.clean.info.contract.classes
        answers: tuple[Answer, ...] = (contract.answer, "probabilities" if contract.answer == "logits" else "logits")
        for answer in answers:
            try:
                engine = SessionEngine(self.session, where=self.where, contract=replace(raw, answer=answer), order=order)
                parts = [engine.logits(images[first : first + _BATCH]) for first in range(0, len(images), _BATCH)]
            except EngineError:
                continue
            return replace(contract, answer=answer), np.concatenate(parts)
        return None

    def _read(self, name: str, logits: NDArray[np.float32], contract: EngineContract, labels: Indices) -> _Read:
        about = self.clean.info.contract
        classes = about.classes
        if contract.mapping is not None:
            order = FittedOrder(tuple(range(len(classes))), _OF_CONTRACT, ())
        elif _OF_FILE in self.usual:  # no other one was opened
            order = FittedOrder(self.usual[_OF_FILE], _OF_FILE, ())
        else:
            order = fit_order(logits, labels, self.usual)
        named = list(classes)
        for index, column in enumerate(order.order):
            named[column] = classes[index]
        answers = logits[:, list(order.order)].argmax(axis=1)
        right = answers == labels
        shares, below, above = [], 0.0, 0.0
        for index in np.unique(labels):
            own = right[labels == index]
            interval = wilson_interval(int(own.sum()), len(own))
            shares.append(float(own.mean()))
            below += (shares[-1] - interval.low) ** 2
            above += (interval.high - shares[-1]) ** 2
        balanced, count = float(np.mean(shares)), len(shares)
        ill = np.isin(labels, about.malignant_labels)
        malignant = float(np.isin(answers[ill], about.malignant_labels).mean()) if ill.any() else None
        interval = Interval(max(0.0, balanced - math.sqrt(below) / count), min(1.0, balanced + math.sqrt(above) / count))
        whole = contract
        if contract.mapping is None:
            positive = None if contract.positive is None else named[contract.classes.index(contract.positive)]
            whole = replace(contract, classes=tuple(named), positive=positive)
        fit = speaking_for(logits)[np.arange(len(labels)), np.array(order.order)[labels]]
        return _Read(Reading(name, whole, order, balanced, interval, float(right.mean()), malignant), fit, labels)


def _search_result(unranked: Sequence[_Read], classes: Sequence[str], *, tried: int, looks: int = 1) -> Search:
    """looks: how many rounds could have decided, this one included; the error is shared among them."""
    read = sorted(unranked, key=lambda candidate: -candidate.whole)
    best = read[0]
    z = NormalDist().inv_cdf(1 - (1 - _CONFIDENCE) / looks / max(1, len(read) - 1))
    rivals = [other for other in read if other is best or _lead(best, other, z) <= 0]
    kept = tuple(other.reading for other in rivals)
    chosen, reason = _choice(kept, classes, constant=1 / len(np.unique(best.labels)))
    worse = [other.reading for other in read if other not in rivals]
    if chosen is not None and worse:
        reason = (
            f"{reason}: balanced accuracy {chosen.balanced:.1%} [{100 * chosen.interval.low:.1f}, "
            f"{100 * chosen.interval.high:.1f}], the next preprocessing ({worse[0].name}) {worse[0].balanced:.1%}"
        )
    doubts = {}
    parts = [reading for reading in kept if min(reading.contract.kept) < 1]
    if chosen is not None and min(chosen.contract.kept) == 1 and parts:
        shares = " or ".join(_crop_text(reading.contract) for reading in parts)
        doubts["crop"] = (
            f"these images fit crop = {shares} as well: ask whether the engine was trained on the middle of its frames"
        )
        reason += "; these images cannot distinguish the whole frame (written here) from its centre crop"
    ranked = tuple(other.reading for other in read)
    return Search(ranked, len(best.labels), tried, kept, chosen, reason, doubts)


def _choice(rivals: Sequence[Reading], classes: Sequence[str], *, constant: float) -> tuple[Reading | None, str]:
    """constant: the balanced accuracy of a constant answer."""
    best = rivals[0]
    if best.interval.low <= constant:
        return None, "no preprocessing and order of classes is better than a constant answer"
    if any(_key(reading.contract, crop=False) != _key(best.contract, crop=False) for reading in rivals):
        names = ", ".join(dict.fromkeys(f"'{reading.name}'" for reading in rivals))
        return None, f"these images cannot distinguish these candidates: {names}; more images would decide"
    uncropped = next((reading for reading in rivals if min(reading.contract.kept) == 1), best)
    if uncropped.order.unsure:
        pairs = ", ".join(f"{classes[first]} and {classes[second]}" for first, second in uncropped.order.unsure)
        return None, f"these images cannot distinguish the columns of {pairs}; more images would decide"
    order = f"the order of classes is {uncropped.order.name}" if uncropped.order.name else "no usual order of classes fits"
    return uncropped, f"{uncropped.name} is clearly better than other scales and colours, and {order}"


def _lead(best: _Read, other: _Read, z: float) -> float:
    """Lower bound of the lead of the best one over the other on the same images, with equal weight for each class."""
    difference, variance = 0.0, 0.0
    present = np.unique(best.labels)
    for index in present:
        rows = best.labels == index
        paired = best.fit[rows] - other.fit[rows]
        difference += float(paired.mean()) / len(present)
        # One more differing image than observed, because few images without a difference do not prove that there is none.
        variance += (float(paired.var()) + 1 / len(paired)) / len(paired) / len(present) ** 2
    return difference - z * math.sqrt(variance)


def _preprocessings(base: EngineContract, session: Session) -> Iterator[tuple[str, EngineContract]]:
    """Every common preprocessing that the engine's input can take."""
    ports = {port.name: port for port in session.inputs}
    port = ports.get(base.input or "", session.inputs[0])
    plain = replace(base, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), normalise="constants", crop=1.0, crop_width=None)
    layouts: list[Layout] = []
    layouts += ["NCHW"] if port.shape[1] in (base.channels, None) else []
    layouts += ["NHWC"] if port.shape[3] in (base.channels, None) else []
    colours: tuple[Colour, ...] = ("grey",) if base.channels == 1 else ("RGB", "BGR")
    for layout in layouts:
        layout_text = f", {layout}" if len(layouts) > 1 else ""
        for colour in colours:
            for name, contract in _scalings(replace(plain, layout=layout, colour=colour)):
                yield f"{name}, {colour}{layout_text}", contract


def _scalings(plain: EngineContract) -> Iterator[tuple[str, EngineContract]]:
    if not plain.dtype.startswith("float"):
        shift = 128.0 if plain.dtype == "int8" else 0.0
        yield "whole steps of 8 bit", replace(plain, scale=Fraction(1), mean=(shift,) * 3)
        return
    yield "0 to 1", replace(plain, scale=Fraction(1, 255))
    yield "-1 to 1 (Inception)", replace(plain, scale=Fraction(2, 255), mean=(1.0, 1.0, 1.0))
    yield "0 to 255", replace(plain, scale=Fraction(1))
    mean, std, caffe = (_in(plain.colour, values) for values in (IMAGENET_MEAN, IMAGENET_STD, CAFFE_MEAN))
    yield "ImageNet's mean and std", replace(plain, scale=Fraction(1, 255), mean=mean, std=std)
    yield "0 to 255 minus ImageNet's mean (Caffe)", replace(plain, scale=Fraction(1), mean=caffe)
    yield "z-score per image", replace(plain, scale=Fraction(1), normalise="per image")


def _in(colour: Colour, values: tuple[float, ...]) -> tuple[float, ...]:
    if colour == "grey":
        return (sum(values) / len(values),) * len(values)
    return values if colour == "RGB" else values[::-1]


def _usual_orders(base: EngineContract, session: Session, classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Column orders that are common, by their names: for each class of the set its column."""
    named = {
        _OF_CONTRACT: base.classes,
        _OF_FILE: session.labels or (),
        "as in the images": tuple(classes),
        "alphabetical": tuple(sorted(classes)),
        "alphabetical by full names": tuple(sorted(classes, key=class_title)),
    }
    return {
        name: tuple(names.index(class_name) for class_name in classes)
        for name, names in named.items()
        if sorted(names) == sorted(classes)
    }


def _rows(labels: Indices, groups: Indices, *, per_class: int, most: int) -> Indices:
    """Up to `per_class` images of every class, one per lesion, ascending; at most `most` in all."""
    _, first = np.unique(groups, return_index=True)
    rows_of = [np.sort(first[labels[first] == index]) for index in np.unique(labels)]
    per_class = max(5, min(per_class, most // len(rows_of)))
    spread = (rows[np.linspace(0, len(rows) - 1, min(per_class, len(rows))).astype(int)] for rows in rows_of)
    return np.sort(np.concatenate(list(spread)))


def _key(contract: EngineContract, *, crop: bool = True) -> tuple[object, ...]:
    """The function from pixels to the tensor, which decides whether two preprocessings are the same."""
    scale = [float(contract.scale) / spread for spread in contract.std]
    shift = [mean / spread for mean, spread in zip(contract.mean, contract.std, strict=True)]
    if contract.normalise == "per image":
        scale, shift = [1.0], [0.0]
    numbers = tuple(float(f"{number:.5g}") for number in (*scale, *shift))
    of_crop = contract.kept if crop else (1.0, 1.0)
    return contract.layout, contract.dtype, contract.colour, contract.normalise, numbers, of_crop


def _crop_text(contract: EngineContract) -> str:
    width = "" if contract.crop_width is None else f" with crop_width = {contract.crop_width:g}"
    return f"{contract.crop:g}{width}"


def _same_contract(first: EngineContract, second: EngineContract) -> bool:
    return _key(first) == _key(second) and first.classes == second.classes
