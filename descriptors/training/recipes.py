"""How each network is trained: one frozen recipe per paper. What differs from the paper stands on the weights' card."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Literal

from descriptors.contract import DescriptorError
from descriptors.datasets.photos import WarpRange
from descriptors.training.augment import Jitter, Light
from descriptors.training.objectives import HardestInBatch, L2NetLoss, Objective, TripletLoss
from descriptors.training.scored import GlobalScoreLoss, PairCrossEntropy, PairHinge


@dataclass(frozen=True)
class Data:
    """What a batch is made of.

    Attributes:
        scenes: pairs of a batch from scenes' tracks, first in sequence, then at random (p1 and p2 of L2-Net).
        photos: pairs from warped single photos, likewise.
        block: points of one scene that stand together in the sequence: the negatives that look alike.
        views, keypoints, warp: made views of each photo, its keypoints, and how far the views go.
        magnification: half side of a patch in units of sigma.
    """

    scenes: tuple[int, int] = (256, 128)
    photos: tuple[int, int] = (96, 32)
    block: int = 48
    views: int = 4
    keypoints: int = 350
    warp: WarpRange = field(default_factory=WarpRange)
    jitter: Jitter = field(default_factory=Jitter)
    light: Light = field(default_factory=Light)
    magnification: float = 7.5


@dataclass(frozen=True)
class Recipe:
    """One training.

    Attributes:
        network: name in :data:`descriptors.networks.NETWORKS`; the weights serve the descriptor of this name.
        loss: an objective, a row of :mod:`descriptors.training.objectives`.
        learning_rate: peak of AdamW's, reached after ``warmup`` of the training, then falling to 0 along a cosine.
        weight_decay: AdamW's.
        minutes: time spent in steps unless told otherwise.
        precision: ``bf16``, ``fp32``, or ``auto``: bf16 where the processor multiplies it in hardware.
    """

    network: str
    loss: Objective
    learning_rate: float
    weight_decay: float = 1e-4
    warmup: float = 0.03
    minutes: float = 60.0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    data: Data = field(default_factory=Data)


# No turns and flips: DoG keypoints have an angle; TFeat and L2-Net match better when they know which way is up.
_BATCH_256 = Data(scenes=(128, 64), photos=(48, 16), block=32, jitter=Jitter(turns=False))
_BATCH_512 = Data(scenes=(256, 128), photos=(96, 32), block=32, jitter=Jitter(turns=False))

# Patches of 64 px cost four times as much, and every pair is scored at least twice: as it is, and against another.
_BATCH_32 = Data(scenes=(16, 8), photos=(6, 2), block=8, jitter=Jitter(turns=False))
_BATCH_64 = Data(scenes=(32, 16), photos=(12, 4), block=16, jitter=Jitter(turns=False))
_BATCH_128 = Data(scenes=(64, 32), photos=(24, 8), block=32, jitter=Jitter(turns=False))


def _metric_network(name: str, loss: Objective, data: Data, *, learning_rate: float = 1e-3) -> Recipe:
    return Recipe(name, loss, learning_rate, weight_decay=5e-4, minutes=20, data=data)


RECIPES: dict[str, Recipe] = {
    "tfeat": Recipe("tfeat", TripletLoss(hardest=32, ramp=0.3), learning_rate=1e-3, minutes=12, data=_BATCH_256),
    "l2net": Recipe(
        "l2net", L2NetLoss(sharpness=10.0, first_map=False), learning_rate=2e-3, minutes=55, data=_BATCH_256
    ),
    "hardnet": Recipe("hardnet", HardestInBatch(), learning_rate=2e-3, minutes=55, data=_BATCH_256),
    "swift": Recipe("swift", HardestInBatch(), learning_rate=4e-3, minutes=55, data=_BATCH_512),
    "matchnet": _metric_network("matchnet", PairCrossEntropy(), _BATCH_32),
    "deepcompare-siam": _metric_network("deepcompare-siam", PairHinge(hardest=8), _BATCH_128),
    "deepcompare-pseudo-siam": _metric_network("deepcompare-pseudo-siam", PairHinge(hardest=8), _BATCH_64),
    "deepcompare-siam-2stream": _metric_network("deepcompare-siam-2stream", PairHinge(hardest=8), _BATCH_64),
    "deepcompare-2ch": _metric_network("deepcompare-2ch", PairHinge(), _BATCH_64),
    "deepcompare-2ch2stream": _metric_network("deepcompare-2ch2stream", PairHinge(), _BATCH_32),
    "gloss-snet": _metric_network("gloss-snet", GlobalScoreLoss(), _BATCH_64),
    "gloss-cs-snet": _metric_network("gloss-cs-snet", GlobalScoreLoss(), _BATCH_32),
}


def recipe(name: str) -> Recipe:
    """Recipe of a network by name.

    Raises:
        DescriptorError: no recipe has this name; the message names the nearest one.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DescriptorError(f"There is no recipe {name!r}.{hint} Known are: {', '.join(RECIPES)}.")
    return RECIPES[name]
