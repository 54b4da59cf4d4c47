"""``recon benchmark localize``: alignment, errors, groups and page by hand; and a run on sample photos."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipelines import colmap
from pipelines.benchmarks.leave_one_out import PLAIN, Reference, Trial, pose_error
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Silent
from pipelines.geometry.similarity import angle_between, camera_alignment, centres_of, similarity
from recon.benchmark.localize import Group, Limit, Setting, run_benchmark, table, write_results
from recon.benchmark.localize_page import write_page


def cameras_on_a_line(count, seed=0):
    """(N,3,4): centres along x within a centimetre, each turned at random a little."""
    rng = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(rng.normal(0, 0.2, (count, 3))).as_matrix()
    centres = np.column_stack([np.linspace(0, 10, count), *rng.normal(0, 0.01, (2, count))])
    return poses(turns, centres)


def poses(turns, centres):
    return np.concatenate([turns, -np.einsum("nij,nj->ni", turns, centres)[:, :, None]], axis=2)


def moved(true, turn, scale, shift):
    """The same cameras in a world where x_true = scale turn x + shift."""
    centres = (centres_of(true) - shift) @ turn / scale
    return poses(true[:, :, :3] @ turn, centres)


def model_of(cam_from_world, names):
    none = np.zeros(0, np.int32)
    camera = Camera("PINHOLE", 2, 2, (1, 1, 0.5, 0.5), "given")
    points, colours = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    empty = np.zeros(0, np.float32), none, none, none, np.zeros((0, 2), np.float32)
    return Model(tuple(names), (camera,) * len(names), cam_from_world, points, colours, *empty)


def test_whole_poses_align_a_row_of_cameras_where_centres_do_not():
    true = cameras_on_a_line(8)
    turn, shift = Rotation.from_rotvec([0.5, -0.3, 1.0]).as_matrix(), np.array([3.0, -1, 2])
    found = moved(true, turn, 2.5, shift)
    scale, rotation, translation = camera_alignment(found, true)
    np.testing.assert_allclose(scale, 2.5)
    np.testing.assert_allclose(rotation, turn, atol=1e-9)
    np.testing.assert_allclose(translation, shift, atol=1e-9)
    # Five millimetres of noise in the centres turn the line about itself by degrees; the poses say otherwise.
    noisy = poses(found[:, :, :3], centres_of(found) + np.random.default_rng(1).normal(0, 0.005, (8, 3)))
    by_poses = angle_between(camera_alignment(noisy, true)[1], turn)
    by_centres = angle_between(similarity(centres_of(noisy), centres_of(true))[1], turn)
    assert by_poses < 1e-9 and by_centres > np.radians(2)


def test_a_poses_error_by_hand():
    true = cameras_on_a_line(6)
    turn = Rotation.from_rotvec([0, 0.7, 0]).as_matrix()
    found = moved(true, turn, 2.0, np.ones(3))
    names = ["a", "b", "c", "d", "e"]
    reference = Reference(dict(zip([*names, "q"], true, strict=True)), 1.0)
    off = Rotation.from_rotvec([0.01, 0, 0]).as_matrix() @ found[5, :, :3]
    query = poses(off[None], centres_of(found[5:6]) + np.array([0, 0.02, 0]))[0]
    centre, rotation, unit = pose_error(model_of(found[:5], names), reference, "q", query)
    assert (centre, rotation, unit) == pytest.approx((0.04, 0.01, 2.0))
    half = pose_error(model_of(found[:5], names), replace(reference, size=4.0), "q", query)
    assert half == pytest.approx((0.01, 0.01, 0.5))
    assert np.isnan(pose_error(model_of(found[:2], names[:2]), reference, "q", query)[0])
    assert np.isnan(pose_error(model_of(found[:5], names), reference, "unknown", query)[0])


def group(*errors, **changes):
    trials = tuple(
        Trial("set <1>", "rootsift", f"{k}.jpg", "given", "found" if np.isfinite(e) else "not found", centre=e,
              rotation=0.001, seconds={"features": 1.0 + k, "pose": 0.5})
        for k, e in enumerate(errors)
    )  # fmt: skip
    return replace(Group("set <1>", "rootsift", "given", True, trials, {}), **changes)


def test_a_photo_without_a_pose_counts_against_recall_and_median():
    made = group(0.002, 0.004, np.nan, np.nan)
    assert made.found == 2
    assert made.recall(Limit(0.005, 0.1, "")) == 0.5 and made.recall(Limit(0.003, 0.1, "")) == 0.25
    assert made.recall(Limit(0.005, 0.05, "")) == 0  # 0.001 rad is 0.0573 degrees
    assert made.errors("centre") == (np.inf, np.inf)
    assert group(0.002, 0.004, 0.009).errors("centre") == (0.004, 0.009)
    assert made.seconds == {"features": 2.5, "pose": 0.5}


def test_results_and_page(tmp_path):
    strangers = {"found": 1, "uncertain": 2, "not found": 3}
    groups = [group(0.002, np.nan, strangers=strangers), group(0.01, 0.03, metric=False, contestant=PLAIN)]
    header, cells = table(groups)
    assert all(len(row) == len(header) for row in cells)
    assert cells[0][-1] == "1/6" and cells[1][header.index("centre median")] == "2.000 %"
    write_results(groups, tmp_path, Setting())
    read = json.loads((tmp_path / "localize.json").read_text())["groups"]
    assert read[0]["centre"]["median"] is None and read[0]["other_places"] == strangers
    assert read[1]["unit"] == "scene sizes" and read[1]["recall"]["1 %"] == 0.5
    write_page(tmp_path / "page.html", groups, Setting())
    page = (tmp_path / "page.html").read_text()
    assert "set &lt;1&gt;" in page and "set <1>" not in page and "nan" not in page
    assert page.count("RootSIFT + OpenCV · given<") == 3  # centres, rotations, seconds
    assert page.count("<circle") == 8 and "http://" not in page and "https://" not in page


def test_leave_one_out_on_sample_photos(sample_data, tmp_path):
    """Each of five photos in a map of the other four, which never saw it; a photo of another place is not found."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for name in sorted(path.name for path in (sample_data / "sfm" / "images").iterdir())[:5]:
        shutil.copy(sample_data / "sfm" / "images" / name, data / "images")
    shutil.copy(sample_data / "sfm" / "cameras.json", data)
    setting = Setting(640, 1500, others=2)
    groups = run_benchmark(
        [data], ["rootsift"], tmp_path / "out", setting, others=sample_data / "objects", progress=Silent()
    )
    ways = [(group.contestant, group.intrinsics) for group in groups]
    assert ways == [("rootsift", "given"), ("rootsift", "none"), ("rootsift", "estimated"), (PLAIN, "given")]
    known = groups[0]
    assert known.found == 5 and known.errors("centre")[0] < 0.02 and np.degrees(known.errors("rotation")[0]) < 0.1
    assert known.strangers == {"found": 0, "uncertain": 0, "not found": 2}
    assert {trial.origin for trial in known.trials} == {"given"}
    assert {trial.origin for trial in groups[2].trials} == {"estimated"}
    maps = tmp_path / "out" / "maps" / "data-rootsift"
    for trial in known.trials:
        names = colmap.read_model(maps / f"without-{trial.query.removesuffix('.jpg')}" / "sparse" / "0").names
        assert len(names) == 4 and trial.query not in names
