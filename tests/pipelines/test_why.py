"""The reasons that users read, on match graphs made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pipelines.core.maps import ComponentRow, TwoView
from pipelines.core.types import Photo
from pipelines.sfm.summary import verdict
from pipelines.sfm.why import MatchGraph, listed, no_model, no_overlap, unregistered


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
    assert "groups of 3 and 2 photos; 1 without a link" in lines[1]
    assert lines[2] == "Weakest links: c (40 with b), d (70 with e), a (100 with b)"


def test_sizes_are_told_as_in_a_sentence():
    assert listed([8]) == "8" and listed([8, 5]) == "8 and 5" and listed([8, 5, 3]) == "8, 5 and 3"
    sizes = [ComponentRow(f"sparse/{k}", n, 90, 300, 3.3, 0.4) for k, n in enumerate((5, 4))]
    assert ". 1 photo is in none; the reason stands below." in verdict(10, sizes, ())
    assert ". 2 photos are in none; the reasons stand below." in verdict(11, sizes, ())
    assert verdict(4, sizes[1:], ()).startswith("All 4 photos")
    two = graph({(0, 1): view(50)}, names="ab")
    assert two.outlook()[1] == "Both photos hang together"


def test_ties_go_to_the_first_photo():
    made = graph({(0, 2): view(50), (1, 2): view(50)})
    assert made.best_partner(2) == (0, 50)


def test_a_mask_that_leaves_nothing_is_the_reason(tmp_path):
    (tmp_path / "masks").mkdir()
    made = graph({}, keypoints=[0, 12, 900, 3], names=["a.png", "b.png", "c.png", "d.png"])
    for name, kept in (("a.png", 0), ("b.png", 0.05), ("c.png", 0), ("d.png", 0.9)):
        mask = np.zeros((100, 200), np.uint8)
        mask[:, : round(200 * kept)] = 255
        cv2.imwrite(str(tmp_path / "masks" / name), mask)
        cv2.imwrite(str(tmp_path / name), np.full((100, 200, 3), 99, np.uint8))
    files = SimpleNamespace(photos=[Photo(name, tmp_path / name, 200, 100, "") for name in made.names])
    told = [(row.why, row.try_) for row in unregistered(made, [], files, [], masks=tmp_path / "masks", seed=0)]
    assert told[0][0] == "its mask leaves nothing of it, with 0 keypoints" and "black only where" in told[0][1]
    assert told[1][0] == "its mask leaves 5.0% of it, with 12 keypoints"
    assert "no other photo shares" in told[2][0]
    assert told[3][0] == "only 3 keypoints were found in it" and "sharper photo" in told[3][1]
    nothing = no_overlap(graph({}, raw={(0, 1): 0}, keypoints=[0, 0], names="ab"), 15)
    assert "none of them has a keypoint" in nothing.sentence and "--masks" in nothing.sentence


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
