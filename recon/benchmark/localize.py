"""``recon benchmark localize``: every photo of a set looked for in a map of the others, and photos of other places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmarks.leave_one_out import PLAIN, WITHOUT, LeaveOneOut, Trial, count_strangers, read_scene
from pipelines.core.config import finite
from pipelines.core.progress import Progress
from pipelines.core.types import Photo
from pipelines.engine import cores
from pipelines.features.detectors import DetectorConfig
from pipelines.features.extract import FeatureConfig
from pipelines.images.read import scan
from pipelines.localize.result import Verdict
from pipelines.store.files import make_folder, write_text
from recon.benchmark.names import in_file, named


@dataclass(frozen=True)
class Setting:
    """What all contestants are given.

    Attributes:
        max_size, max_features: of the maps and the queries.
        seed: of all random choices.
        others: photos of other places looked for in each map, at most.
    """

    max_size: int = 1600
    max_features: int = 8192
    seed: int = 0
    others: int = 200


@dataclass(frozen=True)
class Limit:
    """A pose counts as right within both."""

    centre: float
    degrees: float
    label: str


METRIC = (
    Limit(0.01, 0.1, "1 cm, 0.1°"),
    Limit(0.02, 0.2, "2 cm, 0.2°"),
    Limit(0.05, 0.5, "5 cm, 0.5°"),
)
RELATIVE = (Limit(0.0025, 180.0, "0.25 %"), Limit(0.01, 180.0, "1 %"), Limit(0.05, 180.0, "5 %"))


@dataclass(frozen=True)
class Group:
    """All trials of a contestant on a data set with the same knowledge of the intrinsics.

    Attributes:
        metric: whether errors are in metres, or in shares of the scene's size.
        strangers: verdicts on photos of other places -> count; {} where none were looked for.
    """

    dataset: str
    contestant: str
    intrinsics: str
    metric: bool
    trials: tuple[Trial, ...]
    strangers: Mapping[str, int]

    @property
    def found(self) -> int:
        """Number of photos whose verdict is ``found``."""
        return sum(trial.verdict == Verdict.FOUND for trial in self.trials)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The thresholds of this group's recall."""
        return METRIC if self.metric else RELATIVE

    def recall(self, limit: Limit) -> float:
        """Share of all photos whose pose is within a limit; a photo without a pose is not."""
        right = [t.centre <= limit.centre and np.degrees(t.rotation) <= limit.degrees for t in self.trials]
        return float(np.mean(right))

    def errors(self, which: str) -> tuple[float, float]:
        """Median and largest ``centre`` or ``rotation`` error over all photos; one without a pose counts as infinite,
        so that giving up is never better than a poor pose."""
        values = np.array([getattr(trial, which) for trial in self.trials])
        values[np.isnan(values)] = np.inf
        return float(np.median(values)), float(values.max())

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> median seconds."""
        stages = dict.fromkeys(stage for trial in self.trials for stage in trial.seconds)
        return {
            stage: float(np.median([t.seconds[stage] for t in self.trials if stage in t.seconds])) for stage in stages
        }


def run_benchmark(
    datasets: Sequence[Path],
    descriptors: Sequence[str],
    out: Path,
    setting: Setting,
    *,
    others: Path | None = None,
    progress: Progress,
) -> list[Group]:
    """Leave-one-out on every data set with each descriptor; see :mod:`pipelines.benchmarks.leave_one_out`.

    Where the folder has ground truth, maps and queries have its intrinsics, and errors are in metres after the map's
    cameras are brought onto the true ones; else they are against the map of all photos, in shares of the scene's size.
    Each photo is looked for again with its EXIF taken away, with and without the help of the map's cameras. RootSIFT's
    maps are also given to the peer.

    Args:
        datasets: folders with ``images/`` (or photos) and, if known, ground truth.
        descriptors: registry names.
        out: folder for maps and results. Maps that stand there from the same photos and options are used again.
        others: folder of photos of other places.

    Raises:
        InputError: a data set without photos.
        ReconError: a set of which no map can be made.
    """
    strangers = _some(scan(others)[0], setting.others) if others is not None else []
    groups: list[Group] = []
    for name, dataset in named(datasets).items():
        scene = replace(read_scene(dataset), name=name)
        for descriptor in descriptors:
            features = FeatureConfig(descriptor, DetectorConfig(max_keypoints=setting.max_features), setting.max_size)
            work = make_folder(out / "maps" / f"{in_file(name)}-{Path(descriptor).stem}")
            sets = LeaveOneOut(scene, features, work, setting.seed)
            whole = sets.whole(progress)
            reference = sets.reference(whole)
            trials: list[Trial] = []
            with progress.stage("Leave one out", len(scene.photos)) as task:
                for photo in scene.photos:
                    trials += sets.trials(photo, reference, descriptor)
                    task.advance(note=f"{scene.name} {photo.name}")
            counts = count_strangers(whole, strangers, progress) if strangers else {}
            made = _grouped(trials, scene.metric, descriptor, counts)
            for group in made:
                progress.say(line(group))
            groups += made
    return groups


def _some(photos: Sequence[Photo], count: int) -> list[Photo]:
    """At most so many photos, spread over all of them."""
    if len(photos) <= count:
        return list(photos)
    return [photos[int(index)] for index in np.linspace(0, len(photos) - 1, count)]


def _grouped(trials: Sequence[Trial], metric: bool, descriptor: str, counts: Mapping[str, int]) -> list[Group]:
    keys = dict.fromkeys((trial.dataset, trial.contestant, trial.intrinsics) for trial in trials)
    return [
        Group(
            *key,
            metric,
            tuple(trial for trial in trials if (trial.dataset, trial.contestant, trial.intrinsics) == key),
            counts if key[1] == descriptor and key[2] not in WITHOUT else {},
        )
        for key in keys
    ]


def length(value: float, metric: bool) -> str:
    """A centre's error with its unit: mm, or % of the scene's size."""
    if not np.isfinite(value):
        return "no pose"
    return f"{value * 1000:.2f} mm" if metric else f"{value * 100:.3f} %"


def degrees(value: float) -> str:
    """A rotation's error."""
    return f"{np.degrees(value):.4f}°" if np.isfinite(value) else "no pose"


def line(group: Group) -> str:
    """One group as text."""
    centre, rotation = group.errors("centre"), group.errors("rotation")
    strange = f"  other places found {group.strangers[Verdict.FOUND]}" if group.strangers else ""
    return (
        f"{group.dataset:<14} {group.contestant:<24} {group.intrinsics:<6} {group.found}/{len(group.trials)} found  "
        f"median {length(centre[0], group.metric)} {degrees(rotation[0])}  max {length(centre[1], group.metric)} "
        f"{degrees(rotation[1])}{strange}"
    )


HEADER = (
    "photos of", "by", "intrinsics", "found", "recall", "centre median", "max", "rotation median", "max", "seconds",
    "other places found",
)  # fmt: skip


def table(groups: Sequence[Group]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells of the results, for the terminal and the page."""
    return HEADER, [_cells(group) for group in groups]


def _cells(group: Group) -> tuple[str, ...]:
    centre, rotation = group.errors("centre"), group.errors("rotation")
    timed = group.seconds
    shown = sum(group.strangers.values())
    return (
        group.dataset,
        group.contestant,
        group.intrinsics,
        f"{group.found}/{len(group.trials)}",
        " / ".join(f"{100 * group.recall(limit):.0f}" for limit in group.limits) + " %",
        *(length(value, group.metric) for value in centre),
        *(degrees(value) for value in rotation),
        f"{sum(timed.values()):.2f}" if timed else "–",
        f"{group.strangers[Verdict.FOUND]}/{shown}" if shown else "–",
    )


def note() -> str:
    """What the column of recalls stands for."""
    kinds = (("with ground truth", METRIC), ("without", RELATIVE))
    return "Recall, " + ", ".join(f"{name}: {' / '.join(limit.label for limit in limits)}" for name, limits in kinds)


def write_results(groups: Sequence[Group], out: Path, setting: Setting) -> dict[str, Any]:
    """Write everything that was measured to ``localize.json``, and return it."""
    content = {
        "setting": asdict(setting),
        "cores": cores(),
        "peer": PLAIN,
        "groups": [
            {
                "dataset": group.dataset,
                "contestant": group.contestant,
                "intrinsics": group.intrinsics,
                "unit": "metres" if group.metric else "scene sizes",
                "photos": len(group.trials),
                "found": group.found,
                "recall": {limit.label: group.recall(limit) for limit in group.limits},
                "centre": dict(zip(("median", "max"), group.errors("centre"), strict=True)),
                "rotation_deg": dict(
                    zip(("median", "max"), (float(np.degrees(v)) for v in group.errors("rotation")), strict=True)
                ),
                "seconds": group.seconds,
                "other_places": dict(group.strangers),
                "trials": [asdict(trial) for trial in group.trials],
            }
            for group in groups
        ],
    }
    plain: dict[str, Any] = finite(content)
    write_text(out / "localize.json", json.dumps(plain, indent=2, allow_nan=False) + "\n")
    return plain
