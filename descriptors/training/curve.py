"""How a training went: a log of JSON lines beside the weights, and its curve as a picture (SVG)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from descriptors.files import write_whole


class FoundFigures(Protocol):
    """A dataclass of numbers in 0..1 that a training is judged by, as :class:`.validate.Figures`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def worse_than(self, untrained: Self) -> bool:
        """Whether they are beneath those of random weights."""
        ...

    def said(self) -> str:
        """In one line."""
        ...


@dataclass(frozen=True)
class Progress:
    """What a callback is told.

    Attributes:
        step: steps done.
        done: share of the training that is done, 0..1.
        loss: mean loss since the last report.
        pairs_per_second: since the last report.
        figures: validation figures, only where the network was just judged.
        seconds_left: about how long the training will still take as it goes now; NaN before the first report.
    """

    step: int
    done: float
    loss: float
    pairs_per_second: float
    figures: FoundFigures | None = None
    seconds_left: float = math.nan


class TrainingLog:
    """``NAME.log.jsonl``, a line a report, and ``NAME.svg``, the curve, beside ``NAME.safetensors``."""

    def __init__(self, weights: Path, *, step: int) -> None:
        """Keep of an earlier log what lies before ``step``, at which a training begins or goes on."""
        self.path, self.picture = weights.with_suffix(".log.jsonl"), weights.with_suffix(".svg")
        self.rows = [row for row in read_log(self.path) if row["step"] <= step] if step else []
        write_whole(self.path, "".join(json.dumps(row) + "\n" for row in self.rows).encode())

    def add(self, state: Progress) -> None:
        """Write down one report; the picture is drawn anew where it has figures."""
        row = {key: value for key, value in asdict(state).items() if key != "seconds_left" and value == value}
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if state.figures:
            write_whole(self.picture, curve(self.rows, self.picture.stem).encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a log; a last line that a kill cut off is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def still_falling(rows: Sequence[dict[str, Any]]) -> float:
    """By which share the loss fell over the last fifth of a training: the mean of its second half against its first."""
    last = [row["loss"] for row in rows if row.get("done", 0) >= 0.8 and "loss" in row]
    half = len(last) // 2
    if not half:
        return 0.0
    before, after = (sum(part) / len(part) for part in (last[:half], last[half:]))
    return (before - after) / before if before else 0.0


_CALLED = {"rank1": "rank 1", "fpr95": "FPR95", "within_1": "within 1 px", "at_edges": "at edges"}
"""Figures in words, where their names are none."""
_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 200, 56, 28


def curve(rows: Sequence[dict[str, Any]], title: str) -> str:
    """An SVG of two plots over the share of the training that is done: the loss, and the validation figures."""
    loss = [(row["done"], row["loss"]) for row in rows if "loss" in row]
    judged = [(row["done"], row["figures"]) for row in rows if row.get("figures")]
    names = judged[0][1] if judged else ()
    figures = {_CALLED.get(name, name): [(done, found[name]) for done, found in judged] for name in names}
    high = max((value for _, value in loss), default=1.0)
    low = min((value for _, value in loss), default=0.0)
    parts = [
        _plot(f"{title}: loss", {"loss": loss}, min(0.0, low), high * 1.05 or 1.0, 0),
        _plot("on what is held out", figures, 0.0, 1.0, _HEIGHT + 60),
    ]
    size = f'width="{_WIDTH + 180}" height="{2 * _HEIGHT + 130}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


_COLOURS = ("#1f5fa8", "#c2571a", "#2d8a4e")


def _plot(title: str, lines: dict[str, list[tuple[float, float]]], low: float, high: float, down: int) -> str:
    def place(done: float, value: float) -> tuple[float, float]:
        return _LEFT + done * _WIDTH, _TOP + (high - value) / (high - low) * _HEIGHT

    parts = [f'<text x="{_LEFT}" y="{_TOP - 10}" font-size="14">{title}</text>']
    for step in range(5):
        value = low + (high - low) * step / 4
        y = place(0, value)[1]
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        x = place(step / 4, low)[0]
        parts.append(f'<text x="{x}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{25 * step} %</text>')
    taken: list[float] = []
    for (name, points), colour in zip(lines.items(), _COLOURS, strict=False):
        if not points:
            continue
        placed = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if len(placed) < 40:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in placed]
        label = placed[-1][1]
        while any(abs(label - other) < 14 for other in taken):  # lines that end together: one name below the other
            label += 14
        taken.append(label)
        text = f"{name} {points[-1][1]:.3g}"
        parts.append(f'<text x="{placed[-1][0] + 8:.1f}" y="{label + 4:.1f}" fill="{colour}">{text}</text>')
    return f'<g transform="translate(0 {down})">{"".join(parts)}</g>'
