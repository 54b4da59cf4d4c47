"""``sfm.html``: the figures of a benchmark of maps, and bars drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from pipelines.store.files import write_text
from recon.benchmark import markup
from recon.benchmark.sfm import PEER, Row, Setting, table

_STAGE_COLOURS = ("#0e8ca4", "#55b8a6", "#e2a23b", "#c8553d", "#7a5195", "#8a8f98", "#3d5a80", "#b5838d",
                  "#6a994e", "#9c6644", "#c39bd3", "#8d9a2f")  # fmt: skip


def write_page(path: Path, rows: Sequence[Row], setting: Setting) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        rows: results, see :class:`Row`.
        setting: what all contestants were given.
    """
    parts = [
        markup.section("All figures", markup.table(*table(rows))),
        markup.section("Wall time, by stage", _stage_bars(rows) + _stage_key(rows)),
        markup.section("3D points", _bars(rows, lambda row: row.points, "{:,.0f}")),
        markup.section("Mean track length", _bars(rows, lambda row: row.track_length, "{:.2f}")),
    ]
    if any(row.poses for row in rows):
        parts.append(
            markup.section(
                "Mean error of the camera centres, mm (truth's metres × 1,000)",
                _bars(rows, lambda row: math.nan if row.poses is None else row.poses.centre_mean * 1000, "{:.2f}"),
            )
        )
    parts.append(markup.section("Peak memory, MB", _bars(rows, lambda row: row.peak_memory / 1e6, "{:,.0f}")))
    given = f"{setting.max_features:,} features at {setting.max_size:,} px, seed {setting.seed}"
    if setting.fix_intrinsics:
        given += ", true intrinsics kept fixed"
    if setting.camera_model:
        given += f", cameras of the model {setting.camera_model}"
    intro = f"Same photos, one process after the other; {escape(given)}. “Ratio” is wall time over {PEER}’s."
    heading = "Structure from motion, side by side"
    write_text(path, markup.document("recon benchmark sfm", heading, intro, "".join(parts)))


def _layout(rows: Sequence[Row]) -> tuple[list[float], float]:
    """Top of each row's bar, with a gap between data sets, and the height of it all."""
    tops, y = [], 6.0
    for index, row in enumerate(rows):
        if index and row.dataset != rows[index - 1].dataset:
            y += 12
        tops.append(y)
        y += 24
    return tops, y + 4


def _frame(rows: Sequence[Row], tops: Sequence[float], height: float, bars: str) -> str:
    labels = []
    for index, (row, y) in enumerate(zip(rows, tops, strict=True)):
        if not index or row.dataset != rows[index - 1].dataset:
            labels.append(f'<text x="0" y="{y + 13}" font-weight="600">{escape(row.dataset[-24:])}</text>')
        labels.append(f'<text class="soft" x="268" y="{y + 13}" text-anchor="end">{escape(row.contestant)}</text>')
    return f'<svg viewBox="0 0 1000 {height:.0f}" role="img">{"".join(labels)}{bars}</svg>'


def _bars(rows: Sequence[Row], value: Callable[[Row], float], form: str) -> str:
    """One bar per row; the scale is the data set's own, so that small sets are not drowned by large ones."""
    values = np.array([value(row) for row in rows], float)
    tops, height = _layout(rows)
    drawn = []
    for row, number, y in zip(rows, values, tops, strict=True):
        own = [v for other, v in zip(rows, values, strict=True) if other.dataset == row.dataset and np.isfinite(v)]
        if not np.isfinite(number):
            continue
        width = 600 * number / max([*own, 1e-12])
        colour = "var(--peer)" if row.contestant == PEER else "var(--ours)"
        drawn.append(f'<rect x="280" y="{y}" width="{width:.1f}" height="17" rx="3" style="fill:{colour}"/>')
        drawn.append(f'<text x="{288 + width:.1f}" y="{y + 13}">{form.format(number)}</text>')
    return _frame(rows, tops, height, "".join(drawn))


def _stages(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(stage for row in rows for stage in row.stages))


def _stage_bars(rows: Sequence[Row]) -> str:
    tops, height = _layout(rows)
    colour = dict(zip(_stages(rows), _STAGE_COLOURS * 3, strict=False))
    drawn = []
    for row, y in zip(rows, tops, strict=True):
        longest = max(other.seconds for other in rows if other.dataset == row.dataset)
        x = 280.0
        for stage, seconds in row.stages.items():
            width = 600 * seconds / longest
            drawn.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="17" fill="{colour[stage]}">'
                f"<title>{escape(stage)}: {seconds:.2f} s</title></rect>"
            )
            x += width
        rest = 280 + 600 * row.seconds / longest - x
        drawn.append(f'<rect x="{x:.1f}" y="{y}" width="{max(rest, 0):.1f}" height="17" style="fill:var(--line)"/>')
        drawn.append(f'<text x="{x + max(rest, 0) + 8:.1f}" y="{y + 13}">{row.seconds:.1f} s</text>')
    return _frame(rows, tops, height, "".join(drawn))


def _stage_key(rows: Sequence[Row]) -> str:
    keys = [
        f'<span class="named"><span class="key" style="background:{colour}"></span>{escape(stage)}</span> '
        for stage, colour in zip(_stages(rows), _STAGE_COLOURS * 3, strict=False)
    ]
    rest = '<span class="named"><span class="key" style="background:var(--line)"></span>start-up and reporting</span>'
    return f"<p style='margin:.8rem 0 0'>{''.join(keys)}{rest}</p>"
