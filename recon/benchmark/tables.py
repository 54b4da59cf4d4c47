"""Which scores of a board stand in its table, and the files that hold all of them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from descriptors.benchmarks.published import PUBLISHED
from descriptors.benchmarks.results import METRICS, Board, Contestant
from pipelines.store.files import write_text


@dataclass(frozen=True)
class Column:
    """One column of a board's table: which score it shows, under which short heading."""

    heading: str
    metric: str
    subset: str = "all"
    condition: str = "all"


_SEQUENCES = (
    Column("mAP %", "map"), Column("matching score %", "matching_score"), Column("MMA 3px %", "mma3"),
    Column("H AUC 1px", "homography_auc1"), Column("3px", "homography_auc3"), Column("5px", "homography_auc5"),
    Column("pairs", "matched"), Column("inliers", "inliers"),
)  # fmt: skip
_LEVELS = ("easy", "hard", "tough")
COLUMNS: dict[str, tuple[Column, ...]] = {
    "oxford": _SEQUENCES,
    "sequences": _SEQUENCES,
    "scenes": (
        Column("mAP snn %", "snn_map"), *(Column(level, "snn_map", "all", level) for level in _LEVELS),
        Column("FPR95 %", "fpr95"), *(Column(level, "fpr95", "all", level) for level in _LEVELS),
        Column("FPR95 nearest %", "fpr95_hardest"),
    ),
    "brown": (
        Column("FPR95 % mean", "fpr95"),
        *(Column(name, "fpr95", name) for name in ("liberty", "notredame", "yosemite")),
        Column("mAP snn % mean", "snn_map"),
        *(Column(name, "snn_map", name) for name in ("liberty", "notredame", "yosemite")),
    ),
    "hpatches": (
        Column("verification AP %", "verification_imbalanced"), Column("ROC AUC %", "verification_balanced"),
        Column("matching mAP %", "matching"), *(Column(level, "matching", "all", level) for level in _LEVELS),
        Column("retrieval mAP %", "retrieval"), *(Column(level, "retrieval", "all", level) for level in _LEVELS),
    ),
    "speed": (
        Column("patches/s", "patches_per_second"), Column("distances/s, millions", "distances_per_second"),
        Column("parameters", "parameters"), Column("bytes", "bytes"), Column("memory MB", "memory"),
    ),
}  # fmt: skip
"""Columns of each board; the first is the one that ranks."""


_SUMMARY: dict[str, tuple[str, ...]] = {
    "oxford": ("map", "matching_score", "homography_auc5"),
    "sequences": ("map", "matching_score", "homography_auc5"),
    "scenes": ("snn_map", "fpr95"),
    "brown": ("fpr95", "snn_map"),
    "hpatches": ("verification_imbalanced", "matching", "retrieval"),
    "speed": ("patches_per_second",),
}
"""Metrics of each board, over all of it, that stand in the table of all boards."""


def value_of(board: Board, descriptor: str, column: Column) -> float:
    """The score of a column, NaN if the board has none."""
    wanted = (descriptor, column.subset, column.condition, column.metric)
    return next(
        (s.value for s in board.scores if (s.descriptor, s.subset, s.condition, s.metric) == wanted), float("nan")
    )


def ranked(board: Board) -> list[str]:
    """Names of the descriptors on a board, the best in its first column first."""
    first = COLUMNS[board.name][0]
    sign = -1 if METRICS[first.metric].higher else 1
    names = list(dict.fromkeys(score.descriptor for score in board.scores))
    values = {name: value_of(board, name, first) for name in names}
    return sorted(names, key=lambda name: (math.isnan(values[name]), sign * values[name]))


def table(board: Board) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heading and rows of a board's table, best first; columns without any score are left out."""
    names = ranked(board)
    columns = [
        column for column in COLUMNS[board.name] if any(not math.isnan(value_of(board, name, column)) for name in names)
    ]
    rows = [(name, *(METRICS[c.metric].text(value_of(board, name, c)) for c in columns)) for name in names]
    return ("descriptor", *(column.heading for column in columns)), rows


def markdown(boards: Sequence[Board]) -> str:
    """One table of all boards in Markdown, a row a descriptor, best on the first board first."""
    columns = [(board, Column(METRICS[m].label, m)) for board in boards for m in _SUMMARY[board.name]]
    names = dict.fromkeys(name for board in boards for name in ranked(board))
    lines = ["| descriptor |" + "".join(f" {board.name}: {column.heading} |" for board, column in columns)]
    lines.append("| --- |" + " ---: |" * len(columns))
    for name in names:
        values = ((column.metric, value_of(board, name, column)) for board, column in columns)
        cells = (f" {'' if math.isnan(value) else METRICS[metric].text(value)} |" for metric, value in values)
        lines.append(f"| {name} |" + "".join(cells))
    return "\n".join(lines) + "\n"


def content(boards: Sequence[Board], contestants: Iterable[Contestant]) -> dict[str, Any]:
    """Everything that was measured, as JSON takes it, published figures beside it."""
    return {
        "contestants": [
            {"name": c.name, "fingerprint": c.descriptor.fingerprint, **asdict(c.descriptor.spec)} for c in contestants
        ],
        "boards": [
            {
                "name": board.name,
                "protocol": board.protocol,
                "notes": list(board.notes),
                "scores": [{**asdict(s), "value": None if math.isnan(s.value) else s.value} for s in board.scores],
                "curves": [asdict(curve) for curve in board.curves],
                "published": [asdict(row) for row in PUBLISHED if row.board == board.name],
            }
            for board in boards
        ],
    }


def write_files(boards: Sequence[Board], contestants: Sequence[Contestant], out: Path) -> dict[str, Any]:
    """Write ``board.json``, ``board.csv`` (one score a line) and ``board.md``, and return what the first holds."""
    everything = content(boards, contestants)
    write_text(out / "board.json", json.dumps(everything, indent=1, allow_nan=False) + "\n")
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("board", "descriptor", "subset", "condition", "metric", "value"))
    for board in boards:
        for s in board.scores:
            value = "" if math.isnan(s.value) else repr(float(s.value))
            writer.writerow((s.board, s.descriptor, s.subset, s.condition, s.metric, value))
    write_text(out / "board.csv", lines.getvalue())
    write_text(out / "board.md", markdown(boards))
    return everything
