"""The board of speed: patches described and distances compared a second, parameters, bytes, memory.

Networks are measured in every way they can be run here, beside OpenCV's SIFT and kornia's networks.

Measured where it is run, the best of a few rounds, after one that loads weights and makes graphs. The machine is
named on the board: such figures compare within one run only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.benchmarks.results import Board, Contestant, Listener, Nobody, Score
from descriptors.distances import mutual_matches
from descriptors.runtime import NetworkDescriptor, processor, usable_cores

NAME = "speed"
BATCHES = (64, 512)
_ROUNDS = 3
_SECONDS = 1.0
_MATCHED = 4096
_THREADS = 2
"""For the comparison of distances; descriptors take as many as they do."""


def run(contestants: Sequence[Contestant], *, listener: Listener | None = None) -> Board:
    """The board for these contestants."""
    listener = listener or Nobody()
    rng = np.random.default_rng(6)
    found = []
    for contestant in contestants:
        spec = contestant.descriptor.spec
        describe = contestant.descriptor.describe
        # First of all, so that what is loaded with the first patches counts.
        memory = peak_memory(partial(describe, made_patches(rng, _MATCHED, spec.patch_size)))
        rates = []
        for batch in BATCHES:
            rates.append(batch / seconds_of(partial(describe, made_patches(rng, batch, spec.patch_size))))
            found.append(Score(NAME, contestant.name, "all", f"batches of {batch}", "patches_per_second", rates[-1]))
        if isinstance(contestant.descriptor, NetworkDescriptor):
            patches = made_patches(rng, BATCHES[-1], spec.patch_size)
            for way, variant in contestant.descriptor.variants().items():
                rate = len(patches) / seconds_of(partial(variant.describe, patches))
                found.append(Score(NAME, contestant.name, "all", way, "patches_per_second", rate))
        rows = describe(made_patches(rng, 512, spec.patch_size))[rng.integers(0, 512, _MATCHED)]
        if contestant.scorer:
            rate = len(rows) / seconds_of(partial(contestant.compare.pairs, rows, rows))
        else:
            both_ways = partial(mutual_matches, rows, rows, ratio=0.9, distance=spec.distance, threads=_THREADS)
            rate = len(rows) ** 2 / seconds_of(both_ways)
        size = rows.shape[1] * rows.dtype.itemsize
        for metric, value in (
            ("patches_per_second", max(rates)),
            ("distances_per_second", rate / 1e6),
            ("parameters", float(spec.parameters)),
            ("bytes", float(size)),
            ("memory", memory / 1e6),
        ):
            found.append(Score(NAME, contestant.name, "all", "all", metric, value))
        listener.advance(note=contestant.name)
    found += _peers(rng)
    text = (
        f"{processor()}, {usable_cores()} cores; best of {_ROUNDS} rounds; matching both ways, {_MATCHED:,} against "
        f"{_MATCHED:,}, {_THREADS} threads; memory: growth of the process over its first {_MATCHED:,} patches"
    )
    return Board(NAME, text, tuple(found))


def _peers(rng: np.random.Generator) -> list[Score]:
    """OpenCV's SIFT at keypoints of one photo, its pyramid included; kornia's networks where kornia is installed."""
    from descriptors.networks.peers import kornia_peers

    photo = made_patches(rng, 1, 1024)[0, 0]
    sift = cv2.SIFT.create()
    keypoints = [cv2.KeyPoint(x, y, 6.0, 0.0) for x, y in rng.uniform(32, 992, (2000, 2)).tolist()]
    rates = {"OpenCV SIFT": len(keypoints) / seconds_of(partial(sift.compute, photo, keypoints))}
    patches = made_patches(rng, BATCHES[-1], 32)
    rates |= {name: len(patches) / seconds_of(partial(run, patches)) for name, run in kornia_peers().items()}
    return [Score(NAME, name, "all", "all", "patches_per_second", rate) for name, rate in rates.items()]


def made_patches(rng: np.random.Generator, count: int, size: int) -> NDArray[np.uint8]:
    """Patches (N,1,S,S) with structure like a photo's: noise, blurred, of a contrast that does not clip."""
    noise = rng.standard_normal((count, size, size)).astype(np.float32)
    for patch in noise:
        cv2.GaussianBlur(patch, (0, 0), size / 16, dst=patch)
    noise *= 40 / noise.std(axis=(1, 2), keepdims=True)
    return np.clip(noise + 128, 0, 255).astype(np.uint8)[:, None]


def peak_memory(call: Callable[[], object]) -> float:
    """Bytes that the process grew by at most while ``call`` ran; NaN where the system does not tell.

    Linux keeps the peak of the resident memory; 5 written to ``clear_refs`` sets it back to what is used now, see
    proc(5).
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        call()
        return float(max(_resident("VmHWM") - before, 0))
    except (OSError, StopIteration):
        return float("nan")


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds of one call: the best mean of a few rounds, each as many calls as fill its share of a second."""
    begin = time.perf_counter()
    call()
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    call()
    calls = max(1, int(_SECONDS / _ROUNDS / max(min(first, time.perf_counter() - begin), 1e-6)))
    best = float("inf")
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - begin) / calls)
    return best
