"""Verified pairs to sparse models: from scratch, from a snapshot, or growing the models of an existing map."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Progress
from pipelines.core.thresholds import threshold_scale
from pipelines.engine import map_items
from pipelines.features.extract import FeatureFiles
from pipelines.geometry.similarity import camera_alignment
from pipelines.matching.match import read_matches
from pipelines.sfm.config import MappingConfig
from pipelines.sfm.why import MatchGraph, Pair
from pipelines.store.alignment import FILE as ALIGNMENT
from pipelines.store.alignment import ModelAlignment, alignment_text, read_alignment
from pipelines.store.files import write_errors, write_text
from pipelines.store.folder import MapFolder

CODE = 11
"""Changes whenever other models come of the same pairs: the ones that stand in a folder are then made anew."""
_KEY_FILE = "made-from.txt"
_WHOLE = 0.5
"""Share of the photos that hang together below which a model is taken for badly begun."""
_BEGINNINGS = 8
"""Pairs of photos, those with the most matches, that a mapping is begun with then."""


@dataclass(frozen=True)
class MappingInput:
    """What mapping works on.

    Attributes:
        files: features of the photos; photo i is COLMAP's image i + 1.
        graph: verified pairs.
        match_keys: pair -> key of its raw matches.
        cameras: the distinct cameras.
        camera_of: index of its camera for each photo.
    """

    files: FeatureFiles
    graph: MatchGraph
    match_keys: dict[Pair, str]
    cameras: tuple[Camera, ...]
    camera_of: tuple[int, ...]


@contextmanager
def new_database(folder: MapFolder, given: MappingInput, progress: Progress, *, grow: bool = False) -> Iterator[None]:
    """The COLMAP database of models to be made: keypoints, raw matches, two-view geometries.

    It takes the place of the old one with the models (:func:`keep_models`), and goes if none come of it.
    """
    if not grow and (folder.sparse / ALIGNMENT).exists():
        progress.warn("The models are made anew, without the alignment of the old: run `recon map align` again")
    pairs = sorted(given.match_keys)

    def keypoints(index: int) -> NDArray[np.float32]:
        frames = given.files.load_frames(index)
        return np.concatenate([frames[:, :, 2], frames[:, :, :2].reshape(-1, 4)], axis=1)

    def raw(pair: Pair) -> NDArray[np.int32]:
        found = read_matches(folder.matches, given.match_keys[pair])
        return np.empty((0, 2), np.int32) if found is None else found.matches

    try:
        colmap.write_database(
            folder.next_database,
            given.graph.names,
            given.cameras,
            given.camera_of,
            map_items(keypoints, range(len(given.graph.names)), workers=1),
            ((pair, raw(pair), given.graph.views.get(pair)) for pair in pairs),
            shown_as=folder.database,
        )
        yield
    finally:
        colmap.drop_database(folder.next_database)


def map_photos(
    folder: MapFolder,
    given: MappingInput,
    config: MappingConfig,
    *,
    seed: int,
    grow: bool,
    key: str,
    progress: Progress,
) -> list[colmap.Reconstruction]:
    """Make the models, largest first.

    Args:
        folder: the map, with its :func:`new_database`.
        given: see :class:`MappingInput`.
        config: mapper and limits.
        seed: of all random choices.
        grow: go on from the models that stand in ``folder.sparse``.
        key: fingerprint of all of this; snapshots of another mapping are of no use.
    """
    names = given.graph.names
    with progress.stage("Mapping", len(names)) as task:
        job = mapping_job(folder, given, config, seed=seed, on_photo=task.advance)
        if grow:
            return _continued(job, colmap.component_folders(folder.sparse), names)
        if config.mapper == "global":
            return colmap.global_mapping(job)
        if len(names) <= config.snapshot_every:
            models = colmap.incremental_mapping(job)
        else:
            models = _with_snapshots(folder.root / "snapshots", job, names, config.snapshot_every, key)
        return _begun_better(job, models, given.graph, progress)


def mapping_job(
    folder: MapFolder,
    given: MappingInput,
    config: MappingConfig,
    *,
    seed: int,
    on_photo: Callable[[], None] = lambda: None,
) -> colmap.IncrementalJob:
    """What COLMAP is told of a mapping; thresholds grow with photos beyond 1,600 px."""
    return colmap.IncrementalJob(
        database=folder.next_database,
        seed=seed,
        min_model_size=min(config.min_model_size, len(given.graph.names)),
        fix_intrinsics=config.fix_intrinsics,
        choose_lenses=config.choose_lenses and not config.fix_intrinsics,
        error_scale=threshold_scale(*given.cameras),
        on_photo=on_photo,
    )


def _begun_better(
    job: colmap.IncrementalJob, models: list[colmap.Reconstruction], graph: MatchGraph, progress: Progress
) -> list[colmap.Reconstruction]:
    """Other models where the largest has few of the photos that hang together: the fault may lie in its first pair.

    COLMAP begins with the pair that has the most matches and a wide enough angle by its own guess of the focal lengths,
    and keeps what grows out of it. With nine of sacre_coeur's ten photos that was once a model of three, while three of
    the ten pairs with the most matches led to all nine.
    """
    together = len(graph.components()[0])
    wanted = max(job.min_model_size, _WHOLE * together)

    def size(found: Sequence[colmap.Reconstruction]) -> int:
        return found[0].num_reg_images() if found else 0

    best = models
    if size(best) >= wanted or together < job.min_model_size:
        return models
    progress.say(f"The largest model has {size(best)} of {together} photos that hang together; beginning with others")
    for pair in sorted(graph.views, key=lambda pair: (-len(graph.views[pair]), pair))[:_BEGINNINGS]:
        found = colmap.incremental_mapping(job, begin=pair)
        if size(found) > size(best):
            best = found
        if size(best) >= wanted:
            break
    if best is models:
        return models
    return _and_of_the_rest(job, best, graph.names)


def _with_snapshots(
    home: Path, job: colmap.IncrementalJob, names: Sequence[str], every: int, key: str
) -> list[colmap.Reconstruction]:
    """Mapping of a large set, which goes on from its last snapshots after a kill."""
    own = home / key
    with write_errors(home):
        own.mkdir(parents=True, exist_ok=True)
        for other in home.iterdir():
            if other != own:
                shutil.rmtree(other)
    job = replace(job, snapshots=own, snapshot_every=every)
    starts = _last_of_each_component(own)
    models = _continued(job, starts, names) if starts else colmap.incremental_mapping(job)
    shutil.rmtree(home, ignore_errors=True)
    return models


def _into_frame_of(grown: colmap.Reconstruction, start: Path) -> None:
    """COLMAP moves and scales a model that it adjusts; a map that grows keeps its world, and its metres."""
    before, after = colmap.to_model(colmap.load(start)), colmap.to_model(grown)
    rows = [after.names.index(name) for name in before.names]
    colmap.transform(grown, *camera_alignment(after.cam_from_world[rows], before.cam_from_world))


def carried_alignment(folder: MapFolder, models: Sequence[colmap.Reconstruction]) -> str:
    """The alignments of a map's models for those that grew out of them; '' for none."""
    known = read_alignment(folder.sparse)
    names = [colmap.registered_names(model) for model in models]
    carried: dict[str, ModelAlignment] = {}
    for path in colmap.component_folders(folder.sparse):
        entry = known.get(f"sparse/{path.name}")
        before = colmap.registered_names(colmap.load(path)) if entry is not None else set()
        for number, own in enumerate(names):
            if entry is not None and before <= own:
                carried.setdefault(f"sparse/{number}", entry)
    return alignment_text(carried) if carried else ""


def _last_of_each_component(snapshots: Path) -> list[Path]:
    """The newest whole snapshot of each component: their names are the times at which they were taken."""
    last: list[tuple[Path, set[str]]] = []
    for path in sorted(snapshots.iterdir(), reverse=True):
        if colmap.is_model(path):
            photos = colmap.registered_names(colmap.load(path))
            if all(2 * len(photos & newer) < len(photos) for _, newer in last):
                last.append((path, photos))
    return [path for path, _ in last]


def _continued(job: colmap.IncrementalJob, starts: Sequence[Path], names: Sequence[str]) -> list[colmap.Reconstruction]:
    """Every model takes up what it can of the photos that it lacks; the rest may form new ones."""
    grown: list[colmap.Reconstruction] = []
    taken: set[str] = set()
    for start in starts:
        before = colmap.registered_names(colmap.load(start))
        if before <= taken:
            continue
        models = colmap.incremental_mapping(job, start=start)
        kept = models and before <= colmap.registered_names(models[0])
        best = models[0] if kept else colmap.load(start)
        if kept:
            _into_frame_of(best, start)
        grown.append(best)
        taken |= colmap.registered_names(best)
    return _and_of_the_rest(job, grown, names)


def _and_of_the_rest(
    job: colmap.IncrementalJob, models: Sequence[colmap.Reconstruction], names: Sequence[str]
) -> list[colmap.Reconstruction]:
    """The models and those that the photos form which they lack, largest first."""
    taken: set[str] = set().union(*map(colmap.registered_names, models))
    left = [name for name in names if name not in taken]
    more = colmap.incremental_mapping(job, names=left) if len(left) >= job.min_model_size else []
    return colmap.largest_first([*models, *more])


def models_key(folder: MapFolder) -> str:
    """The key that :func:`keep_models` was given, or '' if there are no models."""
    try:
        return (folder.sparse / _KEY_FILE).read_text()
    except OSError:
        return ""


def keep_models(folder: MapFolder, models: Sequence[colmap.Reconstruction], key: str, alignment: str = "") -> None:
    """Write the models to ``sparse/0, 1, …`` in place of those of an earlier run, all or none, and so their database.

    Args:
        folder: the map.
        models: COLMAP's, largest first.
        key: what they were made from.
        alignment: content of :data:`pipelines.store.alignment.FILE`, if their world is known.

    Raises:
        OutputError: the disk is full.
    """
    draft = folder.root / f".sparse.{os.getpid()}.draft"
    try:
        with write_errors(folder.sparse):
            draft.mkdir()
        for number, model in enumerate(models):
            colmap.write_model(model, draft / str(number))
        write_text(draft / _KEY_FILE, key)
        if alignment:
            write_text(draft / ALIGNMENT, alignment)
        with write_errors(folder.sparse):
            if folder.next_database.exists():
                for model in reversed(models):
                    colmap.put_lenses(model.cameras.values(), folder.next_database)
                # Killed between the two, the next run must not take the old models for those of the new database.
                (folder.sparse / _KEY_FILE).unlink(missing_ok=True)
                colmap.put_database(folder.next_database, folder.database)
            if folder.sparse.exists():
                os.replace(folder.sparse, folder.sparse_before)
            os.replace(draft, folder.sparse)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if folder.sparse.exists():
            shutil.rmtree(folder.sparse_before, ignore_errors=True)


def read_models(folder: MapFolder, sources: dict[int, str]) -> list[Model]:
    """The models of a map, largest first; see :func:`pipelines.colmap.to_model` for ``sources``."""
    return [colmap.to_model(colmap.load(path), sources) for path in colmap.component_folders(folder.sparse)]
