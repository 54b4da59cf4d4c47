"""Camera priors: where the numbers come from, how they follow a resized or turned photo, who shares a camera."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.types import Exif, Photo
from pipelines.images.cameras import (
    MODELS,
    CameraConfig,
    Intrinsics,
    assign_cameras,
    camera_prior,
    group_cameras,
)
from pipelines.images.formats import apply_orientation
from pipelines.images.intrinsics import parse_intrinsics
from pipelines.images.read import scan


def photo(name: str = "a.jpg", width: int = 1536, height: int = 1024, **exif: object) -> Photo:
    return Photo(name, Path(name), width, height, name, Exif(**exif))  # type: ignore[arg-type]


def config(text: str, model: str = "") -> CameraConfig:
    return CameraConfig(model, parse_intrinsics(text))


def test_the_models_are_pycolmaps() -> None:
    pycolmap = pytest.importorskip("pycolmap")
    for name, params in MODELS.items():
        camera = pycolmap.Camera.create_from_model_id(1, pycolmap.CameraModelId.__members__[name], 1000.0, 1536, 1024)
        assert camera.params_info.replace(" ", "").split(",") == list(params)
        # COLMAP's default camera is ours, half a pixel further.
        ours = camera_prior(photo(focal_px=1000.0), CameraConfig(name))
        shift = [0.5 if param in ("cx", "cy") else 0 for param in params]
        np.testing.assert_allclose(np.array(ours.params) + shift, camera.params)


def test_exif_beats_the_guess_and_the_user_beats_exif() -> None:
    guess = camera_prior(photo(), CameraConfig())
    assert (guess.model, guess.source, guess.params) == ("SIMPLE_RADIAL", "guess", (1.2 * 1536, 767.5, 511.5, 0))
    exif = camera_prior(photo(focal_px=1400.0), CameraConfig("PINHOLE"))
    assert (exif.model, exif.source, exif.params) == ("PINHOLE", "exif", (1400, 1400, 767.5, 511.5))
    given = camera_prior(photo(focal_px=1400.0), config("1380,760,507"))
    assert (given.model, given.source, given.params) == ("SIMPLE_PINHOLE", "given", (1380, 760, 507))


@pytest.mark.parametrize(
    ("text", "model", "expected_model", "params"),
    [
        ("1380, 1381, 760, 507", "", "PINHOLE", (1380, 1381, 760, 507)),
        ("1380 760 507 0.1", "SIMPLE_RADIAL", "SIMPLE_RADIAL", (1380, 760, 507, 0.1)),
        ("1380,760,507", "RADIAL", "RADIAL", (1380, 760, 507, 0, 0)),
        ("1380,1381,760,507", "OPENCV", "OPENCV", (1380, 1381, 760, 507, 0, 0, 0, 0)),
        ("1380,1381,760,507", "FOV", "FOV", (1380, 1381, 760, 507, 0.01)),
        ("1,2,760,507,5,6,7,8", "", "OPENCV", (1, 2, 760, 507, 5, 6, 7, 8)),
        ("2760,2762,1520.5,1014.5@3072x2048", "", "PINHOLE", (1380, 1381, 760, 507)),
    ],
)
def test_numbers(text: str, model: str, expected_model: str, params: tuple[float, ...]) -> None:
    camera = camera_prior(photo(), config(text, model))
    assert (camera.model, camera.width, camera.height) == (expected_model, 1536, 1024)
    np.testing.assert_allclose(camera.params, params)


def project(params: dict[str, float], rays: np.ndarray) -> np.ndarray:
    """OpenCV's projection of (N,3) rays, written out."""
    x, y = rays[:, 0] / rays[:, 2], rays[:, 1] / rays[:, 2]
    r2 = x * x + y * y
    radial = 1 + params["k1"] * r2 + params["k2"] * r2 * r2
    xd = x * radial + 2 * params["p1"] * x * y + params["p2"] * (r2 + 2 * x * x)
    yd = y * radial + params["p1"] * (r2 + 2 * y * y) + 2 * params["p2"] * x * y
    return np.stack([params["fx"] * xd + params["cx"], params["fy"] * yd + params["cy"]], 1)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_given_intrinsics_follow_exif_orientation_and_size(orientation: int) -> None:
    """Rays through the sensor land, after turning and halving, where turning the picture puts its pixels."""
    sensor = dict(zip(MODELS["OPENCV"], (2000.0, 2010.0, 1500.0, 1100.0, -0.1, 0.02, 0.003, -0.005), strict=True))
    width, height = 3072, 2048
    upright = photo(width=height // 2, height=width // 2, orientation=orientation)
    text = ",".join(map(str, sensor.values())) + f"@{width}x{height}"
    camera = camera_prior(upright, config(text))
    ours = dict(zip(MODELS["OPENCV"], camera.params, strict=True))
    index = np.arange(width * height).reshape(height, width)
    turned = apply_orientation(index, orientation)
    rng = np.random.default_rng(0)
    rays = np.column_stack([rng.uniform(-0.5, 0.5, 50), rng.uniform(-0.4, 0.4, 50), np.ones(50)])
    x, y = project(sensor, rays).round().astype(int).T
    row, column = np.divmod(np.flatnonzero(np.isin(turned.ravel(), index[y, x])), turned.shape[1])
    wanted = {turned[r, c]: (c, r) for r, c in zip(row, column, strict=True)}
    expected = (np.array([wanted[index[b, a]] for a, b in zip(x, y, strict=True)]) + 0.5) / 2 - 0.5
    # The ray itself turns as the pixels do.
    matrix = {5: [[0, 1], [1, 0]], 6: [[0, -1], [1, 0]], 7: [[0, -1], [-1, 0]], 8: [[0, 1], [-1, 0]]}[orientation]
    turned_rays = np.column_stack([rays[:, :2] @ np.array(matrix).T, rays[:, 2]])
    assert np.abs(project(ours, turned_rays) - expected).max() < 0.5


@pytest.mark.parametrize(
    ("text", "model", "says"),
    [
        ("2760,1520,1007", "", "@3072x2048"),
        ("1380,760", "", "too few"),
        ("1380,760,507,1,2,3", "", "6 numbers are no intrinsics"),
        ("1380,760,507,1,2", "OPENCV", "takes 8 numbers.*fx,fy,cx,cy"),
        ("-5,760,507", "", "not above 0"),
        ("nan,760,507", "", "finite"),
        ("f,cx,cy", "", "neither a file nor numbers"),
        ("1380,760,507@wide", "", "'wide' is no size"),
        ("1380,760,507@1024x1024", "", "1024 x 1024.*1536 x 1024"),
        ("missing/cameras.txt", "", "cannot be read"),
    ],
)
def test_wrong_intrinsics_are_explained(text: str, model: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        camera_prior(photo(), config(text, model))


def test_an_unknown_model_names_the_nearest() -> None:
    for wrong, near in (("simple-radial", "SIMPLE_RADIAL"), ("OPENCVV", "OPENCV"), ("PINHOL", "PINHOLE")):
        with pytest.raises(ConfigError, match=f"--camera-model {near}\\."):
            CameraConfig(wrong)


def test_files(tmp_path: Path) -> None:
    text = tmp_path / "cameras.txt"
    text.write_text("# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n1 SIMPLE_RADIAL 3072 2048 2760 1536 1024 0.01\n")
    camera = camera_prior(photo(), config(str(text)))
    assert camera.model == "SIMPLE_RADIAL"
    np.testing.assert_allclose(camera.params, (1380, 767.5, 511.5, 0.01))
    files = {
        "k.json": {"K": [[1380, 0, 760], [0, 1381, 507], [0, 0, 1]], "width": 1536, "height": 1024},
        "plain.json": {"fx": 1380, "fy": 1381, "cx": 760, "cy": 507},
        "nerf.json": {"fl_x": 2760, "fl_y": 2762, "cx": 1521, "cy": 1015, "w": 3072, "h": 2048, "k1": 0},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
        camera = camera_prior(photo(), config(str(tmp_path / name)))
        assert camera.model == "PINHOLE", name
        np.testing.assert_allclose(camera.params, (1380, 1381, 760, 507))
    (tmp_path / "d.json").write_text(json.dumps({**files["plain.json"], "dist": [0.1, 0.2, 0.3, 0.4]}))
    assert camera_prior(photo(), config(str(tmp_path / "d.json"))).params[4:] == (0.1, 0.2, 0.3, 0.4)
    for model, params in (("FOV", {"omega": 0.9}), ("EUCM", {"alpha": 0.6, "beta": 1.1}), ("DIVISION", {"k": -0.2})):
        (tmp_path / "m.json").write_text(json.dumps({**files["plain.json"], "model": model, **params}))
        assert camera_prior(photo(), config(str(tmp_path / "m.json"))).params[4:] == tuple(params.values())
    for bad, says in (("{", "lacks"), ('{"fx": 3}', "lacks"), ("1 PINHOLE 3\n", "a line"), ("", "0 cameras")):
        text.write_text(bad)
        with pytest.raises(ConfigError, match=says):
            parse_intrinsics(str(text))


def test_who_shares_a_camera() -> None:
    kodak = {"make": "Kodak", "model": "Z612", "focal_px": 1619.0}
    photos = [
        photo("1.jpg", **kodak),
        photo("2.jpg", **kodak),
        photo("3.jpg", **{**kodak, "focal_px": 2500.0}),
        photo("4.jpg", 1024, 1536, **kodak),
        photo("b/5.jpg", **kodak),
        photo("6.jpg"),
        photo("7.jpg", 1536, 1000),
        photo("8.jpg", **{**kodak, "focal_px": None}),
    ]
    assert group_cameras(photos, CameraConfig()) == [0, 0, 1, 2, 3, 4, 5, 6]
    assert group_cameras(photos, CameraConfig(single_camera=True)) == [0, 0, 0, 1, 0, 0, 2, 0]
    assert group_cameras(photos[:3] + photos[4:6], config("1380,760,507")) == [0] * 5
    cameras, index = assign_cameras(photos, CameraConfig(single_camera=True))
    assert index == [0, 0, 0, 1, 0, 0, 2, 0]
    assert [(camera.params[0], camera.source, camera.width) for camera in cameras] == [
        (1619.0, "exif", 1536),
        (1619.0, "exif", 1024),
        (1.2 * 1536, "guess", 1536),
    ]
    assert group_cameras([], CameraConfig()) == [] and assign_cameras([], CameraConfig()) == ([], [])


def test_photos_without_exif_share_a_camera_if_they_look_like_one_series() -> None:
    def groups(*named: tuple[str, int, int]) -> list[int]:
        return group_cameras([photo(*each) for each in named], CameraConfig())

    frames = [(f"v/frame_{number:04}.png", 1920, 1080) for number in (0, 30, 60)]
    assert groups(*frames) == [0, 0, 0]
    assert groups(*frames, ("v/frame_0090.png", 1080, 1920)) == [0, 0, 0, 1]
    # Two are too few to tell, other names are another series, another size means a collection.
    assert groups(*frames[:2]) == [0, 1]
    assert groups(*frames, ("v/from_web.png", 1920, 1080)) == [0, 0, 0, 1]
    assert groups(*frames, ("v/frame_0090.png", 1920, 1081)) == [0, 1, 2, 3]
    # Folders do not mix.
    assert groups(*frames, *[(name.replace("v/", "w/"), *size) for name, *size in frames]) == [0, 0, 0, 1, 1, 1]
    stripped = [photo(*each) for each in frames]
    assert group_cameras(stripped, CameraConfig(per_photo=True)) == [0, 1, 2]
    with pytest.raises(ConfigError, match="exclude"):
        CameraConfig(single_camera=True, per_photo=True)


def test_photos_of_a_map_keep_their_cameras_when_it_grows() -> None:
    frames = [photo(f"{number}.png") for number in range(5)]
    two, of_two = assign_cameras(frames[:2], CameraConfig())
    assert of_two == [0, 1]
    # A third makes a series of them, a cropped one ends a series.
    assert assign_cameras(frames[:3], CameraConfig(), two, of_two)[1] == [0, 1, 2]
    assert assign_cameras(frames, CameraConfig(), two, of_two)[1] == [0, 1, 2, 2, 2]
    series, of_series = assign_cameras(frames[:3], CameraConfig())
    assert of_series == [0, 0, 0]
    cropped = photo("3.png", 1500, 1024)
    assert assign_cameras([*frames[:3], cropped], CameraConfig(), series, of_series)[1] == [0, 0, 0, 1]
    assert assign_cameras(frames, CameraConfig(), series, of_series) == (series, [0] * 5)
    kodak = photo("k.jpg", make="Kodak", model="Z612", focal_px=1619.0)
    known, of_known = assign_cameras([kodak], CameraConfig())
    more = [kodak, *(photo(f"{name}.jpg", make="Kodak", model="Z612", focal_px=1619.0) for name in "ab")]
    assert assign_cameras(more, CameraConfig(), known, of_known) == (known, [0, 0, 0])


@pytest.mark.real
def test_real_series_and_collections_are_told_apart(shared_data: Path) -> None:
    expected = {"fountain-P11": 1, "Herz-Jesus-P8": 1, "sceaux": 1, "sacre_coeur": 10}
    for name, cameras in expected.items():
        photos = scan(shared_data / "multiview" / name / "images")[0]
        assert len(set(group_cameras(photos, CameraConfig()))) == cameras, name


def test_a_config_can_be_hashed_and_compared() -> None:
    assert {config("1,2,3"), config("1,2,3"), CameraConfig()} == {config("1,2,3"), CameraConfig()}
    assert parse_intrinsics("1,2,3@4x5") == Intrinsics((1, 2, 3), (4, 5))
