"""Every export is read back by a reader that is not ours, and its cameras see the model's points where they should.

The photos are drawn from a formula over viewing rays, so the right colour of every undistorted pixel is known.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines import colmap
from pipelines.core.errors import ConfigError, InputError, OutputError
from pipelines.core.types import Camera, Model
from pipelines.export import FORMATS, export
from pipelines.export.files import MARK, photo_files
from pipelines.export.undistort import pinhole_camera, undistorted

LENS = Camera("OPENCV", 320, 240, (260.0, 264.0, 163.0, 117.0, -0.21, 0.05, 0.002, -0.001), "exif")
PORTRAIT = Camera("SIMPLE_RADIAL", 240, 320, (300.0, 119.5, 159.5, 0.08), "exif")
STRAIGHT = Camera("SIMPLE_PINHOLE", 320, 240, (270.0, 159.5, 119.5), "given")
NAMES = ("ordner/ä b.jpg", "ordner/c.png", "gedreht 90.jpg", "d.tif", "gerade.jpg")
CAMERAS = (LENS, LENS, PORTRAIT, LENS, STRAIGHT)


def colour(rays: np.ndarray) -> np.ndarray:
    """(…,2) points of the plane z = 1 -> (…,3) RGB of the world that the test's photos show."""
    u, v = rays[..., 0], rays[..., 1]
    waves = np.stack([np.sin(9 * u + 2 * v), np.sin(8 * v - 3 * u + 1), np.cos(6 * u + 6 * v)], axis=-1)
    return 128 + 90 * waves


def rays_by_opencv(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Rays of pixels by OpenCV's inversion of the lens model: independent of the pycolmap that the code uses."""
    p = camera.params
    if camera.model == "OPENCV":
        matrix, lens = np.array([[p[0], 0, p[2]], [0, p[1], p[3]], [0, 0, 1]]), np.array(p[4:8])
    else:
        matrix, lens = np.array([[p[0], 0, p[1]], [0, p[0], p[2]], [0, 0, 1]]), np.array([*p[3:], 0, 0, 0, 0][:4])
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 200, 1e-12)
    points = np.asarray(xy, np.float64).reshape(-1, 1, 2)
    return cv2.undistortPoints(points, matrix, lens, criteria=stop).reshape(-1, 2)


def draw(camera: Camera) -> np.ndarray:
    """(H,W,3) uint8 photo of the formula through a lens."""
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = rays_by_opencv(camera, np.column_stack([x.ravel(), y.ravel()]))
    return np.rint(colour(rays)).astype(np.uint8).reshape(camera.height, camera.width, 3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "ordner").mkdir()
    for name, camera in zip(NAMES, CAMERAS, strict=True):
        picture = Image.fromarray(draw(camera))
        if name.startswith("gedreht"):
            # The file lies on its side; its tag says how to turn it upright (6: by 90 degrees clockwise).
            exif = Image.Exif()
            exif[0x0112] = 6
            picture.transpose(Image.Transpose.ROTATE_90).save(folder / name, quality=98, subsampling=0, exif=exif)
        else:
            picture.save(folder / name, **({} if name.endswith(("png", "tif")) else {"quality": 98, "subsampling": 0}))
    return folder


@pytest.fixture(scope="module")
def model() -> Model:
    rng = np.random.default_rng(3)
    xyz = rng.uniform([-1.2, -0.8, -0.5], [1.2, 0.8, 0.5], (300, 3))
    poses = []
    for i in range(len(NAMES)):
        turn = cv2.Rodrigues(np.array([0.05 * i, 0.3 * (i - 2), 0.02]))[0]
        poses.append(np.column_stack([turn, [0.1 * i, -0.05, 4.0 + 0.2 * i]]))
    obs_image, obs_point, obs_xy = [], [], []
    for i, (camera, pose) in enumerate(zip(CAMERAS, poses, strict=True)):
        local = xyz @ pose[:, :3].T + pose[:, 3]
        xy = colmap.pixels_of_rays(camera, local[:, :2] / local[:, 2:])
        inside = (xy > 0).all(axis=1) & (xy < [camera.width - 1, camera.height - 1]).all(axis=1)
        seen = np.flatnonzero(inside)
        obs_image.append(np.full(len(seen), i))
        obs_point.append(seen)
        obs_xy.append(xy[seen])
    image, point = np.concatenate(obs_image), np.concatenate(obs_point)
    kept, point = np.unique(point, return_inverse=True)
    return Model(
        names=NAMES,
        cameras=CAMERAS,
        cam_from_world=np.array(poses),
        xyz=xyz[kept],
        rgb=rng.integers(0, 256, (len(kept), 3), dtype=np.uint8),
        errors=rng.uniform(0.1, 1, len(kept)).astype(np.float32),
        obs_image=image.astype(np.int32),
        obs_point=point.astype(np.int32),
        obs_keypoint=np.arange(len(image), dtype=np.int32),
        obs_xy=np.concatenate(obs_xy).astype(np.float32),
    )


def check_pixels(path: Path, rays_of: np.ndarray) -> None:
    """The photo at ``path`` shows the formula's colour on each of its (H,W,2) rays, and carries no orientation."""
    with Image.open(path) as picture:
        assert picture.getexif().get(0x0112, 1) == 1
        pixels = np.asarray(picture.convert("RGB"), np.float64)
    assert pixels.shape[:2] == rays_of.shape[:2]
    off = np.abs(pixels - colour(rays_of))
    # Half a pixel beside the truth would be an error of about 2 on average; JPEG and rounding are below 1.
    assert off.mean() < 1.0 and np.percentile(off, 99) < 4, (off.mean(), off.max())


def pinhole_rays(width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([(x - cx) / fx, (y - cy) / fy], axis=-1)


def straight_rays(model: Model, index: int, points: np.ndarray) -> np.ndarray:
    """(N,2) rays on which photo ``index`` saw points, from its observations and OpenCV's lens model."""
    rows = {int(model.obs_point[k]): k for k in np.flatnonzero(model.obs_image == index)}
    return rays_by_opencv(model.cameras[index], model.obs_xy[[rows[int(p)] for p in points]])


# --- the pinhole camera -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", [LENS, PORTRAIT, replace(LENS, params=(*LENS.params[:4], 0.2, 0.02, 0.0, 0.0))])
@pytest.mark.parametrize("centred", [False, True])
def test_pinhole_camera_sees_only_the_photo(camera: Camera, centred: bool) -> None:
    made = pinhole_camera(camera, centred=centred)
    fx, fy, cx, cy = made.params
    x, y = np.meshgrid([0, made.width - 1], [0, made.height - 1])
    border = np.concatenate(
        [np.column_stack([np.linspace(x[0, 0], x[0, 1], 50), np.full(50, row)]) for row in (0, made.height - 1)]
        + [np.column_stack([np.full(50, column), np.linspace(y[0, 0], y[1, 0], 50)]) for column in (0, made.width - 1)]
    )
    source = colmap.pixels_of_rays(camera, (border - [cx, cy]) / [fx, fy])
    assert (source > -0.01).all() and (source < np.array([camera.width, camera.height]) - 0.99).all()
    # It wastes little: some border pixel comes from within two pixels of the photo's edge.
    reach = np.minimum(source, [camera.width - 1, camera.height - 1] - source).min()
    assert reach < 2
    if centred:
        assert (fx, cx, cy) == (fy, (made.width - 1) / 2, (made.height - 1) / 2)


def test_pinhole_cameras_are_left_alone() -> None:
    assert pinhole_camera(STRAIGHT).params == (270.0, 270.0, 159.5, 119.5)
    assert pinhole_camera(STRAIGHT, centred=True).params == (270.0, 270.0, 159.5, 119.5)
    oblong = Camera("PINHOLE", 320, 240, (270.0, 280.0, 150.0, 119.5), "given")
    assert pinhole_camera(oblong) == oblong
    made = pinhole_camera(oblong, centred=True)
    assert made.params[0] == made.params[1] == pytest.approx(np.sqrt(270 * 280))
    assert made.params[2] == (made.width - 1) / 2 == pytest.approx(150 * np.sqrt(280 / 270), abs=1)


def test_fisheye_is_cut_to_a_wide_photo() -> None:
    fisheye = Camera("OPENCV_FISHEYE", 640, 480, (180.0, 180.0, 319.5, 239.5, 0.0, 0.0, 0.0, 0.0), "given")
    made = pinhole_camera(fisheye)
    half = np.degrees(np.arctan(made.width / 2 / made.params[0]))
    assert half == pytest.approx(60, abs=0.3)
    assert made.params[0] == pytest.approx(180, rel=1e-3)


def test_panoramas_cannot_be_undistorted() -> None:
    panorama = Camera("EQUIRECTANGULAR", 640, 320, (640.0, 320.0), "given")
    with pytest.raises(ConfigError, match="colmap"):
        pinhole_camera(panorama)
    nonsense = Camera("SIMPLE_RADIAL", 320, 240, (1e7, 159.5, 119.5, -5e9), "map")
    with pytest.raises(ConfigError, match="colmap"):
        pinhole_camera(nonsense)


def test_undistorted_observations_agree_with_opencv(model: Model) -> None:
    straight = undistorted(model)
    for index, camera in enumerate(straight.cameras):
        rows = model.obs_image == index
        fx, fy, cx, cy = camera.params
        rays = rays_by_opencv(model.cameras[index], model.obs_xy[rows])
        np.testing.assert_allclose(straight.obs_xy[rows], rays * [fx, fy] + [cx, cy], atol=0.005)


# --- names ------------------------------------------------------------------------------------------------------------


def test_photo_files_are_distinct_and_plain() -> None:
    names = ("a/b c.jpg", "a__b_c.JPG", "A/B c.jpg", "x.tif", "x.png", "no ending", "ä\u00a0ö.jpeg")
    flat = photo_files(names, flat=True)
    assert list(flat.values()) == [
        "a__b_c.jpg", "a__b_c_2.JPG", "A__B_c_3.jpg", "x.png", "x_2.png", "no_ending.png", "ä_ö.jpeg"
    ]  # fmt: skip
    assert photo_files(NAMES, flat=False)["ordner/ä b.jpg"] == "ordner/ä b.jpg"


# --- formats ----------------------------------------------------------------------------------------------------------


def test_colmap_model_is_read_by_pycolmap(model: Model, photos: Path, tmp_path: Path) -> None:
    import pycolmap

    written = export(model, photos, tmp_path / "out", "colmap")
    assert not [path for path in written if path.suffix == ".txt"]  # names with spaces
    read = pycolmap.Reconstruction(tmp_path / "out")
    assert read.num_cameras() == 3 and read.num_points3D() == len(model.xyz)
    by_name = {image.name: image for image in read.images.values()}
    assert set(by_name) == set(NAMES)
    for index, name in enumerate(NAMES):
        image = by_name[name]
        assert image.camera.width == CAMERAS[index].width
        for k in np.flatnonzero(model.obs_image == index)[::40]:
            pixel = image.project_point(model.xyz[model.obs_point[k]])
            np.testing.assert_allclose(pixel - 0.5, model.obs_xy[k], atol=0.01)
    assert read.compute_mean_reprojection_error() == pytest.approx(model.errors.mean(), rel=1e-3)
    assert colmap.read_model(tmp_path / "out").track_lengths.tolist() == model.track_lengths.tolist()

    plain = replace(model, names=("a.jpg", "b.jpg", "c.jpg", "d.jpg", "ordner/e.jpg"))
    export(plain, photos, tmp_path / "plain", "colmap")
    for path in (tmp_path / "plain").glob("*.bin"):
        path.unlink()
    text = pycolmap.Reconstruction(tmp_path / "plain")
    assert {image.name for image in text.images.values()} == set(plain.names)


def test_ply_is_read_by_open3d(model: Model, photos: Path, tmp_path: Path) -> None:
    import open3d

    export(model, photos, tmp_path / "out", "ply")
    cloud = open3d.io.read_point_cloud(str(tmp_path / "out" / "points.ply"))
    np.testing.assert_allclose(np.asarray(cloud.points), model.xyz, atol=1e-6)
    np.testing.assert_array_equal(np.rint(np.asarray(cloud.colors) * 255), model.rgb)
    mesh = open3d.io.read_triangle_mesh(str(tmp_path / "out" / "cameras.ply"))
    assert len(mesh.triangles) == 6 * len(NAMES)
    apexes = np.asarray(mesh.vertices)[::5]
    np.testing.assert_allclose(apexes, model.centres, atol=1e-6)
    # The pyramids open towards what the cameras see.
    ahead = np.asarray(mesh.vertices).reshape(-1, 5, 3)[:, 1:].mean(axis=1) - apexes
    assert ((ahead * model.cam_from_world[:, 2, :3]).sum(axis=1) > 0).all()
    # Fan of sides and base: the surface is closed and its faces look outwards.
    assert mesh.is_edge_manifold(allow_boundary_edges=False) and mesh.is_orientable()
    assert mesh.get_volume() > 0


def test_poses_agree_with_each_other(model: Model, photos: Path, tmp_path: Path) -> None:
    from scipy.spatial.transform import Rotation

    export(model, photos, tmp_path / "out", "poses")
    with open(tmp_path / "out" / "poses.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == list(NAMES)
    whole = json.loads((tmp_path / "out" / "poses.json").read_text(encoding="utf-8"))["photos"]
    tum = np.loadtxt(tmp_path / "out" / "poses.tum")
    for i, row in enumerate(rows):
        centre = np.array([float(row[key]) for key in "xyz"])
        turn = Rotation.from_quat([float(row[key]) for key in ("qx", "qy", "qz", "qw")]).as_matrix()
        np.testing.assert_allclose(turn, model.cam_from_world[i, :, :3], atol=1e-9)
        np.testing.assert_allclose(-turn @ centre, model.cam_from_world[i, :, 3], atol=1e-9)
        assert tuple(map(float, row["params"].split())) == CAMERAS[i].params
        np.testing.assert_allclose(whole[i]["cam_from_world"], model.cam_from_world[i])
        np.testing.assert_allclose(tum[i, 1:4], centre, atol=1e-9)
        np.testing.assert_allclose(Rotation.from_quat(tum[i, 4:]).as_matrix(), turn.T, atol=1e-9)
        assert tum[i, 0] == i


def test_nerfstudio_cameras_and_photos(model: Model, photos: Path, tmp_path: Path) -> None:
    export(model, photos, tmp_path / "out", "nerfstudio")
    transforms = json.loads((tmp_path / "out" / "transforms.json").read_text(encoding="utf-8"))
    assert transforms["camera_model"] == "PINHOLE"
    assert [frame["file_path"] for frame in transforms["frames"]] == [
        "images/ordner/ä b.jpg", "images/ordner/c.png", "images/gedreht 90.jpg", "images/d.png", "images/gerade.jpg"
    ]  # fmt: skip
    for index, frame in enumerate(transforms["frames"]):
        # As NeRF codes do it: y up, looking along -z, pixel centres at .5.
        points = np.unique(model.obs_point[model.obs_image == index])
        world = np.column_stack([model.xyz[points], np.ones(len(points))])
        local = world @ np.linalg.inv(np.array(frame["transform_matrix"])).T
        assert (local[:, 2] < 0).all()
        x = frame["fl_x"] * local[:, 0] / -local[:, 2] + frame["cx"]
        y = -frame["fl_y"] * local[:, 1] / -local[:, 2] + frame["cy"]
        rays = straight_rays(model, index, points)
        expected = rays * [frame["fl_x"], frame["fl_y"]] + [frame["cx"], frame["cy"]]
        np.testing.assert_allclose(np.column_stack([x, y]), expected, atol=0.01)
        size = (frame["w"], frame["h"])
        focal = (frame["fl_x"], frame["fl_y"], frame["cx"] - 0.5, frame["cy"] - 0.5)
        check_pixels(tmp_path / "out" / frame["file_path"], pinhole_rays(*size, *focal))
    assert (tmp_path / "out" / transforms["ply_file_path"]).is_file()


def test_nerfstudio_of_one_camera_says_so_once(model: Model, photos: Path, tmp_path: Path) -> None:
    keep = model.obs_image < 2
    two = replace(
        model,
        names=NAMES[:2],
        cameras=CAMERAS[:2],
        cam_from_world=model.cam_from_world[:2],
        **{key: getattr(model, key)[keep] for key in ("obs_image", "obs_point", "obs_keypoint", "obs_xy")},
    )
    export(two, photos, tmp_path / "out", "nerfstudio")
    transforms = json.loads((tmp_path / "out" / "transforms.json").read_text(encoding="utf-8"))
    assert transforms["fl_x"] > 0 and set(transforms["frames"][0]) == {"file_path", "transform_matrix"}


@pytest.mark.parametrize("to", ["gaussian-splatting", "openmvs", "colmap-dense"])
def test_colmap_layouts(model: Model, photos: Path, tmp_path: Path, to: str) -> None:
    import pycolmap

    out = tmp_path / "out"
    written = export(model, photos, out, to)
    sparse = out / "sparse" / "0" if to == "gaussian-splatting" else out / "sparse"
    read = pycolmap.Reconstruction(sparse)
    mark = json.loads((out / MARK).read_text(encoding="utf-8"))
    assert mark["photos"]["ordner/ä b.jpg"] == "ordner__ä_b.jpg"
    assert {path.name for path in written if path.parent == out / "images"} == {i.name for i in read.images.values()}
    for image in read.images.values():
        camera = image.camera
        assert camera.model.name == "PINHOLE" and not any(char.isspace() for char in image.name)
        fx, fy, cx, cy = camera.params
        if to == "gaussian-splatting":
            assert (fx, cx, cy) == (fy, camera.width / 2, camera.height / 2)
        check_pixels(out / "images" / image.name, pinhole_rays(camera.width, camera.height, fx, fy, cx - 0.5, cy - 0.5))
        for point2d in image.points2D[::30]:
            pixel = image.project_point(read.points3D[point2d.point3D_id].xyz)
            np.testing.assert_allclose(pixel, point2d.xy, atol=0.01)
    if to == "openmvs":
        # InterfaceCOLMAP splits the lines of the text form at spaces.
        lines = (sparse / "images.txt").read_text(encoding="utf-8").splitlines()
        words = [line.split() for line in lines if not line.startswith("#")][::2]
        assert [len(line) for line in words] == [10] * len(NAMES)
    if to == "colmap-dense":
        listed = (out / "stereo" / "fusion.cfg").read_text(encoding="utf-8").split()
        assert sorted(listed) == sorted(image.name for image in read.images.values())
        assert (out / "stereo" / "depth_maps").is_dir()


def test_bundler_file(model: Model, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(model, photos, out, "bundler")
    listed = [line.split() for line in (out / "list.txt").read_text(encoding="utf-8").splitlines()]
    words = iter((out / "bundle.out").read_text(encoding="ascii").split("\n", 1)[1].split())
    count, points = int(next(words)), int(next(words))
    assert (count, points) == (len(NAMES), len(model.xyz))
    cameras = [np.array([float(next(words)) for _ in range(15)]) for _ in range(count)]
    sizes = [cv2.imread(str(out / line[0])).shape[1::-1] for line in listed]
    worst, views = 0.0, 0
    for index in range(points):
        xyz = np.array([float(next(words)) for _ in range(3)])
        assert [int(next(words)) for _ in range(3)] == model.rgb[index].tolist()
        np.testing.assert_allclose(xyz, model.xyz[index], rtol=1e-10)
        for _ in range(int(next(words))):
            camera, _key, x, y = int(next(words)), int(next(words)), float(next(words)), float(next(words))
            # Bundler's own model: P = R X + t, p = -P / P.z, p' = f r(p) p; origin in the middle, y up.
            local = cameras[camera][3:12].reshape(3, 3) @ xyz + cameras[camera][12:]
            assert local[2] < 0
            pixel = cameras[camera][0] * -local[:2] / local[2]
            worst = max(worst, float(np.abs(pixel - [x, y]).max()))
            ray = straight_rays(model, camera, np.array([index]))[0]
            np.testing.assert_allclose(pixel / cameras[camera][0], ray * [1, -1], atol=0.01 / 260)
            views += 1
    assert worst < 0.01 and views == len(model.obs_image) and next(words, None) is None
    for line, camera, (width, height) in zip(listed, cameras, sizes, strict=True):
        assert line[1] == "0" and float(line[2]) == camera[0] and not camera[1:3].any()
        focal = camera[0]
        check_pixels(out / line[0], pinhole_rays(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2))


def test_straight_jpegs_are_copied(model: Model, photos: Path, tmp_path: Path) -> None:
    export(model, photos, tmp_path / "out", "gaussian-splatting")
    assert (tmp_path / "out" / "images" / "gerade.jpg").read_bytes() == (photos / "gerade.jpg").read_bytes()


# --- folders and errors -----------------------------------------------------------------------------------------------


def test_only_exports_are_replaced_and_only_when_asked(model: Model, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(model, photos, out, "ply")  # an empty folder is no obstacle
    before = (out / "points.ply").stat().st_mtime_ns
    with pytest.raises(OutputError, match="--force"):
        export(model, photos, out, "poses")
    assert (out / "points.ply").stat().st_mtime_ns == before
    export(model, photos, out, "poses", force=True)
    assert not (out / "points.ply").exists() and (out / "poses.csv").exists()

    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        export(model, photos, home, "ply", force=True)
    assert (home / "thesis.tex").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="a file stands there"):
        export(model, photos, tmp_path / "file", "ply", force=True)


def test_a_failed_export_leaves_nothing_behind(model: Model, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    export(model, photos, out, "ply")
    with pytest.raises(InputError, match=r"5 of 5 photos .*ordner/ä b\.jpg.*--photos"):
        export(model, tmp_path, out, "nerfstudio", force=True)
    assert (out / "points.ply").is_file()  # the earlier export still stands
    stale = out.with_name(".out.999999999.draft")
    stale.mkdir()
    alive = out.with_name(f".out.{os.getppid()}.draft")
    alive.mkdir()
    export(model, photos, out, "ply", force=True)
    assert sorted(path.name for path in out.parent.iterdir()) == sorted([alive.name, "out"])


def test_photos_of_another_size_are_refused(model: Model, photos: Path, tmp_path: Path) -> None:
    other = replace(model, cameras=tuple(replace(camera, width=camera.width + 16) for camera in CAMERAS))
    with pytest.raises(InputError, match="changed"):
        export(other, photos, tmp_path / "out", "nerfstudio")
    assert not list(tmp_path.iterdir())


def test_unknown_formats_name_the_known(model: Model, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gaussian_splatting.*colmap, ply.*--to gaussian-splatting"):
        export(model, photos, tmp_path / "out", "gaussian_splatting")
    with pytest.raises(InputError, match="no photos"):
        empty = replace(model, names=(), cameras=(), cam_from_world=np.zeros((0, 3, 4)))
        export(empty, photos, tmp_path / "out", "ply")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_places_are_an_output_error(model: Model, photos: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission"):
            export(model, photos, tmp_path / "out", "ply")
    finally:
        tmp_path.chmod(0o700)


def test_the_table_is_complete() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in tested for name in FORMATS)
