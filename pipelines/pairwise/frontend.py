"""The common front end in memory: photos to features, two photos' features to matches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import descriptors
from descriptors.distances import Described, Matches
from descriptors.frames import scale_frames
from pipelines.core.types import Features, Photo
from pipelines.engine import cores
from pipelines.features.extract import FeatureConfig, describe_image, visible
from pipelines.images.masks import alpha_mask
from pipelines.images.read import Image, read_gray
from pipelines.matching.candidates import first_at_place, one_per_place
from pipelines.matching.matcher import MatchConfig, Matcher


class FrontEnd:
    """A descriptor (or metric network), loaded once, with its detector and its rule of matching.

    Args:
        features: detector, descriptor and working resolution.
        match: the ratio test; metric networks have a rule of their own.

    Raises:
        DescriptorError: no descriptor has the name, or it has no weights.
        ConfigError: a ratio for a metric network.
    """

    def __init__(self, features: FeatureConfig, match: MatchConfig | None = None) -> None:
        self.config = features
        self.matcher = Matcher(features.descriptor, match or MatchConfig())
        self._descriptor = descriptors.load(descriptors.shortlist(features.descriptor))

    @property
    def is_metric_network(self) -> bool:
        """Whether matching itself runs a network, which keeps all cores busy with one photo."""
        return self.matcher.scorer is not None

    def describe(self, photo: Photo) -> Features:
        """Features of a photo, frames in pixels of its full resolution.

        Raises:
            InputError: the file is gone or damaged.
        """
        return self.describe_image(photo, read_gray(photo, self.config.max_side))

    def describe_image(self, photo: Photo, image: Image) -> Features:
        """Features of a photo that has been read in grey, frames in pixels of its full resolution.

        Raises:
            InputError: what is transparent in it cannot be read.
        """
        seen = visible(image.pixels.shape, alpha_mask(photo))
        found = describe_image(image.pixels, self._descriptor, self.config, seen, self.matcher.scorer)
        return replace(found, frames=scale_frames(found.frames, image.scale))

    def match(
        self,
        a: Features,
        b: Features,
        *,
        threads: int | None = None,
        places: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
    ) -> Matches:
        """Mutual nearest neighbours that pass the ratio test, one per place, the most distinctive first.

        Args:
            places: :func:`pipelines.matching.candidates.first_at_place` of both, if that is known already.
        """
        found = self.matcher(
            Described(a.descriptors, a.pair_features),
            Described(b.descriptors, b.pair_features),
            threads=threads or cores(),
        )
        if places is None:
            places = first_at_place(a.frames), first_at_place(b.frames)
        return one_per_place(found, *places)
