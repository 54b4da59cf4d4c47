"""A folder of object pictures to what a scene is compared with; features and the inverted file are kept in a cache."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import descriptors
from pipelines.core.errors import ConfigError, InputError, OutputError
from pipelines.core.progress import Progress
from pipelines.core.types import Features, Photo, Rejected
from pipelines.engine import opencv_threads_kept
from pipelines.features.extract import FeatureConfig, FeatureFiles, extract_features
from pipelines.images.read import scan
from pipelines.recognize.inverted import InvertedFile, build_inverted
from pipelines.store.files import fingerprint, make_folder, read_arrays, write_arrays

_CODE = 1
_SIDE, _KEYPOINTS = 800, 2000
"""Of an object's picture: in a scene it is seldom larger."""


@dataclass(frozen=True)
class ObjectIndex:
    """Objects that can be recognised.

    Attributes:
        files: their pictures and features.
        descriptor: name of the descriptor.
        inverted: finds the few objects worth comparing; None where all are compared.
    """

    files: FeatureFiles
    descriptor: str
    inverted: InvertedFile | None

    def __len__(self) -> int:
        return len(self.files.photos)

    @property
    def photos(self) -> tuple[Photo, ...]:
        """The objects' pictures."""
        return self.files.photos

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """Files that are no usable pictures."""
        return self.files.rejected

    def candidates(self, scene: Features, count: int) -> list[int]:
        """At most ``count`` objects worth comparing with a scene, the likeliest first."""
        if self.inverted is None:
            return list(range(len(self)))
        scores = self.inverted.scores(scene.descriptors)
        order = scores.argsort()[::-1][:count]
        return [int(index) for index in order if scores[index] > 0]


@opencv_threads_kept()  # the scenes come one at a time
def index_objects(
    folder: Path, features: FeatureConfig, cache: Path, *, compare: int, seed: int, progress: Progress
) -> ObjectIndex:
    """Read, describe and file the pictures of a folder; what the cache holds is not made again.

    Args:
        folder: one picture per object.
        features: as for the scene; objects are looked at with at most 800 px and 2,000 keypoints.
        cache: folder of the kept features and inverted files; if it cannot be written, nothing is kept.
        compare: objects that a scene is compared with; an inverted file is made of more.
        seed: of the inverted file's words.

    Raises:
        ConfigError: the descriptor is a metric network.
        InputError: no usable picture.
        OutputError: neither the cache nor a temporary folder can be written.
    """
    if descriptors.scorer_for(features.descriptor) is not None:
        raise ConfigError(
            f"Objects cannot be recognised with {features.descriptor}",
            "it is a metric network, which has no distances to search by",
            "--descriptor rootsift or swift",
        )
    photos, rejected = scan(folder, progress=progress)
    if not photos:
        why = "; ".join(f"{item.name}: {item.why}" for item in rejected[:3])
        raise InputError(f"There is no object in {folder}", why, "one picture per object, JPEG or PNG")
    detector = replace(features.detector, max_keypoints=min(_KEYPOINTS, features.detector.max_keypoints))
    config = replace(features, detector=detector, max_side=min(_SIDE, features.max_side))
    files = _described(photos, config, cache, progress)
    files = replace(files, rejected=(*rejected, *files.rejected))
    inverted = _inverted(files, seed, progress) if len(files.photos) > compare else None
    return ObjectIndex(files, features.descriptor, inverted)


def _described(photos: Sequence[Photo], config: FeatureConfig, cache: Path, progress: Progress) -> FeatureFiles:
    """Features in the cache, or in a folder that goes with the process where the cache cannot be written."""
    try:
        # One that is there is not asked whether it can be written: it may hold all that is needed.
        return extract_features(photos, config, cache if cache.is_dir() else make_folder(cache), progress=progress)
    except OutputError as error:
        progress.say(f"The objects' features are not kept: {error.what} ({error.why}).")
    try:
        folder = Path(tempfile.mkdtemp(prefix="recon-objects-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return extract_features(photos, config, folder, progress=progress)
    except (OSError, OutputError) as error:
        why = error.why if isinstance(error, OutputError) else error.strerror or str(error)
        raise OutputError(f"Objects' features can be written neither to {cache} nor to a temporary folder", why,
                          "--cache DIR, on a disk with room") from error  # fmt: skip


def _inverted(files: FeatureFiles, seed: int, progress: Progress) -> InvertedFile:
    path = files.folder / f"{fingerprint('inverted', _CODE, files.keys, seed)}.npz"
    arrays = read_arrays(path)
    if arrays is not None and set(arrays) == set(InvertedFile.__dataclass_fields__):
        return InvertedFile.from_arrays(arrays)
    with progress.stage("Index", None):
        made = build_inverted(map(files.load_descriptors, range(len(files.photos))), files.counts, seed=seed)
    try:
        write_arrays(path, made.arrays())
    except OutputError as error:
        progress.say(f"The objects' index is not kept: {error.what} ({error.why}).")
    return made
