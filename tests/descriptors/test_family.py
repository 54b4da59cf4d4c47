"""GLOH and DAISY beside SIFT: their cells against worked values, a loop over the definition, turned patches."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

import descriptors
from descriptors import handcrafted

POLAR = ("gloh", "rootgloh", "rootdaisy")


def cells(pooling: np.ndarray) -> np.ndarray:
    """The pooling matrix as pictures (S,S,cells)."""
    size = math.isqrt(len(pooling))
    return pooling.reshape(size, size, -1)


def test_gloh_shares_each_pixel_between_its_cells():
    # 35 pixels of half a "fifteenth" and more: pixel 17 is the middle, a pixel is one fifteenth of the outer radius.
    pooling = cells(handcrafted.log_polar(35, 7.5))
    assert pooling[17, 17, 0] == 1
    assert pooling[17, 17 + 3, 0] == pytest.approx(1)  # still the middle of the middle cell
    # Right by 8.5 is the middle of the first ring's sector 0; by 8, a share of 0.5 / 5.5 is left in the middle cell.
    np.testing.assert_allclose(pooling[17, 17 + 8, [0, 1]], [0.5 / 5.5, 5 / 5.5], atol=1e-6)
    # Up is sector 2: counter-clockwise on the screen. Thirteen up is the middle of the outer ring.
    assert pooling[17 - 13, 17, 9 + 2] == pytest.approx(1)
    # Right 12 and up 5 is thirteen away at atan(5/12) = 22.62 degrees, 0.5027 sectors.
    share = math.degrees(math.atan2(5, 12)) / 45
    np.testing.assert_allclose(pooling[17 - 5, 17 + 12, [9, 10]], [1 - share, share], atol=1e-6)
    # Fading out: 15.5 away would have (17.5 - 15.5) / 4.5; 16 has a third.
    assert pooling[17, 17 + 16, 9] == pytest.approx(1.5 / 4.5)
    down, right = np.mgrid[-17:18, -17:18]
    inside = np.hypot(down, right) <= 13
    np.testing.assert_allclose(pooling[inside].sum(axis=1), 1, atol=1e-6)


def test_daisys_cells_are_gaussians_in_circles():
    # 81 pixels over 8a: a is 10.125 pixels; the rings' middles are a, 2a and 3a away, as wide as a/2, a and 3a/2.
    pooling, a = cells(handcrafted.circles(81, 7.5)), 81 / 8
    down, right = (np.mgrid[-40:41, -40:41] / a)[:, :, :, None]
    mass = pooling.sum(axis=(0, 1))
    x, y = ((pooling * place).sum(axis=(0, 1)) / mass for place in (right, down))
    np.testing.assert_allclose([x[0], y[0]], 0, atol=1e-4)
    for turn in range(8):
        where = np.array([math.cos(turn * math.tau / 8), -math.sin(turn * math.tau / 8)])
        np.testing.assert_allclose([x[1 + turn], y[1 + turn]], where, atol=1e-3)
        # The second ring's Gaussians lie within the patch, two of their deviations from its border.
        np.testing.assert_allclose([x[9 + turn], y[9 + turn]], 2 * where, atol=0.08)
    peak = pooling.max(axis=(0, 1))
    np.testing.assert_allclose(peak[[0, 1, 9, 17]], [4, 4, 1, 4 / 9], rtol=0.02)
    # One Gaussian has the mass of another, wherever the patch's border cuts off nothing.
    np.testing.assert_allclose(mass[1:9] / mass[0], 1, rtol=1e-3)


@pytest.mark.parametrize("name", POLAR)
def test_a_turned_patch_turns_the_cells(textured, name):
    """A quarter turn moves each ring's 8 sectors by 2 and the directions by a quarter of their number."""
    d = descriptors.load(name)
    patches = np.stack([textured[None, y : y + 32, y + 9 : y + 41] for y in range(0, 200, 25)]).astype(np.float32)
    directions = d.recipe.directions
    middle, rings = np.split(d.describe(patches).reshape(len(patches), -1, directions), [1], axis=1)
    rings = rings.reshape(len(patches), -1, 8, directions)
    turned = np.concatenate(
        [middle, np.roll(rings, 2, axis=2).reshape(len(patches), -1, directions)],
        axis=1,
    )
    turned = np.roll(turned, directions // 4, axis=2).reshape(len(patches), -1)
    got = d.describe(np.ascontiguousarray(np.rot90(patches, axes=(2, 3))))
    # OpenCV's arc tangent is good to 0.3 degrees and not the same in each quadrant.
    np.testing.assert_allclose(got, turned, atol=0.01)
    assert np.abs(got - d.describe(patches)).max() > 0.1


def gloh_by_definition(patch: np.ndarray, sigma: float) -> np.ndarray:
    """GLOH's 272 numbers pixel by pixel, 17.5 fifteenths of the outer radius being half the patch."""
    smooth = cv2.GaussianBlur(patch.astype(np.float64), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    size, sums = len(patch), np.zeros((17, 16))
    for i in range(1, size - 1):
        for j in range(1, size - 1):
            dx, dy = smooth[i, j + 1] - smooth[i, j - 1], smooth[i - 1, j] - smooth[i + 1, j]
            x, y = (((2 * k + 1) / size - 1) * 17.5 for k in (j, size - 1 - i))
            radius, sector = math.hypot(x, y), math.atan2(y, x) / math.tau * 8 % 8
            if radius >= 17.5:
                continue
            middle = min(1.0, max(0.0, (8.5 - radius) / 5.5))
            outer = (radius - 8.5) / 4.5 if radius < 13 else (17.5 - radius) / 4.5
            inner = (radius - 3) / 5.5 if radius < 8.5 else (13 - radius) / 4.5
            shares = [(0, middle)]
            for first, ring in ((1, inner), (9, outer)):
                for s in (int(sector), int(sector) + 1):
                    shares.append((first + s % 8, max(0.0, ring) * (1 - abs(sector - s))))
            direction = math.atan2(dy, dx) / math.tau * 16 % 16
            for cell, share in shares:
                for o in (int(direction), int(direction) + 1):
                    sums[cell, o % 16] += math.hypot(dx, dy) * share * (1 - abs(direction - o))
    vector = np.minimum(sums.ravel() / np.linalg.norm(sums), 0.2)
    return vector / np.linalg.norm(vector)


def test_gloh_is_its_definition(textured):
    patches = np.stack([textured[None, y : y + 32, 2 * y : 2 * y + 32] for y in (10, 60, 100)])
    sigma = handcrafted._FAMILY["gloh"].blur * 32 / 15
    for patch, got in zip(patches, descriptors.load("gloh").describe(patches), strict=True):
        assert got @ gloh_by_definition(patch[0], sigma) > 0.999
