"""``recon benchmark sfm``: pycolmap's SIFT pipeline and ours on the same photos, each in a process of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import colmap
from pipelines.benchmarks.colmap_sift import PeerOptions
from pipelines.benchmarks.truth import PoseErrors, TrueCamera, distinct_points, pose_errors, read_dataset
from pipelines.core.config import finite
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.progress import Progress
from pipelines.engine import cores
from pipelines.images.cameras import check_model
from pipelines.store.files import make_folder, write_text
from recon.benchmark.names import in_file, named
from recon.benchmark.process import run_process

PEER = "pycolmap SIFT"


@dataclass(frozen=True)
class Setting:
    """What all contestants are given.

    Attributes:
        max_size: longer side at which features are found, px.
        max_features: number of features.
        seed: of all random choices.
        fix_intrinsics: give the ground truth's intrinsics and keep them.
        camera_model: COLMAP's, of all contestants; if empty pycolmap's default and what recon finds.
    """

    max_size: int = 1600
    max_features: int = 8192
    seed: int = 0
    fix_intrinsics: bool = False
    camera_model: str = ""

    def __post_init__(self) -> None:
        if self.camera_model and self.fix_intrinsics:
            why = "the truth's intrinsics have no distortion"
            raise ConfigError(
                "A camera model cannot be given along with fixed intrinsics", why, "leave one of them out"
            )
        if self.camera_model:
            check_model(self.camera_model)


@dataclass(frozen=True)
class Row:
    """What one contestant made of one data set.

    Attributes:
        dataset, contestant: names.
        photos, registered: given, and in the largest model.
        points, observations, track_length, error: of the largest model; error is the mean reprojection error, px.
        distinct: points that stand for different places: COLMAP makes one for each orientation of a keypoint.
        poses: errors against ground truth, where there is one.
        seconds: wall time of the whole process, start included.
        cpu: seconds of processor time of the whole process, over all cores; hardly depends on what else is running.
        stages: seconds per stage as the contestant itself measured them.
        peak_memory: bytes, largest resident memory of the process.
        failure: last line of its messages if it made no model.
    """

    dataset: str
    contestant: str
    photos: int
    registered: int
    points: int
    distinct: int
    observations: int
    track_length: float
    error: float
    poses: PoseErrors | None
    seconds: float
    cpu: float
    stages: dict[str, float]
    peak_memory: int
    failure: str = ""


def run_benchmark(
    datasets: Sequence[Path], descriptors: Sequence[str], out: Path, setting: Setting, *, progress: Progress
) -> list[Row]:
    """Run the peer and ours with each descriptor on every data set, one process at a time.

    Args:
        datasets: folders with ``images/`` (or photos) and, if known, ground truth; see
            :func:`pipelines.benchmarks.truth.read_truth`.
        descriptors: registry names.
        out: folder for maps and results; what stands there from an earlier benchmark is replaced.

    Raises:
        InputError: a data set without photos.
    """
    rows: list[Row] = []
    contestants = [PEER, *descriptors]
    sets = named(datasets)
    with progress.stage("Benchmark", len(sets) * len(contestants)) as task:
        for name, dataset in sets.items():
            images, photos, truth = read_dataset(dataset)
            if setting.fix_intrinsics and not truth:
                raise InputError(f"{dataset} has no ground truth", "fixed intrinsics are taken from it")
            for contestant in contestants:
                work = out / f"{in_file(name)}-{in_file(Path(contestant).stem)}"
                shutil.rmtree(work, ignore_errors=True)
                make_folder(work)
                command = _command(contestant, images, work, setting, truth)
                row = _measure(name, contestant, command, work, len(photos), truth)
                rows.append(row)
                task.advance(note=f"{row.dataset} {contestant}")
                progress.say(line(row))
    return rows


def _command(contestant: str, images: Path, work: Path, setting: Setting, truth: dict[str, TrueCamera]) -> list[str]:
    known = next(iter(truth.values())).intrinsics if setting.fix_intrinsics else None
    if contestant == PEER:
        # COLMAP's convention, for COLMAP's own reader: the peer must not pay for our pixel centres.
        values = () if known is None else (known[0, 0], known[1, 1], known[0, 2] + 0.5, known[1, 2] + 0.5)
        options = PeerOptions(
            setting.max_size,
            setting.max_features,
            setting.seed,
            "PINHOLE" if values else setting.camera_model or PeerOptions.camera_model,
            ",".join(repr(float(value)) for value in values),
            setting.fix_intrinsics,
        )
        (work / "options.json").write_text(json.dumps(asdict(options)))
        module = "pipelines.benchmarks.colmap_sift"
        return [sys.executable, "-m", module, str(images), str(work), str(work / "options.json")]
    command = [sys.executable, "-m", "recon", "sfm", str(images), "--out", str(work), "--descriptor", contestant]
    command += ["--max-size", str(setting.max_size), "--max-keypoints", str(setting.max_features)]
    command += ["--seed", str(setting.seed), "--quiet"]
    if setting.camera_model:
        command += ["--camera-model", setting.camera_model]
    if known is not None:
        values = (known[0, 0], known[1, 1], known[0, 2], known[1, 2])
        command += ["--intrinsics", ",".join(map(repr, map(float, values))), "--camera-model", "PINHOLE"]
        command += ["--fix-intrinsics"]
    return command


def _measure(
    dataset: str, contestant: str, command: list[str], work: Path, photos: int, truth: dict[str, TrueCamera]
) -> Row:
    ran = run_process(command, work / "messages.txt")
    models = [colmap.read_model(path) for path in colmap.component_folders(work / "sparse")]
    if not models:
        return Row(
            dataset, contestant, photos, 0, 0, 0, 0, 0.0, float("nan"), None, ran.seconds, ran.cpu, {},
            ran.peak_memory, ran.said,
        )  # fmt: skip
    model = max(models, key=lambda found: (len(found.names), len(found.xyz)))
    return Row(
        dataset,
        contestant,
        photos,
        len(model.names),
        len(model.xyz),
        distinct_points(model),
        len(model.obs_point),
        float(model.track_lengths.mean()),
        float(np.average(model.errors, weights=model.track_lengths)),
        pose_errors(model, truth),
        ran.seconds,
        ran.cpu,
        _stages(work),
        ran.peak_memory,
    )


def _stages(work: Path) -> dict[str, float]:
    if (work / "timings.json").is_file():
        return json.loads((work / "timings.json").read_text())
    return dict(json.loads((work / "recon.json").read_text())["result"]["timings"])


def line(row: Row) -> str:
    """One row as text."""
    if row.failure:
        return f"{row.dataset:<16} {row.contestant:<14} no model: {row.failure}"
    poses = ""
    if row.poses is not None:
        poses = f"  centre {row.poses.centre_mean * 1000:6.2f} mm  rotation {np.degrees(row.poses.rotation_mean):.4f}°"
    return (
        f"{row.dataset:<16} {row.contestant:<14} {row.registered:>3}/{row.photos:<3} {row.points:>7,} points  "
        f"track {row.track_length:.2f}  {row.error:.3f} px{poses}  {row.seconds:6.1f} s  {row.peak_memory / 1e6:.0f} MB"
    )


def ratio(row: Row, rows: Sequence[Row]) -> float:
    """Wall time of a row over the peer's on the same data set."""
    peer = next(other for other in rows if other.dataset == row.dataset and other.contestant == PEER)
    return row.seconds / peer.seconds


def table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells of the results, for the terminal."""
    header = ("photos of", "by", "registered", "points", "distinct", "track", "error px", "centre mm", "rotation °",
              "seconds", "ratio", "CPU s", "MB")  # fmt: skip
    return header, [_cells(row, rows) for row in rows]


def _cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    poses = row.poses
    return (
        row.dataset,
        row.contestant,
        f"{row.registered}/{row.photos}",
        f"{row.points:,}",
        f"{row.distinct:,}",
        f"{row.track_length:.2f}",
        "–" if row.failure else f"{row.error:.3f}",
        "–" if poses is None else f"{poses.centre_mean * 1000:.2f}",
        "–" if poses is None else f"{np.degrees(poses.rotation_mean):.4f}",
        f"{row.seconds:.1f}",
        f"{ratio(row, rows):.2f}",
        f"{row.cpu:.1f}",
        f"{row.peak_memory / 1e6:.0f}",
    )


def write_results(rows: Sequence[Row], out: Path, setting: Setting) -> dict[str, Any]:
    """Write everything that was measured to ``sfm.json``, and return it."""
    content = {
        "setting": asdict(setting),
        "cores": cores(),
        "rows": [{**finite(asdict(row)), "seconds_over_peer": ratio(row, rows)} for row in rows],
    }
    write_text(out / "sfm.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    return content
