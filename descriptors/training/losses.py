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


def orthogonality(distances: Tensor, dim: int) -> Tensor:
    """Zhang et al.'s global orthogonal regulariser (ICCV 2017): different places' vectors spread out over the sphere.

    M₁² + max(0, M₂ − 1/D): M₁ and M₂ are the mean and the mean square of the inner products of all pairs of different
    places, from the distances (N,N) of unit vectors of ``dim`` D. It is 0 for vectors of random directions and
    nearly 2 where all are one.
    """
    count = len(distances)
    other = 1 - torch.eye(count, device=distances.device)
    products = (1 - distances.square() / 2) * other
    pairs = count * (count - 1)
    return (products.sum() / pairs).square() + (products.square().sum() / pairs - 1 / dim).clamp_min(0)


def drawn_others(count: int, generator: torch.Generator) -> Tensor:
    """For each of ``count`` pairs all the others in a random order, as indices (N,N-1), where the generator is."""
    shift = torch.rand(count, count - 1, generator=generator, device=generator.device).argsort(dim=1) + 1
    return (torch.arange(count, device=shift.device)[:, None] + shift) % count


def hard_negatives(distances: Tensor, candidates: int, generator: torch.Generator) -> Tensor:
    """For each pair of a batch (N,N) the hardest of ``candidates`` random other pairs, as index (N,).

    One candidate is the paper's random negative, N − 1 candidates are the hardest of the batch; hardness is the
    swapped distance of :func:`swapped_negatives`.
    """
    count = len(distances)
    others = drawn_others(count, generator)[:, :candidates].to(distances.device)
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


def triplet_ratio(positive: Tensor, negative: Tensor) -> Tensor:
    """TFeat's ratio loss, mean over triplets of distances (N,) each, without a margin.

    With the shares s⁺ = e^d⁺ / (e^d⁺ + e^d⁻) and s⁻ = 1 − s⁺ it is s⁺² + (1 − s⁻)², which is 2 s⁺².
    """
    return 2 * torch.sigmoid(positive - negative).square().mean()


def triplet_quotient(positive: Tensor, negative: Tensor, *, margin: float = 0.01) -> Tensor:
    """Kumar's triplet loss: mean of max(0, 1 − d⁻² / (d⁺² + margin)), distances (N,) each."""
    return (1 - negative.square() / (positive.square() + margin)).clamp_min(0).mean()


def quadratic_triplet(positive: Tensor, negative: Tensor, *, margin: float = 1.0) -> Tensor:
    """SOSNet's first-order term: mean of max(0, margin + d⁺ − d⁻)² over triplets, distances (N,) each."""
    return (margin + positive - negative).clamp_min(0).square().mean()


def hardest_of_four(between: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """SOSNet's and HyNet's negative of each pair: distance (N,) to the nearest of all patches of other pairs.

    Seen from its first side or its second, among the first sides or the second: ``between`` (N,N) are the distances of
    first to second sides, ``first`` and ``second`` (N,N) those within a side.
    """
    within = torch.minimum(first, second) + torch.eye(len(first), device=first.device) * 10
    return torch.minimum(hardest_distance(between), within.amin(dim=1))


def second_order(first: Tensor, second: Tensor, *, neighbours: int = 8) -> Tensor:
    """SOSNet's regulariser of the distances (N,N) within the first sides and within the second.

    Mean over pairs i of √(Σ_j (d(a_i, a_j) − d(b_i, b_j))²), j over the pairs whose patch is among the nearest
    ``neighbours`` of pair i's on either side.
    """
    count = len(first)
    itself = torch.eye(count, dtype=torch.bool, device=first.device)
    near = torch.zeros_like(itself)
    for distances in (first, second):
        nearest = distances.detach().masked_fill(itself, torch.inf).topk(min(neighbours, count - 1), largest=False)
        near = near.scatter(1, nearest.indices, torch.ones_like(itself))
    return ((first - second).square() * near).sum(dim=1).add(1e-6).sqrt().mean()


def hybrid_distance(distances: Tensor, *, alpha: float) -> Tensor:
    """HyNet's distance d + α d²/2 of unit vectors: L2 and inner product (1 − s = d²/2) together, any shape."""
    return distances + alpha * distances.square() / 2


def length_difference(first: Tensor, second: Tensor) -> Tensor:
    """HyNet's regulariser: mean squared difference of length between the two sides' raw vectors (N,D) and (N,D)."""
    a, b = (side.float().square().sum(dim=1).add(1e-6).sqrt() for side in (first, second))
    return (a - b).square().mean()


def contrastive(positive: Tensor, negative: Tensor, *, margin: float) -> Tensor:
    """DeepDesc's hinge on pairs, squared: half of mean d⁺² + mean max(0, margin − d⁻)², distances (N,) and (M,)."""
    return (positive.square().mean() + (margin - negative).clamp_min(0).square().mean()) / 2


def hardest_share(values: Tensor, factor: float) -> Tensor:
    """DeepDesc's mining: indices of the N / ``factor`` largest of (N,) losses, one at least."""
    return values.detach().topk(max(1, round(len(values) / factor))).indices


def imitation(student: Tensor, teacher: Tensor) -> Tensor:
    """How differently unit vectors (N,D) and a teacher's (N,E) of the same patches lie to each other.

    Mean squared difference of the similarities between all N patches (relational distillation: Park et al., CVPR 2019):
    neither axes nor dimensions need be the teacher's.
    """
    return (student @ student.T - teacher @ teacher.T).square().mean()


def _both_ways(logits: Tensor) -> Tensor:
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
