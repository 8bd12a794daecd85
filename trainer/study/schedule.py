"""Runs the stages of a study in order, each once, several at the same time if requested."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict

from skinaudit.artifacts.files import append_line, write_bytes
from skinaudit.artifacts.one_writer import one_writer
from skinaudit.artifacts.study_folder import StageRecord, StudyFolder, read_stages
from skinaudit.errors import InvalidInputError, SkinauditError
from skinaudit.trainer.reporter import Reporter
from skinaudit.trainer.study.settings import StudySettings, changed, read_settings, to_toml
from skinaudit.trainer.study.stages import Stage, is_done
from skinaudit.trainer.study.work import Workplace, dataset_of, do_stage

Ended = Callable[[StageRecord], None]
"""Called when a stage has ended and its line in the log is written."""


def run_study(
    place: Workplace,
    wanted: Sequence[Stage],
    *,
    jobs: int = 1,
    minutes: float | None = None,
    report: Reporter | None = None,
    ended: Ended = lambda record: None,
) -> tuple[Stage, ...]:
    """Run the stages of `wanted` that are not done; returns those that are left, as `remaining` does.

    jobs: number of processes that work at the same time. minutes: no stage starts after this time. A stage whose models are
    missing is left. Raises InvalidInputError if the folder belongs to other settings or another study is working in it.
    """
    report = report or Reporter()
    folder, started = place.folder, time.monotonic()
    place.out.mkdir(parents=True, exist_ok=True)
    with one_writer(folder.lock, place=str(place.out), say=report.say):
        _claim(folder, place.settings)
        title = "drawing images" if place.data == "synthetic" else "reading images"
        dataset_of(place, report.progress(title))  # once here; otherwise several processes would do it
        todo = remaining(place, wanted)

        def over() -> bool:
            return minutes is not None and time.monotonic() - started > 60 * minutes

        def finish(record: StageRecord) -> None:
            append_line(folder.log, json.dumps(asdict(record)) + "\n")
            ended(record)

        if jobs == 1:
            _one_by_one(place, todo, report, over, finish)
        else:
            _at_once(place, todo, jobs, report, over, finish)
        return remaining(place, wanted)


def remaining(place: Workplace, wanted: Sequence[Stage]) -> tuple[Stage, ...]:
    """Stages that are not done and can be. A failed stage is not tried again, and neither are stages that need its model."""
    failed = {record.stage for record in read_stages(place.folder) if record.state == "failed"}
    lost = {stage.model for stage in wanted if stage.name in failed and stage.kind == "train"}
    return tuple(
        stage for stage in wanted
        if stage.name not in failed and not lost & set(stage.needs) and not is_done(place.folder, stage, place.settings)
    )  # fmt: skip


def _claim(folder: StudyFolder, settings: StudySettings) -> None:
    """Record the settings in the folder; raises InvalidInputError if the recorded ones differ in more than the seeds."""
    if folder.settings.exists():
        noted = read_settings(folder.settings)
        if changed(noted, seeds=settings.seeds) != settings:
            raise InvalidInputError(
                f"{folder.settings}: belongs to a study with other settings; repeat them, or choose another --out"
            )
    write_bytes(folder.settings, to_toml(settings).encode())


def _ready(place: Workplace, stage: Stage) -> bool:
    return all(place.folder.run(model).manifest.exists() for model in stage.needs)


def _one_by_one(
    place: Workplace, todo: Sequence[Stage], report: Reporter, over: Callable[[], bool], finish: Ended
) -> None:  # fmt: skip
    for number, stage in enumerate(todo, start=1):
        if over():
            return
        if _ready(place, stage):
            report.say(f"== {number} of {len(todo)}: {stage.name}")
            finish(do_stage(place, stage, report))


def _at_once(
    place: Workplace, todo: Sequence[Stage], jobs: int, report: Reporter, over: Callable[[], bool], finish: Ended
) -> None:
    waiting, running = list(todo), dict[Future[StageRecord], Stage]()
    with _processes(jobs) as pool:
        while True:
            ready = [] if over() else [stage for stage in waiting if _ready(place, stage)]
            for stage in ready[: jobs - len(running)]:
                waiting.remove(stage)
                report.say(f"== {stage.name}")
                running[pool.submit(_in_process, place, stage)] = stage
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in [begun for begun in running if begun in finished]:
                del running[future]
                finish(future.result())


def _in_process(place: Workplace, stage: Stage) -> StageRecord:
    """Run the stage in another process. Not every library's error can be sent back; such an error would break the pool."""
    try:
        return do_stage(place, stage)
    except SkinauditError:
        raise
    except Exception as error:
        raise RuntimeError(f"{stage.name}: {type(error).__name__}: {error}") from None


@contextmanager
def _processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes, because a fork of a process that has used CUDA or threads does not work; all end after an error.

    Interrupted work is resumed later, because the processes write only complete files.
    """
    # Ctrl-C reaches all processes of a terminal at once. Only this one handles it, for all of them.
    ignored = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=signal.signal, initargs=ignored
    )
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
