"""Matching with a metric network: against nearest neighbours, against plain loops, and on photos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import descriptors
from descriptors import PairScorerSpec, registry, scorers
from descriptors.distances import Described, mutual_matches
from descriptors.rerank import RerankRule, rerank_matches
from pipelines.core.errors import ConfigError
from pipelines.core.progress import Silent
from pipelines.core.types import Photo
from pipelines.features.detectors import DetectorConfig
from pipelines.features.extract import FeatureConfig, describe_image, extract_features
from pipelines.geometry.two_view import VerifyConfig
from pipelines.matching.match import Geometries, match_pairs, read_matches
from pipelines.matching.matcher import MatchConfig

SPEC = PairScorerSpec("table", 1, source="this test")
NO_LINES = Geometries((), VerifyConfig(), 0)
"""Metric networks compare all with all: the geometry is not asked."""
ALL = RerankRule(candidates=100, reach=np.inf, threshold=-np.inf, margin=0.0)


@dataclass
class Distance:
    """Scores by the L2 distance of features."""

    spec: PairScorerSpec = SPEC
    fingerprint: str = "0"

    def features(self, patches: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def score(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return -np.linalg.norm(first - second, axis=1).astype(np.float32)


@dataclass
class Table(Distance):
    """Scores that are given; a feature is the number of its keypoint."""

    scores: np.ndarray = None  # type: ignore[assignment]
    asked: int = 0

    def score(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        self.asked += len(first)
        return self.scores[first[:, 0].astype(int), second[:, 0].astype(int)]


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.standard_normal((count, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def numbered(described: np.ndarray) -> Described:
    return Described(described, np.arange(len(described), dtype=np.float32)[:, None])


@pytest.mark.parametrize("candidates", [1, 3, 100])
def test_a_network_that_scores_by_distance_matches_nearest_neighbours(candidates: int) -> None:
    rng = np.random.default_rng(0)
    a, b = unit(rng, 90), unit(rng, 70)
    found = rerank_matches(Distance(), Described(a, a), Described(b, b), replace(ALL, candidates=candidates))
    expected = mutual_matches(a, b, ratio=1.0)
    assert len(expected) > 10 and found.pairs.dtype == np.int32
    # With three candidates also pairs that match since a nearer one has three that are nearer still.
    both = [row for row, pair in enumerate(found.pairs.tolist()) if pair in expected.pairs.tolist()]
    assert candidates == 3 or len(both) == len(found)
    np.testing.assert_array_equal(found.pairs[both], expected.pairs)
    np.testing.assert_allclose(found.distances[both], expected.distances, atol=1e-6)


@pytest.mark.parametrize(
    "rule", [RerankRule(4, np.inf, -0.5, 0.0), RerankRule(3, 1.5, -9.0, 0.3), RerankRule(2, 3.0, 0.2, 0.2)]
)
def test_the_rule_is_that_of_plain_loops(rule: RerankRule) -> None:
    rng = np.random.default_rng(1)
    a, b = unit(rng, 40), unit(rng, 30)
    table = np.round(rng.standard_normal((40, 30)), 1).astype(np.float32)  # rounded: with equal scores among them
    apart = np.linalg.norm(a[:, None] - b[None], axis=2)
    there, back = np.zeros((40, 30), bool), np.zeros((40, 30), bool)
    for i in range(40):
        there[i, np.argsort(apart[i])[: rule.candidates]] = True
        there[i] &= apart[i] <= rule.reach * apart[i].min()
    for j in range(30):
        back[np.argsort(apart[:, j])[: rule.candidates], j] = True
        back[:, j] &= apart[:, j] <= rule.reach * apart[:, j].min()
    scored = there & back
    expected = []
    for i, j in zip(*np.nonzero(scored), strict=True):
        score = table[i, j]
        rivals = [table[i, other] for other in range(30) if scored[i, other] and other != j]
        rivals += [table[other, j] for other in range(40) if scored[other, j] and other != i]
        earlier = [table[i, other] for other in range(j) if scored[i, other]]
        earlier += [table[other, j] for other in range(i) if scored[other, j]]
        best = all(score >= rival for rival in rivals) and all(score > rival for rival in earlier)
        if best and score >= rule.threshold and all(score - rival >= np.float32(rule.margin) for rival in rivals):
            expected.append((i, j))
    scorer = Table(scores=table)
    found = rerank_matches(scorer, numbered(a), numbered(b), rule)
    assert expected and found.pairs.tolist() == [list(pair) for pair in expected]
    np.testing.assert_array_equal(found.distances, [-table[i, j] for i, j in expected])
    assert scorer.asked == scored.sum()


def test_more_pairs_than_one_block() -> None:
    rng = np.random.default_rng(2)
    a, b = unit(rng, 60), unit(rng, 60)
    table = rng.standard_normal((60, 60)).astype(np.float32)
    found = rerank_matches(Table(scores=table), numbered(a), numbered(b), ALL)
    best = [(i, j) for i in range(60) for j in range(60) if table[i, j] == max(table[i].max(), table[:, j].max())]
    assert found.pairs.tolist() == [list(pair) for pair in best]


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (5, 0), (0, 0), (1, 1)])
def test_few_keypoints(rows: int, columns: int) -> None:
    rng = np.random.default_rng(3)
    a, b = unit(rng, rows), unit(rng, columns)
    found = rerank_matches(Distance(), Described(a, a), Described(b, b), replace(ALL, margin=0.5))
    assert found.pairs.shape == (min(rows, columns), 2)  # one alone leads over nobody, and is kept


# --- on photos -----------------------------------------------------------------------------------------------


class Correlation:
    """A metric network that needs no training: patches as they are, scored by their correlation."""

    fingerprint = "correlation"

    def __init__(self, spec: PairScorerSpec) -> None:
        self.spec = spec

    def features(self, patches: np.ndarray) -> np.ndarray:
        return patches.reshape(len(patches), self.spec.width)

    def score(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        sides = [
            side.astype(np.float32) - side.mean(axis=1, keepdims=True, dtype=np.float32) for side in (first, second)
        ]
        sides = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
        return (sides[0] * sides[1]).sum(axis=1)


class Means(Correlation):
    """Features that are a descriptor as well: the patch's coarse grey values, far from unit length."""

    def features(self, patches: np.ndarray) -> np.ndarray:
        coarse = patches[:, 0].reshape(-1, 8, 8, 8, 8).mean(axis=(2, 4), dtype=np.float32)
        return coarse.reshape(len(patches), 64) - coarse.mean(axis=(1, 2))[:, None] + 1


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch):
    """A registry with a metric network ``correlation``."""
    raw = PairScorerSpec("correlation", 4096, raw=True, threshold=0.8, margin=0.02, source="this test")
    monkeypatch.setattr(registry, "_SCORERS", {raw.name: raw})
    monkeypatch.setattr(scorers, "load", Correlation)
    registry.load_scorer.cache_clear()
    yield raw
    registry.load_scorer.cache_clear()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    """Two photos of one wall, the second seen 24 px further right and 10 px further down."""
    rng = np.random.default_rng(4)
    wall = sum(cv2.GaussianBlur(rng.standard_normal((300, 340)), (0, 0), s) * s for s in (1.5, 3, 6))
    wall = np.clip(128 + 45 * wall / wall.std(), 0, 255).astype(np.uint8)
    folder, photos = tmp_path_factory.mktemp("wall"), []
    for name, (x, y) in {"left": (0, 0), "right": (24, 10)}.items():
        path = folder / f"{name}.png"
        cv2.imwrite(str(path), wall[y : y + 280, x : x + 300])
        photos.append(Photo(path.name, path, 300, 280, name))
    return photos


def test_photos_are_matched_by_a_network(network: PairScorerSpec, scene: list[Photo], tmp_path: Path) -> None:
    config = FeatureConfig(network.name, DetectorConfig(max_keypoints=300))
    files = extract_features(scene, config, tmp_path, progress=Silent())
    stored = files.load_pair_features(0)
    assert stored.shape == (files.counts[0], 4096) and stored.dtype == np.uint8
    assert files.load(0).descriptors.shape == (files.counts[0], 128)
    keys = match_pairs(files, [(0, 1)], network.name, MatchConfig(), NO_LINES, tmp_path, progress=Silent())
    found = read_matches(tmp_path, keys[0, 1])
    assert found is not None and found.distinct == len(found.pairs) > 60  # no ratio keeps any waiting
    pairs = found.matches
    moved = files.load(0).xy[pairs[:, 0]] - files.load(1).xy[pairs[:, 1]]
    right = np.linalg.norm(moved - [24, 10], axis=1) < 1.5
    assert right.mean() > 0.95
    again = extract_features(scene, config, tmp_path, progress=Silent())
    assert again.keys == files.keys
    other = extract_features(scene, replace(config, descriptor="rootsift"), tmp_path, progress=Silent())
    assert not set(other.keys) & set(files.keys)


def test_matches_follow_the_rule(network: PairScorerSpec, scene: list[Photo], tmp_path: Path, monkeypatch) -> None:
    files = extract_features(
        scene, FeatureConfig(network.name, DetectorConfig(max_keypoints=200)), tmp_path, progress=Silent()
    )
    loose = match_pairs(files, [(0, 1)], network.name, MatchConfig(), NO_LINES, tmp_path, progress=Silent())[0, 1]
    strict = replace(network, threshold=0.99)
    monkeypatch.setattr(descriptors.load_scorer(network.name), "spec", strict)
    tight = match_pairs(files, [(0, 1)], network.name, MatchConfig(), NO_LINES, tmp_path, progress=Silent())[0, 1]
    few, many = read_matches(tmp_path, tight), read_matches(tmp_path, loose)
    assert few is not None and many is not None and 0 < few.distinct < many.distinct


def test_a_ratio_is_refused(network: PairScorerSpec, scene: list[Photo], tmp_path: Path) -> None:
    files = extract_features(scene, FeatureConfig(network.name), tmp_path, progress=Silent())
    with pytest.raises(ConfigError, match="metric network"):
        match_pairs(files, [(0, 1)], network.name, MatchConfig(0.8), NO_LINES, tmp_path, progress=Silent())


def test_a_network_that_embeds_runs_once_a_patch(scene: list[Photo]) -> None:
    spec = PairScorerSpec("means", 64, embeds=True, shortlist="means-l2", source="this test")
    image = cv2.imread(str(scene[0].path), cv2.IMREAD_GRAYSCALE)
    config = FeatureConfig("means", DetectorConfig(max_keypoints=50))
    found = describe_image(image, None, config, scorer=Means(spec))  # type: ignore[arg-type]
    assert found.pair_features is not None
    lengths = np.linalg.norm(found.pair_features, axis=1, keepdims=True)
    np.testing.assert_allclose(found.descriptors * lengths, found.pair_features, rtol=1e-4, atol=1e-3)
