"""Blending, tiles, full circles, exposure, depth and tags of panoramas, against what is known exactly."""

from __future__ import annotations

import re
import struct
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import PIL.Image
import pytest
from scipy.spatial.transform import Rotation

from pipelines.core.errors import ConfigError, OutputError
from pipelines.core.progress import Silent
from pipelines.core.types import Photo
from pipelines.images.read import scan
from pipelines.stitch import tiles
from pipelines.stitch.adjust import Turned, rays
from pipelines.stitch.blend import Blender, Layer, light
from pipelines.stitch.debug import Debug
from pipelines.stitch.exposure import local_gains, moderated
from pipelines.stitch.limits import check_size
from pipelines.stitch.pixels import Pixels
from pipelines.stitch.projection import PROJECTIONS, Canvas, Piece, lay_out
from pipelines.stitch.render import Rendered, render
from pipelines.stitch.seams import find_seams
from pipelines.stitch.tags import make_tags
from pipelines.stitch.warp import TurnedView
from pipelines.stitch.write import write

FOCAL, SIZE = 200.0, (240, 180)


def world_colour(directions: np.ndarray) -> np.ndarray:
    """(…,3) smooth colours of 60 to 180 all around."""
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return 120 + 60 * np.sin(9 * unit + [0.3, 1.1, 2.0])


def turned_photos(folder, count: int, step: float, *, deep: bool = False, gains=None) -> tuple[list[Photo], Turned]:
    """Photos of the made-up world from a camera that turns by ``step`` degrees."""
    rotations = Rotation.from_euler("y", -step * np.arange(count)[:, None], degrees=True).as_matrix()
    cameras = Turned(rotations, np.array([FOCAL]), np.zeros(1), np.zeros(count, np.int64))
    x, y = np.meshgrid(np.arange(SIZE[0]) - (SIZE[0] - 1) / 2, np.arange(SIZE[1]) - (SIZE[1] - 1) / 2)
    flat = rays(np.column_stack([x.ravel(), y.ravel()]), np.full(x.size, FOCAL), np.zeros(x.size))
    paths = []
    for index in range(count):
        picture = world_colour(np.c_[flat, np.ones(len(flat))] @ rotations[index]).reshape(SIZE[1], SIZE[0], 3)
        picture = picture * (1 if gains is None else gains[index])
        stored = np.rint(picture * 257).astype(np.uint16) if deep else np.rint(picture).astype(np.uint8)
        paths.append(folder / f"{index:02}.{'tif' if deep else 'png'}")
        cv2.imwrite(str(paths[-1]), stored[..., ::-1])
    photos = scan(paths)[0]
    assert len(photos) == count
    return photos, cameras


def expected(canvas: Canvas) -> np.ndarray:
    across = canvas.origin[0] + np.arange(canvas.width) / canvas.scale
    along = canvas.origin[1] + np.arange(canvas.height) / canvas.scale
    lifted = PROJECTIONS[canvas.name].lift(np.stack(np.meshgrid(across, along), -1).reshape(-1, 2))
    return world_colour(lifted).reshape(canvas.height, canvas.width, 3)


def rendered(photos, cameras, name="cylinder", **options) -> tuple[Rendered, Canvas]:
    canvas = lay_out(cameras, [SIZE] * len(photos), name, FOCAL)
    view = TurnedView(cameras, name, [SIZE] * len(photos))
    return render(Pixels(photos), view, canvas, progress=Silent(), **options), canvas


def blended(owner: np.ndarray, pictures: list[np.ndarray], depth: type) -> np.ndarray:
    """(64,128,3) pictures that lie all over a tile, shown where they are its owners."""
    out = np.zeros((64, 128, 3), depth)
    with ThreadPoolExecutor(2) as pool:
        blender = Blender(owner, 4, pool)
        blender.add([Layer(number, 0, 0, picture) for number, picture in enumerate(pictures, 1)])
        for rows in (slice(0, 30), slice(30, 64)):
            blender.write(rows, slice(0, 128), out[rows])
    return out


@pytest.mark.parametrize("deep", [False, True])
def test_a_single_layer_comes_back_and_two_meet_without_a_step(deep):
    depth, unit = (np.uint16, 257) if deep else (np.uint8, 1)
    pixels = (np.random.default_rng(0).integers(0, 255, (64, 128, 3)) * unit).astype(depth)
    picture = np.empty(pixels.shape, np.float32 if deep else np.uint8)
    light(pixels, np.ones(pixels.shape, np.float32), picture)
    assert (blended(np.ones((64, 128), np.uint8), [picture], depth) == pixels).all()
    owner = np.ones((64, 128), np.uint8)
    owner[:, 64:], owner[0] = 2, 0
    flat = [np.full((64, 128, 3), level, picture.dtype) for level in (100, 140)]
    made = blended(owner, flat, depth) / unit
    row = made[32, :, 0]
    assert row[0] == pytest.approx(100, abs=1.5) and row[-1] == pytest.approx(140, abs=1.5)
    assert np.abs(np.diff(row)).max() < 4  # of 40
    assert not made[0].any()


def test_a_full_circle_is_the_world_and_its_ends_meet(tmp_path):
    photos, cameras = turned_photos(tmp_path, 12, 30)
    made, canvas = rendered(photos, cameras)
    assert canvas.closed and canvas.width == round(2 * np.pi * canvas.scale)
    inside = made.mask > 0
    assert inside[canvas.height // 2].all()
    assert np.abs(made.pixels.astype(float) - expected(canvas))[inside].max() < 4
    rolled = np.roll(made.pixels.astype(float), 40, axis=1)  # the cut is now in the middle
    step = np.abs(np.diff(rolled, axis=1))[20:-20]
    assert step[:, 39].max() <= np.delete(step, 39, axis=1).max()


def test_tiles_give_the_same_picture_as_one(tmp_path, monkeypatch):
    photos, cameras = turned_photos(tmp_path, 12, 30, gains=np.linspace(0.9, 1.1, 12))
    whole, canvas = rendered(photos, cameras, compensate=False)
    monkeypatch.setattr(tiles, "_ONE_TILE", 10_000)
    monkeypatch.setattr(tiles, "_TILE", 256)
    parts, _ = rendered(photos, cameras, compensate=False)
    assert canvas.width > 4 * 256
    apart = np.abs(whole.pixels.astype(int) - parts.pixels)
    assert apart.max() <= 3 and (whole.mask == parts.mask).all()


def test_sixteen_bit_in_sixteen_bit_out(tmp_path):
    (tmp_path / "in").mkdir()
    photos, cameras = turned_photos(tmp_path / "in", 3, 25, deep=True)
    made, canvas = rendered(photos, cameras, "plane", deep=True)
    assert made.pixels.dtype == np.uint16
    inside = cv2.erode(made.mask, np.ones((5, 5), np.uint8)) > 0
    assert np.abs(made.pixels / 257 - expected(canvas))[inside].mean() < 0.2  # finer than 8 bit could be
    for name in ("x.tif", "x.png"):
        tags = make_tags(photos, canvas, made.mask.shape[::-1], (0, 0), turned=True)
        write(tmp_path / name, made, tags)
        read = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        assert read.dtype == np.uint16 and read.shape[2] == 4
        assert (read[..., 2::-1] == made.pixels).all() and (read[..., 3] == made.mask * np.uint16(257)).all()
    shallow, _ = rendered(photos, cameras, "plane", deep=False)
    assert shallow.pixels.dtype == np.uint8
    # Rounded when warped, when lit and when blended.
    assert np.abs(shallow.pixels - made.pixels / 257)[inside].max() < 1.51


def test_a_tiff_beyond_its_offsets_is_refused_and_leaves_nothing(tmp_path, sample_data, monkeypatch):
    photos = scan(sample_data / "panorama" / "images")[0][:2]
    monkeypatch.setattr("pipelines.stitch.write._TIFF_BYTES", 10_000)
    pixels = np.random.default_rng(0).integers(0, 255, (90, 180, 3), np.uint8)
    made = Rendered(pixels, np.full((90, 180), 255, np.uint8), np.ones((2, 3)))
    tags = make_tags(photos, Canvas("plane", 100.0, (0.0, 0.0), 180, 90, ()), (180, 90), (0, 0), turned=True)
    with pytest.raises(OutputError, match="at most 4 GB"):
        write(tmp_path / "x.tif", made, tags)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_is_kept_and_gpano_written(tmp_path, sample_data, suffix):
    photos = scan(sample_data / "panorama" / "images")[0][:2]
    canvas = Canvas("sphere", 100.0, (-1.0, -0.5), 200, 100, ())
    pixels = np.random.default_rng(0).integers(0, 255, (90, 180, 3), np.uint8)
    made = Rendered(pixels, np.full((90, 180), 255, np.uint8), np.ones((2, 3)), 10, 5)
    path = tmp_path / f"x{suffix}"
    write(path, made, make_tags(photos, canvas, (180, 90), (10, 5), turned=True))
    with PIL.Image.open(path) as picture, PIL.Image.open(photos[1].path) as source:
        assert picture.size == (180, 90) and picture.mode == "RGB"
        if suffix in (".png", ".tif"):
            assert (np.asarray(picture) == pixels).all()
        exif, meant = picture.getexif(), source.getexif()
        assert exif[0x0110] == meant[0x0110] and exif.get(0x0112, 1) == 1
        assert exif.get_ifd(0x8769)[0x9003] == meant.get_ifd(0x8769)[0x9003]  # when it was taken
        assert 0xA405 not in exif.get_ifd(0x8769)  # the focal length in film's terms is no longer true
        assert exif.get_ifd(0x8825)[2] == meant.get_ifd(0x8825)[2]
        xmp = picture.tag_v2[700] if suffix == ".tif" else picture.info["xmp"]
    told = dict(re.findall(r'GPano:(\w+)="([^"]*)"', xmp.decode() if isinstance(xmp, bytes) else xmp))
    assert told["ProjectionType"] == "equirectangular" and told["SourcePhotosCount"] == "2"
    assert (told["FullPanoWidthPixels"], told["FullPanoHeightPixels"]) == ("628", "314")
    # The canvas begins at -1 rad of -pi and -0.5 rad of -pi/2; the crop 10 and 5 px later.
    assert int(told["CroppedAreaLeftPixels"]) == round((np.pi - 1) * 100 - 0.5) + 10
    assert int(told["CroppedAreaTopPixels"]) == round((np.pi / 2 - 0.5) * 100 - 0.5) + 5


def test_gps_that_cannot_be_written_costs_tags_and_not_the_panorama(tmp_path):
    # Pillow writes no latitude below 0, but reads one.
    gps = struct.pack("<HHHIII6i", 1, 2, 10, 3, 44, 0, -5, 1, 0, 1, 0, 1)
    tags = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8825, 4, 1, 26, 0) + gps
    pixels = np.zeros((90, 180, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + tags)
    photos = scan(tmp_path)[0]
    with PIL.Image.open(photos[0].path) as picture:
        assert picture.getexif().get_ifd(0x8825) == {2: (-5, 0, 0)}
    made = Rendered(pixels, np.full((90, 180), 255, np.uint8), np.ones((1, 3)))
    canvas = Canvas("plane", 100.0, (0.0, 0.0), 180, 90, ())
    write(tmp_path / "x.jpg", made, make_tags(photos, canvas, (180, 90), (0, 0), turned=True))
    with PIL.Image.open(tmp_path / "x.jpg") as picture:
        assert not picture.getexif().get_ifd(0x8825)


def test_a_picture_larger_than_its_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="65,500 a side"):
        check_size(Canvas("cylinder", 1.0, (0, 0), 70_000, 100, ()), 400, longest=65_500)


def test_gains_do_not_burn_highlights_and_local_ones_close_the_gap():
    random = np.random.default_rng(1)
    scene = np.clip(random.normal(110, 30, (80, 200, 3)), 20, 235)
    scene = cv2.GaussianBlur(scene, (0, 0), 2)
    pieces = (Piece(0, 0, 0, 120, 80), Piece(1, 80, 0, 120, 80))
    canvas = Canvas("plane", 1.0, (0.0, 0.0), 200, 80, pieces)
    bright = scene[:, :120].copy()
    bright[:20, :20] = 230  # a window, which must stay drawn
    images = [bright.astype(np.uint8), (scene[:, 80:] * 1.3).clip(0, 255).astype(np.uint8)]
    masks = [np.full((80, 120), 255, np.uint8)] * 2
    gains = moderated(images, masks, canvas, np.array([[1.14] * 3, [1 / 1.14] * 3]))
    assert gains[0].max() >= 1 and (230 * gains[0]).max() <= 255 and gains[0].max() < 1.14
    assert (moderated(images, masks, canvas, np.ones((2, 3))) == 1).all()
    near = local_gains(images, masks, canvas)
    ratio = near[0][40, 100] / near[1][40, 20]
    np.testing.assert_allclose(ratio, 1.3, rtol=0.1)  # in the middle of the overlap both agree
    assert abs(near[0][40, 3] - 1) < abs(near[0][40, 100] - 1) / 2  # far from it little is changed


def test_every_stage_is_shown(tmp_path):
    photos, cameras = turned_photos(tmp_path, 3, 25)
    rendered(photos, cameras, "plane", debug=Debug(tmp_path / "debug"))
    names = [path.name for path in sorted((tmp_path / "debug").iterdir())]
    assert names == [
        "001-warp-00.jpg", "002-warp-01.jpg", "003-warp-02.jpg",
        "004-gains-before.jpg", "005-gains-after.jpg", "006-seams.jpg",
    ]  # fmt: skip


def overlapping_pictures(border: int) -> tuple[list[np.ndarray], list[np.ndarray], Canvas]:
    """Two pictures that overlap by 60 columns, where only the first has a bright ball; a border that no mask shows."""
    world = np.asarray(
        cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (80, 140, 3)).astype(np.uint8), (0, 0), 3)
    )
    with_ball = cv2.circle(world.copy(), (72, 40), 9, (255, 255, 255), -1)
    images, masks, pieces = [], [], []
    for photo, (shown, left) in enumerate(((with_ball[:, :100], 0), (world[:, 40:], 40))):
        images.append(cv2.copyMakeBorder(shown, *(border,) * 4, cv2.BORDER_REPLICATE))
        masks.append(np.pad(np.full(shown.shape[:2], 255, np.uint8), border))
        pieces.append(Piece(photo, left, 0, 100 + 2 * border, 80 + 2 * border))
    return images, masks, Canvas("plane", 1.0, (0.0, 0.0), 140 + 2 * border, 80 + 2 * border, tuple(pieces))


@pytest.mark.parametrize("border", [0, 16])
def test_seams_share_out_the_canvas_and_cut_no_ball_in_two_whatever_border_is_masked(border):
    images, masks, canvas = overlapping_pictures(border)
    left, right = find_seams(images, masks, canvas)
    shown = [np.zeros((canvas.height, canvas.width), bool) for _ in range(2)]
    for one, share, piece in zip(shown, (left, right), canvas.pieces, strict=True):
        one[piece.top : piece.top + piece.height, piece.left : piece.left + piece.width] = share > 0
    assert not (shown[0] & shown[1]).any()
    inner = slice(border, border + 80), slice(border, border + 140)
    assert (shown[0] | shown[1])[inner].all() and (shown[0] | shown[1]).sum() == 80 * 140
    ball = cv2.circle(np.zeros((80, 140), np.uint8), (72, 40), 9, 1, -1) > 0
    assert shown[0][inner][ball].all() or not shown[0][inner][ball].any()


def test_a_piece_that_shows_nothing_has_no_share():
    images, masks, canvas = overlapping_pictures(0)
    left, right = find_seams(images, [masks[0], np.zeros_like(masks[1])], canvas)
    assert (left == masks[0]).all() and not right.any()
