"""Every export is read back by a reader that is not ours, and its cameras see the model's points where they should."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_scene import CAMERAS, NAMES, colour, draw_photos, make_model, rays_by_opencv
from PIL import Image

from pipelines import colmap
from pipelines.core.maps import Model
from pipelines.export import FORMATS, export
from pipelines.export.files import MARK


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def model() -> Model:
    return make_model()


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


def test_photos_may_come_from_several_folders(model: Model, photos: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes((photos / "ordner" / "c.png").read_bytes())
    places = {**{name: photos / name for name in NAMES}, "ordner/c.png": moved}
    written = export(model, places, tmp_path / "out", "openmvs")
    assert len([path for path in written if path.parent.name == "images"]) == len(NAMES)


def test_straight_jpegs_are_copied(model: Model, photos: Path, tmp_path: Path) -> None:
    export(model, photos, tmp_path / "out", "gaussian-splatting")
    assert (tmp_path / "out" / "images" / "gerade.jpg").read_bytes() == (photos / "gerade.jpg").read_bytes()


def test_the_table_is_complete() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in tested for name in FORMATS)
