"""Renders all of sample_data anew: ``python -m sample_data.render [--out DIR] [--only sfm ...]``.

The same photos come out on every run; the bytes of a JPEG or PNG may differ with the version of its encoder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sample_data.courtyard import courtyard
from sample_data.photo_file import ORIGIN, write_photo
from sample_data.raytrace import Scene, depth_map, develop, render, save_png
from sample_data.shots import DEPTH_STRIDE, DEPTH_UNIT, Shot, query_shots, sfm_shots

CONVENTION = "pixels: centre of the top-left pixel is (0, 0); camera: x right, y down, z forward; world: metres, z up"


def photograph(scene: Scene, shot: Shot, side: int = 3) -> np.ndarray:
    """The finished photo (H, W, 3) uint8 RGB of a shot."""
    return develop(render(scene, shot.camera, side=side), shot.exposure, shot.seed)


def depth_levels(scene: Scene, shot: Shot) -> np.ndarray:
    """Depth (H / stride, W / stride) uint16 in units of ``DEPTH_UNIT``, at pixels (stride * column, stride * row)."""
    columns, rows = np.arange(0, shot.camera.width, DEPTH_STRIDE), np.arange(0, shot.camera.height, DEPTH_STRIDE)
    levels = np.rint(depth_map(scene, shot.camera, columns, rows) / DEPTH_UNIT)
    return np.where(levels < 65536, levels, 0).astype(np.uint16)


def write_sfm(scene: Scene, folder: Path) -> None:
    """12 photos, their depth maps and cameras.json."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "depth").mkdir(exist_ok=True)
    for shot in sfm_shots():
        write_photo(folder / "images" / shot.name, photograph(scene, shot), shot.camera, shot.stamp)
        save_png(folder / "depth" / f"{Path(shot.name).stem}.png", depth_levels(scene, shot))
    depth = {"folder": "depth", "stride": DEPTH_STRIDE, "metres_per_level": DEPTH_UNIT, "no_depth": 0}
    write_json(folder / "cameras.json", {**camera_record(sfm_shots()), "depth": depth})


def write_query(scene: Scene, folder: Path) -> None:
    """2 photos and cameras.json."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for shot in query_shots():
        write_photo(folder / "images" / shot.name, photograph(scene, shot), shot.camera, shot.stamp)
    write_json(folder / "cameras.json", camera_record(query_shots()))


def camera_record(shots: list[Shot]) -> dict[str, object]:
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
