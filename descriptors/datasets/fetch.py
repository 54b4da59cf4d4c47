"""Published data sets by name: where they lie, how they are checked, and how they come onto this machine.

The hosts of these sets come and go: each part has mirrors, a download goes on where it broke off (also at another
mirror), and what was brought by hand is taken from ``DATA/downloads`` without any network.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from descriptors.datasets.brown import MD5
from descriptors.datasets.scenes import DataError

_TIMEOUT = 30.0
_ATTEMPTS = 4
_CHUNK = 1 << 18
_BREAKS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)

Hear = Callable[[str, int, int], None]
"""Told the file's name, bytes there and bytes in all (0 if the server does not say)."""


@dataclass(frozen=True)
class Source:
    """One archive that holds a part, at a mirror.

    Attributes:
        url: its last piece is the name of the file.
        digest: ``md5:…`` or ``sha256:…`` as published; empty where none was: then the archive's own sums are the check.
    """

    url: str
    digest: str = ""

    @property
    def file(self) -> str:
        """Name of the file, here and there."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Part:
    """A folder of a data set.

    Attributes:
        into: folder below the set's, or empty for the set's own.
        sources: archives, any of which will do, the likeliest first.
    """

    into: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Attributes:
        name: as given to ``recon data get``.
        folder: below the data folder, where the boards look for it.
        size: in words, of the download.
        about: what it is for, and the page with its terms.
        parts: what it is made of.
    """

    name: str
    folder: str
    size: str
    about: str
    parts: tuple[Part, ...]


def _brown(name: str, md5: str) -> Part:
    hosts = (
        "https://cmp.felk.cvut.cz/~mishkdmy/datasets/BrownPhotoTour",
        "http://matthewalunbrown.com/patchdata",
        "http://icvl.ee.ic.ac.uk/vbalnt",
    )
    return Part(name, tuple(Source(f"{host}/{name}.zip", f"md5:{md5}") for host in hosts))


def _oxford(name: str, digest: str = "") -> Part:
    return Part(
        name, (Source(f"https://www.robots.ox.ac.uk/~vgg/research/affine/det_eval_files/{name}.tar.gz", digest),)
    )


_HPATCHES = "https://huggingface.co/datasets/vbalnt/hpatches/resolve/main"
_HPATCHES_FIRST = "http://icvl.ee.ic.ac.uk/vbalnt/hpatches"
DATA_SETS: dict[str, DataSet] = {
    one.name: one
    for one in (
        DataSet(
            "oxford", "oxford", "tens of MB",
            "Mikolajczyk's eight sequences, for recon benchmark oxford; https://www.robots.ox.ac.uk/~vgg/research/affine",
            (
                _oxford("graf", "sha256:999871b945ee968a00a0d5f9af957d1382fb9dae1511cdee9553366817b53b5b"),
                *(_oxford(name) for name in ("bark", "bikes", "boat", "leuven", "trees", "ubc", "wall")),
            ),
        ),
        DataSet(
            "hpatches-sequences", "hpatches-sequences", "1.3 GB",
            "116 sequences with homographies, for recon benchmark sequences; https://github.com/hpatches/hpatches-dataset",
            (
                Part("", (
                    Source(
                        f"{_HPATCHES}/hpatches-sequences-release.zip",
                        "sha256:99cf7e1ca167896eb4ca2fe3d903beff6566243a3c0c8e07a13a2596648ad670",
                    ),
                    Source(f"{_HPATCHES_FIRST}/hpatches-sequences-release.tar.gz"),
                )),
            ),
        ),
        DataSet(
            "hpatches", "hpatches", "4.2 GB",
            "Patches of these sequences, for recon benchmark hpatches; https://github.com/hpatches/hpatches-dataset",
            (
                Part("", (
                    Source(f"{_HPATCHES}/hpatches-release.zip"),
                    Source(f"{_HPATCHES_FIRST}/hpatches-release.tar.gz", "md5:0ab830d37fceb2b4c86cb1cc6cc79a61"),
                )),
            ),
        ),
        DataSet(
            "brown", "brown", "1 to 2 GB for each of three",
            "UBC PhotoTour patches, for recon benchmark brown; http://matthewalunbrown.com/patchdata/patchdata.html",
            tuple(_brown(name, md5) for name, md5 in MD5.items()),
        ),
    )
}  # fmt: skip
"""Name → data set. The sums are those that torchvision, kornia and the hosts themselves publish."""


def present(one: DataSet, data: Path) -> list[Part]:
    """Parts of a data set that lie below the data folder, whole."""
    return [part for part in one.parts if _mark(one, part, data).is_file()]


def fetch(one: DataSet, data: Path, *, hear: Hear | None = None) -> Path:
    """Bring a data set below ``data``, and return its folder; parts that are there are left as they are.

    Killed at any moment, the same call goes on where it was. Proxies are those of the environment (``https_proxy``).

    Raises:
        DataError: no mirror of a part answers with what it should; the message says which file to put where. Or the
            disk is full, or the folder cannot be written.
    """
    home = data / one.folder
    downloads = data / "downloads"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        for part in one.parts:
            if _mark(one, part, data).is_file():
                continue
            archive = _archive(part, downloads, hear or (lambda *_: None))
            _unpack(archive, home / part.into)
            _mark(one, part, data).write_text(archive.name)
            archive.unlink()
    except OSError as refused:
        raise DataError(f"{one.name} cannot be written below {data}: {refused.strerror or refused}.") from refused
    return home


def _mark(one: DataSet, part: Part, data: Path) -> Path:
    return data / one.folder / f".{part.into or one.name}.whole"


def _archive(part: Part, downloads: Path, hear: Hear) -> Path:
    """The archive of a part in ``downloads``: brought by hand, or fetched from the first mirror that has it."""
    failed = []
    for source in part.sources:
        path = downloads / source.file
        try:
            if not path.is_file():
                _download(source, path, hear)
            _check(source, path)
            return path
        except _Bad as bad:
            failed.append(f"{source.url}: {bad}")
    names = " or ".join(dict.fromkeys(source.file for source in part.sources))
    raise DataError(
        f"No mirror has {names}: {'; '.join(failed)}. Bring the file by other means, put it into {downloads}, and give "
        "the same command again."
    )


class _Bad(Exception):
    """A mirror that does not answer, or not with what it should."""


def _download(source: Source, path: Path, hear: Hear) -> None:
    partial = path.with_name(f"{path.name}.part")
    reason = ""
    for _ in range(_ATTEMPTS):
        before = partial.stat().st_size if partial.is_file() else 0
        try:
            if _go_on(source.url, partial, hear):
                os.replace(partial, path)
                return
            reason = "the connection broke off"
        except urllib.error.HTTPError as refused:
            if refused.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _Bad(f"answers {refused.code} {refused.reason}") from refused
            partial.unlink()  # what is here is no beginning of what is there
        except _BREAKS as broken:
            reason = str(getattr(broken, "reason", broken)) or type(broken).__name__
            if not partial.is_file() or partial.stat().st_size == before:
                break  # nobody there: the next mirror
    raise _Bad(reason)


def _go_on(url: str, partial: Path, hear: Hear) -> bool:
    """Append what is missing of a file; False if the connection ended before its end."""
    there = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-", "User-Agent": "recon"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        there = there if resumed else 0
        left = int(answer.headers.get("Content-Length") or 0)
        total = there + left if left else 0
        with open(partial, "ab" if resumed else "wb") as stream:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                there += len(chunk)
                hear(partial.name.removesuffix(".part"), there, total)
    return not total or there == total


def _check(source: Source, path: Path) -> None:
    """Raises _Bad, the file removed, if it is not what was published."""
    if source.digest:
        kind, _, expected = source.digest.partition(":")
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != expected:
            path.unlink()
            raise _Bad(f"the file has {kind} {found[:12]}…, published is {expected[:12]}…")
    elif not (zipfile.is_zipfile(path) or tarfile.is_tarfile(path)):
        path.unlink()
        raise _Bad("the file is no archive")


def _unpack(archive: Path, target: Path) -> None:
    """Unpack beside the target, and move what came into it; one folder around everything is left away."""
    draft = archive.with_name(f".{archive.name}.unpacked")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(draft)
        else:
            with tarfile.open(archive) as packed:
                packed.extractall(draft, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as damaged:
        archive.unlink()
        shutil.rmtree(draft, ignore_errors=True)
        raise DataError(
            f"{archive.name} is damaged ({damaged}) and was removed; give the same command again."
        ) from None
    target.mkdir(parents=True, exist_ok=True)
    for entry in _contents(draft):
        place = target / entry.name
        if place.is_dir():
            shutil.rmtree(place)
        os.replace(entry, place)
    shutil.rmtree(draft)


def _contents(folder: Path) -> Iterator[Path]:
    # macOS leaves its own folder in archives.
    entries = [entry for entry in folder.iterdir() if entry.name not in ("__MACOSX", ".DS_Store")]
    yield from entries[0].iterdir() if len(entries) == 1 and entries[0].is_dir() else entries
