"""``stereo.html``: the figures of a stereo benchmark, and what every contestant made of every pair."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.benchmarks.stereo_truth import THRESHOLDS, TruePair
from pipelines.store.files import write_text
from recon.benchmark import markup
from recon.benchmark.plots import Bar, bars
from recon.benchmark.stereo import MEAN, Result, table

_WIDTH = 300
_STYLE = """
.maps{display:grid;gap:.5rem;grid-auto-flow:column;grid-auto-columns:minmax(150px,1fr)}figure{margin:0}
figure img{width:100%;display:block;border-radius:4px}figcaption{font-size:12px;color:var(--soft)}
"""


def write_page(path: Path, result: Result) -> None:
    """Write the page: table, bars of the means, pictures with the errors under them."""
    means = [row for row in result.rows if row.pair == MEAN]
    parts = [
        markup.section(
            f"bad-{text}, mean over all pairs",
            bars([Bar(row.contestant, row.bad[text]) for row in means], "{:.2f} %".format, best_first=False),
        )
        for text in THRESHOLDS
    ]
    parts.append(markup.section("All figures", markup.table(*table(result))))
    parts += [_pictures(pair, result, [row.contestant for row in means]) for pair in result.pairs]
    intro = (
        "Same rectified pairs and disparities. Bad: percent of all pixels with truth, occluded and border ones "
        "included, wrong by more than so many pixels or without a value. Density: measured, not filled in. Seconds: "
        "matching alone, warm."
    )
    heading = "Stereo, side by side"
    write_text(path, markup.document("recon benchmark stereo", heading, intro, "".join(parts), style=_STYLE))


def _pictures(pair: TruePair, result: Result, contestants: Sequence[str]) -> str:
    import cv2

    left = np.asarray(cv2.imread(str(pair.left)))
    known = pair.truth[np.isfinite(pair.truth)]
    low, high = float(known.min()), float(known.max())
    shown = [_figure(left, "left"), _figure(_painted(pair.truth, low, high), "truth")]
    below = ["<figure></figure>", "<figure></figure>"]
    for name in contestants:
        row = next(row for row in result.rows if (row.pair, row.contestant) == (pair.name, name))
        with np.load(result.maps[pair.name, name]) as stored:
            values = stored["values"]
        shown.append(_figure(_painted(values, low, high), name))
        below.append(_figure(_wrong(values, pair.truth), f"bad-1 {row.bad['1']:.2f} %, bad-2 {row.bad['2']:.2f} %"))
    note = "Below: right within 1 px white, within 2 px orange, worse red, no value black, no truth grey."
    rows = "".join(f"<div class='maps'>{''.join(figures)}</div>" for figures in (shown, below))
    return markup.section(pair.name, f"{rows}<p>{note}</p>")


def _painted(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    import cv2

    valued = np.isfinite(values)
    share = np.clip((np.where(valued, values, low) - low) / max(high - low, 1e-6), 0, 1)
    painted = np.asarray(cv2.applyColorMap(np.rint(255 * share).astype(np.uint8), cv2.COLORMAP_TURBO))
    return np.where(valued[:, :, None], painted, 0).astype(np.uint8)


def _wrong(values: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.uint8]:
    apart = np.abs(values - truth)
    colours = np.full((*truth.shape, 3), 255, np.uint8)
    colours[apart > 1] = (60, 160, 240)
    colours[apart > 2] = (40, 40, 210)
    colours[~np.isfinite(values)] = 0
    colours[~np.isfinite(truth)] = 190
    return colours


def _figure(pixels: NDArray[np.uint8], caption: str) -> str:
    import cv2

    size = _WIDTH, round(pixels.shape[0] * _WIDTH / pixels.shape[1])
    shown = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    content = base64.b64encode(cv2.imencode(".png", shown)[1].tobytes()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{content}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
