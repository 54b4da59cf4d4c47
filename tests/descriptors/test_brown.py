"""Brown / UBC: the published layout, made tiny; scores against what the made patches must give."""

from __future__ import annotations

import hashlib
import zipfile

import cv2
import numpy as np
import pytest

from descriptors.benchmarks import brown as board
from descriptors.benchmarks.results import Contestant, Store
from descriptors.datasets import brown
from descriptors.datasets.brown import BrownSet, read_brown, read_sets, resize_patches
from descriptors.datasets.scenes import DataError
from descriptors.datasets.sources import described, folders_of, single_photos, training_tracks, validation_tracks
from descriptors.datasets.tracks import PatchCutter
from descriptors.registry import load
from descriptors.training.validate import ValidationSet


def write_set(folder, rng, points=100, views=3):
    """Points x views patches, views of a point alike but for noise; two sheets, the second half empty."""
    folder.mkdir(parents=True)
    point = np.repeat(np.arange(points), views) * 7
    texture = np.stack([cv2.GaussianBlur(rng.standard_normal((64, 64)), (0, 0), 3) for _ in range(points)])
    patches = np.repeat(texture, views, axis=0) * 500 + 128 + rng.normal(0, 8, (points * views, 64, 64))
    patches = np.clip(patches, 0, 255).astype(np.uint8)
    for number in range(0, -(-len(patches) // 256)):
        sheet = np.zeros((1024, 1024), np.uint8)
        for k, patch in enumerate(patches[256 * number : 256 * number + 256]):
            sheet[k // 16 * 64 : k // 16 * 64 + 64, k % 16 * 64 : k % 16 * 64 + 64] = patch
        cv2.imwrite(str(folder / f"patches{number:04d}.bmp"), sheet)
    photo = np.arange(points * views) // views % 4
    (folder / "info.txt").write_text("".join(f"{p} {i}\n" for p, i in zip(point, photo, strict=True)))
    rows = [f"{3 * k} {point[3 * k]} 0 {3 * k + 1} {point[3 * k + 1]} 0 0\n" for k in range(50)]
    rows += [f"{3 * k} {point[3 * k]} 0 {3 * k + 4} {point[3 * k + 4]} 0 0\n" for k in range(50)]
    (folder / brown.PAIRS_FILE).write_text("".join(rows))
    return patches, point, photo


def test_reader(tmp_path, rng):
    patches, point, photo = write_set(tmp_path / "liberty", rng)
    found = read_brown(tmp_path / "liberty")
    assert (len(found), found.sheets) == (300, 2)
    np.testing.assert_array_equal(found.patches(0, 2)[:, 0], patches)
    np.testing.assert_array_equal(found.patches(1, 2)[:, 0], patches[256:])
    np.testing.assert_array_equal(found.point, point)
    np.testing.assert_array_equal(found.photo, photo)
    first, second, match = found.pairs()
    assert match.sum() == 50 and (point[first] == point[second]).tolist() == match.tolist()


@pytest.mark.parametrize("magnification", [7.5, 9.0])
def test_tracks_cut_the_published_patches_and_never_their_neighbours(tmp_path, rng, magnification):
    patches, *_ = write_set(tmp_path / "liberty", rng)
    tracks = brown.brown_tracks(read_brown(tmp_path / "liberty"), magnification=magnification)
    assert len(tracks) == 100 and np.diff(tracks.start).tolist() == [3] * 100
    cutter = PatchCutter(tracks.images)
    cut = cutter.cut(tracks.obs_image, tracks.frames, patch_size=64, magnification=magnification)
    np.testing.assert_array_equal(cut[:, 0], patches)  # write_set's points stand in order
    # Moved by half a pixel less than the mirrored edge: what comes in at the right is the patch's own right part.
    moved = tracks.frames[:1].copy()
    moved[:, 0, 2] += 7
    shifted = cutter.cut(tracks.obs_image[:1], moved, patch_size=64, magnification=magnification)[0, 0]
    np.testing.assert_array_equal(shifted[:, -7:], patches[0][:, :-8:-1])


def test_a_source_holds_out_the_last_sheet(tmp_path, rng):
    write_set(tmp_path / "liberty", rng)
    given = f"brown:{tmp_path / 'liberty'}"
    (trained,), (held,) = (part(given, magnification=7.5) for part in (training_tracks, validation_tracks))
    assert (len(trained.images), len(held.images)) == (1, 1)
    # Of the 85 points of the first sheet the last stands with one patch on the second, where it is seen twice.
    assert (len(trained), len(held)) == (85, 15)
    assert described(given) == "Brown's liberty" and folders_of(given)["brown"] == [str(tmp_path / "liberty")]
    assert not single_photos(given)
    found = ValidationSet(given, patch_size=32, magnification=7.5).figures(load("rootsift").describe)
    assert found.rank1 > 0.9  # of the one sheet that is held out


def test_board(tmp_path, rng):
    write_set(tmp_path / "liberty", rng)
    contestants = [Contestant("rootsift", load("rootsift")), Contestant("sift-liberty", load("sift"))]
    store = Store(tmp_path / "store")
    made = board.run(read_sets(tmp_path), contestants, store)
    found = {(s.descriptor, s.subset, s.metric): s.value for s in made.scores}
    assert found["rootsift", "liberty", "fpr95"] == 0 == found["rootsift", "all", "fpr95"]
    assert found["rootsift", "liberty", "snn_map"] > 0.99
    assert not any(name == "sift-liberty" for name, _, _ in found)  # trained there, not scored there
    assert "false positive rate" in made.protocol
    again = Store(tmp_path / "store")
    assert board.run(read_sets(tmp_path), contestants, again) == made and again.made == 0


def test_missing_files_are_named(tmp_path, rng):
    with pytest.raises(DataError, match=r"liberty.zip, md5 fdd9152f"):
        read_sets(tmp_path)
    write_set(tmp_path / "liberty", rng)
    (tmp_path / "liberty" / "patches0001.bmp").rename(tmp_path / "kept.bmp")
    with pytest.raises(DataError, match="patches0001"):
        read_brown(tmp_path / "liberty")
    (tmp_path / "kept.bmp").rename(tmp_path / "liberty" / "patches0001.bmp")
    found = read_brown(tmp_path / "liberty")
    (tmp_path / "liberty" / brown.PAIRS_FILE).write_text("0 0 0 300 0 0 0\n")
    with pytest.raises(DataError, match="beyond"):
        found.pairs()
    (tmp_path / "liberty" / brown.PAIRS_FILE).write_text("0 0 0 1 7 0 0\n")
    with pytest.raises(DataError, match="disagree"):
        found.pairs()
    (tmp_path / "liberty" / brown.PAIRS_FILE).write_text("0 0 zero 1\n")
    with pytest.raises(DataError, match="whole numbers"):
        found.pairs()
    (tmp_path / "liberty" / brown.PAIRS_FILE).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        found.pairs()


def test_archives_are_checked_and_unpacked(tmp_path, rng, monkeypatch):
    write_set(tmp_path / "made" / "liberty", rng)
    archive = tmp_path / "data" / "liberty.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as opened:
        for path in (tmp_path / "made" / "liberty").iterdir():
            opened.write(path, f"../outside/{path.name}")
    with pytest.raises(DataError, match="damaged or another file"):
        read_sets(archive.parent)
    monkeypatch.setitem(brown.MD5, "liberty", hashlib.md5(archive.read_bytes()).hexdigest())
    (found,) = read_sets(archive.parent)
    assert isinstance(found, BrownSet) and found.folder == archive.parent / "liberty" and len(found) == 300
    assert sorted(path.name for path in archive.parent.iterdir()) == ["liberty", "liberty.zip"]
    assert not (tmp_path / "outside").exists()


def test_resized_patches_keep_their_mean(rng):
    patches = rng.integers(0, 256, (5, 1, 64, 64), dtype=np.uint8)
    halves = resize_patches(patches, 32)
    expected = patches.reshape(5, 32, 2, 32, 2).astype(float).mean(axis=(2, 4))
    np.testing.assert_allclose(halves[:, 0], expected, atol=0.51)
    assert resize_patches(patches, 64) is patches and resize_patches(patches[:0], 33).shape == (0, 1, 33, 33)
