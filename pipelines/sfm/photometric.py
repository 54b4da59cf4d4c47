"""Keypoints of a model measured anew by grey values: where does each photo show what the point's first photo shows?

Detectors find each keypoint in its own photo, and are exact to 0.1 to 0.3 px. What the photos show around the keypoints
of one track is the same small piece of surface, and can be laid over each other to a few hundredths of a pixel once the
cameras are nearly known: an affine map, begun with what the cameras say of a piece that faces halfway between two of
them, and found by Lucas and Kanade's method in its inverse compositional form (Baker and Matthews, Lucas-Kanade 20
years on, IJCV 2004), whatever brightness and contrast. Lindenberger, Larsson, Sarlin and Pollefeys (Pixel-Perfect
Structure-from-Motion with Featuremetric Refinement, ICCV 2021) do this with features of a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.errors import ReconError
from pipelines.core.progress import Progress
from pipelines.core.types import Camera, Model, Photo
from pipelines.engine import map_items, opencv_threads_kept
from pipelines.geometry.similarity import camera_alignment
from pipelines.images.read import Image, read_gray

_RADIUS = 6
"""Px of the working resolution: what is compared is a window of twice this and one."""
_STEPS = 6
_FARTHEST = 1.5
"""Px of the working resolution that a keypoint may move; what is farther off is another thing."""
_ALIKE = 0.85
"""Least correlation of the two windows, once they lie over each other."""
_AREA = 9.0
"""Largest change of area between two photos that a window is carried over."""
_APART = 2.0
"""Px from which the affine map of a piece of surface is taken."""
_CHUNK = 2000
"""Windows that are worked on at once: some MB."""

_AXIS = np.arange(-_RADIUS, _RADIUS + 1, dtype=np.float32)
_OFFSETS = np.stack(np.meshgrid(_AXIS, _AXIS), axis=-1).reshape(-1, 2)
_BLOCK = np.stack(np.meshgrid(*2 * [np.arange(-_RADIUS - 1, _RADIUS + 2, dtype=np.float32)]), axis=-1).reshape(-1, 2)
_WEIGHTS = np.exp(-(_OFFSETS**2).sum(axis=1) / (2 * (0.6 * _RADIUS) ** 2))
_WEIGHTS /= _WEIGHTS.sum()


def refine_models(
    models: Sequence[Any], photos: Mapping[str, Photo], max_side: int, *, fix_intrinsics: bool, progress: Progress
) -> None:
    """Measure the keypoints of COLMAP's models anew and adjust these, each in the world that it has.

    Args:
        photos, max_side: see :func:`refine_keypoints`.
        fix_intrinsics: keep all camera parameters as they are.
    """
    for model in models:
        before = colmap.to_model(model)
        colmap.set_keypoints(model, refine_keypoints(before, photos, max_side, progress=progress))
        colmap.settle(model, fix_intrinsics=fix_intrinsics)
        colmap.transform(model, *camera_alignment(colmap.poses(model), before.cam_from_world))


def refine_keypoints(
    model: Model, photos: Mapping[str, Photo], max_side: int, *, progress: Progress
) -> NDArray[np.float32]:
    """Places of a model's observations, by grey values where photos show the same, and as they were elsewhere.

    Args:
        photos: by name; of one that can no longer be read the keypoints stay.
        max_side: longer side, px, at which photos are compared.

    Returns:
        (O,2) px, in the order of the model's observations.
    """
    first = _most_central(model)
    blocks = np.zeros((len(model.xyz), len(_BLOCK)), np.uint8)  # what the first photo of each point shows around it
    known = np.zeros(len(model.xyz), bool)
    xy = model.obs_xy.copy()
    rows_of_images = model.rows_of_images

    def read(index: int) -> Image | None:
        try:
            return read_gray(photos[model.names[index]], max_side)
        except (KeyError, ReconError):
            return None

    def look(index: int) -> None:
        image = read(index)
        if image is None:
            return
        rows = rows_of_images[index]
        rows = rows[first[model.obs_point[rows]] == rows]
        at = _to_working(xy[rows], image)
        whole = _inside(at, image.pixels.shape, _RADIUS + 1)
        for part in _chunks(rows[whole]):
            places = _to_working(xy[part], image)[:, None] + _BLOCK
            blocks[model.obs_point[part]] = _sampled(image.pixels, places)
        known[model.obs_point[rows[whole]]] = True

    def lay_over(index: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows = rows_of_images[index]
        points = model.obs_point[rows]
        others = model.obs_image[first[points]] != index
        rows = rows[known[points] & others]
        image = read(index) if len(rows) else None
        if image is None:
            return rows[:0], xy[:0]
        pixels = image.pixels.astype(np.float32)
        found, moved = [rows[:0]], [xy[:0]]
        for part in _chunks(rows):
            affine = _carried_over(model, first[model.obs_point[part]], part, max_side)
            at, good = _laid_over(pixels, blocks[model.obs_point[part]], _to_working(xy[part], image), affine)
            found.append(part[good])
            moved.append(_to_full(at[good], image))
        return np.concatenate(found), np.concatenate(moved)

    indices = range(len(model.names))
    with opencv_threads_kept(), progress.stage("Keypoints", 2 * len(model.names)) as task:
        cv2.setNumThreads(1)  # photos are worked on side by side
        for name, _ in zip(model.names, map_items(look, indices), strict=True):
            task.advance(note=name)
        for name, (rows, moved) in zip(model.names, map_items(lay_over, indices), strict=True):
            xy[rows] = moved
            task.advance(note=name)
    return xy


def _most_central(model: Model) -> NDArray[np.int64]:
    """(P,) row of the observation of each point whose direction is closest to the mean of all."""
    rays = model.centres[model.obs_image] - model.xyz[model.obs_point]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    mean = np.zeros_like(model.xyz)
    np.add.at(mean, model.obs_point, rays)
    order = np.lexsort([-np.einsum("oi,oi->o", rays, mean[model.obs_point]), model.obs_point])
    return order[np.searchsorted(model.obs_point[order], np.arange(len(model.xyz)))]


def _carried_over(
    model: Model, from_rows: NDArray[np.int64], to_rows: NDArray[np.int64], max_side: int
) -> NDArray[np.float32]:
    """(N,2,2) affine maps between surroundings of two observations of a point, px of the working resolutions; NaN where
    the cameras do not tell."""
    xyz = model.xyz[model.obs_point[to_rows]]
    here, there = (model.obs_image[rows] for rows in (from_rows, to_rows))
    normal = sum(_unit(model.centres[which] - xyz) for which in (here, there))
    corners = []
    for step in _APART * np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]):
        rays = np.full_like(xyz, np.nan)
        for which in np.unique(here):
            rows = here == which
            camera = model.cameras[which]
            flat = colmap.rays_of_pixels(camera, model.obs_xy[from_rows[rows]] + step * _shrink(camera, max_side))
            rays[rows] = np.column_stack([flat, np.ones(len(flat))]) @ model.cam_from_world[which, :, :3]
        centre = model.centres[here]
        along = np.einsum("ni,ni->n", normal, xyz - centre) / np.einsum("ni,ni->n", normal, rays)
        on_surface = centre + along[:, None] * rays
        pixels = np.full((len(xyz), 2), np.nan)
        for which in np.unique(there):
            rows, pose = there == which, model.cam_from_world[which]
            camera = model.cameras[which]
            seen = on_surface[rows] @ pose[:, :3].T + pose[:, 3]
            depth = np.where(seen[:, 2:] > 0, seen[:, 2:], np.nan)
            pixels[rows] = colmap.pixels_of_rays(camera, seen[:, :2] / depth) / _shrink(camera, max_side)
        corners.append(pixels)
    right, left, below, above = corners
    return (np.stack([right - left, below - above], axis=-1) / (2 * _APART)).astype(np.float32)


def _laid_over(
    pixels: NDArray[np.float32], blocks: NDArray[np.uint8], start: NDArray[np.float32], affine: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where a photo (H,W) shows what blocks (N,B) show, from places (N,2) and affine maps (N,2,2) on.

    Returns:
        (N,2) px and (N,) whether they are to be believed.
    """
    with np.errstate(invalid="ignore"):
        area = np.abs(np.linalg.det(affine))
        usable = (area > 1 / _AREA) & (area < _AREA)
    affine = np.where(usable[:, None, None], affine, np.eye(2, dtype=np.float32))
    window, steepest = _linearised(blocks)
    at = start.copy()
    identity = np.eye(2, dtype=np.float32)
    for _ in range(_STEPS):
        error = _even(_sampled(pixels, at[:, None] + _OFFSETS @ affine.transpose(0, 2, 1))) - window
        step = (steepest @ error[..., None])[..., 0]
        # The window is moved by the inverse of what would move the block.
        turn = identity + step[:, 2:].reshape(-1, 2, 2) / np.float32(_RADIUS)
        degenerate = np.abs(np.linalg.det(turn)) < 0.1
        usable &= ~degenerate
        turn[degenerate] = identity
        affine = affine @ np.linalg.inv(turn)
        at = at - (affine @ step[:, :2, None])[..., 0]
        lost = ~np.isfinite(at).all(axis=1) | ~np.isfinite(affine).all(axis=(1, 2))
        usable &= ~lost
        at[lost], affine[lost] = start[lost], identity
    laid = _even(_sampled(pixels, at[:, None] + _OFFSETS @ affine.transpose(0, 2, 1)))
    alike = (laid * window) @ _WEIGHTS
    near = np.linalg.norm(at - start, axis=1) < _FARTHEST
    return at, usable & (alike > _ALIKE) & near & _inside(at, pixels.shape, _RADIUS)


def _linearised(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The windows (N,W) within blocks, made even, and what gives the step (N,6,W) by which they differ from another:
    two of the place, then four of the affine map's change at ``_RADIUS``."""
    side = 2 * _RADIUS + 3
    grey = blocks.reshape(-1, side, side).astype(np.float32)
    window = np.ascontiguousarray(grey[:, 1:-1, 1:-1]).reshape(len(blocks), -1)
    across = (0.5 * (grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2])).reshape(len(blocks), -1)
    down = (0.5 * (grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1])).reshape(len(blocks), -1)
    x, y = _OFFSETS.T / np.float32(_RADIUS)
    slopes = np.stack([across, down, across * x, across * y, down * x, down * y], axis=1)
    spread = _spread(window - (window @ _WEIGHTS)[:, None])
    window = _even(window)
    # What brightness and contrast would do is taken out of the slopes.
    slopes = slopes / spread[:, None, None]
    slopes -= (slopes @ _WEIGHTS)[..., None]
    slopes -= (slopes @ (window * _WEIGHTS)[..., None]) * window[:, None]
    weighted = slopes * _WEIGHTS
    normal = weighted @ slopes.transpose(0, 2, 1)
    diagonal = np.arange(6)
    normal[:, diagonal, diagonal] *= np.float32(1.001)
    normal[:, diagonal, diagonal] += np.float32(1e-5)
    return window, np.linalg.inv(normal) @ weighted


def _even(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows (N,W) with weighted mean 0 and spread 1."""
    windows = windows - (windows @ _WEIGHTS)[:, None]
    return windows / _spread(windows)[:, None]


def _spread(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt((centred * centred) @ _WEIGHTS) + np.float32(1e-3)


def _sampled(pixels: NDArray, at: NDArray[np.float32]) -> NDArray:
    """(N,W) values of a photo at places (N,W,2)."""
    x, y = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    return cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _inside(at: NDArray, shape: tuple[int, ...], margin: int) -> NDArray[np.bool_]:
    return np.asarray(((at >= margin) & (at <= np.array(shape[1::-1]) - 1 - margin)).all(axis=1))


def _to_working(xy: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
    return ((xy + 0.5) / image.scale - 0.5).astype(np.float32)


def _to_full(xy: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
    return ((xy + 0.5) * image.scale - 0.5).astype(np.float32)


def _shrink(camera: Camera, max_side: int) -> float:
    return max(1.0, max(camera.width, camera.height) / max_side)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _chunks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
