"""EXIF and masks: what is read out of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from made_photos import encoded, one, save, texture
from PIL import Image as Pil
from PIL.PngImagePlugin import PngInfo

from pipelines.core.errors import InputError
from pipelines.core.maps import Camera
from pipelines.core.progress import Silent
from pipelines.core.types import Photo
from pipelines.export.undistort import photo_of
from pipelines.features import extract
from pipelines.features.detectors import DetectorConfig, detect
from pipelines.features.extract import FeatureConfig, extract_features
from pipelines.images import formats
from pipelines.images.exif import focal_in_pixels
from pipelines.images.masks import alpha_mask, find_mask, keep, load_mask
from pipelines.images.read import scan

# --- EXIF ----------------------------------------------------------------------------------------------------


def with_exif(path: Path, shot: dict[int, object], main: dict[int, object], gps: dict[int, object]) -> Photo:
    exif = Pil.Exif()
    exif.update(main)
    exif.get_ifd(0x8769).update(shot)
    exif.get_ifd(0x8825).update(gps)
    save(path, texture(300, 400), exif=exif)
    return one(path.parent)


def test_exif_of_a_photo(tmp_path: Path) -> None:
    photo = with_exif(
        tmp_path / "a.jpg",
        {0xA405: 28, 0x9003: "2020:01:02 03:04:05"},
        {0x010F: "Maker\0 ", 0x0110: "Model X"},
        {1: "S", 2: (33.0, 51.0, 36.0), 3: "W", 4: (70.0, 30.0, 0.0), 5: 0, 6: 520.5},
    )
    exif = photo.exif
    assert (exif.make, exif.model, exif.taken) == ("Maker", "Model X", "2020:01:02 03:04:05")
    assert exif.focal_px == pytest.approx(28 / np.hypot(36, 24) * 500)
    assert exif.gps == pytest.approx((-33.86, -70.5, 520.5))


@pytest.mark.parametrize(
    "gps",
    [
        {},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {1: "N", 2: (95.0, 0.0, 0.0), 3: "E", 4: (10.0, 0.0, 0.0)},
        {1: "N", 2: (45.0, 0.0, 0.0)},
    ],
)
def test_gps_without_a_fix_is_none(tmp_path: Path, gps: dict[int, object]) -> None:
    assert with_exif(tmp_path / "a.jpg", {}, {}, gps).exif.gps is None


FOCAL_MM, FOCAL_35, WIDTH, HEIGHT, PLANE, UNIT = 0x920A, 0xA405, 0xA002, 0xA003, 0xA20E, 0xA210


@pytest.mark.parametrize(
    ("shot", "make", "model", "expected"),
    [
        ({}, "", "", None),
        ({FOCAL_MM: 20.0}, "Unknown", "Camera", None),
        # Strecha's camera: 22.7 mm over 3,072 px, here on a copy of half the size.
        ({FOCAL_MM: 20.0}, "Canon", "Canon EOS D60", 20 / 22.7 * 1536),
        ({FOCAL_MM: 20.0, PLANE: 3072 / (22.7 / 25.4), WIDTH: 3072, HEIGHT: 2048}, "X", "", 20 / 22.7 * 1536),
        ({FOCAL_MM: 20.0, PLANE: 3072 / 2.27, UNIT: 3, WIDTH: 2048, HEIGHT: 3072}, "X", "", 20 / 22.7 * 1536),
        ({FOCAL_35: 36}, "", "", 36 / np.hypot(36, 24) * np.hypot(1536, 1024)),
        # The focal plane contradicts the 35 mm equivalent: the latter is believed.
        (
            {FOCAL_MM: 4.0, FOCAL_35: 28, PLANE: 72.0, WIDTH: 1536},
            "X",
            "",
            28 / np.hypot(36, 24) * np.hypot(1536, 1024),
        ),
        ({FOCAL_MM: 20.0, FOCAL_35: 32}, "Canon", "Canon EOS D60", 20 / 22.7 * 1536),
        ({FOCAL_MM: 0.0, FOCAL_35: 0}, "Canon", "Canon EOS D60", None),
        ({FOCAL_MM: float("nan")}, "Canon", "Canon EOS D60", None),
        ({FOCAL_MM: "wide", FOCAL_35: "wide"}, "Canon", "Canon EOS D60", None),
        ({FOCAL_MM: 9000.0}, "Canon", "Canon EOS D60", None),
    ],
)
def test_focal_length_in_pixels(shot: dict[int, object], make: str, model: str, expected: float | None) -> None:
    for size in ((1536, 1024), (1024, 1536)):
        found = focal_in_pixels(shot, make, model, *size)
        assert found is None if expected is None else found == pytest.approx(expected)


def test_damaged_exif_does_not_cost_the_photo(tmp_path: Path) -> None:
    data = bytearray(encoded("jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08" + bytes(range(200))))
    (tmp_path / "a.jpg").write_bytes(data)
    assert one(tmp_path).width == 320


@pytest.mark.real
def test_real_photos_are_all_read_and_sceaux_knows_its_camera(shared_data: Path) -> None:
    photos, rejected = scan(shared_data / "multiview" / "sceaux" / "images")
    assert len(photos) == 11 and not rejected
    assert {photo.exif.model for photo in photos} == {"KODAK Z612 ZOOM DIGITAL CAMERA"}
    # EXIF: 5.85 mm, 35 mm equivalent 35.
    assert all(photo.exif.focal_px == pytest.approx(1619, abs=1) for photo in photos)


# --- masks ---------------------------------------------------------------------------------------------------


def test_masks_by_both_names_and_their_meaning(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a" / "x.jpg", texture(80, 120))
    save(tmp_path / "photos" / "y.jpg", texture(80, 120))
    save(tmp_path / "photos" / "z.jpg", texture(80, 120))
    mask = np.zeros((80, 120), np.uint8)
    mask[:, 60:] = 1
    save(tmp_path / "masks" / "a" / "x.jpg.png", mask)
    save(tmp_path / "masks" / "y.png", mask)
    save(tmp_path / "upper" / "y.png", mask)
    (tmp_path / "upper" / "y.png").rename(tmp_path / "upper" / "y.PNG")
    x, y, z = scan(tmp_path / "photos")[0]
    masks = tmp_path / "masks"
    assert find_mask(x, masks) == masks / "a" / "x.jpg.png"
    assert find_mask(y, masks) == masks / "y.png"
    assert find_mask(z, masks) is None
    assert find_mask(y, tmp_path / "upper") in (tmp_path / "upper" / "y.PNG", tmp_path / "upper" / "y.png")
    seen = load_mask(masks / "y.png", y)
    assert seen.dtype == bool and seen.shape == (80, 120) and seen.sum() == 80 * 60
    xy = np.array([[59.4, 0], [59.6, 79.4], [119.4, 10], [119.6, 10], [-0.6, 3], [80, 79.6], [np.nan, 4]])
    np.testing.assert_array_equal(keep(xy[:-1], seen), [False, True, True, False, False, False])
    assert keep(np.empty((0, 2)), seen).shape == (0,)
    with pytest.raises(InputError, match="no such folder"):
        find_mask(x, tmp_path / "no")


def test_masks_of_other_sizes_and_of_turned_photos(tmp_path: Path) -> None:
    exif = Pil.Exif()
    exif[0x0112] = 6
    save(tmp_path / "photos" / "x.jpg", texture(240, 360), exif=exif)
    photo = one(tmp_path / "photos")
    assert (photo.width, photo.height) == (240, 360)
    stored = np.zeros((120, 180), np.uint8)
    stored[:, :90] = 255
    seen = load_mask(save(tmp_path / "m" / "stored.png", stored), photo)
    assert seen.shape == (360, 240) and seen[:180].all() and not seen[180:].any()
    upright = save(tmp_path / "m" / "upright.png", formats.apply_orientation(stored, 6))
    np.testing.assert_array_equal(load_mask(upright, photo), seen)
    with pytest.raises(InputError, match=r"100 x 100.*240 x 360"):
        load_mask(save(tmp_path / "m" / "square.png", np.ones((100, 100), np.uint8)), photo)
    (tmp_path / "m" / "text.png").write_text("no")
    with pytest.raises(InputError, match="not a picture"):
        load_mask(tmp_path / "m" / "text.png", photo)


def test_transparency_is_a_mask(tmp_path: Path) -> None:
    cut = np.dstack([texture(60, 100), texture(60, 100), texture(60, 100), np.full((60, 100), 255, np.uint8)])
    cut[:, :40, 3] = 0
    exif = Pil.Exif()
    exif[0x0112] = 3
    save(tmp_path / "a.png", cut, exif=exif)
    seen = alpha_mask(one(tmp_path))
    assert seen is not None and seen[:, :60].all() and not seen[:, 60:].any()
    cut[..., 3] = 255
    save(tmp_path / "a.png", cut)
    assert alpha_mask(one(tmp_path)) is None
    save(tmp_path / "a.png", texture(60, 100))
    assert alpha_mask(one(tmp_path)) is None


def test_the_last_photo_has_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for height in (240, 250, 260):
        save(tmp_path / "photos" / f"{height}.png", texture(height, 320))
    threads = []
    monkeypatch.setattr(extract, "cores", lambda: 2)
    monkeypatch.setattr(extract, "map_items", map)
    monkeypatch.setattr(extract, "detect", lambda *given: threads.append(cv2.getNumThreads()) or detect(*given))
    photos, _ = scan(tmp_path / "photos")
    (tmp_path / "features").mkdir()
    config = FeatureConfig("rootsift", DetectorConfig(threshold=0.005), fused=False)
    extract_features(photos, config, tmp_path / "features", progress=Silent())
    assert threads == [1, 1, 2] and cv2.getNumThreads() == 1


def test_what_is_transparent_or_masked_has_no_keypoints(tmp_path: Path) -> None:
    cut = np.dstack([texture(240, 320)] * 3 + [np.full((240, 320), 255, np.uint8)])
    cut[:, :160, 3] = 0
    save(tmp_path / "photos" / "a.png", cut)
    mask = np.full((240, 320), 255, np.uint8)
    mask[:120] = 0
    save(tmp_path / "masks" / "a.png", mask)
    photo = one(tmp_path / "photos")
    config = FeatureConfig("rootsift", DetectorConfig(threshold=0.005), max_side=200)

    def centres(name: str, masks: Path | None) -> np.ndarray:
        return extract_features([photo], config, tmp_path / name, masks=masks, progress=Silent()).load(0).xy

    (tmp_path / "alone").mkdir()
    (tmp_path / "both").mkdir()
    x, y = centres("alone", None).T
    assert len(x) > 20 and x.min() > 158 and y.min() < 110
    x, y = centres("both", tmp_path / "masks").T
    assert len(x) > 10 and x.min() > 158 and y.min() > 118


def test_a_photo_whose_transparency_cannot_be_read_is_left_out_and_a_bad_mask_ends_the_run(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("Comment", "x" * 3_000_000, zip=True)  # more than Pillow reads; OpenCV does not mind
    odd = save(tmp_path / "photos" / "odd.png", texture(60, 100), pnginfo=text)
    save(tmp_path / "photos" / "good.png", texture(60, 100, seed=1))
    photos, rejected = scan(tmp_path / "photos")
    assert not rejected
    (tmp_path / "features").mkdir()
    config, (good, _) = FeatureConfig("rootsift"), photos
    files = extract_features(photos, config, tmp_path / "features", progress=Silent())
    assert files.photos == (good,) and [one.name for one in files.rejected] == ["odd.png"]
    assert photo_of("odd.png", odd, Camera("SIMPLE_PINHOLE", 100, 60, (80, 50, 30), "given")).width == 100
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "good.png").write_text("no")
    with pytest.raises(InputError, match="The mask"):
        extract_features(photos, config, tmp_path / "features", masks=tmp_path / "masks", progress=Silent())
