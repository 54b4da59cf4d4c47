"""Semi-global matching that gradients pass through, so that a matching cost is trained for what it is used for.

Trained pixel by pixel, a cost learns to see more of the surroundings than helps: near a step in depth the stronger
side wins, and no smoothing mends that. Here the loss is of the disparities after eight paths, and each path's choice
(keep the candidate, step to the next, jump to the cheapest) is taken as fixed, as in max pooling; the two penalties get
gradients as well. Learnt penalties: Seki and Pollefeys, SGM-Nets, CVPR 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

_PATHS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
_BEGAN = 4
"""Choice of a path's first pixel. The others: 0 the same candidate, 1 and 2 the one before or after, 3 the cheapest."""


class Aggregate(torch.autograd.Function):
    """Sums over eight paths, as :func:`pipelines.depth.sgm.aggregate` has them, but not rounded."""

    @staticmethod
    def forward(
        ctx: Any, cost: Tensor, guide: NDArray[np.uint8], small: Tensor, large: Tensor, edge: float, least: float
    ) -> Tensor:  # type: ignore[override]
        """Sums (N,H,W,D) float32.

        Args:
            ctx: of autograd.
            cost: (N,H,W,D).
            guide: (N,H,W) or (N,H,W,3) uint8 pictures.
            small, large: penalties of a step to the next candidate and, where the guide is flat, of any other.
            edge: change of the guide at which ``large`` has fallen to half.
            least: ``large`` never falls below this.
        """
        given = np.ascontiguousarray(cost.detach().numpy(), np.float32)
        sums = np.zeros_like(given)
        layers = guide.reshape(*guide.shape[:3], -1).astype(np.int16)
        ctx.kept = []
        for dy, dx in _PATHS:
            # The first pixel of a path has no predecessor, and its penalty is not looked at.
            change = np.abs(layers - np.roll(layers, (dy, dx), (1, 2))).max(axis=3)
            jump = np.maximum(float(large) / (1 + change / edge), least).astype(np.float32)
            choices = np.full(given.shape, _BEGAN, np.uint8)
            lowest = np.zeros(given.shape[:3], np.int16)
            _along(given, jump, np.float32(small.item()), sums, choices, lowest, dy, dx)
            share = np.where(jump > least, jump / float(large), 0).astype(np.float32)
            ctx.kept.append((choices, lowest, share))
        return torch.from_numpy(sums)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients of cost, small and large."""
        given = np.ascontiguousarray(gradient.numpy(), np.float32)
        back = np.zeros_like(given)
        small = large = 0.0
        for (dy, dx), (choices, lowest, share) in zip(_PATHS, ctx.kept, strict=True):
            steps, jumps = _back(given, choices, lowest, share, back, dy, dx)
            small, large = small + steps, large + jumps
        penalties = (torch.tensor(value, dtype=torch.float32) for value in (small, large))
        return torch.from_numpy(back), None, *penalties, None, None


@njit(cache=True, fastmath=True)
def _along(cost, jump, small, sums, choices, lowest, dy, dx):  # type: ignore[no-untyped-def]  # pragma: no cover
    count, height, width, candidates = cost.shape
    path = np.zeros((height, width, candidates), np.float32)
    low = np.zeros((height, width), np.float32)
    for n in range(count):
        for row in range(height):
            y = row if dy >= 0 else height - 1 - row
            for column in range(width):
                x = column if dx >= 0 else width - 1 - column
                v, u = y - dy, x - dx
                begins = v < 0 or v >= height or u < 0 or u >= width
                best, place = np.float32(1e30), 0
                for d in range(candidates):
                    value = cost[n, y, x, d]
                    if not begins:
                        way, choice = path[v, u, d], 0
                        if d > 0 and path[v, u, d - 1] + small < way:
                            way, choice = path[v, u, d - 1] + small, 1
                        if d < candidates - 1 and path[v, u, d + 1] + small < way:
                            way, choice = path[v, u, d + 1] + small, 2
                        if low[v, u] + jump[n, y, x] < way:
                            way, choice = low[v, u] + jump[n, y, x], 3
                        value += way - low[v, u]
                        choices[n, y, x, d] = choice
                    path[y, x, d] = value
                    sums[n, y, x, d] += value
                    if value < best:
                        best, place = value, d
                low[y, x] = best
                lowest[n, y, x] = place


@njit(cache=True, fastmath=True)
def _back(gradient, choices, lowest, share, back, dy, dx):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Adds to ``back``; the gradients of the two penalties."""
    count, height, width, candidates = gradient.shape
    coming = np.zeros((height, width, candidates), np.float32)
    small, large = 0.0, 0.0
    for n in range(count):
        coming[:] = 0
        for row in range(height):
            y = height - 1 - row if dy >= 0 else row
            for column in range(width):
                x = width - 1 - column if dx >= 0 else column
                v, u = y - dy, x - dx
                begins = v < 0 or v >= height or u < 0 or u >= width
                total, jumped = np.float32(0), np.float32(0)
                for d in range(candidates):
                    value = gradient[n, y, x, d] + coming[y, x, d]
                    back[n, y, x, d] += value
                    if begins:
                        continue
                    total += value
                    choice = choices[n, y, x, d]
                    if choice == 0:
                        coming[v, u, d] += value
                    elif choice == 3:
                        jumped += value
                    else:
                        coming[v, u, d - 1 if choice == 1 else d + 1] += value
                        small += value
                if not begins:
                    coming[v, u, lowest[n, v, u]] += jumped - total
                    large += jumped * share[n, y, x]
    return small, large
