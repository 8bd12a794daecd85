"""Whether the engine itself ran, or something else instead of it."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

EMULATION = "ONNX emulation, not the engine"
"""Marks every report of an audit that ran the graph behind the engine instead of the engine itself."""
ABOUT: About = "engine"
RULES = {
    "emulation": Rule(
        "The engine itself was not run",
        "Instead of the engine, the graph that it was built from or an emulation by the runtime produced the outputs.",
        "Run the audit on a machine that can run the engine.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """INCONCLUSIVE if the graph behind the engine, or an emulation by the runtime, ran instead of the engine."""
    by_runtime = evidence.engine.settings.get("emulation")
    if evidence.emulated:
        text = f"{EMULATION}: the outputs of the file itself are unknown; run the audit on a machine that can run the engine"
        yield Finding(Severity.INCONCLUSIVE, "emulation", None, text)
    elif by_runtime is not None:
        text = f"the runtime cannot run this file on this machine and emulated it: {by_runtime}"
        yield Finding(Severity.INCONCLUSIVE, "emulation", None, text)
