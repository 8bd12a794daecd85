"""The policy: the bounds that an engine must meet to pass, as a value and as a TOML file."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from skinaudit.artifacts.plain_values import read_toml
from skinaudit.artifacts.typed_json import Known, build
from skinaudit.errors import InvalidInputError

Prove = Literal["where possible", "always"]
Requirement = Literal["required", "optional"]
Clinical = Literal["required", "none"]
Proof = Literal["where readable", "always", "optional"]
AgreementOnly = Literal["pass", "inconclusive"]

_RUN = re.compile(r"sha256:[0-9a-f]{64}")
_SOME_RUN = f"sha256:{'0' * 64}"
MAX_IMAGES = 1_000_000
"""Upper limit of every setting that counts images; no set has more. The audit itself checks whether a bound is void."""


@dataclass(frozen=True)
class Floor:
    """Absolute lower bounds of an engine's figures on one set, in percent. None means no bound.

    accuracy: on an adversarial set, the robust accuracy. malignant_sensitivity: share of malignant images called malignant.
    worst_class_sensitivity: sensitivity of the class with the lowest one.
    """

    accuracy: float | None = None
    balanced_accuracy: float | None = None
    malignant_sensitivity: float | None = None
    worst_class_sensitivity: float | None = None


@dataclass(frozen=True)
class Policy:
    """The bounds of a verdict. Invariant: every bound is finite, and no setting switches a check off.

    General settings.
    confidence: two-sided confidence of every interval.
    minimal_images: a set with fewer images can FAIL clearly, but it cannot decide anything else.
    control: if no reference reproduced the logits stored in the sets, `required` forbids PASS and `optional` warns.
    proof: applies if layers and weights of the engine's file were not compared with those of its run. `always` forbids
    PASS. `optional` warns. `where readable` warns for formats that cannot be read, such as plans, and forbids PASS
    otherwise.
    run: the run that an engine has to come from, by the digest of what it was when its training ended
    (skinaudit.artifacts.anchor); None for any run.
    clinical: if the contract names no malignant class, `required` forbids PASS. `none` permits it for the reason in
    clinical_reason, which every report prints. If malignant classes are named, their gates apply in any case.
    agreement_only: applies if the source is not robust under any threat model. `pass` permits a PASS that says so.
    `inconclusive` forbids it.

    Loss against the source model.
    margin: percentage points of accuracy that each set may lose. margins: margins of single sets, by name, attack or
    title. Even an engine that agrees on every image needs 381 images (of different lesions) to show a loss below 1 point
    at 95%.
    malignant_margin: the same for malignant images called malignant, pooled over the malignant classes. From
    many_malignant malignant images on, malignant_margin_many applies if it is smaller.
    class_margin, class_margins: the same for the sensitivity of each malignant class. benign_margin: for each other class;
    its gate can only FAIL.
    prove: applies to gates of malignant classes and of turned_benign with too little power. `where possible` warns and
    leaves the gate undecided. `always` makes the audit INCONCLUSIVE.
    turned_benign: percent of the malignant images that the source calls malignant. The upper confidence limit of those
    that the engine calls benign must be lower. malignant_to_benign: largest number of such images in one set, None for no
    limit.
    floors: absolute bounds by set.

    Fresh attacks.
    probe_margin: points by which a fresh attack may cost the engine more than its reference. probe_required: whether PASS
    needs a fresh black-box attack in the norm and eps of a set. probe_images: number of images of the small attack in
    every audit. probe_prove: whether this small attack must show that the loss is below the margin; otherwise it only
    detects clear losses.

    Comparison with an earlier engine (`--baseline`).
    baseline_margin: points of accuracy that a set may lose. The class margins apply to malignant classes.
    baseline_malignant_to_benign: percent of a set's malignant images. The upper confidence limit of those that the earlier
    engine calls malignant and this engine benign must be lower; 0 allows none.

    Operating point.
    operating_specificity: specificity of the threshold at which source and engine are compared, None for the lowest one
    that the run recorded. operating_margin: points of sensitivity that a set may lose there; None if the figures are only
    shown. operating_prevalence: share of malignant images for predictive values; None if these are not shown.

    Subgroups.
    subgroups: columns of the data whose subgroups are judged; None for all columns, an empty tuple for none.
    subgroup_lesions: a subgroup that counts as fewer lesions is shown but not judged. subgroup_margin: points that it may
    lose more than the rest of its set, if the difference is more than chance explains. A subgroup can only FAIL.

    Not a setting: the engine's balanced accuracy on the clean set must be above that of a constant answer, which is
    exactly 1 / classes. The mean of the Wilson lower bounds of the sensitivities must exceed it. For a constant answer this
    mean is below 1 / classes for any number of images, so no policy lets a constant answer pass, not even by luck.
    """

    confidence: float = 0.95
    minimal_images: int = 100
    margin: float = 1.0
    margins: Mapping[str, float] = field(default_factory=dict)
    malignant_margin: float = 5.0
    malignant_margin_many: float = 2.5
    many_malignant: int = 400
    class_margin: float = 5.0
    class_margins: Mapping[str, float] = field(default_factory=dict)
    benign_margin: float = 20.0
    prove: Prove = "where possible"
    control: Requirement = "required"
    proof: Proof = "where readable"
    run: str | None = None
    clinical: Clinical = "required"
    clinical_reason: str = ""
    turned_benign: float = 5.0
    malignant_to_benign: int | None = None
    agreement_only: AgreementOnly = "pass"
    floors: Mapping[str, Floor] = field(default_factory=dict)
    probe_margin: float = 5.0
    probe_required: bool = True
    probe_images: int = 100
    probe_prove: bool = False
    baseline_margin: float = 1.0
    baseline_malignant_to_benign: float = 5.0
    subgroups: tuple[str, ...] | None = None
    subgroup_lesions: int = 30
    subgroup_margin: float = 5.0
    operating_specificity: float | None = None
    operating_prevalence: float | None = None
    operating_margin: float | None = None

    def __post_init__(self) -> None:
        points = {"margin": self.margin, "class_margin": self.class_margin, "benign_margin": self.benign_margin}
        points |= {"malignant_margin": self.malignant_margin, "malignant_margin_many": self.malignant_margin_many}
        points |= {"turned_benign": self.turned_benign, "subgroup_margin": self.subgroup_margin}
        points |= {"probe_margin": self.probe_margin, "baseline_margin": self.baseline_margin}
        points |= {} if self.operating_margin is None else {"operating_margin": self.operating_margin}
        points |= {f"margin of {name}": value for name, value in (*self.margins.items(), *self.class_margins.items())}
        for name, value in points.items():
            if not (math.isfinite(value) and 0 < value < 100):
                raise InvalidInputError(f"policy {name} = {value}: give percentage points between 0 and 100, such as 1.0")
        for name, floor in self.floors.items():
            if floor == Floor():
                names = ", ".join(figure.name for figure in fields(Floor))
                raise InvalidInputError(f"policy floor of {name}: sets no bound; give one of {names}, or leave it out")
            for figure in fields(floor):
                percent = getattr(floor, figure.name)
                if percent is not None and not (math.isfinite(percent) and 0 < percent < 100):
                    raise InvalidInputError(f"policy floor of {name}: {figure.name} = {percent}: give percent, 0 to 100")
        if self.run is not None and not _RUN.fullmatch(self.run):
            raise InvalidInputError(f"policy run = {self.run!r}: give sha256: and 64 digits, as `skinaudit policy RUN` does")
        if not 0.5 <= self.confidence < 1:
            raise InvalidInputError(
                f"policy confidence = {self.confidence}: give a number from 0.5 to below 1, such as 0.95"
            )
        if self.operating_margin is not None and self.operating_specificity is None:
            raise InvalidInputError("policy operating_margin: name the specificity that it is for, such as 0.9")
        for name, part in (
            ("operating_specificity", self.operating_specificity),
            ("operating_prevalence", self.operating_prevalence),
        ):
            if part is not None and not 0 < part < 1:
                raise InvalidInputError(f"policy {name} = {part}: give a number between 0 and 1, such as 0.9")
        if self.malignant_to_benign is not None and not 0 <= self.malignant_to_benign <= MAX_IMAGES:
            raise InvalidInputError(
                f"policy malignant_to_benign = {self.malignant_to_benign}: give 0 or more images, at most {MAX_IMAGES:,}"
            )
        if not (math.isfinite(self.baseline_malignant_to_benign) and 0 <= self.baseline_malignant_to_benign < 100):
            raise InvalidInputError(
                f"policy baseline_malignant_to_benign = {self.baseline_malignant_to_benign}: give percent of the malignant "
                "images from 0 to below 100, such as 5.0"
            )
        for name, images in (
            ("minimal_images", self.minimal_images),
            ("many_malignant", self.many_malignant),
            ("probe_images", self.probe_images),
            ("subgroup_lesions", self.subgroup_lesions),
        ):
            if not 1 <= images <= MAX_IMAGES:
                raise InvalidInputError(f"policy {name} = {images}: give at least 1 and at most {MAX_IMAGES:,}")
        if self.agreement_only not in get_args(AgreementOnly):
            raise InvalidInputError(f"policy agreement_only = {self.agreement_only!r}: choose 'pass' or 'inconclusive'")
        if self.control not in get_args(Requirement):
            raise InvalidInputError(f"policy control = {self.control!r}: choose 'required' or 'optional'")
        if self.proof not in get_args(Proof):
            raise InvalidInputError(f"policy proof = {self.proof!r}: choose {', '.join(map(repr, get_args(Proof)))}")
        if self.clinical not in get_args(Clinical):
            raise InvalidInputError(f"policy clinical = {self.clinical!r}: choose 'required' or 'none'")
        if self.clinical == "none" and not self.clinical_reason.strip():
            raise InvalidInputError("policy clinical_reason: clinical = 'none' needs the reason why nothing is malignant")
        if self.prove not in get_args(Prove):
            raise InvalidInputError(f"policy prove = {self.prove!r}: choose {' or '.join(map(repr, get_args(Prove)))}")

    @property
    def alpha(self) -> float:
        """Significance level of each one-sided test: 0.025 for 95% intervals."""
        return (1 - self.confidence) / 2

    def margin_of_malignant(self, images: int) -> float:
        """Points of malignant called malignant that a set with this number of malignant images may lose."""
        if images < self.many_malignant:
            return self.malignant_margin
        return min(self.malignant_margin, self.malignant_margin_many)


def own_entry(table: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The entry for a set with these names, or None. check_names refuses a table with two entries for one set."""
    return next((table[name] for name in names if name in table), None)


DEFAULT = Policy()
"""The policy that applies without a policy file."""
DEFAULT_TEXT = f"""\
# The bounds that an engine must meet to pass `skinaudit audit ENGINE --policy FILE`. Every value below is the default.

# Two-sided confidence of every interval. At 0.95, at most 2.5% of audits pass an engine whose true loss equals the margin.
confidence = {DEFAULT.confidence}
# A set with fewer images can FAIL clearly, but it cannot decide anything else.
minimal_images = {DEFAULT.minimal_images}
# The reference (the fp32 ONNX file beside the engine, or --control) must reproduce the logits stored in the sets. If none
# did, the audit is INCONCLUSIVE with "required". With "optional" it trusts the logits and warns.
control = "{DEFAULT.control}"
# Layers and weights of the engine's file are compared with those of its run (structure.json and weights.safetensors). If
# this was not possible, "always" makes the audit INCONCLUSIVE and "optional" only warns. "where readable" warns for formats
# that cannot be read (plans, compiled packages); otherwise the audit is INCONCLUSIVE.
proof = "{DEFAULT.proof}"
# The run that an engine has to come from: the digest of its weights, structure, data, test images, contract
# and operating points, which `skinaudit policy RUN` fills in. All digests in a run's folder can be rewritten
# together; this one lies elsewhere.
# run = "{_SOME_RUN}"
# If the contract of the sets names no malignant class, missed cancers cannot be judged. With "required" the audit is then
# INCONCLUSIVE. With "none" it may pass, and every report prints the reason.
clinical = "{DEFAULT.clinical}"
# clinical_reason = "the task distinguishes nevi from benign keratoses; no class is malignant"
# A source that is no better than a constant answer under every attack has no robustness to lose. Then the audit can only
# show that source and engine agree. With "pass" it may pass and says "agreement only". With "inconclusive" it may not.
agreement_only = "{DEFAULT.agreement_only}"

# Percentage points of accuracy that a set may lose against the source model. PASS: the interval of the loss lies below it.
# FAIL: above it. A single set can have its own margin, under its name, its attack or its title.
[margin]
default = {DEFAULT.margin}
# clean = 0.5
# "pgd-dlr linf 4/255" = 2.0

# The same for malignant images that are called malignant, pooled over the malignant classes of the contract. From `many`
# malignant images on, `margin_of_many` applies if it is smaller.
[malignant]
margin = {DEFAULT.malignant_margin}
margin_of_many = {DEFAULT.malignant_margin_many}
many = {DEFAULT.many_malignant}

# The same for the sensitivity of each class. The gate of a class binds if its power is at least 80%. If a malignant class
# has less power, `prove` decides: "where possible" warns, "always" makes the audit INCONCLUSIVE.
[sensitivity_margin]
default = {DEFAULT.class_margin}
benign = {DEFAULT.benign_margin}
prove = "{DEFAULT.prove}"
# mel = 2.0

# Malignant images of one set that the source model calls malignant and the engine benign. Each is listed for review.
# Their share of the malignant images that the source calls malignant is bounded: its upper confidence limit must be below
# `percent`. `limit` is in addition a largest number of images; by default there is none. If a bound is so wide that an
# engine which guesses or misses every cancer would pass, the audit is INCONCLUSIVE.
[malignant_to_benign]
percent = {DEFAULT.turned_benign}
# limit = 0

# Source and engine are also compared at a threshold of the malignant score. It is the threshold that reached this
# specificity on the run's validation images (see `skinaudit train --help`). The default is the lowest recorded specificity.
[operating_point]
# specificity = 0.9
# Share of malignant images where the classifier is used. If it is given, reports show predictive values.
# prevalence = 0.02
# Percentage points of sensitivity at this threshold that a set may lose. Without it, the figures are only shown.
# margin = 5.0

# Points of robust accuracy by which a fresh attack (`--probe`) may cost the engine more than its reference.
[probe]
margin = {DEFAULT.probe_margin}
# Every audit runs a small fresh attack: Square, in the norm and eps of most sets. Its seed chooses `images` clean images. It
# uses about as many queries as the replay has images, at least 10 per image. Without it (`--no-probe`) the audit is
# INCONCLUSIVE. If `required` is false, it only warns.
required = {str(DEFAULT.probe_required).lower()}
images = {DEFAULT.probe_images}
# Whether the small attack must show that the loss is below the margin. So few images seldom can, so by default it only
# detects clear losses. To show more, attack about 400 images.
prove = {str(DEFAULT.probe_prove).lower()}

# Points of accuracy that a set may lose against an earlier engine (`--baseline audit.json`), on the same images. For the
# sensitivity to a malignant class, [sensitivity_margin] applies here, too.
[baseline]
margin = {DEFAULT.baseline_margin}
# Malignant images of a set that the earlier engine calls malignant and this engine benign, in percent of the set's
# malignant images. The upper confidence limit must be below this value. 0 allows none.
malignant_to_benign = {DEFAULT.baseline_malignant_to_benign}

# Subgroups: age in bands of 20 years, sex, site, skin type and source, if the data have them. A subgroup FAILs on two
# conditions, in accuracy or in malignant called malignant. First, a test shows that it loses more than the rest of its set,
# corrected for the number of subgroups. Second, the difference is at least `margin` points. A subgroup never makes an audit
# INCONCLUSIVE. A subgroup that counts as fewer than `lesions` lesions, or leaves fewer to the rest, is shown but not judged.
# By default every column of the sets is judged; `columns` selects some, [] none.
[subgroups]
lesions = {DEFAULT.subgroup_lesions}
margin = {DEFAULT.subgroup_margin}
# columns = ["age", "sex"]

# Absolute bounds in percent, by set; none by default.
# [floor.clean]
# accuracy = 65.0
# balanced_accuracy = 50.0
# malignant_sensitivity = 60.0
# worst_class_sensitivity = 20.0
# [floor.pgd]
# accuracy = 50.0
"""
"""A policy file with all defaults and comments; `skinaudit policy` prints it."""


def text_for(run: str) -> str:
    """The default policy file for the engines of one run. run: its anchor."""
    return DEFAULT_TEXT.replace(f'# run = "{_SOME_RUN}"', f'run = "{run}"')


_SETTINGS = {
    "malignant": {"margin": "malignant_margin", "margin_of_many": "malignant_margin_many", "many": "many_malignant"},
    "malignant_to_benign": {"percent": "turned_benign", "limit": "malignant_to_benign"},
    "probe": {"margin": "probe_margin", "required": "probe_required", "images": "probe_images", "prove": "probe_prove"},
    "operating_point": {
        "specificity": "operating_specificity", "prevalence": "operating_prevalence", "margin": "operating_margin",
    },
    "baseline": {"margin": "baseline_margin", "malignant_to_benign": "baseline_malignant_to_benign"},
    "subgroups": {"lesions": "subgroup_lesions", "margin": "subgroup_margin", "columns": "subgroups"},
}  # fmt: skip
"""Tables of a policy file whose keys are fixed, with the field of Policy that each key sets."""
_NOT_FLOATS = ("limit", "many", "required", "images", "prove", "lesions", "columns")
_FLOOR = Known({figure.name: float for figure in fields(Floor)}, others=False)
_PROBE = Known({"margin": float, "required": bool, "images": int, "prove": bool}, others=False)
_SUBGROUPS = Known({"lesions": int, "margin": float, "columns": tuple[str, ...]}, others=False)
_FILE = Known(
    {
        "confidence": float, "minimal_images": int, "control": Requirement, "clinical": Clinical, "clinical_reason": str,
        "proof": Proof, "run": str, "agreement_only": AgreementOnly,
        "margin": Mapping[str, float],
        "sensitivity_margin": Annotated[Mapping[str, Any], Known({"prove": Prove})],
        "malignant": Annotated[
            Mapping[str, Any], Known({"margin": float, "margin_of_many": float, "many": int}, others=False)
        ],
        "malignant_to_benign": Annotated[Mapping[str, Any], Known({"percent": float, "limit": int}, others=False)],
        "probe": Annotated[Mapping[str, Any], _PROBE],
        "operating_point": Annotated[
            Mapping[str, Any], Known({"specificity": float, "prevalence": float, "margin": float}, others=False)
        ],
        "baseline": Annotated[Mapping[str, Any], Known({"margin": float, "malignant_to_benign": float}, others=False)],
        "subgroups": Annotated[Mapping[str, Any], _SUBGROUPS],
        "floor": Mapping[str, Annotated[Mapping[str, Any], _FLOOR]],
    },
    others=False,
)  # fmt: skip
_PLAIN = ("confidence", "minimal_images", "control", "proof", "run", "clinical", "clinical_reason", "agreement_only")
_AGAIN = "`skinaudit policy` prints one to start from"


def read_policy(path: Path) -> Policy:
    """Read a policy file. Settings that it leaves out keep their defaults.

    Raises InvalidInputError if the file is not TOML, has an unknown key (the error suggests the nearest known one), a wrong
    type, or a bound out of range.
    """
    plain = read_toml(path, kind="policy", again=_AGAIN)
    file: Mapping[str, Any] = build(Annotated[Mapping[str, Any], _FILE], plain, where=str(path), again=_AGAIN)
    settings: dict[str, Any] = {name: file[name] for name in _PLAIN if name in file}
    margins = _floats(file.get("margin", {}))
    classes = dict(file.get("sensitivity_margin", {}))
    if "prove" in classes:
        settings["prove"] = classes.pop("prove")
    numbers = build(Mapping[str, float], classes, where=str(path), again=_AGAIN, at="sensitivity_margin")
    class_margins = _floats(numbers)
    for table, key, setting in (
        (margins, "default", "margin"),
        (class_margins, "default", "class_margin"),
        (class_margins, "benign", "benign_margin"),
    ):
        if key in table:
            settings[setting] = table.pop(key)
    for name, names in _SETTINGS.items():
        for key, value in file.get(name, {}).items():
            settings[names[key]] = value if key in _NOT_FLOATS else float(value)
    floors = {name: Floor(**_floats(floor)) for name, floor in file.get("floor", {}).items()}
    try:
        return Policy(**settings, margins=margins, class_margins=class_margins, floors=floors)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


def _floats(table: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in table.items()}


def check_names(
    policy: Policy, *, sets: Sequence[Collection[str]], classes: Iterable[str], subgroups: Collection[str] = ()
) -> None:
    """Raise InvalidInputError if a policy names an unknown set, class or subgroup column, or the same set twice.

    Such an entry would have no effect. sets: for each set, all names that a policy may use for it. subgroups: the columns
    of the sets.
    """
    set_names = sorted({name for names in sets for name in names})
    for table, kind in ((policy.margins, "margin"), (policy.floors, "floor")):
        for name in table:
            if name not in set_names:
                raise _unknown(name, set_names, where="policy: no set")
        for names in sets:
            own = [name for name in table if name in names]
            if len(own) > 1:
                raise InvalidInputError(
                    f"policy: {own[0]!r} and {own[1]!r} are names of the same set, so it has two {kind}s; remove one of them"
                )
    for name in policy.class_margins:
        if name not in classes:
            raise _unknown(name, sorted(classes), where="policy: no class")
    for name in policy.subgroups or ():
        if name not in subgroups:
            raise _unknown(name, sorted(subgroups) or ["none in these sets"], where="policy: no column of subgroups")


def _unknown(name: str, names: list[str], *, where: str) -> InvalidInputError:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}"
    return InvalidInputError(f"{where} {name!r}{hint}")
