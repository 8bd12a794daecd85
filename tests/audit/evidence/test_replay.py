from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import SetInfo, open_set, write_set
from skinaudit.artifacts.contract import InputContract
from skinaudit.audit.evidence.replay import replay
from skinaudit.errors import EngineError

_CHILD = """
import sys
from pathlib import Path
import numpy as np
from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.audit.evidence.replay import replay

class Mean:
    def logits(self, images):
        return images.reshape(len(images), -1).mean(axis=1, dtype=np.float32)[:, None] * np.ones(7, np.float32)

images = open_set(Path(sys.argv[1]))
assert len(replay(Mean(), images, batch_size=64).logits) == len(images)
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("batch_size", [1, 13, 64, 1000])
def test_every_image_is_answered_in_order(tmp_path: Path, lab: SimpleNamespace, batch_size: int) -> None:
    planted = lab.plant(tmp_path, images=150)
    images = open_set(planted.run / "sets" / "pgd.safetensors")
    engine = lab.LinearEngine(planted.reference)
    steps: list[tuple[int, int]] = []
    replayed = replay(engine, images, batch_size=batch_size, progress=lambda done, count: steps.append((done, count)))
    assert np.array_equal(replayed.logits, images.source_logits)
    assert replayed.images_per_second > 0
    assert engine.images == 150
    assert steps[-1] == (150, 150)
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})


@pytest.mark.parametrize(
    ("fault", "message"), [("nan", "NaN or infinity among images 0 to 63"), ("shape", r"answers \(64, 6\)")]
)
def test_a_wrong_answer_stops(tmp_path: Path, lab: SimpleNamespace, fault: str, message: str) -> None:
    planted = lab.plant(tmp_path, images=150, settings={"fault": fault})
    images = open_set(planted.run / "sets" / "clean.safetensors")
    with pytest.raises(EngineError, match=message):
        replay(lab.LinearEngine(planted.engine), images)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak memory of a process from /proc")
def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    size, few, many = 64, 800, 6400

    def peak(count: int) -> int:
        path = tmp_path / f"{count}.safetensors"
        generator = np.random.default_rng(0)
        contract = InputContract(size=size)
        info = SetInfo("clean", "clean", None, {}, 0, "", "", contract, "noise", True, {})
        write_set(
            path,
            info,
            images=generator.integers(0, 256, (count, 3, size, size), np.uint8),
            labels=np.arange(count) % 7,
            group=np.arange(count),
            ids=tuple(str(index) for index in range(count)),
            source_logits=np.zeros((count, 7), np.float32),
        )
        child = subprocess.run([sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, check=True)
        return 1024 * int(child.stdout)

    growth = peak(many) - peak(few)
    # Images alone would add 69 MB.
    assert growth < (many - few) * 3 * size * size / 6
