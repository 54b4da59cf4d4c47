"""Matching with things that were seen several times, against all comparisons one by one."""

from __future__ import annotations

import numpy as np
import pytest

from descriptors import DescriptorError, subspace, views
from descriptors.distances import mutual_matches
from descriptors.views import Views, match_views


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def seen_things(rng, count, dim=32, noise=0.4, binary=False):
    """Things with one to five views each in any order, and a descriptor of each but the last ten."""
    centre = unit(rng.normal(size=(count, dim)))
    owner = rng.permutation(np.repeat(np.arange(count), rng.integers(1, 6, count)))
    rows = centre[owner] + noise / np.sqrt(dim) * rng.normal(size=(len(owner), dim))
    asked = centre[: count - 10] + noise / np.sqrt(dim) * rng.normal(size=(count - 10, dim))
    if binary:
        return np.packbits(asked > 0, axis=1), np.packbits(rows > 0, axis=1), owner
    return unit(asked), unit(rows), owner


def distances(a, b):
    if a.dtype == np.uint8:
        return np.bitwise_count(a[:, None] ^ b[None]).sum(axis=2).astype(float)
    return np.linalg.norm(a[:, None] - b[None], axis=2)


@pytest.mark.parametrize("binary", [False, True])
def test_a_thing_is_as_near_as_its_nearest_view(binary, monkeypatch):
    rng = np.random.default_rng(0)
    asked, rows, owner = seen_things(rng, 120, dim=64, binary=binary)
    things, owners = Views.grouped(rows, owner)
    monkeypatch.setattr(views, "_SHORTLIST", 120)  # compared with everything
    found = match_views(asked, things, ratio=0.9, distance="hamming" if binary else "l2")
    apart = distances(asked, rows)
    table = np.stack([apart[:, owner == thing].min(axis=1) for thing in owners], axis=1)
    wanted = []
    for i, j in enumerate(table.argmin(axis=1)):
        rivals = np.concatenate([np.delete(table[i], j), np.delete(table[:, j], i)])
        if table[:, j].argmin() == i and table[i, j] < 0.9 * rivals.min():
            wanted.append((i, j))
    assert found.pairs.tolist() == [list(pair) for pair in wanted] and len(wanted) > 60
    np.testing.assert_allclose(found.distances, [table[i, j] for i, j in wanted], atol=1e-3)


@pytest.mark.parametrize("large", [False, True], ids=["all dimensions", "principal directions"])
def test_a_shortlist_is_enough(large, monkeypatch):
    rng = np.random.default_rng(1)
    asked, rows, owner = seen_things(rng, 600)
    things, _ = Views.grouped(rows, owner)
    if large:
        monkeypatch.setattr(views, "LARGE", 0)
        monkeypatch.setattr(subspace, "_LOST", 0.3)
    short = {tuple(pair) for pair in match_views(asked, things, ratio=0.9, threads=2).pairs.tolist()}
    monkeypatch.setattr(views, "_SHORTLIST", 600)
    whole = {tuple(pair) for pair in match_views(asked, things, ratio=0.9).pairs.tolist()}
    assert len(whole) > 300 and len(short & whole) > 0.99 * len(whole) and len(short) < 1.1 * len(whole)


def test_things_of_one_view_match_as_descriptors_do(monkeypatch):
    rng = np.random.default_rng(2)
    asked, rows, _ = seen_things(rng, 200)
    things, _ = Views.grouped(rows[:150], np.arange(150))
    monkeypatch.setattr(views, "_SHORTLIST", 150)
    for ratio in (0.9, 1.0):
        found, wanted = match_views(asked, things, ratio=ratio), mutual_matches(asked, rows[:150], ratio=ratio)
        assert found.pairs.tolist() == wanted.pairs.tolist()
        np.testing.assert_allclose(found.ratios, wanted.ratios, atol=1e-5)


def test_a_view_of_its_own_is_no_rival_and_a_double_is():
    a = np.eye(4, dtype=np.float32)[:1]
    near = unit(np.array([[1, 0.1, 0, 0], [1, 0, 0.1, 0], [0, 0, 0, 1]], np.float32))
    same, _ = Views.grouped(near, np.array([0, 0, 1]))
    assert match_views(a, same, ratio=0.8).pairs.tolist() == [[0, 0]]
    apart, _ = Views.grouped(near, np.array([0, 1, 2]))
    assert not len(match_views(a, apart, ratio=0.8))


def test_nothing_and_nonsense():
    rows = np.eye(4, dtype=np.float32)
    none, _ = Views.grouped(rows[:0], np.zeros(0, int))
    some, _ = Views.grouped(rows, np.arange(4))
    assert not len(match_views(rows, none, ratio=0.8)) and not len(match_views(rows[:0], some, ratio=0.8))
    assert match_views(rows[:1], Views.grouped(rows[:1], np.zeros(1, int))[0], ratio=0.8).pairs.tolist() == [[0, 0]]
    with pytest.raises(DescriptorError, match="above 0"):
        match_views(rows, some, ratio=0)
    with pytest.raises(DescriptorError, match="unit length"):
        match_views(2 * rows, some, ratio=0.8)
    with pytest.raises(DescriptorError, match="different kinds"):
        match_views(rows[:, :2], some, ratio=0.8)
