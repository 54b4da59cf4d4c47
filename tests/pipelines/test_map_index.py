"""The index of a large map: exact, in blocks, within memory that does not grow with it."""

from __future__ import annotations

import threading

import numpy as np
import psutil
import pytest

from pipelines.pairs.retrieval import RetrievalIndex


def index_of(vectors: np.ndarray) -> RetrievalIndex:
    none = np.zeros((0, 0), np.float32)
    return RetrievalIndex(none, none, none, vectors)


def unit(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    x = rng.standard_normal((count, dim), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_blocks_give_what_a_whole_product_gives(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    vectors, asking = unit(rng, 700, 32).astype(dtype), unit(rng, 9, 32)
    monkeypatch.setattr("pipelines.pairs.retrieval._BLOCK", 128)
    found, distance = index_of(vectors).query(asking, 20)
    stored = vectors.astype(np.float32)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    wanted = np.linalg.norm(asking[:, None] - stored[None], axis=2)
    np.testing.assert_array_equal(found, np.argsort(wanted, axis=1)[:, :20])
    np.testing.assert_allclose(distance, np.sort(wanted, axis=1)[:, :20], atol=1e-3)
    assert index_of(vectors).query(asking, 5000)[0].shape == (9, 700)
    assert index_of(vectors[:0]).query(asking, 5)[0].shape == (9, 0)


def test_a_million_photos_are_searched_in_bounded_memory():
    rng = np.random.default_rng(1)
    part = unit(rng, 50_000, 128).astype(np.float16)
    vectors = np.concatenate([np.roll(part, shift, axis=1) for shift in range(20)])
    del part
    asking = vectors[[5, 123_456, 999_999]].astype(np.float32)
    asking = asking + 0.02 * rng.standard_normal(asking.shape).astype(np.float32)
    asking /= np.linalg.norm(asking, axis=1, keepdims=True)
    index = index_of(vectors)
    index.query(asking, 10)  # whatever is loaded once is loaded now
    process = psutil.Process()
    before, most, done = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    found, _ = index.query(asking, 10)
    done.set()
    thread.join()
    assert found[:, 0].tolist() == [5, 123_456, 999_999]
    assert vectors.nbytes == 256_000_000
    assert most[0] - before < 150 << 20, f"{(most[0] - before) >> 20} MB beside the index"
