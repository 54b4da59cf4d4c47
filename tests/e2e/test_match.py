"""``recon match`` as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
from command import ROOT, assert_refused, recon

SMALL = ("--max-size", "512", "--max-keypoints", "800")


def test_picture_npz_and_json(photos, tmp_path):
    a, b = photos / "courtyard_01.jpg", photos / "courtyard_02.jpg"
    picture, arrays = tmp_path / "matches.png", tmp_path / "matches.npz"
    outcome = recon("match", a, b, "--out", picture, "--npz", arrays, "--json", *SMALL)
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    assert told["model"] in ("E", "F") and told["overlap"]
    with np.load(arrays) as kept:
        assert kept["inliers"].sum() == told["inliers"] > 100
        assert len(kept["matches"]) == told["matches"]
        np.testing.assert_array_equal(kept["frames_a"][kept["matches"][:, 0], :, 2], kept["points_a"])
    width, height = PIL.Image.open(picture).size
    assert width == 1600 and 600 < height < 800


def test_compare_lays_a_row_for_each_descriptor(photos, tmp_path):
    a, b = photos / "courtyard_01.jpg", photos / "courtyard_02.jpg"
    one = recon("match", a, b, "--out", tmp_path / "one.png", "--model", "F", *SMALL)
    two = recon("match", a, b, "--compare", "rootsift,orb", "--model", "F", "--out", tmp_path / "two.jpg", *SMALL)
    assert one.code == two.code == 0, two
    assert [line.split(":")[0] for line in two.out.splitlines()] == ["rootsift", "orb"]
    assert two.out.splitlines()[0] == one.out.strip()
    heights = [PIL.Image.open(tmp_path / name).size[1] for name in ("one.png", "two.jpg")]
    assert heights[1] > 1.9 * heights[0]


def test_a_guessed_focal_length_is_told(photos, sample_data, tmp_path):
    given = ("--model", "E", "-o", tmp_path / "m.png", *SMALL)
    without_exif = [sample_data / "stereo" / f"im{number}.png" for number in (0, 1)]
    assert "focal length guessed" in recon("match", *without_exif, *given).out
    with_exif = [photos / f"courtyard_0{number}.jpg" for number in (1, 2)]
    assert "inliers of E, median" in recon("match", *with_exif, *given).out


def test_nothing_in_common_and_bad_options(photos, sample_data, tmp_path):
    a, other = photos / "courtyard_01.jpg", sample_data / "objects" / "scene.jpg"
    picture = tmp_path / "none.png"
    assert_refused(recon("match", a, other, "-o", picture, *SMALL), 4, "nothing in common")
    assert picture.exists()
    assert_refused(recon("match", a, tmp_path / "gone.jpg", "-o", picture), 3, "no such file")
    assert_refused(recon("match", a, other, "-o", tmp_path / "x.txt"), 2, "x.txt", ".png")
    assert_refused(recon("match", a, other, "--model", "Q", "-o", picture), 2, "'Q'", "--model auto")
    assert_refused(recon("match", a, other, "--model", "f", "-o", picture), 2, "'f'", "--model F")
    assert_refused(recon("match", a, other, "--descriptor", "l3net", "-o", picture), 2, "l3net", "Did you mean")
    both = recon("match", a, other, "--compare", "sift,orb", "--descriptor", "l2net", "-o", picture)
    assert_refused(both, 2, "--descriptor and --compare", "--compare l2net,sift,orb")
    assert_refused(recon("match", a, other, "--compare", "sift,orb", "--npz", tmp_path / "m.npz", "-o", picture), 2)
    assert_refused(recon("match", a, photos / "courtyard_02.jpg", "-o", tmp_path / "no" / "m.png", *SMALL), 6, "m.png")
    copy = Path(shutil.copy(a, tmp_path / "a.jpg"))
    assert_refused(recon("match", copy, other, "-o", copy), 2, "overwrite the photo")
    assert_refused(recon("match", copy, other, "-o", picture, "--npz", copy), 2, "overwrite the photo")
    assert copy.read_bytes() == a.read_bytes()
    picture.unlink()
    assert_refused(recon("match", a, other, "-o", picture, "--npz", tmp_path / "." / picture.name), 2, "one file")
    assert not picture.exists()


def test_the_cpu_path_loads_no_torch(photos, tmp_path):
    words = [str(photos / "courtyard_01.jpg"), str(photos / "courtyard_02.jpg"), "-o", str(tmp_path / "m.png"), *SMALL]
    program = (
        f"import sys; sys.argv = ['recon', 'match', *{words!r}]; from recon.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'pycolmap', 'open3d'} & set(sys.modules), 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
