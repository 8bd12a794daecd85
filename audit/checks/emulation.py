"""Whether the engine itself answered, or something in its place."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

EMULATION = "ONNX emulation, not the engine"
"""Marks every report on an audit that ran the graph from which the engine was built instead of the engine."""
ABOUT: About = "engine"
RULES = {
    "emulation": Rule(
        "The engine itself was not run",
        "The graph that it was built from, or an emulation by the runtime, answered in its place.",
        "Run the audit where the engine runs.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """INCONCLUSIVE where the graph of the engine, or an emulation by the runtime, ran instead of the engine."""
    by_runtime = evidence.engine.settings.get("emulation")
    if evidence.emulated:
        text = f"{EMULATION}: what the file itself answers is unknown; run the audit where the engine runs"
        yield Finding(Severity.INCONCLUSIVE, "emulation", None, text)
    elif by_runtime is not None:
        text = f"this runtime cannot compute the file here and emulated it: {by_runtime}"
        yield Finding(Severity.INCONCLUSIVE, "emulation", None, text)
