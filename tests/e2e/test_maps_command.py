"""``recon map import`` and ``recon map align``, and maps that grow: the index and the metres keep in step."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from command import QUICK, assert_refused, recon

from pipelines import colmap
from pipelines.core.progress import Silent
from pipelines.localize.map import load_map
from pipelines.pairs.map_index import index_file
from pipelines.sfm.importing import cameras_alone
from pipelines.store.alignment import read_alignment
from pipelines.store.folder import MapFolder

NAMES = [f"courtyard_{number:02}.jpg" for number in range(1, 13)]


def true_centres(sample_data) -> dict[str, np.ndarray]:
    photos = json.loads((sample_data / "sfm" / "cameras.json").read_text())["photos"]
    poses = {name: np.array(entry["cam_from_world"]) for name, entry in photos.items()}
    return {name: -pose[:, :3].T @ pose[:, 3] for name, pose in poses.items()}


def centre_error(row: dict, sample_data) -> float:
    true = np.array(
        json.loads((sample_data / "query" / "cameras.json").read_text())["photos"][row["query"]]["cam_from_world"]
    )
    return float(np.linalg.norm(np.array(row["pose"]["centre"]) + true[:, :3].T @ true[:, 3]))


@pytest.fixture(scope="module")
def imported(small_map, photos, tmp_path_factory):
    """The model of ``small_map`` as if others had made it: in text, without recon's folder."""
    root = tmp_path_factory.mktemp("imported")
    colmap.write_text(colmap.load(small_map / "sparse" / "0"), root / "model" / "sparse" / "0")
    outcome = recon("map", "import", root / "model", "--images", photos, "--out", root / "map", *QUICK)
    assert outcome.code == 0, outcome
    return root / "map"


def test_an_imported_model_keeps_its_cameras_and_gets_points_of_ours(imported, small_map):
    given, made = (colmap.read_model(root / "sparse" / "0") for root in (small_map, imported))
    assert made.names == given.names
    np.testing.assert_allclose(made.cam_from_world, given.cam_from_world, atol=1e-9)
    np.testing.assert_allclose([c.params for c in made.cameras], [c.params for c in given.cameras], rtol=1e-9)
    assert len(made.xyz) > 0.7 * len(given.xyz) and made.errors.mean() < 1.5
    assert made.rgb.std() > 10
    assert (imported / "report.html").stat().st_size > 100_000 and index_file(MapFolder(imported)).exists()


def test_photos_are_found_in_an_imported_map_in_metres(imported, sample_data, tmp_path):
    copied = shutil.copytree(imported, tmp_path / "map")
    lines = [f"{name} {x} {y} {z}" for name, (x, y, z) in true_centres(sample_data).items()]
    (tmp_path / "centres.txt").write_text("\n".join(lines))
    outcome = recon("map", "align", copied, "--centres", tmp_path / "centres.txt", "--json")
    assert outcome.code == 0, outcome
    assert json.loads(outcome.out)["sparse/0"]["median"] < 0.05
    query = sample_data / "query" / "images" / "query_near.jpg"
    outcome = recon("localize", query, "--map", copied, "--json")
    (row,) = json.loads(outcome.out)["queries"]
    assert row["verdict"] == "found" and row["pose"]["unit"] == "metres" and row["pose"]["place"] is None
    assert row["pose"]["sigma_includes_map_error"] is False
    assert centre_error(row, sample_data) < 0.06


def test_import_refuses_what_it_cannot_use(imported, small_map, photos, sample_data, tmp_path):
    out = tmp_path / "out"
    assert_refused(recon("map", "import", tmp_path, "--images", photos, "--out", out), 3, "no COLMAP model")
    model = small_map / "sparse" / "0"
    other = sample_data / "query" / "images"
    assert_refused(recon("map", "import", model, "--images", other, "--out", out), 3, "0 of the 12 photos")
    assert not (out / "recon.json").exists()
    assert_refused(recon("map", "import", model, "--images", photos, "--out", photos), 2, "at once")
    assert not (photos / "recon.json").exists()
    assert_refused(recon("map", "align", imported), 2, "one way")
    assert_refused(recon("map", "align", tmp_path, "--gps"), 3, "no finished map")
    assert_refused(recon("map", "align", imported, "--distance", NAMES[0], "no.jpg", "2"), 2, "No model")
    exact = ("--distance", *NAMES[:2], "2", "--tolerance", "1")
    assert_refused(recon("map", "align", imported, *exact), 2, "has no tolerance")


def test_photos_that_are_not_the_models_are_doubted(small_map, photos, tmp_path):
    """The same files under each other's names: matches agree with the wrong poses by chance alone."""
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number in range(1, 13):
        shutil.copy(photos / f"courtyard_{13 - number:02}.jpg", mixed / f"courtyard_{number:02}.jpg")
    outcome = recon("map", "import", small_map, "--images", mixed, "--out", tmp_path / "out", *QUICK)
    assert outcome.code == 0 and "not those of the model" in outcome.err, outcome
    right = recon("map", "import", small_map, "--images", photos, "--out", tmp_path / "out", *QUICK)
    assert right.code == 0 and "not those of the model" not in right.err, right


def test_a_map_that_grows_keeps_its_metres_and_its_index_in_step(some, sample_data, tmp_path):
    folder = tmp_path / "map"
    assert recon("sfm", some(range(1, 8)), "--out", folder, *QUICK).code == 0
    true = true_centres(sample_data)
    (tmp_path / "centres.txt").write_text("\n".join(f"{n} {x} {y} {z}" for n, (x, y, z) in true.items()))
    assert recon("map", "align", folder, "--centres", tmp_path / "centres.txt").code == 0
    assert len(load_map(folder, progress=Silent()).index.vectors) == 7
    before = colmap.read_model(folder / "sparse" / "0")

    assert recon("sfm", some(range(8, 11), "more"), "--add-to", folder, "-q").code == 0
    grown = colmap.read_model(folder / "sparse" / "0")
    assert set(grown.names) == set(NAMES[:10])
    assert read_alignment(folder / "sparse")["sparse/0"].how == "centres"
    old = [grown.names.index(name) for name in before.names]
    np.testing.assert_allclose(grown.centres[old], before.centres, atol=0.03)
    new = [index for index, name in enumerate(grown.names) if name not in before.names]
    np.testing.assert_allclose(grown.centres[new], [true[grown.names[index]] for index in new], atol=0.15)

    target = load_map(folder, progress=Silent())
    assert len(target.index.vectors) == 10 and target.alignments["sparse/0"].how == "centres"
    # Each photo is its own nearest: the rows of the index are those of the photos.
    described = np.array([target.index.describe(target.files.load(number)) for number in range(10)])
    assert target.index.query(described, 1)[0][:, 0].tolist() == list(range(10))


def test_an_imported_map_grows_with_its_own_cameras(small_map, photos, some, tmp_path):
    reduced = colmap.load(small_map / "sparse" / "0")
    model = colmap.to_model(reduced)
    kept = [index for index, name in enumerate(model.names) if name in NAMES[:9]]
    poses = dict(zip(model.names, model.cam_from_world, strict=True))
    cameras = [model.cameras[index] for index in kept]
    colmap.write_model(colmap.from_model(cameras_alone(model, NAMES[:9], cameras)), tmp_path / "model")
    folder = tmp_path / "map"
    assert recon("map", "import", tmp_path / "model", "--images", photos, "--out", folder, *QUICK).code == 0
    assert recon("sfm", some([10, 11]), "--add-to", folder, "-q").code == 0
    grown = colmap.read_model(folder / "sparse" / "0")
    assert set(grown.names) == set(NAMES[:11])
    scale = np.linalg.norm(model.centres - model.centres.mean(0), axis=1).mean()
    for name in ("courtyard_10.jpg", "courtyard_11.jpg"):
        pose = poses[name]
        off = np.linalg.norm(grown.centres[grown.names.index(name)] + pose[:, :3].T @ pose[:, 3])
        assert off < 0.05 * scale


def test_a_map_is_not_imported_into_itself(small_map, photos):
    kept = (small_map / "recon.json").read_bytes()
    for model in (small_map, small_map / "sparse" / "0"):
        outcome = recon("map", "import", model, "--images", photos, "--out", small_map)
        assert_refused(outcome, 2, "take the place of the model", "--out")
    assert (small_map / "recon.json").read_bytes() == kept
