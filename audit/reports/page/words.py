"""Figures and names of an audit as texts of the HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skinaudit.audit.checks import Severity
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import PairedDrop
from skinaudit.audit.figures.text import counted_images, margin_text, power_text
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult, BaselineResult, Gate, Verdict
from skinaudit.audit.reports.parts.wording import TURNED, baseline_text, shown_interval

NOTHING = "\u2013"
"""Shown if there is no figure; never a 0."""

MEANINGS: Mapping[Verdict, str] = {
    Verdict.PASS: "Every compared set stays within the margin, and no limit of the policy is exceeded.",
    Verdict.FAIL: "The measurements violate the policy. Do not ship this file.",
    Verdict.INCONCLUSIVE: "The measurements can neither clear nor reject this file. This is not a pass.",
}
QUESTIONS: Mapping[str, str] = {
    "drop": "accuracy lost",
    "malignant-sensitivity": "sensitivity lost",
    "operating-sensitivity": "sensitivity lost",
    "turned-benign": "malignant turned benign",
    "malignant-to-benign": "malignant called benign",
    "class-sensitivity": "sensitivity lost",
    "subgroup-drop": "lost beyond the rest",
    "floor": "absolute floor",
    "probe-drop": "robust accuracy lost",
    "baseline-drop": "lost since the baseline",
    "baseline-malignant-to-benign": "malignant for the baseline, called benign",
}
"""The question of each gate, by rule."""
_MATRIX_CHARACTERS = 70
"""In one row of a confusion matrix: with more, two matrices do not fit side by side."""
SEVERITIES: Mapping[Severity, str] = {
    Severity.FAIL: "Failures",
    Severity.INCONCLUSIVE: "What forbids a pass",
    Severity.WARNING: "Warnings",
    Severity.NOTE: "Notes",
}


def percent(fraction: float | None) -> str:
    """`67.4%`."""
    return NOTHING if fraction is None else f"{100 * fraction:.1f}%"


def share(hits: Hits | None) -> str:
    """`56.6%`, or nothing if there is no image."""
    return percent(None if hits is None else hits.share)


def points(fraction: float) -> str:
    """A difference in percentage points with its sign: `+0.9`."""
    value = round(100 * fraction, 1)
    return f"{value:+.1f}".replace("-", "\u2212") if value else "0.0"


def printed(figures: str) -> str:
    """Figures worded as in the other formats, with the page's minus signs: `\u22120.3 [\u22120.9, +0.4]`."""
    return NOTHING if figures == "-" else figures.replace("-", "\u2212")


def span(drop: PairedDrop | None) -> str:
    """`+0.9 [+0.1, +1.7]`."""
    if drop is None:
        return NOTHING
    return f"{points(drop.value)} [{points(drop.interval.low)}, {points(drop.interval.high)}]"


def logits(value: float) -> str:
    """A size in logits with two digits: `0.20`, `27`, `< 0.001`."""
    if value < 0.001:
        return "< 0.001" if value else "0"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2g}".ljust(4, "0")


def probability(value: float | None) -> str:
    """A p-value: `0.012`, `< 0.001`."""
    return NOTHING if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def power(value: float | None) -> str:
    """The power of a gate: `84%`."""
    return NOTHING if value is None else power_text(value)


def too_wide(names: Sequence[str]) -> bool:
    """Whether two confusion matrices whose column heads are these class names are wider than the page."""
    columns = sum(max(len(name), 4) + 2 for name in (*names, "images"))
    return max(map(len, names), default=0) + columns > _MATRIX_CHARACTERS


def gate_value(gate: Gate) -> str:
    """The measured value in the unit of the gate, with its interval."""
    if gate.counts:
        return f"{gate.value:.0f}"
    write = percent if gate.rule in ("floor", *TURNED) else points
    interval = shown_interval(gate)
    return write(gate.value) + ("" if interval is None else f" [{write(interval.low)}, {write(interval.high)}]")


def gate_limit(gate: Gate) -> str:
    """The limit as text: `below 1.0 points`, `at most 0 images`, `at least 65.0%`."""
    if gate.counts:
        return f"at most {counted_images(gate.limit)}"
    if gate.rule == "floor":
        return f"at least {percent(gate.limit)}"
    if gate.rule in TURNED:
        return f"below {percent(gate.limit)}"
    digits = 1 if gate.rule == "subgroup-drop" else 9  # its limit includes the measured loss of the rest
    return f"below {margin_text(round(100 * gate.limit, digits))} points"


def gates(result: AuditResult, *, deciding: bool) -> list[Gate]:
    """The gates that keep the audit from passing, failed ones first; or all the others."""
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    selected = [gate for gate in result.gates if _decides(gate) is deciding]
    return sorted(selected, key=lambda gate: order.index(gate.judgement.verdict)) if deciding else selected


def _decides(gate: Gate) -> bool:
    verdict = gate.judgement.verdict
    return verdict is Verdict.FAIL or (verdict is Verdict.INCONCLUSIVE and gate.binding)


def confidence(policy: Policy) -> str:
    """`95%`, with as many decimals as it has."""
    return f"{100 * policy.confidence:.4g}%"


def count(value: int | None) -> str:
    """`1,024`."""
    return NOTHING if value is None else f"{value:,}"


def layers(counts: Mapping[str, int]) -> str:
    """`fp32 in 2 layers, int8 in 26 layers`."""
    return ", ".join(f"{name} in {number} layers" for name, number in sorted(counts.items()))


def precision_found(result: AuditResult) -> str:
    """The precision that the opened engine reports for its layers, and the requested one."""
    layer_counts = result.description.found
    if result.asked is None:
        return layers(layer_counts) or "unknown"
    if not layer_counts:
        return f"{result.asked} requested; not reported by the file"
    return f"{result.asked} in {layer_counts.get(result.asked, 0)} of {sum(layer_counts.values())} layers"


def box(result: AuditResult) -> str:
    """Whether the sets were crafted on the weights of this engine."""
    kinds = {"white-box" if set_result.white_box else "transfer" for set_result in result.sets[1:]}
    return " and ".join(sorted(kinds, reverse=True)) or NOTHING


def largest_drop(result: AuditResult) -> SetResult | None:
    """The compared set with the highest upper bound of the drop."""
    compared = [
        (set_result.comparison.drop.interval.high, set_result)
        for set_result in result.sets
        if set_result.comparison.drop is not None
    ]
    return max(compared, key=lambda pair: pair[0])[1] if compared else None


def most_missed(result: AuditResult) -> int | None:
    """Malignant images that the source calls malignant and the engine benign, in the set with the most of them."""
    counts = [set_result.comparison.malignant_to_benign for set_result in result.sets]
    return max((count for count in counts if count is not None), default=None)


def baseline(result: BaselineResult) -> str:
    """Which earlier engine this one is compared with."""
    text = baseline_text(result)
    return text[0].upper() + text[1:]
