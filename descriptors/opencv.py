"""OpenCV's keypoint-level descriptors behind the contract: patches in, one row each out.

OpenCV describes keypoints of a photo, and drops those near its border. Here every patch becomes a cell of one
large sheet with an upright keypoint in the middle, so that rotation, scale and border have been dealt with before
(``descriptors.frames``) and a keypoint is never dropped. Each row of ``_TABLE`` says how large the keypoint must be
for one pixel of OpenCV's sampling pattern to be one pixel of the patch; the pattern's reach (measured by changing
what lies outside) gives the patch size in the registry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorError, DescriptorSpec, check_patches

# Cells per row of a sheet.
_COLUMNS = 32
# Changes whenever the code below gives other numbers for the same patch.
_VERSION = 1

_VGG_120 = 100
_BINBOOST_256 = 302


@dataclass(frozen=True)
class _Backend:
    """How one OpenCV extractor takes a patch.

    Attributes:
        create: makes the extractor; called anew for each batch, for some keep the photo in themselves and so
            cannot serve two threads.
        size: keypoint diameter at which a pixel of the sampling pattern is a pixel of the patch.
        border: pixels by which each patch is continued with its edge: what the extractor blurs across, or asks
            to lie between a keypoint and the border of the photo.
        chunk: patches per sheet.
    """

    create: Callable[[], cv2.Feature2D]
    size: float
    border: int = 0
    chunk: int = 1024


@cache
def _brisk() -> cv2.Feature2D:
    """Made once: its tables take a quarter of a second, and describing changes nothing in it."""
    return cv2.xfeatures2d.BRISK.create()


def _freak() -> cv2.Feature2D:
    return cv2.xfeatures2d.FREAK.create(orientationNormalized=False, scaleNormalized=False, patternScale=11)


def _daisy() -> cv2.Feature2D:
    return cv2.xfeatures2d.DAISY.create(radius=8, norm=cv2.xfeatures2d.DAISY_NRM_NONE)


# BRISK and FREAK add the position in the photo to that in their pattern in single precision, so that some bits depend
# on where in a sheet the patch lies: each patch is a sheet of its own. BRISK turns its pattern by itself, whatever the
# keypoint's angle. FREAK's pattern is half of its usual size, DAISY's of radius 8 for 15: so they fit 64 and 32 pixels.
_TABLE: dict[str, _Backend] = {
    "orb": _Backend(lambda: cv2.ORB.create(edgeThreshold=0), size=31),
    "brisk": _Backend(_brisk, size=20, border=2, chunk=1),
    "freak": _Backend(_freak, size=20, border=4, chunk=1),
    "latch": _Backend(lambda: cv2.xfeatures2d.LATCH.create(rotationInvariance=False), size=31, border=6),
    "beblid": _Backend(lambda: cv2.xfeatures2d.BEBLID.create(1.0, cv2.xfeatures2d.BEBLID_SIZE_512_BITS), size=32),
    "teblid": _Backend(lambda: cv2.xfeatures2d.TEBLID.create(1.0, cv2.xfeatures2d.TEBLID_SIZE_512_BITS), size=32),
    "boostdesc": _Backend(lambda: cv2.xfeatures2d.BoostDesc.create(_BINBOOST_256, scale_factor=1.0), size=32),
    "vgg": _Backend(lambda: cv2.xfeatures2d.VGG.create(_VGG_120, scale_factor=1.0), size=64, border=6),
    "daisy": _Backend(_daisy, size=20, border=14, chunk=64),
}


@dataclass(frozen=True)
class OpenCVDescriptor:
    """One of OpenCV's descriptors; keeps the contract of :class:`descriptors.contract.Descriptor`."""

    spec: DescriptorSpec
    backend: _Backend

    @property
    def fingerprint(self) -> str:
        """Digest of name, sampling, OpenCV's version and this code's."""
        parts = (self.spec.name, self.spec.patch_size, self.spec.magnification, cv2.__version__, _VERSION)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def describe(self, patches: NDArray) -> NDArray:
        """Describe patches (N,1,S,S) as (N,D/8) packed uint8, or (N,D) float32 of unit length.

        OpenCV works on bytes: float patches are rounded, and cut off at 0 and 255.

        Raises:
            DescriptorError: patches of another shape or type.
        """
        check_patches(patches, self.spec)
        described = np.empty((len(patches), self.spec.width), self.spec.dtype)
        extractor = self.backend.create()
        size = self.backend.chunk
        for start in range(0, len(patches), size):
            chunk = patches[start : start + size, 0]
            if chunk.dtype != np.uint8:
                chunk = np.clip(np.rint(chunk), 0, 255).astype(np.uint8)
            described[start : start + size] = self._describe_sheet(extractor, chunk)
        return described if self.spec.kind == "binary" else _unit(described)

    def _describe_sheet(self, extractor: cv2.Feature2D, patches: NDArray[np.uint8]) -> NDArray:
        """Rows of patches (n,S,S), in their order, whatever order and number OpenCV gives back."""
        border, side = self.backend.border, self.spec.patch_size + 2 * self.backend.border
        count = len(patches)
        sheet = _sheet(np.pad(patches, ((0, 0), (border, border), (border, border)), mode="edge"))
        # Extractors number the pixels of an even patch around pixel S/2.
        middle = border + self.spec.patch_size // 2
        keypoints = [
            cv2.KeyPoint(
                float(i % _COLUMNS * side + middle), float(i // _COLUMNS * side + middle),
                float(self.backend.size), 0.0, 1.0, 0, i,
            )
            for i in range(count)
        ]  # fmt: skip
        kept, rows = extractor.compute(sheet, keypoints)
        described = np.zeros((count, self.spec.width), self.spec.dtype)
        places = [keypoint.class_id for keypoint in kept]
        if len(set(places)) != count:
            raise DescriptorError(
                f"OpenCV {cv2.__version__} dropped {count - len(set(places))} of {count} patches of {self.spec.name}: "
                f"its sampling pattern does not fit a patch of {self.spec.patch_size} pixels. Use a larger patch_size."
            )
        described[places] = rows
        return described


def _sheet(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cells (n,P,P) side by side in rows of at most 32; the last row is filled up with black."""
    count, side, _ = cells.shape
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, side, side), np.uint8)
    filled[:count] = cells
    tiled = filled.reshape(rows, columns, side, side).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiled).reshape(rows * side, columns * side)


def _unit(vectors: NDArray) -> NDArray:
    """Rows of unit length; a row of zeros (a flat patch) becomes the vector of equal elements."""
    flat = ~vectors.any(axis=1)
    vectors[flat] = 1.0
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def load(spec: DescriptorSpec) -> OpenCVDescriptor:
    """The OpenCV descriptor that ``spec`` names.

    Raises:
        DescriptorError: the table has no row of that name.
    """
    if spec.name not in _TABLE:
        raise DescriptorError(f"There is no OpenCV descriptor {spec.name!r}. Known are: {', '.join(_TABLE)}.")
    return OpenCVDescriptor(spec, _TABLE[spec.name])
