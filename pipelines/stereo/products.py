"""What ``recon stereo`` leaves: disparity, depth, confidence, a point cloud, pictures, and what they mean, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import OutputError
from pipelines.export.ply import write_ply
from pipelines.images.write import write_picture
from pipelines.stereo.run import Depth
from pipelines.stereo.span import Span
from pipelines.store.files import make_folder, write_atomic, write_text

_LEVELS = 256
"""Levels of the 16-bit PNG for each pixel of disparity, KITTI's; fewer where the largest disparity would not fit."""
_FAR = 99.5
"""Percentile of depth at which the colours end and the cloud is cut."""
FILES = {
    "disparity.pfm": "x_left - x_right in px, float32; infinite where unknown",
    "disparity.png": "16 bit: (disparity - png_zero) * png_levels; 0 where unknown",
    "depth.pfm": "along the optical axis, float32; infinite where unknown",
    "confidence.png": "8 bit: 0 where the value was filled in, 255 where it is certain",
    "cloud.ply": "coloured points that both photos agree on; x right, y down, z forward from the left camera",
    "depth.png": "depth in colours, with a scale",
    "left.png": "the rectified left picture, to which all maps belong",
    "right.png": "the rectified right picture",
    "stereo.json": "calibration, range, figures",
}


def check_place(out: Path) -> None:
    """Refuse a folder in which products would take the place of files of others, before any work is done.

    Raises:
        OutputError: it holds such files, and not what is written first of all.
    """
    first, *others = FILES
    foreign = [name for name in others if (out / name).exists()]
    if foreign and not (out / first).exists():
        why = f"it holds a {foreign[0]} that recon stereo did not make"
        raise OutputError(f"Cannot write to {out}", why, "another folder with --out")


def write_products(result: Depth, out: Path) -> dict[str, Any]:
    """Write all :data:`FILES` into a folder, and return what ``stereo.json`` holds.

    Raises:
        OutputError: the folder or a file cannot be written.
    """
    make_folder(out)
    values = np.where(result.known, result.disparities.values, np.inf).astype(np.float32)
    zero, per_pixel = png_scale(result.span)
    write_pfm(out / "disparity.pfm", values)
    levels = np.where(result.known, np.clip((values - zero) * per_pixel, 1, 65535), 0)
    write_picture(out / "disparity.png", np.rint(levels).astype(np.uint16))
    write_pfm(out / "depth.pfm", np.where(result.known, result.depth, np.inf).astype(np.float32))
    write_picture(out / "confidence.png", np.rint(255 * result.disparities.confidence * result.known).astype(np.uint8))
    xyz, rgb = cloud(result)
    write_ply(out / "cloud.ply", xyz, rgb)
    write_picture(out / "depth.png", coloured(result.depth, result.calibration.unit))
    write_picture(out / "left.png", result.left)
    write_picture(out / "right.png", result.right)
    told = plain(result, len(xyz))
    write_text(out / "stereo.json", json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return told


def png_scale(span: Span) -> tuple[int, int]:
    """The disparity that the 16-bit PNG begins with, px, and its levels for each pixel of disparity."""
    zero, per_pixel = min(0, span.start), _LEVELS
    while (span.start + span.count - zero) * per_pixel > 65535:
        per_pixel //= 2
    return zero, per_pixel


def plain(result: Depth, points: int) -> dict[str, Any]:
    """What the files mean and what was found, as a JSON value."""
    zero, per_pixel = png_scale(result.span)
    calibration, depth = result.calibration, result.depth[result.known]
    factor = "" if calibration.guessed else ": depths are true up to one unknown factor"
    return {
        "left": str(result.photos[0].path),
        "right": str(result.photos[1].path),
        "cost": result.config.cost,
        "width": result.left.shape[1],
        "height": result.left.shape[0],
        "depth_unit": calibration.unit or f"none{factor}",
        "calibration": {
            "source": calibration.source,
            "K_left": calibration.left.K.tolist(),
            "K_right": calibration.right.K.tolist(),
            "baseline": calibration.baseline,
            "offset_px": calibration.offset,
            "rectified_from_left": result.rectification.left.R.tolist(),
            "formula": "depth = K_left[0][0] * baseline / (disparity + offset_px)",
        },
        "disparities": {"first": result.span.start, "count": result.span.count, "from": result.span.source},
        "png_zero": zero,
        "png_levels": per_pixel,
        "matches": result.matches,
        "density": result.density,
        "known": float(result.known.mean()),
        "depth_percentiles": dict(zip(("1", "50", "99"), np.percentile(depth, [1, 50, 99]).tolist(), strict=True)),
        "points": points,
        "warnings": list(result.warnings),
        "seconds": result.seconds,
        "files": FILES,
    }


def cloud(result: Depth) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Points (P,3) in the left rectified camera's frame, and colours (P,3), of what both pictures agree on."""
    K = result.calibration.left.K
    far = np.percentile(result.depth[result.known], _FAR)
    chosen = result.known & result.disparities.measured & (np.nan_to_num(result.depth, nan=np.inf) <= far)
    y, x = np.nonzero(chosen)
    z = result.depth[chosen].astype(np.float64)
    xyz = np.stack([(x - K[0, 2]) / K[0, 0] * z, (y - K[1, 2]) / K[1, 1] * z, z], axis=1)
    return xyz, result.left[chosen]


def write_pfm(path: Path, values: NDArray[np.float32]) -> None:
    """Write a map (H,W) as PFM: little endian, the lowest row first."""
    height, width = values.shape
    header = f"Pf\n{width} {height}\n-1.0\n".encode()
    write_atomic(path, lambda stream: stream.write(header + values[::-1].astype("<f4").tobytes()))


def read_pfm(path: Path) -> NDArray[np.float32]:
    """A map (H,W) from PFM."""
    with path.open("rb") as stream:
        stream.readline()
        width, height = map(int, stream.readline().split())
        order = "<" if float(stream.readline()) < 0 else ">"
        values = np.frombuffer(stream.read(), f"{order}f4").reshape(height, width)
    return values[::-1].astype(np.float32)


def coloured(depth: NDArray[np.float32], unit: str) -> NDArray[np.uint8]:
    """Depth (H,W) in colours, near ones warm, even steps of inverse depth, above a scale; (H+S,W,3) uint8 RGB."""
    import cv2

    known = np.isfinite(depth)
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0)
    low, high = np.percentile(inverse[known], [100 - _FAR, _FAR])
    high = max(high, low * 1.001 + 1e-12)
    share = np.clip((inverse - low) / (high - low), 0, 1)
    painted = np.asarray(cv2.applyColorMap(np.rint(255 * share).astype(np.uint8), cv2.COLORMAP_TURBO))[:, :, ::-1]
    painted = np.where(known[:, :, None], painted, 0).astype(np.uint8)
    return np.concatenate([painted, _scale(depth.shape[1], low, high, unit)])


def _scale(width: int, low: float, high: float, unit: str) -> NDArray[np.uint8]:
    """A bar of the colours with depths under it."""
    import cv2
    from PIL import Image, ImageDraw, ImageFont

    strip = np.full((56, width, 3), 255, np.uint8)
    bar = np.linspace(0, 255, max(width - 80, 16)).astype(np.uint8)
    strip[8:24, 40 : 40 + len(bar)] = np.asarray(cv2.applyColorMap(bar[None], cv2.COLORMAP_TURBO))[:, :, ::-1]
    picture = Image.fromarray(strip)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    ticks = 5 if width >= 480 else 3
    for share in np.linspace(0, 1, ticks):
        depth = 1 / (low + share * (high - low))
        text = f"{depth:.3g} {unit}".strip() if unit or share < 1 else f"{depth:.3g} (no unit)"
        at = 40 + share * (len(bar) - 1)
        pen.line([(at, 24), (at, 29)], fill=(0, 0, 0))
        pen.text(
            (min(max(at - font.getlength(text) / 2, 2), width - font.getlength(text) - 2), 32), text, (0, 0, 0), font
        )
    return np.asarray(picture)
