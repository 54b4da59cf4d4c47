"""Where the products of ``recon dense`` stand, and its per-photo files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import InputError
from pipelines.dense.agree import Checked
from pipelines.dense.fuse import POINT
from pipelines.dense.sweep import DepthMap
from pipelines.export.files import photo_files
from pipelines.store.files import make_folder, read_arrays, write_arrays


@dataclass(frozen=True)
class DenseFolder:
    """Paths inside the folder given by ``--out``.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def pictures(self) -> Path:
        """Undistorted photos, PNG, one per fingerprint."""
        return self.root / "work" / "photos"

    @property
    def work(self) -> Path:
        """Depth, checked depth and points of each photo, NPZ, one per fingerprint."""
        return self.root / "work" / "depth"

    @property
    def maps(self) -> Path:
        """Depth maps to look at, PNG."""
        return self.root / "depth"

    def map_files(self, names: Sequence[str]) -> dict[str, Path]:
        """Photo name -> its depth map to look at."""
        return {name: self.maps / file for name, file in photo_files(names, flat=True, ending=".png").items()}

    @property
    def cloud(self) -> Path:
        """Points with normals and colours."""
        return self.root / "cloud.ply"

    @property
    def ledger(self) -> Path:
        """Figures as JSON."""
        return self.root / "dense.json"

    @property
    def turntable(self) -> Path:
        """Views of the mesh from around, JPEG."""
        return self.root / "turntable.jpg"

    @property
    def report(self) -> Path:
        """The page to open in a browser."""
        return self.root / "report.html"

    def mesh(self, ending: str) -> Path:
        """The mesh as ``ply``, ``obj`` or ``glb``."""
        return self.root / f"mesh.{ending}"

    def create(self) -> None:
        """Make the folder and its sub-folders.

        Raises:
            OutputError: it cannot be written.
        """
        for folder in (self.root, self.pictures, self.work, self.maps):
            make_folder(folder)

    # --- per-photo files ----------------------------------------------------------------------------------------------

    def has(self, key: str) -> bool:
        """Whether a per-photo file stands there whole."""
        return read_arrays(self.work / f"{key}.npz") is not None

    def write_depth(self, key: str, made: DepthMap) -> None:
        """Keep the depth of a photo."""
        write_arrays(self.work / f"{key}.npz", {"depth": made.depth, "planes": np.array([made.planes], np.int64)})

    def read_depth(self, key: str) -> NDArray[np.float32]:
        """(H,W) depth; 0 where unknown."""
        return self._read(key, ["depth"])["depth"]

    def read_planes(self, key: str) -> int:
        """Candidates that a photo's depth was first looked for at."""
        return int(self._read(key, ["planes"])["planes"][0])

    def write_checked(self, key: str, made: Checked) -> None:
        """Keep the checked depth of a photo."""
        arrays = {name: getattr(made, name) for name in ("depth", "normal", "count", "ratios")}
        write_arrays(self.work / f"{key}.npz", arrays)

    def read_checked(self, key: str) -> Checked:
        """What was kept."""
        return Checked(**self._read(key, ["depth", "normal", "count", "ratios"]))

    def read_ratios(self, key: str) -> NDArray[np.float32]:
        """(N,3) how a photo's colours compare with those of its neighbours."""
        return self._read(key, ["ratios"])["ratios"]

    def write_points(self, key: str, points: NDArray[np.void]) -> None:
        """Keep the points that a photo adds."""
        write_arrays(self.work / f"{key}.npz", {"points": points.view(np.uint8).reshape(-1, POINT.itemsize)})

    def read_points(self, key: str) -> NDArray[np.void]:
        """(P,) of :data:`pipelines.dense.fuse.POINT`."""
        return self._read(key, ["points"])["points"].reshape(-1).view(POINT)

    def _read(self, key: str, names: list[str]) -> dict[str, NDArray]:
        arrays = read_arrays(self.work / f"{key}.npz", names)
        if arrays is None:
            raise InputError(
                f"{self.work / key}.npz cannot be read back", "it is missing or damaged", "run the same command again"
            )
        return arrays
