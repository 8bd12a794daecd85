"""The sections of a model card about the model itself: use, data, training, figures. Each yields lines of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from skinaudit.artifacts.contract import InputContract, class_title
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.figures.text import NOTHING, percent, share
from skinaudit.audit.reports.parts.wording import markdown_text as safe
from skinaudit.errors import counted
from skinaudit.publish.run_record import CONFIDENCE, RunRecord, SourceFigures, settings

_SPLITS = {
    "lesion": "by lesion: no lesion on both sides",
    "paper": "by image, at random: lesions can be on both sides, which makes test figures too good",
    "official": "that of the data's authors",
}


def head(record: RunRecord) -> Iterator[str]:
    """Describe what the model is, and what it is not."""
    manifest = record.manifest
    yield f"# {safe(manifest.name)}"
    yield ""
    if manifest.synthetic:
        yield "**SYNTHETIC images: trained and tested on drawn pictures; its figures say nothing about patients.**"
        yield ""
    yield "**Not a medical device.** It must not be used to diagnose or to decide about a patient."
    yield ""
    arch, width, size = manifest.model.get("arch", "a model"), manifest.model.get("width"), manifest.contract.size
    parameters = manifest.model.get("parameters")
    architecture = f"{arch}{f', width {width:g}' if isinstance(width, (int, float)) else ''}"
    architecture += f", {parameters / 1e6:.2f} million parameters" if isinstance(parameters, int) else ""
    kinds = len(manifest.contract.classes)
    yield f"An image classifier of {kinds} kinds of skin lesions ({safe(architecture)}): {_hardening(record)}."
    yield (
        f"It takes RGB images of {size}x{size} pixels with values from 0 to 1 ({safe(manifest.contract.resize)}) and "
        f"answers with {_answer(manifest.contract)}; normalisation is inside the model."
    )


def _answer(contract: InputContract) -> str:
    """What the columns of the answer mean; for one column, with the threshold."""
    if contract.positive is None:
        return f"logits in the order {safe(', '.join(contract.classes))}"
    (other,) = (name for name in contract.classes if name != contract.positive)
    return (
        f"one logit, that of {safe(contract.positive)}: it is named where its probability is above "
        f"{contract.threshold:g}, {safe(other)} elsewhere"
    )


def use(record: RunRecord) -> Iterator[str]:
    """Intended use and limits."""
    yield "## Intended use and limits"
    yield ""
    yield "- Intended for research on adversarial robustness and for testing how models are deployed."
    yield "- Not for diagnosis, triage, or any advice to patients; it was not validated clinically and has no clearance."
    yield (
        "- Its figures are valid only for images like those of its test set: one source, dermatoscopic, reduced to the size "
        "above."
    )
    yield "- It can only predict its classes, so its output for any other kind of image is meaningless."
    yield "- Robust accuracy is an upper bound: a stronger attack, or another threat model, can only find more errors."


def data(record: RunRecord) -> Iterator[str]:
    """Title, split, class counts, leaks."""
    facts = record.manifest.data
    yield "## Data"
    yield ""
    label = "SYNTHETIC: " if record.manifest.synthetic else ""
    yield f"{label}{safe(_text(facts, 'title'))}: {_count(facts, 'images')} images of {_count(facts, 'lesions')} lesions."
    split = str(facts.get("split", ""))
    yield f"Split {safe(_SPLITS.get(split, split or 'unknown'))}."
    counts = facts.get("counts")
    if isinstance(counts, Mapping) and counts:
        parts = list(facts.get("part_images", {}))
        yield ""
        yield _row(("class", *map(safe, parts)))
        yield _row((":--", *("--:" for _ in parts)))
        for name, count in counts.items():
            yield _row((_title(name), *(f"{count[part]:,}" for part in parts)))
        units = ("images", "lesions", *(("patients",) if facts.get("patients") else ()))
        for unit in units:
            yield _row((f"all {unit}", *(f"{facts[f'part_{unit}'][part]:,}" for part in parts)))
        yield ""
        for unit in units[1:]:
            leaked, tested = facts.get(f"leaked_{unit}", 0), facts[f"part_{unit}"].get("test", 0)
            line = f"Leaked {unit}: {leaked:,} of {tested:,} in test are also in training or validation"
            yield f"**{line}: the figures below are too good.**" if leaked else f"{line}."
        if facts.get("identical"):
            differ = len(facts.get("contradictions") or ())
            have = "has" if facts["identical"] == 1 else "have"
            yield f"{counted(facts['identical'], 'image')} {have} the same pixels as another image and count as its lesion,"
            yield f"and {counted(differ, 'picture')} of these {'has' if differ == 1 else 'have'} several labels."
        majority = safe(_text(facts, "majority_class"))
        yield f"Always answering {majority} gives {percent(facts.get('majority_share'))} accuracy on test."
    skipped = facts.get("skipped") or ()
    if skipped:
        yield f"Unreadable and dropped: {counted(len(skipped), 'image')}."
    for note in facts.get("notes") or ():
        yield f"\nNote: {safe(str(note))}."


def training(record: RunRecord) -> Iterator[str]:
    """Every setting."""
    yield "## Training"
    yield ""
    settings_by_name = settings(record.manifest)
    epochs, kept_epoch = settings_by_name.pop("epochs", None), settings_by_name.pop("kept_epoch", None)
    if epochs is not None:
        yield f"{epochs} epochs, of which number {kept_epoch} was kept by its validation figures."
        yield ""
    yield _row(("setting", "value"))
    yield "|:--|:--|"
    for name, value in settings_by_name.items():
        yield _row((safe(name), safe(_plain(value))))


def figures(record: RunRecord) -> Iterator[str]:
    """Accuracy and sensitivity per class of the source model on each set, compared with a constant answer."""
    yield "## Figures"
    yield ""
    if not record.sets:
        yield "**None: no stored set could be read.**"
        return
    if record.manifest.synthetic:
        yield "**SYNTHETIC images: these figures say nothing about patients.**"
        yield ""
    clean = record.sets[0].figures
    yield (
        f"The trained model in fp32 on {clean.images:,} test images of {clean.lesions:,} lesions. Attacks are white-box: "
        "crafted on these weights, stored in 8 bit, each image within eps of its clean one. Robust accuracy is over all "
        f"images. Intervals: {CONFIDENCE:.0%}, widened for several images of a lesion."
    )
    yield ""
    yield _row(("images", "accuracy", "interval", "balanced accuracy", "malignant called malignant", "attack success"))
    yield "|:--|--:|--:|--:|--:|--:|"
    for set_figures in record.sets:
        comparison = set_figures.figures
        yield _row((
            safe(set_figures.info.title), percent(comparison.engine_accuracy), _span(comparison.engine_accuracy_interval),
            percent(comparison.engine_balanced), _hits(comparison.engine_malignant), _hits(comparison.attack_success),
        ))  # fmt: skip
    constant_hits = Hits(
        clean.engine_malignant.count if clean.majority_class in record.manifest.contract.malignant else 0,
        clean.engine_malignant.count,
    )
    constant = (percent(clean.majority_share), NOTHING, percent(clean.constant_balanced), _hits(constant_hits), NOTHING)
    yield _row((f"always {safe(clean.majority_class)}", *constant))
    yield from _sets_below_constant(record.sets)
    yield ""
    yield "Sensitivity per class, malignant classes first:"
    yield ""
    yield _row(("class", "images", *(safe(set_figures.info.title) for set_figures in record.sets)))
    yield _row((":--", "--:", *("--:" for _ in record.sets)))
    for place, kind in enumerate(clean.classes):
        cells = (share(set_figures.figures.classes[place].engine) for set_figures in record.sets)
        yield _row((f"{_title(kind.name)}{', malignant' if kind.malignant else ''}", f"{kind.engine.count:,}", *cells))
    yield ""
    yield "How the sets were crafted:"
    yield ""
    for set_figures in record.sets:
        if set_figures.info.threat_model is not None:
            attack_settings = ", ".join(
                f"{key} {_plain(value)}"
                for key, value in {**set_figures.info.settings, "seed": set_figures.info.seed}.items()
            )
            yield f"- {safe(set_figures.info.name)}: {safe(set_figures.info.title)}, {safe(attack_settings)}"


def _sets_below_constant(sets: Iterable[SourceFigures]) -> Iterator[str]:
    """Sets on which a constant answer is as accurate as the model."""
    for set_figures in sets:
        comparison = set_figures.figures
        if comparison.engine_accuracy <= comparison.majority_share:
            yield ""
            yield (
                f"**On {safe(set_figures.info.title)} images its accuracy of {percent(comparison.engine_accuracy)} is not "
                f"above that of always answering {safe(comparison.majority_class)}, {percent(comparison.majority_share)};** "
                f"its balanced accuracy is {percent(comparison.engine_balanced)} against "
                f"{percent(comparison.constant_balanced)}."
            )


def _hardening(record: RunRecord) -> str:
    settings_by_name = settings(record.manifest)
    kind = settings_by_name.get("hardening.kind", "none")
    if kind == "none":
        return "trained without hardening against adversarial images"
    eps = settings_by_name.get("hardening.train_eps", settings_by_name.get("hardening.threat_model.eps"))
    where = f"{settings_by_name.get('hardening.threat_model.norm')} {eps}"
    return safe(f"hardened by adversarial training with {str(kind).upper()} in {where}")


def _title(name: str) -> str:
    title = class_title(name)
    return safe(name if title == name else f"{name}, {title}")


def _hits(hits: Hits | None) -> str:
    return NOTHING if hits is None else f"{percent(hits.share)} of {hits.count:,}"


def _span(interval: Interval) -> str:
    return f"{percent(interval.low)} to {percent(interval.high)}"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _text(facts: Mapping[str, Any], key: str) -> str:
    return str(facts.get(key, "unknown"))


def _count(facts: Mapping[str, Any], key: str) -> str:
    value = facts.get(key)
    return f"{value:,}" if isinstance(value, int) else "an unknown number of"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
