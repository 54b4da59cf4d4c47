"""Whatever is wrong with the input: one sentence, the documented exit code, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from command import QUICK, SMALL, assert_complaint_only, assert_refused, products, recon, start

from pipelines import colmap


@pytest.fixture
def two(some) -> Path:
    """A folder of two photos that overlap."""
    return some([1, 2])


def names_in(folder: Path) -> set[str]:
    return {photo["name"] for photo in json.loads((folder / "recon.json").read_text("utf-8"))["photos"]}


# --- the photos -------------------------------------------------------------------------------------------------------


def test_missing_folder(tmp_path):
    outcome = recon("sfm", tmp_path / "nowhere", "--out", tmp_path / "map", *QUICK)
    assert_complaint_only(outcome, 3, "no such folder", str(tmp_path / "nowhere"))
    assert not (tmp_path / "map").exists()


def test_empty_folder_and_folder_without_photos(tmp_path):
    (tmp_path / "photos").mkdir()
    assert_complaint_only(recon("sfm", tmp_path / "photos", *QUICK), 3, "There are no photos", "holds nothing")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    assert_complaint_only(recon("sfm", tmp_path / "photos", *QUICK), 3, "There are no photos", "1 other file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_one_photo(some, tmp_path):
    folder = some([1])
    only = "at least two photos, and only one can be used"
    assert_complaint_only(recon("sfm", folder, "--out", tmp_path / "map", *QUICK), 3, only, "courtyard_01.jpg")
    file = folder / "courtyard_01.jpg"
    assert_complaint_only(recon("sfm", file, "--out", tmp_path / "map", *QUICK), 3, only, "courtyard_01.jpg")
    assert_complaint_only(recon("sfm", file, file, "--out", tmp_path / "map", *QUICK), 3, only)
    shutil.copy(file, folder / "courtyard_01 (copy).jpg")
    outcome = recon("sfm", folder, "--out", tmp_path / "map", *QUICK)
    assert_complaint_only(outcome, 3, only, "courtyard_01 (copy).jpg: it is a copy of courtyard_01.jpg")
    (folder / "broken.jpg").write_bytes(b"")
    outcome = recon("sfm", folder, "--out", tmp_path / "map", *QUICK)
    assert_complaint_only(outcome, 3, only, "broken.jpg: the file is empty")
    assert not (tmp_path / "map").exists()


def test_a_file_that_is_missing_among_files_that_are_there(photos, tmp_path):
    files = [photos / "courtyard_01.jpg", photos / "courtyard_02.jpg", tmp_path / "gone.jpg"]
    outcome = recon("sfm", *files, "--out", tmp_path / "map", *QUICK)
    assert outcome.code == 0 and "there is no such file" in outcome.out, outcome
    assert_complaint_only(recon("sfm", files[2], files[2], "--out", tmp_path / "x", *QUICK), 3, "no such file")


def test_a_folder_among_others_is_refused(some, photos, tmp_path):
    outcome = recon("sfm", photos, some([1, 2]), "--out", tmp_path / "map", *QUICK)
    assert_complaint_only(outcome, 3, f"The folder {photos} is given among other photos", "one folder that holds")


def test_copies_of_photos_add_nothing_to_a_map(some, photos, tmp_path):
    folder = some([1, 2, 3])
    assert recon("sfm", folder, "--out", tmp_path / "once", *QUICK).code == 0
    for name in ("courtyard_01.jpg", "courtyard_02.jpg"):
        (folder / "more").mkdir(exist_ok=True)
        (folder / "more" / name).symlink_to(photos / name)
    outcome = recon("sfm", folder, "--out", tmp_path / "twice", *QUICK)
    assert outcome.code == 0 and "2 files were left out" in outcome.out, outcome
    assert "  more/courtyard_02.jpg: it is a copy of courtyard_02.jpg.\n" in outcome.out
    assert products(tmp_path / "twice") == products(tmp_path / "once")


def test_two_photos_that_do_not_overlap(some, sample_data, tmp_path):
    folder = some([1])
    picture = next(iter(sorted((sample_data / "objects" / "pictures").iterdir())))
    shutil.copy(picture, folder)
    outcome = recon("sfm", folder, "--out", tmp_path / "map", *QUICK)
    assert_complaint_only(outcome, 4, "No two of the 2 photos show the same place", picture.name, " matches")
    ledger = json.loads((tmp_path / "map" / "recon.json").read_text("utf-8"))
    assert ledger["status"] == "failed" and ledger["exit_code"] == 4
    assert "No two of the 2 photos" in (tmp_path / "map" / "report.html").read_text("utf-8")
    some([2, 3])
    proper = recon("sfm", folder, "--out", tmp_path / "map", *QUICK)
    assert proper.code == 0, proper
    assert "3 of 4 photos are in the model" in proper.out and f"  {picture.name}: no other photo" in proper.out


def test_photos_without_a_single_keypoint(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, grey in (("a.png", 90), ("b.png", 91)):
        cv2.imwrite(str(folder / name), np.full((200, 300), grey, np.uint8))
    outcome = recon("sfm", folder, "--out", tmp_path / "map", *QUICK)
    assert_complaint_only(outcome, 4, "No two of the 2 photos", "none of them has a keypoint")


def test_files_that_are_no_photos_never_stop_the_others(some, photos, tmp_path):
    folder = some([1, 2, 3])
    whole = (photos / "courtyard_04.jpg").read_bytes()
    (folder / "text.jpg").write_text("Dear camera, where are my photos?")
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "zeros.png").write_bytes(bytes(5000))
    (folder / "page.jpg").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    (folder / "folder.jpg").mkdir()
    cv2.imwrite(str(folder / "strip.png"), np.zeros((10, 30000), np.uint8))
    os.mkfifo(folder / "pipe.jpg")
    outcome = recon("sfm", folder, "--out", tmp_path / "map", *QUICK)
    assert outcome.code == 0 and outcome.err == "", outcome
    assert outcome.out.startswith("All 3 photos are in one model") and "8 files were left out" in outcome.out
    for name, reason in {
        "text.jpg": "it is a text file",
        "cut.jpg": "the file ends before the picture does",
        "empty.jpg": "the file is empty (0 bytes)",
        "zeros.png": "",
        "page.jpg": "it is a web page",
        "dangling.jpg": "",
        "strip.png": "30000 x 10 pixels",
        "pipe.jpg": "",
    }.items():
        (line,) = (line for line in outcome.out.splitlines() if line.startswith(f"  {name}: "))
        assert reason in line and "Try: " in line
    assert len(names_in(tmp_path / "map")) == 3


def test_names_with_spaces_quotes_and_letters_of_the_world(photos, tmp_path):
    folder = tmp_path / "my photos & <more>"
    names = ["IMG 0001.JPG", "Straße – Ñandú 東京.jpeg", 'it\'s "quoted" <b>&amp;.jpg', "sub folder/ü.jpg", "-rf.jpg"]
    for number, name in enumerate(names, 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / f"courtyard_{number:02}.jpg", folder / name)
    outcome = recon("sfm", folder, *QUICK)
    assert outcome.code == 0, outcome
    made = tmp_path / "my photos & <more>-map"
    assert names_in(made) == set(names) == set(colmap.read_model(made / "sparse" / "0").names)
    page = (made / "report.html").read_text("utf-8")
    assert "<b>&amp;.jpg" not in page and "&lt;b&gt;" in page and "<more>" not in page


def test_a_terminal_that_knows_only_ascii(some, tmp_path):
    folder = some([1, 2])
    (folder / "courtyard_01.jpg").rename(folder / "東京.jpg")
    (folder / "Straße.jpg").write_text("no photo")
    process = start("sfm", folder, "--out", tmp_path / "map", *SMALL, PYTHONIOENCODING="ascii", LC_ALL="C")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Stra\\xdfe.jpg" in out and "Traceback" not in err


def test_grey_alpha_16_bit_palette_and_turned_photos_make_one_map(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    pictures = [PIL.Image.open(photos / f"courtyard_{number:02}.jpg") for number in range(1, 8)]
    pictures[0].convert("L").save(folder / "1 grey.png")
    pictures[1].convert("RGBA").save(folder / "2 alpha.png")
    deep = cv2.imread(str(photos / "courtyard_03.jpg")).astype(np.uint16) * 257
    cv2.imwrite(str(folder / "3 deep.png"), deep)
    cv2.imwrite(str(folder / "4 deep.tif"), cv2.imread(str(photos / "courtyard_04.jpg")).astype(np.uint16) * 257)
    pictures[4].quantize(128).save(folder / "5 palette.png")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: stored rows are the photo's columns
    pictures[5].transpose(PIL.Image.Transpose.ROTATE_90).save(folder / "6 turned.jpg", exif=exif, quality=95)
    pictures[6].convert("CMYK").save(folder / "7 cmyk.jpg", quality=95)
    outcome = recon("sfm", folder, "--out", tmp_path / "map", *QUICK)
    assert outcome.code == 0, outcome
    assert outcome.out.startswith("All 7 photos are in one model"), outcome
    sizes = {(c.width, c.height) for c in colmap.read_model(tmp_path / "map" / "sparse" / "0").cameras}
    assert sizes == {(1024, 768)}


def test_a_map_inside_the_folder_of_photos_is_not_scanned(some):
    folder = some([1, 2, 3])
    out = folder / "result"
    assert recon("sfm", folder, "--out", out, *QUICK).code == 0
    cv2.imwrite(str(out / "picture.png"), np.zeros((100, 100), np.uint8))
    again = recon("sfm", folder, "--out", out, *QUICK)
    assert again.code == 0 and again.out.startswith("All 3 photos"), again
    elsewhere = recon("sfm", folder, "--out", folder / "second", *QUICK)
    assert elsewhere.code == 0 and elsewhere.out.startswith("All 3 photos"), elsewhere


def test_a_folder_cannot_be_photos_and_result_at_once(some):
    folder = some([1, 2])
    assert_complaint_only(recon("sfm", folder, "--out", folder, *QUICK), 2, "run folder at once", "--out")
    assert_complaint_only(recon("sfm", folder, "--masks", folder, *QUICK), 2, "masks at once", "--masks")
    assert sorted(path.name for path in folder.iterdir()) == ["courtyard_01.jpg", "courtyard_02.jpg"]


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--descriptor", "rootsfit"), ("'rootsfit'", "'rootsift'")),
        (("--detector", "dgo"), ("'dgo'", "--detector dog")),
        (("--camera-model", "simple_radail"), ("'simple_radail'", "--camera-model SIMPLE_RADIAL")),
        (("--mapper", "globl"), ("'globl'", "--mapper global")),
        (("--pairs", "exhaustiv"), ("'exhaustiv'", "--pairs exhaustive")),
        (("--pairs", "nowhere.txt"), ("'nowhere.txt'",)),
        (("--pairs", "spatial"), ("no photo has GPS",)),
        (("--neighbours", "0"), ("0",)),
        (("--ratio", "1.5"), ("1.5", "between 0 and 1")),
        (("--ratio", "0"), ("between 0 and 1",)),
        (("--ratio", "nan"), ("nan", "between 0 and 1")),
        (("--max-error", "-1"), ("-1 px", "--max-error 4")),
        (("--max-error", "nan"), ("nan px",)),
        (("--max-error", "inf"), ("inf px",)),
        (("--min-matches", "-3"), ("-3",)),
        (("--max-keypoints", "0"), ("0",)),
        (("--max-keypoints", "49"), ("49 keypoints", "less than 50")),
        (("--max-size", "10"), ("10 px", "--max-size 1600")),
        (("--max-size", "-1"), ("-1 px",)),
        (("--seed", "-1"), ("-1", "between 0 and")),
        (("--seed", "99999999999"), ("99999999999",)),
        (("--seed", "one"), ("--seed", "integer")),
        (("--intrinsics", "1,2"), ("'1,2'", "too few")),
        (("--intrinsics", "a,b,c"), ("'a,b,c'",)),
        (("--intrinsics", "-5,512,384"), ("not above 0",)),
        (("--intrinsics", "800,300,300@600x600"), ("courtyard_01.jpg", "600 x 600")),
        (("--intrinsics", "nowhere.json"), ("nowhere.json",)),
        (("--fix-intrinsics",), ("only a guess", "--intrinsics")),
        (("--sede", "1"), ("--sede", "--seed")),
        (("--out",), ("--out",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) and value[0].startswith("--") else "",
)
def test_wrong_options(words, said, bare_two, tmp_path):
    """Told before anything is written: no run folder is left behind."""
    outcome = recon("sfm", bare_two, "--out", tmp_path / "map", *QUICK, *words)
    assert_complaint_only(outcome, 2, *said)
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize("command", ["match", "stereo", "stitch", "recognize"])
def test_no_seed_is_too_large_for_words(command, bare_two, tmp_path):
    objects = ("--objects", bare_two) if command == "recognize" else ()
    for seed in ("-1", "3000000000", "99999999999999999999"):
        outcome = recon(command, *sorted(bare_two.iterdir()), *objects, "--seed", seed, "-o", tmp_path / "out.png")
        assert_refused(outcome, 2, f"A seed of {seed}")
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def bare_two(photos, tmp_path_factory) -> Path:
    """Two photos without EXIF."""
    folder = tmp_path_factory.mktemp("bare") / "photos"
    folder.mkdir()
    for name in ("courtyard_01.jpg", "courtyard_02.jpg"):
        cv2.imwrite(str(folder / name), cv2.imread(str(photos / name)))
    return folder


def test_wrong_commands():
    assert_complaint_only(recon("smf", "photos"), 2, "'smf'", "recon sfm")
    assert_complaint_only(recon("foo"), 2, "'foo'", "or recon --help")
    assert_complaint_only(recon("--nonsense"), 2, "--nonsense", "recon --help")
    assert_complaint_only(recon("sfm"), 2, "photos", "recon sfm --help")


def test_a_list_of_pairs_with_a_misspelt_name(two, tmp_path):
    listed = tmp_path / "pairs.txt"
    listed.write_text("courtyard_01.jpg courtyrad_02.jpg\n")
    outcome = recon("sfm", two, "--out", tmp_path / "map", "--pairs", listed, *QUICK)
    assert_complaint_only(outcome, 2, "Line 1", "'courtyrad_02.jpg'", "'courtyard_02.jpg'")


def test_masks_that_are_missing_or_do_not_fit(two, tmp_path):
    masks, out = tmp_path / "masks", tmp_path / "map"
    outcome = recon("sfm", two, "--out", out, "--masks", masks, *QUICK)
    assert_complaint_only(outcome, 3, str(masks), "no such folder")
    masks.mkdir()
    cv2.imwrite(str(masks / "courtyard_01.jpg.png"), np.full((100, 100), 255, np.uint8))
    outcome = recon("sfm", two, "--out", out, "--masks", masks, *QUICK)
    assert_refused(outcome, 3, "courtyard_01.jpg", "100 x 100", "1024 x 768")
    (masks / "courtyard_01.jpg.png").rename(masks / "01.png")
    outcome = recon("sfm", two, "--out", out, "--masks", masks, *QUICK)
    assert_complaint_only(outcome, 2, "None of the 2 photos has a mask", "courtyard_01.jpg.png or courtyard_01.png")
    (masks / "courtyard_02.png").symlink_to("/proc/self/mem")  # a file that even root cannot read
    outcome = recon("sfm", two, "--out", out, "--masks", masks, *QUICK)
    assert_refused(outcome, 3, "courtyard_02.png cannot be read")
    (masks / "courtyard_02.png").unlink()
    (masks / "courtyard_01.jpg.png").write_text("no picture")
    outcome = recon("sfm", two, "--out", out, "--masks", masks, *QUICK)
    assert_refused(outcome, 3, "courtyard_01.jpg.png")
    assert outcome.err.startswith("1 of 2 photos have a mask\n")
    assert recon("sfm", two, "--out", out, *QUICK).code == 0


def test_add_to_a_folder_that_is_no_map(two, tmp_path):
    outcome = recon("sfm", two, "--add-to", tmp_path / "nowhere", "-q")
    assert_complaint_only(outcome, 3, "no finished map", str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "plain").mkdir()
    assert_complaint_only(recon("sfm", two, "--add-to", tmp_path / "plain", "-q"), 3, "no finished map")
    assert list((tmp_path / "plain").iterdir()) == []
    for text, said in (("{nonsense", "recon.json"), ("[]", "version"), ('{"schema": 999}', "version 999")):
        (tmp_path / "plain" / "recon.json").write_text(text)
        assert_complaint_only(recon("sfm", two, "--add-to", tmp_path / "plain", "-q"), 3, said)


def test_add_to_and_out_at_once(two, copied, tmp_path):
    outcome = recon("sfm", two, "--add-to", copied, "--out", tmp_path / "map", "-q")
    assert_complaint_only(outcome, 2, "--add-to", "--out")
    outcome = recon("sfm", two, "--add-to", copied, "--descriptor", "hardnet", "--max-size", "2000", "-q")
    assert_complaint_only(outcome, 2, "its own options", "--descriptor, --max-size")


def test_photos_that_cannot_be_added_leave_the_map_as_it_is(copied, sample_data, tmp_path):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    (tmp_path / "empty").mkdir()
    assert_complaint_only(recon("sfm", tmp_path / "empty", "--add-to", copied, "-q"), 3, "There are no photos")
    (tmp_path / "empty" / "text.jpg").write_text("no photo")
    outcome = recon("sfm", tmp_path / "empty", "--add-to", copied, "-q")
    assert_complaint_only(outcome, 3, "nothing to add", "text.jpg: it is a text file")
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before
    pictures = sample_data / "objects" / "pictures"
    unrelated = recon("sfm", pictures, "--add-to", copied, "-q")
    assert unrelated.code == 0 and unrelated.out.startswith("12 of "), unrelated
    assert all(f"  {path.name}: " in unrelated.out for path in pictures.iterdir())


def test_a_descriptor_of_ones_own_is_found_from_other_folders(two, some, tmp_path, monkeypatch):
    own = "from descriptors.registry import load\n\ndescriptor = load('sift')\n"
    (tmp_path / "mine.py").write_text(own)
    monkeypatch.chdir(tmp_path)
    assert recon("sfm", two, "--out", tmp_path / "map", "--descriptor", "./mine.py", *QUICK).code == 0
    monkeypatch.chdir(tmp_path.parent)
    outcome = recon("sfm", some([3], "third"), "--add-to", tmp_path / "map", "-q")
    assert outcome.code == 0 and outcome.out.startswith("All 3 photos"), outcome


def test_other_products_do_not_go_into_a_map(copied, photos):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    one, two = (photos / f"courtyard_0{number}.jpg" for number in (1, 2))
    for words in (("dense", copied), ("localize", one, "--map", copied), ("stereo", one, two)):
        outcome = recon(*words, "--out", copied, "-q")
        assert_complaint_only(outcome, 2, f"{copied} is a map", "--out")
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()} == before
