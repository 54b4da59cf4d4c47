"""Architectures: shapes and sizes as the papers give them, and what every network does to its input and output."""

from __future__ import annotations

import copy
import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from descriptors import registry
from descriptors.contract import DescriptorError
from descriptors.networks import NETWORKS, build
from descriptors.networks.deepdesc import L2Pooling, SubtractiveNormalization
from descriptors.networks.hynet import FilterResponseNorm, HyNet, ThresholdedLinearUnit
from descriptors.networks.l2net import L2Net
from descriptors.networks.normalize import INSTANCE_NORM_FLOOR, standardize, unit_length
from descriptors.networks.swift import Residual, Swift, SwiftLarge
from descriptors.runtime import WEIGHTS, read_network

# A convolution of n filters, k px, c channels before it: n·k·k·c weights, n biases. Layers as in FACTS §7.
_L2NET = 9 * (32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 64 * 128 * 128
_CHANNELS = 32 + 32 + 64 + 64 + 128 + 128
PARAMETERS = {
    "tfeat": (49 * 32 + 32) + (36 * 32 * 64 + 64) + (64 * 64 * 128 + 128),
    "l2net": _L2NET,
    "cs-l2net": 2 * _L2NET,
    "hardnet": _L2NET,
    "sosnet": _L2NET,
    # a bias a channel, scale and shift of its norm, its threshold; norm and threshold of the patch itself
    "hynet": _L2NET + 4 * _CHANNELS + 3,
    "deepdesc": (49 * 32 + 32) + (36 * 32 * 64 + 64) + (25 * 64 * 128 + 128),
    "tnet": 49 * 96 + 25 * 96 * 192 + 9 * 192 * 256 + 256 * 256 + 2 * (96 + 192 + 256 + 256) + (256 * 256 + 256),
    # ours: convolutions, two numbers a channel for all batch norms but the last
    "swift": 25 * 32 + 9 * (32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 16 * 128 * 128 + 2 * (32 + 2 * 64 + 2 * 128),
    "swift-small": 25 * 24 + 9 * (24 * 48 + 48 * 48 + 48 * 96 + 96 * 96) + 16 * 96 * 128 + 2 * (24 + 2 * 48 + 2 * 96),
    "swift-large": 25 * 32
    + 9 * (32 * 64 + 64 * 64 * 2 + 64 * 128 + 128 * 128 * 3)
    + 16 * 128 * 128
    + 2 * (32 + 3 * 64 + 4 * 128),
    "swift-stereo": (121 * 124 + 124) + (124 * 64 + 64),
}
OF_DESCRIPTOR = {
    "tfeat-margin": "tfeat", "tfeat-ratio": "tfeat", "l2net-plus": "l2net", "cs-l2net-plus": "cs-l2net",
    "gloss-tnet-tloss": "tnet", "gloss-tnet-tgloss": "tnet",
}  # fmt: skip
"""The network of a descriptor, where it is not of the same name."""


def patches_for(network: nn.Module, count: int) -> torch.Tensor:
    return torch.rand(count, 1, network.patch_size, network.patch_size) * 255


@cache
def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build(name).eval()


@pytest.fixture(params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> nn.Module:
    return copy.deepcopy(built(request.param))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_size_is_the_papers(name: str) -> None:
    assert sum(p.numel() for p in built(name).parameters()) == PARAMETERS[name]


def test_sizes_that_others_count() -> None:
    assert (PARAMETERS["tfeat"], PARAMETERS["hardnet"], PARAMETERS["hynet"]) == (599_808, 1_334_560, 1_336_355)


@pytest.mark.parametrize("name", [e.spec.name for e in registry._NETWORKS])
def test_the_registry_tells_of_the_network(name: str) -> None:
    spec = registry.spec(name)
    own = name.removeprefix("binary-")
    of = OF_DESCRIPTOR.get(own, own)
    network = built(of)
    assert (spec.parameters, spec.dim, spec.patch_size) == (PARAMETERS[of], network.dim, network.patch_size)


def test_descriptors_have_unit_length(network: nn.Module) -> None:
    described = network(patches_for(network, 5))
    assert described.shape == (5, network.dim) and described.dtype == torch.float32
    torch.testing.assert_close(described.norm(dim=1), torch.ones(5))


def test_light_that_scales_and_shifts_a_patch_changes_nothing(network: nn.Module) -> None:
    patches = patches_for(network, 3) / 2.55
    offset = 0 if isinstance(network, HyNet) else 20  # HyNet divides a patch by its root mean square
    torch.testing.assert_close(network(patches), network(1.7 * patches + offset), atol=2e-4, rtol=0)


def test_flat_patch_gives_numbers(network: nn.Module) -> None:
    size = network.patch_size
    for level in (0.0, 77.0):
        assert torch.isfinite(network(torch.full((2, 1, size, size), level))).all()


def test_gradient_reaches_every_layer(network: nn.Module) -> None:
    network.train()
    for module in network.modules():
        if isinstance(module, Residual):  # begins as nothing, and lets nothing through until its scale has moved
            nn.init.ones_(module.added[1].weight)
    (network(patches_for(network, 8)) * torch.randn(8, network.dim)).sum().backward()
    # Grey values are never under HyNet's first threshold, as that starts out.
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without == ({"trunk.1.tau"} if isinstance(network, HyNet) else set())


def test_central_surround_sees_the_whole_and_the_middle() -> None:
    network = built("cs-l2net")
    patches = patches_for(network, 3)
    whole = patches.reshape(3, 1, 32, 2, 32, 2).mean(dim=(3, 5))
    parts = network.surround.feature_maps(whole)[1], network.centre.feature_maps(patches[:, :, 16:48, 16:48])[1]
    torch.testing.assert_close(network(patches), unit_length(torch.cat(parts, dim=1).flatten(1)))


def test_filter_response_norm_and_threshold_by_hand() -> None:
    maps = torch.tensor([[[[3.0, -4.0], [0.0, 5.0]]]])  # mean square 12.5
    normed = FilterResponseNorm(1)(maps)
    torch.testing.assert_close(normed, maps / 12.5**0.5)
    torch.testing.assert_close(ThresholdedLinearUnit(1)(normed)[0, 0, 0], torch.tensor([3 / 12.5**0.5, -1.0]))


def test_l2_pooling_by_hand() -> None:
    maps = torch.tensor([[[[3.0, 4.0, 9.0], [0.0, 0.0, 9.0], [9.0, 9.0, 9.0]]]])
    torch.testing.assert_close(L2Pooling(2)(maps), torch.tensor([[[[5.0]]]]))


def test_subtractive_normalization_takes_away_the_mean_around() -> None:
    layer = SubtractiveNormalization()
    torch.testing.assert_close(layer(torch.full((1, 3, 9, 9), 4.0)), torch.zeros(1, 3, 9, 9), atol=1e-5, rtol=0)
    spike = torch.zeros(1, 2, 9, 9)
    spike[0, 0, 4, 4] = 1
    weight = 1 / sum(math.exp(-0.5 * (i / 1.25) ** 2) for i in range(-2, 3)) ** 2
    out = layer(spike)
    assert out[0, 0, 4, 4].item() == pytest.approx(1 - weight / 2, abs=1e-6)
    assert out[0, 1, 4, 4].item() == pytest.approx(-weight / 2, abs=1e-6)


def test_standardize_as_torchs_instance_norm_on_grey_values_up_to_1() -> None:
    patches = torch.rand(4, 1, 32, 32)
    expected = nn.InstanceNorm2d(1)(patches)
    torch.testing.assert_close(standardize(255 * patches, floor=INSTANCE_NORM_FLOOR), expected, atol=1e-5, rtol=0)


def test_standardize_by_hand() -> None:
    patch = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])  # mean 3, variance 5
    torch.testing.assert_close(standardize(patch)[0, 0], (patch[0, 0] - 3) / 5**0.5, atol=1e-4, rtol=0)


def test_unit_length_by_hand() -> None:
    torch.testing.assert_close(unit_length(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))


def test_l2net_feature_maps_are_batch_normalised() -> None:
    network = L2Net().train()
    first, last = network.feature_maps(torch.rand(64, 1, 32, 32) * 255)
    assert first.shape == (64, 32, 32, 32) and last.shape == (64, 128, 1, 1)
    for maps in (first, last):
        torch.testing.assert_close(maps.mean(dim=(0, 2, 3)), torch.zeros(maps.shape[1]), atol=1e-4, rtol=0)


def test_unknown_network_is_named() -> None:
    with pytest.raises(DescriptorError, match="l3net"):
        build("l3net")


def test_swift_large_begins_as_swift_and_learns_from_there(textured: np.ndarray) -> None:
    teacher, network = read_network(WEIGHTS / registry.spec("swift").weights).eval(), SwiftLarge().eval()
    assert isinstance(teacher, Swift)
    network.adopt(teacher)
    patches = torch.from_numpy(np.stack([textured[None, y : y + 32, y : y + 32] for y in range(0, 200, 10)])).float()
    with torch.no_grad():
        torch.testing.assert_close(network(patches), teacher(patches), atol=1e-6, rtol=0)
    network(patches)[:, 0].sum().backward()
    scales = [module.added[1].weight for module in network.trunk if isinstance(module, Residual)]
    assert len(scales) == 3 and all((scale.grad.abs() > 0).any() for scale in scales)


def test_hynet_adopts_what_a_network_with_batch_norm_has_learned(textured: np.ndarray) -> None:
    teacher, network = read_network(WEIGHTS / registry.spec("hardnet").weights).eval(), HyNet().eval()
    corners = [(y, x) for y in range(0, 224, 20) for x in range(0, 224, 20)]
    patches = torch.from_numpy(np.stack([textured[None, y : y + 32, x : x + 32] for y, x in corners])).float()
    with torch.no_grad():
        assert isinstance(teacher, L2Net)
        network.adopt(teacher)
        agreement = teacher(patches) @ network(patches).T
    assert agreement.diagonal().mean() > 0.5
    assert (agreement.argmax(dim=1) == torch.arange(len(patches))).float().mean() > 0.9
