"""Exports: the undistorted camera, file names, folders that are whole or absent, maps as they stand on disk."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_scene import CAMERAS, LENS, NAMES, PORTRAIT, STRAIGHT, draw_photos, make_model, rays_by_opencv

from pipelines import colmap
from pipelines.core.errors import ConfigError, InputError, OutputError
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Silent
from pipelines.export import export, export_map
from pipelines.export.files import photo_files
from pipelines.export.undistort import pinhole_camera, undistorted
from pipelines.store.folder import MapFolder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def model() -> Model:
    return make_model()


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


def test_photos_named_by_their_absolute_paths_are_not_overwritten(model: Model, tmp_path: Path) -> None:
    photos = draw_photos(tmp_path)
    kept = {name: (photos / name).read_bytes() for name in model.names}
    out = tmp_path / "out"
    export(replace(model, names=tuple(str(photos / name) for name in model.names)), photos, out, "nerfstudio")
    assert {name: (photos / name).read_bytes() for name in model.names} == kept
    assert sum(path.is_file() for path in (out / "images").iterdir()) == len(model.names)
    assert list(photo_files(("../a.jpg", ".._a.jpg", "b/../c.jpg"), flat=False).values()) == [
        "..__a.jpg", ".._a.jpg", "b__..__c.jpg"
    ]  # fmt: skip


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

    (out / "stereo").mkdir()
    (out / "stereo" / "depth.bin").write_text("hours of another program's work")
    with pytest.raises(OutputError, match=r"it holds files that are not of the export \(stereo/depth\.bin\)"):
        export(model, photos, out, "ply", force=True)
    assert (out / "stereo" / "depth.bin").is_file() and (out / "poses.csv").exists()

    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        export(model, photos, home, "ply", force=True)
    assert (home / "thesis.tex").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="a file stands there"):
        export(model, photos, tmp_path / "file", "ply", force=True)


def test_the_current_folder_is_refused_and_links_are_followed(
    model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match="current folder"):
        export(model, photos, Path(), "ply")
    export(model, photos, tmp_path / "out", "ply")
    (tmp_path / "link").symlink_to("out")
    export(model, photos, tmp_path / "link", "poses", force=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "out" / "poses.csv").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link", "out"]


def test_a_failed_export_leaves_nothing_behind(model: Model, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    export(model, photos, out, "ply")
    with pytest.raises(InputError, match=r"5 of 5 photos .*gone.*ordner/ä b\.jpg.*--photos"):
        export(model, tmp_path, out, "nerfstudio", force=True)
    assert (out / "points.ply").is_file()  # the earlier export still stands
    stale = out.with_name(".out.999999999.draft")
    stale.mkdir()
    alive = out.with_name(f".out.{os.getppid()}.draft")
    alive.mkdir()
    export(model, photos, out, "ply", force=True)
    assert sorted(path.name for path in out.parent.iterdir()) == sorted([alive.name, "out"])
    # Killed between its two renames, an export is what it was again.
    out.rename(out.with_name(".out.999999999.old"))
    with pytest.raises(OutputError, match="an earlier export stands there"):
        export(model, photos, out, "ply")
    assert (out / "points.ply").is_file()
    assert sorted(path.name for path in out.parent.iterdir()) == sorted([alive.name, "out"])


def test_photos_of_another_size_are_refused(model: Model, photos: Path, tmp_path: Path) -> None:
    other = replace(model, cameras=tuple(replace(camera, width=camera.width + 16) for camera in CAMERAS))
    with pytest.raises(InputError, match=r"is not the photo that the map was made of: .* pixels, and that one had"):
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


# --- maps -------------------------------------------------------------------------------------------------------------


def test_maps_are_read_where_they_stand(model: Model, photos: Path, tmp_path: Path) -> None:
    run = MapFolder(tmp_path / "map")
    run.create()
    colmap.write_model(colmap.from_model(model), run.sparse / "0")
    # One photo was added from another folder, as --add-to does; the ledger knows where each stood.
    moved = tmp_path / "c later.png"
    moved.write_bytes((photos / "ordner" / "c.png").read_bytes())
    places = {**{name: photos / name for name in NAMES}, "ordner/c.png": moved}
    entries = [
        {"name": name, "path": str(path), "content": hashlib.sha256(path.read_bytes()).hexdigest()}
        for name, path in places.items()
    ]
    run.write_ledger({"status": "done", "photos": entries})
    said: list[str] = []

    class Listener(Silent):
        def warn(self, text: str) -> None:
            said.append(text)

    target, read = export_map(run.root, "nerfstudio", progress=Listener())
    assert not said
    assert target == run.root / "export" / "nerfstudio" and read.names == model.names
    np.testing.assert_allclose(read.xyz, model.xyz)
    assert (target / "images" / "ordner" / "c.png").is_file()
    cv2.imwrite(str(moved), 255 - cv2.imread(str(moved)))
    export_map(run.root, "nerfstudio", progress=Listener(), force=True)
    assert said == ["1 of 5 photos have changed since the map was made (ordner/c.png)"]
    with pytest.raises(InputError, match=r"no model 2.*it has 0"):
        export_map(run.root, "ply", component=2)
    # A bare COLMAP model; its photos are named.
    export_map(run.sparse / "0", "bundler", tmp_path / "bundler", photos=photos)
    assert (tmp_path / "bundler" / "bundle.out").is_file()
    with pytest.raises(InputError, match="--photos"):
        export_map(run.sparse / "0", "nerfstudio", tmp_path / "none")


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="no model in"):
            export_map(folder, "ply")
    failed = MapFolder(tmp_path / "failed")
    failed.create()
    failed.write_ledger({"status": "failed", "verdict": "The photos do not overlap."})
    with pytest.raises(InputError, match="do not overlap"):
        export_map(failed.root, "ply")
    assert not (failed.root / "export").exists()
    failed.write_ledger({"status": "done", "verdict": "All 12 photos are in one model."})
    with pytest.raises(InputError, match="sparse is missing or damaged") as told:
        export_map(failed.root, "ply")
    assert "All 12" not in str(told.value)
