"""Networks as descriptors: the contract, the cached graph, and that a warm start needs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from descriptors import registry, runtime
from descriptors.contract import Descriptor, DescriptorError
from descriptors.runtime import NetworkDescriptor

NAMES = ("tfeat-margin", "l2net")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("RECON_CACHE")
    os.environ["RECON_CACHE"] = str(folder)
    yield folder
    os.environ.pop("RECON_CACHE") if before is None else os.environ.update(RECON_CACHE=before)


@pytest.fixture(scope="module", params=NAMES)
def descriptor(request: pytest.FixtureRequest, cache: Path) -> NetworkDescriptor:
    return runtime.load(registry.spec(request.param))


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (150, 1, 8, 8), dtype=np.uint8)
    return coarse.repeat(4, axis=2).repeat(4, axis=3)


def test_keeps_the_contract(descriptor: NetworkDescriptor, patches: np.ndarray) -> None:
    assert isinstance(descriptor, Descriptor)
    described = descriptor.describe(patches)
    assert described.shape == (150, descriptor.spec.dim) and described.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, atol=1e-5)
    assert np.abs(described[0] - described[1]).max() > 0.01


def test_no_patch_keeps_the_dimension(descriptor: NetworkDescriptor) -> None:
    assert descriptor.describe(np.empty((0, 1, 32, 32), np.uint8)).shape == (0, descriptor.spec.dim)


def test_neighbours_do_not_matter(descriptor: NetworkDescriptor, patches: np.ndarray) -> None:
    whole = descriptor.describe(patches)
    order = np.random.default_rng(1).permutation(len(patches))
    np.testing.assert_array_equal(descriptor.describe(patches[order]), whole[order])
    np.testing.assert_array_equal(descriptor.describe(patches[77:78]), whole[77:78])


def test_bytes_and_floats_give_the_same(descriptor: NetworkDescriptor, patches: np.ndarray) -> None:
    np.testing.assert_array_equal(descriptor.describe(patches.astype(np.float32)), descriptor.describe(patches))


def test_graph_gives_what_the_network_gives(descriptor: NetworkDescriptor, patches: np.ndarray) -> None:
    network = runtime.deployed(runtime.read_network(runtime.WEIGHTS / str(descriptor.spec.weights)))
    with torch.no_grad():
        expected = network(torch.from_numpy(patches).float()).numpy()
    np.testing.assert_allclose(descriptor.describe(patches), expected, atol=2e-5)


def test_wrong_patches_are_told(descriptor: NetworkDescriptor) -> None:
    with pytest.raises(DescriptorError, match=r"\(4, 1, 64, 64\)"):
        descriptor.describe(np.zeros((4, 1, 64, 64), np.uint8))
    with pytest.raises(DescriptorError, match="float64"):
        descriptor.describe(np.zeros((4, 1, 32, 32)))


def test_second_process_needs_no_torch(descriptor: NetworkDescriptor, patches: np.ndarray) -> None:
    descriptor.describe(patches[:1])
    program = (
        "import sys, numpy, descriptors; "
        f"d = descriptors.load({descriptor.spec.name!r}).describe(numpy.full((1, 1, 32, 32), 7, numpy.uint8)); "
        "print(d.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(1, 128) False"


def test_damaged_cache_is_made_anew(tmp_path: Path, patches: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECON_CACHE", str(tmp_path))
    first = runtime.load(registry.spec("tfeat"))
    expected = first.describe(patches)
    (graph,) = (tmp_path / "graphs").iterdir()
    graph.write_bytes(b"half a graph")
    with pytest.warns(UserWarning, match="made anew"):
        again = runtime.load(registry.spec("tfeat")).describe(patches)
    np.testing.assert_array_equal(again, expected)
    assert graph.stat().st_size > 1000


def test_unwritable_cache_only_warns(tmp_path: Path, patches: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RECON_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="RECON_CACHE"):
        assert runtime.load(registry.spec("tfeat")).describe(patches).shape == (150, 128)


def test_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    spec = registry.spec("tfeat")
    own = runtime.load(spec).fingerprint
    assert own == runtime.load(spec).fingerprint != runtime.load(registry.spec("l2net")).fingerprint
    changed = tmp_path / "tfeat.safetensors"
    content = bytearray((runtime.WEIGHTS / "tfeat-margin.safetensors").read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    assert NetworkDescriptor(spec, changed).fingerprint != own


@pytest.mark.parametrize("name", ["tfeat", "cs-l2net"])
def test_fingerprint_follows_the_magnification_but_for_that_of_the_training(name: str) -> None:
    spec = registry.spec(name)
    assert runtime.load(spec).fingerprint == runtime.fingerprint(runtime.WEIGHTS / str(spec.weights), spec.patch_size)
    assert runtime.load(replace(spec, magnification=8.0)).fingerprint != runtime.load(spec).fingerprint


def test_threads_export_a_graph_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECON_CACHE", str(tmp_path))
    spec = registry.spec("tfeat")
    shape = (1, 1, spec.patch_size, spec.patch_size)
    graph, export, made = runtime.Graph("one", (("patches", shape),)), runtime.export_onnx, []
    monkeypatch.setattr(runtime, "export_onnx", lambda *given: made.append(export(*given)) or made[-1])
    weights = runtime.WEIGHTS / str(spec.weights)
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: runtime.backend(weights, graph, "cpu", 1), range(3)))
    first, *others = (run(np.ones(shape, np.float32)) for run in runs)
    assert len(made) == 1 and all((other == first).all() for other in others)
    assert [path.name for path in (tmp_path / "graphs").iterdir()] == ["one.onnx"]


def test_missing_and_foreign_weights_are_told(tmp_path: Path) -> None:
    spec = registry.spec("tfeat")
    with pytest.raises(DescriptorError, match="recon train tfeat-margin"):
        NetworkDescriptor(spec, tmp_path / "none.safetensors")
    with pytest.raises(DescriptorError, match="names no weights"):
        runtime.load(replace(spec, weights=None))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    with pytest.raises(DescriptorError, match="is no safetensors file"):
        NetworkDescriptor(spec, broken).describe(np.zeros((1, 1, 32, 32), np.uint8))


def test_device_that_is_not_here_is_told(patches: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setenv("RECON_DEVICE", "cuda")
    with pytest.raises(DescriptorError, match="RECON_DEVICE=cpu"):
        runtime.load(registry.spec("tfeat")).describe(patches)
