"""One battery for every network of the registry that describes patches; where no weights exist yet, random ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scorer_weights import write_random
from test_networks import OF_DESCRIPTOR

import descriptors
from descriptors import registry, runtime
from descriptors.contract import Descriptor, DescriptorError

NAMES = [entry.spec.name for entry in registry._NETWORKS]


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory):
    """A folder with every network's weights, the package's or random ones, in place of the package's."""
    folder = tmp_path_factory.mktemp("zoo")
    for name in NAMES:
        file = folder / str(descriptors.spec(name).weights)
        shipped = runtime.WEIGHTS / file.name
        if shipped.is_file() and not file.exists():
            file.symlink_to(shipped)
        elif not file.exists():
            write_random(OF_DESCRIPTOR.get(file.stem, file.stem), file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECON_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(runtime, "WEIGHTS", folder)
        registry.load.cache_clear()
        yield folder
    registry.load.cache_clear()


@pytest.fixture(scope="module", params=NAMES)
def descriptor(request: pytest.FixtureRequest, weights: Path) -> Descriptor:
    return descriptors.load(request.param)


def some_patches(descriptor: Descriptor) -> np.ndarray:
    """70 patches, more than one round of the graph."""
    size = descriptor.spec.patch_size
    coarse = np.random.default_rng(0).integers(0, 256, (70, 1, size // 4, size // 4), dtype=np.uint8)
    return coarse.repeat(4, axis=2).repeat(4, axis=3)


def test_keeps_the_contract(descriptor: Descriptor) -> None:
    assert isinstance(descriptor, Descriptor) and descriptor.spec == descriptors.spec(descriptor.spec.name)
    described = descriptor.describe(some_patches(descriptor))
    assert described.shape == (70, descriptor.spec.width) and described.dtype == descriptor.spec.dtype
    if descriptor.spec.kind == "float":
        np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, atol=1e-5)
    assert len(np.unique(described, axis=0)) > (60 if descriptor.spec.kind == "float" else 1)


def test_no_patch_keeps_the_width(descriptor: Descriptor) -> None:
    size = descriptor.spec.patch_size
    assert descriptor.describe(np.empty((0, 1, size, size), np.uint8)).shape == (0, descriptor.spec.width)


def test_neighbours_do_not_matter(descriptor: Descriptor) -> None:
    patches = some_patches(descriptor)
    whole = descriptor.describe(patches)
    order = np.random.default_rng(1).permutation(70)
    np.testing.assert_array_equal(descriptor.describe(patches[order]), whole[order])
    np.testing.assert_array_equal(descriptor.describe(patches[66:67]), whole[66:67])


def test_onnxruntime_gives_what_torch_gives(descriptor: Descriptor, weights: Path) -> None:
    patches = some_patches(descriptor)
    network = runtime.deployed(runtime.read_network(weights / str(descriptor.spec.weights)))
    with torch.no_grad():
        expected = network(torch.from_numpy(patches).float()).numpy()
    described = descriptor.describe(patches)
    if descriptor.spec.kind == "float":
        np.testing.assert_allclose(described, expected, atol=1e-4)
        return
    clear = np.abs(expected) > 1e-4
    np.testing.assert_array_equal(np.unpackbits(described, axis=1)[clear], (expected > 0)[clear])
    assert clear.mean() > 0.95


def test_flat_patches_are_described(descriptor: Descriptor) -> None:
    size = descriptor.spec.patch_size
    described = descriptor.describe(np.stack([np.full((1, size, size), v, np.uint8) for v in (0, 90, 255)]))
    assert described.shape == (3, descriptor.spec.width) and np.isfinite(described).all()


def test_wrong_patches_are_told(descriptor: Descriptor) -> None:
    with pytest.raises(DescriptorError, match=rf"{descriptor.spec.name} takes patches of shape"):
        descriptor.describe(np.zeros((4, 1, 48, 48), np.uint8))


def test_binary_ones_read_the_networks_own_file() -> None:
    for name in NAMES:
        if name.startswith("binary-"):
            assert descriptors.spec(name).weights == descriptors.spec(name.removeprefix("binary-")).weights


def test_the_second_process_needs_no_torch(weights: Path) -> None:
    descriptors.load("cs-l2net").describe(np.zeros((1, 1, 64, 64), np.uint8))
    program = (
        "import sys, pathlib, numpy, descriptors; from descriptors import runtime as r; "
        f"r.WEIGHTS = pathlib.Path({str(weights)!r}); "
        "d = descriptors.load('binary-cs-l2net').describe(numpy.full((1, 1, 64, 64), 7, numpy.uint8)); "
        "print(d.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(1, 32) False"


def test_a_name_without_weights_says_so_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "WEIGHTS", tmp_path)
    for name in NAMES:
        with pytest.raises(DescriptorError, match=f"recon train {name.removeprefix('binary-')} --data"):
            registry._entry(name)()
