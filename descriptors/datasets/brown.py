"""The UBC PhotoTour patches of Brown, Hua and Winder (PAMI 2011), in the layout in which they are published.

A set is a folder with sheets ``patches0000.bmp`` … (1024 x 1024 grey, 16 x 16 patches of 64 x 64, row by row),
``info.txt`` (a line a patch: number of its 3D point, number of its reference photo) and lists of pairs
``m50_100000_100000_0.txt`` (a line a pair: patch, point, unused, patch, point, unused …; a match if the points agree).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.datasets.scenes import DataError, read_grey
from descriptors.datasets.tracks import Tracks
from descriptors.frames import frames_from_keypoints

PATCH_SIZE = 64
PER_SHEET = 256
_ACROSS = 16
# What jitter may show beyond a patch, px.
_MIRRORED = 8
PAIRS_FILE = "m50_100000_100000_0.txt"
MD5 = {
    "liberty": "fdd9152f138ea5ef2091746689176414",
    "notredame": "509eda8535847b8c0a90bbb210c83484",
    "yosemite": "533b2e8eb7ede31be40abc317b2fd4f0",
}
"""The three sets and the md5 of their published archives."""


@dataclass(frozen=True)
class BrownSet:
    """One set, its patches still on disk.

    Attributes:
        name: of the folder.
        folder: where the sheets lie.
        point, photo: (N,) 3D point and reference photo of each patch.
    """

    name: str
    folder: Path
    point: NDArray[np.int64]
    photo: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.point)

    @property
    def sheets(self) -> int:
        """Number of sheets."""
        return -(-len(self) // PER_SHEET)

    def sheet(self, number: int) -> Path:
        """Path of a sheet."""
        return self.folder / f"patches{number:04d}.bmp"

    def patches(self, first: int, last: int) -> NDArray[np.uint8]:
        """The patches (n,1,64,64) of sheets ``first`` … ``last - 1``.

        Raises:
            DataError: a sheet is missing or of another size.
        """
        parts = []
        for number in range(first, min(last, self.sheets)):
            path = self.sheet(number)
            picture = read_grey(path)
            if picture.shape != (_ACROSS * PATCH_SIZE, _ACROSS * PATCH_SIZE):
                raise DataError(f"{path} is {picture.shape[1]} x {picture.shape[0]} pixels, not 1024 x 1024.")
            tiles = picture.reshape(_ACROSS, PATCH_SIZE, _ACROSS, PATCH_SIZE).transpose(0, 2, 1, 3)
            parts.append(tiles.reshape(-1, 1, PATCH_SIZE, PATCH_SIZE)[: len(self) - number * PER_SHEET])
        return np.concatenate(parts) if parts else np.empty((0, 1, PATCH_SIZE, PATCH_SIZE), np.uint8)

    def pairs(self, file: str = PAIRS_FILE) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """First and second patch (M,) of each listed pair, and whether they show one point.

        Raises:
            DataError: the list is missing, or names patches that are not there.
        """
        table = _numbers(self.folder / file, at_least=5)
        first, second = table[:, 0], table[:, 3]
        if len(table) and (min(first.min(), second.min()) < 0 or max(first.max(), second.max()) >= len(self)):
            raise DataError(f"{self.folder / file} names patches beyond the {len(self)} of {self.folder / 'info.txt'}.")
        match = table[:, 1] == table[:, 4]
        if not ((self.point[first] == self.point[second]) == match).all():
            raise DataError(f"{self.folder / file} and info.txt disagree on which patches show one point.")
        return first, second, match


def read_brown(folder: Path) -> BrownSet:
    """One set.

    Raises:
        DataError: ``info.txt`` or the first sheet is missing or damaged.
    """
    table = _numbers(folder / "info.txt", at_least=2)
    found = BrownSet(folder.name, folder, table[:, 0], table[:, 1])
    missing = [number for number in range(found.sheets) if not found.sheet(number).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {len(missing)} of {found.sheets} sheets, the first {found.sheet(missing[0])}.")
    return found


def read_sets(root: Path) -> list[BrownSet]:
    """Those of the three sets that lie below ``root``, unpacked or as the published archives (unpacked once, here).

    Raises:
        DataError: none is there (the message says which file to put where), or an archive is damaged.
    """
    found = []
    for name, md5 in MD5.items():
        archive = root / f"{name}.zip"
        if not (root / name / "info.txt").is_file() and archive.is_file():
            _unpack(archive, root / name, md5)
        if (root / name).is_dir():
            found.append(read_brown(root / name))
    if not found:
        files = "; ".join(f"{root / name}.zip, md5 {md5}" for name, md5 in MD5.items())
        raise DataError(
            f"There is none of the PhotoTour sets in {root}. Put one or more of the published archives there: {files}. "
            "Their first host is gone; the authors' page is matthewalunbrown.com/patchdata/patchdata.html."
        )
    return found


def brown_tracks(found: BrownSet, *, magnification: float) -> Tracks:
    """The set as tracks: each patch a frame on its sheet, of which ``magnification`` sigmas reach to the patch's edge.

    On the sheets kept here each patch stands in a frame of its own mirrored edge, so that jitter never shows the patch
    beside it. About 13 kB a patch with the pyramids that cutting needs: 6 GB for a set of 450,000.
    """
    side = PATCH_SIZE + 2 * _MIRRORED
    sheets = []
    for number in range(found.sheets):
        patches = found.patches(number, number + 1)[:, 0]
        around = ((0, PER_SHEET - len(patches)), (0, 0), (0, 0))
        edged = np.pad(np.pad(patches, around), ((0, 0), (_MIRRORED, _MIRRORED), (_MIRRORED, _MIRRORED)), "symmetric")
        rows = edged.reshape(_ACROSS, _ACROSS, side, side).transpose(0, 2, 1, 3)
        sheets.append(np.ascontiguousarray(rows.reshape(_ACROSS * side, _ACROSS * side)))
    point = np.unique(found.point, return_inverse=True)[1].ravel()
    order = np.argsort(point, kind="stable")
    order = order[np.bincount(point)[point[order]] >= 2]
    _, counts = np.unique(point[order], return_counts=True)
    place = order % PER_SHEET
    middle = np.stack([place % _ACROSS, place // _ACROSS], axis=1) * float(side) + (side - 1) / 2
    sigma = np.full(len(order), PATCH_SIZE / 2 / magnification)
    return Tracks(
        images=tuple(sheets),
        obs_image=(order // PER_SHEET).astype(np.int32),
        frames=frames_from_keypoints(middle, sigma, np.zeros(len(order))),
        rays=np.tile(np.array([0, 0, 1], np.float32), (len(order), 1)),  # unknown: all views count alike
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        place=np.stack([np.arange(len(counts), dtype=np.float64) * 1e6, *np.zeros((2, len(counts)))], axis=1),
        radius=np.ones(len(counts)),
        group=np.zeros(len(counts), np.int32),
    )


def _unpack(archive: Path, folder: Path, md5: str) -> None:
    with open(archive, "rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != md5:
        raise DataError(f"{archive} is damaged or another file: its md5 is {found}, that of the published one {md5}.")
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                if member.is_dir():
                    continue
                # Only the names count: a folder inside the archive, or a path that leads out of it, does not.
                draft.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, open(draft / Path(member.filename).name, "wb") as target:
                    shutil.copyfileobj(source, target)
        os.replace(draft, folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive} cannot be unpacked beside itself: {error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _numbers(path: Path, *, at_least: int) -> NDArray[np.int64]:
    try:
        lines = path.read_text().split("\n")
        table = np.array([line.split()[:at_least] for line in lines if line.strip()], np.int64)
        return table.reshape(-1, at_least)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path} is no table of at least {at_least} whole numbers a line.") from error


def resize_patches(patches: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Patches (N,1,S,S) at another side: area means when they shrink, bilinear when they grow."""
    side = patches.shape[-1]
    if side == size:
        return patches
    method = cv2.INTER_AREA if size < side else cv2.INTER_LINEAR
    resized = np.empty((len(patches), 1, size, size), np.uint8)
    for patch, place in zip(patches[:, 0], resized[:, 0], strict=True):
        cv2.resize(patch, (size, size), dst=place, interpolation=method)
    return resized
