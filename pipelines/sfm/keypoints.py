"""Keypoints of a model measured anew by grey values: where does each photo show what the point's first photo shows?

Detectors find each keypoint in its own photo, and are exact to 0.1 to 0.3 px. What the photos show around the keypoints
of one track is the same small piece of surface, and can be laid over each other to a few hundredths of a pixel once the
cameras are nearly known. Lindenberger, Larsson, Sarlin and Pollefeys (Pixel-Perfect Structure-from-Motion with
Featuremetric Refinement, ICCV 2021) do this with features of a network; grey values do where photos are sharp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.maps import Model
from pipelines.core.progress import Progress
from pipelines.core.types import Photo
from pipelines.engine import map_items, opencv_threads_kept
from pipelines.geometry.similarity import camera_alignment
from pipelines.photometric.patches import cut_patches, read_photo
from pipelines.sfm.config import MappingConfig


def finish_model(
    model: colmap.Reconstruction,
    photos: Mapping[str, Photo],
    max_side: int,
    config: MappingConfig,
    sources: Mapping[int, str],
    *,
    progress: Progress,
) -> Model:
    """Measure the keypoints of COLMAP's model anew, unless the configuration says otherwise, and settle it in the world
    that it has.

    Args:
        photos, max_side: see :func:`refine_keypoints`.
        sources: see :func:`pipelines.colmap.to_model`.

    Returns:
        What became of it.
    """
    mapped = colmap.to_model(model)
    if config.refine_keypoints:
        found = refine_keypoints(mapped, photos, max_side, progress=progress)
        mapped = replace(mapped, obs_xy=colmap.set_keypoints(model, mapped, found))
    colmap.settle(model, fix_intrinsics=config.fix_intrinsics)
    if config.choose_lenses and not config.fix_intrinsics and colmap.choose_lenses(model, tangential=True):
        colmap.settle(model, fix_intrinsics=False)
    colmap.transform(model, *camera_alignment(colmap.poses(model), mapped.cam_from_world))
    return colmap.adjusted(mapped, model, sources)


@opencv_threads_kept()
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
    cv2.setNumThreads(1)  # photos are worked on side by side

    read = partial(read_photo, model, photos, max_side)

    def measure(index: int) -> NDArray[np.float32]:
        rows = model.rows_of_images[index]
        image, xy = read(index), model.obs_xy[rows]
        if image is None:
            return xy
        points = model.obs_point[rows]
        others = model.obs_image[patches.first[points]] != index
        xy[others], _ = patches.found_in(
            image, model.cameras[index], model.cam_from_world[index], points[others], xy[others]
        )
        return xy

    with progress.stage("Keypoints", 2 * len(model.names)) as task:
        patches = cut_patches(model, max_side, read, lambda index: task.advance(note=model.names[index]))
        moved = model.obs_xy.copy()
        for index, xy in enumerate(map_items(measure, range(len(model.names)))):
            moved[model.rows_of_images[index]] = xy
            task.advance(note=model.names[index])
    return moved
