"""What the points of a model look like around their places, each in the photo that looks at it most squarely."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.errors import ReconError
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Progress
from pipelines.core.types import Photo
from pipelines.engine import map_items
from pipelines.images.read import Image, pixel_size, read_gray
from pipelines.photometric.windows import BLOCK, cut_blocks, lay_over
from pipelines.store.files import fingerprint
from pipelines.store.tables import KeptTable

_CODE = 1
_ROW = np.dtype([("first", np.int64), ("block", np.uint8, (BLOCK,))])

_APART = 2.0
"""Px of the working resolution over which the affine map of a piece of surface is taken."""


@dataclass(frozen=True)
class Patches:
    """Surroundings of a model's points.

    Attributes:
        model: the model.
        max_side: longer side at most, px, of the pictures that they were cut from: the working resolution.
        first: (P,) row of the observation that each was cut around.
        blocks: (P,B) uint8, see :func:`pipelines.photometric.windows.cut_blocks`; all zero where the photo does not
            show them whole, or could not be read.
    """

    model: Model
    max_side: int
    first: NDArray[np.int64]
    blocks: NDArray[np.uint8]

    def found_in(
        self,
        image: Image,
        camera: Camera,
        cam_from_world: NDArray[np.float64],
        points: NDArray[np.integer],
        xy: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Where a photo shows points (N,) that it shows at about ``xy``.

        Args:
            image: the photo in grey, at the working resolution.
            camera, cam_from_world: of the photo, nearly.
            points: indices.
            xy: (N,2) px of the photo.

        Returns:
            (N,2) px of the photo, and (N,) whether they are to be believed; ``xy`` where not.
        """
        affine = _affine_maps(self.model, self.first[points], camera, cam_from_world, self.max_side)
        blocks = self.blocks[points]
        usable = blocks.any(axis=1) & np.isfinite(affine).all(axis=(1, 2))
        moved, good = xy.astype(np.float32), np.zeros(len(xy), bool)
        moved[usable], good[usable] = lay_over(image, blocks[usable], moved[usable], affine[usable])
        return moved, good


def read_photo(model: Model, photos: Mapping[str, Photo], max_side: int, index: int) -> Image | None:
    """A photo of a model in grey, its longer side at most ``max_side`` px; None if it can no longer be read."""
    try:
        return read_gray(photos[model.names[index]], max_side)
    except (KeyError, ReconError):
        return None


def cut_patches(
    model: Model, max_side: int, read: Callable[[int], Image | None], done: Callable[[int], None]
) -> Patches:
    """The patches of a model's points.

    Args:
        max_side: see :class:`Patches`.
        read: index of a photo of the model -> it in grey at that resolution, None if it can no longer be read.
        done: told of each photo's index.
    """
    first = _most_central(model)
    blocks = np.zeros((len(model.xyz), BLOCK), np.uint8)

    def cut(index: int) -> None:
        rows = model.rows_of_images[index]
        rows = rows[first[model.obs_point[rows]] == rows]
        image = read(index)
        if image is not None:
            cut_here, whole = cut_blocks(image, model.obs_xy[rows])
            blocks[model.obs_point[rows[whole]]] = cut_here[whole]

    for index, _ in enumerate(map_items(cut, range(len(model.names)))):
        done(index)
    return Patches(model, max_side, first, blocks)


def kept_patches(
    path: Path, model: Model, photos: Mapping[str, Photo], max_side: int, *, progress: Progress
) -> Patches:
    """The patches of a map's model: ``path-KEY.npy`` if it stands there and fits, else made and kept.

    They are mapped into memory, not read. Where the file cannot be written, or a photo not be read, they are made for
    this once.

    Args:
        path: of the file, without the fingerprint of what it is made of and without the suffix.
        photos: of the map, by name.
        max_side: see :class:`Patches`.
        progress: told of the making.
    """
    seen = sha256(model.obs_image.tobytes() + model.obs_point.tobytes() + model.obs_xy.tobytes()).hexdigest()
    kept = KeptTable(path, fingerprint("patches", _CODE, max_side, seen), "patches")
    table = kept.read(lambda table: table.shape == (len(model.xyz),) and table.dtype == _ROW)
    if table is None:
        unread: list[int] = []

        def read(index: int) -> Image | None:
            image = read_photo(model, photos, max_side, index)
            if image is None:
                unread.append(index)
            return image

        with progress.stage("Patches", len(model.names)) as task:
            made = cut_patches(model, max_side, read, lambda index: task.advance(note=model.names[index]))
        table = np.empty(len(model.xyz), _ROW)
        table["first"], table["block"] = made.first, made.blocks
        if not unread:
            kept.write(partial(np.save, arr=table), progress)
    return Patches(model, max_side, table["first"], table["block"])


def _most_central(model: Model) -> NDArray[np.int64]:
    """(P,) row of the observation of each point whose direction is closest to the mean of all."""
    rays = _unit(model.centres[model.obs_image] - model.xyz[model.obs_point])
    mean = np.zeros_like(model.xyz)
    np.add.at(mean, model.obs_point, rays)
    order = np.lexsort([-np.einsum("oi,oi->o", rays, mean[model.obs_point]), model.obs_point])
    return order[np.searchsorted(model.obs_point[order], np.arange(len(model.xyz)))]


def _affine_maps(
    model: Model, rows: NDArray[np.int64], camera: Camera, cam_from_world: NDArray[np.float64], max_side: int
) -> NDArray[np.float32]:
    """(N,2,2) maps of offsets around observations (N,) to offsets in another photo, as if each point lay on a surface
    that faces halfway between the two; px of the working resolutions, NaN where the cameras do not tell."""
    xyz, here = model.xyz[model.obs_point[rows]], model.obs_image[rows]
    centre, other = model.centres[here], -cam_from_world[:, :3].T @ cam_from_world[:, 3]
    normal = _unit(centre - xyz) + _unit(other - xyz)
    distance = np.einsum("ni,ni->n", normal, xyz - centre)
    pixel, corners = pixel_size(camera.width, camera.height, max_side), []
    for step in _APART * np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]):
        rays = np.full_like(xyz, np.nan)
        for which in np.unique(here):
            mine, own = here == which, model.cameras[which]
            beside = step * pixel_size(own.width, own.height, max_side)
            flat = colmap.rays_of_pixels(own, model.obs_xy[rows[mine]] + beside)
            rays[mine] = np.column_stack([flat, np.ones(len(flat))]) @ model.cam_from_world[which, :, :3]
        surface = centre + (distance / np.einsum("ni,ni->n", normal, rays))[:, None] * rays
        seen = surface @ cam_from_world[:, :3].T + cam_from_world[:, 3]
        depth = np.where(seen[:, 2:] > 0, seen[:, 2:], np.nan)
        corners.append(colmap.pixels_of_rays(camera, seen[:, :2] / depth) / pixel)
    right, left, below, above = corners
    return (np.stack([right - left, below - above], axis=-1) / (2 * _APART)).astype(np.float32)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
