"""Rendered rooms: both pictures show what the disparity says, and the same number gives the same room."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.benchmarks.stereo_truth import read_pairs
from sample_data import rooms


@pytest.mark.parametrize("number", [0, 1])
def test_pictures_agree_with_the_disparity(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "WIDTH", 120)
    monkeypatch.setattr(rooms, "HEIGHT", 90)
    monkeypatch.setattr(rooms, "FOCAL", 130.0)
    rng = np.random.default_rng(5)
    photos = [cv2.GaussianBlur(rng.integers(0, 256, (200, 260, 3), np.uint8), (0, 0), 3) * 2 for _ in range(3)]
    for folder in (tmp_path / "one", tmp_path / "two"):
        rooms.write_room(photos, number, folder)
    pair = read_pairs(tmp_path / "one")[0]
    left, right, again = (
        np.asarray(cv2.imread(str(path), 0), np.float32) for path in (pair.left, pair.right, tmp_path / "two/im0.png")
    )
    np.testing.assert_array_equal(left, again)
    rows, columns = np.mgrid[:90, :120].astype(np.float32)
    there = cv2.remap(right, columns - pair.truth, rows, cv2.INTER_LINEAR)
    both = np.asarray(cv2.imread(str(tmp_path / "one/mask0nocc.png"), 0)) == 255
    apart, moved = np.abs(there - left)[both], np.abs(cv2.remap(right, columns - pair.truth + 3, rows, 1) - left)[both]
    assert 0.7 < both.mean() < 1 and np.median(apart) < 0.6 * np.median(moved) and np.median(apart) < 4


def test_rooms_wear_what_no_training_sees(tmp_path: Path) -> None:
    for place in ("photos", "scenes/kermit/images", "scenes/temple_ring/images", "scenes/fox/images"):
        (tmp_path / place).mkdir(parents=True)
        for number in range(11):
            (tmp_path / place / f"{number:02d}.jpg").touch()
    for scene in ("kermit", "temple_ring", "fox"):
        (tmp_path / "scenes" / scene / "tracks.npz").touch()
    names = [str(path.relative_to(tmp_path)) for path in rooms.worn(tmp_path)]
    kermit = [f"scenes/kermit/images/{number:02d}.jpg" for number in (0, 3, 6, 9)]
    assert names == [*kermit, "photos/00.jpg", "photos/10.jpg"]
