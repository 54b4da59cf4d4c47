"""Each photo of a set localised in a map that never saw it: what ``recon benchmark localize`` measures.

The map of each trial is mapped anew from the other photos alone; no point, no adjustment and no retrieval vector in it
knows anything of the photo. Features and matches of pairs do not depend on which other photos there are, so they are
made once, for the map of all photos, and read from its folders by all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.benchmarks.plain_pnp import plain_pose
from pipelines.benchmarks.truth import TrueCamera, read_dataset
from pipelines.core.errors import ReconError
from pipelines.core.maps import Model
from pipelines.core.progress import Progress, Silent
from pipelines.core.types import Exif, Photo
from pipelines.features.extract import FeatureConfig
from pipelines.geometry.similarity import angle_between, camera_alignment, centres_of
from pipelines.images.cameras import CameraConfig, Intrinsics, camera_prior
from pipelines.localize.map import LocalMap, load_map
from pipelines.localize.query import LocalizeConfig, Localizer, Prepared
from pipelines.localize.result import Localisation, Verdict
from pipelines.sfm.config import MappingConfig, SfmConfig
from pipelines.sfm.run import run_sfm
from pipelines.store.files import make_folder, write_errors
from pipelines.store.folder import MapFolder

PLAIN = "plain RootSIFT + OpenCV"
_PLAIN_NEEDS = "rootsift"
WITHOUT = ("none", "estimated")
"""What :class:`Trial` calls intrinsics that recon had to find out. Features and matches are made once for all ways."""


@dataclass(frozen=True)
class Trial:
    """One photo that was looked for.

    Attributes:
        dataset, contestant: names; a contestant is a descriptor, or :data:`PLAIN`.
        query: name of the photo.
        intrinsics: what was known of its camera: ``given``, ``exif``, ``none`` (its EXIF was kept from recon), or
            ``estimated`` (likewise, and the map's cameras were not tried either).
        verdict: recon's; the peer has ``found`` and ``not found`` only.
        origin: where the intrinsics of the pose came from.
        centre, rotation: errors against the truth, or against the pose in the map of all photos: metres or shares of
            the scene's size, and radians; NaN without a pose.
        sigma: what recon said of the centre's error, in the same unit.
        inliers: of the pose.
        seconds: per stage.
    """

    dataset: str
    contestant: str
    query: str
    intrinsics: str
    verdict: str
    origin: str = ""
    centre: float = float("nan")
    rotation: float = float("nan")
    sigma: float = float("nan")
    inliers: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ScenePhotos:
    """A set of photos and what is known of it.

    Attributes:
        truth: by photo name; {} where the map of all photos is the reference.
    """

    name: str
    photos: tuple[Photo, ...]
    truth: Mapping[str, TrueCamera]

    @property
    def metric(self) -> bool:
        """Whether errors are in metres; shares of the scene's size otherwise."""
        return bool(self.truth)

    @property
    def given(self) -> CameraConfig:
        """The true intrinsics, or none."""
        if not self.truth:
            return CameraConfig()
        k, photo = self.truth[self.photos[0].name].intrinsics, self.photos[0]
        return CameraConfig(intrinsics=Intrinsics((k[0, 0], k[1, 1], k[0, 2], k[1, 2]), (photo.width, photo.height)))


def read_scene(folder: Path) -> ScenePhotos:
    """Photos and ground truth of a data set.

    Raises:
        InputError: it has no photos, or its truth cannot be read.
    """
    _, photos, truth = read_dataset(folder)
    return ScenePhotos(folder.resolve().name, tuple(photos), truth)


@dataclass(frozen=True)
class Reference:
    """Where the cameras of a set truly stand.

    Attributes:
        poses: photo name -> (3,4) cam_from_world.
        size: length that errors are divided by: 1 for metres, else the diagonal of the box that holds the middle 90 %
            of the map's points along each axis.
    """

    poses: Mapping[str, NDArray[np.float64]]
    size: float


class LeaveOneOut:
    """The maps of one set of photos with one descriptor: of all photos, and without each of them.

    Args:
        scene: the photos.
        features: how they are described.
        work: folder for the maps.
        seed: of all of them.
    """

    def __init__(self, scene: ScenePhotos, features: FeatureConfig, work: Path, seed: int = 0) -> None:
        self.scene, self._work = scene, work
        mapping = MappingConfig(fix_intrinsics=scene.metric)
        self._config = SfmConfig(features, cameras=scene.given, mapping=mapping, seed=seed)

    def whole(self, progress: Progress) -> LocalMap:
        """The map of all photos.

        Raises:
            ReconError: no map could be made.
        """
        return self._map(self._work / "all", self.scene.photos, progress)

    def without(self, held: Photo) -> LocalMap:
        """The map of the other photos.

        Raises:
            ReconError: no map could be made.
        """
        root = make_folder(self._work / f"without-{Path(held.name).stem}")
        with write_errors(root):
            for part in ("features", "matches"):
                if not (root / part).is_symlink():
                    (root / part).symlink_to(Path("..") / "all" / part)
        return self._map(root, [photo for photo in self.scene.photos if photo is not held], Silent())

    def _map(self, root: Path, photos: Sequence[Photo], progress: Progress) -> LocalMap:
        made = run_sfm([photo.path for photo in photos], MapFolder(root), self._config, progress=progress)
        if made.failure is not None:
            raise made.failure
        return load_map(root, progress=progress)

    def reference(self, whole: LocalMap) -> Reference:
        """The truth, or the map of all photos."""
        if self.scene.metric:
            return Reference({name: camera.cam_from_world for name, camera in self.scene.truth.items()}, 1.0)
        model = whole.components[0].model
        low, high = np.percentile(model.xyz, [5, 95], axis=0)
        return Reference(
            dict(zip(model.names, model.cam_from_world, strict=True)), float(np.linalg.norm(high - low)) or 1.0
        )

    def trials(self, held: Photo, reference: Reference, contestant: str) -> list[Trial]:
        """One photo looked for with its intrinsics, without them in two ways, and (RootSIFT's map) by the peer."""
        scene, known = self.scene, "given" if self.scene.metric else "exif"
        blank = Trial(scene.name, contestant, held.name, known, str(Verdict.NOT_FOUND))
        bare = replace(held, exif=Exif())
        ways = [
            (known, held, LocalizeConfig(scene.given)),
            ("none", bare, LocalizeConfig()),
            ("estimated", bare, LocalizeConfig(map_cameras=False)),
        ]
        try:
            target = self.without(held)
        except ReconError:
            return [replace(blank, intrinsics=way) for way, _, _ in ways]
        prepared = Localizer(target, LocalizeConfig(scene.given)).prepare(held)
        found = [
            self._trial(target, reference, photo, config, replace(blank, intrinsics=way), prepared)
            for way, photo, config in ways
        ]
        if contestant == _PLAIN_NEEDS and isinstance(prepared, Prepared):
            camera = camera_prior(held, scene.given)
            pose = plain_pose(target, prepared.features, camera, list(prepared.numbers))
            plain = replace(blank, contestant=PLAIN)
            if pose is not None:
                errors = pose_error(target.components[0].model, reference, held.name, pose)
                plain = replace(plain, verdict=str(Verdict.FOUND), centre=errors[0], rotation=errors[1])
            found.append(plain)
        return found

    def _trial(
        self,
        target: LocalMap,
        reference: Reference,
        photo: Photo,
        config: LocalizeConfig,
        blank: Trial,
        prepared: Prepared | Localisation,
    ) -> Trial:
        answer = prepared
        if isinstance(prepared, Prepared):
            answer = Localizer(target, config).localize(photo, prepared)
        assert isinstance(answer, Localisation)
        told = replace(blank, verdict=str(answer.verdict), seconds=dict(answer.timings))
        if answer.pose is None:
            return told
        model = next(part.model for part in target.components if part.folder == answer.pose.component)
        centre, rotation, unit = pose_error(model, reference, photo.name, answer.pose.cam_from_world)
        sigma = answer.pose.centre_sigma * unit
        pose = answer.pose
        return replace(
            told, origin=str(pose.origin), centre=centre, rotation=rotation, sigma=sigma, inliers=pose.inliers
        )


def pose_error(model: Model, reference: Reference, name: str, pose: NDArray[np.float64]) -> tuple[float, float, float]:
    """Errors of a pose in a map: of the centre (metres or shares of the scene), of the rotation (radians).

    The map is brought into the reference's frame by its own cameras, see
    :func:`pipelines.geometry.similarity.camera_alignment`; the photo itself has no part in it.

    Returns:
        The two errors, NaN where the reference lacks the photo or has fewer than three of the map's; and the length
        of the map's unit in that of the errors.
    """
    rows = [index for index, known in enumerate(model.names) if known in reference.poses]
    if name not in reference.poses or len(rows) < 3:
        return float("nan"), float("nan"), float("nan")
    true = np.array([reference.poses[model.names[index]] for index in rows])
    scale, rotation, shift = camera_alignment(model.cam_from_world[rows], true)
    wanted = reference.poses[name]
    centre = scale * rotation @ centres_of(pose[None])[0] + shift
    apart = float(np.linalg.norm(centre - centres_of(wanted[None])[0])) / reference.size
    return apart, float(angle_between(pose[:, :3] @ rotation.T, wanted[:, :3])), scale / reference.size


def count_strangers(target: LocalMap, strangers: Sequence[Photo], progress: Progress) -> dict[str, int]:
    """Verdicts on photos of other places: how many are ``found``, ``uncertain`` and ``not found``."""
    localizer = Localizer(target, LocalizeConfig())
    counts = dict.fromkeys(map(str, Verdict), 0)
    with progress.stage("Other places", len(strangers)) as task:
        for photo in strangers:
            counts[str(localizer.localize(photo).verdict)] += 1
            task.advance(note=photo.name)
    return counts
