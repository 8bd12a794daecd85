"""Converts sets to the classes of an engine that has fewer classes, or other ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.files import digest_parts
from skinaudit.artifacts.task_classes import TaskClass
from skinaudit.errors import InvalidInputError, first_few

_NEVER = 100.0  # distance below the source's smallest logit of an answer that the source cannot give


def regrouped(image_set: AdversarialSet, tasks: Sequence[TaskClass], *, where: str) -> AdversarialSet:
    """A set whose labels, source logits and contract are those of the task; its images stay where they are.

    If a class of the task has several members, the largest of their logits counts. A class of the task without members has
    no image, and the source never predicts it. where: the contract file, for messages. Raises InvalidInputError if the tasks
    do not cover the classes of the set, name others, or mix malignant classes with benign ones.
    """
    contract = image_set.info.contract
    of_task = {member: place for place, task in enumerate(tasks) for member in task.members}
    _check_members(tasks, contract, where=where, of=str(image_set.path))
    logits = np.empty((len(image_set), len(tasks)), np.float32)
    for place, task in enumerate(tasks):
        columns = [contract.classes.index(member) for member in task.members]
        stored = image_set.source_logits
        logits[:, place] = stored[:, columns].max(axis=1) if columns else stored.min(axis=1) - _NEVER
    malignant = dict.fromkeys(tasks[of_task[name]].name for name in contract.malignant)
    of_class = np.array([of_task[name] for name in contract.classes], np.int64)
    noted = json.dumps([[task.name, sorted(task.members)] for task in tasks])
    grouped = replace(
        contract, classes=tuple(task.name for task in tasks), malignant=tuple(malignant), positive=None, threshold=0.5
    )
    return replace(
        image_set,
        info=replace(image_set.info, contract=grouped),
        labels=of_class[image_set.labels],
        source_logits=logits,
        images_digest=digest_parts(image_set.images_digest.encode(), noted.encode()),
    )


def _check_members(tasks: Sequence[TaskClass], contract: InputContract, *, where: str, of: str) -> None:
    named = [member for task in tasks for member in task.members]
    unknown = [name for name in named if name not in contract.classes]
    lacking = [name for name in contract.classes if name not in named]
    problem = ""
    if unknown:
        problem = f"names {first_few(unknown)}, which {of} does not have; its classes are {', '.join(contract.classes)}"
    elif lacking:
        problem = f"has no entry for {first_few(lacking)} of {of}; an engine without a column for them cannot be audited"
    for task in tasks:
        malignant = [name for name in task.members if name in contract.malignant]
        benign = [name for name in task.members if name not in contract.malignant]
        if not problem and malignant and benign:
            problem = (
                f"puts malignant {first_few(malignant)} and benign {first_few(benign)} into {task.name}, so missed cancers "
                "could not be detected; use sets of a run whose own classes are these (`skinaudit train --classes "
                "FILE.toml`)"
            )
    if problem:
        raise InvalidInputError(f"{where}: output.mapping {problem}")
