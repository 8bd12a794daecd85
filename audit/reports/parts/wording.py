"""Figures and facts of an audit, worded for all reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from skinaudit.artifacts.files import short
from skinaudit.artifacts.printable import printable
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.external import Estimate, ExternalResult
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.figures.text import NOTHING, counted_images, percent, power_text, signed_points
from skinaudit.audit.judgement.loosened import loosened
from skinaudit.audit.judgement.result import AuditResult, BaselineClass, BaselineResult, BaselineSet, Gate
from skinaudit.audit.judgement.verdict import BELOW_CONSTANT, ONLY
from skinaudit.engines.engine import UNREPORTED

MANY_CLASSES = 10
"""With more classes than this, tables list classes in rows, and a matrix has upright column heads."""
TURNED = ("turned-benign", "baseline-malignant-to-benign")
"""Rules of gates on a share of malignant images, not on a drop."""
_LONGEST = 1_000
"""Largest number of characters of a single text in Markdown."""


def margin_points(set_result: SetResult, result: AuditResult) -> float:
    """Points of accuracy that this set may lose: its own margin if the policy has one for it."""
    limits = (gate.limit for gate in result.gates if gate.rule == "drop" and gate.set == set_result.title)
    # 9 decimals, because 1.1 points is not a binary fraction
    return round(100 * next(limits, result.policy.margin / 100), 9)


def clinical_rows(result: AuditResult) -> Iterator[tuple[SetResult, Gate, Gate | None]]:
    """Rows of the table of the clinical endpoint: for each compared set, the gate on malignant called malignant and the gate
    on images that turned benign. The latter is None if the source calls no malignant image malignant."""
    gates = {(gate.set, gate.rule): gate for gate in result.gates if gate.figure == MALIGNANT_CALLS}
    for set_result in result.sets:
        pooled = gates.get((set_result.title, "malignant-sensitivity"))
        if pooled is not None:
            yield set_result, pooled, gates.get((set_result.title, "turned-benign"))


def shown_interval(gate: Gate) -> Interval | None:
    """The interval of a gate as reports show it; that of a share does not go below 0, as that of its paired test may."""
    interval = gate.interval
    if interval is None or gate.rule not in TURNED:
        return interval
    return Interval(max(interval.low, 0.0), interval.high)


def turned_benign_text(gate: Gate | None) -> str:
    """How many turned benign, of how many, and the upper confidence limit of their share: `2 of 140, at most 5.1%`."""
    if gate is None or gate.interval is None:
        return NOTHING
    return f"{round(gate.value * gate.images)} of {gate.images:,}, at most {percent(gate.interval.high)}"


def turned_since_text(gate: Gate) -> tuple[str, str]:
    """How many images turned benign since the baseline, and how many may, for a gate on their number or on their share."""
    if gate.counts:
        return counted_images(gate.value), counted_images(gate.limit)
    return turned_benign_text(gate), f"below {percent(gate.limit)}"


def first_lines(result: AuditResult) -> Iterator[str]:
    """The lines that every report shows before its figures, such as a very wide policy or a source without robustness."""
    wide = loosened(result.policy)
    if wide:
        yield wide
    if result.agreement_only:
        yield f"{ONLY}the source model is not robust, so these figures say nothing about robustness"
    if any(finding.rule == "below-constant" for finding in result.findings):
        clean = result.sets[0].comparison
        below = BELOW_CONSTANT.removeprefix(ONLY) if result.agreement_only else BELOW_CONSTANT
        yield (
            f"{below}: {percent(clean.engine_accuracy)}, always answering {clean.majority_class} gets "
            f"{percent(clean.majority_share)}"
        )
    if result.external is not None:
        yield external_text(result.external)
        rules = {finding.rule for finding in result.findings}
        if "external-validation" in rules:
            yield "external figures differ from those of the run's own test by more than chance explains"
        if "external-looks" in rules:
            yield "external images look different from the training images"


def external_text(external: ExternalResult) -> str:
    """The images that an external audit used."""
    own = "" if external.run_dataset is None else f", not the test images of {external.run_dataset}"
    return f"EXTERNAL images: {external.name} ({external.dataset}){own}"


def external_rows(external: ExternalResult) -> Iterator[tuple[str, str, str, str, str, str, str]]:
    """Rows for the table of own test and external validation.

    Each has: set, figure, own test, external, engine on the external images, their difference in points, and whether chance
    explains it. Empty if there is no own test at all.
    """
    if all(figure.own is None for figure in external.figures):
        return
    for figure in external.figures:
        answer = NOTHING if figure.own is None else "chance" if figure.by_chance else "more than chance"
        difference = NOTHING
        if figure.difference is not None and figure.interval is not None:
            low, high = signed_points(figure.interval.low), signed_points(figure.interval.high)
            difference = f"{signed_points(figure.difference)} [{low}, {high}]"
        own, elsewhere = _estimate_text(figure.own), _estimate_text(figure.external)
        yield figure.set, figure.figure, own, elsewhere, percent(figure.engine), difference, answer


def _estimate_text(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    low, high = 100 * estimate.interval.low, 100 * estimate.interval.high
    return f"{percent(estimate.value)} [{low:.1f}, {high:.1f}]"


NO_OWN_TEST = "no comparison with the test images of its run: the run of this engine is not known here"
"""Shown in place of that table."""


EXTERNAL_NOTE = (
    "own test: the source model on the run's own test images; difference: own test minus external, in points; same mix: "
    "each malignant class of the own test counts as often as among the external images; the intervals are corrected for the "
    "number of figures in the table"
)
"""Footnote of the table that compares own test and external validation."""


POWER = "power: the probability that an engine as good as its source passes the gate on these images"
"""Note in every report that shows a power."""


def precision_text(result: AuditResult) -> str:
    """The requested precision, and the number of layers in which it was found."""
    layer_counts = result.description.found
    if result.asked is None:
        return ", ".join(f"{name} found in {count} layers" for name, count in layer_counts.items()) or "precision unknown"
    if not layer_counts and result.description.executed:
        computed = dict(result.description.executed)
        hidden = computed.pop(UNREPORTED, 0)
        text = f"{result.asked} reported in {computed.get(result.asked, 0)} of {sum(computed.values())} layers"
        return f"{text}, {hidden} parts not reported" if hidden else text
    if not layer_counts:
        return f"{result.asked} requested, not reported by the file"
    return f"{result.asked} found in {layer_counts.get(result.asked, 0)} of {sum(layer_counts.values())} layers"


def batches_text(result: AuditResult) -> str:
    """The batch sizes that were tried and, if the engine has limits, those that it accepts."""
    tried = f"batch sizes tried: {_runs(result.consistency.sizes)}"
    ranges = [
        f"{limits.smallest} to {limits.largest}" if limits.smallest < limits.largest else f"only {limits.smallest}"
        for limits in result.description.batches
    ]
    return f"{tried}; the engine accepts {' or '.join(ranges)}" if ranges else tried


def _runs(sizes: Sequence[int]) -> str:
    """Ascending whole numbers as text; three or more consecutive numbers become a range."""
    runs: list[list[int]] = []
    for size in sizes:
        if runs and size == runs[-1][-1] + 1:
            runs[-1].append(size)
        else:
            runs.append([size])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def baseline_text(baseline: BaselineResult) -> str:
    """Which engine the audit compares with."""
    run = "" if baseline.run_name is None else f" of run {baseline.run_name}"
    return f"baseline {baseline.engine}{run} ({short(baseline.engine_digest)}), audited as {baseline.verdict.value}"


OWN_SETS = "own: each engine was attacked with images crafted against itself, by the same attack on the same clean images"
"""Footnote of the baseline table if each engine was tested on its own sets."""


def baseline_rows(result: AuditResult) -> Iterator[tuple[str, BaselineSet | BaselineClass | None, Gate]]:
    """Rows of the baseline table: title of the set, correct predictions of both engines, and the gate on them.

    For each set: the set itself, malignant called malignant, each malignant class, and last, without predictions, its
    malignant images that are now called benign. The title ends in `, own` if each engine was attacked with its own set.
    """
    gates = {(gate.set, gate.rule, gate.figure, gate.lesion_class): gate for gate in result.gates}
    for baseline_set in () if result.baseline is None else result.baseline.sets:
        title = f"{baseline_set.title}, own" if baseline_set.own else baseline_set.title
        yield title, baseline_set, gates[baseline_set.title, "baseline-drop", "accuracy", None]
        if baseline_set.pooled is not None:
            yield title, baseline_set.pooled, gates[baseline_set.title, "baseline-drop", MALIGNANT_CALLS, None]
        for baseline_class in baseline_set.classes:
            yield title, baseline_class, gates[baseline_set.title, "baseline-drop", None, baseline_class.name]
        yield title, None, gates[baseline_set.title, "baseline-malignant-to-benign", "images", None]


def own_sets_compared(result: AuditResult) -> bool:
    """Whether any compared set of the baseline was crafted against the earlier engine itself."""
    return result.baseline is not None and any(baseline_set.own for baseline_set in result.baseline.sets)


def lineage_text(result: AuditResult) -> str:
    """Whether the lineage leads back to the data."""
    return f"lineage without {', '.join(result.lineage_gaps)}" if result.lineage_gaps else "lineage complete"


_ESCAPES = str.maketrans({character: f"\\{character}" for character in r"\`*_[]|#~$"})


def markdown_text(text: str) -> str:
    """Text on one line, not too long, escaped so that Markdown, tables, HTML, mentions and links have no effect in it."""
    line = " ".join(printable(text).split())
    line = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "@\N{ZERO WIDTH NON-JOINER}")
    line = line.translate(_ESCAPES)
    line = re.sub(r"^([-+=]|[0-9]{1,9}(?=[.)]))", _escaped_start, line)
    return re.sub(r"(?=://)|(?<=www)(?=\.)", "\N{ZERO WIDTH NON-JOINER}", line, flags=re.IGNORECASE)


def _escaped_start(start: re.Match[str]) -> str:
    """The start of a line that would make it a list item, or the line above it a heading."""
    return f"{start[0]}\N{ZERO WIDTH NON-JOINER}" if start[0].isdigit() else f"\\{start[0]}"


def powers_text(result: AuditResult) -> str:
    """The power of each gate that is not about a single class, by set: `clean: accuracy 73%; pgd linf 2/255: ...`."""
    by_set: dict[str, list[str]] = {}
    for gate in result.gates:
        if gate.power is not None and gate.lesion_class is None:
            name = _GATE_NAMES.get(gate.rule, "{subject}").format(subject=gate.subject)
            by_set.setdefault(gate.set, []).append(f"{name} {power_text(gate.power)}")
    return "; ".join(f"{title}: {', '.join(powers)}" for title, powers in by_set.items())


_GATE_NAMES = {
    "turned-benign": "turned benign",
    "floor": "floor of {subject}",
    "baseline-drop": "{subject} since the baseline",
}
