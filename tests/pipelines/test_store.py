"""Files whole or absent, fingerprints, locks."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from pipelines.core.config import finite, from_plain, to_plain
from pipelines.core.errors import BusyError, ConfigError, InputError, OutputError
from pipelines.store.files import check_file, check_folder, fingerprint, read_arrays, write_arrays, write_atomic
from pipelines.store.folder import MapFolder


@dataclass(frozen=True)
class Inner:
    ratio: float = 0.8
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Outer:
    name: str = "a"
    inner: Inner = Inner()
    maybe: Inner | None = None


def test_fingerprint_follows_every_value():
    seen = {
        fingerprint(Outer()),
        fingerprint(Outer(name="b")),
        fingerprint(Outer(inner=Inner(0.81))),
        fingerprint(Outer(inner=Inner(size=(1, 2)))),
        fingerprint(Outer(), 1),
        fingerprint(1, Outer()),
        fingerprint("1"),
        fingerprint(1),
    }
    assert len(seen) == 8
    assert fingerprint(Outer()) == fingerprint(Outer())


def test_fingerprint_refuses_what_it_cannot_tell_apart():
    with pytest.raises(TypeError):
        fingerprint(object())


def test_arrays_come_back_and_damage_counts_as_absent(tmp_path):
    path = tmp_path / "x.npz"
    assert read_arrays(path) is None
    write_arrays(path, {"a": np.arange(5), "b": np.eye(2, dtype=np.float32)})
    read = read_arrays(path)
    assert read is not None
    np.testing.assert_array_equal(read["a"], np.arange(5))
    assert read["b"].dtype == np.float32
    assert set(read_arrays(path, ["a"]) or {}) == {"a"}
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], whole[:60] + b"\0\1\2\3" + whole[64:], b"nonsense" * 10):
        path.write_bytes(broken)
        assert read_arrays(path) is None


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "x"
    write_atomic(path, lambda stream: stream.write(b"old"))

    def fail(stream):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="disk is full"):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_writing_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        MapFolder(tmp_path / "file" / "map").create()


def test_config_round_trip_and_unknown_key():
    config = Outer("x", Inner(0.7, (3, 4)), Inner(0.5))
    assert from_plain(Outer, to_plain(config)) == config
    assert from_plain(Outer, {}) == Outer()
    with pytest.raises(ConfigError, match="'ratio' is the nearest"):
        from_plain(Inner, {"ratoi": 1})


def test_one_folder_one_run(tmp_path):
    folder = MapFolder(tmp_path / "map")
    folder.create()
    with folder.locked():
        code = (
            "import sys; from pathlib import Path\n"
            "from pipelines.store.folder import MapFolder\n"
            "from pipelines.core.errors import BusyError\n"
            "try:\n"
            f"    MapFolder(Path({str(folder.root)!r})).locked().__enter__()\n"
            "except BusyError as error:\n"
            "    print(error.sentence)\n"
        )
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert f"process {os.getpid()}" in said
    with folder.locked():
        pass
    assert issubclass(BusyError, Exception)


def test_drafts_of_a_killed_run_are_removed(tmp_path):
    folder = MapFolder(tmp_path / "map")
    folder.create()
    (folder.features / ".x.npz.1.draft").write_bytes(b"half")
    (folder.root / ".sparse.1.draft").mkdir()
    with folder.locked():
        assert not list(folder.root.rglob("*.draft"))


def test_ledger(tmp_path):
    folder = MapFolder(tmp_path)
    assert folder.read_ledger() == {}
    folder.write_ledger({"status": "done", "name": "Fotos äöü"})
    assert folder.read_ledger()["name"] == "Fotos äöü"
    assert MapFolder(folder.ledger_file).read_ledger() == {}
    folder.ledger_file.write_text('{"schema": 0}')
    with pytest.raises(InputError, match="another version"):
        folder.read_ledger()
    folder.ledger_file.write_text("{")
    with pytest.raises(InputError, match="Cannot read"):
        folder.read_ledger()


def test_a_folder_is_checked_before_it_is_made(tmp_path):
    check_folder(tmp_path / "a" / "b")
    assert not any(tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(OutputError, match="a file stands where a folder is needed"):
            check_folder(path)


def test_no_flipped_byte_of_an_archive_ends_a_run_or_changes_a_number(tmp_path):
    path = tmp_path / "x.npz"
    write_arrays(path, {"a": np.arange(5)})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        read = read_arrays(path, ["a"])
        assert read is None or np.array_equal(read["a"], np.arange(5)), place


def test_numbers_that_json_has_not_are_null():
    plain = {"a": math.nan, "b": [1.5, -math.inf, "nan"], "c": {"d": (math.inf, 2, True, None)}}
    assert finite(plain) == {"a": None, "b": [1.5, None, "nan"], "c": {"d": [None, 2, True, None]}}


def test_a_file_that_cannot_be_written_or_is_a_photo_is_refused_beforehand(tmp_path):
    photo, other = tmp_path / "a.jpg", tmp_path / "b.jpg"
    photo.write_bytes(b"a")
    check_file(tmp_path / "new.jpg", [photo, tmp_path / "gone.jpg"])
    other.write_bytes(b"b")
    check_file(other, [photo])
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=r"overwrite the photo .*a\.jpg"):
        check_file(tmp_path / "link" / "a.jpg", [other, photo])
    with pytest.raises(OutputError, match="is a folder"):
        check_file(tmp_path, [])
    with pytest.raises(OutputError, match="no such folder"):
        check_file(tmp_path / "no" / "a.jpg", [])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for refused in (lambda: check_file(pipe, []), lambda: write_atomic(pipe, lambda stream: stream.write(b"x"))):
        with pytest.raises(OutputError, match="a device or a pipe"):
            refused()
    assert pipe.is_fifo()
