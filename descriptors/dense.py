"""A vector for every pixel of a picture, from a network of the zoo: fully convolutional, in tiles, on onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorSpec
from descriptors.runtime import Backend, Graph, backend, check_weights, fingerprint, weights_file

_TILE = 192
"""Vectors of a tile along each side: what lies in memory at a time is some 100 MB of feature maps."""
_VERSION = 2


@dataclass(frozen=True)
class DenseForm:
    """How a network of patches is evaluated at every pixel.

    Attributes:
        zoom: the picture is enlarged by this first: a patch of 32 px then covers 32 / zoom pixels.
        whole: standardise the picture as a whole, not each pixel by what is around it: for networks trained so.
        reach: pixels of the enlarged picture that a vector sees to each side.
    """

    zoom: int
    whole: bool
    reach: int


FORMS: dict[str, DenseForm] = {
    "swift-stereo": DenseForm(1, True, 6),
    "swift": DenseForm(2, False, 36),
    "swift-small": DenseForm(2, False, 36),
    "swift-large": DenseForm(2, False, 56),
    "l2net": DenseForm(2, False, 36),
    "hardnet": DenseForm(2, False, 36),
    "sosnet": DenseForm(2, False, 36),
    "tfeat": DenseForm(2, False, 20),
}
"""Networks (of :data:`descriptors.networks.NETWORKS`) that are evaluated at every pixel at once."""


class DenseNetwork:
    """Describes every pixel of a picture with a network of the zoo.

    Args:
        spec: of the descriptor; ``weights`` is a file of the package or a path.
        network: name of the architecture, a key of :data:`FORMS`.
        threads: of the CPU; None takes all that this process may use.

    Raises:
        DescriptorError: the weights are missing.
    """

    def __init__(self, spec: DescriptorSpec, network: str, *, threads: int | None = None) -> None:
        self.name, self._patch, self._dim = spec.name, spec.patch_size, spec.dim
        self._weights = weights_file(spec)
        check_weights(spec.name, self._weights)
        self._form, self._threads = FORMS[network], threads

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the weights and of the form they are evaluated in."""
        return f"{fingerprint(self._weights, self._patch)[:32]}-{self._form.zoom}{self._form.whole:d}{_VERSION}"

    def describe(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H,W,C) float32 vectors of unit length of a picture (H,W) uint8. A vector does not depend on the tiling."""
        zoom, margin = self._form.zoom, -(-self._form.reach // self._form.zoom) * self._form.zoom
        ready = np.pad(self._standardised(gray), margin, mode="edge")
        height, width = gray.shape
        vectors = np.empty((height, width, self._dim), np.float32)
        step, side = _TILE, _TILE * zoom + 2 * margin
        for top in range(0, height, step):
            for left in range(0, width, step):
                tile = ready[top * zoom : top * zoom + side, left * zoom : left * zoom + side]
                inner = self._run(np.ascontiguousarray(tile)[None, None])[0]
                edge = margin // zoom
                inner = inner[:, edge : inner.shape[1] - edge, edge : inner.shape[2] - edge]
                vectors[top : top + step, left : left + step] = inner.transpose(1, 2, 0)
        return vectors

    def _standardised(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The picture, enlarged, with mean 0 and standard deviation 1: as a whole, or around every pixel."""
        import cv2

        values = np.asarray(gray, np.float32)
        zoom = self._form.zoom
        if zoom > 1:
            values = np.asarray(cv2.resize(values, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR), np.float32)
        if self._form.whole:
            return (values - values.mean()) / max(float(values.std()), 1e-2)
        box = partial(cv2.boxFilter, ddepth=cv2.CV_64F, ksize=(self._patch,) * 2, borderType=cv2.BORDER_REFLECT_101)
        precise = values.astype(np.float64)
        mean = box(precise)
        spread = np.sqrt(np.maximum(box(precise**2) - mean**2, 0) + 1.0)
        return ((precise - mean) / spread).astype(np.float32)

    @cached_property
    def _run(self) -> Backend:
        side = _TILE * self._form.zoom + 2 * self._form.reach
        key = f"dense-{Path(self.name).stem}-{self.fingerprint}"
        part = partial(_part, zoom=self._form.zoom)
        graph = Graph(key, (("picture", (1, 1, side // 8 * 8, side // 8 * 8)),), part, free=(2, 3))
        return backend(self._weights, graph, "cpu", self._threads)


def _part(network: Any, zoom: int) -> Any:
    from descriptors.networks.dense import FullyConvolutional

    return FullyConvolutional(network, zoom).eval()
