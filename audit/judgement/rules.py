"""The rules behind findings: a stable name for each, what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One kind of finding, for a reader who meets it for the first time: title, what it means, and what to do about it."""

    title: str
    meaning: str
    remedy: str


RULES: Mapping[str, Rule] = {
    "verdict": Rule(
        "The audit as a whole did not pass",
        "PASS needs every set within the margin, among them the clean set and a white-box adversarial set of enough images.",
        "Read the reason: it names what failed or what is lacking.",
    ),
    "drop": Rule(
        "Accuracy lost on the way from the source model to the engine",
        "The interval of the paired drop on the same images does not lie below the policy's margin.",
        "Above the margin: export in a wider precision or calibrate on other images. Across it: add images.",
    ),
    "malignant-to-benign": Rule(
        "Cancers that the source model names and the engine calls benign",
        "More malignant images than the policy allows were right on the source model and are benign to the engine.",
        "Export in a wider precision, or keep the last layers in it; look at the images that flipped.",
    ),
    "class-sensitivity": Rule(
        "Sensitivity to a malignant class lost",
        "Even the lower bound of the drop in sensitivity to this class is above the policy's class margin.",
        "Export in a wider precision, or calibrate on images that hold enough of this class.",
    ),
    "not-compared": Rule(
        "A set that was compared with nothing",
        "The set was crafted on another model and no reference of this one is at hand, so nothing tells what was lost.",
        "Put the fp32 reference beside the engine or name one with --control.",
    ),
    "floor": Rule(
        "Below an absolute bound of the policy",
        "The figure's interval does not lie above the floor that the policy sets for this set.",
        "Train or harden the model further, or judge it on more images where the interval straddles the floor.",
    ),
    "probe-drop": Rule(
        "Less robust under a fresh attack than its reference",
        "The same attack, with the same budget and random numbers, breaks more images of the engine than of the fp32 model.",
        "Export in a wider precision; if the interval straddles the margin, probe more images.",
    ),
    "baseline-drop": Rule(
        "Worse than the engine of the baseline",
        "On images that both answered, the interval of the loss against the earlier engine does not lie below its margin.",
        "Above the margin: find what changed since that release. Across it: add images, or replay the sets of both.",
    ),
    "baseline-malignant-to-benign": Rule(
        "Cancers that the engine of the baseline names and this one calls benign",
        "More malignant images than the policy allows were right on the earlier engine and are benign to this one.",
        "Look at these images: find what changed since that release, or let the policy's [baseline] accept as many.",
    ),
    "own-sets": Rule(
        "Each engine was attacked with images made against itself",
        "Against the baseline, the attack has to work as well on either engine; where gradients are masked, it does not.",
        "Attack the engine by its answers alone with --probe square; where that finds more, craft the sets again.",
    ),
    "masking": Rule(
        "Stored images understate an attack on the engine itself",
        "Images crafted on the source do not carry over, or a fresh attack breaks what they left whole: masked gradients.",
        "Attack the engine itself with --probe whitebox, or --probe square where torch is not at hand.",
    ),
    "disagreement": Rule(
        "Points where the engine is wrong and its source is right",
        "A search along the source's decision boundary found images in the ball on which only the engine errs.",
        "Where that matters, export in a wider precision; that of a hardened model leaves fewer of them.",
    ),
    "fidelity": Rule(
        "Logits further from the source's than the precision explains",
        "The engine computes another function than its source, even where its answers agree on these images.",
        "Check that the engine was built from this run, and that nothing was added to or removed from its graph.",
    ),
    "probabilities": Rule(
        "Probabilities where logits are promised",
        "A softmax is part of the engine: an audit of it sees saturated outputs, and so does whoever uses it.",
        "Export without the softmax, or audit the file as a foreign engine through a contract that says so.",
    ),
    "results": Rule(
        "Sets that are not those that were measured",
        "The source model scores otherwise on a set of the run than the run's training wrote down.",
        "Write the sets again with `skinaudit attack`, and look who changed images or labels.",
    ),
    "repeated-images": Rule(
        "Images that are there more than once",
        "Copies make intervals look narrower than the evidence is.",
        "Leave copies out of the data, or give them the same lesion.",
    ),
    "odd-frames": Rule(
        "No answer to a frame that a service may get",
        "A black, white, grey, noisy or checkered frame gets NaN or infinity.",
        "Look for divisions by a norm or a deviation, and for ranges that overflow.",
    ),
    "conditions": Rule(
        "A graph that decides by a condition",
        "The engine has comparisons or branches that its reference has not, so that an answer can hang on a trigger.",
        "Look at these nodes in the file; export the engine again from its run.",
    ),
    "rebuilds": Rule(
        "How one build differs from the next",
        "Builds of this engine from the same graph were compared; another build may answer some images otherwise.",
        "Keep and ship the file that was audited; where builds differ by more than the margin, audit each that ships.",
    ),
    "batch-dependence": Rule(
        "Answers that depend on the batch",
        "The same image gets other logits in a batch of another size or at another place of it.",
        "Look for batch norm in training mode and for operations across the batch axis.",
    ),
    "class-absent": Rule(
        "Classes without an image",
        "The sets hold no image of some class, so nothing is known of the engine there.",
        "Use sets with images of every class of the contract.",
    ),
    "constant-answer": Rule(
        "Not better than a constant answer",
        "Balanced accuracy on the clean images cannot be told from that of always answering one class.",
        "Check that the engine is the trained model and is fed as it was trained; a model that learnt nothing cannot pass.",
    ),
    "attack-strength": Rule(
        "An attack that does not attack",
        "The adversarial set holds the clean images, or its source model does better on it than on them.",
        "Craft the set again on this model with `skinaudit attack`.",
    ),
    "not-robust": Rule(
        "Robust accuracy no better than a constant answer",
        "The engine holds what its source had, and its source had little: under attack one fixed answer does as well.",
        "Harden the source model with `skinaudit train --hardening pgd`, or judge it at a smaller eps.",
    ),
    "plausibility": Rule(
        "A foreign engine whose answers look misread",
        "Its figures on the clean images look as if pixels or columns mean something else than its contract says.",
        "Check scale, mean, std, colour and the order of classes in the contract.",
    ),
    "precision": Rule(
        "Another precision than was asked for",
        "The precision found in the opened engine is not what was asked for or what its manifest promises, or is unproved.",
        "Export again, and audit on a runtime that tells the precision of its layers.",
    ),
    "execution": Rule(
        "Computed in another precision than the file has",
        "This device computes layers in another precision than they are stored in: the replay shows less than it seems.",
        "Audit the engine on the device where it will run.",
    ),
    "emulation": Rule(
        "The engine itself was not run",
        "The graph that it was built from, or an emulation by the runtime, answered in its place.",
        "Run the audit where the engine runs.",
    ),
    "control": Rule(
        "The control was not run",
        "No reference reproduced the logits that are stored in the sets: they are taken on trust.",
        "Put the fp32 reference beside the engine or name one with --control.",
    ),
    "determinism": Rule(
        "Other bits when run again",
        "The same batch gives other logits on a second run, so another audit could decide otherwise.",
        "Fix the number of threads and the runtime's algorithms, then audit again.",
    ),
    "lineage": Rule(
        "Lineage with gaps",
        "The manifest does not lead back to all that the engine was built from.",
        "Export the engine again from its run, and keep the run beside it.",
    ),
}
"""Every rule by its name. Names are stable: reports, alerts and their suppressions refer to them."""
