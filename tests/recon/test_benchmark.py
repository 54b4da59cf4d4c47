"""The benchmark's truth readers, table and page; the run itself on the smallest set that maps."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines import colmap
from pipelines.benchmarks.truth import PoseErrors, TrueCamera, distinct_points, pose_errors, read_truth
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Silent
from recon.benchmark.names import named
from recon.benchmark.process import run_process
from recon.benchmark.sfm import PEER, Row, Setting, run_benchmark, table, write_results
from recon.benchmark.sfm_page import write_page


def row(contestant, seconds, **changes):
    values = dict(
        dataset="set <1>",
        contestant=contestant,
        photos=11,
        registered=10,
        points=1000,
        distinct=900,
        observations=4000,
        track_length=4.0,
        error=0.5,
        poses=PoseErrors(0.004, 0.003, 0.009, 0.001),
        seconds=seconds,
        cpu=1.5 * seconds,
        stages={"Features": seconds / 2, "Mapping": seconds / 3},
        peak_memory=500_000_000,
    )
    return Row(**{**values, **changes})


def test_a_process_is_measured_without_the_memory_of_this_one(tmp_path):
    ballast = np.ones(40_000_000)  # 320 MB
    program = "import sys, time; time.sleep(0.2); print('it failed'); sys.exit(3)"
    ran = run_process([sys.executable, "-c", program], tmp_path / "messages.txt")
    assert (ran.code, ran.said) == (3, "it failed") and ran.seconds > 0.2
    assert 1e6 < ran.peak_memory < 1e8 < ballast.nbytes


def test_sets_of_one_name_are_told_apart(tmp_path):
    one, other = tmp_path / "one" / "photos", tmp_path / "other" / "photos"
    assert named([one, tmp_path / "church", other]) == {
        "one/photos": one,
        "church": tmp_path / "church",
        "other/photos": other,
    }
    assert named([one, tmp_path / "x" / ".." / "one" / "photos"]) == {"photos": one}
    assert list(named([Path("/a"), Path("/b/a")])) == ["a", "b/a"]


def test_table_and_ratio():
    header, cells = table([row(PEER, 40.0), row("rootsift", 20.0, poses=None)])
    assert len(header) == len(cells[0]) == len(cells[1])
    assert cells[1][header.index("ratio")] == "0.50"
    assert cells[0][header.index("centre mm")] == "4.00"
    assert cells[1][header.index("centre mm")] == "–"


def test_results_and_page(tmp_path):
    rows = [
        row(PEER, 40.0),
        row("rootsift", 20.0),
        row("orb", 3.0, registered=0, error=float("nan"), failure="no", stages={}),
    ]
    write_results(rows, tmp_path, Setting())
    read = json.loads((tmp_path / "sfm.json").read_text())
    assert [found["seconds_over_peer"] for found in read["rows"]] == [1.0, 0.5, 0.075]
    assert read["rows"][2]["error"] is None
    write_page(tmp_path / "sfm.html", rows, Setting())
    page = (tmp_path / "sfm.html").read_text()
    assert "set &lt;1&gt;" in page and "set <1>" not in page and "nan" not in page
    assert "http://" not in page and "https://" not in page


def test_strecha_truth_is_scaled_to_the_photo(tmp_path):
    (tmp_path / "gt").mkdir()
    rotation = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    text = "2000 0 1000.5\n0 2002 700.5\n0 0 1\n0 0 0\n"
    text += "\n".join(" ".join(map(str, line)) for line in rotation) + "\n1 2 3\n2000 1400\n"
    (tmp_path / "gt" / "a.jpg.camera").write_text(text)
    truth = read_truth(tmp_path, {"a.jpg": (1000, 700), "b.jpg": (1000, 700)})
    assert set(truth) == {"a.jpg"}
    np.testing.assert_allclose(truth["a.jpg"].intrinsics, [[1000, 0, 500], [0, 1001, 350], [0, 0, 1]])
    pose = truth["a.jpg"].cam_from_world
    np.testing.assert_allclose(pose[:, :3] @ [1, 2, 3] + pose[:, 3], 0, atol=1e-12)
    np.testing.assert_allclose(pose[:, :3], rotation.T)
    (tmp_path / "gt" / "b.jpg.camera").write_text("not numbers")
    with pytest.raises(InputError, match="ground truth"):
        read_truth(tmp_path, {"b.jpg": (1000, 700)})


def test_pose_errors_by_hand():
    """Cameras on a line, one moved by 3 cm after scaling by 2: errors follow from the alignment of the others."""
    rng = np.random.default_rng(0)
    truth, poses = {}, []
    centres = rng.normal(size=(6, 3))
    for index, centre in enumerate(centres):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rotation *= np.sign(np.linalg.det(rotation))
        truth[str(index)] = TrueCamera(np.eye(3), np.column_stack([rotation, -rotation @ centre]))
        turned = rotation @ turn(0.01) if index == 0 else rotation
        poses.append(np.column_stack([turned, -turned @ (2 * centre)]))
    camera = Camera("PINHOLE", 2, 2, (1, 1, 0.5, 0.5), "given")
    none = np.zeros(0, np.int32)
    model = Model(
        names=tuple(truth),
        cameras=(camera,) * 6,
        cam_from_world=np.array(poses),
        xyz=np.zeros((0, 3)),
        rgb=np.zeros((0, 3), np.uint8),
        errors=np.zeros(0, np.float32),
        obs_image=none,
        obs_point=none,
        obs_keypoint=none,
        obs_xy=np.zeros((0, 2), np.float32),
    )
    found = pose_errors(model, truth)
    assert found is not None
    assert found.centre_max < 1e-9
    assert found.rotation_mean == pytest.approx(0.01 / 6, rel=1e-3)
    assert pose_errors(model, {"0": truth["0"]}) is None


def test_points_of_one_place_count_once():
    """Three points; the first two share a keypoint's place in photo 0, none else do."""
    xy = np.array([[1, 1], [1, 1], [5, 5], [2, 2], [3, 3], [1, 1]], np.float32)
    model = Model(
        names=("a", "b"),
        cameras=(),
        cam_from_world=np.zeros((2, 3, 4)),
        xyz=np.zeros((3, 3)),
        rgb=np.zeros((3, 3), np.uint8),
        errors=np.zeros(3, np.float32),
        obs_image=np.array([0, 0, 0, 1, 1, 1], np.int32),
        obs_point=np.array([0, 1, 2, 0, 1, 2], np.int32),
        obs_keypoint=np.arange(6, dtype=np.int32),
        obs_xy=xy,
    )
    assert distinct_points(model) == 2


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def test_what_cannot_be_told_to_all_is_refused():
    for wrong in ({"camera_model": "RADIAL", "fix_intrinsics": True}, {"camera_model": "RADIALL"}):
        with pytest.raises(ConfigError):
            Setting(**wrong)


def test_side_by_side_on_sample_photos(sample_data, tmp_path):
    """Both contestants map five sample photos, in processes of their own, and are measured against the truth."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for name in sorted(path.name for path in (sample_data / "sfm" / "images").iterdir())[:5]:
        shutil.copy(sample_data / "sfm" / "images" / name, data / "images")
    shutil.copy(sample_data / "sfm" / "cameras.json", data)
    setting = Setting(640, 1500, camera_model="RADIAL")
    rows = run_benchmark([data], ["rootsift"], tmp_path / "out", setting, progress=Silent())
    for work in (tmp_path / "out").glob("data-*"):
        cameras = colmap.load(next((work / "sparse").glob("0"))).cameras.values()
        assert {camera.model_name for camera in cameras} == {"RADIAL"}
    assert [found.contestant for found in rows] == [PEER, "rootsift"]
    for found in rows:
        assert found.registered == found.photos == 5, found.failure
        assert found.poses is not None and found.poses.centre_max < 0.05
        assert found.points > 200 and found.track_length > 2
        assert found.peak_memory > 5e7 and found.seconds > 0 and found.cpu > 0 and found.stages
