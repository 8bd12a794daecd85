"""The figures of `bench/strength.py` as Markdown: attacks below each other, libraries beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from skinaudit.bench.report import table
from skinaudit.bench.strength_parts.contests import LIBRARIES
from skinaudit.bench.strength_parts.left import Left

OURS = "skinaudit"


@dataclass(frozen=True)
class Cell:
    """One attack of one library on one model. rounded, unrounded: shares of images that stand, see `Left`.

    smallest: as in `Contest`; decides which of the two shares counts. seconds 0 with an error: the library failed.
    """

    model: str
    norm: str
    eps: str
    attack: str
    factor: float
    images: int
    library: str
    smallest: bool
    rounded: float = 0.0
    unrounded: float = 0.0
    seconds: float = 0.0
    error: str = ""

    @property
    def row(self) -> tuple[object, ...]:
        """What the cells of one row have in common."""
        return self.model, self.norm, self.eps, self.attack, self.factor, self.images

    @property
    def key(self) -> tuple[object, ...]:
        """What was measured."""
        return *self.row, self.library

    @property
    def left(self) -> float:
        """Robust accuracy, a share of 1."""
        return self.unrounded if self.smallest else self.rounded

    @property
    def title(self) -> str:
        """The attack, with the factor on the logits unless that is 1."""
        return self.attack if self.factor == 1 else f"{self.attack}, logits x {self.factor:g}"

    def filled(self, left: Left) -> Cell:
        """This cell with its figures."""
        shares = (float(intact.float().mean()) for intact in (left.rounded, left.unrounded))
        return replace(self, rounded=next(shares), unrounded=next(shares), seconds=left.seconds)

    def failed(self, error: Exception) -> Cell:
        """This cell with the reason in place of figures."""
        return replace(self, error=f"{type(error).__name__}: {' '.join(str(error).split())}"[:200])

    def line(self) -> str:
        """In one line, for the terminal."""
        figures = self.error or f"{self.rounded:.1%} rounded, {self.unrounded:.1%} unrounded, {self.seconds:.1f} s"
        return f"{self.model} {self.norm} {self.eps}, {self.title}, {self.images} images, {self.library}: {figures}"


def page(cells: Sequence[Cell]) -> str:
    """The table, then every case in which a peer breaks more images, is faster, or has no figure."""
    lines, stronger, faster, failed = [], [], [], []
    for row in dict.fromkeys(cell.row for cell in cells):
        ours, *peers = [cell for cell in cells if cell.row == row]
        by_library = {cell.library: cell for cell in peers}
        shown = [_peer(by_library.get(library), ours) for library in LIBRARIES]
        where = f"{ours.model} {ours.norm} {ours.eps}, {ours.title}"
        lines.append((ours.model, f"{ours.norm} {ours.eps}", ours.title, str(ours.images),
                      f"{100 * ours.left:.1f}", f"{ours.seconds:.1f}", *shown))  # fmt: skip
        for peer in peers:
            if peer.error:
                failed.append(f"{where}: {peer.library}: {peer.error}")
                continue
            if peer.left < ours.left:
                stronger.append(f"{where}: {peer.library} leaves {_percent(peer.left, ours.left)}")
            elif peer.unrounded < ours.unrounded:
                stronger.append(
                    f"{where}, before rounding: {peer.library} leaves {_percent(peer.unrounded, ours.unrounded)}"
                )
            if peer.seconds < ours.seconds:
                faster.append(f"{where}: {peer.library} takes {peer.seconds:.1f} s, ours {ours.seconds:.1f} s")
    header = ("model", "eps", "attack", "images", "ours, %", "ours, s", *LIBRARIES)
    return "\n".join((
        table(header, lines),
        _listed("A peer breaks more images", stronger),
        _listed("A peer is faster", faster),
        _listed("No figure", failed),
    ))  # fmt: skip


def _peer(peer: Cell | None, ours: Cell) -> str:
    """Robust accuracy, and how many times as long as ours it took."""
    if peer is None:
        return "-"
    return "failed" if peer.error else f"{100 * peer.left:.1f} ({peer.seconds / ours.seconds:.1f})"


def _percent(theirs: float, ours: float) -> str:
    return f"{theirs:.1%}, ours {ours:.1%}"


def _listed(title: str, lines: Iterable[str]) -> str:
    return f"**{title}:**{''.join(f'{chr(10)}- {line}' for line in lines) or ' none.'}\n"
