"""The board of speed: every way to run a network, metric networks, peers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from nearness import Nearness

from descriptors.benchmarks import speed
from descriptors.benchmarks.contestants import ScoredPatches
from descriptors.benchmarks.results import Contestant
from descriptors.contract import PairScorerSpec
from descriptors.networks import peers
from descriptors.registry import load


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr(speed, "_ROUNDS", 1)
    monkeypatch.setattr(speed, "_SECONDS", 0.01)


def test_networks_are_run_in_every_way_and_beside_peers():
    scorer = Nearness(PairScorerSpec("nearness", 16, embeds=True, candidates=2, patch_size=8))
    contestants = [Contestant("tfeat", load("tfeat-margin")), Contestant("near", ScoredPatches(scorer), scorer)]
    made = speed.run(contestants)
    rates = {(s.descriptor, s.condition): s.value for s in made.scores if s.metric == "patches_per_second"}
    assert all(rate > 0 for rate in rates.values())
    assert {("tfeat", "onnxruntime, 1 thread"), ("tfeat", "torch"), ("OpenCV SIFT", "all")} <= set(rates)
    assert ("near", "torch") not in rates
    other = {(s.descriptor, s.metric): s.value for s in made.scores if s.condition == "all"}
    if sys.platform == "linux":
        assert 0 <= other["tfeat", "memory"] < 2000
    assert other["near", "bytes"] == 16 * 4 and other["near", "distances_per_second"] > 0


_PEAK = """
import numpy as np
from descriptors.benchmarks.speed import peak_memory
np.zeros(100_000_000, np.uint8).fill(1)
print(peak_memory(lambda: np.zeros(30_000_000, np.uint8).fill(1)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets the peak back")
def test_memory_is_the_peak_of_the_call_not_of_the_process():
    # In a process of its own: a training in this one may have told the C library to keep what is freed.
    told = subprocess.run([sys.executable, "-c", _PEAK], check=True, capture_output=True, text=True, timeout=120)
    assert float(told.stdout) == pytest.approx(30e6, rel=0.2)


def test_all_ways_describe_alike(rng):
    patches = rng.integers(0, 256, (5, 1, 32, 32)).astype(np.uint8)
    expected = load("tfeat-margin").describe(patches)
    for variant in load("tfeat-margin").variants().values():
        np.testing.assert_allclose(variant.describe(patches), expected, atol=1e-4)


def test_kornias_networks_describe(rng):
    pytest.importorskip("kornia")
    for describe in peers.kornia_peers().values():
        assert describe(rng.integers(0, 256, (3, 1, 32, 32)).astype(np.uint8)).shape == (3, 128)
