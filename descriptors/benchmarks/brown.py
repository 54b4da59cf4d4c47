"""The board of Brown / UBC PhotoTour: FPR95 and ROC on the published pairs, and mAP of the second-nearest ratio.

FPR95 is the false positive rate FP / N at 95 % recall (MatchNet's and TFeat's first tables held the false discovery
rate FP / (FP + TP)). It is saturated by networks trained on another of the three sets, so the mAP of "Brown PhotoTour
revisited" stands beside it. A descriptor whose name ends in the name of a set (``mine-liberty``) was trained on it,
and is not scored there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from descriptors.benchmarks import scores
from descriptors.benchmarks.pairs import roc_curve, snn_map
from descriptors.benchmarks.results import (
    Board,
    Contestant,
    Curve,
    Listener,
    Nobody,
    Score,
    Store,
    digest,
    file_digest,
)
from descriptors.datasets.brown import BrownSet, resize_patches

NAME = "brown"
# Sheets that are described, and written, at a time: 10,240 patches.
_SHEETS = 40
# Changes whenever the code below gives other patches or scores.
_VERSION = 1


def run(
    sets: Sequence[BrownSet], contestants: Sequence[Contestant], store: Store, *, listener: Listener | None = None
) -> Board:
    """The board for these contestants; what stands in ``store`` is not done again."""
    listener = listener or Nobody()
    found: list[Score] = []
    curves: list[Curve] = []
    for contestant in contestants:
        own: list[Score] = []
        for one in sets:
            if not contestant.name.endswith(f"-{one.name}"):
                scored, curve = _score(one, contestant, store)
                own += scored
                curves.append(curve)
            listener.advance(note=f"{one.name} {contestant.name}")
        for metric in dict.fromkeys(score.metric for score in own):
            mean = scores.mean([score.value for score in own if score.metric == metric])
            own.append(Score(NAME, contestant.name, "all", "all", metric, mean))
        found += own
    text = (
        f"{', '.join(f'{one.name} ({len(one):,} patches)' for one in sets)}; FPR is the false positive rate FP / N, "
        "not the false discovery rate"
    )
    return Board(NAME, text, tuple(found), tuple(curves))


def _score(one: BrownSet, contestant: Contestant, store: Store) -> tuple[list[Score], Curve]:
    described = _described(one, contestant, store)
    first, second, match = one.pairs()
    apart = contestant.compare.pairs(described[first], described[second])
    positive, negative = apart[match], apart[~match]
    precision = float("nan") if contestant.scorer else _snn_map(one, contestant, described, store)
    values = (
        ("fpr95", scores.fpr95(positive, negative)),
        ("roc_auc", scores.roc_area(positive, negative)),
        ("snn_map", precision),
    )
    found = [Score(NAME, contestant.name, one.name, "all", metric, value) for metric, value in values]
    return found, roc_curve(NAME, contestant.name, one.name, positive, negative)


def _snn_map(one: BrownSet, contestant: Contestant, described: NDArray, store: Store) -> float:
    """Of descriptors; all pairs of a set are too many for a metric network."""
    key = digest(_VERSION, contestant.key, one.point, one.photo, described)
    distance = contestant.descriptor.spec.distance
    found = store.arrays(
        f"{NAME}/{contestant.name}/scores", one.name, key,
        lambda: {"snn_map": np.array(snn_map(described, one.point, one.photo, distance))},
    )  # fmt: skip
    return float(found["snn_map"])


def _described(one: BrownSet, contestant: Contestant, store: Store) -> NDArray:
    size = contestant.descriptor.spec.patch_size
    parts = []
    for first in range(0, one.sheets, _SHEETS):
        last = min(first + _SHEETS, one.sheets)
        key = digest(_VERSION, len(one), *[file_digest(one.sheet(number)) for number in range(first, last)])

        def patches(first: int = first, last: int = last) -> NDArray[np.uint8]:
            return resize_patches(one.patches(first, last), size)

        parts.append(store.described(NAME, f"{one.name}-{first:04d}", key, contestant, patches))
    return np.concatenate(parts)
