"""A model that was cut off anywhere is told from a whole one, without asking COLMAP, which may hang on it."""

from __future__ import annotations

import pycolmap
import pytest

from pipelines import colmap


@pytest.fixture(scope="module")
def model():
    pycolmap.set_random_seed(0)
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig = 2, 2, 3
    options.num_points3D = 50
    return pycolmap.synthesize_dataset(options)


@pytest.fixture
def folder(model, tmp_path):
    colmap.write_model(model, tmp_path / "0")
    return tmp_path / "0"


def test_a_whole_model_with_rigs_of_several_cameras(folder):
    assert colmap.is_model(folder)
    assert colmap.load(folder).num_reg_images() == 12


@pytest.mark.parametrize("name", ["cameras", "rigs", "frames", "images", "points3D"])
def test_cut_off_anywhere(folder, name):
    path = folder / f"{name}.bin"
    data = path.read_bytes()
    for length in sorted({0, 1, 7, 8, 9, *range(10, len(data), max(1, len(data) // 97)), len(data) - 1}):
        path.write_bytes(data[:length])
        assert not colmap.is_model(folder), f"{length} of {len(data)} bytes"
    path.write_bytes(data + b"\0")
    assert not colmap.is_model(folder)
    path.write_bytes(data)
    assert colmap.is_model(folder)


def test_every_camera_model(tmp_path):
    made = pycolmap.Reconstruction()
    kinds = [kind for name, kind in pycolmap.CameraModelId.__members__.items() if name != "INVALID"]
    for number, kind in enumerate(kinds, 1):
        camera = pycolmap.Camera.create_from_model_id(number, kind, 500.0, 640, 480)
        made.add_camera_with_trivial_rig(camera)
    colmap.write_model(made, tmp_path / "0")
    assert colmap.is_model(tmp_path / "0")


def test_a_missing_file(folder):
    (folder / "points3D.bin").unlink()
    assert not colmap.is_model(folder)
