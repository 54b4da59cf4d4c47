"""Windows laid over each other, patches of points, and keypoints measured by them, against warps and maps that are
known exactly."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from true_map import courtyard, true_model

from pipelines import colmap
from pipelines.core.errors import OutputError
from pipelines.core.progress import Silent
from pipelines.images.read import Image, scan
from pipelines.photometric import patches as patches_module
from pipelines.photometric.patches import kept_patches
from pipelines.photometric.windows import BLOCK, cut_blocks, lay_over
from pipelines.sfm.config import MappingConfig
from pipelines.sfm.keypoints import finish_model, refine_keypoints

TURN = np.array([[0.95, 0.2, 12.0], [-0.15, 1.08, 30.0], [0, 0, 1]])
IDENTITY = np.eye(2, dtype=np.float32)


def textured(seed: int) -> np.ndarray:
    """(300,400) uint8, smooth enough that half a pixel matters little."""
    noise = np.random.default_rng(seed).normal(size=(300, 400)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def two_photos() -> tuple[Image, Image, np.ndarray, np.ndarray]:
    """A photo, another of half its contrast and twice its resolution; places in the one and in the other."""
    one = textured(0)
    double = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]) @ TURN
    other = cv2.warpPerspective(one, double, (800, 600), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    shrunk = cv2.resize((0.5 * other + 60).astype(np.uint8), (400, 300), interpolation=cv2.INTER_AREA)
    xy = np.random.default_rng(1).uniform((90, 60), (300, 220), (200, 2)).astype(np.float32)
    there = (np.c_[xy, np.ones(200)] @ double.T)[:, :2].astype(np.float32)
    return Image(one, (1.0, 1.0)), Image(shrunk, (2.0, 2.0)), xy, there


def test_windows_are_found_wherever_brightness_contrast_and_turn_differ():
    one, other, xy, there = two_photos()
    blocks, whole = cut_blocks(one, xy)
    begun = there + np.random.default_rng(2).uniform(-1.2, 1.2, there.shape).astype(np.float32)
    found, good = lay_over(other, blocks, begun, np.tile(IDENTITY, (len(xy), 1, 1)))
    off = np.linalg.norm(found - there, axis=1)
    assert whole.all() and good.mean() > 0.9
    assert np.quantile(off[good], 0.9) < 0.06  # px of the photo: 0.03 of the picture that it was shrunk to


def test_what_is_not_there_is_not_believed():
    one, other, xy, there = two_photos()
    blocks, _ = cut_blocks(one, xy)
    affine = np.tile(TURN[:2, :2].astype(np.float32), (len(xy), 1, 1))
    elsewhere = there[::-1].copy()
    found, good = lay_over(other, blocks, elsewhere, affine)
    assert not good.any() and np.array_equal(found, elsewhere)
    flat, _ = cut_blocks(Image(np.full((300, 400), 90, np.uint8), (1.0, 1.0)), xy)
    assert not lay_over(other, flat, there, affine)[1].any()
    assert not lay_over(other, blocks, there, 0.01 * affine)[1].any()  # a hundredth of the size: no window


def test_no_windows_and_windows_across_the_edge():
    one, *_ = two_photos()
    blocks, whole = cut_blocks(one, np.empty((0, 2), np.float32))
    assert blocks.shape == (0, BLOCK) and whole.shape == (0,)
    found, good = lay_over(one, blocks, np.empty((0, 2), np.float32), np.empty((0, 2, 2), np.float32))
    assert found.shape == (0, 2) and good.shape == (0,)
    assert cut_blocks(one, np.array([[3, 100], [200, 150], [399, 299]], np.float32))[1].tolist() == [False, True, False]


@pytest.fixture(scope="module")
def scene(request):
    """Four photos of the courtyard by name, and a model of their exact cameras and places."""
    truth = courtyard(Path(request.config.rootpath) / "sample_data", range(1, 5))
    photos, _ = scan(truth.folder / "images")
    return {photo.name: photo for photo in photos}, true_model(truth, points_a_photo=250)


def test_keypoints_of_real_cameras_come_to_lie_where_the_points_are(scene):
    photos, model = scene
    first = patches_module._most_central(model)
    noise = np.random.default_rng(0).normal(scale=0.4, size=model.obs_xy.shape).astype(np.float32)
    noise[first] = 0  # which all others are measured by
    others = np.setdiff1d(np.arange(len(noise)), first)
    given = replace(model, obs_xy=model.obs_xy + noise)
    found = refine_keypoints(given, photos, 1600, progress=Silent())
    moved = others[(found[others] != given.obs_xy[others]).any(axis=1)]
    off = np.linalg.norm(found - model.obs_xy, axis=1)
    assert np.array_equal(found[first], given.obs_xy[first])
    assert len(moved) > 0.5 * len(others)  # the rest is sky's edge, grass, and what hides behind something
    assert np.median(off[moved]) < 0.15 and np.median(np.linalg.norm(noise[moved], axis=1)) > 0.4


def test_a_photo_that_is_gone_keeps_its_keypoints(scene):
    photos, model = scene
    here = {name: photo for name, photo in photos.items() if name != model.names[1]}
    noise = np.random.default_rng(0).normal(scale=0.4, size=model.obs_xy.shape).astype(np.float32)
    given = replace(model, obs_xy=model.obs_xy + noise)
    found = refine_keypoints(given, here, 1600, progress=Silent())
    still = (found == given.obs_xy).all(axis=1)
    assert still[model.obs_image == 1].all() and not still[model.obs_image != 1].all()


def test_a_finished_model_is_the_one_that_is_written(scene, tmp_path):
    photos, model = scene
    made = colmap.from_model(model)
    for key in [key for key, point in made.points3D.items() if point.track.length() < 2]:
        made.delete_point3D(key)
    finished = finish_model(made, photos, 1600, MappingConfig(), {}, progress=Silent())
    colmap.write_model(made, tmp_path / "0")
    written = colmap.read_model(tmp_path / "0")
    for field in fields(written):
        np.testing.assert_array_equal(getattr(finished, field.name), getattr(written, field.name), field.name)
    assert not np.isin(finished.obs_xy, model.obs_xy).all()


def test_a_maps_patches_are_kept_and_made_again_when_they_do_not_fit(scene, tmp_path, monkeypatch):
    photos, model = scene
    place = tmp_path / "retrieval" / "patches-0"

    def read():
        return kept_patches(place, model, photos, 1600, progress=Silent())

    made = read()
    (file,) = place.parent.iterdir()
    monkeypatch.setattr(patches_module, "cut_patches", None)  # not called where they stand
    again = read()
    assert np.array_equal(again.first, made.first) and np.array_equal(again.blocks, made.blocks)
    assert made.blocks.any(axis=1).mean() > 0.8
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:1000])
    assert np.array_equal(read().blocks, made.blocks)
    model = replace(model, obs_xy=model.obs_xy + np.float32(1))
    read()
    assert len(list(place.parent.iterdir())) == 1 and not file.exists()


def test_patches_of_a_map_that_cannot_be_written_or_lacks_a_photo_are_made_for_this_once(scene, tmp_path, monkeypatch):
    photos, model = scene
    here = {name: photo for name, photo in photos.items() if name != model.names[0]}
    made = kept_patches(tmp_path / "patches-0", model, here, 1600, progress=Silent())
    cut_from_it = model.obs_image[made.first] == 0
    assert not made.blocks[cut_from_it].any() and made.blocks[~cut_from_it].any()

    def refuse(*_):
        raise OutputError("Cannot write", "read-only", "")

    monkeypatch.setattr("pipelines.store.tables.write_atomic", refuse)
    assert kept_patches(tmp_path / "patches-0", model, photos, 1600, progress=Silent()).blocks.any()
    assert not list(tmp_path.iterdir())
