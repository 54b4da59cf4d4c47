"""``recon sfm`` on rendered photos whose cameras are known exactly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from command import SMALL, Outcome, mirror, products, recon, registered

from pipelines import colmap
from pipelines.benchmarks.truth import PoseErrors, pose_errors, read_truth

LARGE = ("--max-size", "1024", "--max-keypoints", "4500")
"""Enough keypoints for COLMAP to think of threads, which must not make two maps differ."""


def errors_of(folder: Path, sample_data: Path) -> PoseErrors:
    found = pose_errors(colmap.read_model(folder / "sparse" / "0"), read_truth(sample_data / "sfm", {}))
    assert found is not None
    return found


def intrinsics(sample_data: Path) -> str:
    first = next(iter(json.loads((sample_data / "sfm" / "cameras.json").read_text())["photos"].values()))
    k = first["K"]
    return f"{k[0][0]},{k[1][1]},{k[0][2]},{k[1][2]}@{first['width']}x{first['height']}"


def ledger_of(folder: Path) -> dict:
    return json.loads((folder / "recon.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def large(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A map with rootsift at the photos' own size, and what the command printed as JSON."""
    folder = tmp_path_factory.mktemp("large") / "map"
    return folder, recon("sfm", photos, "--out", folder, "--json", *LARGE)


# --- what a map is ----------------------------------------------------------------------------------------------------


def test_all_photos_within_millimetres(large, sample_data):
    folder, outcome = large
    assert outcome.code == 0, outcome
    assert [len(names) for names in registered(folder)] == [12]
    found = errors_of(folder, sample_data)
    # The principal point, 4 px off the centre, is taken to be there: a third of a degree.
    assert found.centre_max < 0.006 and np.degrees(found.rotation_mean) < 0.4, found
    # What only the geometry confirmed counts as looked at, too.
    assert all(0 < verified <= raw for *_, verified, raw in ledger_of(folder)["result"]["links"])


def test_true_intrinsics_kept_fixed_are_better_still(large, sample_data, photos, tmp_path):
    folder = shutil.copytree(large[0], tmp_path / "map")
    before = errors_of(folder, sample_data)
    given = intrinsics(sample_data)
    outcome = recon("sfm", photos, "--out", folder, "-q", "--intrinsics", given, "--fix-intrinsics", *LARGE)
    assert outcome.code == 0, outcome
    after = errors_of(folder, sample_data)
    assert after.centre_mean < 0.7 * before.centre_mean and after.centre_max < 0.003, (before, after)
    # 0.045 to 0.065 with the seeds 0 and 1, matched coarse to fine or all with all.
    assert np.degrees(after.rotation_mean) < 0.08, after
    expected = [float(number) for number in given.partition("@")[0].split(",")]
    for camera in colmap.read_model(folder / "sparse" / "0").cameras:
        np.testing.assert_allclose(camera.params[:4], expected)
        assert camera.model == "PINHOLE" and camera.source == "map"


def test_same_seed_same_map(small_map, photos, tmp_path):
    outcome = recon("sfm", photos, "--out", tmp_path / "again", "-q", *SMALL)
    assert outcome.code == 0, outcome
    first, second = products(small_map), products(tmp_path / "again")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_same_seed_same_map_where_colmap_would_use_threads(large, photos, tmp_path):
    folder = shutil.copytree(large[0], tmp_path / "map")
    shutil.rmtree(folder / "sparse")
    (folder / "database.db").unlink()
    assert recon("sfm", photos, "--out", folder, "-q", *LARGE).code == 0
    first, second = products(large[0]), products(folder)
    assert [name for name in first if first[name] != second[name]] == []


def test_json_and_ledger_say_all_that_a_script_needs(large, photos):
    folder, outcome = large
    printed = json.loads(outcome.out)
    assert outcome.err == ""
    assert printed == {**ledger_of(folder), "warnings": []}
    assert printed["status"] == "done" and printed["exit_code"] == 0 and printed["seed"] == 0
    assert printed["verdict"].startswith("All 12 photos are in one model")
    assert printed["config"]["features"]["max_side"] == 1024
    assert printed["descriptor"] == "rootsift" and printed["descriptor_fingerprint"]
    assert [photo["name"] for photo in printed["photos"]] == sorted(path.name for path in photos.iterdir())
    for photo in printed["photos"]:
        assert Path(photo["path"]).is_file() and (folder / "features" / f"{photo['features']}.npz").is_file()
        assert (photo["width"], photo["height"]) == (1024, 768)
        camera = printed["cameras"][photo["camera"]]
        assert (camera["model"], camera["source"]) == ("SIMPLE_RADIAL", "exif")
    result = printed["result"]
    assert set(result["versions"]) >= {"python", "pycolmap", "numpy", "opencv-contrib-python"}
    assert list(result["timings"])[:5] == ["Reading", "Features", "Pairs", "Matching", "Verification"]
    assert all(seconds >= 0 for seconds in result["timings"].values()) and result["peak_memory"] > 50e6
    model = colmap.read_model(folder / "sparse" / "0")
    (component,) = result["components"]
    assert component["folder"] == "sparse/0" and component["photos"] == 12
    assert component["points"] == len(model.xyz) and component["observations"] == len(model.obs_point)
    assert component["error"] < 0.5 and component["track_length"] > 3
    assert result["unregistered"] == [] and result["rejected"] == []
    for row in result["photos"]:
        assert row["component"] == 0 and row["observations"] > 500 and 0 < row["error"] < 1
        assert abs(row["focal_px"] - 862.4) < 5


def test_model_and_database_are_colmaps(large, photos):
    folder, _ = large
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    with pycolmap.Database.open(folder / "database.db") as database:
        assert sorted(image.name for image in database.read_all_images()) == sorted(p.name for p in photos.iterdir())
        assert database.num_descriptors() == 0
        geometries = database.read_two_view_geometries()[1]
        assert len(geometries) == 66 and sum(len(view.inlier_matches) >= 15 for view in geometries) > 50
        for image_id in model.reg_image_ids():
            image = model.images[image_id]
            assert database.read_image(image_id).name == image.name
            keypoints = database.read_keypoints(image_id)
            # Grey values have moved those that see a point, by 1.5 px at most.
            moved = np.linalg.norm(keypoints[:, :2] - [point.xy for point in image.points2D], axis=1)
            seen = np.array([point.has_point3D() for point in image.points2D])
            assert moved.max() < 1.51 and moved[~seen].max() < 1e-3 and (moved[seen] > 1e-3).mean() > 0.5
    points = model.points3D.values()
    assert np.ptp([point.color for point in points], axis=0).min() > 60, "points have the photos' colours"
    # A point is where it was seen: half a pixel of a wrong convention would show in every photo.
    for image_id in model.reg_image_ids():
        image = model.images[image_id]
        seen = [point for point in image.points2D if point.has_point3D()]
        offsets = [image.project_point(model.points3D[point.point3D_id].xyz) - point.xy for point in seen]
        assert np.abs(np.median(offsets, axis=0)).max() < 0.1


def test_report_stands_beside_the_map(large):
    page = (large[0] / "report.html").read_text("utf-8")
    assert "courtyard_07.jpg" in page and "All 12 photos are in one model" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


# --- other ways to make one -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        (("--descriptor", "orb", "--detector", "orb", "--max-size", "640", "--max-keypoints", "1500"), 0.08),
        (("--descriptor", "l2net", "--max-size", "512", "--max-keypoints", "400"), 0.05),
        (("--mapper", "global", *SMALL), 0.03),
        (("--single-camera", "--camera-model", "RADIAL", *SMALL), 0.03),
        (("--camera-per-photo", *SMALL), 0.03),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, tuple) else None,
)
def test_options_reach_a_whole_map(words, limit, small_map, photos, sample_data, tmp_path):
    folder = tmp_path / "map"
    folder.mkdir()
    shutil.copytree(small_map / "features", folder / "features")
    outcome = recon("sfm", photos, "--out", folder, "-q", *words)
    assert outcome.code == 0, outcome
    assert [len(names) for names in registered(folder)] == [12]
    assert errors_of(folder, sample_data).centre_max < limit
    with pycolmap.Database.open(folder / "database.db") as database:
        cameras = database.read_all_cameras()
    assert len(cameras) == (12 if "--camera-per-photo" in words else 1)
    assert "--camera-model" not in words or cameras[0].model_name == "RADIAL"


def test_another_seed_is_another_map_as_good(small_map, photos, sample_data, tmp_path):
    folder = shutil.copytree(small_map, tmp_path / "map")
    assert recon("sfm", photos, "--out", folder, "-q", "--seed", 7, *SMALL).code == 0
    assert products(folder)["sparse/0/points3D.bin"] != products(small_map)["sparse/0/points3D.bin"]
    assert errors_of(folder, sample_data).centre_max < 0.03


def test_masked_regions_have_no_keypoints(small_map, photos, some, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    mask = np.full((768, 1024), 255, np.uint8)
    mask[:, :512] = 0
    cv2.imwrite(str(masks / "courtyard_02.jpg.png"), mask)
    folder = tmp_path / "map"
    assert recon("sfm", some([1, 2, 3]), "--out", folder, "-q", "--masks", masks, *SMALL).code == 0
    left = {}
    for photo in ledger_of(folder)["photos"]:
        with np.load(folder / "features" / f"{photo['features']}.npz") as arrays:
            left[photo["name"]] = int((arrays["frames"][:, 0, 2] < 511).sum())
    assert left["courtyard_02.jpg"] == 0
    assert left["courtyard_01.jpg"] > 100 and left["courtyard_03.jpg"] > 100
    before = {photo["name"]: photo["features"] for photo in ledger_of(small_map)["photos"]}
    after = {photo["name"]: photo["features"] for photo in ledger_of(folder)["photos"]}
    assert [name for name in after if after[name] != before[name]] == ["courtyard_02.jpg"]


def test_only_the_pairs_of_a_list_are_matched(some, tmp_path):
    listed = tmp_path / "pairs.txt"
    listed.write_text("# a comment\ncourtyard_01.jpg courtyard_02.jpg\ncourtyard_03.jpg\tcourtyard_02.jpg\n")
    folder = tmp_path / "map"
    outcome = recon("sfm", some([1, 2, 3]), "--out", folder, "-q", "--pairs", listed, *SMALL)
    assert outcome.code == 0, outcome
    links = [tuple(link[:2]) for link in ledger_of(folder)["result"]["links"]]
    assert links == [("courtyard_01.jpg", "courtyard_02.jpg"), ("courtyard_02.jpg", "courtyard_03.jpg")]


def test_photos_given_one_by_one(photos, tmp_path):
    files = [photos / f"courtyard_{number:02}.jpg" for number in (1, 2, 3)]
    assert recon("sfm", *files, "--out", tmp_path / "map", "-q", *SMALL).code == 0
    assert registered(tmp_path / "map") == [[file.name for file in files]]


# --- growing ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eight(photos, tmp_path_factory):
    """A map of the first eight photos, and a folder with the other four."""
    home = tmp_path_factory.mktemp("grow")
    for name, numbers in (("old", range(1, 9)), ("new", range(9, 13))):
        (home / name).mkdir()
        for number in numbers:
            shutil.copy(photos / f"courtyard_{number:02}.jpg", home / name)
    outcome = recon("sfm", home / "old", "--out", home / "map", "-q", *SMALL)
    assert outcome.code == 0, outcome
    return home


def test_a_map_grows_by_four_photos(eight, sample_data, tmp_path):
    folder = shutil.copytree(eight / "map", tmp_path / "map")
    before = pycolmap.Reconstruction(folder / "sparse" / "0")
    outcome = recon("sfm", eight / "new", "--add-to", folder, "-q")
    assert outcome.code == 0, outcome
    assert outcome.out.startswith("All 12 photos are in one model")
    after = pycolmap.Reconstruction(folder / "sparse" / "0")
    assert {i: before.images[i].name for i in before.reg_image_ids()} == {
        i: after.images[i].name for i in before.reg_image_ids()
    }
    assert after.num_reg_images() == 12 and after.num_points3D() > before.num_points3D()
    assert errors_of(folder, sample_data).centre_max < 0.03
    assert ledger_of(folder)["config"] == ledger_of(eight / "map")["config"]
    assert "All 12 photos" in (folder / "report.html").read_text("utf-8")

    again = recon("sfm", eight / "new", "--add-to", folder, "-q")
    assert again.code == 3 and "nothing to add" in again.sentences[0]
    assert len(ledger_of(folder)["photos"]) == 12


def test_a_map_grows_beside_a_new_scene_that_is_larger(some, photos, tmp_path):
    folder, more = tmp_path / "map", some([4], "more")
    assert recon("sfm", some([1, 2, 3]), "--out", folder, "-q", *SMALL).code == 0
    mirror(photos, range(8, 13), more)
    outcome = recon("sfm", more, "--add-to", folder, "-q")
    assert outcome.code == 0, outcome
    new, old = registered(folder)
    assert old == [f"courtyard_{number:02}.jpg" for number in range(1, 5)]
    assert new == [f"mirrored_{number:02}.jpg" for number in range(8, 13)]


def test_a_map_without_exif_grows_though_its_photos_now_look_like_a_series(photos, tmp_path):
    for name, numbers in (("two", (1, 2)), ("third", (3,))):
        (tmp_path / name).mkdir()
        for number in numbers:
            pixels = cv2.imread(str(photos / f"courtyard_{number:02}.jpg"))
            cv2.imwrite(str(tmp_path / name / f"{number}.jpg"), pixels)
    folder = tmp_path / "map"
    assert recon("sfm", tmp_path / "two", "--out", folder, "-q", *SMALL).code == 0
    outcome = recon("sfm", tmp_path / "third", "--add-to", folder, "-q")
    assert outcome.code == 0 and outcome.out.startswith("All 3 photos are in one model"), outcome
    assert [photo["camera"] for photo in ledger_of(folder)["photos"]] == [0, 1, 2]


def test_growing_needs_the_old_photos_only_for_colours(eight, tmp_path):
    old = shutil.copytree(eight / "old", tmp_path / "old")
    folder = tmp_path / "map"
    shutil.copytree(eight / "map" / "features", folder / "features")
    assert recon("sfm", old, "--out", folder, "-q", *SMALL).code == 0
    shutil.rmtree(old)
    outcome = recon("sfm", eight / "new", "--add-to", folder, "-q")
    assert outcome.code == 0, outcome
    assert [len(names) for names in registered(folder)] == [12]


def test_photos_of_the_same_names_are_added_under_their_folders_name(eight, tmp_path):
    folder = shutil.copytree(eight / "map", tmp_path / "map")
    for day, number in (("a", 9), ("b", 10)):
        more = tmp_path / day / "photos"
        more.mkdir(parents=True)
        shutil.copy(eight / "new" / f"courtyard_{number:02}.jpg", more / "courtyard_01.jpg")
        outcome = recon("sfm", more, "--add-to", folder, "-q")
        assert outcome.code == 0, outcome
    names = [photo["name"] for photo in ledger_of(folder)["photos"]]
    assert names[8:] == ["photos/courtyard_01.jpg", "photos-2/courtyard_01.jpg"]
    assert set(names[8:]) < set(registered(folder)[0])


def test_a_map_made_with_masks_and_a_list_of_pairs_grows(eight, tmp_path):
    masks, listed, folder = tmp_path / "masks", tmp_path / "pairs.txt", tmp_path / "map"
    masks.mkdir()
    mask = np.full((768, 1024), 255, np.uint8)
    mask[:300] = 0
    cv2.imwrite(str(masks / "courtyard_03.png"), mask)
    listed.write_text("".join(f"courtyard_{i:02}.jpg courtyard_{i + 1:02}.jpg\n" for i in range(1, 8)))
    shutil.copytree(eight / "map" / "features", folder / "features")
    made = recon("sfm", eight / "old", "--out", folder, "-q", "--masks", masks, "--pairs", listed, *SMALL)
    assert made.code == 0, made
    before = {photo["name"]: photo["features"] for photo in ledger_of(folder)["photos"]}
    outcome = recon("sfm", eight / "new", "--add-to", folder, "-q")
    assert outcome.code == 0, outcome
    ledger = ledger_of(folder)
    assert {name: key for name, key in before.items()} == {
        photo["name"]: photo["features"] for photo in ledger["photos"][:8]
    }
    old = {f"courtyard_{number:02}.jpg" for number in range(1, 9)}
    assert sum(a in old and b in old for a, b, *_ in ledger["result"]["links"]) <= 7
    assert "courtyard_09.jpg" in registered(folder)[0]


# --- what is missing, and why -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(photos, sample_data, tmp_path_factory):
    """Two scenes in one folder, and photos that belong to neither."""
    home = tmp_path_factory.mktemp("mixed")
    folder = home / "photos"
    folder.mkdir()
    for number in range(1, 6):
        shutil.copy(photos / f"courtyard_{number:02}.jpg", folder)
    mirror(photos, range(9, 13), folder)
    cv2.imwrite(str(folder / "blank.png"), np.full((768, 1024), 127, np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (768, 1024), dtype=np.uint8)
    cv2.imwrite(str(folder / "noise.png"), noise)
    shutil.copy(next(iter(sorted((sample_data / "objects" / "pictures").iterdir()))), folder / "unrelated.jpg")
    (folder / "notes.jpg").write_text("a text file, not a photo")
    return home, recon("sfm", folder, "--out", home / "map", *SMALL)


def test_two_scenes_are_two_components_and_both_are_kept(mixed):
    home, outcome = mixed
    assert outcome.code == 0, outcome
    scenes = registered(home / "map")
    assert [len(scene) for scene in scenes] == [5, 4]
    assert {name.split("_")[0] for name in scenes[0]} == {"courtyard"}
    assert {name.split("_")[0] for name in scenes[1]} == {"mirrored"}
    assert "12 photos fell into 2 models, of 5 and 4 photos" in outcome.out
    components = ledger_of(home / "map")["result"]["components"]
    assert [component["folder"] for component in components] == ["sparse/0", "sparse/1"]


def test_before_mapping_the_links_are_told(mixed):
    err = mixed[1].err
    assert "pairs verified" in err and "Connected groups of 5 and 4 photos; 3 without a link" in err
    assert "Weakest links: " in err


def test_every_photo_that_is_missing_has_a_reason_with_figures(mixed):
    home, outcome = mixed
    result = ledger_of(home / "map")["result"]
    why = {row["name"]: (row["why"], row["try_"]) for row in result["unregistered"]}
    assert sorted(why) == ["blank.png", "noise.png", "unrelated.jpg"]
    assert why["blank.png"][0] == "only 0 keypoints were found in it"
    for name in ("noise.png", "unrelated.jpg"):
        assert "no other photo shares a verified view with it" in why[name][0]
        assert " matches, none verified" in why[name][0] and ".jpg with " in why[name][0]
    assert all(advice for _, advice in why.values())
    (unread,) = result["rejected"]
    assert unread["name"] == "notes.jpg" and "text file" in unread["why"]
    for name, (reason, advice) in why.items():
        assert f"  {name}: {reason}. Try: {advice}." in outcome.out
    assert "  notes.jpg: it is a text file" in outcome.out
    page = (home / "map" / "report.html").read_text("utf-8")
    assert "only 0 keypoints were found in it" in page and "notes.jpg" in page


def test_photos_from_one_place_make_no_model(sample_data, tmp_path):
    """A panorama overlaps and has no depth."""
    outcome = recon("sfm", sample_data / "panorama" / "images", "--out", tmp_path / "map", "-q", *SMALL)
    assert outcome.code == 5, outcome
    (sentence,) = outcome.sentences
    assert "No 3D model could be made of 5 photos" in sentence and "verified matches" in sentence
    assert "triangulation angle of" in sentence and "Try: " in sentence
    ledger = ledger_of(tmp_path / "map")
    assert ledger["status"] == "failed" and ledger["exit_code"] == 5
    assert not (tmp_path / "map" / "sparse").exists()
    assert "No 3D model could be made" in (tmp_path / "map" / "report.html").read_text("utf-8")
