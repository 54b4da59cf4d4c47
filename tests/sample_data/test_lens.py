"""A lens takes what the rendered photo shows where its distortion says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.core.types import Exif
from pipelines.images.cameras import CameraConfig, assign_cameras
from pipelines.images.read import scan
from sample_data import lens
from sample_data.raytrace import Camera

PINHOLE = Camera(np.array([[860.0, 0, 508], [0, 860, 386], [0, 0, 1]]), np.eye(3, 4), 1024, 768)


@pytest.mark.parametrize("distortion", [(0.08, -0.12, 0, 0), (-0.22, 0.06, 0.0015, -0.001)])
def test_pixels_lie_where_the_distortion_takes_them(distortion: tuple[float, ...]) -> None:
    camera, seen = lens.through_lens(PINHOLE, np.array(distortion))
    rays = (np.column_stack([seen[::64, ::64].reshape(-1, 2), np.ones(12 * 16)]) @ np.linalg.inv(PINHOLE.K).T)[:, None]
    pixels, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera.K, np.array(distortion))
    x, y = np.meshgrid(np.arange(0, 1024, 64), np.arange(0, 768, 64))
    np.testing.assert_allclose(pixels[:, 0], np.column_stack([x.ravel(), y.ravel()]), atol=1e-3)
    assert seen.min() >= 0 and (seen <= [1023, 767]).all() and camera.K[0, 0] >= 860


def test_the_command_writes_photos_and_their_truth(
    sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = json.loads((sample_data / "sfm" / "cameras.json").read_text())
    given["photos"] = dict(list(given["photos"].items())[:2])
    (tmp_path / "sfm").mkdir()
    (tmp_path / "sfm" / "images").symlink_to(sample_data / "sfm" / "images")
    (tmp_path / "sfm" / "cameras.json").write_text(json.dumps(given))
    monkeypatch.setattr(lens, "SOURCE", tmp_path / "sfm")
    monkeypatch.setattr(sys, "argv", ["lens", "--out", str(tmp_path), "--distortion=-0.1,0.02"])
    lens.main()
    truth = json.loads((tmp_path / "cameras.json").read_text())
    assert truth["distortion"] == [-0.1, 0.02, 0, 0] and truth["photos"].keys() == given["photos"].keys()
    assert all(cv2.imread(str(tmp_path / "images" / name)).shape == (768, 1024, 3) for name in truth["photos"])


def test_photos_of_a_collection_are_each_of_a_camera_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["lens", "--out", str(tmp_path), "--distortion=-0.1,0.02", "--collection"])
    lens.main()
    truth = json.loads((tmp_path / "cameras.json").read_text())["photos"]
    photos, rejected = scan(tmp_path / "images")
    assert [truth[photo.name]["width"] for photo in photos] == [photo.width for photo in photos]
    assert len(assign_cameras(photos, CameraConfig())[0]) == len(photos) == 12 and not rejected
    assert all(photo.exif == Exif() for photo in photos)


def test_too_strong_a_lens_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["lens", "--out", str(tmp_path / "none"), "--distortion=-30,0"])
    with pytest.raises(SystemExit):
        lens.main()
    assert "sees more than the photo shows" in capsys.readouterr().err and not (tmp_path / "none").exists()
