"""The board of stereo: errors by hand, files of Middlebury's form, a run of two contestants, the page."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest

from pipelines.benchmarks.stereo_truth import errors, read_pairs
from pipelines.core.errors import InputError
from pipelines.core.progress import Silent
from recon.benchmark.stereo import MEAN, run_benchmark, table, write_results
from recon.benchmark.stereo_page import write_page


def test_errors_by_hand() -> None:
    truth = np.array([[5.0, 5, 5, 5, np.nan]], np.float32)
    values = np.array([[5.4, 6.5, np.nan, 10, 7]], np.float32)
    measured = np.array([[1, 1, 0, 0, 1]], bool)
    found = errors(values, measured, truth)
    assert found.bad == {"0.5": 75, "1": 75, "2": 50, "4": 50}
    assert found.average == pytest.approx((0.4 + 1.5 + 5) / 3) and found.density == 50


@pytest.fixture
def made(tmp_path):
    """A textured plane 5 px apart, as Middlebury's sets of 2001 are stored."""
    folder = tmp_path / "sets" / "plane"
    folder.mkdir(parents=True)
    photo = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60, 140, 3), np.uint8), (0, 0), 1.2)
    cv2.imwrite(str(folder / "im2.png"), photo[:, :120])
    cv2.imwrite(str(folder / "im6.png"), photo[:, 5:125])
    levels = np.full((60, 120), 40, np.uint8)
    levels[0] = 0
    cv2.imwrite(str(folder / "disp2.png"), levels)
    return tmp_path / "sets"


def test_middleburys_forms_are_read(made, sample_data) -> None:
    (pair,) = read_pairs(made)
    assert (pair.name, pair.count) == ("plane", 32)
    assert np.isnan(pair.truth[0]).all() and (pair.truth[1:] == 5).all()
    (rendered,) = read_pairs(sample_data / "stereo")
    assert rendered.count == 64 and 17 < rendered.truth.min() < rendered.truth.max() < 58
    with pytest.raises(InputError, match="no stereo pairs"):
        read_pairs(sample_data / "sfm")


def test_two_contestants_on_a_plane(made, tmp_path) -> None:
    result = run_benchmark([made], ["sgbm+wls", "census"], tmp_path / "out", progress=Silent())
    assert [(row.pair, row.contestant) for row in result.rows] == [
        ("plane", "sgbm+wls"), (MEAN, "sgbm+wls"), ("plane", "census"), (MEAN, "census"),
    ]  # fmt: skip
    census = result.rows[2]
    assert census.bad["1"] < 3 and census.density > 90 and census.seconds > 0 and census.peak_memory > 1e7
    told = write_results(result, tmp_path)
    assert json.loads((tmp_path / "stereo.json").read_text()) == json.loads(json.dumps(told))
    rows = list(csv.DictReader((tmp_path / "stereo.csv").open()))
    assert [row["by"] for row in rows] == [row.contestant for row in result.rows]
    assert float(rows[2]["bad_1"]) == pytest.approx(census.bad["1"], abs=1e-4)
    header, cells = table(result)
    assert cells[-1][0] == MEAN and all(len(row) == len(header) for row in cells)
    write_page(tmp_path / "stereo.html", result)
    page = (tmp_path / "stereo.html").read_text()
    assert page.count("data:image/png;base64,") == 2 + 2 * 2 and "http" not in page


def test_pairs_of_one_name_in_two_folders_are_kept_apart(made, tmp_path) -> None:
    half = tmp_path / "half" / "plane"
    half.mkdir(parents=True)
    for name in ("im2.png", "im6.png", "disp2.png"):
        cv2.imwrite(str(half / name), cv2.imread(str(made / "plane" / name))[::2, ::2])
    result = run_benchmark([made, half.parent], ["sgbm"], tmp_path / "out", progress=Silent())
    assert [row.pair for row in result.rows] == ["plane", "plane 2", MEAN]
    write_page(tmp_path / "stereo.html", result)
