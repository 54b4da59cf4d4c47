"""Metric networks as pair scorers: in onnxruntime two graphs, one run on patches, one on pairs; on a GPU in torch."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import (
    DescriptorSpec,
    PairScorer,
    PairScorerSpec,
    check_features,
    check_patches,
)
from descriptors.runtime import (
    Backend,
    Graph,
    backend,
    batches_at_a_time,
    check_weights,
    chosen_device,
    fingerprint,
    in_batches,
    weights_file,
)

# Rows of every run, the last one filled up with zeros, as in runtime.py. Pairs are many, and one full layer of
# MatchNet's metric network is 4 MB that is read in every run.
_PATCHES = 64
_PAIRS = 256


class NetworkScorer:
    """A trained metric network; keeps :class:`descriptors.contract.PairScorer`."""

    def __init__(self, spec: PairScorerSpec, weights: Path, *, device: str = "cpu") -> None:
        """Name what is to be run; weights are read and the graphs are made at first use.

        Args:
            spec: what the network is; its ``name`` is used in messages and in the cache.
            weights: safetensors file whose header names the network.
            device: ``cpu`` (onnxruntime, on all cores that this process may use) or a torch device such as ``cuda``.

        Raises:
            DescriptorError: there is no such file.
        """
        check_weights(spec.name, weights)
        self.spec = spec
        self._weights, self._device = weights, device

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the weights and of the version of the code that runs them."""
        return fingerprint(self._weights, self.spec.patch_size, self.spec.magnification)

    def features(self, patches: NDArray) -> NDArray:
        """Features (N,F) of patches (N,1,S,S) uint8 or float32 in 0..255; float32, or uint8 of a raw scorer.

        Raises:
            DescriptorError: patches of another shape or type, or weights that cannot be run.
        """
        check_patches(patches, self.spec)
        if self.spec.raw:
            flat = patches.reshape(len(patches), self.spec.width)
            return np.clip(np.rint(flat), 0, 255).astype(np.uint8)
        described = np.empty((len(patches), self.spec.width), np.float32)
        return in_batches(self._features, (patches,), described, _PATCHES, batches_at_a_time(self._device))

    def score(self, first: NDArray, second: NDArray) -> NDArray[np.float32]:
        """Scores (K,) float32 of features (K,F) against (K,F), larger = more alike; the order of the two matters.

        Raises:
            DescriptorError: features of another shape or type, or weights that cannot be run.
        """
        check_features(first, second, self.spec)
        scores = np.empty(len(first), np.float32)
        return in_batches(self._score, (first, second), scores, _PAIRS, batches_at_a_time(self._device))

    @cached_property
    def _features(self) -> Backend:
        size = self.spec.patch_size
        return self._part("features", (("patches", (_PATCHES, 1, size, size)),))

    @cached_property
    def _score(self) -> Backend:
        shape = (_PAIRS, self.spec.width)
        return self._part("score", (("first", shape), ("second", shape)))

    def _part(self, name: str, inputs: tuple[tuple[str, tuple[int, ...]], ...]) -> Backend:
        key = f"{self.spec.name}-{name}-{self.fingerprint[:32]}"
        graph = Graph(key, inputs, lambda network: getattr(network, name))
        return backend(self._weights, graph, self._device, threads=1)


class FeatureDescriptor:
    """The features of a scorer that ``embeds``, at unit length; keeps :class:`descriptors.contract.Descriptor`."""

    def __init__(self, spec: DescriptorSpec, scorer: PairScorer) -> None:
        """Take the features of ``scorer`` as descriptors."""
        self.spec = spec
        self._scorer = scorer

    @property
    def fingerprint(self) -> str:
        """That of the scorer."""
        return self._scorer.fingerprint

    def describe(self, patches: NDArray) -> NDArray[np.float32]:
        """Descriptors (N,F) float32 of unit length of patches (N,1,S,S) uint8 or float32 in 0..255.

        Raises:
            DescriptorError: patches of another shape or type, or weights that cannot be run.
        """
        return unit_rows(self._scorer.features(patches))


def unit_rows(features: NDArray) -> NDArray[np.float32]:
    """Rows (N,F) float32 divided by their length; a row of zeros stays."""
    rows = features.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))


def halved_rootsift(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RootSIFT (N,128) of patches (N,1,S,S) twice as fine as it takes them: the metric networks' shortlist."""
    from descriptors.registry import load as load_by_name

    size = patches.shape[-1] // 2
    halved = patches.reshape(-1, 1, size, 2, size, 2).mean(axis=(3, 5), dtype=np.float32)
    return load_by_name("rootsift").describe(halved)


def load(spec: PairScorerSpec) -> NetworkScorer:
    """The metric network that a row of the registry names, with the weights of the package.

    Raises:
        DescriptorError: the weights are missing.
    """
    return NetworkScorer(spec, weights_file(spec), device=chosen_device())


def load_features(spec: DescriptorSpec) -> FeatureDescriptor:
    """The descriptor NAME-l2 that the features of the scorer NAME are.

    Raises:
        DescriptorError: the weights are missing.
    """
    from descriptors.registry import load_scorer

    return FeatureDescriptor(spec, load_scorer(spec.name.removesuffix("-l2")))
