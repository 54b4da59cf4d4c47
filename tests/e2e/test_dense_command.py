"""``recon dense`` as a user runs it: its products, what is done again and what is not, and how it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import assert_complaint_only, drafts, recon, start
from test_bad_disk import finished, mounted

from pipelines import colmap
from pipelines.core.maps import Model

FAST = ("--size", "200", "-q")


@pytest.fixture(scope="module")
def dense_map(small_map: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of twelve photos with its dense folder. Not to be changed."""
    folder = shutil.copytree(small_map, tmp_path_factory.mktemp("dense") / "map")
    outcome = recon("dense", folder, *FAST)
    assert outcome.code == 0, outcome
    assert " points from 12 of 12 photos, and a mesh of " in outcome.out
    return folder


def kept(folder: Path) -> dict[str, int]:
    """When each per-photo file was written, ns."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "work").rglob("*.*")}


def test_products(dense_map):
    import open3d as o3d

    folder = dense_map / "dense"
    ledger = json.loads((folder / "dense.json").read_text())
    cloud = o3d.io.read_point_cloud(str(folder / "cloud.ply"))
    assert len(cloud.points) == ledger["points"] > 10_000 and cloud.has_normals() and cloud.has_colors()
    meshes = [o3d.io.read_triangle_mesh(str(folder / f"mesh.{ending}")) for ending in ("ply", "obj", "glb")]
    for mesh in meshes:
        assert len(mesh.triangles) == ledger["faces"] > 10_000
        assert mesh.has_vertex_colors()
    spread = [np.ptp(np.asarray(mesh.vertices), axis=0) for mesh in meshes]
    np.testing.assert_allclose(spread[1], spread[0], rtol=1e-4)
    np.testing.assert_allclose(spread[2], spread[0], rtol=1e-4)
    assert ledger["complete"] > 0.7 and ledger["distance"] < 2 * ledger["step"]
    assert len(list((folder / "depth").glob("*.png"))) == 12 and (folder / "turntable.jpg").is_file()
    assert all(photo["covered"] > 0.2 and photo["deviation"] < 0.02 for photo in ledger["photos"])
    assert not drafts(dense_map)


def test_benchmark_tells_what_the_ledger_says_and_metres_by_the_truth(dense_map, small_map, photos, tmp_path):
    outcome = recon("benchmark", "dense", dense_map, "--truth", photos.parent, "--json")
    assert outcome.code == 0, outcome
    (row,) = json.loads(outcome.out)
    ledger = json.loads((dense_map / "dense" / "dense.json").read_text())
    assert row["triangles"] == ledger["faces"] and row["complete"] == ledger["complete"]
    assert row["distance"] == pytest.approx(ledger["distance"], rel=0.01)
    assert 0.5 < row["near"] < 1 and 1 < row["distance"] * row["metres"] * 1000 < 30
    exact = row["exact"]
    assert exact["deviation"] < 0.006 and exact["right"] > 0.75 and exact["covered"] > 0.4 and exact["sky"] < 0.02
    assert exact["mesh_right"] > 0.6 and exact["mesh_nearer"] + exact["mesh_farther"] < 0.3 and exact["mesh_sky"] < 0.2
    told = recon("benchmark", "dense", dense_map, "--truth", photos.parent)
    assert f"{100 * exact['deviation']:.3f} %" in told.out and "sky with a mesh" in told.out
    plain = recon("benchmark", "dense", dense_map)
    assert plain.code == 0 and "units" in plain.out and "mm" not in plain.out
    assert_complaint_only(recon("benchmark", "dense", small_map), 3, "There is no mesh in", "recon dense")
    assert_complaint_only(recon("benchmark", "dense", dense_map, "--truth", dense_map), 3, "true cameras of 0 photos")
    bare = shutil.copytree(photos.parent, tmp_path / "truth", ignore=shutil.ignore_patterns("*_03.png"))
    assert_complaint_only(recon("benchmark", "dense", dense_map, "--truth", bare), 3, "courtyard_03.png cannot be read")
    earlier = shutil.copytree(dense_map, tmp_path / "earlier")
    ledger["photos"][3].pop("depth_file")
    (earlier / "dense" / "dense.json").write_text(json.dumps(ledger))
    refused = recon("benchmark", "dense", earlier, "--truth", photos.parent)
    assert_complaint_only(refused, 3, "does not tell where the depth maps are", "recon dense")


def test_fewer_triangles(dense_map, tmp_path):
    folder = shutil.copytree(dense_map, tmp_path / "map")
    outcome = recon("dense", folder, *FAST, "--triangles", "5000", "--json")
    assert 4000 < json.loads(outcome.out)["faces"] <= 5000


def test_report(dense_map):
    text = (dense_map / "dense" / "report.html").read_text()
    assert text.count('class="turntable"') == 1 and text.count("<figure") == 12
    assert "http://" not in text.replace("http://www.w3.org", "") and 'src="/' not in text
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert [len(component["cameras"]) for component in data["components"]] == [12, 12]
    assert len(data["photos"]) == len(data["thumbnails"]) == 12
    whole = (dense_map / "report.html").read_text()
    assert whole.count("<!--dense-->") == 1 and 'href="dense/report.html"' in whole
    assert whole.index("<!--dense-->") < whole.index("</main>")


def test_nothing_is_done_twice_and_options_redo_what_depends_on_them(dense_map, tmp_path):
    folder = shutil.copytree(dense_map, tmp_path / "map")
    before = kept(folder / "dense")
    cloud = (folder / "dense" / "cloud.ply").read_bytes()
    ledger = json.loads((folder / "dense" / "dense.json").read_text())
    ledger["photos"].append({**ledger["photos"][0], "name": "gone.jpg"})
    (folder / "dense" / "dense.json").write_text(json.dumps(ledger))
    for name in ("mine", "gone"):
        (folder / "dense" / "depth" / f"{name}.png").touch()
    assert recon("dense", folder, *FAST, "--mesh", "none").code == 0
    assert kept(folder / "dense") == before
    left = {path.name for path in (folder / "dense").iterdir()}
    assert not {"turntable.jpg", "mesh.ply", "mesh.obj", "mesh.glb"} & left, "they are not of this run's cloud"
    maps = {path.stem for path in (folder / "dense" / "depth").glob("*.png")}
    assert len(maps) == 13 and "mine" in maps, "what recon did not write stays"
    assert (folder / "dense" / "cloud.ply").read_bytes() == cloud
    assert (folder / "report.html").read_text().count("<!--dense-->") == 1
    outcome = recon("dense", folder, *FAST, "--consistent", "3", "--mesh", "none", "--json")
    after, plain = kept(folder / "dense"), json.loads(outcome.out)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 24, "what photos agree about and points are new, pictures and depth are not"
    assert (
        plain["faces"] == 0 and plain["points"] < json.loads((dense_map / "dense" / "dense.json").read_text())["points"]
    )


def test_killed_and_resumed(dense_map, tmp_path):
    """Killed while depth is found, and again while photos are compared: the end is the same, finished work stays."""
    folder = shutil.copytree(dense_map, tmp_path / "map", ignore=shutil.ignore_patterns("dense"))
    work = folder / "dense" / "work" / "depth"
    for least in (3, 15):
        process = start("dense", folder, *FAST, "--mesh", "none")
        while process.poll() is None and len(list(work.glob("*.npz"))) < least:
            time.sleep(0.002)
        assert process.poll() is None, "the kill came too late to mean anything"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (folder / "dense" / "dense.json").exists()
    before = kept(folder / "dense")
    assert len(before) >= 12 + 15
    assert recon("dense", folder, *FAST, "--mesh", "none").code == 0
    after = kept(folder / "dense")
    whole = [name for name in before if not name.startswith(".")]
    assert {name: after[name] for name in whole} == {name: before[name] for name in whole}
    assert (folder / "dense" / "cloud.ply").read_bytes() == (dense_map / "dense" / "cloud.ply").read_bytes()
    assert not drafts(folder)


# --- refusals ---------------------------------------------------------------------------------------------------------


def write(model: Model, folder: Path) -> Path:
    """A COLMAP model at ``folder``."""
    colmap.write_model(colmap.from_model(model), folder)
    return folder


def test_no_map(tmp_path, photos):
    assert_complaint_only(recon("dense", tmp_path, *FAST), 3, "There is no model in")
    assert_complaint_only(recon("dense", tmp_path / "gone", *FAST), 3, "There is no model in")


def test_photos_gone_or_moved(small_map, photos, tmp_path):
    folder = shutil.copytree(small_map, tmp_path / "map")
    ledger = json.loads((folder / "recon.json").read_text())
    for photo in ledger["photos"]:
        photo["path"] = photo["path"].replace("sample_data", "elsewhere")
    (folder / "recon.json").write_text(json.dumps(ledger))
    assert_complaint_only(recon("dense", folder, *FAST), 3, "12 of 12 photos of the map are gone", "--photos")
    assert recon("dense", folder, *FAST, "--photos", photos, "--mesh", "none").code == 0


def test_one_photo(small_map, tmp_path):
    model = colmap.read_model(small_map / "sparse" / "0")
    rows = model.obs_image == 0
    alone = replace(
        model,
        names=model.names[:1],
        cameras=model.cameras[:1],
        cam_from_world=model.cam_from_world[:1],
        obs_image=model.obs_image[rows],
        obs_point=model.obs_point[rows],
        obs_keypoint=model.obs_keypoint[rows],
        obs_xy=model.obs_xy[rows],
    )
    assert_complaint_only(recon("dense", write(alone, tmp_path / "one"), *FAST), 3, "its model has one photo")


def test_no_neighbours(small_map, photos, tmp_path):
    """Photos that share no point of the map."""
    model = colmap.read_model(small_map / "sparse" / "0")
    apart = np.arange(len(model.obs_point), dtype=np.int32)
    points = {"xyz": model.xyz[model.obs_point], "rgb": model.rgb[model.obs_point]}
    lonely = replace(model, obs_point=apart, errors=model.errors[model.obs_point], **points)
    folder = write(lonely, tmp_path / "apart")
    assert_complaint_only(recon("dense", folder, *FAST, "--photos", photos), 4, "has a neighbour")


def test_wrong_options(small_map):
    assert_complaint_only(recon("dense", small_map, "-q", "--mesh", "cubes"), 2, "There is no mesh 'cubes'", "poisson")
    assert_complaint_only(recon("dense", small_map, "-q", "--size", "10"), 2, "--size 10 is too small")
    assert_complaint_only(recon("dense", small_map, "-q", "--triangles", "-1"), 2, "--triangles -1 is too small")
    assert_complaint_only(recon("dense", small_map, "-q", "--component", "7"), 3, "There is no model 7")


def test_full_disk(small_map, tmp_path):
    with mounted(tmp_path / "disk", "size=3m") as disk:
        outcome = finished("dense", small_map, *FAST, "--out", disk / "dense")
        assert_complaint_only(outcome, 6, "the disk is full", "free some space")
        assert not drafts(disk)
