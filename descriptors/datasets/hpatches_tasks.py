"""Task lists of the HPatches benchmark: the published CSV files where they are, else drawn by the same rule, seed 42.

The published lists were drawn from the published 116 sequences with numpy's legacy generator; the same calls in the
same order are made here, so that lists of other sets are such as the authors' program would have made. Two things
matter on small sets only: pairs between sequences that fall on one place are left out, and at most a fifth of the
patches are queries, so that distractors are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors.datasets.hpatches import PatchSequence
from descriptors.datasets.scenes import DataError

PAIRS = 100_000
QUERIES, DISTRACTORS = 5_000, 20_000
# Patches flatter than this (standard deviation of the grey values) are neither queries nor distractors.
_FLAT = 10.0
_PAIR_COLUMNS = ("s1", "t1", "idx1", "s2", "t2", "idx2")


@dataclass(frozen=True)
class Pairs:
    """Pairs of patches: sequence (index into the list of names), photo (0 the reference) and row of each side, (M,)."""

    s1: NDArray[np.int64]
    t1: NDArray[np.int64]
    idx1: NDArray[np.int64]
    s2: NDArray[np.int64]
    t2: NDArray[np.int64]
    idx2: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.s1)


@dataclass(frozen=True)
class Verification:
    """Pairs of one place, of two places in one sequence, of two places in (mostly) two sequences."""

    positive: Pairs
    intra: Pairs
    inter: Pairs


@dataclass(frozen=True)
class Retrieval:
    """Reference patches to look for, and to look among: sequence and row of each, (Q,) and (R,)."""

    query: NDArray[np.int64]
    query_row: NDArray[np.int64]
    distractor: NDArray[np.int64]
    distractor_row: NDArray[np.int64]


def verification(
    sequences: Sequence[PatchSequence], split: str, tasks: Path | None, pairs: int | None = None
) -> Verification:
    """Lists ``verif_*_split-SPLIT.csv`` in the folder ``tasks`` if they are there, else drawn.

    Args:
        sequences: of the split.
        pairs: how many of each kind are drawn; the authors drew a million.

    Raises:
        DataError: a list is damaged, or names patches that are not there.
    """
    files = [_file(tasks, f"verif_{kind}_split-{split}.csv") for kind in ("pos", "neg_intra", "neg_inter")]
    if all(files):
        return Verification(*(_read_pairs(path, sequences) for path in files if path))
    names = np.arange(len(sequences))
    count = [s.count for s in sequences]
    if min(count) < 2:
        raise DataError(f"Verification needs two patches a sequence at least; {sequences[int(np.argmin(count))].name} "
                        "has fewer.")  # fmt: skip
    pairs = PAIRS if pairs is None else pairs
    draw = np.random.RandomState(42)
    s = draw.choice(names, pairs)
    rows = np.array([draw.choice(np.arange(count[k]), 2, replace=False) for k in s]).reshape(-1, 2)
    photos = np.array([draw.choice(np.arange(5), 2, replace=False) for _ in s]).reshape(-1, 2)
    other = draw.choice(names, pairs)
    other_row = np.array([draw.randint(count[k]) for k in other], np.int64)
    left = (s, photos[:, 0], rows[:, 0])
    return Verification(
        positive=Pairs(*left, s, photos[:, 1], rows[:, 0]),
        intra=Pairs(*left, s, photos[:, 1], rows[:, 1]),
        inter=_kept(Pairs(*left, other, photos[:, 1], other_row), (s != other) | (rows[:, 0] != other_row)),
    )


def retrieval(sequences: Sequence[PatchSequence], split: str, tasks: Path | None) -> Retrieval:
    """Lists ``retr_queries_split-SPLIT.csv`` and ``retr_distractors_split-SPLIT.csv``, or drawn ones; see
    :func:`verification`."""
    files = [_file(tasks, f"retr_{kind}_split-{split}.csv") for kind in ("queries", "distractors")]
    if all(files):
        given = [_read_rows(path, sequences) for path in files if path]
        return Retrieval(*given[0], *given[1])
    names = np.arange(len(sequences))
    draw = np.random.RandomState(42)
    chosen = []
    for many in (4 * QUERIES, 10 * DISTRACTORS):
        s = draw.choice(names, many)
        chosen.append(np.stack([s, np.array([draw.randint(sequences[k].count) for k in s], np.int64)], axis=1))
    lively = [one.column("ref").std(axis=(1, 2, 3)) > _FLAT for one in sequences]
    for which, rows in enumerate(chosen):
        rows = rows[np.array([lively[s][row] for s, row in rows], bool)]
        _, first = np.unique(rows, axis=0, return_index=True)
        chosen[which] = rows[np.sort(first)]
    queries = chosen[0][: min(QUERIES, sum(one.count for one in sequences) // 5)]
    taken = set(map(tuple, queries.tolist()))
    distractors = np.array([row for row in chosen[1].tolist() if tuple(row) not in taken], np.int64).reshape(-1, 2)
    distractors = distractors[:DISTRACTORS]
    return Retrieval(queries[:, 0], queries[:, 1], distractors[:, 0], distractors[:, 1])


def _kept(pairs: Pairs, keep: NDArray[np.bool_]) -> Pairs:
    return Pairs(*(column[keep] for column in (pairs.s1, pairs.t1, pairs.idx1, pairs.s2, pairs.t2, pairs.idx2)))


def _file(tasks: Path | None, name: str) -> Path | None:
    return tasks / name if tasks is not None and (tasks / name).is_file() else None


def _table(path: Path, columns: Sequence[str]) -> list[list[str]]:
    try:
        lines = path.read_text().split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    rows = [line.strip().split(",") for line in lines if line.strip()]
    if not rows or tuple(rows[0]) != tuple(columns) or any(len(row) != len(columns) for row in rows):
        raise DataError(f"{path} is no list with the columns {','.join(columns)}.")
    return rows[1:]


def _column(
    path: Path, rows: Sequence[Sequence[str]], place: int, names: Mapping[str, int] | None
) -> NDArray[np.int64]:
    try:
        return np.array([names[row[place]] if names else int(row[place]) for row in rows], np.int64)
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} names a sequence or number that cannot be used: {error}.") from error


def _read_pairs(path: Path, sequences: Sequence[PatchSequence]) -> Pairs:
    rows = _table(path, _PAIR_COLUMNS)
    names = {one.name: number for number, one in enumerate(sequences)}
    found = Pairs(*(_column(path, rows, k, names if k in (0, 3) else None) for k in range(6)))
    for s, row in ((found.s1, found.idx1), (found.s2, found.idx2)):
        _check(path, sequences, s, row)
    return found


def _read_rows(path: Path, sequences: Sequence[PatchSequence]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = _table(path, ("s", "idx"))
    names = {one.name: number for number, one in enumerate(sequences)}
    s, row = _column(path, rows, 0, names), _column(path, rows, 1, None)
    _check(path, sequences, s, row)
    return s, row


def _check(path: Path, sequences: Sequence[PatchSequence], s: NDArray[np.int64], row: NDArray[np.int64]) -> None:
    count = np.array([one.count for one in sequences])
    if len(s) and ((row < 0) | (row >= count[s])).any():
        raise DataError(f"{path} names patches that the sequences do not have; it belongs to another set.")
