"""The depth engine against slow, obvious implementations of the same formulas, and on made pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from descriptors.runtime import WEIGHTS
from pipelines.core.errors import ConfigError
from pipelines.depth import filters
from pipelines.depth.cost import CostFunction, FeatureMaps, census
from pipelines.depth.pair import setting
from pipelines.depth.sgm import Penalties, aggregate, winners, winners_from_right


def by_definition(cost: np.ndarray, guide: np.ndarray, penalties: Penalties) -> np.ndarray:
    """Hirschmüller's recursion, one pixel after the other."""
    height, width, count = cost.shape
    sums = np.zeros(cost.shape)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy == dx == 0:
                continue
            paths = np.zeros(cost.shape)
            for y in range(height) if dy >= 0 else range(height - 1, -1, -1):
                for x in range(width) if dx >= 0 else range(width - 1, -1, -1):
                    v, u = y - dy, x - dx
                    if not (0 <= v < height and 0 <= u < width):
                        paths[y, x] = cost[y, x]
                        continue
                    before = paths[v, u]
                    change = np.abs(guide[y, x].astype(int) - guide[v, u].astype(int)).max()
                    large = max(round(penalties.large / (1 + change / penalties.edge)), penalties.least)
                    for d in range(count):
                        ways = [before[d], before.min() + large]
                        ways += [before[e] + penalties.small for e in (d - 1, d + 1) if 0 <= e < count]
                        paths[y, x, d] = cost[y, x, d] + min(ways) - before.min()
            sums += paths
    return sums


def test_eight_paths_are_summed_as_defined() -> None:
    rng = np.random.default_rng(0)
    cost = rng.integers(0, 256, (9, 11, 6), dtype=np.uint8)
    guide = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    penalties = Penalties(small=7, large=90, edge=20.0, least=9)
    np.testing.assert_array_equal(aggregate(cost, guide, penalties), by_definition(cost, guide, penalties))


@pytest.mark.parametrize("shape", [(5, 7), (4, 7, 3)])
def test_a_guide_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="guide"):
        aggregate(np.zeros((4, 6, 3), np.uint8), np.zeros(shape, np.uint8), Penalties())


def test_penalties_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="least"):
        Penalties(small=30, large=20)


def test_weights_of_the_users_own_are_matched_as_their_network_is(tmp_path: Path) -> None:
    own = tmp_path / "mine.safetensors"
    shutil.copy(WEIGHTS / "swift-stereo.safetensors", own)
    assert setting(str(own)) == setting("swift-stereo") != setting("swift")


def test_the_winner_lies_at_the_vertex_of_a_parabola() -> None:
    candidates = np.arange(9.0)
    vertices = np.array([2.3, 5.0, 6.7])
    sums = np.rint(1000 * (candidates - vertices[:, None]) ** 2 + 50).astype(np.uint16)[None]
    found = winners(sums)
    np.testing.assert_allclose(found.index[0], vertices, atol=0.01)
    assert (found.margin > 0.9).all() and (winners(np.full((1, 3, 9), 7, np.uint16)).margin == 0).all()


def test_winners_of_the_second_picture_read_the_same_volume_along_its_diagonals() -> None:
    sums = np.random.default_rng(1).integers(0, 60000, (4, 20, 6), dtype=np.uint16)
    found = winners_from_right(sums)
    for y, x in np.ndindex(4, 20):
        costs = [sums[y, x + k, k] for k in range(min(6, 20 - x))]
        assert abs(found[y, x] - int(np.argmin(costs))) <= 0.5


def test_census_tells_which_neighbours_are_darker() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (20, 30), dtype=np.uint8)
    signature = census(picture)
    window = picture[10 - 3 : 10 + 4, 12 - 4 : 12 + 5].ravel()
    darker = np.delete(window < picture[10, 12], 31)
    assert int(signature[10, 12]) == int("".join("1" if one else "0" for one in darker), 2)
    np.testing.assert_array_equal(signature, census((picture // 2 + 40).astype(np.uint8) * 0 + picture))


class Fixed:
    """Describes by a table of random unit vectors, one for each grey value."""

    name = fingerprint = "fixed"

    def __init__(self) -> None:
        table = np.random.default_rng(3).normal(size=(256, 12)).astype(np.float32)
        self.table = table / np.linalg.norm(table, axis=1, keepdims=True)

    def describe(self, gray: np.ndarray) -> np.ndarray:
        return self.table[gray]


def test_costs_of_a_shift_are_bits_and_cosines_in_their_shares() -> None:
    rng = np.random.default_rng(4)
    left, right = (rng.integers(0, 256, (12, 26), dtype=np.uint8) for _ in range(2))
    function = CostFunction(Fixed(), census=0.4, gain=0.8, outside=77)
    first, second = function.features(left), function.features(right)
    volume = function.shifted(first, second, -2, 7)
    assert first.bits is not None and second.bits is not None and first.vectors is not None
    for y, x, k in np.ndindex(*volume.shape):
        u = x - (k - 2)
        if not 0 <= u < 26:
            assert volume[y, x, k] == 77
            continue
        bits = int(first.bits[y, x] ^ second.bits[y, u]).bit_count()
        cosine = float(first.vectors[y, x] @ function.features(right).vectors[y, u])  # type: ignore[index]
        expected = 255 * (0.4 * bits / 62 + 0.6 * 0.8 * (1 - cosine))
        assert abs(int(volume[y, x, k]) - min(expected, 255)) <= 0.51
    rows, columns = np.mgrid[:12, :26].astype(np.float32)
    for k in range(7):
        np.testing.assert_array_equal(
            function.sampled(first, second, columns - (k - 2), rows), volume[:, :, k], err_msg=str(k)
        )


def test_between_pixels_vectors_are_interpolated() -> None:
    function = CostFunction(Fixed(), census=0.0)
    picture = np.random.default_rng(5).integers(0, 256, (6, 8), dtype=np.uint8)
    maps = function.features(picture)
    assert maps.vectors is not None
    middle = maps.vectors[2, 3] + maps.vectors[2, 4]
    wanted = FeatureMaps(None, np.broadcast_to(middle / np.linalg.norm(middle), (6, 8, 12)).copy())
    place = np.full((6, 8), 3.5, np.float32), np.full((6, 8), 2.0, np.float32)
    assert (function.sampled(wanted, maps, *place) == 0).all()
    assert (function.sampled(wanted, maps, np.full((6, 8), np.nan, np.float32), place[1]) == function.outside).all()


def test_both_pictures_must_agree() -> None:
    left = np.full((3, 20), 4.0, np.float32)
    right = np.full((3, 20), 4.0, np.float32)
    right[:, 10:] = 7.0
    agreed = filters.left_right(left, right)
    assert not agreed[:, :4].any() and agreed[:, 4:14].all() and not agreed[:, 14:].any()
    left[0, 8] = np.nan
    assert not filters.left_right(left, right)[0, 8]


def test_small_pieces_are_speckles() -> None:
    values = np.zeros((12, 12), np.float32)
    values[4:6, 4:6] = 9.0
    valid = np.ones((12, 12), bool)
    valid[9] = False
    kept = filters.speckles(values, valid, least=5, step=1.0)
    assert not kept[4:6, 4:6].any() and not kept[9].any()
    assert kept.sum() == 144 - 4 - 12
    assert filters.speckles(values, valid, least=4, step=1.0)[4:6, 4:6].all()


def test_holes_are_filled_from_the_background() -> None:
    values = np.array([[9.0, 9, 0, 0, 3, 3], [0.0] * 6], np.float32)
    valid = np.array([[1, 1, 0, 0, 1, 1], [0] * 6], bool)
    np.testing.assert_array_equal(filters.fill_background(values, valid), [[9, 9, 3, 3, 3, 3]] * 2)


def test_weighted_median_keeps_the_step_where_the_picture_has_it() -> None:
    guide = np.full((20, 20), 40, np.uint8)
    guide[:, 9:] = 200
    values = np.where(guide > 100, 12.0, 5.0).astype(np.float32)
    spoiled = values.copy()
    spoiled[:, 7:9] = 12.0  # a fattened edge
    np.testing.assert_array_equal(filters.weighted_median(spoiled, guide, reach=4, spread=5.0), values)


def test_weighted_median_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(8)
    values = rng.integers(0, 40, (12, 17)).astype(np.float32)  # many are equal
    values[rng.random(values.shape) < 0.1] = np.nan
    guide = rng.integers(0, 256, (12, 17, 3), dtype=np.uint8)
    found = filters.weighted_median(values, guide, reach=3, spread=30.0)
    for y, x in np.ndindex(values.shape):
        window = np.s_[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
        usable = np.isfinite(values[window])
        change = np.abs(guide[window].astype(float) - guide[y, x]).sum(axis=2)[usable]
        order = np.argsort(values[window][usable])
        reached = np.cumsum(np.exp(-change / 90.0)[order])
        expected = values[window][usable][order][np.searchsorted(reached, reached[-1] / 2)]
        assert found[y, x] == expected, (y, x)


def test_weighted_median_is_the_median_of_a_flat_picture() -> None:
    values = np.random.default_rng(6).normal(size=(9, 9)).astype(np.float32)
    found = filters.weighted_median(values, np.zeros((9, 9), np.uint8), reach=2, spread=5.0)
    assert found[4, 4] == np.median(values[2:7, 2:7])
