"""Contestants from names and files: foreign graphs give what they compute, at unit length; bad files are named."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from descriptors import registry
from descriptors.benchmarks.contestants import Foreign, read_contestants, ready
from descriptors.contract import DescriptorError
from descriptors.runtime import WEIGHTS

PYTHON = """
import numpy as np
from descriptors.contract import DescriptorSpec
class Mean:
    spec = DescriptorSpec("mean", 2, patch_size=8)
    def describe(self, patches):
        return np.tile(np.float32([0.6, 0.8]), (len(patches), 1))
descriptor = Mean()
"""


@pytest.fixture
def linear(tmp_path):
    """ONNX and TorchScript files of one linear map of 8 x 8 patches to 4 numbers, and the map."""
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.random.default_rng(5).standard_normal((64, 4)).astype(np.float32)

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = torch.nn.Parameter(torch.from_numpy(matrix))

        def forward(self, patches):
            return patches.flatten(1) @ self.matrix

    torch.jit.script(Linear()).save(str(tmp_path / "net.pt"))
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "m"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(matrix, "m")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, str(tmp_path / "net.onnx"))
    return tmp_path, matrix


@pytest.mark.parametrize("file", ["net.onnx", "net.pt"])
def test_foreign_graphs_describe(linear, file, rng):
    folder, matrix = linear
    (mine,) = read_contestants([f"mine={folder / file}"], Foreign(magnification=5.0, patch_size=8))
    spec = mine.descriptor.spec
    assert (mine.name, spec.name, spec.dim, spec.patch_size, spec.magnification) == ("mine", "mine", 4, 8, 5.0)
    patches = rng.integers(0, 256, (70, 1, 8, 8), dtype=np.uint8)
    expected = patches.reshape(70, 64).astype(np.float64) @ matrix
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(mine.descriptor.describe(patches), expected, atol=1e-4)
    assert mine.descriptor.describe(patches[:0]).shape == (0, 4)
    flat = mine.descriptor.describe(np.zeros((1, 1, 8, 8), np.uint8))
    np.testing.assert_allclose(np.linalg.norm(flat), 1)


def test_what_predictions_depend_on(linear):
    folder, _ = linear
    keys = [
        read_contestants([f"mine={folder / 'net.onnx'}"], Foreign(magnification))[0].key for magnification in (5.0, 6.0)
    ]
    assert keys[0] != keys[1]


def test_names_weights_and_python_files(tmp_path):
    (tmp_path / "mean.py").write_text(PYTHON)
    weights = WEIGHTS / "l2net.safetensors"
    ours, mean, same, twin = read_contestants(
        ["l2net", str(tmp_path / "mean.py"), f"other={tmp_path / 'mean.py'}", f"twin={weights}"]
    )
    assert [c.name for c in (ours, mean, same, twin)] == ["l2net", "mean", "other", "twin"]
    assert twin.descriptor.spec.name == "twin" and twin.descriptor.spec.dim == 128
    assert twin.descriptor.fingerprint == ours.descriptor.fingerprint and twin.key == ours.key


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "No descriptor"),
        (["rootsif"], "rootsift"),
        (["sift", "sift"], "twice"),
        (["mine=net.txt"], "known kind"),
        (["mine=nowhere.onnx"], "no file"),
    ],
)
def test_bad_names(given, said):
    with pytest.raises(DescriptorError, match=said):
        read_contestants(given)


@pytest.mark.parametrize("ending", ["onnx", "pt", "safetensors"])
def test_damaged_files_are_named(tmp_path, ending):
    path = tmp_path / f"net.{ending}"
    path.write_bytes(b"not a network at all, but long enough to look at")
    with pytest.raises(DescriptorError, match="net"):
        read_contestants([f"mine={path}"])


@pytest.mark.parametrize("metadata", [{}, {"network": "nobody"}])
def test_weights_of_no_known_network_are_told(tmp_path, metadata):
    path = tmp_path / "foo.safetensors"
    save_file({"layer": np.zeros(3, np.float32)}, path, metadata)
    with pytest.raises(DescriptorError, match=f"{path.name} holds the network '{metadata.get('network', '')}'"):
        read_contestants([f"mine={path}"])


def test_a_graph_of_another_size_is_told(linear):
    folder, _ = linear
    with pytest.raises(DescriptorError, match="--patch-size"):
        read_contestants([f"mine={folder / 'net.pt'}"], Foreign(patch_size=16))


def test_whoever_is_ready_has_weights():
    names = ready()
    assert {"sift", "orb", "l2net"} <= set(names)
    for name in set(registry.names()) - set(names):
        weights = registry.spec(name).weights
        assert weights and not (WEIGHTS / weights).is_file()
