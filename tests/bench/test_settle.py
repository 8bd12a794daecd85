"""The table of what dropping settled images saves and misjudges."""

from __future__ import annotations

from pathlib import Path

from skinaudit.bench.settle import _SHARES, _rows


def test_each_share_is_beside_dropping_none(tiny_run: Path) -> None:
    rows = list(_rows(tiny_run, "1/255", images=12))
    shares = ("none dropped", *(f"{share:g}" for share in _SHARES))
    attacks = ("pgd", "apgd-ce", "apgd-dlr", "apgd-t")
    labels = ["pgd, constant, none dropped", *(f"{name}, {share}" for name in attacks for share in shares)]
    assert [row[3] for row in rows] == labels
    assert {tuple(row[:3]) for row in rows} == {(str(tiny_run), "1/255", "12")}
    for attack in attacks:
        spent = [float(row[4].rstrip("%")) for row in rows if row[3] in [f"{attack}, {share}" for share in shares]]
        assert spent[0] == max(spent)
        assert spent[1:] == sorted(spent[1:])
    assert [row[6] for row in rows if "none" in row[3]] == ["0"] * 5
