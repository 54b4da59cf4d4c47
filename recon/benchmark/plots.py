"""The boards' plots as inline SVG and shaded tables; colours of the page's style sheet, so light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from recon.report.drawing import nice_step

COLOURS = (
    "#0e8ca4", "#c8553d", "#e2a23b", "#55b8a6", "#7a5195", "#3d5a80", "#b5838d", "#6a994e", "#8a8f98", "#d1495b",
    "#00798c", "#9c6644",
)  # fmt: skip
_DASHES = ("", "6 3", "2 2")


@dataclass(frozen=True)
class Bar:
    """One bar: what it is called, how long it is, and whether others published it."""

    label: str
    value: float
    published: bool = False


@dataclass(frozen=True)
class Line:
    """One line of a plot: points (x, y) under a name."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def look(number: int) -> tuple[str, str]:
    """Colour and dash pattern of contestant ``number``; the same on all plots of a page."""
    return COLOURS[number % len(COLOURS)], _DASHES[number // len(COLOURS) % len(_DASHES)]


def bars(rows: Sequence[Bar], text: Callable[[float], str], *, best_first: bool | None = None) -> str:
    """Horizontal bars from 0; published ones are hatched. ``best_first`` sorts, True for "more is better"."""
    rows = [row for row in rows if math.isfinite(row.value)]
    if best_first is not None:
        rows = sorted(rows, key=lambda row: row.value, reverse=best_first)
    if not rows:
        return "<p>Nothing was measured.</p>"
    longest, height = max(max(row.value for row in rows), 1e-12), 22 * len(rows) + 8
    parts = [f'<svg viewBox="0 0 900 {height}" role="img">{_hatch()}']
    for number, row in enumerate(rows):
        y = 4 + 22 * number
        width = 480 * row.value / longest
        fill = "url(#published)" if row.published else "var(--ours)"
        note = " (published)" if row.published else ""
        weight = "soft" if row.published else "name"
        parts.append(
            f'<text class="{weight}" x="268" y="{y + 13}" text-anchor="end">{escape(row.label + note)}</text>'
            f'<rect x="280" y="{y}" width="{width:.1f}" height="16" rx="3" style="fill:{fill}"/>'
            f'<text x="{288 + width:.1f}" y="{y + 13}">{escape(text(row.value))}</text>'
        )
    return "".join(parts) + "</svg>"


def _hatch() -> str:
    return (
        '<defs><pattern id="published" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="6" height="6" style="fill:var(--peer)" opacity=".35"/>'
        '<path d="M0 0V6" style="stroke:var(--peer)" stroke-width="4"/></pattern></defs>'
    )


@dataclass(frozen=True)
class Axis:
    """One axis: its label, its ends, and whether it is logarithmic (ends over 0)."""

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high one; beyond, it is held at the end."""
        if self.log:
            value, low, high = (math.log10(max(v, 1e-300)) for v in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        return min(max((value - low) / max(high - low, 1e-12), 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Values and their texts: powers of ten, or steps of 1, 2, 5."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [(10.0**k, f"{10.0**k:,.0f}" if k >= 0 else f"{10.0**k:g}") for k in range(first, last + 1)]
        step = nice_step(self.high - self.low, 5)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(k * step, f"{k * step:g}") for k in range(first, last + 1)]


_LEFT, _TOP, _WIDTH, _HEIGHT = 56.0, 14.0, 520.0, 300.0


def _grid(x: Axis, y: Axis) -> tuple[list[str], Callable[[float, float], tuple[float, float]]]:
    def at(u: float, v: float) -> tuple[float, float]:
        return _LEFT + _WIDTH * x.place(u), _TOP + _HEIGHT * (1 - y.place(v))

    parts = ['<svg viewBox="0 0 900 362" role="img">']
    for value, text in x.ticks():
        across, _ = at(value, y.low)
        parts.append(
            f'<path d="M{across:.1f} {_TOP}V{_TOP + _HEIGHT}" style="stroke:var(--line)"/>'
            f'<text class="soft" x="{across:.1f}" y="{_TOP + _HEIGHT + 17}" text-anchor="middle">{text}</text>'
        )
    for value, text in y.ticks():
        _, down = at(x.low, value)
        parts.append(
            f'<path d="M{_LEFT} {down:.1f}H{_LEFT + _WIDTH}" style="stroke:var(--line)"/>'
            f'<text class="soft" x="{_LEFT - 7}" y="{down + 4:.1f}" text-anchor="end">{text}</text>'
        )
    middle = _TOP + _HEIGHT / 2
    parts.append(
        f'<text x="{_LEFT + _WIDTH / 2}" y="355" text-anchor="middle">{escape(x.label)}</text>'
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y.label)}</text>'
    )
    return parts, at


def lines(rows: Sequence[Line], x: Axis, y: Axis, looks: Mapping[str, int]) -> str:
    """Lines over two axes, with a key whose order is that of the lines at their middle."""
    parts, at = _grid(x, y)
    for row in rows:
        colour, dash = look(looks[row.name])
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in (at(u, v) for u, v in zip(row.x, row.y, strict=True)))
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}">'
            f"<title>{escape(row.name)}</title></path>"
        )
    for number, row in enumerate(sorted(rows, key=lambda row: -float(np.mean(row.y)))):
        colour, dash = look(looks[row.name])
        down = _TOP + 12 + 19 * number
        parts.append(
            f'<path d="M600 {down - 4}h26" stroke="{colour}" stroke-width="3" stroke-dasharray="{dash}"/>'
            f'<text x="634" y="{down}">{escape(row.name)}</text>'
        )
    return "".join(parts) + "</svg>"


_LETTER, _DOT = 7.5, 5.5
"""px of a letter of a name, about, and radius of a dot."""
_HALO = 'style="paint-order:stroke;stroke:var(--card);stroke-width:4"'
"""Of names, which lines else would strike out."""


def scatter(points: Sequence[tuple[str, float, float]], x: Axis, y: Axis, looks: Mapping[str, int]) -> str:
    """Named points (name, x, y), more of both is better; the frontier of those that none beats is a line."""
    parts, at = _grid(x, y)
    best, frontier = -math.inf, []
    for name, u, v in sorted(points, key=lambda point: (-point[1], -point[2])):
        if v > best:
            best = v
            frontier.append((name, u, v))
    path = "L".join(f"{a:.1f} {b:.1f}" for a, b in (at(u, v) for _, u, v in frontier))
    parts.append(f'<path d="M{path}" fill="none" style="stroke:var(--soft)" stroke-dasharray="4 4"/>')
    ahead = {name for name, _, _ in frontier}
    order = sorted(points, key=lambda point: (-point[1], 0.0) if point[0] in ahead else (math.inf, -point[2]))
    dots = {name: at(u, v) for name, u, v in order}
    for name, (a, b) in dots.items():
        colour, _ = look(looks[name])
        parts.append(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{_DOT}" fill="{colour}"><title>{escape(name)}</title></circle>'
        )
    taken: list[tuple[float, float, float]] = []  # left, right and base line of each name
    for name, (a, b) in dots.items():
        others = [dot for other, dot in dots.items() if other != name]
        width = _LETTER * len(name)
        place = _room(a, b, width, taken, others, nearest=True)
        if place is None and name in ahead:
            place = _room(a, b, width, taken, others) or _room(a, b, width, taken, [])
        if place is not None:  # who finds no room is told by a tip
            taken.append(place)
            parts.append(f'<text {_HALO} x="{place[0]:.1f}" y="{place[2]:.1f}">{escape(name)}</text>')
    return "".join(parts) + "</svg>"


def _room(
    a: float,
    b: float,
    width: float,
    taken: Sequence[tuple[float, float, float]],
    dots: Sequence[tuple[float, float]],
    *,
    nearest: bool = False,
) -> tuple[float, float, float] | None:
    """Left, right and base line of a name beside the point (a, b), where it lies on no other name and no dot.

    ``nearest``: where it is nearer to no other dot, either.
    """
    beside, before, middle = a + 10, a - 10 - width, a - width / 2
    for left, base in (
        (beside, b + 4), (middle, b - 11), (beside, b - 9), (beside, b + 17), (middle, b + 21), (before, b + 4),
        (before, b - 9), (before, b + 17),
    ):  # fmt: skip
        right = left + width
        if left < _LEFT or any(abs(base - other) < 13 and left < end and right > begin for begin, end, other in taken):
            continue
        box = (left, base - 11, right, base + 2)
        least = max(_DOT, _gap(a, b, box)) if nearest else _DOT
        if all(_gap(x, y, box) > least for x, y in dots):
            return left, right, base
    return None


def _gap(x: float, y: float, box: tuple[float, float, float, float]) -> float:
    """Distance of a point from a box (left, top, right, bottom)."""
    return math.hypot(max(box[0] - x, 0, x - box[2]), max(box[1] - y, 0, y - box[3]))


def shaded(
    columns: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]], text: Callable[[float], str], *, higher: bool
) -> str:
    """A table whose cells are shaded within each column, darkest = best.

    Args:
        columns: n headings.
        rows: name and n values each; NaN is an empty cell.
    """
    table = np.array([values for _, values in rows], float).reshape(len(rows), len(columns))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = []
    for (name, _), values in zip(rows, table, strict=True):
        cells = []
        for column, value in enumerate(values):
            known = table[:, column][np.isfinite(table[:, column])]
            if not math.isfinite(value):
                cells.append("<td>–</td>")
                continue
            span = float(np.ptp(known))
            share = 0.5 if span == 0 else float(value - known.min()) / span
            strength = round(55 * (share if higher else 1 - share))
            shade = f"color-mix(in srgb,var(--ours) {strength}%,transparent)"
            cells.append(f'<td style="background:{shade}">{escape(text(float(value)))}</td>')
        body.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    return f'<table class="shaded"><tr><th></th>{head}</tr>{"".join(body)}</table>'
