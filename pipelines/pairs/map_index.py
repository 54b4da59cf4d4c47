"""The retrieval index of a map, kept in ``map/retrieval/``: which of its photos look like a new one."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.errors import OutputError
from pipelines.core.progress import Progress
from pipelines.features.extract import FeatureFiles
from pipelines.pairs.retrieval import RetrievalIndex, build_index
from pipelines.store.files import fingerprint, make_folder, read_arrays, write_arrays
from pipelines.store.folder import MapFolder

_CODE = 2


def retrieval_folder(folder: MapFolder) -> Path:
    """Where stands what new photos are looked for with."""
    return folder.root / "retrieval"


def index_file(folder: MapFolder) -> Path:
    """Where a map's index stands."""
    return retrieval_folder(folder) / "index.npz"


def map_index(folder: MapFolder, files: FeatureFiles, *, seed: int, progress: Progress) -> RetrievalIndex:
    """The index of a map's photos, in their order: read if it stands there and fits, else made and kept.

    A map that cannot be written is searched all the same; the index is then made for this once.

    Args:
        folder: the map.
        files: features of all its photos.
        seed: of the codebook.
        progress: told of the making.
    """
    key = fingerprint("map index", _CODE, files.keys, seed)
    path = index_file(folder)
    arrays = read_arrays(path)
    if arrays is not None and str(arrays.get("key", "")) == key:
        return RetrievalIndex.from_arrays(arrays)
    import numpy as np

    index = build_index(len(files.keys), files.load, seed=seed, progress=progress).compact()
    try:
        make_folder(path.parent)
        write_arrays(path, {**index.arrays(), "key": np.array(key)})
    except OutputError as error:
        progress.say(f"The map's index is not kept: {error.what} ({error.why}).")
    return index
