"""Layers in bytes: against integers of numpy, against each other, and as onnxruntime takes them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from descriptors import runtime
from descriptors.networks import NETWORKS, build
from descriptors.networks.l2net import L2Net
from descriptors.networks.rounded import (
    Grid,
    RoundedConvolution,
    RoundedResidual,
    RoundedVectors,
    RowsConvolution,
    _three_bits,
)
from descriptors.networks.swift import Swift, SwiftLarge

IN_BYTES = {"l2net", "cs-l2net", "hardnet", "sosnet", "swift", "swift-small", "swift-large"}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def trained(inside: int, outside: int, kernel: int, stride: int = 1, *, pad: int = 0, seed: int = 0) -> nn.Sequential:
    """A convolution and a batch norm with statistics of their own."""
    torch.manual_seed(seed)
    layer, norm = nn.Conv2d(inside, outside, kernel, stride, pad, bias=False), nn.BatchNorm2d(outside)
    for values in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(values)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return nn.Sequential(layer, norm).eval()


def on(grid: Grid, *shape: int) -> torch.Tensor:
    low = -128 if grid.largest < 200 * grid.step else 0
    return grid.step * torch.from_numpy(np.random.default_rng(0).integers(low, low + 256, shape)).float()


def test_a_grid_by_hand() -> None:
    above = Grid(0.5)
    given = torch.tensor([-1.0, 0.2, 0.25, 0.26, 0.75, 1.3, 127.4, 500.0])
    assert above(given).tolist() == [0, 0, 0, 0.5, 1, 1.5, 127.5, 127.5]
    around = Grid(0.5, signed=True)
    assert around(torch.tensor([-100.0, -0.7, 0.7, 100.0])).tolist() == [-64, -0.5, 0.5, 63.5]
    assert (above.largest, around.largest) == (127.5, 63.5)


@pytest.mark.parametrize(("largest", "signed", "step"), [(255.0, False, 1.0), (256.0, False, 2.0), (60.0, True, 0.5)])
def test_a_grids_step_is_the_smallest_power_of_two(largest: float, signed: bool, step: float) -> None:
    assert Grid.up_to(largest, signed=signed).step == step


def test_a_layer_that_has_learned_nothing_has_a_grid() -> None:
    assert Grid.up_to(0.0).step > 0


def test_steps_of_three_bits() -> None:
    given = torch.tensor([1.0, 1.1, 1.26, 1.51, 1.76, 0.3])
    assert _three_bits(given).tolist() == [1.0, 1.25, 1.5, 1.75, 2.0, 0.3125]


@pytest.mark.parametrize("signed", [False, True])
def test_a_convolution_is_one_of_integers(signed: bool) -> None:
    before = Grid(0.125)
    layers = trained(3, 5, 3, 2, pad=1)
    rounded = RoundedConvolution(layers, before, signed=signed)
    steps, weights = rounded._steps.numpy().astype(float), rounded.rounded().numpy()
    weights_in_steps = weights / steps[:, None, None, None]
    maps = on(before, 2, 3, 9, 9)
    units = np.pad((maps.numpy() / before.step), ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert np.abs(weights_in_steps).max() <= 63 and np.abs(weights_in_steps - np.rint(weights_in_steps)).max() == 0
    sums = np.zeros((2, 5, 5, 5), np.int64)
    for y in range(5):
        for x in range(5):
            window = units[:, None, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            sums[:, :, y, x] = np.rint(window * weights_in_steps[None]).astype(np.int64).sum((2, 3, 4))
    bias = rounded.bias.numpy() / (steps * before.step)
    sums += np.rint(bias).astype(np.int64)[:, None, None]
    value = sums * (steps * before.step)[:, None, None] / rounded.after.step
    low, high = (-128, 127) if signed else (0, 255)
    np.testing.assert_array_equal(rounded(maps).numpy() / rounded.after.step, np.clip(np.rint(value), low, high))
    exact = layers(maps)
    held = exact.abs() < rounded.after.largest
    assert (rounded(maps) - (exact if signed else exact.relu()))[held].abs().max() < 0.03 * exact.abs().max()


def test_rows_are_the_same_convolution() -> None:
    before = Grid(1.25 / 32, signed=True)
    layers = trained(1, 6, 5, 2, pad=2)
    rows, plain = RowsConvolution(layers, before, width=16), RoundedConvolution(layers, before)
    pictures = on(before, 3, 1, 16, 16)
    torch.testing.assert_close(rows(pictures), plain(pictures), atol=0, rtol=0)
    assert rows.after.step == plain.after.step


def test_vectors_are_a_convolution_as_large_as_the_maps() -> None:
    before = Grid(0.25)
    layers = trained(7, 10, 4)
    layers[1] = nn.BatchNorm2d(10, affine=False).eval()
    nn.init.constant_(layers[1].running_mean, 0.3)
    nn.init.constant_(layers[1].running_var, layers[0](on(before, 50, 7, 4, 4)).var().item())
    made, maps = RoundedVectors(list(layers), before), on(before, 20, 7, 4, 4)
    assert made(maps).shape == (20, 10)
    assert (made(maps) - layers(maps).flatten(1)).abs().max() < 0.12


def test_a_residual_adds_what_it_is_given() -> None:
    before = Grid(0.0625)
    layers = trained(4, 4, 3, pad=1)
    made, maps = RoundedResidual(layers, before), on(before, 2, 4, 8, 8)
    limit = made.added.after.largest
    expected = (maps + layers(maps).clamp(-limit, limit)).relu().clamp_max(made.after.largest)
    off = (made(maps) - expected).abs()
    assert off.median() < made.after.step and off.max() < 0.1 * expected.max()


@pytest.mark.parametrize("name", sorted(IN_BYTES))
def test_torch_and_onnxruntime_agree_to_the_last_step(name: str, tmp_path: Path) -> None:
    read = runtime.read_network(runtime.WEIGHTS / f"{name}.safetensors")
    network, size = runtime.deployed(read), read.patch_size
    rng = np.random.default_rng(1)
    smooth = torch.from_numpy(rng.uniform(0, 255, (256, 1, 8, 8))).float()
    patches = nn.functional.interpolate(smooth, size=(size, size), mode="bicubic").clamp(0, 255)
    run = runtime._onnx_backend(runtime.export_onnx(network, (("patches", (256, 1, size, size)),)), threads=1)
    expected = network(patches).numpy()
    # A step more or less anywhere would show in the third digit.
    np.testing.assert_allclose(run(patches.numpy()), expected, atol=1e-6)
    np.testing.assert_allclose(network(patches[100:101]).numpy(), expected[100:101], atol=1e-6)


@pytest.mark.parametrize("name", ["swift", "swift-large", "l2net", "sosnet"])
def test_bytes_say_what_floats_say(name: str) -> None:
    network = runtime.read_network(runtime.WEIGHTS / f"{name}.safetensors")
    smooth = torch.from_numpy(np.random.default_rng(2).uniform(0, 255, (300, 1, 6, 6))).float()
    patches = nn.functional.interpolate(smooth, size=(32, 32), mode="bicubic").clamp(0, 255)
    alike = (network(patches) * runtime.deployed(network)(patches)).sum(1)
    assert alike.mean() > 0.995 and alike.min() > 0.97


def test_which_networks_describe_in_bytes() -> None:
    with torch.device("meta"):  # without numbers
        assert {name for name in NETWORKS if hasattr(build(name), "deployed")} == IN_BYTES


@pytest.mark.parametrize("made", [Swift, SwiftLarge, L2Net])
def test_nothing_but_the_ends_is_left_in_floats(made: type[Swift] | type[L2Net], tmp_path: Path) -> None:
    network = runtime.deployed(made().eval())
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    options.log_severity_level = 3
    graph = runtime.export_onnx(network, (("patches", (4, 1, 32, 32)),))
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    session.run(None, {"patches": np.zeros((4, 1, 32, 32), np.float32)})
    events = json.loads(Path(session.end_profiling()).read_text())
    run = Counter(event["args"]["op_name"] for event in events if event["name"].endswith("_kernel_time"))
    convolutions, residual = {Swift: (5, 0), SwiftLarge: (8, 3), L2Net: (6, 0)}[made]
    assert (run["QLinearConv"], run["QLinearAdd"], run["QLinearMatMul"]) == (convolutions, residual, 1)
    assert not run.keys() & {"Conv", "FusedConv", "MatMul", "FusedMatMul", "Gemm", "Relu"}
