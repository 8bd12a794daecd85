"""Read an audit's JSON report in a script: the verdict, and each set's drop with its interval in points.

python examples/03_read_a_report.py runs/latest/audits/fp16.onnx.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
print(report["verdict"], "-", report["reason"])
verdicts = {gate["set"]: gate["judgement"]["verdict"] for gate in report["gates"] if gate["rule"] == "drop"}
for image_set in report["sets"]:
    drop = image_set["comparison"]["drop"]
    if drop is None:
        print(f"{image_set['title']:<18} compared with nothing")
        continue
    low, high = (100 * drop["interval"][side] for side in ("low", "high"))
    print(
        f"{image_set['title']:<18} drop {100 * drop['value']:+.2f} [{low:+.2f}, {high:+.2f}] points: "
        f"{verdicts[image_set['title']]}"
    )
