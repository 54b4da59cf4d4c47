"""A COLMAP model of others becomes a map: its cameras are kept, its points are triangulated with our features."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines import colmap
from pipelines.core.clock import timed
from pipelines.core.errors import ConfigError, InputError, NoModelError, ReconError
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Progress
from pipelines.core.thresholds import threshold_scale
from pipelines.core.types import Photo, Rejected
from pipelines.features.extract import FeatureConfig, extract_features
from pipelines.geometry.two_view import VerifyConfig
from pipelines.images.cameras import CameraConfig, Intrinsics, camera_prior, check_model
from pipelines.images.read import scan
from pipelines.matching.matcher import MatchConfig
from pipelines.pairs.map_index import map_index
from pipelines.pairs.select import PairingConfig, select_pairs
from pipelines.pairs.shared import pairs_that_share
from pipelines.sfm import mapping
from pipelines.sfm.colour import colour_points
from pipelines.sfm.config import MappingConfig, SfmConfig
from pipelines.sfm.matching import match_photos
from pipelines.sfm.photos import check_folders_apart, say_left_out
from pipelines.sfm.run import SfmResult
from pipelines.sfm.summary import ledger_of, settings_of, summarise
from pipelines.sfm.why import no_overlap, unregistered
from pipelines.store.files import fingerprint
from pipelines.store.folder import MapFolder

_SHARED = 5
"""Points of the given model that two photos must share to be matched."""
_LEAST = 2
_ROUGH = 1.2
"""Mean reprojection error, px at 1,600 px, beyond which a model is doubted: COLMAP leaves out what is beyond 4 px, so
that those that agree by chance have about 2 (Herz-Jesus-P8 under fountain-P11's names: 2.0), right ones 0.3 to 0.5."""


def import_model(
    source: Path,
    images: Path,
    folder: MapFolder,
    features: FeatureConfig,
    matching: MatchConfig,
    *,
    neighbours: int = 20,
    seed: int = 0,
    progress: Progress,
) -> SfmResult:
    """Make a map of a COLMAP model and its photos, to localise in, export and report.

    The given poses and intrinsics stay as they are, so the map's world is the model's. Pairs to match are those photos
    that share points of the model; a model of cameras alone is matched as ``recon sfm`` would.

    Args:
        source: folder of the model (binary or text), or one that holds it as ``sparse/0``, ``0`` or ``sparse``.
        images: folder of the photos, under the names that the model has for them.
        folder: the map to make.
        features, matching: as for ``recon sfm``.
        neighbours: photos that each is matched with at most.
        seed: of RANSAC and of the index.

    Raises:
        InputError: no model, or fewer than two of its photos are there.
        ConfigError: a camera of the model cannot be used, or does not fit its photo; the model lies in the map to make,
            or the map would lie among the photos.
        NoOverlapError, NoModelError: our features give no points for these cameras.
    """
    seconds: dict[str, float] = {}
    with timed(seconds, "Reading"):
        place = _model_folder(source)
        if folder.sparse.resolve() in (place.resolve(), *place.resolve().parents):
            raise ConfigError(
                f"The map in {folder.root} would take the place of the model that it is made of",
                f"{place} is in it",
                "another folder with --out",
            )
        check_folders_apart(images, folder.root, "the run folder", "--out")
        given = colmap.read_model(place)
        photos, absent = _photos(given, images, progress)
    kept = MappingConfig(refine_keypoints=False)
    config = SfmConfig(
        features, PairingConfig("retrieval", neighbours), matching, VerifyConfig(), mapping=kept, seed=seed
    )
    cameras = {photo.name: _camera(given, photo) for photo in photos}
    folder.create()
    with folder.locked():
        say_left_out(folder, photos, progress)
        work = _matched(given, photos, cameras, folder, config, seconds, progress)
        used = [work.cameras[index] for index in work.camera_of]
        with mapping.new_database(folder, work, progress):
            with timed(seconds, "Triangulation"):
                made = _triangulated(given, work, used, folder, config)
            model = colmap.to_model(made, dict.fromkeys(range(1, len(work.cameras) + 1), "given"))
            with timed(seconds, "Colours"):
                by_name = {photo.name: photo for photo in work.files.photos}
                colours, thumbnails = colour_points([model], by_name, progress=progress)
                colmap.set_colours(made, colours[0])
                matched = [work.match_keys[pair] for pair in sorted(work.match_keys)]
                key = fingerprint("imported", work.graph.names, matched, work.cameras, work.camera_of, seed)
                mapping.keep_models(folder, [made], key)
        map_index(folder, work.files, seed=seed, progress=progress)
        models = (replace(model, rgb=colours[0]),)
        summary = summarise(
            work.graph,
            models,
            cameras=used,
            rejected=[*absent, *work.files.rejected],
            unregistered=unregistered(work.graph, models, work.files, used, seed=seed),
            timings=seconds,
            settings=settings_of(config),
        )
        ledger = ledger_of(summary, work.files, config, work.cameras, work.camera_of, None, str(source.resolve()))
        folder.write_ledger(ledger)
    _warn_of_rough(summary.components[0].error, used, progress)
    return SfmResult(summary, models, thumbnails, None, ledger)


def _matched(
    given: Model,
    photos: Sequence[Photo],
    cameras: Mapping[str, Camera],
    folder: MapFolder,
    config: SfmConfig,
    seconds: MutableMapping[str, float],
    progress: Progress,
) -> mapping.MappingInput:
    """Features of the photos and their verified matches.

    Raises:
        NoOverlapError: no pair was verified.
    """
    with timed(seconds, "Features"):
        files = extract_features(photos, config.features, folder.features, progress=progress)
    names = tuple(photo.name for photo in files.photos)
    used = [cameras[own] for own in names]
    with timed(seconds, "Pairs"):
        pairs = _pairs(given, names, config.pairs.neighbours) or select_pairs(
            files.photos, PairingConfig(), load_features=files.load, seed=config.seed, progress=progress
        )
    graph, keys = match_photos(folder, files, pairs, used, config, seconds, progress)
    if not graph.views:
        raise no_overlap(graph, config.verification.min_inliers)
    distinct = tuple(dict.fromkeys(used))
    camera_of = tuple(distinct.index(camera) for camera in used)
    return mapping.MappingInput(files, graph, keys, distinct, camera_of)


def _triangulated(
    given: Model, work: mapping.MappingInput, used: Sequence[Camera], folder: MapFolder, config: SfmConfig
) -> colmap.Reconstruction:
    """COLMAP's model of the given cameras and our points.

    Raises:
        NoModelError: there are none.
    """
    job = mapping.mapping_job(folder, work, config.mapping, seed=config.seed)
    made = colmap.triangulate(job, colmap.from_model(cameras_alone(given, work.graph.names, used)))
    if not made.num_points3D():
        raise NoModelError(
            "The model's cameras and the matches of its photos do not agree",
            "no point could be triangulated with the given poses",
            "check that --images holds the photos that the model was made of",
        )
    return made


def _warn_of_rough(error: float, cameras: Sequence[Camera], progress: Progress) -> None:
    """Say so where the points fit hardly better than matches that agree with the cameras by chance."""
    if error > _ROUGH * threshold_scale(*cameras):
        progress.warn(
            f"The points lie {error:.1f} px from their keypoints: the images are not those of the model, or its "
            "cameras are rough, and places found in this map may be wrong"
        )


def _model_folder(source: Path) -> Path:
    for path in (source, source / "sparse" / "0", source / "0", source / "sparse"):
        if path.is_dir() and colmap.is_model(path):
            return path
    raise InputError(
        f"There is no COLMAP model in {source}",
        "neither it nor sparse/0 or sparse in it holds cameras, images and points3D as .bin or .txt",
        "the folder that colmap mapper wrote",
    )


def _photos(given: Model, images: Path, progress: Progress) -> tuple[list[Photo], list[Rejected]]:
    """The photos of the model that are there, in its order of names, and those that are not."""
    found, refused = scan(images, progress=progress)
    known = {photo.name: photo for photo in found}
    why = {file.name: file for file in refused}
    photos = [known[name] for name in given.names if name in known]
    if len(photos) < _LEAST:
        raise InputError(
            f"{len(photos)} of the {len(given.names)} photos of the model are in {images}",
            f"the model names, for example, {given.names[0] if given.names else 'none'}",
            "--images with the folder that these names are relative to",
        )
    absent = [
        why.get(name, Rejected(name, "it is in the model, but not among the images"))
        for name in given.names
        if name not in known
    ]
    return photos, absent


def _camera(given: Model, photo: Photo) -> Camera:
    """The model's camera of a photo, scaled if the photo now stands at another size."""
    camera = given.cameras[given.names.index(photo.name)]
    try:
        check_model(camera.model)
        intrinsics = Intrinsics(camera.params, (camera.width, camera.height), camera.model)
        return camera_prior(photo, CameraConfig(camera.model, intrinsics))
    except ReconError as error:
        raise ConfigError(f"The model's camera of {photo.name} cannot be used", error.what, error.try_) from error


def _pairs(given: Model, names: Sequence[str], neighbours: int) -> list[tuple[int, int]]:
    """Pairs of photos that share points of the given model, for each those that share most."""
    number_of = {name: number for number, name in enumerate(names)}
    own = np.array([number_of.get(name, -1) for name in given.names], np.int64)
    image = own[given.obs_image]
    ours = image >= 0
    return pairs_that_share(image[ours], given.obs_point[ours], neighbours=neighbours, least=_SHARED)


def cameras_alone(given: Model, names: Sequence[str], cameras: Sequence[Camera]) -> Model:
    """The given poses in our order of photos, without points."""
    rows = [given.names.index(name) for name in names]
    none = np.zeros(0, np.int32)
    return Model(
        tuple(names),
        tuple(cameras),
        given.cam_from_world[rows],
        np.zeros((0, 3)),
        np.zeros((0, 3), np.uint8),
        np.zeros(0, np.float32),
        none,
        none,
        none,
        np.zeros((0, 2), np.float32),
    )
