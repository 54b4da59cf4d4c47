"""``recon benchmark stitch``: OpenCV's Stitcher and ours on the same photos, each in a process of its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmarks.opencv_stitch import PeerOptions
from pipelines.benchmarks.panoramas import Checkpoints, SolvedPhoto, against_truth, find_checkpoints, residuals
from pipelines.benchmarks.truth import TrueCamera, read_dataset
from pipelines.core.config import finite
from pipelines.core.errors import InputError
from pipelines.core.progress import Progress
from pipelines.core.types import Photo
from pipelines.engine import cores
from pipelines.stitch.local import Shifts
from pipelines.store.files import make_folder, write_text
from recon.benchmark.names import in_file, named
from recon.benchmark.process import Ran, as_installed, run_process

PEER = "OpenCV Stitcher"


@dataclass(frozen=True)
class Setting:
    """What all contestants are given.

    Attributes:
        max_size: longer side at which photos are registered, px; all render at full resolution.
        seed: of all random choices.
    """

    max_size: int = 800
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """What one contestant made of one set of photos.

    Attributes:
        dataset, contestant: names.
        photos, used: given, and in the (largest) panorama.
        checkpoints: places seen in two photos that all contestants use; residuals are of these, each both ways.
        median, rms: of the residuals, px of the full resolution; NaN without a panorama.
        rotation, focal: mean errors against truth, rad and relative; None without truth.
        width, height: of the panorama.
        seconds, cpu: wall and processor time of the whole process, start and writing included.
        stages: seconds per stage as the contestant itself measured them.
        peak_memory: bytes, largest resident memory of the process.
        picture: the panorama's file, empty without one.
        failure: last line of its messages if it made no panorama.
    """

    dataset: str
    contestant: str
    photos: int
    used: int
    checkpoints: int
    median: float
    rms: float
    rotation: float | None
    focal: float | None
    width: int
    height: int
    seconds: float
    cpu: float
    stages: dict[str, float]
    peak_memory: int
    picture: str
    failure: str = ""


@dataclass(frozen=True)
class _Made:
    """What a process left: where it puts each photo (by index), its figures, and the panorama."""

    contestant: str
    solved: Mapping[int, SolvedPhoto]
    stages: dict[str, float]
    ran: Ran
    picture: Path
    failure: str


def sets_of(folders: Sequence[Path]) -> list[Path]:
    """The sets among folders: one with photos (or ``images/``) is a set, one of folders holds several.

    Raises:
        InputError: a folder that is none of these.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no set of photos", "there is no such folder", "name folders of photos")
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and path.name != "images")
        is_set = (folder / "images").is_dir() or any(path.is_file() for path in folder.iterdir())
        found += [folder] if is_set or not inner else inner
    return found


def run_benchmark(
    folders: Sequence[Path], descriptors: Sequence[str], out: Path, setting: Setting, *, progress: Progress
) -> list[Row]:
    """Run the peer, and recon with each descriptor, on every set, one process at a time.

    Args:
        folders: see :func:`sets_of`.
        descriptors: names, as ``recon stitch`` takes them.
        out: folder for panoramas and results.

    Raises:
        InputError: a set without photos.
    """
    rows: list[Row] = []
    sets = named(sets_of(folders))
    modules = "recon.cli.stitch, pipelines.stitch.told, pipelines.benchmarks.opencv_stitch"
    subprocess.run([sys.executable, "-c", f"import {modules}"], env=as_installed(), check=True)  # compiles them
    contestants = [PEER, *descriptors]
    with progress.stage("Benchmark", len(contestants) * len(sets)) as task:
        for name, folder in sets.items():
            _, photos, truth = read_dataset(folder)
            points = find_checkpoints(photos)
            made = []
            for contestant in contestants:
                made.append(_run(name, contestant, photos, make_folder(out), setting))
                task.advance(note=f"{name} {contestant}")
            for one in made:
                rows.append(_row(name, one, made, photos, points, truth))
                progress.say(line(rows[-1]))
    return rows


def _run(name: str, contestant: str, photos: Sequence[Photo], out: Path, setting: Setting) -> _Made:
    picture = out / f"{in_file(name)}-{in_file(Path(contestant).stem).lower()}.jpg"
    notes = picture.with_suffix(".json")
    for path in (picture, notes):
        path.unlink(missing_ok=True)
    paths = [str(photo.path) for photo in photos]
    if contestant == PEER:
        # The Stitcher takes a number of pixels, and the same one for all photos: that of the first.
        first = photos[0]
        shrink = min(1.0, setting.max_size / max(first.width, first.height))
        options = PeerOptions(str(picture), first.width * first.height * shrink**2 / 1e6, seed=setting.seed)
        write_text(out / "options.json", json.dumps(asdict(options)))
        command = [sys.executable, "-m", "pipelines.benchmarks.opencv_stitch", str(out / "options.json"), *paths]
    else:
        command = [sys.executable, "-m", "recon", "stitch", *paths, "-o", str(picture), "--json-file", str(notes)]
        command += ["--descriptor", contestant, "--no-crop", "--max-size", str(setting.max_size)]
        command += ["--seed", str(setting.seed), "--quiet"]
    ran = run_process(command, out / "messages.txt")
    if ran.code or not notes.is_file():
        return _Made(contestant, {}, {}, ran, picture, ran.said)
    told = json.loads(notes.read_text())
    solved, picture = (_peers(told, photos), picture) if contestant == PEER else _ours(told, photos)
    return _Made(contestant, solved, told["seconds"], ran, picture, "")


def _peers(told: dict[str, Any], photos: Sequence[Photo]) -> dict[int, SolvedPhoto]:
    place = {str(photo.path): index for index, photo in enumerate(photos)}
    return {
        place[entry["path"]]: SolvedPhoto(
            entry["focal_px"], np.array(entry["centre"]), 0.0, np.array(entry["cam_from_world"])
        )
        for entry in told["photos"]
    }


def _ours(told: dict[str, Any], photos: Sequence[Photo]) -> tuple[dict[int, SolvedPhoto], Path]:
    place = {photo.path.name: index for index, photo in enumerate(photos)}
    largest = told["panoramas"][0]
    solved = {}
    for entry in largest["photos"]:
        index = place[Path(entry["name"]).name]
        centre = np.array([photos[index].width - 1, photos[index].height - 1]) / 2
        rotation = np.array(entry["cam_from_world"])
        shifts = Shifts.unpacked(entry["shift"])
        solved[index] = SolvedPhoto(entry["focal_px"], centre, entry["distortion"], rotation, shifts=shifts)
    return solved, Path(largest["file"])


def _row(
    dataset: str, made: _Made, every: Sequence[_Made], photos: Sequence[Photo],
    points: Mapping[tuple[int, int], Checkpoints], truth: Mapping[str, TrueCamera],
) -> Row:  # fmt: skip
    # A contestant without a panorama must not leave the others without figures.
    shared = set.intersection(*(set(one.solved) for one in every if one.solved)) if made.solved else set()
    left = residuals({index: made.solved[index] for index in shared}, points)
    errors = against_truth({photos[index].name: each for index, each in made.solved.items()}, truth)
    width, height = _size(made.picture)
    return Row(
        dataset,
        made.contestant,
        len(photos),
        len(made.solved),
        len(left) // 2,
        float(np.median(left)) if len(left) else math.nan,
        float(np.sqrt((left**2).mean())) if len(left) else math.nan,
        None if errors is None else errors[0],
        None if errors is None else errors[1],
        width,
        height,
        made.ran.seconds,
        made.ran.cpu,
        made.stages,
        made.ran.peak_memory,
        str(made.picture) if width else "",
        made.failure,
    )


def _size(path: Path) -> tuple[int, int]:
    from pipelines.images.formats import pillow

    if not path.is_file():
        return 0, 0
    with pillow().open(path) as picture:
        return picture.size


def line(row: Row) -> str:
    """One row as text."""
    return f"{row.dataset:<16} {row.contestant:<16} {'  '.join(facts(row))}"


def facts(row: Row) -> list[str]:
    """A row's figures as text."""
    if row.failure:
        return [f"no panorama: {row.failure}"]
    truth = [] if row.rotation is None else [f"rotation {math.degrees(row.rotation):.4f}°", f"focal {row.focal:.2%}"]
    return [
        f"{row.used}/{row.photos}",
        f"residual {row.median:.2f} px median, {row.rms:.2f} rms of {row.checkpoints}",
        *truth,
        f"{row.seconds:.1f} s, {row.cpu:.1f} s CPU, {row.peak_memory / 1e6:.0f} MB",
    ]


def peer_of(row: Row, rows: Sequence[Row]) -> Row:
    """The peer's row on the same set."""
    return next(other for other in rows if other.dataset == row.dataset and other.contestant == PEER)


def table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells of the results, for the terminal."""
    header = ("photos of", "by", "used", "checkpoints", "median px", "rms px", "rotation °", "focal %", "seconds",
              "ratio", "CPU s", "ratio", "MB")  # fmt: skip
    return header, [_cells(row, rows) for row in rows]


def _cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    peer = peer_of(row, rows)
    return (
        row.dataset,
        row.contestant,
        f"{row.used}/{row.photos}",
        str(row.checkpoints) if row.checkpoints else "–",
        f"{row.median:.2f}" if row.checkpoints else "–",
        f"{row.rms:.2f}" if row.checkpoints else "–",
        "–" if row.rotation is None else f"{math.degrees(row.rotation):.4f}",
        "–" if row.focal is None else f"{100 * row.focal:.2f}",
        f"{row.seconds:.1f}",
        f"{row.seconds / peer.seconds:.2f}",
        f"{row.cpu:.1f}",
        f"{row.cpu / peer.cpu:.2f}",
        f"{row.peak_memory / 1e6:.0f}",
    )


def write_results(rows: Sequence[Row], out: Path, setting: Setting) -> dict[str, Any]:
    """Write everything that was measured to ``stitch.json``, and return it."""
    content = {
        "setting": asdict(setting),
        "cores": cores(),
        "rows": [
            {**finite(asdict(row)), "seconds_over_peer": row.seconds / peer_of(row, rows).seconds,
             "cpu_over_peer": row.cpu / peer_of(row, rows).cpu}
            for row in rows
        ],
    }  # fmt: skip
    write_text(out / "stitch.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    return content
