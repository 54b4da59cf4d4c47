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
from recon.benchmark.board import STYLE
from recon.benchmark.plots import Bar, bars
from recon.benchmark.stereo import MEAN, Result, table

_WIDTH = 300
_MORE_STYLE = """
.maps{display:grid;gap:.5rem;grid-auto-flow:column;grid-auto-columns:minmax(150px,1fr)}figure{margin:0}
figure img{width:100%;display:block;border-radius:4px}figcaption{font-size:12px;color:var(--soft)}
"""


def write_page(path: Path, result: Result) -> None:
    """Write the page: table, bars of the means, pictures with the errors under them."""
    header, cells = table(result)
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    means = [row for row in result.rows if row.pair == MEAN]
    plots = "".join(
        f"<section><h2>bad-{text}, mean over all pairs</h2>"
        + bars([Bar(row.contestant, row.bad[text]) for row in means], "{:.2f} %".format, best_first=False)
        + "</section>"
        for text in THRESHOLDS
    )
    pictures = "".join(_pictures(pair, result, [row.contestant for row in means]) for pair in result.pairs)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>recon benchmark stereo</title><style>{STYLE}{_MORE_STYLE}</style><main><h1>Stereo, side by side</h1>"
        "<p>Same rectified pairs and disparities. Bad: percent of all pixels with truth, occluded and border ones "
        "included, wrong by more than so many pixels or without a value. Density: measured, not filled in. Seconds: "
        f"matching alone, warm.</p>{plots}<section><h2>All figures</h2><table><tr>{head}</tr>{body}</table></section>"
        f"{pictures}</main></html>"
    )
    write_text(path, page)


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
    return (
        f"<section><h2>{escape(pair.name)}</h2><div class='maps'>{''.join(shown)}</div>"
        f"<div class='maps'>{''.join(below)}</div><p>{note}</p></section>"
    )


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
