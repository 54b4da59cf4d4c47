"""The camera of each photo before mapping: given by the user, from EXIF, or guessed; and which photos share one.

Parameters are in COLMAP's order and recon's pixels, where the centre of the top-left pixel is (0, 0); COLMAP's own
files put it at (0.5, 0.5) and are shifted on the way in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from pipelines.core.config import known_name
from pipelines.core.errors import ConfigError
from pipelines.core.maps import Camera
from pipelines.core.types import Photo
from pipelines.images.exif import FOCAL_GUESS

# COLMAP 4's camera models and their parameters in order (tests/pipelines/test_cameras.py compares with pycolmap).
MODELS: Mapping[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "FOV": ("fx", "fy", "cx", "cy", "omega"),
    "SIMPLE_FISHEYE": ("f", "cx", "cy"),
    "FISHEYE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
    "THIN_PRISM_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
    "SIMPLE_DIVISION": ("f", "cx", "cy", "k"),
    "DIVISION": ("fx", "fy", "cx", "cy", "k"),
    "EUCM": ("fx", "fy", "cx", "cy", "alpha", "beta"),
}
DEFAULT_MODEL = "SIMPLE_RADIAL"
# The model of intrinsics given without --camera-model, by how many numbers they have.
_MODEL_BY_COUNT = {3: "SIMPLE_PINHOLE", 4: "PINHOLE", 5: "RADIAL", 8: "OPENCV", 12: "FULL_OPENCV"}
# Distortion parameters that are not 0 for a lens without distortion.
NEUTRAL = {"omega": 0.01, "beta": 1.0}
# A principal point farther from the centre than this share of the photo's side belongs to another size.
_OFF_CENTRE = 0.2
_SAME_ASPECT = 0.01
# Photos without EXIF of one size that are taken for those of one camera.
_SEQUENCE = 3


@dataclass(frozen=True)
class Intrinsics:
    """Intrinsics as the user gave them.

    Attributes:
        params: numbers in the order of the model, the centre of the top-left pixel at (0, 0).
        size: (width, height) of the photos they were measured on; None for the photos at hand.
        model: COLMAP camera model if the source names one, else empty.
    """

    params: tuple[float, ...]
    size: tuple[int, int] | None = None
    model: str = ""


@dataclass(frozen=True)
class CameraConfig:
    """How cameras are chosen.

    Attributes:
        model: COLMAP camera model; empty for SIMPLE_RADIAL, or with intrinsics the model they imply.
        intrinsics: given by the user for all photos; they beat EXIF.
        single_camera: all photos of one size were taken by one camera with one focal length.
        per_photo: every photo has a camera of its own, whatever EXIF and names suggest.
    """

    model: str = ""
    intrinsics: Intrinsics | None = None
    single_camera: bool = False
    per_photo: bool = False

    def __post_init__(self) -> None:
        if self.model:
            check_model(self.model)
        if self.single_camera and self.per_photo:
            raise ConfigError("One camera for all photos and one for each exclude each other", "", "choose one of them")


def check_model(name: str) -> str:
    """Return ``name`` if it is a camera model that can be mapped with.

    Raises:
        ConfigError: naming the nearest model and all of them.
    """
    return known_name("camera model", name, MODELS, "--camera-model", DEFAULT_MODEL)


# --- the camera of a photo -----------------------------------------------------------------------------------


def camera_prior(photo: Photo, config: CameraConfig) -> Camera:
    """The camera of one photo: given intrinsics, else EXIF's focal length, else 1.2 times the longer side.

    Raises:
        ConfigError: if given intrinsics do not fit the model or the photo.
    """
    if config.intrinsics is not None:
        return _given(photo, config.intrinsics, config.model)
    return _from_focal(photo, config.model or DEFAULT_MODEL, photo.exif.focal_px)


def _from_focal(photo: Photo, model: str, focal: float | None) -> Camera:
    known = {"cx": (photo.width - 1) / 2, "cy": (photo.height - 1) / 2}
    length = focal or FOCAL_GUESS * max(photo.width, photo.height)
    values = {**NEUTRAL, **known, "f": length, "fx": length, "fy": length}
    params = tuple(values.get(name, 0.0) for name in MODELS[model])
    return Camera(model, photo.width, photo.height, params, "exif" if focal else "guess")


def group_cameras(photos: Sequence[Photo], config: CameraConfig) -> list[int]:
    """Index of the camera of each photo, 0, 1, 2 ... in the order of first use.

    - Given intrinsics: photos for which they come out the same share a camera (portrait and landscape do not).
    - ``single_camera``: all photos of one size share a camera; ``per_photo``: none do.
    - Otherwise photos of one folder, camera make and model, size and EXIF focal length share one, as in COLMAP's
      AUTO mode (which leaves the folder out).
    - Photos whose EXIF is silent: COLMAP gives each its own camera. Here those of one folder share one (for each
      size and orientation) if there are three or more, all of one size up to a quarter turn, and their names differ
      only in digits: frames of a video, or photos that a program has stripped or resized. Collections from the web
      have many sizes and stay apart. On fountain-P11 and Herz-Jesus-P8 sharing takes the mean error of the camera
      centres from 9.6 to 6.0 and from 10.7 to 8.4 mm.
    """
    uniform = _uniform_folders(photos)
    numbers: dict[object, int] = {}
    return [numbers.setdefault(_camera_key(photo, config, uniform), len(numbers)) for photo in photos]


def _camera_key(photo: Photo, config: CameraConfig, uniform: Collection[PurePath]) -> object:
    size, folder = (photo.width, photo.height), PurePath(photo.name).parent
    if config.per_photo:
        return photo.name
    if config.intrinsics is not None:
        return camera_prior(photo, config)
    if config.single_camera:
        return size
    if _has_camera(photo):
        return folder, photo.exif.make, photo.exif.model, size, round(photo.exif.focal_px or 0, 1)
    if folder in uniform:
        return folder, size, re.sub(r"\d+", "0", PurePath(photo.name).stem)
    return photo.name


def _has_camera(photo: Photo) -> bool:
    return bool(photo.exif.focal_px and (photo.exif.make or photo.exif.model))


def _uniform_folders(photos: Sequence[Photo]) -> set[PurePath]:
    """Folders whose photos without EXIF, three at least, have one size up to a quarter turn."""
    sizes: dict[PurePath, list[tuple[int, int]]] = {}
    for photo in photos:
        if not _has_camera(photo):
            sides = sorted((photo.width, photo.height))
            sizes.setdefault(PurePath(photo.name).parent, []).append((sides[0], sides[1]))
    return {folder for folder, found in sizes.items() if len(found) >= _SEQUENCE and len(set(found)) == 1}


def assign_cameras(
    photos: Sequence[Photo], config: CameraConfig, known: Sequence[Camera] = (), known_of: Sequence[int] = ()
) -> tuple[list[Camera], list[int]]:
    """One camera per group of :func:`group_cameras`, and the index of each photo's camera.

    A shared camera takes the median of the EXIF focal lengths of its photos. In a map that grows, the first photos
    have cameras that stay as they are (``known``, and ``known_of`` which each has), whatever groups they now form with
    the others; these share the camera of their group where its first photos have but one.

    Raises:
        ConfigError: as :func:`camera_prior`.
    """
    from statistics import median  # imports decimal and fractions

    groups = group_cameras(photos, config)
    cameras, index = list(known), list(known_of)
    standing: dict[int, set[int]] = {}
    for group, camera in zip(groups, known_of, strict=False):
        standing.setdefault(group, set()).add(camera)
    camera_of = {group: min(found) for group, found in standing.items() if len(found) == 1}
    fresh = list(zip(photos, groups, strict=True))[len(known_of) :]
    for _, group in fresh:
        if group not in camera_of:
            members = [photo for photo, own in fresh if own == group]
            focals = [photo.exif.focal_px for photo in members if photo.exif.focal_px]
            camera_of[group] = len(cameras)
            cameras.append(
                camera_prior(members[0], config)
                if config.intrinsics is not None
                else _from_focal(members[0], config.model or DEFAULT_MODEL, median(focals) if focals else None)
            )
        index.append(camera_of[group])
    return cameras, index


# --- given intrinsics ----------------------------------------------------------------------------------------


def _given(photo: Photo, given: Intrinsics, wanted: str) -> Camera:
    model = wanted or given.model or _MODEL_BY_COUNT.get(len(given.params), "")
    if not model:
        raise ConfigError(
            f"{len(given.params)} numbers are no intrinsics",
            "without --camera-model they are f,cx,cy or fx,fy,cx,cy or those with distortion (5, 8 or 12 numbers)",
            "name the model with --camera-model",
        )
    values = named(given.params, check_model(model))
    size = given.size or (photo.width, photo.height)
    turned = photo.exif.orientation >= 5 and not _same_aspect(size, photo) and _same_aspect(size[::-1], photo)
    if turned:
        values, size = _turn(values, size, photo), size[::-1]
    if not _same_aspect(size, photo):
        raise ConfigError(
            f"The given intrinsics do not fit {photo.name}",
            f"they are for {size[0]} x {size[1]} pixels, and the photo has {photo.width} x {photo.height}",
            "give only photos of that camera, or leave the intrinsics to EXIF and the mapping",
        )
    values = _scale(values, photo.width / size[0], photo.height / size[1])
    _check_centre(values, photo, given)
    return Camera(model, photo.width, photo.height, tuple(values[name] for name in MODELS[model]), "given")


def named(params: Sequence[float], model: str) -> dict[str, float]:
    """Numbers by their names; a pinhole part alone is completed with no distortion."""
    names = MODELS[model]
    pinhole = [name for name in names if name in ("f", "fx", "fy", "cx", "cy")]
    if len(params) == len(names):
        return dict(zip(names, params, strict=True))
    if len(params) == len(pinhole):
        return {**{name: NEUTRAL.get(name, 0.0) for name in names}, **dict(zip(pinhole, params, strict=True))}
    raise ConfigError(
        f"The camera model {model} takes {len(names)} numbers",
        f"{','.join(names)} or only {','.join(pinhole)}; given were {len(params)}",
        "name the model that fits the numbers with --camera-model",
    )


def _same_aspect(size: tuple[int, int], photo: Photo) -> bool:
    across, down = photo.width / size[0], photo.height / size[1]
    return abs(across / down - 1) <= _SAME_ASPECT


def _scale(values: Mapping[str, float], sx: float, sy: float) -> dict[str, float]:
    """Intrinsics for a photo resized by sx, sy; distortion acts on normalised coordinates and stays."""
    scaled = dict(values)
    for name, factor in (("f", (sx + sy) / 2), ("fx", sx), ("fy", sy)):
        if name in scaled:
            scaled[name] *= factor
    for name, factor in (("cx", sx), ("cy", sy)):
        scaled[name] = (scaled[name] + 0.5) * factor - 0.5
    return scaled


def _turn(values: Mapping[str, float], size: tuple[int, int], photo: Photo) -> dict[str, float]:
    """Intrinsics of the sensor's pixels for the photo that EXIF (5..8) turned upright.

    The tangential part displaces x by 2 (q.x) x + |x|^2 q with q = (p2, p1), so q turns like a direction.
    """
    if any(name.startswith("s") for name in values):
        raise ConfigError(
            f"The given intrinsics do not fit {photo.name}",
            "the photo is turned by its EXIF orientation, and thin-prism distortion cannot be turned",
            "save the photos unturned",
        )
    right, down = photo.exif.orientation in (6, 7), photo.exif.orientation in (7, 8)
    turned = dict(values)
    turned["cx"] = size[1] - 1 - values["cy"] if right else values["cy"]
    turned["cy"] = size[0] - 1 - values["cx"] if down else values["cx"]
    if "fx" in values:
        turned["fx"], turned["fy"] = values["fy"], values["fx"]
    if "p1" in values:
        turned["p2"] = -values["p1"] if right else values["p1"]
        turned["p1"] = -values["p2"] if down else values["p2"]
    return turned


def _check_centre(values: Mapping[str, float], photo: Photo, given: Intrinsics) -> None:
    off = max(abs(values["cx"] / photo.width - 0.5), abs(values["cy"] / photo.height - 0.5))
    if off > _OFF_CENTRE:
        hint = "check the numbers" if given.size else "write for which size they are, e.g. --intrinsics ...@3072x2048"
        raise ConfigError(
            f"The given intrinsics do not fit {photo.name}",
            f"its centre is at ({photo.width / 2:.0f}, {photo.height / 2:.0f}), the principal point would be at "
            f"({values['cx']:.0f}, {values['cy']:.0f})",
            hint,
        )
