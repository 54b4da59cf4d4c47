"""Networks at every pixel of a picture, against the same networks on patches; made stereo pairs against geometry."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

import descriptors
from descriptors import DescriptorError
from descriptors.datasets.stereo_pairs import PairRange, made_light
from descriptors.dense import FORMS, DenseNetwork
from descriptors.networks import build
from descriptors.networks.dense import FullyConvolutional
from descriptors.networks.swift import Residual


def picture(height: int = 60, width: int = 70) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(height, width)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 300 + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_the_pixel_most_like_a_patch_is_its_middle(name: str) -> None:
    """Its vector is the patch's, but for the zeros around a patch in networks that pad."""
    torch.manual_seed(0)
    network = build(name).eval()
    for module in network.modules():
        if isinstance(module, Residual):  # begins as nothing
            torch.nn.init.constant_(module.added[1].weight, 0.2)
    size = network.patch_size
    dense = FullyConvolutional(network, 1).eval()
    given = 128 + 50 * torch.randn(1, 1, 3 * size, 3 * size)
    middle = 3 * size // 2
    patch = given[:, :, middle - size // 2 :, middle - size // 2 :][:, :, :size, :size]
    with torch.inference_mode():
        vectors = dense((given - patch.mean()) / patch.std(correction=0))[0]
        own = network(patch)[0]
    assert vectors.shape[1:] == given.shape[2:]
    alike = torch.einsum("chw,c->hw", vectors, own)
    near = alike[middle - 1 : middle + 2, middle - 1 : middle + 2]  # the middle of an even patch is between pixels
    assert near.max() > alike.max() - 1e-5  # others may be as like it: bits of comparisons are few
    assert alike.max() > (0.999 if name in ("swift-stereo", "tfeat") else 0.6)


def test_a_vector_depends_neither_on_tiles_nor_on_what_is_far(monkeypatch) -> None:
    network = DenseNetwork(descriptors.spec("swift-stereo"), "swift-stereo", threads=1)
    whole = network.describe(picture())
    assert whole.shape == (60, 70, 64)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=2), 1, atol=1e-4)
    monkeypatch.setattr("descriptors.dense._TILE", 32)
    np.testing.assert_allclose(network.describe(picture()), whole, atol=2e-5)


def test_pooling_of_responses_has_no_dense_form() -> None:
    with pytest.raises(DescriptorError, match="L2Pooling"):
        FullyConvolutional(build("deepdesc").eval(), 1)


def test_made_pairs_show_the_same_thing_where_both_see_it() -> None:
    photos = [cv2.GaussianBlur(np.random.default_rng(n).integers(0, 256, (90, 120, 3), np.uint8), (0, 0), 2) * 3
              for n in range(3)]  # fmt: skip
    limits = PairRange(width=160, height=120, largest=30, flat=0)
    pair = made_light(photos, limits, np.random.default_rng(5))
    again = made_light(photos, limits, np.random.default_rng(5))
    np.testing.assert_array_equal(pair.left, again.left)
    assert 0.6 < pair.visible.mean() < 1 and pair.disparity.min() >= 0 and pair.disparity.max() < 30
    y, x = np.mgrid[:120, :160].astype(np.float32)
    seen = cv2.remap(pair.right, x - pair.disparity, y, cv2.INTER_LINEAR).astype(float)
    apart = np.abs(seen - pair.left).mean(axis=2)
    hidden = ~pair.visible & (x - pair.disparity >= 0)
    assert np.median(apart[pair.visible]) < 4 and np.median(apart[hidden]) > 3 * np.median(apart[pair.visible])
