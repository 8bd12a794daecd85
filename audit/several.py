"""Audits several engines at once, each in its own process, so that a crash of one does not end the others."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any

from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.manifest import manifest_path, read_engine_manifest
from skinaudit.artifacts.outside import real
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.engines.open import RUNTIMES, runtime_of, takers_of
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.errors import DEBUG, InvalidInputError, SkinauditError, debugging, in_one_line

Answer = AuditResult | str
"""An audit, or in one line why there is none."""
Finished = Callable[[Path, Answer], None]
"""Called with each engine's answer as soon as it exists."""

_GRACE = 5.0  # seconds for an audit that was told to stop


def sort_files(files: Sequence[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The engines among some files, each once, and the other files with the reason why they are not engines.

    A file that does not exist counts as an engine, so that its audit reports it.
    """
    suffixes = {suffix for runtime in RUNTIMES.values() for suffix in runtime.suffixes}
    engines: dict[Path, Path] = {}
    other_files = []
    for path in files:
        if path.is_dir():
            other_files.append((path, "a folder"))
        elif path.suffix.lower() in suffixes or not path.exists():
            engines.setdefault(real(path), path)
        elif path.suffix.lower() == ".json":
            other_files.append((path, "a manifest or a report"))
        elif path.suffix.lower() == ".bin" and path.with_suffix(".xml").is_file():
            other_files.append((path, f"the weights of {path.with_suffix('.xml').name}"))
        else:
            other_files.append((path, "no runtime opens such a file"))
    return list(engines.values()), other_files


def fit_plans(engines: Sequence[Path], plan: PlanOptions, *, runtime: str | None) -> dict[Path, PlanOptions]:
    """The plan options that each engine accepts. runtime: see audit_engine.

    An engine with an unknown runtime keeps all options, so that its audit reports the reason. Raises InvalidInputError for
    an option that no engine accepts.
    """
    fields_of = {}
    for engine in engines:
        name = runtime or _runtime_of(engine) or ""
        fields_of[engine] = RUNTIMES[name].plan_options if name in RUNTIMES else tuple(vars(plan))
    for field, flag in plan.beyond([field for fields in fields_of.values() for field in fields]).items():
        raise InvalidInputError(
            f"{flag}: is for {takers_of(field)}, but none of the {len(engines)} engines uses it; leave it out"
        )
    return {engine: plan.only(fields) for engine, fields in fields_of.items()}


def _runtime_of(engine: Path) -> str | None:
    """The runtime with which an audit opens it; None if unknown."""
    try:
        return read_engine_manifest(engine).runtime if manifest_path(engine).is_file() else runtime_of(engine)
    except SkinauditError:
        return None


def share_cores(engines: int, *, cores: int, jobs: int | None, threads: int | None) -> tuple[int, int]:
    """Number of parallel audits, and threads of each: together the number of cores, unless either is given."""
    if jobs is None:
        jobs = max(1, cores // threads) if threads else cores
    jobs = max(1, min(jobs, engines))
    return jobs, threads or max(1, cores // jobs)


def audit_several(
    engines: Sequence[Path],
    settings: Mapping[str, Any],
    *,
    jobs: int,
    finished: Finished,
    progress: Callable[[str], Progress | None],
    plans: Mapping[Path, PlanOptions] = MappingProxyType({}),
) -> list[Answer]:
    """Audit each engine with audit_engine and the keywords `settings`, at most `jobs` at a time; answers in their order.

    plans: plan options by engine, in place of those in `settings`. finished: called in this process when an audit ends.
    progress: returns the progress bar for a part of an audit, by title. When this function ends for any reason, such as an
    interrupt, it also ends the audits; they write no files.
    """
    answers: dict[int, Answer] = {}
    waiting = deque(enumerate(engines))
    running: dict[Connection, _Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index, engine = waiting.popleft()
                own = {"plan": plans[engine]} if engine in plans else {}
                audit = _start(index, engine, {**settings, **own})
                running[audit.pipe] = audit
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                audit = running[pipe]
                answer = _heard(audit, progress)
                if answer is not None:
                    answers[audit.index] = answer
                    finished(audit.engine, answer)
                    running.pop(pipe).stop()
    finally:
        for audit in running.values():
            audit.process.terminate()
        for audit in running.values():
            audit.stop()
    return [answers[index] for index in range(len(engines))]


@dataclass(frozen=True, eq=False)
class _Running:
    index: int
    engine: Path
    process: SpawnProcess
    pipe: Connection
    bars: dict[str, Progress | None]

    def stop(self) -> None:
        """Wait for the process, and end it if it does not end by itself."""
        self.process.join(_GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _start(index: int, engine: Path, settings: Mapping[str, Any]) -> _Running:
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of the runtimes' threads
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_audit, args=(sending, engine, dict(settings)), daemon=True)
    with _deaf():
        process.start()
    sending.close()
    return _Running(index, engine, process, receiving, {})


@contextmanager
def _deaf() -> Iterator[None]:
    """Inside, new processes ignore the terminal's interrupt. This process handles it and stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _heard(audit: _Running, progress: Callable[[str], Progress | None]) -> Answer | None:
    """Read one message of a running audit: its answer, or None after a progress message."""
    try:
        message = audit.pipe.recv()
    except EOFError:
        audit.process.join(_GRACE)
        cause = _cause(audit.process.exitcode)
        return f"{audit.engine}: the process of the audit died ({cause}); audit this engine alone to see why"
    if isinstance(message, tuple):
        title, done, total = message
        if title not in audit.bars:
            audit.bars[title] = progress(f"{audit.engine.name}: {title}")
        bar = audit.bars[title]
        if bar is not None:
            bar(done, total)
        return None
    answer: Answer = message
    return answer


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        killed = f"killed by {signal.Signals(-exitcode).name}"
        return f"{killed}, which usually means that memory ran out" if exitcode == -signal.SIGKILL else killed
    return f"exit code {exitcode}"


def _audit(pipe: Connection, engine: Path, settings: dict[str, Any]) -> None:
    """Audit one engine in its own process and send the result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that temporary files are removed

    def bar(title: str) -> Progress:
        return lambda done, total: pipe.send((title, done, total))

    answer: Answer
    with suppress(BrokenPipeError):  # if the other end is gone, nobody waits for an answer
        try:
            answer = audit_engine(engine, **settings, progress=bar("replaying"), probe_progress=bar)
        except SkinauditError as error:
            answer = _with_traceback(error, str(error))
        except BrokenPipeError:
            raise
        except Exception as error:
            answer = _with_traceback(error, _fault(engine, error))
        try:
            pipe.send(answer)
        except BrokenPipeError:
            raise
        except Exception as error:  # for example no memory to pack the answer; nothing of it has been sent
            pipe.send(_with_traceback(error, _fault(engine, error)))


def _with_traceback(error: Exception, line: str) -> str:
    """The line; if requested, the traceback is printed to stderr."""
    if debugging():
        traceback.print_exception(error)
    return line


def _fault(engine: Path, error: Exception) -> str:
    return f"{engine}: the audit stopped with {in_one_line(error)}; --debug or {DEBUG}=1 shows the traceback"
