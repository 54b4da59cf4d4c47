"""A killed mapping of many photos goes on from its last snapshot. (Many are twelve here, every fourth a snapshot.)"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import ROOT, mirror

from pipelines import colmap
from pipelines.benchmarks.truth import similarity


def mapped(photos: Path, folder: Path, every: int, limit: int = 0) -> int | None:
    """Number of photos that were registered by this process, None if it was killed."""
    words = [sys.executable, Path(__file__).with_name("snapshot_run.py"), photos, folder, every, limit]
    done = subprocess.run(
        [str(word) for word in words], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == (-9 if limit else 0), done.stderr
    return int(done.stdout) if not limit else None


def snapshots(folder: Path) -> list[Path]:
    return sorted(folder.glob("snapshots/*/*"))


def scenes(folder: Path) -> list[set[str]]:
    paths = [path for path in sorted((folder / "sparse").iterdir()) if path.is_dir()]
    return [set(colmap.read_model(path).names) for path in paths]


@pytest.fixture
def begun(small_map, tmp_path) -> Path:
    """A run folder with features and matches."""
    folder = tmp_path / "map"
    for part in ("features", "matches"):
        shutil.copytree(small_map / part, folder / part)
    return folder


def test_a_killed_mapping_goes_on_from_its_last_snapshot(begun, photos, small_map):
    mapped(photos, begun, every=4, limit=10)
    assert len(snapshots(begun)) == 2 and not (begun / "sparse").exists()
    assert 8 <= len(colmap.registered_names(colmap.load(snapshots(begun)[-1]))) <= 10
    left = mapped(photos, begun, every=4)
    assert left is not None and left <= 5, "photos of the snapshot were registered again"
    assert not (begun / "snapshots").exists()
    again, calm = colmap.read_model(begun / "sparse" / "0"), colmap.read_model(small_map / "sparse" / "0")
    assert again.names == calm.names
    scale, rotation, shift = similarity(again.centres, calm.centres)
    apart = np.linalg.norm(scale * again.centres @ rotation.T + shift - calm.centres, axis=1)
    assert apart.max() < 0.002 * np.ptp(calm.centres, axis=0).max()
    assert abs(len(again.xyz) / len(calm.xyz) - 1) < 0.05


def test_a_snapshot_that_was_cut_off_is_passed_over(begun, photos):
    mapped(photos, begun, every=4, limit=10)
    first, last = snapshots(begun)
    (last / "points3D.bin").write_bytes((last / "points3D.bin").read_bytes()[:500])
    (first.parent / "9999999999999").mkdir()
    left = mapped(photos, begun, every=4)
    assert left is not None and 6 <= left <= 9
    assert [len(scene) for scene in scenes(begun)] == [12]


def test_snapshots_of_other_options_are_of_no_use(begun, photos, small_map):
    mapped(photos, begun, every=4, limit=10)
    old = snapshots(begun)
    # Another number of photos between snapshots is another option, whatever little it changes.
    mapped(photos, begun, every=3, limit=6)
    assert snapshots(begun) and not set(old) & set(snapshots(begun))


def test_snapshots_of_two_scenes_lose_neither(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(1, 6):
        shutil.copy(photos / f"courtyard_{number:02}.jpg", folder)
    mirror(photos, range(9, 13), folder)
    out = tmp_path / "map"
    mapped(folder, out, every=2, limit=7)
    taken = [{name.split("_")[0] for name in colmap.registered_names(colmap.load(path))} for path in snapshots(out)]
    assert len(set(map(frozenset, taken))) == 2, "the second scene was not begun"
    left = mapped(folder, out, every=2)
    assert left is not None and left < 7
    assert [len(scene) for scene in scenes(out)] == [5, 4]
    assert all(len({name.split("_")[0] for name in scene}) == 1 for scene in scenes(out))
