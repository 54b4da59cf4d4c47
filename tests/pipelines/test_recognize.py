"""Recognition against exact truth: rendered and drawn scenes, objects that are there twice or not, and the index."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.core.errors import ConfigError, InputError
from pipelines.core.progress import Silent
from pipelines.core.types import Photo
from pipelines.features.detectors import DetectorConfig
from pipelines.features.extract import FeatureConfig
from pipelines.images.read import scan
from pipelines.recognize.instances import plausible
from pipelines.recognize.inverted import InvertedFile, build_inverted
from pipelines.recognize.objects import index_objects
from pipelines.recognize.picture import draw
from pipelines.recognize.run import Recogniser, RecognizeConfig, plain

FEATURES = FeatureConfig(detector=DetectorConfig(max_keypoints=4000), max_side=1024)


def recogniser(folder: Path, cache: Path, **options) -> Recogniser:
    config = RecognizeConfig(FEATURES, **options)
    index = index_objects(folder, FEATURES, cache, compare=config.compare, seed=0, progress=Silent())
    return Recogniser(index, config)


def photo_of(path: Path) -> Photo:
    return scan([path])[0][0]


@pytest.fixture(scope="module")
def pictures(sample_data) -> Path:
    return sample_data / "objects" / "pictures"


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_both_objects_of_the_sample_scene_in_place_and_no_third(sample_data, pictures, shared_cache):
    truth = json.loads((sample_data / "objects" / "scene.json").read_text())
    find_all = recogniser(pictures, shared_cache)
    result = find_all(photo_of(sample_data / "objects" / "scene.jpg"), progress=Silent())
    found = {find.thing.name: find.instance for find in result.finds}
    assert len(result.finds) == len(found) == len(truth["instances"])
    for meant in truth["instances"]:
        instance = found[meant["object"]]
        assert np.linalg.norm(instance.corners - meant["corners"], axis=1).max() < 1.5
        assert instance.log10_chance < -50 and instance.probability > 0.999
    told = plain(result, find_all.index)
    json.dumps(told, allow_nan=False)
    assert draw(result).shape == (768, 1024, 3)


def test_scenes_are_looked_at_by_as_many_threads_as_before_the_objects(pictures, shared_cache):
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(5)
        recogniser(pictures, shared_cache)
        assert cv2.getNumThreads() == 5
    finally:
        cv2.setNumThreads(before)


def scene_of(pictures: Path, path: Path, places: dict[str, list[np.ndarray]]) -> Photo:
    """A brown noise table with pictures laid on it by homographies."""
    noise = np.random.default_rng(1).normal(0, 1, (768, 1024, 3)).astype(np.float32)
    table = np.clip(cv2.GaussianBlur(noise, (0, 0), 3) * 120 + (60, 90, 120), 0, 255).astype(np.uint8)
    for name, homographies in places.items():
        picture = cv2.imread(str(pictures / name))
        for homography in homographies:
            laid = cv2.warpPerspective(picture, homography, (1024, 768), flags=cv2.INTER_AREA)
            where = cv2.warpPerspective(np.full(picture.shape[:2], 255, np.uint8), homography, (1024, 768))
            table = np.where(where[..., None] > 127, laid, table)
    cv2.imwrite(str(path), table)
    return photo_of(path)


def corners_to(*corners: tuple[float, float]) -> np.ndarray:
    picture = np.array([[-0.5, -0.5], [479.5, -0.5], [479.5, 659.5], [-0.5, 659.5]], np.float32)
    return cv2.getPerspectiveTransform(picture, np.array(corners, np.float32))


def test_three_instances_of_one_object_each_once(pictures, tmp_path, shared_cache):
    meant = [
        np.array([(60.0, 60), (330, 90), (300, 440), (40, 400)]),
        np.array([(700.0, 80), (980, 40), (990, 420), (720, 400)]),
        np.array([(620.0, 740), (380, 700), (430, 420), (640, 450)]),  # upside down
    ]
    photo = scene_of(pictures, tmp_path / "three.png", {"quiet_valley.jpg": [corners_to(*each) for each in meant]})
    finds = recogniser(pictures, shared_cache)(photo, progress=Silent()).finds
    assert [find.thing.name for find in finds] == ["quiet_valley.jpg"] * 3
    for each in meant:
        apart = min(np.linalg.norm(find.instance.corners - each, axis=1).max() for find in finds)
        assert apart < 3


def test_a_mirrored_picture_is_not_the_object(pictures, tmp_path, shared_cache):
    mirrored = corners_to((600, 100), (200, 100), (200, 650), (600, 650))
    photo = scene_of(pictures, tmp_path / "mirror.png", {"quiet_valley.jpg": [mirrored]})
    assert not recogniser(pictures, shared_cache)(photo, progress=Silent()).finds


def test_nothing_in_photos_of_other_things(sample_data, pictures, shared_cache):
    find = recogniser(pictures, shared_cache)
    others = [sample_data / "sfm" / "images" / "courtyard_03.jpg", sample_data / "panorama" / "images" / "pano_2.jpg"]
    for path in others:
        result = find(photo_of(path), progress=Silent())
        assert not result.finds and result.compared == 3, path


@pytest.mark.parametrize(
    ("corners", "possible"),
    [
        ([(100, 100), (300, 110), (290, 400), (90, 380)], True),
        ([(300, 100), (100, 110), (90, 400), (290, 380)], False),  # mirrored
        ([(100, 100), (300, 400), (300, 100), (100, 400)], False),  # crossed
        ([(100, 100), (300, 100), (150, 150), (100, 400)], False),  # dented
        ([(100, 100), (500, 100), (500, 110), (100, 110)], False),  # a line
        ([(100, 100), (108, 100), (108, 112), (100, 112)], False),  # a dot
        ([(2100, 100), (2300, 110), (2290, 400), (2090, 380)], False),  # beside the scene
    ],
)
def test_quadrilaterals_that_are_no_view_of_a_picture_are_rejected(corners, possible):
    thing = Photo("a", Path("a"), 480, 660, "")
    scene = Photo("b", Path("b"), 1024, 768, "")
    assert plausible(corners_to(*corners), np.array(corners, float), thing, scene) is possible


def test_the_inverted_file_ranks_the_object_whose_descriptors_are_seen_first():
    random = np.random.default_rng(0)

    def unit(rows: np.ndarray) -> np.ndarray:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    objects = [unit(random.standard_normal((120, 64))) for _ in range(150)]
    built = build_inverted(objects, [len(one) for one in objects], seed=3)
    again = InvertedFile.from_arrays(built.arrays())
    clutter = unit(random.standard_normal((1500, 64)))
    for wanted in (0, 77, 149):
        seen = unit(objects[wanted][:30] + 0.08 * random.standard_normal((30, 64)).astype(np.float32))
        scores = again.scores(np.concatenate([clutter, seen]))
        assert scores.argmax() == wanted
    assert (built.scores(np.zeros((0, 64), np.float32)) == 0).all()


def test_of_many_objects_only_the_likeliest_are_compared_and_the_index_is_kept(
    sample_data, pictures, tmp_path, monkeypatch
):
    folder, random = tmp_path / "many", np.random.default_rng(5)
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for number in range(25):
        noise = cv2.resize(random.integers(0, 255, (40, 30), np.uint8), (300, 400), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"noise_{number}.png"), noise)
    (folder / "notes.txt").write_text("no picture")
    scene = photo_of(sample_data / "objects" / "scene.jpg")
    first = recogniser(folder, tmp_path / "cache", compare=4)(scene, progress=Silent())
    assert {find.thing.name for find in first.finds} == {"quiet_valley.jpg", "mosaic_tea.jpg"}
    assert first.compared == 4
    monkeypatch.setattr("pipelines.recognize.objects.build_inverted", None)
    monkeypatch.setattr("pipelines.features.extract.describe_image", None)
    recogniser(folder, tmp_path / "cache", compare=4)  # nothing is made again


def test_a_cache_that_cannot_be_written_keeps_nothing_and_stops_nobody(sample_data, pictures, tmp_path):
    (tmp_path / "file").touch()
    said = []

    class Told(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    index = index_objects(pictures, FEATURES, tmp_path / "file" / "x", compare=1, seed=0, progress=Told())
    assert len(index) == 3 and index.inverted is not None and len(index.files.load(0)) > 100
    assert len(said) == 1 and "not kept" in said[0]


def test_objects_are_looked_at_with_the_scenes_detector(pictures, tmp_path):
    upright = replace(FEATURES, detector=replace(FEATURES.detector, upright=True))
    index = index_objects(pictures, upright, tmp_path, compare=3, seed=0, progress=Silent())
    assert np.abs(index.files.load_frames(0)[:, 0, 1]).max() == 0


def test_an_inverted_file_is_made_in_little_more_memory_than_its_descriptors():
    random = np.random.default_rng(0)
    every = (random.standard_normal((200, 128)).astype(np.float16) for _ in range(50))
    tracemalloc.start()
    build_inverted(every, [200] * 50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * 200 * 50 * 128 * 4, peak / (200 * 50 * 128 * 4)


def test_what_cannot_be_recognised_is_said(tmp_path, sample_data):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"no object.*a\.jpg"):
        recogniser(tmp_path, tmp_path / "cache")
    with pytest.raises(ConfigError, match="compared with 0"):
        RecognizeConfig(compare=0)


@pytest.mark.real
def test_box_and_books_are_found_and_nothing_on_fifty_other_photos(shared_data, shared_cache, tmp_path):
    folder = tmp_path / "objects"
    folder.mkdir()
    (folder / "box.png").write_bytes((shared_data / "objects" / "box" / "object.png").read_bytes())
    for path in (shared_data / "objects" / "books" / "objects").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    find = recogniser(folder, shared_cache)

    def names(path: Path) -> list[str]:
        return sorted(one.thing.name for one in find(photo_of(path), progress=Silent()).finds)

    assert names(shared_data / "objects" / "box" / "scene.png") == ["box.png"]
    for number in (1, 2, 3):
        scene = shared_data / "objects" / "books" / "scenes" / f"{number}.jpg"
        assert names(scene) == ["java.jpg", "opengl.jpg", "qt4.jpg"]
    # Of the third book only a corner is seen in the fourth.
    assert {"java.jpg", "qt4.jpg"} <= set(names(shared_data / "objects" / "books" / "scenes" / "4.jpg"))
    others = sorted((shared_data / "photos").rglob("*.jp*g"))
    for path in others[:: max(1, len(others) // 50)][:50]:
        assert names(path) == [], path
