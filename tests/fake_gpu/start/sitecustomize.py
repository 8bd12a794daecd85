"""Run by Python at its start where this folder is on PYTHONPATH: the fake device is there in child processes, too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from fake_gpu.finder import put_first

put_first()
