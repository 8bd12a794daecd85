"""The functions that `import skinaudit` offers and that the commands call: plain arguments in, typed values out."""

from skinaudit.commands.library.attacking import Attacked, attack
from skinaudit.commands.library.auditing import audit, read_report
from skinaudit.commands.library.exporting import export
from skinaudit.commands.library.training import TrainedRun, train

__all__ = ["Attacked", "TrainedRun", "attack", "audit", "export", "read_report", "train"]
