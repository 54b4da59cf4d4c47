"""Photos to their places in a map: the whole of ``recon localize`` as one function."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigError, InputError
from pipelines.core.progress import Progress
from pipelines.core.types import Photo, Rejected
from pipelines.images.read import natural_key, scan
from pipelines.images.video import is_video, video_frames
from pipelines.localize.map import load_map
from pipelines.localize.overlay import write_overlay
from pipelines.localize.query import LocalizeConfig, Localizer
from pipelines.localize.result import Localisation, Verdict
from pipelines.store.files import make_folder, write_text

_AGAIN = "a JPEG, PNG, TIFF or WebP photo that can be read"


def run_localize(
    sources: Sequence[Path],
    root: Path,
    config: LocalizeConfig,
    *,
    out: Path | None = None,
    every: int = 10,
    progress: Progress,
) -> list[Localisation]:
    """Localise photos in a map.

    Args:
        sources: photo files, videos, and folders of photos.
        root: folder of a map of ``recon sfm``.
        config: see there.
        out: folder for ``poses.json`` and, of each readable query, a picture of what it was matched with.
        every: of a video, each so-maniest frame is a query.
        progress: who listens.

    Returns:
        One answer per query: photos in natural order of names, then frames; those that cannot be read come last, as
        ``not found``.

    Raises:
        InputError: no map, or none of the queries could be read.
        OutputError: ``out`` cannot be written.
        ConfigError: the map's descriptor is not the installed one, or the intrinsics fit no query.
    """
    if every < 1:
        raise ConfigError(f"Every {every}th frame cannot be taken", "", "--every 10")
    videos = [path for path in sources if is_video(path) and not path.is_dir()]
    stills = [path for path in sources if path not in videos]
    photos, rejected = collect_queries(stills, progress) if stills else ([], [])
    if not photos and not videos:
        raise _none_read(rejected)
    target = load_map(root, progress=progress)
    if out is not None:
        make_folder(out)
    localizer = Localizer(target, config)
    answers: list[Localisation] = []
    unfit: list[ConfigError] = []
    with progress.stage("Localising", None if videos else len(photos)) as task:
        for number, photo in enumerate(_queries(photos, videos, every, rejected), 1):
            try:
                answers.append(localizer.localize(photo))
            except ConfigError as error:
                unfit.append(error)
                answers.append(Localisation(photo.name, Verdict.NOT_FOUND, error.what, error.try_))
            if out is not None and answers[-1].evidence is not None:
                write_overlay(out, number, photo, answers[-1], target.points_seen(answers[-1]))
            task.advance(note=photo.name)
    if unfit and len(unfit) == len(answers):
        raise unfit[0]
    if not answers:
        raise _none_read(rejected)
    answers += [Localisation(file.name, Verdict.NOT_FOUND, file.why, file.try_ or _AGAIN) for file in rejected]
    if out is not None:
        write_text(out / "poses.json", json.dumps(as_plain(root, answers), indent=2, ensure_ascii=False) + "\n")
    return answers


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
    names = [photo.name for photo in photos]
    photos = [replace(photo, name=str(photo.path)) if names.count(photo.name) > 1 else photo for photo in photos]
    return sorted(photos, key=lambda photo: natural_key(photo.name)), rejected
