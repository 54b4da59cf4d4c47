"""How boards compare rows: doubts by hand, and a metric network that scores a shortlist."""

from __future__ import annotations

import numpy as np
import pytest
from nearness import Nearness

from descriptors.benchmarks.comparing import ByDistance, ByScore
from descriptors.benchmarks.contestants import ScoredPatches
from descriptors.contract import PairScorerSpec


def nearness(**changes) -> Nearness:
    return Nearness(PairScorerSpec("nearness", 3, embeds=True, candidates=2, **changes))


def rows(rng, count):
    found = rng.standard_normal((count, 3)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_doubts_by_hand():
    by_ratio, by_lead = ByDistance("l2", 0.8).doubt, ByScore(nearness()).doubt
    near, second = np.array([1.0, 0.0, 1.0]), np.array([2.0, 0.0, np.inf])
    np.testing.assert_array_equal(by_ratio(near, second), [0.5, 1.0, 0.0])
    np.testing.assert_array_equal(by_lead(near, second), [-1.0, 0.0, -np.inf])


def test_a_network_that_scores_by_distance_compares_as_distance_does(rng):
    a, b = rows(rng, 40), rows(rng, 50)
    network, distance = ByScore(nearness()), ByDistance("l2", 1.0)
    np.testing.assert_allclose(network.pairs(a, b[:40]), distance.pairs(a, b[:40]) ** 2, atol=1e-6)
    np.testing.assert_array_equal(network.nearest(a, b)[0], distance.nearest(a, b)[0])
    np.testing.assert_allclose(network.nearest(a, b)[1], distance.nearest(a, b)[1] ** 2, atol=1e-5)
    every = ByScore(Nearness(PairScorerSpec("nearness", 3, embeds=True, candidates=50, reach=np.inf)))
    np.testing.assert_array_equal(every.matches(a, b)[0], distance.matches(a, b)[0])
    labels = np.arange(50)
    wrong = network.nearest_wrong(b, b, labels, labels)
    np.testing.assert_allclose(wrong, distance.nearest_wrong(b, b, labels, labels) ** 2, atol=1e-5)


def test_only_the_shortlist_is_scored(rng):
    scorer = nearness()
    ByScore(scorer).nearest(rows(rng, 40), rows(rng, 50))
    assert scorer.asked == 40 * 2


def test_clear_matches_keep_the_networks_own_rule(rng):
    a, b = rows(rng, 40), rows(rng, 50)
    found = [ByScore(nearness(threshold=-9.0, margin=margin)).matches(a, b) for margin in (0, 0.02)]
    loose, strict = (pairs[clear] for pairs, clear in found)
    assert 0 < len(strict) < len(loose) == len(ByScore(nearness()).matches(a, b)[0])
    assert {tuple(pair) for pair in strict} <= {tuple(pair) for pair in loose}


def test_nothing_to_compare_with(rng):
    for compare in (ByScore(nearness()), ByDistance("l2", 0.8)):
        assert [len(part) for part in compare.nearest(rows(rng, 4), rows(rng, 0))] == [0, 0, 0]


@pytest.mark.parametrize("raw", [False, True])
def test_rows_of_a_network_that_embeds_nothing_carry_their_shortlist(rng, raw):
    scorer = Nearness(PairScorerSpec("matchnet", 3, raw=raw, candidates=2, patch_size=64))
    if raw:
        scorer.features = lambda patches: patches.reshape(len(patches), -1)[:, :3]  # type: ignore[method-assign]
    patches = rng.integers(0, 256, (12, 1, 64, 64)).astype(np.uint8)
    made = ScoredPatches(scorer).describe(patches)
    assert made.shape == (12, 3 + 128) and made.dtype == (np.uint8 if raw else np.float32)
    # Every patch is its own nearest by RootSIFT, and its own best by score.
    np.testing.assert_array_equal(ByScore(scorer).nearest(made, made)[0], np.arange(12))
