"""``recon localize`` on rendered photos whose cameras are known exactly, and on photos of other places."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import assert_refused, recon
from PIL import Image as Pil
from scipy.spatial.transform import Rotation

from pipelines import colmap
from pipelines.core.progress import Silent
from pipelines.features.detectors import DetectorConfig
from pipelines.features.extract import FeatureConfig
from pipelines.localize.map import load_map
from pipelines.localize.query import Localizer
from pipelines.pairs.map_index import index_file
from pipelines.pairs.select import PairingConfig
from pipelines.sfm.config import SfmConfig
from pipelines.sfm.run import run_sfm
from pipelines.store.folder import MapFolder

MEDIUM = ("--max-size", "1024", "--max-keypoints", "2000")


@pytest.fixture(scope="module")
def medium_map(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of the twelve sample photos. Not to be changed."""
    folder = tmp_path_factory.mktemp("medium") / "map"
    outcome = recon("sfm", photos, "--out", folder, "-q", *MEDIUM)
    assert outcome.code == 0, outcome
    return folder


class Truth:
    """The similarity from a map to the true world, by camera centres, and the true poses of the queries."""

    def __init__(self, folder: Path, sample_data: Path) -> None:
        true = json.loads((sample_data / "sfm" / "cameras.json").read_text())["photos"]
        self.queries = json.loads((sample_data / "query" / "cameras.json").read_text())["photos"]
        model = colmap.read_model(folder / "sparse" / "0")
        poses = np.array([true[name]["cam_from_world"] for name in model.names])
        wanted = -np.einsum("nji,nj->ni", poses[:, :, :3], poses[:, :, 3])
        # Umeyama, IEEE PAMI 1991: least squares over rotation, scale and shift.
        a, b = model.centres - model.centres.mean(0), wanted - wanted.mean(0)
        u, s, vt = np.linalg.svd(b.T @ a)
        sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
        self.rotation = u @ sign @ vt
        self.scale = float((s * np.diag(sign)).sum() / (a**2).sum())
        self.shift = wanted.mean(0) - self.scale * self.rotation @ model.centres.mean(0)

    def errors(self, row: dict, name: str) -> tuple[float, float]:
        """Metres between the centres, degrees between the rotations."""
        true = np.array(self.queries[name]["cam_from_world"])
        centre = self.scale * self.rotation @ np.array(row["pose"]["centre"]) + self.shift
        found = np.array(row["pose"]["cam_from_world"]["matrix"])[:, :3] @ self.rotation.T
        turn = Rotation.from_matrix(found @ true[:, :3].T).magnitude()
        return float(np.linalg.norm(centre + true[:, :3].T @ true[:, 3])), float(np.degrees(turn))


@pytest.fixture(scope="module")
def truth(medium_map: Path, sample_data: Path) -> Truth:
    return Truth(medium_map, sample_data)


def located(*words: object, code: int = 0) -> list[dict]:
    outcome = recon("localize", *words, "--json")
    assert outcome.code == code, outcome
    return json.loads(outcome.out)["queries"]


def plain_copy(source: Path, target: Path, turned: bool = False, gray: bool = False) -> Path:
    """The photo's pixels without its EXIF; or turned, with the EXIF that turns it back, and in grey."""
    picture = Pil.open(source)
    if gray:
        picture = picture.convert("L")
    exif = Pil.Exif()
    if turned:
        picture, exif[0x0112] = picture.transpose(Pil.Transpose.ROTATE_90), 6
    picture.save(target, quality=97, exif=exif)
    return target


# --- found ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answers(medium_map: Path, sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    out = tmp_path_factory.mktemp("answers")
    return out, located(sample_data / "query" / "images", "--map", medium_map, "--out", out)


@pytest.mark.parametrize(
    ("name", "origin", "centre", "rotation"),
    # The principal point, 5 px off the centre, is not known: a third of a degree.
    [("query_near.jpg", "map", 0.02, 0.5), ("query_tele.jpg", "exif", 0.04, 0.5)],
)
def test_queries_are_found_where_they_were_taken(name, origin, centre, rotation, answers, truth):
    row = next(row for row in answers[1] if row["query"] == name)
    assert row["verdict"] == "found" and row["pose"]["intrinsics"]["origin"] == origin
    found = truth.errors(row, name)
    assert found[0] < centre and found[1] < rotation, found
    true_focal = truth.queries[name]["K"][0][0]
    assert abs(row["pose"]["intrinsics"]["params"][0] / true_focal - 1) < 0.01


def test_the_answer_agrees_with_itself(answers, medium_map):
    model = colmap.read_model(medium_map / "sparse" / "0")
    for row in answers[1]:
        pose = row["pose"]
        matrix = np.array(pose["cam_from_world"]["matrix"])
        w, x, y, z = pose["cam_from_world"]["quaternion_wxyz"]
        np.testing.assert_allclose(Rotation.from_quat([x, y, z, w]).as_matrix(), matrix[:, :3], atol=1e-9)
        np.testing.assert_allclose(matrix[:, :3] @ pose["centre"] + matrix[:, 3], 0, atol=1e-9)
        assert pose["inlier_ratio"] == pytest.approx(pose["inliers"] / pose["correspondences"], abs=1e-4)
        assert 0.5 < pose["coverage"] <= 1 and 0 < pose["reprojection_error_px"] < 1
        # With a focal length from EXIF the principal point is taken to be uncertain too.
        by_map = pose["intrinsics"]["origin"] == "map"
        assert 0 < pose["sigma_centre"] < (0.02 if by_map else 0.2)
        assert 0 < pose["sigma_rotation_deg"] < (0.1 if by_map else 1)
        assert {photo["name"] for photo in row["matched_with"]} <= set(model.names)
        assert max(photo["inliers"] for photo in row["matched_with"]) <= pose["inliers"]
        assert set(row["seconds"]) == {"features", "retrieval", "matching", "pose"}


def test_given_intrinsics_are_used_as_they_are_and_help(medium_map, sample_data, truth, answers):
    name = "query_tele.jpg"
    k = truth.queries[name]["K"]
    given = f"{k[0][0]},{k[1][1]},{k[0][2]},{k[1][2]}@1024x768"
    (row,) = located(sample_data / "query" / "images" / name, "--map", medium_map, "--intrinsics", given)
    assert row["pose"]["intrinsics"]["origin"] == "given"
    np.testing.assert_allclose(row["pose"]["intrinsics"]["params"], [k[0][0], k[1][1], k[0][2], k[1][2]])
    assert truth.errors(row, name)[0] < 0.02


@pytest.mark.parametrize("turned", [False, True], ids=["upright", "turned by EXIF"])
def test_without_exif_it_is_the_maps_camera_or_the_focal_length_is_estimated(
    turned, medium_map, sample_data, truth, tmp_path
):
    for name, origin in (("query_near.jpg", "map"), ("query_tele.jpg", "estimated")):
        query = plain_copy(sample_data / "query" / "images" / name, tmp_path / name, turned, gray=turned)
        (row,) = located(query, "--map", medium_map)
        intrinsics = row["pose"]["intrinsics"]
        assert row["verdict"] == "found" and intrinsics["origin"] == origin
        assert intrinsics["estimated"] is (origin == "estimated")
        assert abs(intrinsics["params"][0] / truth.queries[name]["K"][0][0] - 1) < 0.02
        assert (intrinsics["width"], intrinsics["height"]) == (1024, 768)
        found = truth.errors(row, name)
        assert found[0] < 0.06 and found[1] < 0.5, found
    outcome = recon("localize", query, "--map", medium_map, "-q", "--guided")
    assert outcome.code == 0 and "focal length estimated" in outcome.out, outcome


def test_overlay_shows_inliers_and_json_stands_beside_it(answers):
    out, rows = answers
    assert json.loads((out / "poses.json").read_text("utf-8"))["queries"] == rows
    for number, row in enumerate(rows, 1):
        picture = cv2.imread(str(out / f"{number:03}-{Path(row['query']).stem}.jpg"))
        assert picture.shape == (768, 1024, 3)
        green = (picture[:, :, 1] > 180) & (picture[:, :, 0] < 120) & (picture[:, :, 2] < 120)
        assert green.sum() > 5 * row["pose"]["inliers"]


# --- not found --------------------------------------------------------------------------------------------------------


def test_quiet_prints_one_line_per_query(medium_map, sample_data):
    outcome = recon("localize", sample_data / "query" / "images", "--map", medium_map, "-q")
    assert outcome.code == 0 and outcome.err == "", outcome
    lines = outcome.out.splitlines()
    assert len(lines) == len(list((sample_data / "query" / "images").iterdir()))
    assert all(" found, " in line and " centre (" in line and line.endswith(".") for line in lines), lines


def test_a_picture_that_cannot_be_written_costs_no_answer(medium_map, sample_data, tmp_path):
    query = sample_data / "query" / "images" / "query_near.jpg"
    (tmp_path / "out" / "001-query_near.jpg").mkdir(parents=True)
    outcome = recon("localize", query, "--map", medium_map, "--out", tmp_path / "out", "-q")
    assert outcome.code == 6 and outcome.out.startswith("query_near.jpg: found"), outcome
    assert "Cannot write" in outcome.sentences[0] and "001-query_near.jpg" in outcome.sentences[0]
    assert len(json.loads((tmp_path / "out" / "poses.json").read_text())["queries"]) == 1


def test_answers_are_saved_as_they_come(medium_map, sample_data, tmp_path, monkeypatch):
    names = sorted(path.name for path in (sample_data / "query" / "images").iterdir())
    localize = Localizer.localize

    def interrupted(self, photo):
        if photo.name == names[-1]:
            raise KeyboardInterrupt
        return localize(self, photo)

    monkeypatch.setattr(Localizer, "localize", interrupted)
    monkeypatch.setattr("pipelines.localize.run._SAVE_EVERY", 0.0)
    monkeypatch.setattr("pipelines.localize.run._SAVE_SHARE", 1.0)
    images = sample_data / "query" / "images"
    assert recon("localize", images, "--map", medium_map, "--out", tmp_path, "-q").code == 130
    saved = json.loads((tmp_path / "poses.json").read_text())["queries"]
    assert [row["query"] for row in saved][:1] == names[:1] and len(saved) < len(names)


def test_another_place_is_not_found_and_has_no_pose(medium_map, sample_data, tmp_path):
    out = tmp_path / "out"
    outcome = recon(
        "localize", sample_data / "objects", sample_data / "stereo", "--map", medium_map, "--out", out, "--json"
    )
    assert_refused(outcome, 8, "Nothing was found")
    answers = json.loads(outcome.out)
    assert answers["counts"] == {"found": 0, "uncertain": 0, "not found": len(answers["queries"])}
    assert len(answers["queries"]) == 7
    for row in answers["queries"]:
        assert row["verdict"] == "not found" and row["pose"] is None and row["reason"] and row["try"]
        assert all(photo["inliers"] == 0 for photo in row["matched_with"])
    assert len(list(out.glob("*.jpg"))) == 7 and len(list(out.glob("*-mosaic_tea.jpg"))) == 1


def test_bad_queries_do_not_stop_the_others(medium_map, sample_data, tmp_path):
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((480, 640), 127, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    shutil.copy(sample_data / "query" / "images" / "query_near.jpg", tmp_path)
    rows = {row["query"]: row for row in located(tmp_path, "--map", medium_map)}
    assert rows["query_near.jpg"]["verdict"] == "found"
    assert rows["blank.png"]["verdict"] == "not found" and "0 keypoints" in rows["blank.png"]["reason"]
    assert rows["broken.jpg"]["verdict"] == "not found" and rows["broken.jpg"]["pose"] is None

    outcome = recon("localize", tmp_path, "--map", medium_map, "--intrinsics", "900,500,400@4000x1000")
    assert_refused(outcome, 2, "do not fit")
    assert_refused(recon("localize", tmp_path / "broken.jpg", "--map", medium_map), 3, "broken.jpg")
    assert_refused(recon("localize", tmp_path / "blank.png", "--map", medium_map), 8, "blank.png", "0 keypoints")


# --- the map's side ---------------------------------------------------------------------------------------------------


def test_a_map_that_is_missing_unfinished_or_of_another_descriptor_is_refused(medium_map, sample_data, tmp_path):
    query = sample_data / "query" / "images" / "query_near.jpg"
    assert_refused(recon("localize", query, "--map", tmp_path / "none"), 3, "no finished map")
    folder = tmp_path / "map"
    folder.mkdir()
    ledger = json.loads((medium_map / "recon.json").read_text("utf-8"))
    (folder / "recon.json").write_text(json.dumps({**ledger, "descriptor_fingerprint": "0" * 24}))
    assert_refused(recon("localize", query, "--map", folder), 2, "another rootsift", "000000000000")
    (folder / "recon.json").write_text(json.dumps(ledger))
    assert_refused(recon("localize", query, "--map", folder), 3, "no model")


def test_the_index_is_made_again_where_it_is_missing_damaged_or_old(medium_map, sample_data, tmp_path):
    query = sample_data / "query" / "images" / "query_near.jpg"
    folder = shutil.copytree(medium_map, tmp_path / "map")
    index = folder / "retrieval" / "index.npz"
    first = located(query, "--map", folder)
    whole = index.read_bytes()
    index.unlink()
    located(query, "--map", folder)
    assert index.read_bytes() == whole
    index.write_bytes(whole[:1000])
    again = located(query, "--map", folder)
    assert index.read_bytes() == whole
    assert again[0]["pose"] == first[0]["pose"]
    untouched = index.stat().st_mtime_ns
    located(query, "--map", folder)
    assert index.stat().st_mtime_ns == untouched


def test_a_map_that_grew_is_searched_with_its_new_photos(photos, sample_data, tmp_path):
    for name, numbers in (("old", (1, 2, 3, 4, 5)), ("new", (8, 9, 10))):
        (tmp_path / name).mkdir()
        for number in numbers:
            shutil.copy(photos / f"courtyard_{number:02}.jpg", tmp_path / name)
    folder, query = tmp_path / "map", photos / "courtyard_09.jpg"
    orb = ("--descriptor", "orb", "--detector", "orb", "--max-size", "640", "--max-keypoints", "1500")
    assert recon("sfm", tmp_path / "old", "--out", folder, "-q", *orb).code == 0
    (before,) = located(query, "--map", folder, "--photos", "3", code=recon("localize", query, "--map", folder).code)
    assert recon("sfm", tmp_path / "new", "--add-to", folder, "-q").code == 0
    (after,) = located(query, "--map", folder, "--photos", "3")
    assert after["verdict"] == "found" and after["matched_with"][0]["name"] == "courtyard_09.jpg"
    inliers = 0 if before["pose"] is None else before["pose"]["inliers"]
    assert after["pose"]["inliers"] > 2 * inliers
    model = colmap.read_model(folder / "sparse" / "0")
    centre = model.centres[model.names.index("courtyard_09.jpg")]
    assert np.linalg.norm(after["pose"]["centre"] - centre) < 0.01 * np.linalg.norm(np.ptp(model.centres, axis=0))


def test_a_large_map_is_left_with_its_index(photos, tmp_path):
    folder = MapFolder(tmp_path / "map")
    config = SfmConfig(
        FeatureConfig(max_side=512, detector=DetectorConfig(max_keypoints=1000)), PairingConfig(exhaustive_up_to=3)
    )
    result = run_sfm(
        [photos / f"courtyard_{number:02}.jpg" for number in (4, 5, 6, 7)], folder, config, progress=Silent()
    )
    assert result.failure is None and "Index" in result.summary.timings
    written = index_file(folder).stat().st_mtime_ns
    assert len(load_map(folder.root, progress=Silent()).index.vectors) == 4
    assert index_file(folder).stat().st_mtime_ns == written


# --- a prior, a video -------------------------------------------------------------------------------------------------


def test_a_given_place_limits_what_is_matched_and_what_is_believed(medium_map, sample_data, answers):
    name = "query_near.jpg"
    (known,) = (row for row in answers[1] if row["query"] == name)
    centre, query = known["pose"]["centre"], sample_data / "query" / "images" / name
    model = colmap.read_model(medium_map / "sparse" / "0")
    apart = np.linalg.norm(model.centres - centre, axis=1)
    radius = float(np.sort(apart)[4]) * 1.001
    place = ",".join(f"{value:.9f}" for value in (*centre, radius))
    (row,) = located(query, "--map", medium_map, f"--near={place}", "--photos", "5")
    inside = {name for name, length in zip(model.names, apart, strict=True) if length <= radius}
    assert row["verdict"] == "found" and {photo["name"] for photo in row["matched_with"]} == inside and len(inside) == 5
    # The map's own cameras may all be farther away: the nearest are matched with.
    near = ",".join(f"{value:.9f}" for value in (*centre, 0.01 * radius))
    (row,) = located(query, "--map", medium_map, f"--near={near}", "--photos", "5")
    assert row["verdict"] == "found" and {photo["name"] for photo in row["matched_with"]} == inside
    # A place where it was not taken, with photos around it: the pose contradicts it and is kept back.
    other = model.centres[int(np.argmax(apart))]
    wrong = ",".join(f"{value:.9f}" for value in (*other, 0.5 * apart.max()))
    (row,) = located(query, "--map", medium_map, f"--near={wrong}", code=8)
    assert row["pose"] is None and row["verdict"] == "not found"
    (row,) = located(query, "--map", medium_map, "--near=900,900,900,1", code=8)
    assert row["pose"] is None and "away from the given place" in row["reason"]
    assert_refused(recon("localize", query, "--map", medium_map, "--near=1,2"), 2, "four numbers")


def test_frames_of_a_video_are_found_where_the_photos_were_taken(medium_map, photos, tmp_path):
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (1024, 768))
    for number in (3, 3, 3, 6, 6, 6, 9):
        writer.write(cv2.imread(str(photos / f"courtyard_{number:02}.jpg")))
    writer.release()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows = located(path, tmp_path / "broken.mp4", "--map", medium_map, "--every", "3")
    assert [row["query"] for row in rows] == ["walk.avi#000000", "walk.avi#000003", "walk.avi#000006", "broken.mp4"]
    model = colmap.read_model(medium_map / "sparse" / "0")
    size = np.linalg.norm(np.ptp(model.centres, axis=0))
    for row, number in zip(rows, (3, 6, 9), strict=False):
        assert row["verdict"] == "found"
        true = model.centres[model.names.index(f"courtyard_{number:02}.jpg")]
        assert np.linalg.norm(np.array(row["pose"]["centre"]) - true) < 0.01 * size
    assert rows[3]["verdict"] == "not found" and rows[3]["reason"]
    outcome = recon("localize", tmp_path / "broken.mp4", "--map", medium_map)
    assert_refused(outcome, 3, "broken.mp4", "an MP4 with H.264 video")
