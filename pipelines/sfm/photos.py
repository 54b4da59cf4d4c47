"""The photos that a run works on: those of a folder, and for a map that grows those that it has already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import descriptors
from pipelines.core.config import from_plain
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.maps import Camera
from pipelines.core.progress import Progress
from pipelines.core.types import Photo, Rejected
from pipelines.images.masks import find_mask
from pipelines.images.read import scan
from pipelines.sfm.config import SfmConfig
from pipelines.store.folder import MapFolder, photo_of


@dataclass(frozen=True)
class GivenPhotos:
    """The photos of a run: those of the map that grows come first, so that their image ids stay.

    Attributes:
        known: how many of the photos are in the map that grows; 0 for a new map.
        features: of these: photo name -> key of features, unless the descriptor is another one now.
        cameras, camera_of: of these: the cameras of the map, and which each photo has.
        imported: the model that the map was made of, if it was imported.
    """

    photos: tuple[Photo, ...]
    rejected: tuple[Rejected, ...]
    known: int = 0
    features: Mapping[str, str] = field(default_factory=dict)
    cameras: tuple[Camera, ...] = ()
    camera_of: tuple[int, ...] = ()
    imported: str = ""

    def check_known(self, rejected: Sequence[Rejected]) -> None:
        """A photo that is in the map cannot be left out of it when it grows.

        Raises:
            InputError: it can no longer be read, and neither can its features.
        """
        names = {photo.name for photo in self.photos[: self.known]}
        for file in rejected:
            if file.name in names:
                raise InputError(f"{file.name} is in the map and can no longer be read", file.why, file.try_)


def map_config(folder: MapFolder) -> SfmConfig:
    """The configuration that a map was made with.

    Raises:
        InputError: there is no finished map in the folder.
    """
    ledger = folder.finished_ledger()
    return from_plain(SfmConfig, ledger["config"])


def collect_photos(
    source: Path | Sequence[Path], folder: MapFolder, grow: bool, masks: Path | None, progress: Progress
) -> GivenPhotos:
    """The readable photos of ``source``, after those of the map in ``folder`` if it is to grow.

    Raises:
        InputError: fewer than two photos, or none that the map does not have.
        ConfigError: the photos stand in the run folder itself, or among the masks.
    """
    exclude = [folder.root] + ([masks] if masks else [])
    if isinstance(source, Path):
        check_folders_apart(source, folder.root, "the run folder", "--out")
        if masks:
            check_folders_apart(source, masks, "the folder of masks", "--masks")
    found, rejected = scan(source, progress=progress, exclude=exclude)
    photos, copies = _each_once(found)
    given = GivenPhotos(tuple(photos), (*rejected, *copies))
    if grow:
        label = (source if isinstance(source, Path) else Path(".")).resolve().name
        given = _added(folder.finished_ledger(), given, label)
    check_enough(given.photos, given.rejected)
    return given


def _added(ledger: Mapping[str, Any], given: GivenPhotos, label: str) -> GivenPhotos:
    """The photos of a map, then those given that it does not have, under ``label/`` where it has others of their names.

    Raises:
        InputError: it has them all.
    """
    known = [photo_of(entry) for entry in ledger["photos"]]
    contents = {photo.content for photo in known}
    fresh = [photo for photo in given.photos if photo.content not in contents]
    if not fresh:
        reasons = [f"{file.name}: {file.why}" for file in given.rejected[:3]]
        why = "; ".join(["every readable photo given is in the map already", *reasons])
        raise InputError("There is nothing to add", why, "photos that are not in the map yet")
    same_descriptor = ledger["descriptor_fingerprint"] == descriptors.fingerprint(ledger["descriptor"])
    return GivenPhotos(
        photos=(*known, *_renamed(fresh, {photo.name for photo in known}, label)),
        rejected=given.rejected,
        known=len(known),
        features={entry["name"]: entry["features"] for entry in ledger["photos"]} if same_descriptor else {},
        cameras=tuple(from_plain(Camera, entry) for entry in ledger["cameras"]),
        camera_of=tuple(entry["camera"] for entry in ledger["photos"]),
        imported=str(ledger.get("imported", "")),
    )


def _each_once(photos: Sequence[Photo]) -> tuple[list[Photo], list[Rejected]]:
    """The photos without copies of others: two views that are one would count as two that agree about a depth."""
    first: dict[str, Photo] = {}
    for photo in sorted(photos, key=lambda photo: len(photo.name)):  # "1.jpg" before "1 (copy).jpg"
        first.setdefault(photo.content, photo)
    once = [photo for photo in photos if photo is first[photo.content]]
    copies = [
        Rejected(photo.name, f"it is a copy of {first[photo.content].name}")
        for photo in photos
        if photo is not first[photo.content]
    ]
    return once, copies


def check_enough(photos: Sequence[Photo], rejected: Sequence[Rejected]) -> None:
    """Raises:
    InputError: there are fewer than two photos.
    """
    if len(photos) < 2:
        reasons = [f"{file.name}: {file.why}" for file in rejected[:3]]
        raise InputError(
            "No photo could be read" if not photos else "A map needs at least two photos, and only one can be used",
            "; ".join(reasons) or f"besides {photos[0].name} there is none",
            "a folder with several JPEG, PNG, TIFF or WebP photos of one place",
        )


def say_masks(photos: Sequence[Photo], masks: Path, progress: Progress) -> None:
    """Say how many of the photos have a mask.

    Raises:
        ConfigError: none has.
        InputError: there is no such folder.
    """
    count = sum(find_mask(photo, masks) is not None for photo in photos)
    if not count:
        name = photos[0].name
        raise ConfigError(
            f"None of the {len(photos)} photos has a mask in {masks}",
            f"that of {name} would be {name}.png or {PurePath(name).with_suffix('.png').as_posix()} there",
            "leave --masks out, or rename the masks",
        )
    (progress.say if count == len(photos) else progress.warn)(f"{count} of {len(photos)} photos have a mask")


def say_left_out(folder: MapFolder, photos: Sequence[Photo], progress: Progress) -> None:
    """Say which photos of a finished map are not among those that it is about to be made of."""
    if not folder.finished:
        return
    given = {photo.name for photo in photos} | {photo.content for photo in photos}
    entries = folder.read_ledger()["photos"]
    left = [entry["name"] for entry in entries if entry["name"] not in given and entry["content"] not in given]
    if left:
        some = ", ".join(left[:3]) + (", …" if len(left) > 3 else "")
        progress.warn(
            f"{len(left)} of the {len(entries)} photos of the map in {folder.root} are not among those given, and it "
            f"is made anew without them ({some}). To keep them: --add-to, or another folder with --out"
        )


def check_folders_apart(source: Path, other: Path, role: str, option: str) -> None:
    """Photos in a folder that recon writes in, or beside their masks, could not be told from the rest.

    Raises:
        ConfigError: both are one folder.
    """
    if source.resolve() == other.resolve():
        raise ConfigError(
            f"{source} is the folder of the photos and {role} at once", "", f"another folder for {option}"
        )


def _renamed(photos: Sequence[Photo], taken: set[str], label: str) -> list[Photo]:
    """Photos for a map that may hold others of the same name: these are put under ``label/``, ``label-2/`` …"""
    renamed = []
    for photo in photos:
        labels = ("", f"{label}/", *(f"{label}-{number}/" for number in range(2, len(taken) + 3)))
        name = next(name for name in (prefix + photo.name for prefix in labels) if name not in taken)
        taken = taken | {name}
        renamed.append(replace(photo, name=name))
    return renamed
