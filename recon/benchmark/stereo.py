"""``recon benchmark stereo``: matching costs and OpenCV's matcher on the same rectified pairs, one process each."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmarks.stereo_truth import THRESHOLDS, TruePair, errors, read_pairs
from pipelines.core.errors import NoModelError
from pipelines.core.progress import Progress
from pipelines.engine import cores
from pipelines.stereo.run import StereoConfig
from pipelines.store.files import make_folder, write_text
from recon.benchmark.process import run_process

MEAN = "mean"


@dataclass(frozen=True)
class Row:
    """One contestant on one pair, or its mean over all.

    Attributes:
        pair, contestant: names; the pair ``mean`` stands for all.
        bad: percent of the pixels with truth that are wrong by more than so many px, or have no value.
        average: error in px.
        density: percent measured, not filled in.
        seconds: of matching alone, warm.
        peak_memory: bytes of the contestant's process over all pairs.
    """

    pair: str
    contestant: str
    bad: dict[str, float]
    average: float
    density: float
    seconds: float
    peak_memory: int


@dataclass(frozen=True)
class Result:
    """All that was measured: ``maps`` holds each contestant's NPZ file of each pair."""

    pairs: tuple[TruePair, ...]
    rows: tuple[Row, ...]
    maps: dict[tuple[str, str], Path]


def run_benchmark(data: Sequence[Path], costs: Sequence[str], out: Path, *, progress: Progress) -> Result:
    """Run every cost on every pair of the given folders.

    Raises:
        InputError: a folder without pairs.
        DescriptorError: no descriptor has a name.
        NoModelError: a contestant failed; its messages are beside its maps.
    """
    pairs = _distinct([pair for folder in data for pair in read_pairs(folder)])
    for cost in costs:
        StereoConfig(cost)
    rows: list[Row] = []
    maps: dict[tuple[str, str], Path] = {}
    with progress.stage("Benchmark", len(costs)) as task:
        for cost in costs:
            work = make_folder(out / Path(cost).name.replace("+", "-"))
            peak = _run(cost, pairs, work)
            own = []
            for number, pair in enumerate(pairs):
                path = work / f"{number:02d}-{pair.name}.npz"
                maps[pair.name, cost] = path
                with np.load(path) as stored:
                    found = errors(stored["values"], stored["measured"], pair.truth)
                    own.append(
                        Row(pair.name, cost, found.bad, found.average, found.density, float(stored["seconds"]), peak)
                    )
            rows += [*own, _mean(own)]
            task.advance(note=cost)
            progress.say(f"{cost:<14} bad-1 {rows[-1].bad['1']:.2f} %  bad-2 {rows[-1].bad['2']:.2f} %")
    return Result(tuple(pairs), tuple(rows), maps)


def _distinct(pairs: Sequence[TruePair]) -> list[TruePair]:
    """The pairs; of those with one name, as the same scene at several sizes, the later ones get numbers."""
    counts: Counter[str] = Counter()
    named = []
    for pair in pairs:
        counts[pair.name] += 1
        named.append(pair if counts[pair.name] == 1 else replace(pair, name=f"{pair.name} {counts[pair.name]}"))
    return named


def _run(cost: str, pairs: Sequence[TruePair], work: Path) -> int:
    jobs = [
        {"left": str(pair.left), "right": str(pair.right), "count": pair.count,
         "out": str(work / f"{number:02d}-{pair.name}.npz")}
        for number, pair in enumerate(pairs)
    ]  # fmt: skip
    (work / "jobs.json").write_text(json.dumps({"cost": cost, "pairs": jobs}))
    command = [sys.executable, "-m", "pipelines.benchmarks.stereo_one", str(work / "jobs.json")]
    ran = run_process(command, work / "messages.txt")
    if ran.code:
        raise NoModelError(f"{cost} failed", ran.said, f"look into {work / 'messages.txt'}")
    return ran.peak_memory


def _mean(rows: Sequence[Row]) -> Row:
    return Row(
        MEAN, rows[0].contestant, {text: float(np.mean([row.bad[text] for row in rows])) for text in THRESHOLDS},
        float(np.mean([row.average for row in rows])), float(np.mean([row.density for row in rows])),
        float(np.mean([row.seconds for row in rows])), rows[0].peak_memory,
    )  # fmt: skip


def table(result: Result) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells for the terminal, pair by pair, the mean last."""
    header = ("pair", "by", *(f"bad-{text} %" for text in THRESHOLDS), "error px", "density %", "seconds", "MB")
    names = [*dict.fromkeys(row.pair for row in result.rows if row.pair != MEAN), MEAN]
    ordered = [row for name in names for row in result.rows if row.pair == name]
    return header, [_cells(row) for row in ordered]


def _cells(row: Row) -> tuple[str, ...]:
    bad = (f"{row.bad[text]:.2f}" for text in THRESHOLDS)
    figures = (f"{row.average:.2f}", f"{row.density:.1f}", f"{row.seconds:.2f}", f"{row.peak_memory / 1e6:.0f}")
    return (row.pair, row.contestant, *bad, *figures)


def write_results(result: Result, out: Path) -> dict[str, Any]:
    """Write ``stereo.json`` and ``stereo.csv``, and return what the first holds."""
    content = {
        "protocol": "percent of all pixels with truth, occluded and border ones included, wrong by more than t px or "
        "without a value; seconds of matching alone, warm",
        "cores": cores(),
        "rows": [asdict(row) for row in result.rows],
    }
    write_text(out / "stereo.json", json.dumps(content, indent=1) + "\n")
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("pair", "by", *(f"bad_{text}" for text in THRESHOLDS), "error_px", "density", "seconds", "bytes"))
    for row in result.rows:
        figures = (*row.bad.values(), row.average, row.density, row.seconds)
        writer.writerow((row.pair, row.contestant, *(f"{value:.4f}" for value in figures), row.peak_memory))
    write_text(out / "stereo.csv", lines.getvalue())
    return content
