"""Large sets are searched in few dimensions: nearly the same matches, exact distances."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from descriptors import distances, registry
from descriptors.datasets.photos import detect_dog
from descriptors.distances import mutual_matches
from descriptors.frames import extract_patches
from descriptors.subspace import principal

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data" / "sfm"


@pytest.fixture
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "LARGE", 0)


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


def test_photos_match_nearly_as_with_all_dimensions(photos, every_size) -> None:
    name, (a, b) = photos
    thin = principal(a, b)
    assert thin is not None and thin[0].shape[1] <= 0.7 * a.shape[1]
    exact, found = (mutual_matches(a, b, ratio=registry.spec(name).ratio, exact=e) for e in (True, False))
    one, other = ({tuple(pair) for pair in matches.pairs} for matches in (exact, found))
    assert len(one) > 100 and len(one & other) >= 0.99 * len(one) and len(other - one) <= 0.08 * len(one)
    same = {tuple(pair): k for k, pair in enumerate(exact.pairs)}
    both = [(k, same[tuple(pair)]) for k, pair in enumerate(found.pairs) if tuple(pair) in same]
    ours, theirs = np.array(both).T
    np.testing.assert_allclose(found.distances[ours], exact.distances[theirs], rtol=1e-5)
    assert np.median(np.abs(found.ratios[ours] - exact.ratios[theirs])) < 0.02


def test_products_change_by_what_was_left_out(rng) -> None:
    # 20 directions, and a hundredth of the variance in the others.
    rows = rng.standard_normal((900, 64)) * np.r_[np.ones(20), 0.07 * np.ones(44)] + 0.3
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    thin = principal(rows[:500], rows[500:])
    assert thin is not None and thin[0].shape == (500, 32) and thin[1].shape == (400, 32)
    assert np.abs(thin[0] @ thin[1].T - rows[:500] @ rows[500:].T).max() < 0.06


def test_where_every_direction_counts_there_is_no_subspace(rng, every_size) -> None:
    rows = rng.standard_normal((700, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert principal(rows, rows[:300]) is None
    np.testing.assert_array_equal(
        mutual_matches(rows, rows[:300], ratio=0.8).pairs, np.arange(300)[:, None].repeat(2, 1)
    )


@pytest.mark.parametrize("sizes", [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_sets_of_a_few(sizes, every_size, rng) -> None:
    rows = rng.standard_normal((5, 4)) @ rng.standard_normal((4, 128))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    a, b = rows[: sizes[0]], rows[: sizes[1]]
    exact, found = (mutual_matches(a, b, ratio=0.9, exact=e) for e in (True, False))
    np.testing.assert_array_equal(found.pairs, exact.pairs)
    np.testing.assert_allclose(found.ratios, exact.ratios, atol=0.02)


def test_rows_of_zeros_and_duplicates_match_nothing(photos, every_size) -> None:
    _, (a, b) = photos
    a = a.copy()
    a[:10] = 0
    a[11] = a[10]
    assert not set(range(12)) & set(mutual_matches(a, b, ratio=0.9).pairs[:, 0].tolist())
