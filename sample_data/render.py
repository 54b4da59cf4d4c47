"""Renders all of sample_data anew: ``python -m sample_data.render [--out DIR] [--only sfm ...]``.

The same photos come out on every run; the bytes of a JPEG or PNG may differ with the version of its encoder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sample_data import shots as takes
from sample_data.courtyard import courtyard
from sample_data.photo_file import ORIGIN, write_photo
from sample_data.raytrace import Scene, depth_map, develop, render, save_png
from sample_data.shots import DEPTH_STRIDE, DEPTH_UNIT, Shot
from sample_data.stilllife import COVERS, IN_SCENE, Cover, cover_art, still_life, table_with_objects

CONVENTION = "pixels: centre of the top-left pixel is (0, 0); camera: x right, y down, z forward; world: metres, z up"


def photograph(scene: Scene, shot: Shot, window: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """The finished photo (H, W, 3) uint8 RGB of a shot, or its ``window`` (left, top, width, height) in pixels.

    A window equals the same part of the whole photo, but for two pixels along its border.
    """
    left, top, width, height = window or (0, 0, shot.camera.width, shot.camera.height)
    linear = np.zeros((shot.camera.height, shot.camera.width, 3), np.float32)
    part = np.s_[top : top + height, left : left + width]
    linear[part] = render(scene, shot.camera, (left, top, width, height))
    return develop(linear, shot.exposure * np.array(shot.balance), shot.seed)[part]


def depth_levels(scene: Scene, shot: Shot) -> np.ndarray:
    """Depth (H / stride, W / stride) uint16 in units of ``DEPTH_UNIT``, at pixels (stride * column, stride * row)."""
    columns, rows = np.arange(0, shot.camera.width, DEPTH_STRIDE), np.arange(0, shot.camera.height, DEPTH_STRIDE)
    levels = np.rint(depth_map(scene, shot.camera, columns, rows) / DEPTH_UNIT)
    return np.where(levels < 65536, levels, 0).astype(np.uint16)


def write_sfm(scene: Scene, folder: Path) -> None:
    """12 photos, their depth maps and cameras.json."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "depth").mkdir(exist_ok=True)
    for shot in takes.sfm_shots():
        write_photo(folder / "images" / shot.name, photograph(scene, shot), shot.camera, shot.stamp)
        save_png(folder / "depth" / f"{Path(shot.name).stem}.png", depth_levels(scene, shot))
    depth = {"folder": "depth", "stride": DEPTH_STRIDE, "metres_per_level": DEPTH_UNIT, "no_depth": 0}
    write_json(folder / "cameras.json", {**camera_record(takes.sfm_shots()), "depth": depth})


def write_query(scene: Scene, folder: Path) -> None:
    """2 photos and cameras.json."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for shot in takes.query_shots():
        write_photo(folder / "images" / shot.name, photograph(scene, shot), shot.camera, shot.stamp)
    write_json(folder / "cameras.json", camera_record(takes.query_shots()))


def write_panorama(scene: Scene, folder: Path) -> None:
    """5 photos and cameras.json, with the exposures."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for shot in takes.panorama_shots():
        write_photo(folder / "images" / shot.name, photograph(scene, shot), shot.camera, shot.stamp)
    gains = {s.name: [s.exposure * b for b in s.balance] for s in takes.panorama_shots()}
    write_json(folder / "cameras.json", {**camera_record(takes.panorama_shots()), "gains_rgb": gains})


def write_stereo(scene: Scene, folder: Path) -> None:
    """The pair, the left disparity, the mask of what both see, and calib.txt, all as Middlebury 2014 has them."""
    folder.mkdir(parents=True, exist_ok=True)
    left, right = takes.stereo_shots()
    for shot in (left, right):
        save_png(folder / shot.name, photograph(scene, shot))
    disparity, mask = stereo_truth(scene, left, right)
    write_pfm(folder / "disp0.pfm", disparity)
    save_png(folder / "mask0nocc.png", mask)
    (folder / "calib.txt").write_text(middlebury_calibration(left, right, disparity), encoding="ascii")


def stereo_truth(
    scene: Scene, left: Shot, right: Shot, baseline: float = takes.STEREO_BASELINE
) -> tuple[np.ndarray, np.ndarray]:
    """Disparity x0 - x1 (H, W) float32, and a mask (H, W): 255 seen by both, 128 hidden from the right camera."""
    camera, other = left.camera, right.camera
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    depth = depth_map(scene, camera, columns[0], rows[:, 0]).astype(np.float64)
    doffs = other.K[0, 2] - camera.K[0, 2]
    disparity = camera.K[0, 0] * baseline / depth - doffs
    there = columns - disparity
    origins = np.broadcast_to(other.centre, (depth.size, 3))
    seen = scene.cast(origins, other.directions(there.ravel(), rows.ravel())).depth.reshape(depth.shape)
    both = (seen > 0.997 * depth) & (there >= 0) & (there <= other.width - 1)
    return disparity.astype(np.float32), np.where(both, 255, 128).astype(np.uint8)


def middlebury_calibration(
    left: Shot, right: Shot, disparity: np.ndarray, baseline: float = takes.STEREO_BASELINE
) -> str:
    """calib.txt of the 2014 set: depth = baseline * f / (disparity + doffs), baseline in mm."""
    rows = ["[" + "; ".join(" ".join(f"{v:g}" for v in row) for row in s.camera.K) + "]" for s in (left, right)]
    entries = {
        "cam0": rows[0],
        "cam1": rows[1],
        "doffs": f"{right.camera.K[0, 2] - left.camera.K[0, 2]:g}",
        "baseline": f"{1000 * baseline:g}",
        "width": left.camera.width,
        "height": left.camera.height,
        "ndisp": int(np.ceil(disparity.max() / 16 + 0.25)) * 16,
        "isint": 0,
        "vmin": int(np.floor(disparity.min())),
        "vmax": int(np.ceil(disparity.max())),
        "dyavg": 0,
        "dymax": 0,
    }
    return "".join(f"{key}={value}\n" for key, value in entries.items())


def write_pfm(path: Path, values: np.ndarray) -> None:
    """One-channel PFM, little-endian, bottom row first."""
    header = f"Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n".encode("ascii")
    path.write_bytes(header + np.flipud(values).astype("<f4").tobytes())


def write_objects(scene: Scene, folder: Path) -> None:
    """3 object pictures, the cluttered scene, and scene.json with where two of them are in it."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for cover in COVERS:
        picture = (object_picture(cover) * 255 + 0.5).astype(np.uint8)
        encoded = [cv2.IMWRITE_JPEG_QUALITY, 90]
        cv2.imwrite(str(folder / "pictures" / f"{cover.name}.jpg"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), encoded)
    shot = takes.objects_shot()
    write_photo(folder / shot.name, photograph(scene, shot), shot.camera, shot.stamp, gps=False)
    write_json(folder / "scene.json", objects_record(scene, shot))


def object_picture(cover: Cover) -> np.ndarray:
    """The cover (h, w, 3) float32 sRGB at half its texture's size."""
    art = cover_art(cover)
    return cv2.resize(art, (art.shape[1] // 2, art.shape[0] // 2), interpolation=cv2.INTER_AREA)


def objects_record(scene: Scene, shot: Shot) -> dict[str, Any]:
    """The instances in the scene: homography picture -> scene, outer corners, share of the picture that is seen."""
    instances = []
    for place in IN_SCENE:
        high, wide = (side // 2 for side in place.cover.shape)
        corners = np.array([(-0.5, -0.5), (wide - 0.5, -0.5), (wide - 0.5, high - 0.5), (-0.5, high - 0.5)])
        quad = shot.camera.project(place.on_front((corners + 0.5) / (wide, high)))
        H = cv2.getPerspectiveTransform(corners.astype(np.float32), quad.astype(np.float32))
        share = np.stack(np.meshgrid(*[(np.arange(60) + 0.5) / 60] * 2), axis=-1).reshape(-1, 2)
        spots = place.on_front(share)
        towards = spots - shot.camera.centre
        hidden = scene.hidden(np.broadcast_to(shot.camera.centre, spots.shape), towards, far=0.997)
        instances.append(
            {
                "object": f"{place.cover.name}.jpg",
                "picture_size": [wide, high],
                "corners": quad.tolist(),
                "homography": H.tolist(),
                "visible": round(float(1 - hidden.mean()), 3),
            }
        )
    record = camera_record([shot])
    order = "outer corners of the picture: top-left, top-right, bottom-right, bottom-left, in pixels of the scene"
    absent = [f"{c.name}.jpg" for c in COVERS if c not in [place.cover for place in IN_SCENE]]
    return {"corner_order": order, "instances": instances, "absent": absent, "camera": record["photos"]}


def camera_record(shots: list[Shot]) -> dict[str, Any]:
    """What cameras.json holds: K (3, 3) and cam_from_world (3, 4) by photo, and where the world's origin lies."""
    photos = {
        shot.name: {
            "width": shot.camera.width,
            "height": shot.camera.height,
            "K": shot.camera.K.tolist(),
            "cam_from_world": shot.camera.cam_from_world.tolist(),
        }
        for shot in shots
    }
    origin = dict(zip(("latitude", "longitude", "height"), ORIGIN, strict=True))
    return {"convention": CONVENTION, "gps_origin": origin, "photos": photos}


def write_json(path: Path, record: object) -> None:
    """JSON with one line per matrix row or shorter value."""
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


SETS: dict[str, tuple[Callable[[], Scene], Callable[[Scene, Path], None]]] = {
    "sfm": (courtyard, write_sfm),
    "query": (courtyard, write_query),
    "panorama": (courtyard, write_panorama),
    "stereo": (still_life, write_stereo),
    "objects": (table_with_objects, write_objects),
}
"""Each set's folder: the scene it shows, and what writes it."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m sample_data.render", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write into")
    parser.add_argument("--only", nargs="+", choices=sorted(SETS), default=list(SETS), help="the sets to render")
    choice = parser.parse_args()
    built: dict[Callable[[], Scene], Scene] = {}
    for name in choice.only:
        build, write = SETS[name]
        if build not in built:
            built[build] = build()
        write(built[build], choice.out / name)
        print(f"{name}: {choice.out / name}", flush=True)


if __name__ == "__main__":
    main()
