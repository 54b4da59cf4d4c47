"""Data sets from a server on loopback that breaks off, lies about its sum, forgets ranges, and resumes."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from descriptors.datasets import fetch as module
from descriptors.datasets.fetch import DATA_SETS, DataSet, Part, Source, fetch, present
from descriptors.datasets.scenes import DataError


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


ARCHIVE = zipped({"release/a/one.txt": b"1" * 3000, "release/b/two.txt": bytes(range(256)) * 20})


@dataclass
class Server:
    """What it serves by path, how often it breaks off, whether it knows ranges, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: int = 0
    ranges: bool = True
    asked: list[str] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = self.files.get(handler.path)
        self.asked.append(f"{handler.path} {handler.headers.get('Range')}")
        if content is None:
            handler.send_error(404)
            return
        begin = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-")) if self.ranges else 0
        if begin >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if begin else 200)
        handler.send_header("Content-Length", str(len(content) - begin))
        handler.end_headers()
        rest = content[begin:]
        if self.breaks:
            self.breaks -= 1
            rest = rest[: len(rest) // 2]
        handler.wfile.write(rest)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield state
    listening.shutdown()
    listening.server_close()


def one_part(*sources: Source, into: str = "") -> DataSet:
    return DataSet("made", "made", "small", "for tests", (Part(into, sources),))


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def is_whole(folder: Path) -> bool:
    return (folder / "a/one.txt").read_bytes() == b"1" * 3000 and (folder / "b/two.txt").stat().st_size == 5120


def test_a_set_is_fetched_checked_and_unpacked_once(server: Server, tmp_path: Path) -> None:
    server.files["/x.zip"] = ARCHIVE
    one, heard = one_part(Source(f"{server.url}/x.zip", md5(ARCHIVE))), []
    assert not present(one, tmp_path)
    home = fetch(one, tmp_path, hear=lambda *args: heard.append(args))
    assert home == tmp_path / "made" and is_whole(home)  # the one folder around everything is left away
    assert heard[-1] == ("x.zip", len(ARCHIVE), len(ARCHIVE))
    assert present(one, tmp_path) == list(one.parts) and not any((tmp_path / "downloads").iterdir())
    fetch(one, tmp_path)
    assert len(server.asked) == 1


def test_it_goes_on_where_the_connection_broke_off(server: Server, tmp_path: Path) -> None:
    server.files["/x.zip"], server.breaks = ARCHIVE, 2
    assert is_whole(fetch(one_part(Source(f"{server.url}/x.zip", md5(ARCHIVE))), tmp_path))
    starts = [int(line.split("bytes=")[1].rstrip("-")) for line in server.asked]
    assert starts[0] == 0 < starts[1] < starts[2]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.files["/x.zip"] = ARCHIVE
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/x.zip.part").write_bytes(ARCHIVE[:1000])
    assert is_whole(fetch(one_part(Source(f"{server.url}/x.zip", md5(ARCHIVE))), tmp_path))
    assert server.asked == ["/x.zip bytes=1000-"]


def test_a_server_without_ranges_begins_again(server: Server, tmp_path: Path) -> None:
    server.files["/x.zip"], server.breaks, server.ranges = ARCHIVE, 1, False
    assert is_whole(fetch(one_part(Source(f"{server.url}/x.zip", md5(ARCHIVE))), tmp_path))


def test_a_beginning_that_is_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    server.files["/x.zip"] = ARCHIVE
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/x.zip.part").write_bytes(ARCHIVE + b"more")
    assert is_whole(fetch(one_part(Source(f"{server.url}/x.zip", md5(ARCHIVE))), tmp_path))


def test_a_mirror_that_lies_is_left_for_the_next(server: Server, tmp_path: Path) -> None:
    server.files["/bad/x.zip"], server.files["/good/x.zip"] = ARCHIVE[:-1] + b"?", ARCHIVE
    sources = [Source(f"{server.url}/{which}/x.zip", md5(ARCHIVE)) for which in ("gone", "bad", "good")]
    assert is_whole(fetch(one_part(*sources), tmp_path))


@pytest.mark.parametrize("content", [b"<html>Moved</html>", ARCHIVE[: len(ARCHIVE) // 2]])
def test_without_a_published_sum_the_archive_itself_is_the_check(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.files["/x.zip"] = content
    with pytest.raises(DataError, match="no archive"):
        fetch(one_part(Source(f"{server.url}/x.zip")), tmp_path)
    assert not (tmp_path / "made/a").exists() and not (tmp_path / "downloads/x.zip").exists()


def test_when_nobody_answers_it_says_which_file_to_put_where(tmp_path: Path) -> None:
    one = one_part(Source("http://127.0.0.1:9/x.zip", md5(ARCHIVE)), Source("http://127.0.0.1:9/x.tar.gz"))
    with pytest.raises(DataError, match=r"x\.zip or x\.tar\.gz") as told:
        fetch(one, tmp_path)
    assert f"put it into {tmp_path / 'downloads'}" in str(told.value)
    (tmp_path / "downloads/x.tar.gz").write_bytes(tarred({"a/one.txt": b"1" * 3000, "b/two.txt": bytes(5120)}))
    assert is_whole(fetch(one, tmp_path))


def test_an_archive_that_climbs_out_of_its_folder_does_not(tmp_path: Path) -> None:
    (tmp_path / "data/downloads").mkdir(parents=True)
    (tmp_path / "data/downloads/x.tar.gz").write_bytes(tarred({"../../../out.txt": b"x"}))
    with pytest.raises(DataError):
        fetch(one_part(Source("http://127.0.0.1:9/x.tar.gz")), tmp_path / "data")
    assert not list(tmp_path.rglob("out.txt"))


def test_a_kill_while_unpacking_leaves_no_half_set(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/x.zip"] = ARCHIVE
    one, move = one_part(Source(f"{server.url}/x.zip", md5(ARCHIVE)), into="part"), module.os.replace

    def die(source: Path, target: Path) -> None:
        if "two" in str(target) or Path(target).name == "b":
            raise KeyboardInterrupt
        move(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            fetch(one, tmp_path)
    assert not present(one, tmp_path)
    assert is_whole(fetch(one, tmp_path) / "part") and len(server.asked) == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match="cannot be written"):
        fetch(one_part(Source("http://127.0.0.1:9/x.zip")), tmp_path / "data")


@pytest.mark.parametrize("one", DATA_SETS.values(), ids=lambda one: one.name)
def test_the_table_is_sound(one: DataSet) -> None:
    lengths = {"md5": 32, "sha256": 64}
    for part in one.parts:
        for source in part.sources:
            kind, _, value = source.digest.partition(":")
            assert source.url.startswith("http") and source.file.endswith((".zip", ".tar.gz"))
            assert not source.digest or len(value) == lengths[kind]
