"""Batches made in torch against those made on the CPU by OpenCV."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from descriptors.datasets.tracks import PatchCutter
from descriptors.frames import frames_from_keypoints
from descriptors.training.augment import Light
from descriptors.training.resident import TensorCutter, blur, change_tensor, jpeg

CPU = torch.device("cpu")
NONE = Light(gamma=0, slope=0, blur_share=0, jpeg_share=0, noise_share=0, clip_share=0)


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = [cv2.resize(rng.uniform(40, 210, (7, 7)), (32, 32), interpolation=cv2.INTER_CUBIC) for _ in range(64)]
    return np.clip(coarse, 0, 255).astype(np.uint8)


def test_the_same_patches_are_cut(textured) -> None:
    images = [textured, cv2.resize(textured, (180, 120)), np.ascontiguousarray(textured[:90, :60])]
    rng = np.random.default_rng(1)
    owner = rng.integers(0, 3, 200)
    frames = frames_from_keypoints(rng.uniform(-5, 190, (200, 2)), rng.uniform(0.5, 14, 200), rng.uniform(-3, 3, 200))
    frames[:, :, :2] *= rng.uniform(0.7, 1.4, (200, 1, 2)).astype(np.float32)  # sheared ones too
    cutter = PatchCutter(images)
    for size in (32, 64):
        expected = cutter.cut(owner, frames, patch_size=size, magnification=7.5).astype(float)
        cut = TensorCutter(cutter.pyramids, CPU).cut(owner, frames, patch_size=size, magnification=7.5)
        assert cut.shape == (200, 1, size, size)
        apart = np.abs(cut.numpy() - expected)
        assert apart.mean() < 0.5 and apart.max() <= 6  # cv2.remap knows 32 places between two pixels


def test_blur_is_opencvs(patches: np.ndarray) -> None:
    deviation = np.linspace(0.4, 2.6, 64)
    blurred = blur(torch.from_numpy(patches).float(), torch.from_numpy(deviation).float(), 2.6).numpy()
    for patch, sigma, found in zip(patches, deviation, blurred, strict=True):
        expected = cv2.GaussianBlur(patch.astype(np.float32), (17, 17), float(sigma), borderType=cv2.BORDER_REFLECT_101)
        np.testing.assert_allclose(found, expected, atol=0.1)


@pytest.mark.parametrize("quality", [8, 30, 50, 90])
def test_jpeg_is_libjpegs(patches: np.ndarray, quality: int) -> None:
    zero = torch.zeros(64, dtype=torch.long)
    found = jpeg(torch.from_numpy(patches).float(), torch.full((64,), float(quality)), zero, zero).numpy()
    apart, changed = [], []
    for patch, own in zip(patches, found, strict=True):
        code = cv2.imencode(".jpg", patch, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        expected = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE).astype(float)
        apart.append(np.abs(own - expected).mean())
        changed.append(np.abs(patch - expected).mean())
    assert np.mean(apart) < 0.1 * np.mean(changed) + 0.15  # its cosines are whole numbers


def test_shifted_blocks_are_those_of_the_rolled_patch(patches: np.ndarray) -> None:
    given, quality = torch.from_numpy(patches).float(), torch.full((64,), 20.0)
    zero = torch.zeros(64, dtype=torch.long)
    rolled = jpeg(torch.roll(given, (-3, -5), (1, 2)), quality, zero, zero)
    shifted = jpeg(given, quality, zero + 3, zero + 5)
    torch.testing.assert_close(torch.roll(rolled, (3, 5), (1, 2)), shifted)


def changed(patches: np.ndarray, light: Light) -> np.ndarray:
    given = torch.from_numpy(patches.repeat(8, axis=0)).float()[:, None]
    return change_tensor(given, light, torch.Generator().manual_seed(0))[:, 0].numpy()


def test_nothing_changes_nothing(patches: np.ndarray) -> None:
    np.testing.assert_allclose(changed(patches, NONE), patches.repeat(8, axis=0), atol=1)


def test_each_change_has_the_size_it_names(patches: np.ndarray) -> None:
    mid = np.full((64, 32, 32), 96, np.uint8)
    exponent = np.log(np.log((changed(mid, replace(NONE, gamma=0.3)).mean(axis=(1, 2)) + 0.5) / 255) / np.log(96 / 255))
    assert np.std(exponent) == pytest.approx(0.3 * 0.5**0.5, rel=0.15)  # on half of the patches
    shaded = changed(mid, replace(NONE, slope=0.2))
    slope = np.log(shaded[:, :, -1].mean(axis=1) / shaded[:, :, 0].mean(axis=1)) / 2 / (31 / 32)
    assert np.std(slope) == pytest.approx(0.2 * 0.5**0.5, rel=0.15)
    noise = changed(patches, replace(NONE, noise_share=1.0, noise=0.2)) - patches.repeat(8, axis=0)
    share = noise.std(axis=(1, 2)) / (patches.std(axis=(1, 2)) + 1).repeat(8)
    assert share.max() < 0.25 and share.mean() == pytest.approx(0.1, abs=0.03)
    clipped = changed(patches, replace(NONE, clip_share=1.0))
    at_edge = ((clipped == clipped.max(axis=(1, 2), keepdims=True)).mean(axis=(1, 2)) > 0.04) | (
        (clipped == clipped.min(axis=(1, 2), keepdims=True)).mean(axis=(1, 2)) > 0.04
    )
    assert at_edge.mean() > 0.7


def test_the_same_generator_gives_the_same_patches(patches: np.ndarray) -> None:
    np.testing.assert_array_equal(changed(patches, Light()), changed(patches, Light()))
    assert set(np.unique(changed(patches, Light()) % 1)) == {0.0}
