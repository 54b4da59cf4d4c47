"""Whatever is wrong with the disk, and two runs in one folder: one sentence, the exit code, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import QUICK, Outcome, assert_complaint_only, assert_refused, drafts, products, recon, start, times

from pipelines import colmap
from pipelines.core.errors import OutputError
from pipelines.sfm.mapping import keep_models, models_key
from pipelines.store.folder import MapFolder


@pytest.fixture
def two(some) -> Path:
    """A folder of two photos that overlap."""
    return some([1, 2])


# --- the disk ---------------------------------------------------------------------------------------------------------


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own at ``folder``; the test is skipped where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "recon-test", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting is not permitted here: {getattr(error, 'stderr', '') or error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def finished(*words: object) -> Outcome:
    """The command as a process of its own: a full disk must not end it by a signal, or leak into later runs."""
    process = start(*words)
    out, err = process.communicate(timeout=600)
    return Outcome(process.returncode, out, err)


def test_out_below_a_file(two, tmp_path):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "file", tmp_path / "file" / "map"):
        outcome = recon("sfm", two, "--out", out, *QUICK)
        assert_complaint_only(outcome, 6, f"Cannot write {out}", "a file stands where a folder is needed", "--out")
    assert (tmp_path / "file").read_text() == "precious"


def test_read_only_folder(two, tmp_path):
    with mounted(tmp_path / "disk", "size=20m") as disk:
        made = recon("sfm", two, "--out", disk / "map", *QUICK)
        before = products(disk / "map")
        remount(disk, "ro")
        said = ("Cannot write", "the file system is read-only", "--out")
        assert_complaint_only(recon("sfm", two, "--out", disk / "other", *QUICK), 6, *said)
        assert_complaint_only(recon("sfm", two, "--out", disk / "map", *QUICK), 6, *said)
        assert_complaint_only(recon("sfm", two, "--out", disk / "map", *QUICK, "--ratio", 0.7), 6, *said)
        assert products(disk / "map") == before and made.code == 0


def test_pictures_on_a_read_only_disk(two, tmp_path):
    photos = sorted(two.iterdir())
    said = ("Cannot write", "the file system is read-only", "--out")
    with mounted(tmp_path / "disk", "ro") as disk:
        for name, words in {"match": ("-o", disk / "a.png"), "stitch": ("-q", "-o", disk / "a.jpg")}.items():
            assert_refused(recon(name, *photos, *words), 6, *said)
        assert_complaint_only(recon("stereo", *photos, "-q", "-o", disk / "depth"), 6, *said)


def test_full_disk_at_every_stage(some, tmp_path):
    """The disk grows bit by bit under the same command, until it fits; each try goes on where the last one failed."""
    folder = some(range(1, 5))
    assert recon("sfm", folder, "--out", tmp_path / "free", *QUICK).code == 0
    wanted = products(tmp_path / "free")
    sizes = {"features": 0, "matches": 0}
    for name, data in wanted.items():
        stage = name.split("/")[0]
        sizes[stage] = sizes.get(stage, 0) + len(data)
    steps = [0.4 * sizes["features"], sizes["features"] + 0.5 * sizes["matches"]]
    steps += [sizes["features"] + sizes["matches"] + share * sizes["database.db"] for share in (0.6, 1.1, 1.8, 2.4)]
    failed = []
    with mounted(tmp_path / "disk", f"size={int(steps[0])}") as disk:
        out = disk / "map"
        for size in steps:
            remount(disk, f"size={int(size)}")
            outcome = finished("sfm", folder, "--out", out, *QUICK)
            assert_complaint_only(outcome, 6, "Cannot write", "the disk is full", "finished work is kept")
            failed.append(outcome.sentences[0].split(str(out))[1].split("/")[1].split(":")[0])
            assert not drafts(out) and not (out / "recon.json").exists() and not (out / "sparse").exists()
        assert {"features", "matches", "database.db"} <= set(failed), failed
        remount(disk, "size=64m")
        outcome = finished("sfm", folder, "--out", out, *QUICK)
        assert outcome.code == 0 and products(out) == wanted, outcome


def test_full_disk_below_a_finished_map(some, tmp_path):
    """A later run on a full disk fails, whatever it wants to write, and the map that stands there stays."""
    folder = some(range(1, 4))
    with mounted(tmp_path / "disk", "size=64m") as disk:
        out = disk / "map"
        assert recon("sfm", folder, "--out", out, *QUICK).code == 0
        before = products(out)
        (disk / "ballast").write_bytes(b"")
        free = os.statvfs(disk)
        with open(disk / "ballast", "wb") as ballast:
            ballast.write(bytes(free.f_bavail * free.f_frsize))
        for words in ((), ("--ratio", 0.7), ("--seed", 3), ("--max-keypoints", 900)):
            outcome = finished("sfm", folder, "--out", out, *QUICK, *words)
            assert_complaint_only(outcome, 6, "Cannot write", "the disk is full")
            # Only the note that database and models belong together may go, which is made again with the map.
            lost = {name for name in before if products(out).get(name) != before[name]}
            assert lost <= {"sparse/made-from.txt"} and not drafts(out)
            assert (out / "report.html").stat().st_size > 10_000
        (disk / "ballast").unlink()
        assert finished("sfm", folder, "--out", out, *QUICK).code == 0
        assert products(out) == before


def test_full_disk_while_models_are_replaced(copied, tmp_path):
    """COLMAP does not notice that the disk is full: what it wrote is looked at before it takes the old one's place."""
    model = colmap.load(copied / "sparse" / "0")
    whole = sum(file.stat().st_size for file in (copied / "sparse" / "0").iterdir())
    for share in (0.05, 0.5, 0.98):
        with mounted(tmp_path / "disk", f"size={int(whole * 3)}") as disk:
            folder = MapFolder(disk)
            folder.create()
            keep_models(folder, [model], "old")
            free = os.statvfs(disk)
            (disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - int(share * whole)))
            with pytest.raises(OutputError, match="Cannot write"):
                keep_models(folder, [model], "new")
            assert models_key(folder) == "old" and len(colmap.component_folders(folder.sparse)) == 1
            assert not drafts(disk)


# --- two runs at once -------------------------------------------------------------------------------------------------


def test_a_second_run_in_the_same_folder_is_told_to_wait(photos, small_map, tmp_path):
    out = tmp_path / "map"
    first = start("sfm", photos, "--out", out, *QUICK)
    try:
        limit = time.monotonic() + 120
        while not list(out.glob("features/*.npz")) and time.monotonic() < limit:
            time.sleep(0.02)
        second = recon("sfm", photos, "--out", out, *QUICK)
        grown = recon("sfm", photos, "--out", out, "--seed", 5, *QUICK)
    finally:
        _, err = first.communicate(timeout=300)
    assert_complaint_only(second, 7, str(first.pid), str(out), "wait for it to end")
    assert_complaint_only(grown, 7, "wait for it to end")
    assert first.returncode == 0, err
    assert products(out) == products(small_map)
    assert times(out) and recon("sfm", photos, "--out", out, *QUICK).code == 0
