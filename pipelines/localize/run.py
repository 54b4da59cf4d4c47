"""Photos to their places in a map: the whole of ``recon localize`` as one function."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigError, InputError, ReconError
from pipelines.core.progress import Progress
from pipelines.core.types import Photo, Rejected
from pipelines.images.read import natural_key, scan
from pipelines.images.video import is_video, video_frames
from pipelines.localize.map import load_map
from pipelines.localize.overlay import write_overlay
from pipelines.localize.query import LocalizeConfig, Localizer
from pipelines.localize.result import Localisation, Verdict
from pipelines.store.files import make_folder, write_text
from pipelines.store.folder import check_no_map

_SAVE_EVERY, _SAVE_SHARE = 5.0, 0.05
"""Seconds between two savings of the answers so far, and the largest share of the time that these take."""
_AGAIN = "a JPEG, PNG, TIFF or WebP photo that can be read"


@dataclass(frozen=True)
class Localised:
    """The answers of a run.

    Attributes:
        answers: one per query: photos in natural order of names, then frames; those that cannot be read come last, as
            ``not found``. Their evidence is in the overlays.
        failure: why a picture, or the file of the answers, could not be written, to be raised once they are told.
    """

    answers: tuple[Localisation, ...]
    failure: ReconError | None


class _Folder:
    """What ``out`` gets: overlays, and ``poses.json`` every few seconds, so that a kill costs little of a long video.

    A full disk must not cost any answer: the first failure is kept for the end.
    """

    def __init__(self, out: Path, root: Path) -> None:
        make_folder(out)
        self._out, self._root = out, root
        self._next = time.monotonic() + _SAVE_EVERY
        self.failure: ReconError | None = None

    def add(self, photo: Photo, answers: Sequence[Localisation], points: NDArray[np.float64]) -> None:
        """The last of the answers so far."""
        with self._kept():
            if answers[-1].evidence is not None:
                write_overlay(self._out, len(answers), photo, answers[-1], points)
        if time.monotonic() >= self._next:
            begin = time.monotonic()
            self.save(answers)
            now = time.monotonic()
            self._next = now + max(_SAVE_EVERY, (now - begin) / _SAVE_SHARE)

    def save(self, answers: Sequence[Localisation]) -> None:
        """Write ``poses.json``."""
        with self._kept():
            text = json.dumps(as_plain(self._root, answers), indent=2, ensure_ascii=False)
            write_text(self._out / "poses.json", text + "\n")

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except ReconError as error:
            self.failure = self.failure or error


def run_localize(
    sources: Sequence[Path],
    root: Path,
    config: LocalizeConfig,
    *,
    out: Path | None = None,
    every: int = 10,
    progress: Progress,
) -> Localised:
    """Localise photos in a map.

    Args:
        sources: photo files, videos, and folders of photos.
        root: folder of a map of ``recon sfm``.
        config: see there.
        out: folder for ``poses.json`` and, of each readable query, a picture of what it was matched with.
        every: of a video, each so-maniest frame is a query.
        progress: who listens.

    Raises:
        InputError: no map, or none of the queries could be read.
        OutputError: ``out`` cannot be made; what goes wrong later in it is the result's ``failure``.
        ConfigError: the map's descriptor is not the installed one, the intrinsics fit no query, or a map stands in
            ``out``.
    """
    if every < 1:
        raise ConfigError(f"Every {every}th frame cannot be taken", "", "--every 10")
    if out is not None:
        check_no_map(out)
    videos = [path for path in sources if is_video(path) and not path.is_dir()]
    stills = [path for path in sources if path not in videos]
    photos, rejected = collect_queries(stills, progress) if stills else ([], [])
    if not photos and not videos:
        raise _none_read(rejected)
    target = load_map(root, progress=progress)
    folder = None if out is None else _Folder(out, root)
    localizer = Localizer(target, config)
    answers: list[Localisation] = []
    unfit: list[ConfigError] = []
    with progress.stage("Localising", None if videos else len(photos)) as task:
        for photo in _queries(photos, videos, every, rejected):
            try:
                answers.append(localizer.localize(photo))
            except ConfigError as error:
                unfit.append(error)
                answers.append(Localisation(photo.name, Verdict.NOT_FOUND, error.what, error.try_))
            if folder is not None:
                folder.add(photo, answers, target.points_seen(answers[-1]))
            # Of every frame of a video, it would fill the memory.
            answers[-1] = replace(answers[-1], evidence=None)
            task.advance(note=photo.name)
    if unfit and len(unfit) == len(answers):
        raise unfit[0]
    if not answers:
        raise _none_read(rejected)
    answers += [Localisation(file.name, Verdict.NOT_FOUND, file.why, file.try_ or _AGAIN) for file in rejected]
    if folder is not None:
        folder.save(answers)
    return Localised(tuple(answers), None if folder is None else folder.failure)


def _none_read(rejected: Sequence[Rejected]) -> InputError:
    reasons = "; ".join(f"{file.name}: {file.why}" for file in rejected[:3])
    return InputError("No query could be read", reasons, next((file.try_ for file in rejected if file.try_), _AGAIN))


def _queries(photos: list[Photo], videos: list[Path], every: int, rejected: list[Rejected]) -> Iterator[Photo]:
    """Photos, then frames; a video that cannot be read joins the rejected."""
    yield from photos
    for path in videos:
        try:
            with video_frames(path, every) as frames:
                yield from frames
        except InputError as error:
            rejected.append(Rejected(path.name, error.why or error.what, error.try_))


def as_plain(root: Path, answers: Sequence[Localisation]) -> dict[str, Any]:
    """A JSON value for the answers."""
    counts = {str(verdict): sum(answer.verdict is verdict for answer in answers) for verdict in Verdict}
    return {"map": str(root), "counts": counts, "queries": [answer.as_plain() for answer in answers]}


def collect_queries(sources: Sequence[Path], progress: Progress) -> tuple[list[Photo], list[Rejected]]:
    """The photos of files and folders; those of the same name get the path as their name."""
    photos: list[Photo] = []
    rejected: list[Rejected] = []
    files = [path for path in sources if not path.is_dir()]
    for source in [path for path in sources if path.is_dir()]:
        try:
            found, refused = scan(source, progress=progress)
        except InputError as error:
            found, refused = [], [Rejected(str(source), error.why or error.what, error.try_)]
        photos += found
        rejected += refused
    if files:
        found, refused = scan(files, progress=progress)
        photos += found
        rejected += refused
    counts = Counter(photo.name for photo in photos)
    photos = [replace(photo, name=str(photo.path)) if counts[photo.name] > 1 else photo for photo in photos]
    return sorted(photos, key=lambda photo: natural_key(photo.name)), rejected
