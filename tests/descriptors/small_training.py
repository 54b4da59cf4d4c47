"""A recipe for the little data of the fixture ``data``."""

from __future__ import annotations

from descriptors.training.objectives import L2NetLoss, TripletLoss
from descriptors.training.recipes import Data, Recipe


def small(network: str) -> Recipe:
    loss = L2NetLoss(sharpness=10.0) if network == "l2net" else TripletLoss()
    sizes = Data(scenes=(16, 8), photos=(6, 2), block=8, views=1, keypoints=40)
    return Recipe(network, loss, learning_rate=1e-3, data=sizes, precision="fp32")
