from __future__ import annotations

import pytest

from skinaudit.bench import floors


@pytest.mark.parametrize("together", [1, 10])
def test_an_engine_at_its_floors_seldom_passes_or_fails(together: int) -> None:
    counts = floors.wrong(300, together, draws=20, seed=0)
    assert {figure for figure, _ in counts} == set(floors.FIGURES)
    assert max(counts[figure, verdict] for figure in floors.FIGURES for verdict in floors.WHAT) <= 4
