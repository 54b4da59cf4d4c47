"""Where training finds its data: folders with ``scenes/`` and ``photos/``, the user's own maps, Brown's patches.

A folder is given as its path, a map as ``map:DIR``: what ``recon data patches`` made, or the run folder it was made in.
Of a map's photos a fifth, the last by name, are held out: their tracks are what the training is validated on. One of
Brown's sets is given as ``brown:DIR``, as in ``brown:data/brown/liberty``; of its sheets the last fiftieth is held out.
``pairs:DIR`` is a folder of stereo pairs with exact disparities, for matching costs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from descriptors.contract import DescriptorError
from descriptors.datasets.brown import brown_tracks, read_brown
from descriptors.datasets.photos import SUFFIXES
from descriptors.datasets.scenes import DataError, load_scene, read_tracks, scene_folders
from descriptors.datasets.tracks import Tracks, of_images

Given = str | Path | Sequence[str | Path]
"""One source, or several."""

MAP = "map:"
BROWN = "brown:"
PAIRS = "pairs:"
_HELD_OUT = 0.2
# With fewer photos none can be spared: a map of so few is validated on what it was trained on.
_ENOUGH = 10


def training_tracks(given: Given, *, magnification: float) -> list[Tracks]:
    """Tracks to train on: the training scenes of the folders, the maps and Brown's sets without what is held out.

    Args:
        given: the sources.
        magnification: half side of a patch in units of sigma; Brown's patches, which have no sigma, are taken whole.

    Raises:
        DataError: a folder or map is not there or holds no tracks.
    """
    sources = _split(given)
    found = [load_scene(scene) for folder in sources.folders if _holds(folder, "scenes")
             for scene in scene_folders(folder, validation=False)]  # fmt: skip
    found += [_part(folder, held_out=False) for folder in sources.maps]
    return found + [_brown_part(folder, magnification, held_out=False) for folder in sources.brown]


def validation_tracks(given: Given, *, magnification: float) -> list[Tracks]:
    """Tracks to validate on: what the maps hold out, or the folders' validation scenes, or what Brown's sets hold out.

    Raises:
        DataError: as :func:`training_tracks`.
    """
    sources = _split(given)
    if sources.maps:
        return [_part(folder, held_out=True) for folder in sources.maps]
    if sources.folders:
        return [load_scene(scene) for folder in sources.folders for scene in scene_folders(folder, validation=True)]
    return [_brown_part(folder, magnification, held_out=True) for folder in sources.brown]


def single_photos(given: Given) -> list[Path]:
    """Photos to be warped: all below the folders' ``photos/``, and those of the maps that are not held out.

    Raises:
        DataError: a folder holds neither scenes nor photos.
    """
    sources = _split(given)
    paths = [path for folder in sources.folders if _holds(folder, "photos") for path in photos_below(folder / "photos")]
    for folder in sources.maps:
        names = _names(folder)
        spared = _held_out(names)
        paths += [folder / "images" / name for name, out in zip(names, spared, strict=True) if not out]
    return paths


def scene_photos(given: Given, *, every: int) -> list[Path]:
    """Every ``every``-th photo of the folders' training scenes, in the order of their names."""
    folders = [folder for folder in _split(given).folders if _holds(folder, "scenes")]
    scenes = [scene for folder in folders for scene in scene_folders(folder, validation=False)]
    return [path for scene in scenes for path in photos_below(scene / "images")[::every]]


def pair_folders(given: Given) -> list[Path]:
    """The folders of rendered stereo pairs, in the order of their names.

    Raises:
        DataError: a folder has none.
    """
    found: list[Path] = []
    for folder in _split(given).pairs:
        pairs = sorted(path.parent for path in folder.glob("*/disp0.pfm"))
        if not pairs:
            raise DataError(f"There are no stereo pairs in {folder}: no folder in it holds a disp0.pfm.")
        found += pairs
    return found


def folders_of(given: Given) -> dict[str, list[str]]:
    """The folders of each kind of source, however they were written: what tells one training's data from another's."""
    return {kind: [str(folder.resolve()) for folder in folders] for kind, folders in vars(_split(given)).items()}


def described(given: Given) -> str:
    """What a weights file says of its data: no paths."""
    sources = _split(given)
    parts = ["the training scenes and photos of recon's data folder (see the card)"] if sources.folders else []
    parts += [f"{len(sources.maps)} map{'s' * (len(sources.maps) > 1)} of the user's own"] if sources.maps else []
    parts += [f"Brown's {', '.join(folder.name for folder in sources.brown)}"] if sources.brown else []
    parts += ["rendered stereo pairs"] if sources.pairs else []
    return " and ".join(parts)


def licences(given: Given) -> dict[str, str]:
    """Source and licence of each training scene of the folders, from the table in the README beside ``scenes``."""
    found: dict[str, str] = {}
    for folder in _split(given).folders:
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


@dataclass(frozen=True)
class _Sources:
    folders: list[Path]
    maps: list[Path]
    brown: list[Path]
    pairs: list[Path]


def _split(given: Given) -> _Sources:
    """Folders, maps' folders with tracks, folders of Brown's sets and of stereo pairs."""
    texts = [str(source) for source in ([given] if isinstance(given, str | Path) else given)]
    if not texts:
        advice = "Give a folder with scenes/ and photos/, map:DIR or brown:DIR."
        raise DescriptorError(f"No data was given to train on. {advice}")
    kinds: dict[str, list[Path]] = {MAP: [], BROWN: [], PAIRS: [], "": []}
    for text in texts:
        kind = next(kind for kind in kinds if text.startswith(kind))
        kinds[kind].append(Path(text.removeprefix(kind)))
    return _Sources(kinds[""], [map_folder(folder) for folder in kinds[MAP]], kinds[BROWN], kinds[PAIRS])


def _holds(folder: Path, part: str) -> bool:
    if not any((folder / name).is_dir() for name in ("scenes", "photos")):
        raise DataError(f"There is neither a folder scenes nor photos in {folder}. A map is given as {MAP}{folder}.")
    return (folder / part).is_dir()


def _names(folder: Path) -> list[str]:
    return [str(name) for name in read_tracks(folder, "names")["names"]]


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


def _brown_part(folder: Path, magnification: float, *, held_out: bool) -> Tracks:
    tracks = brown_tracks(read_brown(folder), magnification=magnification)
    count = len(tracks.images)
    spared = np.arange(count) >= count - max(1, count // 50) if count > 1 else np.ones(1, bool)
    return of_images(tracks, spared if held_out or count == 1 else ~spared)
