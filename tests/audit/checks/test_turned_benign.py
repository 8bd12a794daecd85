from __future__ import annotations

from linear_run import change_set

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.turned_benign import check
from skinaudit.audit.figures.flips import Flip


def flip(number: int, *, lost_cancer: bool = True) -> Flip:
    shares = (0.5, 0.5)
    return Flip(number, f"ISIC_{number:03}", "mel", number, "mel", "nv", shares, shares, lost_cancer)


DAMAGES = {"a lost cancer": lambda honest: change_set(honest, 0, flipped=(flip(4),))}


def test_every_lost_cancer_is_named(honest: Evidence) -> None:
    flips = (*(flip(number) for number in range(14)), flip(99, lost_cancer=False))
    (finding,) = check(change_set(honest, 1, flipped=flips))
    assert (finding.severity, finding.set, finding.figures) == (Severity.WARNING, honest.sets[1].title, {"images": 14})
    assert "review each: ISIC_000 (mel called nv), ISIC_001" in finding.text
    assert finding.text.endswith("and 2 more in the JSON report")
    assert "ISIC_099" not in finding.text
