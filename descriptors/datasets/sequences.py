"""Image sequences with homographies: Oxford affine and HPatches, as published (ppm) or stored without loss (png)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors.datasets.scenes import DataError

_OXFORD = {
    "bark": "zoom and rotation", "boat": "zoom and rotation", "graf": "viewpoint", "wall": "viewpoint",
    "bikes": "blur", "trees": "blur", "leuven": "light", "ubc": "JPEG",
}  # fmt: skip
_HPATCHES = {"v": "viewpoint", "i": "light"}
_ENDINGS = (".png", ".ppm", ".pgm", ".jpg")


@dataclass(frozen=True)
class Sequence:
    """One scene: a reference photo and others that a homography maps it to.

    Attributes:
        name: of the folder.
        change: what changes from photo to photo.
        photos: paths, the reference first.
        homographies: (3,3) each, from the reference's pixels to those of photos[1], photos[2] …
    """

    name: str
    change: str
    photos: tuple[Path, ...]
    homographies: tuple[NDArray[np.float64], ...]


def read_sequences(folder: Path) -> list[Sequence]:
    """All sequences below a folder, or the folder itself if it is one, sorted by name.

    Raises:
        DataError: there is none, or a photo or homography is missing or damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Give the folder that holds graf/, wall/ … or v_*/, i_*/.")
    homes = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = [sequence for sequence in (_read(home) for home in homes) if sequence]
    if not found:
        raise DataError(
            f"{folder} holds no image sequence. One is a folder with img1.png … and H1to2p … (Oxford), "
            "or 1.png … and H_1_2 … (HPatches); ppm will do."
        )
    return found


def _read(home: Path) -> Sequence | None:
    for photo, homography in (("img{}", "H1to{}p"), ("{}", "H_1_{}")):
        first = _photo(home, photo.format(1))
        numbers = [k for k in range(2, 100) if (home / homography.format(k)).is_file()]
        if not first or not numbers:
            continue
        photos = [first]
        for k in numbers:
            other = _photo(home, photo.format(k))
            if other is None:
                raise DataError(f"{home / photo.format(k)} is missing (any of {', '.join(_ENDINGS)}).")
            photos.append(other)
        change = _OXFORD.get(home.name) or _HPATCHES.get(home.name.split("_")[0], "other")
        return Sequence(
            home.name, change, tuple(photos), tuple(_homography(home / homography.format(k)) for k in numbers)
        )
    return None


def _photo(home: Path, stem: str) -> Path | None:
    return next((home / f"{stem}{e}" for e in _ENDINGS if (home / f"{stem}{e}").is_file()), None)


def _homography(path: Path) -> NDArray[np.float64]:
    try:
        matrix = np.loadtxt(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no homography of three rows of three numbers: {error}.") from error
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise DataError(f"{path} is no homography of three rows of three numbers.")
    return matrix
