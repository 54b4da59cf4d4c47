"""``recon stitch`` as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from command import assert_refused, drafts, recon

SMALL = ("--scale", "0.3", "--max-size", "640", "--max-keypoints", "1000")


@pytest.fixture
def turned(sample_data) -> Path:
    return sample_data / "panorama" / "images"


def test_two_panoramas_in_one_folder_and_a_photo_of_neither(turned, sample_data, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for new, old in {"b": 1, "d": 2, "a": 4, "c": 5}.items():
        shutil.copy(turned / f"pano_{old}.jpg", folder / f"{new}.jpg")
    shutil.copy(sample_data / "objects" / "scene.jpg", folder / "other.jpg")
    (folder / "broken.jpg").write_bytes(b"")
    outcome = recon("stitch", folder, "-o", tmp_path / "pano.png", "--json", *SMALL)
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    groups = sorted(sorted(photo["name"] for photo in one["photos"]) for one in told["panoramas"])
    assert groups == [["a.jpg", "c.jpg"], ["b.jpg", "d.jpg"]]
    assert {item["photo"] for item in told["not_used"]} == {"broken.jpg", "other.jpg"}
    assert all(item["why"] for item in told["not_used"])
    for one in told["panoramas"]:
        picture = PIL.Image.open(one["file"])
        assert picture.size == (one["width"], one["height"]) and picture.mode == "RGBA"
    assert not drafts(tmp_path)


def test_a_jpeg_is_cropped_and_the_same_seed_gives_the_same_bytes(turned, tmp_path):
    photos = [turned / "pano_3.jpg", turned / "pano_2.jpg"]
    for name in ("one.jpg", "two.jpg"):
        outcome = recon("stitch", *photos, "-o", tmp_path / name, "-q", *SMALL)
        assert outcome.code == 0 and "2 of 2 photos" in outcome.out, outcome
    assert (tmp_path / "one.jpg").read_bytes() == (tmp_path / "two.jpg").read_bytes()
    bordered = recon("stitch", *photos, "-o", tmp_path / "x.png", "--json", *SMALL)
    told = json.loads(bordered.out)["panoramas"][0]
    with PIL.Image.open(tmp_path / "one.jpg") as cropped:
        assert cropped.width < told["width"] and cropped.height < told["height"]


def test_the_same_photo_twice_is_that_photo(turned, tmp_path):
    shutil.copy(turned / "pano_3.jpg", tmp_path / "a.jpg")
    shutil.copy(turned / "pano_3.jpg", tmp_path / "b.jpg")
    outcome = recon("stitch", tmp_path / "a.jpg", tmp_path / "b.jpg", "-o", tmp_path / "x.png", "--projection", "plane")
    assert outcome.code == 0, outcome
    made = cv2.imread(str(tmp_path / "x.png"))
    photo = cv2.imread(str(turned / "pano_3.jpg"))
    assert abs(made.shape[0] - photo.shape[0]) <= 12 and abs(made.shape[1] - photo.shape[1]) <= 12
    middle = made[made.shape[0] // 2 - 200 : made.shape[0] // 2 + 200, made.shape[1] // 2 - 250 :][:, :500]
    found = cv2.matchTemplate(photo, middle, cv2.TM_CCOEFF_NORMED).max()
    assert found > 0.98


def test_blank_small_turned_and_different_sizes(turned, tmp_path):
    PIL.Image.fromarray(np.full((300, 400, 3), 90, np.uint8)).save(tmp_path / "blank.png")
    PIL.Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    half = PIL.Image.open(turned / "pano_2.jpg").resize((400, 300), PIL.Image.Resampling.LANCZOS)
    half.save(tmp_path / "half.png")
    # Stored on its side, with the tag that says how it stands.
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    upright = PIL.Image.open(turned / "pano_3.jpg")
    upright.transpose(PIL.Image.Transpose.ROTATE_90).save(tmp_path / "side.jpg", quality=97, exif=exif)
    outcome = recon("stitch", tmp_path, "-o", tmp_path / "x.tif", "--json", *SMALL)
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    (one,) = told["panoramas"]
    focals = {photo["name"]: photo["focal_px"] for photo in one["photos"]}
    assert focals.keys() == {"half.png", "side.jpg"}
    assert focals["side.jpg"] / focals["half.png"] == pytest.approx(2, rel=0.02)
    why = {item["photo"]: item["why"] for item in told["not_used"]}
    assert "no texture" in why["blank.png"] and "1 x 1" in why["dot.png"]


def test_what_is_wrong_is_told_in_a_sentence(turned, tmp_path):
    two = [turned / "pano_1.jpg", turned / "pano_2.jpg"]
    assert_refused(recon("stitch", tmp_path / "no*.jpg", "-o", tmp_path / "x.jpg"), 3, "No files match")
    apart = [turned / "pano_1.jpg", turned / "pano_4.jpg"]
    assert_refused(recon("stitch", *apart, "-o", tmp_path / "x.jpg", "-q", *SMALL), 4, "No two of the photos overlap")
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.gif"), 2, "x.gif", ".png")
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", "--projection", "cube"), 2, "'cube'")
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", "--scale", "0"), 2, "scale")
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", "--max-size", "0"), 2, "at 0 px")
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", "--max-megapixels", "-1"), 2, "--max-megapixels 400")
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", "--scale", "0.001", "-q"), 2, "--scale")
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", "--max-keypoints", "5"), 2, "5 keypoints a photo")
    small = ("--max-megapixels", "0.01", "-q", *SMALL)
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", *small), 2, "pixels", "--scale")
    assert_refused(recon("stitch", *two, "-o", tmp_path / "no" / "x.jpg", "-q", *SMALL), 6, "x.jpg")
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", "--json-file", tmp_path / "no" / "x.json"), 6)
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", "--json-file", tmp_path / "x.jpg"), 2, "one file")
    # The name that the first of several panoramas would have.
    assert_refused(recon("stitch", *two, "-o", tmp_path / "x.jpg", "--json-file", tmp_path / "x-1.jpg"), 2, "one file")
    assert not list(tmp_path.iterdir())


def test_photos_from_several_places_are_stitched_with_a_warning(photos, tmp_path):
    walked = [photos / f"courtyard_0{number}.jpg" for number in (1, 2)]
    outcome = recon("stitch", *walked, "-o", tmp_path / "x.jpg", "--json-file", tmp_path / "x.json", "-q", *SMALL)
    assert outcome.code == 0 and "x.jpg: the camera moved: " in outcome.err and "recon sfm" in outcome.err, outcome
    assert "the camera moved" in json.loads((tmp_path / "x.json").read_text())["panoramas"][0]["warning"]


def test_names_that_a_terminal_would_obey_are_printed_as_escapes(turned, tmp_path):
    for number in (1, 2):
        shutil.copy(turned / f"pano_{number}.jpg", tmp_path)
    shutil.copy(turned / "pano_3.jpg", tmp_path / "a\x1b[31m\n.jpg")
    outcome = recon("stitch", tmp_path, "-o", tmp_path / "x.png", "-q", *SMALL)
    assert outcome.code == 0 and "not used: a\\x1b[31m\\n.jpg: its name has" in outcome.err, outcome
    assert_refused(recon("stitch", tmp_path / "b\n\x1b.jpg", "-o", tmp_path / "x.png"), 3, "b\\n\\x1b.jpg")


def test_photos_are_not_overwritten_and_what_recon_made_is_not_stitched_again(turned, tmp_path):
    for number in (1, 2):
        shutil.copy(turned / f"pano_{number}.jpg", tmp_path)
    photo = tmp_path / "pano_1.jpg"
    before = photo.read_bytes()
    assert_refused(recon("stitch", tmp_path, "-o", photo), 2, "overwrite the photo")
    assert_refused(recon("stitch", tmp_path, "-o", tmp_path / "x.jpg", "--json-file", photo), 2, "overwrite the photo")
    assert photo.read_bytes() == before and len(list(tmp_path.iterdir())) == 2
    for name in ("x.jpg", "x.jpg", "x.webp"):
        outcome = recon("stitch", *tmp_path.iterdir(), "-o", tmp_path / name, "-q", *SMALL)
        assert outcome.code == 0 and "2 of 2 photos" in outcome.out, outcome
    assert "not used: x.jpg: it is no photo, recon made it" in outcome.err
    # Parts of something flat may be put together in two steps.
    outcome = recon("stitch", tmp_path / "x.jpg", tmp_path / "x.webp", "-o", tmp_path / "y.png", "-q", *SMALL)
    assert outcome.code == 0 and "2 of 2 photos" in outcome.out, outcome
