"""The peer of ``recon benchmark stitch``: OpenCV's Stitcher as its users run it, in a process of its own.

Run as ``python -m pipelines.benchmarks.opencv_stitch OPTIONS.json PHOTO …``; writes the panorama and, beside it, its
cameras. Defaults of ``cv2.Stitcher`` throughout, but for the registration's resolution, which is the given one.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PeerOptions:
    """What the Stitcher is given.

    Attributes:
        out: the panorama's file; cameras go to the same name with ``.json``.
        megapixels: resolution of the registration.
        seed: of OpenCV's random numbers.
    """

    out: str
    megapixels: float
    seed: int = 0


_STATUS = {1: "ERR_NEED_MORE_IMGS", 2: "ERR_HOMOGRAPHY_EST_FAIL", 3: "ERR_CAMERA_PARAMS_ADJUST_FAIL"}


def run(options: PeerOptions, paths: list[str]) -> str:
    """Stitch and write; returns why there is no panorama, or an empty string."""
    import cv2

    cv2.setRNGSeed(options.seed)
    begin = time.perf_counter()
    stitcher = cv2.Stitcher.create(cv2.Stitcher_PANORAMA)
    stitcher.setRegistrationResol(options.megapixels)
    images = [image for image in map(cv2.imread, paths) if image is not None]
    read = time.perf_counter()
    status = stitcher.estimateTransform(images)
    if status != cv2.Stitcher_OK:
        return _STATUS.get(status, f"status {status}")
    estimated = time.perf_counter()
    status, panorama = stitcher.composePanorama()
    if status != cv2.Stitcher_OK:
        return _STATUS.get(status, f"status {status}")
    composed = time.perf_counter()
    cv2.imwrite(options.out, panorama)
    stages = {"reading": read - begin, "cameras": estimated - read, "rendering": composed - estimated}
    scale = stitcher.workScale()
    cameras = [
        _camera(paths[index], camera, scale)
        for index, camera in zip(stitcher.component(), stitcher.cameras(), strict=True)
    ]
    content = {"photos": cameras, "seconds": stages | {"writing": time.perf_counter() - composed}}
    Path(options.out).with_suffix(".json").write_text(json.dumps(content))
    return ""


def _camera(path: str, camera, scale: float) -> dict[str, object]:  # type: ignore[no-untyped-def]
    """A camera in pixels of the whole photo, the centre of the top-left pixel at (0, 0)."""
    return {
        "path": path,
        "focal_px": camera.focal / scale,
        "centre": [(camera.ppx + 0.5) / scale - 0.5, (camera.ppy + 0.5) / scale - 0.5],
        "cam_from_world": camera.R.astype(float).T.tolist(),
    }


if __name__ == "__main__":
    why = run(PeerOptions(**json.loads(Path(sys.argv[1]).read_text())), sys.argv[2:])
    if why:
        sys.exit(why)
