"""Exact nearest neighbours against brute force, ties, empty sets, bad input, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple

import numpy as np
import pytest

from descriptors import DescriptorError, distances, tiles
from descriptors.distances import DescriptorSet, mutual_matches, nearest


def unit(n: int, dim: int = 128, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def bits(n: int, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, width), dtype=np.uint8)


def noisy(x: np.ndarray, order: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    y = x[order] + sigma * np.random.default_rng(seed).normal(size=(len(order), x.shape[1]))
    return (y / np.linalg.norm(y, axis=1, keepdims=True)).astype(np.float32)


def brute_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype == np.uint8:
        return np.bitwise_count(a[:, None] ^ b[None]).sum(2).astype(float)
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (
        np.linalg.norm(a[:, None] - b[None], axis=2)
        if len(a) * len(b) < 1e6
        else np.sqrt(np.maximum(2 - 2 * a @ b.T, 0))
    )


def brute_matches(d: np.ndarray, ratio: float) -> set[tuple[int, int]]:
    found = set()
    for i, j in enumerate(d.argmin(1)):
        if d[:, j].argmin() != i:
            continue
        others = np.r_[np.delete(d[i], j), np.delete(d[:, j], i), np.inf]
        if ratio >= 1 or d[i, j] < ratio * others.min():
            found.add((i, int(j)))
    return found


def as_set(matches: distances.Matches) -> set[tuple[int, int]]:
    return {(int(i), int(j)) for i, j in matches.pairs}


@pytest.mark.parametrize("ratio", [0.7, 0.9, 1.0])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (7, 1), (31, 33), (300, 1025), (2100, 1500)])
def test_mutual_matches_equal_brute_force(n: int, m: int, threads: int, ratio: float) -> None:
    a = unit(n)
    b = noisy(a, np.random.default_rng(2).integers(0, n, m), 0.05)
    found = mutual_matches(a, b, ratio=ratio, threads=threads)
    d = brute_distances(a, b)
    expected = brute_matches(d, ratio)
    assert as_set(found) == expected
    assert len(found) == len(expected)
    assert found.pairs.dtype == np.int32 and found.distances.dtype == np.float32
    np.testing.assert_allclose(found.distances, d[found.pairs[:, 0], found.pairs[:, 1]], atol=2e-6)
    assert (np.diff(found.pairs[:, 0]) > 0).all()


@pytest.mark.parametrize("ratio", [0.8, 1.0])
@pytest.mark.parametrize(("n", "m"), [(1, 3), (200, 90), (1100, 1030)])
def test_hamming_equals_brute_force(n: int, m: int, ratio: float) -> None:
    a = bits(n)
    rng = np.random.default_rng(3)
    b = a[rng.integers(0, n, m)] ^ np.packbits(rng.random((m, 256)) < 0.1, axis=1)
    d = brute_distances(a, b)
    found = mutual_matches(a, b, ratio=ratio, distance="hamming", threads=2)
    i, j = found.pairs.T
    np.testing.assert_array_equal(found.distances, d[i, j])
    np.testing.assert_array_equal(d[i, j], d[i].min(1))
    np.testing.assert_array_equal(d[i, j], d[:, j].min(0))
    assert len(set(i)) == len(set(j)) == len(found)
    if ratio < 1:
        assert as_set(found) == brute_matches(d, ratio)
    else:
        # With ties several one-to-one sets are right; a mutual pair without ties is in all of them.
        strict = {
            (r, int(c)) for r, c in enumerate(d.argmin(1)) if (d[r] == d[r, c]).sum() == (d[:, c] == d[r, c]).sum() == 1
        }
        mutual = {(r, c) for r, c in strict if d[:, c].argmin() == r}
        assert mutual <= as_set(found)


def test_a_duplicate_of_the_nearest_rejects_the_match() -> None:
    a = unit(50)
    doubled = np.concatenate([a, a[:10]])
    assert as_set(mutual_matches(a, doubled, ratio=0.95)) == {(i, i) for i in range(10, 50)}
    assert as_set(mutual_matches(doubled, a, ratio=0.95)) == {(i, i) for i in range(10, 50)}
    assert as_set(mutual_matches(a, doubled, ratio=1)) == {(i, i) for i in range(50)}
    assert as_set(mutual_matches(doubled, a, ratio=1)) == {(i, i) for i in range(50)}


def test_rows_of_zeros_match_nothing_under_the_ratio_test() -> None:
    a = unit(40)
    a[3] = 0
    assert as_set(mutual_matches(a, a.copy(), ratio=0.9)) == {(i, i) for i in range(40) if i != 3}


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 5), (5, 0)])
@pytest.mark.parametrize("kind", ["l2", "hamming"])
def test_empty_sets_give_no_matches(n: int, m: int, kind: str) -> None:
    make = unit if kind == "l2" else bits
    found = mutual_matches(make(n), make(m), ratio=0.8, distance=kind)
    assert found.pairs.shape == (0, 2) and found.distances.shape == (0,)
    index, d = nearest(make(n), make(m), 3, distance=kind)
    assert index.shape == d.shape == (n, min(3, m))


@pytest.mark.parametrize("k", [1, 5, 24, 25, 300, 5000])
@pytest.mark.parametrize("kind", ["l2", "hamming"])
def test_nearest_equals_brute_force(k: int, kind: str) -> None:
    make = unit if kind == "l2" else bits
    a, b = make(70, 16, 4), make(2300, 16, 5)
    d = brute_distances(a, b)
    index, found = nearest(a, b, k, distance=kind, threads=2)
    assert index.shape == (70, min(k, 2300))
    np.testing.assert_allclose(found, np.sort(d, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(found, np.take_along_axis(d, index, 1), atol=1e-5)
    assert all(len(set(row)) == index.shape[1] for row in index)
    if kind == "hamming" and k <= 24:
        np.testing.assert_array_equal(index, np.argsort(d, axis=1, kind="stable")[:, :k])


def test_the_order_of_threads_and_pairs_does_not_change_the_result() -> None:
    sets = [unit(1500, seed=s) for s in range(4)]
    sets = [noisy(sets[0], np.random.default_rng(s).permutation(1500), 0.06, s) for s in range(4)]
    jobs = [(i, j) for i in range(4) for j in range(i)] * 3
    alone = [mutual_matches(sets[i], sets[j], ratio=0.9) for i, j in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda ij: mutual_matches(sets[ij[0]], sets[ij[1]], ratio=0.9, threads=2), jobs))
    for x, y in zip(alone, together, strict=True):
        np.testing.assert_array_equal(x.pairs, y.pairs)
    assert min(map(len, alone)) > 1000


@pytest.mark.parametrize("kind", ["l2", "hamming"])
@pytest.mark.parametrize("count", [300, 2100])
def test_a_set_made_once_matches_as_its_descriptors_do(kind: str, count: int) -> None:
    make = unit if kind == "l2" else bits
    given = [make(count, 16, seed) for seed in (1, 2, 3)]
    sets = [DescriptorSet(one, kind) for one in given]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        exact, found = (mutual_matches(of[i], of[j], ratio=0.98, distance=kind) for of in (given, sets))
        assert len(exact)
        for one, other in zip(astuple(exact), astuple(found), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(*(nearest(of[i], of[j], 2, distance=kind) for of in (given, sets)), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(sets[0]) == count and sets[0].nbytes >= sets[0].rows.nbytes


def test_sets_for_another_distance_are_refused() -> None:
    with pytest.raises(DescriptorError, match="l2 and l2 are not compared by hamming"):
        mutual_matches(DescriptorSet(unit(3)), DescriptorSet(unit(3)), ratio=0.8, distance="hamming")


@pytest.mark.parametrize(
    ("a", "b", "kind", "says"),
    [
        (np.full((2, 8), np.nan, np.float32), unit(3, 8), "l2", "NaN"),
        (unit(3, 8), np.full((2, 8), np.inf, np.float32), "l2", "second set.*NaN or infinity"),
        (unit(3, 8), unit(3, 16), "l2", "8 columns against 16"),
        (unit(3, 8) * 512, unit(3, 8), "l2", "length 512"),
        (bits(3), bits(3), "l2", "float descriptors"),
        (unit(3), unit(3), "hamming", "packed uint8"),
        (unit(3)[0], unit(3), "l2", r"\(N, D\)"),
        ([[1.0]], unit(3), "l2", "list"),
        (unit(3), unit(3), "cosine", "'cosine'.*l2, hamming"),
    ],
)
def test_bad_input_is_named(a: np.ndarray, b: np.ndarray, kind: str, says: str) -> None:
    with pytest.raises(DescriptorError, match=says):
        mutual_matches(a, b, ratio=0.8, distance=kind)  # type: ignore[arg-type]
    with pytest.raises(DescriptorError, match=says):
        nearest(a, b, 1, distance=kind)  # type: ignore[arg-type]


def test_a_ratio_that_keeps_nothing_is_refused() -> None:
    for ratio in (0.0, -1.0, float("nan")):
        with pytest.raises(DescriptorError, match="ratio"):
            mutual_matches(unit(3), unit(3), ratio=ratio)
    with pytest.raises(DescriptorError, match="-1"):
        nearest(unit(3), unit(3), -1)


def test_half_and_double_precision_are_taken() -> None:
    a = unit(60)
    b = noisy(a, np.arange(60), 0.03)
    expected = mutual_matches(a, b, ratio=0.8).pairs
    for kind in (np.float16, np.float64):
        np.testing.assert_array_equal(mutual_matches(a.astype(kind), b.astype(kind), ratio=0.8).pairs, expected)


def test_the_literal_product_model_is_what_onnx_makes_of_it() -> None:
    onnx = pytest.importorskip("onnx")
    make, floats = onnx.helper, onnx.TensorProto.FLOAT
    shapes = {
        name: make.make_tensor_value_info(name, floats, dims) for name, dims in (("a", "ND"), ("b", "MD"), ("s", "NM"))
    }
    node = make.make_node("Gemm", ["a", "b"], ["s"], transB=1)
    graph = make.make_graph([node], "product", [shapes["a"], shapes["b"]], [shapes["s"]])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    assert onnx.ModelProto.FromString(tiles.PRODUCT_MODEL) == model
