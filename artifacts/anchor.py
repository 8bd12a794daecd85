"""One digest of a run's state at the end of training. Keep it outside the run's folder."""

from __future__ import annotations

import json
from dataclasses import asdict

from skinaudit.artifacts.files import digest_parts
from skinaudit.artifacts.manifest import RunManifest
from skinaudit.artifacts.run_sets import TEST_SET


def anchor_of(run: RunManifest) -> str:
    """Digest of a run's weights, structure, data, test images, contract and operating points, `sha256:...`.

    It does not change when sets are added or engines are exported. It does change if somebody rewrites the folder, even with
    all digests inside.
    """
    parts = {
        "weights": run.weights.digest,
        "structure": None if run.structure is None else run.structure.digest,
        "model": dict(run.model),
        "data": run.data["digest"],
        "test_set": run.data.get(TEST_SET),
        "contract": run.contract.to_json(),
        "operating_points": [asdict(point) for point in run.operating_points],
    }
    return digest_parts(json.dumps(parts, sort_keys=True).encode())
