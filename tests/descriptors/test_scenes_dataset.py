"""Tracks from scenes and from single photos: coordinates, order, and that frames stay on the same place."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from descriptors.datasets.photos import (
    WarpRange,
    change_light,
    detect_dog,
    load_photos,
    photo_tracks,
    project_frames,
    random_homography,
)
from descriptors.datasets.scenes import VALIDATION, DataError, load_scene, scene_folders
from descriptors.datasets.sources import photos_below, single_photos
from descriptors.datasets.tracks import PatchCutter, concatenate
from descriptors.frames import angles, extract_patches, frames_from_keypoints, scales


def texture(seed: int, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[0] // 8, size[1] // 8), dtype=np.uint8)
    return cv2.GaussianBlur(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), (0, 0), 1.5)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Two photos of one plane, the second shifted by 10 px; point 1 is seen once only."""
    folder = tmp_path / "scenes" / "wall"
    (folder / "images").mkdir(parents=True)
    image = texture(0, (120, 200))
    cv2.imwrite(str(folder / "images" / "a.png"), image[:, :160])
    cv2.imwrite(str(folder / "images" / "b.png"), image[:, 10:170])
    pose = np.zeros((2, 3, 4))
    pose[:, :, :3] = np.eye(3)
    pose[1, 0, 3] = -0.1
    np.savez(
        folder / "tracks.npz",
        names=np.array(["a.png", "b.png"]),
        K=np.tile(np.diag([100.0, 100.0, 1.0]), (2, 1, 1)),
        cam_from_world=pose,
        xyz=np.array([[0.5, 0.5, 1.0], [0.9, 0.9, 1.0], [0.8, 0.4, 1.0]]),
        obs_image=np.array([0, 1, 0, 0, 1]),
        obs_point=np.array([2, 2, 1, 0, 0]),
        obs_xy=np.array([[80.5, 40.5], [70.5, 40.5], [90.5, 90.5], [50.5, 50.5], [40.5, 50.5]]),
        obs_scale=np.array([2.0, 2.0, 2.0, 3.0, 3.0]),
        obs_angle=np.array([0.3, 0.3, 0.0, 0.0, 0.0]),
    )
    return folder


def test_scene_reads_colmap_pixels_and_drops_points_seen_once(scene: Path) -> None:
    tracks = load_scene(scene)
    assert len(tracks) == 2 and tracks.start.tolist() == [0, 2, 4]
    np.testing.assert_allclose(tracks.frames[:, :, 2], [[50, 50], [40, 50], [80, 40], [70, 40]])
    np.testing.assert_allclose(scales(tracks.frames), [3, 3, 2, 2], rtol=1e-6)
    np.testing.assert_allclose(angles(tracks.frames), [0, 0, 0.3, 0.3], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(tracks.rays, axis=1), 1, rtol=1e-6)
    # sigma 3 px at a focal length of 100 px, seen from a distance of about 1.2
    assert tracks.radius[0] == pytest.approx(0.03 * np.linalg.norm([0.4, 0.5, 1.0]), rel=1e-5)


def test_both_views_of_a_point_show_the_same_patch(scene: Path) -> None:
    tracks = load_scene(scene)
    cut = PatchCutter(tracks.images).cut(tracks.obs_image, tracks.frames, patch_size=32, magnification=6.0)
    np.testing.assert_allclose(cut[0].astype(int), cut[1], atol=1)
    np.testing.assert_allclose(cut[2].astype(int), cut[3], atol=1)
    assert np.abs(cut[0].astype(int) - cut[2]).max() > 20


def test_cutter_and_extract_patches_agree() -> None:
    images = [texture(1), texture(2, (200, 240))]
    rng = np.random.default_rng(0)
    owner = rng.integers(0, 2, 200)
    frames = frames_from_keypoints(rng.uniform(-5, 165, (200, 2)), rng.uniform(0.5, 12, 200), rng.uniform(-3, 3, 200))
    frames[:, :, :2] *= rng.uniform(0.7, 1.3, (200, 1, 2)).astype(np.float32)
    cut = PatchCutter(images).cut(owner, frames, patch_size=32, magnification=6.0)
    for number, image in enumerate(images):
        rows = owner == number
        expected = extract_patches(image, frames[rows], patch_size=32, magnification=6.0)
        assert np.abs(cut[rows].astype(int) - expected).max() <= 2


def test_training_and_validation_scenes_are_apart(scene: Path) -> None:
    data = scene.parent.parent
    assert scene_folders(data, validation=False) == [scene]
    with pytest.raises(DataError, match="no validation scene"):
        scene_folders(data, validation=True)
    with pytest.raises(DataError, match="no folder"):
        scene_folders(data / "none", validation=True)


def test_missing_photo_and_missing_array_are_told(scene: Path) -> None:
    (scene / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png"):
        load_scene(scene)
    np.savez(scene / "tracks.npz", names=np.array(["a.png"]))
    with pytest.raises(DataError, match="obs_xy"):
        load_scene(scene)


@pytest.mark.parametrize("kept", [0, 100, 700])
def test_damaged_tracks_are_told(scene: Path, kept: int) -> None:
    whole = (scene / "tracks.npz").read_bytes()
    assert len(whole) > 700
    (scene / "tracks.npz").write_bytes(whole[:kept])
    with pytest.raises(DataError, match=r"tracks\.npz is damaged"):
        load_scene(scene)
    with pytest.raises(DataError, match=r"tracks\.npz is damaged"):
        single_photos(f"map:{scene}")


def test_joined_tracks_keep_their_photos_and_stay_apart(scene: Path) -> None:
    one = load_scene(scene)
    both = concatenate([one, one])
    assert len(both) == 4 and both.start.tolist() == [0, 2, 4, 6, 8]
    assert both.obs_image.tolist() == [0, 1, 0, 1, 2, 3, 2, 3] and both.group.tolist() == [0, 0, 1, 1]


def test_projected_frames_follow_a_similarity_exactly() -> None:
    frames = frames_from_keypoints(np.array([[10.0, 20.0], [30.0, 5.0]]), np.array([2.0, 3.0]), np.array([0.1, -2.0]))
    turn, zoom = 0.7, 1.5
    homography = np.array(
        [[zoom * np.cos(turn), -zoom * np.sin(turn), 4], [zoom * np.sin(turn), zoom * np.cos(turn), -3], [0, 0, 1]]
    )
    moved = project_frames(frames, homography)
    np.testing.assert_allclose(scales(moved), zoom * scales(frames), rtol=1e-5)
    np.testing.assert_allclose(angles(moved), angles(frames) + turn, rtol=1e-5)
    np.testing.assert_allclose(moved[:, :, 2], frames[:, :, 2] @ homography[:2, :2].T + [4, -3], rtol=1e-5)


def test_made_views_show_the_same_places() -> None:
    limits = WarpRange(gamma=0, shade=0, blur=0, noise=0, jpeg=89, tilt=1.2)
    rng = np.random.default_rng(3)
    tracks = photo_tracks(texture(4, (240, 320)), views=2, keypoints=60, limits=limits, rng=rng)
    assert len(tracks) > 15 and len(tracks.images) == 3
    cut = PatchCutter(tracks.images).cut(tracks.obs_image, tracks.frames, patch_size=16, magnification=4.0)
    flat = cut.reshape(len(cut), -1).astype(float)
    flat = (flat - flat.mean(1, keepdims=True)) / (flat.std(1, keepdims=True) + 1e-6)
    first = tracks.start[:-1]
    assert np.median((flat[first] * flat[first + 1]).mean(1)) > 0.8
    assert abs(np.median((flat[first] * flat[np.roll(first, 1) + 1]).mean(1))) < 0.4


def test_same_seed_same_view() -> None:
    image = texture(5)
    one, two = (change_light(image, WarpRange(), np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    h1, h2 = (random_homography(image.shape, WarpRange(), np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(h1, h2)
    assert detect_dog(np.zeros((50, 50), np.uint8), 10).shape == (0, 2, 3)


def test_folder_without_photos_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photo"):
        photos_below(tmp_path)
    with pytest.raises(DataError, match="no photo"):
        load_photos([], views=1, keypoints=10, limits=WarpRange(), seed=0)
    cv2.imwrite(str(tmp_path / "even.png"), np.full((80, 90), 128, np.uint8))
    with pytest.raises(DataError, match="None of the 1 photos has a keypoint"):
        load_photos([tmp_path / "even.png"], views=1, keypoints=10, limits=WarpRange(), seed=0)


@pytest.mark.real
def test_shared_scenes_are_read_whole(shared_data: Path) -> None:
    validation = scene_folders(shared_data, validation=True)
    assert {folder.name for folder in validation} == set(VALIDATION)
    assert len(scene_folders(shared_data, validation=False)) == 15
    tracks = load_scene(shared_data / "scenes" / "et")
    assert len(tracks) > 1000 and (np.diff(tracks.start) >= 2).all()
