"""Export a model to a folder that another program reads."""

from __future__ import annotations

import difflib
from pathlib import Path

from pipelines.core.errors import ConfigError, InputError
from pipelines.core.progress import Progress, Silent
from pipelines.core.types import Model
from pipelines.export.files import photo_files, whole_folder, write_mark
from pipelines.export.targets import FORMATS, Job


def check_format(to: str) -> str:
    """Return ``to`` if it is a format.

    Raises:
        ConfigError: naming the nearest format and all of them.
    """
    if to in FORMATS:
        return to
    near = difflib.get_close_matches(to.lower(), FORMATS, n=1)
    raise ConfigError(
        f"There is no export format {to!r}", f"known are {', '.join(FORMATS)}", f"--to {near[0]}" if near else ""
    )


def export(
    model: Model, photos: Path, out: Path, to: str, *, force: bool = False, progress: Progress | None = None
) -> list[Path]:
    """Write a model in another program's format; the folder appears when it is whole.

    Args:
        model: the model.
        photos: folder that the model's photo names are relative to; read only by formats with photos in them.
        out: folder to make.
        to: a key of ``FORMATS``.
        force: replace an earlier export in ``out``.
        progress: the listener.

    Returns:
        The files written, sorted.

    Raises:
        ConfigError: no such format, or no pinhole camera can show the photos' view.
        InputError: the model is empty, or its photos are missing or have changed.
        OutputError: ``out`` is in the way, or cannot be written.
    """
    chosen = FORMATS[check_format(to)]
    if not model.names:
        raise InputError("There is nothing to export", "the model has no photos")
    files = photo_files(model.names, flat=chosen.flat)
    with whole_folder(out, force) as folder:
        chosen.write(Job(model, photos, folder, files, progress or Silent()))
        write_mark(folder, to, files if (folder / "images").is_dir() else {})
    return sorted(path for path in out.rglob("*") if path.is_file())
