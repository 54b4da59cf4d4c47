"""Matches between places: orientations of one keypoint are one point of the scene."""

from __future__ import annotations

import numpy as np

from descriptors.distances import Matches
from descriptors.frames import frames_from_keypoints
from pipelines.matching.candidates import first_at_place, one_per_place
from pipelines.matching.match import blockwise


def test_first_at_place():
    frames = frames_from_keypoints([[5, 5], [1, 2], [5, 5], [9, 9], [1, 2]], 2.0, [0, 1, 2, 3, 4])
    assert first_at_place(frames).tolist() == [0, 1, 0, 3, 1]
    assert first_at_place(frames[:0]).tolist() == []


def test_the_most_distinctive_match_of_a_place_is_kept():
    places_a = np.array([0, 0, 2, 3, 4], np.int32)  # keypoints 0 and 1 are one place
    places_b = np.array([0, 1, 1, 3, 4], np.int32)  # keypoints 1 and 2 are one place
    found = Matches(
        np.array([[0, 0], [1, 3], [2, 1], [3, 2], [4, 4]], np.int32),
        np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32),
        np.array([0.9, 0.5, 0.6, 0.7, 0.4], np.float32),
    )
    kept = one_per_place(found, places_a, places_b)
    assert kept.pairs.tolist() == [[4, 4], [0, 3], [2, 1]]
    np.testing.assert_allclose(kept.distances, [0.5, 0.2, 0.3])
    np.testing.assert_allclose(kept.ratios, [0.4, 0.5, 0.6])
    assert kept.pairs.dtype == np.int32
    nothing = one_per_place(Matches(found.pairs[:0], found.distances[:0], found.ratios[:0]), places_a, places_b)
    assert nothing.pairs.shape == (0, 2)


def test_blockwise_keeps_every_pair():
    pairs = [(i, j) for i in range(70) for j in range(i + 1, 70)]
    ordered = blockwise(pairs)
    assert sorted(ordered) == pairs
    touched = {photo // 32 for pair in ordered[:400] for photo in pair}
    assert touched == {0}
