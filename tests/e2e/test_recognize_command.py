"""``recon recognize`` as a user runs it."""

from __future__ import annotations

import json

import PIL.Image
from command import assert_refused, drafts, recon


def test_finds_with_picture_and_json_and_none_found_is_an_answer(sample_data, tmp_path):
    objects = sample_data / "objects" / "pictures"
    common = ("--objects", objects, "--cache", tmp_path / "cache", "--max-size", "1024")
    picture = tmp_path / "found.png"
    outcome = recon("recognize", sample_data / "objects" / "scene.jpg", *common, "-o", picture, "--json")
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    assert [one["object"] for one in told["found"]] == ["quiet_valley.jpg", "mosaic_tea.jpg"]
    assert all(one["inliers"] > 20 and one["log10_chance"] < -20 for one in told["found"])
    assert PIL.Image.open(picture).size == (1024, 768)
    nothing = recon("recognize", sample_data / "panorama" / "images" / "pano_1.jpg", *common, "-q")
    assert nothing.code == 0 and "none found" in nothing.out and nothing.err == "", nothing
    two = [sample_data / "panorama" / "images" / f"pano_{number}.jpg" for number in (1, 2)]
    several = recon("recognize", *two, *common, "-o", tmp_path / "many", "-q")
    assert several.code == 0 and several.out.count("none found") == 2
    assert len(list((tmp_path / "many").iterdir())) == 2 and not drafts(tmp_path)


def test_what_is_wrong_is_told(sample_data, tmp_path):
    scene, pictures = sample_data / "objects" / "scene.jpg", sample_data / "objects" / "pictures"
    (tmp_path / "empty").mkdir()
    assert_refused(recon("recognize", scene, "--objects", tmp_path / "empty", "-q"), 3, "no photos")
    assert_refused(recon("recognize", tmp_path / "no.jpg", "--objects", pictures, "-q"), 3, "no.jpg")
    assert_refused(recon("recognize", scene, "--objects", pictures, "-o", tmp_path / "x.pdf"), 2, "x.pdf")
    assert_refused(recon("recognize", scene, "--objects", pictures, "--compare", "0"), 2, "0 objects")
