"""The stitching benchmark: checkpoints and residuals against exact truth, the run on two photos, table and page."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipelines.benchmarks.panoramas import SolvedPhoto, against_truth, find_checkpoints, residuals
from pipelines.benchmarks.truth import read_truth
from pipelines.core.errors import InputError
from pipelines.core.progress import Silent
from pipelines.images.read import scan
from recon.benchmark.stitch import PEER, Setting, run_benchmark, sets_of, table, write_results
from recon.benchmark.stitch_page import write_page


@pytest.mark.parametrize("k", [0.0, -0.08, 0.05])
def test_project_undoes_lift(k):
    turn = Rotation.from_euler("yxz", [0.4, -0.2, 0.1]).as_matrix()
    photo = SolvedPhoto(900.0, np.array([399.5, 299.5]), k, turn)
    xy = np.random.default_rng(0).uniform(0, 600, (40, 2))
    np.testing.assert_allclose(photo.project(photo.lift(xy)), xy, atol=1e-9)
    behind = photo.project(-photo.lift(xy))
    assert np.isnan(behind).all()


def test_true_cameras_have_small_residuals_and_wrong_ones_large_ones(sample_data):
    folder = sample_data / "panorama"
    photos = scan(folder / "images")[0][1:4]
    truth = read_truth(folder, {})
    points = find_checkpoints(photos)
    assert set(points) >= {(0, 1), (1, 2)} and all(len(pair.a) > 100 for pair in points.values())
    solved = {
        index: SolvedPhoto(853.0, truth[photo.name].intrinsics[:2, 2], 0.0, truth[photo.name].cam_from_world[:, :3])
        for index, photo in enumerate(photos)
    }
    assert np.median(residuals(solved, points)) < 0.4
    assert against_truth({photos[i].name: each for i, each in solved.items()}, truth) == pytest.approx((0, 0), abs=1e-9)
    # A degree is 15 px at this focal length.
    turn = Rotation.from_rotvec([0, np.radians(1), 0]).as_matrix()
    off = solved | {0: SolvedPhoto(853.0, solved[0].centre, 0.0, turn @ solved[0].cam_from_world)}
    left = residuals(off, {pair: each for pair, each in points.items() if 0 in pair})
    assert 12 < np.median(left) < 25
    rotation, focal = against_truth({photos[i].name: each for i, each in off.items()}, truth)
    assert np.degrees(rotation) == pytest.approx(4 / 9, rel=0.02) and focal == pytest.approx(0, abs=1e-12)


def test_sets_are_folders_of_photos_or_folders_of_such(sample_data, tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
    assert sets_of([tmp_path, sample_data / "panorama"]) == [
        tmp_path / "a",
        tmp_path / "b",
        sample_data / "panorama",
    ]
    with pytest.raises(InputError, match="no such folder"):
        sets_of([tmp_path / "c"])


def test_all_contestants_on_two_photos_that_overlap_and_two_that_do_not(sample_data, tmp_path):
    for name, numbers in {"turned": (1, 2), "apart": (1, 4)}.items():
        (tmp_path / name / "photos").mkdir(parents=True)
        for number in numbers:
            shutil.copy(sample_data / "panorama" / "images" / f"pano_{number}.jpg", tmp_path / name / "photos")
    shutil.copy(sample_data / "panorama" / "cameras.json", tmp_path / "turned" / "photos")
    out = tmp_path / "out"
    sets = [tmp_path / name / "photos" for name in ("apart", "turned")]
    rows = run_benchmark(sets, ["rootsift", "orb"], out, Setting(640), progress=Silent())
    every = [PEER, "rootsift", "orb"]
    assert [(row.dataset, row.contestant) for row in rows] == [
        (f"{name}/photos", one) for name in ("apart", "turned") for one in every
    ]
    assert all(row.used == 0 and row.failure and not row.picture for row in rows[:3])
    assert len({row.median for row in rows[3:]}) == 3
    for row in rows[3:]:
        assert row.used == 2 and row.checkpoints > 100 and row.median < 2 and row.width > 800
        assert row.rotation < 0.01 and row.focal < 0.1 and 50e6 < row.peak_memory < 2e9 and row.cpu > 0
    header, cells = table(rows)
    assert all(len(row) == len(header) for row in cells)
    told = write_results(rows, out, Setting(640))
    assert json.loads((out / "stitch.json").read_text()) == told
    write_page(out / "stitch.html", rows, Setting(640))
    page = (out / "stitch.html").read_text()
    text = re.sub(r"base64,[\w+/=]*", "", page)  # three letters of a picture may be any
    assert "<figcaption>rootsift · 2/2 · residual " in text
    assert page.count("data:image/jpeg") == 3 and "nan" not in text and "https://" not in text
