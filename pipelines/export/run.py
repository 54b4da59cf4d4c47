"""Export a model to a folder that another program reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pipelines import colmap
from pipelines.core.config import known_name
from pipelines.core.errors import InputError
from pipelines.core.maps import Model
from pipelines.core.progress import Progress, Silent
from pipelines.export.files import photo_files, whole_folder, write_mark
from pipelines.export.targets import FORMATS, Job
from pipelines.store.folder import MapFolder


def check_format(to: str) -> str:
    """Return ``to`` if it is a format.

    Raises:
        ConfigError: naming the nearest format and all of them.
    """
    return known_name("export format", to, FORMATS, "--to")


def export(
    model: Model,
    photos: Path | Mapping[str, Path],
    out: Path,
    to: str,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write a model in another program's format; the folder appears when it is whole.

    Args:
        model: the model.
        photos: folder that the model's photo names are relative to, or name -> file; read only by formats with
            photos in them.
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
    sources = photos if isinstance(photos, Mapping) else {name: photos / name for name in model.names}
    files = photo_files(model.names, flat=chosen.flat)
    with whole_folder(out, force) as folder:
        chosen.write(Job(model, sources, folder, files, progress or Silent()))
        write_mark(folder, to, files if (folder / "images").is_dir() else {})
    return sorted(path for path in out.rglob("*") if path.is_file())


def export_map(
    map_folder: Path,
    to: str,
    out: Path | None = None,
    *,
    component: int = 0,
    photos: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, Model]:
    """Export a map that ``recon sfm`` made, or a COLMAP model.

    Args:
        map_folder: run folder, or a folder that is a COLMAP model or has ``sparse/0``.
        to: a key of ``FORMATS``.
        out: folder to make; by default ``export/<to>`` inside the map.
        component: which model of the map, 0 the largest.
        photos: where the photos are now; by default where they were when the map was made, and for a model of COLMAP's
            its ``images`` folder.
        force, progress: as in :func:`export`.

    Returns:
        The folder made, and the model exported.

    Raises:
        InputError: there is no such map or component; and as :func:`export`.
    """
    check_format(to)
    target = out or map_folder / "export" / to
    model = read_component(map_folder, component)
    places = photo_places(map_folder, model, photos)
    export(model, places, target, to, force=force, progress=progress)
    if progress is not None and (target / "images").is_dir():
        _warn_of_changed(map_folder, places, progress)
    return target, model


def _warn_of_changed(map_folder: Path, places: Mapping[str, Path], progress: Progress) -> None:
    """Say which of the photos exported are not those that the map was made of; brightened ones are meant to be."""
    known = {entry["name"]: entry["content"] for entry in MapFolder(map_folder).read_ledger().get("photos", [])}
    changed = [
        name
        for name, path in places.items()
        if name in known and hashlib.sha256(path.read_bytes()).hexdigest() != known[name]
    ]
    if changed:
        some = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
        progress.warn(f"{len(changed)} of {len(places)} photos have changed since the map was made ({some})")


def read_component(map_folder: Path, component: int) -> Model:
    """A model of a run folder, 0 the largest, or the COLMAP model that a folder is.

    Raises:
        InputError: there is none.
    """
    folder = MapFolder(map_folder)
    numbered = folder.sparse / str(component)
    if colmap.is_model(numbered):
        return colmap.read_model(numbered)
    if component == 0 and colmap.is_model(map_folder):
        return colmap.read_model(map_folder)
    have = [path.name for path in colmap.component_folders(folder.sparse)]
    if have:
        raise InputError(
            f"There is no model {component} in {map_folder}", f"it has {', '.join(have)}", f"--component {have[0]}"
        )
    ledger = folder.read_ledger()
    if folder.finished:
        raise InputError(
            f"The map in {map_folder} has no model that can be read",
            f"{folder.sparse} is missing or damaged",
            "the same `recon sfm` again: it makes the models anew, and does no other work again",
        )
    raise InputError(
        f"There is no model in {map_folder}",
        str(ledger.get("verdict", "it is no run folder of recon sfm, and no COLMAP model")),
        "" if ledger else "recon sfm PHOTOS --out with this folder first",
    )


def photo_places(map_folder: Path, model: Model, moved_to: Path | None = None) -> dict[str, Path]:
    """Where each photo of the model was when the map was made, or is in the folder that they have moved to."""
    if moved_to:
        return {name: moved_to / name for name in model.names}
    known = {entry["name"]: Path(entry["path"]) for entry in MapFolder(map_folder).read_ledger().get("photos", [])}
    return {name: known.get(name, map_folder / "images" / name) for name in model.names}
