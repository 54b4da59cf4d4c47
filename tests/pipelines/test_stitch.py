"""The stages of stitching against hand-worked values, drawn spheres and the sample photos' exact truth."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from pipelines.core.errors import ConfigError, InputError, NoModelError, NoOverlapError
from pipelines.core.progress import Silent
from pipelines.core.types import Photo
from pipelines.stitch.adjust import Prior, Sights, Turned, adjust, columns, linearise, rays, residuals, rotation
from pipelines.stitch.crop import largest_rectangle
from pipelines.stitch.exposure import find_gains
from pipelines.stitch.limits import check_size
from pipelines.stitch.overlap import Overlap, components, settle
from pipelines.stitch.photos import find_photos
from pipelines.stitch.projection import PROJECTIONS, Canvas, Piece, choose, lay_out, straighten
from pipelines.stitch.run import StitchConfig, stitch
from pipelines.stitch.told import plain
from pipelines.stitch.warp import TurnedView, warp

SIZE = (400, 300)


def ring(count: int, step: float, focal: float = 350.0, k: float = 0.0) -> Turned:
    """Cameras that turn by ``step`` degrees each, level."""
    turns = Rotation.from_euler("y", -step * np.arange(count)[:, None], degrees=True).as_matrix()
    return Turned(turns, np.array([focal]), np.array([k]), np.zeros(count, np.int64))


def sights(cameras: Turned, pairs: list[tuple[int, int]], random: np.random.Generator, noise: float) -> Sights:
    """Matches of random directions, projected by Newton's method on the camera's own pixel-to-ray function."""
    source, target, x, y = [], [], [], []
    for i, j in pairs:
        pixels = random.uniform(-0.5, 0.5, (300, 2)) * SIZE
        group = np.full(300, cameras.group[i])
        flat = rays(pixels, cameras.focals[group], cameras.distortions[group])
        other = (cameras.rotations[j] @ cameras.rotations[i].T @ np.c_[flat, np.ones(300)].T).T
        wanted = other[:, :2] / other[:, 2:]
        seen = wanted * cameras.focal(j)
        for _ in range(50):
            seen += (wanted - rays(seen, cameras.focals[group], cameras.distortions[group])) * cameras.focal(j)
        inside = (np.abs(seen) < np.array(SIZE) / 2).all(1) & (other[:, 2] > 0)
        x.append(pixels[inside])
        y.append(seen[inside])
        source.append(np.full(inside.sum(), i))
        target.append(np.full(inside.sum(), j))
    x, y = np.concatenate(x), np.concatenate(y)
    return Sights(np.concatenate(source), np.concatenate(target), x + random.normal(0, noise, x.shape), y)


def turned_apart(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Angles in degrees between two sets of (N,3,3) cam_from_world, after the best common turn of the world."""
    common = Rotation.from_matrix(found.transpose(0, 2, 1) @ truth).mean().as_matrix()
    return np.degrees(Rotation.from_matrix(found @ common @ truth.transpose(0, 2, 1)).magnitude())


# --- overlaps ---------------------------------------------------------------------------------------------------------


def pair(inliers: int, matches: int) -> Overlap:
    return Overlap(np.zeros((inliers, 2)), np.zeros((inliers, 2)), np.eye(3), matches)


def test_brown_and_lowes_test_by_hand():
    assert not pair(38, 100).kept and pair(39, 100).kept  # 8 + 0.3 x 100 = 38
    assert not pair(10, 10).kept and pair(12, 12).kept


def test_components_are_the_largest_first_and_rejected_pairs_join_nothing():
    pairs = {(0, 3): pair(90, 100), (1, 2): pair(80, 90), (2, 4): pair(70, 100), (3, 4): pair(20, 100)}
    assert components(6, pairs) == [[1, 2, 4], [0, 3], [5]]


# --- adjustment -------------------------------------------------------------------------------------------------------


def test_derivatives_agree_with_differences():
    random = np.random.default_rng(0)
    truth = Turned(rotation(random.normal(0, 0.2, (3, 3))), np.array([300.0, 420]), np.array([-0.1, 0.05]),
                   np.array([0, 1, 0]))  # fmt: skip
    some = Sights(np.array([0, 1, 2, 0]), np.array([1, 2, 0, 2]), random.uniform(-100, 100, (4, 2)),
                  random.uniform(-100, 100, (4, 2)))  # fmt: skip
    _, parts = linearise(truth, some)
    names = columns(truth, some.source, some.target)
    whole = np.zeros((4, 2, 13))
    for row in range(4):
        for part in range(10):
            whole[row, :, names[row, part]] += parts[:, part, row]
    h = 1e-6
    for column in range(13):
        ends = []
        for sign in (1, -1):
            step = np.zeros(13)
            step[column] = sign * h
            moved = Turned(
                Rotation.from_rotvec(step[:9].reshape(3, 3)).as_matrix() @ truth.rotations,
                truth.focals * np.exp(step[9:11]),
                truth.distortions + step[11:],
                truth.group,
            )
            ends.append(residuals(moved, some))
        np.testing.assert_allclose(whole[:, :, column], (ends[0] - ends[1]) / (2 * h), rtol=1e-5, atol=1e-4)


def test_adjustment_finds_rotations_focal_length_and_distortion_among_wrong_matches():
    random = np.random.default_rng(1)
    truth = ring(5, 20, k=-0.08)
    seen = sights(truth, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (2, 4)], random, 0.2)
    wrong = random.random(len(seen.x)) < 0.05
    seen.y[wrong] += random.uniform(-30, 30, (wrong.sum(), 2))
    start = Turned(rotation(random.normal(0, 0.05, (5, 3))) @ truth.rotations, np.array([430.0]), np.zeros(1),
                   truth.group)  # fmt: skip
    found = adjust(start, seen, Prior(np.array([430.0]), np.array([0.6])), robust=1.0)
    assert found.focals[0] == pytest.approx(350, rel=0.005)
    assert found.distortions[0] == pytest.approx(-0.08, abs=0.01)
    assert turned_apart(found.rotations, truth.rotations).max() < 0.05


def test_nothing_is_left_to_gain_after_an_adjustment_among_wrong_matches():
    random = np.random.default_rng(2)
    truth = ring(4, 20, k=0.1)
    seen = sights(truth, [(0, 1), (1, 2), (2, 3), (0, 2)], random, 0.4)
    wrong = random.random(len(seen.x)) < 0.3
    seen.y[wrong] += random.uniform(-25, 25, (wrong.sum(), 2))
    start = Turned(rotation(random.normal(0, 0.03, (4, 3))) @ truth.rotations, np.array([430.0]), np.zeros(1),
                   truth.group)  # fmt: skip
    found = adjust(start, seen, Prior(np.array([430.0]), np.array([0.6])), robust=1.0)

    def loss(step):
        cameras = Turned(rotation(step[:12].reshape(4, 3)) @ found.rotations, found.focals * np.exp(step[12:13]),
                         found.distortions + step[13:], found.group)  # fmt: skip
        distance = np.linalg.norm(residuals(cameras, seen.both_ways()), axis=1)
        priors = np.log(cameras.focals[0] / 430) / 0.6, cameras.distortions[0] / 0.05
        huber = np.where(distance < 1, 0.5 * distance**2, distance - 0.5)
        return huber.sum() + 0.5 * np.square(priors).sum()

    other = minimize(loss, np.zeros(14), method="BFGS")
    assert other.fun > loss(np.zeros(14)) * (1 - 1e-5)


# --- projection -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(PROJECTIONS))
def test_lift_undoes_flatten(name):
    random = np.random.default_rng(2)
    directions = np.c_[random.uniform(-1, 1, (50, 2)), np.ones(50)]
    back = PROJECTIONS[name].lift(PROJECTIONS[name].flatten(directions))
    np.testing.assert_allclose(np.cross(directions, back), 0, atol=1e-12)
    assert ((directions * back).sum(1) > 0).all()


def test_horizon_is_level_whatever_the_world_was():
    random = np.random.default_rng(3)
    level = Rotation.from_euler("y", [[-40], [-15], [10], [35]], degrees=True).as_matrix()
    tilt = Rotation.from_euler("x", [[4], [-3], [5], [-2]], degrees=True).as_matrix()
    for _ in range(5):
        world = Rotation.random(rng=random).as_matrix()
        found = straighten(tilt @ level @ world)
        np.testing.assert_allclose(found[:, 0, 1], 0, atol=1e-9)  # the cameras' x axes have no y
        assert (found[:, 1, 1] > 0.9).all()  # and their y axes point down
        ahead = np.degrees(np.arctan2(found[:, 2, 0], found[:, 2, 2]))
        np.testing.assert_allclose(ahead, np.array([37.5, 12.5, -12.5, -37.5]) * np.sign(ahead[0]), atol=1e-6)


def test_projection_by_field_of_view_and_canvas_of_a_full_circle():
    assert choose(ring(2, 15), [SIZE] * 2) == "plane"
    assert choose(ring(5, 20), [SIZE] * 5) == "cylinder"
    whole = ring(12, 30)
    canvas = lay_out(whole, [SIZE] * 12, "cylinder", 350.0)
    assert canvas.width == pytest.approx(2 * np.pi * 350, abs=1)
    # A cylinder touches the photos in their middle columns: it is as high as they are.
    assert canvas.height == pytest.approx(SIZE[1], abs=1)
    with pytest.raises(ConfigError, match="sphere"):
        lay_out(whole, [SIZE] * 12, "plane", 350.0)


@pytest.mark.parametrize("name", ["cylinder", "sphere"])
def test_warped_photos_agree_with_the_world_they_were_drawn_from(name):
    def colour(directions: np.ndarray) -> np.ndarray:
        unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
        return 128 + 100 * np.sin(7 * unit + [0.3, 1.1, 2.0])

    cameras = ring(12, 30, k=-0.05)
    canvas = lay_out(cameras, [SIZE] * 12, name, 350.0)
    across = canvas.origin[0] + np.arange(canvas.width) / canvas.scale
    along = canvas.origin[1] + np.arange(canvas.height) / canvas.scale
    world = colour(PROJECTIONS[name].lift(np.stack(np.meshgrid(across, along), -1).reshape(-1, 2)))
    world = world.reshape(canvas.height, canvas.width, 3)
    x, y = np.meshgrid(np.arange(SIZE[0]) - (SIZE[0] - 1) / 2, np.arange(SIZE[1]) - (SIZE[1] - 1) / 2)
    pixels = np.column_stack([x.ravel(), y.ravel()])
    flat = rays(pixels, np.full(len(pixels), 350.0), np.full(len(pixels), -0.05))
    covered = np.zeros((canvas.height, canvas.width), bool)
    for piece in canvas.pieces:
        photo = colour(np.c_[flat, np.ones(len(flat))] @ cameras.rotations[piece.photo])
        photo = np.rint(photo).astype(np.uint8).reshape(SIZE[1], SIZE[0], 3)
        out, mask = warp(photo, TurnedView(cameras, name, [SIZE] * 12), piece, canvas, SIZE)
        at = slice(piece.top, piece.top + piece.height), slice(piece.left, piece.left + piece.width)
        assert np.abs(out.astype(float) - world[at])[mask > 0].max() < 1.5
        covered[at] |= mask > 0
    assert covered[canvas.height // 2].all(), "a full circle has no gap at its ends"


# --- rendering --------------------------------------------------------------------------------------------------------


def test_gains_undo_known_exposures():
    random = np.random.default_rng(4)
    scene = random.uniform(40, 120, (60, 200, 3))
    factors = np.array([[1.0, 1.0, 1.0], [1.5, 1.4, 1.6], [0.8, 0.7, 0.9]])
    pieces = tuple(Piece(i, left, 0, 80, 60) for i, left in enumerate((0, 60, 120)))
    canvas = Canvas("plane", 1.0, (0.0, 0.0), 200, 60, pieces)
    images = [np.rint(scene[:, p.left : p.left + 80] * factors[p.photo]).astype(np.uint8) for p in pieces]
    gains = find_gains(images, [np.full((60, 80), 255, np.uint8)] * 3, canvas, 3)
    level = gains * factors
    np.testing.assert_allclose(level / level[0], 1, atol=0.01)
    np.testing.assert_allclose(np.log(gains).sum(0), 0, atol=1e-6)


def test_largest_rectangle_against_all_rectangles():
    random = np.random.default_rng(5)
    for _ in range(20):
        inside = random.random((9, 11)) < 0.8
        best = max(
            (bottom - top) * (right - left)
            for top in range(9)
            for bottom in range(top + 1, 10)
            for left in range(11)
            for right in range(left + 1, 12)
            if inside[top:bottom, left:right].all()
        )
        left, top, right, bottom = largest_rectangle(inside)
        assert inside[top:bottom, left:right].all() and (bottom - top) * (right - left) == best
    disc = cv2.circle(np.zeros((3000, 3000), np.uint8), (1500, 1500), 1400, 1, -1) > 0
    left, top, right, bottom = largest_rectangle(disc)
    assert disc[top:bottom, left:right].all()
    assert (right - left) * (bottom - top) > 0.98 * 2 * 1400**2  # the square inside a circle


def test_a_canvas_that_is_too_large_is_refused_with_the_scale_that_fits():
    canvas = Canvas("plane", 1.0, (0.0, 0.0), 40000, 20000, ())
    with pytest.raises(ConfigError, match="800 megapixels are more than the 200 of") as told:
        check_size(canvas, 200)
    scale = float(told.value.try_.split("--scale ")[1].split(",")[0])
    assert 0.9 * 200 < 800 * scale**2 <= 200 and "cylinder" in told.value.try_
    with pytest.raises(ConfigError, match="7 x 2 pixels"):
        check_size(Canvas("plane", 0.003, (0.0, 0.0), 7, 2, ()), 200)
    with pytest.raises(ConfigError, match=r"20,000 megapixels take .* GB, more than the .* GB that are free"):
        check_size(Canvas("sphere", 1.0, (0.0, 0.0), 200_000, 100_000, ()), 1e9)


def test_where_a_group_falls_apart_the_decisive_pair_is_told_of_both_parts():
    photos = [Photo(f"{number}.jpg", Path(), *SIZE, "") for number in range(5)]
    places = np.zeros((100, 2))
    pairs = {pair: Overlap(places, places, np.eye(3), 100) for pair in ((0, 1), (1, 2), (2, 3), (3, 4))}

    def fit(members, kept, scale):
        return len(members), {pair: np.full(200, 50.0 if pair == (1, 2) else 1.0) for pair in kept}

    found = settle(photos, range(5), pairs, (fit,), max_error=4.0)
    assert [(one.members, one.model) for one in found] == [((2, 3, 4), 3), ((0, 1), 2)]
    assert [one.dropped for one in found] == [((1, 2, 50.0),)] * 2


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def panorama(sample_data, tmp_path_factory):
    photos, rejected = find_photos([str(sample_data / "panorama" / "images")])
    out = tmp_path_factory.mktemp("pano") / "pano.png"
    config = StitchConfig(scale=0.5)
    return stitch(photos[::-1], rejected, out, config, progress=Silent())


def test_cameras_of_the_sample_panorama_against_its_truth(panorama, sample_data):
    truth = json.loads((sample_data / "panorama" / "cameras.json").read_text())["photos"]
    (one,) = panorama.panoramas
    names = [panorama.photos[i].name for i in one.solved.members]
    assert sorted(names) == sorted(truth) and not panorama.unused
    meant = np.array([truth[name]["cam_from_world"] for name in names])[:, :, :3]
    assert turned_apart(one.solved.cameras.rotations, meant).max() < 0.05
    assert one.solved.cameras.focals == pytest.approx([853], rel=0.003)
    assert one.solved.rms < 0.6


def test_the_sample_panorama_is_level_and_evenly_lit(panorama, sample_data):
    truth = json.loads((sample_data / "panorama" / "cameras.json").read_text())["photos"]
    (one,) = panorama.panoramas
    meant = np.array([truth[panorama.photos[i].name]["cam_from_world"] for i in one.solved.members])[:, :, :3]
    # The world's z is up; the panorama's y is down.
    ups = meant @ [0, 0, 1]
    downs = one.solved.cameras.rotations[:, :, 1]
    # The photos were tilted by up to 1.5 degrees each at random, which the horizon is the mean of.
    assert np.degrees(np.arccos(np.clip(-(ups * downs).sum(1), -1, 1))).max() < 1.5
    assert one.canvas.name == "cylinder" and one.path.exists()
    told = plain(panorama)
    assert told["panoramas"][0]["warning"] is None
    json.dumps(told, allow_nan=False)
    assert len(told["panoramas"][0]["overlaps"]) == 4


def test_panoramas_are_told_largest_first_whatever_was_solved_first(sample_data, tmp_path, monkeypatch):
    for number in range(1, 6):
        photo = PIL.Image.open(sample_data / "panorama" / "images" / f"pano_{number}.jpg")
        photo = photo.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if number < 3 else photo
        photo.save(tmp_path / f"{number}.png")
    photos, _ = find_photos([str(tmp_path)])
    monkeypatch.setattr("pipelines.stitch.run.components", lambda *given: components(*given)[::-1])
    threads = cv2.getNumThreads()
    cv2.setNumThreads(3)
    found = stitch(photos, [], tmp_path / "x.jpg", StitchConfig(scale=0.2), progress=Silent()).panoramas
    assert cv2.getNumThreads() == 3  # others' number is not changed
    cv2.setNumThreads(threads)
    assert [(one.path.name, len(one.solved.members)) for one in found] == [("x-1.jpg", 3), ("x-2.jpg", 2)]


def test_no_files_and_no_overlap_are_different_messages(tmp_path, sample_data):
    with pytest.raises(InputError, match=r"No files match .*\*\.jpg"):
        find_photos([str(tmp_path / "*.jpg")])
    one = sample_data / "panorama" / "images" / "pano_1.jpg"
    with pytest.raises(InputError, match="at least two"):
        find_photos([str(one), str(one)])
    photos, _ = find_photos([str(one), str(one.with_name("pano_4.jpg"))])
    with pytest.raises(NoOverlapError, match=r"pano_1\.jpg"):
        stitch(photos, [], tmp_path / "x.jpg", StitchConfig(), progress=Silent())


def test_patterns_and_names_give_each_photo_once(sample_data):
    folder = sample_data / "panorama" / "images"
    photos, _ = find_photos([str(folder / "pano_[13].jpg"), str(folder / "pano_3.jpg"), str(folder / "pano_2.jpg")])
    assert [photo.name for photo in photos] == ["pano_1.jpg", "pano_2.jpg", "pano_3.jpg"]


def test_a_photo_that_was_zoomed_gets_a_focal_length_of_its_own(sample_data, tmp_path):
    for number in (1, 2, 3):
        photo = PIL.Image.open(sample_data / "panorama" / "images" / f"pano_{number}.jpg")
        if number == 2:  # the middle 80 %, enlarged to the size of the others
            photo = photo.resize((800, 600), PIL.Image.Resampling.BICUBIC, box=(80, 60, 720, 540))
        photo.save(tmp_path / f"{number}.png")  # without EXIF
    photos, _ = find_photos([str(tmp_path)])
    (one,) = stitch(photos, [], tmp_path / "x.png", StitchConfig(scale=0.3), progress=Silent()).panoramas
    assert len(one.solved.members) == 3
    focals = [one.solved.cameras.focal(i) for i in range(3)]
    assert focals == pytest.approx([853, 853 / 0.8, 853], rel=0.01)


def test_overlap_that_no_turning_camera_explains_is_no_panorama_and_said_so(sample_data, tmp_path):
    photo = PIL.Image.open(sample_data / "panorama" / "images" / "pano_3.jpg")
    photo.save(tmp_path / "a.png")
    # The same photo, sheared: a homography of it, but the rotation of no camera with square pixels.
    photo.transform((800, 600), PIL.Image.Transform.AFFINE, (1, 0.35, -105, 0, 1, 0)).save(tmp_path / "b.png")
    photos, _ = find_photos([str(tmp_path)])
    with pytest.raises(NoModelError, match=r"not as photos of one turning camera"):
        stitch(photos, [], tmp_path / "x.png", StitchConfig(), progress=Silent())
