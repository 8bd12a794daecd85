"""Audit an engine from Python: the verdict, each gate, and the images that the engine loses.

python examples/04_audit_in_python.py runs/latest/engines/fp16.onnx
"""

import sys

import skinaudit

result = skinaudit.audit(sys.argv[1])
print(result.verdict.value, "-", result.reason)
for gate in result.gates:
    print(f"{gate.judgement.verdict.value:<13} {gate.set}: {gate.rule} of {gate.subject}")
lost = [answer for answer in result.answers("clean") if answer.source == answer.label != answer.engine]
print("clean images that only the source model classifies correctly:", [answer.index for answer in lost])
