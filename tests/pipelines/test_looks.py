"""The table of what points look like: kept beside the map, made again when it does not fit, read in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import OutputError
from pipelines.core.progress import Silent
from pipelines.core.types import Photo
from pipelines.features.extract import FeatureFiles
from pipelines.localize import looks
from pipelines.localize.looks import read_looks
from pipelines.store.files import write_arrays

POINT_OF = {0: np.array([3, -1, 0, 1], np.int32), 2: np.array([-1, 1], np.int32)}


def described(seed: int, binary: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if binary:
        return rng.integers(0, 256, (5, 8), np.uint8)
    rows = rng.normal(size=(5, 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def feature_files(folder: Path, binary: bool = False, keys: tuple[str, ...] = ("a", "b", "c")) -> FeatureFiles:
    for number, key in enumerate(keys):
        write_arrays(folder / f"{key}.npz", {"descriptors": described(number, binary)})
    photos = tuple(Photo(key, Path(key), 8, 8, key) for key in keys)
    return FeatureFiles(folder, photos, keys, (5, 5, 5), ())


@pytest.mark.parametrize("binary", [False, True])
def test_what_a_photos_points_look_like(binary, tmp_path):
    found = read_looks(tmp_path / "map" / "looks-0", feature_files(tmp_path, binary), POINT_OF, progress=Silent())
    first, third = described(0, binary)[[0, 2, 3]], described(2, binary)[[1]]
    if binary:
        assert found.of(0).tolist() == first.tolist() and found.of(2).tolist() == third.tolist()
        return
    # Eight bits of 64 dimensions: a hundredth of a unit at most.
    assert np.linalg.norm(found.of(0) - first, axis=1).max() < 0.015
    assert np.linalg.norm(found.of(2) - third, axis=1).max() < 0.015
    np.testing.assert_allclose(np.linalg.norm(found.of(0), axis=1), 1, atol=1e-6)


def test_it_is_made_once_and_again_when_it_does_not_fit(tmp_path, monkeypatch):
    files, path = feature_files(tmp_path), tmp_path / "map" / "looks-0"
    read_looks(path, files, POINT_OF, progress=Silent())
    (kept,) = path.parent.iterdir()
    whole, made = kept.read_bytes(), kept.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(looks, "_compact", None)
        read_looks(path, files, POINT_OF, progress=Silent())
    assert kept.stat().st_mtime_ns == made
    for damaged in (whole[:100], whole[:-10], b"", bytes([whole[0] ^ 1]) + whole[1:]):
        kept.write_bytes(damaged)
        read_looks(path, files, POINT_OF, progress=Silent())
        assert kept.read_bytes() == whole
    # Another keypoint sees a point, or other features: another table, and the old one goes.
    for changed, point_of in (
        (files, {**POINT_OF, 2: np.array([1, -1], np.int32)}),
        (feature_files(tmp_path, keys=("d", "b", "c")), POINT_OF),
    ):
        read_looks(path, changed, point_of, progress=Silent())
        (fresh,) = path.parent.iterdir()
        assert fresh != kept
        kept = fresh


def test_a_map_that_cannot_be_written_is_searched_all_the_same(tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise OutputError("Cannot write", "read-only")

    monkeypatch.setattr("pipelines.store.tables.write_atomic", refused)
    files = feature_files(tmp_path)
    found = read_looks(tmp_path / "looks-0", files, POINT_OF, progress=Silent())
    assert found.of(0).shape == (3, 64) and not list(tmp_path.glob("looks-*"))


def test_of_a_large_map_only_the_photos_that_are_asked_for_take_memory(tmp_path):
    """1.5 GB of descriptors, of 3,000 points in each of 4,000 photos, within 50 MB."""
    count, points = 4000, 3000
    file = tmp_path / "table.npy"
    header = {"descr": "|i1", "fortran_order": False, "shape": (count * points, 128)}
    with open(file, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + count * points * 128)  # holes: no disk either
    table = np.load(file, mmap_mode="r+")
    table[3999 * points] = 1
    table.flush()
    del table
    program = f"""
import re, resource
import numpy as np
from pipelines.localize.looks import Looks
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) >> 10
resource.setrlimit(resource.RLIMIT_DATA, (700 << 20, 700 << 20))
before = peak()
found = Looks(np.load({str(file)!r}, mmap_mode="r"), dict.fromkeys(range({count}), {points}))
for number in range(0, {count}, 400):
    assert found.of(number).shape == ({points}, 128)
assert abs(found.of({count - 1})[0] - 128**-0.5).max() < 1e-6
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 50, f"{done.stdout} MB"
