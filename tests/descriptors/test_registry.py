"""The table of descriptors: names, hints, lazy imports, entry points of third parties."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import descriptors
from descriptors import DescriptorError, DescriptorSpec, own_file, registry
from descriptors.benchmarks.contestants import read_contestants
from descriptors.headers import read_header
from descriptors.runtime import WEIGHTS


def test_every_row_is_sound():
    names = descriptors.names()
    assert len(names) == len(set(names))
    assert {"sift", "rootsift", "orb", "tfeat-margin", "l2net"} <= set(names)
    for name in names:
        spec = descriptors.spec(name)
        assert spec.name == name
        assert spec.source
        assert spec.patch_size > 0
        assert spec.magnification > 0
        assert 0 < spec.ratio <= 1
        assert (spec.kind == "binary") == (spec.distance == "hamming")
        assert spec.kind == "float" or spec.dim % 8 == 0
        assert (spec.parameters > 0) == (spec.weights is not None)


def test_a_name_from_before_leads_to_its_row():
    assert descriptors.spec("tfeat") is descriptors.spec("tfeat-margin")
    assert "tfeat" not in descriptors.names()


def test_the_same_name_is_loaded_once():
    assert descriptors.load("sift") is descriptors.load("sift")


@pytest.mark.parametrize("ask", [descriptors.spec, descriptors.load])
def test_an_unknown_name_gets_a_hint(ask):
    with pytest.raises(DescriptorError, match="Did you mean 'rootsift'"):
        ask("rootsitf")
    with pytest.raises(DescriptorError, match="Did you mean 'sift'"):
        ask("SIFT")
    with pytest.raises(DescriptorError, match="Known are: sift, rootsift"):
        ask("zzzzzz")


def test_the_table_costs_no_heavy_import():
    code = (
        "import sys, descriptors; descriptors.spec('l2net');"
        "print(sorted({'torch', 'open3d', 'pycolmap', 'onnxruntime', 'matplotlib', 'cv2'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


class Mean:
    """A third party's descriptor, as the README tells to write one."""

    spec = DescriptorSpec("mean", 2, source="this test")
    fingerprint = "0"

    def describe(self, patches: np.ndarray) -> np.ndarray:
        mean = patches.mean(axis=(1, 2, 3), dtype=np.float32) / 255
        return np.stack([mean, np.sqrt(1 - mean**2)], axis=1)


def test_a_third_party_adds_its_own_by_entry_point(monkeypatch):
    point = EntryPoint("mean", f"{__name__}:Mean", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
    monkeypatch.setattr(EntryPoint, "load", lambda self: Mean)
    registry._table.cache_clear()
    try:
        assert "mean" in descriptors.names()
        assert descriptors.spec("mean").dim == 2
        assert descriptors.load("mean").describe(np.zeros((4, 1, 32, 32), np.uint8)).shape == (4, 2)
    finally:
        registry._table.cache_clear()
        registry.load.cache_clear()


@pytest.mark.parametrize("offered", [None, object()])
def test_a_third_partys_broken_package_is_told_and_left_out(monkeypatch, offered):
    point = EntryPoint("broken", "a_package_that_is_not_there:Mine", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    if offered:
        monkeypatch.setattr(EntryPoint, "load", lambda self: offered)
    registry._table.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"broken .*a_package_that_is_not_there:Mine.* cannot be used: \w+Error"):
            assert "rootsift" in descriptors.names()
    finally:
        registry._table.cache_clear()


FILE = """
import numpy as np
from descriptors import DescriptorSpec

class Mine:
    spec = DescriptorSpec("mine", dim=4, patch_size=8)

    def describe(self, patches):
        return np.tile(np.float32(0.5), (len(patches), 4))

descriptor = Mine()
"""


def test_a_descriptor_from_a_users_own_file(tmp_path):
    path = tmp_path / "my descriptor.py"
    path.write_text(FILE)
    loaded = descriptors.load(str(path))
    assert descriptors.spec(str(path)).dim == 4
    assert loaded.describe(np.zeros((3, 1, 8, 8), np.uint8)).shape == (3, 4)
    other = tmp_path / "other.py"
    other.write_text(FILE + "\n# changed\n")
    assert descriptors.load(str(other)).fingerprint != loaded.fingerprint


def test_a_users_own_file_may_import_what_lies_beside_it_and_tell_of_its_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_mine.py").write_text(FILE)
    path = tmp_path / "mine.py"
    path.write_text(f"from beside_mine import descriptor\nfrom pathlib import Path\n"
                    f"descriptor.fingerprint = Path({str(tmp_path / 'weights')!r}).read_text()\n")  # fmt: skip
    prints = set()
    for weights in ("one", "other"):
        (tmp_path / "weights").write_text(weights)
        own_file.from_file.cache_clear()
        prints.add(own_file.from_file(path, path.read_bytes()).fingerprint)
    assert len(prints) == 2


def test_a_file_of_another_kind_is_told(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"graph")
    with pytest.raises(DescriptorError, match=r"net.onnx is no descriptor: .*README"):
        descriptors.load(str(tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("(len(patches), 4)", "(len(patches) - 1, 4)", r"3 patches by \(2, 4\) float32; .* \(3, 4\) float32"),
        ("dim=4", "dim=5", r"\(3, 4\) float32; .* \(3, 5\)"),
        ("np.float32(0.5)", "0.5", r"float64; .* float32"),
        ("return np", "return None and np", "NoneType"),
        ("return np", "raise KeyError('x') or np", "cannot describe patches .* KeyError: 'x'"),
        ("return np", "raise SystemExit(0) or np", "cannot describe patches .* SystemExit: 0"),
        ("import numpy as np", "import numpy as np; raise SystemExit(0)", "cannot be run: SystemExit: 0"),
        ("patch_size=8", "patch_size=0", "cannot be run.* patches of 0 px"),
    ],
)
def test_a_users_own_file_is_held_to_its_spec(tmp_path, right, wrong, said):
    path = tmp_path / "mine.py"
    path.write_text(FILE.replace(right, wrong))
    with pytest.raises(descriptors.DescriptorError, match=f"mine.py .*{said}"):
        descriptors.load(str(path)).describe(np.zeros((3, 1, 8, 8), np.uint8))
    path.write_text(FILE.replace("np.tile", "0 / len(patches) + np.tile"))
    assert own_file.from_file(path, path.read_bytes()).describe(np.zeros((0, 1, 8, 8))).shape == (0, 4)


@pytest.mark.parametrize(("network", "row"), [("tfeat", "tfeat-margin"), ("tnet", "gloss-tnet-tgloss")])
def test_weights_of_a_network_whose_rows_have_other_names(tmp_path, network, row):
    own = shutil.copy(WEIGHTS / f"{row}.safetensors", tmp_path / "mine.safetensors")
    assert read_header(own)["network"] == network
    (given,) = read_contestants([f"other={own}"])
    for found in (descriptors.spec(str(own)), given.descriptor.spec):
        assert replace(found, name=row, weights=None) == replace(descriptors.spec(row), weights=None)


def test_weights_of_the_users_own_for_every_pixel_and_for_pairs(tmp_path):
    own = shutil.copy(WEIGHTS / "swift-stereo.safetensors", tmp_path / "mine.safetensors")
    found, known = descriptors.spec(str(own)), descriptors.spec("swift-stereo")
    assert (found.name, found.dim, found.patch_size) == ("mine", known.dim, known.patch_size)
    pairs = shutil.copy(WEIGHTS / "gloss-snet.safetensors", tmp_path / "pairs.safetensors")
    with pytest.raises(DescriptorError, match="metric network 'gloss-snet', which is known by its name alone"):
        descriptors.spec(str(pairs))


@pytest.mark.parametrize(("content", "said"), [("x = 1", "defines no descriptor"), ("1 / 0", "ZeroDivisionError")])
def test_a_file_without_a_descriptor_is_named(tmp_path, content, said):
    path = tmp_path / "bad.py"
    path.write_text(content)
    with pytest.raises(descriptors.DescriptorError, match=said):
        descriptors.load(str(path))
    with pytest.raises(descriptors.DescriptorError, match="cannot be read"):
        descriptors.load(str(tmp_path / "absent.py"))
