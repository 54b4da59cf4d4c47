"""The page of ``recon benchmark localize``: the table, each photo's error as a dot, times and origins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipelines.benchmarks.leave_one_out import PLAIN
from pipelines.store.files import write_text
from recon.benchmark import markup
from recon.benchmark.localize import Group, Setting, degrees, length, note, table
from recon.benchmark.plots import Bar, bars

_STYLE = """
td:nth-child(3),th:nth-child(3){text-align:left}.facts td:nth-child(4),.facts th:nth-child(4){text-align:left}
circle{fill-opacity:.75}.mine{fill:var(--ours)}.peer{fill:var(--peer)}
"""
_LEFT, _WIDE = 330.0, 560.0


def write_page(path: Path, groups: Sequence[Group], setting: Setting) -> None:
    """Write the page of these results."""
    parts = [markup.section("All figures", f"{markup.table(*table(groups))}<p>{escape(note())}.</p>")]
    for metric, title in ((True, "Errors against the truth"), (False, "Errors against the map of all photos")):
        rows = [group for group in groups if group.metric is metric]
        if rows:
            parts.append(markup.section(f"{title}: camera centres", _dots(rows, "centre", metric)))
            parts.append(markup.section(f"{title}: rotations", _dots(rows, "rotation", metric)))
    timed = [group for group in groups if group.seconds]
    if timed:
        times = [Bar(f"{g.dataset} · {g.contestant} · {g.intrinsics}", sum(g.seconds.values())) for g in timed]
        parts.append(markup.section("Seconds a query (medians of the stages, added)", bars(times, "{:.2f} s".format)))
    parts.append(markup.section("Every photo", _trials(groups)))
    given = f"{setting.max_features:,} features at {setting.max_size:,} px, seed {setting.seed}"
    intro = (
        "Each photo looked for in a map of the others, which never saw it. The map is brought onto the reference by "
        f"its own cameras. Intrinsics “none”: the photo’s EXIF was kept from recon; “estimated”: and the "
        f"map’s cameras were not tried either. {escape(given)}. "
        f"The peer, “{escape(PLAIN)}”, has the same features, photos and intrinsics."
    )
    heading = "Where was this photo taken?"
    write_text(path, markup.document("recon benchmark localize", heading, intro, "".join(parts), style=_STYLE))


def _dots(groups: Sequence[Group], which: str, metric: bool) -> str:
    """One line per group, one dot per photo on a logarithmic axis, the median as a bar; without a pose at the end."""
    # In the unit of the axis, so that its lines stand at powers of ten of it.
    unit = 1000.0 if metric else 100.0
    if which == "rotation":
        unit = math.degrees(1)
    values = [[getattr(trial, which) * unit for trial in group.trials] for group in groups]
    known = [value for row in values for value in row if math.isfinite(value) and value > 0]
    if not known:
        return "<p>No pose was found.</p>"
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)) + 1e-9)
    sign = "°" if which == "rotation" else " mm" if metric else " %"
    missing = any(not math.isfinite(value) for row in values for value in row)
    height = 26 * len(groups) + 40
    parts = [f'<svg viewBox="0 0 1000 {height}" role="img">']

    def across(value: float) -> float:
        if not math.isfinite(value):
            return _LEFT + _WIDE + 75
        return _LEFT + _WIDE * (math.log10(max(value, 10.0**low)) - low) / max(high - low, 1)

    for power in range(low, high + 1):
        x = across(10.0**power)
        parts.append(
            f'<path d="M{x:.1f} 4V{height - 30}" style="stroke:var(--line)"/>'
            f'<text class="soft" x="{x:.1f}" y="{height - 12}" text-anchor="middle">{10.0**power:g}{sign}</text>'
        )
    if missing:
        parts.append(
            f'<text class="soft" x="{across(math.inf):.1f}" y="{height - 12}" text-anchor="middle">no pose</text>'
        )
    for number, (group, row) in enumerate(zip(groups, values, strict=True)):
        y = 17 + 26 * number
        name = f"{group.dataset} · {group.contestant} · {group.intrinsics}"
        parts.append(f'<text x="{_LEFT - 14}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        look = "peer" if group.contestant == PLAIN else "mine"
        for trial, value in zip(group.trials, row, strict=True):
            told = f"{value:.4g}{sign}" if math.isfinite(value) else "no pose"
            parts.append(
                f'<circle class="{look}" cx="{across(value):.1f}" cy="{y}" r="4.5">'
                f"<title>{escape(trial.query)}: {told}</title></circle>"
            )
        middle = across(group.errors(which)[0] * unit)
        parts.append(f'<path d="M{middle:.1f} {y - 9}v18" style="stroke:var(--ink)" stroke-width="2"/>')
    return "".join(parts) + "</svg>"


def _trials(groups: Sequence[Group]) -> str:
    head = "<tr><th>photos of</th><th>by</th><th>photo</th><th>verdict</th><th>intrinsics</th><th>inliers</th>"
    head += "<th>centre</th><th>σ told</th><th>rotation</th></tr>"
    body = "".join(
        f"<tr><td>{escape(group.dataset)}</td><td>{escape(group.contestant)}</td><td>{escape(trial.query)}</td>"
        f"<td>{escape(trial.verdict)}</td><td>{escape(trial.intrinsics)} → {escape(trial.origin or '–')}</td>"
        f"<td>{trial.inliers or '–'}</td><td>{length(trial.centre, group.metric)}</td>"
        f"<td>{length(trial.sigma, group.metric) if math.isfinite(trial.sigma) else '–'}</td>"
        f"<td>{degrees(trial.rotation)}</td></tr>"
        for group in groups
        for trial in group.trials
    )
    return f'<details><summary>All trials</summary><table class="facts">{head}{body}</table></details>'
