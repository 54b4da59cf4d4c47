"""The real stitch sets: one panorama each, with all its true photos, and the foreign one named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import recon

USED = {
    "budapest": 6, "church": 3, "exposure_error": 2, "goldengate": 6, "mountains": 2, "weir": 3,
    "pair-02": 2, "pair-06": 2, "pair-13": 2, "pair-21": 2, "pair-30": 2, "pair-38": 2,
}  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("name", USED)
def test_every_true_photo_is_in_the_panorama(shared_data: Path, tmp_path: Path, name: str):
    outcome = recon("stitch", shared_data / "stitch" / name, "-o", tmp_path / "x.jpg", "--scale", "0.2", "--json")
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    (one,) = told["panoramas"]
    assert len(one["photos"]) == USED[name]
    assert [item["photo"] for item in told["not_used"]] == (["weir_noise.jpg"] if name == "weir" else [])


@pytest.mark.real
def test_a_plan_in_parts_is_put_together_as_something_flat(shared_data: Path, tmp_path: Path):
    folder, common = shared_data / "stitch" / "budapest", ("-o", tmp_path / "x.jpg", "--scale", "0.2", "--json")
    outcome = recon("stitch", folder, *common, "--mode", "homography")
    assert outcome.code == 0, outcome
    (one,) = json.loads(outcome.out)["panoramas"]
    assert len(one["photos"]) == 6 and one["projection"] == "flat"
    turned = json.loads(recon("stitch", folder, *common).out)["panoramas"][0]
    assert one["rms_residual_px"] < turned["rms_residual_px"]
