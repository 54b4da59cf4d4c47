"""``board.html``: all boards of a run on one self-contained page, published figures beside ours and marked as such."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from descriptors.benchmarks.published import PUBLISHED
from descriptors.benchmarks.results import METRICS, Board, Score
from pipelines.store.files import write_text
from recon.benchmark import markup
from recon.benchmark.plots import Axis, Bar, Line, bars, lines, scatter, shaded
from recon.benchmark.tables import COLUMNS, Column, ranked, table, value_of

_STYLE = """
h1+p{margin-bottom:1rem}h2 small{font-weight:400;color:var(--soft)}h3{font-size:.95rem;margin:1.6rem 0 .5rem}
section p{margin:.2rem 0 1rem;max-width:75ch}table.shaded td,table.shaded th{padding:.3rem .6rem;text-align:right}
table.shaded td:first-child{text-align:left}td:nth-child(2),th:nth-child(2){text-align:right}
nav a{color:var(--ours);margin-right:1rem}
"""
_TITLES = {
    "oxford": "Oxford affine sequences",
    "sequences": "HPatches sequences",
    "scenes": "Scenes as Brown",
    "brown": "Brown / UBC PhotoTour",
    "hpatches": "HPatches patches",
    "speed": "Speed and size",
}
# Tables of a score by subset or condition: heading, metric, and whether columns are subsets or conditions.
_BREAKDOWNS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "oxford": (
        ("mAP by transformation", "map", "condition"),
        ("Matching score by transformation", "matching_score", "condition"),
        ("Matching score by sequence", "matching_score", "subset"),
    ),
    "sequences": (("Matching score by sequence", "matching_score", "subset"),),
    "scenes": (
        ("mAP of the second-nearest ratio by jitter", "snn_map", "condition"),
        ("mAP of the second-nearest ratio by kind of scene", "snn_map", "subset"),
        ("FPR95 by jitter", "fpr95", "condition"),
    ),
    "hpatches": (
        ("Verification, imbalanced AP, by noise and negatives", "verification_imbalanced", "condition"),
        ("Matching mAP by noise", "matching", "condition"),
        ("Matching mAP by split", "matching", "subset"),
        ("Retrieval mAP by noise", "retrieval", "condition"),
    ),
    "brown": (),
    "speed": (("Patches a second by batch and by what runs them", "patches_per_second", "condition"),),
}
# Metrics drawn as bars beside the board's first one. Published inliers stand in the table of sources only: they are of
# other keypoints, and a bar beside ours would compare detectors.
_BARS = {"scenes": ("fpr95",), "brown": ("snn_map",), "hpatches": ("matching", "retrieval")}


def write_page(path: Path, boards: Sequence[Board]) -> None:
    """Write the page of these boards."""
    names = list(dict.fromkeys(name for board in boards for name in ranked(board)))
    looks = {name: number for number, name in enumerate(names)}
    links = "".join(f'<a href="#{board.name}">{escape(_TITLES[board.name])}</a>' for board in boards)
    sections = [_frontier(boards, looks), *(_board(board, looks) for board in boards)]
    intro = (
        "All contestants had the same photos, keypoints and pairs. Hatched bars and rows marked “published” were "
        "not measured here: other people’s machines and data, the source is named."
    )
    body = f"<nav>{links}</nav><p></p>{''.join(sections)}"
    heading = "Local descriptors, side by side"
    write_text(path, markup.document("recon benchmark", heading, intro, body, style=_STYLE))


def _board(board: Board, looks: Mapping[str, int]) -> str:
    parts = [f"<p>{escape(board.protocol)}.</p>", markup.table(*table(board))]
    parts += [f"<p>{escape(note)}</p>" for note in board.notes]
    first = COLUMNS[board.name][0]
    for metric in (first.metric, *_BARS.get(board.name, ())):
        parts += [f"<h3>{escape(METRICS[metric].label)}</h3>", _metric_bars(board, metric)]
    parts += _curves(board, looks)
    for heading, metric, by in _BREAKDOWNS[board.name]:
        drawn = _breakdown(board, metric, by)
        if drawn:
            parts += [f"<h3>{escape(heading)} <small>({escape(METRICS[metric].label)})</small></h3>", drawn]
    parts.append(_published(board))
    return f'<section id="{board.name}"><h2>{escape(_TITLES[board.name])}</h2>{"".join(parts)}</section>'


def _metric_bars(board: Board, metric: str) -> str:
    ours = [Bar(name, value_of(board, name, Column("", metric))) for name in ranked(board)]
    theirs = [
        Bar(row.method, row.value, published=True)
        for row in PUBLISHED
        if board.comparable
        and (row.board, row.metric) == (board.name, metric)
        and row.subset in ("all", "mean", "full")
    ]
    kind = METRICS[metric]
    return bars([*ours, *theirs], kind.text, best_first=kind.higher)


def _curves(board: Board, looks: Mapping[str, int]) -> list[str]:
    parts = []
    for condition in dict.fromkeys(curve.condition for curve in board.curves if curve.name == "roc"):
        rows = [
            Line(c.descriptor, [100 * x for x in c.x], [100 * y for y in c.y])
            for c in board.curves
            if (c.name, c.condition) == ("roc", condition)
        ]
        x = Axis("false positive rate, %", 0.01, 100.0, log=True)
        parts += [f"<h3>ROC, {escape(condition)}</h3>", lines(rows, x, Axis("recall, %", 0.0, 100.0), looks)]
    recall = [
        Line(c.descriptor, [100 * x for x in c.x], [100 * y for y in c.y])
        for c in board.curves
        if c.name == "recall" and c.x
    ]
    if recall:
        x = Axis("1 - precision, %", 0.0, 100.0)
        highest = math.ceil(max(max(line.y) for line in recall) / 10) * 10
        parts += ["<h3>Recall of nearest neighbours</h3>", lines(recall, x, Axis("recall, %", 0.0, highest), looks)]
    mma = [Line(c.descriptor, c.x, [100 * y for y in c.y]) for c in board.curves if c.name == "mma"]
    if mma:
        low, top = min(min(line.y) for line in mma), max(max(line.y) for line in mma)
        ends = math.floor((low - 1) / 10) * 10, math.ceil((top + 1) / 10) * 10
        y = Axis("share of mutual nearest neighbours, %", max(0.0, ends[0]), ends[1])
        parts += ["<h3>Mean matching accuracy</h3>", lines(mma, Axis("threshold, px", 1, 10), y, looks)]
    return parts


def _breakdown(board: Board, metric: str, by: str) -> str:
    other = "condition" if by == "subset" else "subset"
    chosen: dict[str, dict[str, float]] = {}
    for score in board.scores:
        if score.metric == metric and _belongs(score, by, other):
            chosen.setdefault(getattr(score, by), {})[score.descriptor] = score.value
    if len(chosen) < 2:
        return ""
    rows = [(name, [chosen[column].get(name, math.nan) for column in chosen]) for name in ranked(board)]
    kind = METRICS[metric]
    return shaded(list(chosen), rows, kind.text, higher=kind.higher)


def _belongs(score: Score, by: str, other: str) -> bool:
    """Of subsets that have one condition only (a sequence and its change), that one stands for all."""
    if getattr(score, by) == "all":
        return False
    return getattr(score, other) == "all" or (score.board in ("oxford", "sequences") and by == "subset")


def _published(board: Board) -> str:
    rows = [row for row in PUBLISHED if row.board == board.name]
    if not rows:
        return ""
    body = "".join(
        f"<tr><td>{escape(r.method)}</td><td>{escape(r.subset)}</td><td>{escape(METRICS[r.metric].label)}</td>"
        f"<td>{METRICS[r.metric].text(r.value)}</td><td>{escape(r.source)}</td></tr>"
        for r in rows
    )
    head = "<tr><th>method</th><th>set</th><th>figure</th><th>value</th><th>source</th></tr>"
    return f"<details><summary>Published figures ({len(rows)})</summary><table>{head}{body}</table></details>"


def _frontier(boards: Sequence[Board], looks: Mapping[str, int]) -> str:
    """Accuracy of the first board that ranks by it, over patches a second."""
    speed = next((board for board in boards if board.name == "speed"), None)
    accurate = next((board for board in boards if METRICS[COLUMNS[board.name][0].metric].percent), None)
    if speed is None or accurate is None:
        return ""
    first = COLUMNS[accurate.name][0]
    points = []
    for name in looks:
        rate = value_of(speed, name, COLUMNS["speed"][0])
        value = 100 * value_of(accurate, name, first)
        if math.isfinite(rate) and math.isfinite(value):
            points.append((name, rate, value))
    if len(points) < 2:
        return ""
    rates, values = [p[1] for p in points], [p[2] for p in points]
    slowest, fastest = (10.0**end for end in (math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))))
    margin = 0.1 * max(max(values) - min(values), 1.0)
    label = f"{METRICS[first.metric].label}, {_TITLES[accurate.name]}"
    x = Axis("patches a second", slowest, fastest, log=True)
    y = Axis(label, min(values) - margin, max(values) + margin)
    drawn = scatter(points, x, y, looks)
    note = "Dashed: those that no other beats in both."
    return f"<section><h2>Accuracy against speed</h2><p>{note}</p>{drawn}</section>"
