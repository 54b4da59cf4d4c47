"""The typed products that flow from stage to stage. Frozen; shapes and frames stand in each docstring.

Pixels are float32, x right, y down, the centre of the top-left pixel at (0, 0), in the full-resolution,
EXIF-upright photo. Poses are ``cam_from_world``: x_cam = R x_world + t.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import printable


@dataclass(frozen=True)
class Exif:
    """What a photo's EXIF says, as far as recon uses it.

    Attributes:
        orientation: EXIF orientation 1..8, as stored in the file (already applied to all pixels recon hands out).
        make, model: camera, stripped; empty if unknown.
        focal_px: focal length in pixels of the full-resolution photo, None if EXIF is silent.
        gps: latitude and longitude in degrees, altitude in metres (0 if unknown); None without GPS.
        taken: EXIF DateTimeOriginal as written, empty if unknown.
        own: recon itself wrote the picture, a panorama or one that shows what was found in a photo.
    """

    orientation: int = 1
    make: str = ""
    model: str = ""
    focal_px: float | None = None
    gps: tuple[float, float, float] | None = None
    taken: str = ""
    own: bool = False


@dataclass(frozen=True)
class Photo:
    """A readable photo.

    Attributes:
        name: path relative to the photo folder, with forward slashes; the photo's name in every product.
        path: where the file stands.
        width, height: full-resolution pixels after EXIF orientation.
        content: sha256 of the file's bytes.
    """

    name: str
    path: Path
    width: int
    height: int
    content: str
    exif: Exif = field(default_factory=Exif)


@dataclass(frozen=True)
class Rejected:
    """A file that could not be used as a photo, by its printable name, and why, in plain words."""

    name: str
    why: str
    try_: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))


@dataclass(frozen=True)
class Features:
    """Local features of one photo.

    Attributes:
        frames: (N,2,3) float32, [A | t]: A maps the unit circle to the keypoint's scale (sigma, px), t is its centre.
        scores: (N,) float32 detector responses, larger is stronger.
        descriptors: (N,D) float32 of unit length or (N,D/8) packed uint8.
        pair_features: (N,F) what a metric network keeps of each patch, float32 or uint8; None without such a network,
            and in features read from disk, where it is large and has a reader of its own.
    """

    frames: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray
    pair_features: NDArray | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def xy(self) -> NDArray[np.float32]:
        """(N,2) keypoint centres in pixels."""
        return self.frames[:, :, 2]
