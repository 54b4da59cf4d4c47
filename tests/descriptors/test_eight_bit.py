"""Large sets are searched in eight bits: the same matches as with floats, with exact distances."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from descriptors import distances, eight_bit, registry, tiles
from descriptors.datasets.photos import detect_dog
from descriptors.distances import Matches, mutual_matches
from descriptors.frames import extract_patches

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data" / "sfm"


def both_ways(monkeypatch: pytest.MonkeyPatch, a: np.ndarray, b: np.ndarray, **how) -> tuple[Matches, Matches]:
    """Matches by floats and by eight bits, whatever the size."""
    found = []
    for least in (1 << 60, 0):
        monkeypatch.setattr(distances, "_LARGE", least)
        found.append(mutual_matches(a, b, **how))
    return found[0], found[1]


def unit(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    rows = rng.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=["rootsift", "swift"])
def photos(request: pytest.FixtureRequest) -> tuple[str, list[np.ndarray]]:
    descriptor = registry.load(request.param)
    spec, rows = descriptor.spec, []
    for path in sorted(SAMPLE.rglob("*.jpg"))[:2]:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        frames = detect_dog(grey, 2000)
        patches = extract_patches(grey, frames, patch_size=spec.patch_size, magnification=spec.magnification)
        rows.append(descriptor.describe(patches))
    return request.param, rows


def test_photos_match_as_by_floats(photos, monkeypatch) -> None:
    name, (a, b) = photos
    exact, found = both_ways(monkeypatch, a, b, ratio=registry.spec(name).ratio)
    one, other = ({tuple(pair): k for k, pair in enumerate(matches.pairs)} for matches in (exact, found))
    same = np.array([(k, other[pair]) for pair, k in one.items() if pair in other])
    assert len(one) > 100 and len(same) >= 0.995 * max(len(one), len(other))
    np.testing.assert_allclose(found.distances[same[:, 1]], exact.distances[same[:, 0]], rtol=1e-5)
    # The second nearest is another one where two were all but equally far away.
    wrong = np.abs(found.ratios[same[:, 1]] - exact.ratios[same[:, 0]])
    assert np.quantile(wrong, 0.95) < 1e-4 and wrong.max() < 0.05


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("n", "m"), [(513, 1025), (1537, 900), (40, 3000), (2, 2), (1, 1), (1, 5), (5, 1)])
def test_every_size_and_number_of_threads(n: int, m: int, threads: int, rng, monkeypatch) -> None:
    b = unit(rng, m, 32)
    a = b[rng.integers(0, m, n)] + 0.3 * unit(rng, n, 32)
    a = (a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.float32)
    exact, found = both_ways(monkeypatch, a, b, ratio=0.95, threads=threads)
    # What differs lies at the limit of the ratio.
    for one, other in ((exact, found), (found, exact)):
        known = {tuple(pair) for pair in other.pairs}
        assert all(ratio > 0.9 for pair, ratio in zip(one.pairs, one.ratios, strict=True) if tuple(pair) not in known)


@pytest.mark.parametrize("bytes_", [16, 32, 128])
def test_bits_are_compared_exactly(bytes_: int, rng, monkeypatch) -> None:
    b = rng.integers(0, 256, (1300, bytes_), dtype=np.uint8)
    flips = rng.random((1100, bytes_, 8)) < rng.uniform(0, 0.4, (1100, 1, 1))
    a = b[rng.permutation(1300)[:1100]] ^ np.packbits(flips, axis=2)[:, :, 0]
    exact, found = both_ways(monkeypatch, a, b, ratio=0.9, distance="hamming")
    assert len(exact) > 500
    np.testing.assert_array_equal(found.pairs, exact.pairs)
    np.testing.assert_array_equal(found.distances, exact.distances)
    np.testing.assert_allclose(found.ratios, exact.ratios, rtol=1e-6)


def test_rows_of_zeros_and_duplicates_match_nothing(photos, monkeypatch) -> None:
    _, (a, b) = photos
    a = a.copy()
    a[:10] = 0
    a[11] = a[10]
    monkeypatch.setattr(distances, "_LARGE", 0)
    assert not set(range(12)) & set(mutual_matches(a, b, ratio=0.9).pairs[:, 0].tolist())
    assert not len(mutual_matches(np.zeros_like(a), b, ratio=0.9))


def test_rounded_products_fit_whatever_the_rows_are(rng) -> None:
    for rows in (unit(rng, 50, 8), unit(rng, 50, 512), np.sign(unit(rng, 50, 1024)), np.eye(16, dtype=np.float32)):
        a, b = eight_bit.Rounded(rows).signed, eight_bit.Rounded(-rows).right
        products = a.astype(np.int64) @ b.T.astype(np.int64)
        assert np.abs(products).max() <= eight_bit._LARGEST and np.abs(b).max() <= 63
        np.testing.assert_allclose(
            products / np.abs(products).max(), -(rows @ rows.T) / (rows**2).sum(1).max(), atol=0.03
        )


def test_the_literal_product_model_is_what_onnx_makes_of_it() -> None:
    make, types = onnx.helper, onnx.TensorProto
    info = make.make_tensor_value_info
    shapes = [info("a", types.UINT8, "ND"), info("b", types.INT8, "DM"), info("s", types.INT32, "NM")]
    node = make.make_node("MatMulInteger", ["a", "b", "o"], ["s"])
    offset = make.make_tensor("o", types.UINT8, [], [128])
    graph = make.make_graph([node], "product", shapes[:2], shapes[2:], [offset])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    assert onnx.ModelProto.FromString(eight_bit.PRODUCT_MODEL) == model
    out = np.empty((2, 1), np.int32)
    multiplier = tiles.Multiplier(eight_bit.PRODUCT_MODEL)
    rows = np.array([[130, 127], [0, 255]], np.uint8)
    multiplier.left(rows)
    multiplier.into(out)
    multiplier.times(tiles.right(np.array([[3], [-63]], np.int8)))
    np.testing.assert_array_equal(out, [[6 + 63], [-384 - 127 * 63]])
