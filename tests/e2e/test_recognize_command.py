"""``recon recognize`` as a user runs it."""

from __future__ import annotations

import json
import shutil

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
    assert_refused(recon("recognize", scene, scene, "--objects", pictures, "-o", tmp_path / "two.jpg"), 2, "a folder")
    assert_refused(recon("recognize", scene, "--objects", pictures, "-o", tmp_path / "no" / "x.png"), 6, "x.png")
    for photo in (scene, pictures / "quiet_valley.jpg"):
        before = photo.read_bytes()
        assert_refused(recon("recognize", scene, "--objects", pictures, "-o", photo), 2, "overwrite the photo")
        assert photo.read_bytes() == before


def test_damaged_scenes_are_named_and_where_pictures_go_depends_on_what_was_given(sample_data, tmp_path):
    scene = sample_data / "panorama" / "images" / "pano_1.jpg"
    folder = tmp_path / "scenes"
    folder.mkdir()
    shutil.copy(scene, folder)
    (folder / "bad.jpg").write_text("no photo")
    common = ("--objects", sample_data / "objects" / "pictures", "--cache", tmp_path / "cache", "--max-size", "400")
    for number, words in enumerate(([folder], [folder / "bad.jpg", scene], [scene])):
        out = tmp_path / f"found-{number}"
        outcome = recon("recognize", *words, *common, "-o", out, "--json")
        assert outcome.code == 0, outcome
        told = json.loads(outcome.out)
        assert isinstance(told, dict if words == [scene] else list)
        if words != [scene]:
            assert [one["scene"] for one in told] == [str(scene if number else folder / "pano_1.jpg"), "bad.jpg"]
            assert told[1]["found"] == [] and "it is a text file" in told[1]["why"]
        assert [path.name for path in out.iterdir()] == ["001-pano_1.jpg"]
        assert ("not a scene: bad.jpg: it is a text file" in outcome.err) is (words != [scene])
    assert_refused(recon("recognize", folder / "bad.jpg", *common), 3, "bad.jpg")


def test_files_that_are_no_objects_are_told_whatever_else_is_not(sample_data, tmp_path):
    objects = shutil.copytree(sample_data / "objects" / "pictures", tmp_path / "objects")
    (objects / "empty.png").touch()
    common = ("--objects", objects, "--cache", tmp_path / "cache", "--max-size", "400")
    scene = sample_data / "objects" / "scene.jpg"
    quiet, told = (recon("recognize", scene, *common, word) for word in ("-q", "--json"))
    assert quiet.err == told.err == "not an object: empty.png: the file is empty (0 bytes)\n"
    assert json.loads(told.out)["not_objects"] == [{"file": "empty.png", "why": "the file is empty (0 bytes)"}]
