"""Files that are whole or absent: fingerprints, atomic writes, arrays on disk.

A file is named by the hash of everything it was made from. It is written beside its place, synced and
renamed, so a kill at any moment leaves either the old state or the new one. A file that cannot be read
back (a power cut, a bad disk) counts as absent and is made again.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigError, OutputError

_WRITE_ADVICE = {
    errno.ENOSPC: ("the disk is full", "free some space and run the same command again; finished work is kept"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again"),
    errno.EROFS: ("the file system is read-only", "choose another folder with --out"),
    errno.EACCES: ("permission denied", "choose another folder with --out, or change its permissions"),
    errno.EPERM: ("permission denied", "choose another folder with --out, or change its permissions"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "choose another folder with --out"),
    errno.EEXIST: ("a file stands where a folder is needed", "choose another folder with --out"),
}


def _plain(value: object) -> object:
    """A JSON value that is equal exactly when ``value`` is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"cannot fingerprint a {type(value).__name__}")


def fingerprint(*parts: object) -> str:
    """Hex name (24 digits) of the given strings, numbers, tuples and frozen dataclasses."""
    text = json.dumps(_plain(parts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into an OutputError with advice."""
    try:
        yield
    except OSError as error:
        why, try_ = _WRITE_ADVICE.get(error.errno or 0, (error.strerror or str(error), "choose another folder"))
        raise OutputError(f"Cannot write {path}", why, try_) from error


def check_folder(path: Path) -> None:
    """Refuse a folder that :func:`make_folder` could not create or write, before any work, and without making it.

    Raises:
        OutputError: it cannot be created or written.
    """
    with write_errors(path):
        nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not nearest.is_dir():
            raise OSError(errno.ENOTDIR, "not a directory")
        _check_writable(nearest)


def nearly_full(folder: Path) -> bool:
    """Whether less than a megabyte is free where a folder stands, for libraries that do not say why they failed."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < 1 << 20


def make_folder(path: Path) -> Path:
    """Create a folder and its parents.

    Raises:
        OutputError: it cannot be created or written.
    """
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        _check_writable(path)
    return path


def _check_writable(folder: Path) -> None:
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, "read-only file system")
    if not os.access(folder, os.W_OK):
        raise OSError(errno.EACCES, "permission denied")


def check_file(path: Path, photos: Iterable[Path]) -> None:
    """Refuse a file that cannot be written, or that is itself one of the photos to be read, before any work is done.

    Raises:
        ConfigError: it would overwrite one of the photos.
        OutputError: its folder is missing or cannot be written, or it is itself a folder, a device or a pipe.
    """
    if path.is_dir():
        raise OutputError(f"Cannot write {path}", "it is a folder", "name a file")
    _check_ordinary(path)
    if not path.parent.is_dir():
        raise OutputError(f"Cannot write {path}", "there is no such folder", f"mkdir -p {path.parent}")
    with write_errors(path):
        _check_writable(path.parent)
    for photo in photos if path.exists() else ():
        if photo.exists() and path.samefile(photo):
            why = f"{path} is one of those that are read"
            raise ConfigError(f"The result would overwrite the photo {photo}", why, "another name for the result")


def _check_ordinary(path: Path) -> None:
    """Refuse a device or a pipe: the finished file would take its place, /dev/null's too if root writes it."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OutputError(f"Cannot write {path}", "it is a device or a pipe, not a file", "name a file")


def check_apart(path: Path, other: Path) -> None:
    """Refuse one file for two products, before any work is done: the later would take the place of the earlier.

    Raises:
        ConfigError: both are the same file.
    """
    if path.resolve() == other.resolve():
        why = "the later would take the place of the earlier"
        raise ConfigError(f"Two results cannot be written to one file, {path}", why, "another name for one of them")


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call ``write`` on a new file that takes the place of ``path`` once it is whole and on disk.

    Raises:
        OutputError: full disk, read-only folder and the like; nothing half-written stays behind.
    """
    _check_ordinary(path)
    # Two threads may write one file: that of two photos with the same content.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.draft")
    try:
        with write_errors(path):
            with open(draft, "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, path)
    finally:
        with suppress(OSError):  # a read-only file system refuses even this, with nothing there
            draft.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomic(path, lambda stream: stream.write(text.encode()))


def write_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Write named arrays atomically, uncompressed, each with its checksum (NPZ)."""
    write_atomic(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]


def read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray] | None:
    """Read what :func:`write_arrays` wrote (or some of it), or None if the file is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in (names or archive.files)}
    except Exception:  # one flipped bit can make an archive look encrypted, otherwise compressed, or of another shape
        return None
