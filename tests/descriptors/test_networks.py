"""Architectures: shapes and sizes as the papers give them, and what every network does to its input and output."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from descriptors import registry
from descriptors.contract import DescriptorError
from descriptors.networks import NETWORKS, build
from descriptors.networks.l2net import L2Net
from descriptors.networks.normalize import standardize, unit_length

PARAMETERS = {"tfeat": 599_808, "l2net": 1_334_560}


@pytest.fixture(params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return build(request.param).eval()


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_size_is_the_papers_and_the_registrys(name: str) -> None:
    count = sum(p.numel() for p in build(name).parameters())
    assert count == PARAMETERS[name] == registry.spec(name).parameters
    assert build(name).patch_size == registry.spec(name).patch_size


def test_descriptors_have_unit_length(network: nn.Module) -> None:
    described = network(torch.rand(5, 1, 32, 32) * 255)
    assert described.shape == (5, 128) and described.dtype == torch.float32
    torch.testing.assert_close(described.norm(dim=1), torch.ones(5))


def test_light_that_scales_and_shifts_a_patch_changes_nothing(network: nn.Module) -> None:
    patches = torch.rand(3, 1, 32, 32) * 100
    torch.testing.assert_close(network(patches), network(1.7 * patches + 20), atol=1e-4, rtol=0)


def test_flat_patch_gives_numbers(network: nn.Module) -> None:
    assert torch.isfinite(network(torch.full((2, 1, 32, 32), 77.0))).all()


def test_gradient_reaches_every_layer(network: nn.Module) -> None:
    network.train()
    (network(torch.rand(4, 1, 32, 32) * 255) * torch.randn(4, 128)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


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
