"""The report's figures: histograms and the match graph as inline SVG, the match matrix as a small PNG.

Colours come from the page's style sheet, so the figures follow its light and dark schemes.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recon.report import tables

GRAPH_LIMIT = 40  # photos on a circle up to here, a matrix beyond
_LABEL = 12  # letters of a name beside the circle

_WIDTH, _HEIGHT = 500, 262
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 34, 46


def nice_step(span: float, ticks: int) -> float:
    """The 1, 2 or 5 times a power of ten that divides ``span`` into about ``ticks`` parts."""
    if span <= 0:
        return 1.0
    raw = span / ticks
    base = 10.0 ** math.floor(math.log10(raw))
    return base * min((m for m in (1, 2, 5, 10) if m * base >= raw * 0.999), default=10)


def _compact(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 10_000:
        return f"{value / 1_000:g}k"
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def histogram(
    counts: Sequence[int],
    edges: Sequence[float],
    names: Sequence[str],
    *,
    ticks: Sequence[tuple[float, str]],
    mark: float,
    mark_text: str,
    x_label: str,
    y_label: str,
) -> str:
    """Bars with axes and a marked value.

    Args:
        counts: height of each bar, n of them.
        edges: n + 1 ascending bin edges.
        names: n texts: which values a bar stands for; shown with its count under the pointer.
        ticks: positions and texts on the x axis.
        mark, mark_text: where a line stands (mean or median), and what is written beside it.
    """
    highest = max(max(counts, default=0), 1)
    step = max(1.0, nice_step(highest, 4))
    top = math.ceil(highest / step) * step
    low, high = edges[0], edges[-1]
    across = (_WIDTH - _LEFT - _RIGHT) / (high - low)
    up = (_HEIGHT - _TOP - _BOTTOM) / top
    floor = _HEIGHT - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + (value - low) * across

    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(x_label)}">']
    for k in range(round(top / step) + 1):
        y = floor - k * step * up
        parts.append(f'<path class="rule" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4.5:.1f}" text-anchor="end">{_compact(k * step)}</text>')
    for count, (a, b), name in zip(counts, pairwise(edges), names, strict=True):
        height = count * up
        gap = min(1.0, (b - a) * across * 0.1)
        box = f'x="{x(a) + gap:.2f}" width="{(b - a) * across - 2 * gap:.2f}"'
        tip = escape(f"{name}: {count:,}", quote=True)
        if count:
            parts.append(
                f'<rect class="bar" {box} y="{floor - height:.2f}" height="{height:.2f}" rx="1.5" data-tip="{tip}"/>'
            )
    parts.append(f'<path class="axis" d="M{_LEFT} {floor}H{_WIDTH - _RIGHT}"/>')
    for value, text in ticks:
        parts.append(f'<text x="{x(value):.1f}" y="{floor + 19}" text-anchor="middle">{escape(text)}</text>')
    if low <= mark <= high:
        at = x(mark)
        anchor, shift = ("start", 6) if at < _WIDTH * 0.7 else ("end", -6)
        parts.append(f'<path class="mark" d="M{at:.1f} {floor}V{_TOP - 26}"/>')
        where = f'x="{at + shift:.1f}" y="{_TOP - 16}" text-anchor="{anchor}"'
        parts.append(f'<text class="marktext" {where}>{escape(mark_text)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text x="2" y="{_TOP - 18}">{escape(y_label)}</text></svg>')
    return "".join(parts)


def track_histogram(lengths: NDArray[np.integer]) -> str:
    """How many points are seen by 2, 3, 4 … photos; a long tail is drawn together."""
    last = int(max(3, min(lengths.max(initial=2), max(8, np.percentile(lengths, 99) if len(lengths) else 8), 40)))
    counts = np.bincount(np.minimum(lengths, last), minlength=last + 1)[2:]
    tail = bool(len(lengths) and lengths.max() > last)
    values = range(2, last + 1)
    texts = [f"{v}+" if tail and v == last else str(v) for v in values]
    each = max(1, math.ceil(len(texts) / 14))
    return histogram(
        counts.tolist(),
        [v - 0.5 for v in range(2, last + 2)],
        [f"points seen by {text} photos" for text in texts],
        ticks=[
            (v, text)
            for v, text in zip(values, texts, strict=True)
            if v == last or ((v - 2) % each == 0 and last - v >= each)
        ],
        mark=float(lengths.mean()) if len(lengths) else math.nan,
        mark_text=f"mean {lengths.mean():.2f}" if len(lengths) else "",
        x_label="Track length (photos that see a point)",
        y_label="points",
    )


def error_histogram(errors: NDArray[np.floating]) -> str:
    """Reprojection errors of the points, in pixels; the last bar holds all beyond."""
    top = float(np.percentile(errors, 99.5)) if len(errors) else 1.0
    step = nice_step(max(top, 1e-6), 20)
    bins = max(4, math.ceil(top / step))
    edges = np.arange(bins + 1) * step
    counts = np.histogram(np.minimum(errors, edges[-1] * (1 - 1e-9)), bins=edges)[0]
    digits = max(0, -math.floor(math.log10(step)))
    names = [f"{a:.{digits}f} – {b:.{digits}f} px" for a, b in pairwise(edges)]
    names[-1] = f"over {edges[-2]:.{digits}f} px"
    tick = nice_step(edges[-1], 6)
    count = int(edges[-1] / tick + 1e-9)
    return histogram(
        counts.tolist(),
        edges.tolist(),
        names,
        ticks=[(k * tick, f"{k * tick:g}") for k in range(count + 1)],
        mark=float(np.median(errors)) if len(errors) else math.nan,
        mark_text=f"median {np.median(errors):.2f} px" if len(errors) else "",
        x_label="Mean reprojection error of a point (px)",
        y_label="points",
    )


def short_names(names: Sequence[str]) -> list[str]:
    """Names cut to fit a label: as little of folder and ending as leaves them distinct, their end kept (it differs)."""
    without_ending = [name.rsplit(".", 1)[0] if "." in name.rsplit("/", 1)[-1] else name for name in names]
    for labels in ([name.rsplit("/", 1)[-1] for name in without_ending], without_ending):
        if len(set(labels)) == len(names):
            break
    else:
        labels = list(names)
    return [label if len(label) <= _LABEL else f"…{label[1 - _LABEL :]}" for label in labels]


def match_graph(
    names: Sequence[str], components: Sequence[int | None], links: Sequence[tuple[int, int, int, int]]
) -> str:
    """Photos on a circle, verified pairs as chords whose width grows with their matches.

    Args:
        names: photo names.
        components: model of each photo, None if it is in none.
        links: photo indices a, b, verified and raw matches.
    """
    size, centre = 560, 280
    labels = short_names(names)
    radius = max(160, 258 - 7.4 * max((len(label) for label in labels), default=0))
    top = max((n for _, _, n, _ in links), default=1)
    angle = [2 * math.pi * i / max(1, len(names)) - math.pi / 2 for i in range(len(names))]
    place = [(centre + radius * math.cos(a), centre + radius * math.sin(a)) for a in angle]
    parts = [f'<svg class="chart graph" id="graph" viewBox="0 0 {size} {size}" role="img" aria-label="Match graph">']
    for a, b, n, raw in sorted(links, key=lambda link: link[2]):
        (xa, ya), (xb, yb) = place[a], place[b]
        strength = math.sqrt(n / top)
        tip = escape(f"{names[a]}  –  {names[b]}\n{n:,} verified of {raw:,} matches", quote=True)
        # A chord bends towards the middle, so that neighbours' links do not lie on each other.
        bend = (
            f"Q{(xa + xb) / 2 * 0.55 + centre * 0.45:.1f} {(ya + yb) / 2 * 0.55 + centre * 0.45:.1f} {xb:.1f} {yb:.1f}"
        )
        path = f"M{xa:.1f} {ya:.1f}{bend}"
        look = f'stroke-width="{0.8 + 5.2 * strength:.2f}" opacity="{0.12 + 0.68 * strength:.2f}"'
        parts.append(f'<path class="edge" data-ends="{a} {b}" data-tip="{tip}" fill="none" d="{path}" {look}/>')
    for i, ((x, y), label) in enumerate(zip(place, labels, strict=True)):
        right = math.cos(angle[i]) >= -1e-9
        turn = math.degrees(angle[i]) + (0 if right else 180)
        tx, ty = centre + (radius + 13) * math.cos(angle[i]), centre + (radius + 13) * math.sin(angle[i])
        component = components[i]
        kind = "alone" if component is None else f"c{component % 5}"
        tip = escape(names[i], quote=True)
        parts.append(
            f'<g data-pick="{i}" data-photo="{i}" data-tip="{tip}" tabindex="0" role="button" aria-label="{tip}">'
            f'<circle class="node {kind}" cx="{x:.1f}" cy="{y:.1f}" r="7.5"/>'
            f'<text x="{tx:.1f}" y="{ty:.1f}" dy="4.5" text-anchor="{"start" if right else "end"}" '
            f'transform="rotate({turn:.1f} {tx:.1f} {ty:.1f})">{escape(label)}</text></g>'
        )
    parts.append("</svg>")
    return "".join(parts)


def _png(indices: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """(H,W) indices into (256,4) RGBA -> PNG. No photo's pixels: the few lines are worth no image library."""
    height, width = indices.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = indices

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
    colours = chunk(b"PLTE", palette[:, :3].tobytes()) + chunk(b"tRNS", palette[:, 3].tobytes())
    body = chunk(b"IDAT", zlib.compress(rows.data, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + colours + body


_ITSELF = 1
"""Of the matrix's palette: a photo and itself. Other entries are as opaque as their number says."""


def match_matrix(names: Sequence[str], links: Sequence[tuple[int, int, int, int]]) -> str:
    """Photos by photos, the darker the more verified matches (logarithmic); the page names the pair pointed at."""
    most = max((n for _, _, n, _ in links), default=0)
    matrix = np.zeros((len(names), len(names)), np.uint8)  # a byte a pair: of thousands of photos there are millions
    for a, b, n, _ in links:
        matrix[a, b] = matrix[b, a] = int(30 + 225 * math.log1p(n) / math.log1p(most)) if n else 0
    np.fill_diagonal(matrix, _ITSELF)
    palette = np.full((256, 4), (14, 140, 164, 0), np.uint8)
    palette[:, 3] = np.arange(256)
    palette[_ITSELF] = (130, 140, 150, 150)
    image = base64.b64encode(_png(matrix, palette)).decode("ascii")
    return (
        f'<div class="matrix"><img src="data:image/png;base64,{image}" alt="Verified matches of all pairs of photos">'
        f'<div class="ends">{tables.cut_name(names[0])}{tables.cut_name(names[-1])}</div></div>'
        f'<div class="scale">1 match <i></i> {most:,} matches</div>'
    )


def timeline(timings: Mapping[str, float], texts: Mapping[str, str]) -> str:
    """One bar of the stages in the order of work, and their list."""
    total = sum(timings.values()) or 1.0
    hues = [190, 28, 265, 95, 340, 225, 50, 150]
    bars, items = [], []
    for k, (stage, seconds) in enumerate(timings.items()):
        colour = f"hsl({hues[k % len(hues)]} 42% {54 - 8 * (k // len(hues) % 3)}%)"
        share = seconds / total
        tip = escape(f"{stage}: {texts[stage]}, {share:.0%}", quote=True)
        bars.append(f'<i style="flex:{max(share, 0.002):.4f};background:{colour}" data-tip="{tip}"></i>')
        items.append(
            f'<li><i style="background:{colour}"></i>{escape(stage)}<b>{escape(texts[stage])}</b>'
            f"<span>{share:.0%}</span></li>"
        )
    return f'<div class="timeline">{"".join(bars)}</div><ul class="stages">{"".join(items)}</ul>'
