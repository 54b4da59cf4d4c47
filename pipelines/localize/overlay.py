"""A query with what the map says should be seen in it: the proof of a pose that one can look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.types import Photo
from pipelines.images.read import Image, read_color_image
from pipelines.images.write import write_picture
from pipelines.localize.pose import project
from pipelines.localize.result import Evidence, Localisation, QueryPose, Verdict
from pipelines.store.files import make_folder

_SIDE = 1600
_COVERED = 0.1
"""Share of the picture that points of the map, or marks of matches, may cover: the photo is seen beneath thousands."""
_GREEN, _RED, _BLUE, _WHITE = (60, 230, 60), (255, 70, 60), (60, 170, 255), (255, 255, 255)
_COLOURS = {Verdict.FOUND: (20, 110, 20), Verdict.UNCERTAIN: (150, 100, 0), Verdict.NOT_FOUND: (140, 20, 20)}


def draw_overlay(photo: Photo, answer: Localisation, xyz: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(H,W,3) RGB picture: the query, map points (blue), inliers (green, with a line to the point), others (red).

    Args:
        photo: the query.
        answer: what was found.
        xyz: (P,3) points of the map to project: those that the matched photos see.

    Raises:
        InputError: the photo cannot be read any more.
    """
    image = read_color_image(photo, _SIDE)
    picture = image.pixels.copy()
    size = max(1, round(max(picture.shape[:2]) / 500))
    if answer.pose is not None:
        seen = project(answer.pose.camera, answer.pose.cam_from_world, xyz)[0]
        places = _inside(image.from_full(seen[np.isfinite(seen).all(axis=1)]), picture)
        for x, y in places:
            cv2.circle(picture, (x, y), _radius(picture, len(places), size), _BLUE, -1, cv2.LINE_AA)
    if answer.evidence is not None:
        _draw_matches(picture, image, answer.evidence, answer.pose, size)
    _write_verdict(picture, answer)
    return picture


def _radius(picture: NDArray[np.uint8], count: int, most: int) -> int:
    """Of so many discs that all together leave the photo visible."""
    room = _COVERED * picture.shape[0] * picture.shape[1] / (np.pi * max(1, count))
    return int(np.clip(np.sqrt(room), 1, most))


def _inside(xy: NDArray, picture: NDArray[np.uint8]) -> list[tuple[int, int]]:
    height, width = picture.shape[:2]
    whole = np.round(xy).astype(np.int64)
    kept = ((whole >= 0) & (whole < (width, height))).all(axis=1)
    return [(int(x), int(y)) for x, y in whole[kept]]


def _draw_matches(
    picture: NDArray[np.uint8], image: Image, evidence: Evidence, pose: QueryPose | None, size: int
) -> None:
    radius = max(2, _radius(picture, len(evidence.xy), 3 * size))
    stroke = max(1, radius // 3)
    for x, y in _inside(image.from_full(evidence.xy[~evidence.inliers]), picture):
        cv2.drawMarker(picture, (x, y), _RED, cv2.MARKER_TILTED_CROSS, 2 * radius, stroke, cv2.LINE_AA)
    if pose is None:
        return
    ends = image.from_full(project(pose.camera, pose.cam_from_world, evidence.xyz[evidence.inliers])[0])
    starts = image.from_full(evidence.xy[evidence.inliers])
    for start, end in np.round(np.stack([starts, ends], axis=1)).astype(int).tolist():
        cv2.circle(picture, start, radius, _GREEN, stroke, cv2.LINE_AA)
        cv2.line(picture, start, end, _GREEN, stroke, cv2.LINE_AA)


def _write_verdict(picture: NDArray[np.uint8], answer: Localisation) -> None:
    """A bar at the foot of the picture: verdict and reason."""
    height, width = picture.shape[:2]
    bar = max(18, height // 24)
    picture[height - bar :] = _COLOURS[answer.verdict]
    text = f"{answer.verdict}: {answer.reason}"
    if answer.pose is not None:
        text += " (green; others red; blue: points of the map)"
    text = text.encode("ascii", "replace").decode()
    scale = bar / 36
    wide = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
    scale *= min(1.0, (width - 2 * bar // 3) / max(1, wide))
    at = (bar // 3, height - bar // 3)
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, _WHITE, 1, cv2.LINE_AA)


def write_overlay(folder: Path, number: int, photo: Photo, answer: Localisation, xyz: NDArray[np.float64]) -> Path:
    """Write the overlay as ``001-name.jpg``; see :func:`draw_overlay`.

    Raises:
        OutputError: the folder cannot be written.
    """
    make_folder(folder)
    path = folder / f"{number:03}-{Path(photo.name).stem}.jpg"
    write_picture(path, draw_overlay(photo, answer, xyz))
    return path
