"""Photos to a map: the whole of ``recon sfm`` as one function over the stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import descriptors
from pipelines import colmap
from pipelines.core.clock import timed
from pipelines.core.errors import ConfigError, NoModelError, NoOverlapError, ReconError
from pipelines.core.maps import Camera, MapSummary, Model
from pipelines.core.progress import Progress
from pipelines.core.types import Photo, Rejected
from pipelines.features.extract import FeatureFiles, extract_features
from pipelines.images.cameras import assign_cameras
from pipelines.matching.match import get_ready
from pipelines.pairs.map_index import map_index, retrieval_folder
from pipelines.pairs.select import PairingConfig, select_pairs
from pipelines.photometric.patches import kept_patches
from pipelines.sfm import mapping
from pipelines.sfm.colour import colour_points
from pipelines.sfm.config import SfmConfig
from pipelines.sfm.keypoints import finish_model
from pipelines.sfm.matching import match_photos
from pipelines.sfm.photos import GivenPhotos, check_enough, collect_photos, say_left_out, say_masks
from pipelines.sfm.summary import ledger_of, settings_of, summarise
from pipelines.sfm.why import no_model, no_overlap, unregistered
from pipelines.store.files import fingerprint
from pipelines.store.folder import MapFolder


@dataclass(frozen=True)
class SfmResult:
    """What a run made.

    Attributes:
        summary: figures and reasons, for report and ledger.
        models: largest first; empty if no model could be made.
        thumbnails: photo name -> JPEG.
        failure: the error that ended the run after its stages' work was done, to be raised once it is reported.
        ledger: what the run says of itself, whether or not a finished map's recon.json stands before it.
    """

    summary: MapSummary
    models: tuple[Model, ...]
    thumbnails: Mapping[str, bytes]
    failure: ReconError | None
    ledger: Mapping[str, Any]


def run_sfm(
    source: Path | Sequence[Path],
    folder: MapFolder,
    config: SfmConfig,
    *,
    masks: Path | None = None,
    grow: bool = False,
    publish: Callable[[SfmResult], None] | None = None,
    progress: Progress,
) -> SfmResult:
    """Make a map of photos, or make an existing map grow.

    Args:
        source: a folder of photos, or photo files.
        folder: the run folder. Work that stands there from an earlier run with the same photos and options is
            used again; whatever depends on a changed option is made anew.
        config: all options. For a growing map, :func:`pipelines.sfm.photos.map_config` of that map.
        masks: folder of masks; see :mod:`pipelines.images.masks`.
        grow: add the photos to the map in ``folder``.
        publish: writes what depends on the result, such as the report, before recon.json says that it is done.
        progress: who listens.

    Returns:
        The map; on ``failure`` the reasons, and a map that was finished before stays as it is.

    Raises:
        InputError: fewer than two readable photos.
        ConfigError: the options do not fit the photos, such as masks of others.
        OutputError: the folder cannot be written.
        BusyError: another run is at work in the folder.
    """
    seconds: dict[str, float] = {}
    descriptors.spec(descriptors.shortlist(config.features.descriptor))
    with timed(seconds, "Reading"):
        given = collect_photos(source, folder, grow, masks, progress)
    # Wrong intrinsics, lists of pairs and masks are told before the long work, not after it.
    _cameras(given.photos, config, given)
    _check_pairs(given, config)
    if masks is not None:
        say_masks(given.photos[given.known :], masks, progress)
    folder.create()
    with folder.locked():
        say_left_out(folder, given.photos, progress)
        result = _run(given, folder, config, masks, grow, seconds, progress)
        if result.failure and folder.finished:
            progress.warn(f"The finished map in {folder.root} stays as it was")
        else:
            if publish is not None:
                publish(result)
            folder.write_ledger(result.ledger)
    return result


def _run(
    given: GivenPhotos,
    folder: MapFolder,
    config: SfmConfig,
    masks: Path | None,
    grow: bool,
    seconds: MutableMapping[str, float],
    progress: Progress,
) -> SfmResult:
    if not any(folder.matches.glob("*.npz")):  # a run that goes on has few pairs to match, or none
        get_ready()
    with timed(seconds, "Features"):
        files = extract_features(
            given.photos, config.features, folder.features, masks=masks, made=given.features, progress=progress
        )
    given.check_known(files.rejected)
    check_enough(files.photos, files.rejected)
    rejected = given.rejected + files.rejected
    cameras, camera_of = _cameras(files.photos, config, given)
    photo_cameras = [cameras[index] for index in camera_of]
    with timed(seconds, "Pairs"):
        pairs = _pairs(files, config, rejected, given.known, progress)
    graph, match_keys = match_photos(folder, files, pairs, photo_cameras, config, seconds, progress)
    for line in graph.outlook():
        progress.say(line)
    to_map = mapping.MappingInput(files, graph, match_keys, cameras, camera_of)
    failure: ReconError | None = None
    models: list[Model] = []
    thumbnails: dict[str, bytes] = {}
    try:
        models, thumbnails = _models(folder, to_map, config, grow, seconds, progress)
    except (NoOverlapError, NoModelError) as error:
        failure = error
    with timed(seconds, "Reasons"):
        missing = unregistered(graph, models, files, photo_cameras, masks=masks, seed=config.seed) if models else []
    _make_ready_for_queries(folder, files, models, config, seconds, progress)
    summary = summarise(
        graph,
        models,
        cameras=photo_cameras,
        rejected=rejected,
        unregistered=missing,
        timings=seconds,
        settings=settings_of(config),
        failure="" if failure is None else failure.sentence,
    )
    ledger = ledger_of(summary, files, config, cameras, camera_of, failure, given.imported)
    return SfmResult(summary, tuple(models), thumbnails, failure, ledger)


def _make_ready_for_queries(
    folder: MapFolder,
    files: FeatureFiles,
    models: Sequence[Model],
    config: SfmConfig,
    seconds: MutableMapping[str, float],
    progress: Progress,
) -> None:
    """Make what `recon localize` reads, as far as it would take long to make it then."""
    if models and len(files.photos) > config.pairs.exhaustive_up_to:
        with timed(seconds, "Index"):  # of a small map, the first `recon localize` makes it in a second
            map_index(folder, files, seed=config.seed, progress=progress)
    if config.mapping.refine_keypoints:
        with timed(seconds, "Index"):
            by_name = {photo.name: photo for photo in files.photos}
            for number, model in enumerate(models):
                where = retrieval_folder(folder) / f"patches-{number}"
                kept_patches(where, model, by_name, config.features.max_side, progress=progress)


def _check_pairs(given: GivenPhotos, config: SfmConfig) -> None:
    """Raise what choosing the pairs would raise, as far as that is known without features."""
    photos = given.photos[: given.known] or given.photos
    located = any(photo.exif.gps for photo in photos)
    if config.pairs.strategy == "list" or (config.pairs.strategy == "spatial" and not located):
        select_pairs(photos, config.pairs, rejected=[file.name for file in given.rejected])


def _pairs(
    files: FeatureFiles, config: SfmConfig, rejected: Sequence[Rejected], known: int, progress: Progress
) -> list[tuple[int, int]]:
    """The pairs to match. The list of pairs of a map knows nothing of the photos that are added to it."""

    def choose(photos: Sequence[Photo], pairs: PairingConfig) -> list[tuple[int, int]]:
        names = [file.name for file in rejected]
        return select_pairs(
            photos, pairs, load_features=files.load, rejected=names, seed=config.seed, progress=progress
        )

    if config.pairs.strategy != "list" or not known:
        return choose(files.photos, config.pairs)
    listed = choose(files.photos[:known], config.pairs)
    return listed + [pair for pair in choose(files.photos, PairingConfig()) if pair[1] >= known]


def _cameras(
    photos: Sequence[Photo], config: SfmConfig, given: GivenPhotos
) -> tuple[tuple[Camera, ...], tuple[int, ...]]:
    """The distinct cameras, and the index of its camera for each photo; those of a map that grows come first."""
    cameras, camera_of = assign_cameras(photos, config.cameras, given.cameras, given.camera_of)
    if config.mapping.fix_intrinsics and any(camera.source == "guess" for camera in cameras):
        raise ConfigError(
            "The intrinsics cannot be kept fixed",
            "at least one photo has neither EXIF nor given intrinsics, only a guess",
            "give them with --intrinsics",
        )
    return tuple(cameras), tuple(camera_of)


def _models(
    folder: MapFolder,
    given: mapping.MappingInput,
    config: SfmConfig,
    grow: bool,
    seconds: MutableMapping[str, float],
    progress: Progress,
) -> tuple[list[Model], dict[str, bytes]]:
    """The coloured models, and thumbnails of the photos; leaves the models in ``folder.sparse``.

    Raises:
        NoOverlapError: no pair was verified.
        NoModelError: no model could be made of the verified pairs.
    """
    from pipelines.sfm.again import match_again  # Not at the top: numba.

    photos = {photo.name: photo for photo in given.files.photos}
    key = fingerprint(
        "models",
        mapping.CODE,
        given.graph.names,
        [given.match_keys[pair] for pair in sorted(given.match_keys)],
        config.verification,
        given.cameras,
        given.camera_of,
        config.mapping,
        config.seed,
        grow,
    )
    sources = {number: camera.source for number, camera in enumerate(given.cameras, 1)}
    stands = mapping.models_key(folder) == key and colmap.component_folders(folder.sparse)
    if stands and colmap.database_names(folder.database) == list(given.graph.names):
        progress.say("The models are up to date")
        with timed(seconds, "Colours"):
            thumbnails = colour_points([], photos, progress=progress)[1]
        return mapping.read_models(folder, sources), thumbnails
    if not given.graph.views:
        raise no_overlap(given.graph, config.verification.min_inliers)
    with mapping.new_database(folder, given, progress, grow=grow):
        with timed(seconds, "Mapping"):
            made = mapping.map_photos(
                folder, given, config.mapping, seed=config.seed, grow=grow, key=key, progress=progress
            )
        if not made:
            raise no_model(given.graph)
        with timed(seconds, "Matching again"):
            made = match_again(folder, given, made, config, progress=progress)
        with timed(seconds, "Keypoints"):
            models = [
                finish_model(model, photos, config.features.max_side, config.mapping, sources, progress=progress)
                for model in made
            ]
        with timed(seconds, "Colours"):
            colours, thumbnails = colour_points(models, photos, progress=progress)
            for model, rgb in zip(made, colours, strict=True):
                colmap.set_colours(model, rgb)
            mapping.keep_models(folder, made, key, mapping.carried_alignment(folder, made) if grow else "")
    return [replace(model, rgb=rgb) for model, rgb in zip(models, colours, strict=True)], thumbnails
