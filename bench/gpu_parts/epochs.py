"""Training on the device: images per second by network, precision and way to launch, beside plain loops."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from skinaudit.bench import training_speed
from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table
from skinaudit.bench.training_speed import Make, Network, Work
from skinaudit.trainer.attacks import pgd
from skinaudit.trainer.computing import Computing
from skinaudit.trainer.evaluate import to_pixels
from skinaudit.trainer.inner_attack import AttackedCopy

TITLE = "Training, images per second"
_IMAGES, _BATCH, _STEPS = 512, 64, 3


def measure(settings: Settings, keep: Keep) -> Answer:
    """MobileNet at widths 0.5 and 1 and VGG16, at 64 pixels and at the size of the settings; torch.compile comes last.

    Before, the CUDA graph of the attack is compared with the attack as it is.
    """
    work = Work(min(settings.images, _IMAGES), _BATCH, _STEPS)
    networks = [Network(arch, width, size) for size in _sizes(settings) for arch, width in _networks(settings)]
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}

    def answer() -> Answer:
        caption = (
            f"{work.images} random images, batch {work.batch}, PGD-{work.steps}, AdamW, median of {settings.rounds} epochs."
        )
        comparisons = figures.get("graph", {}).values()
        equal = "".join(f"- CUDA graph beside the attack as it is: {comparison}\n" for comparison in comparisons)
        return Answer(f"{caption}\n\n{table(('network', 'contestant', 'images/s', 'preparing, s'), rows)}\n{equal}", figures)

    if settings.provider == "cuda":
        figures["graph"] = {}
        for network in networks[:2]:
            try:
                figures["graph"][network.title] = _graph_beside_the_attack(network, work, settings.device)
            except Exception as error:  # what is timed below can still be measured
                figures["graph"][network.title] = f"{network.title}: {_in_one_cell(error)}"
            keep(answer())
    contests = [(network, name, make) for network in networks for name, make in _contestants(settings).items()]
    if settings.compiled:
        contests += [(network, name, make) for network in networks[1:2] for name, make in _compiled(settings).items()]
    for network, name, make in contests:
        try:
            speed = training_speed.alone(make, network, work, device=settings.device, rounds=settings.rounds)
        except Exception as error:  # the others can still be measured
            rows.append([network.title, name, _in_one_cell(error), "-"])
            figures.setdefault(network.title, {})[name] = {"error": str(error)[:2000]}
        else:
            rows.append([network.title, name, f"{speed.images_per_second:,.0f}", f"{speed.preparing:.1f}"])
            figures.setdefault(network.title, {})[name] = asdict(speed)
        keep(answer())
    return answer()


def _in_one_cell(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".replace("|", "/")


def _sizes(settings: Settings) -> tuple[int, ...]:
    return (settings.size,) if settings.size <= 64 else (64, settings.size)


def _networks(settings: Settings) -> tuple[tuple[str, float], ...]:
    if settings.provider == "cpu":
        return (("mobilenet", settings.width),)
    return (("mobilenet", 0.5), ("mobilenet", 1.0), ("vgg16", 1.0))


def _contestants(settings: Settings) -> dict[str, Make]:
    if settings.provider == "cpu":
        return training_speed.contestants_of([Computing("fp32"), Computing("bf16")], bf16=False, art=False)
    computings = [
        Computing("fp32"), Computing("tf32"), Computing("bf16"), Computing("tf32", cuda_graphs=True),
        Computing("bf16", cuda_graphs=True),
    ]  # fmt: skip
    return training_speed.contestants_of(computings, bf16=True, art=False)


def _compiled(settings: Settings) -> dict[str, Make]:
    computing = Computing("bf16", compiled=True, cuda_graphs=settings.provider == "cuda")
    name = training_speed.name_of(computing, hardened=True)
    return {name: training_speed.by_us(hardened=True, computing=computing)}


def _graph_beside_the_attack(network: Network, work: Work, device: torch.device) -> str:
    """Both from the same start, twice: the second time on other weights, which a graph must see."""
    model = network.built(device)
    model.train()
    batch = work.data(network.size, images=work.batch)
    images, labels = to_pixels(batch.images, device=device), torch.from_numpy(batch.labels).to(device)
    attacked = AttackedCopy(model, batch_norm="eval", computing=Computing("tf32", cuda_graphs=True), steps=work.steps)
    assert attacked.recorded is not None
    threat_model = work.hardening.threat_model
    largest, moved = [], []
    for seed in (0, 1):
        generators = [torch.Generator(device).manual_seed(seed) for _ in range(2)]
        eager = pgd.attack(
            attacked.now(), images, labels, threat_model=threat_model, generator=generators[0], steps=work.steps, keep="last"
        )
        recorded = attacked.recorded.attack(images, labels, threat_model=threat_model, generator=generators[1])
        largest.append(float((eager - recorded).abs().max()))
        moved.append(float((eager != recorded).float().mean()))
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.weight.mul_(1.5)
    text = ", ".join(f"{most:.1e} ({share:.2%} of the values differ)" for most, share in zip(largest, moved, strict=True))
    return f"{network.title}, largest difference of a pixel, on the first weights and on others: {text}"
