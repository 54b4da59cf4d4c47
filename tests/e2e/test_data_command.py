"""`recon data list` and `recon data get`, without a network."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from command import recon

from descriptors.datasets.fetch import DATA_SETS, DataSet, Part, Source


def test_list_says_what_is_there(tmp_path: Path) -> None:
    shown = recon("data", "list", "--data", tmp_path)
    assert shown.code == 0 and all(name in shown.out for name in DATA_SETS)
    rows = json.loads(recon("data", "list", "--data", tmp_path, "--json").out)
    assert [row["name"] for row in rows] == list(DATA_SETS)
    assert all(row["parts_here"].startswith("0 of") and row["mirrors"] for row in rows)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    told = recon("data", "get", "hpatchs")
    assert told.code == 2 and "Try: recon data get hpatches." in told.sentences[0]


def test_training_data_that_cannot_be_used_are_files_and_not_options(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for given, said in ((tmp_path / "gone", "neither a folder scenes nor photos"), (tmp_path, "no photo")):
        told = recon("train", "l2net", "--data", given, "--out", tmp_path / "made.safetensors", "--minutes", "1")
        assert told.code == 3 and said in told.sentences[0], told
    assert recon("train", "l2ent", "--data", tmp_path).code == 2


def test_patches_of_no_detector_or_seed_are_refused(tmp_path: Path) -> None:
    for option, given, said in (("--detectors", " ,", "--detectors names no detector"), ("--seed", "-1", "A seed of")):
        told = recon("data", "hpatches-patches", tmp_path, "--out", tmp_path / "made", option, given)
        assert told.code == 2 and said in told.sentences[0] and not (tmp_path / "made").exists()


def test_what_was_brought_by_hand_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = DataSet("made", "made", "small", "for a test", (Part("", (Source("http://127.0.0.1:9/x.zip"),)),))
    monkeypatch.setitem(DATA_SETS, "made", made)
    told = recon("data", "get", "made", "--data", tmp_path, "-q")
    assert told.code == 3 and f"put it into {tmp_path / 'downloads'}" in told.sentences[0]
    with zipfile.ZipFile(tmp_path / "downloads" / "x.zip", "w") as archive:
        archive.writestr("release/v_a/1.txt", "1")
        archive.writestr("release/v_b/1.txt", "2")
    got = recon("data", "get", "made", "--data", tmp_path, "-q")
    assert got.code == 0 and got.out.strip() == str(tmp_path / "made")
    assert (tmp_path / "made/v_b/1.txt").read_text() == "2"
