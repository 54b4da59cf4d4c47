"""OpenCV's descriptors on patches: against OpenCV on whole photos, and every patch gets its own row."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

import descriptors
from descriptors import DescriptorError, opencv
from descriptors.frames import extract_patches, frames_from_keypoints

NAMES = tuple(opencv._TABLE)


def bits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.unpackbits(one ^ other, axis=1).sum(axis=1)


def windows(picture: np.ndarray, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows (N,1,S,S) of a picture at whole pixels, and the pixel (x, y) that an extractor calls their middle."""
    corners = np.random.default_rng(3).integers(20, len(picture) - size - 20, (count, 2))
    cut = np.stack([picture[None, y : y + size, x : x + size] for x, y in corners])
    return cut, corners + size // 2


@pytest.mark.parametrize("name", [n for n in NAMES if descriptors.spec(n).kind == "binary"])
def test_is_what_opencv_says_of_the_photo_itself(textured, name):
    """Windows at whole pixels need no resampling: OpenCV on the whole picture must say the same."""
    picture = cv2.resize(textured, None, fx=2, fy=2)
    d = descriptors.load(name)
    patches, middles = windows(picture, d.spec.patch_size, 200)
    keypoints = [cv2.KeyPoint(float(x), float(y), d.backend.size, 0.0, 1.0, 0, i) for i, (x, y) in enumerate(middles)]
    kept, want = d.backend.create().compute(picture, keypoints)
    got = d.describe(patches)[[k.class_id for k in kept]]
    assert len(kept) > 150
    # LATCH's own blur reaches six pixels over the edge of the patch, where only the edge pixels are known. BRISK and
    # FREAK round differently at other places of a photo; BRISK's own angle may then fall into the next step.
    assert bits(got, want).mean() <= {"latch": 1.0, "freak": 1.0, "brisk": 3.0}.get(name, 0.0)


@pytest.mark.parametrize("name", ["vgg", "daisy"])
def test_a_float_one_is_what_opencv_says_of_the_photo_itself(textured, name):
    picture = cv2.resize(textured, None, fx=2, fy=2)
    d = descriptors.load(name)
    patches, middles = windows(picture, d.spec.patch_size, 50)
    keypoints = [cv2.KeyPoint(float(x), float(y), d.backend.size, 0.0) for x, y in middles]
    _, want = d.backend.create().compute(picture, keypoints)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    # Their blur reaches over the edge of the patch, where only the edge pixels are known.
    assert (d.describe(patches) * want).sum(axis=1).min() > 0.97


def orb_distances(image: np.ndarray) -> np.ndarray:
    """Hamming distances between ORB of OpenCV's own detections and ORB of the patches cut there."""
    keypoints, want = cv2.ORB.create(1500).detectAndCompute(image, None)
    size = np.array([k.size for k in keypoints])
    # ORB scales its levels' coordinates without regard to where the pixels' centres are.
    xy = np.array([k.pt for k in keypoints]) + ((size / 31 - 1) / 2)[:, None]
    d = descriptors.load("orb")
    frames = frames_from_keypoints(xy, size / 12, np.deg2rad([k.angle for k in keypoints]))
    return bits(
        d.describe(extract_patches(image, frames, patch_size=d.spec.patch_size, magnification=d.spec.magnification)),
        want,
    )


def test_orb_agrees_with_opencv_on_its_own_detections(textured):
    assert orb_distances(cv2.resize(textured, None, fx=3, fy=3, interpolation=cv2.INTER_LANCZOS4)).mean() < 25


@pytest.mark.real
def test_orb_agrees_with_opencv_on_a_photo(shared_data):
    path = sorted((shared_data / "scenes/cyprus/images").glob("*.jpg"))[0]
    assert orb_distances(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)).mean() < 15


@pytest.mark.parametrize("name", NAMES)
def test_every_patch_gets_its_own_row(textured, name):
    """More patches than one sheet holds, flat ones among them, in the order given."""
    d = descriptors.load(name)
    count = 40 if name == "vgg" else 1100
    patches, _ = windows(textured, d.spec.patch_size, count)
    patches[::7] = 90
    together = d.describe(patches)
    assert together.shape == (count, d.spec.width)
    for index in (0, 1, count // 2, count - 1):
        np.testing.assert_array_equal(d.describe(patches[index : index + 1])[0], together[index])


@pytest.mark.parametrize("name", NAMES)
def test_two_threads_do_not_disturb_each_other(textured, name):
    d = descriptors.load(name)
    batches = [windows(textured[::-1] if i % 2 else textured, d.spec.patch_size, 60)[0] for i in range(6)]
    alone = [d.describe(batch) for batch in batches]
    with ThreadPoolExecutor(3) as pool:
        for want, got in zip(alone, pool.map(d.describe, batches), strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_pattern_that_does_not_fit_is_refused(textured):
    small = opencv.load(dataclasses.replace(descriptors.spec("latch"), patch_size=32))
    with pytest.raises(DescriptorError, match="larger patch_size"):
        small.describe(windows(textured, 32, 1)[0])


def test_an_unknown_row_is_named():
    with pytest.raises(DescriptorError, match="'surf'"):
        opencv.load(dataclasses.replace(descriptors.spec("orb"), name="surf"))


def test_fingerprints_differ():
    assert len({descriptors.load(name).fingerprint for name in NAMES}) == len(NAMES)
