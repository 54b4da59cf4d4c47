"""Photos to local features: detect at a working resolution, describe, scale to full resolution, keep on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

import descriptors
from descriptors.frames import extract_patches, scale_frames
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.progress import Progress
from pipelines.core.types import Features, Photo, Rejected
from pipelines.engine import cores, map_items
from pipelines.features.detectors import FUSED, DetectorConfig, detect
from pipelines.images.masks import alpha_mask, find_mask, keep, load_mask, mask_content
from pipelines.images.read import read_gray
from pipelines.store.files import fingerprint, read_arrays, write_arrays

T = TypeVar("T")

_CODE = 4
"""Raised when this stage's output changes for the same configuration."""


@dataclass(frozen=True)
class FeatureConfig:
    """How features are made.

    Attributes:
        descriptor: name in the registry, of a descriptor or of a metric network.
        detector: which keypoints, and how many.
        max_side: photos are shrunk to this longer side before detection; keypoints are in full-resolution pixels.
        fused: use the library's own one-pass detector and descriptor where there is one (OpenCV's SIFT and ORB).
    """

    descriptor: str = "rootsift"
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    max_side: int = 1600
    fused: bool = True

    def __post_init__(self) -> None:
        if self.max_side < 64:
            raise ConfigError(
                f"A working resolution of {self.max_side} px is too small", "", "use --max-size 1600, or 64 at least"
            )


@dataclass(frozen=True)
class FeatureFiles:
    """Where the features of each photo stand.

    Attributes:
        photos: the photos that could be read.
        keys: fingerprint of each photo's features.
        counts: number of keypoints of each photo.
        rejected: photos that failed to decode.
    """

    folder: Path
    photos: tuple[Photo, ...]
    keys: tuple[str, ...]
    counts: tuple[int, ...]
    rejected: tuple[Rejected, ...]

    def load(self, index: int) -> Features:
        """Features of photo ``index``, from disk."""
        return self._present(_read(self.folder / f"{self.keys[index]}.npz"), index)

    def load_descriptors(self, index: int) -> NDArray:
        """Descriptors of photo ``index`` as they stand on disk: (N,D) float16 or (N,D/8) packed bits."""
        return self._array(index, "descriptors")

    def load_frames(self, index: int) -> NDArray[np.float32]:
        """(N,2,3) frames of photo ``index``."""
        return self._array(index, "frames")

    def load_pair_features(self, index: int) -> NDArray:
        """(N,F) what a metric network keeps of each patch of photo ``index``, floats in half precision."""
        return self._array(index, "pair_features")

    def _array(self, index: int, name: str) -> NDArray:
        return self._present(read_arrays(self.folder / f"{self.keys[index]}.npz", [name]), index)[name]

    def _present(self, read: T | None, index: int) -> T:
        if read is None:
            raise InputError(
                f"The features of {self.photos[index].name} cannot be read back",
                f"{self.folder / self.keys[index]}.npz is missing or damaged",
                "run the same command again",
            )
        return read


def _read(path: Path) -> Features | None:
    arrays = read_arrays(path, ["frames", "scores", "descriptors"])
    if arrays is None:
        return None
    described = arrays["descriptors"]
    if described.dtype == np.float16:
        described = described.astype(np.float32)
    return Features(arrays["frames"], arrays["scores"], described)


def _write(path: Path, features: Features) -> None:
    arrays = {"frames": features.frames, "scores": features.scores, "descriptors": _half(features.descriptors)}
    if features.pair_features is not None:
        arrays["pair_features"] = _half(features.pair_features)
    write_arrays(path, arrays)


def _half(described: NDArray) -> NDArray:
    # Half precision halves the disk; its error of 2^-11 is far below any descriptor's noise.
    return described.astype(np.float16) if described.dtype == np.float32 else described


def describe_image(
    image: NDArray[np.uint8],
    descriptor: descriptors.Descriptor,
    config: FeatureConfig,
    mask: NDArray | None = None,
    scorer: descriptors.PairScorer | None = None,
) -> Features:
    """Detect and describe in one grey picture; frames are in its own pixels.

    Args:
        image: (H,W) uint8.
        descriptor: the loaded descriptor that ``config`` names, or that of the metric network's shortlist.
        mask: (H,W) bool, False where keypoints are dropped.
        scorer: the loaded metric network that ``config`` names, if it names one.
    """
    one_pass = FUSED.get((config.detector.name, config.descriptor)) if config.fused else None
    found, described = one_pass(image, config.detector) if one_pass else (detect(image, config.detector), None)
    kept = slice(None) if mask is None else keep(found.frames[:, :, 2], mask)
    frames, scores = found.frames[kept], found.scores[kept]
    if described is not None:
        return Features(frames, scores, described[kept])
    if scorer is None:
        return Features(frames, scores, descriptor.describe(_cut(image, frames, descriptor.spec)))
    kept_of_patches = scorer.features(_cut(image, frames, scorer.spec))
    if scorer.spec.embeds:  # the same network: run it once
        from descriptors.scorers import unit_rows

        return Features(frames, scores, unit_rows(kept_of_patches), kept_of_patches)
    return Features(frames, scores, descriptor.describe(_cut(image, frames, descriptor.spec)), kept_of_patches)


def _cut(
    image: NDArray[np.uint8], frames: NDArray, spec: descriptors.DescriptorSpec | descriptors.PairScorerSpec
) -> NDArray[np.uint8]:
    return extract_patches(image, frames, patch_size=spec.patch_size, magnification=spec.magnification)


def _extract(
    photo: Photo,
    descriptor: descriptors.Descriptor,
    scorer: descriptors.PairScorer | None,
    config: FeatureConfig,
    masks: Path | None,
) -> Features | Rejected:
    try:
        image = read_gray(photo, config.max_side)
        opaque = alpha_mask(photo)
    except InputError as error:
        return Rejected(photo.name, error.what + (f": {error.why}" if error.why else ""), error.try_)
    mask_file = find_mask(photo, masks) if masks else None
    seen = visible(image.pixels.shape, opaque, None if mask_file is None else load_mask(mask_file, photo))
    found = describe_image(image.pixels, descriptor, config, seen, scorer)
    return replace(found, frames=scale_frames(found.frames, image.scale))


def visible(shape: tuple[int, ...], *parts: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Bool of ``shape`` (H,W): where all ``parts`` allow keypoints: where a photo is not transparent, and its mask.

    Args:
        parts: bool in the pixels of the full resolution; None for everywhere.

    Returns:
        None for everywhere.
    """
    known = [part for part in parts if part is not None]
    if not known:
        return None
    small = [cv2.resize(part.astype(np.uint8), shape[1::-1], interpolation=cv2.INTER_NEAREST) for part in known]
    return np.logical_and.reduce(small)


def _key(photo: Photo, made_by: str, config: FeatureConfig, masks: Path | None) -> str:
    mask_file = find_mask(photo, masks) if masks else None
    stamp = "" if mask_file is None else fingerprint(mask_content(mask_file).hex())
    return fingerprint("features", _CODE, photo.content, config, made_by, stamp)


def extract_features(
    photos: Sequence[Photo],
    config: FeatureConfig,
    folder: Path,
    *,
    masks: Path | None = None,
    made: Mapping[str, str] | None = None,
    progress: Progress,
) -> FeatureFiles:
    """Features of every photo, one file each; what is there already is not made again.

    Args:
        photos: readable photos.
        folder: where the files go.
        masks: folder of masks, see :mod:`pipelines.images.masks`.
        made: photo name -> key of features that are to be kept, whatever the masks are now.

    Returns:
        The files; photos that failed to decode after all are in ``rejected`` and not in ``photos``.

    Raises:
        InputError: a mask cannot be read or does not fit its photo.
    """
    scorer = descriptors.scorer_for(config.descriptor)
    descriptor = descriptors.load(descriptors.shortlist(config.descriptor))
    made_by = descriptors.fingerprint(config.descriptor)

    def one(index: int) -> tuple[str, int] | Rejected:
        photo = photos[index]
        # Photos are worked on side by side; the last ones, which leave cores idle, by several threads each.
        cv2.setNumThreads(max(1, cores() // (len(photos) - index)))
        key = (made or {}).get(photo.name) or _key(photo, made_by, config, masks)
        path = folder / f"{key}.npz"
        features = _read(path)
        if features is None:
            made_now = _extract(photo, descriptor, scorer, config, masks)
            if isinstance(made_now, Rejected):
                return made_now
            _write(path, features := made_now)
        return key, len(features)

    done: list[tuple[Photo, str, int]] = []
    rejected: list[Rejected] = []
    with progress.stage("Features", len(photos)) as task:
        for photo, result in zip(photos, map_items(one, range(len(photos))), strict=True):
            if isinstance(result, Rejected):
                rejected.append(result)
            else:
                done.append((photo, *result))
            task.advance(note=photo.name)
    cv2.setNumThreads(1)  # in later stages, too
    return FeatureFiles(
        folder,
        tuple(photo for photo, _, _ in done),
        tuple(key for _, key, _ in done),
        tuple(count for _, _, count in done),
        tuple(rejected),
    )
