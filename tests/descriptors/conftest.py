"""Pictures that the tests of descriptors share."""

from __future__ import annotations

import cv2
import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def textured() -> np.ndarray:
    """A (256,256) uint8 picture with structure at several scales."""
    rng = np.random.default_rng(11)
    layers = [cv2.GaussianBlur(rng.standard_normal((256, 256)), (0, 0), s) * s for s in (1.2, 2.5, 5, 10, 20)]
    picture = sum(layers)
    picture = (picture - picture.mean()) / picture.std()
    return np.clip(128 + 50 * picture, 0, 255).astype(np.uint8)
