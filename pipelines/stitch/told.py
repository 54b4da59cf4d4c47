"""What is told of panoramas, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.core.median import median
from pipelines.core.types import Photo
from pipelines.stitch.run import Panorama, StitchResult
from pipelines.stitch.solve import Solved

if TYPE_CHECKING:
    from pipelines.stitch.flat import SolvedFlat

_MOVED = 0.0075
"""Residual of cameras that moved, in longer sides of a photo. Photos taken by hand, with things near by, that make good
panoramas nevertheless had up to 0.0055 in thirteen sets; of a walk 0.0067 to 0.033."""


def plain(result: StitchResult) -> dict[str, object]:
    """The result as a JSON value: for each panorama cameras, overlaps and residuals; photos not used, with reasons.

    Residuals are those of the cameras alone; what shifts of pixels there are besides says each photo's ``shift``, see
    :meth:`pipelines.stitch.local.Shifts.packed`.
    """
    return {
        "panoramas": [_plain_panorama(one, result.photos) for one in result.panoramas],
        "not_used": [{"photo": item.name, "why": item.why} for item in result.unused],
        "seconds": result.seconds,
    }


def doubt(panorama: Panorama, photos: Sequence[Photo]) -> str | None:
    """One sentence where residuals say that the camera did not just turn, and things may be seen twice."""
    side = max(max(photos[member].width, photos[member].height) for member in panorama.solved.members)
    if not isinstance(panorama.solved, Solved) or panorama.solved.rms <= _MOVED * side:
        return None
    return (
        f"the camera moved: with residuals of {100 * panorama.solved.rms / side:.1f} % of a photo's longer side these "
        "photos are not from one place, and things may be doubled or cut. Try: recon sfm"
    )


def _plain_panorama(panorama: Panorama, photos: Sequence[Photo]) -> dict[str, object]:
    solved = panorama.solved
    return {
        "file": str(panorama.path),
        "width": panorama.rendered.pixels.shape[1],
        "height": panorama.rendered.pixels.shape[0],
        "projection": panorama.canvas.name,
        "rms_residual_px": solved.rms,
        "warning": doubt(panorama, photos),
        "photos": [
            {
                "name": photos[member].name,
                **_place_of(solved, index),
                **({"shift": panorama.shifts[index].packed()} if panorama.shifts else {}),
                "gains": panorama.rendered.gains[index].tolist(),
            }
            for index, member in enumerate(solved.members)
        ],
        "overlaps": [
            {"photos": [photos[i].name, photos[j].name], "matches": len(values) // 2,
             "median_residual_px": float(median(values)), "rms_residual_px": float(np.sqrt((values**2).mean()))}
            for (i, j), values in solved.residuals.items()
        ],
        "contradicting_pairs": [
            {"photos": [photos[i].name, photos[j].name], "median_residual_px": value} for i, j, value in solved.dropped
        ],
    }  # fmt: skip


def _place_of(solved: Solved | SolvedFlat, index: int) -> dict[str, object]:
    if not isinstance(solved, Solved):
        return {"plane_from_photo": solved.plane_from_photo[index].tolist()}
    return {
        "focal_px": solved.cameras.focal(index),
        "distortion": solved.cameras.distortion(index),
        "cam_from_world": solved.cameras.rotations[index].tolist(),
    }
