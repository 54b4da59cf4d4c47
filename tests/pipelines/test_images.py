"""Photos of every kind a user may have: what is read, what is refused, and in which words."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_photos import BLUE, GREEN, GREY, RED, close, corners, encoded, one, quarters, save, texture, why
from PIL import Image as Pil
from PIL import PngImagePlugin

from pipelines.core.errors import InputError
from pipelines.images import formats
from pipelines.images.label import cut, label
from pipelines.images.read import natural_key, read_color, read_color_image, read_gray, scan
from pipelines.images.write import write_picture

# --- formats -------------------------------------------------------------------------------------------------

FORMATS = {
    "jpg": {"quality": 95},
    "png": {},
    "webp": {"lossless": True},
    "tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "deflate.tiff": {"compression": "tiff_adobe_deflate"},
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", FORMATS)
def test_exif_orientation_is_applied_once_in_every_format(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Pil.Exif()
    exif[0x0112] = orientation
    # What the sensor stored, so that the upright photo is corners(): the inverse of the orientation.
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    stored = formats.apply_orientation(corners(), inverse)
    save(tmp_path / f"a.{suffix}", stored, exif=exif, **FORMATS[suffix])
    photo = one(tmp_path)
    assert (photo.width, photo.height, photo.exif.orientation) == (120, 80, orientation)
    for max_side in (0, 60):
        image = read_color_image(photo, max_side)
        assert image.pixels.shape == ((80, 120, 3) if not max_side else (40, 60, 3))
        assert image.scale == ((1, 1) if not max_side else (2, 2))
        assert close(quarters(image.pixels), [RED, GREEN, BLUE, GREY]), quarters(image.pixels)
        assert close(quarters(read_gray(photo, max_side).pixels), [(82,), (151,), (37,), (200,)])


def test_the_orientations_are_those_of_the_exif_norm() -> None:
    # EXIF 2.3, 4.6.4 A: which corner of the scene the 0th row and the 0th column of the stored picture show.
    from PIL import ImageOps

    for orientation in range(1, 9):
        picture = Pil.fromarray(corners())
        exif = picture.getexif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", exif=exif)
        expected = np.asarray(ImageOps.exif_transpose(Pil.open(buffer)))
        np.testing.assert_array_equal(formats.apply_orientation(corners(), orientation), expected)


def _png_with(kind: bytes, content: bytes, *, behind: bool) -> np.ndarray:
    """A PNG with one chunk more, before or behind its pixels."""
    plain = encoded("png")
    chunk = len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
    at = plain.index(b"IEND" if behind else b"IDAT") - 4
    return np.frombuffer(plain[:at] + chunk + plain[at:], np.uint8)


@pytest.mark.parametrize("behind", [False, True])
def test_a_png_is_turned_by_exif_and_xmp_wherever_they_stand(tmp_path: Path, behind: bool) -> None:
    exif = Pil.Exif()
    exif[0x0112] = 6
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'
    for kind, content in ((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")), (b"iTXt", xmp)):
        _png_with(kind, content, behind=behind).tofile(tmp_path / "a.png")
        photo = one(tmp_path)
        assert (photo.exif.orientation, photo.width, photo.height) == (6, 240, 320)


def test_a_png_is_not_decoded_for_exif_that_it_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda _: pytest.fail("it was decoded"))
    with formats.open_picture(_png_with(b"tEXt", b"Comment\0by hand", behind=True)) as picture:
        assert not picture.getexif()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_colour_modes(tmp_path: Path, mode: str, suffix: str) -> None:
    picture = Pil.fromarray(corners()).convert(mode, dither=Pil.Dither.NONE)
    try:
        picture.save(tmp_path / f"a.{suffix}")
    except OSError:
        pytest.skip(f"{suffix} has no mode {mode}")
    photo = one(tmp_path)
    colour, grey = read_color(photo), read_gray(photo).pixels
    assert colour.shape == (80, 120, 3) and grey.shape == (80, 120)
    assert colour.dtype == grey.dtype == np.uint8
    expected = np.asarray(picture.convert("RGB"))
    assert close(quarters(colour), quarters(expected))
    assert close(quarters(grey), quarters(np.asarray(Pil.fromarray(expected).convert("L"))))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_over_the_whole_range_is_divided_by_257(tmp_path: Path, suffix: str) -> None:
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), corners()[:, :, ::-1].astype(np.uint16) * 257)
    photo = one(tmp_path)
    assert close(quarters(read_color(photo)), [RED, GREEN, BLUE, GREY], 1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_12_bit_in_16_and_thermal_photos_are_stretched(tmp_path: Path, suffix: str) -> None:
    scene = texture(90, 130).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), 7000 + 4 * scene)
    pixels = read_gray(one(tmp_path)).pixels
    assert np.corrcoef(pixels.ravel(), scene.ravel())[0, 1] > 0.999
    assert pixels.min() == 0 and pixels.max() == 255 and pixels.std() > 30


@pytest.mark.parametrize("depth", ["float32", "float64", "int16", "int32", "uint32"])
def test_colour_photos_of_any_depth_are_read(tmp_path: Path, depth: str) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), corners()[:, :, ::-1].astype(depth) * 3)
    photo = one(tmp_path)
    red, green, blue, grey = quarters(read_color(photo))
    assert red[0] > 250 and green[1] > 250 and blue[2] > 250 and max(red[1], red[2], green[0], blue[0]) == 0
    assert len(set(grey)) == 1
    assert read_gray(photo).pixels.std() > 30


def test_a_grey_photo_of_64_bit_is_read_in_colour_too(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), texture(90, 130).astype(np.float64))
    photo = one(tmp_path)
    assert np.corrcoef(read_color(photo)[:, :, 1].ravel(), read_gray(photo).pixels.ravel())[0, 1] > 0.999


def test_float_photos_are_stretched_and_nan_is_black(tmp_path: Path) -> None:
    scene = texture(90, 130).astype(np.float32) / 50 - 2
    scene[:5, :5] = np.nan
    Pil.fromarray(scene).save(tmp_path / "a.tif")
    pixels = read_gray(one(tmp_path)).pixels
    assert (pixels[:5, :5] == 0).all()
    assert np.corrcoef(pixels[5:].ravel(), scene[5:].ravel())[0, 1] > 0.999


@pytest.mark.parametrize("suffix", ["png", "gif", "webp", "tif"])
def test_of_an_animation_the_first_picture_counts(tmp_path: Path, suffix: str) -> None:
    frames = [Pil.fromarray(corners()), Pil.fromarray(255 - corners())]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert close(quarters(read_color(one(tmp_path))), [RED, GREEN, BLUE, GREY], 30)


# --- working size --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(601, 901), (1203, 1604), (640, 4099)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_working_pixels_lie_where_scale_says(tmp_path: Path, height: int, width: int, suffix: str) -> None:
    """A blob keeps its full-resolution centre through reduced decoding, shrinking and the half-pixel rule."""
    y, x = np.mgrid[:height, :width]
    centre = np.array([width * 0.7, height * 0.4])
    blob = 250 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * (height / 16) ** 2))
    save(tmp_path / f"a.{suffix}", blob.astype(np.uint8), **({"quality": 97} if suffix == "jpg" else {}))
    photo = one(tmp_path)
    for max_side in (width, 640, 201):
        image = read_gray(photo, max_side)
        assert max(image.pixels.shape) == min(max_side, width)
        weight = np.where(image.pixels > 3, image.pixels, 0).astype(float)
        yy, xx = np.mgrid[: image.pixels.shape[0], : image.pixels.shape[1]]
        found = np.array([[(weight * xx).sum(), (weight * yy).sum()]]) / weight.sum()
        assert np.abs(image.to_full(found) - centre).max() < 0.02 * max(image.scale) + 0.03
        np.testing.assert_allclose(image.from_full(image.to_full(found)), found, atol=1e-3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_working_pixels_lie_where_scale_says_whatever_the_orientation(tmp_path: Path, orientation: int) -> None:
    y, x = np.mgrid[:601, :901]
    blob = 250 * np.exp(-((x - 600) ** 2 + (y - 250) ** 2) / (2 * 40**2))
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Pil.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "a.jpg", formats.apply_orientation(blob.astype(np.uint8), inverse), exif=exif, quality=97)
    image = read_gray(one(tmp_path), 100)
    weight = np.where(image.pixels > 3, image.pixels, 0).astype(float)
    yy, xx = np.mgrid[: image.pixels.shape[0], : image.pixels.shape[1]]
    found = np.array([[(weight * xx).sum(), (weight * yy).sum()]]) / weight.sum()
    assert np.abs(image.to_full(found) - (600, 250)).max() < 0.25


def test_photos_are_not_enlarged(tmp_path: Path) -> None:
    save(tmp_path / "a.png", corners())
    image = read_gray(one(tmp_path), 5000)
    assert image.pixels.shape == (80, 120) and image.scale == (1, 1)


# --- bad files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_a_truncated_photo_is_rejected(tmp_path: Path, suffix: str, share: float) -> None:
    data = encoded(suffix)
    (tmp_path / f"a.{suffix}").write_bytes(data[: int(len(data) * share)])
    assert why(tmp_path)


def test_reasons_are_in_plain_words(tmp_path: Path) -> None:
    png, jpg = bytearray(encoded("png")), encoded("jpg")
    png[len(png) // 2] ^= 0xFF
    cases = {
        "empty.jpg": (b"", "0 bytes"),
        "text.jpg": (b"I am not a photo\n" * 50, "text file"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "web page"),
        "zeros.jpg": (bytes(5000), "zeros"),
        "random.jpg": (np.random.default_rng(0).bytes(5000), "not a picture"),
        "damaged.png": (bytes(png), "checksum"),
        "cut.png": (bytes(encoded("png")[:2000]), "ends before"),
        "cut.jpg": (jpg[:3000], "ends before"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        "apple.heic": (b"\0\0\0\x18ftypheic" + bytes(200), "pillow-heif"),
        "raw.CR2": (b"II*\0", "raw"),
    }
    for name, (data, _) in cases.items():
        (tmp_path / name).write_bytes(data)
    save(tmp_path / "narrow.png", np.zeros((10, 30000), np.uint8))
    save(tmp_path / "good.png", corners())
    photos, rejected = scan(tmp_path)
    assert [photo.name for photo in photos] == ["good.png"]
    said = {item.name: item for item in rejected}
    assert set(said) == {*cases, "narrow.png"}
    for name, (_, text) in cases.items():
        assert text in said[name].why, (name, said[name].why)
    assert "30000 x 10" in said["narrow.png"].why and "32" in said["narrow.png"].why
    assert all(item.try_ for item in rejected)


def test_a_photo_beyond_what_can_be_decoded_is_rejected_by_its_header(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    assert "40000 x 40000" in why(tmp_path)


def test_a_file_that_changes_after_the_scan_is_an_input_error(tmp_path: Path) -> None:
    path = save(tmp_path / "a b ü.png", corners())
    photo = one(tmp_path)
    save(path, corners(100, 120))
    with pytest.raises(InputError, match="changed"):
        read_gray(photo)
    path.write_bytes(b"gone")
    with pytest.raises(InputError, match=r"a b ü\.png"):
        read_color(photo)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_gray(photo)


# --- folders -------------------------------------------------------------------------------------------------


def test_folders_names_and_order(tmp_path: Path) -> None:
    names = ["img10.png", "img2.png", "b/img1.png", "b/Ünï cödé 写真 1.png", "a.b c/x.PNG"]
    for number, name in enumerate(names):
        save(tmp_path / name, corners(80 + 2 * number, 120))
    hidden, own = (".hidden.png", ".cache/x.png", "__MACOSX/x.png"), ("run/x.png", "cloud/x.png", "nerf/images/x.png")
    for skipped in (*hidden, *own, "masks/m.png"):
        save(tmp_path / skipped, corners())
    for mark in ("run/recon.json", "cloud/dense.json", "nerf/recon-export.json"):
        (tmp_path / mark).write_text("{}")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "img2.dng").write_bytes(b"II*\0")
    (tmp_path / "loop").symlink_to(tmp_path)
    photos, rejected = scan(tmp_path, exclude=[tmp_path / "masks"])
    assert not rejected
    assert [photo.name for photo in photos] == [
        "a.b c/x.PNG", "b/img1.png", "b/Ünï cödé 写真 1.png", "img2.png", "img10.png",
    ]  # fmt: skip
    assert all(read_gray(photo).pixels.shape == (photo.height, photo.width) for photo in photos)
    assert len({photo.content for photo in photos}) == 5


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_pictures_that_recon_wrote_are_no_photos_of_a_folder(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "a.png", corners())
    own = tmp_path / f"made.{suffix}"
    write_picture(own, corners())
    photos, rejected = scan(tmp_path)
    assert [photo.name for photo in photos] == ["a.png"]
    assert [(item.name, item.why) for item in rejected] == [(own.name, "it is no photo, recon made it")]
    assert [photo.name for photo in scan([own])[0]] == [own.name]


def test_content_is_the_sha256_of_the_file_and_not_of_its_name(tmp_path: Path) -> None:
    import hashlib

    for name in ("a.png", "b.png"):
        save(tmp_path / name, corners())
    first, second = scan(tmp_path)[0]
    assert first.content == second.content == hashlib.sha256(first.path.read_bytes()).hexdigest()


def test_no_photos_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        scan(tmp_path / "missing")
    with pytest.raises(InputError, match="holds nothing"):
        scan(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="1 other files"):
        scan(tmp_path)
    with pytest.raises(InputError, match="it is a file"):
        scan(tmp_path / "a.txt")
    with pytest.raises(InputError, match="No photos were given"):
        scan([])


def test_single_files_are_named_from_their_common_folder(tmp_path: Path) -> None:
    given = [save(tmp_path / "x" / "b.png", corners()), save(tmp_path / "y" / "a.png", corners())]
    photos, rejected = scan([*given, given[0], tmp_path / "y" / "missing.png"])
    assert [photo.name for photo in photos] == ["x/b.png", "y/a.png"]
    assert [(item.name, item.why) for item in rejected] == [("y/missing.png", "there is no such file")]
    assert [photo.name for photo in scan(given[:1])[0]] == ["b.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_rejected(tmp_path: Path) -> None:
    save(tmp_path / "a.png", corners()).chmod(0)
    assert "denied" in why(tmp_path)


def test_natural_order() -> None:
    names = ["a10", "a9", "A1", "a01b", "b", "a", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "A1", "a01b", "a9", "a10", "b"]


def test_a_damaged_video_is_told_in_our_sentence_alone(tmp_path):
    (tmp_path / "half.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom")
    code = (
        "from pathlib import Path\nfrom pipelines.core.errors import InputError\n"
        "from pipelines.images.video import video_frames\n"
        f"try:\n    video_frames(Path({str(tmp_path / 'half.mp4')!r}), 1).__enter__()\n"
        "except InputError as error:\n    print(error)"
    )
    # In a process of its own: FFmpeg asks once how much it is to say.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "half.mp4 cannot be read" in done.stdout and done.stderr == ""


def test_labels_show_names_of_every_script_and_stay_in_the_picture() -> None:
    def drawn(text: str) -> np.ndarray:
        picture = np.full((60, 300, 3), 200, np.uint8)
        label(picture, text, (290, 5), 20, (0, 0, 0), (255, 255, 255))
        assert (picture[0, 0] == 200).all() and (picture < 100).any()
        return picture

    different = [drawn(text) for text in ("é", "ü", "ж", "写", "真", "?")]  # a font without them shows one box for all
    assert not any((a == b).all() for k, a in enumerate(different) for b in different[:k])
    drawn("not Unicode: \udcff")
    drawn(cut(60 * "long" + ".jpg", 12))
    assert cut("short.jpg") == "short.jpg" and cut(60 * "a" + "7.jpg", 8) == "…aa7.jpg"
