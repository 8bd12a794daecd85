"""A study as a Markdown page: the paper's two tables with its own figures, the stale set, and everything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from skinaudit.artifacts.contract import short_title
from skinaudit.artifacts.study_folder import StudyModel
from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.figures.text import NOTHING
from skinaudit.audit.reports.parts.wording import markdown_text as safe
from skinaudit.audit.study import PAPER, PAPER_TRANSFER, PGD_SAMPLE, Figures, Row, Study, paper_name, split_text

_ATTACKS = {
    "clean": "clean",
    "fgsm": "FGSM",
    "pgd": "PGD",
    PGD_SAMPLE: "PGD, images of AutoAttack",
    "autoattack": "AutoAttack",
}
_ORDER = tuple(_ATTACKS)


def _title(attack: str) -> str:
    """The name of an attack in tables. Sets that a user added to a run have the names of their attacks."""
    return _ATTACKS.get(attack) or safe(attack)


def _place(attack: str) -> tuple[int, str]:
    """The position of an attack in a table; added ones come last."""
    return (_ORDER.index(attack) if attack in _ATTACKS else len(_ORDER), attack)


def render(study: Study, *, command: str, remaining: Sequence[str], settings: str, plot: str | None) -> str:
    """The page. command: that made it. remaining: names of stages that are not done. settings: as TOML. plot: its file."""
    parts: Iterable[list[str]] = (
        _head(study, command, remaining), _table_one(study), _table_two(study), _stale(study, plot), _splits(study),
        _all_figures(study), _times(study), _not_done(study, remaining),
        ["## Settings", "", "```toml", settings.rstrip(), "```"],
    )  # fmt: skip
    return "\n".join(line for part in parts if part for line in (*part, "")).rstrip() + "\n"


def _head(study: Study, command: str, remaining: Sequence[str]) -> list[str]:
    lines = ["# The tables of Huq and Pervin (2020), measured again", ""]
    if study.synthetic:
        lines += ["**SYNTHETIC images: these figures say nothing about patients.**", ""]
    if remaining:
        lines += [f"**Not complete: {len(remaining)} stages are left**, see the end.", ""]
    devices = sorted({stage.device for stage in study.stages})
    lines += [
        f"Data: {safe(study.dataset)}. Computed on: {', '.join(map(safe, devices))}. Made by:",
        "",
        f"    {command}",
        "",
    ]
    first = study.rows[0].figures
    return [
        *lines,
        f"All figures are of test images and in percent, with 95% intervals in brackets: of an accuracy Wilson's "
        f"over effective lesions, of a balanced accuracy from those of its classes. Always "
        f"answering `{safe(study.majority_class)}` has an accuracy of {_percent(first.majority_share)} and a balanced "
        f"accuracy of {_percent(first.constant_balanced)}. Robust accuracies are over all images. With several seeds, "
        "figures are means over them and the interval is of all their answers together.",
    ]


def _table_one(study: Study) -> list[str]:
    """Accuracy of every model on clean images and on its own sets, and the paper's."""
    lines = [
        "## Table I: white-box attacks", "",
        "Each adversarial set is crafted on the model that it is shown to. `paper`: the figure in the paper's Table I.", "",
        "| model | recipe | split | seeds | clean | paper | PGD | paper | FGSM | paper |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for model in _models(study):
        own = {row.attack: row for row in study.rows if _same_kind(row.model, model) and row.on_itself}
        theirs = PAPER.get((paper_name(model.arch), model.hardened), {})
        cells = [model_text(model), model.recipe, split_text(model.split), str(len(own["clean"].by_seed))]
        for attack in ("clean", "pgd", "fgsm"):
            cells += [_with_interval(own[attack].figures) if attack in own else NOTHING, _number(theirs.get(attack))]
        lines.append(_table_row(cells))
    return lines


def _table_two(study: Study) -> list[str]:
    """PGD sets of the standard models, tested on every standard model."""
    rows = [
        row for row in study.rows
        if row.attack == "pgd" and row.crafted_on is not None and not row.model.hardened and not row.crafted_on.hardened
    ]  # fmt: skip
    if all(row.on_itself for row in rows):
        return []
    lines = [
        "## Table II: transfer between standard models", "",
        "| crafted on | tested on | recipe | split | accuracy | balanced | paper |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in sorted(rows, key=lambda row: (row.model.recipe != "paper", row.model.split, str(row.crafted_on))):
        assert row.crafted_on is not None
        pair = (paper_name(row.crafted_on.arch), paper_name(row.model.arch))
        lines.append(_table_row([
            row.crafted_on.arch, row.model.arch, row.model.recipe, split_text(row.model.split), _with_interval(row.figures),
            _balanced(row.figures), _number(PAPER_TRANSFER.get(pair)),
        ]))  # fmt: skip
    return lines


def _stale(study: Study, plot: str | None) -> list[str]:
    """Hardened models on sets crafted on the standard model, on themselves, and by AutoAttack."""
    models = [model for model in _models(study) if model.hardened]
    if not models:
        return []
    lines = [
        "## The stale set", "",
        "The paper's hardened VGG16 has a higher accuracy under PGD (71.05%) than on clean images (70.47%), and its "
        "MobileNet loses 0.2 points. That is what a stale set gives: images that were crafted on the standard model before "
        "it was hardened. Below, the same hardened models under such sets, under sets that were crafted on themselves, and "
        "under AutoAttack (a random sample of the test images).", "",
    ]  # fmt: skip
    if plot is not None:
        lines += [
            f"![Accuracy and balanced accuracy of hardened models by the origin of the adversarial images]({plot})",
            "",
        ]
    lines += [_figures_head(study, "hardened model", "images crafted on"), _rule(11)]
    for model in models:
        for row in _conditions(study, model):
            lines.append(_figures_line(model_text(model), row))
    return [*lines, "", *_stale_sentences(study, models)]


def _stale_sentences(study: Study, models: Sequence[StudyModel]) -> Iterator[str]:
    for model in models:
        by_origin = {(row.attack, row.on_itself): row.figures for row in _conditions(study, model)}
        clean, stale, own = (by_origin.get(key) for key in (("clean", True), ("pgd", False), ("pgd", True)))
        if clean is None or stale is None or own is None:
            continue
        strongest = by_origin.get(("autoattack", True))
        text = (
            f"- {model_text(model)}, recipe {model.recipe}, {split_text(model.split)}: clean {_percent(clean.accuracy)}, "
            f"stale PGD {_percent(stale.accuracy)} ({100 * (stale.accuracy - clean.accuracy):+.1f} points), own PGD "
            f"{_percent(own.accuracy)} ({100 * (own.accuracy - clean.accuracy):+.1f} points)"
        )
        same = by_origin.get((PGD_SAMPLE, True))
        if strongest is not None and same is not None:
            text += (
                f"; on {strongest.images:,} of the images own PGD {_percent(same.accuracy)} (balanced "
                f"{_percent(same.balanced)}), AutoAttack {_percent(strongest.accuracy)} ({_percent(strongest.balanced)})"
            )
        yield text + "."


def _splits(study: Study) -> list[str]:
    """The effect of the paper's random split: test lesions that have other images in training."""
    kinds: dict[tuple[str, str, bool], dict[str, Row]] = {}
    for row in study.rows:
        if row.attack == "clean":
            kinds.setdefault((row.model.arch, row.model.recipe, row.model.hardened), {})[row.model.split] = row
    with_both_splits = {kind: rows for kind, rows in kinds.items() if len(rows) > 1}
    if not with_both_splits:
        return []
    leaked = next((training.leaked_lesions for training in study.trainings if training.model.split == "paper"), None)
    lines = [
        "## Random split against split by lesions", "",
        f"The random split, seed 0: {leaked or 0:,} lesions of the test part have other images in training or validation; "
        "the split by lesions: none. The two test parts are different images.", "",
        "| model | recipe | clean, random split | clean, by lesions | difference, points | balanced, random | "
        "balanced, by lesions |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for (arch, recipe, hardened), rows in with_both_splits.items():
        random, lesions = rows["paper"].figures, rows["lesion"].figures
        lines.append(_table_row([
            f"{'hardened' if hardened else 'standard'} {arch}", recipe, _with_interval(random), _with_interval(lesions),
            f"{100 * (random.accuracy - lesions.accuracy):+.1f}", _balanced(random), _balanced(lesions),
        ]))  # fmt: skip
    return lines


def _all_figures(study: Study) -> list[str]:
    lines = ["## Every figure", "", _figures_head(study, "model", "images crafted on"), _rule(11)]
    for model in _models(study):
        rows = sorted(
            (row for row in study.rows if _same_kind(row.model, model)),
            key=lambda row: (_place(row.attack), row.on_itself),
        )
        lines += [_figures_line(model_text(model), row) for row in rows]
    several = [row for row in study.rows if len(row.by_seed) > 1]
    if several:
        lines += [
            "",
            "By seed, accuracy (balanced):",
            "",
            "| model | recipe | split | set | crafted on | by seed |",
            _rule(6),
        ]
        for row in several:
            seeds = ", ".join(
                f"{seed}: {_percent(figures.accuracy)} ({_percent(figures.balanced)})"
                for seed, figures in sorted(row.by_seed.items())
            )
            origin = _origin(row)
            cells = [
                model_text(row.model),
                row.model.recipe,
                split_text(row.model.split),
                _title(row.attack),
                origin,
                seeds,
            ]
            lines.append(_table_row(cells))
    return lines


def _times(study: Study) -> list[str]:
    return [
        "## Trainings and times", "",
        "| run | epochs | kept | seconds | images/s | device | start |", "|---|---|---|---|---|---|---|",
        *(
            _table_row([
                training.model.name, str(training.epochs), str(training.kept_epoch), f"{training.seconds:,.0f}",
                f"{training.images_per_second:,.0f}", safe(training.device), safe(training.start),
            ])
            for training in study.trainings
        ), "",
        *(f"- {training.model.name}: {safe(text)}" for training in study.trainings for text in training.weaknesses), "",
        "| stage | seconds |", "|---|---|",
        *(_table_row([stage.stage, f"{stage.seconds:,.1f}"]) for stage in study.stages),
    ]  # fmt: skip


def _not_done(study: Study, remaining: Sequence[str]) -> list[str]:
    failed = [f"- {stage.stage}: {safe(stage.remark)}" for stage in study.stages if stage.state == "failed"]
    lines = ["## Failed", "", "The stages that need these models are left out.", "", *failed, ""] if failed else []
    return [*lines, "## Not done", "", *(f"- {name}" for name in remaining)] if remaining else lines


def _conditions(study: Study, model: StudyModel) -> list[Row]:
    """Clean, stale, own and AutoAttack, in this order."""
    rows = [row for row in study.rows if _same_kind(row.model, model)]
    return sorted(rows, key=lambda row: (_place(row.attack), row.on_itself))


def _models(study: Study) -> list[StudyModel]:
    """One model for those that differ only in the seed; the paper's recipe and the split by lesions come first."""
    kinds = {(row.model.recipe != "paper", row.model.split, row.model.arch, row.model.hardened): row.model
             for row in reversed(study.rows) if row.attack == "clean"}  # fmt: skip
    return [kinds[key] for key in sorted(kinds)]


def _same_kind(model: StudyModel, other: StudyModel) -> bool:
    return model.standard.arch == other.arch and (model.recipe, model.hardened, model.split) == (
        other.recipe, other.hardened, other.split
    )  # fmt: skip


def model_text(model: StudyModel) -> str:
    """`hardened mobilenet`."""
    return f"{'hardened' if model.hardened else 'standard'} {model.arch}"


def _origin(row: Row) -> str:
    if row.crafted_on is None:
        return NOTHING
    return "itself" if row.on_itself else model_text(row.crafted_on)


def _figures_head(study: Study, first: str, origin: str) -> str:
    named = NOTHING if study.first_class is None else short_title(study.first_class)
    return _table_row([
        first, "recipe, split", "set", origin, "images (lesions)", "accuracy", "balanced", f"{named} sensitivity",
        "malignant sensitivity", "AUC", "majority class",
    ])  # fmt: skip


def _figures_line(title: str, row: Row) -> str:
    figures = row.figures
    return _table_row([
        title, f"{row.model.recipe}, {split_text(row.model.split)}", _title(row.attack), _origin(row),
        f"{figures.images:,} ({figures.lesions:,})", _with_interval(figures), _balanced(figures),
        _percent(figures.first_sensitivity), _percent(figures.malignant_sensitivity), _percent(figures.area),
        _percent(figures.majority_share),
    ])  # fmt: skip


def _with_interval(figures: Figures) -> str:
    return _between(figures.accuracy, figures.interval)


def _balanced(figures: Figures) -> str:
    return _between(figures.balanced, figures.balanced_interval)


def _between(value: float, interval: Interval) -> str:
    return f"{_percent(value)} [{_percent(interval.low)}, {_percent(interval.high)}]"


def _percent(fraction: float | None) -> str:
    return NOTHING if fraction is None else f"{100 * fraction:.1f}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns
