"""Photos in, panoramas out: the stages in order, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipelines.core.clock import timed
from pipelines.core.config import check_seed, known_name
from pipelines.core.errors import ConfigError, InputError, NoModelError, NoOverlapError
from pipelines.core.median import median
from pipelines.core.progress import Progress
from pipelines.core.types import Features, Photo, Rejected
from pipelines.engine import cores, map_items, opencv_threads_kept
from pipelines.features.detectors import DetectorConfig
from pipelines.features.extract import FeatureConfig
from pipelines.images.read import Image, shrunk_image
from pipelines.pairwise.frontend import FrontEnd
from pipelines.stitch.limits import check_size
from pipelines.stitch.local import Shifts, fit_shifts
from pipelines.stitch.overlap import Overlap, components, find_overlaps, why_alone
from pipelines.stitch.photos import check_count
from pipelines.stitch.pixels import Pixels
from pipelines.stitch.projection import PROJECTIONS, Canvas, choose, lay_out
from pipelines.stitch.refine import refine
from pipelines.stitch.render import Rendered, crop, render
from pipelines.stitch.solve import Solved, solve
from pipelines.stitch.tags import make_tags
from pipelines.stitch.warp import ShiftedView, TurnedView, View
from pipelines.stitch.write import FORMATS, format_of, write
from pipelines.store.files import check_file

if TYPE_CHECKING:
    from pipelines.stitch.debug import Debug
    from pipelines.stitch.flat import SolvedFlat

_FLAT = ("affine", "homography")
MODES = ("rotation", *_FLAT)
THRESHOLDS = {"dog": 0.02}
"""Detector -> contrast, where it is not the detector's own: fewer keypoints tell as well what overlaps."""


def keypoints(name: str = "dog", most: int = 600) -> DetectorConfig:
    """The detector of a name as overlaps are looked for with it."""
    return DetectorConfig(name, most, THRESHOLDS.get(name))


@dataclass(frozen=True)
class StitchConfig:
    """How photos are stitched.

    Attributes:
        features: tell what photos overlap; ``max_side`` of a few hundred px does. Not fused: describing the keypoints
            that are kept takes less than all that a library's one pass describes.
        max_side: longer side, px, at which the places of matches are measured.
        mode: ``rotation``: a camera that turned; ``affine`` or ``homography``: a flat thing, scanned or photographed.
        max_error: threshold of the homographies, px at 1,600 px.
        distortion: estimate the lens's radial distortion.
        local: shift each photo's pixels a little where its camera alone does not make overlaps meet.
        projection: ``auto`` by field of view, or a name of the table in :mod:`pipelines.stitch.projection`.
        scale: of the panorama; 1 is the photos' own resolution.
        crop: cut to the largest inner rectangle; None does so where the format has no transparency.
        compensate: make the overlaps' exposures agree.
        max_megapixels: of a panorama.
        seed: same seed, same photos, same panorama.
    """

    features: FeatureConfig = field(
        default_factory=lambda: FeatureConfig(detector=keypoints(), max_side=320, fused=False)
    )
    max_side: int = 800
    mode: str = "rotation"
    max_error: float = 4.0
    distortion: bool = True
    local: bool = True
    projection: str = "auto"
    scale: float = 1.0
    crop: bool | None = None
    compensate: bool = True
    max_megapixels: float = 400.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.max_side < 64:
            raise ConfigError(f"Places cannot be measured at {self.max_side} px", "64 are the least", "--max-size 800")
        known_name("mode", self.mode, MODES, "--mode", "rotation")
        if self.mode != "rotation" and self.projection != "auto":
            why = "what is flat needs no projection"
            raise ConfigError(f"Mode {self.mode} has no projection {self.projection}", why, "leave --projection out")
        known_name("projection", self.projection, ("auto", *PROJECTIONS), "--projection", "auto")
        if not 0 < self.scale <= 4:
            raise ConfigError(f"A scale of {self.scale:g} is not possible", "it lies between 0 and 4", "--scale 1")
        if not 0 < self.max_error <= 100:
            what = f"A threshold of {self.max_error:g} px is not possible"
            raise ConfigError(what, "it lies between 0 and 100", "--max-error 4")
        if not self.max_megapixels > 0:
            what = f"A panorama of {self.max_megapixels:g} megapixels is not possible"
            raise ConfigError(what, "", "--max-megapixels 400")


class Panorama(NamedTuple):
    """One panorama: its file, cameras, each photo's shifts (none where they were not asked for), canvas, picture."""

    path: Path
    solved: Solved | SolvedFlat
    shifts: tuple[Shifts, ...]
    canvas: Canvas
    rendered: Rendered


class StitchResult(NamedTuple):
    """All panoramas of a run, largest first; the photos in none, with reasons; seconds per stage."""

    photos: tuple[Photo, ...]
    panoramas: tuple[Panorama, ...]
    unused: tuple[Rejected, ...]
    seconds: dict[str, float]


def numbered(out: Path, count: int) -> list[Path]:
    """The files of several panoramas: NAME-1, NAME-2 …"""
    return [out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, count + 1)]


def _check_out(path: Path, photos: Sequence[Photo]) -> None:
    """Refuse a file name that stands for no format, and what :func:`check_file` refuses, before any work is done."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"No panorama can be written to {path}", f"its name must end in {', '.join(FORMATS)}", "-o pano.jpg"
        )
    check_file(path, [photo.path for photo in photos])


@opencv_threads_kept()
def stitch(
    photos: Sequence[Photo],
    rejected: Sequence[Rejected],
    out: Path,
    config: StitchConfig,
    *,
    progress: Progress,
    debug: Debug | None = None,
) -> StitchResult:
    """Find the panoramas among the photos and write each.

    Args:
        photos: two or more, in any order.
        rejected: files that could not be read, to be told with the photos that are not used.
        debug: shown every stage.
        out: file of the panorama; several are written beside each other as NAME-1, NAME-2 …

    Raises:
        NoOverlapError: no two photos overlap.
        NoModelError: they do, but not as photos from one place.
        ConfigError: a panorama would be too large, or overwrite a photo, or the projection cannot show it.
        OutputError: it cannot be written.
    """
    import cv2

    _check_out(out, photos)
    cv2.setNumThreads(max(1, cores() // len(photos)))  # photos are worked on side by side
    seconds: dict[str, float] = {}
    with timed(seconds, "features"):
        front, pixels = FrontEnd(config.features), Pixels(photos)
        read = _features(pixels, front, config.max_side, progress)
    damaged = [one for one in read if isinstance(one, Rejected)]
    if damaged:
        good = [index for index, one in enumerate(read) if not isinstance(one, Rejected)]
        photos, rejected, pixels = [photos[index] for index in good], [*rejected, *damaged], pixels.subset(good)
        check_count(photos, rejected)
    features, images = zip(*(one for one in read if not isinstance(one, Rejected)), strict=True)
    with timed(seconds, "matching"):
        overlaps = find_overlaps(
            photos, features, front, max_error=config.max_error, seed=config.seed, progress=progress
        )
    if debug is not None:
        debug.overlaps(photos, overlaps)
    with timed(seconds, "places"):
        cv2.setNumThreads(max(1, cores() // max(1, sum(one.kept for one in overlaps.values()))))  # pairs side by side
        exact = refine(overlaps, images, workers=cores())
        cv2.setNumThreads(1)  # strips side by side
    with timed(seconds, "cameras"):
        groups = [group for group in components(len(photos), overlaps) if len(group) > 1]
        solved = [one for group in groups for one in _solve(photos, group, exact, config)]
        solved.sort(key=lambda one: (-len(one.members), one.members))  # a large group may have fallen into small ones
    used = {member for one in solved for member in one.members}
    unused = [
        Rejected(photo.name, why_alone(index, photos, features, overlaps))
        for index, photo in enumerate(photos)
        if index not in used
    ]
    if not solved:
        raise _no_panorama(unused, overlaps.values())
    paths = [out] if len(solved) == 1 else numbered(out, len(solved))
    for path in paths:
        _check_out(path, photos)
    panoramas = []
    for path, one in zip(paths, solved, strict=True):
        with timed(seconds, "rendering"):
            panoramas.append(_panorama(path, pixels.subset(one.members), one, exact, config, progress, debug))
    return StitchResult(tuple(photos), tuple(panoramas), (*unused, *rejected), seconds)


def _no_panorama(unused: Sequence[Rejected], overlaps: Iterable[Overlap]) -> NoModelError | NoOverlapError:
    why = "; ".join(f"{item.name}: {item.why}" for item in unused[:3])
    if any(overlap.kept for overlap in overlaps):
        advice = "photos taken from one place, --mode homography for something flat, or recon sfm if the camera moved"
        return NoModelError("The photos overlap, but make no panorama", why, advice)
    advice = "photos that share at least a quarter with their neighbours, more --max-keypoints, or --descriptor l2net"
    return NoOverlapError("No two of the photos overlap", why, advice)


def _solve(
    photos: Sequence[Photo], group: Sequence[int], overlaps: Mapping[tuple[int, int], Overlap], config: StitchConfig
) -> Sequence[Solved | SolvedFlat]:
    limit = config.max_error
    if config.mode in _FLAT:
        from pipelines.stitch.flat import solve_flat

        return solve_flat(photos, group, overlaps, model=config.mode, max_error=limit, seed=config.seed)
    return solve(photos, group, overlaps, max_error=limit, distortion=config.distortion)


_Read = tuple[Features, Image]


def _features(pixels: Pixels, front: FrontEnd, max_side: int, progress: Progress) -> list[_Read | Rejected]:
    """Features of each photo, and the photo in grey at the resolution at which places are measured; or why it cannot
    be read."""
    workers = 1 if front.is_metric_network else cores()

    def one(index: int) -> _Read | Rejected:
        try:
            image = pixels.grey(index, max_side)
            found = front.describe_image(pixels.photos[index], shrunk_image(image, front.config.max_side))
        except InputError as error:
            return Rejected(pixels.photos[index].name, error.why, error.try_)
        return found, image

    every = []
    with progress.stage("Features", len(pixels.photos)) as task:
        for photo, read in zip(pixels.photos, map_items(one, range(len(pixels.photos)), workers=workers), strict=True):
            every.append(read)
            task.advance(note=photo.name)
    return every


def _panorama(
    path: Path,
    pixels: Pixels,
    solved: Solved | SolvedFlat,
    overlaps: Mapping[tuple[int, int], Overlap],
    config: StitchConfig,
    progress: Progress,
    debug: Debug | None,
) -> Panorama:
    sizes = [(photo.width, photo.height) for photo in pixels.photos]
    shifts = _shifts(solved, overlaps, sizes) if config.local else []
    canvas, view = _laid_out(solved, sizes, config)
    kind = format_of(path)
    check_size(canvas, config.max_megapixels, deep=kind.deep, longest=kind.longest)
    rendered = render(
        pixels,
        ShiftedView(view, shifts) if shifts else view,
        canvas,
        progress=progress,
        compensate=config.compensate,
        deep=kind.deep,
        debug=debug,
    )
    if config.crop or (config.crop is None and not kind.alpha):
        rendered = crop(rendered)
    if debug is not None:
        debug.blended(rendered.pixels)
    size, corner = rendered.mask.shape[::-1], (rendered.left, rendered.top)
    write(path, rendered, make_tags(pixels.photos, canvas, size, corner, turned=config.mode == "rotation"))
    return Panorama(path, solved, tuple(shifts), canvas, rendered)


def _shifts(
    solved: Solved | SolvedFlat, overlaps: Mapping[tuple[int, int], Overlap], sizes: Sequence[tuple[int, int]]
) -> list[Shifts]:
    place = {photo: index for index, photo in enumerate(solved.members)}
    matches = {(place[i], place[j]): (overlaps[i, j].a, overlaps[i, j].b) for i, j in solved.residuals}
    return fit_shifts(solved.carry, matches, sizes)


def _laid_out(
    solved: Solved | SolvedFlat, sizes: Sequence[tuple[int, int]], config: StitchConfig
) -> tuple[Canvas, View]:
    if not isinstance(solved, Solved):
        from pipelines.stitch.flat import FlatView, lay_out_flat

        return lay_out_flat(solved.plane_from_photo, sizes, config.scale), FlatView(solved.plane_from_photo, sizes)
    name = choose(solved.cameras, sizes) if config.projection == "auto" else config.projection
    focal = float(median([solved.cameras.focal(i) for i in range(len(sizes))]))
    return lay_out(solved.cameras, sizes, name, focal * config.scale), TurnedView(solved.cameras, name, sizes)
