"""Every handcrafted descriptor of the zoo through the same battery, and the checks that name what was wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import descriptors
from descriptors.contract import Descriptor, DescriptorError, DescriptorSpec, check_patches

# Networks have their own battery, next to the code that runs them; these need no weights.
UNTRAINED = [name for name in descriptors.names() if descriptors.spec(name).parameters == 0]


@pytest.fixture(params=UNTRAINED)
def descriptor(request) -> Descriptor:
    return descriptors.load(request.param)


@pytest.fixture
def patches(descriptor, textured, rng) -> np.ndarray:
    """150 overlapping windows of the textured picture, more than one round of any batch."""
    size = descriptor.spec.patch_size
    corners = rng.integers(0, len(textured) - size, (150, 2))
    return np.stack([textured[None, y : y + size, x : x + size] for y, x in corners])


def test_keeps_the_protocol(descriptor):
    assert isinstance(descriptor, Descriptor)
    assert descriptor.spec == descriptors.spec(descriptor.spec.name)
    int(descriptor.fingerprint, 16)


def test_shape_type_and_length(descriptor, patches):
    spec = descriptor.spec
    described = descriptor.describe(patches)
    assert described.shape == (150, spec.width)
    assert described.dtype == spec.dtype
    if spec.kind == "float":
        np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, atol=1e-5)


def test_no_patches_keep_the_width(descriptor):
    size = descriptor.spec.patch_size
    for dtype in (np.uint8, np.float32):
        described = descriptor.describe(np.zeros((0, 1, size, size), dtype))
        assert described.shape == (0, descriptor.spec.width)
        assert described.dtype == descriptor.spec.dtype


def difference(spec: DescriptorSpec, one: np.ndarray, other: np.ndarray) -> float:
    if spec.kind == "binary":
        return float(np.unpackbits(one ^ other, axis=1).sum(axis=1).max())
    return float(np.abs(one - other).max())


def test_a_descriptor_does_not_depend_on_its_neighbours(descriptor, patches, rng):
    together = descriptor.describe(patches)
    shuffle = rng.permutation(len(patches))
    assert difference(descriptor.spec, descriptor.describe(patches[shuffle]), together[shuffle]) < 1e-5
    for index in (0, 70, 149):
        alone = descriptor.describe(patches[index : index + 1])
        assert difference(descriptor.spec, alone, together[index : index + 1]) < 1e-5


def test_floats_are_the_same_as_bytes(descriptor, patches):
    as_bytes, as_floats = descriptor.describe(patches), descriptor.describe(patches.astype(np.float32))
    assert difference(descriptor.spec, as_bytes, as_floats) < 1e-5


def test_the_input_is_left_alone(descriptor, patches):
    for given in (patches, patches.astype(np.float32)):
        before = given.copy()
        descriptor.describe(given)
        np.testing.assert_array_equal(given, before)


def test_a_strided_batch_is_the_same(descriptor, patches):
    assert difference(descriptor.spec, descriptor.describe(patches[::3]), descriptor.describe(patches)[::3]) < 1e-5


def test_the_same_place_is_nearer_than_others(descriptor, patches, rng):
    """A patch with noise must find itself among all others."""
    noisy = np.clip(patches + rng.normal(0, 4, patches.shape), 0, 255).astype(np.uint8)
    one, other = descriptor.describe(patches), descriptor.describe(noisy)
    if descriptor.spec.kind == "binary":
        distance = np.unpackbits(one[:, None] ^ other[None], axis=2).sum(axis=2)
    else:
        distance = -(one @ other.T)
    assert (distance.argmin(axis=1) == np.arange(len(one))).mean() > 0.9


def test_flat_and_extreme_patches_are_finite(descriptor):
    size = descriptor.spec.patch_size
    odd = np.zeros((3, 1, size, size), np.float32)
    odd[1], odd[2, :, ::2] = 255, 255
    described = descriptor.describe(odd)
    assert described.shape == (3, descriptor.spec.width)
    assert np.isfinite(described).all()


@pytest.mark.parametrize("shape", [(4, 32, 32), (4, 3, 32, 32), (4, 1, 31, 32), (1, 32, 32), ()])
def test_a_wrong_shape_is_named(descriptor, shape):
    with pytest.raises(DescriptorError) as caught:
        descriptor.describe(np.zeros(shape, np.uint8))
    assert str(shape) in str(caught.value)
    assert descriptor.spec.name in str(caught.value)


def test_a_wrong_type_is_named(descriptor):
    size = descriptor.spec.patch_size
    with pytest.raises(DescriptorError, match="float64"):
        descriptor.describe(np.zeros((1, 1, size, size)))
    with pytest.raises(DescriptorError, match="list"):
        descriptor.describe([[1, 2]])


def test_spec_width_and_type():
    binary = DescriptorSpec("b", 256, kind="binary", distance="hamming")
    assert (binary.width, binary.dtype) == (32, np.uint8)
    real = DescriptorSpec("f", 128)
    assert (real.width, real.dtype) == (128, np.float32)
    with pytest.raises(dataclasses.FrozenInstanceError):
        real.dim = 3  # type: ignore[misc]


def test_check_patches_gives_back_the_patches():
    given = np.zeros((2, 1, 32, 32), np.uint8)
    assert check_patches(given, DescriptorSpec("f", 128)) is given
