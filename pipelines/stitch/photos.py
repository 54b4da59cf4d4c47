"""What a user names on the command line - files, folders, globs - to photos."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import InputError
from pipelines.core.progress import Progress
from pipelines.core.types import Photo, Rejected
from pipelines.images.read import list_photos, natural_key, scan, without_own


def find_photos(words: Sequence[str], *, progress: Progress | None = None) -> tuple[list[Photo], list[Rejected]]:
    """Photos from files, folders and glob patterns (for shells that leave them alone), each once, in natural order.

    JPEGs are not decoded: those that are damaged are found out when they are read. Pictures that recon wrote itself, as
    the panorama of an earlier run beside its photos, are left out, unless there is nothing else.

    Raises:
        InputError: a pattern or name that matches no file, or fewer than two photos that can be read.
    """
    files: dict[Path, None] = {}
    rejected: list[Rejected] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            found, bad = list_photos(path)
            rejected += bad
            files |= {file.resolve(): None for file in found}
        elif path.exists():
            files[path.resolve()] = None
        else:
            matched = sorted(glob.glob(word, recursive=True), key=natural_key)
            if not matched:
                raise InputError(
                    f"No files match {word}",
                    f"there is nothing of that name in {Path.cwd()}" if not path.is_absolute() else "",
                    "check the spelling and the folder",
                )
            files |= {Path(name).resolve(): None for name in matched if Path(name).is_file()}
    if not files:
        why = "; ".join(f"{item.name}: {item.why}" for item in rejected[:3])
        why = why or f"{' '.join(words)} has none that can be read"
        raise InputError("No photos were found", why, "name photo files")
    photos, bad = scan(list(files), progress=progress, decode=False)
    others, own = without_own(photos)
    if others:
        photos, bad = others, bad + own
    rejected += bad
    photos = sorted(photos, key=lambda photo: natural_key(photo.name))
    check_count(photos, rejected)
    return photos, rejected


def check_count(photos: Sequence[Photo], rejected: Sequence[Rejected]) -> None:
    """Refuse fewer than two photos.

    Raises:
        InputError: with the reasons why there are no more.
    """
    if len(photos) < 2:
        why = "; ".join(f"{item.name}: {item.why}" for item in rejected) or f"only {photos[0].name} was given"
        raise InputError("A panorama needs at least two photos", why, "give more photos")
