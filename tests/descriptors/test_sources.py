"""Where training finds its data: folders and maps, and the photos of a map that it never sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from descriptors.contract import DescriptorError
from descriptors.datasets.scenes import DataError
from descriptors.datasets.sources import (
    described,
    folders_of,
    photos_below,
    single_photos,
    training_tracks,
    validation_tracks,
)
from descriptors.datasets.tracks import Tracks, of_images
from descriptors.training.validate import ValidationSet


def write_map(folder: Path, count: int) -> Path:
    """``count`` photos of grey value 10 i, named in reverse of their order; point p is seen by photos p to p + 2."""
    (folder / "images").mkdir(parents=True)
    names = [f"{count - i:02}.png" for i in range(count)]
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / "images" / name), np.full((60, 80), 10 * i, np.uint8))
    points = count - 2
    image = np.concatenate([[p, p + 1, p + 2] for p in range(points)])
    pose = np.tile(np.hstack([np.eye(3), np.zeros((3, 1))]), (count, 1, 1))
    pose[:, 0, 3] = -np.arange(count)
    np.savez(
        folder / "tracks.npz",
        names=np.array(names),
        K=np.tile(np.diag([100.0, 100.0, 1.0]), (count, 1, 1)),
        cam_from_world=pose,
        xyz=np.c_[np.arange(points), np.zeros(points), np.full(points, 5.0)],
        obs_image=image,
        obs_point=np.repeat(np.arange(points), 3),
        obs_xy=np.c_[image + 0.5, np.repeat(np.arange(points), 3) + 0.5],
        obs_scale=np.full(3 * points, 2.0),
        obs_angle=np.zeros(3 * points),
    )
    return folder


def greys(tracks: Tracks) -> set[int]:
    return {int(image[0, 0]) for image in tracks.images}


def test_a_fifth_of_a_maps_photos_is_held_out(tmp_path):
    given = f"map:{write_map(tmp_path / 'mine', 15)}"
    (trained,), (held,) = training_tracks(given, magnification=7.5), validation_tracks(given, magnification=7.5)
    # The last three by name are the first three in order: grey 0, 10 and 20.
    assert greys(held) == {0, 10, 20} and greys(trained) == {10 * i for i in range(3, 15)}
    assert {path.name for path in single_photos(given)} == {f"{15 - i:02}.png" for i in range(3, 15)}
    # Points 0 (photos 0 1 2) and 1 (1 2 3) are seen twice by them; 2 (2 3 4) is left to the others, as 1 is not.
    assert len(held) == 2 and len(trained) == 13 - 2
    np.testing.assert_array_equal(np.diff(held.start), [3, 2])
    np.testing.assert_array_equal(held.obs_image, [0, 1, 2, 1, 2])
    np.testing.assert_array_equal(held.frames[:, 0, 2], [0, 1, 2, 1, 2])
    np.testing.assert_array_equal(trained.place[:2, 0], [2, 3])
    np.testing.assert_array_equal(np.diff(trained.start), [2, *[3] * 10])
    np.testing.assert_array_equal(trained.frames[:2, :, 2], [[3, 2], [4, 2]])
    np.testing.assert_array_equal(trained.obs_image[:2], [0, 1])


def test_a_small_map_spares_no_photo(tmp_path):
    given = f"map:{write_map(tmp_path / 'mine', 6)}"
    assert (
        len(training_tracks(given, magnification=7.5)[0].images)
        == len(validation_tracks(given, magnification=7.5)[0].images)
        == 6
    )


def test_a_run_folders_export_is_found(tmp_path):
    write_map(tmp_path / "run" / "export" / "training", 6)
    assert len(training_tracks(f"map:{tmp_path / 'run'}", magnification=7.5)[0]) == 4
    with pytest.raises(DataError, match="recon data patches --map"):
        training_tracks(f"map:{tmp_path}", magnification=7.5)


def test_folders_and_maps_go_together(tmp_path):
    data, own = tmp_path / "data", write_map(tmp_path / "mine", 6)
    shutil.copytree(write_map(tmp_path / "a", 5), data / "scenes" / "a")
    shutil.copytree(write_map(tmp_path / "b", 4), data / "scenes" / "et")
    both = [data, f"map:{own}"]
    assert [len(tracks.images) for tracks in training_tracks(both, magnification=7.5)] == [5, 6]
    assert [len(tracks.images) for tracks in validation_tracks(both, magnification=7.5)] == [6]
    assert [len(tracks.images) for tracks in validation_tracks(data, magnification=7.5)] == [4]
    assert len(single_photos(both)) == 6 and not single_photos(data)
    found = {"folders": [str(data)], "maps": [str(own)], "brown": [], "pairs": []}
    assert folders_of(both) == found
    assert folders_of([f"{tmp_path}/x/../data", f"map:{own}/"]) == found
    assert described(both).endswith(" and 1 map of the user's own") and str(tmp_path) not in described(both)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(DataError, match=f"given as map:{tmp_path}"):
        training_tracks(tmp_path, magnification=7.5)
    with pytest.raises(DescriptorError, match="No data"):
        training_tracks([], magnification=7.5)
    with pytest.raises(DataError, match="no photo"):
        photos_below(tmp_path)
    own = write_map(tmp_path / "mine", 15)
    with np.load(own / "tracks.npz") as stored:
        arrays = dict(stored)
    arrays["obs_point"] = np.arange(len(arrays["obs_point"])) % len(arrays["xyz"])
    arrays["obs_image"] = arrays["obs_point"].astype(np.int32) + 2 * (np.arange(len(arrays["obs_point"])) // 13 % 2)
    arrays["obs_image"] = np.where(arrays["obs_image"] < 3, 14, arrays["obs_image"])
    np.savez(own / "tracks.npz", **arrays)
    with pytest.raises(DataError, match="held out"):
        validation_tracks(f"map:{own}", magnification=7.5)


def test_all_photos_are_all_tracks(tmp_path):
    (tracks,) = training_tracks(f"map:{write_map(tmp_path / 'mine', 6)}", magnification=7.5)
    same = of_images(tracks, np.ones(6, bool))
    for name in ("obs_image", "frames", "rays", "start", "place", "radius", "group"):
        np.testing.assert_array_equal(getattr(same, name), getattr(tracks, name))


@pytest.mark.real
def test_the_validation_set_of_a_map_is_its_held_out_photos(shared_data):
    """A real scene in the form that recon data patches writes."""
    given = f"map:{shared_data / 'scenes' / 'fox'}"
    (held,) = validation_tracks(given, magnification=7.5)
    assert len(held.images) == 7 and len(held) > 100
    figures = ValidationSet(given, patch_size=8, magnification=7.5, points=50, keypoints=50).figures(
        lambda patches: (
            (patches.reshape(-1, 64) - 127.5) / np.linalg.norm(patches.reshape(-1, 64) - 127.5, axis=1)[:, None]
        )
    )
    assert 0 < figures.rank1 <= 1
