"""Our side of a comparison in a process of its own, with the settings of skinaudit's commands. The peers keep torch's."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from skinaudit.errors import SkinauditError
from skinaudit.trainer import cpu

Answer = TypeVar("Answer")

_DIED = "the measuring process died"


def as_a_command(work: Callable[[], Answer]) -> Answer:
    """The answer of `work`, done on one thread by a fork of this process, which sees all its objects.

    The settings of a command belong to its whole process, and the users of other libraries do not have them. The answer must
    be one that pickle takes. Raises SkinauditError with the traceback if `work` fails or the fork dies.
    """
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, sending))
    child.start()
    sending.close()
    wait([receiving, child.sentinel])
    try:
        outcome: tuple[str | None, Answer] = pickle.loads(receiving.recv_bytes()) if receiving.poll() else (_DIED, None)
    except (EOFError, OSError):
        outcome = _DIED, None  # type: ignore[assignment]
    child.join()
    failure, answer = outcome
    if failure is not None:
        raise SkinauditError(f"{failure.rstrip()} (exit code {child.exitcode})")
    return answer


def _work(work: Callable[[], object], sending: Connection) -> None:
    cpu.prepare(1)
    try:
        outcome = pickle.dumps((None, work()))
    except BaseException:
        outcome = pickle.dumps((traceback.format_exc(), None))
    sending.send_bytes(outcome)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
