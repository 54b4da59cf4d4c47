"""What a match is: mutual nearest neighbours with a ratio test, or what a metric network says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import descriptors
from descriptors.distances import Described, Matches, mutual_matches
from pipelines.core.errors import ConfigError

if TYPE_CHECKING:
    from descriptors.rerank import RerankRule
    from descriptors.views import Views


@dataclass(frozen=True)
class MatchConfig:
    """How descriptors are matched.

    Attributes:
        ratio: largest nearest / second-nearest distance ratio; None takes the descriptor's own, set from data.
        first: how many of the largest keypoints of each photo are compared first, if both focal lengths are known; if
            they show a geometry, all others are compared along its lines alone. 0 compares all with all.
    """

    ratio: float | None = None
    first: int = 3072

    def __post_init__(self) -> None:
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise ConfigError(
                f"A distance ratio of {self.ratio} is not possible", "it lies between 0 and 1", "--ratio 0.8"
            )
        if self.first < 0:
            raise ConfigError(f"{self.first} keypoints cannot be compared first", "", "3072, or 0 for all at once")


class Matcher:
    """What a descriptor, or a metric network, calls a match; loaded once.

    Attributes:
        scorer: the metric network, None for a descriptor.
        ratio: largest ratio of a match proper, infinite where there is no ratio test.
        waiting: largest ratio of a match that a geometry may still confirm: half of the way from ``ratio`` to none.
        distance: of the descriptors.
        rule: what decides beside the features, for fingerprints.
    """

    def __init__(self, name: str, config: MatchConfig) -> None:
        """Args: name: in the registry; config: see there.

        Raises:
            ConfigError: a ratio for a metric network.
        """
        spec, self.scorer = descriptors.spec(descriptors.shortlist(name)), descriptors.scorer_for(name)
        self.distance = spec.distance
        self.ratio = self.waiting = np.inf
        if self.scorer is None:
            self.rule: float | RerankRule = spec.ratio if config.ratio is None else config.ratio
            if self.rule < 1:
                self.ratio, self.waiting = self.rule, (1 + self.rule) / 2
            return
        if config.ratio is not None:
            raise ConfigError(
                f"There is no distance ratio for {name}",
                "it is a metric network, whose matches are kept by their scores",
                "leave --ratio out",
            )
        from descriptors.rerank import RerankRule

        self.rule = RerankRule.of(self.scorer.spec)

    def __call__(self, a: Described, b: Described, *, waiting: bool = False, threads: int = 1) -> Matches:
        """Matches of two photos, with ``waiting`` also those that a geometry may still confirm."""
        if self.scorer is not None:
            from descriptors.rerank import RerankRule, rerank_matches

            assert isinstance(self.rule, RerankRule), "a metric network has a rule of reranking"
            return rerank_matches(self.scorer, a, b, self.rule, distance=self.distance, threads=threads)
        limit = self.waiting if waiting else self.ratio
        return mutual_matches(a.descriptors, b.descriptors, ratio=limit, distance=self.distance, threads=threads)

    def with_views(self, a: NDArray, things: Views, *, threads: int = 1) -> Matches:
        """Matches of a photo's descriptors with things that were seen several times; not for a metric network."""
        assert self.scorer is None, "a metric network compares patches, not things"
        from descriptors.views import match_views

        return match_views(a, things, ratio=self.ratio, distance=self.distance, threads=threads)
