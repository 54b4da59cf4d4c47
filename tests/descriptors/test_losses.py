"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from descriptors.training import losses


def test_distance_matrix_of_axes() -> None:
    axes = torch.eye(2)
    expected = torch.tensor([[0.0, 2**0.5], [2**0.5, 0.0]])
    torch.testing.assert_close(losses.distance_matrix(axes, axes), expected, atol=2e-3, rtol=0)


def test_relative_distance_by_hand() -> None:
    distances = torch.tensor([[0.0, 1.0], [2.0, 0.5]])
    e = math.exp
    columns = math.log(e(2) / (e(2) + e(0))) + math.log(e(1.5) / (e(1) + e(1.5)))
    rows = math.log(e(2) / (e(2) + e(1))) + math.log(e(1.5) / (e(0) + e(1.5)))
    expected = -0.5 * (columns + rows) / 2
    assert losses.relative_distance(distances).item() == pytest.approx(expected, abs=1e-5)


def test_sharpness_multiplies_the_distances() -> None:
    distances = torch.rand(6, 6)
    sharp = losses.relative_distance(distances, sharpness=7.0)
    torch.testing.assert_close(sharp, losses.relative_distance(7.0 * distances))


def test_relative_similarity_by_hand() -> None:
    first = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    second = torch.tensor([[1.0, 0.0], [4.0, 3.0]])  # cosines: [[1, .8], [0, .6]]
    e = math.exp
    columns = math.log(e(1) / (e(1) + e(0))) + math.log(e(0.6) / (e(0.8) + e(0.6)))
    rows = math.log(e(1) / (e(1) + e(0.8))) + math.log(e(0.6) / (e(0) + e(0.6)))
    expected = -0.5 * (columns + rows) / 2
    assert losses.relative_similarity(first, second).item() == pytest.approx(expected, abs=1e-5)


def test_relative_similarity_reads_maps_in_any_layout() -> None:
    first, second = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    flat = losses.relative_similarity(first.flatten(1), second.flatten(1))
    last = torch.channels_last
    torch.testing.assert_close(losses.relative_similarity(first.to(memory_format=last), second), flat)


def test_correlation_by_hand() -> None:
    # Dimensions 0 and 1 are fully correlated, 2 with neither: r² sums to 2 off the diagonal, halved, over 4 rows.
    described = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, -1.0, -1.0]])
    assert losses.correlation(described).item() == pytest.approx(0.5 * 2 / 4, abs=1e-5)


def test_triplet_margin_by_hand() -> None:
    loss = losses.triplet_margin(torch.tensor([0.2, 0.9]), torch.tensor([1.5, 1.0]))
    assert loss.item() == pytest.approx((0 + 0.9) / 2)


def test_anchor_swap_takes_the_nearer_side() -> None:
    distances = torch.tensor([[0.1, 0.8, 0.7], [0.3, 0.2, 0.6], [0.9, 0.5, 0.4]])
    swapped = losses.swapped_negatives(distances, torch.tensor([1, 2, 0]))
    torch.testing.assert_close(swapped, torch.tensor([0.3, 0.5, 0.7]))


def test_all_candidates_give_the_hardest_of_the_batch() -> None:
    distances = torch.tensor([[0.1, 0.8, 0.7], [0.3, 0.2, 0.6], [0.9, 0.5, 0.4]])
    hardest = losses.hard_negatives(distances, 2, torch.Generator().manual_seed(0))
    assert hardest.tolist() == [1, 0, 1]


def test_one_candidate_is_any_other_pair_and_never_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([losses.hard_negatives(torch.rand(5, 5), 1, generator) for _ in range(200)])
    for row in range(5):
        assert set(drawn[:, row].tolist()) == set(range(5)) - {row}


def test_hardest_distance_looks_from_both_sides() -> None:
    distances = torch.tensor([[0.1, 0.9, 0.8], [0.3, 0.2, 0.7], [1.2, 1.1, 0.4]])
    # pair 0: its row has 0.8, its column 0.3; pair 1: row 0.3, column 0.9; pair 2: row 1.1, column 0.7
    torch.testing.assert_close(losses.hardest_distance(distances), torch.tensor([0.3, 0.3, 0.7]))


def test_cross_entropy_of_pairs_by_hand() -> None:
    # A match at odds 3 : 1 has p = 3/4; others at 1 : 1 and 1 : 4 have 1 − p = 1/2 and 4/5.
    loss = losses.pair_cross_entropy(torch.tensor([math.log(3)]), torch.tensor([0.0, -math.log(4)]))
    expected = (-math.log(3 / 4) + (-math.log(1 / 2) - math.log(4 / 5)) / 2) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_cross_entropy_of_pairs_is_that_of_the_softmax() -> None:
    votes = torch.randn(8, 2)
    label = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])
    odds = votes[:, 1] - votes[:, 0]
    expected = torch.nn.functional.cross_entropy(votes, label)
    torch.testing.assert_close(losses.pair_cross_entropy(odds[:4], odds[4:]), expected)


def test_hinge_of_pairs_by_hand() -> None:
    loss = losses.pair_hinge(torch.tensor([2.0, 0.25, -1.0]), torch.tensor([-3.0, 0.5]))
    assert loss.item() == pytest.approx(((0 + 0.75 + 2) / 3 + (0 + 1.5) / 2) / 2)


def test_global_loss_by_hand() -> None:
    # Variances 0.01 and 0.04, means 0.2 and 0.5: 0.1 short of a margin of 0.4, which counts 0.8 times.
    near, far = torch.tensor([0.1, 0.3]), torch.tensor([0.3, 0.7])
    assert losses.global_loss(near, far, margin=0.4, weight=0.8).item() == pytest.approx(0.05 + 0.8 * 0.1, abs=1e-6)
    assert losses.global_loss(near, far, margin=0.2, weight=0.8).item() == pytest.approx(0.05, abs=1e-6)


def test_orthogonality_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    second = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    products = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.8, 0.8])  # of each first with the seconds of the two other places
    distances = losses.distance_matrix(first, second)
    mean, square = products.mean(), products.square().mean()
    assert losses.orthogonality(distances, 2).item() == pytest.approx(float(mean**2 + square - 1 / 2), abs=1e-5)
    assert losses.orthogonality(distances, 1).item() == pytest.approx(float(mean**2), abs=1e-5)
    assert losses.orthogonality(torch.full((3, 3), 2**0.5), 2).item() == pytest.approx(0.0, abs=1e-6)


def test_global_loss_of_scores_is_that_of_their_negatives() -> None:
    alike, other = torch.tensor([0.9, 0.7]), torch.tensor([0.1, 0.2])
    wide = losses.global_loss(-alike, -other, margin=1.0, weight=2.0).item()
    assert wide == pytest.approx(0.01 + 0.0025 + 2 * (1 - (0.8 - 0.15)), abs=1e-6)


def test_triplet_ratio_is_the_papers_two_squares() -> None:
    near, far = torch.tensor([0.3, 1.0]), torch.tensor([1.1, 0.4])
    e = math.exp
    expected = 0.0
    for p, n in ((0.3, 1.1), (1.0, 0.4)):
        total = e(p) + e(n)
        expected += ((e(p) / total) ** 2 + (1 - e(n) / total) ** 2) / 2
    assert losses.triplet_ratio(near, far).item() == pytest.approx(expected, abs=1e-6)


def test_triplet_quotient_by_hand() -> None:
    loss = losses.triplet_quotient(torch.tensor([1.0, 0.5]), torch.tensor([0.5, 1.0]), margin=0.01)
    assert loss.item() == pytest.approx((1 - 0.25 / 1.01 + 0) / 2)


def test_quadratic_triplet_by_hand() -> None:
    loss = losses.quadratic_triplet(torch.tensor([0.2, 0.9]), torch.tensor([1.5, 1.0]))
    assert loss.item() == pytest.approx(0.9**2 / 2)


def test_hardest_of_four_looks_within_the_sides_too() -> None:
    between = torch.tensor([[0.1, 0.9, 0.8], [0.3, 0.2, 0.7], [1.2, 1.1, 0.4]])  # hardest: 0.3, 0.3, 0.7
    first = torch.tensor([[0.0, 0.5, 0.25], [0.5, 0.0, 0.6], [0.25, 0.6, 0.0]])
    second = torch.tensor([[0.0, 0.9, 0.8], [0.9, 0.0, 0.1], [0.8, 0.1, 0.0]])
    torch.testing.assert_close(losses.hardest_of_four(between, first, second), torch.tensor([0.25, 0.1, 0.1]))


def test_second_order_by_hand() -> None:
    first = torch.tensor([[0.0, 0.5, 0.9], [0.5, 0.0, 1.0], [0.9, 1.0, 0.0]])
    second = torch.tensor([[0.0, 0.8, 0.4], [0.8, 0.0, 1.0], [0.4, 1.0, 0.0]])
    # nearest one: of pair 0 it is 1 on the first side, 2 on the second; of pair 1 it is 0 and 0; of pair 2, 0 and 0
    expected = (math.hypot(0.3, 0.5) + 0.3 + 0.5) / 3
    assert losses.second_order(first, second, neighbours=1).item() == pytest.approx(expected, abs=1e-4)
    assert losses.second_order(first, first, neighbours=8).item() == pytest.approx(1e-3)


def test_hybrid_distance_is_of_l2_and_inner_product() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.6, 0.8])
    distance = (a - b).norm()
    hybrid = losses.hybrid_distance(distance, alpha=2.0)
    assert hybrid.item() == pytest.approx(0.8**0.5 + 2 * (1 - 0.6))


def test_length_difference_by_hand() -> None:
    loss = losses.length_difference(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 3.0], [0.0, 1.0]]))
    assert loss.item() == pytest.approx((2**2 + 0) / 2, abs=1e-4)


def test_contrastive_by_hand() -> None:
    loss = losses.contrastive(torch.tensor([0.2, 0.4]), torch.tensor([0.5, 1.5, 0.9]), margin=1.0)
    assert loss.item() == pytest.approx(((0.04 + 0.16) / 2 + (0.25 + 0 + 0.01) / 3) / 2)


def test_hardest_share_is_of_the_largest() -> None:
    values = torch.tensor([0.1, 0.9, 0.3, 0.8, 0.2, 0.0, 0.5, 0.4])
    assert sorted(losses.hardest_share(values, 4).tolist()) == [1, 3]
    assert losses.hardest_share(values, 100).tolist() == [1]
    assert sorted(losses.hardest_share(values, 1).tolist()) == list(range(8))


def test_imitation_of_as_many_and_of_other_dimensions() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert losses.imitation(student, torch.tensor([[0.6, 0.8], [0.0, 1.0]])).item() == pytest.approx(2 * 0.64 / 4)
    turned = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    assert losses.imitation(student, turned).item() == pytest.approx(0, abs=1e-6)
    teacher = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])  # similarities [[1, .6], [.6, 1]] against the identity
    assert losses.imitation(student, teacher).item() == pytest.approx(2 * 0.36 / 4)
