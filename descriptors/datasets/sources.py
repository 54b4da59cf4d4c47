"""Where training finds its data: folders with ``scenes/`` and ``photos/``, and maps of the user's own.

A folder is given as its path, a map as ``map:DIR``: what ``recon data patches`` made, or the run folder it was made in.
Of a map's photos a fifth, the last by name, are held out: their tracks are what the training is validated on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from descriptors.datasets.photos import SUFFIXES
from descriptors.datasets.scenes import DataError, load_scene, scene_folders
from descriptors.datasets.tracks import Tracks, of_images

Given = str | Path | Sequence[str | Path]
"""One source, or several."""

MAP = "map:"
_HELD_OUT = 0.2
# With fewer photos none can be spared: a map of so few is validated on what it was trained on.
_ENOUGH = 10


def training_tracks(given: Given) -> list[Tracks]:
    """Tracks to train on: the training scenes of the folders, and the maps without their held-out photos.

    Raises:
        DataError: a folder or map is not there or holds no tracks.
    """
    folders, maps = _split(given)
    found = [load_scene(scene) for folder in folders if _holds(folder, "scenes")
             for scene in scene_folders(folder, validation=False)]  # fmt: skip
    return found + [_part(folder, held_out=False) for folder in maps]


def validation_tracks(given: Given) -> list[Tracks]:
    """Tracks to validate on: those of the maps' held-out photos, or the folders' validation scenes if there is no map.

    Raises:
        DataError: as :func:`training_tracks`.
    """
    folders, maps = _split(given)
    if maps:
        return [_part(folder, held_out=True) for folder in maps]
    return [load_scene(scene) for folder in folders for scene in scene_folders(folder, validation=True)]


def single_photos(given: Given) -> list[Path]:
    """Photos to be warped: all below the folders' ``photos/``, and those of the maps that are not held out.

    Raises:
        DataError: a folder holds neither scenes nor photos.
    """
    folders, maps = _split(given)
    paths = [path for folder in folders if _holds(folder, "photos") for path in photos_below(folder / "photos")]
    for folder in maps:
        names = _names(folder)
        spared = _held_out(names)
        paths += [folder / "images" / name for name, out in zip(names, spared, strict=True) if not out]
    return paths


def own_maps(given: Given) -> list[str]:
    """The maps among the sources, by the paths of their folders."""
    return [str(folder) for folder in _split(given)[1]]


def described(given: Given) -> str:
    """What a weights file says of its data: no paths."""
    folders, maps = _split(given)
    parts = ["the training scenes and photos of recon's data folder (see the card)"] if folders else []
    return " and ".join([*parts, f"{len(maps)} maps of the user's own"] if maps else parts)


def licences(given: Given) -> dict[str, str]:
    """Source and licence of each training scene of the folders, from the table in the README beside ``scenes``."""
    found: dict[str, str] = {}
    for folder in _split(given)[0]:
        readme = folder / "README.md"
        for line in readme.read_text(errors="replace").splitlines() if readme.is_file() else []:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) >= 3 and cells[1] == "training" and (folder / "scenes" / cells[0]).is_dir():
                found[cells[0]] = cells[-1]
    return found


def photos_below(folder: Path) -> list[Path]:
    """Photos anywhere in a folder, sorted by path.

    Raises:
        DataError: there is none.
    """
    paths = [path for path in sorted(folder.glob("**/*")) if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise DataError(f"{folder} holds no photo ({', '.join(sorted(SUFFIXES))}).")
    return paths


def map_folder(folder: Path) -> Path:
    """The folder with ``tracks.npz`` of a map: itself, or its ``export/training``.

    Raises:
        DataError: neither has one.
    """
    for place in (folder, folder / "export" / "training"):
        if (place / "tracks.npz").is_file():
            return place
    raise DataError(f"{folder} holds no tracks.npz. Make it from a map: recon data patches --map {folder}.")


def _split(given: Given) -> tuple[list[Path], list[Path]]:
    """Folders, and maps' folders with tracks."""
    sources = [given] if isinstance(given, str | Path) else list(given)
    texts = [str(source) for source in sources]
    if not texts:
        raise DataError("No data was given to train on. Give a folder with scenes/ and photos/, or map:DIR.")
    maps = [map_folder(Path(text.removeprefix(MAP))) for text in texts if text.startswith(MAP)]
    return [Path(text) for text in texts if not text.startswith(MAP)], maps


def _holds(folder: Path, part: str) -> bool:
    if not any((folder / name).is_dir() for name in ("scenes", "photos")):
        raise DataError(f"There is neither a folder scenes nor photos in {folder}. A map is given as {MAP}{folder}.")
    return (folder / part).is_dir()


def _names(folder: Path) -> list[str]:
    with np.load(folder / "tracks.npz", allow_pickle=False) as stored:
        return [str(name) for name in stored["names"]]


def _held_out(names: Sequence[str]) -> np.ndarray:
    """Which photos (I,) are held out: the last by name stand together, so that they see the same places."""
    count = round(_HELD_OUT * len(names)) if len(names) >= _ENOUGH else 0
    spared = np.zeros(len(names), bool)
    spared[np.argsort(names, kind="stable")[len(names) - count :]] = True
    return spared


def _part(folder: Path, *, held_out: bool) -> Tracks:
    tracks = load_scene(folder)
    spared = _held_out(_names(folder))
    if not spared.any():
        return tracks
    part = of_images(tracks, spared if held_out else ~spared)
    if not len(part):
        which = "held out" if held_out else "trained on"
        raise DataError(f"No point of {folder} is seen in two of the photos that are {which}. More photos are needed.")
    return part
