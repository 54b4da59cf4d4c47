"""The reasons that users read, on match graphs made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.core.types import TwoView
from pipelines.sfm.why import MatchGraph, no_model, no_overlap


def view(count, config="CALIBRATED", angle=0.2):
    return TwoView(count + 10, np.zeros((count, 2), np.int32), config, angle)


def graph(views, raw=None, keypoints=None, names="abcdef"):
    return MatchGraph(
        tuple(names), tuple(keypoints or [1000] * len(names)), raw or {pair: v.raw for pair, v in views.items()}, views
    )


def test_counts_partners_and_components():
    made = graph({(0, 1): view(100), (1, 2): view(40), (3, 4): view(70)})
    assert made.verified().tolist() == [100, 140, 40, 70, 70, 0]
    assert made.best_partner(1) == (0, 100)
    assert made.best_partner(5) is None
    assert made.components() == [[0, 1, 2], [3, 4], [5]]
    assert made.weakest_links(2) == [(2, 1, 40), (3, 4, 70)]
    lines = made.outlook()
    assert lines[0].startswith("3 of 3 pairs verified; 70 verified matches")
    assert "groups of 3, 2 photos; 1 without a link" in lines[1]
    assert lines[2] == "Weakest links: c (40 with b), d (70 with e), a (100 with b)"


def test_ties_go_to_the_first_photo():
    made = graph({(0, 2): view(50), (1, 2): view(50)})
    assert made.best_partner(2) == (0, 50)


def test_no_overlap_names_the_best_pair():
    error = no_overlap(graph({}, raw={(0, 1): 9, (2, 3): 12, (4, 5): 0}), 15)
    assert error.exit_code == 4
    assert "c and d, has 12 matches of which fewer than 15 agree" in error.sentence
    nothing = no_overlap(graph({}, raw={(0, 1): 0}, names="ab"), 15)
    assert "not a single feature" in nothing.sentence


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (view(300, "PANORAMIC", 0.0), "the camera hardly moved"),
        (view(300, "CALIBRATED", 0.01), "the camera hardly moved"),
        (view(40), "too few to start from"),
        (view(300), "no start from it was stable"),
    ],
)
def test_no_model_gives_inliers_and_angle(made, said):
    error = no_model(graph({(0, 1): made}))
    assert error.exit_code == 5
    assert said in error.sentence
    assert f"{len(made)} verified matches" in error.sentence
    assert f"{np.degrees(made.angle):.1f} degrees" in error.sentence
