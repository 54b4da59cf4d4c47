"""A scene and an index of objects to every instance that is seen, and what is told of it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import descriptors
from pipelines.core.config import check_seed
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.progress import Progress
from pipelines.core.thresholds import threshold_scale
from pipelines.core.types import Photo, Rejected
from pipelines.engine import cores, map_items
from pipelines.features.extract import FeatureConfig
from pipelines.images.read import scan
from pipelines.pairwise.frontend import FrontEnd
from pipelines.recognize.instances import Instance, find_instances, match_frames, without_shadows
from pipelines.recognize.objects import ObjectIndex


@dataclass(frozen=True)
class RecognizeConfig:
    """How objects are recognised.

    Attributes:
        features: of the scene; objects are looked at with at most 800 px.
        compare: objects that a scene is compared with, the likeliest of the index.
        max_error: px at 1,600 px, of an inlier.
        chance: accidents that are put up with, over all objects of a scene.
        seed: of the robust estimation and the index.
    """

    features: FeatureConfig = field(default_factory=FeatureConfig)
    compare: int = 50
    max_error: float = 4.0
    chance: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.compare < 1:
            raise ConfigError(f"A scene cannot be compared with {self.compare} objects", "", "--compare 50")
        if not 0 < self.max_error <= 100:
            what = f"A threshold of {self.max_error:g} px is not possible"
            raise ConfigError(what, "it lies between 0 and 100", "--max-error 4")
        if not 0 < self.chance <= 1:
            what = f"{self.chance:g} accidents a scene are not possible"
            raise ConfigError(what, "the number lies between 0 and 1", "--chance 0.001")


@dataclass(frozen=True)
class Find:
    """An instance, and the object's picture that it is one of."""

    thing: Photo
    instance: Instance


@dataclass(frozen=True)
class Recognised:
    """What a scene shows.

    Attributes:
        scene: the photo.
        keypoints: found in it.
        finds: the surest first; empty if nothing was recognised.
        compared: objects that were compared.
        seconds: of this scene.
    """

    scene: Photo
    keypoints: int
    finds: tuple[Find, ...]
    compared: int
    seconds: float


def read_scenes(paths: list[Path]) -> tuple[list[Photo], list[Rejected]]:
    """The scenes, of photos and folders of photos, and the files that are none.

    Raises:
        InputError: a folder cannot be read, or no scene is left.
    """
    photos: list[Photo] = []
    rejected: list[Rejected] = []
    for path in paths:
        found, bad = scan(path if path.is_dir() else [path])
        photos += found
        rejected += bad
    if not photos:
        why = "; ".join(f"{item.name}: {item.why}" for item in rejected[:3])
        raise InputError("There is no scene", why, "name a photo that can be read")
    return photos, rejected


class Recogniser:
    """An index and a descriptor, ready for any number of scenes.

    Args:
        index: the objects.
        config: how to compare.
    """

    def __init__(self, index: ObjectIndex, config: RecognizeConfig) -> None:
        self.index, self.config = index, config
        self._front = FrontEnd(config.features)
        self._distance = descriptors.spec(config.features.descriptor).distance
        self._ratio = min(self._front.matcher.ratio, 1.0)

    def __call__(self, scene: Photo, *, progress: Progress) -> Recognised:
        """Every instance of every object in a photo.

        Raises:
            InputError: the photo cannot be read.
        """
        begin = time.perf_counter()
        features = self._front.describe(scene)
        candidates = self.index.candidates(features, self.config.compare)
        limit = math.log10(self.config.chance)
        max_error = self.config.max_error * threshold_scale(scene)

        def one(index: int) -> list[tuple[int, Instance]]:
            thing = self.index.files.load(index)
            matched = match_frames(features, thing, ratio=self._ratio, distance=self._distance)
            found = find_instances(
                matched, self.index.photos[index], scene,
                max_error=max_error, tests=len(self.index), limit=limit, seed=self.config.seed,
            )  # fmt: skip
            return [(index, instance) for instance in found]

        every: list[tuple[int, Instance]] = []
        with progress.stage("Objects", len(candidates)) as task:
            for index, found in zip(candidates, map_items(one, candidates, workers=cores()), strict=True):
                every += found
                task.advance(note=self.index.photos[index].name)
        finds = tuple(Find(self.index.photos[index], instance) for index, instance in without_shadows(every))
        return Recognised(scene, len(features), finds, len(candidates), time.perf_counter() - begin)


def plain(result: Recognised, index: ObjectIndex) -> dict[str, object]:
    """The result as a JSON value; coordinates in px, the centre of the top-left pixel at (0, 0).

    Args:
        index: the objects that were looked for; files that are no usable pictures of one are told with the result.
    """
    return {
        "scene": str(result.scene.path),
        "width": result.scene.width,
        "height": result.scene.height,
        "keypoints": result.keypoints,
        "objects": len(index),
        "not_objects": [{"file": item.name, "why": item.why} for item in index.rejected],
        "compared": result.compared,
        "found": [
            {
                "object": find.thing.name,
                "corners": np.round(find.instance.corners, 3).tolist(),
                "homography": find.instance.homography.tolist(),
                "inliers": len(find.instance),
                "median_error_px": find.instance.median_error,
                "log10_chance": find.instance.log10_chance,
                "probability": find.instance.probability,
            }
            for find in result.finds
        ],
        "seconds": round(result.seconds, 3),
    }
