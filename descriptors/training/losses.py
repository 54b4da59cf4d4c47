"""Losses of the papers, each on a batch of pairs: row i of one side and row i of the other show the same place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def distance_matrix(first: Tensor, second: Tensor) -> Tensor:
    """L2 distances (N,N) between unit vectors (N,D) and (N,D); [i,j] is first i to second j."""
    return (2 - 2 * first @ second.T).clamp_min(1e-6).sqrt()


def relative_distance(distances: Tensor, *, sharpness: float = 1.0) -> Tensor:
    """L2-Net's E1 of a distance matrix (N,N), divided by N.

    Each true pair's share of exp(sharpness · (2 − d)) in its column and in its row is raised:
    −½ Σ (log s_col + log s_row). The paper has sharpness 1.
    """
    return _both_ways(-sharpness * distances)


def relative_similarity(first: Tensor, second: Tensor, *, sharpness: float = 1.0) -> Tensor:
    """L2-Net's E3 on feature maps (N,C,H,W) or (N,D), divided by N: as E1, on inner products.

    Maps are scaled to unit length first and their product multiplied by ``sharpness``: the paper leaves the scale open,
    and of a map of 32,768 numbers the plain product is too large for an exponential.
    """
    # Channels last: then flattening is a view, and half precision maps are multiplied without a float32 copy.
    a, b = (maps.movedim(1, -1).flatten(1) for maps in (first, second))
    lengths = [side.float().square().sum(dim=1).add(1e-12).sqrt() for side in (a, b)]
    return _both_ways(sharpness * (a @ b.T).float() / (lengths[0][:, None] * lengths[1]))


def correlation(descriptors: Tensor) -> Tensor:
    """Half of L2-Net's E2 for one side (N,D), divided by N: ½ Σ_{i≠j} r_ij² of the correlation of output dimensions."""
    centred = descriptors - descriptors.mean(dim=0)
    scaled = functional.normalize(centred, dim=0)
    squared = (scaled.T @ scaled).square()
    return (squared.sum() - squared.diagonal().sum()) / (2 * len(descriptors))


def triplet_margin(positive: Tensor, negative: Tensor, *, margin: float = 1.0) -> Tensor:
    """Mean of max(0, margin + d⁺ − d⁻) over triplets, distances (N,) each."""
    return (margin + positive - negative).clamp_min(0).mean()


def swapped_negatives(distances: Tensor, negatives: Tensor) -> Tensor:
    """TFeat's anchor swap: distance (N,) to the negative from the anchor or from the positive, the nearer one.

    ``distances`` (N,N) is between the first sides and the second; triplet i has as negative the second side of pair
    ``negatives[i]``. With the positive as anchor, the distance is that between the first side of the negative's
    pair and the positive, so that one matrix serves both.
    """
    rows = torch.arange(len(negatives), device=distances.device)
    return torch.minimum(distances[rows, negatives], distances[negatives, rows])


def hard_negatives(distances: Tensor, candidates: int, generator: torch.Generator) -> Tensor:
    """For each pair of a batch (N,N) the hardest of ``candidates`` random other pairs, as index (N,).

    One candidate is the paper's random negative, N − 1 candidates are the hardest of the batch; hardness is the
    swapped distance of :func:`swapped_negatives`.
    """
    count = len(distances)
    shift = torch.rand(count, count - 1, generator=generator).argsort(dim=1)[:, :candidates] + 1
    others = ((torch.arange(count)[:, None] + shift) % count).to(distances.device)
    swapped = torch.minimum(distances, distances.T).detach()
    best = swapped.gather(1, others).argmin(dim=1, keepdim=True)
    return others.gather(1, best)[:, 0]


def hardest_distance(distances: Tensor) -> Tensor:
    """HardNet's negative of each pair: distance (N,) to the nearest other, from its first side or from its second."""
    apart = distances + torch.eye(len(distances), device=distances.device) * 10  # unit vectors are at most 2 apart
    return torch.minimum(apart.amin(dim=1), apart.amin(dim=0))


def pair_cross_entropy(positive: Tensor, negative: Tensor) -> Tensor:
    """MatchNet's cross-entropy of balanced pairs, whose scores (N,) and (M,) are log-odds of a match.

    −log p of what is true: ln(1 + e^−o) for a match of score o, ln(1 + e^o) for none, each kind with half the weight.
    """
    return (functional.softplus(-positive).mean() + functional.softplus(negative).mean()) / 2


def pair_hinge(positive: Tensor, negative: Tensor) -> Tensor:
    """DeepCompare's max(0, 1 − y·o) of scores o, y = 1 for matches (N,) and −1 for others (M,), with equal weight."""
    return ((1 - positive).clamp_min(0).mean() + (1 + negative).clamp_min(0).mean()) / 2


def global_loss(positive: Tensor, negative: Tensor, *, margin: float, weight: float) -> Tensor:
    """Kumar's global loss of distances (N,) of matches and (M,) of others: they shall be two narrow heaps, far apart.

    var⁺ + var⁻ + weight · max(0, mean⁺ − mean⁻ + margin), variances with divisor N and M. Scores are given negated.
    """
    spread = positive.var(correction=0) + negative.var(correction=0)
    return spread + weight * (positive.mean() - negative.mean() + margin).clamp_min(0)


def _both_ways(logits: Tensor) -> Tensor:
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
