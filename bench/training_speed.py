"""Images per second of training: standard and hardened, beside plain loops and ART, for several networks and precisions.

`python bench/training_speed.py` measures on the CPU; `bench/gpu.py` uses the same functions on a GPU.
"""

from __future__ import annotations

import argparse
import copy
import gc
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import versions
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import hardening, libraries, report
from skinaudit.bench.attacks import CPU, Batch
from skinaudit.bench.timing import Contestant, interleaved
from skinaudit.errors import SkinauditError
from skinaudit.trainer import cpu
from skinaudit.trainer.computing import FP32, Computing
from skinaudit.trainer.models import build
from skinaudit.trainer.recipes import Hardening, Recipe

ROOT = Path(__file__).resolve().parents[1]
OURS = "skinaudit, hardened, fp32"


@dataclass(frozen=True)
class Network:
    """A network with fresh weights: their values do not matter for its speed."""

    arch: str
    width: float
    size: int

    @property
    def title(self) -> str:
        """As tables show it."""
        return f"{self.arch} x{self.width:g}, {self.size}x{self.size}"

    def built(self, device: torch.device) -> nn.Module:
        """A model of one's own, the same each time."""
        return copy.deepcopy(_fresh(self)).to(device)


@lru_cache(maxsize=1)
def _fresh(network: Network) -> nn.Module:
    """Drawing the weights of VGG16 takes seconds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(network.arch, width=network.width, size=network.size)


@dataclass(frozen=True)
class Work:
    """What each contestant does: an epoch over `images` images, PGD with `steps` steps under linf."""

    images: int
    batch: int
    steps: int

    @property
    def hardening(self) -> Hardening:
        """At full eps from the first batch on."""
        return Hardening(ThreatModel("linf", parse_eps("2/255")), steps=self.steps, ramp=0.0)

    @property
    def recipe(self) -> Recipe:
        """That of bench/hardening.py, with this batch size."""
        return replace(hardening.RECIPE, batch=self.batch)

    def data(self, size: int, *, images: int | None = None) -> Batch:
        """Random images and labels."""
        random, count = np.random.default_rng(0), images or self.images
        pixels = random.integers(0, 256, (count, 3, size, size), dtype=np.uint8)
        return Batch(pixels, random.integers(0, 7, count))


@dataclass(frozen=True)
class Speed:
    """Median images per second, and the seconds of the first two batches: kernels are chosen, compiled and recorded."""

    images_per_second: float
    preparing: float


Make = Callable[[nn.Module, Batch, Work], Contestant[None]]
"""From a model of its own, which it trains, to a contestant."""


def by_us(*, hardened: bool, computing: Computing = FP32) -> Make:
    """Our training loop."""

    def make(model: nn.Module, batch: Batch, work: Work) -> Contestant[None]:
        attack = work.hardening if hardened else None
        return hardening.ours(model, batch, attack, recipe=work.recipe, computing=computing)

    return make


def by_a_plain_loop(*, hardened: bool, backward: bool = False, bf16: bool = False) -> Make:
    """A loop as it is usually written; see bench/hardening.py."""

    def make(model: nn.Module, batch: Batch, work: Work) -> Contestant[None]:
        attack = work.hardening if hardened else None
        gradient = "backward" if backward else "grad"
        return hardening.plain(model, batch, attack, gradient, recipe=work.recipe, bf16=bf16)  # type: ignore[arg-type]

    return make


def by_art(model: nn.Module, batch: Batch, work: Work) -> Contestant[None]:
    """ART's AdversarialTrainerMadryPGD."""
    return hardening.by_art(model, batch, work.hardening, recipe=work.recipe)


def name_of(computing: Computing, *, hardened: bool) -> str:
    """What a contestant of ours is called."""
    suffix = (", compiled" if computing.compiled else "") + (", CUDA graph" if computing.cuda_graphs else "")
    return f"skinaudit, {'hardened' if hardened else 'standard'}, {computing.precision}{suffix}"


def contestants_of(computings: Iterable[Computing], *, bf16: bool, art: bool) -> dict[str, Make]:
    """Ours in each of these arithmetics, standard and hardened, and the others; bf16: plain loops under autocast, too."""
    makes: dict[str, Make] = {"plain loop, standard": by_a_plain_loop(hardened=False)}
    for computing in computings:
        for hardened in (False, True):
            if hardened or not computing.cuda_graphs:  # the graph is the attack's
                makes[name_of(computing, hardened=hardened)] = by_us(hardened=hardened, computing=computing)
    makes[hardening.PLAIN] = by_a_plain_loop(hardened=True)
    makes[hardening.BACKWARD] = by_a_plain_loop(hardened=True, backward=True)
    if bf16:
        makes["plain loop, standard, bf16"] = by_a_plain_loop(hardened=False, bf16=True)
        makes[f"{hardening.PLAIN}, bf16"] = by_a_plain_loop(hardened=True, bf16=True)
    if art:
        makes[hardening.ART] = by_art
    return makes


def in_turns(
    makes: Mapping[str, Make],
    network: Network,
    work: Work,
    *,
    rounds: int,
    say: Callable[[str], None],
    clock: Callable[[], float] | None = None,
) -> dict[str, Speed]:
    """All contestants on the CPU, round after round, so that a slow minute of the machine hits all of them alike."""
    preparing: dict[str, float] = {}
    contestants: dict[str, Contestant[None]] = {}
    data = work.data(network.size)
    for name, make in makes.items():
        preparing[name] = _prepare(make, network, work, CPU)
        contestants[name] = make(network.built(CPU), data, work)
    contest = interleaved(contestants, rounds=rounds, say=say, clock=clock)
    return {name: Speed(work.images / contest.median(name), preparing[name]) for name in makes}


def alone(make: Make, network: Network, work: Work, *, device: torch.device, rounds: int) -> Speed:
    """One contestant on a GPU that nobody else uses; its memory is given back."""
    model = network.built(device)
    first = make(model, work.data(network.size), work)
    started = time.perf_counter()
    first(0)
    preparing = time.perf_counter() - started
    seconds = interleaved({"": first}, rounds=rounds).median("")
    del first, model
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return Speed(work.images / seconds, max(0.0, preparing - seconds))


def _prepare(make: Make, network: Network, work: Work, device: torch.device) -> float:
    """Seconds of two batches by a copy that is thrown away."""
    contestant = make(network.built(device), work.data(network.size, images=2 * work.batch), work)
    started = time.perf_counter()
    contestant(0)
    return time.perf_counter() - started


def speed_table(speeds: Mapping[str, Speed], *, ours: str) -> str:
    """Contestants by images per second, and how many times as fast `ours` is, among the hardened ones."""
    rows = []
    for name, speed in speeds.items():
        standard = "standard" in name
        ratio = "-" if standard or ours not in speeds else f"{speeds[ours].images_per_second / speed.images_per_second:.2f}"
        rows.append([f"**{name}**" if name == ours else name, f"{speed.images_per_second:,.1f}", ratio])
    return report.table(("", "images/s", f"{ours} is so many times as fast"), rows)


def main() -> None:
    """Measure, print and write; a missing library is one line and exit code 2."""
    options = _options()
    try:
        text = measure(options, say=lambda line: print(line, file=sys.stderr, flush=True))
        if options.output is not None:
            write_bytes(options.output, text.encode())
    except SkinauditError as error:
        print(f"training_speed: {error}", file=sys.stderr)
        sys.exit(2)
    print(text)


def measure(options: argparse.Namespace, *, say: Callable[[str], None]) -> str:
    """A table for each network, as Markdown."""
    peers: Mapping[str, str] = {} if options.no_art else libraries.enable()
    cpu.prepare(options.threads)
    clock = time.process_time if options.cpu_seconds else None
    work = Work(options.images, options.batch, options.steps)
    computings = [Computing(precision) for precision in options.precisions]
    makes = contestants_of(computings, bf16="bf16" in options.precisions, art=not options.no_art)
    sections = []
    for network in options.networks:
        say(network.title)
        speeds = in_turns(makes, network, work, rounds=options.rounds, say=say, clock=clock)
        sections.append(f"\n## {network.title}\n\n{speed_table(speeds, ours=name_of(computings[-1], hardened=True))}")
    second = "CPU second" if options.cpu_seconds else "second"
    listed = ", ".join(f"{name} {version}" for name, version in {**versions("torch", "torchvision"), **peers}.items())
    return f"""# Training speed

    {shlex.join(["python", "bench/training_speed.py", *sys.argv[1:]])}

One epoch over {work.images} random images, batch {work.batch}, PGD-{work.steps} under linf, AdamW, fresh weights. All
contestants work in turns in one process, {options.rounds} rounds; images per {second} are medians. Ours also augments
images, weights classes and averages weights; the others do not.

- machine: {report.machine(options.threads)}
- versions: {listed}
{"".join(sections)}"""


def parse_network(text: str) -> Network:
    """`mobilenet:0.5:64` as a network."""
    arch, width, size = text.split(":")
    return Network(arch, float(width), int(size))


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks", nargs="+", type=parse_network, metavar="ARCH:WIDTH:SIZE",
        default=[Network("mobilenet", 0.5, 64), Network("mobilenet", 1.0, 64), Network("vgg16", 0.25, 64)],
        help="default mobilenet:0.5:64 mobilenet:1:64 vgg16:0.25:64",
    )  # fmt: skip
    parser.add_argument(
        "--precisions", nargs="+", choices=("fp32", "bf16", "bf16-attack"), default=["fp32"], help="of ours (default fp32)"
    )
    parser.add_argument("--images", type=int, default=512, help="images of an epoch (default 512)")
    parser.add_argument("--batch", type=int, default=64, help="batch size (default 64)")
    parser.add_argument("--steps", type=int, default=5, help="PGD steps of the attack (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all cores)")
    parser.add_argument("--cpu-seconds", action="store_true", help="not by the wall clock: for a busy machine")
    parser.add_argument("--no-art", action="store_true", help="leave ART out")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="the page (default: standard output alone)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
