"""What descriptors/README.md says under *Your own*, done: its files, copied, train a network and describe by it."""

from __future__ import annotations

import re
import runpy
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import descriptors
from descriptors.headers import read_header
from descriptors.networks import NETWORKS
from descriptors.runtime import export_onnx, read_network


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The README's Python files, in its order; an empty folder is the current one."""
    readme = (Path(descriptors.__file__).parent / "README.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with mock.patch.dict(NETWORKS):
        yield [textwrap.dedent(part) for part in re.findall(r"^  ```python\n(.*?)^  ```", readme, re.S | re.M)]
    sys.modules.pop("mynet", None)


def test_a_network_and_a_loss_and_a_graph(files: list[str], data: Path, rng: np.random.Generator) -> None:
    graph, network, own = files
    assert '"DIR"' in network and "minutes=10" in network
    Path("mynet.py").write_text(network.replace('"DIR"', repr(str(data))).replace("minutes=10", "steps=2, pairs=16"))
    runpy.run_path("mynet.py", run_name="__main__")
    assert '"margin": 1.0' in read_header(Path("mynet.safetensors"))["recipe"]
    Path("mine.py").write_text(own)
    Path("graph.py").write_text(graph)
    trained = read_network(Path("mynet.safetensors"))
    Path("net.onnx").write_bytes(export_onnx(trained, (("patches", (1, 1, 32, 32)),), free=(0,)))
    patches = rng.integers(0, 256, (5, 1, 32, 32), dtype=np.uint8)
    by_weights, by_graph = (descriptors.load(str(Path(name).resolve())) for name in ("mine.py", "graph.py"))
    described = by_weights.describe(patches)
    assert described.shape == (5, 64) and by_weights.spec.dim == by_graph.spec.dim == 64
    np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(by_graph.describe(patches), described, atol=1e-4)
