"""Our side of a comparison in a process of its own, with the settings of skinaudit's commands. The peers keep torch's."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable
from typing import TypeVar

from skinaudit.errors import SkinauditError
from skinaudit.trainer import cpu

Answer = TypeVar("Answer")


def as_a_command(work: Callable[[], Answer]) -> Answer:
    """The answer of `work`, done on one thread by a fork of this process, which sees all its objects.

    The settings of a command belong to its whole process, and the users of other libraries do not have them. Raises what
    `work` raises. Raises SkinauditError if the fork dies.
    """
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, sending))
    child.start()
    sending.close()
    try:
        raised, answer = pickle.loads(receiving.recv_bytes())
    except EOFError:
        child.join()
        raise SkinauditError(f"the measuring process died with exit code {child.exitcode}") from None
    child.join()
    if raised is not None:
        raise raised
    return answer  # type: ignore[no-any-return]


def _work(work: Callable[[], object], sending: object) -> None:
    cpu.prepare(1)
    try:
        outcome = (None, work())
    except Exception as error:
        outcome = (error, None)
    sending.send_bytes(pickle.dumps(outcome))  # type: ignore[attr-defined]
    os._exit(0)
