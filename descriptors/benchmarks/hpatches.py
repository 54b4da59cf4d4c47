"""The board of HPatches patches: verification, matching and retrieval (Balntas et al., CVPR 2017).

- **Verification**: is it the same place? Pairs against as many negatives within a sequence (intra) or between
  sequences (inter): area under ROC (balanced); or one positive for five negatives: average precision (imbalanced).
- **Matching**: each patch of the reference takes its nearest among those of another photo; ranked by distance;
  average precision over all patches of the reference. Mean over the five photos; of viewpoint and illumination
  sequences each kind counts half.
- **Retrieval**: each query among distractors of other sequences, its five views hidden there; average precision, mean
  over pools of 100 to 20,000.

Each at three levels of geometric noise. Average precision is the area under precision over recall by trapezoids, as
the authors' program has it; ties are one step here, there they come in the order of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors.benchmarks import scores
from descriptors.benchmarks.comparing import Comparison, distance_matrix, pair_distances
from descriptors.benchmarks.results import (
    Board,
    Contestant,
    Listener,
    Nobody,
    Score,
    Store,
    digest,
    file_digest,
)
from descriptors.contract import Distance
from descriptors.datasets.brown import resize_patches
from descriptors.datasets.hpatches import COLUMNS, LEVELS, SPLITS, PatchSequence, split_names
from descriptors.datasets.hpatches_tasks import Pairs, Retrieval, Verification, retrieval, verification

NAME = "hpatches"
_POOLS = (100, 500, 1000, 5000, 10_000, 15_000, 20_000)
_IMBALANCE = 0.2
_ALL = 116
_CHUNK = 65_536
# Changes whenever the code below gives other patches.
_VERSION = 1

DescribedSequence = dict[str, NDArray]
"""Descriptors (N,D) of each column of a sequence."""


def run(
    sequences: Sequence[PatchSequence], contestants: Sequence[Contestant], store: Store, *,
    splits: Sequence[str] = (), tasks: Path | None = None, listener: Listener | None = None,
) -> Board:  # fmt: skip
    """The board for these contestants; what stands in ``store`` is not done again.

    Args:
        splits: names; none given takes every split that has as many sequences here as published, or ``full``.
        tasks: folder of the published task lists, or None.
    """
    listener = listener or Nobody()
    present = [one.name for one in sequences]
    chosen = list(splits) or _whole_splits(present)
    found: list[Score] = []
    members = {split: [one for one in sequences if one.name in split_names(split, present)] for split in chosen}
    lists = {
        split: (verification(own, split, tasks), retrieval(own, split, tasks)) for split, own in members.items() if own
    }
    for contestant in contestants:
        described = {}
        for one in sequences:
            described[one.name] = _described(one, contestant, store)
            listener.advance(note=f"{one.name} {contestant.name}")
        for split, (verify, search) in lists.items():
            own = [described[one.name] for one in members[split]]
            found += _score(contestant, split, [one.name for one in members[split]], own, verify, search)
    if found:
        found += _overall(found, chosen[-1])
    published = tasks is not None and any(tasks.glob("*.csv"))
    text = (
        f"{len(sequences)} sequences, {sum(one.count for one in sequences):,} places; splits {', '.join(lists)}; "
        f"task lists {'as published' if published else 'drawn with seed 42'}; the table shows split {chosen[-1]}"
    )
    whole = published and len(split_names("full", present)) == _ALL and chosen[-1] == "full"
    note = "Published figures are of the 116 published sequences and their task lists; these are others."
    return Board(NAME, text, tuple(found), notes=() if whole else (note,), comparable=whole)


def _whole_splits(present: Sequence[str]) -> list[str]:
    sizes = {"a": 40, "b": 40, "c": 40, "illum": 57, "view": 59, "full": _ALL}
    return [split for split in SPLITS if split == "full" or len(split_names(split, list(present))) == sizes[split]]


def _described(one: PatchSequence, contestant: Contestant, store: Store) -> DescribedSequence:
    size = contestant.descriptor.spec.patch_size
    key = digest(_VERSION, *[file_digest(one.folder / f"{name}.png") for name in COLUMNS])

    def patches() -> NDArray[np.uint8]:
        return resize_patches(np.concatenate([one.column(name) for name in COLUMNS]), size)

    rows = store.described(NAME, one.name, key, contestant, patches)
    return dict(zip(COLUMNS, rows.reshape(len(COLUMNS), one.count, -1), strict=True))


def _score(
    contestant: Contestant, split: str, names: Sequence[str], own: Sequence[DescribedSequence], verify: Verification,
    search: Retrieval,
) -> list[Score]:  # fmt: skip
    compare, distance = contestant.compare, contestant.descriptor.spec.distance
    found = []
    for level, letter in LEVELS.items():
        values = [
            *verification_scores(own, letter, verify, compare, level),
            ("matching", level, matching_score(names, own, letter, compare)),
            # A query is compared with 20,000 patches: for descriptors only.
            (
                "retrieval",
                level,
                float("nan") if contestant.scorer else retrieval_score(own, letter, search, distance),
            ),
        ]
        found += [Score(NAME, contestant.name, split, condition, metric, value) for metric, condition, value in values]
    for metric in dict.fromkeys(score.metric for score in found):
        mean = scores.mean([score.value for score in found if score.metric == metric])
        found.append(Score(NAME, contestant.name, split, "all", metric, mean))
    return found


def _overall(found: Sequence[Score], split: str) -> list[Score]:
    """The scores of the split that the table shows, once more as those of the board."""
    return [Score(NAME, s.descriptor, "all", s.condition, s.metric, s.value) for s in found if s.subset == split]


def verification_scores(
    own: Sequence[DescribedSequence], letter: str, lists: Verification, compare: Comparison, level: str
) -> list[tuple[str, str, float]]:
    """Metric, condition and value of the four verification scores at one level of noise."""
    positive = _pair_distances(own, letter, lists.positive, compare)
    few = positive[: int(len(positive) * _IMBALANCE)]
    found = []
    for kind, pairs in (("intra", lists.intra), ("inter", lists.inter)):
        negative = _pair_distances(own, letter, pairs, compare)
        label = np.r_[np.ones(len(few), bool), np.zeros(len(negative), bool)]
        precision = scores.trapezoid_average_precision(np.r_[few, negative], label)
        found.append(("verification_balanced", f"{level} {kind}", scores.roc_area(positive, negative)))
        found.append(("verification_imbalanced", f"{level} {kind}", precision))
    return found


def _pair_distances(
    own: Sequence[DescribedSequence], letter: str, pairs: Pairs, compare: Comparison
) -> NDArray[np.float64]:
    count = np.array([len(one["ref"]) for one in own])
    first_row = np.concatenate([[0], np.cumsum(6 * count)])
    rows = np.concatenate([one[name] for one in own for name in ("ref", *(f"{letter}{k}" for k in range(1, 6)))])
    left = first_row[pairs.s1] + pairs.t1 * count[pairs.s1] + pairs.idx1
    right = first_row[pairs.s2] + pairs.t2 * count[pairs.s2] + pairs.idx2
    parts = [
        compare.pairs(rows[left[k : k + _CHUNK]], rows[right[k : k + _CHUNK]]) for k in range(0, len(left), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def matching_score(names: Sequence[str], own: Sequence[DescribedSequence], letter: str, compare: Comparison) -> float:
    """Mean average precision of matching at one level of noise; see the module's docstring."""
    kinds: dict[str, list[float]] = {}
    for name, one in zip(names, own, strict=True):
        precisions = []
        for k in range(1, 6):
            index, near, _ = compare.nearest(one["ref"], one[f"{letter}{k}"])
            right = index == np.arange(len(index))
            precisions.append(scores.trapezoid_average_precision(near, right, possible=len(right)))
        kinds.setdefault(name.split("_")[0], []).append(scores.mean(precisions))
    return scores.mean([scores.mean(values) for values in kinds.values()])


def retrieval_score(own: Sequence[DescribedSequence], letter: str, lists: Retrieval, distance: Distance) -> float:
    """Mean average precision of retrieval at one level of noise, over queries and pool sizes."""
    if not len(lists.query) or not len(lists.distractor):
        return float("nan")
    query = np.stack([own[s]["ref"][row] for s, row in zip(lists.query, lists.query_row, strict=True)])
    hidden = [
        np.stack([own[s][f"{letter}{k}"][row] for s, row in zip(lists.query, lists.query_row, strict=True)])
        for k in range(1, 6)
    ]
    true = np.stack([pair_distances(query, views, distance) for views in hidden], axis=1)
    others = np.stack([own[s]["ref"][row] for s, row in zip(lists.distractor, lists.distractor_row, strict=True)])
    found = []
    for first in range(0, len(query), 256):
        apart = distance_matrix(query[first : first + 256], others, distance)
        for place, row in enumerate(apart, start=first):
            foreign = row[lists.distractor != lists.query[place]].astype(np.float64)
            found.append(_pools(true[place], foreign))
    return scores.mean([scores.mean(values) for values in zip(*found, strict=True)])


def _pools(true: NDArray[np.float64], foreign: NDArray[np.float64]) -> list[float]:
    """Average precision of one query in pools of each size; a pool larger than what is there is all of it, once."""
    sizes = [size - len(true) for size in _POOLS if size - len(true) <= len(foreign)] or [len(foreign)]
    return [pool_precision(true, np.sort(foreign[:size])) for size in sizes]


def pool_precision(true: NDArray[np.float64], foreign: NDArray[np.float64]) -> float:
    """Trapezoid average precision of few true distances (T,) among many foreign ones (F,) sorted ascending.

    Precision matters only just before and just after each true distance: what lies between needs no look.
    """
    area = 0.0
    for value in np.unique(true):
        below, upto = (int(np.searchsorted(foreign, value, side=side)) for side in ("left", "right"))
        before, after = int((true < value).sum()), int((true <= value).sum())
        start = before / (before + below) if before + below else 1.0
        area += (after - before) / len(true) * (start + after / (after + upto)) / 2
    return area
