"""Weights as they are kept in a file."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from descriptors.networks import NETWORKS, SCORERS, build
from descriptors.packing import pack, unpack


@cache
def built(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name).eval()


def _state(network: torch.nn.Module) -> tuple[dict[str, torch.Tensor], set[str]]:
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    return state, {name for name, _ in network.named_parameters()}


def test_a_large_layer_is_rounded_by_half_a_step_of_its_row_at_most() -> None:
    weights = torch.randn(40, 32, 5, 5) * torch.logspace(-3, 1, 40).reshape(-1, 1, 1, 1)
    packed = pack({"conv": weights}, {"conv"})
    assert packed["conv"].dtype == torch.int8
    step = weights.flatten(1).abs().amax(1) / 127
    error = (unpack(packed)["conv"] - weights).flatten(1).abs().amax(1)
    assert bool((error <= 0.5001 * step).all())


def test_a_row_of_zeros_stays() -> None:
    weights = torch.randn(64, 512)
    weights[3] = 0
    assert not unpack(pack({"full": weights}, {"full"}))["full"][3].any()


def test_statistics_stay_exact_and_small_layers_are_halved() -> None:
    state = {"mean": torch.randn(70_000) * 1e5, "bias": torch.randn(7), "conv": torch.randn(32, 1, 3, 3)}
    packed = pack(state, {"bias", "conv"})
    assert torch.equal(unpack(packed)["mean"], state["mean"])
    assert packed["bias"].dtype == packed["conv"].dtype == torch.float16


def test_packing_twice_is_packing_once() -> None:
    once = unpack(pack({"full": torch.randn(64, 512)}, {"full"}))
    torch.testing.assert_close(unpack(pack(once, {"full"})), once, rtol=1e-6, atol=0)


def test_half_precision_files_of_earlier_trainings_are_read() -> None:
    given = {"full": torch.randn(64, 512).half(), "mean": torch.randn(3)}
    assert torch.equal(unpack(given)["full"], given["full"].float())


@pytest.mark.parametrize("name", [*NETWORKS, *SCORERS])
def test_every_network_answers_alike(name: str) -> None:
    network = built(name)
    patches = torch.randint(0, 256, (8, 1, network.patch_size, network.patch_size)).float()
    with torch.no_grad():
        before = network(patches)
        network.load_state_dict(unpack(pack(*_state(network))), strict=False)
        after = network(patches)
    assert float((after - before).norm() / before.norm()) < 0.06


def test_the_zoo_stays_under_its_48_megabytes() -> None:
    both = {"tfeat": 2, "l2net": 2, "cs-l2net": 2, "tnet": 2}
    total = sum(
        both.get(name, 1) * sum(value.nbytes for value in pack(*_state(built(name))).values())
        for name in [*NETWORKS, *SCORERS]
    )
    assert total < 48e6
