"""A map as training data: every observation stands where the model's own camera sees its point in the small photo."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_scene import CAMERAS, NAMES, draw_photos, make_model

from descriptors.datasets.scenes import load_scene
from descriptors.frames import angles, frames_from_keypoints, scales
from pipelines import colmap
from pipelines.core.errors import InputError, OutputError
from pipelines.export import export_training, make_training
from pipelines.store.folder import MapFolder


@pytest.fixture
def made_map(tmp_path: Path) -> Path:
    """A run folder around the drawn model: keypoint k of a photo has sigma 2 + k % 5 and angle k / 100."""
    (tmp_path / "photos").mkdir()
    photos = draw_photos(tmp_path / "photos")
    folder = MapFolder(tmp_path / "map")
    folder.create()
    colmap.write_model(colmap.from_model(make_model()), folder.sparse / "0")
    model = colmap.read_model(folder.sparse / "0")
    rows = []
    for index, name in enumerate(model.names):
        count = int((model.obs_image == index).sum())
        xy = np.zeros((count, 2), np.float32)
        xy[model.obs_keypoint[model.obs_image == index]] = model.obs_xy[model.obs_image == index]
        k = np.arange(count)
        frames = frames_from_keypoints(xy, 2 + k % 5, k / 100)
        folder.features.mkdir(exist_ok=True)
        np.savez(folder.features / f"key{index}.npz", frames=frames)
        rows.append({"name": name, "path": str(photos / name), "features": f"key{index}"})
    folder.write_ledger({"status": "done", "photos": rows})
    return folder.root


def test_training_data_of_a_map_that_has_changed_are_not_used(made_map):
    made = made_map / "export" / "training" / "tracks.npz"
    make_training(made_map)
    before = made.stat().st_mtime_ns
    make_training(made_map)
    assert made.stat().st_mtime_ns == before
    model = make_model()
    moved = dataclasses.replace(model, xyz=model.xyz + 0.01)
    shutil.rmtree(made_map / "sparse" / "0")
    colmap.write_model(colmap.from_model(moved), made_map / "sparse" / "0")
    with pytest.raises(InputError, match="has changed since") as told:
        make_training(made_map)
    assert "--force" in told.value.sentence
    export_training(made_map, force=True)
    make_training(made_map)


def test_observations_lie_where_the_cameras_see_the_points(made_map, tmp_path):
    made = export_training(made_map, tmp_path / "out", max_size=160)
    model = colmap.read_model(made_map / "sparse" / "0")
    with np.load(tmp_path / "out" / "tracks.npz", allow_pickle=False) as stored:
        data = dict(stored)
    assert made.photos == len(NAMES) == len(data["names"])
    assert made.observations == len(data["obs_point"]) and made.points == len(data["xyz"])
    assert np.bincount(data["obs_point"]).min() >= 2
    for index, name in enumerate(model.names):
        camera = CAMERAS[NAMES.index(name)]
        stored = cv2.imread(str(tmp_path / "out" / "images" / data["names"][index]))
        assert stored.shape[:2] == (camera.height // 2, camera.width // 2)
        # K of half the size, in COLMAP's pixels: half of everything once the centre of the first pixel is at 0.5.
        focal = camera.params[:2] if camera.model == "OPENCV" else (camera.params[0],) * 2
        middle = camera.params[2:4] if camera.model == "OPENCV" else camera.params[1:3]
        want = np.array([[focal[0], 0, middle[0] + 0.5], [0, focal[1], middle[1] + 0.5], [0, 0, 2]]) / 2
        np.testing.assert_allclose(data["K"][index], want, atol=1e-3)
        assert json.loads(data["cameras"][index])["params"] == pytest.approx(camera.params)
        rows = data["obs_image"] == index
        local = data["xyz"][data["obs_point"][rows]] @ data["cam_from_world"][index][:, :3].T
        local += data["cam_from_world"][index][:, 3]
        full = colmap.pixels_of_rays(camera, local[:, :2] / local[:, 2:])
        np.testing.assert_allclose(data["obs_xy"][rows], (full + 0.5) / 2, atol=2e-3)
    assert set(np.unique(data["obs_scale"].round(4))) == {1.0, 1.5, 2.0, 2.5, 3.0}


def test_reads_back_as_tracks(made_map):
    made = export_training(made_map)
    assert made.folder == made_map / "export" / "training"
    tracks = load_scene(made.folder)
    assert len(tracks) == made.points and len(tracks.obs_image) == made.observations
    assert [image.shape for image in tracks.images] == [
        (CAMERAS[NAMES.index(n)].height, CAMERAS[NAMES.index(n)].width)
        for n in colmap.read_model(made_map / "sparse" / "0").names
    ]
    # Sigma and angle of the features, keypoint by keypoint: sigma says k % 5, the angle says k.
    k = np.rint(angles(tracks.frames) % (2 * np.pi) * 100).astype(int)
    np.testing.assert_allclose(scales(tracks.frames), 2 + k % 5, atol=1e-3)


def test_small_keypoints_are_left_out(made_map, tmp_path):
    made = export_training(made_map, tmp_path / "out", max_size=80)  # a quarter: sigma 2 and 3 become 0.5 and 0.75
    with np.load(tmp_path / "out" / "tracks.npz") as data:
        assert set(np.unique(data["obs_scale"].round(4))) == {1.0, 1.25, 1.5}
        assert len(np.unique(data["obs_point"])) == made.points == len(data["xyz"])
    with pytest.raises(InputError, match="no point of the map is seen in two photos"):
        export_training(made_map, tmp_path / "none", max_size=32)
    assert not (tmp_path / "none").exists()


def test_what_is_missing_is_told(made_map, tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        export_training(tmp_path / "absent")
    export_training(made_map, tmp_path / "out")
    with pytest.raises(OutputError, match="--force"):
        export_training(made_map, tmp_path / "out")
    export_training(made_map, tmp_path / "out", force=True)
    next((made_map / "features").glob("key3.npz")).unlink()
    with pytest.raises(InputError, match="features of"):
        export_training(made_map, tmp_path / "other")
    (tmp_path / "photos" / NAMES[1]).unlink()
