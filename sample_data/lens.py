"""Photos of ``sfm/`` as a lens with distortion takes them; poses stay exact.

    python -m sample_data.lens --out DIR --distortion=0.08,-0.12[,p1,p2] [--collection]

The numbers are those of OpenCV's and COLMAP's model OPENCV. The focal length grows until all that the lens sees lies
within the rendered photo. Photos of a collection are cut off at the right and below, each to a size of its own, and
have no EXIF: nothing says that one camera took them. ``recon benchmark sfm DIR`` compares maps with
``DIR/cameras.json``, whose K leaves the distortion out.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sample_data.photo_file import QUALITY, write_photo
from sample_data.raytrace import Camera

SOURCE = Path(__file__).parent / "sfm"
_WIDER = 1.005
"""Step in which the focal length grows."""
_FOUND = 0.01
"""Pixels to which a ray that was found leads back."""
_EXACT = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-12)


def through_lens(camera: Camera, distortion: np.ndarray) -> tuple[Camera, np.ndarray]:
    """The camera with a lens before it, and where its pixels lie in the pinhole photo.

    Args:
        camera: pinhole.
        distortion: k1, k2, p1, p2.

    Returns:
        The camera, its K that of the lens; (H,W,2) float32 pixels.

    Raises:
        ValueError: no focal length up to four times the camera's keeps the picture within the photo.
    """
    size = np.array([camera.width, camera.height])
    x, y = np.meshgrid(*map(np.arange, size))
    pixels = np.stack([x, y], axis=-1).astype(np.float64)
    border = np.concatenate([pixels[[0, -1]].reshape(-1, 2), pixels[:, [0, -1]].reshape(-1, 2)])

    def rays_of(intrinsics: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        return cv2.undistortPoints(pixels.reshape(-1, 1, 2), intrinsics, distortion, criteria=_EXACT).reshape(-1, 2)

    def seen_along(rays: np.ndarray) -> np.ndarray:
        return rays @ camera.K[:2, :2].T + camera.K[:2, 2]

    def unfolded(intrinsics: np.ndarray, rays: np.ndarray, pixels: np.ndarray) -> bool:
        """Whether the rays were found: beyond its largest angle a polynomial takes several to one place, or none."""
        forth, _ = cv2.projectPoints(
            np.column_stack([rays, np.ones(len(rays))])[:, None], np.zeros(3), np.zeros(3), intrinsics, distortion
        )
        return bool(np.abs(forth.reshape(-1, 2) - pixels).max() < _FOUND)

    for scale in _WIDER ** np.arange(np.log(4) / np.log(_WIDER)):
        intrinsics = camera.K * [[scale, 1, 1], [1, scale, 1], [1, 1, 1]]
        rays = rays_of(intrinsics, border)
        seen = seen_along(rays)
        if seen.min() >= 0 and (seen <= size - 1).all() and unfolded(intrinsics, rays, border):
            every = seen_along(rays_of(intrinsics, pixels))
            return replace(camera, K=intrinsics), every.reshape(*x.shape, 2).astype(np.float32)
    raise ValueError(f"a lens with k1, k2, p1, p2 = {distortion.tolist()} sees more than the photo shows")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--distortion", required=True, help="k1,k2[,p1,p2]")
    parser.add_argument("--collection", action="store_true", help="each photo as if another camera had taken it")
    given = parser.parse_args()
    distortion = np.zeros(4)
    numbers = [float(number) for number in given.distortion.split(",")]
    distortion[: len(numbers)] = numbers
    known = json.loads((SOURCE / "cameras.json").read_text())
    for number, (name, entry) in enumerate(known["photos"].items()):
        pinhole = Camera(np.array(entry["K"]), np.array(entry["cam_from_world"]), entry["width"], entry["height"])
        try:
            camera, seen = through_lens(pinhole, distortion)
        except ValueError as error:
            parser.error(str(error))
        (given.out / "images").mkdir(parents=True, exist_ok=True)
        photo = np.asarray(Image.open(SOURCE / "images" / name))
        taken = cv2.remap(photo, seen[..., 0], seen[..., 1], cv2.INTER_LANCZOS4)
        if given.collection:
            taken = taken[: -4 - 4 * (5 * number % 7), : -4 - 4 * number]
            Image.fromarray(taken).save(given.out / "images" / name, quality=QUALITY)
        else:
            write_photo(given.out / "images" / name, taken, camera, f"2026:05:17 10:{number:02}:00")
        entry |= {"K": camera.K.tolist(), "width": taken.shape[1], "height": taken.shape[0]}
    known["distortion"] = distortion.tolist()
    del known["depth"]
    (given.out / "cameras.json").write_text(json.dumps(known, indent=1))


if __name__ == "__main__":
    main()
