"""The classes of a task: the data's own classes, or merged, renamed, reordered and marked by a TOML file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from skinaudit.artifacts.contract import MAX_CLASSES
from skinaudit.artifacts.files import digest_parts
from skinaudit.artifacts.manifest import RunManifest
from skinaudit.artifacts.plain_values import read_toml
from skinaudit.artifacts.run_sets import CLASSES_FROM
from skinaudit.artifacts.typed_json import Known, build
from skinaudit.errors import InvalidInputError, first_few
from skinaudit.trainer.data.dataset import Dataset, of_rows

REST = "*"
"""Stands for all classes of the data that the file does not name: as members of a class, or as classes to leave out."""

_AGAIN = "see `skinaudit train --help`"
_FILE = Known(
    {"classes": Mapping[str, str | tuple[str, ...]], "malignant": tuple[str, ...], "leave_out": tuple[str, ...]},
    others=False,
)


@dataclass(frozen=True)
class ClassPlan:
    """How the classes of the data are mapped to those of a task.

    where: the file, for messages. members: for each class of the task the classes of the data, in the order of the
    model's columns; None if they stay the same. malignant: classes of the task, the most important one first; None if
    the data decide. left_out: classes of the data whose images are not used. of_run: True if made from the record of a
    run's own images; other images may lack some of these classes, or already have the task's classes.
    """

    where: str
    members: Mapping[str, tuple[str, ...]] | None
    malignant: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()
    of_run: bool = False


def plan_of_run(run: Path, manifest: RunManifest) -> ClassPlan | None:
    """How the classes of the run's own images were made; None if the data's classes were used unchanged."""
    members = manifest.data.get(CLASSES_FROM)
    if members is None:
        return None
    contract = manifest.contract
    return ClassPlan(str(run), {name: tuple(of) for name, of in members.items()}, contract.malignant, of_run=True)


def read_classes(path: Path) -> ClassPlan:
    """Read the file of `--classes`; raises InvalidInputError, which names the file and the problem.

    The table `classes` gives, for each class of the task, one or more classes of the data; `*` stands for all that are not
    named anywhere. Without the table the classes stay the same. `malignant` lists the malignant classes. `leave_out` lists
    classes of the data whose images are not used, `*` for all others.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file of classes; {_AGAIN}")
    plain = read_toml(path, kind="file of classes", again=_AGAIN)
    entries: Mapping[str, Any] = build(Annotated[Mapping[str, Any], _FILE], plain, where=str(path), again=_AGAIN)
    table = entries.get("classes")
    members = {name: (of,) if isinstance(of, str) else of for name, of in (table or {}).items()}
    plan = ClassPlan(str(path), None if table is None else members, entries.get("malignant"), entries.get("leave_out", ()))
    named = [*(member for of in members.values() for member in of), *plan.left_out]
    twice = sorted({name for name in named if named.count(name) > 1})
    unknown = [name for name in plan.malignant or () if table is not None and name not in members]
    hollow = [name for name, of in members.items() if not of or not name or not all(of)]
    problem = ""
    if not entries:
        problem = "is empty; give a table [classes], or list the malignant classes"
    elif twice:
        problem = f"names {first_few(twice)} twice; each class of the data goes to one class of the task"
    elif unknown:
        problem = f"malignant names {first_few(unknown)}; the classes are {first_few(list(members), limit=MAX_CLASSES)}"
    elif hollow:
        problem = f"class {hollow[0]!r} is made of no class of the data; name at least one"
    if problem:
        raise InvalidInputError(f"{path}: {problem}")
    return plan


def regrouped(dataset: Dataset, plan: ClassPlan, *, wanted: Sequence[str] = ()) -> Dataset:
    """The dataset with the classes of the plan, without the images that the plan leaves out.

    wanted: classes of a run. Classes of the data with such a name stay as they are if the plan does not name them. Raises
    InvalidInputError if the plan names a class that the data lack, omits a class of the data, or does not say whether a
    class with malignant and benign members is malignant.
    """
    members = _members(dataset, plan, wanted)
    classes = tuple(members)
    of_task = {name: classes.index(task) for task, of in members.items() for name in of}
    labels = np.array([of_task.get(name, -1) for name in dataset.classes], np.int64)[dataset.labels]
    kept = np.flatnonzero(labels >= 0)
    if len(kept) == 0:
        raise InvalidInputError(f"{plan.where}: leaves no image of {dataset.title}; use its class names")
    noted = json.dumps([list(members.items()), plan.left_out])
    return replace(
        of_rows(dataset, kept),
        labels=labels[kept],
        classes=classes,
        malignant=_malignant(dataset, plan, members),
        digest=digest_parts(dataset.digest.encode(), noted.encode()),
        classes_from=members,
    )


def in_order(dataset: Dataset, classes: Sequence[str], *, where: str) -> Dataset:
    """The dataset with its labels as indices into `classes`, of which some may have no image.

    Raises InvalidInputError if the dataset has images of another class.
    """
    strange = [name for name in (dataset.classes[label] for label in np.unique(dataset.labels)) if name not in classes]
    if strange:
        raise InvalidInputError(
            f"{where}: has images of {first_few(strange)}, and the run's classes are "
            f"{first_few(classes, limit=MAX_CLASSES)}; say with --classes FILE.toml which of these they are, or leave them "
            f"out with leave_out = {json.dumps(strange)}; if one of them covers several classes of the run, copy the "
            "engine without its manifest, and audit it with a contract whose [output.mapping] says so"
        )
    numbers = np.array([classes.index(name) if name in classes else -1 for name in dataset.classes], np.int64)
    return replace(
        dataset,
        labels=numbers[dataset.labels],
        classes=tuple(classes),
        malignant=tuple(name for name in dataset.malignant if name in classes),
    )


def _members(dataset: Dataset, plan: ClassPlan, wanted: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each class of the task, its classes of the data. `*` is expanded; wanted classes that the plan omits stay."""
    if plan.members is None:
        return _as_they_are(dataset, plan)
    named = {member for of in (*plan.members.values(), plan.left_out) for member in of}
    unknown = sorted(named - {REST} - set(dataset.classes))
    extra = tuple(name for name in dataset.classes if name not in named)
    theirs = first_few(dataset.classes, limit=MAX_CLASSES)
    if plan.of_run:
        if extra:
            raise InvalidInputError(
                f"{plan.where}: was trained on data without {first_few(extra)}; say with --classes FILE.toml what these are"
            )
        return {task: tuple(name for name in of if name in dataset.classes) for task, of in plan.members.items()}
    members, kept = dict(plan.members), () if REST in named else tuple(name for name in extra if name in wanted)
    for name in kept:
        members[name] = (*members.get(name, ()), name)
    extra = tuple(name for name in extra if name not in kept)
    if unknown:
        raise InvalidInputError(f"{plan.where}: names {first_few(unknown)}; the classes of the data are {theirs}")
    if extra and REST not in named:
        raise InvalidInputError(
            f"{plan.where}: has no entry for {first_few(extra)}; put them into a class, or into leave_out = [...]"
        )
    if not extra and any(REST in of for of in members.values()):
        raise InvalidInputError(f"{plan.where}: `{REST}` stands for no class, all of {theirs} are named; leave it out")
    return {
        task: tuple(name for member in of for name in (extra if member == REST else (member,)))
        for task, of in members.items()
    }


def _as_they_are(dataset: Dataset, plan: ClassPlan) -> dict[str, tuple[str, ...]]:
    unknown = [name for name in (*(plan.malignant or ()), *plan.left_out) if name not in dataset.classes]
    if unknown:
        theirs = first_few(dataset.classes, limit=MAX_CLASSES)
        raise InvalidInputError(f"{plan.where}: names {first_few(unknown)}; the classes of the data are {theirs}")
    return {name: (name,) for name in dataset.classes if name not in plan.left_out}


def _malignant(dataset: Dataset, plan: ClassPlan, members: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The plan's malignant classes; if it names none, the classes whose members are all malignant, in the data's order."""
    if plan.malignant is not None:
        return plan.malignant
    for task, of in members.items():
        ill = [name for name in of if name in dataset.malignant]
        if ill and len(ill) < len(of):
            raise InvalidInputError(
                f"{plan.where}: {task} mixes malignant {first_few(ill)} with other classes; write with malignant = [...] "
                "which classes of the task are malignant"
            )
    ill_tasks = (task for name in dataset.malignant for task, of in members.items() if name in of)
    return tuple(dict.fromkeys(ill_tasks))
