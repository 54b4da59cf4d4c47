"""Sets of photos that stitching programs stumble over: the right panorama, or one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from command import assert_refused, recon
from PIL.PngImagePlugin import PngInfo
from scipy.spatial.transform import Rotation

QUICK = ("--scale", "0.5", "-q")


@pytest.fixture
def turned(sample_data) -> Path:
    return sample_data / "panorama" / "images"


def test_a_hundred_photos_all_the_way_round(tmp_path):
    """Small views of one wide picture around the camera, 3.6 degrees apart, given in disorder."""
    focal, size, random = 300.0, (200, 150), np.random.default_rng(3)
    around = round(2 * np.pi * focal)
    world = np.full((260, around, 3), 128, np.uint8)
    for _ in range(2500):
        x, y, r = int(random.integers(0, around)), int(random.integers(0, 260)), int(random.integers(2, 12))
        tint = random.integers(0, 255, 3).tolist()
        for turn in (-around, 0, around):
            cv2.circle(world, (x + turn, y), r, tint, -1, cv2.LINE_AA)
    wide = np.concatenate([world, world], axis=1)
    x, y = np.meshgrid(np.arange(size[0]) - (size[0] - 1) / 2, np.arange(size[1]) - (size[1] - 1) / 2)
    angle, high = np.arctan2(x, focal), y / np.hypot(x, focal)
    names = random.permutation(100)
    for index in range(100):
        at_x = ((angle + index * 2 * np.pi / 100) * focal) % around
        photo = cv2.remap(wide, at_x.astype(np.float32), (high * focal + 130).astype(np.float32), cv2.INTER_LINEAR)
        cv2.imwrite(str(tmp_path / f"{names[index]:03}.png"), photo)
    outcome = recon("stitch", tmp_path, "-o", tmp_path / "x.jpg", "--json", "--max-keypoints", "250", "--scale", "0.5")
    assert outcome.code == 0, outcome
    (one,) = json.loads(outcome.out)["panoramas"]
    assert len(one["photos"]) == 100 and one["projection"] == "cylinder"
    assert one["width"] == pytest.approx(around / 2, rel=0.02)
    turns = np.stack([p["cam_from_world"] for p in sorted(one["photos"], key=lambda p: p["name"])])[names]
    steps = Rotation.from_matrix(turns @ np.roll(turns, 1, axis=0).transpose(0, 2, 1)).magnitude()
    np.testing.assert_allclose(np.degrees(steps), 3.6, atol=0.15)


def test_a_photo_that_cannot_be_read_whole_is_left_out(turned, tmp_path):
    text = PngInfo()
    text.add_text("Comment", "x" * 3_000_000, zip=True)  # more than Pillow reads, and what is transparent it reads
    for number in (2, 3, 4):
        PIL.Image.open(turned / f"pano_{number}.jpg").save(
            tmp_path / f"{number}.png", pnginfo=text if number < 3 else None
        )
    outcome = recon("stitch", tmp_path, "-o", tmp_path / "x.jpg", "--json", *QUICK)
    assert outcome.code == 0, outcome
    (one,) = json.loads(outcome.out)["panoramas"]
    assert [photo["name"] for photo in one["photos"]] == ["3.png", "4.png"]


def test_a_portrait_photo_stored_on_its_side_among_landscape_ones(turned, tmp_path):
    for number in (2, 3):
        PIL.Image.open(turned / f"pano_{number}.jpg").save(tmp_path / f"{number}.png")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    portrait = PIL.Image.open(turned / "pano_3.jpg").crop((150, 0, 600, 600))
    portrait.transpose(PIL.Image.Transpose.ROTATE_90).save(tmp_path / "portrait.jpg", quality=97, exif=exif)
    outcome = recon("stitch", tmp_path, "-o", tmp_path / "x.tif", "--json", *QUICK)
    assert outcome.code == 0, outcome
    (one,) = json.loads(outcome.out)["panoramas"]
    found = {photo["name"]: np.array(photo["cam_from_world"]) for photo in one["photos"]}
    assert set(found) == {"2.png", "3.png", "portrait.jpg"}
    # It was cut from 3.png about its own middle, but for 24.5 px to the left: 1.6 degrees at a focal length of 853 px.
    apart = Rotation.from_matrix(found["portrait.jpg"] @ found["3.png"].T).magnitude()
    assert np.degrees(apart) == pytest.approx(np.degrees(np.arctan(25 / 853)), abs=0.4)


def test_photos_without_texture_are_said_to_have_none(tmp_path):
    for number in range(3):
        PIL.Image.fromarray(np.full((300, 400, 3), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
    outcome = recon("stitch", tmp_path, "-o", tmp_path / "x.jpg", "-q")
    assert_refused(outcome, 4, "No two of the photos overlap", "no texture")


def test_photos_of_one_pixel_are_said_to_be_too_small(tmp_path):
    for number in range(2):
        PIL.Image.new("RGB", (1, 1)).save(tmp_path / f"{number}.png")
    assert_refused(recon("stitch", tmp_path, "-o", tmp_path / "x.jpg", "-q"), 3, "1 x 1")


def test_stages_are_shown_and_flat_things_have_no_projection(turned, tmp_path):
    two = [turned / "pano_1.jpg", turned / "pano_2.jpg"]
    outcome = recon("stitch", *two, "-o", tmp_path / "x.jpg", "--debug", tmp_path / "debug", *QUICK)
    assert outcome.code == 0, outcome
    stages = [path.stem[4:] for path in sorted((tmp_path / "debug").iterdir())]
    assert stages == [
        "matches-pano_1-pano_2", "graph", "warp-pano_1", "warp-pano_2", "gains-before", "gains-after", "seams", "blend",
    ]  # fmt: skip
    flat = recon("stitch", *two, "-o", tmp_path / "x.jpg", "--mode", "affine", "--projection", "sphere", "-q")
    assert_refused(flat, 2, "no projection sphere")
