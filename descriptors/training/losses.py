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
    a, b = (functional.normalize(maps.flatten(1).float(), dim=1) for maps in (first, second))
    return _both_ways(sharpness * (a @ b.T))


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


def random_negatives(count: int, generator: torch.Generator) -> Tensor:
    """For each of ``count`` pairs another pair's index (N,), uniformly."""
    step = torch.randint(1, count, (count,), generator=generator)
    return (torch.arange(count) + step) % count


def hardest_negatives(distances: Tensor) -> Tensor:
    """For each pair the other pair's index (N,) whose swapped distance is smallest in the batch (N,N)."""
    swapped = torch.minimum(distances, distances.T).detach().clone()
    swapped.fill_diagonal_(torch.inf)
    return swapped.argmin(dim=1)


def _both_ways(logits: Tensor) -> Tensor:
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
