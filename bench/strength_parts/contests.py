"""Which attack of ours faces which attacks of other libraries, with the same norm, radius, steps, restarts and queries.

Known differences:

- adv-lib has no FGSM, and its PGD returns only points whose gradient it took; so two full steps from the image, of which
  the second one is not returned, are the same.
- MI-FGSM: foolbox adds the gradients up as they are, not divided by their l1 norms.
- Carlini-Wagner: torchattacks has no search for the constant, so its one run takes all steps.
- Universal: ART makes up to ten steps of DeepFool for each image that still stands, where ours takes one gradient.
- SPSA: torchattacks steps with Adam; its learning rate is a quarter of eps. In each pair of answers all its images share one
  noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skinaudit.artifacts.threat_model import Norm
from skinaudit.bench.strength_parts.peers import Case, Maker, of_adv_lib, of_art, of_foolbox, of_torchattacks
from skinaudit.trainer.evaluate import SETTLE, STOP_MARGIN

LIBRARIES: Mapping[str, str] = {
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "adv-lib": "adv-lib",
    "ART": "adversarial-robustness-toolbox",
}
"""The peers as tables name them, and their distributions."""


@dataclass(frozen=True)
class Contest:
    """One attack as skinaudit and its peers have it.

    ours: as on skinaudit's command line. peers: by library, the attacks that follow each other, each on the images that the
    former left. smallest: the attack looks for the smallest perturbation, so an image stands if that is longer than eps;
    nothing is rounded, since the end of such a perturbation lies on the boundary. costly: measured on few images.
    """

    ours: str
    peers: Mapping[str, tuple[Maker, ...]]
    norm: Norm = "linf"
    smallest: bool = False
    costly: bool = False


def _eps(case: Case) -> float:
    return case.eps


def _share(share: float) -> Any:
    return lambda case: share * case.eps


def _classes(case: Case) -> int:
    return case.classes


_PGD_STEP = _share(2.5 / 40)
_MI_STEP = _share(1 / 10)
_SEEDED: Mapping[str, Any] = {"eps": _eps, "seed": 0, "n_restarts": 1}
_ART: Mapping[str, Any] = {"batch_size": 1000, "verbose": False}
"""ART cuts batches itself and draws progress bars."""


def _apgd(loss: str, steps: int) -> Contest:
    own = of_torchattacks("APGD", norm="Linf", steps=steps, loss=loss, **_SEEDED)
    other = of_adv_lib("apgd", eps=_eps, norm=np.inf, n_iter=steps, loss_function=loss)
    return Contest(f"apgd-{loss}:steps={steps}", {"torchattacks": (own,), "adv-lib": (other,)})


def _apgd_t(steps: int) -> Contest:
    own = of_torchattacks("APGDT", norm="Linf", steps=steps, n_classes=_classes, **_SEEDED)
    other = of_adv_lib("apgd_targeted", eps=_eps, norm=np.inf, n_iter=steps)
    return Contest(f"apgd-t:steps={steps}", {"torchattacks": (own,), "adv-lib": (other,)}, costly=True)


def _measuring(contest: Contest) -> Contest:
    """The same attack without what only a stored set needs: images leave once they are broken, or will not be."""
    return replace(contest, ours=f"{contest.ours},stop_margin={STOP_MARGIN},settle={SETTLE}")


def _fab_t(steps: int) -> Contest:
    own = of_torchattacks("FAB", norm="Linf", steps=steps, multi_targeted=True, n_classes=_classes, **_SEEDED)
    other = of_adv_lib("fab", norm=np.inf, n_iter=steps, targeted_restarts=True)
    return Contest(f"fab-t:steps={steps}", {"torchattacks": (own,), "adv-lib": (other,)}, smallest=True, costly=True)


def _square(queries: int) -> Contest:
    own = of_torchattacks("Square", norm="Linf", n_queries=queries, **_SEEDED)
    return Contest(f"square:queries={queries}", {"torchattacks": (own,)}, costly=True)


_PARTS: Mapping[str, Contest] = {
    "APGD-CE-100": _apgd("ce", 100),
    "APGD-T-100": replace(_apgd_t(100), costly=False),
    "FAB-T-100": replace(_fab_t(100), costly=False),
    "Square-5000": replace(_square(5000), costly=False),
}
"""Whoever asks for these gets them on all images."""
AUTOATTACK: Mapping[str, Maker] = {name: contest.peers["torchattacks"][0] for name, contest in _PARTS.items()}
"""torchattacks' parts of AutoAttack in their order, with the settings of the original."""
_CASCADE = {"torchattacks": tuple(AUTOATTACK.values())}

CONTESTS: Mapping[str, Contest] = {
    "FGSM": Contest("fgsm", {
        "torchattacks": (of_torchattacks("FGSM", eps=_eps),),
        "foolbox": (of_foolbox("LinfFastGradientAttack", random_start=False),),
        "adv-lib": (of_adv_lib("pgd_linf", ε=_eps, steps=2, random_init=False, absolute_step_size=_eps),),
        "ART": (of_art("FastGradientMethod", eps=_eps, batch_size=1000),),
    }),
    "PGD-40": Contest("pgd:steps=40", {
        "torchattacks": (of_torchattacks("PGD", eps=_eps, alpha=_PGD_STEP, steps=40),),
        "foolbox": (of_foolbox("LinfPGD", abs_stepsize=_PGD_STEP, steps=40),),
        "adv-lib": (of_adv_lib("pgd_linf", ε=_eps, steps=40, absolute_step_size=_PGD_STEP),),
        "ART": (
            of_art("ProjectedGradientDescent", eps=_eps, eps_step=_PGD_STEP, max_iter=40, num_random_init=1, **_ART),
        ),
    }),
    "PGD-DLR-40": Contest("pgd-dlr:steps=40", {}),
    "MI-FGSM-10": Contest("mi-fgsm:steps=10", {
        "torchattacks": (of_torchattacks("MIFGSM", eps=_eps, alpha=_MI_STEP, steps=10, decay=1.0),),
        "foolbox": (
            of_foolbox("LinfMomentumIterativeFastGradientMethod", abs_stepsize=_MI_STEP, steps=10, momentum=1.0),
        ),
        "ART": (of_art("MomentumIterativeMethod", eps=_eps, eps_step=_MI_STEP, max_iter=10, decay=1.0, **_ART),),
    }),
    "DeepFool-50": Contest("deepfool:steps=50", {
        "foolbox": (of_foolbox("LinfDeepFoolAttack", steps=50),),
        "adv-lib": (of_adv_lib("df", steps=50, norm=np.inf),),
    }, smallest=True),
    "DeepFool-50, l2": Contest("deepfool:steps=50", {
        "torchattacks": (of_torchattacks("DeepFool", steps=50),),
        "foolbox": (of_foolbox("L2DeepFoolAttack", steps=50),),
        "adv-lib": (of_adv_lib("df", steps=50, norm=2),),
        "ART": (of_art("DeepFool", max_iter=50, epsilon=0.02, **_ART),),
    }, norm="l2", smallest=True, costly=True),
    "Carlini-Wagner, 4 x 30, l2": Contest("carlini-wagner:steps=30,searches=4", {
        "torchattacks": (of_torchattacks("CW", c=1, steps=120, lr=0.01),),
        "foolbox": (of_foolbox("L2CarliniWagnerAttack", binary_search_steps=4, steps=30, initial_const=1.0),),
        "adv-lib": (of_adv_lib("carlini_wagner_l2", binary_search_steps=4, max_iterations=30, initial_const=1.0),),
    }, norm="l2", smallest=True, costly=True),
    "Universal, 5 passes": Contest("universal:epochs=5", {
        "ART": (
            of_art(
                "UniversalPerturbation", eps=_eps, max_iter=5, delta=0.0, norm=np.inf, verbose=False,
                attacker_params={"max_iter": 10, "epsilon": 0.02, "verbose": False},
            ),
        ),
    }, costly=True),
    "APGD-CE-50": _apgd("ce", 50),
    "APGD-DLR-50": _apgd("dlr", 50),
    "APGD-T-25": _apgd_t(25),
    "APGD-CE-50, measuring": _measuring(_apgd("ce", 50)),
    "APGD-DLR-50, measuring": _measuring(_apgd("dlr", 50)),
    "APGD-T-25, measuring": _measuring(_apgd_t(25)),
    "FAB-T-25": _fab_t(25),
    "Square-500": _square(500),
    "SPSA, 10 x 32": Contest("spsa:steps=10,samples=32", {
        "torchattacks": (of_torchattacks("SPSA", eps=_eps, lr=_share(1 / 4), nb_iter=10, nb_sample=32, max_batch_size=1),),
    }, costly=True),
    "Boundary-500, l2": Contest("boundary:queries=500", {
        "foolbox": (of_foolbox("BoundaryAttack", steps=500),),
    }, norm="l2", smallest=True, costly=True),
    **_PARTS,
    "AutoAttack, 100 steps": Contest("autoattack", _CASCADE),
    "AutoAttack, measuring": Contest(f"autoattack:stop_margin={STOP_MARGIN},settle=2.0", _CASCADE),
    "AutoAttack, 10 steps": Contest("autoattack:steps=10", {
        "torchattacks": (of_torchattacks("AutoAttack", eps=_eps, norm="Linf", seed=0, n_classes=_classes),),
    }),
}  # fmt: skip
"""torchattacks' own AutoAttack takes 10 steps where the original takes 100."""
DEFAULT = tuple(name for name in CONTESTS if name not in _PARTS and not name.startswith("AutoAttack"))
"""Those that take a few minutes; bench/autoattack.py measures AutoAttack and its parts."""
