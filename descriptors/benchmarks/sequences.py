"""The boards of image sequences: keypoints, descriptors, nearest neighbours, scored against known homographies.

The keypoints are the same for all contestants. Per pair (reference, other photo):

- **mAP**: every keypoint of the reference takes its nearest neighbour; ranked by the ratio of nearest to second
  nearest distance; a match is right if both keypoints show one place (``Protocol.reach``, ``Protocol.scale``); average
  precision over all keypoints that have a right partner at all. As in L2-Net (CVPR 2017) and Oxford's tables since.
- **matching score**: right nearest neighbours over keypoints that have a right partner.
- **MMA**: share of mutual nearest neighbours within 1 to 10 px of the truth, mean over the pairs (D2-Net, CVPR 2019).
- **homography AUC**: mean error of the four corners under the homography that USAC MAGSAC estimates from mutual
  matches under the descriptor's own ratio; area under recall up to 1, 3, 5 px (SuperGlue's rule). What MAGSAC draws
  depends on the order of the matches, and on a board of ten pairs the area up to 5 px of one descriptor was
  anything from 43 to 59 %: each pair is estimated in ``_ORDERS`` of them, and all errors count.
- **inliers**: MAGSAC's inliers that the truth confirms within 3 px, the median over the orders; a pair with 15 is
  matched (MODS, as HardNet's Table 3 counts).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.benchmarks import scores
from descriptors.benchmarks.comparing import Comparison
from descriptors.benchmarks.results import Board, Contestant, Curve, Listener, Nobody, Score, Store, digest, file_digest
from descriptors.datasets.photos import detect_dog, project_frames
from descriptors.datasets.scenes import DataError, read_grey
from descriptors.datasets.sequences import Sequence
from descriptors.frames import extract_patches, scales

_ORDERS = 20
ESTIMATOR = f"OpenCV USAC MAGSAC, 3 px, 10,000 iterations, matches in {_ORDERS} orders"
_ESTIMATOR_REACH = 3.0
_ENOUGH_INLIERS = 15
_MMA = tuple(range(1, 11))
_MMA_AT = 3
_CURVE_POINTS = 100
# Changes whenever the code below gives other numbers for the same descriptors.
_VERSION = 3


@dataclass(frozen=True)
class Protocol:
    """When two keypoints show one place.

    Attributes:
        reach: largest distance in pixels of the second photo.
        scale: largest ratio of the scales, after the homography.
    """

    reach: float = 3.0
    scale: float = 1.5


@dataclass(frozen=True)
class Keypoints:
    """Where keypoints come from.

    Attributes:
        name: for the board's page.
        key: changes whenever the keypoints may.
        detect: grey photo (H,W) → frames (N,2,3).
    """

    name: str
    key: str
    detect: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def strongest_dog(count: int = 1500) -> Keypoints:
    """The strongest DoG keypoints as OpenCV ranks them: the board's own detector."""
    return Keypoints(
        f"{count:,} strongest DoG keypoints (OpenCV {cv2.__version__})",
        digest("dog", count, cv2.__version__),
        lambda image: detect_dog(image, count),
    )


@dataclass(frozen=True)
class PairOutcome:
    """What matching one pair gave; fields as in the module's docstring, and all that a curve is drawn from.

    Attributes:
        corner_errors: (K,) px, of the homography from each order of the matches.
        doubt, hit: (N,) of each keypoint's nearest neighbour: how doubtful it is, whether it is right.
        possible: keypoints that have a right partner at all.
    """

    average_precision: float
    matching_score: float
    mma: NDArray[np.float64]
    corner_errors: NDArray[np.float64]
    inliers: int
    doubt: NDArray[np.float32]
    hit: NDArray[np.bool_]
    possible: int

    def arrays(self) -> dict[str, NDArray]:
        """As it is stored."""
        return {
            "scalars": np.array([self.average_precision, self.matching_score]),
            "corners": self.corner_errors,
            "mma": self.mma,
            "counts": np.array([self.inliers, self.possible]),
            "doubt": self.doubt,
            "hit": self.hit,
        }

    @classmethod
    def of(cls, stored: Mapping[str, NDArray]) -> PairOutcome:
        """What was stored."""
        precision, score = stored["scalars"].tolist()
        inliers, possible = stored["counts"].tolist()
        errors, doubt, hit = stored["corners"], stored["doubt"], stored["hit"]
        return cls(precision, score, stored["mma"], errors, inliers, doubt, hit, possible)


def run(
    name: str, sequences: Many[Sequence], contestants: Many[Contestant], keypoints: Keypoints, store: Store, *,
    protocol: Protocol = Protocol(), listener: Listener | None = None,
) -> Board:  # fmt: skip
    """The board ``name`` ("oxford", "sequences") for these contestants; what stands in ``store`` is not done again."""
    listener = listener or Nobody()
    found: list[Score] = []
    curves: list[Curve] = []
    for contestant in contestants:
        outcomes: list[tuple[Sequence, PairOutcome]] = []
        for sequence in sequences:
            pairs = _sequence_outcomes(name, sequence, contestant, keypoints, protocol, store)
            outcomes += [(sequence, pair) for pair in pairs]
            listener.advance(note=f"{sequence.name} {contestant.name}")
        found += _summary(name, contestant.name, outcomes)
        mma = np.mean([pair.mma for _, pair in outcomes], axis=0)
        curves.append(Curve(name, contestant.name, "all", "mma", tuple(map(float, _MMA)), tuple(mma.tolist())))
        curves.append(recall_curve(name, contestant.name, [pair for _, pair in outcomes]))
    text = (
        f"{len(sequences)} sequences, {sum(len(s.homographies) for s in sequences)} pairs; {keypoints.name}; "
        f"right within {protocol.reach:g} px and a factor {protocol.scale:g} of scale; homographies by {ESTIMATOR}"
    )
    return Board(name, text, tuple(found), tuple(curves))


def _sequence_outcomes(
    board: str, sequence: Sequence, contestant: Contestant, keypoints: Keypoints, protocol: Protocol, store: Store
) -> list[PairOutcome]:
    described = [_described(board, sequence, k, contestant, keypoints, store) for k in range(len(sequence.photos))]
    frames_a, a, key_a = described[0]
    compare = contestant.compare
    outcomes = []
    for k, homography in enumerate(sequence.homographies, start=1):
        frames_b, b, key_b = described[k]
        key = digest(_VERSION, key_a, key_b, contestant.key, compare.rule, homography, protocol, cv2.__version__)

        def match(frames_b: NDArray = frames_b, b: NDArray = b, homography: NDArray = homography) -> dict[str, NDArray]:
            shape = read_grey(sequence.photos[0]).shape
            return match_pair(frames_a, frames_b, a, b, homography, shape, compare, protocol=protocol).arrays()

        item = f"{sequence.name}-{sequence.photos[k].stem}"
        outcomes.append(PairOutcome.of(store.arrays(f"{board}/{contestant.name}/pairs", item, key, match)))
    return outcomes


def _described(
    board: str, sequence: Sequence, number: int, contestant: Contestant, keypoints: Keypoints, store: Store
) -> tuple[NDArray[np.float32], NDArray, str]:
    """Frames, descriptors and fingerprint of a photo's keypoints."""
    photo = sequence.photos[number]
    try:
        content = file_digest(photo)
    except OSError as error:
        raise DataError(f"{photo} cannot be read: {error.strerror}.") from error
    key = digest(content, keypoints.key)
    item = f"{sequence.name}-{photo.stem}"
    frames = store.arrays("keypoints", item, key, lambda: {"frames": keypoints.detect(read_grey(photo))})["frames"]
    spec = contestant.descriptor.spec

    def patches() -> NDArray[np.uint8]:
        return extract_patches(read_grey(photo), frames, patch_size=spec.patch_size, magnification=spec.magnification)

    return frames, store.described(board, item, key, contestant, patches), key


def match_pair(
    frames_a: NDArray, frames_b: NDArray, a: NDArray, b: NDArray, homography: NDArray, shape: tuple[int, ...],
    compare: Comparison, *, protocol: Protocol = Protocol(),
) -> PairOutcome:  # fmt: skip
    """Match descriptors a (N,D) to b (M,D) at frames (N,2,3), (M,2,3); see the module's docstring.

    Args:
        homography: (3,3), pixels of the first photo to those of the second.
        shape: (H,W) of the first photo.
        compare: the contestant's own.
    """
    correct = correspondences(frames_a, frames_b, homography, protocol)
    possible = int(correct.any(axis=1).sum())
    index, _, doubt = compare.nearest(a, b)
    precision = score = float("nan")
    hit = correct[np.arange(len(a)), index] if len(index) else np.empty(0, bool)
    if possible and len(index):
        precision = scores.average_precision(doubt, hit, possible=possible)
        score = float(hit.sum() / possible)
    mutual, clear = compare.matches(a, b)
    errors = transfer_errors(frames_a[mutual[:, 0], :, 2], frames_b[mutual[:, 1], :, 2], homography)
    mma = np.array([(errors <= limit).mean() if len(errors) else 0.0 for limit in _MMA])
    kept = mutual[clear]
    corners, inliers = _estimated(frames_a[kept[:, 0], :, 2], frames_b[kept[:, 1], :, 2], homography, shape)
    return PairOutcome(precision, score, mma, corners, inliers, doubt.astype(np.float32), hit, possible)


def _estimated(
    xy_a: NDArray, xy_b: NDArray, homography: NDArray, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], int]:
    """Corner errors (K,) of the homographies from K orders of the matches, and the median count of true inliers."""
    true = transfer_errors(xy_a, xy_b, homography) <= _ESTIMATOR_REACH
    rng = np.random.default_rng(len(xy_a))

    def one(order: NDArray[np.intp]) -> tuple[float, int]:
        estimate, fits = estimate_homography(xy_a[order], xy_b[order])
        return corner_error(estimate, homography, shape), int(true[order][fits].sum())

    with ThreadPoolExecutor() as pool:
        errors, inliers = zip(*pool.map(one, [rng.permutation(len(xy_a)) for _ in range(_ORDERS)]), strict=True)
    return np.array(errors), int(np.median(inliers))


def recall_curve(board: str, descriptor: str, outcomes: Many[PairOutcome]) -> Curve:
    """Recall over 1 - precision of all pairs' nearest neighbours together, the least doubtful first.

    As Mikolajczyk and Schmid draw it (PAMI 2005), with nearest neighbours ranked by the ratio; a point at each of
    ``_CURVE_POINTS`` shares of the matches. Empty where nothing could be right.
    """
    doubt, hit = (np.concatenate([getattr(pair, part) for pair in outcomes]) for part in ("doubt", "hit"))
    possible = sum(pair.possible for pair in outcomes)
    if not possible or not len(hit):
        return Curve(board, descriptor, "all", "recall", (), ())
    right = np.cumsum(hit[np.argsort(doubt, kind="stable")])
    kept = np.unique(np.linspace(1, len(hit), _CURVE_POINTS).astype(np.int64))
    wrong = 1 - right[kept - 1] / kept
    return Curve(
        board, descriptor, "all", "recall", tuple(wrong.tolist()), tuple((right[kept - 1] / possible).tolist())
    )


def correspondences(frames_a: NDArray, frames_b: NDArray, homography: NDArray, protocol: Protocol) -> NDArray[np.bool_]:
    """Which keypoints (N,2,3) of the first photo show the same place as which (M,2,3) of the second: (N,M)."""
    carried = project_frames(frames_a, homography)
    apart = np.linalg.norm(carried[:, None, :, 2] - frames_b[None, :, :, 2], axis=2)
    larger = np.abs(np.log(scales(carried))[:, None] - np.log(scales(frames_b))[None])
    return (apart < protocol.reach) & (larger < np.log(protocol.scale))


def transfer_errors(xy_a: NDArray, xy_b: NDArray, homography: NDArray) -> NDArray[np.float64]:
    """Distances (N,) in the second photo between points xy_b (N,2) and xy_a (N,2) carried there."""
    if not len(xy_a):
        return np.empty(0)
    mapped = np.c_[xy_a.astype(np.float64), np.ones(len(xy_a))] @ homography.T
    return np.linalg.norm(mapped[:, :2] / mapped[:, 2:] - xy_b, axis=1)


def estimate_homography(xy_a: NDArray, xy_b: NDArray) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """Homography of matches (N,2), (N,2) by :data:`ESTIMATOR`, or None, and its inliers (N,)."""
    nothing = None, np.zeros(len(xy_a), bool)
    if len(xy_a) < 4:
        return nothing
    estimate, inliers = cv2.findHomography(
        xy_a.astype(np.float64), xy_b.astype(np.float64), cv2.USAC_MAGSAC, _ESTIMATOR_REACH,
        maxIters=10_000, confidence=0.9999,
    )  # fmt: skip
    if estimate is None or not np.isfinite(estimate).all():
        return nothing
    return np.asarray(estimate, np.float64), np.asarray(inliers).ravel().astype(bool)


def corner_error(estimate: NDArray | None, homography: NDArray, shape: tuple[int, ...]) -> float:
    """Mean distance of the first photo's corners under the two homographies, px; infinity without an estimate."""
    if estimate is None:
        return float("inf")
    height, width = shape
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float64)
    with np.errstate(all="ignore"):
        mapped = np.c_[corners, np.ones(4)] @ estimate.T
        error = float(transfer_errors(corners, mapped[:, :2] / mapped[:, 2:], homography).mean())
    return error if np.isfinite(error) else float("inf")


def _summary(board: str, descriptor: str, outcomes: Many[tuple[Sequence, PairOutcome]]) -> list[Score]:
    """Scores of each sequence, each transformation and of the whole board."""
    groups: dict[tuple[str, str], list[PairOutcome]] = {}
    for sequence, pair in outcomes:
        for key in ((sequence.name, sequence.change), ("all", sequence.change), ("all", "all")):
            groups.setdefault(key, []).append(pair)
    found = []
    for (subset, condition), pairs in groups.items():
        errors = np.concatenate([pair.corner_errors for pair in pairs])
        matched = [pair.inliers for pair in pairs if pair.inliers >= _ENOUGH_INLIERS]
        for metric, value in (
            ("map", scores.mean([pair.average_precision for pair in pairs])),
            ("matching_score", scores.mean([pair.matching_score for pair in pairs])),
            ("mma3", scores.mean([pair.mma[_MMA.index(_MMA_AT)] for pair in pairs])),
            ("homography_auc1", scores.recall_area(errors, 1)),
            ("homography_auc3", scores.recall_area(errors, 3)),
            ("homography_auc5", scores.recall_area(errors, 5)),
            ("matched", float(len(matched))),
            ("inliers", scores.mean(matched)),
        ):
            found.append(Score(board, descriptor, subset, condition, metric, value))
    return found


def folders(data: Path, board: str) -> Path:
    """Where the photos of the boards of sequences lie below a data folder."""
    return Path(data) / {"oxford": "oxford", "sequences": "hpatches-sequences"}[board]
