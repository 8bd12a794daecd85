"""`skinaudit.attack`: from a run to more adversarial sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skinaudit.commands.library.arguments import LOG, as_the_command_takes_them, log_progress, thread_count
from skinaudit.commands.library.optional import need
from skinaudit.commands.library.run_folders import LATEST, check_latest
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    from skinaudit.artifacts.adversarial_set import AdversarialSet
    from skinaudit.artifacts.files import Progress
    from skinaudit.trainer.generate import AttackPlan


@dataclass(frozen=True)
class Attacked:
    """What an attack wrote. folder: where the sets are. sets: the new sets, opened. clean: the set of the attacked images.

    left_out: for each reason, how many images of `data` were not used; empty for the run's own images.
    """

    folder: Path
    sets: tuple[AdversarialSet, ...]
    clean: AdversarialSet
    left_out: Mapping[str, int] = field(default_factory=dict)


@as_the_command_takes_them
def attack(
    run: str | Path = LATEST,
    *,
    attack: Sequence[str] = (),
    data: str | Path | None = None,
    name: str | None = None,
    classes: str | Path | None = None,
    skip_bad: bool = False,
    eps: str | None = None,
    norm: Literal["linf", "l2"] = "linf",
    steps: int | None = None,
    restarts: int | None = None,
    targeted: bool = False,
    against: Sequence[str | Path] = (),
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[str], Progress | None] = log_progress,
    remark: Callable[[str], None] = LOG.warning,
) -> Attacked:
    """Write more adversarial sets of a run's test images or, with `data`, clean and adversarial sets of other images.

    Each argument is the option of `skinaudit attack` with the same name, and has the same default; `attack` names one or
    more attacks, such as `["fgsm", "pgd"]`, and `against` one or more runs. progress: a function that takes the title of a
    part of the work and returns a second function, which is called with the number of finished images and the number of all
    images. remark: called with a line that names the run of `runs/latest`. Raises InvalidInputError for a run, an attack or
    data that cannot be used, and MissingDependencyError without the extra `train`.
    """
    need("attack", "torch", "torchvision")
    run = Path(run)
    check_latest(run, remark=remark)

    from skinaudit.artifacts.manifest import read_run
    from skinaudit.artifacts.run_folder import RunFolder
    from skinaudit.artifacts.run_sets import open_clean_set
    from skinaudit.trainer import cpu
    from skinaudit.trainer.generate import attack_run, plans_for

    cpu.prepare(thread_count(threads))
    settings = {"steps": steps, "restarts": restarts, "targeted": targeted or None}
    if data is not None:
        from skinaudit.trainer.shards import this_worker
        from skinaudit.trainer.train import SET_ATTACKS

        if this_worker().size > 1:
            raise InvalidInputError("--data: several processes can share a run's own images only; start one process")
        if against:
            raise InvalidInputError("--against and --data cannot be used together; leave one of them out")
        plans = plans_for(run, tuple(attack) or SET_ATTACKS, norm=norm, eps=eps, settings=settings)
        return _attack_external(
            run, plans, data=str(data), name=name, skip_bad=skip_bad, seed=seed, classes=classes, progress=progress
        )
    _refuse_without_data({"--name": name is not None, "--skip-bad": skip_bad, "--classes": classes is not None}, attack)
    plans = plans_for(run, tuple(attack), norm=norm, eps=eps, settings=settings)
    others = tuple(map(Path, against))
    written = attack_run(run, plans, against=others, seed=seed, progress=progress("attacking"))
    return Attacked(RunFolder(run).sets, written, open_clean_set(run, read_run(run)))


def _refuse_without_data(given: Mapping[str, bool], attack_names: Sequence[str]) -> None:
    for flag in (flag for flag, is_given in given.items() if is_given):
        raise InvalidInputError(f"{flag} needs --data: it is about images that are not the run's own")
    if not attack_names:
        raise InvalidInputError("attack: name one or more with --attack, such as --attack pgd")


def _attack_external(
    run: Path, plans: Sequence[AttackPlan], *, data: str, name: str | None, classes: str | Path | None, seed: int,
    progress: Callable[[str], Progress | None], **settings: Any,
) -> Attacked:  # fmt: skip
    from skinaudit.artifacts.adversarial_set import CLEAN, open_set
    from skinaudit.artifacts.external import check_name, name_of
    from skinaudit.artifacts.manifest import read_run, resolve
    from skinaudit.trainer.data.classes import plan_of_run, read_classes
    from skinaudit.trainer.data.load import load
    from skinaudit.trainer.external import attack_external

    name = check_name(name or name_of(data))
    manifest = read_run(run)
    contract = manifest.contract
    dataset = load(
        data, size=contract.size, seed=seed, wanted=contract.classes,
        classes=plan_of_run(run, manifest) if classes is None else read_classes(Path(classes)),
        progress=progress("reading images"), **settings,
    )  # fmt: skip
    written = attack_external(run, dataset, plans, name=name, seed=seed, progress=progress)
    clean = open_set(resolve(written.folder, written.external.sets[CLEAN]))
    return Attacked(written.folder, written.sets, clean, written.external.left_out)
