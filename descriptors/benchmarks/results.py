"""What boards are made of: contestants, single scores, curves; and the files that stand between predict and score."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from descriptors.benchmarks.comparing import ByDistance, ByScore, Comparison
from descriptors.contract import Descriptor, DescriptorError, PairScorer
from descriptors.files import write_whole


@dataclass(frozen=True)
class Metric:
    """How a score is written and read.

    Attributes:
        label: for tables and plots.
        percent: the value is a share, written times 100.
        higher: more is better.
        digits: after the point.
    """

    label: str
    percent: bool = True
    higher: bool = True
    digits: int = 1

    def text(self, value: float) -> str:
        """A value as it stands in a table."""
        if value != value:
            return "–"
        return f"{value * (100 if self.percent else 1):,.{self.digits}f}"


METRICS: dict[str, Metric] = {
    "fpr95": Metric("FPR at 95 % recall, %", higher=False, digits=2),
    "roc_auc": Metric("area under ROC, %", digits=2),
    "fpr95_hardest": Metric("FPR at 95 % recall, nearest negatives, %", higher=False),
    "snn_map": Metric("mAP of second-nearest ratio, %"),
    "map": Metric("mAP, %"),
    "matching_score": Metric("matching score, %"),
    "mma3": Metric("MMA at 3 px, %"),
    "homography_auc1": Metric("homography AUC 1 px, %"),
    "homography_auc3": Metric("homography AUC 3 px, %"),
    "homography_auc5": Metric("homography AUC 5 px, %"),
    "inliers": Metric("inliers a matched pair", percent=False, digits=0),
    "matched": Metric("pairs matched", percent=False, digits=0),
    "verification_balanced": Metric("verification, balanced, ROC AUC, %", digits=2),
    "verification_imbalanced": Metric("verification, imbalanced, AP, %", digits=2),
    "matching": Metric("matching, mAP, %", digits=2),
    "retrieval": Metric("retrieval, mAP, %", digits=2),
    "patches_per_second": Metric("patches a second", percent=False, digits=0),
    "distances_per_second": Metric("distances a second, millions", percent=False, digits=0),
    "parameters": Metric("parameters", percent=False, higher=False, digits=0),
    "bytes": Metric("bytes a descriptor", percent=False, higher=False, digits=0),
    "memory": Metric("memory, MB", percent=False, higher=False, digits=0),
}


@dataclass(frozen=True)
class Score:
    """One number of a board.

    Attributes:
        board, descriptor: names.
        subset: sequence, scene group or split; "all" for the mean over the board.
        condition: transformation, jitter or kind of negatives; "all" for the mean.
        metric: key of :data:`METRICS`.
        value: NaN where there was nothing to score.
    """

    board: str
    descriptor: str
    subset: str
    condition: str
    metric: str
    value: float

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise DescriptorError(f"There is no metric {self.metric!r}; known are {', '.join(METRICS)}.")


@dataclass(frozen=True)
class Curve:
    """One line of a plot: ``x`` and ``y`` are (T,), ``name`` says of what ("roc", "mma")."""

    board: str
    descriptor: str
    condition: str
    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Board:
    """The outcome of one board: what was run, its scores and curves, and what a reader must know about them.

    ``comparable`` is False where the data is not that of the published figures, so that no plot sets them side by side.
    """

    name: str
    protocol: str
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
    comparable: bool = True


@dataclass(frozen=True)
class Contestant:
    """Who takes part in a board.

    Attributes:
        name: on the board.
        descriptor: makes rows of patches; of a metric network its features and its shortlist's descriptors.
        scorer: the metric network that compares the rows; None for a descriptor.
    """

    name: str
    descriptor: Descriptor
    scorer: PairScorer | None = None

    @property
    def compare(self) -> Comparison:
        """How its rows are compared."""
        spec = self.descriptor.spec
        return ByScore(self.scorer) if self.scorer else ByDistance(spec.distance, spec.ratio)

    @property
    def key(self) -> str:
        """What its predictions depend on."""
        spec = self.descriptor.spec
        return digest(self.descriptor.fingerprint, spec.patch_size, spec.magnification)


class Listener(Protocol):
    """Hears of finished work; the terminal's progress bar is one."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """``steps`` items are done."""
        ...


class Nobody:
    """Hears nothing."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Drop it."""


def digest(*parts: object) -> str:
    """Hex name (24 digits) of texts, numbers and arrays."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            state.update(f"{part.dtype}{part.shape}".encode())
            state.update(np.ascontiguousarray(part).tobytes())
        else:
            state.update(repr(part).encode())
        state.update(b"\0")
    return state.hexdigest()[:24]


def file_digest(path: Path) -> str:
    """Hex name (24 digits) of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:24]


@dataclass
class Store:
    """Arrays in files that are whole or absent, named by the fingerprint of all they were made from.

    Attributes:
        folder: where they lie.
        made: how many were computed, not read, since this object is there.
    """

    folder: Path
    made: int = 0

    def arrays(self, group: str, name: str, key: str, make: Callable[[], Mapping[str, NDArray]]) -> dict[str, NDArray]:
        """What stands in the file for ``key``; else what ``make`` returns, written first.

        Args:
            group, name: folder and beginning of the file's name, for people.
            key: see :func:`digest`.

        Raises:
            DescriptorError: the file cannot be written.
        """
        path = self.folder / _plain(group) / f"{_plain(name)}-{key}.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {label: stored[label] for label in stored.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            pass  # absent, or half lost to a bad disk: made again
        arrays = dict(make())
        self.made += 1
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        try:
            write_whole(path, content.getbuffer())
        except OSError as refused:
            raise DescriptorError(f"{path} cannot be written: {refused.strerror}. Choose another --out.") from refused
        return arrays

    def described(
        self, board: str, item: str, key: str, contestant: Contestant, patches: Callable[[], NDArray[np.uint8]]
    ) -> NDArray:
        """Descriptors of the patches that ``patches()`` cuts, from the file or computed.

        Args:
            key: fingerprint of the data and of how it is cut, without the contestant.
        """

        def make() -> dict[str, NDArray]:
            return {"descriptors": contestant.descriptor.describe(patches())}

        group = f"{board}/{contestant.name}"
        return self.arrays(group, item, digest(key, contestant.key), make)["descriptors"]


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_./" else "_" for c in name).replace("..", "_")
