"""Killed at any moment and started again, a run ends as if it had never been killed; nothing is done twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from command import QUICK, SMALL, drafts, products, recon, start, times

from pipelines.store.files import read_arrays
from pipelines.store.folder import MapFolder
from recon.__main__ import main as recon_main


def result_of(folder: Path) -> dict:
    """What recon.json says, without what is different in every run."""
    ledger = json.loads((folder / "recon.json").read_text("utf-8"))
    for key in ("timings", "peak_memory"):
        del ledger["result"][key]
    return ledger


def assert_like_uninterrupted(folder: Path, small_map: Path) -> None:
    made, wanted = products(folder), products(small_map)
    assert made.keys() == wanted.keys()
    differing = [name for name in wanted if made[name] != wanted[name]]
    assert [name for name in differing if not same_arrays(folder / name, small_map / name)] == []
    assert result_of(folder) == result_of(small_map)
    assert "All 12 photos are in one model" in (folder / "report.html").read_text("utf-8")
    assert not drafts(folder) and not list(folder.glob("database.db-*")) and not (folder / "snapshots").exists()


def same_arrays(first: Path, second: Path) -> bool:
    """Whether two archives hold the same: a bit that no reader looks at, of a date say, may be flipped and stay so."""
    if first.suffix != ".npz":
        return False
    a, b = read_arrays(first), read_arrays(second)
    return a is not None and b is not None and a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def kill(process: subprocess.Popen[str], how: int = signal.SIGKILL) -> None:
    os.killpg(process.pid, how)
    process.communicate(timeout=60)


def written(folder: Path, pattern: str, count: int = 1) -> Callable[[], bool]:
    return lambda: len(list(folder.glob(pattern))) >= count


def mapping(folder: Path, like: Path) -> Callable[[], bool]:
    """The moment from which the database of new models is whole and they are being made."""
    size = (like / "database.db").stat().st_size
    draft = MapFolder(folder).next_database
    return lambda: draft.is_file() and draft.stat().st_size == size


def stop_when(process: subprocess.Popen[str], moment: Callable[[], bool], how: int = signal.SIGKILL) -> bool:
    """Kill a run once the moment has come; False if it ended before."""
    while process.poll() is None:
        if moment():
            kill(process, how)
            return True
        time.sleep(0.001)
    process.communicate()
    return False


# --- killed -----------------------------------------------------------------------------------------------------------


def test_killed_in_every_stage(small_map, photos, tmp_path):
    """One folder, killed again and again, each time a little later."""
    folder = tmp_path / "map"
    moments = {
        "features begin": written(folder, "features/.*.draft"),
        "features": written(folder, "features/*.npz", 5),
        "matches": written(folder, "matches/*.npz", 20),
        "verified": written(folder, "matches/*.npz", 90),
        "database": written(folder, ".database.db.draft*"),
        "mapping": mapping(folder, small_map),
        "models": written(folder, ".sparse.*.draft"),
        "report": written(folder, "sparse/0"),
    }
    killed = []
    for name, moment in moments.items():
        if stop_when(start("sfm", photos, "--out", folder, *QUICK), moment):
            killed.append(name)
            assert not (folder / "recon.json").exists()
    assert {"features", "matches", "verified", "mapping"} <= set(killed), "the kills came too late to mean anything"
    outcome = recon("sfm", photos, "--out", folder, *QUICK)
    assert outcome.code == 0, outcome
    assert_like_uninterrupted(folder, small_map)


def test_killed_at_random_moments(small_map, photos, tmp_path):
    folder = tmp_path / "map"
    begin = time.monotonic()
    start("sfm", photos, "--out", tmp_path / "calm", *QUICK).communicate(timeout=600)
    whole = time.monotonic() - begin
    rng = random.Random(20261122)
    kills = 0
    for _ in range(8):
        process = start("sfm", photos, "--out", folder, *QUICK)
        try:
            process.communicate(timeout=rng.uniform(0.3, 0.7) * whole)
            break
        except subprocess.TimeoutExpired:
            kill(process)
            kills += 1
    assert kills >= 1
    outcome = recon("sfm", photos, "--out", folder, *QUICK)
    assert outcome.code == 0, outcome
    assert_like_uninterrupted(folder, small_map)


def test_killed_while_a_map_grows(photos, tmp_path):
    """The models of the old map are never away, and the same command makes of them what it would have made."""
    home = tmp_path
    for name, numbers in (("old", range(1, 6)), ("new", range(6, 9))):
        (home / name).mkdir()
        for number in numbers:
            shutil.copy(photos / f"courtyard_{number:02}.jpg", home / name)
    folder, calm = home / "map", home / "calm"
    assert recon("sfm", home / "old", "--out", folder, *QUICK).code == 0
    shutil.copytree(folder, calm)
    assert recon("sfm", home / "new", "--add-to", calm, "-q").code == 0
    before = (folder / "sparse" / "0" / "images.bin").read_bytes()
    report = (folder / "report.html").read_bytes()
    moments = (
        written(folder, "features/*.npz", 7),
        mapping(folder, calm),
        lambda: (
            (folder / "sparse" / "0" / "images.bin").is_file()
            and (folder / "sparse" / "0" / "images.bin").read_bytes() != before
        ),
    )
    killed = [stop_when(start("sfm", home / "new", "--add-to", folder, "-q"), moment) for moment in moments]
    assert all(killed[:2]), "too late"
    if killed[2]:  # On a busy machine it may have ended before it was looked at.
        assert len(json.loads((folder / "recon.json").read_text("utf-8"))["photos"]) == 5
        page = (folder / "report.html").read_bytes()
        assert page == report or b"All 8 photos" in page
        assert recon("sfm", home / "new", "--add-to", folder, "-q").code == 0
    assert products(folder) == products(calm)
    assert result_of(folder)["verdict"] == result_of(calm)["verdict"]
    assert "All 8 photos are in one model" in (folder / "report.html").read_text("utf-8")


def test_killed_between_the_old_models_and_the_new(copied, photos, small_map):
    """The one moment in which ``sparse`` is away."""
    (copied / "sparse").rename(copied / ".sparse.before")
    (copied / ".sparse.1234.draft" / "0").mkdir(parents=True)
    (copied / ".database.db.draft-journal").write_bytes(b"half a page")
    (copied / "features" / ".key.npz.1234.5678.draft").write_bytes(b"half a file")
    outcome = recon("sfm", photos, "--out", copied, *SMALL)
    assert outcome.code == 0 and "The models are up to date" in outcome.err, outcome
    assert_like_uninterrupted(copied, small_map)


def test_a_log_left_by_a_killed_program_does_not_spoil_the_next_database(copied, photos, small_map):
    """SQLite would replay it into the database of other options, which takes the old one's place."""
    with pycolmap.Database.open(copied / "database.db") as database:
        database.clear_two_view_geometries()
        logs = [copied / f"database.db-{ending}" for ending in ("wal", "shm")]
        left = [(path, path.read_bytes()) for path in logs]
    for path, data in left:
        path.write_bytes(data)
    (copied / "sparse" / "made-from.txt").unlink()
    assert recon("sfm", photos, "--out", copied, *QUICK).code == 0
    assert_like_uninterrupted(copied, small_map)


def test_interrupted_by_the_user(small_map, photos, tmp_path):
    folder = tmp_path / "map"
    moments = (written(folder, "features/*.npz", 3), mapping(folder, small_map))
    interrupted = 0
    for moment in moments:
        process = start("sfm", photos, "--out", folder, *QUICK)
        while process.poll() is None and not moment():
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        if process.returncode == 0:  # on a busy machine it may end before its moment is seen
            continue
        interrupted += 1
        assert process.returncode == 130 and out == ""
        assert err == "recon: Interrupted. Finished work is kept: the same command goes on from here.\n"
        assert not drafts(folder)
    assert interrupted
    assert recon("sfm", photos, "--out", folder, *QUICK).code == 0
    assert_like_uninterrupted(folder, small_map)


def test_an_interrupt_counts_from_the_start_and_promises_only_what_is_kept(monkeypatch, capsys):
    def interrupted(**options):
        raise KeyboardInterrupt

    def interrupted_in_a_library(**options):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError("initialization failed") from interrupt

    def ending() -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            recon_main()
        return end.value.code, capsys.readouterr().err

    monkeypatch.setattr("os._exit", sys.exit)
    monkeypatch.setattr("atexit._run_exitfuncs", lambda: None)
    monkeypatch.setattr("recon.cli.app", interrupted)
    assert ending() == (130, "recon: Interrupted.\n")
    monkeypatch.setattr("recon.cli.app", interrupted_in_a_library)
    assert ending() == (130, "recon: Interrupted.\n")
    monkeypatch.setattr("recon.cli.app", lambda **options: 130)
    monkeypatch.setattr("sys.argv", ["recon", "stitch", "a"])
    assert ending() == (130, "recon: Interrupted.\n")


# --- run again --------------------------------------------------------------------------------------------------------


def test_a_second_run_does_no_work_again(copied, photos, small_map):
    before = times(copied)
    outcome = recon("sfm", photos, "--out", copied, *SMALL)
    assert outcome.code == 0 and "The models are up to date" in outcome.err, outcome
    assert times(copied) == before
    assert_like_uninterrupted(copied, small_map)
    timings = json.loads((copied / "recon.json").read_text("utf-8"))["result"]["timings"]
    assert "Mapping" not in timings


def changed(before: dict[str, int], folder: Path) -> tuple[set[str], set[str]]:
    """Products that are new, and old ones that were written again."""
    after = times(folder)
    assert before.keys() <= after.keys(), "what another run may need again stays"
    return after.keys() - before.keys(), {name for name in before if after[name] != before[name]}


def is_verified(path: Path) -> bool:
    with np.load(path) as arrays:
        return "inliers" in arrays.files


MODELS = {"database.db", *(f"sparse/0/{name}.bin" for name in ("cameras", "frames", "images", "points3D", "rigs"))}
MODELS |= {"sparse/made-from.txt"}


@pytest.mark.parametrize(
    ("words", "features", "raw", "verified"),
    [
        (("--ratio", 0.7), 0, 66, 66),
        (("--seed", 5), 0, 66, 66),
        (("--max-error", 3), 0, 66, 66),
        (("--mapper", "global"), 0, 0, 0),
        (("--max-keypoints", 900), 12, 66, 66),
        (("--camera-model", "RADIAL"), 0, 66, 66),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_changed_option_makes_only_what_depends_on_it(words, features, raw, verified, copied, photos, small_map):
    before = times(copied)
    outcome = recon("sfm", photos, "--out", copied, *QUICK, *words)
    assert outcome.code == 0, outcome
    new, again = changed(before, copied)
    assert again == MODELS
    assert sum(name.startswith("features/") for name in new) == features
    kinds = [is_verified(copied / name) for name in new if name.startswith("matches/")]
    assert (kinds.count(False), kinds.count(True)) == (raw, verified)
    assert len(new) == features + raw + verified
    # And back again: the database and models of the first options, from what is still there.
    before = times(copied)
    assert recon("sfm", photos, "--out", copied, *QUICK).code == 0
    assert changed(before, copied) == (set(), MODELS)
    wanted = products(small_map)
    assert {name: data for name, data in products(copied).items() if name in wanted} == wanted


def test_features_belong_to_content_not_to_names(copied, photos, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "photos")
    (folder / "courtyard_01.jpg").rename(folder / "a new name.jpg")
    turned = cv2.imread(str(folder / "courtyard_12.jpg"))[::-1, ::-1]
    cv2.imwrite(str(folder / "courtyard_12.jpg"), turned)
    before = times(copied)
    assert recon("sfm", folder, "--out", copied, *QUICK).code == 0
    new, again = changed(before, copied)
    assert again == MODELS
    assert sum(name.startswith("features/") for name in new) == 1
    raw = [name for name in new if name.startswith("matches/") and not is_verified(copied / name)]
    # The renamed photo comes first now as before; the changed one is in eleven pairs.
    assert len(raw) == 11


def test_a_failed_run_leaves_a_finished_map_as_it_is(copied, photos, sample_data, small_map):
    """Other options that find nothing, and other photos that make no model, are told; the map stays in use."""
    kept = {**products(copied), **{name: (copied / name).read_bytes() for name in ("recon.json", "report.html")}}
    failed = recon("sfm", photos, "--out", copied, *SMALL, "--min-matches", 5000)
    assert failed.code == 4 and f"The finished map in {copied} stays as it was" in failed.err, failed
    flat = recon("sfm", sample_data / "panorama" / "images", "--out", copied, "--json", *SMALL)
    assert flat.code == 5, flat
    told = json.loads(flat.out)
    assert (told["status"], told["exit_code"]) == ("failed", 5) and "No 3D model" in told["verdict"]
    assert {name: (copied / name).read_bytes() for name in kept} == kept and not drafts(copied)
    outcome = recon("sfm", photos, "--out", copied, *SMALL)
    assert outcome.code == 0 and "The models are up to date" in outcome.err, outcome
    assert result_of(copied) == result_of(small_map)


def test_a_map_that_fails_to_grow_says_so_as_json(copied, sample_data, monkeypatch):
    kept = {**products(copied), "recon.json": (copied / "recon.json").read_bytes()}
    monkeypatch.setattr("pipelines.sfm.mapping.map_photos", lambda *args, **options: [])
    outcome = recon("sfm", sample_data / "query" / "images", "--add-to", copied, "--json")
    assert outcome.code == 5 and json.loads(outcome.out)["status"] == "failed", outcome
    assert json.loads(outcome.out)["verdict"] == outcome.sentences[0].removeprefix("recon: ")
    assert {name: (copied / name).read_bytes() for name in kept} == kept and not drafts(copied)


def test_what_a_new_map_drops_of_the_old_one_is_told(some, tmp_path):
    folder = tmp_path / "map"
    assert recon("sfm", some([1, 2, 3, 4]), "--out", folder, *QUICK).code == 0
    names = ["courtyard_01.jpg", "courtyard_02.jpg"]
    assert recon("map", "align", folder, "--distance", *names, "1.5").code == 0
    again = recon("sfm", some([1, 2, 3, 4]), "--out", folder, *SMALL)
    assert again.code == 0 and "up to date" in again.err and "without" not in again.err, again
    fewer = recon("sfm", some([1, 2, 3], "three"), "--out", folder, *SMALL)
    assert fewer.code == 0, fewer
    assert f"1 of the 4 photos of the map in {folder} are not among those given" in fewer.err
    assert "(courtyard_04.jpg). To keep them: --add-to" in fewer.err
    assert "without the alignment of the old: run `recon map align` again" in fewer.err
    assert recon("map", "align", folder, "--distance", *names, "1.5").code == 0
    quiet = recon("sfm", some([1, 2, 3, 4]), "--out", folder, *QUICK)
    assert quiet.code == 0 and quiet.err.startswith("The models are made anew, without the alignment"), quiet
    fewer = recon("sfm", some([1, 2, 3], "three"), "--out", folder, *SMALL, "--json")
    assert json.loads(fewer.out)["warnings"] == fewer.err.splitlines() and "courtyard_04.jpg" in fewer.err, fewer


@pytest.mark.parametrize("damage", [b"hi\n", b""], ids=["text", "empty"])
def test_a_damaged_database_is_made_again(damage, copied, photos, small_map):
    (copied / "database.db").write_bytes(damage)
    assert recon("sfm", photos, "--out", copied, *QUICK).code == 0
    assert_like_uninterrupted(copied, small_map)


def test_damaged_files_are_made_again(copied, photos, small_map):
    rng = random.Random(3)
    features, matches = sorted((copied / "features").iterdir()), sorted((copied / "matches").iterdir())
    for path in [*rng.sample(features, 4), *rng.sample(matches, 12)]:
        data = bytearray(path.read_bytes())
        damage = rng.choice(("cut", "empty", "garbage", "flip", "text"))
        if damage == "cut":
            data = data[: rng.randrange(1, len(data))]
        elif damage == "flip":
            data[rng.randrange(len(data))] ^= 0xFF
        else:
            data = bytearray({"empty": b"", "garbage": rng.randbytes(len(data)), "text": b"not an archive"}[damage])
        path.write_bytes(data)
    points = copied / "sparse" / "0" / "points3D.bin"
    points.write_bytes(points.read_bytes()[:1000])
    outcome = recon("sfm", photos, "--out", copied, *QUICK)
    assert outcome.code == 0, outcome
    assert_like_uninterrupted(copied, small_map)


@pytest.mark.parametrize("lost", ["recon.json", "report.html", "database.db", "sparse", "features", "matches"])
def test_lost_products_are_made_again(lost, copied, photos, small_map):
    path = copied / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert recon("sfm", photos, "--out", copied, *QUICK).code == 0
    assert_like_uninterrupted(copied, small_map)
