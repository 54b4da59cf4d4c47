"""``stitch.html``: the contestants' panoramas one under the other, with their figures, on one self-contained page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipelines.images.formats import pillow
from pipelines.store.files import write_text
from recon.benchmark.board import STYLE
from recon.benchmark.stitch import PEER, Row, Setting, line, table

_THUMBNAIL = (1000, 420)
_MORE_STYLE = """
figure{margin:0 0 1rem}figure img{display:block;max-width:100%;height:auto;background:#0002;border-radius:4px}
figcaption{color:var(--soft);font-size:.9rem;margin:.25rem 0}td.worse{color:#c8553d}td.better{color:#0e8ca4}
"""


def write_board(path: Path, rows: Sequence[Row], setting: Setting) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        rows: results; the pictures they name are shown as thumbnails.
        setting: what all contestants were given.
    """
    header, cells = table(rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    sections = []
    for name in dict.fromkeys(row.dataset for row in rows):
        figures = "".join(_figure(row) for row in rows if row.dataset == name)
        sections.append(f"<section><h2>{escape(name)}</h2>{figures}</section>")
    given = f"registration at {setting.max_size:,} px, rendering at full resolution, seed {setting.seed}"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>recon benchmark stitch</title><style>{STYLE}{_MORE_STYLE}</style><main>"
        f"<h1>Panoramas, side by side</h1><p>Same photos, one process after the other; {escape(given)}. Residuals are "
        f"those of AKAZE checkpoints, which no contestant used, in pairs of photos that all used, in pixels of "
        f"the full resolution. Ratios are over {PEER}.</p>"
        f"<section><h2>All figures</h2><table><tr>{head}</tr>{body}</table></section>{''.join(sections)}</main></html>"
    )
    write_text(path, page)


def _figure(row: Row) -> str:
    words = escape(" ".join(line(row).split()[len(row.dataset.split()) :]))
    if not row.picture:
        return f"<figure><figcaption>{words}</figcaption></figure>"
    with pillow().open(row.picture) as picture:
        picture.draft("RGB", _THUMBNAIL)
        small = picture.convert("RGB")
    small.thumbnail(_THUMBNAIL)
    memory = io.BytesIO()
    small.save(memory, "JPEG", quality=85)
    data = base64.b64encode(memory.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(row.dataset)} by {escape(row.contestant)}" width="{small.width}" '
        f'height="{small.height}" src="data:image/jpeg;base64,{data}"><figcaption>{words}</figcaption></figure>'
    )
