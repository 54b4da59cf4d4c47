"""Maps in metres: places on earth, similarities with wrong places among them, and what an alignment leaves on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipelines import colmap
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.maps import Camera, Model
from pipelines.geometry.earth import to_metres, to_places
from pipelines.sfm.align import align_distance, align_to, gps_target, read_centres
from pipelines.sfm.mapping import keep_models, models_key
from pipelines.store.alignment import read_alignment
from pipelines.store.folder import MapFolder

CAMERA = Camera("PINHOLE", 100, 80, (90.0, 90.0, 49.5, 39.5), "given")
TURN = Rotation.from_rotvec([0.4, -1.0, 0.3]).as_matrix()
PARIS = (48.8584, 2.2945, 35.0)


def test_places_on_earth_and_back():
    metres = np.array([[0.0, 0, 0], [120.0, -80, 15], [-3000.0, 4000, 900]])
    places = to_places(metres, PARIS)
    np.testing.assert_allclose(places[0], PARIS, atol=1e-9)
    np.testing.assert_allclose(to_metres(places, PARIS), metres, atol=1e-4)
    # A degree of latitude at 48.86 degrees is 111.2 km, one of longitude 73.4 km.
    step = to_metres(np.array([[PARIS[0] + 1e-3, PARIS[1], 35.0], [PARIS[0], PARIS[1] + 1e-3, 35.0]]), PARIS)
    np.testing.assert_allclose(step[0], [0, 111.2, 0], atol=0.1)
    np.testing.assert_allclose(step[1], [73.4, 0, 0], atol=0.1)


def cameras(count=8, seed=0):
    rng = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(rng.normal(0, 0.3, (count, 3))).as_matrix()
    centres = rng.normal(0, 1, (count, 3)) * (3, 2, 0.5)
    return np.concatenate([turns, -np.einsum("nij,nj->ni", turns, centres)[:, :, None]], axis=2), centres


@pytest.fixture
def made(tmp_path):
    """A map of two models with cameras 0-7 and 8-11, and a point of the first."""
    folder = MapFolder(tmp_path / "map")
    folder.create()
    poses, centres = cameras(12)
    models = []
    for rows in (range(8), range(8, 12)):
        none = np.zeros(0, np.int32)
        xyz = np.array([[1.0, 2.0, 8.0]])
        models.append(
            colmap.from_model(
                Model(tuple(f"{k}.jpg" for k in rows), (CAMERA,) * len(rows), poses[list(rows)], xyz,
                      np.zeros((1, 3), np.uint8), np.zeros(1, np.float32), none, none, none, np.zeros((0, 2), "f4"))
            )
        )  # fmt: skip
    keep_models(folder, models, "the key")
    photos = [{"name": f"{k}.jpg", "exif": {"gps": None}} for k in range(12)]
    folder.write_ledger({"status": "done", "photos": photos})
    return folder, centres


def metric(centres):
    return 2.5 * centres @ TURN.T + (10.0, 20.0, 5.0)


def centres_file(path, places):
    path.write_text("# name x y z\n" + "".join(f"{name} {x}, {y}, {z}\n" for name, (x, y, z) in places.items()))
    return read_centres(path, 0.1)


def test_centres_bring_a_model_into_metres_and_wrong_ones_are_left_out(made, tmp_path):
    folder, centres = made
    places = {f"{k}.jpg": row for k, row in enumerate(metric(centres)[:8])}
    places["3.jpg"] = places["3.jpg"] + 40.0
    told = align_to(folder, centres_file(tmp_path / "centres.txt", places))
    assert set(told) == {"sparse/0"}
    entry = told["sparse/0"]
    assert (entry.photos, entry.outliers) == (7, 1) and entry.scale == pytest.approx(2.5) and entry.largest < 1e-6
    assert read_alignment(folder.sparse) == told and models_key(folder) == "the key"
    model = colmap.read_model(folder.sparse / "0")
    np.testing.assert_allclose(model.centres, metric(centres)[:8], atol=1e-6)
    np.testing.assert_allclose(model.xyz, metric(np.array([[1.0, 2, 8]])), atol=1e-6)
    np.testing.assert_allclose(colmap.read_model(folder.sparse / "1").centres, centres[8:], atol=1e-9)


def test_a_known_distance_scales_the_model_that_holds_it(made):
    folder, _ = made
    told = align_distance(folder, "8.jpg", "11.jpg", 7.0)
    assert set(told) == {"sparse/1"}
    scaled = colmap.read_model(folder.sparse / "1").centres
    assert np.linalg.norm(scaled[0] - scaled[3]) == pytest.approx(7.0)
    with pytest.raises(ConfigError, match="No model"):
        align_distance(folder, "0.jpg", "11.jpg", 7.0)
    with pytest.raises(ConfigError):
        align_distance(folder, "8.jpg", "11.jpg", -1.0)
    # Another model's alignment leaves that of the first as it was.
    align_distance(folder, "0.jpg", "1.jpg", 3.0)
    assert set(read_alignment(folder.sparse)) == {"sparse/0", "sparse/1"}


@pytest.mark.parametrize("place", [PARIS, (-16.5, 179.9999, 12.0)], ids=["Paris", "Fiji's date line"])
def test_gps_gives_east_north_up(made, place):
    folder, centres = made
    places = to_places(metric(centres), place)
    ledger = json.loads(folder.ledger_file.read_text())
    for entry, taken in zip(ledger["photos"][:8], places.tolist(), strict=False):
        entry["exif"]["gps"] = taken
    folder.write_ledger(ledger)
    told = align_to(folder, gps_target(folder, 15.0))["sparse/0"]
    assert told.origin is not None and told.largest < 1e-3
    model = colmap.read_model(folder.sparse / "0")
    assert np.linalg.norm(to_metres(np.array([told.origin]), place)) < 100
    np.testing.assert_allclose(to_places(model.centres, told.origin), places[:8], atol=1e-6)


def test_what_cannot_be_aligned_is_refused_and_stays(made, tmp_path):
    folder, centres = made
    before = colmap.read_model(folder.sparse / "0").centres
    with pytest.raises(InputError, match="GPS"):
        gps_target(folder, 15.0)
    line = {f"{k}.jpg": np.array([k * 1.0, 2.0, 3.0]) for k in range(8)}
    with pytest.raises(InputError, match="cannot be aligned"):
        align_to(folder, centres_file(tmp_path / "line.txt", line))
    two = {f"{k}.jpg": row for k, row in enumerate(metric(centres)[:2])}
    with pytest.raises(InputError, match="three at least"):
        align_to(folder, centres_file(tmp_path / "two.txt", two))
    (tmp_path / "bad.txt").write_text("0.jpg 1 2\n")
    with pytest.raises(InputError, match="Line 1"):
        read_centres(tmp_path / "bad.txt", 0.1)
    np.testing.assert_allclose(colmap.read_model(folder.sparse / "0").centres, before)
    assert read_alignment(folder.sparse) == {}
