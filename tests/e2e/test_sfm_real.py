"""``recon sfm`` on real photos: two scenes in one folder, and a pair to begin with that leads nowhere."""

from __future__ import annotations

import shutil

import pytest
from command import recon, registered


@pytest.mark.real
def test_two_real_scenes_in_one_folder(shared_data, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for scene in ("fountain-P11", "Herz-Jesus-P8"):
        for number, path in enumerate(sorted((shared_data / "multiview" / scene / "images").iterdir())[:5]):
            shutil.copy(path, folder / f"{scene}_{number}{path.suffix}")
    words = ("--max-size", "800", "--max-keypoints", "2500")
    assert recon("sfm", folder, "--out", tmp_path / "map", "-q", *words).code == 0
    scenes = registered(tmp_path / "map")
    assert len(scenes) == 2 and sum(map(len, scenes)) == 10
    assert all(len({name.split("_")[0] for name in scene}) == 1 for scene in scenes)


@pytest.mark.real
def test_a_badly_begun_map_is_begun_anew(shared_data, tmp_path):
    """COLMAP's own first pair led to a model of three of these nine photos, which have 2,000 verified matches each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((shared_data / "multiview" / "sacre_coeur" / "images").iterdir()):
        if not path.name.startswith("10265353"):
            shutil.copy(path, folder / path.name)
    assert recon("sfm", folder, "--out", tmp_path / "map", "-q", "--descriptor", "swift-small").code == 0
    (scene,) = registered(tmp_path / "map")
    assert len(scene) == 9
