"""Crafts and stores adversarial sets: attack the source model, round to 8 bit, compute the answers again, write."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skinaudit.artifacts.adversarial_set import CLEAN, AdversarialSet, SetInfo, open_set, write_set
from skinaudit.artifacts.attack_record import AttackRecord, joined
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.files import Progress, digest_parts
from skinaudit.artifacts.manifest import read_run, record, resolve, versions, write_run
from skinaudit.artifacts.one_writer import one_writer
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.run_sets import open_clean_set
from skinaudit.artifacts.set_subgroups import Subgroups
from skinaudit.artifacts.threat_model import Norm, ThreatModel, parse_eps
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import attacks, ball
from skinaudit.trainer.attack_trace import AttackTrace
from skinaudit.trainer.attacks.pgd import input_gradient
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.ensemble import Ensemble, joint_digest
from skinaudit.trainer.evaluate import device_of, logits_of, slices, to_pixels
from skinaudit.trainer.models import folded
from skinaudit.trainer.shards import ALONE, Part, Worker, shared_batches, this_worker
from skinaudit.true_fp32 import true_fp32

_LOG = logging.getLogger(__name__)
_PATIENCE = 60.0
"""Seconds to wait for another attack that is entering its set in the manifest."""
_WHOLE_DAY = 24 * 3600.0
"""Seconds to wait for a batch of another process."""
_SILENT = 0.5


@dataclass(frozen=True)
class AttackPlan:
    """One adversarial set to write: attack by name, threat model, and settings that differ from the defaults."""

    attack: str
    threat_model: ThreatModel
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the set and its file: `pgd-linf-2`, or `pgd-linf-2-steps100` with a setting that is not the default."""
        defaults = attacks.load(self.attack)[1]
        changed = {key: value for key, value in sorted(self.settings.items()) if value != defaults.get(key)}
        suffix = "".join(f"-{key}" if value is True else f"-{key}{value}" for key, value in changed.items())
        return f"{self.attack}-{self.threat_model.norm}-{self.threat_model.eps_text.removesuffix('/255')}{suffix}"


def check_plan(plan: AttackPlan) -> None:
    """Raise InvalidInputError if no model could give the set, before time is spent on a training."""
    _, settings = attacks.load(plan.attack, plan.settings)
    if measuring := [name for name in ("stop_margin", "settle") if settings.get(name) is not None]:
        raise InvalidInputError(f"{plan.name}: a stored set uses the full budget; leave {' and '.join(measuring)} out")
    plan.threat_model.on_grid()
    attacks.check_settings(plan.attack, settings, plan.threat_model)


def write_clean_set(
    path: Path,
    model: nn.Module,
    *,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    group: NDArray[np.int64],
    ids: tuple[str, ...],
    source: str,
    contract: InputContract,
    dataset: str,
    synthetic: bool,
    subgroups: Subgroups | None = None,
) -> AdversarialSet:
    """Write the clean images, uint8 (N, 3, H, W), with the folded model's logits, and open the set.

    subgroups: by name, one value per image. Sets crafted from these images contain them too.
    """
    info = SetInfo(
        name=CLEAN, attack=CLEAN, threat_model=None, settings={}, seed=0, source=source, clean="", contract=contract,
        dataset=dataset, synthetic=synthetic, created_with=versions("torch", "torchvision"),
    )  # fmt: skip
    logits = logits_of(model, images)
    write_set(path, info, images=images, labels=labels, group=group, ids=ids, source_logits=logits, subgroups=subgroups)
    return open_set(path)


@true_fp32()
def write_adversarial_set(
    path: Path,
    model: nn.Module,
    clean: AdversarialSet,
    plan: AttackPlan,
    *,
    source: str,
    seed: int,
    name: str | None = None,
    batch: int = 200,
    worker: Worker = ALONE,
    progress: Progress | None = None,
) -> AdversarialSet:
    """Attack the clean set on `model` (in evaluation mode, best folded), write the result to `path` and open it.

    name: of the set; None for the plan's. Labels stay the true classes. A targeted attack aims each image at a class drawn
    uniformly from the wrong ones. Attack and answers are in fp32 on any device, without TF32. Equal arguments give equal
    bytes on one machine, however many processes share the batches. worker: this process, which must be the one that writes.
    If several processes share the work and `path` is already this set, it is left as it is. Raises InvalidInputError if the
    model gives no gradients.
    """
    crafting = _Crafting(path, model, clean, plan, source, seed, batch)
    if worker.size > 1 and (finished := crafting.finished()) is not None:
        return finished
    parts: list[NDArray[np.uint8]] = []
    records: list[AttackRecord] = []
    for grid, noted_of_part in crafting.parts(worker):
        parts.append(grid)
        records.append(noted_of_part)
        if progress is not None:
            progress(sum(map(len, parts)), len(clean))
    images, noted = np.concatenate(parts), joined(records)
    _check_gradients(~noted.silent, where=plan.name)
    write_set(
        path, replace(crafting.info, name=name or plan.name), images=images, labels=clean.labels, group=clean.group,
        ids=clean.ids, source_logits=logits_of(model, images), attack=noted, subgroups=clean.subgroups,
    )  # fmt: skip
    _LOG.info("%s: wrote %s", plan.name, path)
    crafting.discard()
    return open_set(path)


@true_fp32()
def craft_share(
    path: Path, model: nn.Module, clean: AdversarialSet, plan: AttackPlan, *, source: str, seed: int, worker: Worker,
    batch: int = 200,
) -> None:  # fmt: skip
    """Craft the batches of a process that does not write the set. Arguments: see `write_adversarial_set`."""
    crafting = _Crafting(path, model, clean, plan, source, seed, batch)
    if crafting.finished() is None:
        for _ in crafting.parts(worker):
            pass


class _Crafting:
    """The batches of one set. Each can be crafted by itself."""

    def __init__(
        self, path: Path, model: nn.Module, clean: AdversarialSet, plan: AttackPlan, source: str, seed: int, batch: int
    ) -> None:
        check_plan(plan)
        self._attack, self.settings = attacks.load(plan.attack, plan.settings)
        self._path, self._model, self._clean, self._plan, self._source, self._seed = path, model, clean, plan, source, seed
        self._slices = tuple(slices(len(clean), max(batch, len(clean)) if attacks.whole_set(plan.attack) else batch))
        classes = len(clean.info.contract.classes)
        aims = (clean.labels + np.random.default_rng(seed).integers(1, classes, len(clean))) % classes
        self._aimed = aims if self.settings.get("targeted") else clean.labels
        self.info = replace(
            clean.info, name=plan.name, attack=plan.attack, threat_model=plan.threat_model, settings=self.settings,
            seed=seed, source=source, clean=clean.images_digest, created_with=versions("torch", "torchvision"),
        )  # fmt: skip
        _LOG.info(
            "%s: %d images on %s, batches: %d, seed %d, %s", plan.name, len(clean), device_of(model), len(self._slices),
            seed, ", ".join(f"{key} {value}" for key, value in self.settings.items() if value is not None) or "no settings",
        )  # fmt: skip

    def parts(self, worker: Worker) -> Iterator[Part]:
        """All batches in order if this process writes, else none."""
        if worker.size == 1:
            return map(self._craft, range(len(self._slices)))
        side = self._clean.info.contract.size
        shapes = [(part.stop - part.start, 3, side, side) for part in self._slices]
        return shared_batches(self._folder(), shapes, craft=self._craft, worker=worker, patience=_WHOLE_DAY)

    def finished(self) -> AdversarialSet | None:
        """The set at the path, if it is the one to craft, but for its name."""
        try:
            opened = open_set(self._path)
        except InvalidInputError:
            return None
        return opened if replace(opened.info, name=self.info.name) == self.info else None

    def discard(self) -> None:
        """Delete the finished batches."""
        shutil.rmtree(self._folder(), ignore_errors=True)

    def _craft(self, number: int) -> Part:
        part, device = self._slices[number], device_of(self._model)
        original = self._clean.images_at(np.arange(part.start, part.stop))
        pixels, truth = to_pixels(original, device=device), torch.from_numpy(self._aimed[part]).to(device)
        if number == 0:  # before the time of a whole attack is spent
            _check_gradients(_gradients(self._model, pixels, truth), where=self._plan.name)
        trace = AttackTrace()
        generator = torch.Generator(device).manual_seed(_seed_of(self._seed, number))
        perturbed = self._attack(
            self._model, pixels, truth, threat_model=self._plan.threat_model, generator=generator, trace=trace,
            **self.settings,
        ).cpu()  # fmt: skip
        clean = torch.from_numpy(original)
        grid = ball.to_grid(perturbed, clean, threat_model=self._plan.threat_model)
        return grid.numpy(), trace.record(ball.kept_share(perturbed, grid, clean))

    def _folder(self) -> Path:
        """Folder of the finished batches. Its name is a digest of everything that decides their bytes."""
        made_from = [
            self._plan.attack, str(self._plan.threat_model), self.settings, self._seed, self._source,
            self._clean.images_digest, len(self._slices), str(device_of(self._model)), torch.get_num_threads(),
            dict(versions("torch", "torchvision")),
        ]  # fmt: skip
        digest = digest_parts(json.dumps(made_from, sort_keys=True).encode()).removeprefix("sha256:")[:16]
        return self._path.parent / f".{self._path.stem}.{digest}.batches"


def _seed_of(seed: int, number: int) -> int:
    """Seed of one batch; the first batch has the seed of the set."""
    return seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def _gradients(model: nn.Module, images: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    """Images (N,) for which the model gives a gradient."""
    gradient, _, _ = input_gradient(model, images, labels)
    return np.asarray((gradient.flatten(1).abs().amax(1) > 0).cpu().numpy())


def _check_gradients(has_gradient: NDArray[np.bool_], *, where: str) -> None:
    """Raise InvalidInputError if most images had no gradient to follow. has_gradient: bool (N,)."""
    silent = 1 - float(has_gradient.mean())
    if silent > _SILENT:
        raise InvalidInputError(
            f"{where}: the model's gradient is 0 on {silent:.0%} of the images (saturated or quantised), so a gradient "
            "attack finds nothing and its set would prove nothing; attack a model with gradients"
        )


def attack_run(
    run: Path,
    plans: tuple[AttackPlan, ...],
    *,
    against: Sequence[Path] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[AdversarialSet, ...]:
    """Write further sets for a finished run and enter them in its manifest.

    against: other runs. The sets are then crafted on their models, joined to one that gives their mean logits, from this
    run's clean images; such transfer sets are named after those runs. If torchrun started several processes, they share the
    batches, and only the first process returns sets. Raises InvalidInputError if the contracts of the runs differ, or if a
    run is named twice.
    """
    worker = this_worker()
    manifest = read_run(run)
    RunFolder(run).check_links()
    clean = open_clean_set(run, manifest)
    attacked = [(run, manifest)] if not against else [(other, read_run(other)) for other in against]
    for other, other_manifest in attacked:
        if other_manifest.contract != manifest.contract:
            raise InvalidInputError(
                f"{other}: its input contract differs from that of {run}; so its sets cannot be used for it"
            )
    digests = [other_manifest.weights.digest for _, other_manifest in attacked]
    if len(set(digests)) < len(digests):
        raise InvalidInputError("--against: two of these runs have the same weights; leave one of them out")
    source = joint_digest(digests)
    suffix = f"-from-{'-and-'.join(other_manifest.name for _, other_manifest in attacked)}" if against else ""
    models = [folded(load_run_model(other)) for other, _ in attacked]
    model = models[0] if len(models) == 1 else Ensemble(models).eval()
    opened = []
    for plan in plans:
        name = f"{plan.name}{suffix}"
        path = RunFolder(run).set_file(name)
        if not worker.writes:
            craft_share(path, model, clean, plan, source=source, seed=seed, worker=worker)
            continue
        opened.append(
            write_adversarial_set(
                path, model, clean, plan, name=name, source=source, seed=seed, worker=worker, progress=progress
            )
        )
        # Entered at once: otherwise a set that replaces one of the run would contradict the manifest while the next one is
        # made.
        # Read again, because another attack on the run may have entered a set meanwhile.
        with one_writer(RunFolder(run).manifest_lock, place=str(run), wait=_PATIENCE):
            manifest = read_run(run)
            write_run(run, replace(manifest, sets={**manifest.sets, name: record(path, relative_to=run)}))
    return tuple(opened)


def plans_for(
    run: Path, names: tuple[str, ...], *, norm: Norm, eps: str | None, settings: Mapping[str, Any]
) -> tuple[AttackPlan, ...]:
    """One plan for each attack, NAME or NAME:key=value,... eps: None for that of the run's own sets.

    settings: for all attacks that have them. None keeps the default, and a setting in an attack's own text takes precedence.
    Raises InvalidInputError if no attack has a setting.
    """
    threat_model = own_threat_model(run, norm) if eps is None else ThreatModel(norm, parse_eps(eps))
    if threat_model is None:
        raise InvalidInputError(f"{run}: has no {norm} set to take eps from; give --eps, for example --eps 8/255")
    given = {key: value for key, value in settings.items() if value is not None}
    parsed = [attacks.parse(name) for name in names]
    known = [set(attacks.load(name)[1]) for name, _ in parsed]
    for key in given:
        if not any(key in accepted for accepted in known):
            raise InvalidInputError(f"{', '.join(name for name, _ in parsed)}: no setting {key}; leave --{key} out")
    return tuple(
        AttackPlan(name, threat_model, {**{key: value for key, value in given.items() if key in accepted}, **own})
        for (name, own), accepted in zip(parsed, known, strict=True)
    )


def own_threat_model(run: Path, norm: Norm) -> ThreatModel | None:
    """Threat model of the run's own sets in this norm; None if there is none."""
    manifest = read_run(run)
    for file in manifest.sets.values():
        own = open_set(resolve(run, file)).info.threat_model
        if own is not None and own.norm == norm:
            return own
    return None
