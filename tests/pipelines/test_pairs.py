"""Which pairs are matched: every strategy, lists with their mistakes, GPS, and retrieval that tells places apart."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import ConfigError, InputError
from pipelines.core.progress import Silent
from pipelines.core.types import Exif, Features, Photo
from pipelines.pairs.gps import close_pairs, positions
from pipelines.pairs.retrieval import RetrievalIndex, build_index, similar_pairs
from pipelines.pairs.select import STRATEGIES, PairingConfig, read_list, select_pairs
from pipelines.pairs.shared import pairs_that_share


def photo(name: str, gps: tuple[float, float, float] | None = None) -> Photo:
    return Photo(name, Path(name), 100, 100, name, Exif(gps=gps))


def photos(count: int) -> list[Photo]:
    return [photo(f"{number}.jpg") for number in range(count)]


def features(descriptors: np.ndarray) -> Features:
    count = len(descriptors)
    return Features(np.zeros((count, 2, 3), np.float32), np.arange(count, 0, -1, dtype=np.float32), descriptors)


def places(count: int, views: int, *, kind: str = "float", shared: float = 0.1, seed: int = 0) -> list[Features]:
    """Views of ``count`` places in turn (view i shows place i % count): each has its own points, seen with noise."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 200, 64)) + rng.normal(size=64)
    common = rng.normal(size=(400, 64))
    found = []
    for view in range(views):
        seen = points[view % count][rng.random(200) < 0.75]
        other = common[rng.random(400) < shared]
        rows = np.concatenate([seen, other]) + 0.15 * rng.normal(size=(len(seen) + len(other), 64))
        if kind == "binary":
            found.append(features(np.packbits(rows > 0, axis=1)))
        else:
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            found.append(features(rows.astype(np.float32)))
    return found


# --- strategies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pairs_are_sorted_unique_and_ordered(strategy: str, tmp_path: Path) -> None:
    views = places(4, 24)
    here = [photo(f"{number}.jpg", (47.0, 8.0 + number * 1e-4, 400.0)) for number in range(24)]
    (tmp_path / "pairs.txt").write_text("2.jpg 1.jpg\n0.jpg 1.jpg\n1.jpg 2.jpg\n")
    config = PairingConfig(strategy, neighbours=4, overlap=3, list_file=str(tmp_path / "pairs.txt"))
    pairs = select_pairs(here, config, load_features=views.__getitem__)
    assert pairs and pairs == sorted(set(pairs)) and all(i < j for i, j in pairs)
    assert all(type(i) is int and type(j) is int for i, j in pairs)
    if strategy == "list":
        assert pairs == [(0, 1), (1, 2)]


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in ("list", "spatial")])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_photos(strategy: str, count: int) -> None:
    views = places(1, 2)
    pairs = select_pairs(photos(count), PairingConfig(strategy), load_features=views.__getitem__)
    assert pairs == list(combinations(range(count), 2))


def test_auto_is_exhaustive_for_small_sets_and_retrieval_beyond() -> None:
    views = places(5, 40)
    assert len(select_pairs(photos(40), PairingConfig())) == 40 * 39 // 2
    config = PairingConfig(exhaustive_up_to=39, neighbours=7)
    pairs = select_pairs(photos(40), config, load_features=views.__getitem__)
    assert pairs == select_pairs(photos(40), PairingConfig("retrieval", neighbours=7), load_features=views.__getitem__)
    assert len(pairs) < 40 * 7
    # GPS adds the photos that are near, whatever they look like.
    near = [photo(f"{number}.jpg", (47.0, 8.0 + number * 1e-3, 0.0)) for number in range(40)]
    more = select_pairs(near, config, load_features=views.__getitem__)
    assert set(pairs) | {(i, i + 1) for i in range(39)} <= set(more)


def test_sequential_takes_the_next_ones_and_powers_of_two() -> None:
    config = PairingConfig("sequential", overlap=3, loop_every=0)
    pairs = select_pairs(photos(20), config)
    assert {j - i for i, j in pairs} == {1, 2, 3, 4, 8}
    assert [j for i, j in pairs if i == 0] == [1, 2, 3, 4, 8]
    plain = select_pairs(photos(20), PairingConfig("sequential", overlap=3, quadratic=False, loop_every=0))
    assert {j - i for i, j in plain} == {1, 2, 3} and len(plain) == 19 + 18 + 17


def test_sequences_end_at_the_folder() -> None:
    here = [photo("a/1.jpg"), photo("a/2.jpg"), photo("b/1.jpg"), photo("b/2.jpg")]
    assert select_pairs(here, PairingConfig("sequential", loop_every=0)) == [(0, 1), (2, 3)]


def test_sequential_closes_loops() -> None:
    # A walk around a block: photo i + 60 shows the place of photo i again.
    views = places(60, 120)
    config = PairingConfig("sequential", overlap=2, quadratic=False, neighbours=2)
    pairs = select_pairs(photos(120), config, load_features=views.__getitem__)
    loops = {(i, j) for i, j in pairs if j - i > 2}
    assert {(i, i + 60) for i in range(0, 60, 5)} <= loops
    assert len(loops) <= 2 * 120 // 5


def test_wrong_configurations_are_named() -> None:
    with pytest.raises(ConfigError, match="--pairs exhaustive"):
        PairingConfig("exhaustiv")
    with pytest.raises(ConfigError, match=r"and no file: known are auto, exhaustive, sequential, [^:]* or a text file"):
        PairingConfig("pairs.txt")
    with pytest.raises(ConfigError, match="neighbours is 0"):
        PairingConfig(neighbours=0)
    with pytest.raises(ConfigError, match="name its file"):
        PairingConfig("list")
    with pytest.raises(ConfigError, match="no photo has GPS"):
        select_pairs(photos(3), PairingConfig("spatial"))
    with pytest.raises(ConfigError, match="not at hand"):
        select_pairs(photos(50), PairingConfig("retrieval"))


# --- lists ---------------------------------------------------------------------------------------------------

NAMES = ["a.jpg", "b c.jpg", "d/é 1.jpg", "it's.jpg", "x,y.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("a.jpg b.jpg", (0, 5)),
        ("  a.jpg \t b c.jpg ", (0, 1)),
        ("a.jpg, d/é 1.jpg", (0, 2)),
        ('"b c.jpg" "d/é 1.jpg"', (1, 2)),
        ("b c.jpg d/é 1.jpg", (1, 2)),
        ("it's.jpg a.jpg", (3, 0)),
        ("x,y.jpg a.jpg", (4, 0)),
        ("x,y.jpg\ta.jpg", (4, 0)),
    ],
)
def test_lists_with_any_separator(tmp_path: Path, line: str, pair: tuple[int, int]) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(f"# pairs\n\n{line}\r\nbroken.jpg a.jpg\n", "utf-8")
    assert read_list(path, NAMES, rejected=["broken.jpg"]) == [pair]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.jpg bb.jpg", r"Line 1 of .* names 'bb\.jpg'.*nearest is 'b\.jpg'"),
        ("a.jpg b.jpg\nB C.jpg\ta.jpg", r"Line 2 .*'B C\.jpg'.*'b c\.jpg'"),
        ("a.jpg", "Line 1 .* is no pair"),
        ("a.jpg a.jpg", "itself"),
        ("# nothing\n", "is empty"),
        ("a.jpg zzzzzzzzzzzzz", "forward slashes"),
    ],
)
def test_mistakes_in_lists(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_list(path, NAMES)


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_list(tmp_path / "no.txt", NAMES)
    (tmp_path / "no.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_list(tmp_path / "no.txt", NAMES)


# --- GPS -----------------------------------------------------------------------------------------------------


def test_positions_have_the_distances_of_the_earth() -> None:
    # Along a meridian 1 degree is 110,574 m at the equator and 111,694 m at the poles; along the equator 111,320 m.
    here = [photo("a", (-0.5, 0, 0)), photo("b", (0.5, 0, 9)), photo("c", (89, 5, 0)), photo("d", (90, 5, 0))]
    here += [photo("e", (0, 179.5, 0)), photo("f", (0, -179.5, 0)), photo("g")]
    where = positions(here)
    assert np.isnan(where[6]).all()
    for first, second, metres in ((0, 1, 110574), (2, 3, 111694), (4, 5, 111320)):
        # The chord of one degree is shorter than the way by a share of 1.3e-5.
        assert np.linalg.norm(where[first] - where[second]) == pytest.approx(metres, rel=3e-5)


def test_spatial_pairs_are_the_nearest_within_reach() -> None:
    rng = np.random.default_rng(0)
    where = rng.uniform(0, 100, (60, 3)) * [1, 1, 0]
    where[7] = np.nan
    distances = np.linalg.norm(where[:, None] - where[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    distances = np.where(np.isnan(distances), np.inf, distances)
    for k, reach in ((5, 0.0), (5, 12.0), (1, 0.0), (100, 0.0)):
        expected = set()
        for i, row in enumerate(distances):
            for j in np.argsort(row)[:k]:
                if np.isfinite(row[j]) and (not reach or row[j] <= reach):
                    expected.add((min(i, int(j)), max(i, int(j))))
        assert close_pairs(where, k, reach) == expected


def test_many_photos_on_one_spot_stay_connected_and_bounded() -> None:
    pairs = close_pairs(np.zeros((300, 3)), 10)
    assert 299 <= len(pairs) <= 3000
    reached = {0}
    for _ in range(300):
        reached |= {b for pair in pairs for a, b in (pair, pair[::-1]) if a in reached}
    assert len(reached) == 300
    assert close_pairs(np.full((3, 3), np.nan), 5) == set()


def test_photos_without_gps_are_paired_by_their_looks() -> None:
    views = places(4, 40)
    here = [photo(f"{n}.jpg", None if n == 9 else (47.0, 8.0 + n * 1e-4, 0.0)) for n in range(40)]
    said: list[str] = []

    class Listener(Silent):
        def warn(self, text: str) -> None:
            said.append(text)

    config = PairingConfig("spatial", neighbours=3)
    pairs = select_pairs(here, config, load_features=views.__getitem__, progress=Listener())
    lonely = [i + j - 9 for i, j in pairs if 9 in (i, j)]
    assert len(lonely) == 3 and all(other % 4 == 9 % 4 for other in lonely)
    assert any("1 photos have no GPS" in line for line in said)


# --- retrieval -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float", "binary"])
def test_retrieval_finds_the_views_of_a_place(kind: str) -> None:
    views = places(12, 72, kind=kind)
    index = build_index(72, views.__getitem__)
    assert index.vectors.shape == (72, 71)
    np.testing.assert_allclose(np.linalg.norm(index.vectors, axis=1), 1, atol=1e-5)
    found, distances = index.query(index.vectors, 6)
    assert (found[:, 0] == np.arange(72)).all() and (np.diff(distances, axis=1) >= 0).all()
    right = (found[:, 1:] % 12 == np.arange(72)[:, None] % 12).mean()
    assert right > 0.95, right
    # A photo that was not there when the index was made.
    new = places(12, 84, kind=kind)[72:]
    vectors = np.stack([index.describe(view) for view in new])
    assert (index.query(vectors, 1)[0][:, 0] % 12 == np.arange(12)).mean() > 0.9


def test_the_index_is_reproducible_and_survives_the_disk(tmp_path: Path) -> None:
    views = places(6, 40)
    first, second = (build_index(40, views.__getitem__, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert not np.array_equal(first.words, build_index(40, views.__getitem__, seed=4).words)
    np.savez(tmp_path / "index.npz", **first.arrays())
    again = RetrievalIndex.from_arrays(np.load(tmp_path / "index.npz"))
    assert similar_pairs(again, 5) == similar_pairs(first, 5)
    np.testing.assert_allclose(again.describe(views[7]), first.vectors[7], atol=1e-5)


def test_photos_beyond_the_teachers_are_described_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.pairs import retrieval

    views = places(8, 64)
    monkeypatch.setattr(retrieval, "_TEACHERS", 30)
    index = build_index(64, views.__getitem__)
    assert index.vectors.shape == (64, 29)
    for number in (0, 1, 33, 63):
        np.testing.assert_allclose(index.describe(views[number]), index.vectors[number], atol=1e-5)
    pairs = similar_pairs(index, 5)
    assert np.mean([(i - j) % 8 == 0 for i, j in pairs]) > 0.9


def test_photos_without_features_and_equal_photos_do_no_harm() -> None:
    views = places(5, 40)
    nothing = features(np.empty((0, 64), np.float32))
    views[3] = nothing
    views[11] = views[16]
    index = build_index(40, views.__getitem__)
    assert not index.vectors[3].any() and np.isfinite(index.vectors).all()
    pairs = similar_pairs(index, 4)
    assert (11, 16) in pairs
    empty = build_index(6, lambda _: nothing)
    assert not empty.vectors.any() and len(similar_pairs(empty, 2)) >= 1
    assert build_index(0, views.__getitem__).vectors.shape[0] == 0


@pytest.mark.real
def test_real_scenes_are_told_apart_and_their_strong_links_found(shared_data: Path) -> None:
    """Three validation scenes mixed: of the three photos that share most points, most are among the six found."""
    import cv2

    # On a busy machine OpenCV's own threads wait for each other; one is faster.
    cv2.setNumThreads(1)
    views, scene, shared = [], [], []
    for name in ("et", "kermit", "st_pauls"):
        tracks = np.load(shared_data / "scenes" / name / "tracks.npz")
        seen = np.zeros((len(tracks["names"]), int(tracks["obs_point"].max()) + 1), np.float32)
        seen[tracks["obs_image"], tracks["obs_point"]] = 1
        shared.append(seen @ seen.T)
        for file in tracks["names"]:
            image = cv2.imread(str(shared_data / "scenes" / name / "images" / str(file)), cv2.IMREAD_GRAYSCALE)
            _, sift = cv2.SIFT.create(1000).detectAndCompute(image, None)
            root = np.sqrt(sift / sift.sum(1, keepdims=True))
            views.append(features(root.astype(np.float32)))
            scene.append(name)
    offsets = np.cumsum([0, *map(len, shared)])
    index = build_index(len(views), views.__getitem__)
    found = index.query(index.vectors, 4)[0][:, 1:]
    same = np.mean([[scene[other] == scene[own] for other in row] for own, row in enumerate(found)])
    assert same > 0.9, same
    pairs = similar_pairs(index, 6)
    links = {
        (min(i, j) + start, max(i, j) + start)
        for start, counts in zip(offsets[:-1], shared, strict=True)
        for i, row in enumerate(counts - np.diag(np.diag(counts)))
        for j in np.argsort(-row)[:3].tolist()
        if row[j] >= 15
    }
    recall = len(links & pairs) / len(links)
    assert len(links) > 30 and recall > 0.85, recall


def test_pairs_share_points_most_with_their_nearest() -> None:
    sees = [{0, 1, 2, 3}, {2, 3, 4, 5}, {3, 5, 6, 7}, {7, 8}]
    image, point = np.array([(photo, point) for photo, seen in enumerate(sees) for point in sorted(seen)]).T
    twice = np.append(image, 0), np.append(point, 0)  # a photo that sees a point twice
    assert pairs_that_share(*twice, neighbours=3) == [(0, 1), (0, 2), (1, 2), (2, 3)]
    assert pairs_that_share(*twice, neighbours=1) == [(0, 1), (1, 2), (2, 3)]
    assert pairs_that_share(image, point, neighbours=3, least=2) == [(0, 1), (1, 2)]
    assert pairs_that_share(image[:0], point[:0], neighbours=3) == []
