"""What ``recon dense`` found, for the command, the ledger and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.config import finite, to_plain
from pipelines.core.maps import Model


@dataclass(frozen=True)
class PhotoDepth:
    """One photo.

    Attributes:
        name: of the photo.
        neighbours: names of the photos that it was compared with, the best first.
        planes: candidates that its depth was first looked for at.
        covered: share of its pixels whose depth others agree with.
        points: that it added to the cloud.
        near, far: range of depth that was looked at, map units.
        sparse: share of the map's points that it sees where it has a depth now.
        deviation: median relative difference between that depth and the map's points; NaN without any.
        depth_file: name, without the ending, of the NPZ file in ``work/depth`` that holds this depth ((H,W), map units,
            0 where there is none), its normals and how many photos agree; empty without any.
        why: why it has no depth; empty if it has.
    """

    name: str
    neighbours: tuple[str, ...] = ()
    planes: int = 0
    covered: float = 0.0
    points: int = 0
    near: float = float("nan")
    far: float = float("nan")
    sparse: float = 0.0
    deviation: float = float("nan")
    depth_file: str = ""
    why: str = ""


@dataclass(frozen=True)
class DenseResult:
    """The whole.

    Attributes:
        verdict: one sentence in plain words.
        photos: in the map's order.
        points: of the cloud.
        vertices, faces: of the mesh; 0 without one.
        step: median distance between neighbouring points of the cloud, map units.
        distance: median distance of the map's points from the mesh, map units; NaN without one.
        complete: share of the map's points with the mesh (or a point of the cloud) within three steps.
        files: what was written -> file name, relative to the folder.
        settings: option -> value.
        timings: seconds per stage.
        peak_memory: bytes, of this process.
    """

    verdict: str
    photos: tuple[PhotoDepth, ...]
    points: int
    vertices: int
    faces: int
    step: float
    distance: float
    complete: float
    files: Mapping[str, str]
    settings: Mapping[str, str]
    timings: Mapping[str, float]
    peak_memory: int

    def as_plain(self) -> dict[str, Any]:
        """A JSON value."""
        return finite(to_plain(self))


@dataclass(frozen=True)
class DenseOutput:
    """What a report is made of.

    Attributes:
        result: figures.
        model: the map's.
        points: (P,) of :data:`pipelines.dense.fuse.POINT`, at most a few million.
        source: (P,) int32 photo that each came from, an index into the model's photos.
        photos, maps: name -> JPEG of the undistorted photo and of its depth map, 480 px on the longer side.
    """

    result: DenseResult
    model: Model
    points: NDArray[np.void]
    source: NDArray[np.int32]
    photos: Mapping[str, bytes]
    maps: Mapping[str, bytes]
