"""Pictures and training data that the tests of descriptors share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

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


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A training and a validation scene of one textured plane each, and one single photo; what changes it, copies it.

    Trainings in this process are judged by 80 keypoints a picture: with the zoo's 400 that takes most of their time.
    """
    from descriptors.training import train

    root = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("wall", "et", "photo")):
        rng = np.random.default_rng(number)
        image = cv2.resize(rng.integers(0, 256, (30, 44), dtype=np.uint8), (352, 240), interpolation=cv2.INTER_CUBIC)
        if name == "photo":
            (root / "photos").mkdir()
            cv2.imwrite(str(root / "photos" / "one.png"), image)
            continue
        folder = root / "scenes" / name
        (folder / "images").mkdir(parents=True)
        shifts, xy = np.array([0, 16, 32]), rng.uniform(45, 195, (80, 2))
        for view, shift in enumerate(shifts):
            cv2.imwrite(str(folder / "images" / f"{view}.png"), image[:, shift : shift + 320])
        pose = np.tile(np.hstack([np.eye(3), np.zeros((3, 1))]), (3, 1, 1))
        pose[:, 0, 3] = -shifts / 300
        np.savez(
            folder / "tracks.npz",
            names=np.array([f"{view}.png" for view in range(3)]),
            K=np.tile(np.diag([300.0, 300.0, 1.0]), (3, 1, 1)),
            cam_from_world=pose,
            xyz=np.c_[xy / 300, np.ones(80)],
            obs_image=np.repeat(np.arange(3), 80),
            obs_point=np.tile(np.arange(80), 3),
            obs_xy=np.concatenate([xy - [shift, 0] for shift in shifts]),
            obs_scale=np.full(240, 2.0),
            obs_angle=np.zeros(240),
        )
    judged = partial(train.ValidationSet, keypoints=80)
    with mock.patch.object(train, "ValidationSet", judged):
        yield root
